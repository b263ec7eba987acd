//! What a status shows beside its conditions: policy, records, caches, findings. (pure)

use jiff::{SignedDuration, Timestamp};

use super::super::address::shown_addresses;
use super::super::own_dns::Led;
use super::super::report::{Hold, Report};
use super::super::rollout::RolloutReport;
use super::super::tls_rpt::{TlsRptReport, TlsRptState};
use super::words::blocker;
use crate::api::{
    CacheStatus, DnsStatus, FindingStatus, MtaStsPolicyStatus, PublishedPolicyStatus, RecordState,
    RecordStatus, RolledBackStatus, RolloutStatus, ServerAnswerStatus, StageStatus,
};
use crate::diagnosis::Finding;
use crate::lifecycle::observation::{AddressState, TxtAnswer, printable};
use crate::lifecycle::publish::Shown;
use crate::lifecycle::rollout::Blocker;
use crate::lifecycle::txt::TxtSet;
use crate::lifecycle::{Address, Record, ledger};
use crate::limits;
use crate::protocol::StsRecord;

pub(super) fn policy(record: &Record) -> PublishedPolicyStatus {
    let current = &record.publication.current;
    let announced = record
        .publication
        .announced
        .as_ref()
        .filter(|announced| announced.id == current.id);
    PublishedPolicyStatus {
        id: current.id.to_string(),
        mode: current.mode,
        max_age_seconds: i64::from(current.max_age.seconds()),
        sha256: current.sha256.to_string(),
        mx: current.mx.iter().map(ToString::to_string).collect(),
        served_since: Some(whole_second(current.decided_at)),
        announced_at: announced.map(|announced| whole_second(announced.at)),
    }
}

pub(super) fn caches(
    record: &Record,
    known: Option<&MtaStsPolicyStatus>,
    now: Timestamp,
) -> Option<CacheStatus> {
    let publication = &record.publication;
    let conforming = publication
        .announced
        .as_ref()
        .filter(|announced| announced.id == publication.current.id)
        .and_then(|announced| announced.conforming_senders_by());
    let all = ledger::all_senders_by(&publication.ledger, &publication.current.id, now);
    // While an older policy is still served its end moves with the clock: not told every minute.
    let open = ledger::has_open_predecessor(&publication.ledger, &publication.current.id);
    let before = known.and_then(|known| known.caches.as_ref()?.all_senders_by);
    let all = match (open, before) {
        (true, Some(before)) if before > now => Some(before),
        _ => all,
    };
    (conforming.is_some() || all.is_some()).then_some(CacheStatus {
        conforming_senders_by: conforming.map(next_second),
        all_senders_by: all.map(next_second),
    })
}

pub(super) fn rollout(report: &RolloutReport) -> RolloutStatus {
    let ends = report
        .blocked_by
        .iter()
        .filter_map(|blocker| match blocker {
            Blocker::Duration(end) => Some(next_second(*end)),
            _ => None,
        });
    let next_not_before = ends.max();
    RolloutStatus {
        ladder: ladder(report, next_not_before),
        stage: report.on.name.clone(),
        since: Some(whole_second(report.on.since)),
        next: report.next.clone(),
        next_not_before,
        blocked_by: report.blocked_by.iter().map(blocker).collect(),
        rolls_back_at: report.rolls_back.as_ref().map(|(_, at)| next_second(*at)),
        rolled_back: report.on.rolled_back.as_ref().map(|back| RolledBackStatus {
            from: back.from.clone(),
            message: back.why.clone(),
        }),
    }
}

/// The stages, those ahead with their earliest dates: each lasts as long as it must after the one before.
fn ladder(report: &RolloutReport, next_not_before: Option<Timestamp>) -> Vec<StageStatus> {
    let mut ahead = false;
    let mut not_before = next_not_before;
    let stages = report.ladder.iter().map(|stage| {
        let of = |not_before| StageStatus {
            name: stage.name.clone(),
            mode: stage.mode,
            max_age_seconds: i64::from(stage.max_age.seconds()),
            not_before,
        };
        if ahead {
            let begins = of(not_before);
            not_before = not_before.and_then(|at| at.checked_add(stage.min_duration).ok());
            return begins;
        }
        ahead = stage.name == report.on.name;
        of(None)
    });
    stages.collect()
}

/// Times in a status have whole seconds, as everywhere in Kubernetes.
pub(super) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The same for the end of a span: never before it.
pub(super) fn next_second(time: Timestamp) -> Timestamp {
    let whole = whole_second(time);
    if whole == time {
        return time;
    }
    whole
        .saturating_add(SignedDuration::from_secs(1))
        .unwrap_or(time)
}

pub(super) fn finding_status(finding: &Finding) -> FindingStatus {
    let mut message = finding.message.clone();
    if let Some(evidence) = &finding.evidence {
        message.push_str(&format!(" ({evidence})"));
    }
    if let Some(remedy) = &finding.remedy {
        message.push_str(&format!("; {remedy}"));
    }
    FindingStatus {
        code: finding.code.name().to_owned(),
        severity: finding.severity.as_str().to_owned(),
        subject: finding.subject.clone(),
        message,
    }
}

