//! What was seen, as findings of the catalogue. (pure)

use jiff::Timestamp;

use super::history::history;
use super::observe::MxSeen;
use super::own_dns::Led;
use super::report::{Hold, Report};
use super::tls_rpt::TlsRptState;
use crate::api::condition::Reason;
use crate::diagnosis::live::{nearest, tls_findings};
use crate::diagnosis::{Code, Finding, Severity};
use crate::lifecycle::Record;
use crate::lifecycle::observation::{
    AddressState, CertificateProblem, Observation, Public, PublicAnswer, PublicOutcome,
};
use crate::lifecycle::publish::Shown;
use crate::protocol::{Domain, HostName, Mode};

/// All findings about a domain, worst first.
pub(super) fn findings(report: &Report, now: Timestamp) -> Vec<Finding> {
    let mut findings = report.spec_findings.clone();
    if let (Some(domain), Some(record)) = (&report.domain, &report.record) {
        if let Some(seen) = &report.seen {
            host(domain, seen, now, &mut findings);
        }
        findings.extend(history(report, record, now));
        if let Some(mx) = &report.mx {
            coverage(domain, record, mx, &mut findings);
        }
        if let Some(look) = &report.mx_look {
            let mode = record.publication.current.mode;
            findings.extend(tls_findings(domain.as_str(), &look.hosts, mode, now));
        }
    }
    conflicts(report, &mut findings);
    findings.extend(half_delegated(report));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn host(domain: &Domain, seen: &Observation, now: Timestamp, findings: &mut Vec<Finding>) {
    let name = domain.policy_host();
    match &seen.public {
        Public::NotLooked => {}
        Public::LookupFailed(why) => findings.push(
            Finding::new(
                Code::HostUnresolved,
                name.as_str(),
                "the policy host could not be looked up, so nothing is known of it",
            )
            .with_severity(Severity::Unknown)
            .with_evidence(why),
        ),
        Public::NoAddress => findings.push(
            Finding::new(
                Code::HostUnresolved,
                name.as_str(),
                "the policy host has no address: no sender can fetch the policy",
            )
            .with_remedy("publish an address record for it, by spec.hosting.address or by hand"),
        ),
        Public::Answers(answers) => {
            for answer in answers {
                address(&name, answer, now, findings);
            }
        }
    }
}

fn address(name: &HostName, answer: &PublicAnswer, now: Timestamp, findings: &mut Vec<Finding>) {
    let subject = format!("{name} at {}", answer.address);
    match &answer.outcome {
        PublicOutcome::Private => findings.push(
            Finding::new(
                Code::HostPrivateAddress,
                &subject,
                "the address is private: the Internet cannot reach it, and it was not dialled",
            )
            .with_remedy("publish a public address, or start the operator with --allow-target for this network"),
        ),
        PublicOutcome::Unreachable(why) if answer.certificate.is_empty() => findings.push(
            Finding::new(Code::HostUnreachable, &subject, "the policy host does not answer there")
                .with_evidence(why)
                .with_remedy("look at the front that listens on this address, and at the firewall before it"),
        ),
        PublicOutcome::Status { status, location } => findings.push(status_finding(&subject, *status, location.as_deref())),
        PublicOutcome::Body { content_type, cache_seconds, .. } => {
            let plain = content_type.as_deref().is_some_and(|t| t.eq_ignore_ascii_case("text/plain"));
            if !plain {
                findings.push(
                    Finding::new(Code::HostContentType, &subject, "the content type is not text/plain: some senders refuse the policy")
                        .with_evidence(content_type.as_deref().unwrap_or("no Content-Type"))
                        .with_remedy("let the front pass the policy server's headers on"),
                );
            }
            if cache_seconds.is_some() {
                findings.push(
                    Finding::new(Code::HostCached, &subject, "a cache in front answers: an old body can outlive its id")
                        .with_remedy("take the policy host out of the cache"),
                );
            }
        }
        PublicOutcome::Unreachable(_) => {}
    }
    findings.extend(
        answer
            .certificate
            .iter()
            .map(|problem| certificate(&subject, *problem)),
    );
    if let Some((bad, looks)) = answer.inconsistent {
        findings.push(
            Finding::new(
                Code::HostTlsInconsistent,
                &subject,
                "the certificate is wrong in some handshakes only: several servers stand behind this address",
            )
            .with_evidence(&format!("{bad} of {looks} handshakes showed a bad certificate"))
            .with_remedy("look at each replica of the front: one may not have loaded the certificate yet"),
        );
    }
    findings.extend(expiring(&subject, answer, now));
}

fn status_finding(subject: &str, status: u16, location: Option<&str>) -> Finding {
    match location {
        Some(location) if (300..400).contains(&status) => Finding::new(
            Code::HostRedirect,
            subject,
            "the policy host redirects, and senders never follow",
        )
        .with_evidence(&format!("status {status}, Location: {location}"))
        .with_remedy("serve the policy with status 200 at this very URL"),
        _ => Finding::new(Code::HostStatus, subject, "the status is not 200")
            .with_evidence(&format!("status {status}"))
            .with_remedy("look at the front: it must pass the policy host on to the policy server"),
    }
}

fn certificate(subject: &str, problem: CertificateProblem) -> Finding {
    let (code, message, remedy) = match problem {
        CertificateProblem::Expired => (
            Code::HostTlsExpired,
            "the certificate is past its date, or not yet valid",
            "renew the certificate of the policy host (not that of the MX)",
        ),
        CertificateProblem::NameMismatch => (
            Code::HostTlsNameMismatch,
            "the certificate has no SAN for the policy host (a CN does not count)",
            "issue a certificate for exactly this name; a wildcard covers one label only",
        ),
        CertificateProblem::Untrusted => (
            Code::HostTlsUntrusted,
            "the certificate does not chain to a trusted root",
            "use a public CA, or give a private one's certificate to --ca-file",
        ),
        CertificateProblem::IncompleteChain => (
            Code::HostTlsIncompleteChain,
            "the certificate comes alone, and its issuer is no trusted root",
            "let the front send the full chain, or give the root of a private CA to --ca-file",
        ),
        CertificateProblem::Handshake => (
            Code::HostTlsHandshake,
            "TLS could not be set up",
            "let the front offer TLS 1.2 or 1.3 for this name",
        ),
    };
    Finding::new(code, subject, message).with_remedy(remedy)
}

/// Under 14 days left, or under a third of its life: renewal is stuck.
fn expiring(subject: &str, answer: &PublicAnswer, now: Timestamp) -> Option<Finding> {
    let (not_before, not_after) = (answer.not_before?, answer.not_after?);
    if !answer.certificate.is_empty() {
        return None;
    }
    let left = not_after.duration_since(now).as_secs();
    let life = not_after.duration_since(not_before).as_secs();
    let days = left / 86_400;
    (days < 14 || left < life / 3).then(|| {
        Finding::new(
            Code::HostTlsExpiring,
            subject,
            "the certificate ends soon: its renewal seems to be stuck",
        )
        .with_evidence(&format!("valid until {not_after}, {days} days left"))
        .with_remedy("look at what renews it (cert-manager: the Certificate's conditions)")
    })
}

/// Which live MX match no pattern of the policy.
pub(super) fn uncovered<'a>(record: &Record, hosts: &'a [HostName]) -> Vec<&'a HostName> {
    let patterns = &record.publication.current.mx;
    hosts
        .iter()
        .filter(|host| !patterns.iter().any(|pattern| pattern.matches(host)))
        .collect()
}

