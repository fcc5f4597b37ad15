//! Answers, clients that leave before theirs, and the number of connections.

use std::sync::atomic::Ordering;

use serve_florence_2::server::ConnectionLimits;

use crate::server::{HUGE_BYTES, SHORT, Server, get_request, post_head};

#[tokio::test]
async fn a_large_answer_is_read_in_full() {
    let server = Server::start(ConnectionLimits::default()).await;
    let mut client = server.send(get_request("/huge")).await;
    let (status, body) = client.read_answer().await;
    assert_eq!((status, body.len()), (200, HUGE_BYTES));
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let limits = ConnectionLimits { answer_idle_timeout: SHORT, max_connections: 1, ..Default::default() };
    let server = Server::start(limits).await;
    let mut client = server.send(get_request("/huge")).await;
    // There is room for one at a time.
    server.assert_serves().await;
    assert!(client.read_to_close().await.len() < HUGE_BYTES);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_request_up() {
    let server = Server::start(ConnectionLimits::default()).await;
    let client = server.send(get_request("/hang")).await;
    let other = server.send(post_head("/hang", 3) + "abc").await;
    server.wait_until(|seen| seen.hanging.load(Ordering::SeqCst) == 2).await;
    assert_eq!(server.seen.given_up.load(Ordering::SeqCst), 0);
    drop(client);
    server.wait_until(|seen| seen.given_up.load(Ordering::SeqCst) == 1).await;
    drop(other);
    server.wait_until(|seen| seen.given_up.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn a_slow_handler_has_all_the_time_it_wants() {
    let limits = ConnectionLimits {
        header_timeout: SHORT,
        idle_timeout: SHORT,
        body_idle_timeout: SHORT,
        answer_idle_timeout: SHORT,
        rate_window: SHORT,
        ..Default::default()
    };
    let server = Server::start(limits).await;
    let mut client = server.send(get_request("/wait")).await;
    tokio::time::sleep(3 * SHORT).await;
    server.seen.release.notify_one();
    assert_eq!(client.read_answer().await, (200, "released".to_owned()));
}

#[tokio::test]
async fn a_panic_ends_one_connection_only() {
    let server = Server::start(ConnectionLimits::default()).await;
    let mut other = server.send(get_request("/hello")).await;
    server.send(get_request("/panic")).await.assert_closed().await;
    assert_eq!(other.read_answer().await.0, 200);
    other.send(get_request("/hello")).await;
    assert_eq!(other.read_answer().await.0, 200);
    server.assert_serves().await;
}

#[tokio::test]
async fn who_finds_no_room_waits() {
    let limits = ConnectionLimits { max_connections: 2, ..Default::default() };
    let server = Server::start(limits).await;
    let first = server.send(get_request("/hang")).await;
    let second = server.send(get_request("/hang")).await;
    server.wait_until(|seen| seen.hanging.load(Ordering::SeqCst) == 2).await;
    let _third = server.send(get_request("/hang")).await;
    let mut fourth = server.send(get_request("/hello")).await;
    tokio::time::sleep(SHORT).await;
    assert_eq!(server.seen.hanging.load(Ordering::SeqCst), 2, "the third waits");
    drop(first);
    server.wait_until(|seen| seen.hanging.load(Ordering::SeqCst) == 3).await;
    drop(second);
    assert_eq!(fourth.read_answer().await, (200, "hello".to_owned()));
}
