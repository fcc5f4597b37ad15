//! The platform's agent, as far as it reads what an app prints.

use serde_json::{Map, Value};

/// Attributes of Python's log records. The agent hands a record's other keys to its own logger, which dies of these.
const LOG_RECORD_ATTRIBUTES: [&str; 23] = [
    "name",
    "msg",
    "args",
    "levelname",
    "levelno",
    "pathname",
    "filename",
    "module",
    "exc_info",
    "exc_text",
    "stack_info",
    "lineno",
    "funcName",
    "created",
    "msecs",
    "relativeCreated",
    "thread",
    "threadName",
    "processName",
    "process",
    "asctime",
    "taskName",
    "message",
];

const LEVELS: [&str; 6] = ["FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// Where Docker cuts what a process prints.
const FRAME_BYTES: usize = 16 << 10;

/// What the agent makes of a line.
#[derive(Debug, PartialEq)]
pub enum Read {
    /// A record; its other keys.
    Record { level: String, message: String, rest: Map<String, Value> },
    /// Text, shown as it is.
    Plain(String),
}

/// What the agent makes of what one write call wrote.
///
/// # Errors
/// Why it dies, or tears it into pieces.
pub fn read(written: &[u8]) -> Result<Vec<Read>, String> {
    if written.len() >= FRAME_BYTES {
        return Err(format!("{} bytes are cut", written.len()));
    }
    let text = std::str::from_utf8(written).map_err(|_| "it is not UTF-8".to_owned())?;
    if !text.ends_with('\n') {
        return Err("the line does not end with the write".to_owned());
    }
    python_lines(text).map(read_line).collect()
}

/// Lines as Python's `str.splitlines` finds them.
fn python_lines(text: &str) -> impl Iterator<Item = &str> {
    let breaks = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    text.trim_end_matches('\n').split(breaks)
}

fn read_line(line: &str) -> Result<Read, String> {
    let Ok(Value::Object(mut record)) = serde_json::from_str(line) else { return Ok(Read::Plain(line.to_owned())) };
    if !record.contains_key("message") || !record.contains_key("level") {
        return Ok(Read::Plain(line.to_owned()));
    }
    let message = match record.remove("message") {
        Some(Value::String(message)) => message,
        Some(Value::Null) => String::new(),
        other => return Err(format!("message {other:?}")),
    };
    let Some(Value::String(level)) = record.remove("level") else { return Err("level is no text".to_owned()) };
    let level = Some(level.to_uppercase()).filter(|level| LEVELS.contains(&level.as_str()));
    // The agent writes its own.
    record.remove("timestamp");
    match record.keys().find(|key| LOG_RECORD_ATTRIBUTES.contains(&key.as_str())) {
        Some(key) => Err(format!("attempt to overwrite {key:?} in LogRecord")),
        None => Ok(Read::Record { level: level.unwrap_or_else(|| "INFO".to_owned()), message, rest: record }),
    }
}

/// The title and the description of a task that ended with an error.
pub fn error_of(lines: &[Read]) -> (Option<&str>, Option<&str>) {
    let told = |mark: &str| {
        lines.iter().rev().find_map(|line| {
            let (Read::Record { message, .. } | Read::Plain(message)) = line;
            message.split(':').next()?.ends_with(mark).then(|| message.rsplit(':').next().unwrap_or_default().trim())
        })
    };
    (told("Error title"), told("Error message"))
}

#[test]
fn what_kills_the_agent_is_known() {
    for (written, part) in [
        (r#"{"message": "m", "level": "info", "filename": "a.rs"}"#, "filename"),
        (r#"{"message": "m", "level": "info", "threadName": "main"}"#, "threadName"),
        (r#"{"message": 5, "level": "info"}"#, "message"),
        (r#"{"message": {}, "level": "info"}"#, "message"),
        (r#"{"message": "m", "level": null}"#, "level"),
        (r#"{"message": "m", "level": 20}"#, "level"),
    ] {
        assert!(read(format!("{written}\n").as_bytes()).unwrap_err().contains(part), "{written}");
        assert!(read(written.as_bytes()).unwrap_err().contains("end"), "{written}");
    }
    assert!(read(&[b'x'; FRAME_BYTES]).is_err());
    assert_eq!(read("a\u{2028}b\n".as_bytes()).unwrap().len(), 2);
    assert_eq!(read(b"{\"message\": \"m\"}\n").unwrap(), [Read::Plain("{\"message\": \"m\"}".to_owned())]);
    let odd = read(b"{\"message\": \"m\", \"level\": \"warning\"}\n").unwrap();
    assert!(matches!(&odd[0], Read::Record { level, .. } if level == "INFO"), "the agent does not know it");
}
