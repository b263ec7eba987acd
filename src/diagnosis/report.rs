//! TLS reports (RFC 8460) explained: for each result the cause in plain words and one remedy, and
//! what is odd about the report itself.

use std::collections::BTreeMap;

use super::catalogue::Code;
use super::finding::{Finding, Severity};
use super::text::shown;
use crate::protocol::{
    Failure, HostName, Mode, Report, ReportError, ReportIssue, ReportPolicy, ReportPolicyType,
    ReportReading, ResultType,
};

/// What a result means, in general: a row of `docs/report.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResultMeaning {
    /// The finding that a failure of this type becomes.
    pub code: Code,
    /// The usual cause.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// What a failure in a report means.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ResultAdvice {
    /// Its finding.
    pub code: Code,
    /// How bad it is under the policy that was applied.
    pub severity: Severity,
    /// The host or domain to look at.
    pub subject: String,
    /// The cause in plain words.
    pub cause: String,
    /// One thing to do.
    pub remedy: String,
}

const OUTSIDE: &str = "compare the domain's MX records with the mx lines of the policy, and add what is missing; if they agree, look at the MX's TLS";

impl ResultMeaning {
    /// The meaning of a result type; unknown ones have one in common.
    pub const fn of(result: &ResultType) -> Self {
        let (code, cause, remedy) = match result {
            ResultType::StarttlsNotSupported => (
                Code::ReportStarttlsNotSupported,
                "the MX offered no STARTTLS: it is off, or a device in between takes it away",
                "switch STARTTLS on at the MX, and mail inspection off at load balancers and firewalls before it",
            ),
            ResultType::CertificateHostMismatch => (
                Code::ReportCertificateHostMismatch,
                "the MX's certificate has no SAN for the MX host name",
                "get a certificate with the name of the MX host, not of the mail domain",
            ),
            ResultType::CertificateExpired => (
                Code::ReportCertificateExpired,
                "the MX's certificate is past its date: its renewal is stuck, often on one MX of several",
                "renew the certificate on the MX named, and restart what serves it",
            ),
            ResultType::CertificateNotTrusted => (
                Code::ReportCertificateNotTrusted,
                "the MX's certificate leads to no trusted root: it is self-signed, of a private CA, or an intermediate is missing",
                "serve a certificate of a public CA with its full chain",
            ),
            ResultType::ValidationFailure => (
                Code::ReportValidationFailure,
                "the session failed in a way that has no name of its own; some senders report an MX outside of the policy so",
                OUTSIDE,
            ),
            ResultType::TlsaInvalid => (
                Code::ReportTlsaInvalid,
                "the TLSA records do not match the MX's certificate: it was renewed and they were not",
                "publish the TLSA record of the present certificate, and from now on that of the next one before it is used",
            ),
            ResultType::DnssecInvalid => (
                Code::ReportDnssecInvalid,
                "DNSSEC does not validate for the MX: a signature is bogus or past its date, or the DS does not fit",
                "mend the chain from the DS at the parent to the signatures of the MX host's zone",
            ),
            ResultType::DaneRequired => (
                Code::ReportDaneRequired,
                "the sender demands DANE for this domain, and found no usable TLSA record",
                "publish TLSA records for the MX in a signed zone, or ask the sender to drop the demand",
            ),
            ResultType::StsPolicyFetchError => (
                Code::ReportStsPolicyFetchError,
                "the policy could not be fetched: the policy host is down or slow, answers 404 or a bot check, or is broken over IPv6",
                "fetch the policy from every address of the policy host, IPv6 too, and mend what does not answer 200",
            ),
            ResultType::StsPolicyInvalid => (
                Code::ReportStsPolicyInvalid,
                "the policy was fetched and could not be read: its syntax, its content type or its line ends",
                "check the policy with mta-sts lint, which names the readers that refuse it",
            ),
            ResultType::StsWebpkiInvalid => (
                Code::ReportStsWebpkiInvalid,
                "the certificate of the policy host is not valid, not that of the MX",
                "renew the certificate of the policy host, with a SAN for it and the full chain",
            ),
            ResultType::Other(_) => (
                Code::ReportResultUnknown,
                "the RFC does not have this result: what it means, the sender knows",
                "look at the reason and the hosts, and ask the sender by the contact in the report",
            ),
        };
        Self {
            code,
            cause,
            remedy,
        }
    }
}

