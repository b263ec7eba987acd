//! The mail exchangers: whether the policy names them, and whether their TLS is what it asks for.

use jiff::Timestamp;

use super::host::told;
use super::{DomainSeen, MxHostSeen, MxSeen, SmtpSeen, TlsFault, expiring, fault_words};
use crate::diagnosis::{Code, Finding, Severity};
use crate::protocol::{HostName, Mode, MxPattern, MxPreset, Policy};

pub(super) fn findings(
    seen: &DomainSeen,
    policy: Option<&Policy>,
    mode: Mode,
    now: Timestamp,
) -> Vec<Finding> {
    let domain = seen.domain.as_str();
    let one = |code, message: &str| vec![Finding::new(code, domain, message)];
    let hosts = match &seen.mx {
        MxSeen::Failed(why) => {
            let message = "the MX records could not be looked up, so nothing is known of them";
            let found = Finding::new(Code::MxNone, domain, message).with_evidence(why);
            return vec![found.with_severity(Severity::Unknown)];
        }
        MxSeen::None => {
            return one(
                Code::MxNone,
                "the domain has no MX: its own address takes the mail",
            );
        }
        MxSeen::Null => return one(Code::MxNull, "the domain takes no mail (null MX)"),
        MxSeen::Hosts(hosts) => hosts,
    };
    let mut findings = Vec::new();
    if let Some(policy) = policy {
        findings.extend(coverage(domain, hosts, policy));
    }
    findings.extend(tls_findings(domain, hosts, mode, now));
    findings
}

