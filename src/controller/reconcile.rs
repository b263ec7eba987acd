//! The flow of one `MtaStsPolicy`: read → decide → write → status, one step at a time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Resource;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use tracing::Instrument as _;

use super::accept::{Accepted, Rejected, accept, conflict};
use super::address::{AddressOutcome, address, wanted_addresses};
use super::adoption::{Adoption, adoption};
use super::caches::GuardedPolicy;
use super::context::Context;
use super::error::{Error, ErrorClass};
use super::hold::{hold, provider_hold, sharers};
use super::observe::{self, DnsSeen};
use super::records::{Content, Stored, cached_publication};
use super::report::Report;
use super::rollout::Climb;
use super::spec::unreadable;
use super::steps::{Due, note_fresh};
use super::way_in::{self, Made};
use super::{
    dns_endpoint, events, finalize, gateway, mail_exchangers, object_status, own_dns, rollout,
    span, status, tls_rpt,
};
use crate::api::MtaStsPolicy;
use crate::api::condition::Reason;
use crate::clock;
use crate::lifecycle::Record;
use crate::lifecycle::decide::{Cause, Decided, Edited, Input, decide, wanted};
use crate::lifecycle::guard::{Held, LiveMx};
use crate::lifecycle::observation::AddressState;
use crate::lifecycle::publish;
use crate::lifecycle::txt::TxtSet;
use crate::limits;
use crate::protocol::{Domain, Mode, StsRecord};

/// How a pass ends.
pub(super) enum Next {
    /// Something was written: look again at once.
    Again,
    /// Nothing to do for now.
    Wait(Duration),
}

/// Reconciles one object.
pub(super) async fn reconcile(
    object: Arc<GuardedPolicy>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let domain = object.0.as_ref().map_or("", |policy| &policy.spec.domain);
    let span = span::of_pass(domain, &*object);
    let told = async {
        let result = look(&object, &context).await;
        if let Err(error) = &result {
            tracing::warn!(%error, "a reconcile failed and is tried again");
        }
        result
    };
    told.instrument(span).await
}

async fn look(object: &GuardedPolicy, context: &Context) -> Result<Action, Error> {
    context.caches.complete().await;
    if object.meta().deletion_timestamp.is_some() {
        finalize::finish(context, object).await?;
        return Ok(Action::await_change());
    }
    let result = match &object.0 {
        Ok(policy) => publish_policy(context, policy).await,
        Err(invalid) => refuse_unreadable(context, object, &invalid.error).await,
    };
    context.metrics.reconciled(match &result {
        Ok(_) => "ok",
        Err(error) => error.label(),
    });
    result
}

/// An object that does not fit its type: what was published for it stays.
async fn refuse_unreadable(
    context: &Context,
    object: &GuardedPolicy,
    error: &str,
) -> Result<Action, Error> {
    let report = Report {
        rejected: Some(Rejected::new(
            Reason::InvalidSpec,
            format!(
                "{}; compare it with kubectl explain mtastspolicy.spec",
                unreadable(error)
            ),
        )),
        ..Report::default()
    };
    let known = object_status::read::<MtaStsPolicy, _>(context, object).await?;
    status::write(context, object, known.as_ref(), &report).await?;
    Ok(Action::requeue(Duration::from_secs(300)))
}

/// What to do after a reconcile that failed.
pub(super) fn error_policy(_: Arc<GuardedPolicy>, error: &Error, _: Arc<Context>) -> Action {
    Action::requeue(match error.class() {
        ErrorClass::Again => Duration::from_millis(200),
        ErrorClass::Retry => Duration::from_secs(5),
    })
}

async fn publish_policy(context: &Context, policy: &MtaStsPolicy) -> Result<Action, Error> {
    if gateway::named(&context.settings, policy).is_some() || has_route(context, policy) {
        context.caches.gateways.settled().await;
    }
    let accepted = match accept(context, policy) {
        Ok(accepted) => accepted,
        Err(rejected) => return reject(context, policy, rejected).await,
    };
    let _lock = context.locks.lock(&accepted.desired.domain).await;
    if !accepted.desired.suspend {
        finalize::add(context, policy).await?;
    }
    let mut known = policy.status.clone();
    for _ in 0..limits::RECONCILE_PASSES {
        let passed = match pass(context, policy, &accepted).await {
            Err(error @ Error::ClockSkew(_)) => {
                let said = error.to_string();
                status::say_not_ready(context, policy, Reason::ClockSkew, &said).await?;
                return Err(error);
            }
            passed => passed?,
        };
        match passed {
            (None, Next::Again) => {}
            (report, next) => {
                let report = report.unwrap_or_default();
                known = status::write(context, policy, known.as_ref(), &report).await?;
                if let Next::Wait(after) = next {
                    return Ok(Action::requeue(after));
                }
            }
        }
    }
    Ok(Action::requeue(Duration::from_millis(200)))
}

