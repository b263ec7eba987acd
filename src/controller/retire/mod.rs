//! The flow of a record whose object is gone (RFC 8461 §8.3).

mod none;
mod take_away;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Resource;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use tracing::Instrument as _;

use super::accept::{cluster_spec, is_granted, namespaced_spec};
use super::caches::GuardedPolicy;
use super::context::Context;
use super::dns::{self, Access, View};
use super::error::{Error, ErrorClass, ProviderError};
use super::finalize::restored;
use super::own_dns;
use super::records::{Stored, cached_publication};
use super::span;
use crate::clock;
use crate::lifecycle::own_zone::host_name;
use crate::lifecycle::retirement::{self, Stage};
use crate::lifecycle::{Publication, Record};
use crate::limits;
use crate::protocol::Domain;

/// After something failed that may pass.
const RETRY: Duration = Duration::from_secs(5);
/// Between two looks at a domain that only waits.
const LOOK: Duration = Duration::from_secs(3600);

/// Looks at one record; does something only if its object is gone.
pub(super) async fn reconcile(
    object: Arc<ConfigMap>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let Some(publication) = cached_publication(&object) else {
        return Ok(Action::await_change());
    };
    let span = span::of_pass(&publication.domain.to_string(), &*object);
    let told = async {
        let result = look(&context, &publication).await;
        if let Err(error) = &result
            && error.class() == ErrorClass::Retry
        {
            tracing::warn!(%error, "retiring a domain failed and is tried again");
        }
        result
    };
    told.instrument(span).await
}

async fn look(context: &Context, publication: &Publication) -> Result<Action, Error> {
    let domain = publication.domain.clone();
    context
        .metrics
        .retiring(&domain, publication.retiring.is_some());
    context
        .metrics
        .orphaned(&domain, is_orphan(context, publication));
    if publication.retiring.is_none() {
        // An orphan is served and told, never retired by itself.
        return Ok(Action::requeue(Duration::from_secs(300)));
    }
    let _lock = context.locks.lock(&domain).await;
    // What the cache says may be old: an object may have taken the record over.
    let Some(stored) = context.records.read(&domain).await? else {
        return Ok(Action::await_change());
    };
    let Some(record) = stored.record().cloned().or_else(|| restored(&stored)) else {
        return Ok(Action::await_change());
    };
    if record.publication.retiring.is_none() {
        return Ok(Action::await_change());
    }
    step(context, &stored, &record).await
}

/// Whether the object of a record is missing though its deletion was never seen.
fn is_orphan(context: &Context, publication: &Publication) -> bool {
    let owner = &publication.owner;
    let key = ObjectRef::new(&owner.name).within(&owner.namespace);
    publication.retiring.is_none() && context.caches.policies.get(&key).is_none()
}

/// What to do after a failure.
pub(super) fn error_policy(_: Arc<ConfigMap>, _: &Error, _: Arc<Context>) -> Action {
    Action::requeue(Duration::from_secs(2))
}

async fn step(context: &Context, stored: &Stored, record: &Record) -> Result<Action, Error> {
    let publication = &record.publication;
    let domain = &publication.domain;
    let Some(retiring) = &publication.retiring else {
        return Ok(Action::await_change());
    };
    if let Err(Error::ClockSkew(ahead)) = context.trust_clock() {
        return Ok(wait_for_clocks(context, domain, Some(ahead)));
    }
    let (grace, now) = (context.settings.retirement_delay(), clock::now());
    let Some(stage) = retirement::stage(publication, grace, now) else {
        return Ok(Action::await_change());
    };
    context
        .metrics
        .retirement_end(domain, retirement::ends(publication, grace, now));
    if stage != Stage::Retained && is_awaited(context, publication, retiring.since) {
        return Ok(Action::requeue(Duration::from_millis(500)));
    }
    match stage {
        // A new object may take it back at any time.
        Stage::Retained => Ok(Action::await_change()),
        Stage::Grace(until) => Ok(at(until, now)),
        Stage::DecideNone => none::decide(context, stored, record).await,
        Stage::None { until } => none::step(context, stored, record, until).await,
        Stage::CompareClocks => compare_clocks(context, stored, record).await,
        Stage::TakeAway => take_away::step(context, stored, record).await,
    }
}

/// When something is due at `until`.
fn at(until: Timestamp, now: Timestamp) -> Action {
    let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    Action::requeue((left + Duration::from_millis(100)).min(LOOK))
}

async fn write(context: &Context, stored: &Stored, record: &Record) -> Result<Stored, Error> {
    context.permit()?;
    context.records.write(Some(stored), record).await
}

