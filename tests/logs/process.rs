//! The program with an output that shows where each write ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// More than anything that is written at a time.
const MOST_BYTES: usize = 256 << 10;
/// How long the reader waits before it looks whether the process has ended.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A running program; all that it writes, a datagram a write.
pub struct Program {
    child: Child,
    writes: Receiver<Vec<u8>>,
    seen: Vec<Vec<u8>>,
    pub address: String,
}

impl Program {
    /// Starts it with these arguments, and these variables alone beside what every process has.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let theirs: OwnedFd = theirs.into();
        let child = Command::new(env!("CARGO_BIN_EXE_serve-florence-2"))
            .args(arguments)
            .env_clear()
            .env("HOME", env!("CARGO_TARGET_TMPDIR"))
            .envs(variables.iter().copied())
            .stdout(theirs.try_clone().unwrap())
            .stderr(theirs)
            .spawn()
            .unwrap();
        let (sender, writes) = channel();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let process = format!("/proc/{}", child.id());
        std::thread::spawn(move || {
            let mut buffer = vec![0; MOST_BYTES];
            loop {
                // Looked at first: what it wrote before its end is read after it.
                let is_over = has_ended(&process);
                match ours.recv(&mut buffer) {
                    Ok(length) => {
                        if sender.send(buffer[..length].to_vec()).is_err() {
                            return;
                        }
                    }
                    Err(_) if is_over => return,
                    Err(_) => {}
                }
            }
        });
        Self { child, writes, seen: vec![], address: String::new() }
    }

    /// Starts a server and waits until it listens.
    pub fn serve(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut program = Self::start(&[&["serve", "--port", "0"], arguments].concat(), variables);
        let line = program.wait_for("listening on http://");
        let address = line.split_once("listening on http://").unwrap().1;
        program.address = address.split('"').next().unwrap().to_owned();
        program
    }

    /// Waits until it has written something with this text.
    pub fn wait_for(&mut self, text: &str) -> String {
        if let Some(written) = self.seen.iter().find(|written| String::from_utf8_lossy(written).contains(text)) {
            return String::from_utf8_lossy(written).into_owned();
        }
        loop {
            let written = self.writes.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("it never wrote {text:?}"));
            let line = String::from_utf8_lossy(&written).into_owned();
            self.seen.push(written);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for its end; everything that it wrote.
    pub fn finish(mut self) -> (ExitStatus, Vec<Vec<u8>>) {
        while let Ok(written) = self.writes.recv_timeout(LIMIT) {
            self.seen.push(written);
        }
        (self.child.wait().unwrap(), std::mem::take(&mut self.seen))
    }

    /// Sends a request and gives the status and the body of the answer; 0 where there was none.
    pub fn send(&self, head: &str, body: &[u8]) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let head = format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        // A server that refuses what is too long may do so before it has read it.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Sends a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let head = format!("POST {path} HTTP/1.1\r\ncontent-type: application/json");
        self.send(&head, body.to_string().as_bytes())
    }

    /// Waits until a model answers.
    pub fn wait_until_ready(&self) {
        while self.send("GET /readyz HTTP/1.1", b"").0 != 200 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gone, or waiting for its parent to take note.
fn has_ended(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("{process}/stat"));
    stat.map_or(true, |stat| stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])))
}
