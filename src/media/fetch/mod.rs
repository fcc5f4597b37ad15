//! Fetches files from addresses that strangers name.
//!
//! Such an address must not lead into the network that the server stands in. So every address of a host is judged before
//! anything is sent, the connection goes to what was judged, and redirects are followed by hand, each judged anew. What is
//! refused looks the same as what does not exist. Called for pictures that are named by URL.

mod address;
mod allowed;
mod connection;
mod error;
mod gate;
mod resolve;
mod target;
#[cfg(test)]
mod tests;

pub use allowed::AllowedHost;
pub use error::FetchError;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::LOCATION;
use tokio::time::timeout;

use self::connection::client_to;
use self::gate::open_addresses;
use self::resolve::{Resolver, SystemResolver};
use self::target::Target;

/// What is fetched, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchSettings {
    /// Hosts whose addresses need not be public. One that is named with its port may also have any port.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Longest time for all of a fetch, redirects included.
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

/// Fetches files.
#[derive(Debug, Clone)]
pub struct Fetcher {
    settings: FetchSettings,
    resolver: Arc<dyn Resolver>,
}

/// What one request brought.
enum Answer {
    File(Vec<u8>),
    Redirect(Target),
}

impl Fetcher {
    /// A fetcher that resolves names as the system does.
    pub fn new(settings: FetchSettings) -> Self {
        Self { settings, resolver: Arc::new(SystemResolver) }
    }

    /// The file at this address, as the server sends it: nothing is unpacked.
    ///
    /// # Errors
    /// It is no address, or none that is open, or there is no file within the limits.
    pub async fn fetch(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let target = Target::parse(url).map_err(|reason| FetchError::InvalidUrl { reason })?;
        let site = target.site();
        let limit = self.settings.timeout;
        timeout(limit, self.follow(target)).await.map_err(|_| FetchError::TimedOut { site, limit })?
    }

    async fn follow(&self, mut target: Target) -> Result<Vec<u8>, FetchError> {
        let max_redirects = self.settings.max_redirects;
        for _ in 0..=max_redirects {
            match self.request(&target).await? {
                Answer::File(bytes) => return Ok(bytes),
                Answer::Redirect(next) => target = next,
            }
        }
        Err(FetchError::TooManyRedirects { site: target.site(), max_redirects })
    }

    async fn request(&self, target: &Target) -> Result<Answer, FetchError> {
        let addresses = open_addresses(target, &self.settings.allowed_hosts, self.resolver.as_ref()).await;
        let addresses = addresses.ok_or_else(|| FetchError::Refused { site: target.site() })?;
        let client = client_to(addresses).map_err(|_| unreachable(target))?;
        let response = client.get(target.url().clone()).send().await.map_err(|_| unreachable(target))?;
        match response.status().as_u16() {
            200..=299 => self.read(response, target).await.map(Answer::File),
            status @ (301 | 302 | 303 | 307 | 308) => {
                let Some(location) = response.headers().get(LOCATION) else {
                    return Err(FetchError::Status { site: target.site(), status });
                };
                let invalid = |reason| FetchError::InvalidRedirect { site: target.site(), reason };
                target.redirected(location.as_bytes()).map(Answer::Redirect).map_err(invalid)
            }
            status => Err(FetchError::Status { site: target.site(), status }),
        }
    }

    async fn read(&self, mut response: Response, target: &Target) -> Result<Vec<u8>, FetchError> {
        let max_bytes = self.settings.max_bytes;
        let too_large = || FetchError::TooLarge { site: target.site(), max_bytes };
        if response.content_length().is_some_and(|length| length > max_bytes as u64) {
            return Err(too_large());
        }
        // Room is taken as bytes come in, whatever length was announced.
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| unreachable(target))? {
            if chunk.len() > max_bytes - bytes.len() {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn unreachable(target: &Target) -> FetchError {
    FetchError::Unreachable { site: target.site() }
}
