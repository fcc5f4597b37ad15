//! Fetching from servers on loopback, which only an allowed host may lead to.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers by path on a port of its own, and remembers what was asked.
struct Site {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    async fn start(pages: impl Fn(&str, u16) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let remembered = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let length = connection.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
                remembered.lock().unwrap().push(head);
                let _ = connection.write_all(&pages(&path, port)).await;
                if path.contains("stall") {
                    // The connection stays open, and nothing comes.
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                        drop(connection);
                    });
                }
            }
        });
        Self { port, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn fetcher(&self) -> Fetcher {
        Fetcher::new(settings(&format!("127.0.0.1:{}", self.port)))
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn settings(allowed: &str) -> FetchSettings {
    let allowed_hosts = vec![allowed.parse().unwrap()];
    FetchSettings { allowed_hosts, timeout: Duration::from_millis(500), max_bytes: 1000, ..FetchSettings::default() }
}

fn page(status: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let mut page = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{head}\r\n").into_bytes();
    page.extend_from_slice(body);
    page
}

fn file(body: &[u8]) -> Vec<u8> {
    page("200 OK", &format!("Content-Length: {}\r\n", body.len()), body)
}

fn redirect(target: &str) -> Vec<u8> {
    page("302 Found", &format!("Location: {target}\r\nContent-Length: 0\r\n"), b"")
}

/// Names that lead where the test wants, each time somewhere else.
#[derive(Debug, Default)]
struct Script(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl Script {
    fn of(host: &str, answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| answer.iter().map(|text| text.parse().unwrap()).collect()).collect();
        Arc::new(Self(Mutex::new(HashMap::from([(host.to_owned(), answers)]))))
    }
}

impl Resolve for Script {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> resolve::Addresses<'a> {
        let mut hosts = self.0.lock().unwrap();
        let answer = hosts.get_mut(host).filter(|answers| !answers.is_empty()).map(|answers| answers.remove(0));
        Box::pin(std::future::ready(answer.unwrap_or_default()))
    }
}

#[tokio::test]
async fn addresses_inside_are_closed_however_they_are_written() {
    let fetcher = Fetcher::new(FetchSettings::default());
    let closed = [
        "http://127.0.0.1/",
        "http://127.0.0.1:8000/a.png",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://127.0.0.1./",
        "http://%31%32%37.0.0.1/",
        "http://１２７.０.０.１/",
        "http://127。0。0。1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.0.1/",
        "http://100.64.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://8.8.8.8:22/",
        "http://8.8.8.8:25/",
        "http://8.8.8.8:6379/",
        "http://does-not-exist.invalid/",
    ];
    for url in closed {
        assert!(matches!(fetcher.fetch(url).await, Err(FetchError::Closed { .. })), "{url}");
    }
    for url in [
        "",
        "x",
        "//a/b",
        "file:///etc/passwd",
        "ftp://8.8.8.8/",
        "gopher://8.8.8.8/",
        "data:,x",
        "http://",
        "http://a b/",
        "http://user@8.8.8.8/",
        "http://user:secret@8.8.8.8/",
        "http://[::1%25eth0]/",
        "http://8.8.8.8:99999/",
    ] {
        let error = fetcher.fetch(url).await.unwrap_err();
        assert!(
            matches!(error, FetchError::InvalidUrl { .. }) && !error.to_string().contains("secret"),
            "{url}: {error}"
        );
    }
}

#[tokio::test]
async fn an_allowed_host_is_fetched_from() {
    let site = Site::start(|_, _| file(b"picture")).await;
    assert_eq!(site.fetcher().fetch(&site.url("/a.png?token=1#part")).await.as_deref(), Ok(&b"picture"[..]));
    assert!(site.asked.lock().unwrap()[0].starts_with("GET /a.png?token=1 HTTP/1.1\r\n"));
    let other_port = Fetcher::new(settings("127.0.0.1:1"));
    assert!(matches!(other_port.fetch(&site.url("/")).await, Err(FetchError::Closed { .. })));
    assert!(Fetcher::new(settings("127.0.0.1")).fetch(&site.url("/")).await.is_ok());
}

#[tokio::test]
async fn redirects_are_followed_three_times() {
    let site = Site::start(|path, _| match path {
        "/3" => redirect("/2"),
        "/2" => redirect("1"),
        "/1" => redirect("/file"),
        "/4" => redirect("/3"),
        "/loop" => redirect("/loop"),
        _ => file(b"there"),
    })
    .await;
    assert!(site.fetcher().fetch(&site.url("/3")).await.is_ok());
    for far in ["/4", "/loop"] {
        assert_eq!(site.fetcher().fetch(&site.url(far)).await, Err(FetchError::TooManyRedirects { most: 3 }));
    }
}

#[tokio::test]
async fn every_redirect_is_judged() {
    let inner = Site::start(|_, _| file(b"secret")).await;
    let inner_url = inner.url("/");
    let site = Site::start(move |path, _| match path {
        "/inside" => redirect(&inner_url),
        "/metadata" => redirect("http://169.254.169.254/latest"),
        "/short" => redirect("//127.1:1/"),
        "/file" => redirect("file:///etc/passwd"),
        "/user" => redirect("http://user:secret@127.0.0.1/"),
        _ => page("302 Found", "Content-Length: 0\r\n", b""),
    })
    .await;
    for path in ["/inside", "/metadata", "/short"] {
        assert!(matches!(site.fetcher().fetch(&site.url(path)).await, Err(FetchError::Closed { .. })), "{path}");
    }
    for path in ["/file", "/user"] {
        assert!(matches!(site.fetcher().fetch(&site.url(path)).await, Err(FetchError::InvalidUrl { .. })), "{path}");
    }
    assert!(matches!(site.fetcher().fetch(&site.url("/nowhere")).await, Err(FetchError::Status { status: 302, .. })));
    assert_eq!(inner.asked(), 0);
}

#[tokio::test]
async fn files_are_bounded_in_bytes_and_time() {
    let site = Site::start(|path, _| match path {
        "/declared" => page("200 OK", "Content-Length: 1001\r\n", b"x"),
        "/undeclared" => page("200 OK", "", &[b'x'; 1001]),
        "/packed" => page("200 OK", "Content-Encoding: gzip\r\nContent-Length: 6\r\n", b"\x1f\x8bxxxx"),
        "/stall" => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal".to_vec(),
        "/stall-head" => b"HTTP/1.1 200".to_vec(),
        "/cut" => page("200 OK", "Content-Length: 10\r\n", b"half"),
        "/error" => page("404 Not Found", "Content-Length: 0\r\n", b""),
        _ => file(&[b'x'; 1000]),
    })
    .await;
    let fetch = async |path: &str| site.fetcher().fetch(&site.url(path)).await;
    assert_eq!(fetch("/just").await.map(|bytes| bytes.len()), Ok(1000));
    for path in ["/declared", "/undeclared"] {
        assert_eq!(fetch(path).await, Err(FetchError::TooLarge { most: 1000 }), "{path}");
    }
    assert_eq!(fetch("/packed").await.as_deref(), Ok(&b"\x1f\x8bxxxx"[..]), "nothing is unpacked");
    for path in ["/stall", "/stall-head"] {
        assert_eq!(fetch(path).await, Err(FetchError::TimedOut { seconds: 0 }), "{path}");
    }
    assert!(matches!(fetch("/cut").await, Err(FetchError::Unreachable { .. })));
    assert!(matches!(fetch("/error").await, Err(FetchError::Status { status: 404, .. })));
}

#[tokio::test]
async fn a_name_that_moves_is_resolved_once() {
    let site = Site::start(|_, _| file(b"secret")).await;
    // The first answer passes, the second would lead inside. 192.0.2.1 is nobody's; here it stands for a public address.
    let mixed = Script::of("mixed.test", &[&["8.8.8.8", "127.0.0.1"]]);
    let fetcher = Fetcher { settings: settings("unused.test"), resolver: mixed };
    let url = format!("http://mixed.test:{}/", site.port);
    assert!(matches!(fetcher.fetch(&url).await, Err(FetchError::Closed { .. })), "one closed address closes the host");
    let moving = Script::of("moving.test", &[&["127.0.0.1"], &["127.0.0.2"]]);
    let mut allowed = settings("moving.test");
    allowed.max_redirects = 0;
    let fetcher = Fetcher { settings: allowed, resolver: Arc::clone(&moving) as Arc<dyn Resolve> };
    let url = format!("http://moving.test:{}/", site.port);
    assert_eq!(fetcher.fetch(&url).await.as_deref(), Ok(&b"secret"[..]));
    assert_eq!(moving.0.lock().unwrap()["moving.test"].len(), 1, "asked once for the connection");
    assert!(site.asked.lock().unwrap()[0].contains(&format!("host: moving.test:{}", site.port)));
    let rebinding = Script::of("rebinding.test", &[&["10.0.0.1"], &["127.0.0.1"]]);
    let fetcher = Fetcher { settings: settings("unused.test"), resolver: rebinding };
    let url = format!("http://rebinding.test:{}/", site.port);
    for _ in 0..2 {
        assert!(matches!(fetcher.fetch(&url).await, Err(FetchError::Closed { .. })));
    }
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn closed_and_absent_look_the_same() {
    let fetcher = Fetcher { settings: settings("unused.test"), resolver: Script::of("inside.test", &[&["10.0.0.1"]]) };
    let words = async |host: &str| fetcher.fetch(&format!("http://{host}/x?secret=1")).await.unwrap_err().to_string();
    let (inside, absent) = (words("inside.test").await, words("absent.test").await);
    assert_eq!(inside.replace("inside", "absent"), absent);
    assert!(!inside.contains("secret") && !inside.contains("10.0.0.1"), "{inside}");
}

#[test]
fn hosts_are_named_with_or_without_a_port() {
    let host = |text: &str| text.parse::<AllowedHost>();
    let covers = |allowed: &str, url: &str| host(allowed).unwrap().covers(&Url::parse(url).unwrap());
    assert!(covers("Platform.Test", "https://platform.test:8443/x"));
    assert!(
        covers("platform.test:80", "http://platform.test/x") && !covers("platform.test:80", "https://platform.test/x")
    );
    assert!(covers("[::1]:5", "http://[::1]:5/") && !covers("[::1]:5", "http://[::1]:6/"));
    assert!(!covers("platform.test", "http://platform.test.evil.test/"));
    for wrong in ["", "a/b", "http://a", "a:b", "user@a", "a?b", "a:99999"] {
        assert!(host(wrong).is_err(), "{wrong}");
    }
}
