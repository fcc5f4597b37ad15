//! The form that the platform's agent reads: one JSON object a line.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::record::Record;

/// Longest line. The agent gets what we print in frames of 16 KiB and takes each for whole lines.
pub(super) const MAX_LINE_BYTES: usize = 8 << 10;

/// Longest text in a record; the next one is tried where the line is too long.
const TEXT_LIMITS: [usize; 4] = [4096, 1024, 256, 64];

/// The record as a line of ASCII without its end, so that no frame ends within a character.
pub(super) fn render(record: &Record) -> String {
    let mut lines = TEXT_LIMITS.iter().map(|limit| line(record, *limit, true));
    lines.find(|line| line.len() < MAX_LINE_BYTES).unwrap_or_else(|| line(record, 64, false))
}

fn line(record: &Record, limit: usize, has_fields: bool) -> String {
    let mut whole = Map::new();
    whole.insert("message".to_owned(), shortened(&record.message, limit).into());
    whole.insert("timestamp".to_owned(), json!(record.timestamp));
    whole.insert("level".to_owned(), record.level.name().into());
    whole.extend(record.top.iter().map(|(key, value)| (key.clone(), shortened_value(value, limit))));
    if has_fields && !record.fields.is_empty() {
        let fields = record.fields.iter().map(|(key, value)| (key.clone(), shortened_value(value, limit)));
        whole.insert("fields".to_owned(), Value::Object(fields.collect()));
    }
    ascii(&Value::Object(whole).to_string())
}

fn shortened_value(value: &Value, limit: usize) -> Value {
    match value {
        Value::String(text) => shortened(text, limit).into(),
        other => other.clone(),
    }
}

/// The text, or its beginning.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit);
    format!("{} …", text.get(..end).unwrap_or_default())
}

/// JSON whose texts hold no other characters.
fn ascii(json: &str) -> String {
    if json.is_ascii() {
        return json.to_owned();
    }
    let mut units = [0; 2];
    json.chars().fold(String::with_capacity(json.len() * 2), |mut line, c| {
        if c.is_ascii() {
            line.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string cannot fail.
                let _ = write!(line, "\\u{unit:04x}");
            }
        }
        line
    })
}

#[cfg(test)]
mod tests {
    use super::super::record::Level;
    use super::*;

    fn parse(line: &str) -> Value {
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_record_is_an_object_with_the_platforms_keys_at_its_top() {
        let mut record = Record::new(Level::Warn, "gr\u{fc}\u{df}e \u{1f600} \"x\"");
        record.add("responseTime", 12);
        record.add("name", "cat.png");
        let line = render(&record);
        assert!(line.is_ascii(), "{line}");
        let read = parse(&line);
        assert_eq!(read["message"], "gr\u{fc}\u{df}e \u{1f600} \"x\"");
        assert_eq!(read["level"], "warn");
        assert_eq!(read["responseTime"], 12);
        assert_eq!(read["fields"], json!({"name": "cat.png"}));
        let keys: Vec<_> = read.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["message", "timestamp", "level", "responseTime", "fields"]);
    }

    #[test]
    fn no_record_is_too_long() {
        for text in ["x".repeat(100_000), "\u{1f600}".repeat(30_000), "\"".repeat(100_000), "\u{1}".repeat(9000)] {
            let mut record = Record::new(Level::Info, text.clone());
            for number in 0..32 {
                record.add(&format!("field_{number}"), text.clone());
            }
            record.add("exc_str", text.clone());
            let line = render(&record);
            assert!(line.len() < MAX_LINE_BYTES, "{}", line.len());
            assert!(parse(&line)["message"].as_str().unwrap().starts_with(&text[..4]));
        }
        let short = Record::new(Level::Info, "y".repeat(4000));
        assert_eq!(parse(&render(&short))["message"], "y".repeat(4000), "a usual text is whole");
    }
}
