//! What the RFCs say: names, patterns, policies, records. Pure: no I/O, no clock.

/// Path of the policy on the policy host (RFC 8461 §3.3).
pub const POLICY_PATH: &str = "/.well-known/mta-sts.txt";

mod digest;
mod domain;
mod issue;
mod max_age;
mod mode;
mod mx_pattern;
mod policy;
mod policy_id;
mod policy_reader;
pub mod presets;
mod report;
mod sts_record;
mod tlsrpt_record;
mod txt_fields;

pub use digest::Sha256Digest;
pub use domain::{Domain, DomainError, HostName, HostNameError};
pub use issue::{RecordIssue, RecordIssueAt, RuaError};
pub use max_age::{MaxAge, MaxAgeError};
pub use mode::Mode;
pub use mx_pattern::{MxPattern, MxPatternError};
pub use policy::{Policy, PolicyError, PolicyIssue, PolicyIssueAt, PolicyReading};
pub use policy_id::{InstallationId, InstallationIdError, PolicyId, PolicyIdError};
pub use presets::{MxPreset, MxPresetError};
pub use report::{
    Failure, JsonError, Report, ReportError, ReportIdentity, ReportIssue, ReportIssueAt,
    ReportPolicy, ReportPolicyType, ReportReading, ResultType,
};
pub use sts_record::{StsRecord, StsRecordError, StsRecordReading};
pub use tlsrpt_record::{Rua, TlsRptRecord, TlsRptRecordError, TlsRptRecordReading};
