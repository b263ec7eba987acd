//! The publish transaction (RFC 8461 §8.1): body first, id second. Given what is to be
//! published and what was seen, the one thing that is due next.
//!
//! The invariant: no authoritative server announces an id while a policy-server replica or the
//! public URL serves a body that was decided before it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::ledger;
use super::observation::{
    AddressState, CertificateProblem, EndpointAnswer, Observation, Public, PublicAnswer,
    PublicOutcome, TxtAnswer, TxtServer, UNREACHABLE_HOLD, printable,
};
use super::record::{Announced, LedgerEntry, Publication, Record};
use crate::protocol::{MxPattern, Policy, PolicyId, Sha256Digest};

/// Whether the body is out.
#[derive(Clone, PartialEq, Debug)]
pub enum Served {
    /// Everywhere.
    Yes,
    /// Not yet, and why.
    No(NotServed),
}

/// Why a body does not count as served.
#[derive(Clone, PartialEq, Debug)]
pub enum NotServed {
    /// There is no policy server.
    NoEndpoints,
    /// An endpoint serves something else.
    EndpointStale(String),
    /// An endpoint does not answer.
    EndpointUnreachable(String, String),
    /// The address of the policy host is not known.
    AddressUnknown,
    /// The address record is not yet everywhere.
    AddressPending(String),
    /// Somebody else's address record stands there.
    AddressForeign(String),
    /// The old address may be cached until then.
    AddressCached(Timestamp),
    /// The policy host could not be looked up.
    LookupFailed(String),
    /// The policy host has no address.
    HostUnresolved,
    /// An address is private.
    PrivateAddress(String),
    /// An address does not answer.
    HostUnreachable(String, String),
    /// A status other than 200.
    WrongStatus(String, u16, Option<String>),
    /// Not text/plain.
    WrongContentType(String, Option<String>),
    /// Other bytes.
    WrongBody(String),
    /// The certificate is not valid: senders refuse it.
    Certificate(String, CertificateProblem),
    /// A cache in front may hold the old body until then.
    Cached(Timestamp),
}

/// Whether the id is out.
#[derive(Clone, PartialEq, Debug)]
pub enum Shown {
    /// At every authoritative server.
    Yes,
    /// Not yet at these, with what they say.
    Differs(Vec<String>),
    /// A record that is not ours stands there.
    Foreign(String),
    /// No server could be asked.
    Unknown(String),
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Wait until the body is out.
    AwaitBody,
    /// Write into the record that the id is to be announced.
    Announce,
    /// Bring DNS to say what the record announces.
    WriteTxt,
    /// Write into the record that all servers show the id.
    Confirm,
    /// Note in the ledger that what came before is no longer served.
    CloseLedger,
    /// Everything is published.
    Done,
}

/// The state of a publication and the step that is due.
#[derive(Clone, PartialEq, Debug)]
pub struct Progress {
    /// Whether the body is out.
    pub served: Served,
    /// Whether the announced id is out.
    pub shown: Shown,
    /// What is due.
    pub step: Step,
}

/// What is due for `record`, given what was seen.
pub fn progress(record: &Record, seen: &Observation, now: Timestamp) -> Progress {
    let served = served(record, seen, now);
    let announced = record.publication.announced.as_ref();
    let shown = match announced {
        Some(announced) => shown(&announced.id, &seen.txt_servers, now),
        None => Shown::Differs(Vec::new()),
    };
    let step = step(&record.publication, &served, &shown);
    Progress {
        served,
        shown,
        step,
    }
}

fn step(publication: &Publication, served: &Served, shown: &Shown) -> Step {
    let announced = publication
        .announced
        .as_ref()
        .filter(|a| a.id == publication.current.id);
    match announced {
        None if *served == Served::Yes => Step::Announce,
        None => Step::AwaitBody,
        Some(announced) => match shown {
            Shown::Yes if announced.confirmed_at.is_none() => Step::Confirm,
            Shown::Yes if *served == Served::Yes && has_open_predecessor(publication) => {
                Step::CloseLedger
            }
            Shown::Yes => Step::Done,
            _ => Step::WriteTxt,
        },
    }
}

