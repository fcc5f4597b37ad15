//! Fetches files from addresses that strangers name.
//!
//! Such an address must not lead into the network that the server stands in. So a name is resolved once, every address that it
//! has is judged, and the connection goes to what was judged; redirects are followed by hand, each judged anew. What is
//! refused looks the same as what does not exist.

mod address;
mod error;
mod resolve;
#[cfg(test)]
mod tests;

pub use error::FetchError;

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::time::timeout;

use self::address::is_open;
use self::resolve::{Resolve, SystemResolver};

/// Ports of services that are no web servers and could mistake a request for one of theirs.
const CLOSED_PORTS: [u16; 22] =
    [7, 9, 19, 21, 22, 23, 25, 53, 110, 111, 135, 143, 389, 445, 465, 587, 993, 995, 3306, 5432, 6379, 11211];
/// Longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is fetched, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchSettings {
    /// Hosts whose addresses need not be public.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Longest time for all of it, redirects included.
    pub timeout: Duration,
    /// Most bytes of a file.
    pub max_bytes: usize,
    /// Most redirects that are followed.
    pub max_redirects: usize,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self { allowed_hosts: vec![], timeout: Duration::from_secs(30), max_bytes: 64 << 20, max_redirects: 3 }
    }
}

/// A host that may be fetched from wherever it is, on any port or on one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    host: String,
    port: Option<u16>,
}

impl FromStr for AllowedHost {
    type Err = String;

    /// Reads `host` or `host:port`, where an IPv6 address stands in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no host or host:port");
        // Read as addresses are, so that both end in the same spelling.
        let url = Url::parse(&format!("http://{text}/")).map_err(|_| wrong())?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
        let host = url.host_str().filter(|_| is_bare && !text.contains(['/', '@', '?', '#'])).ok_or_else(wrong)?;
        // The scheme's own port is not shown by the parsed address.
        let port = if text.ends_with(":80") { Some(80) } else { url.port() };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl AllowedHost {
    fn covers(&self, url: &Url) -> bool {
        url.host_str() == Some(&self.host) && (self.port.is_none() || self.port == url.port_or_known_default())
    }
}

/// Fetches files.
#[derive(Debug, Clone)]
pub struct Fetcher {
    settings: FetchSettings,
    resolver: Arc<dyn Resolve>,
}

/// What came back from one address.
enum Hop {
    File(Vec<u8>),
    Redirect(Url),
}

impl Fetcher {
    /// A fetcher that resolves names as the system does.
    pub fn new(settings: FetchSettings) -> Self {
        Self { settings, resolver: Arc::new(SystemResolver) }
    }

    /// The file at this address.
    ///
    /// # Errors
    /// The address is none, is closed, or does not give a file within the limits.
    pub async fn fetch(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let late = |_| FetchError::TimedOut { seconds: self.settings.timeout.as_secs() };
        timeout(self.settings.timeout, self.follow(url)).await.map_err(late)?
    }

    async fn follow(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let mut url = Url::parse(url).map_err(|error| FetchError::InvalidUrl { reason: error.to_string() })?;
        for _ in 0..=self.settings.max_redirects {
            match self.hop(url).await? {
                Hop::File(bytes) => return Ok(bytes),
                Hop::Redirect(target) => url = target,
            }
        }
        Err(FetchError::TooManyRedirects { most: self.settings.max_redirects })
    }

    async fn hop(&self, mut url: Url) -> Result<Hop, FetchError> {
        check_form(&url)?;
        url.set_fragment(None);
        let origin = url.origin().ascii_serialization();
        let addresses = self.judged_addresses(&url).await?;
        let unreachable = |_| FetchError::Unreachable { origin: origin.clone() };
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .resolve_to_addrs(url.host_str().unwrap_or_default(), &addresses)
            .build()
            .map_err(unreachable)?;
        let response = client.get(url.clone()).send().await.map_err(unreachable)?;
        if response.status().is_redirection() {
            let target = response.headers().get(LOCATION).and_then(|target| target.to_str().ok());
            let target = target.and_then(|target| url.join(target).ok());
            return target.map(Hop::Redirect).ok_or(FetchError::Status { origin, status: response.status().as_u16() });
        }
        if !response.status().is_success() {
            return Err(FetchError::Status { origin, status: response.status().as_u16() });
        }
        self.read(response, &origin).await.map(Hop::File)
    }

    async fn read(&self, mut response: Response, origin: &str) -> Result<Vec<u8>, FetchError> {
        let most = self.settings.max_bytes;
        let too_large = || FetchError::TooLarge { most };
        if response.content_length().is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        let unreachable = |_| FetchError::Unreachable { origin: origin.to_owned() };
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > most {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Every address of the host, all of them open. One that is not closes the host: nobody could tell which is taken.
    async fn judged_addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, FetchError> {
        let closed = || FetchError::Closed { origin: url.origin().ascii_serialization() };
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Err(closed()) };
        let is_allowed = self.settings.allowed_hosts.iter().any(|allowed| allowed.covers(url));
        if CLOSED_PORTS.contains(&port) && !is_allowed {
            return Err(closed());
        }
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let addresses = match literal {
            Ok(address) => vec![address],
            Err(_) => self.resolver.resolve(host, port).await,
        };
        let is_fine = !addresses.is_empty() && (is_allowed || addresses.iter().all(|address| is_open(*address)));
        match is_fine {
            true => Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()),
            false => Err(closed()),
        }
    }
}

fn check_form(url: &Url) -> Result<(), FetchError> {
    let invalid = |reason: &str| Err(FetchError::InvalidUrl { reason: reason.to_owned() });
    if !matches!(url.scheme(), "http" | "https") {
        return invalid("only http and https are fetched");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return invalid("it must not hold a user name or password");
    }
    Ok(())
}
