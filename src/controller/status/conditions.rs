//! The conditions that a report makes. (pure)

use jiff::Timestamp;

use super::super::findings::uncovered;
use super::super::observe::MxSeen;
use super::super::own_dns::written;
use super::super::report::{Hold, Report};
use super::super::rollout::RolloutReport;
use super::super::tls_rpt::{TlsRptReport, TlsRptState};
use super::find;
use super::words::{certificate_problem, enforce_held, not_served, on_stage, published};
use crate::api::condition::Reason;
use crate::api::{ConditionStatus, ConditionType, MtaStsPolicyStatus};
use crate::diagnosis::live::{MxHostSeen, SmtpSeen, tls_trouble};
use crate::diagnosis::{Code, Finding, Severity};
use crate::lifecycle::Record;
use crate::lifecycle::observation::Public;
use crate::lifecycle::publish::{Served, Shown};
use crate::limits;

/// One condition before it has its times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    pub(super) type_: ConditionType,
    pub(super) status: ConditionStatus,
    /// Of [`Reason`], or for Healthy the finding's code.
    pub(super) reason: String,
    pub(super) message: String,
}

pub(super) fn verdicts(
    known: Option<&MtaStsPolicyStatus>,
    report: &Report,
    found: &[Finding],
    now: Timestamp,
) -> Vec<Verdict> {
    let mut verdicts = vec![accepted(report)];
    if report.rejected.is_some() {
        // What was published stays as it was; it is not looked at until the object is accepted.
        verdicts.extend(not_looked_at());
    } else {
        verdicts.extend([
            policy_served(report),
            certificate(report, found),
            dns_published(report),
            mx_covered(report),
            mx_tls_valid(report),
            tls_reporting(report),
        ]);
    }
    let ready = ready(known, report, &verdicts, now);
    verdicts.push(ready.clone());
    verdicts.push(healthy(report, found));
    verdicts.extend(progress(report, &ready));
    verdicts
}

fn verdict(
    type_: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: impl Into<String>,
) -> Verdict {
    let mut message = message.into();
    if message.chars().count() > 4 * limits::SHOWN_TEXT {
        message = message.chars().take(4 * limits::SHOWN_TEXT).collect();
    }
    Verdict {
        type_,
        status,
        reason: reason.to_string(),
        message,
    }
}

fn accepted(report: &Report) -> Verdict {
    match &report.rejected {
        None => verdict(
            ConditionType::Accepted,
            ConditionStatus::True,
            Reason::Accepted,
            "the spec is valid and this object owns the domain",
        ),
        Some(rejected) => verdict(
            ConditionType::Accepted,
            ConditionStatus::False,
            rejected.reason,
            &rejected.message,
        ),
    }
}

fn not_looked_at() -> impl Iterator<Item = Verdict> {
    [
        ConditionType::PolicyServed,
        ConditionType::CertificateValid,
        ConditionType::DnsPublished,
        ConditionType::MxCovered,
        ConditionType::MxTlsValid,
        ConditionType::TlsReporting,
    ]
    .into_iter()
    .map(|type_| {
        verdict(
            type_,
            ConditionStatus::Unknown,
            Reason::NotAccepted,
            "not looked at until Accepted is True; what was published stays as it is",
        )
    })
}

fn policy_served(report: &Report) -> Verdict {
    let of = |status, reason, message: String| {
        verdict(ConditionType::PolicyServed, status, reason, message)
    };
    let served = report.progress.as_ref().map(|progress| &progress.served);
    if let Some(missing) = &report.way_in {
        let refused = matches!(
            missing.reason,
            Reason::IngressRefused | Reason::RouteRefused
        );
        // The bytes at the public URL decide, whatever a Gateway says of itself.
        if refused || served != Some(&Served::Yes) {
            return of(
                ConditionStatus::False,
                missing.reason,
                missing.message.clone(),
            );
        }
    }
    match report.progress.as_ref().map(|progress| &progress.served) {
        None => of(
            ConditionStatus::Unknown,
            Reason::Pending,
            "not yet looked at".to_owned(),
        ),
        Some(Served::Yes) => of(
            ConditionStatus::True,
            Reason::Served,
            "every policy server and the public URL return the exact bytes".to_owned(),
        ),
        Some(Served::No(why)) => {
            let (reason, message) = not_served(why);
            match &report.rival {
                Some(rival) if reason == Reason::WrongBody || reason == Reason::WrongStatus => of(
                    ConditionStatus::False,
                    Reason::HostTaken,
                    format!(
                        "the {rival} has the policy host as well, and {message}; remove the host from it"
                    ),
                ),
                _ => {
                    let to_set = report
                        .own
                        .as_ref()
                        .filter(|own| reason == Reason::HostUnresolved && !own.host.is_here());
                    let message = match to_set {
                        Some(own) => format!("{message}: set {}", written(&own.host_record())),
                        None => message,
                    };
                    of(ConditionStatus::False, reason, message)
                }
            }
        }
    }
}