fn has_open_predecessor(publication: &Publication) -> bool {
    ledger::has_open_predecessor(&publication.ledger, &publication.current.id)
}

/// Whether the body of `record` is out: every policy-server endpoint and the public URL give
/// exactly it.
pub fn served(record: &Record, seen: &Observation, now: Timestamp) -> Served {
    let result = endpoints_fresh(record, seen, now)
        .and_then(|()| address_settled(seen, now))
        .and_then(|()| public_fresh(record, seen, now));
    match result {
        Ok(()) => Served::Yes,
        Err(why) => Served::No(why),
    }
}

fn endpoints_fresh(record: &Record, seen: &Observation, now: Timestamp) -> Result<(), NotServed> {
    let Some(endpoints) = &seen.endpoints else {
        return Ok(());
    };
    let mut fresh = 0;
    let mut unreachable = None;
    for endpoint in endpoints {
        match &endpoint.answer {
            EndpointAnswer::Body { etag, sha256 } => {
                // The bytes alone are fooled by A → B → A.
                let current = &record.publication.current;
                if *sha256 != current.sha256 || etag.as_deref() != Some(current.id.as_str()) {
                    return Err(NotServed::EndpointStale(endpoint.address.clone()));
                }
                fresh += 1;
            }
            EndpointAnswer::Other(_) => {
                return Err(NotServed::EndpointStale(endpoint.address.clone()));
            }
            EndpointAnswer::Unreachable { why, since } => {
                if holds(*since, now) {
                    return Err(NotServed::EndpointUnreachable(
                        endpoint.address.clone(),
                        why.clone(),
                    ));
                }
                unreachable = Some((endpoint.address.clone(), why.clone()));
            }
        }
    }
    match (fresh, unreachable) {
        (0, Some((address, why))) => Err(NotServed::EndpointUnreachable(address, why)),
        (0, None) => Err(NotServed::NoEndpoints),
        _ => Ok(()),
    }
}

fn holds(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) < UNREACHABLE_HOLD
}

fn address_settled(seen: &Observation, now: Timestamp) -> Result<(), NotServed> {
    match &seen.address {
        AddressState::NotOurs => Ok(()),
        AddressState::Unknown => Err(NotServed::AddressUnknown),
        AddressState::Pending(what) => Err(NotServed::AddressPending(what.clone())),
        AddressState::Foreign(what) => Err(NotServed::AddressForeign(what.clone())),
        AddressState::Shown {
            since,
            previous_ttl,
        } => {
            let settled = later(*since, *previous_ttl);
            if settled > now {
                Err(NotServed::AddressCached(settled))
            } else {
                Ok(())
            }
        }
    }
}

fn later(time: Timestamp, seconds: u32) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(i64::from(seconds)))
        .unwrap_or(Timestamp::MAX)
}

fn public_fresh(record: &Record, seen: &Observation, now: Timestamp) -> Result<(), NotServed> {
    let answers = match &seen.public {
        Public::NotLooked => return Ok(()),
        Public::LookupFailed(why) => return Err(NotServed::LookupFailed(why.clone())),
        Public::NoAddress => return Err(NotServed::HostUnresolved),
        Public::Answers(answers) if answers.is_empty() => return Err(NotServed::HostUnresolved),
        Public::Answers(answers) => answers,
    };
    let external = seen.endpoints.is_none();
    for answer in answers {
        answer_fresh(record, answer, external)?;
    }
    cache_expired(answers, seen.fresh_since, now)
}

