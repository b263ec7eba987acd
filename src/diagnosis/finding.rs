//! The finding: the one shape in which the operator and the command line say what is wrong.

use serde::Serialize;

use super::catalogue::Code;
use super::text::shown;

/// How bad a finding is. Ordered from the worst.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Mail is or will be hurt, or the RFC is broken so that some senders get no protection.
    Error,
    /// Worth mending.
    Warning,
    /// It could not be looked at; never to be shown as passed or failed.
    Unknown,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word in findings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Info => "info",
        }
    }
}

/// One thing that was found. In JSON a key without a value is null, never missing.
///
/// No text in it has control characters, and none is long: it may go to a terminal, a log or a
/// status as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What kind of finding it is; stable.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a record name, a URL, a host, an address, a line, a field.
    pub subject: String,
    /// What is wrong and why it matters.
    pub message: String,
    /// What was seen.
    pub evidence: Option<String>,
    /// One thing to do.
    pub remedy: Option<String>,
    /// The section of the RFC.
    pub reference: Option<&'static str>,
}

impl Finding {
    /// A finding with the severity that its code has in mode enforce, and the code's reference.
    pub fn new(code: Code, subject: &str, message: &str) -> Self {
        Self {
            code,
            severity: code.severities().enforce,
            subject: shown(subject),
            message: shown(message),
            evidence: None,
            remedy: None,
            reference: code.reference(),
        }
    }

    /// The same with another severity, where it depends on what was seen.
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// The same with something before its subject, such as the object that a field belongs to.
    pub fn with_subject_prefix(mut self, prefix: &str) -> Self {
        self.subject.insert_str(0, &shown(prefix));
        self
    }

    /// The same with what was seen.
    pub fn with_evidence(mut self, evidence: &str) -> Self {
        self.evidence = Some(shown(evidence));
        self
    }

    /// The same with what to do.
    pub fn with_remedy(mut self, remedy: &str) -> Self {
        self.remedy = Some(shown(remedy));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_every_key_and_null_for_what_is_absent() {
        let finding = Finding::new(Code::PolicyBom, "line 1", "a\u{1b}b");
        assert_eq!(
            serde_json::to_value(finding).unwrap(),
            serde_json::json!({
                "code": "policy-bom",
                "severity": "error",
                "subject": "line 1",
                "message": "a\\u{1b}b",
                "evidence": null,
                "remedy": null,
                "reference": "RFC 8461 §3.2",
            })
        );
    }

    #[test]
    fn the_worst_severity_comes_first() {
        let mut all = [
            Severity::Info,
            Severity::Unknown,
            Severity::Error,
            Severity::Warning,
        ];
        all.sort();
        assert_eq!(
            all,
            [
                Severity::Error,
                Severity::Warning,
                Severity::Unknown,
                Severity::Info
            ]
        );
    }
}
