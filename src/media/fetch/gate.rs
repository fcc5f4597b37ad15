//! Decides where a fetch may connect to.
//!
//! Names are judged by all addresses that they have at this moment, and the connection goes to these very addresses: nobody
//! resolves the name a second time, so that it cannot lead elsewhere by then.

use std::net::{IpAddr, SocketAddr};

use url::Host;

use super::address::is_public;
use super::allowed::AllowedHost;
use super::resolve::Resolver;
use super::target::Target;

/// Ports where something else than a web server is to be expected, which might take a request for one of its own.
#[rustfmt::skip]
const CLOSED_PORTS: [u16; 40] = [
    0, 7, 9, 13, 19, 21, 22, 23, 25, 53, 110, 111, 119, 135, 139, 143, 389, 445, 465, 514, 587, 636, 993, 995, 1433, 1521,
    2049, 3306, 3389, 5432, 5672, 5900, 6379, 9042, 9092, 9200, 9300, 11211, 27017, 27018,
];

/// Every address of the target, if all of them are open. One that is not closes the target: which of them is connected to
/// is not ours to choose.
pub(super) async fn open_addresses(
    target: &Target,
    allowed_hosts: &[AllowedHost],
    resolver: &dyn Resolver,
) -> Option<Vec<SocketAddr>> {
    let port = target.port();
    let is_allowed = allowed_hosts.iter().any(|allowed| allowed.covers(target));
    let port_is_allowed = allowed_hosts.iter().any(|allowed| allowed.names_port() && allowed.covers(target));
    if CLOSED_PORTS.contains(&port) && !port_is_allowed {
        return None;
    }
    let addresses = match target.host() {
        Host::Ipv4(address) => vec![IpAddr::V4(*address)],
        Host::Ipv6(address) => vec![IpAddr::V6(*address)],
        Host::Domain(name) => resolver.resolve(name).await,
    };
    let is_open = !addresses.is_empty() && (is_allowed || addresses.iter().all(|address| is_public(*address)));
    is_open.then(|| addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}
