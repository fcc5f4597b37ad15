//! The end of a server.

use std::sync::atomic::Ordering;

use serve_florence_2::server::ConnectionLimits;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::{Client, PATIENCE, SHORT, Server, get_request, post_head};

#[tokio::test]
async fn idle_connections_are_closed_at_once() {
    let server = Server::start(ConnectionLimits::default()).await;
    let address = server.address;
    let mut unused = server.connect().await;
    let mut half = server.send("GET /hello HTTP/1.1\r\n").await;
    let mut idle = server.send(get_request("/hello")).await;
    assert_eq!(idle.read_answer().await.0, 200);
    // By now the others are accepted as well.
    let (_, task) = server.stop();
    timeout(PATIENCE / 2, task).await.unwrap().unwrap().unwrap();
    unused.assert_closed().await;
    half.assert_closed().await;
    idle.assert_closed().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn requests_under_way_are_finished() {
    let server = Server::start(ConnectionLimits::default()).await;
    let address = server.address;
    let mut waiting = server.send(get_request("/wait")).await;
    let mut upload = server.send(post_head("/count", 6) + "abc").await;
    server.wait_until(|seen| seen.hanging.load(Ordering::SeqCst) == 1).await;
    server.assert_serves().await;
    let (seen, task) = server.stop();
    wait_until_refused(address).await;
    upload.send("def").await;
    assert_eq!(upload.read_answer().await, (200, "6".to_owned()));
    upload.assert_closed().await;
    assert!(!task.is_finished());
    seen.release.notify_one();
    let head = waiting.read_head().await;
    assert!(head.contains(" 200 ") && head.contains("connection: close"), "{head}");
    assert_eq!(waiting.read_to_close().await, b"released");
    timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_hanging_request_does_not_keep_the_server() {
    let limits = ConnectionLimits { shutdown_grace: SHORT, ..Default::default() };
    let server = Server::start(limits).await;
    let mut client = server.send(get_request("/hang")).await;
    server.wait_until(|seen| seen.hanging.load(Ordering::SeqCst) == 1).await;
    let (seen, task) = server.stop();
    timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
    client.assert_closed().await;
    assert_eq!(seen.given_up.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_full_server_can_be_stopped() {
    let limits = ConnectionLimits { max_connections: 1, shutdown_grace: SHORT, ..Default::default() };
    let server = Server::start(limits).await;
    let _client = server.send(get_request("/hang")).await;
    server.wait_until(|seen| seen.hanging.load(Ordering::SeqCst) == 1).await;
    let mut waiting = server.send(get_request("/hello")).await;
    let (_, task) = server.stop();
    timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
    // It had come in time, if not to a place.
    let head = waiting.read_head().await;
    assert!(head.contains(" 200 ") && head.contains("connection: close"), "{head}");
}

/// Whoever is served while the server leaves learns of it from the answer.
#[tokio::test]
async fn the_last_requests_are_answered() {
    let limits = ConnectionLimits { farewell: PATIENCE, ..Default::default() };
    let server = Server::start(limits).await;
    let address = server.address;
    let mut kept = server.send(get_request("/hello")).await;
    assert_eq!(kept.read_answer().await, (200, "hello".to_owned()));
    let (_, task) = server.stop();
    tokio::time::sleep(SHORT).await;
    for connection in [&mut kept, &mut Client::connect(address).await] {
        connection.send(get_request("/hello")).await;
        let head = connection.read_head().await;
        assert!(head.contains(" 200 ") && head.contains("connection: close"), "{head}");
    }
    assert!(!task.is_finished());
    task.abort();
}

async fn wait_until_refused(address: std::net::SocketAddr) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
}
