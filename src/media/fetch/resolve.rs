//! From the name of a host to its addresses.

use std::fmt::Debug;
use std::net::IpAddr;

use futures_util::future::BoxFuture;
use tokio::net::lookup_host;

/// Knows the addresses of hosts.
pub(super) trait Resolver: Debug + Send + Sync {
    /// All addresses of a host, none if there is no such host or that cannot be found out. Asked once for each connection.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Vec<IpAddr>>;
}

/// The system's.
#[derive(Debug)]
pub(super) struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Vec<IpAddr>> {
        Box::pin(async move {
            // The port does not matter for the addresses.
            let found = lookup_host((name, 0)).await;
            found.map(|addresses| addresses.map(|address| address.ip()).collect()).unwrap_or_default()
        })
    }
}
