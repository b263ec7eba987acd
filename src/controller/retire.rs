//! The flow of a record whose object is gone: the TXT record goes first, what it points to last.

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
use super::gateway;
use super::hold::sharers;
use super::ingress;
use super::observe;
use super::records::{Stored, cached_publication};
use super::span;
use crate::clock;
use crate::dns::Swap;
use crate::lifecycle::observation::{TxtAnswer, UNREACHABLE_HOLD};
use crate::lifecycle::own_zone::host_name;
use crate::lifecycle::txt::TxtSet;
use crate::lifecycle::{Publication, Record};
use crate::limits;
use crate::probe::dns::RecordType;

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
    let Some(retiring) = &publication.retiring else {
        return Ok(Action::await_change());
    };
    if is_awaited(context, publication, retiring.since) {
        return Ok(Action::requeue(Duration::from_millis(500)));
    }
    let view = view(context, publication).await;
    let Some(gone_at) = retiring.txt_gone_at else {
        return remove_txt(context, stored, record, view).await;
    };
    let now = clock::now();
    let end = end_of_ttl(publication, gone_at);
    if end > now {
        let left = Duration::try_from(end.duration_since(now)).unwrap_or_default();
        return Ok(Action::requeue(left + Duration::from_millis(100)));
    }
    remove_rest(context, stored, record, view).await
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

/// When no resolver remembers the TXT record any more.
fn end_of_ttl(publication: &Publication, gone_at: Timestamp) -> Timestamp {
    let ttl = publication
        .announced
        .as_ref()
        .map_or(0, |announced| announced.ttl);
    gone_at
        .checked_add(SignedDuration::from_secs(i64::from(ttl)))
        .unwrap_or(Timestamp::MAX)
}

/// What stands in the provider's zone; `None` where records are set by hand, or have to be.
async fn view(context: &Context, publication: &Publication) -> Option<Result<View, ProviderError>> {
    if let Some(answers) = &publication.dns.answers {
        // Answered from the record itself, whatever has become of the provider object.
        let txt = publication_txt_name(publication);
        let host = host_name(&publication.domain, &answers.zone);
        return Some(Ok(View::own(Some(publication), &answers.zone, txt, host)));
    }
    let key = publication.dns.provider.clone()?;
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
    if spec.authoritative.is_some() {
        return None;
    }
    let access = Access { key, spec, zones };
    let domain = &publication.domain;
    let name = publication_txt_name(publication);
    let view = async { dns::open(context, &access).await?.view(domain, &name).await };
    let view = view.await;
    context.metrics.provider_call("read", &view);
    Some(view)
}

/// Where the TXT record was written last.
fn publication_txt_name(publication: &Publication) -> String {
    let own_name = || publication.domain.sts_record_name();
    publication.dns.txt_name.clone().unwrap_or_else(own_name)
}

async fn remove_txt(
    context: &Context,
    stored: &Stored,
    record: &Record,
    view: Option<Result<View, ProviderError>>,
) -> Result<Action, Error> {
    const RETRY: Duration = Duration::from_secs(5);
    let domain = &record.publication.domain;
    let shared = |txt: &TxtSet| {
        let name = publication_txt_name(&record.publication);
        let others = sharers(context, domain, &name);
        txt.ours().any(|id| others.iter().any(|p| p.knows(id)))
    };
    match view {
        // An alias led to another domain's record: it is not this domain's to remove.
        Some(Ok(view)) if shared(&view.txt(&context.installation)) => {
            return note_gone(context, stored, record).await;
        }
        Some(Ok(view)) if view.own_zone().is_some() => {
            if let Some(withdrawn) = withdrawn(record) {
                context.permit()?;
                context.records.write(Some(stored), &withdrawn).await?;
                return Ok(Action::requeue(Duration::ZERO));
            }
        }
        Some(Ok(view)) if !view.txt(&context.installation).has_none_of_ours() => {
            let ttl = record.publication.announced.as_ref().map_or(0, |a| a.ttl);
            return match view.write_txt(context, None, ttl).await? {
                Ok(Swap::Done | Swap::Conflict) => Ok(Action::requeue(Duration::ZERO)),
                Err(error) => {
                    tracing::warn!(%domain, %error, "the TXT record of a retiring domain cannot be removed yet");
                    Ok(Action::requeue(RETRY))
                }
            };
        }
        Some(Err(error)) => {
            tracing::warn!(%domain, %error, "the TXT record of a retiring domain cannot be removed yet");
            return Ok(Action::requeue(RETRY));
        }
        // Set by hand: it is waited until somebody takes it away.
        Some(Ok(_)) | None => {}
    }
    if !txt_is_gone(context, record).await {
        return Ok(Action::requeue(RETRY));
    }
    note_gone(context, stored, record).await
}

