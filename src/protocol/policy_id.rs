//! The policy id (RFC 8461 §3.1) and how the operator makes its own.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, civil};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Sha256Digest;

/// Which installation wrote a record: six hex digits at the end of each id that it makes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct InstallationId(String);

/// The text is not six lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an installation id is six hex digits in lower case")]
pub struct InstallationIdError;

impl InstallationId {
    /// The id made of three random bytes.
    pub fn from_random(bytes: [u8; 3]) -> Self {
        let [a, b, c] = bytes;
        Self(format!("{a:02x}{b:02x}{c:02x}"))
    }

    /// The six digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InstallationId {
    type Err = InstallationIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 6 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InstallationIdError)
        }
    }
}

/// A policy id: 1 to 32 letters and digits (RFC 8461 §3.1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(String);

/// Why a text is no [`PolicyId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a policy id is 1 to 32 letters and digits")]
pub struct PolicyIdError;

/// `YYYYMMDDHHMMSS`, 8 digits of the body's digest, 6 of the installation.
const TIME_DIGITS: usize = 14;
const OWN_LENGTH: usize = TIME_DIGITS + 8 + 6;

impl PolicyId {
    /// The id of a body decided at `decided`: time (UTC), digest, installation.
    ///
    /// It is always greater than `previous`, whatever the clock did: if need be its time is one
    /// second after that of `previous`.
    pub fn issue(
        decided: Timestamp,
        body: &Sha256Digest,
        installation: &InstallationId,
        previous: Option<&PolicyId>,
    ) -> Self {
        let mut time = decided.to_zoned(TimeZone::UTC).datetime();
        if let Some(last) = previous.and_then(PolicyId::time_digits)
            && digits(time) <= last
        {
            time = after(&last).unwrap_or(time);
        }
        Self(format!("{}{}{installation}", digits(time), body.prefix()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this installation made the id.
    pub fn is_of(&self, installation: &InstallationId) -> bool {
        self.0.len() == OWN_LENGTH
            && self.0.ends_with(installation.as_str())
            && self.time_digits().is_some()
    }

    /// Whether the id has the digest of `body` where the operator writes it.
    pub fn belongs_to(&self, body: &Sha256Digest) -> bool {
        self.0.get(TIME_DIGITS..TIME_DIGITS + 8) == Some(body.prefix().as_str())
    }

    /// The leading fourteen digits, where they are digits.
    fn time_digits(&self) -> Option<String> {
        let head = self.0.get(..TIME_DIGITS)?;
        head.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| head.to_owned())
    }
}

fn digits(time: civil::DateTime) -> String {
    time.strftime("%Y%m%d%H%M%S").to_string()
}

/// One second after the time written in fourteen digits, where they are a date.
fn after(last: &str) -> Option<civil::DateTime> {
    let time = civil::DateTime::strptime("%Y%m%d%H%M%S", last).ok()?;
    time.checked_add(1.second()).ok()
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl FromStr for PolicyId {
    type Err = PolicyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good =
            (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(PolicyIdError)
        }
    }
}

impl Serialize for PolicyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PolicyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn issue(time: &str, previous: Option<&PolicyId>) -> PolicyId {
        let installation = "00c0de".parse().unwrap();
        PolicyId::issue(at(time), &Sha256Digest::of(b"abc"), &installation, previous)
    }

    #[test]
    fn an_id_tells_its_time_its_body_and_its_installation() {
        let id = issue("2026-11-25T23:18:00Z", None);
        assert_eq!(id.as_str(), "20261125231800ba7816bf00c0de");
        assert!(id.is_of(&"00c0de".parse().unwrap()));
        assert!(!id.is_of(&"00c0df".parse().unwrap()));
        assert!(id.belongs_to(&Sha256Digest::of(b"abc")));
        assert!(!id.belongs_to(&Sha256Digest::of(b"abd")));
    }

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let mut last = issue("2026-12-31T23:59:59Z", None);
        for time in [
            "2026-12-31T23:59:59Z",
            "1999-01-01T00:00:00Z",
            "2027-06-01T00:00:00Z",
        ] {
            let next = issue(time, Some(&last));
            assert!(next > last, "{next} after {last}");
            last = next;
        }
        assert!(last.as_str().starts_with("20270601000000"));
    }

    #[test]
    fn only_letters_and_digits_make_an_id() {
        for (text, good) in [
            ("1", true),
            ("20260101T000000Z", true),
            (&"a".repeat(32), true),
            (&"a".repeat(33), false),
            ("", false),
            ("a-b", false),
            ("a b", false),
            ("é", false),
        ] {
            assert_eq!(text.parse::<PolicyId>().is_ok(), good, "{text:?}");
        }
    }
}
