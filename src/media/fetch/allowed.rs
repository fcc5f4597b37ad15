//! Hosts that whoever runs the server vouches for.

use std::str::FromStr;

use url::Host;

use super::target::Target;

/// A host that may be fetched from whatever its addresses are, on any port or on one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    host: Host,
    port: Option<u16>,
}

impl FromStr for AllowedHost {
    type Err = String;

    /// Reads `host` or `host:port`; an IPv6 address stands in brackets.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |_| format!("{text:?} is neither host nor host:port");
        let (host, port) = match text.rsplit_once(':') {
            // The colon is part of an IPv6 address.
            Some((_, rest)) if rest.ends_with(']') => (text, None),
            Some((host, port)) => (host, Some(read_port(port).map_err(wrong)?)),
            None => (text, None),
        };
        // Read as in addresses, so that both end in the same spelling.
        let host = Host::parse(host).map_err(|_| wrong(()))?;
        Ok(Self { host, port })
    }
}

impl AllowedHost {
    /// Whether it is this host, on this port.
    pub(super) fn covers(&self, target: &Target) -> bool {
        self.host == *target.host() && self.port.is_none_or(|port| port == target.port())
    }

    /// Whether it is meant for one port.
    pub(super) const fn names_port(&self) -> bool {
        self.port.is_some()
    }
}

fn read_port(text: &str) -> Result<u16, ()> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    text.parse().ok().filter(|port| *port > 0).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(allowed: &str, url: &str) -> bool {
        allowed.parse::<AllowedHost>().unwrap().covers(&Target::parse(url).unwrap_or_else(|reason| panic!("{reason}")))
    }

    #[test]
    fn a_host_covers_itself_on_every_port_or_on_the_named_one() {
        for (allowed, url) in [
            ("platform.test", "http://platform.test/x"),
            ("platform.test", "https://platform.test:8443/x"),
            ("Platform.TEST", "http://platform.test/"),
            ("platform.test", "http://PLATFORM.test/"),
            ("platform.test:80", "http://platform.test/"),
            ("platform.test:443", "https://platform.test/"),
            ("platform.test:8000", "http://platform.test:8000/"),
            ("10.0.0.5", "http://10.0.0.5:9000/"),
            ("10.0.0.5", "http://167772165/"),
            ("[::1]:5", "http://[::1]:5/"),
            ("[fd00::1]", "http://[FD00:0::1]:5/"),
            ("münchen.test", "http://xn--mnchen-3ya.test/"),
        ] {
            assert!(covers(allowed, url), "{allowed} {url}");
        }
    }

    #[test]
    fn a_host_covers_no_other() {
        for (allowed, url) in [
            ("platform.test", "http://platform.test.evil.test/"),
            ("platform.test", "http://evil-platform.test/"),
            ("platform.test", "http://sub.platform.test/"),
            ("platform.test", "http://platform.test./"),
            ("platform.test:80", "https://platform.test/"),
            ("platform.test:80", "http://platform.test:8080/"),
            ("10.0.0.5", "http://10.0.0.6/"),
            ("10.0.0.5", "http://[::ffff:10.0.0.5]/"),
            ("[::1]:5", "http://[::1]:6/"),
            ("localhost", "http://127.0.0.1/"),
        ] {
            assert!(!covers(allowed, url), "{allowed} {url}");
        }
    }

    #[test]
    fn anything_but_host_and_port_is_refused() {
        for wrong in [
            "",
            ":80",
            "a:",
            "a:b",
            "a:0",
            "a:+80",
            "a:65536",
            "a:80:80",
            "a/b",
            "http://a",
            "http://a:80/",
            "user@a",
            "a?b",
            "a#b",
            "a b",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "1.2.3.256",
        ] {
            assert!(wrong.parse::<AllowedHost>().is_err(), "{wrong}");
        }
    }
}
