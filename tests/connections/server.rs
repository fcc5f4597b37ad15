//! A small server, and a client that sends exactly the bytes it is told.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serve_florence_2::server::{BodyError, ConnectionLimits, serve_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest that anything may take, in a test that passes.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A time-out that is to be seen.
pub const SHORT: Duration = Duration::from_millis(200);

/// More than the systems on both sides keep of an answer that is not read.
pub const HUGE_BYTES: usize = 64 << 20;

/// What the handlers tell.
#[derive(Default)]
pub struct Seen {
    pub hanging: AtomicUsize,
    pub given_up: AtomicUsize,
    /// Bodies that came too slowly, as the handler was told.
    pub slow: AtomicUsize,
    pub broken: AtomicUsize,
    /// Ends the waiting requests.
    pub release: Notify,
}

pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

struct Hanging(Arc<Seen>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.given_up.fetch_add(1, Ordering::SeqCst);
    }
}

async fn hang(State(seen): State<Arc<Seen>>) {
    seen.hanging.fetch_add(1, Ordering::SeqCst);
    let _hanging = Hanging(seen);
    std::future::pending::<()>().await;
}

async fn wait(State(seen): State<Arc<Seen>>) -> &'static str {
    seen.hanging.fetch_add(1, Ordering::SeqCst);
    seen.release.notified().await;
    "released"
}

async fn panic() {
    panic!("as a handler may");
}

async fn count(State(seen): State<Arc<Seen>>, body: Body) -> Result<String, StatusCode> {
    let bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| refuse(&seen, &error))?;
    Ok(bytes.len().to_string())
}

/// The way for a handler to tell a slow client from a broken connection.
fn refuse(seen: &Seen, error: &axum::Error) -> StatusCode {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        match error.downcast_ref() {
            Some(BodyError::TooSlow) => {
                seen.slow.fetch_add(1, Ordering::SeqCst);
                return StatusCode::REQUEST_TIMEOUT;
            }
            Some(BodyError::Broken(_)) => {
                seen.broken.fetch_add(1, Ordering::SeqCst);
                return StatusCode::BAD_REQUEST;
            }
            None => source = error.source(),
        }
    }
    panic!("an error without its cause: {error}");
}

fn router(seen: Arc<Seen>) -> Router {
    Router::new()
        .route("/hello", get(async || "hello"))
        .route("/hang", get(hang).post(hang))
        .route("/wait", get(wait))
        .route("/panic", get(panic))
        .route("/count", post(count))
        .route("/huge", get(async || vec![b'x'; HUGE_BYTES]))
        .route("/full", post(async || StatusCode::PAYLOAD_TOO_LARGE))
        .with_state(seen)
}

impl Server {
    pub async fn start(limits: ConnectionLimits) -> Self {
        let seen = Arc::<Seen>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { stopped.await.unwrap_or(()) };
        let task = tokio::spawn(serve_with(listener, router(Arc::clone(&seen)), limits, shutdown));
        Self { address, seen, stop, task }
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A new client that has sent these bytes.
    pub async fn send(&self, bytes: impl AsRef<[u8]>) -> Client {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client
    }

    pub async fn wait_until(&self, condition: impl Fn(&Seen) -> bool) {
        let reached = async {
            while !condition(&self.seen) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap();
    }

    pub async fn assert_serves(&self) {
        assert_eq!(self.send(get_request("/hello")).await.read_answer().await, (200, "hello".to_owned()));
    }

    /// Tells the server to stop, without waiting.
    pub fn stop(self) -> (Arc<Seen>, JoinHandle<std::io::Result<()>>) {
        self.stop.send(()).unwrap();
        (self.seen, self.task)
    }
}

pub fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

pub fn post_head(path: &str, bytes: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\n\r\n")
}

pub struct Client {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), unread: vec![] }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.unwrap().unwrap();
    }

    /// Sends pieces until the server has had enough. What it says to that is left to be read.
    pub async fn dribble(&mut self, piece: &[u8], pause: Duration) {
        let sending = async {
            while !self.is_answered() && self.stream.write_all(piece).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        };
        timeout(PATIENCE, sending).await.unwrap();
    }

    /// Whether anything came, be it the end.
    fn is_answered(&mut self) -> bool {
        let mut piece = [0; 4096];
        match self.stream.try_read(&mut piece) {
            Ok(bytes) => {
                self.unread.extend_from_slice(&piece[..bytes]);
                true
            }
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// Everything until the server closes, which it must.
    pub async fn read_to_close(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.unread);
        let reading = self.stream.read_to_end(&mut bytes);
        // A reset is a close as well.
        let _ = timeout(PATIENCE, reading).await.unwrap();
        bytes
    }

    pub async fn assert_closed(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.read_to_close().await), "");
    }

    /// The lines of a head, up to and without the empty one.
    pub async fn read_head(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.unread.split_off(end + 4);
                let head = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8(head[..end].to_vec()).unwrap().to_ascii_lowercase();
            }
            self.read_more().await;
        }
    }

    /// Status and body of the next answer. The connection stays usable.
    pub async fn read_answer(&mut self) -> (u16, String) {
        let head = self.read_head().await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap_or("0").parse().unwrap();
        while self.unread.len() < length {
            self.read_more().await;
        }
        let rest = self.unread.split_off(length);
        (status, String::from_utf8(std::mem::replace(&mut self.unread, rest)).unwrap())
    }

    async fn read_more(&mut self) {
        let reading = self.stream.read_buf(&mut self.unread);
        let bytes = timeout(PATIENCE, reading).await.unwrap().unwrap();
        assert_ne!(bytes, 0, "closed after {:?}", String::from_utf8_lossy(&self.unread));
    }
}
