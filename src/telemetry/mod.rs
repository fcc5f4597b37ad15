//! What the program says about itself while it runs, on stderr, and what it takes of the machine.
//!
//! People at a terminal read lines of text. The platform reads one JSON object a line, and its reader is easily broken: see
//! `record` for what may stand in one. Secrets of the environment never leave, whoever puts them into a line.

mod histogram;
mod layer;
mod level;
mod memory;
mod progress;
mod record;
mod secrets;
mod tail;

use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use histogram::{Histogram, HistogramSnapshot};
pub use memory::{available_memory_bytes, page_faults, peak_resident_bytes, resident_bytes, total_memory_bytes};
pub use progress::{BytePace, DEPLOYED, DEPLOYING, STARTED, progress, progress_bytes};
pub use tail::{LogLine, lines_after};

use layer::LogLayer;
use secrets::Secrets;

/// How the log is written where nobody reads along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStyle {
    /// For people, everywhere.
    Text,
    /// For people at a terminal, for the platform everywhere else.
    Platform,
}

/// Starts the log. A second call changes nothing.
pub fn start(style: LogStyle) {
    let is_terminal = std::io::stderr().is_terminal();
    let writes_json = style == LogStyle::Platform && !is_terminal;
    let layer = LogLayer::new(writes_json, is_terminal, Secrets::from_env());
    // Fails only where a log was started before, as in tests.
    if tracing_subscriber::registry().with(level::filter()).with(layer).try_init().is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
}

/// Tells the platform why the process ends with an error: it shows both in the list of tasks.
pub fn report_fatal(title: &str, message: &str) {
    // The platform reads what stands behind the last colon, if these words stand before the first.
    tracing::error!("Error title: {}", title.replace(':', " "));
    tracing::error!("Error message: {}", message.replace(':', " "));
}

/// A panic in one record, where the usual hook writes several lines.
fn log_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let cause = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(exc_str = cause, place, "a thread panicked: {cause}");
}

/// Writes a whole line at once, so that no other line gets in between and no reader sees a part of it.
fn write_line(line: &str) {
    // Nobody left to tell is no reason to fail.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
