//! Heads of requests, and the time between requests.

use std::time::Duration;

use serve_florence_2::server::ConnectionLimits;

use crate::server::{SHORT, Server, get_request};

const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test]
async fn silence_is_not_waited_for() {
    let limits = ConnectionLimits { header_timeout: SHORT, ..Default::default() };
    let server = Server::start(limits).await;
    server.connect().await.assert_closed().await;
    server.send("GET /hello HTT").await.assert_closed().await;
    server.send("GET /hello HTTP/1.1\r\nHost: te").await.assert_closed().await;
    server.assert_serves().await;
}

#[tokio::test]
async fn a_dribbled_head_is_not_waited_for() {
    let limits = ConnectionLimits { header_timeout: SHORT, ..Default::default() };
    let server = Server::start(limits).await;
    let mut client = server.send("GET /hello HTTP/1.1\r\n").await;
    client.dribble(b"A: b\r\n", PAUSE).await;
    client.assert_closed().await;
    // Empty lines before a request are allowed, but no way to stay.
    let mut client = server.connect().await;
    client.dribble(b"\r\n", PAUSE).await;
    client.assert_closed().await;
}

#[tokio::test]
async fn a_head_after_an_answer_has_no_more_time() {
    let limits = ConnectionLimits { header_timeout: SHORT, ..Default::default() };
    let server = Server::start(limits).await;
    let mut client = server.send(get_request("/hello")).await;
    assert_eq!(client.read_answer().await.0, 200);
    client.send("GET /hello HTTP/1.1\r\n").await;
    client.dribble(b"A: b\r\n", PAUSE).await;
    client.assert_closed().await;
}

#[tokio::test]
async fn a_head_that_came_with_another_is_not_waited_for() {
    let limits = ConnectionLimits { header_timeout: SHORT, idle_timeout: SHORT, ..Default::default() };
    let server = Server::start(limits).await;
    let mut client = server.send(get_request("/hello") + "GET /hello HTTP/1.1\r\n").await;
    assert_eq!(client.read_answer().await.0, 200);
    client.assert_closed().await;
}

#[tokio::test]
async fn an_idle_connection_stays_longer_than_half_a_head() {
    let limits = ConnectionLimits { header_timeout: SHORT, ..Default::default() };
    let server = Server::start(limits).await;
    let mut client = server.send(get_request("/hello")).await;
    assert_eq!(client.read_answer().await.0, 200);
    tokio::time::sleep(2 * SHORT).await;
    client.send(get_request("/hello")).await;
    assert_eq!(client.read_answer().await, (200, "hello".to_owned()));
}

#[tokio::test]
async fn an_idle_connection_does_not_stay_for_ever() {
    let limits = ConnectionLimits { idle_timeout: SHORT, ..Default::default() };
    let server = Server::start(limits).await;
    let mut client = server.send(get_request("/hello")).await;
    assert_eq!(client.read_answer().await.0, 200);
    client.assert_closed().await;
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let server = Server::start(ConnectionLimits::default()).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send(get_request("/hello")).await;
        assert_eq!(client.read_answer().await, (200, "hello".to_owned()));
    }
    let together =
        get_request("/hello") + &get_request("/nowhere") + "POST /count HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    client.send(together).await;
    assert_eq!(client.read_answer().await, (200, "hello".to_owned()));
    assert_eq!(client.read_answer().await.0, 404);
    assert_eq!(client.read_answer().await, (200, "3".to_owned()));
}

#[tokio::test]
async fn heads_have_a_size() {
    let server = Server::start(ConnectionLimits::default()).await;
    let with = |fields: &str| format!("GET /hello HTTP/1.1\r\n{fields}\r\n");
    let cases = [
        (200, with(&"A: b\r\n".repeat(100))),
        (431, with(&"A: b\r\n".repeat(101))),
        (200, with(&format!("A: {}\r\n", "b".repeat(60 << 10)))),
        (431, with(&format!("A: {}\r\n", "b".repeat(65 << 10)))),
        // More than the server ever reads.
        (431, with(&format!("A: {}\r\n", "b".repeat(2 << 20)))),
        (200, get_request(&format!("/hello?{}", "a".repeat(8000)))),
        (414, get_request(&format!("/hello?{}", "a".repeat(8 << 10)))),
        (431, get_request(&format!("/hello?{}", "a".repeat(100_000)))),
    ];
    for (status, request) in cases {
        let answer = server.send(&request).await.read_answer().await;
        assert_eq!(answer.0, status, "{} bytes: {:.60}", request.len(), request);
    }
    let limits = ConnectionLimits { max_headers: 2, max_header_bytes: 100, ..Default::default() };
    let server = Server::start(limits).await;
    server.assert_serves().await;
    assert_eq!(server.send(with(&"A: b\r\n".repeat(3))).await.read_answer().await.0, 431);
    assert_eq!(server.send(with(&format!("A: {}\r\n", "b".repeat(200)))).await.read_answer().await.0, 431);
}

#[tokio::test]
async fn garbage_is_refused() {
    let server = Server::start(ConnectionLimits::default()).await;
    let refused: [&[u8]; 11] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET /hello HTTP/3.7\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /hello HTTP/1.1\r\n: no name\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nA: b\0c\r\n\r\n",
        b"POST /count HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /count HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /count HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    ];
    for bytes in refused {
        let mut client = server.send(bytes).await;
        assert_eq!(client.read_answer().await.0, 400, "{:?}", String::from_utf8_lossy(bytes));
        client.assert_closed().await;
    }
    // A newer protocol that nobody here speaks.
    server.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.assert_closed().await;
    server.assert_serves().await;
}

#[tokio::test]
async fn older_and_other_requests_are_served() {
    let server = Server::start(ConnectionLimits::default()).await;
    let mut client = server.send("GET /hello HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.read_answer().await, (200, "hello".to_owned()));
    client.assert_closed().await;
    let mut client = server.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!(client.read_answer().await, (200, "hello".to_owned()));
    client.send("HEAD /hello HTTP/1.1\r\n\r\n").await;
    let head = client.read_head().await;
    assert!(head.contains(" 200 ") && head.contains("content-length: 5"), "{head}");
    client.send("GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(client.read_answer().await, (200, "hello".to_owned()), "no body came with the head");
    client.assert_closed().await;
    let mut client = server.send("GET /hello HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n").await;
    assert_eq!(client.read_answer().await, (200, "hello".to_owned()), "upgrades are ignored");
}