/// The record with its announcement taken back; `None` if it was already.
fn withdrawn(record: &Record) -> Option<Record> {
    record.publication.announced_in_dns()?;
    let mut withdrawn = record.clone();
    withdrawn.publication.retiring.as_mut()?.withdrawn = true;
    Some(withdrawn)
}

async fn note_gone(context: &Context, stored: &Stored, record: &Record) -> Result<Action, Error> {
    let mut gone = record.clone();
    if let Some(retiring) = &mut gone.publication.retiring {
        retiring.txt_gone_at = Some(clock::now());
    }
    context.permit()?;
    context.records.write(Some(stored), &gone).await?;
    Ok(Action::requeue(Duration::ZERO))
}

/// Whether no authoritative server shows a record of ours. A server that cannot be asked counts
/// after ten minutes as gone, as in a publication.
async fn txt_is_gone(context: &Context, record: &Record) -> bool {
    let publication = &record.publication;
    if publication.announced.is_none() {
        return true;
    }
    let domain = &publication.domain;
    let name = publication_txt_name(publication);
    let Ok(mut servers) = context.dns.ask_all(&name, RecordType::Txt).await else {
        return false;
    };
    if publication.dns.answers.is_some() {
        servers.extend(observe::each_of_ours(context, &name, RecordType::Txt).await);
    }
    let now = clock::now();
    let mut confirmed = 0;
    for server in servers {
        let seen = observe::txt_server(context, domain, server.server.address, server.result, now);
        match seen.answer {
            TxtAnswer::Set(set, _) if set.has_none_of_ours() => confirmed += 1,
            TxtAnswer::Set(..) => return false,
            TxtAnswer::Unreachable { since, .. } => {
                if now.duration_since(since) < UNREACHABLE_HOLD {
                    return false;
                }
            }
        }
    }
    confirmed > 0
}

/// The Ingress, the address record, and the record itself, marked so that the policy server
/// forgets the host.
async fn remove_rest(
    context: &Context,
    stored: &Stored,
    record: &Record,
    view: Option<Result<View, ProviderError>>,
) -> Result<Action, Error> {
    let publication = &record.publication;
    let domain = &publication.domain;
    context.permit()?;
    ingress::remove(context, domain).await?;
    if publication.dns.http_route {
        gateway::remove(context, domain).await?;
    }
    match view {
        // It goes with the record.
        Some(Ok(view)) if view.own_zone().is_some() => {}
        Some(Ok(view)) => {
            let ours = &publication.dns.addresses;
            let present = view.addresses();
            let all_ours = !present.is_empty() && present.iter().all(|a| ours.contains(a));
            if all_ours {
                match view
                    .write_addresses(context, &[], limits::RETIRED_TTL)
                    .await?
                {
                    Ok(Swap::Done) => {}
                    Ok(Swap::Conflict) => return Ok(Action::requeue(Duration::ZERO)),
                    Err(error) => {
                        tracing::warn!(%domain, %error, "the address record of a retiring domain cannot be removed yet");
                        return Ok(Action::requeue(Duration::from_secs(5)));
                    }
                }
            }
        }
        Some(Err(error)) => {
            tracing::warn!(%domain, %error, "the address record of a retiring domain cannot be removed yet");
            return Ok(Action::requeue(Duration::from_secs(5)));
        }
        None => {}
    }
    let mut stored = stored.clone();
    if !publication.retired {
        let mut retired = record.clone();
        retired.publication.retired = true;
        context.permit()?;
        stored = context.records.write(Some(&stored), &retired).await?;
    }
    context.permit()?;
    context.records.delete(&stored).await?;
    context.memory.forget(domain);
    context.metrics.forget(domain);
    tracing::info!(%domain, "retired");
    Ok(Action::await_change())
}
