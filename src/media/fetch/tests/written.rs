//! Addresses however they are written. They are judged only: nothing connects, should one be let through.

use super::*;

fn names() -> Arc<Script> {
    Script::of(&[
        ("localhost", &[&["127.0.0.1", "::1"]]),
        ("localhost.", &[&["127.0.0.1"]]),
        ("foo.localhost", &[&["127.0.0.1"]]),
        ("127.0.0.1.nip.test", &[&["127.0.0.1"]]),
        ("metadata.google.internal", &[&["169.254.169.254"]]),
        ("metadata.google.internal.", &[&["169.254.169.254"]]),
        ("metadata", &[&["169.254.169.254"]]),
        ("instance-data.test", &[&["fd00:ec2::254"]]),
        ("alibaba.test", &[&["100.100.100.200"]]),
        ("azure.test", &[&["168.63.129.16"]]),
        ("translated.test", &[&["64:ff9b::a9fe:a9fe"]]),
        ("bücher.test", &[&["8.8.8.8"]]),
        ("xn--bcher-kva.test", &[&["10.0.0.1"]]),
        ("public.test", &[&["8.8.8.8", "2606:4700::1111"]]),
        ("public.test.", &[&["8.8.8.8"]]),
    ])
}

#[tokio::test]
async fn closed_addresses_are_refused_however_they_are_written() {
    #[rustfmt::skip]
    let closed = [
        // One number, with bases, with fewer parts, with zeros.
        "http://127.0.0.1/", "http://2130706433/", "http://0x7f000001/", "http://0X7F000001/", "http://017700000001/",
        "http://0177.0.0.1/", "http://0177.0.0.01/", "http://00000177.0.0.1/", "http://0x7f.0x0.0x0.0x1/", "http://0x7f.1/",
        "http://127.1/", "http://127.0.1/", "http://127.0x0.1/", "http://0/", "http://0x/", "http://0.0.0.0:8080/",
        "http://2852039166/", "http://0xa9fea9fe/", "http://0xA9.254.0251.0xfe/", "http://169.254.43518/",
        "http://167772161/", "http://3232235777/", "http://192.168.257/", "http://4294967295/",
        // Dots, letters, signs that mean the same.
        "http://127.0.0.1./", "http://127.1./", "http://%31%32%37.0.0.1/", "http://127%2e0%2E0.1/", "http://１２７.０.０.１/",
        "http://127。0。0。1/", "http://127．0．0｡1/", "http://①②⑦.⓪.⓪.①/", "http://𝟏𝟐𝟕.0.0.1/", "http://0ｘ7f.1/",
        "http://127.0.\u{ad}0.1/", "http://127.0.0\u{200b}.1/",
        // Around the host.
        "HTTP://127.0.0.1/", "hTTps://127.0.0.1/", " http://127.0.0.1/ ", "ht\ntp://127.0.\t0.1/", "http:127.0.0.1/",
        "http:/127.0.0.1/", "http:///127.0.0.1/", "http:\\\\127.0.0.1\\", "http://127.0.0.1\\@8.8.8.8/",
        "http://127.0.0.1?@8.8.8.8/", "http://127.0.0.1#@8.8.8.8/", "http://127.0.0.1:80/", "http://127.0.0.1:00080/",
        "http://@127.0.0.1/", "https://127.0.0.1:443/../../etc/passwd",
        // IPv6 and what it carries.
        "http://[::]/", "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[0000::0001]/", "http://[::ffff:127.0.0.1]/",
        "http://[::FFFF:7f00:1]/", "http://[0:0:0:0:0:ffff:7f00:0001]/", "http://[::127.0.0.1]/", "http://[::7f00:1]/",
        "http://[::ffff:0:127.0.0.1]/", "http://[::ffff:169.254.169.254]/", "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b::169.254.169.254]/", "http://[64:ff9b:1::8.8.8.8]/", "http://[2002:7f00:1::]/",
        "http://[2002:a9fe:a9fe::1]/", "http://[2001:0:7f00:1::f7f7:f7f7]/", "http://[2001:0:808:808::80ff:fffe]/",
        "http://[2606:4700::5efe:10.0.0.1]/", "http://[fe80::1]/", "http://[FE80::A9FE:A9FE]/", "http://[fc00::1]/",
        "http://[fd00:ec2::254]/", "http://[fec0::1]/", "http://[ff02::1]/", "http://[100::1]/", "http://[2001:db8::1]/",
        "http://[3fff::1]/",
        // Networks.
        "http://10.0.0.1/", "http://100.64.0.1/", "http://100.100.100.200/", "http://168.63.129.16/", "http://169.254.0.1/",
        "http://169.254.169.254/latest/meta-data/", "https://169.254.169.254/", "http://172.16.0.1/",
        "http://172.31.255.255/", "http://192.0.0.1/", "http://192.0.2.1/", "http://192.88.99.1/", "http://192.168.0.1/",
        "http://198.18.0.1/", "http://198.51.100.1/", "http://203.0.113.1/", "http://224.0.0.1/", "http://240.0.0.1/",
        "http://255.255.255.255/",
        // Names.
        "http://localhost/", "http://LOCALHOST/", "http://localhost./", "http://foo.localhost/", "http://ⓛocalhost/",
        "http://%6cocalhost/", "http://127.0.0.1.nip.test/", "http://metadata.google.internal/computeMetadata/v1/",
        "http://metadata.google.internal./", "http://METADATA/", "http://instance-data.test/", "http://alibaba.test/",
        "http://azure.test/", "http://translated.test/", "http://bücher.test/", "http://BÜCHER.test/",
        "http://nobody.test/", "http://public.test.evil.test/", "http://127.0.0.1../",
        // Ports.
        "http://8.8.8.8:22/", "http://8.8.8.8:0/", "http://public.test:6379/", "https://public.test:25/",
    ];
    assert!(closed.len() >= 90, "{}", closed.len());
    let names = names();
    for url in closed {
        assert_eq!(judge(url, &[], &names).await, None, "{url}");
        assert_eq!(judge(url, &["platform.test", "127.0.0.1:9"], &names).await, None, "{url}");
    }
}

