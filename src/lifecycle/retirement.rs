//! A domain on its way out (RFC 8461 §8.3): mode `none` is published, every sender's copy of what
//! was before ends, then the TXT record goes, and what it points to last.

use jiff::{SignedDuration, Timestamp};

use super::ledger;
use super::record::{Decision, DeletionPolicy, LedgerEntry, Publication, Record};
use super::txt::TxtSet;
use crate::protocol::{InstallationId, MaxAge, Mode, Policy};

/// What is due for a domain whose object was deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Nothing: all stays as it is.
    Retained,
    /// Another object may take the domain over until then: a move needs no gap.
    Grace(Timestamp),
    /// Decide on the policy that says `none`.
    DecideNone,
    /// Bring it out, body first, and look after it until what senders hold has ended.
    None {
        /// When the last copy of another policy ends, were it no longer served by now.
        until: Timestamp,
    },
    /// By our clock nobody holds anything any more: ask another clock.
    CompareClocks,
    /// Take it all away.
    TakeAway,
}

/// Decides what is due for `publication`; `None` if it is not on its way out.
pub fn stage(publication: &Publication, grace: SignedDuration, now: Timestamp) -> Option<Stage> {
    let retiring = publication.retiring.as_ref()?;
    let grace_ends = later(retiring.since, grace);
    Some(match retiring.policy {
        DeletionPolicy::Retain => Stage::Retained,
        DeletionPolicy::Immediate => Stage::TakeAway,
        _ if retiring.over_at.is_some() || retiring.txt_gone_at.is_some() => Stage::TakeAway,
        // No sender was ever told; or the body is somebody else's, who goes on serving it.
        _ if nobody_was_told(publication) || publication.external => Stage::TakeAway,
        _ if grace_ends > now && !has_begun(publication, retiring.since) => {
            Stage::Grace(grace_ends)
        }
        _ if publication.current.mode != Mode::None => Stage::DecideNone,
        _ => match held_until(publication, now) {
            Some(until) if until > now || is_open(publication) => Stage::None { until },
            _ => Stage::CompareClocks,
        },
    })
}

/// Whether nothing was ever announced. A record that stands in for one that was lost has announced
/// nothing either, and the id by which the loss was noticed leads senders to its body.
fn nobody_was_told(publication: &Publication) -> bool {
    let stands_in = publication
        .ledger
        .iter()
        .any(|entry| entry.sha256.is_none());
    publication.announced.is_none() && !stands_in
}

/// The record with the worst assumed of what senders hold, where there are ids of ours (in the TXT record, or
/// at a policy server) that it does not know: it is an old one, restored from a backup, and its ledger
/// lacks what was served since. A `none` that was decided gets an id above them. `None` where it knows
/// them all, or where nobody wants to wait.
pub fn worst_assumed(
    record: &Record,
    shown: &TxtSet,
    installation: &InstallationId,
    now: Timestamp,
) -> Option<Record> {
    let mut assumed = record.clone();
    let publication = &mut assumed.publication;
    let retiring = publication.retiring.as_mut()?;
    if retiring.policy == DeletionPolicy::Immediate {
        return None;
    }
    let unknown = shown.ours().filter(|id| !record.publication.knows(id));
    let unknown: Vec<LedgerEntry> = unknown
        .map(|id| LedgerEntry::worst_case(id.clone(), MaxAge::MAX, now))
        .collect();
    if unknown.is_empty() {
        return None;
    }
    retiring.withdrawn = false;
    retiring.clock_asked_at = None;
    retiring.over_at = None;
    retiring.txt_gone_at = None;
    publication.ledger.extend(unknown);
    Some(match publication.current.mode {
        Mode::None => decide_none(&assumed, installation, now),
        Mode::Testing | Mode::Enforce => assumed,
    })
}

/// When the last sender gives up the last policy that is not `none`: the latest end in the ledger.
/// `None` if nobody holds one.
pub fn held_until(publication: &Publication, now: Timestamp) -> Option<Timestamp> {
    let ledger = publication.ledger.iter();
    let held = ledger.filter(|entry| entry.mode != Mode::None);
    held.map(|entry| entry.held_until(now)).max()
}

/// When the domain will be gone, if nothing comes in between: what a person is told. `None` where
/// nothing ends by itself.
pub fn ends(publication: &Publication, grace: SignedDuration, now: Timestamp) -> Option<Timestamp> {
    let retiring = publication.retiring.as_ref()?;
    let ttl = publication.announced.as_ref().map_or(0, |a| a.ttl);
    let ttl = SignedDuration::from_secs(ttl.into());
    let start = match stage(publication, grace, now)? {
        Stage::Retained => return None,
        Stage::TakeAway => retiring.txt_gone_at.unwrap_or(now),
        // Until then the present policy is served on.
        Stage::Grace(end) => held_until(publication, end).unwrap_or(end),
        Stage::DecideNone | Stage::CompareClocks => held_until(publication, now).unwrap_or(now),
        Stage::None { until } => until,
    };
    Some(later(start, ttl))
}

/// Whether `none` was decided since the object was deleted, so that there is no way back to it.
fn has_begun(publication: &Publication, since: Timestamp) -> bool {
    let current = &publication.current;
    current.mode == Mode::None && current.decided_at >= since
}

