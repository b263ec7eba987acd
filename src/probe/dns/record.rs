//! The records that are looked at, in one form.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{RData, RecordType as WireType};

use crate::dns_wire;

/// The record types that are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum RecordType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Which issuers may issue certificates (RFC 8659).
    Caa,
    /// Alias.
    Cname,
    /// Mail exchanger.
    Mx,
    /// Name server.
    Ns,
    /// Start of a zone.
    Soa,
    /// Which certificate a server has (RFC 6698).
    Tlsa,
    /// Text.
    Txt,
}

impl RecordType {
    pub(super) fn wire(self) -> WireType {
        match self {
            Self::A => WireType::A,
            Self::Aaaa => WireType::AAAA,
            Self::Caa => WireType::CAA,
            Self::Cname => WireType::CNAME,
            Self::Mx => WireType::MX,
            Self::Ns => WireType::NS,
            Self::Soa => WireType::SOA,
            Self::Tlsa => WireType::TLSA,
            Self::Txt => WireType::TXT,
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wire().fmt(f)
    }
}

/// One record's value. Names are absolute, in lower case, without the final dot; the root is `.`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum RecordData {
    /// IPv4 address.
    A(Ipv4Addr),
    /// IPv6 address.
    Aaaa(Ipv6Addr),
    /// Which issuers may issue (RFC 8659 §4.1).
    Caa {
        /// An issuer that does not know the tag must not issue.
        critical: bool,
        /// `issue` and the like.
        tag: String,
        /// The value.
        value: Vec<u8>,
    },
    /// Target of an alias.
    Cname(String),
    /// Mail exchanger; a lone `.` with preference 0 is the null MX (RFC 7505).
    Mx {
        /// Lower is preferred.
        preference: u16,
        /// The host.
        exchange: String,
    },
    /// Name server.
    Ns(String),
    /// Start of a zone.
    Soa {
        /// Grows with each change of the zone.
        serial: u32,
        /// Upper bound of the negative TTL in seconds (RFC 2308 §4).
        minimum: u32,
    },
    /// Which certificate a server has (RFC 6698 §2.1).
    Tlsa {
        /// Certificate usage.
        usage: u8,
        /// Whether certificate or key is meant.
        selector: u8,
        /// Whether the data is the thing itself or a digest of it.
        matching: u8,
        /// The data.
        data: Vec<u8>,
    },
    /// The character-strings, each at most 255 octets.
    Txt(Vec<Vec<u8>>),
}

impl RecordData {
    /// The joined octets of a TXT.
    pub fn txt_octets(&self) -> Option<Vec<u8>> {
        match self {
            Self::Txt(strings) => Some(strings.concat()),
            _ => None,
        }
    }

    pub(super) fn from_wire(data: &RData) -> Option<Self> {
        Some(match data {
            RData::A(address) => Self::A(address.0),
            RData::AAAA(address) => Self::Aaaa(address.0),
            RData::CAA(caa) => Self::Caa {
                critical: caa.issuer_critical,
                tag: caa.tag.to_ascii_lowercase(),
                value: caa.value.clone(),
            },
            RData::CNAME(target) => Self::Cname(dns_wire::text(&target.0)),
            RData::MX(mx) => Self::Mx {
                preference: mx.preference,
                exchange: dns_wire::text(&mx.exchange),
            },
            RData::NS(host) => Self::Ns(dns_wire::text(&host.0)),
            RData::SOA(soa) => Self::Soa {
                serial: soa.serial,
                minimum: soa.minimum,
            },
            RData::TLSA(tlsa) => Self::Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            },
            RData::TXT(text) => {
                Self::Txt(text.txt_data.iter().map(|string| string.to_vec()).collect())
            }
            _ => return None,
        })
    }
}
