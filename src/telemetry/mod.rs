//! What the program says about itself while it runs, on stderr, and what it takes of the machine.
//!
//! On the platform an agent reads every line that the program prints, as JSON if it can, and a line that it does not
//! expect ends the whole task. So there is one place that writes: [`record::Record`] says what a record may hold,
//! [`json`] how it looks to the agent, and [`output`] writes it in one call, after every secret of the environment was
//! taken out. People at a terminal, and those who run a command, get [`readable`] lines instead.
//!
//! Code says what it has to say through `tracing`; a few things have functions of their own: [`progress`],
//! [`progress_bytes`], [`report_fatal`]. The last records are kept for the page, see [`log_tail`]. What is counted and timed
//! all over the program is a [`Histogram`].

mod clock;
mod fatal;
mod histogram;
mod json;
mod layer;
mod level;
mod memory;
mod output;
mod panics;
mod progress;
mod readable;
mod record;
mod secrets;
mod tail;

pub use fatal::report_fatal;
pub use histogram::{Histogram, HistogramSnapshot};
pub use memory::{peak_resident_bytes, resident_bytes, total_memory_bytes};
pub use output::LogStyle;
pub use progress::{DEPLOYED, DEPLOYING, ProgressPace, STARTED, byte_label, progress, progress_bytes};
pub use tail::{LogLine, LogTail, log_tail};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log in this style. A second call changes nothing.
pub fn start(style: LogStyle) {
    if !output::open(style) {
        return;
    }
    panics::install();
    // Fails only where somebody else's log was started before.
    let _ = tracing_subscriber::registry().with(level::filter_from_env()).with(layer::RecordLayer).try_init();
}
