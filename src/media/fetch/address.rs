//! Which addresses are public, and so open to a fetch that a stranger asks for.
//!
//! A refusal is the rule for whatever has a special purpose, also where it is harmless: pictures are not served from there.
//! An address that carries an IPv4 address, as translators and tunnels use them, leads wherever that one does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are not public, as address and prefix length: the IANA registry of special-purpose addresses, and a
/// cloud's service that lies outside of it. The metadata services of other clouds lie within: 169.254.169.254 is link-local,
/// 100.100.100.200 is shared by providers, 192.0.0.192 is for protocols.
const CLOSED_V4: [(Ipv4Addr, u32); 19] = [
    // "This network".
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    // Private.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Shared by providers.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // Protocol assignments.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Anycast of AS112, of multicast tunnels and of 6to4 relays: whoever is near answers.
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // Benchmarking.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // Multicast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, and broadcast.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // Azure's services for its virtual machines.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// All that is public in IPv6, less what follows: loopback, link-local, unique-local (where fd00:ec2::254 is), multicast,
/// discarded, IPv4-compatible and locally translated addresses lie outside of it.
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Networks within [`GLOBAL_UNICAST`] that are not public.
const CLOSED_V6: [(Ipv6Addr, u32); 4] = [
    // Protocol assignments, benchmarking and identifiers among them.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // Anycast of AS112.
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
];

/// Whether a stranger may make us connect to it.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !CLOSED_V4.iter().any(|network| contains_v4(*network, address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let leads_to_public = |high: u16, low: u16| is_public_v4(joined(high, low));
    match address.segments() {
        // ISATAP: the lower half names an IPv4 address of the site, whatever the upper half is.
        [.., 0 | 0x200, 0x5efe, high, low] if !leads_to_public(high, low) => false,
        // IPv4-mapped.
        [0, 0, 0, 0, 0, 0xffff, high, low] => leads_to_public(high, low),
        // NAT64 with the well-known prefix.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => leads_to_public(high, low),
        // 6to4.
        [0x2002, high, low, ..] => leads_to_public(high, low),
        // Teredo: the server, and the client with its bits turned.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            leads_to_public(server_high, server_low) && leads_to_public(!high, !low)
        }
        _ => contains_v6(GLOBAL_UNICAST, address) && !CLOSED_V6.iter().any(|network| contains_v6(*network, address)),
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

const fn contains_v4((network, prefix): (Ipv4Addr, u32), address: Ipv4Addr) -> bool {
    (network.to_bits() ^ address.to_bits()).leading_zeros() >= prefix
}

const fn contains_v6((network, prefix): (Ipv6Addr, u32), address: Ipv6Addr) -> bool {
    (network.to_bits() ^ address.to_bits()).leading_zeros() >= prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_judged(addresses: &[&str], expected: bool) {
        for text in addresses {
            assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn closed_ipv4_networks_are_closed_from_first_to_last() {
        #[rustfmt::skip]
        let closed = [
            "0.0.0.0", "0.0.0.1", "0.255.255.255",
            "10.0.0.0", "10.1.2.3", "10.255.255.255",
            "100.64.0.0", "100.100.100.200", "100.127.255.255",
            "127.0.0.0", "127.0.0.1", "127.0.0.53", "127.255.255.255",
            "169.254.0.0", "169.254.169.254", "169.254.170.2", "169.254.255.255",
            "172.16.0.0", "172.17.0.1", "172.31.255.255",
            "192.0.0.0", "192.0.0.1", "192.0.0.192", "192.0.0.255",
            "192.0.2.0", "192.0.2.255",
            "192.31.196.0", "192.31.196.255",
            "192.52.193.0", "192.52.193.255",
            "192.88.99.0", "192.88.99.255",
            "192.168.0.0", "192.168.1.1", "192.168.255.255",
            "192.175.48.0", "192.175.48.255",
            "198.18.0.0", "198.19.255.255",
            "198.51.100.0", "198.51.100.255",
            "203.0.113.0", "203.0.113.255",
            "224.0.0.0", "224.0.0.1", "239.255.255.255",
            "240.0.0.0", "255.255.255.254", "255.255.255.255",
            "168.63.129.16",
        ];
        assert_judged(&closed, false);
    }

    #[test]
    fn closed_ipv6_networks_are_closed_from_first_to_last() {
        #[rustfmt::skip]
        let closed = [
            // Unspecified, loopback, IPv4-compatible, discarded, segment routing, and what nobody has been given.
            "::", "::1", "::2", "::7f00:1", "::8.8.8.8", "100::", "100::ffff", "100:0:0:1::1", "5f00::1", "400::1",
            "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "8000::1", "e000::1",
            // Protocol assignments and benchmarking.
            "2001:1::1", "2001:1::2", "2001:2::", "2001:2:0:ffff::1", "2001:3::1", "2001:4:112::1", "2001:10::1", "2001:20::1",
            "2001:30::1", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
            // Documentation.
            "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            // Anycast.
            "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
            // Unique-local, metadata of clouds among them.
            "fc00::", "fd00:ec2::254", "fd20:ce::254", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            // Link-local and site-local.
            "fe80::", "fe80::a9fe:a9fe", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::1", "feff::1",
            // Multicast.
            "ff00::", "ff02::1", "ff0e::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ];
        assert_judged(&closed, false);
    }

    #[test]
    fn addresses_that_carry_a_closed_ipv4_address_are_closed() {
        #[rustfmt::skip]
        let closed = [
            // IPv4-mapped, and translated without state.
            "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::ffff:168.63.129.16",
            "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8",
            // NAT64, with the well-known prefix and with local ones.
            "64:ff9b::127.0.0.1", "64:ff9b::10.1.2.3", "64:ff9b::a9fe:a9fe", "64:ff9b::192.168.1.1",
            "64:ff9b:0:0:0:1:808:808", "64:ff9b:1::", "64:ff9b:1::8.8.8.8", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
            // 6to4.
            "2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2002:c0a8:101::1", "2002:6464:64c8::1", "2002::",
            // Teredo: the server is closed, the client is closed, both are.
            "2001:0:7f00:1::f7f7:f7f7", "2001:0:808:808::80ff:fffe", "2001:0:808:808::f5ff:fffe", "2001::1", "2001::",
            // ISATAP, in a public network, under 6to4 and under NAT64's neighbour.
            "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:127.0.0.1", "2002:808:808::5efe:192.168.0.1",
        ];
        assert_judged(&closed, false);
    }

    #[test]
    fn public_addresses_right_outside_of_closed_networks_are_open() {
        #[rustfmt::skip]
        let open = [
            "1.0.0.0", "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
            "126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0",
            "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.1.255", "192.0.3.0", "192.31.195.255",
            "192.31.197.0", "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
            "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
            "2000::", "2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "2001:4860:4860::8888",
            "2003::", "2606:4700::1111", "2620:4f:7fff::1", "2620:4f:8001::", "2a00:1450::1",
            "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ];
        assert_judged(&open, true);
    }

    #[test]
    fn addresses_that_carry_a_public_ipv4_address_are_open() {
        #[rustfmt::skip]
        let open = [
            "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b::172.32.0.0", "2002:808:808::1", "2001:0:808:808::f7f7:f7f7",
            "2606:4700::5efe:8.8.8.8",
        ];
        assert_judged(&open, true);
    }
}
