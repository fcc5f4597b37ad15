//! Bodies of requests.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serve_florence_2::server::ConnectionLimits;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use crate::server::{PATIENCE, SHORT, Server, post_head};

const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_body_that_stops_is_not_waited_for() {
    let limits = ConnectionLimits { body_idle_timeout: SHORT, ..Default::default() };
    let server = Server::start(limits).await;
    let chunked = "POST /count HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    for request in [post_head("/count", 10) + "abc", post_head("/count", 10), chunked.to_owned()] {
        let mut client = server.send(&request).await;
        assert_eq!(client.read_answer().await.0, 408, "{request}");
        client.assert_closed().await;
    }
    assert_eq!(server.seen.slow.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_dribbled_body_is_not_waited_for() {
    let limits = ConnectionLimits { rate_window: SHORT, min_bytes_per_second: 10_000, ..Default::default() };
    let server = Server::start(limits).await;
    // A quick start does not help.
    let mut client = server.send(post_head("/count", 1 << 30) + &"a".repeat(100_000)).await;
    client.dribble(b"a", PAUSE).await;
    assert_eq!(client.read_answer().await.0, 408);
    // Neither do the lengths of chunks, which are no content.
    let mut client = server.send("POST /count HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.dribble(b"1\r\na\r\n", PAUSE).await;
    assert_eq!(client.read_answer().await.0, 408);
    assert_eq!(server.seen.slow.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_slow_but_steady_body_is_read() {
    let limits =
        ConnectionLimits { rate_window: Duration::from_secs(1), min_bytes_per_second: 20, ..Default::default() };
    let server = Server::start(limits).await;
    let mut client = server.send(post_head("/count", 300)).await;
    for _ in 0..30 {
        sleep(Duration::from_millis(100)).await;
        client.send("0123456789").await;
    }
    assert_eq!(client.read_answer().await, (200, "300".to_owned()));
}

#[tokio::test]
async fn large_bodies_are_read() {
    let server = Server::start(ConnectionLimits::default()).await;
    let mut client = server.connect().await;
    let body = vec![b'a'; 5 << 20];
    for _ in 0..2 {
        client.send(post_head("/count", body.len())).await;
        client.send(&body).await;
        assert_eq!(client.read_answer().await, (200, body.len().to_string()));
    }
    client.send("POST /count HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
    assert_eq!(client.read_answer().await, (200, "5".to_owned()));
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_send() {
    let server = Server::start(ConnectionLimits::default()).await;
    let request = "POST /count HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut client = server.send(request).await;
    assert_eq!(client.read_head().await, "http/1.1 100 continue");
    client.send("abc").await;
    assert_eq!(client.read_answer().await, (200, "3".to_owned()));
    // Who is not wanted is not told so.
    client.send(request.replace("count", "full")).await;
    assert_eq!(client.read_answer().await.0, 413);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error() {
    let server = Server::start(ConnectionLimits::default()).await;
    let mut client = server.send("POST /count HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n").await;
    assert_eq!(client.read_answer().await.0, 400);
    assert_eq!(server.seen.broken.load(Ordering::SeqCst), 1);
    server.assert_serves().await;
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let server = Server::start(ConnectionLimits::default()).await;
    let body = vec![b'a'; 16 << 20];
    let mut quick = server.send(post_head("/full", body.len())).await;
    quick.send(&body).await;
    assert_eq!(quick.read_answer().await.0, 413);
    quick.assert_closed().await;
    // This one begins when the answer is there already.
    let mut slow = server.send(post_head("/full", body.len())).await;
    timeout(PATIENCE, slow.stream.readable()).await.unwrap().unwrap();
    slow.send(&body).await;
    assert_eq!(slow.read_answer().await.0, 413);
    slow.assert_closed().await;
}

#[tokio::test]
async fn nobody_is_listened_to_for_ever() {
    let limits = ConnectionLimits { linger: SHORT, ..Default::default() };
    let server = Server::start(limits).await;
    let mut client = server.send(post_head("/full", 1 << 30)).await;
    assert_eq!(client.read_answer().await.0, 413);
    let sending = async {
        while client.stream.write_all(b"a").await.is_ok() {
            sleep(PAUSE).await;
        }
    };
    timeout(PATIENCE, sending).await.unwrap();
}
