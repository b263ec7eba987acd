//! Host names and policy domains in their one internal form: A-labels, lower case, no final dot.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A DNS host name: letters, digits and hyphens in each label (RFC 1123 §2.1), at least two
/// labels, lower case, A-labels, without a final dot, at most 253 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

/// Why a text is no [`HostName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// Nothing was written.
    #[error("is empty")]
    Empty,
    /// Longer than the DNS allows.
    #[error("has {length} characters, a DNS name has at most {limit}")]
    TooLong {
        /// How many characters it has.
        length: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Characters outside ASCII: the A-label form is wanted.
    #[error("has characters outside ASCII, write the A-label form{}", .a_label.as_deref().map(|a| format!(" {a}")).unwrap_or_default())]
    NotAscii {
        /// The A-label form, where there is one.
        a_label: Option<String>,
    },
    /// A final dot.
    #[error("ends with a dot, write it without")]
    FinalDot,
    /// Capital letters in a place where the canonical form is demanded.
    #[error("has capital letters, write {lower}")]
    UpperCase {
        /// The same in lower case.
        lower: String,
    },
    /// A single label such as `localhost`.
    #[error("has only one label, a name on the public Internet has two or more")]
    OneLabel,
    /// It is an IP address.
    #[error("is an IP address, a host name is needed")]
    IpAddress,
    /// A label that is empty, longer than 63, or has a character that may not be there.
    #[error(
        "has the label {label:?}: a label is 1 to 63 letters, digits and hyphens, and neither starts nor ends with a hyphen"
    )]
    BadLabel {
        /// The label.
        label: String,
    },
    /// A label starts with `xn--` and is not valid Punycode.
    #[error("has the label {label:?}, which is not a valid A-label")]
    BadALabel {
        /// The label.
        label: String,
    },
}

impl HostName {
    /// Longest name in characters (RFC 1035 §2.3.4: 255 octets on the wire).
    pub const MAX_LENGTH: usize = 253;

