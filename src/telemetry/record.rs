//! One record of the log, and its two forms.
//!
//! The platform's agent takes `message` and `level` out of a JSON line and hands every other key at the top to Python's
//! logging. A key that names an attribute of Python's records ends the whole task there, and which names those are depends on
//! its version. So only keys of a fixed list stand at the top; all others lie under `fields`.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tracing::Level;
use tracing::field::{Field, Visit};

/// Keys that the platform knows at the top of a record.
const KNOWN_KEYS: [&str; 8] =
    ["event_type", "subtask", "current", "total", "current_label", "total_label", "responseTime", "exc_str"];
/// Longest text of a record. A line is read in frames of 16 KiB, and one that is cut apart is read as two.
const MAX_TEXT_BYTES: usize = 2000;
/// Longest line. What is longer loses its fields.
const MAX_LINE_BYTES: usize = 12 << 10;

/// What one event says.
#[derive(Debug, Default)]
pub(super) struct Record {
    message: String,
    known: Map<String, Value>,
    fields: Map<String, Value>,
}

impl Record {
    /// The message, with its fields in short.
    pub fn summary(&self) -> String {
        let mut text = self.message.clone();
        for (key, value) in self.known.iter().chain(&self.fields) {
            let written = match value {
                Value::String(value) => write!(text, " {key}={value:?}"),
                value => write!(text, " {key}={value}"),
            };
            if written.is_err() {
                break;
            }
        }
        shorten(text)
    }

    /// For the platform, with the newline.
    pub fn to_json_line(&self, level: Level, time: OffsetDateTime) -> String {
        let mut record = json!({"message": self.message, "timestamp": format_time(time), "level": level_name(level)});
        if let Some(object) = record.as_object_mut() {
            object.extend(self.known.clone());
            if !self.fields.is_empty() {
                object.insert("fields".to_owned(), Value::Object(self.fields.clone()));
            }
        }
        let line = format!("{record}\n");
        if line.len() <= MAX_LINE_BYTES {
            return line;
        }
        let short = json!({"message": self.message, "timestamp": format_time(time), "level": level_name(level)});
        format!("{short}\n")
    }

    fn put(&mut self, field: &Field, value: Value) {
        match field.name() {
            // What a library's own log says about its place in the source helps nobody here.
            name if name.starts_with("log.") => {}
            "message" => self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            name if KNOWN_KEYS.contains(&name) => {
                self.known.insert(name.to_owned(), value);
            }
            name => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(one_line(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(one_line(&format!("{value:?}"))));
    }
}

/// The agent's names are these, and `warning` is none of them.
pub(super) const fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub(super) fn format_time(time: OffsetDateTime) -> String {
    let (date, clock) = (time.date(), time.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.millisecond()
    )
}

fn one_line(text: &str) -> String {
    shorten(text.replace(['\n', '\r'], " "))
}

fn shorten(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &str, fields: &[(&str, Value)]) -> Record {
        let fields = fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Record { message: one_line(message), known: Map::new(), fields }
    }

    fn line(record: &Record) -> String {
        record.to_json_line(Level::WARN, OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn a_record_is_one_line_of_json() {
        let line = line(&record("two\nlines", &[("name", "x".into())]));
        assert_eq!(line.matches('\n').count(), 1);
        let parsed: Value = serde_json::from_str(&line).unwrap();
        let expected = json!({"message": "two lines", "timestamp": "1970-01-01T00:00:00.000Z", "level": "warn",
            "fields": {"name": "x"}});
        assert_eq!(parsed, expected);
    }

    #[test]
    fn nothing_makes_a_line_longer_than_a_frame() {
        let long = one_line(&"ä\"\u{1}".repeat(50_000));
        let fields: Vec<(String, Value)> = (0..20).map(|number| (format!("f{number}"), long.clone().into())).collect();
        let fields: Vec<(&str, Value)> = fields.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let line = line(&record(&long, &fields));
        assert!(line.len() <= MAX_LINE_BYTES, "{}", line.len());
        assert!(serde_json::from_str::<Value>(&line).is_ok());
    }
}