fn certificate(report: &Report, found: &[Finding]) -> Verdict {
    let of = |status, reason, message: String| {
        verdict(ConditionType::CertificateValid, status, reason, message)
    };
    let answers = match report.seen.as_ref().map(|seen| &seen.public) {
        Some(Public::Answers(answers)) => answers,
        Some(Public::NotLooked) => {
            return of(
                ConditionStatus::Unknown,
                Reason::NotChecked,
                "the operator runs with --public-gate=InCluster".to_owned(),
            );
        }
        _ => {
            return of(
                ConditionStatus::Unknown,
                Reason::Pending,
                "the policy host could not be asked yet".to_owned(),
            );
        }
    };
    for answer in answers {
        if let Some(problem) = answer.certificate.iter().min() {
            let (reason, message) = certificate_problem(*problem);
            return of(
                ConditionStatus::False,
                reason,
                format!("{}: {message}", answer.address),
            );
        }
        if answer.not_after.is_none() {
            return of(
                ConditionStatus::Unknown,
                Reason::Pending,
                format!("{} showed no certificate", answer.address),
            );
        }
    }
    let until = answers.iter().filter_map(|a| a.not_after).min();
    let until = until
        .map(|until| format!("valid until {until}"))
        .unwrap_or_default();
    let expiring = Code::HostTlsExpiring;
    if found.iter().any(|finding| finding.code == expiring) {
        return of(
            ConditionStatus::True,
            Reason::Expiring,
            format!("{until}: its renewal seems to be stuck"),
        );
    }
    of(ConditionStatus::True, Reason::Valid, until)
}

fn dns_published(report: &Report) -> Verdict {
    let of = |status, reason, message: String| {
        verdict(ConditionType::DnsPublished, status, reason, message)
    };
    let no = ConditionStatus::False;
    let shown = report.progress.as_ref().map(|progress| &progress.shown);
    let announced = report.record.as_ref().is_some_and(is_announced);
    let confirmed = report.record.as_ref().is_some_and(is_confirmed);
    match (&report.hold, shown) {
        // A provider that is down takes nothing away from what all servers show.
        (Some(Hold::Provider { .. }) | None, Some(Shown::Yes)) if confirmed => of(
            ConditionStatus::True,
            Reason::Published,
            "every authoritative server shows the record".to_owned(),
        ),
        (Some(hold), _) => held(hold, report),
        (None, shown) if announced && shown != Some(&Shown::Yes) && report.waits_for.is_some() => {
            let message = report.waits_for.clone().unwrap_or_default();
            of(no, Reason::WaitingForExternalDns, message)
        }
        (None, Some(Shown::Foreign(found))) if report.manual && announced => of(
            no,
            Reason::ManualActionNeeded,
            format!(
                "there is no DNS provider: replace \"{found}\" by the record of status.dns.records, by hand"
            ),
        ),
        (None, Some(Shown::Foreign(found))) => foreign(report, found),
        (None, _) if !announced => of(
            no,
            Reason::WaitingForHost,
            "the id follows once the body is proved to be out: see PolicyServed".to_owned(),
        ),
        (None, Some(Shown::Yes)) => of(
            no,
            Reason::Pending,
            "every authoritative server shows the record; that is about to be noted".to_owned(),
        ),
        (None, _) if report.manual => of(
            no,
            Reason::ManualActionNeeded,
            "there is no DNS provider: set the records of status.dns.records by hand".to_owned(),
        ),
        (None, Some(Shown::Differs(servers))) => of(
            no,
            Reason::ServersDiffer,
            format!("not yet shown by {}", servers.join(", ")),
        ),
        (None, Some(Shown::Unknown(why))) => of(
            ConditionStatus::Unknown,
            Reason::LookupFailed,
            format!("the authoritative servers could not be asked: {why}"),
        ),
        (None, _) => of(no, Reason::Pending, "not yet written".to_owned()),
    }
}

/// Before that nobody can say from when on senders follow.
fn is_confirmed(record: &Record) -> bool {
    let announced = record.publication.announced.as_ref();
    is_announced(record) && announced.is_some_and(|announced| announced.confirmed_at.is_some())
}

fn is_announced(record: &Record) -> bool {
    let publication = &record.publication;
    publication
        .announced
        .as_ref()
        .is_some_and(|announced| announced.id == publication.current.id)
}

