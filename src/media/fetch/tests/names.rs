//! Names, whose addresses may change from one moment to the next.

use std::net::SocketAddr;
use std::process::Command;

use tokio::task::spawn_blocking;

use super::*;

/// Set for the child that [`proxies_of_the_environment_are_not_used`] starts: the address to fetch.
const CHILD_URL: &str = "FETCH_TEST_CHILD_URL";

#[tokio::test]
async fn the_connection_goes_to_the_answer_that_was_judged() {
    let later = Site::start(|_| Reply::file(b"later")).await;
    let first_address = SocketAddr::new("127.0.0.2".parse().unwrap(), later.port());
    let first = Site::start_at(first_address, |_| Reply::file(b"first")).await;
    let script = Script::of(&[("moving.test", &[&["127.0.0.2"], &["127.0.0.1"]])]);
    let fetcher = fetcher_with(&["moving.test"], &script);
    let url = format!("http://moving.test:{}/", first.port());
    assert_eq!(fetcher.fetch(&url).await.as_deref(), Ok(&b"first"[..]));
    assert_eq!(script.asked(), ["moving.test"], "asked once for the connection");
    assert_eq!((first.heads().len(), later.heads().len()), (1, 0));
    assert!(first.heads()[0].contains(&format!("host: moving.test:{}\r\n", first.port())));
}

#[tokio::test]
async fn a_redirect_to_the_same_name_is_resolved_and_judged_anew() {
    let site = Site::start(|path| match path {
        "/" => Reply::redirect("/file"),
        _ => Reply::file(b"there"),
    })
    .await;
    let script = Script::of(&[("moving.test", &[&["127.0.0.1"], &["127.0.0.1"], &["127.0.0.2"]])]);
    let fetcher = fetcher_with(&["moving.test"], &script);
    assert!(fetcher.fetch(&format!("http://moving.test:{}/", site.port())).await.is_ok());
    assert_eq!(script.asked().len(), 2, "once for each connection");

    // Seen from outside: the first answer is public, and what comes after it is not.
    let script = Script::of(&[("rebinding.test", &[&["8.8.8.8"], &["127.0.0.1"]])]);
    let url = format!("http://rebinding.test:{}/", site.port());
    assert_eq!(judge(&url, &[], &script).await, Some(vec![format!("8.8.8.8:{}", site.port())]));
    assert_eq!(script.asked().len(), 1);
    assert_eq!(judge(&url, &[], &script).await, None);
    let error = fetcher_with(&[], &script).fetch(&url).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { .. }));
    assert_eq!(site.heads().len(), 2);
}

#[tokio::test]
async fn a_client_knows_no_other_addresses_than_its_own() {
    let site = Site::start(|_| Reply::file(b"there")).await;
    let own = vec![SocketAddr::new("127.0.0.1".parse().unwrap(), site.port())];
    // The system would find the last two elsewhere, or not at all.
    for host in ["moving.test", "MOVING.test.", "localhost.", "other.test"] {
        let url = format!("http://{host}:{}/", site.port());
        let response = client_to(own.clone()).unwrap().get(url).send().await.unwrap();
        assert_eq!(response.remote_addr(), own.first().copied(), "{host}");
    }
    let nowhere = client_to(vec![]).unwrap().get(format!("http://localhost:{}/", site.port())).send().await;
    assert!(nowhere.is_err());
}

#[tokio::test]
async fn one_closed_address_closes_a_name() {
    for answer in [
        &["127.0.0.1"][..],
        &["8.8.8.8", "127.0.0.1"],
        &["127.0.0.1", "8.8.8.8"],
        &["2606:4700::1111", "::1"],
        &["8.8.8.8", "1.1.1.1", "2606:4700::1111", "fd00:ec2::254"],
        &["8.8.8.8", "64:ff9b::a00:1"],
        &["::ffff:127.0.0.1"],
        &["169.254.169.254"],
        &[],
    ] {
        let script = Script::of(&[("mixed.test", &[answer])]);
        assert_eq!(judge("http://mixed.test/", &[], &script).await, None, "{answer:?}");
    }
    let script = Script::of(&[("public.test", &[&["8.8.8.8", "2606:4700::1111"]])]);
    let both = vec!["8.8.8.8:443".to_owned(), "[2606:4700::1111]:443".to_owned()];
    assert_eq!(judge("https://public.test/", &[], &script).await, Some(both));
}