fn answer_fresh(record: &Record, answer: &PublicAnswer, external: bool) -> Result<(), NotServed> {
    let address = || answer.address.clone();
    // First what is nearest to the cause: without TLS there is no answer either.
    if let Some(problem) = answer.certificate.iter().min() {
        return Err(NotServed::Certificate(address(), *problem));
    }
    match &answer.outcome {
        PublicOutcome::Private => Err(NotServed::PrivateAddress(address())),
        PublicOutcome::Unreachable(why) => Err(NotServed::HostUnreachable(address(), why.clone())),
        PublicOutcome::Status { status, location } => {
            Err(NotServed::WrongStatus(address(), *status, location.clone()))
        }
        PublicOutcome::Body { content_type, .. }
            if !content_type
                .as_deref()
                .is_some_and(|t| t.eq_ignore_ascii_case("text/plain")) =>
        {
            Err(NotServed::WrongContentType(address(), content_type.clone()))
        }
        PublicOutcome::Body { sha256, policy, .. } => {
            let right = if external {
                policy.as_ref().is_some_and(|p| is_current(p, record))
            } else {
                *sha256 == record.publication.current.sha256
            };
            if right {
                Ok(())
            } else {
                Err(NotServed::WrongBody(address()))
            }
        }
    }
}

/// Whether a policy means the same as the one decided: somebody else may write it otherwise.
fn is_current(policy: &Policy, record: &Record) -> bool {
    let current = &record.publication.current;
    let patterns = |mx: &[MxPattern]| mx.iter().cloned().collect::<BTreeSet<_>>();
    policy.mode == current.mode
        && policy.max_age == current.max_age
        && patterns(&policy.mx) == patterns(&current.mx)
}

fn cache_expired(
    answers: &[PublicAnswer],
    fresh_since: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), NotServed> {
    let seconds = answers.iter().filter_map(|answer| match &answer.outcome {
        PublicOutcome::Body { cache_seconds, .. } => *cache_seconds,
        _ => None,
    });
    let Some(seconds) = seconds.max() else {
        return Ok(());
    };
    let expired = later(fresh_since.unwrap_or(now), seconds);
    if expired > now {
        Err(NotServed::Cached(expired))
    } else {
        Ok(())
    }
}

/// Whether every authoritative server shows exactly `id`.
///
/// A server that says something else holds; one that has not answered for ten minutes no longer
/// does, once another has confirmed.
pub fn shown(id: &PolicyId, servers: &[TxtServer], now: Timestamp) -> Shown {
    let mut confirmed = 0;
    let mut differ = Vec::new();
    let mut silent = Vec::new();
    for server in servers {
        match &server.answer {
            TxtAnswer::Set(set, _) if set.shows_exactly(id) => confirmed += 1,
            TxtAnswer::Set(set, _) => match set.foreign().first() {
                Some(foreign) => return Shown::Foreign(printable(foreign)),
                None => differ.push(server.address.clone()),
            },
            TxtAnswer::Unreachable { why, since } if holds(*since, now) => {
                silent.push(format!("{} ({why})", server.address));
            }
            TxtAnswer::Unreachable { .. } => {}
        }
    }
    if !differ.is_empty() || (confirmed > 0 && !silent.is_empty()) {
        differ.extend(silent);
        return Shown::Differs(differ);
    }
    if confirmed == 0 {
        return Shown::Unknown(if silent.is_empty() {
            "no authoritative server answered".to_owned()
        } else {
            silent.join(", ")
        });
    }
    Shown::Yes
}

/// The record with the current id announced, and every other policy noted as no longer served.
///
/// `previous_ttl` is how long a resolver may still say what was there before.
pub fn announce(record: &Record, ttl: u32, previous_ttl: u32, now: Timestamp) -> Record {
    let mut record = record.clone();
    let publication = &mut record.publication;
    let current = publication.current.id.clone();
    ledger::close_all_but(&mut publication.ledger, &current, now);
    // An announcement that was never confirmed may not have reached everybody: what was before
    // it can still be remembered as well.
    let unconfirmed = publication
        .announced
        .as_ref()
        .filter(|before| before.confirmed_at.is_none())
        .map_or(0, |before| before.previous_ttl);
    let previous_ttl = previous_ttl.max(unconfirmed);
    publication.announced = Some(Announced {
        id: current,
        ttl,
        at: now,
        previous_ttl,
        confirmed_at: None,
    });
    record
}