fn foreign(report: &Report, found: &str) -> Verdict {
    let name = report.txt_name.as_deref().unwrap_or("the record's name");
    verdict(
        ConditionType::DnsPublished,
        ConditionStatus::False,
        Reason::Foreign,
        format!(
            "{name} has a TXT record that this operator did not write: \"{found}\"; remove it, or set spec.dns.adopt: true to take it over"
        ),
    )
}

fn held(hold: &Hold, report: &Report) -> Verdict {
    let (reason, message) = match hold {
        Hold::Foreign(found) => return foreign(report, found),
        Hold::WildcardShadowed(mx) => (
            Reason::WildcardShadowed,
            format!(
                "the domain's MX comes from a wildcard, which any record below the domain would hide, so that its mail stops: add explicit MX records for the domain first ({})",
                mx.join(", ")
            ),
        ),
        Hold::Provider {
            reason, message, ..
        } => (*reason, message.clone()),
        Hold::NotLed(message) => (Reason::NotDelegated, message.clone()),
        Hold::Drift(found) => (
            Reason::DriftRepeated,
            format!(
                "somebody else changes the record again and again (now: {found}); it was repaired twice within the hour: find the other writer (a second operator, external-dns, a zone file)"
            ),
        ),
    };
    verdict(
        ConditionType::DnsPublished,
        ConditionStatus::False,
        reason,
        message,
    )
}

fn mx_covered(report: &Report) -> Verdict {
    let of = |status, reason, message: String| {
        verdict(ConditionType::MxCovered, status, reason, message)
    };
    let (Some(mx), Some(record)) = (&report.mx, &report.record) else {
        return of(
            ConditionStatus::Unknown,
            Reason::Pending,
            "not yet looked at".to_owned(),
        );
    };
    match mx {
        MxSeen::Hosts(hosts) => match uncovered(record, hosts).as_slice() {
            [] => of(
                ConditionStatus::True,
                Reason::Covered,
                format!("all {} live MX hosts match a pattern", hosts.len()),
            ),
            bare => {
                let names: Vec<&str> = bare.iter().map(|host| host.as_str()).collect();
                of(
                    ConditionStatus::False,
                    Reason::Uncovered,
                    format!(
                        "no pattern matches {}: add it to spec.mx, or take it out of the MX records",
                        names.join(", ")
                    ),
                )
            }
        },
        MxSeen::NoMx => of(
            ConditionStatus::Unknown,
            Reason::NoMx,
            "the domain has no MX record; its own address takes the mail".to_owned(),
        ),
        MxSeen::Null => of(
            ConditionStatus::True,
            Reason::NullMx,
            "the domain takes no mail (null MX)".to_owned(),
        ),
        MxSeen::Failed(why) => of(
            ConditionStatus::Unknown,
            Reason::LookupFailed,
            format!("the MX records could not be looked up: {why}"),
        ),
    }
}

fn mx_tls_valid(report: &Report) -> Verdict {
    let of = |status, reason, message: String| {
        verdict(ConditionType::MxTlsValid, status, reason, message)
    };
    let unknown = ConditionStatus::Unknown;
    match (&report.mx, &report.mx_look) {
        (Some(MxSeen::Null), _) => of(
            ConditionStatus::True,
            Reason::NullMx,
            "the domain takes no mail (null MX)".to_owned(),
        ),
        (Some(MxSeen::Failed(why)), _) => of(
            unknown,
            Reason::LookupFailed,
            format!("the MX records could not be looked up: {why}"),
        ),
        (Some(_), Some(look)) if !look.hosts.is_empty() => {
            let (status, reason, message) = mx_tls(&look.hosts);
            of(status, reason, message)
        }
        (Some(MxSeen::Hosts(_)), Some(look)) if !look.pending => of(
            unknown,
            Reason::NotChecked,
            "the operator runs with --smtp=Never".to_owned(),
        ),
        (Some(MxSeen::NoMx), Some(look)) if !look.pending => of(
            unknown,
            Reason::NoMx,
            "the domain has no MX record".to_owned(),
        ),
        _ => of(unknown, Reason::Pending, "not yet looked at".to_owned()),
    }
}

