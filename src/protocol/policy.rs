//! The policy body (RFC 8461 §3.2): its one rendering, and its one parser.

use super::policy_reader;
use super::{MaxAge, MaxAgeError, Mode, MxPattern, MxPatternError};

/// A policy, as a sender understands it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// What senders do on failure.
    pub mode: Mode,
    /// How long senders may keep it.
    pub max_age: MaxAge,
    /// Patterns of the MX hosts that may receive; in mode `none` it may be empty.
    pub mx: Vec<MxPattern>,
}

/// Why a body is no policy: its first breach of the RFC.
pub type PolicyError = PolicyIssueAt;

/// A body read to its end, whatever is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PolicyReading {
    /// The line of the mode and the mode, where it is good.
    pub mode: Option<(usize, Mode)>,
    /// The line of the max_age and the max_age, where it is good.
    pub max_age: Option<(usize, MaxAge)>,
    /// The good patterns, each after the line it stands on.
    pub mx: Vec<(usize, MxPattern)>,
    /// What is wrong or odd, by line; what is missing comes last.
    pub issues: Vec<PolicyIssueAt>,
}

/// An issue and the line it stands on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{issue}", .line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct PolicyIssueAt {
    /// The line, from 1; none for what is missing.
    pub line: Option<usize>,
    /// The issue.
    pub issue: PolicyIssue,
}

/// A breach of the grammar, or something lawful that is worth a word.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PolicyIssue {
    /// A byte order mark before the first line.
    #[error("a byte order mark stands before the first line")]
    ByteOrderMark,
    /// A CR without its LF.
    #[error("a lone CR ends the line")]
    LoneCr,
    /// A line with nothing but white space.
    #[error("a blank line")]
    BlankLine,
    /// A line that starts with `#` or `//`.
    #[error("a comment")]
    Comment {
        /// The line.
        text: String,
    },
    /// White space before the key.
    #[error("white space stands before the key")]
    LeadingSpace,
    /// A line without a colon.
    #[error("{text:?} is not key: value")]
    NoColon {
        /// The line.
        text: String,
    },
    /// White space between the key and its colon.
    #[error("white space stands between {key} and its colon")]
    SpaceBeforeColon {
        /// The key.
        key: String,
    },
    /// A key that may not be one.
    #[error(
        "{key:?} is no key: 1 to 32 letters, digits, `_`, `-`, `.`, starting with a letter or digit"
    )]
    BadKey {
        /// The key.
        key: String,
    },
    /// A key that the RFC does not define, without a value.
    #[error("{key} has no value")]
    EmptyValue {
        /// The key.
        key: String,
    },
    /// A control character, or bytes that are not UTF-8, in the value of an unknown key.
    #[error("the value of {key} has a control character or is not UTF-8")]
    BadValue {
        /// The key.
        key: String,
    },
    /// Several fields on one line.
    #[error("several fields stand on one line")]
    RunTogether {
        /// Each as it should stand, on a line of its own.
        fields: Vec<String>,
    },
    /// No version.
    #[error("version is missing")]
    VersionMissing,
    /// A version other than STSv1.
    #[error("the version is {value:?}, not STSv1")]
    Version {
        /// The value.
        value: String,
    },
    /// No mode.
    #[error("mode is missing")]
    ModeMissing,
    /// A mode that is none.
    #[error("the mode is {value:?}: it is enforce, testing or none, in lower case")]
    Mode {
        /// The value.
        value: String,
    },
    /// No max_age.
    #[error("max_age is missing")]
    MaxAgeMissing,
    /// A max_age that may not be one.
    #[error("the max_age is {value:?}: {error}")]
    MaxAge {
        /// The value.
        value: String,
        /// What is wrong with it.
        error: MaxAgeError,
    },
    /// No mx in mode enforce or testing.
    #[error("mx is missing, mode {mode} needs at least one")]
    MxMissing {
        /// The mode.
        mode: Mode,
    },
    /// An mx value that may not be one.
    #[error("the mx {value:?} {error}")]
    Mx {
        /// The value.
        value: String,
        /// What is wrong with it.
        error: MxPatternError,
    },
    /// Lawful: an mx value that the grammar lets pass, and that no MX host has as its name (an
    /// IPv4 address, a single label), or that covers a top-level domain (`*.com`). A sender
    /// accepts the policy; [`Policy::mx`] leaves the pattern out.
    #[error("the mx {value:?} {error}")]
    MxUnusable {
        /// The value.
        value: String,
        /// What is wrong with it.
        error: MxPatternError,
    },
    /// Lawful: a key that the RFC does not define; it is ignored.
    #[error("the key {key} is unknown")]
    UnknownKey {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Lawful: a key other than mx once more; the first counts.
    #[error("{key} stands here again: the first counts")]
    DuplicateKey {
        /// The key.
        key: String,
    },
}

impl PolicyIssue {
    /// Whether the RFC forbids it, so that a conforming sender has no policy.
    pub fn is_breach(&self) -> bool {
        !matches!(
            self,
            Self::MxUnusable { .. } | Self::UnknownKey { .. } | Self::DuplicateKey { .. }
        )
    }
}

impl Policy {
    /// Reads a body as a conforming sender does: LF or CRLF, unknown keys ignored, the first of
    /// a repeated key taken, any breach of the grammar fatal.
    ///
    /// # Errors
    /// The first breach, with its line.
    pub fn parse(body: &[u8]) -> Result<Self, PolicyError> {
        Self::read(body).into_policy()
    }

    /// Reads on after each breach, so that one pass finds all of them.
    pub fn read(body: &[u8]) -> PolicyReading {
        policy_reader::read(body)
    }

    /// The canonical body, which every known reader accepts: `version`, `mode`, the sorted `mx`
    /// lines, `max_age`, CRLF at every end of line.
    pub fn render(&self) -> String {
        let mut mx: Vec<String> = self.mx.iter().map(ToString::to_string).collect();
        mx.sort();
        mx.dedup();
        let mut body = format!("version: STSv1\r\nmode: {}\r\n", self.mode);
        for pattern in mx {
            body.push_str(&format!("mx: {pattern}\r\n"));
        }
        body.push_str(&format!("max_age: {}\r\n", self.max_age));
        body
    }
}

impl PolicyReading {
    /// The policy, or the first breach of the RFC.
    ///
    /// # Errors
    /// The first breach.
    pub fn into_policy(self) -> Result<Policy, PolicyError> {
        if let Some(breach) = self.issues.into_iter().find(|at| at.issue.is_breach()) {
            return Err(breach);
        }
        let missing = |issue| PolicyIssueAt { line: None, issue };
        let (_, mode) = self.mode.ok_or_else(|| missing(PolicyIssue::ModeMissing))?;
        let (_, max_age) = self
            .max_age
            .ok_or_else(|| missing(PolicyIssue::MaxAgeMissing))?;
        let mx = self.mx.into_iter().map(|(_, pattern)| pattern).collect();
        Ok(Policy { mode, max_age, mx })
    }
}
