//! The status: what a report means for conditions, records and findings, written only when it
//! differs in more than its timestamps.

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::context::Context;
use super::error::Error;
use super::events;
use super::findings::{findings, uncovered};
use super::observe::MxSeen;
use super::reconcile::{Hold, Report, shown_addresses};
use crate::api::condition::Reason;
use crate::api::{
    CacheStatus, Condition, ConditionStatus, ConditionType, DnsStatus, FIELD_MANAGER,
    FindingStatus, MtaStsPolicy, MtaStsPolicyStatus, PublishedPolicyStatus, RecordState,
    RecordStatus, ServerAnswerStatus,
};
use crate::clock;
use crate::diagnosis::{Finding, Severity};
use crate::lifecycle::publish::{
    AddressState, CertificateProblem, NotServed, Public, Served, Shown, TxtAnswer, printable,
};
use crate::lifecycle::{Address, Record, ledger};
use crate::limits;
use crate::protocol::StsRecord;

/// One condition before it has its times.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Verdict {
    type_: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: String,
}

/// Whether a condition is there and True.
pub(super) fn is_true(status: &MtaStsPolicyStatus, type_: ConditionType) -> bool {
    find(status, type_).is_some_and(|condition| condition.status == ConditionStatus::True)
}

fn find(status: &MtaStsPolicyStatus, type_: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|c| c.type_ == type_.as_str())
}

/// Writes the status of an object if it differs from `known`, and tells the transition.
/// Gives back the status as it is now.
pub(super) async fn write<K>(
    context: &Context,
    object: &K,
    known: Option<&MtaStsPolicyStatus>,
    report: &Report,
) -> Result<Option<MtaStsPolicyStatus>, Error>
where
    K: Resource<DynamicType = ()>,
{
    let now = clock::now();
    let status = build(object.meta().generation, known, report, now);
    measure(context, report, &status);
    if known == Some(&status) {
        return Ok(Some(status));
    }
    let api = Api::<MtaStsPolicy>::namespaced(
        context.client.clone(),
        &object.namespace().unwrap_or_default(),
    );
    let patch = json!({
        "apiVersion": MtaStsPolicy::api_version(&()),
        "kind": MtaStsPolicy::kind(&()),
        "metadata": {"name": object.name_any(), "uid": object.uid()},
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api
        .patch_status(&object.name_any(), &params, &Patch::Apply(&patch))
        .await
    {
        Ok(_) => {}
        // Its deletion is what comes next.
        Err(kube::Error::Api(error)) if error.code == 404 => return Ok(Some(status)),
        Err(error) => return Err(error.into()),
    }
    tell_transition(context, object, known, &status).await;
    Ok(Some(status))
}

/// An Event when Ready changes its status or, while it is False, its reason.
async fn tell_transition<K>(
    context: &Context,
    object: &K,
    known: Option<&MtaStsPolicyStatus>,
    status: &MtaStsPolicyStatus,
) where
    K: Resource<DynamicType = ()>,
{
    let Some(ready) = find(status, ConditionType::Ready) else {
        return;
    };
    let before = known.and_then(|known| find(known, ConditionType::Ready));
    let same = before.is_some_and(|b| b.status == ready.status && b.reason == ready.reason);
    // Being published is told by its own Event, and the steps on the way there are no news.
    let on_the_way = ON_THE_WAY
        .iter()
        .any(|reason| reason.as_str() == ready.reason);
    if same || ready.status == ConditionStatus::True || on_the_way {
        return;
    }
    events::tell(
        context,
        object,
        EventType::Warning,
        &ready.reason,
        &ready.message,
    )
    .await;
}

/// Reasons that a publication goes through when all is well.
const ON_THE_WAY: [Reason; 6] = [
    Reason::Pending,
    Reason::EndpointStale,
    Reason::AddressPending,
    Reason::WaitingForHost,
    Reason::ServersDiffer,
    Reason::Suspended,
];

fn measure(context: &Context, report: &Report, status: &MtaStsPolicyStatus) {
    let Some(domain) = &report.domain else {
        return;
    };
    if report.rejected.is_some() {
        return;
    }
    let announced = report
        .record
        .as_ref()
        .and_then(|record| record.publication.announced.as_ref());
    let ready = is_true(status, ConditionType::Ready);
    context
        .metrics
        .policy(domain, ready, announced.map(|a| &a.id));
    let drifting = matches!(report.hold, Some(Hold::Drift(_)));
    context.metrics.drifting(domain, drifting);
    let not_after = match report.seen.as_ref().map(|seen| &seen.public) {
        Some(Public::Answers(answers)) => answers.iter().filter_map(|a| a.not_after).min(),
        _ => None,
    };
    context.metrics.certificate(domain, not_after);
}

/// The status that a report makes. (pure)
fn build(
    generation: Option<i64>,
    known: Option<&MtaStsPolicyStatus>,
    report: &Report,
    now: Timestamp,
) -> MtaStsPolicyStatus {
    let found = findings(report, now);
    let verdicts = verdicts(known, report, &found);
    let kept = report.rejected.is_some();
    let of_before = known.cloned().unwrap_or_default();
    let conditions = verdicts
        .into_iter()
        .map(|verdict| timed(verdict, generation, known, now))
        .collect();
    MtaStsPolicyStatus {
        observed_generation: generation,
        conditions,
        // A rejected object keeps showing what is still published for it.
        policy: if kept {
            of_before.policy
        } else {
            report.record.as_ref().map(policy)
        },
        dns: if kept {
            of_before.dns
        } else {
            Some(records(report))
        },
        caches: if kept {
            of_before.caches
        } else {
            report.record.as_ref().and_then(|r| caches(r, known, now))
        },
        findings_total: i64::try_from(found.len()).ok(),
        findings: found
            .iter()
            .take(limits::STATUS_FINDINGS)
            .map(finding_status)
            .collect(),
    }
}

fn timed(
    verdict: Verdict,
    generation: Option<i64>,
    known: Option<&MtaStsPolicyStatus>,
    now: Timestamp,
) -> Condition {
    let before = known
        .and_then(|known| find(known, verdict.type_))
        .filter(|before| before.status == verdict.status);
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: verdict.type_.as_str().to_owned(),
        status: verdict.status,
        observed_generation: generation,
        last_transition_time: before.map_or(now, |before| before.last_transition_time),
        reason: verdict.reason.to_string(),
        message: verdict.message,
    }
}

fn verdicts(
    known: Option<&MtaStsPolicyStatus>,
    report: &Report,
    found: &[Finding],
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
        ]);
    }
    let ready = ready(known, report, &verdicts);
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
        reason,
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
    if let Some(refusal) = &report.ingress_refused {
        return of(
            ConditionStatus::False,
            Reason::IngressRefused,
            format!("the Ingress was refused: {}", printable(refusal.as_bytes())),
        );
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
                        "the Ingress {rival} has the policy host as well, and {message}; remove the host from that Ingress"
                    ),
                ),
                _ => of(ConditionStatus::False, reason, message),
            }
        }
    }
}

