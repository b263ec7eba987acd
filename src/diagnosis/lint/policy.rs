//! The policy body (RFC 8461 §3.2).

use crate::diagnosis::advice::{corrected_mx, meant_mode, near_miss};
use crate::diagnosis::readers::{LARGE_BODY_BYTES, Quirk};
use crate::diagnosis::recognise::impostor;
use crate::diagnosis::text::quote;
use crate::diagnosis::{Code, Finding, Severity};
use crate::limits::{CANONICAL_BODY_BYTES, POLICY_BODY_BYTES};
use crate::protocol::{
    Domain, MaxAge, Mode, MxPattern, Policy, PolicyIssue, PolicyIssueAt, PolicyReading,
};

const KEYS: [&str; 4] = ["version", "mode", "mx", "max_age"];

/// What is wrong or odd with a policy body. With the policy domain it is also told whether a
/// wildcard trusts the whole of it. Whether the RFC is satisfied is told by [`Policy::parse`].
pub fn lint_policy(body: &[u8], domain: Option<&Domain>) -> Vec<Finding> {
    let mut findings = size(body);
    if let Some(found) = impostor(body) {
        let message = format!("this is no policy: it looks like {}", found.looks_like);
        let finding = Finding::new(Code::PolicyNotAPolicy, "policy", &message);
        findings.push(
            finding
                .with_evidence(&quote(first_line(body)))
                .with_remedy(found.remedy),
        );
        return findings;
    }
    let reading = Policy::read(body);
    findings.extend(layout(&reading));
    findings.extend(reading.issues.iter().flat_map(issue));
    findings.extend(max_age(&reading));
    findings.extend(none_without_mx(&reading));
    let broad = |(line, pattern): &(usize, MxPattern)| too_broad(&at_line(*line), pattern, domain);
    findings.extend(reading.mx.iter().filter_map(broad));
    findings
}

fn at_line(line: usize) -> String {
    format!("line {line}")
}