/// Whether an HTTPRoute was once made for the policy, which may have to go.
fn has_route(context: &Context, policy: &MtaStsPolicy) -> bool {
    let records = context.caches.records.state();
    records
        .iter()
        .filter_map(|record| cached_publication(record))
        .any(|p| p.domain.as_str() == policy.spec.domain && p.dns.http_route)
}

async fn reject(
    context: &Context,
    policy: &MtaStsPolicy,
    rejected: Rejected,
) -> Result<Action, Error> {
    let domain = Domain::parse(&policy.spec.domain).ok();
    // Another object's record is not shown as if it were this one's.
    let report = Report {
        spec_findings: rejected.findings.clone(),
        domain,
        rejected: Some(rejected),
        ..Report::default()
    };
    status::write(context, policy, policy.status.as_ref(), &report).await?;
    let since = policy.status.as_ref().and_then(|status| {
        let accepted = status.conditions.iter().find(|c| c.type_ == "Accepted")?;
        Some(accepted.last_transition_time)
    });
    Ok(Action::requeue(back_off(since, Duration::from_secs(60))))
}

/// The longer something lasts, the more seldom it is looked at: a quarter of its age, from one
/// second up to `most`.
pub(super) fn back_off(since: Option<Timestamp>, most: Duration) -> Duration {
    let age = since.map_or(Duration::ZERO, |since| {
        Duration::try_from(clock::now().duration_since(since)).unwrap_or_default()
    });
    (age / 4).clamp(Duration::from_secs(1), most)
}

