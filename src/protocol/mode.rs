//! The policy mode (RFC 8461 §5).

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a sender does when an MX fails the policy (RFC 8461 §5).
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Do not deliver to an MX that fails.
    Enforce,
    /// Deliver all the same, and report the failure.
    Testing,
    /// As if there were no policy. Not a monitoring mode.
    None,
}

impl Mode {
    /// The word that stands in a policy body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = ();

    /// Case-sensitive, as the RFC's grammar is.
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Enforce, Self::Testing, Self::None]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or(())
    }
}