/// Which MX hosts the policy names, and which of its patterns none needs.
fn coverage(domain: &str, hosts: &[MxHostSeen], policy: &Policy) -> Vec<Finding> {
    let named: Vec<HostName> = hosts
        .iter()
        .filter_map(|host| HostName::parse_any_case(&host.host).ok())
        .collect();
    let covers = |host: &&HostName| policy.mx.iter().any(|pattern| pattern.matches(host));
    let bare: Vec<&HostName> = named.iter().filter(|host| !covers(host)).collect();
    if policy.mode == Mode::None {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if !named.is_empty() && bare.len() == named.len() {
        let message = "no MX matches a pattern of the policy: mode enforce stops all mail";
        let found = Finding::new(Code::MxAllUncovered, domain, message);
        findings.push(found.with_remedy("write the MX hosts into the mx lines of the policy"));
    }
    for host in bare {
        let message = "this MX matches no pattern of the policy";
        findings.push(
            Finding::new(Code::MxUncovered, host.as_str(), message)
                .with_severity(severity(Code::MxUncovered, policy.mode))
                .with_evidence(&nearest(host, &policy.mx))
                .with_remedy(&line_for(host)),
        );
    }
    // A provider moves its customers from one of its MX hosts to another, and tells nobody.
    let providers = providers(&named);
    let is_used = |pattern: &&MxPattern| {
        named.iter().any(|host| pattern.matches(host)) || providers.contains(pattern)
    };
    for pattern in policy.mx.iter().filter(|pattern| !is_used(pattern)) {
        let message = "no MX matches this pattern of the policy";
        let found = Finding::new(Code::MxPatternUnused, &pattern.to_string(), message);
        findings.push(found.with_remedy("take it out, unless an MX is about to move there"));
    }
    findings
}

/// The patterns of all mail providers to which one of the hosts belongs.
fn providers(hosts: &[HostName]) -> Vec<MxPattern> {
    let patterns = MxPreset::all().map(MxPreset::patterns);
    let has_one = |patterns: &Vec<MxPattern>| {
        let of_provider = |host: &HostName| patterns.iter().any(|it| it.matches(host));
        hosts.iter().any(of_provider)
    };
    patterns.filter(has_one).flatten().collect()
}

/// The line that the policy lacks. Of a known provider it is the one that fits all of its customers.
fn line_for(host: &HostName) -> String {
    let provider = MxPreset::all().find_map(|preset| {
        let pattern = preset.patterns().into_iter().find(|it| it.matches(host))?;
        Some((preset.name(), pattern))
    });
    match provider {
        Some((name, pattern)) => format!(
            "add the line mx: {pattern} to the policy, and change its id; the preset {name} of mta-sts generate and of the operator has all lines for this provider"
        ),
        None => format!("add the line mx: {host} to the policy, and change its id"),
    }
}

/// The pattern that comes nearest to the host, and why it does not match.
pub fn nearest(host: &HostName, patterns: &[MxPattern]) -> String {
    let shared = |pattern: &MxPattern| {
        let ours = host.labels().rev();
        let theirs = pattern.host().labels().rev();
        ours.zip(theirs).take_while(|(a, b)| a == b).count()
    };
    match patterns.iter().max_by_key(|pattern| shared(pattern)) {
        Some(pattern) if pattern.is_wildcard() && host.is_below(pattern.host()) => {
            let labels: Vec<&str> = host.labels().skip(1).collect();
            let fits = format!("*.{}", labels.join("."));
            format!(
                "the nearest pattern is {pattern}, whose * stands for exactly one label; {fits} would match"
            )
        }
        Some(pattern) => format!("the nearest pattern is {pattern}"),
        None => "the policy has no pattern".to_owned(),
    }
}

fn severity(code: Code, mode: Mode) -> Severity {
    let severities = code.severities();
    match mode {
        Mode::Enforce => severities.enforce,
        Mode::Testing | Mode::None => severities.testing,
    }
}

fn is_silent(host: &MxHostSeen) -> bool {
    matches!(host.smtp, SmtpSeen::Unreachable(_))
}

/// Where port 25 answers nowhere, it is most likely this network that keeps it shut: said once.
fn silent(domain: &str, hosts: &[MxHostSeen]) -> Option<Finding> {
    let asked = hosts.iter().filter(|host| host.smtp != SmtpSeen::NotAsked);
    let SmtpSeen::Unreachable(why) = &hosts.iter().find(|host| is_silent(host))?.smtp else {
        return None;
    };
    asked.clone().all(is_silent).then(|| {
        let cause = "many networks let no outgoing mail through";
        nowhere(domain, asked.count(), cause)
            .with_evidence(why)
            .with_remedy("run this where port 25 is open, or with --smtp off")
    })
}

/// No MX host answers on port 25, and what may be the cause.
pub(super) fn nowhere(subject: &str, hosts: usize, cause: &str) -> Finding {
    let message = format!(
        "port 25 answers at none of {hosts} MX hosts, so nothing is known of their TLS: {cause}"
    );
    Finding::new(Code::MxUnreachable, subject, &message)
}

fn of_host(seen: &MxHostSeen, mode: Mode, all: &[MxHostSeen], now: Timestamp) -> Vec<Finding> {
    let finding = |code, message: &str| {
        Finding::new(code, &seen.host, message).with_severity(severity(code, mode))
    };
    match &seen.addresses {
        Ok(addresses) if addresses.is_empty() => {
            let found = finding(Code::MxUnresolved, "this MX host has no address");
            return vec![found.with_remedy("give it an address, or take it out of the MX records")];
        }
        Err(why) => {
            let message = "this MX host could not be looked up, so nothing is known of it";
            let found = finding(Code::MxUnresolved, message).with_evidence(why);
            return vec![found.with_severity(Severity::Unknown)];
        }
        Ok(_) => {}
    }
    match &seen.smtp {
        SmtpSeen::NotAsked => Vec::new(),
        SmtpSeen::Private(kind) => {
            let message = "this MX host has a private address, and was not dialled";
            vec![finding(Code::MxPrivateAddress, message).with_evidence(kind)]
        }
        SmtpSeen::Unreachable(_) if all.iter().all(is_silent) => Vec::new(),
        SmtpSeen::Unreachable(why) => {
            let message = "port 25 does not answer there, so nothing is known of its TLS";
            vec![finding(Code::MxUnreachable, message).with_evidence(why)]
        }
        SmtpSeen::NoStartTls(said) => {
            let found = finding(
                Code::MxStarttlsMissing,
                "this MX offers no STARTTLS that works",
            );
            let found = found.with_evidence(said);
            vec![
                found.with_remedy(
                    "switch STARTTLS on, and mail inspection off at firewalls before it",
                ),
            ]
        }
        SmtpSeen::Tls(tls) => of_tls(seen, tls, mode, now),
    }
}

/// What a sender in mode enforce would refuse an MX host for; `None` also where nothing is known.
pub fn tls_trouble(seen: &MxHostSeen) -> Option<String> {
    match &seen.smtp {
        SmtpSeen::NoStartTls(said) => Some(format!("it offers no STARTTLS that works ({said})")),
        SmtpSeen::Tls(tls) => {
            let host = HostName::parse_any_case(&seen.host).ok()?;
            let (words, evidence) = fault_words(tls.faults.first()?, &host);
            Some(match evidence {
                Some(evidence) => format!("{words} ({evidence})"),
                None => words.to_owned(),
            })
        }
        SmtpSeen::NotAsked | SmtpSeen::Private(_) | SmtpSeen::Unreachable(_) => None,
    }
}

/// The findings about addresses, port 25 and TLS of MX hosts.
pub fn tls_findings(
    domain: &str,
    hosts: &[MxHostSeen],
    mode: Mode,
    now: Timestamp,
) -> Vec<Finding> {
    let each = hosts
        .iter()
        .flat_map(|host| of_host(host, mode, hosts, now));
    silent(domain, hosts).into_iter().chain(each).collect()
}

fn of_tls(seen: &MxHostSeen, tls: &super::TlsSeen, mode: Mode, now: Timestamp) -> Vec<Finding> {
    let Ok(host) = HostName::parse_any_case(&seen.host) else {
        return Vec::new();
    };
    let mut findings: Vec<Finding> = tls
        .faults
        .iter()
        .map(|fault| {
            let (code, remedy) = match fault {
                TlsFault::Expired => (Code::MxTlsExpired, "renew the certificate of this MX"),
                TlsFault::NameMismatch(_) => (
                    Code::MxTlsNameMismatch,
                    "get a certificate with the name of the MX host, not of the mail domain",
                ),
                TlsFault::Untrusted => (Code::MxTlsUntrusted, "use a certificate of a public CA"),
                TlsFault::IncompleteChain(_) => {
                    (Code::MxTlsIncompleteChain, "let the MX send the full chain")
                }
                TlsFault::Version => (Code::MxTlsVersion, "switch TLS 1.2 or 1.3 on"),
                TlsFault::Handshake(_) => (
                    Code::MxStarttlsMissing,
                    "look at the TLS settings of the MX",
                ),
            };
            told(code, &seen.host, fault, &host)
                .with_severity(severity(code, mode))
                .with_remedy(remedy)
        })
        .collect();
    findings.extend(expiring(tls, now).map(|left| {
        let message = "the certificate ends soon: its renewal seems to be stuck";
        let found = Finding::new(Code::MxTlsExpiring, &seen.host, message);
        found
            .with_evidence(&left)
            .with_remedy("look at what renews it")
    }));
    findings
}