fn first_line(body: &[u8]) -> &[u8] {
    body.split(|b| matches!(b, b'\r' | b'\n'))
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

fn size(body: &[u8]) -> Vec<Finding> {
    let length = body.len();
    let mut findings = Vec::new();
    if length > CANONICAL_BODY_BYTES {
        let (severity, who) = if length > POLICY_BODY_BYTES {
            (Severity::Error, "senders stop at 64 KiB")
        } else {
            (Severity::Warning, "keep it below 8 KiB")
        };
        let message = format!("the body has {length} bytes: {who}");
        let remedy = "list fewer mx; a wildcard covers all hosts one label below a name";
        let finding = Finding::new(Code::PolicyTooLarge, "policy", &message);
        findings.push(finding.with_severity(severity).with_remedy(remedy));
    }
    if (LARGE_BODY_BYTES + 1..=POLICY_BODY_BYTES).contains(&length) {
        let message = format!(
            "{} stops near {LARGE_BODY_BYTES} bytes",
            Quirk::LargeBody.names()
        );
        findings.push(incompatible("policy", &message).with_remedy("list fewer mx"));
    }
    findings
}

/// Blank lines, comments and line ends: one finding a kind, however many lines.
fn layout(reading: &PolicyReading) -> Vec<Finding> {
    let lines_with = |wanted: fn(&PolicyIssue) -> bool| {
        let issues = reading.issues.iter().filter(|at| wanted(&at.issue));
        issues.filter_map(|at| at.line).collect::<Vec<_>>()
    };
    let finding = |code, lines: Vec<usize>, message: &str, remedy: &str| {
        let finding = || Finding::new(code, &subject_of(&lines), message).with_remedy(remedy);
        (!lines.is_empty()).then(finding)
    };
    let blank = format!(
        "a blank line is not in the grammar, at the end neither: {} refuse the policy for it",
        Quirk::BlankLine.names()
    );
    [
        finding(
            Code::PolicyBom,
            lines_with(|issue| matches!(issue, PolicyIssue::ByteOrderMark)),
            "a byte order mark stands before the first line, so that its key is not read as version",
            "save the file as ASCII, or as UTF-8 without a byte order mark",
        ),
        finding(
            Code::PolicyLineEnding,
            lines_with(|issue| matches!(issue, PolicyIssue::LoneCr)),
            "a CR without a LF after it is no end of line",
            "end lines with CRLF or LF",
        ),
        finding(
            Code::PolicyBlankLine,
            lines_with(|issue| matches!(issue, PolicyIssue::BlankLine)),
            &blank,
            "delete the blank lines; the last line ends with one line end",
        ),
        finding(
            Code::PolicyComment,
            lines_with(|issue| matches!(issue, PolicyIssue::Comment { .. })),
            "the grammar has no comments: the line breaks the policy",
            "delete the comments",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn subject_of(lines: &[usize]) -> String {
    let shown: Vec<_> = lines.iter().take(8).map(ToString::to_string).collect();
    match lines.len() {
        1 => format!("line {}", shown.join("")),
        n if n > shown.len() => format!("lines {} and {} more", shown.join(", "), n - shown.len()),
        _ => format!("lines {}", shown.join(", ")),
    }
}

fn incompatible(subject: &str, message: &str) -> Finding {
    Finding::new(
        Code::PolicyReaderIncompatible,
        subject,
        &format!("lawful, but {message}"),
    )
}

/// What one issue of the parser is called, and what to do about it.
fn issue(at: &PolicyIssueAt) -> Vec<Finding> {
    let subject = at.line.map_or_else(|| "policy".to_owned(), at_line);
    let finding = |code, remedy: &str| {
        Finding::new(code, &subject, &at.issue.to_string()).with_remedy(remedy)
    };
    let one = match &at.issue {
        PolicyIssue::ByteOrderMark
        | PolicyIssue::LoneCr
        | PolicyIssue::BlankLine
        | PolicyIssue::Comment { .. } => return Vec::new(),
        PolicyIssue::VersionMissing | PolicyIssue::Version { .. } => {
            finding(Code::PolicyVersion, "write: version: STSv1")
        }
        PolicyIssue::ModeMissing => finding(
            Code::PolicyMode,
            "write: mode: testing (or enforce, or none)",
        ),
        PolicyIssue::Mode { value } => finding(Code::PolicyMode, &mode_remedy(value)),
        PolicyIssue::MaxAgeMissing => finding(Code::PolicyMaxAgeMissing, "write: max_age: 604800"),
        PolicyIssue::MaxAge { .. } => finding(
            Code::PolicyMaxAgeInvalid,
            "write a number of seconds in digits only, at most 31557600, such as max_age: 604800",
        ),
        PolicyIssue::MxMissing { .. } => finding(
            Code::PolicyMxMissing,
            "write a line for each MX host: mx: mail.example.org",
        ),
        PolicyIssue::Mx { value, .. } => finding(Code::PolicyMxInvalid, &mx_remedy(value)),
        PolicyIssue::MxUnusable { value, .. } => return vec![unusable_mx(&subject, value, at)],
        PolicyIssue::UnknownKey { key, value } => return unknown_key(&subject, key, value),
        PolicyIssue::DuplicateKey { key } => return vec![duplicate_key(&subject, key)],
        PolicyIssue::RunTogether { fields } => finding(
            Code::PolicySyntax,
            &format!("write each on its own line: {}", fields.join(" / ")),
        ),
        PolicyIssue::NoColon { .. } => finding(
            Code::PolicySyntax,
            "write it as key: value, or delete the line",
        ),
        PolicyIssue::LeadingSpace => finding(Code::PolicySyntax, "begin the line with the key"),
        PolicyIssue::SpaceBeforeColon { key } => finding(
            Code::PolicySyntax,
            &format!("write {key}: with the colon right after the key"),
        ),
        PolicyIssue::BadKey { .. }
        | PolicyIssue::EmptyValue { .. }
        | PolicyIssue::BadValue { .. } => finding(Code::PolicySyntax, "delete the line"),
    };
    vec![one]
}

fn mode_remedy(value: &str) -> String {
    match meant_mode(value) {
        Some(mode) => format!("write: mode: {mode}"),
        None => "write: mode: testing (or enforce, or none)".to_owned(),
    }
}

/// The corrected line or lines, where the meaning is plain. Also used for a spec's patterns.
pub(super) fn mx_remedy(value: &str) -> String {
    let lines: Vec<_> = corrected_mx(value)
        .iter()
        .map(|mx| format!("mx: {mx}"))
        .collect();
    if lines.is_empty() {
        "write the MX host's name, or *. and the name it lies directly below, such as mx: mail.example.org or mx: *.example.org".to_owned()
    } else {
        format!("write: {}", lines.join(" / "))
    }
}

/// The grammar lets it pass, and it is wrong all the same.
fn unusable_mx(subject: &str, value: &str, at: &PolicyIssueAt) -> Finding {
    if let Some(parent) = value
        .strip_prefix("*.")
        .filter(|parent| !parent.contains('.'))
    {
        let message =
            format!("{value} trusts every host directly below the top-level domain {parent}");
        return Finding::new(Code::PolicyMxTooBroad, subject, &message)
            .with_remedy("name the MX hosts, or a wildcard below your own domain");
    }
    let address = value.parse::<std::net::Ipv4Addr>().is_ok();
    let who = if address {
        format!("; {} refuses the policy for it", Quirk::IpAddressMx.names())
    } else {
        String::new()
    };
    Finding::new(
        Code::PolicyMxInvalid,
        subject,
        &format!("{}: it can match no MX host{who}", at.issue),
    )
    .with_remedy(&mx_remedy(value))
}

fn unknown_key(subject: &str, key: &str, value: &str) -> Vec<Finding> {
    let (message, remedy) = match near_miss(key, &KEYS) {
        Some(meant) => (
            format!("the key {key} is unknown and ignored; {meant} was meant"),
            format!("write: {meant}: {value}"),
        ),
        None => (
            format!(
                "the key {key} is unknown: senders ignore it, {} refuses it",
                Quirk::UnknownKey.names()
            ),
            "delete the line unless something needs it".to_owned(),
        ),
    };
    let mut findings =
        vec![Finding::new(Code::PolicyKeyUnknown, subject, &message).with_remedy(&remedy)];
    if value.contains(':') {
        let message = format!(
            "{} refuses a second colon on a line",
            Quirk::SecondColon.names()
        );
        findings.push(incompatible(subject, &message).with_remedy("delete the line"));
    }
    if !value.is_ascii() {
        let message = format!("{} reads ASCII only", Quirk::NotAscii.names());
        findings.push(incompatible(subject, &message).with_remedy("delete the line"));
    }
    findings
}

fn duplicate_key(subject: &str, key: &str) -> Finding {
    let message = format!(
        "{key} stands here again: by the RFC the first counts, for {} the last, and {} refuse the policy",
        Quirk::LastDuplicateWins.names(),
        Quirk::DuplicateRefused.names()
    );
    Finding::new(Code::PolicyKeyDuplicate, subject, &message)
        .with_remedy(&format!("keep one {key} line"))
}

fn max_age(reading: &PolicyReading) -> Vec<Finding> {
    let Some((line, max_age)) = reading.max_age else {
        return Vec::new();
    };
    let subject = at_line(line);
    let mode = reading.mode.map(|(_, mode)| mode);
    if max_age.seconds() == 0 {
        let message = format!(
            "max_age 0 lets senders forget the policy at once, and {} refuse it",
            Quirk::MaxAgeZero.names()
        );
        let finding = Finding::new(Code::PolicyMaxAgeZero, &subject, &message);
        return vec![
            finding.with_remedy("write at least max_age: 86400; to end a policy serve mode none"),
        ];
    }
    let mut findings: Vec<_> = short_max_age(&subject, max_age, mode).into_iter().collect();
    if max_age < MaxAge::DAY {
        let mut message = format!(
            "{} refuses a max_age below 86400",
            Quirk::MaxAgeBelowDay.names()
        );
        if max_age.seconds() < 3600 {
            let who = Quirk::MaxAgeBelowHour.names();
            message.push_str(&format!(", and {who} keeps one below 3600 for a day"));
        }
        findings
            .push(incompatible(&subject, &message).with_remedy("write at least max_age: 86400"));
    }
    findings
}

/// The same rule for a body and for a spec.
pub(super) fn short_max_age(subject: &str, max_age: MaxAge, mode: Option<Mode>) -> Option<Finding> {
    let (least, why) = if max_age < MaxAge::DAY {
        (MaxAge::DAY, "a day")
    } else if mode == Some(Mode::Enforce) && max_age < MaxAge::WEEK {
        (MaxAge::WEEK, "a week in mode enforce")
    } else {
        return None;
    };
    let message = format!(
        "{max_age} seconds are less than {why}: an attacker has to block the policy for no longer than that"
    );
    let finding = Finding::new(Code::PolicyMaxAgeShort, subject, &message);
    Some(finding.with_remedy(&format!("write at least {least}")))
}

fn none_without_mx(reading: &PolicyReading) -> Option<Finding> {
    let (line, _) = reading.mode.filter(|(_, mode)| *mode == Mode::None)?;
    let has_mx = !reading.mx.is_empty()
        || reading.issues.iter().any(|at| {
            matches!(
                at.issue,
                PolicyIssue::Mx { .. } | PolicyIssue::MxUnusable { .. }
            )
        });
    if has_mx {
        return None;
    }
    let message = format!(
        "mode none without mx is lawful, but {} refuse it and keep the policy they had",
        Quirk::NoneWithoutMx.names()
    );
    let finding = Finding::new(Code::PolicyMxNoneCompat, &at_line(line), &message);
    Some(finding.with_remedy("keep at least one mx line in mode none"))
}

/// A wildcard that trusts all of a public suffix or of the policy domain's registrable domain.
pub(super) fn too_broad(
    subject: &str,
    pattern: &MxPattern,
    domain: Option<&Domain>,
) -> Option<Finding> {
    if !pattern.is_wildcard() {
        return None;
    }
    let parent = pattern.host().as_str();
    let why = if psl::suffix_str(parent) == Some(parent) {
        format!("{parent}, below which anybody can register a name")
    } else if domain.is_some_and(|domain| psl::domain_str(domain.as_str()) == Some(parent)) {
        format!(
            "{parent}: any host of it, a web server or a forgotten name, may then receive the mail"
        )
    } else {
        return None;
    };
    let message = format!("{pattern} trusts every host directly below {why}");
    let finding = Finding::new(Code::PolicyMxTooBroad, subject, &message);
    Some(finding.with_remedy(
        "name the MX hosts, or use a wildcard below a name that only mail servers have",
    ))
}
