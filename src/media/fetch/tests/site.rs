//! A server written by hand, so that it can do what no proper server does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Time between two bytes of a trickle.
const PAUSE: Duration = Duration::from_millis(5);

/// What a connection gets.
pub(super) enum Reply {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// These bytes, then nothing until the other side leaves.
    Silence(Vec<u8>),
    /// These bytes, then one byte after the other until the other side leaves.
    Trickle(Vec<u8>),
    /// These bytes, then as many as the other side takes.
    Flood(Vec<u8>),
}

impl Reply {
    /// An answer whose head has these lines besides the first one.
    pub(super) fn new(status: &str, lines: &[&str], body: &[u8]) -> Self {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let mut bytes = format!("HTTP/1.1 {status}\r\n{lines}Connection: close\r\n\r\n").into_bytes();
        bytes.extend_from_slice(body);
        Self::Bytes(bytes)
    }

    pub(super) fn file(body: &[u8]) -> Self {
        Self::new("200 OK", &[&format!("Content-Length: {}", body.len())], body)
    }

    pub(super) fn redirect(target: &str) -> Self {
        Self::new("302 Found", &[&format!("Location: {target}"), "Content-Length: 0"], b"")
    }
}

/// Answers by path and remembers what it was asked.
pub(super) struct Site {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// On a free port of 127.0.0.1.
    pub(super) async fn start(pages: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), pages).await
    }

    pub(super) async fn start_at(address: SocketAddr, pages: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let remembered = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let head = read_head(&mut connection).await;
                let reply = pages(head.split(' ').nth(1).unwrap_or_default());
                remembered.lock().unwrap().push(head);
                tokio::spawn(give(connection, reply));
            }
        });
        Self { address, heads }
    }

    pub(super) const fn port(&self) -> u16 {
        self.address.port()
    }

    /// `127.0.0.1:port`.
    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Requests so far, each with all lines of its head, in small letters.
    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().iter().map(|head| head.to_lowercase()).collect()
    }
}

/// The request's head, or the first message of TLS.
async fn read_head(connection: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !is_tls_message(&head) {
        match connection.read_buf(&mut head).await {
            Ok(length) if length > 0 => {}
            _ => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Type 22, two bytes of version, two of length, then the content.
fn is_tls_message(bytes: &[u8]) -> bool {
    matches!(bytes, [22, _, _, high, low, rest @ ..] if rest.len() >= usize::from(u16::from_be_bytes([*high, *low])))
}

async fn give(mut connection: TcpStream, reply: Reply) {
    let (Reply::Bytes(start) | Reply::Silence(start) | Reply::Trickle(start) | Reply::Flood(start)) = &reply;
    let _ = connection.write_all(start).await;
    match reply {
        Reply::Bytes(_) => {}
        Reply::Silence(_) => {
            let _ = connection.read_u8().await;
        }
        Reply::Trickle(_) => {
            while connection.write_all(b"x").await.is_ok() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Reply::Flood(_) => while connection.write_all(&[b'x'; 4096]).await.is_ok() {},
    }
}
