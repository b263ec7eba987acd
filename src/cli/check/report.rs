//! What `mta-sts check` writes: one domain in detail, several as a table, JSON for scripts.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::{CheckArgs, Smtp};
use crate::cli::findings_output::{self, Format, Group, Of};
use crate::cli::output::{self, Streams};
use crate::cli::words::{counted, duration};
use crate::diagnosis::live::{
    AddressSeen, DomainSeen, HostSeen, Judged, MxHostSeen, MxSeen, Outcome, SmtpSeen, TxtSeen,
};
use crate::diagnosis::{Code, Finding, Severity, printable};
use crate::protocol::{HostName, Policy};

/// Name and version of the JSON document.
const SCHEMA: &str = "mta-sts.check/1";

/// What a run has seen.
pub(super) struct Looked {
    /// The domains, in the order in which they were given.
    pub(super) domains: Vec<Checked>,
    /// What holds for the run as a whole.
    pub(super) findings: Vec<Finding>,
}

/// A domain that was looked at.
pub(super) struct Checked {
    pub(super) seen: DomainSeen,
    pub(super) judged: Judged,
}

/// One word for a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    Warning,
    Error,
    Unknown,
}

impl Checked {
    /// The worst that was found. That port 25 answers nowhere counts only where it is required.
    pub(super) fn verdict(&self, smtp: Smtp) -> Verdict {
        let has = |severity: Severity| {
            let of = |finding: &&Finding| finding.severity == severity;
            let counts =
                |finding: &&Finding| smtp == Smtp::Required || finding.code != Code::MxUnreachable;
            self.judged.findings.iter().filter(counts).any(|it| of(&it))
        };
        if has(Severity::Error) {
            Verdict::Error
        } else if has(Severity::Unknown) {
            Verdict::Unknown
        } else if has(Severity::Warning) {
            Verdict::Warning
        } else {
            Verdict::Ok
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    domains: Vec<DomainShown<'a>>,
    /// What holds for the run as a whole.
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct DomainShown<'a> {
    domain: &'a str,
    verdict: Verdict,
    policy: Option<PolicyShown>,
    record: Option<RecordShown>,
    host: HostShown,
    mx: Vec<MxShown>,
    findings: &'a [Finding],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyShown {
    mode: &'static str,
    max_age_seconds: u32,
    mx: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordShown {
    id: String,
    ttl_seconds: u32,
}

#[derive(Serialize)]
struct HostShown {
    name: String,
    addresses: Vec<AddressShown>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AddressShown {
    address: String,
    status: Option<u16>,
    error: Option<String>,
    certificate_until: Option<Timestamp>,
    milliseconds: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MxShown {
    preference: u16,
    host: String,
    /// Whether the policy names it; null without a policy.
    covered: Option<bool>,
    /// Whether STARTTLS came about; null where nobody could or should ask.
    starttls: Option<bool>,
    certificate_until: Option<Timestamp>,
}

/// Writes all of it.
pub(super) fn show(args: &CheckArgs, looked: &Looked, streams: &mut Streams<'_>) -> io::Result<()> {
    let colour = args.shown.colour.on(streams.terminal);
    let out = &mut *streams.stdout;
    let document = || Document {
        schema: SCHEMA,
        domains: looked
            .domains
            .iter()
            .map(|it| it.shown(args.smtp))
            .collect(),
        findings: &looked.findings,
    };
    if args.watch && streams.terminal && args.shown.output == Format::Text {
        output::clear(out)?;
    }
    match (args.shown.output, looked.domains.as_slice()) {
        (Format::Json, _) if args.watch => output::json_line(out, &document()),
        (Format::Json, _) => output::json(out, &document()),
        (Format::Sarif, _) => findings_output::sarif(out, Of::Domains, &groups(looked)),
        (Format::Junit, _) => findings_output::junit(out, "check", &groups(looked), |it| {
            args.fail_on.is_met_by(std::slice::from_ref(it))
        }),
        (Format::Text, [one]) => detail(out, one, colour),
        (Format::Text, several) => {
            table(out, args, several, colour)?;
            let mut findings = looked.findings.iter();
            findings.try_for_each(|finding| output::finding(out, finding, colour))
        }
    }?;
    out.flush()
}

/// The domains, and the run itself if there is something to say of it.
fn groups(looked: &Looked) -> Vec<Group<'_>> {
    let domains = looked.domains.iter().map(|checked| Group {
        name: checked.seen.domain.as_str(),
        findings: &checked.judged.findings,
    });
    let run = (!looked.findings.is_empty()).then_some(Group {
        name: "all domains",
        findings: &looked.findings,
    });
    domains.chain(run).collect()
}

impl Checked {
    fn shown(&self, smtp: Smtp) -> DomainShown<'_> {
        let policy = self.judged.policy.as_ref();
        DomainShown {
            domain: self.seen.domain.as_str(),
            verdict: self.verdict(smtp),
            policy: policy.map(|policy| PolicyShown {
                mode: policy.mode.as_str(),
                max_age_seconds: policy.max_age.seconds(),
                mx: policy.mx.iter().map(ToString::to_string).collect(),
            }),
            record: self.judged.record.as_ref().map(|record| RecordShown {
                id: record.id.to_string(),
                ttl_seconds: match &self.seen.record {
                    TxtSeen::Texts(_, ttl) => *ttl,
                    TxtSeen::Failed(_) => 0,
                },
            }),
            host: host_shown(&self.seen),
            mx: mx_hosts(&self.seen)
                .iter()
                .map(|host| mx_shown(host, policy))
                .collect(),
            findings: &self.judged.findings,
        }
    }
}

pub(super) fn mx_hosts(seen: &DomainSeen) -> &[MxHostSeen] {
    match &seen.mx {
        MxSeen::Hosts(hosts) => hosts,
        _ => &[],
    }
}

pub(super) fn addresses(seen: &DomainSeen) -> &[AddressSeen] {
    match &seen.host {
        HostSeen::Addresses(addresses) => addresses,
        HostSeen::Failed(_) => &[],
    }
}

fn host_shown(seen: &DomainSeen) -> HostShown {
    let shown = addresses(seen).iter().map(|it| {
        let (status, error) = match &it.outcome {
            Outcome::Response { status, .. } => (Some(*status), None),
            Outcome::Private(why) | Outcome::Failed(why) => (None, Some(why.clone())),
        };
        AddressShown {
            address: it.address.to_string(),
            status,
            error,
            certificate_until: it
                .tls
                .as_ref()
                .and_then(|tls| tls.validity)
                .map(|(_, end)| end),
            milliseconds: u64::try_from(it.elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    });
    HostShown {
        name: seen.domain.policy_host().to_string(),
        addresses: shown.collect(),
    }
}

fn mx_shown(seen: &MxHostSeen, policy: Option<&Policy>) -> MxShown {
    let (starttls, certificate_until) = match &seen.smtp {
        SmtpSeen::Tls(tls) => (Some(true), tls.validity.map(|(_, end)| end)),
        SmtpSeen::NoStartTls(_) => (Some(false), None),
        _ => (None, None),
    };
    MxShown {
        preference: seen.preference,
        host: seen.host.clone(),
        covered: policy.map(|policy| is_covered(&seen.host, policy)),
        starttls,
        certificate_until,
    }
}

fn is_covered(host: &str, policy: &Policy) -> bool {
    let host = HostName::parse_any_case(host);
    host.is_ok_and(|host| policy.mx.iter().any(|pattern| pattern.matches(&host)))
}

/// One domain: what is published, then what was found.
fn detail(out: &mut dyn Write, checked: &Checked, colour: bool) -> io::Result<()> {
    let (seen, judged) = (&checked.seen, &checked.judged);
    writeln!(out, "{}", seen.domain)?;
    match (&judged.record, &seen.record) {
        (Some(record), _) => writeln!(out, "  record   id {}", printable(&record.id.to_string()))?,
        (None, TxtSeen::Texts(texts, _)) if texts.is_empty() => writeln!(out, "  record   none")?,
        (None, _) => writeln!(out, "  record   none that counts")?,
    }
    match &judged.policy {
        Some(policy) => {
            let age = duration(policy.max_age.seconds().into());
            writeln!(out, "  policy   {}, kept for {age}", policy.mode)?;
            for pattern in &policy.mx {
                writeln!(out, "           mx: {pattern}")?;
            }
        }
        None => writeln!(out, "  policy   none that counts")?,
    }
    for host in mx_hosts(seen) {
        let covered = match judged
            .policy
            .as_ref()
            .map(|policy| is_covered(&host.host, policy))
        {
            Some(true) => "named by the policy",
            Some(false) => "not named by the policy",
            None => "no policy names it",
        };
        let tls = match &host.smtp {
            SmtpSeen::Tls(tls) if tls.faults.is_empty() => ", TLS with a valid certificate",
            SmtpSeen::Tls(_) => ", TLS that a sender refuses",
            SmtpSeen::NoStartTls(_) => ", no TLS",
            _ => "",
        };
        let name = printable(&host.host);
        writeln!(out, "  mx       {} {name}: {covered}{tls}", host.preference)?;
    }
    match judged.findings.len() {
        0 => writeln!(out, "nothing found"),
        count => {
            writeln!(out, "{}", counted(count, "finding"))?;
            let mut findings = judged.findings.iter();
            findings.try_for_each(|finding| output::finding(out, finding, colour))
        }
    }
}

/// Several domains: a line each, with the worst finding.
fn table(
    out: &mut dyn Write,
    args: &CheckArgs,
    checked: &[Checked],
    colour: bool,
) -> io::Result<()> {
    let domains = checked.iter().map(|it| it.seen.domain.as_str().len());
    let width = domains.max().unwrap_or(0).max("DOMAIN".len());
    writeln!(out, "{:width$}  VERDICT  MODE     WORST FINDING", "DOMAIN")?;
    for one in checked {
        let (word, severity) = match one.verdict(args.smtp) {
            Verdict::Ok => ("ok", None),
            Verdict::Warning => ("warning", Some(Severity::Warning)),
            Verdict::Error => ("error", Some(Severity::Error)),
            Verdict::Unknown => ("unknown", Some(Severity::Unknown)),
        };
        let verdict = format!("{word:7}");
        let verdict = severity.map_or(verdict.clone(), |it| output::painted(&verdict, it, colour));
        let mode = one
            .judged
            .policy
            .as_ref()
            .map_or("-", |policy| policy.mode.as_str());
        let worst = one.judged.findings.first().filter(|_| word != "ok");
        let worst = worst.map_or_else(String::new, |finding| {
            format!("{}  {}", finding.code, printable(&finding.subject))
        });
        let line = format!(
            "{:width$}  {verdict}  {mode:7}  {worst}",
            one.seen.domain.as_str()
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