#[tokio::test]
async fn what_is_refused_looks_like_what_does_not_exist() {
    let script = Script::of(&[("inner.test", &[&["10.0.0.1"]]), ("mixed.test", &[&["8.8.8.8", "127.0.0.1"]])]);
    let fetcher = fetcher_with(&["other.test"], &script);
    for (host, port) in [
        ("inner.test", 80),
        ("inner.test", 8000),
        ("mixed.test", 80),
        ("nobody.test", 80),
        ("127.0.0.1", 80),
        ("10.0.0.1", 9000),
        ("169.254.169.254", 80),
        ("[::1]", 80),
        ("8.8.8.8", 22),
    ] {
        let error = fetcher.fetch(&format!("http://{host}:{port}/x?secret=1")).await.unwrap_err();
        let words = format!("http://{host} cannot be fetched: the address is not open to this server");
        assert_eq!(error.to_string(), words);
        assert_eq!(error, FetchError::Refused { site: format!("http://{host}") });
    }
}

#[tokio::test]
async fn allowed_hosts_lead_anywhere_and_nobody_else_does() {
    let script = Script::of(&[("platform.test", &[&["10.0.0.5", "fd00::5"]]), ("other.test", &[&["10.0.0.5"]])]);
    let both = Some(vec!["10.0.0.5:8000".to_owned(), "[fd00::5]:8000".to_owned()]);
    for allowed in ["platform.test", "PLATFORM.test:8000"] {
        assert_eq!(judge("http://platform.test:8000/", &[allowed], &script).await, both, "{allowed}");
        assert_eq!(judge("http://Platform.Test:8000/", &[allowed], &script).await, both, "{allowed}");
        assert_eq!(judge("http://other.test:8000/", &[allowed], &script).await, None, "{allowed}");
        assert_eq!(judge("http://10.0.0.5:8000/", &[allowed], &script).await, None, "{allowed}");
    }
    assert_eq!(judge("http://platform.test:8001/", &["platform.test:8000"], &script).await, None);
    assert!(judge("http://platform.test:8001/", &["x.test", "platform.test"], &script).await.is_some());
}

#[tokio::test]
async fn ports_of_other_services_are_closed_unless_they_are_named() {
    let script = Script::of(&[("public.test", &[&["8.8.8.8"]])]);
    for port in [0, 22, 25, 110, 143, 465, 587, 993, 3306, 5432, 6379, 9200, 11211, 27017] {
        assert_eq!(judge(&format!("http://public.test:{port}/"), &[], &script).await, None, "{port}");
        assert_eq!(judge(&format!("https://8.8.8.8:{port}/"), &["8.8.8.8"], &script).await, None, "{port}");
    }
    assert_eq!(script.asked().len(), 0, "a closed port is closed whatever the name is");
    for port in [1, 80, 81, 443, 3000, 5000, 8000, 8080, 8443, 9000, 65535] {
        assert!(judge(&format!("http://public.test:{port}/"), &[], &script).await.is_some(), "{port}");
    }
    assert!(judge("http://10.0.0.5:9200/", &["10.0.0.5:9200"], &script).await.is_some());
}

#[tokio::test]
async fn the_system_knows_localhost() {
    let addresses = SystemResolver.resolve("localhost").await;
    assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
}

/// A proxy would resolve names on its own. The environment of a running process is not ours to change, so a child is the one
/// who fetches, by running this test once more.
#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    if let Ok(url) = std::env::var(CHILD_URL) {
        assert_eq!(fetcher(&["127.0.0.1"]).fetch(&url).await.as_deref(), Ok(&b"picture"[..]));
        return;
    }
    let proxy = Site::start(|_| Reply::file(b"from the proxy")).await;
    let site = Site::start(|_| Reply::file(b"picture")).await;
    let mut child = Command::new(std::env::current_exe().unwrap());
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    child.args(["--exact", &name]).env(CHILD_URL, site.url("/")).env_remove("NO_PROXY").env_remove("no_proxy");
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(variable, proxy.url(""));
    }
    let output = spawn_blocking(move || child.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    assert_eq!((site.heads().len(), proxy.heads().len()), (1, 0));
}