/// What one failure means, and what to do about it.
pub fn advise(report: &Report, policy: &ReportPolicy, failure: &Failure) -> ResultAdvice {
    let unknown = ResultType::Other(String::new());
    let result = failure.result.as_ref().unwrap_or(&unknown);
    let meaning = ResultMeaning::of(result);
    let severities = meaning.code.severities();
    let severity = match is_enforced(policy) {
        true => severities.enforce,
        false => severities.testing,
    };
    let outside = match result {
        ResultType::ValidationFailure => outside(report, policy, failure),
        _ => None,
    };
    let (cause, remedy) =
        outside.unwrap_or_else(|| (meaning.cause.to_owned(), meaning.remedy.to_owned()));
    ResultAdvice {
        code: meaning.code,
        severity,
        subject: subject(result, policy, failure),
        cause: shown(&cause),
        remedy: shown(&remedy),
    }
}

/// What the report is about and what is odd about it: a finding for each kind of failure of each
/// host, then one for each kind of oddity.
pub fn explain_report(reading: &ReportReading) -> Vec<Finding> {
    let mut findings = failures(&reading.report);
    findings.extend(reading.issues.iter().map(|at| {
        let finding = Finding::new(code(&at.issue), &at.path, &format!("it {}", at.issue));
        match at.times {
            1 => finding,
            times => finding.with_evidence(&format!("so {times} times in this report")),
        }
    }));
    if reading.more_issues > 0 {
        let message = format!(
            "it has {} more oddities, which are not shown",
            reading.more_issues
        );
        findings.push(Finding::new(Code::ReportCut, "the report", &message));
    }
    findings
}

/// Why bytes that should be a report are none.
pub fn refuse_report(subject: &str, error: &ReportError) -> Finding {
    let code = match error.is_limit() {
        true => Code::ReportTooLarge,
        false => Code::ReportInvalid,
    };
    let remedy = "ask the sender for a report as in RFC 8460; the others are read all the same";
    Finding::new(code, subject, &format!("it {error}")).with_remedy(remedy)
}

/// Failures of one kind at one host are one finding.
fn failures(report: &Report) -> Vec<Finding> {
    let mut groups: BTreeMap<(ResultAdvice, String), Group<'_>> = BTreeMap::new();
    for policy in &report.policies {
        for failure in &policy.failures {
            let advice = advise(report, policy, failure);
            let group = groups.entry((advice, under(policy))).or_default();
            group.sessions = group.sessions.saturating_add(failure.count.unwrap_or(0));
            group.failures.push(failure);
        }
    }
    let groups = groups.into_iter();
    groups
        .map(|((advice, under), group)| {
            Finding::new(advice.code, &advice.subject, &advice.cause)
                .with_severity(advice.severity)
                .with_evidence(&group.seen(&under))
                .with_remedy(&advice.remedy)
        })
        .collect()
}

/// A field of a failure.
type Part = fn(&Failure) -> Option<&str>;

#[derive(Default)]
struct Group<'a> {
    sessions: u64,
    failures: Vec<&'a Failure>,
}

impl Group<'_> {
    fn seen(&self, under: &str) -> String {
        let sessions = match self.sessions {
            1 => "1 session failed".to_owned(),
            count => format!("{count} sessions failed"),
        };
        let mut seen = format!("{sessions} under {under}");
        let parts: [(&str, Part); 4] = [
            ("from", |it| it.sending_mta_ip.as_deref()),
            ("to", |it| it.receiving_ip.as_deref()),
            ("reason", |it| it.reason.as_deref()),
            ("more at", |it| it.information.as_deref()),
        ];
        for (word, part) in parts {
            let mut values: Vec<&str> = self.failures.iter().filter_map(|it| part(it)).collect();
            values.sort_unstable();
            values.dedup();
            match values.as_slice() {
                [] => {}
                [one] => seen.push_str(&format!(", {word} {one}")),
                [first, others @ ..] => {
                    seen.push_str(&format!(", {word} {first} and {} more", others.len()));
                }
            }
        }
        seen
    }
}

/// Whether mail is held back when the policy is broken.
fn is_enforced(policy: &ReportPolicy) -> bool {
    match policy.kind {
        Some(ReportPolicyType::NoPolicyFound) => false,
        Some(ReportPolicyType::Tlsa) => true,
        _ => !matches!(policy.mode(), Some(Mode::Testing | Mode::None)),
    }
}