/// The record with every policy but the current one noted as no longer served.
pub fn close_ledger(record: &Record, now: Timestamp) -> Record {
    let mut record = record.clone();
    let publication = &mut record.publication;
    ledger::close_all_but(&mut publication.ledger, &publication.current.id, now);
    record
}

/// The record with what was seen to be served again noted as held again; `None` if nothing was.
///
/// Bytes that are also the current ones tell nothing.
pub fn reopen_ledger(record: &Record, seen: &Observation) -> Option<Record> {
    let current = &record.publication.current;
    let digests: Vec<Sha256Digest> = digests(seen, record)
        .filter(|digest| *digest != current.sha256)
        .collect();
    let mut reopened = record.clone();
    ledger::reopen(&mut reopened.publication.ledger, &current.id, &digests).then_some(reopened)
}

/// The record with every other policy that somebody else serves in our place noted in its
/// ledger, since senders may hold it; `None` where nothing is new.
///
/// A policy that was noted so, and that no address serves any more, is noted as ended: otherwise
/// a host that never serves the same twice would fill the ledger.
pub fn note_external(record: &Record, seen: &Observation, now: Timestamp) -> Option<Record> {
    let served: Vec<(Sha256Digest, &Policy)> = seen.external_policies().collect();
    let mut noted = record.clone();
    let ledger = &mut noted.publication.ledger;
    for (sha256, policy) in &served {
        let known = ledger.iter().any(|entry| entry.sha256 == Some(*sha256));
        if !known && !is_current(policy, record) {
            ledger.push(LedgerEntry {
                id: None,
                sha256: Some(*sha256),
                mode: policy.mode,
                max_age: policy.max_age,
                mx: policy.mx.clone(),
                first_served: now,
                last_served: None,
            });
        }
    }
    if *ledger == record.publication.ledger {
        return None;
    }
    for entry in ledger.iter_mut().filter(|entry| entry.id.is_none()) {
        let gone = !served
            .iter()
            .any(|(digest, _)| entry.sha256 == Some(*digest));
        if gone && entry.last_served.is_none() {
            entry.last_served = Some(now);
        }
    }
    let publication = &mut noted.publication;
    ledger::prune(
        &mut publication.ledger,
        &publication.current.id,
        publication.announced.as_ref(),
        now,
    );
    Some(noted)
}

/// Digests of all bodies that were seen; without those that say in somebody else's words what
/// `record` says.
fn digests(seen: &Observation, record: &Record) -> impl Iterator<Item = Sha256Digest> {
    let external = seen.endpoints.is_none();
    let is_ours = move |policy: &Option<Policy>| {
        external && policy.as_ref().is_some_and(|p| is_current(p, record))
    };
    let endpoints = seen.endpoints.iter().flatten();
    let public = match &seen.public {
        Public::Answers(answers) => answers.as_slice(),
        _ => &[],
    };
    endpoints
        .filter_map(|endpoint| match &endpoint.answer {
            EndpointAnswer::Body { sha256, .. } => Some(*sha256),
            _ => None,
        })
        .chain(
            public
                .iter()
                .filter_map(move |answer| match &answer.outcome {
                    PublicOutcome::Body { sha256, policy, .. } if !is_ours(policy) => Some(*sha256),
                    _ => None,
                }),
        )
}

/// The record with its announcement confirmed.
pub fn confirm(record: &Record, now: Timestamp) -> Record {
    let mut record = record.clone();
    if let Some(announced) = &mut record.publication.announced {
        announced.confirmed_at = Some(now);
    }
    record
}

#[cfg(test)]
pub(crate) mod tests;
