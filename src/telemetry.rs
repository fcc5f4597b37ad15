//! What the program says about itself while it runs, on stderr.

use tracing_subscriber::EnvFilter;

/// The platform's variable for how much is said: `debug`, `info`, `warn` …
const LEVEL_VARIABLE: &str = "LOG_LEVEL";

/// How much is said unless the environment wants it otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What a running server does.
    Events,
    /// Only what a person should know; for commands whose output matters.
    Warnings,
}

/// Starts the log. A second call changes nothing.
pub fn start(detail: Detail) {
    let default = match detail {
        Detail::Events => "info",
        Detail::Warnings => "warn",
    };
    let level = std::env::var(LEVEL_VARIABLE).unwrap_or_default().to_lowercase();
    // The platform has its own names for two levels.
    let level = match level.as_str() {
        "" => default,
        "warning" => "warn",
        "fatal" => "error",
        level => level,
    };
    let filter = EnvFilter::builder().parse_lossy(level);
    // Fails only where a log was started before, as in tests.
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).try_init();
}