/// The name of a policy in a sentence.
fn under(policy: &ReportPolicy) -> String {
    let domain = policy.domain.as_deref().unwrap_or("an unnamed domain");
    match &policy.kind {
        Some(ReportPolicyType::Sts) => format!("the MTA-STS policy of {domain}"),
        Some(ReportPolicyType::Tlsa) => format!("the TLSA records of {domain}"),
        Some(ReportPolicyType::NoPolicyFound) => format!("no policy of {domain}"),
        Some(other) => format!("the policy {other} of {domain}"),
        None => format!("a policy of {domain}"),
    }
}

/// The host to look at: the policy host for what is about the policy, else the MX.
fn subject(result: &ResultType, policy: &ReportPolicy, failure: &Failure) -> String {
    let of_policy_host = matches!(
        result,
        ResultType::StsPolicyFetchError
            | ResultType::StsPolicyInvalid
            | ResultType::StsWebpkiInvalid
    );
    let domain = policy.domain.as_deref();
    let subject = match (of_policy_host, domain) {
        (true, Some(domain)) => Some(format!("mta-sts.{domain}")),
        _ => [&failure.receiving_mx, &failure.receiving_ip]
            .into_iter()
            .find_map(|name| name.clone())
            .or_else(|| domain.map(str::to_owned)),
    };
    subject.unwrap_or_else(|| "an unnamed host".to_owned())
}

/// Cause and remedy where it is, or may be, an MX that the policy does not name.
fn outside(report: &Report, policy: &ReportPolicy, failure: &Failure) -> Option<(String, String)> {
    if policy.kind != Some(ReportPolicyType::Sts) {
        return None;
    }
    let mx = failure.receiving_mx.as_deref();
    let host = mx.and_then(|mx| HostName::parse_any_case(mx).ok());
    if let Some(host) = host.filter(|host| policy.covers(host) == Some(false)) {
        return Some((
            format!("the MX {host} matches no mx of the policy that the sender has"),
            format!(
                "add the line mx: {host} to the policy, or take the host out of the domain's MX records"
            ),
        ));
    }
    let has_reason = |word: &str| {
        let reason = failure.reason.as_deref().unwrap_or_default();
        reason.to_ascii_uppercase().contains(word)
    };
    let organization = report.organization.as_deref().unwrap_or_default();
    let is_google = organization.to_ascii_lowercase().contains("google");
    let cause = if has_reason("MX_HOSTS_MISMATCH") {
        "the MX matches no mx of the policy that the sender has: its reason says so"
    } else if is_google && failure.sending_mta_ip.is_none() {
        "most likely the MX matches no mx of the policy: without the address of a sender, that is how Google reports it"
    } else {
        return None;
    };
    Some((cause.to_owned(), OUTSIDE.to_owned()))
}

fn code(issue: &ReportIssue) -> Code {
    match issue {
        ReportIssue::WrongType { .. }
        | ReportIssue::BadValue { .. }
        | ReportIssue::BadName { .. }
        | ReportIssue::BadAddress { .. }
        | ReportIssue::EndBeforeBegin => Code::ReportFieldInvalid,
        ReportIssue::Missing => Code::ReportFieldMissing,
        ReportIssue::Cut { .. } | ReportIssue::TooMany { .. } => Code::ReportCut,
        ReportIssue::UnknownPolicyType { .. } => Code::ReportPolicyTypeUnknown,
        ReportIssue::NumberWritten { .. }
        | ReportIssue::LargeNumber { .. }
        | ReportIssue::NoZone { .. }
        | ReportIssue::NameWritten { .. }
        | ReportIssue::WordWritten { .. }
        | ReportIssue::NotAList { .. }
        | ReportIssue::Joined
        | ReportIssue::MxPrefix
        | ReportIssue::OtherKey { .. }
        | ReportIssue::RepeatedKey
        | ReportIssue::Span { .. } => Code::ReportFieldOdd,
        ReportIssue::UnknownKey => Code::ReportFieldUnknown,
        ReportIssue::SeveralDomains { .. } | ReportIssue::SeveralOfOneKind => {
            Code::ReportPoliciesOverlap
        }
        ReportIssue::CountsDiffer { .. } => Code::ReportCountsDiffer,
        ReportIssue::NotUtf8
        | ReportIssue::RawControl
        | ReportIssue::BadEscape
        | ReportIssue::ByteOrderMark
        | ReportIssue::AfterTheEnd { .. } => Code::ReportJsonOdd,
    }
}
