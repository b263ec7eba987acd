//! The status: what a report means for conditions, records and findings, written only when it
//! differs in more than its timestamps.

mod conditions;
mod details;
mod words;

use jiff::Timestamp;
use kube::Resource;
use kube::runtime::events::EventType;

use self::conditions::{Verdict, verdicts};
use self::details::{caches, finding_status, policy, records, rollout, whole_second};
use super::context::Context;
use super::error::Error;
use super::findings::findings;
use super::object_status::Written;
use super::report::{Hold, Report};
use super::{events, object_status};
use crate::api::condition::Reason;
use crate::api::{Condition, ConditionStatus, ConditionType, MtaStsPolicy, MtaStsPolicyStatus};
use crate::clock;
use crate::diagnosis::Finding;
use crate::lifecycle::Record;
use crate::lifecycle::observation::Public;
use crate::limits;
use crate::protocol::{Mode, PolicyId};

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
    let found = findings(report, now);
    let status = build(object.meta().generation, known, (report, &found), now);
    measure(context, (report, &found), &status);
    if known == Some(&status) {
        return Ok(Some(status));
    }
    match object_status::replace::<MtaStsPolicy>(context, object, &status).await? {
        Written::Yes => tell_transition(context, object, known, &status).await,
        // Its deletion is what comes next.
        Written::Gone => {}
        Written::Refused => {
            let accepted = find(&status, ConditionType::Accepted);
            let message = accepted.map_or("", |accepted| &accepted.message);
            object_status::tell_instead(context, object, message).await;
        }
    }
    Ok(Some(status))
}

/// Says in the condition Ready why nothing can be done just now; the rest of the status stays as it is.
pub(super) async fn say_not_ready(
    context: &Context,
    policy: &MtaStsPolicy,
    reason: Reason,
    message: &str,
) -> Result<(), Error> {
    let known = policy.status.as_ref();
    let mut status = known.cloned().unwrap_or_default();
    let ready = Verdict {
        type_: ConditionType::Ready,
        status: ConditionStatus::False,
        reason: reason.to_string(),
        message: message.to_owned(),
    };
    let ready = timed(ready, policy.meta().generation, known, clock::now());
    status.conditions.retain(|c| c.type_ != ready.type_);
    status.conditions.push(ready);
    if known == Some(&status) {
        return Ok(());
    }
    if object_status::replace::<MtaStsPolicy>(context, policy, &status).await? == Written::Yes {
        tell_transition(context, policy, known, &status).await;
    }
    Ok(())
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
    tell_health(context, object, known, status).await;
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

/// An Event when the mail of a domain gets into danger, when the cause changes, and when it is over.
async fn tell_health<K>(
    context: &Context,
    object: &K,
    known: Option<&MtaStsPolicyStatus>,
    status: &MtaStsPolicyStatus,
) where
    K: Resource<DynamicType = ()>,
{
    let Some(healthy) = find(status, ConditionType::Healthy) else {
        return;
    };
    let before = known.and_then(|known| find(known, ConditionType::Healthy));
    let was = before.map(|before| before.status);
    let same = before.is_some_and(|b| b.status == healthy.status && b.reason == healthy.reason);
    let type_ = match (healthy.status, was) {
        _ if same => return,
        (ConditionStatus::False, _) if is_published(status) => EventType::Warning,
        (ConditionStatus::True, Some(ConditionStatus::False)) => EventType::Normal,
        _ => return,
    };
    events::tell(context, object, type_, &healthy.reason, &healthy.message).await;
}

/// Whether an id is announced: before that no mail is in danger, and what is missing is no news.
fn is_published(status: &MtaStsPolicyStatus) -> bool {
    let policy = status.policy.as_ref();
    policy.is_some_and(|policy| policy.announced_at.is_some())
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

/// What DNS is to say: the id, and the mode of the policy that it stands for.
fn announced(record: &Record) -> Option<(&PolicyId, Mode)> {
    let publication = &record.publication;
    let id = &publication.announced.as_ref()?.id;
    let entry = publication
        .ledger
        .iter()
        .find(|entry| entry.id.as_ref() == Some(id))?;
    Some((id, entry.mode))
}

fn measure(context: &Context, (report, found): (&Report, &[Finding]), status: &MtaStsPolicyStatus) {
    let Some(domain) = &report.domain else {
        return;
    };
    if let Some(rejected) = &report.rejected {
        // Of a domain that another object owns that one's series tell.
        if rejected.reason != Reason::DomainConflict {
            context.metrics.not_accepted(domain);
        }
        return;
    }
    context.metrics.findings(domain, found);
    let announced = report.record.as_ref().and_then(announced);
    let ready = is_true(status, ConditionType::Ready);
    context.metrics.policy(domain, ready, announced);
    context
        .metrics
        .healthy(domain, is_true(status, ConditionType::Healthy));
    let held = report.held.is_some();
    context.metrics.enforce_held(domain, held);
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
    (report, found): (&Report, &[Finding]),
    now: Timestamp,
) -> MtaStsPolicyStatus {
    let verdicts = verdicts(known, report, found, now);
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
        rollout: match kept {
            true => of_before.rollout,
            false => report.rollout.as_ref().map(rollout),
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
    let now = whole_second(now);
    Condition {
        type_: verdict.type_.as_str().to_owned(),
        status: verdict.status,
        observed_generation: generation,
        last_transition_time: before.map_or(now, |before| before.last_transition_time),
        reason: verdict.reason,
        message: verdict.message,
    }
}
