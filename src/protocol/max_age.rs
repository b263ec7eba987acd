//! How long a sender may keep a policy (`max_age`, RFC 8461 §3.2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A policy's lifetime in seconds, 0 to 31557600 (RFC 8461 §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MaxAge(u32);

/// The number is no valid `max_age`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MaxAgeError {
    /// Not 1 to 10 digits.
    #[error("max_age is 1 to 10 digits, a number of seconds")]
    NotANumber,
    /// Above the maximum.
    #[error("max_age is at most 31557600 (one year)")]
    TooLarge,
}

impl MaxAge {
    /// The most that the RFC allows: one year.
    pub const MAX: Self = Self(31_557_600);
    /// One day: the shortest that every known reader takes, and what some readers always keep.
    pub const DAY: Self = Self(86_400);
    /// One week: the shortest that is worth having in mode enforce.
    pub const WEEK: Self = Self(604_800);

    /// A lifetime of `seconds`.
    pub const fn from_seconds(seconds: u32) -> Result<Self, MaxAgeError> {
        if seconds > Self::MAX.0 {
            return Err(MaxAgeError::TooLarge);
        }
        Ok(Self(seconds))
    }

    /// The seconds.
    pub const fn seconds(self) -> u32 {
        self.0
    }
}

impl fmt::Display for MaxAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MaxAge {
    type Err = MaxAgeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !(1..=10).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(MaxAgeError::NotANumber);
        }
        // Ten digits may pass what 32 bits hold: then it is above the maximum as well.
        let seconds = text.parse().map_err(|_| MaxAgeError::TooLarge)?;
        Self::from_seconds(seconds)
    }
}

impl Serialize for MaxAge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for MaxAge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_seconds(u32::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_one_to_ten_digits_up_to_a_year() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("86400", Ok(86_400)),
            ("0000086400", Ok(86_400)),
            ("31557600", Ok(31_557_600)),
            ("31557601", Err(MaxAgeError::TooLarge)),
            ("9999999999", Err(MaxAgeError::TooLarge)),
            ("10000000000", Err(MaxAgeError::NotANumber)),
            ("", Err(MaxAgeError::NotANumber)),
            ("-1", Err(MaxAgeError::NotANumber)),
            ("+1", Err(MaxAgeError::NotANumber)),
            ("1d", Err(MaxAgeError::NotANumber)),
        ] {
            assert_eq!(text.parse().map(MaxAge::seconds), expected, "{text:?}");
        }
    }
}
