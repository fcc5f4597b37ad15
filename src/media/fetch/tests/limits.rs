//! Bytes, time and status.

use super::*;

/// Shorter than what never ends.
const IMPATIENCE: Duration = Duration::from_millis(200);

/// A million zeros, packed with gzip: far more than is fetched.
fn bomb() -> Vec<u8> {
    let start = [31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 237, 193, 1, 1, 0, 0, 0, 130, 32, 255, 175, 110, 72, 64, 1];
    let end = [175, 6, 158, 203, 121, 18, 64, 66, 15, 0];
    [&start[..], &[0; 968], &end].concat()
}

#[tokio::test]
async fn a_file_arrives_as_it_is() {
    let site = Site::start(|path| match path {
        "/empty" => Reply::file(b""),
        "/just" => Reply::file(&[b'x'; 1000]),
        "/chunks" => Reply::new("200 OK", &["Transfer-Encoding: chunked"], b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"),
        "/until-the-end" => Reply::new("200 OK", &[], b"abcdefg"),
        _ => Reply::file(b"picture"),
    })
    .await;
    let fetcher = fetcher(&[&site.host()]);
    let fetch = async |path: &str| fetcher.fetch(&site.url(path)).await.unwrap();
    assert_eq!(fetch("/a.png").await, b"picture");
    assert_eq!(fetch("/empty").await, b"");
    assert_eq!(fetch("/just").await.len(), 1000);
    assert_eq!(fetch("/chunks").await, b"abcdefg");
    assert_eq!(fetch("/until-the-end").await, b"abcdefg");
}

#[tokio::test]
async fn the_request_holds_nothing_that_it_need_not() {
    let site = Site::start(|_| Reply::file(b"picture")).await;
    let fetcher = fetcher(&[&site.host()]);
    fetcher.fetch(&site.url("/a%20b.png?token=1&x=%2F#part")).await.unwrap();
    let head = site.heads().remove(0);
    assert_eq!(
        head,
        format!("get /a%20b.png?token=1&x=%2f http/1.1\r\naccept: */*\r\nhost: {}\r\n\r\n", site.host()),
        "no fragment, cookie, authorisation, referrer or offer to unpack"
    );
}

#[tokio::test]
async fn more_bytes_than_allowed_are_not_fetched() {
    let site = Site::start(|path| match path {
        "/announced" => Reply::Silence(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n".to_vec()),
        "/absurd" => Reply::Silence(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n".to_vec()),
        "/by-one" => Reply::new("200 OK", &[], &[b'x'; 1001]),
        "/chunks" => Reply::Flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFF\r\n".to_vec()),
        _ => Reply::Flood(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
    })
    .await;
    let fetcher = fetcher(&[&site.host()]);
    for path in ["/announced", "/by-one", "/chunks", "/endless"] {
        let expected = FetchError::TooLarge { site: "http://127.0.0.1".to_owned(), max_bytes: 1000 };
        assert_eq!(fetcher.fetch(&site.url(path)).await, Err(expected), "{path}");
    }
    assert!(fetcher.fetch(&site.url("/absurd")).await.is_err());
}

#[tokio::test]
async fn nothing_is_unpacked() {
    let site = Site::start(|path| {
        let coding = format!("Content-Encoding: {}", path.trim_start_matches('/'));
        Reply::new("200 OK", &[&coding, &format!("Content-Length: {}", bomb().len())], &bomb())
    })
    .await;
    let mut fetcher = fetcher(&[&site.host()]);
    fetcher.settings.max_bytes = bomb().len();
    for coding in ["gzip", "deflate", "br", "zstd"] {
        assert_eq!(fetcher.fetch(&site.url(&format!("/{coding}"))).await, Ok(bomb()), "{coding}");
    }
}

#[tokio::test]
async fn slow_servers_are_given_up() {
    let site = Site::start(|path| match path {
        "/no-answer" => Reply::Silence(vec![]),
        "/half-a-head" => Reply::Silence(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        "/trickling-head" => Reply::Trickle(b"HTTP/1.1 200 OK\r\nX-Slow: ".to_vec()),
        "/half-a-body" => Reply::Silence(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec()),
        _ => Reply::Trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n".to_vec()),
    })
    .await;
    let mut fetcher = fetcher(&[&site.host()]);
    fetcher.settings.timeout = IMPATIENCE;
    fetcher.settings.max_bytes = 1_000_000;
    for path in ["/no-answer", "/half-a-head", "/trickling-head", "/half-a-body", "/trickling-body"] {
        let expected = FetchError::TimedOut { site: "http://127.0.0.1".to_owned(), limit: IMPATIENCE };
        assert_eq!(fetcher.fetch(&site.url(path)).await, Err(expected), "{path}");
    }
}

#[tokio::test]
async fn the_time_is_for_all_redirects_together() {
    let site = Site::start(|path| match path {
        "/3" => Reply::redirect("/2"),
        "/2" => Reply::redirect("/1"),
        _ => Reply::Silence(vec![]),
    })
    .await;
    let mut fetcher = fetcher(&[&site.host()]);
    fetcher.settings.timeout = IMPATIENCE;
    assert!(matches!(fetcher.fetch(&site.url("/3")).await, Err(FetchError::TimedOut { .. })));
}

#[tokio::test]
async fn any_other_status_is_told() {
    let site = Site::start(|path| {
        let status = path.trim_start_matches('/');
        Reply::new(&format!("{status} Whatever"), &["Content-Length: 6"], b"secret")
    })
    .await;
    let fetcher = fetcher(&[&site.host()]);
    // The last ones are redirects to nowhere, and what looks like redirects.
    for status in [400, 401, 403, 404, 410, 429, 500, 503, 599, 301, 302, 303, 307, 308, 300, 304, 305] {
        let error = fetcher.fetch(&site.url(&format!("/{status}"))).await.unwrap_err();
        assert_eq!(error, FetchError::Status { site: "http://127.0.0.1".to_owned(), status });
        let words = format!("http://127.0.0.1 cannot be fetched: the server answered with status {status}");
        assert_eq!(error.to_string(), words);
    }
    for status in [200, 203, 206] {
        assert!(fetcher.fetch(&site.url(&format!("/{status}"))).await.is_ok(), "{status}");
    }
}

#[tokio::test]
async fn broken_connections_and_other_protocols_are_no_files() {
    let site = Site::start(|path| match path {
        "/cut" => Reply::new("200 OK", &["Content-Length: 10"], b"half"),
        "/cut-chunk" => Reply::new("200 OK", &["Transfer-Encoding: chunked"], b"A\r\nhalf"),
        "/two-lengths" => Reply::new("200 OK", &["Content-Length: 1", "Content-Length: 2"], b"ab"),
        "/nothing" => Reply::Bytes(vec![]),
        "/old" => Reply::Bytes(b"just a body".to_vec()),
        _ => Reply::Bytes(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
    })
    .await;
    let fetcher = fetcher(&[&site.host()]);
    for path in ["/cut", "/cut-chunk", "/two-lengths", "/nothing", "/old", "/ssh"] {
        let expected = FetchError::Unreachable { site: "http://127.0.0.1".to_owned() };
        assert_eq!(fetcher.fetch(&site.url(path)).await, Err(expected), "{path}");
    }
}

#[tokio::test]
async fn a_closed_port_of_an_allowed_host_gives_no_answer() {
    // Nobody listens there any more.
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    // On another thread, as a server's handlers run.
    let fetching = async move { fetcher(&["127.0.0.1"]).fetch(&format!("http://127.0.0.1:{port}/?secret")).await };
    let error = tokio::spawn(fetching).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "http://127.0.0.1 cannot be fetched");
}