/// Writes that a record turned out to be an old one.
async fn assume_the_worst(
    context: &Context,
    stored: &Stored,
    assumed: &Record,
) -> Result<Action, Error> {
    let domain = &assumed.publication.domain;
    tracing::warn!(%domain, "the record of a retiring domain does not know an id of ours that is shown, as after a restore from a backup: the worst is assumed of what senders hold, and waited for");
    write(context, stored, assumed).await?;
    Ok(Action::requeue(Duration::ZERO))
}

/// Whether the time that was waited for is over by the API server's clock as well: what follows
/// cannot be taken back. Its time is that of a write of ours.
async fn compare_clocks(
    context: &Context,
    stored: &Stored,
    record: &Record,
) -> Result<Action, Error> {
    let domain = &record.publication.domain;
    let mut asked = record.clone();
    let now = clock::now();
    if let Some(retiring) = &mut asked.publication.retiring {
        retiring.clock_asked_at = Some(now);
    }
    let stored = write(context, stored, &asked).await?;
    let ahead = stored.written_at().map(|at| now.duration_since(at));
    if ahead.is_none_or(|ahead| ahead.abs() > limits::CLOCK_SKEW) {
        return Ok(wait_for_clocks(context, domain, ahead));
    }
    context.metrics.clock_skew(domain, false);
    if let Some(retiring) = &mut asked.publication.retiring {
        retiring.over_at = Some(now);
    }
    write(context, &stored, &asked).await?;
    tracing::info!(%domain, "no sender holds a policy of the retiring domain any more");
    Ok(Action::requeue(Duration::ZERO))
}

fn wait_for_clocks(context: &Context, domain: &Domain, ahead: Option<SignedDuration>) -> Action {
    context.metrics.clock_skew(domain, true);
    tracing::warn!(%domain, ahead_seconds = ?ahead.map(|ahead| ahead.as_secs()), "the clocks of this node and of the API server are too far apart, so nothing is taken away: set them right (NTP)");
    Action::requeue(Duration::from_secs(60))
}

/// Whether another object is there that may take the domain over: then there must be no gap. One
/// that cannot (it may not use its provider, say) is not waited for for ever.
fn is_awaited(context: &Context, publication: &Publication, since: Timestamp) -> bool {
    let over = clock::now().duration_since(since) > limits::TAKEOVER_TIME;
    let claims = |policy: &GuardedPolicy| {
        policy.meta().deletion_timestamp.is_none()
            && policy.0.as_ref().is_ok_and(|policy| {
                policy.spec.domain == publication.domain.as_str() && is_granted(context, policy)
            })
    };
    !over && context.caches.policies.state().iter().any(|p| claims(p))
}

/// The provider; `None` where records are set by hand, or have to be.
fn provider(context: &Context, publication: &Publication) -> Option<Access> {
    let key = publication.dns.provider.clone()?;
    if let Some(answers) = &publication.dns.answers {
        // Answered from the record itself, whatever has become of the provider object.
        return Some(Access {
            key,
            spec: own_dns::spec_of(&answers.zone),
            zones: Vec::new(),
        });
    }
    let found = match &key.namespace {
        Some(namespace) => namespaced_spec(&context.caches, namespace, &key.name)
            .map(|spec| (spec.dns, spec.zones)),
        None => cluster_spec(&context.caches, &key.name).map(|spec| (spec.dns, spec.zones)),
    };
    // Without its provider object a domain is retired as if its records were set by hand: it is
    // served until somebody has taken the TXT record away.
    let Ok((spec, zones)) = found else {
        tracing::warn!(domain = %publication.domain, provider = key.name, "the provider of a retiring domain is gone: remove its TXT and address records by hand");
        return None;
    };
    // Not answered: then there is nothing to take away.
    spec.authoritative
        .is_none()
        .then_some(Access { key, spec, zones })
}

/// What stands in the provider's zone; `None` where records are set by hand, or have to be.
async fn view(context: &Context, publication: &Publication) -> Option<Result<View, ProviderError>> {
    if let Some(answers) = &publication.dns.answers {
        let txt = publication_txt_name(publication);
        let host = host_name(&publication.domain, &answers.zone);
        return Some(Ok(View::own(Some(publication), &answers.zone, txt, host)));
    }
    let access = provider(context, publication)?;
    let domain = &publication.domain;
    let name = publication_txt_name(publication);
    let opened = dns::open(context, &access).await;
    let opened = opened.inspect_err(|error| context.metrics.provider_failed("read", error));
    Some(match opened {
        Ok(opened) => opened.view_now(context, domain, &name).await,
        Err(error) => Err(error),
    })
}

/// Where the TXT record was written last.
fn publication_txt_name(publication: &Publication) -> String {
    let own_name = || publication.domain.sts_record_name();
    publication.dns.txt_name.clone().unwrap_or_else(own_name)
}