/// Whether a policy other than the current one may still be served.
fn is_open(publication: &Publication) -> bool {
    ledger::has_open_predecessor(&publication.ledger, &publication.current.id)
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The record with a policy that says `none`, to be kept for a day, for the same hosts: two
/// readers refuse one without any.
pub fn decide_none(record: &Record, installation: &InstallationId, now: Timestamp) -> Record {
    let mut next = record.clone();
    let before = &record.publication;
    let policy = Policy {
        mode: Mode::None,
        max_age: MaxAge::DAY,
        mx: before.current.mx.clone(),
    };
    let announced = before.announced.as_ref().map(|announced| &announced.id);
    let held = before.ledger.iter().filter_map(|entry| entry.id.as_ref());
    let previous = held.chain(announced).chain([&before.current.id]).max();
    let (body, current) = Decision::of(&policy, installation, previous, now);
    let publication = &mut next.publication;
    publication.ledger.push(LedgerEntry::of(&current, now));
    ledger::prune(
        &mut publication.ledger,
        &current.id,
        before.announced.as_ref(),
        now,
    );
    publication.current = current;
    next.body = body;
    next
}

#[cfg(test)]
mod tests {
    use super::super::record::{Announced, DnsState, Owner, Retiring};
    use super::*;
    use crate::protocol::Domain;

    const GRACE: SignedDuration = SignedDuration::from_mins(10);
    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn installation() -> InstallationId {
        "00c0de".parse().unwrap()
    }

    /// An enforce policy of a week, announced, whose object was deleted at 0.
    fn record(policy: DeletionPolicy) -> Record {
        let enforce = Policy {
            mode: Mode::Enforce,
            max_age: MaxAge::WEEK,
            mx: vec!["mail.example.org".parse().unwrap()],
        };
        let (body, current) = Decision::of(&enforce, &installation(), None, at(-9));
        Record {
            body,
            publication: Publication {
                domain: Domain::parse("example.org").unwrap(),
                owner: Owner {
                    namespace: "mail".to_owned(),
                    name: "example-org".to_owned(),
                    uid: "u".to_owned(),
                },
                announced: Some(Announced {
                    id: current.id.clone(),
                    ttl: 300,
                    at: at(-8),
                    previous_ttl: 60,
                    confirmed_at: Some(at(-7)),
                }),
                ledger: vec![LedgerEntry::of(&current, at(-9))],
                current,
                dns: DnsState::default(),
                adopted_mode: None,
                tried_out: None,
                rollout: None,
                external: false,
                retiring: Some(Retiring {
                    since: at(0),
                    withdrawn: false,
                    policy,
                    clock_asked_at: None,
                    over_at: None,
                    txt_gone_at: None,
                }),
                retired: false,
            },
        }
    }

    fn due(record: &Record, seconds: i64) -> Stage {
        stage(&record.publication, GRACE, at(seconds)).unwrap()
    }

    #[test]
    fn nothing_goes_while_a_sender_may_hold_the_policy() {
        let record = record(DeletionPolicy::Graceful);
        assert_eq!(due(&record, 599), Stage::Grace(at(600)));
        assert_eq!(due(&record, 600), Stage::DecideNone);

        let mut none = decide_none(&record, &installation(), at(600));
        let current = &none.publication.current;
        assert!(none.body.contains("mode: none") && none.body.contains("mx: mail.example.org"));
        assert!(current.id > record.publication.current.id);
        // While the old body may be served, its end moves on with the time.
        let week = 7 * DAY;
        assert_eq!(
            due(&none, 700),
            Stage::None {
                until: at(700 + week)
            }
        );
        assert_eq!(
            due(&none, 9 * DAY),
            Stage::None {
                until: at(16 * DAY)
            }
        );
        let id = current.id.clone();
        ledger::close_all_but(&mut none.publication.ledger, &id, at(800));
        let until = at(800 + week);
        assert_eq!(due(&none, 900), Stage::None { until });
        assert_eq!(due(&none, 799 + week), Stage::None { until });
        assert_eq!(due(&none, 800 + week), Stage::CompareClocks);

        none.publication.retiring.as_mut().unwrap().over_at = Some(until);
        assert_eq!(due(&none, 800 + week), Stage::TakeAway);
    }

    #[test]
    fn what_nobody_holds_or_wants_kept_is_not_waited_for() {
        let immediate = record(DeletionPolicy::Immediate);
        assert_eq!(due(&immediate, 1), Stage::TakeAway);
        let retained = record(DeletionPolicy::Retain);
        assert_eq!(due(&retained, 100 * DAY), Stage::Retained);
        assert_eq!(ends(&retained.publication, GRACE, at(1)), None);

        let mut never_told = record(DeletionPolicy::Graceful);
        never_told.publication.announced = None;
        assert_eq!(due(&never_told, 1), Stage::TakeAway);
        // In place of a record that was lost: the id that is out leads senders to its body.
        let mut stands_in = never_told.clone();
        let lost = "2026112512000000000000000c0d".parse().unwrap();
        let worst = LedgerEntry::worst_case(lost, MaxAge::MAX, at(0));
        stands_in.publication.ledger.push(worst);
        assert_eq!(due(&stands_in, 600), Stage::DecideNone);
        let mut elsewhere = record(DeletionPolicy::Graceful);
        elsewhere.publication.external = true;
        assert_eq!(due(&elsewhere, 1), Stage::TakeAway);

        let mut only_none = record(DeletionPolicy::Graceful);
        let publication = &mut only_none.publication;
        publication.current.mode = Mode::None;
        publication.ledger = vec![LedgerEntry::of(&publication.current, at(-9))];
        assert_eq!(due(&only_none, 600), Stage::CompareClocks);
    }

    #[test]
    fn the_end_is_told_from_the_start() {
        let record = record(DeletionPolicy::Graceful);
        let expected = at(600 + 7 * DAY + 300);
        assert_eq!(ends(&record.publication, GRACE, at(1)), Some(expected));
        let none = decide_none(&record, &installation(), at(600));
        assert_eq!(ends(&none.publication, GRACE, at(600)), Some(expected));
        assert_eq!(
            stage(
                &Publication {
                    retiring: None,
                    ..none.publication
                },
                GRACE,
                at(600)
            ),
            None
        );
    }
}