fn not_served(why: &NotServed) -> (Reason, String) {
    match why {
        NotServed::NoEndpoints => (
            Reason::EndpointsMissing,
            "there is no policy-server endpoint: are its pods running, and does --policy-service name their Service?".to_owned(),
        ),
        NotServed::EndpointStale(address) => (
            Reason::EndpointStale,
            format!("the policy server at {address} still serves another body; it follows within seconds, or its log says why not"),
        ),
        NotServed::EndpointUnreachable(address, why) => (
            Reason::EndpointUnreachable,
            format!("the policy server at {address} does not answer: {why}; it holds the publication for ten minutes"),
        ),
        NotServed::AddressUnknown => (
            Reason::AddressUnknown,
            "the Ingress reports no address yet; if its controller never does, write spec.hosting.address".to_owned(),
        ),
        NotServed::AddressPending(what) => (
            Reason::AddressPending,
            format!("the address record of the policy host: {what}"),
        ),
        NotServed::AddressForeign(found) => (
            Reason::Foreign,
            format!("the policy host has an address record that this operator did not write: {found}; remove it, set spec.dns.adopt: true to take it over, or spec.hosting.address.none: {{}} to keep it"),
        ),
        NotServed::AddressCached(until) => (
            Reason::AddressPending,
            format!("the old address of the policy host may be cached until {until}"),
        ),
        NotServed::LookupFailed(why) => (
            Reason::HostUnresolved,
            format!("the policy host could not be looked up: {why}"),
        ),
        NotServed::HostUnresolved => (
            Reason::HostUnresolved,
            "the policy host has no address".to_owned(),
        ),
        NotServed::PrivateAddress(address) => (
            Reason::PrivateAddress,
            format!("{address} is private: the world cannot reach it, and it is not dialled"),
        ),
        NotServed::HostUnreachable(address, why) => (
            Reason::HostUnreachable,
            format!("the policy host at {address} does not answer: {why}"),
        ),
        NotServed::WrongStatus(address, status, location) => (
            Reason::WrongStatus,
            match location {
                Some(location) => format!("the public URL at {address} redirects to {location}; senders never follow"),
                None => format!("the public URL at {address} answers with status {status}"),
            },
        ),
        NotServed::WrongContentType(address, found) => (
            Reason::WrongContentType,
            format!("the public URL at {address} serves {}, not text/plain", found.as_deref().unwrap_or("no content type")),
        ),
        NotServed::WrongBody(address) => (
            Reason::WrongBody,
            format!("the public URL at {address} serves other bytes"),
        ),
        NotServed::Certificate(address, problem) => {
            let (reason, message) = certificate_problem(*problem);
            (reason, format!("the policy host at {address}: {message}"))
        }
        NotServed::Cached(until) => (
            Reason::Cached,
            format!("a cache in front of the policy host may hold the old body until {until}; take the host out of the cache"),
        ),
    }
}