#[tokio::test]
async fn public_addresses_are_open() {
    let names = names();
    for (url, connected) in [
        ("http://8.8.8.8/", "8.8.8.8:80"),
        ("https://8.8.8.8/", "8.8.8.8:443"),
        ("http://134744072/", "8.8.8.8:80"),
        ("http://8.8.8.8:8080/", "8.8.8.8:8080"),
        ("http://172.32.0.0/", "172.32.0.0:80"),
        ("http://100.128.0.0:9000/", "100.128.0.0:9000"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]:443"),
        ("http://[2606:4700::1111]:81/", "[2606:4700::1111]:81"),
        ("http://[64:ff9b::8.8.8.8]/", "[64:ff9b::808:808]:80"),
        ("http://public.test./", "8.8.8.8:80"),
    ] {
        assert_eq!(judge(url, &[], &names).await, Some(vec![connected.to_owned()]), "{url}");
    }
    let both = Some(vec!["8.8.8.8:80".to_owned(), "[2606:4700::1111]:80".to_owned()]);
    assert_eq!(judge("HTTP://PUBLIC.TEST/a.png?b#c", &[], &names).await, both);
}

#[tokio::test]
async fn what_is_no_web_address_is_refused_before_anything_is_resolved() {
    let script = names();
    let fetcher = fetcher_with(&["127.0.0.1", "public.test"], &script);
    #[rustfmt::skip]
    let wrong = [
        "", " ", "x", "/a.png", "//public.test/a.png", "public.test/a.png", "http://", "http:///", "http://:80/",
        "http://a b/", "http://a<b/", "http://%00/", "http://127.0.0.1%00.public.test/", "http://public.test%2f@x/",
        "http://[::1/", "http://[::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[::ffff:127.0.0.256]/", "http://::1/",
        "http://256.0.0.1/", "http://1.2.3.4.5/", "http://0x100000000/", "http://4294967296/", "http://127.0.0.08/",
        "http://8.8.8.8:65536/", "http://8.8.8.8:-1/", "http://8.8.8.8:http/", "http://xn--/",
        "file:///etc/passwd", "file://127.0.0.1/etc/passwd", "ftp://public.test/", "gopher://public.test/_x", "data:,x",
        "ws://public.test/", "wss://public.test/", "dict://public.test/", "ldap://public.test/", "jar:http://public.test/",
        "javascript:alert(1)", "unix:/run/docker.sock", "blob:http://public.test/x", "view-source:http://public.test/",
        "http+unix://%2frun%2fdocker.sock/", "httpx://public.test/", "about:blank", "mailto:a@public.test",
        "http://user@public.test/", "http://user:secret@public.test/", "http://:secret@public.test/",
        "http://secret:@public.test/", "http://public.test@127.0.0.1/", "http://8.8.8.8:80@127.0.0.1/",
    ];
    for url in wrong {
        let error = fetcher.fetch(url).await.unwrap_err();
        assert!(matches!(error, FetchError::InvalidUrl { .. }), "{url}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{url}: {error:?}");
    }
    let long = format!("http://public.test/{}", "secret".repeat(2000));
    let words = "the address cannot be fetched: it is longer than 8192 bytes";
    assert_eq!(fetcher.fetch(&long).await.unwrap_err().to_string(), words);
    assert_eq!(script.asked().len(), 0);
}

#[test]
fn only_scheme_and_host_are_shown() {
    let target = Target::parse("https://Public.test:8443/secret/a.png?token=secret#secret").ok().unwrap();
    assert_eq!(target.site(), "https://public.test");
    assert_eq!(target.url().fragment(), None);
    let site = target.site();
    for error in [
        FetchError::InvalidRedirect { site: site.clone(), reason: "it names no host".to_owned() },
        FetchError::Refused { site: site.clone() },
        FetchError::Unreachable { site: site.clone() },
        FetchError::Status { site: site.clone(), status: 404 },
        FetchError::TooLarge { site: site.clone(), max_bytes: 1 },
        FetchError::TooManyRedirects { site: site.clone(), max_redirects: 3 },
        FetchError::TimedOut { site, limit: Duration::from_secs(30) },
    ] {
        assert!(error.to_string().starts_with("https://public.test cannot be fetched"), "{error}");
    }
}
