//! TLS reports (RFC 8460 §4): what a sender saw in one day, read with tolerance for the many ways
//! in which real reports break the schema. Whatever was tolerated is noted as a [`ReportIssue`].

mod issue;
mod json;
mod reader;
mod result_type;
mod values;

use jiff::Timestamp;
use serde::Serialize;

pub use issue::{JsonError, ReportError, ReportIssue, ReportIssueAt};
pub use result_type::{ReportPolicyType, ResultType};

use super::{HostName, Mode, MxPattern, Sha256Digest};

/// A report. What a sender left out or wrote beyond recognition is none.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// Who reports.
    pub organization: Option<String>,
    /// Whom to ask.
    pub contact: Option<String>,
    /// The sender's name for the report, as it is written.
    pub id: Option<String>,
    /// Begin of the time that it covers.
    pub begin: Option<Timestamp>,
    /// End of the time that it covers.
    pub end: Option<Timestamp>,
    /// A policy that was applied, with what came of it. Their counts may overlap (RFC 8460 §4.2).
    pub policies: Vec<ReportPolicy>,
}

/// A policy that a sender applied, and what came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ReportPolicy {
    /// Its kind.
    pub kind: Option<ReportPolicyType>,
    /// The policy domain, in lower case without a final dot.
    pub domain: Option<String>,
    /// The MX hosts or patterns of the policy, in lower case.
    pub mx_hosts: Vec<String>,
    /// The policy as the sender has it: lines of the body, or TLSA records.
    pub strings: Vec<String>,
    /// Sessions that went well.
    pub successful: Option<u64>,
    /// Sessions that failed.
    pub failed: Option<u64>,
    /// The failures, by their kind and hosts.
    pub failures: Vec<Failure>,
}

/// Failures of one kind between two hosts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Failure {
    /// What failed.
    pub result: Option<ResultType>,
    /// Sessions that failed so.
    pub count: Option<u64>,
    /// The address that the mail came from.
    pub sending_mta_ip: Option<String>,
    /// The MX host that it was to go to, in lower case.
    pub receiving_mx: Option<String>,
    /// How that host greeted.
    pub receiving_helo: Option<String>,
    /// The address of that host.
    pub receiving_ip: Option<String>,
    /// Where the sender says more.
    pub information: Option<String>,
    /// The sender's own word for it, or a sentence.
    pub reason: Option<String>,
}

/// What makes two reports the same one: not the id alone, since some senders use one id again.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ReportIdentity {
    /// Who reports.
    pub organization: Option<String>,
    /// The sender's name for the report.
    pub id: Option<String>,
    /// Begin and end of the time that it covers.
    pub time: (Option<Timestamp>, Option<Timestamp>),
    /// All that was read of it.
    pub content: Sha256Digest,
}

/// A report and what is odd about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportReading {
    /// What was read.
    pub report: Report,
    /// What was tolerated: each kind once for each name of a field.
    pub issues: Vec<ReportIssueAt>,
    /// Kinds of oddities beyond [`REPORT_ISSUES`](crate::limits::REPORT_ISSUES).
    pub more_issues: usize,
}

impl Report {
    /// Reads a report that is not packed.
    ///
    /// # Errors
    /// The bytes are no JSON, no report, or above a limit.
    pub fn read(bytes: &[u8]) -> Result<ReportReading, ReportError> {
        reader::read(bytes)
    }

    /// What makes it this report and no other.
    pub fn identity(&self) -> ReportIdentity {
        // Plain data with text keys is always written.
        let content = serde_json::to_vec(self).unwrap_or_default();
        ReportIdentity {
            organization: self.organization.clone(),
            id: self.id.clone(),
            time: (self.begin, self.end),
            content: Sha256Digest::of(&content),
        }
    }
}

impl ReportPolicy {
    /// The mode of an MTA-STS policy, where the report quotes it.
    pub fn mode(&self) -> Option<Mode> {
        self.values_of("mode").find_map(|mode| mode.parse().ok())
    }

    /// Whether an MX host is one of those that the policy names; none if the report does not say
    /// what the policy names.
    pub fn covers(&self, mx: &HostName) -> Option<bool> {
        let quoted = self.values_of("mx");
        let named = self.mx_hosts.iter().map(String::as_str).chain(quoted);
        let mut patterns = named
            .filter_map(|text| MxPattern::parse_any_case(text).ok())
            .peekable();
        patterns.peek()?;
        Some(patterns.any(|pattern| pattern.matches(mx)))
    }

    /// Values of a key in a quoted MTA-STS policy.
    fn values_of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.strings.iter().filter_map(move |line| {
            let (written, value) = line.split_once(':')?;
            (written.trim() == key).then_some(value.trim())
        })
    }
}
