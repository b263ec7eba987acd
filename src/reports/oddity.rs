//! What can be odd about the wrappings of a report.

use crate::diagnosis::{Code, Finding, Severity};
use crate::limits::REPORT_UNPACKED_BYTES;

/// Something about a wrapping that was tolerated, or that hides what is inside.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Oddity {
    /// There is no report in the file.
    #[error("no report is in it")]
    NoReport,
    /// No bytes.
    #[error("it is empty")]
    Empty,
    /// The bytes are something else than their label says.
    #[error("its label says {label}, and it is {is}")]
    Mislabelled {
        /// What the label says.
        label: &'static str,
        /// What the bytes are.
        is: &'static str,
    },
    /// Gzip data of several members, read one after the other.
    #[error("its gzip data has several members, which are read as one")]
    SeveralMembers,
    /// Bytes after the gzip data.
    #[error("{count} bytes stand after the gzip data, and are not read")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// Packed data that cannot be unpacked to its end.
    #[error("it is damaged: {bytes} bytes could be unpacked")]
    Damaged {
        /// How many there were before the damage.
        bytes: usize,
    },
    /// Base64 where the bytes themselves are expected, or not quite base64.
    #[error("it is base64 that no header tells of, or that breaks its own rules")]
    Base64,
    /// A zip archive.
    #[error("it is packed as a zip archive, where the RFC has gzip")]
    Zip,
    /// A member of an archive that needs a password, or is packed in an unknown way.
    #[error("it cannot be unpacked: {why}")]
    Locked {
        /// Why not.
        why: &'static str,
    },
    /// A mail in a mail.
    #[error("the report is in a mail that was forwarded in a mail")]
    Forwarded,
    /// The mail has no DKIM signature.
    #[error("the mail with the report has no DKIM signature")]
    Unsigned,
    /// The media type is not one of RFC 8460 §6.
    #[error("its media type is {written:?}, where the RFC has application/tlsrpt+gzip or +json")]
    MediaType {
        /// The media type.
        written: String,
    },
    /// A part or member that is no report.
    #[error("it is no report, and is not read")]
    Skipped,
    /// The same bytes as another part.
    #[error("it is the same report as another part of the file")]
    Again,
    /// Too many bytes.
    #[error("more than {limit} bytes are packed in it, and the rest is not read")]
    TooLarge {
        /// Bytes that are unpacked.
        limit: usize,
    },
    /// Too many members.
    #[error("it has more than {limit} parts, and the rest is not read")]
    TooMany {
        /// Parts that are looked at.
        limit: usize,
    },
    /// Too many wrappings.
    #[error("it is wrapped more than {limit} times, and is not read")]
    TooNested {
        /// Wrappings that are taken off.
        limit: usize,
    },
}

impl Oddity {
    /// Above the budget for one file.
    pub(super) const TOO_LARGE: Self = Self::TooLarge {
        limit: REPORT_UNPACKED_BYTES,
    };

    /// The finding about it.
    pub fn finding(&self, subject: &str) -> Finding {
        let (code, remedy) = match self {
            Self::NoReport => (
                Code::ReportMissing,
                Some("give the report as .json, .json.gz or .zip, or the whole mail as .eml"),
            ),
            Self::Empty => (Code::ReportMissing, Some("get the file once more")),
            Self::Damaged { .. } => (Code::ReportDamaged, Some("get the file once more")),
            Self::Locked { .. } => (
                Code::ReportMissing,
                Some("unpack it by hand, and give the JSON"),
            ),
            Self::TooLarge { .. } | Self::TooMany { .. } | Self::TooNested { .. } => (
                Code::ReportTooLarge,
                Some("unpack it by hand if you trust the sender, and give the JSON"),
            ),
            Self::Unsigned => (
                Code::ReportUnsigned,
                Some("believe it only if it comes from where the sender's reports come from"),
            ),
            _ => (Code::ReportWrappingOdd, None),
        };
        let finding = Finding::new(code, subject, &self.to_string());
        match remedy {
            Some(remedy) => finding.with_remedy(remedy),
            None => finding,
        }
    }

    /// Whether something that was meant as a report is not read because of it.
    pub(super) fn is_error(&self) -> bool {
        self.finding("").severity == Severity::Error
    }
}
