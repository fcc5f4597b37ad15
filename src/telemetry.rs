//! What the program says about itself while it runs, on stderr, and what it takes of the machine.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The platform's variable for how much is said: `debug`, `info`, `warn` …
const LEVEL_VARIABLE: &str = "LOG_LEVEL";

/// How much is said unless the environment wants it otherwise.
const DEFAULT_LEVEL: &str = "info";

/// Memory that this process holds, in bytes, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    read_memory("VmRSS:")
}

/// The most that it ever held.
pub fn peak_resident_bytes() -> Option<u64> {
    read_memory("VmHWM:")
}

/// Memory that the machine has.
pub fn total_memory_bytes() -> Option<u64> {
    read_kib("/proc/meminfo", "MemTotal:")
}

fn read_memory(field: &str) -> Option<u64> {
    read_kib("/proc/self/status", field)
}

fn read_kib(file: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(file).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The platform's words for a model on its way.
pub const DEPLOYING: &str = "Deploying model ...";
/// The platform's words for a model that answers.
pub const DEPLOYED: &str = "Model deployed";
/// The platform's words for an app without a model.
pub const STARTED: &str = "Application is started ...";

/// Shows how far something is.
pub fn progress(subtask: &str, current: u64, total: u64) {
    tracing::info!(subtask, current, total, "progress");
}

/// Starts the log. A second call changes nothing.
pub fn start() {
    let level = std::env::var(LEVEL_VARIABLE).unwrap_or_default().to_lowercase();
    // The platform has its own names for two levels.
    let level = match level.as_str() {
        "" => DEFAULT_LEVEL,
        "warning" => "warn",
        "fatal" => "error",
        level => level,
    };
    let filter = EnvFilter::builder().parse_lossy(level);
    // Fails only where a log was started before, as in tests.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .try_init();
}
