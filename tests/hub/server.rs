//! A hub on loopback, with one repository under a published name, and with faults.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const REPOSITORY: &str = "microsoft/Florence-2-base";
/// Files of this size and more are served as the hub serves large ones: from another place, with a hash.
const LARGE_BYTES: usize = 100_000;

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Files are cut off after so many bytes, so many times.
    pub cuts: (usize, u64),
    /// So many answers to requests for files are 429.
    pub refusals: usize,
    /// Hashes are those of something else.
    pub wrong_hash: bool,
    /// The first byte of this file is another one, each time.
    pub spoilt: Option<&'static str>,
    /// This file is not sent.
    pub missing: Option<&'static str>,
    /// Small files are not sent, which is said once the large one is there.
    pub refuses_small: bool,
    /// So many questions about the repository are answered with 429, and this wish for patience in seconds.
    pub impatience: (usize, u64),
    /// Each piece of 16 KiB takes so long.
    pub pause: Duration,
}

/// What it was asked, as method, path, and whether a token came along.
#[derive(Debug, Clone)]
pub struct Asked {
    pub line: String,
    pub has_token: bool,
}

pub struct Hub {
    pub endpoint: String,
    state: Arc<State>,
}

struct State {
    files: Mutex<HashMap<String, Vec<u8>>>,
    commit: Mutex<String>,
    faults: Mutex<Faults>,
    asked: Mutex<Vec<Asked>>,
    sent_bytes: Mutex<u64>,
    /// Where large files are served from.
    store: String,
}

struct Request {
    method: String,
    path: String,
    from: Option<usize>,
    has_token: bool,
    body: Vec<u8>,
}

impl Hub {
    /// A hub with the tiny checkpoint of the golden data, which has no safetensors.
    pub fn start(faults: Faults) -> Self {
        let files = std::fs::read_dir(checkpoint()).unwrap().map(|entry| entry.unwrap().path());
        let files =
            files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()));
        let (hub, store) = (listen(), listen());
        let endpoint = address(&hub);
        let state = Arc::new(State {
            files: Mutex::new(files.filter(|(name, _)| name != "model.safetensors").collect()),
            commit: Mutex::new("0".repeat(40)),
            faults: Mutex::new(faults),
            asked: Mutex::default(),
            sent_bytes: Mutex::default(),
            store: address(&store),
        });
        for listener in [hub, store] {
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || state.serve(stream));
                }
            });
        }
        Self { endpoint, state }
    }

    pub fn set_faults(&self, faults: Faults) {
        *self.state.faults.lock().unwrap() = faults;
    }

    /// A new state of the repository, in which this file is another.
    pub fn change(&self, file: &str, content: Vec<u8>) {
        self.state.files.lock().unwrap().insert(file.to_owned(), content);
        *self.state.commit.lock().unwrap() = "1".repeat(40);
    }

    pub fn file(&self, name: &str) -> Vec<u8> {
        self.state.files.lock().unwrap()[name].clone()
    }

    /// Bytes of files that were sent since the last call.
    pub fn take_sent_bytes(&self) -> u64 {
        std::mem::take(&mut *self.state.sent_bytes.lock().unwrap())
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    pub fn total_bytes(&self) -> u64 {
        let files = self.state.files.lock().unwrap();
        let loaded = ["config.json", "preprocessor_config.json", "tokenizer.json", "pytorch_model.bin"];
        loaded.iter().map(|name| files[*name].len() as u64).sum()
    }
}

