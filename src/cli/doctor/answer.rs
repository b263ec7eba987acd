//! What a look at one thing gives, and how it is shown.

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::cluster::{is_forbidden, said};
use crate::cli::output::painted;
use crate::cli::words::counted;
use crate::diagnosis::{Severity, printable};

/// Name and version of the JSON document.
const SCHEMA: &str = "mta-sts.doctor/1";

/// The whole answer.
#[derive(Serialize, Debug)]
pub(super) struct Report {
    schema: &'static str,
    namespace: String,
    pub(super) checks: Vec<Answer>,
}

impl Report {
    pub(super) fn new(namespace: String, checks: Vec<Answer>) -> Self {
        Self {
            schema: SCHEMA,
            namespace,
            checks,
        }
    }
}

/// How a look ended.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Ok,
    /// It works, and will not for ever or not for everybody.
    Warning,
    /// It does not work.
    Error,
    /// It should have been found out, and could not be.
    Unknown,
    /// Not looked at: the caller lacks a right that the operator does not need either.
    Skipped,
}

/// What a look at one thing gave.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Answer {
    /// What kind of look: stable, for scripts.
    check: &'static str,
    pub(super) result: Outcome,
    /// At what.
    subject: String,
    message: String,
    remedy: Option<String>,
}

impl Answer {
    fn new(
        result: Outcome,
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            check,
            result,
            subject: subject.into(),
            message: message.into(),
            remedy: None,
        }
    }

    pub(super) fn ok(
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Outcome::Ok, check, subject, message)
    }

    pub(super) fn warning(
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Outcome::Warning, check, subject, message)
    }

    pub(super) fn error(
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Outcome::Error, check, subject, message)
    }

    /// The API server did not answer what the operator's own rights allow.
    pub(super) fn unknown(
        check: &'static str,
        subject: impl Into<String>,
        error: &kube::Error,
    ) -> Self {
        Self::new(Outcome::Unknown, check, subject, said(error))
    }

    /// The same for what only an administrator may read: that is no fault.
    pub(super) fn unseen(
        check: &'static str,
        subject: impl Into<String>,
        error: &kube::Error,
    ) -> Self {
        let result = if is_forbidden(error) {
            Outcome::Skipped
        } else {
            Outcome::Unknown
        };
        Self::new(result, check, subject, said(error))
    }

    #[must_use]
    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Writes a line a look, and below it how to mend what is not right.
pub(super) fn text(out: &mut dyn Write, report: &Report, colour: bool) -> io::Result<()> {
    for answer in &report.checks {
        let (word, severity) = match answer.result {
            Outcome::Ok => ("ok", None),
            Outcome::Warning => ("warning", Some(Severity::Warning)),
            Outcome::Error => ("error", Some(Severity::Error)),
            Outcome::Unknown => ("unknown", Some(Severity::Unknown)),
            Outcome::Skipped => ("skipped", Some(Severity::Info)),
        };
        let padded = format!("{word:<7}");
        let word = severity.map_or(padded.clone(), |s| painted(&padded, s, colour));
        let (check, subject) = (answer.check, printable(&answer.subject));
        writeln!(
            out,
            "{word} {check}  {subject}: {}",
            printable(&answer.message)
        )?;
        if let Some(remedy) = &answer.remedy {
            writeln!(out, "        fix: {}", printable(remedy))?;
        }
    }
    let count = |result| report.checks.iter().filter(|c| c.result == result).count();
    let (errors, warnings) = (count(Outcome::Error), count(Outcome::Warning));
    let mut words = vec![counted(errors, "error"), counted(warnings, "warning")];
    if count(Outcome::Unknown) > 0 {
        words.push(format!("{} unknown", count(Outcome::Unknown)));
    }
    writeln!(out, "namespace {}: {}", report.namespace, words.join(", "))
}
