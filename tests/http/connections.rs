//! What only shows on a real connection.

use std::time::Duration;

use serde_json::json;
use serve_florence_2::server::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::{Form, TestServer, png};
use crate::fake_engine::{FakeEngine, Phrase};

const PATIENCE: Duration = Duration::from_secs(5);

struct RunningServer {
    address: std::net::SocketAddr,
    engine: FakeEngine,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

async fn start() -> RunningServer {
    let TestServer { router, engine } = TestServer::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { stopped.await.unwrap_or(()) };
    RunningServer { address, engine, stop, task: tokio::spawn(serve(listener, router, shutdown)) }
}

async fn send_upload(server: &RunningServer, text: &str) -> TcpStream {
    let state = json!({"settings": {"text": text}});
    let body = Form::default().file("a.png", &png(10, 10)).text("settings", &state).into_bytes();
    let head = format!(
        "POST /inference_image HTTP/1.1\r\nHost: test\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        Form::content_type(),
        body.len()
    );
    let mut connection = TcpStream::connect(server.address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&body).await.unwrap();
    connection
}

async fn wait_until(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_request_up() {
    let server = start().await;
    let connection = send_upload(&server, Phrase::HANG).await;
    wait_until(|| server.engine.asked().len() == 1).await;
    assert_eq!(server.engine.given_up(), 0);
    drop(connection);
    wait_until(|| server.engine.given_up() == 1).await;
}

#[tokio::test]
async fn a_stopping_server_finishes_and_ends() {
    let server = start().await;
    let mut connection = send_upload(&server, "car").await;
    let mut answer = vec![0; 12];
    timeout(PATIENCE, connection.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
    drop(connection);
    server.stop.send(()).unwrap();
    timeout(PATIENCE, server.task).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