impl State {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while let Some(request) = read_request(&mut reader) {
            let line = format!("{} {}", request.method, request.path);
            self.asked.lock().unwrap().push(Asked { line, has_token: request.has_token });
            if self.answer(&request, &mut stream).is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
        let commit = self.commit.lock().unwrap().clone();
        let api = format!("/api/models/{REPOSITORY}");
        if let Some(seconds) = request.path.starts_with("/api/").then(|| self.take_impatience()).flatten() {
            let head = format!("HTTP/1.1 429 Too Many\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n");
            return stream.write_all(head.as_bytes());
        }
        if request.path.starts_with(&format!("{api}/revision/")) {
            return send_json(stream, &json!({"id": REPOSITORY, "sha": commit}));
        }
        if request.path == format!("{api}/paths-info/{commit}") {
            return send_json(stream, &self.paths(&request.body));
        }
        let large = request.path.strip_prefix("/store/");
        let name = large.or_else(|| request.path.strip_prefix(&format!("/{REPOSITORY}/resolve/{commit}/")));
        let content = name.and_then(|name| self.files.lock().unwrap().get(name).cloned());
        let faults = self.faults.lock().unwrap().clone();
        let content = content.filter(|_| name != faults.missing);
        let Some(mut content) = content else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        };
        if faults.refuses_small && content.len() < LARGE_BYTES {
            self.wait_for_large_file();
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
        if self.take_refusal() {
            return stream.write_all(b"HTTP/1.1 429 Too Many\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n");
        }
        if large.is_none() && content.len() >= LARGE_BYTES {
            let (hash, store) = (self.hash(&content), &self.store);
            let name = name.unwrap_or_default();
            let head = format!(
                "HTTP/1.1 302 Found\r\nlocation: {store}/store/{name}\r\nx-linked-etag: \"{hash}\"\r\ncontent-length: 0\r\n\r\n"
            );
            return stream.write_all(head.as_bytes());
        }
        if name == faults.spoilt {
            content[0] ^= 1;
        }
        self.send_file(&content, request.from, stream)
    }

    /// As the hub lists them: the hash under a name of its own.
    fn paths(&self, body: &[u8]) -> Value {
        let wanted: Value = serde_json::from_slice(body).unwrap();
        let files = self.files.lock().unwrap();
        let names = wanted["paths"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let entry = |name: &str| {
            let content = files.get(name)?;
            let hash = self.hash(content);
            let lfs = (content.len() >= LARGE_BYTES).then(|| json!({"oid": hash, "size": content.len()}));
            let mut git = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
            git.update(content);
            let oid = hex(&git.finalize());
            Some(json!({"type": "file", "oid": oid, "size": content.len(), "path": name, "lfs": lfs}))
        };
        names.filter_map(entry).collect()
    }

    fn hash(&self, content: &[u8]) -> String {
        let is_wrong = self.faults.lock().unwrap().wrong_hash;
        hex(&Sha256::digest(if is_wrong { b"something else" } else { content }))
    }

    /// Until it was sent, and its last bytes have had time to arrive.
    fn wait_for_large_file(&self) {
        let size = self.files.lock().unwrap().values().map(Vec::len).max().unwrap() as u64;
        while *self.sent_bytes.lock().unwrap() < size {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_secs(1));
    }

    fn take_impatience(&self) -> Option<u64> {
        let (left, seconds) = &mut self.faults.lock().unwrap().impatience;
        let is_impatient = *left > 0;
        *left = left.saturating_sub(1);
        is_impatient.then_some(*seconds)
    }

    fn take_refusal(&self) -> bool {
        let refusals = &mut self.faults.lock().unwrap().refusals;
        let is_refused = *refusals > 0;
        *refusals = refusals.saturating_sub(1);
        is_refused
    }

    fn send_file(&self, content: &[u8], from: Option<usize>, stream: &mut TcpStream) -> std::io::Result<()> {
        let rest = &content[from.unwrap_or(0)..];
        let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", rest.len())?;
        let (cut, pause) = {
            let faults = &mut *self.faults.lock().unwrap();
            let is_cut = faults.cuts.0 > 0 && content.len() >= LARGE_BYTES;
            faults.cuts.0 -= usize::from(is_cut);
            (is_cut.then_some(faults.cuts.1), faults.pause)
        };
        let mut sent = 0;
        for piece in rest.chunks(16 << 10) {
            if cut.is_some_and(|cut| sent >= cut) {
                return Err(std::io::Error::other("cut"));
            }
            stream.write_all(piece)?;
            sent += piece.len() as u64;
            *self.sent_bytes.lock().unwrap() += piece.len() as u64;
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        Ok(())
    }
}

/// The tiny checkpoint that it serves.
pub fn checkpoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/tiny_a/original")
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn address(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().unwrap())
}

fn send_json(stream: &mut TcpStream, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|length| *length > 0)?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut request =
        Request { method: words.next()?, path: words.next()?, from: None, has_token: false, body: vec![] };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            None => break,
            Some(("range", range)) => {
                request.from = range.trim_start_matches("bytes=").trim_end_matches('-').parse().ok();
            }
            Some(("authorization", _)) => request.has_token = true,
            Some(("content-length", length)) => request.body = vec![0; length.parse().ok()?],
            Some(_) => {}
        }
    }
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