/// One pass. A report comes with it once everything was looked at.
async fn pass(
    context: &Context,
    policy: &MtaStsPolicy,
    accepted: &Accepted,
) -> Result<(Option<Report>, Next), Error> {
    let domain = &accepted.desired.domain;
    // read
    let stored = context.records.read(domain).await?;
    if let Some(rejected) = owned_by_another(stored.as_ref(), accepted) {
        reject(context, policy, rejected).await?;
        return Ok((None, Next::Wait(Duration::from_secs(5))));
    }
    let publication = stored.as_ref().and_then(Stored::publication);
    let dns = observe::dns_seen(context, domain, accepted.provider.as_ref(), publication).await;
    if accepted.desired.suspend && stored.as_ref().and_then(Stored::record).is_none() {
        return Ok((
            Some(suspended(accepted, &dns)),
            Next::Wait(context.settings.probe_interval()),
        ));
    }
    let adoption = adoption(context, accepted, stored.as_ref(), &dns).await;
    // Nobody enters mode enforce before every live MX has been asked.
    let enforces = publication.is_some_and(|p| p.current.mode == Mode::Enforce);
    let wait = accepted.desired.mode == Some(Mode::Enforce) && !enforces;
    let mx_look = mail_exchangers::look(context, domain, &dns.mx, wait).await;
    let live = mail_exchangers::live(&dns.mx, &dns.mx_before, &mx_look);
    let seen = SeenBefore {
        dns: &dns,
        adoption: &adoption,
        live: &live,
    };
    // decide
    let decided = decided(context, policy, accepted, stored, &seen).await?;
    let Some((stored, record, held)) = decided else {
        return Ok((None, Next::Again));
    };
    if own_dns::settle(context, accepted, &stored, &record, &dns.txt_name).await? {
        return Ok((None, Next::Again));
    }
    let mut report = Report {
        domain: Some(domain.clone()),
        own: dns.own.clone(),
        suspended: accepted.desired.suspend,
        manual: accepted.provider.is_none(),
        spec_findings: accepted.findings.clone(),
        txt_name: Some(dns.txt_name.clone()),
        ttl: accepted.desired.ttl,
        rival: way_in::rival(context, domain),
        mx: Some(dns.mx.clone()),
        mx_look: Some(mx_look),
        held,
        ..Report::default()
    };
    if let (Some(way), false) = (&accepted.way_in, accepted.desired.suspend) {
        match way_in::ensure(context, domain, way, &stored, &record).await? {
            Made::Noted => return Ok((None, Next::Again)),
            Made::There(missing) => report.way_in = missing,
        }
    }
    report.wanted_addresses = wanted_addresses(context, accepted);
    report.hold = hold(context, accepted, &record, &dns, &adoption).await;
    let address = match address(context, accepted, &stored, &record, &dns, &report).await? {
        AddressOutcome::State(state) => state,
        AddressOutcome::Wrote => return Ok((None, Next::Again)),
        AddressOutcome::Failed(error) => {
            report.hold = Some(provider_hold(&error));
            AddressState::Pending(error.to_string())
        }
    };
    let seen = observe::world(
        context,
        domain,
        accepted.desired.external,
        &record,
        &dns,
        address,
    )
    .await;
    let newer = observe::newer_served(context, &record, &seen);
    let is_old = !newer.is_empty();
    context
        .memory
        .of(domain, |memory| memory.newer_served = newer);
    if is_old && !accepted.desired.suspend {
        return Ok((None, Next::Again));
    }
    let now = clock::now();
    let progress = publish::progress(&record, &seen, now);
    note_fresh(context, &record, &progress, now);
    if let Some(Ok(view)) = &dns.provider {
        let announced = record.publication.announced.as_ref().map(|a| &a.id);
        report.waits_for = dns_endpoint::waits_for(view, &seen, announced);
    }
    let step = Due {
        context,
        policy,
        accepted,
        stored: &stored,
        record: &record,
        dns: &dns,
        progress: &progress,
        seen: &seen,
    };
    // write
    let next = step.carry_out(&mut report).await?;
    if let Next::Wait(_) = next {
        let way = way_in::Seen {
            missing: report.way_in.as_ref(),
            progress: &progress,
            world: &seen,
            now,
        };
        let written = way_in::remove_old(context, accepted, &stored, &record, &way).await?
            || tls_rpt::settle(context, accepted, (&stored, &record), &dns, &mut report).await?;
        if written {
            return Ok((None, Next::Again));
        }
    }
    report.record = Some(record);
    report.seen = Some(seen);
    report.progress = Some(progress);
    let climb = Climb {
        context,
        policy,
        accepted,
        stored: &stored,
        live: &live,
    };
    complete(&climb, report, next).await
}

/// The end of a pass: everything was looked at, and the next stage of a rollout may be due.
async fn complete(
    climb: &Climb<'_>,
    mut report: Report,
    next: Next,
) -> Result<(Option<Report>, Next), Error> {
    let Next::Wait(after) = next else {
        return Ok((Some(report), Next::Again));
    };
    if climb.settle(&mut report).await? {
        return Ok((None, Next::Again));
    }
    let after = sooner(climb.context, &report, after);
    Ok((Some(report), Next::Wait(after)))
}

/// While an MX host is being asked, or what it shows holds the policy, it is looked at again soon.
fn sooner(context: &Context, report: &Report, after: Duration) -> Duration {
    let after = rollout::sooner(report, after);
    if report.mx_look.as_ref().is_some_and(|look| look.pending) {
        return after.min(mail_exchangers::WHILE_PENDING);
    }
    match &report.held {
        Some(_) => after.min(limits::MX_LOOK_AGAIN.min(context.settings.probe_interval())),
        None => after,
    }
}

/// What there is to tell of an object that is suspended and has no record to be left as it is.
fn suspended(accepted: &Accepted, dns: &DnsSeen) -> Report {
    Report {
        domain: Some(accepted.desired.domain.clone()),
        suspended: true,
        manual: accepted.provider.is_none(),
        spec_findings: accepted.findings.clone(),
        mx: Some(dns.mx.clone()),
        ttl: accepted.desired.ttl,
        ..Report::default()
    }
}

