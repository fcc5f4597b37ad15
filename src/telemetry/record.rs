//! One record of the log, before it has a form.

use std::fmt;

use serde_json::{Map, Number, Value};
use tracing::field::{Field, Visit};

use super::clock;
use super::secrets::Secrets;

/// How bad it is, in the platform's words. It knows no others: `warning` would be as good as `info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    /// The process is about to end.
    Fatal,
}

impl Level {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::TRACE => Self::Trace,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::ERROR => Self::Error,
        }
    }
}

/// Fields that the platform knows: they stand at the top of the record, beside `message`, `timestamp` and `level`, and are
/// texts. No name of Python's log records may ever stand there (`name`, `filename`, `args` …): the agent dies of it. That is
/// why all other fields stand below `fields`.
const TOP_TEXTS: [&str; 5] = ["event_type", "subtask", "current_label", "total_label", "exc_str"];
/// Likewise, numbers.
const TOP_NUMBERS: [&str; 3] = ["current", "total", "responseTime"];

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub timestamp: String,
    pub level: Level,
    pub message: String,
    /// Fields that the platform knows.
    pub top: Map<String, Value>,
    /// All others.
    pub fields: Map<String, Value>,
}

impl Record {
    /// A record of this moment.
    pub fn new(level: Level, message: impl Into<String>) -> Self {
        Self { timestamp: clock::now(), level, message: message.into(), top: Map::new(), fields: Map::new() }
    }

    /// Adds a field, where it belongs.
    pub fn add(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        let is_known = match &value {
            Value::String(_) => TOP_TEXTS.contains(&name),
            Value::Number(_) => TOP_NUMBERS.contains(&name),
            _ => false,
        };
        let fields = if is_known { &mut self.top } else { &mut self.fields };
        fields.insert(name.to_owned(), value);
    }

    /// The record without secrets and without line breaks in the texts.
    pub fn cleaned(mut self, secrets: &Secrets) -> Self {
        let clean = |text: String| one_line(secrets.redact(text));
        self.message = clean(self.message);
        for value in self.top.values_mut().chain(self.fields.values_mut()) {
            if let Value::String(text) = value {
                *text = clean(std::mem::take(text));
            }
        }
        self
    }
}

/// The text in one line. Readers break lines at more than `\n`; a text that is one line to everybody is never torn.
fn one_line(text: String) -> String {
    let breaks = |c: char| c.is_control() && c != '\t' || matches!(c, '\u{2028}' | '\u{2029}');
    if !text.contains(breaks) {
        return text;
    }
    text.split(breaks).map(str::trim_end).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Takes a `tracing` event's fields. Only our own code may set what the platform reads.
pub(super) struct FieldVisitor<'a> {
    pub record: &'a mut Record,
    pub is_own: bool,
}

impl FieldVisitor<'_> {
    fn add(&mut self, field: &Field, value: Value) {
        let name = field.name();
        match value {
            Value::String(text) if name == "message" => self.record.message = text,
            // Where the older log facade says that it comes from.
            _ if name.starts_with("log.") => {}
            value if self.is_own => self.record.add(name, value),
            value => {
                self.record.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for FieldVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, u64::try_from(value).unwrap_or(u64::MAX).into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for what is not a number.
        let value = Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number);
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, value.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_they_cannot_harm() {
        let mut record = Record::new(Level::Info, "hello");
        record.add("current", 3);
        record.add("total", "many");
        record.add("exc_str", "why");
        record.add("filename", "a.png");
        let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&record.top), ["current", "exc_str"]);
        assert_eq!(keys(&record.fields), ["total", "filename"]);
    }

    #[test]
    fn a_text_of_many_lines_becomes_one() {
        for (text, expected) in [
            ("a\nb", "a b"),
            ("a\r\n\r\n  b\n", "a   b"),
            ("a\u{2028}b\u{85}c\u{1c}d\u{b}e", "a b c d e"),
            ("\n", ""),
            ("tab\tstays", "tab\tstays"),
        ] {
            assert_eq!(one_line(text.to_owned()), expected, "{text:?}");
        }
    }
}
