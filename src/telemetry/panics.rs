//! A panic is one record, not several raw lines.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook};

use super::output;
use super::record::{Level, Record};

/// From now on panics are records.
pub(super) fn install() {
    set_hook(Box::new(|info| output::write(record(info))));
}

fn record(info: &PanicHookInfo<'_>) -> Record {
    let cause = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let mut record = Record::new(Level::Error, format!("panic: {cause}"));
    record.add("exc_str", format!("{cause}, at {place}"));
    if let Some(name) = std::thread::current().name() {
        record.add("thread", name);
    }
    // Taken only where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        record.add("backtrace", backtrace.to_string());
    }
    record
}
