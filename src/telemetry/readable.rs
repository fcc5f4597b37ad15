//! The form that people read.

use std::fmt::Write as _;

use serde_json::Value;

use super::json::shortened;
use super::record::{Level, Record};

/// Longest message, and longest text of a field: a terminal shows it all, nobody reads more.
const MAX_TEXT_BYTES: usize = 4 << 10;

/// The record as a line without its end.
pub(super) fn render(record: &Record, has_colours: bool) -> String {
    let level = record.level.name().to_ascii_uppercase();
    let text = text(record, MAX_TEXT_BYTES);
    match has_colours {
        true => format!("\x1b[2m{}\x1b[0m {}{level:>5}\x1b[0m {text}", record.timestamp, colour(record.level)),
        false => format!("{} {level:>5} {text}", record.timestamp),
    }
}

/// What it says, its fields behind the message.
pub(super) fn text(record: &Record, limit: usize) -> String {
    if let Some(text) = progress_text(record) {
        return text;
    }
    let mut text = shortened(&record.message, limit);
    for (name, value) in record.top.iter().chain(&record.fields) {
        // Writing to a string cannot fail.
        let _ = match value {
            Value::Number(ms) if name == "responseTime" => write!(text, " in {ms} ms"),
            Value::String(value) => write!(text, " {name}={}", shortened(value, limit)),
            value => write!(text, " {name}={value}"),
        };
    }
    text
}

/// How far something is, without the words that only the platform needs.
fn progress_text(record: &Record) -> Option<String> {
    record.top.get("event_type")?;
    let text = |key| record.top.get(key).and_then(Value::as_str);
    let number = |key| record.top.get(key).and_then(Value::as_u64);
    let subtask = text("subtask")?;
    Some(match (text("current_label"), text("total_label")) {
        (Some(current), Some(total)) => format!("{subtask} {current} of {total}"),
        _ => format!("{subtask} {}/{}", number("current")?, number("total")?),
    })
}

const fn colour(level: Level) -> &'static str {
    match level {
        Level::Trace => "\x1b[35m",
        Level::Debug => "\x1b[34m",
        Level::Info => "\x1b[32m",
        Level::Warn => "\x1b[33m",
        Level::Error | Level::Fatal => "\x1b[31m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_the_message() {
        let mut record = Record::new(Level::Info, "POST /inference_image 200");
        record.timestamp = "T".to_owned();
        record.add("responseTime", 12);
        record.add("error", "none at all");
        record.add("count", 3);
        let line = "T  INFO POST /inference_image 200 in 12 ms error=none at all count=3";
        assert_eq!(render(&record, false), line);
        assert!(render(&record, true).contains("\x1b[32m INFO\x1b[0m POST"));
    }
}
