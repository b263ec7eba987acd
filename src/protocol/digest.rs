//! SHA-256 of a policy body: what tells one body from another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// The SHA-256 of some bytes, shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The first eight hex digits, as they stand in a policy id.
    pub fn prefix(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is written as 64 hex digits")]
pub struct Sha256DigestError;

impl FromStr for Sha256Digest {
    type Err = Sha256DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 {
            return Err(Sha256DigestError);
        }
        let mut bytes = [0; 32];
        if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Sha256DigestError);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| Sha256DigestError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| Sha256DigestError)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Sha256Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_text_form() {
        let digest = Sha256Digest::of(b"abc");
        assert_eq!(digest.prefix(), "ba7816bf");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("zz".repeat(32).parse::<Sha256Digest>().is_err());
        assert!("+1".repeat(32).parse::<Sha256Digest>().is_err());
    }
}
