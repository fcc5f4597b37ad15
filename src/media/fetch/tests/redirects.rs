//! Redirects, each of which is judged like the address that the caller gave.

use super::*;

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    let site = Site::start(|path| match path {
        "/down/4" => Reply::redirect("/down/3"),
        "/down/3" => Reply::redirect("2"),
        "/down/2" => Reply::redirect("?1"),
        "/down/2?1" => Reply::redirect("../file#part"),
        "/file" => Reply::file(b"there"),
        _ => Reply::redirect("/loop"),
    })
    .await;
    let fetcher = fetcher(&[&site.host()]);
    assert_eq!(fetcher.fetch(&site.url("/down/3")).await.as_deref(), Ok(&b"there"[..]));
    assert_eq!(site.heads().len(), 4);
    for (asked, far) in [(8, "/down/4"), (12, "/loop")] {
        let expected = FetchError::TooManyRedirects { site: "http://127.0.0.1".to_owned(), max_redirects: 3 };
        assert_eq!(fetcher.fetch(&site.url(far)).await, Err(expected));
        assert_eq!(site.heads().len(), asked);
    }
}

#[tokio::test]
async fn every_kind_of_redirect_is_followed_with_a_clean_request() {
    let site = Site::start(|path| match path.strip_prefix('/').and_then(|status| status.parse::<u16>().ok()) {
        Some(status) => Reply::new(
            &format!("{status} Elsewhere"),
            &["Location: /file", "Set-Cookie: a=b; Path=/", "WWW-Authenticate: Basic", "Content-Length: 0"],
            b"",
        ),
        None => Reply::file(b"there"),
    })
    .await;
    let fetcher = fetcher(&[&site.host()]);
    for status in [301, 302, 303, 307, 308] {
        assert!(fetcher.fetch(&site.url(&format!("/{status}"))).await.is_ok(), "{status}");
        let last = site.heads().pop().unwrap();
        assert_eq!(last, format!("get /file http/1.1\r\naccept: */*\r\nhost: {}\r\n\r\n", site.host()));
    }
}

#[tokio::test]
async fn other_answers_that_name_an_address_are_not_followed() {
    let site = Site::start(|path| {
        let status = path.trim_start_matches('/');
        Reply::new(&format!("{status} Whatever"), &["Location: /200", "Refresh: 0; url=/200", "Content-Length: 0"], b"")
    })
    .await;
    let fetcher = fetcher(&[&site.host()]);
    for status in [300, 304, 305, 306, 401, 404, 503] {
        let expected = FetchError::Status { site: "http://127.0.0.1".to_owned(), status };
        assert_eq!(fetcher.fetch(&site.url(&format!("/{status}"))).await, Err(expected));
    }
    assert_eq!(site.heads().len(), 7);
}

#[tokio::test]
async fn redirects_may_lead_to_other_hosts() {
    let second = Site::start(|_| Reply::file(b"there")).await;
    let target = format!("http://second.test:{}/file", second.port());
    let first = Site::start(move |_| Reply::redirect(&target)).await;
    let script = Script::of(&[("first.test", &[&["127.0.0.1"]]), ("second.test", &[&["127.0.0.1"]])]);
    let fetcher = fetcher_with(&["first.test", "second.test"], &script);
    let url = format!("http://first.test:{}/", first.port());
    assert_eq!(fetcher.fetch(&url).await.as_deref(), Ok(&b"there"[..]));
    assert_eq!(script.asked(), ["first.test", "second.test"]);
    assert!(second.heads()[0].contains(&format!("host: second.test:{}\r\n", second.port())));
}

