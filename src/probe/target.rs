//! Which addresses may be dialled on the word of a DNS answer.
//!
//! Whoever holds a zone can point its names at the inside of a cluster. Only addresses of the
//! public Internet are dialled, unless the administrator allows a range.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The ranges that may be dialled although they are not public.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TargetPolicy {
    /// Set by the administrator, never by a tenant.
    pub allowed: Vec<IpNet>,
}

/// An address that is not dialled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[error(
    "{address} is not dialled: it is {kind}, which the Internet can't reach; publish a public \
     address, or let the administrator allow the range"
)]
pub struct PrivateTarget {
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub kind: &'static str,
}

impl TargetPolicy {
    /// Whether `address` may be dialled.
    pub fn check(&self, address: IpAddr) -> Result<(), PrivateTarget> {
        if self.allowed.iter().any(|range| range.contains(&address)) {
            return Ok(());
        }
        let kind = match address {
            IpAddr::V4(address) => not_public_v4(address),
            IpAddr::V6(address) => not_public_v6(address),
        };
        match kind {
            None => Ok(()),
            Some(kind) => Err(PrivateTarget { address, kind }),
        }
    }
}

/// A range of IPv4, written as in the registry.
const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

/// The IANA special-purpose registry (RFC 6890), multicast, and one address of a cloud that looks
/// public and is not.
const NOT_PUBLIC_V4: [(Ipv4Net, &str); 17] = [
    (v4(0, 0, 0, 0, 8), "unspecified (0.0.0.0/8)"),
    (v4(10, 0, 0, 0, 8), "private (10.0.0.0/8)"),
    (v4(100, 64, 0, 0, 10), "shared by a carrier (100.64.0.0/10)"),
    (v4(127, 0, 0, 0, 8), "loopback (127.0.0.0/8)"),
    (v4(168, 63, 129, 16, 32), "a cloud's metadata service"),
    (v4(169, 254, 169, 254, 32), "a cloud's metadata service"),
    (v4(169, 254, 0, 0, 16), "link-local (169.254.0.0/16)"),
    (v4(172, 16, 0, 0, 12), "private (172.16.0.0/12)"),
    (
        v4(192, 0, 0, 0, 24),
        "reserved for protocols (192.0.0.0/24)",
    ),
    (v4(192, 0, 2, 0, 24), "for documentation (192.0.2.0/24)"),
    (v4(192, 88, 99, 0, 24), "a 6to4 relay (192.88.99.0/24)"),
    (v4(192, 168, 0, 0, 16), "private (192.168.0.0/16)"),
    (v4(198, 18, 0, 0, 15), "for benchmarks (198.18.0.0/15)"),
    (
        v4(198, 51, 100, 0, 24),
        "for documentation (198.51.100.0/24)",
    ),
    (v4(203, 0, 113, 0, 24), "for documentation (203.0.113.0/24)"),
    (v4(224, 0, 0, 0, 4), "multicast (224.0.0.0/4)"),
    (v4(240, 0, 0, 0, 4), "reserved (240.0.0.0/4)"),
];

/// A range of IPv6, from its first two groups.
const fn v6(a: u16, b: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

/// Special ranges inside of global unicast, and those outside that deserve their own word.
const NOT_PUBLIC_V6: [(Ipv6Net, &str); 11] = [
    (v6(0x2001, 0x0002, 48), "for benchmarks (2001:2::/48)"),
    (
        v6(0x2001, 0x0010, 28),
        "an identifier, not an address (2001:10::/28)",
    ),
    (
        v6(0x2001, 0x0020, 28),
        "an identifier, not an address (2001:20::/28)",
    ),
    (v6(0x2001, 0x0db8, 32), "for documentation (2001:db8::/32)"),
    (v6(0x3fff, 0, 20), "for documentation (3fff::/20)"),
    (
        v6(0x0064, 0xff9b, 32),
        "a local translation to IPv4 (64:ff9b:1::/48)",
    ),
    (v6(0xfc00, 0, 7), "private (fc00::/7)"),
    (v6(0xfe80, 0, 10), "link-local (fe80::/10)"),
    (v6(0xfec0, 0, 10), "site-local (fec0::/10)"),
    (v6(0xff00, 0, 8), "multicast (ff00::/8)"),
    (v6(0x0100, 0, 64), "a black hole (100::/64)"),
];

/// The only range that is given out (RFC 4291 §2.4).
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 3);

fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    NOT_PUBLIC_V4
        .iter()
        .find(|(range, _)| range.contains(&address))
        .map(|(_, kind)| *kind)
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        return Some("loopback (::1)");
    }
    if address.is_unspecified() {
        return Some("unspecified (::)");
    }
    if address.to_ipv4_mapped().is_some() {
        return Some("an IPv4 address in IPv6 form (::ffff:0:0/96)");
    }
    let embedded = embedded_v4(address);
    if let Some(kind) = embedded.iter().flatten().find_map(|&v4| not_public_v4(v4)) {
        return Some(kind);
    }
    let translated = matches!(embedded, [Some(_), None]);
    let special = NOT_PUBLIC_V6
        .iter()
        .find(|(range, _)| range.contains(&address));
    match special {
        _ if translated => None,
        Some((_, kind)) => Some(kind),
        None if GLOBAL_UNICAST.contains(&address) => None,
        None => Some("not in global unicast (2000::/3)"),
    }
}

/// The IPv4 addresses that packets to `address` may end at: NAT64 (RFC 6052), 6to4 (RFC 3056), and
/// the server and client of Teredo (RFC 4380).
fn embedded_v4(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => [v4(high, low), None],
        [0x2002, high, low, ..] => [v4(high, low), None],
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            [v4(server_high, server_low), v4(!high, !low)]
        }
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_dialled() {
        let policy = TargetPolicy::default();
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:500:2f::f",
            "2001:4860:4860::8888",
            "2a00:1450::1",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "2001:0:101:101::fefe:fefe",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(policy.check(address), Ok(()), "{address}");
        }
    }

    #[test]
    fn addresses_of_the_inside_are_not() {
        let policy = TargetPolicy::default();
        for (case, addresses) in [
            ("unspecified", &["0.0.0.0", "0.255.255.255", "::"][..]),
            (
                "private",
                &["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255"],
            ),
            (
                "private",
                &["192.168.0.1", "192.168.255.255", "fc00::1", "fdff::1"],
            ),
            (
                "carrier",
                &["100.64.0.0", "100.127.255.255", "100.100.100.200"],
            ),
            ("loopback", &["127.0.0.1", "127.255.255.255", "::1"]),
            (
                "metadata",
                &["169.254.169.254", "168.63.129.16", "fd00:ec2::254"],
            ),
            (
                "link-local",
                &["169.254.0.1", "fe80::1", "febf::1", "fec0::1"],
            ),
            ("protocols", &["192.0.0.1", "192.0.0.170", "192.88.99.1"]),
            (
                "documentation",
                &["192.0.2.1", "198.51.100.1", "203.0.113.1"],
            ),
            ("documentation", &["2001:db8::1", "3fff::1", "3fff:fff::1"]),
            ("benchmarks", &["198.18.0.0", "198.19.255.255", "2001:2::1"]),
            ("multicast", &["224.0.0.1", "239.255.255.255", "ff02::1"]),
            (
                "reserved",
                &[
                    "240.0.0.1",
                    "255.255.255.255",
                    "4000::1",
                    "5f00::1",
                    "100::1",
                ],
            ),
            ("identifiers", &["2001:10::1", "2001:2f::1"]),
            (
                "v4-mapped",
                &["::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:1.1.1.1"],
            ),
            ("v4-compatible", &["::10.0.0.1", "::1.1.1.1"]),
            (
                "NAT64",
                &["64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"],
            ),
            (
                "local NAT64",
                &["64:ff9b:1::1", "64:ff9b:1:ffff::101:101", "64:ff9b::1:0:1"],
            ),
            ("6to4", &["2002:a00:1::1", "2002:7f00:1::1"]),
            ("Teredo server", &["2001:0:a00:1::fefe:fefe"]),
            ("Teredo client", &["2001:0:101:101::f5ff:fffe"]),
        ] {
            for address in addresses {
                let address: IpAddr = address.parse().unwrap();
                assert!(policy.check(address).is_err(), "{case}: {address}");
            }
        }
    }

    #[test]
    fn an_allowed_range_is_dialled_and_nothing_beside_it() {
        let policy = TargetPolicy {
            allowed: vec!["127.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()],
        };
        for (address, good) in [
            ("127.0.0.1", true),
            ("fd00::1", true),
            ("10.0.0.1", false),
            ("fd01::1", false),
            ("::ffff:127.0.0.1", false),
            ("2002:7f00:1::1", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(policy.check(address).is_ok(), good, "{address}");
        }
    }

    #[test]
    fn the_error_says_what_to_do() {
        let error = TargetPolicy::default()
            .check([10, 0, 0, 1].into())
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("10.0.0.1") && text.contains("administrator"),
            "{text}"
        );
    }
}