    /// Reads a name in its canonical form; capitals and a final dot are refused.
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        if text.chars().any(|c| c.is_ascii_uppercase()) && text.is_ascii() {
            return Err(HostNameError::UpperCase {
                lower: text.to_ascii_lowercase(),
            });
        }
        Self::parse_any_case(text)
    }

    /// Reads a name as the DNS gives it: capitals are folded.
    pub fn parse_any_case(text: &str) -> Result<Self, HostNameError> {
        if text.is_empty() {
            return Err(HostNameError::Empty);
        }
        if !text.is_ascii() {
            return Err(HostNameError::NotAscii {
                a_label: to_a_labels(text),
            });
        }
        if text.ends_with('.') {
            return Err(HostNameError::FinalDot);
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(HostNameError::TooLong {
                length: text.len(),
                limit: Self::MAX_LENGTH,
            });
        }
        let text = text.to_ascii_lowercase();
        // An address of IPv4 ends with a digit, one of IPv6 has colons: names need not be tried as one.
        let may_be_address = text.ends_with(|c: char| c.is_ascii_digit()) || text.contains(':');
        if may_be_address && text.parse::<std::net::IpAddr>().is_ok() {
            return Err(HostNameError::IpAddress);
        }
        for label in text.split('.') {
            check_label(label)?;
        }
        match text.rsplit_once('.') {
            None => Err(HostNameError::OneLabel),
            // An all-numeric top label would make it look like an address to many readers.
            Some((_, top)) if top.bytes().all(|b| b.is_ascii_digit()) => {
                Err(HostNameError::IpAddress)
            }
            Some(_) => Ok(Self(text)),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels from left to right.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// The name without its left-most label, where two or more labels remain.
    pub fn parent(&self) -> Option<HostName> {
        let (_, parent) = self.0.split_once('.')?;
        parent.contains('.').then(|| Self(parent.to_owned()))
    }

    /// Whether this name lies below `ancestor` (and is not the same).
    pub fn is_below(&self, ancestor: &HostName) -> bool {
        self.0
            .strip_suffix(ancestor.as_str())
            .is_some_and(|rest| rest.ends_with('.'))
    }
}

fn check_label(label: &str) -> Result<(), HostNameError> {
    let bad = || HostNameError::BadLabel {
        label: label.to_owned(),
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if label.is_empty() || label.len() > 63 || !label.bytes().all(allowed) {
        return Err(bad());
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(bad());
    }
    if label.starts_with("xn--") && idna::domain_to_unicode(label).1.is_err() {
        return Err(HostNameError::BadALabel {
            label: label.to_owned(),
        });
    }
    Ok(())
}

/// The A-label form of a name with characters outside ASCII, where there is one.
pub(crate) fn to_a_labels(text: &str) -> Option<String> {
    idna::domain_to_ascii(text.trim_end_matches('.')).ok()
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A policy domain: the part of a mail address after the `@` (RFC 8461 §1.1).
///
/// Short enough that `_smtp._tls.<domain>` still is a DNS name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Domain(HostName);

/// Why a text is no [`Domain`].
pub type DomainError = HostNameError;

impl Domain {
    /// Longest domain, so that `_smtp._tls.<domain>` has at most 253 characters.
    pub const MAX_LENGTH: usize = HostName::MAX_LENGTH - "_smtp._tls.".len();

    /// Reads a domain in its canonical form.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let host = HostName::parse(text)?;
        if text.len() > Self::MAX_LENGTH {
            return Err(HostNameError::TooLong {
                length: text.len(),
                limit: Self::MAX_LENGTH,
            });
        }
        Ok(Self(host))
    }

    /// The domain.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The domain as a host name.
    pub fn host_name(&self) -> &HostName {
        &self.0
    }

    /// The policy host `mta-sts.<domain>` (RFC 8461 §3.3).
    pub fn policy_host(&self) -> HostName {
        HostName(format!("mta-sts.{}", self.as_str()))
    }

    /// Where a sender fetches the policy (RFC 8461 §3.3).
    pub fn policy_url(&self) -> String {
        format!(
            "https://{}{}",
            self.policy_host(),
            crate::protocol::POLICY_PATH
        )
    }

    /// Owner name of the MTA-STS record, `_mta-sts.<domain>` (RFC 8461 §3.1).
    pub fn sts_record_name(&self) -> String {
        format!("_mta-sts.{}", self.as_str())
    }

    /// Owner name of the TLS-RPT record, `_smtp._tls.<domain>` (RFC 8460 §3).
    pub fn tlsrpt_record_name(&self) -> String {
        format!("_smtp._tls.{}", self.as_str())
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for HostName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Domain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_read_or_refused() {
        let long = format!("{}.example", "a.".repeat(125));
        for (case, text, good) in [
            ("plain", "mail.example.org", true),
            ("A-label", "xn--bcher-kva.example", true),
            ("broken A-label", "xn--a.example", false),
            ("U-label", "bücher.example", false),
            ("capitals", "Mail.example.org", false),
            ("final dot", "example.org.", false),
            ("leading dot", ".example.org", false),
            ("one label", "localhost", false),
            ("underscore", "_mta-sts.example.org", false),
            ("IPv4", "192.0.2.1", false),
            ("IPv6", "2001:db8::1", false),
            ("numeric top label", "a.1", false),
            ("line break", "example.org\r\nmx: evil.example", false),
            ("NUL", "example\0.org", false),
            ("hyphen at an edge", "-a.example", false),
            ("empty", "", false),
            ("too long", &long, false),
        ] {
            assert_eq!(HostName::parse(text).is_ok(), good, "{case}: {text:?}");
        }
    }

    #[test]
    fn a_u_label_is_answered_with_its_a_label() {
        let error = HostName::parse("bücher.example").unwrap_err();
        assert!(
            error.to_string().contains("xn--bcher-kva.example"),
            "{error}"
        );
    }

    #[test]
    fn a_domain_leaves_room_for_the_longest_record_name() {
        let label = "a".repeat(60);
        let fits = format!("{label}.{label}.{label}.{}", "b".repeat(59));
        assert_eq!(fits.len(), Domain::MAX_LENGTH);
        assert_eq!(
            Domain::parse(&fits).unwrap().tlsrpt_record_name().len(),
            HostName::MAX_LENGTH
        );
        assert!(Domain::parse(&format!("{fits}b")).is_err());
    }

    #[test]
    fn below_means_whole_labels() {
        let name = |text| HostName::parse(text).unwrap();
        assert!(name("a.example.org").is_below(&name("example.org")));
        assert!(!name("example.org").is_below(&name("example.org")));
        assert!(!name("badexample.org").is_below(&name("example.org")));
    }
}
