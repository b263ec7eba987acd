//! Record sets in one internal form, whatever a provider's border looks like.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The record types that are read or written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum RecordType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Alias.
    Cname,
    /// Text.
    Txt,
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
        })
    }
}

/// One record's value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum RecordValue {
    /// IPv4 address.
    A(Ipv4Addr),
    /// IPv6 address.
    Aaaa(Ipv6Addr),
    /// Target: absolute, lower case, without the final dot.
    Cname(String),
    /// The character-strings, each at most 255 octets.
    Txt(Vec<Vec<u8>>),
}

impl RecordValue {
    /// A TXT value from its joined text, cut into strings of 255 octets.
    pub fn txt(text: &str) -> Self {
        if text.is_empty() {
            return Self::Txt(vec![Vec::new()]);
        }
        Self::Txt(text.as_bytes().chunks(255).map(<[u8]>::to_vec).collect())
    }

    /// Its type.
    pub fn record_type(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::Aaaa,
            Self::Cname(_) => RecordType::Cname,
            Self::Txt(_) => RecordType::Txt,
        }
    }

    /// The joined octets of a TXT value.
    pub fn txt_octets(&self) -> Option<Vec<u8>> {
        match self {
            Self::Txt(strings) => Some(strings.concat()),
            _ => None,
        }
    }
}

impl fmt::Display for RecordValue {
    /// An address, a name, or the joined text of a TXT with everything but printable ASCII
    /// escaped: it can be shown anywhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => address.fmt(f),
            Self::Aaaa(address) => address.fmt(f),
            Self::Cname(name) => f.write_str(&name.escape_default().to_string()),
            Self::Txt(strings) => strings.concat().iter().try_for_each(|&octet| match octet {
                b' '..=b'~' => write!(f, "{}", char::from(octet)),
                _ => write!(f, "\\{octet:03}"),
            }),
        }
    }
}

/// All records of one name and type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordSet {
    /// Seconds that resolvers may keep it. `None` in one that was read where the service does not
    /// tell; one that is written has it.
    pub ttl: Option<u32>,
    /// The values; never empty.
    pub values: BTreeSet<RecordValue>,
}

impl RecordSet {
    /// A set of one value.
    pub fn one(ttl: u32, value: RecordValue) -> Self {
        Self {
            ttl: Some(ttl),
            values: BTreeSet::from([value]),
        }
    }
}
