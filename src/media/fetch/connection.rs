//! HTTP to addresses that were judged before, and to no others.

use std::future::ready;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

/// Longest that connecting may take, all addresses of a host together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers every question with the same addresses, so that no name is ever resolved behind our back.
struct Pinned(Vec<SocketAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(ready(Ok(addresses)))
    }
}

/// A client for one request to a host that has these addresses. The host's name stays what the server is asked for, in
/// HTTP as in TLS. What else the library could do on its own is switched off here, because other crates of the program may
/// bring its features in: proxies, redirects, unpacking.
///
/// # Errors
/// TLS cannot be set up, for example for want of the system's certificates.
pub(super) fn client_to(addresses: Vec<SocketAddr>) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(Pinned(addresses))
        .no_proxy()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
}
