//! The commands and their options as they are written, a file for each command.

mod bench;
mod deploy;
mod download;
mod generate;
mod model;
mod parse;
mod predict;
mod serve;
mod settings;

pub use bench::BenchArgs;
pub use deploy::DeployArgs;
pub use download::{DownloadArgs, VerifyArgs};
pub use generate::GenerateArgs;
pub use model::{ModelArgs, RuntimeArgs};
pub use parse::ParseArgs;
pub use predict::{PlatformSource, PredictArgs, PredictOrder, Source};
pub use serve::ServeArgs;

use clap::{Parser, Subcommand};

use crate::florence::Task;

/// Florence-2 inference server for Supervisely.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 120)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a model over HTTP.
    Serve(ServeArgs),
    /// Serve a model as the original's command of this name does, open to the network. The page is there as well.
    Deploy(DeployArgs),
    /// Write a Supervisely annotation for each picture of the disk or of the platform.
    Predict(PredictArgs),
    /// Print the model's own output for pairs of picture and prompt, one JSON object a line.
    Generate(GenerateArgs),
    /// Read generated text on stdin and print what it means.
    Parse(ParseArgs),
    /// List the published models and where each one is.
    Models,
    /// Fetch a published model, so that it is there when a server starts.
    Download(DownloadArgs),
    /// Check that a folder holds a checkpoint that works.
    Verify(VerifyArgs),
    /// Time the stages of the model.
    Bench(BenchArgs),
    /// Print the description of every route, as `/openapi.json` has it.
    Openapi,
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| format!("{text:?} is no number from 1 up"))
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once(['x', 'X']).and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    sides.filter(|(a, b)| *a > 0 && *b > 0).ok_or_else(|| format!("{text:?} is not two numbers such as 768x768"))
}

/// A task's token, which may be named without its angle brackets: they mean something to a shell.
fn parse_task(text: &str) -> Result<String, String> {
    let token = format!("<{}>", text.to_ascii_uppercase());
    Ok(if Task::from_token(&token).is_some() { token } else { text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn tasks_need_no_brackets() {
        for (text, token) in
            [("OD", "<OD>"), ("ocr_with_region", "<OCR_WITH_REGION>"), ("<OD>", "<OD>"), ("DANCE", "DANCE")]
        {
            assert_eq!(parse_task(text), Ok(token.to_owned()));
        }
    }

    #[test]
    fn sizes_are_two_positive_numbers() {
        assert_eq!(parse_size("96x160"), Ok((96, 160)));
        for wrong in ["96", "0x3", "axb", "3x", "1x2x3", "-1x5"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