fn coverage(domain: &Domain, record: &Record, mx: &MxSeen, findings: &mut Vec<Finding>) {
    let mode = record.publication.current.mode;
    match mx {
        MxSeen::Hosts(hosts) => {
            let bare = uncovered(record, hosts);
            let severity = if mode == Mode::Enforce {
                Code::MxUncovered.severities().enforce
            } else {
                Code::MxUncovered.severities().testing
            };
            if !hosts.is_empty() && bare.len() == hosts.len() {
                findings.push(
                    Finding::new(
                        Code::MxAllUncovered,
                        domain.as_str(),
                        "no live MX matches a pattern of the policy: mode enforce would stop all mail",
                    )
                    .with_remedy("write the MX hosts into spec.mx"),
                );
            }
            for host in bare {
                let nearest = nearest(host, &record.publication.current.mx);
                findings.push(
                    Finding::new(
                        Code::MxUncovered,
                        host.as_str(),
                        "this live MX matches no pattern of the policy",
                    )
                    .with_severity(severity)
                    .with_evidence(&nearest)
                    .with_remedy(&format!("add {host} to spec.mx")),
                );
            }
        }
        MxSeen::NoMx => findings.push(Finding::new(
            Code::MxNone,
            domain.as_str(),
            "the domain has no MX: its own address takes the mail",
        )),
        MxSeen::Null => findings.push(Finding::new(
            Code::MxNull,
            domain.as_str(),
            "the domain takes no mail (null MX)",
        )),
        MxSeen::Failed(_) => {}
    }
}

