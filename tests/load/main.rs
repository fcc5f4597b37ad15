//! `cargo run --release --example load`: load for a running server, or for one that is started for it, and what became
//! of the requests.

#![allow(clippy::print_stdout, reason = "the report is what it is for")]

#[path = "mod.rs"]
mod load;
#[path = "../support/mod.rs"]
mod support;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use load::caller::Caller;
use load::drive::{Outcome, closed_loop, open_loop, plan};
use load::process::{ServerProcess, Watch, machine_cpu_s};
use load::report::{Report, Window};
use load::traffic::{Mix, PICTURES_OF_EACH_SIZE, Traffic};

/// Clients that keep two cores busy without queueing much.
const CAPACITY_CLIENTS: usize = 8;

/// Sends inference requests to a server and reports what became of them.
#[derive(Debug, Parser)]
#[command(name = "load", max_term_width = 120)]
struct Arguments {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8000", conflicts_with = "start")]
    url: String,
    /// Process id of that server, to report its memory, threads and descriptors
    #[arg(long, value_name = "ID", conflicts_with = "start")]
    pid: Option<u32>,
    /// Starts a server with these arguments of `serve`, such as "--model demo", on a free port
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    start: Option<String>,
    /// The program to start [default: serve-florence-2 of the same build]
    #[arg(long, value_name = "FILE", requires = "start")]
    binary: Option<PathBuf>,
    /// Requests a second, at random moments, whether or not earlier ones are answered
    #[arg(long, default_value_t = 5.)]
    rate: f64,
    /// So many clients instead, each asking again as soon as it is answered
    #[arg(long, value_name = "CLIENTS", conflicts_with = "rate")]
    closed: Option<usize>,
    /// Prints the answers a second at the end; 8 clients unless --closed says otherwise
    #[arg(long, conflicts_with = "rate")]
    find_capacity: bool,
    /// How long is measured
    #[arg(long, value_name = "S", default_value_t = 10.)]
    seconds: f64,
    /// How long load runs before that
    #[arg(long, value_name = "S", default_value_t = 2.)]
    warm_up_s: f64,
    /// Slower answers are not counted as good
    #[arg(long, value_name = "MS")]
    goal_ms: Option<u64>,
    /// What is asked
    #[arg(long, value_enum, default_value = "default")]
    mix: Mix,
    /// Other pictures and other moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// What clap cannot check.
    fn check(&self) -> Result<(), String> {
        let is_length = |value: f64| value.is_finite() && (0. ..1e7).contains(&value);
        if !is_length(self.seconds) || self.seconds == 0. || !is_length(self.warm_up_s) {
            return Err("--seconds and --warm-up-s are lengths of time".to_owned());
        }
        if !(self.rate > 0. && self.rate <= 1e5) || self.closed == Some(0) {
            return Err("--rate and --closed are above 0".to_owned());
        }
        Ok(())
    }

    fn window(&self) -> Window {
        let from = Duration::from_secs_f64(self.warm_up_s);
        let to = from + Duration::from_secs_f64(self.seconds);
        Window { from, to, goal: self.goal_ms.map(Duration::from_millis) }
    }

    fn clients(&self) -> Option<usize> {
        self.closed.or(self.find_capacity.then_some(CAPACITY_CLIENTS))
    }

    fn in_words(&self) -> String {
        let kind = match self.clients() {
            Some(clients) => format!("closed loop of {clients} clients"),
            None => format!("open loop, {} requests/s", self.rate),
        };
        let Self { seconds, warm_up_s, mix, seed, .. } = self;
        format!("{kind}, {seconds} s after {warm_up_s} s of warm-up, mix {mix:?}, seed {seed}").to_lowercase()
    }

    /// The server's program beside this one: `target/release/examples/load` belongs to `target/release/serve-florence-2`.
    fn server_binary(&self) -> Result<PathBuf, Box<dyn Error>> {
        if let Some(binary) = &self.binary {
            return Ok(binary.clone());
        }
        let own = std::env::current_exe()?;
        let folder = own.parent().and_then(|examples| examples.parent()).ok_or("this program has no folder")?;
        let binary = folder.join("serve-florence-2").with_extension(std::env::consts::EXE_EXTENSION);
        if !binary.is_file() {
            return Err(format!("there is no {}: build it with cargo build --release", binary.display()).into());
        }
        Ok(binary)
    }
}

// Two threads: it mostly waits, and the processor is the server's.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    arguments.check()?;
    let traffic = Arc::new(Traffic::draw(arguments.mix, PICTURES_OF_EACH_SIZE, arguments.seed));
    let [small, large] = traffic.mean_body_bytes().map(|bytes| bytes / 1000);
    eprintln!("{PICTURES_OF_EACH_SIZE} pictures of 640x480, {small} kB each; as many of 1920x1080, {large} kB each");

    let server = match &arguments.start {
        Some(line) => {
            let words: Vec<&str> = line.split_whitespace().collect();
            Some(ServerProcess::start(&arguments.server_binary()?, &words).await?)
        }
        None => None,
    };
    let url = server.as_ref().map_or(arguments.url.as_str(), ServerProcess::url);
    eprintln!("{} at {url}", arguments.in_words());
    let process_id = arguments.pid.or(server.as_ref().map(ServerProcess::id));
    let report = measure(&arguments, &Caller::new(url)?, &traffic, process_id).await;
    print(&report, &arguments)
}

/// Drives load and counts what became of it, with a look at the processes meanwhile.
async fn measure(arguments: &Arguments, caller: &Caller, traffic: &Arc<Traffic>, server_id: Option<u32>) -> Report {
    let machine_before_s = machine_cpu_s();
    let server_watch = server_id.map(Watch::start);
    let driver_watch = Watch::start(std::process::id());
    let outcomes = drive(arguments, caller, traffic).await;
    let driver_samples = driver_watch.finish().await;
    let server_samples = match server_watch {
        Some(watch) => watch.finish().await,
        None => vec![],
    };
    let machine_s = machine_cpu_s().zip(machine_before_s).map(|(after_s, before_s)| after_s - before_s);

    let mut report = Report::count(arguments.in_words(), &outcomes, arguments.window());
    report.note_use(&server_samples, &driver_samples, machine_s);
    report
}

async fn drive(arguments: &Arguments, caller: &Caller, traffic: &Arc<Traffic>) -> Vec<Outcome> {
    let length = arguments.window().to;
    match arguments.clients() {
        Some(clients) => closed_loop(caller, traffic, clients, length, arguments.seed).await,
        None => open_loop(caller, plan(traffic, arguments.rate, length, arguments.seed)).await,
    }
}

fn print(report: &Report, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    println!("{}", report.table().trim_end());
    if arguments.find_capacity {
        println!("capacity: {:.1} answers/s", report.total.goodput_per_s);
    }
    Ok(())
}
