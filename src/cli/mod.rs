//! The command line: arguments become one validated value a command, which then runs.
//!
//! What a program may read goes to stdout, everything else to stderr. Exit codes: 0 done, 1 something failed, 2 the
//! arguments are wrong, each with one line that says what to do.

mod args;
mod bench;
mod deploy;
mod download;
mod error;
mod generate;
mod list;
mod locate;
mod openapi;
mod parse;
mod picture;
mod predict;
mod serve;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use error::{CliError, CliResult};

/// Runs the program with these arguments, the first of which is its own name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // A closed stdout is the reader's choice.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => return report(&CliError::Usage(first_line(&error))),
    };
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn dispatch(command: Command) -> CliResult<()> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Deploy(args) => deploy::run(args),
        Command::Predict(args) => predict::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Parse(args) => parse::run(&args),
        Command::Models => list::run(),
        Command::Download(args) => download::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Openapi => openapi::run(),
    }
}

/// clap explains over several lines; the first says what is wrong.
fn first_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; --help lists them".to_owned();
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    // Missing arguments are named in the lines that follow.
    let rest: Vec<_> =
        if first.ends_with(':') { lines.take_while(|line| !line.starts_with("Usage")).collect() } else { vec![] };
    format!("{}; --help tells more", [first.as_str()].into_iter().chain(rest).collect::<Vec<_>>().join(" "))
}

fn report(error: &CliError) -> ExitCode {
    let line = error.to_string();
    // Nobody left to tell is no reason to fail differently.
    let _ = writeln!(std::io::stderr(), "error: {}", line.lines().next().unwrap_or_default());
    ExitCode::from(error.exit_code())
}

/// Writes a line for programs to read. A reader that closed the pipe has seen enough.
fn print_line(line: &str) -> CliResult<()> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::Failed(error.to_string())),
        _ => Ok(()),
    }
}
