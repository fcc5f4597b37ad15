//! Everything that the program prints, as the platform's agent reads it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "logs/agent.rs"]
mod agent;
#[path = "logs/process.rs"]
mod process;

use agent::Read;
use process::Program;
use serde_json::{Map, Value, json};

const SECRET: &str = "s3cret\"token\\of-the-user";
const HUB_SECRET: &str = "hf_abcdefghijklmnop";

/// As the platform starts an app. Nobody listens at the platform's address.
const ON_PLATFORM: [(&str, &str); 6] = [
    ("ENV", "production"),
    ("TASK_ID", "777"),
    ("APP_NAME", "Serve Florence-2"),
    ("SERVER_ADDRESS", "http://127.0.0.1:9"),
    ("API_TOKEN", SECRET),
    ("HF_TOKEN", HUB_SECRET),
];

const DEMO: [&str; 4] = ["--model", "demo", "--device", "cpu"];

/// Breaks lines, quotes, JSON and terminals, and names the secrets.
fn hostile() -> String {
    format!(
        "a\nb\r\n\u{2028}\u{85}\u{1c}\"'\\{{\"level\": 5}}\u{1b}[2J\u{1f600} {SECRET} {HUB_SECRET} {}",
        "x".repeat(20_000)
    )
}

fn form(settings: &str) -> (String, Vec<u8>) {
    let picture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scenes/scene_00.png");
    let mut body = b"--edge\r\ncontent-disposition: form-data; name=\"files\"; filename=\"a.png\"\r\n\r\n".to_vec();
    body.extend(std::fs::read(picture).unwrap());
    let tail =
        format!("\r\n--edge\r\ncontent-disposition: form-data; name=\"settings\"\r\n\r\n{settings}\r\n--edge--\r\n");
    body.extend(tail.as_bytes());
    ("POST /inference_image HTTP/1.1\r\ncontent-type: multipart/form-data; boundary=edge".to_owned(), body)
}

fn infer(server: &Program, settings: &Value) -> u16 {
    let (head, body) = form(&json!({ "settings": settings }).to_string());
    server.send(&head, &body).0
}

/// All writes as the agent reads them: records every one, a whole one in each write.
fn replay(writes: &[Vec<u8>]) -> Vec<Read> {
    let read = |written: &Vec<u8>| {
        let shown = String::from_utf8_lossy(written);
        let mut lines = agent::read(written).unwrap_or_else(|error| panic!("{error}: {shown}"));
        assert_eq!(lines.len(), 1, "{shown}");
        let line = lines.remove(0);
        assert!(matches!(line, Read::Record { .. }), "not a record: {shown}");
        assert!(!shown.contains("s3cret") && !shown.contains(HUB_SECRET), "{shown}");
        line
    };
    writes.iter().map(read).collect()
}