fn certificate_problem(problem: CertificateProblem) -> (Reason, &'static str) {
    match problem {
        CertificateProblem::Expired => (
            Reason::Expired,
            "the certificate is past its date, or not yet valid; renew it",
        ),
        CertificateProblem::NameMismatch => (
            Reason::NameMismatch,
            "the certificate has no SAN for the policy host; issue one for exactly this name",
        ),
        CertificateProblem::Untrusted => (
            Reason::Untrusted,
            "the certificate does not chain to a trusted root; use a public CA, or give a private one to --ca-file",
        ),
        CertificateProblem::IncompleteChain => (
            Reason::IncompleteChain,
            "the certificate comes alone, and its issuer is no trusted root; let the front send the full chain, or give the root of a private CA to --ca-file",
        ),
        CertificateProblem::Handshake => (
            Reason::HandshakeFailed,
            "TLS could not be set up; does the front know this host name yet?",
        ),
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
    let expiring = crate::diagnosis::Code::HostTlsExpiring;
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

/// Ready: the reason of the first condition that fails, in the order of the publication.
fn ready(known: Option<&MtaStsPolicyStatus>, report: &Report, verdicts: &[Verdict]) -> Verdict {
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
        let follows = report.hold.is_some() && verdict.reason == Reason::AddressPending;
        let counts = verdict.type_ != ConditionType::MxCovered
            && verdict.type_ != ConditionType::CertificateValid
            && !follows;
        counts && verdict.status != ConditionStatus::True
    });
    match failing {
        Some(failing) => verdict(
            ConditionType::Ready,
            ConditionStatus::False,
            failing.reason,
            &failing.message,
        ),
        None => verdict(
            ConditionType::Ready,
            ConditionStatus::True,
            Reason::Published,
            "the policy is served and its id is announced",
        ),
    }
}

fn healthy(report: &Report, found: &[Finding]) -> Verdict {
    let worst = found
        .iter()
        .find(|finding| finding.severity == Severity::Error);
    match worst {
        Some(finding) => verdict(
            ConditionType::Healthy,
            ConditionStatus::False,
            Reason::Unhealthy,
            format!("{} {}: {}", finding.code, finding.subject, finding.message),
        ),
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
            None => false,
        }
        || ready.reason == Reason::IngressRefused;
    if stalled {
        return Some(verdict(
            ConditionType::Stalled,
            ConditionStatus::True,
            ready.reason,
            &ready.message,
        ));
    }
    // Waiting for a person is neither: for the TXT record, or for the address before it.
    let by_hand = report.manual && ready.reason == Reason::HostUnresolved;
    (ready.reason != Reason::ManualActionNeeded && !by_hand).then(|| {
        verdict(
            ConditionType::Reconciling,
            ConditionStatus::True,
            Reason::Progressing,
            &ready.message,
        )
    })
}

fn policy(record: &Record) -> PublishedPolicyStatus {
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
        served_since: Some(current.decided_at),
        announced_at: announced.map(|announced| announced.at),
    }
}

fn caches(
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
        conforming_senders_by: conforming,
        all_senders_by: all,
    })
}

fn finding_status(finding: &Finding) -> FindingStatus {
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

fn records(report: &Report) -> DnsStatus {
    let mut records = address_records(report);
    records.extend(txt_record(report));
    DnsStatus { records }
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
            name: domain.policy_host().to_string(),
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
        name: report.txt_name.clone()?,
        type_: "TXT".to_owned(),
        value: StsRecord::render(&announced.id),
        ttl_seconds: i64::from(report.ttl),
        state,
        servers: servers(report),
    })
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

fn shown_set(set: &crate::lifecycle::txt::TxtSet) -> String {
    let ours = set.ours().map(StsRecord::render);
    let foreign = set.foreign().iter().map(|text| printable(text));
    let all: Vec<String> = ours.chain(foreign).collect();
    if all.is_empty() {
        "no MTA-STS record".to_owned()
    } else {
        all.join(" | ")
    }
}
