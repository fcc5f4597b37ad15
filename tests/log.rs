//! Everything that a run prints, read by the rules of the platform's agent: what breaks its reader ends the task.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// Attributes of Python's log records: a key of this name at the top raises an error in its `extra`.
const RESERVED: [&str; 22] = [
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
];
const LEVELS: [&str; 6] = ["FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
/// A line that is longer may be cut apart.
const MAX_LINE_BYTES: usize = 16 << 10;
const TOKEN: &str = "a-token-that-nobody-may-see";

struct Run {
    child: Child,
    address: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Run {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_serve-florence-2"))
            .args(["serve", "--model", "demo", "--device", "cpu", "--port", "0"])
            .env("LOG_LEVEL", "debug")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&lines);
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| seen.lock().unwrap().push(line)));
        let mut run = Self { child, address: String::new(), lines };
        run.address = run.wait_for("listening on http://").split(['"', '\n']).next().unwrap().to_owned();
        run.wait_for("the model is ready");
        run
    }

    /// What stands behind the words in the first line that has them.
    fn wait_for(&self, words: &str) -> String {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let lines = self.lines.lock().unwrap();
            if let Some((_, rest)) = lines.iter().find_map(|line| line.split_once(words)) {
                return rest.to_owned();
            }
            drop(lines);
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nothing said {words:?}: {:#?}", self.lines.lock().unwrap());
    }

    fn send(&self, head: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n").unwrap();
        write!(stream, "content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn end(mut self) -> Vec<String> {
        assert!(self.send("POST /sly/shutdown", b"").ends_with("null"));
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.lines.lock().unwrap().clone()
    }
}

/// What the agent makes of a line: level, message, and the keys that it hands on.
fn read_as_the_agent(line: &str) -> (String, String, Vec<String>) {
    let Ok(Value::Object(mut record)) = serde_json::from_str::<Value>(line) else {
        panic!("not an object: {line}");
    };
    let (Some(Value::String(message)), Some(Value::String(level))) = (record.remove("message"), record.remove("level"))
    else {
        panic!("message and level are no texts: {line}");
    };
    (level.to_uppercase(), message, record.keys().cloned().collect())
}

#[test]
fn all_that_is_printed_can_be_read_by_the_platform() {
    let run = Run::start(&[("ENV", "production"), ("TASK_ID", "7"), ("API_TOKEN", TOKEN)]);
    let long = "x".repeat(7000);
    for (head, body) in [
        ("POST /get_session_info", &b"{}"[..]),
        ("GET /livez", b""),
        ("GET /nowhere/%22%0A%00?name=1", b""),
        (&format!("GET /{long}"), b""),
        (&format!("GET /net/{TOKEN}/x"), b""),
        ("POST /inference_image", b"no form"),
        ("POST /deploy_from_api", br#"{"state": {"model_name": "a\nb\"c", "deploy_params": {}}}"#),
        ("POST /inference_image_url", br#"{"state": {"image_url": "http://127.0.0.1/\n\u0000"}}"#),
        ("POST /freeze_model", b"{}"),
    ] {
        assert!(run.send(head, body).starts_with("HTTP/1.1 "), "{head}");
    }
    let tail = run.send("GET /api/log?after=0", b"");
    assert!(tail.contains("the model is ready") && !tail.contains(TOKEN));
    let lines = run.end();
    for line in &lines {
        assert!(line.len() < MAX_LINE_BYTES, "{} bytes: {line}", line.len());
        assert!(!line.contains(TOKEN), "{line}");
        let (level, message, keys) = read_as_the_agent(line);
        assert!(LEVELS.contains(&level.as_str()), "{line}");
        assert!(!message.contains('\n') && !message.contains("Requirement already satisfied"), "{line}");
        assert!(keys.iter().all(|key| !RESERVED.contains(&key.as_str())), "{line}");
    }
    let has = |words: &str| lines.iter().any(|line| line.contains(words));
    assert!(has(r#""subtask":"Deploying model ...","current":0,"total":1"#));
    assert!(has(r#""subtask":"Model deployed","current":1,"total":1"#));
    assert!(has("POST /get_session_info 200") && has(r#""responseTime":"#) && has("/net/***/x"));
    let livez = lines.iter().find(|line| line.contains("GET /livez")).unwrap();
    assert_eq!(read_as_the_agent(livez).0, "DEBUG");
}

#[test]
fn a_server_that_cannot_start_says_why_in_the_platforms_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_serve-florence-2"))
        .env("ENV", "production")
        .args(["serve", "--model", "demo", "--port", &taken.local_addr().unwrap().port().to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_tells_why(&String::from_utf8(output.stderr).unwrap());
}

#[cfg(feature = "fault-points")]
#[test]
fn a_device_that_is_lost_is_told_in_the_platforms_words() {
    let mut run = Run::start(&[("ENV", "production"), ("FAULT_DEVICE_LOST_AFTER_MS", "3000")]);
    assert_eq!(run.child.wait().unwrap().code(), Some(1));
    // The last lines may still be on their way.
    run.wait_for("Error message");
    assert_tells_why(&run.lines.lock().unwrap().join("\n"));
}

/// The two lines that the platform shows as the task's error: of each what stands behind its last colon.
fn assert_tells_why(log: &str) {
    let messages: Vec<String> =
        log.lines().filter(|line| line.starts_with('{')).map(|line| read_as_the_agent(line).1).collect();
    for title in ["Error title", "Error message"] {
        let line = messages.iter().find(|message| message.split(':').next().unwrap().ends_with(title)).unwrap();
        let shown = line.rsplit(':').next().unwrap();
        assert!(shown.len() > 10, "the platform shows {shown:?} of {line:?}");
    }
}