/// Half of what leads to our own name servers is missing, or all of it is though senders may hold a
/// policy. Who has only begun has the condition that says what to set.
fn half_delegated(report: &Report) -> Option<Finding> {
    let own = report.own.as_ref()?;
    let publication = report.record.as_ref().map(|record| &record.publication);
    let shown = report.progress.as_ref().map(|progress| &progress.shown);
    let announced =
        publication.is_some_and(|p| p.announced.is_some()) && shown != Some(&Shown::Yes);
    let no_address = report
        .seen
        .as_ref()
        .is_some_and(|seen| matches!(seen.public, Public::NoAddress));
    let ((name, type_, value), found) = match (&own.txt, &own.host) {
        (Led::Elsewhere(Some(target)), _) => (
            own.txt_record(),
            format!("it is an alias of {target}, which is not where the record is"),
        ),
        (Led::Elsewhere(None), Led::Elsewhere(_)) if announced => (
            own.txt_record(),
            "it led to this operator's name servers and does no longer".to_owned(),
        ),
        (Led::Elsewhere(None), Led::Alias | Led::Delegated) => (
            own.txt_record(),
            "the policy host leads to this operator and this name does not: half a delegation"
                .to_owned(),
        ),
        (Led::Alias | Led::Delegated, Led::Elsewhere(_)) if no_address => (
            own.host_record(),
            "the TXT record leads to this operator and the policy host has no address: half a delegation".to_owned(),
        ),
        _ => {
            let reports = report.tls_rpt.as_ref()?;
            let own = reports.own.as_ref()?;
            // Who has only begun has the condition that says what to set.
            if reports.state != TlsRptState::Manual || !report.own.as_ref()?.txt.is_here() {
                return None;
            }
            let found = match &own.led {
                Led::Elsewhere(Some(target)) => {
                    format!("it is an alias of {target}, which is not where the record is")
                }
                _ => "_mta-sts leads to this operator and this name does not, so that senders are not asked for reports: half a delegation".to_owned(),
            };
            (own.record.clone(), found)
        }
    };
    Some(
        Finding::new(Code::RecordDelegationBroken, &name, &found)
            .with_remedy(&format!("set {name}. {type_} {value}.")),
    )
}

fn conflicts(report: &Report, findings: &mut Vec<Finding>) {
    let Some(domain) = &report.domain else {
        return;
    };
    match &report.hold {
        Some(Hold::Foreign(found)) => findings.push(
            Finding::new(
                Code::DnsConflict,
                &domain.sts_record_name(),
                "a TXT record that this operator did not write stands where ours belongs",
            )
            .with_evidence(found)
            .with_remedy("remove it, or set spec.dns.adopt: true to take it over"),
        ),
        Some(Hold::Drift(found)) => findings.push(
            Finding::new(
                Code::DnsConflict,
                &domain.sts_record_name(),
                "somebody else changes the TXT record again and again, and it is no longer repaired",
            )
            .with_evidence(found)
            .with_remedy("find the other writer: a second operator, external-dns, a zone file"),
        ),
        Some(Hold::WildcardShadowed(mx)) => findings.push(
            Finding::new(
                Code::MxWildcardShadowed,
                domain.as_str(),
                "the domain's MX comes from a wildcard, which a record below the domain would hide: its mail would stop",
            )
            .with_evidence(&mx.join(", "))
            .with_remedy("add explicit MX records for the domain first"),
        ),
        _ => {}
    }
    if let Some(AddressState::Foreign(found)) = report.seen.as_ref().map(|seen| &seen.address) {
        findings.push(
            Finding::new(
                Code::DnsConflict,
                domain.policy_host().as_str(),
                "an address record that this operator did not write stands where ours belongs",
            )
            .with_evidence(found)
            .with_remedy("remove it, set spec.dns.adopt: true to take it over, or spec.hosting.address.none: {} to keep it"),
        );
    }
    let conflict = report
        .rejected
        .as_ref()
        .filter(|r| r.reason == Reason::DomainConflict);
    if let Some(rejected) = conflict {
        findings.push(Finding::new(
            Code::DomainConflict,
            domain.as_str(),
            &rejected.message,
        ));
    }
}
