//! Fetching a published checkpoint, from a hub on loopback that serves a tiny one under its name.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// What the real hub calls a state of a repository.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with one repository, which holds no safetensors.
struct Hub {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(vec![]));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&log);
                std::thread::spawn(move || serve(&stream, &log));
            }
        });
        Self { endpoint, asked }
    }

    fn transfers(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|line| line.starts_with("GET")).count()
    }
}

fn serve(mut stream: &TcpStream, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    while reader.read_line(&mut request).is_ok_and(|length| length > 0) {
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
            line.clear();
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        log.lock().unwrap().push(format!("{method} {path}"));
        let file = path.strip_prefix("/microsoft/Florence-2-base/resolve/main/");
        let content =
            file.and_then(|file| std::fs::read(checkpoint().join(file)).ok().filter(|_| file != "model.safetensors"));
        let body = content.as_deref().unwrap_or_default();
        let status = if content.is_some() { "200 OK" } else { "404 Not Found\r\nx-error-code: EntryNotFound" };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\netag: \"{}\"\r\nx-repo-commit: {COMMIT}\r\n\r\n",
            body.len(),
            file.unwrap_or_default().replace('.', "-")
        );
        let body = if method == "HEAD" { &[][..] } else { body };
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_err() {
            return;
        }
        request.clear();
    }
}

fn checkpoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/tiny_a/original")
}

fn generate(home: &Path, endpoint: &str) -> Output {
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/images/scene_a.png");
    Command::new(env!("CARGO_BIN_EXE_serve-florence-2"))
        .args(["generate", "--model", "florence-2-BASE", "--prompt", "<OD>", "--max-new-tokens", "8", "--image"])
        .arg(picture)
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", home)
        .env("HOME", home)
        .env_remove("APPS_CACHE_DIR")
        .env_remove("HF_HUB_OFFLINE")
        .output()
        .unwrap()
}

#[test]
fn a_checkpoint_is_fetched_once_and_found_again() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start();
    let first = generate(home.path(), &hub.endpoint);
    let log = String::from_utf8(first.stderr).unwrap();
    assert!(first.status.success(), "{log}");
    assert!(log.contains("fetching pytorch_model.bin"), "{log}");
    let transfers = hub.transfers();
    assert!(transfers >= 4, "{transfers}");

    // Nobody listens there.
    let again = generate(home.path(), "http://127.0.0.1:9");
    assert!(again.status.success(), "{again:?}");
    assert_eq!(first.stdout, again.stdout);
}
