//! The publication of mode `none` for a domain on its way out, by the same transaction as any
//! other: body first, id second. (io)

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;

use super::{RETRY, assume_the_worst, at, provider, write};
use crate::clock;
use crate::controller::context::Context;
use crate::controller::dns::View;
use crate::controller::error::{Error, ProviderError};
use crate::controller::hold::sharers;
use crate::controller::observe::{self, DnsSeen};
use crate::controller::records::Stored;
use crate::controller::steps::note_fresh;
use crate::dns::{DnsErrorClass, Swap};
use crate::lifecycle::observation::{
    AddressState, Observation, Public, PublicAnswer, PublicOutcome,
};
use crate::lifecycle::publish::{self, NotServed, Progress, Served, Step};
use crate::lifecycle::txt::TxtSet;
use crate::lifecycle::{Publication, Record, ledger, retirement};
use crate::limits;
use crate::protocol::{Domain, PolicyId, StsRecord};

/// Decides on `none`, unless the record in the DNS is not ours any more.
pub(super) async fn decide(
    context: &Context,
    stored: &Stored,
    record: &Record,
) -> Result<Action, Error> {
    let dns = look(context, &record.publication).await;
    let Some(dns) = dns else {
        return Ok(Action::requeue(RETRY));
    };
    if is_lost(context, &record.publication, &dns) {
        return give_up(context, stored, record).await;
    }
    if let Some(assumed) = worst_assumed(context, record, &dns, &[]) {
        return assume_the_worst(context, stored, &assumed).await;
    }
    let none = retirement::decide_none(record, &context.installation, clock::now());
    write(context, stored, &none).await?;
    let (domain, id) = (&none.publication.domain, &none.publication.current.id);
    tracing::info!(%domain, %id, "the policy of a retiring domain gets mode none");
    Ok(Action::requeue(Duration::ZERO))
}

/// Does what is due for the publication of `none`; once it is out, waits until `until`.
pub(super) async fn step(
    context: &Context,
    stored: &Stored,
    record: &Record,
    until: Timestamp,
) -> Result<Action, Error> {
    let Some(dns) = look(context, &record.publication).await else {
        return Ok(Action::requeue(RETRY));
    };
    if is_lost(context, &record.publication, &dns) {
        return give_up(context, stored, record).await;
    }
    let domain = &record.publication.domain;
    let address = address_state(&record.publication);
    let seen = observe::world(context, domain, false, record, &dns, address).await;
    let served = observe::newer_served(context, record, &seen);
    if let Some(assumed) = worst_assumed(context, record, &dns, &served) {
        return assume_the_worst(context, stored, &assumed).await;
    }
    let now = clock::now();
    if let Some(reopened) = publish::reopen_ledger(record, &seen) {
        write(context, stored, &reopened).await?;
        return Ok(Action::requeue(Duration::ZERO));
    }
    let progress = publish::progress(record, &seen, now);
    note_fresh(context, record, &progress, now);
    if progress.step == Step::AwaitBody && nobody_gets_a_body(&seen, &progress) {
        return match is_open(record) {
            true => {
                tracing::warn!(%domain, "nobody can fetch the policy of a retiring domain, so its mode none is not waited for");
                write(context, stored, &publish::close_ledger(record, now)).await?;
                Ok(Action::requeue(Duration::ZERO))
            }
            false => Ok(at(until, now)),
        };
    }
    let next = match next(record, &dns, &progress, now) {
        Next::Write(next) => next,
        Next::WriteTxt(view) => return write_txt(context, record, view).await,
        Next::Wait => return Ok(Action::requeue(RETRY)),
        Next::Done => return Ok(at(until, now)),
    };
    write(context, stored, &next).await?;
    Ok(Action::requeue(Duration::ZERO))
}

/// The worst that has to be assumed, where the DNS or a policy server shows that the record is an old one.
fn worst_assumed(
    context: &Context,
    record: &Record,
    dns: &DnsSeen,
    served: &[PolicyId],
) -> Option<Record> {
    let served: Vec<_> = served
        .iter()
        .map(|id| StsRecord::render(id).into_bytes())
        .collect();
    let served = TxtSet::classify(&served, &context.installation);
    let domain = &record.publication.domain;
    // Where an alias leads to another domain's record, its id is no sign of anything.
    let shown = match sharers(context, domain, &dns.txt_name).is_empty() {
        true => dns.txt(context).union(&served),
        false => served,
    };
    retirement::worst_assumed(record, &shown, &context.installation, clock::now())
}

/// Whether a policy other than `none` may still be served.
fn is_open(record: &Record) -> bool {
    let publication = &record.publication;
    ledger::has_open_predecessor(&publication.ledger, &publication.current.id)
}

/// Whether every policy server has the new body and the public URL gives nobody any: then nobody
/// gets the old one either, and no sender comes to hold it anew.
fn nobody_gets_a_body(seen: &Observation, progress: &Progress) -> bool {
    let servers_lag = matches!(
        progress.served,
        Served::No(
            NotServed::EndpointStale(_)
                | NotServed::EndpointUnreachable(..)
                | NotServed::NoEndpoints
        )
    );
    let no_body = match &seen.public {
        Public::NoAddress => true,
        Public::Answers(answers) => {
            let is_body = |it: &PublicAnswer| matches!(it.outcome, PublicOutcome::Body { .. });
            !answers.iter().any(is_body)
        }
        Public::NotLooked | Public::LookupFailed(_) => false,
    };
    !servers_lag && no_body
}

