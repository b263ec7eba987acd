//! What can be wrong, or merely odd, with a TXT record. Shared by both records.

/// Issues that are kept of one record: a hostile one of nothing but semicolons has no more.
pub(super) const MAX_ISSUES: usize = 1000;

/// A breach of a record's grammar, or something lawful that some readers trip over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordIssue {
    /// The version with its `;` is not exactly what the record must begin with.
    #[error("does not begin with exactly {expected}")]
    Version {
        /// What it must begin with.
        expected: &'static str,
    },
    /// Nothing between two `;`.
    #[error("has nothing between two semicolons")]
    EmptyField,
    /// White space at the end, with no `;` before it.
    #[error("ends with white space")]
    FinalSpace,
    /// A field without `=`.
    #[error("has {text:?}, which is not name=value")]
    NoEquals {
        /// The field.
        text: String,
    },
    /// A field name that may not be one.
    #[error(
        "has the field name {name:?}: a name is 1 to 32 letters, digits, `_`, `-`, `.`, and starts with a letter or digit"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// A field value that may not be one.
    #[error(
        "has the field {name} with a value that is empty or has a character that may not be there (white space, `=`, anything outside ASCII)"
    )]
    BadValue {
        /// The field's name.
        name: String,
    },
    /// No `id` (RFC 8461 §3.1).
    #[error("has no id")]
    IdMissing,
    /// An `id` that may not be one (RFC 8461 §3.1).
    #[error("has the id {value:?}: an id is 1 to 32 letters and digits")]
    IdInvalid {
        /// The id.
        value: String,
    },
    /// No `rua` (RFC 8460 §3).
    #[error("has no rua")]
    RuaMissing,
    /// An `rua` address that may not be one (RFC 8460 §3).
    #[error("has the address {value:?}, which {error}")]
    RuaInvalid {
        /// The address.
        value: String,
        /// What is wrong with it.
        error: RuaError,
    },
    /// Lawful: a field twice. The first counts (RFC 8461 §3.2, last paragraph).
    #[error("has the field {name} twice: the first counts")]
    Duplicate {
        /// The field's name.
        name: String,
    },
    /// Lawful: a field that the RFC does not define.
    #[error("has the field {name}, which the RFC does not define")]
    UnknownField {
        /// The field's name.
        name: String,
    },
    /// Lawful: white space between the version and its `;`.
    #[error("has white space before the first semicolon")]
    SpaceAfterVersion,
    /// Lawful: white space after the id.
    #[error("has white space after the id")]
    SpaceAfterId,
}

impl RecordIssue {
    /// Whether the RFC forbids it; otherwise it is only odd.
    pub fn is_breach(&self) -> bool {
        !matches!(
            self,
            Self::Duplicate { .. }
                | Self::UnknownField { .. }
                | Self::SpaceAfterVersion
                | Self::SpaceAfterId
        )
    }
}

/// Why a text is no `rua` address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RuaError {
    /// Nothing between two commas.
    #[error("is empty: look for a comma too many")]
    Empty,
    /// Neither `mailto:` nor `https:`.
    #[error("has neither the scheme mailto: nor https:")]
    Scheme,
    /// `http:` without TLS.
    #[error("is http: only https: and mailto: are allowed")]
    PlainHttp,
    /// A character that must be percent-encoded there.
    #[error(
        "has a character that must be percent-encoded: `,` as %2C, `!` as %21, `;` as %3B, a space as %20"
    )]
    NotEncoded,
    /// `mailto:` without `local@domain`.
    #[error("has no mail address after mailto:")]
    MailAddress,
    /// `https:` without `//host`.
    #[error("has no host after https:")]
    Host,
}

/// An issue and where it stands.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the record {issue} (at offset {offset})")]
pub struct RecordIssueAt {
    /// Offset in bytes from the start of the joined text.
    pub offset: usize,
    /// The issue.
    pub issue: RecordIssue,
}