/// What the live MX hosts showed, the worst of it.
fn mx_tls(hosts: &[MxHostSeen]) -> (ConditionStatus, Reason, String) {
    for seen in hosts {
        if let Some(trouble) = tls_trouble(seen) {
            let reason = match &seen.smtp {
                SmtpSeen::NoStartTls(_) => Reason::StartTlsMissing,
                _ => Reason::CertificateInvalid,
            };
            let message = format!("{}: {trouble}; see status.findings", seen.host);
            return (ConditionStatus::False, reason, message);
        }
        let nowhere = match (&seen.addresses, &seen.smtp) {
            (_, SmtpSeen::Private(kind)) => Some(kind.clone()),
            (Ok(addresses), _) if addresses.is_empty() => Some("it has no address".to_owned()),
            _ => None,
        };
        if let Some(why) = nowhere {
            let message = format!("{}: {why}", seen.host);
            return (ConditionStatus::False, Reason::MxUnresolved, message);
        }
    }
    let silent = hosts
        .iter()
        .filter_map(|seen| match (&seen.smtp, &seen.addresses) {
            (SmtpSeen::Unreachable(why), _) | (_, Err(why)) => {
                Some(format!("{}: {why}", seen.host))
            }
            _ => None,
        });
    let silent: Vec<String> = silent.collect();
    let Some(first) = silent.first() else {
        let message = format!(
            "all {} live MX hosts offer TLS that senders take",
            hosts.len()
        );
        return (ConditionStatus::True, Reason::Valid, message);
    };
    let reason = match silent.len() == hosts.len() {
        true => Reason::Port25Blocked,
        false => Reason::MxUnreachable,
    };
    let message = format!(
        "port 25 does not answer at {} of {} live MX hosts, so nothing is known of their TLS ({first})",
        silent.len(),
        hosts.len()
    );
    (ConditionStatus::Unknown, reason, message)
}

fn tls_reporting(report: &Report) -> Verdict {
    let of = |status, reason, message: String| {
        verdict(ConditionType::TlsReporting, status, reason, message)
    };
    let Some(TlsRptReport {
        name, state, own, ..
    }) = &report.tls_rpt
    else {
        let message = match report.tls_reports_asked {
            Some(true) => {
                "spec.tlsReporting is not set; senders are asked for reports by a record that somebody else has set"
            }
            _ => {
                "spec.tlsReporting is not set, so no sender tells of failures: write rua: [\"mailto:…\"] there to hear of them"
            }
        };
        return of(ConditionStatus::True, Reason::NotAsked, message.to_owned());
    };
    let no = ConditionStatus::False;
    match state {
        TlsRptState::Published => of(
            ConditionStatus::True,
            Reason::Published,
            format!("every authoritative server shows {name}"),
        ),
        TlsRptState::Differs(servers) => of(
            no,
            Reason::ServersDiffer,
            format!("{name} is not yet shown by {}", servers.join(", ")),
        ),
        TlsRptState::Unknown(why) => of(
            ConditionStatus::Unknown,
            Reason::LookupFailed,
            format!("the authoritative servers of {name} could not be asked: {why}"),
        ),
        TlsRptState::Foreign(found) => of(
            no,
            Reason::Foreign,
            format!(
                "{name} has a record that this operator did not write: \"{found}\"; remove it, or set spec.dns.adopt: true to take it over, or leave spec.tlsReporting out"
            ),
        ),
        TlsRptState::Manual => of(
            no,
            Reason::ManualActionNeeded,
            match own {
                Some(own) => format!(
                    "{name} does not lead to this operator's name servers: set {}",
                    written(&own.record)
                ),
                None => format!("set {name} by hand: status.dns.records has its value"),
            },
        ),
        TlsRptState::Held(reason, message) => of(no, *reason, message.clone()),
    }
}

/// Ready: the reason of the first condition that fails, in the order of the publication.
fn ready(
    known: Option<&MtaStsPolicyStatus>,
    report: &Report,
    verdicts: &[Verdict],
    now: Timestamp,
) -> Verdict {
    if report.suspended {
        let before = known.and_then(|known| find(known, ConditionType::Ready));
        return match before {
            Some(before) => verdict(
                ConditionType::Ready,
                before.status,
                Reason::Suspended,
                "spec.suspend is set: everything is left as it is",
            ),
            None => verdict(
                ConditionType::Ready,
                ConditionStatus::False,
                Reason::Suspended,
                "spec.suspend is set: nothing was published yet",
            ),
        };
    }
    let failing = verdicts.iter().find(|verdict| {
        // An address that waits because the DNS is held is not the cause.
        let holds = report.hold.as_ref().is_some_and(Hold::holds_addresses);
        let follows = holds && verdict.reason == Reason::AddressPending.as_str();
        let told_elsewhere = matches!(
            verdict.type_,
            ConditionType::MxCovered
                | ConditionType::MxTlsValid
                | ConditionType::TlsReporting
                | ConditionType::CertificateValid
        );
        let counts = !told_elsewhere && !follows;
        counts && verdict.status != ConditionStatus::True
    });
    match failing.map(|failing| cause(failing, report, verdicts)) {
        Some(failing) => Verdict {
            type_: ConditionType::Ready,
            status: ConditionStatus::False,
            ..failing.clone()
        },
        None => policy_is_out(report, verdicts, now),
    }
}

