//! Addresses that may be asked, as far as that can be told from how they are written.
//!
//! Read by the rules of browsers, so that a host has one spelling however it was written: `127.1`, `0x7f000001`, `１２７.0.0.1`
//! and `%3127.0.0.1` are all the IPv4 address 127.0.0.1 from here on. Has no `Debug`, because queries may hold secrets.

use url::{Host, Url};

/// Longest address that is read.
const MAX_URL_BYTES: usize = 8 << 10;

/// An address of a web server without credentials and fragment.
pub(super) struct Target {
    url: Url,
    host: Host,
    port: u16,
    site: String,
}

impl Target {
    /// Reads what the caller gave.
    ///
    /// # Errors
    /// What is wrong with it, in words that hold nothing of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        check_length(text)?;
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        let site = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        Self::new(url, site)
    }

    /// Where a redirect from here leads. To the outside it still is the site that the caller gave.
    ///
    /// # Errors
    /// As for [`Self::parse`].
    pub(super) fn redirected(&self, location: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(location).map_err(|_| "it is not valid UTF-8")?;
        check_length(text)?;
        let url = self.url.join(text).map_err(|error| error.to_string())?;
        Self::new(url, self.site.clone())
    }

    fn new(mut url: Url, site: String) -> Result<Self, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("only http and https are fetched from".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an address with a user name or a password is not fetched from".to_owned());
        }
        let (Some(host), Some(port)) = (url.host().map(|host| host.to_owned()), url.port_or_known_default()) else {
            return Err("it names no host".to_owned());
        };
        url.set_fragment(None);
        Ok(Self { url, host, port, site })
    }

    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    pub(super) const fn host(&self) -> &Host {
        &self.host
    }

    /// The scheme's own where none is written.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Scheme and host of the address that the caller gave: all of it that may be shown.
    pub(super) fn site(&self) -> String {
        self.site.clone()
    }
}

fn check_length(text: &str) -> Result<(), String> {
    if text.len() > MAX_URL_BYTES {
        return Err(format!("it is longer than {MAX_URL_BYTES} bytes"));
    }
    Ok(())
}
