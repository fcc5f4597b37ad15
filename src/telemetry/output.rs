//! Where records go: to stderr, each in one write, and into the tail.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use super::record::Record;
use super::secrets::Secrets;
use super::tail::log_tail;
use super::{json, readable};

/// How records look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStyle {
    /// Lines for people.
    Readable,
    /// A JSON object a line, for the platform's agent.
    Records,
}

impl LogStyle {
    /// The style of a command that serves: people read it at a terminal, and machines everywhere else.
    pub fn for_serving() -> Self {
        if std::io::stderr().is_terminal() { Self::Readable } else { Self::Records }
    }
}

/// The one output of the process.
static OUTPUT: OnceLock<Output> = OnceLock::new();

struct Output {
    style: LogStyle,
    has_colours: bool,
    secrets: Secrets,
}

/// Opens the output; false where it was open before.
pub(super) fn open(style: LogStyle) -> bool {
    let has_colours = std::io::stderr().is_terminal();
    OUTPUT.set(Output { style, has_colours, secrets: Secrets::from_env() }).is_ok()
}

/// The style of the output, none before it is open.
pub(super) fn style() -> Option<LogStyle> {
    OUTPUT.get().map(|output| output.style)
}

/// The text without secrets, whether the output is open or not.
pub(super) fn redacted(text: String) -> String {
    match OUTPUT.get() {
        Some(output) => output.secrets.redact(text),
        None => Secrets::from_env().redact(text),
    }
}

/// Writes a record, if the output is open.
pub(super) fn write(record: Record) {
    let Some(output) = OUTPUT.get() else { return };
    let record = record.cleaned(&output.secrets);
    let mut line = match output.style {
        LogStyle::Readable => readable::render(&record, output.has_colours),
        LogStyle::Records => json::render(&record),
    };
    line.push('\n');
    // One call, for a reader that takes what one call wrote for whole lines. That nobody reads is no reason to fail.
    let _ = std::io::stderr().write_all(line.as_bytes());
    log_tail().push(&record);
}
