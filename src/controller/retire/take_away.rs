//! Taking a domain away: the TXT record goes first, what it points to last. (io)

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;

use super::{RETRY, assume_the_worst, publication_txt_name, view};
use crate::clock;
use crate::controller::context::Context;
use crate::controller::dns::View;
use crate::controller::error::{Error, ProviderError};
use crate::controller::hold::sharers;
use crate::controller::records::Stored;
use crate::controller::{gateway, ingress, observe, tls_rpt};
use crate::dns::Swap;
use crate::lifecycle::observation::{TxtAnswer, UNREACHABLE_HOLD};
use crate::lifecycle::txt::TxtSet;
use crate::lifecycle::{Publication, Record, retirement};
use crate::limits;
use crate::probe::dns::RecordType;

/// Does what is due next.
pub(super) async fn step(
    context: &Context,
    stored: &Stored,
    record: &Record,
) -> Result<Action, Error> {
    let publication = &record.publication;
    let gone_at = publication.retiring.as_ref().and_then(|r| r.txt_gone_at);
    let view = view(context, publication).await;
    if let Some(Ok(view)) = &view {
        let (txt, now) = (view.txt(&context.installation), clock::now());
        let assumed = retirement::worst_assumed(record, &txt, &context.installation, now);
        if let Some(assumed) = assumed.filter(|_| !is_shared(context, publication, &txt)) {
            return assume_the_worst(context, stored, &assumed).await;
        }
    }
    let Some(gone_at) = gone_at else {
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

/// Whether an alias leads to the record of another domain.
fn is_shared(context: &Context, publication: &Publication, txt: &TxtSet) -> bool {
    let name = publication_txt_name(publication);
    let others = sharers(context, &publication.domain, &name);
    txt.ours().any(|id| others.iter().any(|p| p.knows(id)))
}

async fn remove_txt(
    context: &Context,
    stored: &Stored,
    record: &Record,
    view: Option<Result<View, ProviderError>>,
) -> Result<Action, Error> {
    let domain = &record.publication.domain;
    let shared = |txt: &TxtSet| is_shared(context, &record.publication, txt);
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
                Ok(Swap::Done) if view.is_handed_over() => {
                    tracing::warn!(%domain, "the DNSEndpoint of a retiring domain is gone and its TXT record is not: if that lasts, run external-dns with --policy=sync, or remove the record by hand");
                    Ok(Action::requeue(RETRY))
                }
                Ok(Swap::Done | Swap::Conflict) => Ok(Action::requeue(Duration::ZERO)),
                Err(error) => {
                    tracing::warn!(%domain, %error, "the TXT record of a retiring domain cannot be removed yet");
                    Ok(Action::requeue(RETRY))
                }
            };
        }
        // Somebody may have removed it by hand.
        Some(Err(error)) => {
            tracing::warn!(%domain, %error, "the TXT record of a retiring domain cannot be removed yet");
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
            tls_rpt::remove(context, record, &view).await?;
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