/// The record whose message has this text: its level and its other keys.
fn find<'a>(lines: &'a [Read], text: &str) -> (&'a str, &'a Map<String, Value>) {
    let found = lines.iter().find_map(|line| match line {
        Read::Record { level, message, rest } if message.contains(text) => Some((level.as_str(), rest)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no record says {text:?}: {lines:#?}"))
}

#[test]
fn a_run_prints_nothing_that_hurts_the_agent() {
    let variables = [&ON_PLATFORM[..], &[("LOG_LEVEL", "DEBUG"), ("FAULT_PANIC_PROMPT", "please panic")]].concat();
    let mut server = Program::serve(&DEMO, &variables);
    server.wait_until_ready();

    assert_eq!(infer(&server, &json!({"text": "a red circle"})), 200);
    assert_eq!(infer(&server, &json!({"text": hostile()})), 400);
    assert_eq!(infer(&server, &json!({"task_prompt": hostile()})), 400);
    assert_eq!(server.send("GET /livez HTTP/1.1", b"").0, 200);
    assert_eq!(server.send("GET /?ping=true HTTP/1.1", b"").0, 200);
    for (length, status) in [(4000, 404), (100_000, 431)] {
        let path = format!("/{HUB_SECRET}/%0a%22\u{2028}/{}", "x".repeat(length));
        assert_eq!(server.send(&format!("GET {path} HTTP/1.1"), b"").0, status);
    }
    server.send("GET /\u{1f600}\u{1}\" HTTP/1.1", b"");
    let video = json!({"state": {"videoId": 5, "tracker": hostile()}});
    server.post("/inference_video_id_async", &video);
    let deployment = json!({"state": {"deploy_params": {}, "model_name": hostile()}});
    assert_eq!(server.post("/deploy_from_api", &deployment).0, 400);
    if cfg!(feature = "fault-points") {
        assert_eq!(infer(&server, &json!({"text": "please panic"})), 500);
    }
    let tail = server.send("GET /api/log?after=0 HTTP/1.1", b"").1;

    assert_eq!(server.post("/sly/shutdown", &json!({})).0, 200);
    server.wait_for("shutting down");
    let (status, writes) = server.finish();
    assert!(status.success(), "{status}");
    let lines = replay(&writes);

    let (level, rest) = find(&lines, "POST /inference_image 200");
    assert_eq!(level, "INFO");
    assert!(rest["responseTime"].is_u64(), "{rest:?}");
    assert_eq!(find(&lines, "GET /livez 200").0, "DEBUG");
    assert_eq!(find(&lines, "GET / 200").0, "DEBUG", "a ping");
    let (level, rest) = find(&lines, "no such tracker");
    assert_eq!(level, "WARN");
    let tracker = rest["fields"]["tracker"].as_str().unwrap();
    assert!(tracker.starts_with("a b \"'\\{\"level\": 5} [2J\u{1f600} *** *** xxx"), "{tracker}");
    let progress = |subtask: &str| {
        lines.iter().any(|line| match line {
            Read::Record { message, rest, .. } => {
                message == "progress" && rest["event_type"] == "EventType.PROGRESS" && rest["subtask"] == subtask
            }
            Read::Plain(_) => false,
        })
    };
    assert!(progress("Deploying model ...") && progress("Model deployed"), "{lines:#?}");
    if cfg!(feature = "fault-points") {
        let (level, rest) = find(&lines, "panic: a panic on demand");
        assert_eq!(level, "ERROR");
        assert!(rest["exc_str"].as_str().unwrap().contains("faults.rs:"), "{rest:?}");
    }

    let shown = tail["lines"].as_array().unwrap();
    assert!(shown.len() > 10 && tail["last"] == shown.last().unwrap()["seq"], "{tail}");
    let has = |text: &str| shown.iter().any(|line| line["message"].as_str().unwrap().contains(text));
    assert!(has("POST /inference_image 200 in ") && has("Model deployed 1/1") && has("tracker=a b"), "{tail}");
    assert!(!tail.to_string().contains("s3cret") && !tail.to_string().contains(HUB_SECRET), "{tail}");
}

#[test]
fn probes_are_not_heard_unless_a_fault_is_looked_for() {
    let server = Program::serve(&DEMO, &[("LOGLEVEL", "Info")]);
    server.wait_until_ready();
    for path in ["/metrics", "/api/status", "/api/log", "/?ping=1", "/livez"] {
        assert_eq!(server.send(&format!("GET {path} HTTP/1.1"), b"").0, 200, "{path}");
    }
    let tail = server.send("GET /api/log HTTP/1.1", b"").1.to_string();
    assert_eq!(server.send("GET /nothing HTTP/1.1", b"").0, 404);
    server.post("/sly/shutdown", &json!({}));
    let (_, writes) = server.finish();
    let lines = replay(&writes);
    find(&lines, "GET /nothing 404");
    for quiet in ["livez", "readyz", "metrics", "api/", "GET / "] {
        assert!(!writes.iter().any(|written| String::from_utf8_lossy(written).contains(quiet)), "{quiet}");
        assert!(!tail.contains(quiet), "{quiet}");
    }
}

#[test]
fn the_platform_is_told_why_a_server_does_not_start() {
    let folder = format!("/no/such: {SECRET}");
    let program = Program::start(&["serve", "--port", "0", "--weights", &folder], &ON_PLATFORM);
    let (status, writes) = program.finish();
    assert_eq!(status.code(), Some(2));
    let lines = replay(&writes);
    let (title, message) = agent::error_of(&lines);
    assert_eq!(title, Some("The app was started with wrong settings"));
    assert!(message.unwrap().contains("/no/such \u{2013} ***"), "{message:?}");
}

#[cfg(feature = "fault-points")]
#[test]
fn the_platform_is_told_of_a_lost_device() {
    let variables = [&ON_PLATFORM[..], &[("FAULT_DEVICE_LOST_AFTER_MS", "0")]].concat();
    let (status, writes) = Program::serve(&DEMO, &variables).finish();
    assert_eq!(status.code(), Some(1));
    let lines = replay(&writes);
    let (title, message) = agent::error_of(&lines);
    assert_eq!(title, Some("The app stopped"));
    assert!(message.unwrap().starts_with("the device stopped working \u{2013} "), "{message:?}");
}