pub(super) fn records(report: &Report) -> DnsStatus {
    let mut records = leading_records(report);
    records.extend(address_records(report));
    records.extend(txt_record(report));
    records.extend(
        report
            .tls_rpt
            .as_ref()
            .map(|it| tls_rpt_record(it, report.ttl)),
    );
    DnsStatus { records }
}

/// What the owner of the domain sets, so that it leads to our own name servers.
fn leading_records(report: &Report) -> Vec<RecordStatus> {
    let Some(own) = &report.own else {
        return Vec::new();
    };
    let of = |led: &Led, (name, type_, value): (String, &str, String)| RecordStatus {
        name,
        type_: type_.to_owned(),
        value,
        ttl_seconds: i64::from(report.ttl),
        state: match led.is_here() {
            true => RecordState::Published,
            false => RecordState::Manual,
        },
        servers: Vec::new(),
    };
    let reports = report.tls_rpt.as_ref().and_then(|it| it.own.as_ref());
    let reports = reports.map(|own| (&own.led, own.record.clone()));
    // A name that is delegated needs no alias.
    [(&own.txt, own.txt_record()), (&own.host, own.host_record())]
        .into_iter()
        .chain(reports)
        .filter(|(led, _)| **led != Led::Delegated)
        .map(|(led, record)| of(led, record))
        .collect()
}

fn address_records(report: &Report) -> Vec<RecordStatus> {
    let Some(domain) = &report.domain else {
        return Vec::new();
    };
    let state = match report.seen.as_ref().map(|seen| &seen.address) {
        _ if report.manual => RecordState::Manual,
        Some(AddressState::Shown { .. } | AddressState::NotOurs) => RecordState::Published,
        Some(AddressState::Foreign(_)) => RecordState::Foreign,
        _ => RecordState::Pending,
    };
    let by_type = |type_: &str, pick: fn(&Address) -> bool| {
        let values: Vec<Address> = report
            .wanted_addresses
            .iter()
            .filter(|address| pick(address))
            .cloned()
            .collect();
        (!values.is_empty()).then(|| RecordStatus {
            name: match &report.own {
                Some(own) => own.host_name(),
                None => domain.policy_host().to_string(),
            },
            type_: type_.to_owned(),
            value: shown_addresses(&values).replace("CNAME ", ""),
            ttl_seconds: i64::from(report.ttl),
            state,
            servers: Vec::new(),
        })
    };
    [
        by_type("CNAME", |a| matches!(a, Address::Cname(_))),
        by_type("A", |a| matches!(a, Address::A(_))),
        by_type("AAAA", |a| matches!(a, Address::Aaaa(_))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The TXT record, once it may be set: before that its value would invite to set it too early.
fn txt_record(report: &Report) -> Option<RecordStatus> {
    let announced = report.record.as_ref()?.publication.announced.as_ref()?;
    let shown = &report.progress.as_ref()?.shown;
    let state = match shown {
        Shown::Yes => RecordState::Published,
        Shown::Foreign(_) => RecordState::Foreign,
        _ if matches!(report.hold, Some(Hold::Foreign(_))) => RecordState::Foreign,
        _ if report.manual => RecordState::Manual,
        _ => RecordState::Pending,
    };
    Some(RecordStatus {
        name: match &report.own {
            Some(own) => own.txt_name(),
            None => report.txt_name.clone()?,
        },
        type_: "TXT".to_owned(),
        value: StsRecord::render(&announced.id),
        ttl_seconds: i64::from(report.ttl),
        state,
        servers: servers(report),
    })
}

fn tls_rpt_record(of: &TlsRptReport, ttl: u32) -> RecordStatus {
    let servers = of.servers.iter();
    RecordStatus {
        name: of.own.as_ref().map_or(&of.name, |own| &own.asked).clone(),
        type_: "TXT".to_owned(),
        value: of.wanted.clone(),
        ttl_seconds: i64::from(ttl),
        state: match of.state {
            // It is answered; what is missing is the way to it.
            TlsRptState::Manual if of.own.is_some() => RecordState::Pending,
            TlsRptState::Published => RecordState::Published,
            TlsRptState::Foreign(_) => RecordState::Foreign,
            TlsRptState::Manual => RecordState::Manual,
            TlsRptState::Differs(_) | TlsRptState::Unknown(_) | TlsRptState::Held(..) => {
                RecordState::Pending
            }
        },
        servers: servers
            .map(|(address, answer)| ServerAnswerStatus {
                address: address.clone(),
                answer: printable(answer.as_bytes()),
            })
            .collect(),
    }
}

fn servers(report: &Report) -> Vec<ServerAnswerStatus> {
    let servers = report.seen.iter().flat_map(|seen| &seen.txt_servers);
    servers
        .take(limits::DNS_SERVERS)
        .map(|server| ServerAnswerStatus {
            address: server.address.clone(),
            answer: match &server.answer {
                TxtAnswer::Set(set, _) => shown_set(set),
                TxtAnswer::Unreachable { why, .. } => why.clone(),
            },
        })
        .collect()
}

fn shown_set(set: &TxtSet) -> String {
    let ours = set.ours().map(StsRecord::render);
    let foreign = set.foreign().iter().map(|text| printable(text));
    let all: Vec<String> = ours.chain(foreign).collect();
    if all.is_empty() {
        "no MTA-STS record".to_owned()
    } else {
        all.join(" | ")
    }
}