/// Ready where a policy is out: whether it is the one that is asked for, and everything beside it.
fn policy_is_out(report: &Report, verdicts: &[Verdict], now: Timestamp) -> Verdict {
    if let (Some(held), Some(record)) = (&report.held, &report.record) {
        return verdict(
            ConditionType::Ready,
            ConditionStatus::False,
            Reason::EnforceHeld,
            enforce_held(held, record.publication.current.mode),
        );
    }
    let reporting = verdicts.iter().find(|verdict| {
        verdict.type_ == ConditionType::TlsReporting && verdict.status != ConditionStatus::True
    });
    match reporting {
        Some(reporting) => Verdict {
            type_: ConditionType::Ready,
            status: ConditionStatus::False,
            ..reporting.clone()
        },
        None if report.rollout.as_ref().is_some_and(RolloutReport::goes_on) => verdict(
            ConditionType::Ready,
            ConditionStatus::True,
            Reason::StagePublished,
            report.rollout.as_ref().map(on_stage).unwrap_or_default(),
        ),
        None => verdict(
            ConditionType::Ready,
            ConditionStatus::True,
            Reason::Published,
            published(report.record.as_ref(), now),
        ),
    }
}

/// What keeps the operator from writing to the DNS keeps the address of the policy host back too,
/// and is what somebody has to know.
fn cause<'a>(failing: &'a Verdict, report: &Report, verdicts: &'a [Verdict]) -> &'a Verdict {
    let waited_for = match &report.hold {
        // The owner of the domain is told of both names at once.
        Some(Hold::NotLed(_)) => Reason::HostUnresolved,
        _ => Reason::AddressPending,
    };
    let waits_for_address =
        failing.type_ == ConditionType::PolicyServed && failing.reason == waited_for.as_str();
    let held = verdicts.iter().find(|verdict| {
        verdict.type_ == ConditionType::DnsPublished && verdict.status != ConditionStatus::True
    });
    match (&report.hold, held) {
        (Some(_), Some(held)) if waits_for_address => held,
        _ => failing,
    }
}

fn healthy(report: &Report, found: &[Finding]) -> Verdict {
    let worst = found
        .iter()
        .find(|finding| finding.severity == Severity::Error);
    match worst {
        Some(finding) => Verdict {
            // The code in the form of a reason: mx-uncovered is MxUncovered.
            reason: format!("{:?}", finding.code),
            ..verdict(
                ConditionType::Healthy,
                ConditionStatus::False,
                Reason::Unhealthy,
                format!("{} {}: {}", finding.code, finding.subject, finding.message),
            )
        },
        None if report.seen.is_none() => verdict(
            ConditionType::Healthy,
            ConditionStatus::Unknown,
            Reason::NotAccepted,
            "not looked at",
        ),
        None => verdict(
            ConditionType::Healthy,
            ConditionStatus::True,
            Reason::Healthy,
            "there is no error-level finding",
        ),
    }
}

/// Reconciling or Stalled, or neither: what kstatus goes by.
fn progress(report: &Report, ready: &Verdict) -> Option<Verdict> {
    if ready.status == ConditionStatus::True || report.suspended {
        return None;
    }
    let stalled = report.rejected.is_some()
        || match &report.hold {
            Some(Hold::Provider { stalled, .. }) => *stalled,
            Some(Hold::Foreign(_) | Hold::WildcardShadowed(_) | Hold::Drift(_)) => true,
            Some(Hold::NotLed(_)) | None => false,
        }
        || ready.reason == Reason::IngressRefused.as_str()
        || ready.reason == Reason::Foreign.as_str();
    if stalled {
        return Some(Verdict {
            type_: ConditionType::Stalled,
            status: ConditionStatus::True,
            ..ready.clone()
        });
    }
    // Waiting for a person is neither: for the TXT record, or for the address before it.
    let by_hand = (report.manual && ready.reason == Reason::HostUnresolved.as_str())
        || (report.own.is_some() && ready.reason == Reason::NotDelegated.as_str());
    let by_hand = by_hand
        || ready.reason == Reason::ManualActionNeeded.as_str()
        || ready.reason == Reason::EnforceHeld.as_str();
    (!by_hand).then(|| {
        verdict(
            ConditionType::Reconciling,
            ConditionStatus::True,
            Reason::Progressing,
            &ready.message,
        )
    })
}