/// What is due.
enum Next<'a> {
    Write(Box<Record>),
    WriteTxt(&'a View),
    Wait,
    Done,
}

fn next<'a>(record: &Record, dns: &'a DnsSeen, progress: &Progress, now: Timestamp) -> Next<'a> {
    let publication = &record.publication;
    let closed = || Next::Write(Box::new(publish::close_ledger(record, now)));
    match (progress.step, &dns.provider) {
        (Step::Announce, Some(Ok(view))) => {
            let announced = publication.announced.as_ref();
            let ttl = announced.map_or(limits::RETIRED_TTL, |a| a.ttl);
            let mut next = publish::announce(record, view.ttl(ttl), dns.txt_ttl(), now);
            next.publication.dns.txt_name = Some(dns.txt_name.clone());
            Next::Write(Box::new(next))
        }
        // Nobody can write the new id, or not before somebody acts. Senders find `none` when their copies
        // end.
        (Step::Announce, provider) if is_out_of_use(provider.as_ref()) => {
            if let Some(Err(error)) = provider {
                warn(&publication.domain, error);
            }
            match is_open(record) {
                true => closed(),
                false => Next::Done,
            }
        }
        (Step::WriteTxt, Some(Ok(view))) => Next::WriteTxt(view),
        (Step::Confirm, _) => Next::Write(Box::new(publish::confirm(record, now))),
        (Step::CloseLedger, _) => closed(),
        (Step::Done, _) => Next::Done,
        (Step::AwaitBody, _) => Next::Wait,
        (_, provider) => {
            if let Some(Err(error)) = provider {
                warn(&publication.domain, error);
            }
            Next::Wait
        }
    }
}

/// Whether there is no provider, or one that nothing can be done with until somebody acts: its Secret is
/// gone, say, or its zone.
fn is_out_of_use(provider: Option<&Result<View, ProviderError>>) -> bool {
    match provider {
        None => true,
        Some(Ok(_)) => false,
        Some(Err(error)) => error.class() == DnsErrorClass::Stalled,
    }
}

/// What the DNS says; `None` while nobody can be asked.
async fn look(context: &Context, publication: &Publication) -> Option<DnsSeen> {
    let domain = &publication.domain;
    let provider = provider(context, publication);
    let dns = observe::dns_seen(context, domain, provider.as_ref(), Some(publication)).await;
    if let Some(why) = &dns.unknown {
        tracing::warn!(%domain, why, "the name servers of a retiring domain cannot be asked");
        return None;
    }
    Some(dns)
}

/// Whether somebody else's record stands where ours was, or an alias leads to another domain's:
/// then senders go by that one.
fn is_lost(context: &Context, publication: &Publication, dns: &DnsSeen) -> bool {
    let txt = match &dns.provider {
        Some(Ok(view)) => view.txt(&context.installation),
        Some(Err(_)) => return false,
        None => dns.txt(context),
    };
    let others = sharers(context, &publication.domain, &dns.txt_name);
    let shared = txt
        .ours()
        .any(|id| others.iter().any(|other| other.knows(id)));
    shared || (txt.has_none_of_ours() && !txt.foreign().is_empty())
}

async fn give_up(context: &Context, stored: &Stored, record: &Record) -> Result<Action, Error> {
    let domain = &record.publication.domain;
    tracing::warn!(%domain, "the TXT record of a retiring domain is somebody else's now, so nothing is announced any more");
    let mut over = record.clone();
    if let Some(retiring) = &mut over.publication.retiring {
        retiring.over_at = Some(clock::now());
    }
    write(context, stored, &over).await?;
    Ok(Action::requeue(Duration::ZERO))
}

/// The address is left as it is: it counts as shown since it was.
fn address_state(publication: &Publication) -> AddressState {
    let confirmed_at = publication.dns.addresses_confirmed_at;
    confirmed_at.map_or(AddressState::NotOurs, |since| AddressState::Shown {
        since,
        previous_ttl: publication.dns.addresses_previous_ttl,
    })
}

async fn write_txt(context: &Context, record: &Record, view: &View) -> Result<Action, Error> {
    let Some(announced) = &record.publication.announced else {
        return Ok(Action::requeue(RETRY));
    };
    let domain = &record.publication.domain;
    if view.txt(&context.installation).shows_exactly(&announced.id) {
        // The other servers follow by themselves.
        return Ok(Action::requeue(RETRY));
    }
    let written = view.write_txt(context, Some(&announced.id), announced.ttl);
    match written.await? {
        Ok(Swap::Done | Swap::Conflict) => Ok(Action::requeue(Duration::from_millis(500))),
        Err(error) => {
            warn(domain, &error);
            Ok(Action::requeue(RETRY))
        }
    }
}

fn warn(domain: &Domain, error: &ProviderError) {
    tracing::warn!(%domain, %error, "the id of a retiring domain cannot be written yet");
}