/// A rival may have made the record since the caches were looked at.
fn owned_by_another(stored: Option<&Stored>, accepted: &Accepted) -> Option<Rejected> {
    let publication = stored?.publication()?;
    let owner = &publication.owner;
    let mine = owner.namespace == accepted.owner.namespace && owner.name == accepted.owner.name;
    let free = publication.retiring.is_some();
    (!mine && !free).then(|| {
        let with = format!("{}/{}", owner.namespace, owner.name);
        conflict(&accepted.desired.domain, &with, &publication.domain)
    })
}

/// What a decision depends on besides spec and record.
struct SeenBefore<'a> {
    dns: &'a DnsSeen,
    adoption: &'a Adoption,
    live: &'a LiveMx,
}

/// Decides, and writes what was decided; `None` if something was written. Comes with what holds the
/// policy that the spec asks for.
async fn decided(
    context: &Context,
    policy: &MtaStsPolicy,
    accepted: &Accepted,
    stored: Option<Stored>,
    seen: &SeenBefore<'_>,
) -> Result<Option<(Stored, Record, Option<Held>)>, Error> {
    let SeenBefore {
        dns,
        adoption,
        live,
    } = seen;
    let desired = &accepted.desired;
    // Where an alias leads to another domain's record, its id is no sign of a loss of ours.
    let txt = match sharers(context, &desired.domain, &dns.txt_name).is_empty() {
        true => dns.txt(context),
        false => TxtSet::default(),
    };
    let newer = context
        .memory
        .of(&desired.domain, |memory| memory.newer_served.clone());
    let newer: Vec<_> = newer
        .iter()
        .map(|id| StsRecord::render(id).into_bytes())
        .collect();
    let txt = txt.union(&TxtSet::classify(&newer, &context.installation));
    let adopted = match adoption {
        Adoption::Found(live) => Some(live),
        _ => None,
    };
    let edited = stored.as_ref().and_then(|stored| match &stored.content {
        Content::Edited(publication, body) => Some(Edited { publication, body }),
        _ => None,
    });
    let input = Input {
        desired,
        owner: &accepted.owner,
        provider: accepted.provider.as_ref().map(|p| &p.key),
        installation: &context.installation,
        record: stored.as_ref().and_then(Stored::record),
        edited: edited.as_ref(),
        txt: Some(&txt),
        adopted,
        assume_max_age: accepted.assume_max_age,
        live,
        now: clock::now(),
    };
    let (decision, held) = (decide(&input), wanted(&input).held);
    let record = stored.as_ref().and_then(Stored::record).cloned();
    match (decision, stored, record) {
        (Decided::Keep, Some(stored), Some(record)) => Ok(Some((stored, record, held))),
        (_, Some(stored), Some(record)) if desired.suspend => Ok(Some((stored, record, None))),
        (Decided::Update(record), stored, _) => {
            context.permit()?;
            context.records.write(stored.as_ref(), &record).await?;
            Ok(None)
        }
        (Decided::New(record, cause), stored, _) => {
            context.permit()?;
            context.records.write(stored.as_ref(), &record).await?;
            tell_decision(context, policy, &record, cause).await;
            Ok(None)
        }
        (Decided::Keep, _, _) => Ok(None),
    }
}

async fn tell_decision(context: &Context, policy: &MtaStsPolicy, record: &Record, cause: Cause) {
    let current = &record.publication.current;
    tracing::info!(domain = %record.publication.domain, id = %current.id, ?cause, "decided a policy");
    let (type_, reason, why) = match cause {
        Cause::First | Cause::PolicyChanged => (EventType::Normal, "PolicyDecided", ""),
        Cause::RecordLost => (
            EventType::Warning,
            "RecordLost",
            ": DNS shows an id of this installation that the record does not know, so the worst is assumed of what senders hold",
        ),
        Cause::Edited => (
            EventType::Warning,
            "RecordEdited",
            ": the record was edited by hand",
        ),
    };
    let note = format!(
        "policy {} with mode {}{why}; its id follows once the body is out everywhere",
        current.id, current.mode
    );
    events::tell(context, policy, type_, reason, &note).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_looked_at_more_and_more_seldom() {
        for (case, age, expected) in [
            ("new", 0, 1),
            ("just now", 3, 1),
            ("a while", 40, 10),
            ("long", 86_400, 60),
        ] {
            let since = clock::now() - jiff::SignedDuration::from_secs(age);
            let after = back_off(Some(since), Duration::from_secs(60));
            assert_eq!(after.as_secs(), expected, "{case}");
        }
    }
}
