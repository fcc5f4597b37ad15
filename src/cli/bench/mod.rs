//! `bench`: how long each stage of the model takes, for as many pictures, prompts, beams and tokens as asked for.
//!
//! The stages and the keys of the JSON form are those in which PyTorch's pipeline is usually measured, so that both can be
//! laid side by side.

mod clock;
mod stages;

use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value, json};

use self::clock::Timing;
use self::stages::Bench;
use super::args::BenchArgs;
use super::error::{CliError, CliResult};
use super::locate::locate;
use super::print_line;
use crate::engine::{DeviceChoice, OpenDevice};
use crate::florence::{Florence, Precision};
use crate::telemetry::{self, LogStyle, peak_resident_bytes};

/// Times the stages and prints them.
pub fn run(args: &BenchArgs) -> CliResult<()> {
    telemetry::start(LogStyle::Text);
    let threads = args.threads();
    // On a GPU the threads wait more than they work; on a CPU they are what is measured.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start {threads} threads: {error}")))?;
    let report = pool.install(|| measure(args, threads))?;
    if args.json {
        let text = serde_json::to_string(&report).map_err(|error| CliError::Failed(error.to_string()))?;
        return print_line(&text);
    }
    print_table(&report)
}

/// What was measured, and under which settings.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    device: String,
    dtype: &'static str,
    threads: usize,
    batch: usize,
    prompts: usize,
    beams: usize,
    tokens: usize,
    prompt_tokens: usize,
    repeat: usize,
    load_s: f64,
    ms: Map<String, Value>,
    min_ms: Map<String, Value>,
    cpu_ms: Map<String, Value>,
    /// Pages touched for the first time: none once memory is reused.
    page_faults: Map<String, Value>,
    /// Tokens of each answer, the start token not counted.
    new_tokens: usize,
    image_per_s: f64,
    rss_loaded_mib: Option<u64>,
    rss_peak_mib: Option<u64>,
}

fn measure(args: &BenchArgs, threads: usize) -> CliResult<Report> {
    let plan = args.plan()?;
    if matches!(&plan.devices, DeviceChoice::AllCuda) {
        return Err(CliError::Usage("a benchmark runs on one device; name it".to_owned()));
    }
    let start = Instant::now();
    let device = OpenDevice::open(&plan.devices, plan.precision)?;
    let found = locate(&plan.source, false)?;
    let model = Florence::load(&found.files, device.precision, &device.device)?;
    let load_s = rounded(start.elapsed().as_secs_f64());
    let rss_loaded_mib = peak_memory_mib();

    let bench = Bench::new(&model, &device.device, args)?;
    let measured = bench.run()?;
    let keys = |of: fn(&Timing) -> f64| {
        measured.timings.iter().map(|(stage, timing)| ((*stage).to_owned(), json!(rounded(of(timing))))).collect()
    };
    let generate_ms = measured.timings.last().map_or(f64::NAN, |(_, timing)| timing.median_ms);
    Ok(Report {
        model: found.name,
        device: device.label,
        dtype: dtype_name(device.precision),
        threads,
        batch: args.batch,
        prompts: args.prompts,
        beams: args.beams,
        tokens: args.tokens,
        prompt_tokens: args.prompt_tokens,
        repeat: args.repeat,
        load_s,
        ms: keys(|timing| timing.median_ms),
        min_ms: keys(|timing| timing.min_ms),
        cpu_ms: keys(|timing| timing.cpu_ms),
        page_faults: measured
            .timings
            .iter()
            .map(|(stage, timing)| ((*stage).to_owned(), json!(timing.page_faults)))
            .collect(),
        new_tokens: measured.new_tokens,
        image_per_s: rounded(1000. * args.batch as f64 / generate_ms),
        rss_loaded_mib,
        rss_peak_mib: peak_memory_mib(),
    })
}

fn print_table(report: &Report) -> CliResult<()> {
    let Report { model, device, dtype, threads, batch, prompts, beams, tokens, .. } = report;
    print_line(&format!(
        "{model} on {device} in {dtype}, {threads} threads: {batch} pictures with {prompts} prompts each, {beams} beams, {tokens} tokens"
    ))?;
    print_line(&format!("{:10} {:>12} {:>12} {:>12}", "ms", "median", "least", "processor"))?;
    for (stage, median) in &report.ms {
        let of = |map: &Map<String, Value>| map.get(stage).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let (median, least, cpu) = (median.as_f64().unwrap_or(f64::NAN), of(&report.min_ms), of(&report.cpu_ms));
        print_line(&format!("{stage:10} {median:12.2} {least:12.2} {cpu:12.2}"))?;
    }
    let peak = report.rss_peak_mib.map_or_else(String::new, |mib| format!(", {mib} MiB of memory at most"));
    print_line(&format!("{} pictures/s{peak}", report.image_per_s))
}

fn peak_memory_mib() -> Option<u64> {
    peak_resident_bytes().map(|bytes| bytes >> 20)
}

/// To microseconds.
fn rounded(value: f64) -> f64 {
    (value * 1000.).round() / 1000.
}

/// As PyTorch's benchmark spells it.
const fn dtype_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "fp32",
        Precision::F16 => "fp16",
        Precision::Bf16 => "bf16",
        Precision::Int8 => "int8",
    }
}
