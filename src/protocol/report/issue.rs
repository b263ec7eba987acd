//! What can be odd about a report, and why bytes are none.

/// Something about a report that was tolerated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReportIssue {
    // A value is lost.
    /// Another type than the schema has.
    #[error("is {found} where {expected} is expected, and is left out")]
    WrongType {
        /// What the schema has.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// The right type with a value that means nothing.
    #[error("is {value:?}, which is not {expected}, and is left out")]
    BadValue {
        /// What it should be.
        expected: &'static str,
        /// What stands there.
        value: String,
    },
    /// A text above the limit.
    #[error("is longer than {limit} characters, and the rest is left out")]
    Cut {
        /// Characters that are kept.
        limit: usize,
    },
    /// A list above the limit.
    #[error("has {count} entries, and only {kept} are kept")]
    TooMany {
        /// Entries that there are.
        count: usize,
        /// Entries that are kept.
        kept: usize,
    },

    // A value is not there.
    /// The schema wants the field.
    #[error("is missing")]
    Missing,

    // A value is kept, and is not what it should be.
    /// A name that is no host name.
    #[error("is {value:?}, which is no host name")]
    BadName {
        /// What stands there.
        value: String,
    },
    /// A text that is no address.
    #[error("is {value:?}, which is no IP address")]
    BadAddress {
        /// What stands there.
        value: String,
    },
    /// A kind of policy that RFC 8460 §4.4 does not have.
    #[error("is {value:?}, a kind of policy that the RFC does not have")]
    UnknownPolicyType {
        /// What stands there.
        value: String,
    },
    /// The end lies before the beginning.
    #[error("ends before it begins")]
    EndBeforeBegin,

    // A value is read although it is written in another way.
    /// A number in quotes, or with a fraction of zero.
    #[error("is {value:?}, a number that is not written as a whole number")]
    NumberWritten {
        /// What stands there.
        value: String,
    },
    /// A number that I-JSON (RFC 7493 §2.2) does not allow.
    #[error("is {value}: above 2^53 many readers round it")]
    LargeNumber {
        /// What stands there.
        value: u64,
    },
    /// A time without a zone.
    #[error("has the time {value:?} without a zone, which is read as UTC")]
    NoZone {
        /// What stands there.
        value: String,
    },
    /// Capitals, or a dot at the end.
    #[error("is written {value:?}")]
    NameWritten {
        /// What stands there.
        value: String,
    },
    /// A word of the RFC in other capitals or with spaces.
    #[error("is written {value:?}")]
    WordWritten {
        /// What stands there.
        value: String,
    },
    /// One value where a list is expected.
    #[error("is {found} where a list is expected")]
    NotAList {
        /// What stands there.
        found: &'static str,
    },
    /// Several lines in one text.
    #[error("has several lines in one text")]
    Joined,
    /// `mx: ` before an MX host.
    #[error("has `mx:` before the host name")]
    MxPrefix,
    /// A known key under another name.
    #[error("is named {written} and not as in the RFC")]
    OtherKey {
        /// How it is written.
        written: &'static str,
    },
    /// A key that the RFC does not define.
    #[error("is a key that the RFC does not define, and is not read")]
    UnknownKey,
    /// A key twice in one object.
    #[error("stands twice in one object: the last one counts")]
    RepeatedKey,

    // The report as a whole.
    /// It covers more than a day, or ends at midnight of the next.
    #[error("covers {seconds} seconds, where a day ends one second earlier")]
    Span {
        /// From the beginning to the end.
        seconds: i64,
    },
    /// Reports of several domains in one.
    #[error("has several policy domains: {domains}")]
    SeveralDomains {
        /// How many.
        domains: usize,
    },
    /// Several policies of one kind for one domain.
    #[error("has the same kind of policy for one domain more than once, so the counts may overlap")]
    SeveralOfOneKind,
    /// The summary is not the sum of the details.
    #[error("counts {total} failed sessions, and the details add up to {details}")]
    CountsDiffer {
        /// What the summary says.
        total: u64,
        /// What the details add up to.
        details: u64,
    },

    // The document.
    /// Bytes that are not UTF-8.
    #[error("has bytes that are not UTF-8, which are shown as \u{fffd}")]
    NotUtf8,
    /// A control character that JSON wants escaped.
    #[error("has control characters that JSON does not allow")]
    RawControl,
    /// An escape that JSON does not have, or half a surrogate pair.
    #[error("has an escape sequence that is none")]
    BadEscape,
    /// A byte order mark.
    #[error("begins with a byte order mark")]
    ByteOrderMark,
    /// Something after the document.
    #[error("has {count} bytes after the end of the document")]
    AfterTheEnd {
        /// How many bytes.
        count: usize,
    },
}

/// An issue, where it stands, and how often.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path} {issue}")]
pub struct ReportIssueAt {
    /// The field, as in `policies[0].summary`; `the report` for all of it. The first of several.
    pub path: String,
    /// The issue, with the value that the first one has.
    pub issue: ReportIssue,
    /// How many fields of this name have it.
    pub times: usize,
}

/// Why bytes are no report.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReportError {
    /// No JSON.
    #[error("is no JSON: {0}")]
    Json(#[from] JsonError),
    /// JSON that is no object.
    #[error("is {found}, where a report is an object")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// An object without any key of a report.
    #[error(
        "has none of the keys of a report (organization-name, date-range, report-id, policies)"
    )]
    NotAReport,
}

impl ReportError {
    /// Whether a limit of ours is the reason, and not the bytes themselves.
    pub fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::Json(
                JsonError::TooDeep { .. }
                    | JsonError::TooManyValues { .. }
                    | JsonError::TooLarge { .. }
            )
        )
    }
}

/// Why bytes are no JSON, or more than is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JsonError {
    /// Nothing but white space.
    #[error("it is empty")]
    Empty,
    /// Something that may not stand there.
    #[error("what stands at offset {offset} may not stand there")]
    Syntax {
        /// Bytes before it.
        offset: usize,
    },
    /// The end comes too early.
    #[error("it ends in the middle, at offset {offset}")]
    CutOff {
        /// Length in bytes.
        offset: usize,
    },
    /// Nested too deeply.
    #[error("it is nested deeper than {limit} levels")]
    TooDeep {
        /// Levels that are read.
        limit: usize,
    },
    /// Too many values.
    #[error("it has more than {limit} values")]
    TooManyValues {
        /// Values that are read.
        limit: usize,
    },
    /// Too many bytes.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// Bytes that are read.
        limit: usize,
    },
}
