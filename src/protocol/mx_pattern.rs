//! MX patterns and how they match (RFC 8461 §3.2, §4.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{HostName, HostNameError};

/// One `mx` value of a policy: a host name, or `*.` and a host name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MxPattern {
    wildcard: bool,
    host: HostName,
}

/// Why a text is no [`MxPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MxPatternError {
    /// A `*` that is not the whole left-most label, or stands alone.
    #[error(
        "has a `*` that is not the whole left-most label: write `*.` and a host name, such as *.example.org"
    )]
    Wildcard,
    /// What is left is no host name.
    #[error(transparent)]
    HostName(#[from] HostNameError),
}

impl MxPattern {
    /// Reads a pattern in its canonical form: lower-case A-labels.
    pub fn parse(text: &str) -> Result<Self, MxPatternError> {
        Self::parse_with(text, HostName::parse)
    }

    /// Reads a pattern as it may stand in somebody's policy: capitals are folded
    /// (RFC 8461 §4.1 compares case-insensitively).
    pub fn parse_any_case(text: &str) -> Result<Self, MxPatternError> {
        Self::parse_with(text, HostName::parse_any_case)
    }

    fn parse_with(
        text: &str,
        host_name: impl Fn(&str) -> Result<HostName, HostNameError>,
    ) -> Result<Self, MxPatternError> {
        let (wildcard, host) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if host.contains('*') {
            return Err(MxPatternError::Wildcard);
        }
        // `*.com` would trust every name below a top-level domain; nobody means that.
        let host = match host_name(host) {
            Err(HostNameError::OneLabel) if wildcard => return Err(MxPatternError::Wildcard),
            other => other?,
        };
        Ok(Self { wildcard, host })
    }

    /// Whether the left-most label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The host name, or what follows `*.`.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Whether this pattern covers the MX host: a wildcard stands for exactly one label.
    pub fn matches(&self, mx: &HostName) -> bool {
        if self.wildcard {
            mx.parent().is_some_and(|parent| parent == self.host)
        } else {
            *mx == self.host
        }
    }
}

impl fmt::Display for MxPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wildcard {
            f.write_str("*.")?;
        }
        self.host.fmt(f)
    }
}

impl fmt::Debug for MxPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl FromStr for MxPattern {
    type Err = MxPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for MxPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MxPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        for (pattern, mx, expected) in [
            ("mail.example.com", "mail.example.com", true),
            ("mail.example.com", "MAIL.example.com", true),
            ("mail.example.com", "a.mail.example.com", false),
            ("*.example.com", "mail.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.b.example.com", false),
            ("*.google.com", "aspmx.l.google.com", false),
            ("*.example.com", "mail.badexample.com", false),
        ] {
            let mx = HostName::parse_any_case(mx).unwrap();
            assert_eq!(
                MxPattern::parse(pattern).unwrap().matches(&mx),
                expected,
                "{pattern} {mx}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "*",
            "*.",
            "a*.example.com",
            "*.*.example.com",
            "mail.*.com",
            "192.0.2.1",
            "",
            ".a.b",
            "a.b.",
            "mail.example.com:25",
            "10 mail.example.com",
            "a.b,c.d",
            "\"a.b\"",
            "*.com.",
            "a.b\r\nmode: none",
            "büro.example",
            "a_b.example",
            "*.com",
        ] {
            assert!(MxPattern::parse(text).is_err(), "{text:?}");
        }
    }
}
