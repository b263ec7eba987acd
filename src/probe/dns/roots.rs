//! Where every walk starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::NameServer;
use super::resolver::DNS_PORT;

/// The root name servers (IANA's root hints; the last change was in 2023).
const ROOT_HINTS: [(&str, Ipv4Addr, Ipv6Addr); 13] = [
    ("a", v4(198, 41, 0, 4), v6(0x503, 0xba3e, 0x2, 0x30)),
    ("b", v4(170, 247, 170, 2), v6_b(0x2801, 0x1b8, 0x10, 0xb)),
    ("c", v4(192, 33, 4, 12), v6(0x500, 0x2, 0, 0xc)),
    ("d", v4(199, 7, 91, 13), v6(0x500, 0x2d, 0, 0xd)),
    ("e", v4(192, 203, 230, 10), v6(0x500, 0xa8, 0, 0xe)),
    ("f", v4(192, 5, 5, 241), v6(0x500, 0x2f, 0, 0xf)),
    ("g", v4(192, 112, 36, 4), v6(0x500, 0x12, 0, 0xd0d)),
    ("h", v4(198, 97, 190, 53), v6(0x500, 0x1, 0, 0x53)),
    ("i", v4(192, 36, 148, 17), v6(0x7fe, 0, 0, 0x53)),
    ("j", v4(192, 58, 128, 30), v6(0x503, 0xc27, 0x2, 0x30)),
    ("k", v4(193, 0, 14, 129), v6(0x7fd, 0, 0, 0x1)),
    ("l", v4(199, 7, 83, 42), v6(0x500, 0x9f, 0, 0x42)),
    ("m", v4(202, 12, 27, 33), v6(0xdc3, 0, 0, 0x35)),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

/// `2001:<b>:<c>::<g>:<h>`.
const fn v6(b: u16, c: u16, g: u16, h: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, b, c, 0, 0, 0, g, h)
}

/// `<a>:<b>:<c>::<h>`.
const fn v6_b(a: u16, b: u16, c: u16, h: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, h)
}

/// The root servers: those that are configured, else the well-known ones, first by IPv4.
pub(super) fn servers(configured: &[SocketAddr]) -> Vec<NameServer> {
    if !configured.is_empty() {
        return NameServer::configured(configured);
    }
    let server = |letter: &str, address: IpAddr| NameServer {
        name: format!("{letter}.root-servers.net"),
        address: (address, DNS_PORT).into(),
        configured: false,
    };
    let v4 = ROOT_HINTS
        .iter()
        .map(|(letter, v4, _)| server(letter, (*v4).into()));
    let v6 = ROOT_HINTS
        .iter()
        .map(|(letter, _, v6)| server(letter, (*v6).into()));
    v4.chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::target::TargetPolicy;

    #[test]
    fn the_hints_are_public_addresses_written_as_iana_does() {
        let servers = servers(&[]);
        assert_eq!(servers.len(), 26);
        for server in &servers {
            TargetPolicy::default().check(server.address.ip()).unwrap();
        }
        for (name, address) in [
            ("a", "2001:503:ba3e::2:30"),
            ("b", "2801:1b8:10::b"),
            ("c", "2001:500:2::c"),
            ("g", "2001:500:12::d0d"),
            ("i", "2001:7fe::53"),
            ("j", "2001:503:c27::2:30"),
            ("m", "2001:dc3::35"),
        ] {
            let name = format!("{name}.root-servers.net");
            let address: IpAddr = address.parse().unwrap();
            assert!(
                servers
                    .iter()
                    .any(|s| s.name == name && s.address.ip() == address),
                "{name}"
            );
        }
    }
}