#[tokio::test]
async fn a_redirect_to_a_closed_address_is_refused() {
    let inner = Site::start(|_| Reply::file(b"secret")).await;
    let (inner_url, inner_port) = (inner.url("/"), inner.port());
    let site = Site::start(move |path| {
        let port = inner_port;
        Reply::redirect(&match path {
            "/other-port" => inner_url.clone(),
            "/other-spelling" => format!("http://2130706433:{port}/"),
            "/without-scheme" => format!("//127.1:{port}/"),
            "/backslashes" => format!("\\\\127.0.0.1:{port}\\"),
            "/mapped" => format!("http://[::ffff:127.0.0.1]:{port}/"),
            "/name" => format!("http://inner.test:{port}/"),
            "/mixed" => format!("http://mixed.test:{port}/"),
            "/nobody" => format!("http://nobody.test:{port}/"),
            "/mail" => "http://8.8.8.8:25/".to_owned(),
            "/metadata" => "http://169.254.169.254/latest/meta-data/".to_owned(),
            "/metadata-name" => "http://metadata.google.internal/computeMetadata/v1/".to_owned(),
            "/with-tls" => format!("https://127.0.0.1:{port}/"),
            _ => "http://10.0.0.1/".to_owned(),
        })
    })
    .await;
    let script = Script::of(&[
        ("inner.test", &[&["127.0.0.1"]]),
        ("mixed.test", &[&["8.8.8.8", "127.0.0.1"]]),
        ("metadata.google.internal", &[&["169.254.169.254"]]),
    ]);
    let fetcher = fetcher_with(&[&site.host()], &script);
    for path in [
        "/other-port",
        "/other-spelling",
        "/without-scheme",
        "/backslashes",
        "/mapped",
        "/name",
        "/mixed",
        "/nobody",
        "/mail",
        "/metadata",
        "/metadata-name",
        "/with-tls",
        "/private",
    ] {
        let error = fetcher.fetch(&site.url(path)).await.unwrap_err();
        assert_eq!(error, FetchError::Refused { site: "http://127.0.0.1".to_owned() }, "{path}");
    }
    assert_eq!(inner.heads().len(), 0);
}

#[tokio::test]
async fn a_redirect_to_what_is_no_web_address_is_refused() {
    let site = Site::start(|path| match path {
        "/file" => Reply::redirect("file:///etc/passwd"),
        "/ftp" => Reply::redirect("ftp://127.0.0.1/"),
        "/data" => Reply::redirect("data:image/png;base64,AAAA"),
        "/gopher" => Reply::redirect("gopher://127.0.0.1:6379/_FLUSHALL"),
        "/javascript" => Reply::redirect("javascript:alert(1)"),
        "/credentials" => Reply::redirect("http://user:secret@127.0.0.1/"),
        "/port" => Reply::redirect("http://127.0.0.1:65536/secret"),
        "/long" => Reply::redirect(&format!("/{}", "secret".repeat(2000))),
        _ => Reply::Bytes(b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\r\nContent-Length: 0\r\n\r\n".to_vec()),
    })
    .await;
    let fetcher = fetcher(&["127.0.0.1"]);
    for path in ["/file", "/ftp", "/data", "/gopher", "/javascript", "/credentials", "/port", "/long", "/latin"] {
        let error = fetcher.fetch(&site.url(path)).await.unwrap_err();
        assert!(matches!(error, FetchError::InvalidRedirect { .. }), "{path}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn redirects_may_change_between_http_and_https() {
    let plain = Target::parse("http://a.test/x").ok().unwrap();
    let secured = plain.redirected(b"https://b.test/y#z").ok().unwrap();
    assert_eq!((secured.url().as_str(), secured.port()), ("https://b.test/y", 443));
    let plain = secured.redirected(b"http://c.test:8080").ok().unwrap();
    assert_eq!((plain.url().as_str(), plain.port()), ("http://c.test:8080/", 8080));
    assert_eq!(plain.site(), "http://a.test");

    // The TLS client starts speaking, and asks for the host by its name.
    let secured = Site::start(|_| Reply::Bytes(vec![])).await;
    let target = format!("https://secured.test:{}/", secured.port());
    let site = Site::start(move |_| Reply::redirect(&target)).await;
    let script = Script::of(&[("secured.test", &[&["127.0.0.1"]])]);
    let fetcher = fetcher_with(&[&site.host(), "secured.test"], &script);
    let error = fetcher.fetch(&site.url("/")).await.unwrap_err();
    assert_eq!(error, FetchError::Unreachable { site: "http://127.0.0.1".to_owned() });
    let hello = secured.heads().remove(0);
    assert!(hello.starts_with("\u{16}\u{3}") && hello.contains("secured.test"), "{hello:?}");
}
