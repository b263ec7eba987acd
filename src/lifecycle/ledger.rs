//! The ledger: every policy that a sender may still hold, and until when.

use jiff::{SignedDuration, Timestamp};

use super::record::{Announced, LedgerEntry};
use crate::protocol::{MaxAge, Mode, PolicyId, Sha256Digest};

/// The most entries that a ledger holds. Beyond it, entries of equal mode and patterns merge.
pub const MAX_ENTRIES: usize = 64;

impl LedgerEntry {
    /// The entry that stands in for everything a lost record may have said: an enforce policy
    /// of `max_age`, served until now. It carries the id by which the loss was noticed, so that
    /// the same id is no news the next time.
    pub fn worst_case(id: PolicyId, max_age: MaxAge, now: Timestamp) -> Self {
        Self {
            id: Some(id),
            sha256: None,
            mode: Mode::Enforce,
            max_age,
            mx: Vec::new(),
            first_served: now,
            last_served: Some(now),
        }
    }

    /// When the last sender gives it up, were it last served at `last_served` (or now, while it
    /// still is). Some senders keep whatever they get for a day.
    pub fn held_until(&self, now: Timestamp) -> Timestamp {
        let seconds = self.max_age.max(MaxAge::DAY).seconds();
        self.last_served
            .unwrap_or(now)
            .saturating_add(SignedDuration::from_secs(i64::from(seconds)))
            .unwrap_or(Timestamp::MAX)
    }
}

/// Closes every open entry except that of `current`: its successor is proved to be out.
pub fn close_all_but(ledger: &mut [LedgerEntry], current: &PolicyId, now: Timestamp) {
    for entry in ledger {
        if entry.last_served.is_none() && entry.id.as_ref() != Some(current) {
            entry.last_served = Some(now);
        }
    }
}

/// Whether an entry other than that of `current` is still open.
pub fn has_open_predecessor(ledger: &[LedgerEntry], current: &PolicyId) -> bool {
    ledger
        .iter()
        .any(|entry| entry.last_served.is_none() && entry.id.as_ref() != Some(current))
}

/// Opens again what was seen to be served again. Tells whether anything changed.
pub fn reopen(ledger: &mut [LedgerEntry], current: &PolicyId, seen: &[Sha256Digest]) -> bool {
    let mut changed = false;
    for entry in ledger {
        let served_again = entry.sha256.is_some_and(|digest| seen.contains(&digest));
        if entry.id.as_ref() != Some(current) && entry.last_served.is_some() && served_again {
            entry.last_served = None;
            changed = true;
        }
    }
    changed
}

/// Drops what no sender holds any more, then merges what is too much.
///
/// While the announcement is not confirmed, nothing is dropped: a name server may still show an
/// id that only the ledger knows to be ours.
pub fn prune(
    ledger: &mut Vec<LedgerEntry>,
    current: &PolicyId,
    announced: Option<&Announced>,
    now: Timestamp,
) {
    if announced.is_some_and(|a| a.confirmed_at.is_some()) {
        ledger.retain(|entry| {
            entry.last_served.is_none()
                || entry.id.as_ref() == Some(current)
                || entry.held_until(now) > now
        });
    }
    while ledger.len() > MAX_ENTRIES && merge_oldest(ledger, current) {}
}

/// Merges the oldest closed entry into another one of the same mode and patterns, so that the
/// later end stands. Where there is none of the kind, into the next closed one as an enforce
/// policy of unknown patterns: never shorter than the truth.
fn merge_oldest(ledger: &mut Vec<LedgerEntry>, current: &PolicyId) -> bool {
    let closed =
        |entry: &LedgerEntry| entry.last_served.is_some() && entry.id.as_ref() != Some(current);
    let Some(oldest) = ledger.iter().position(closed) else {
        return false;
    };
    let gone = ledger.remove(oldest);
    let alike = ledger
        .iter_mut()
        .filter(|entry| closed(entry))
        .find(|entry| entry.mode == gone.mode && entry.mx == gone.mx);
    match alike {
        Some(entry) => absorb(entry, &gone),
        None => match ledger.iter_mut().find(|entry| closed(entry)) {
            Some(entry) => {
                absorb(entry, &gone);
                entry.mode = entry.mode.min(gone.mode);
                entry.mx.clear();
            }
            None => {
                ledger.insert(oldest, gone);
                return false;
            }
        },
    }
    true
}

fn absorb(entry: &mut LedgerEntry, gone: &LedgerEntry) {
    entry.max_age = entry.max_age.max(gone.max_age);
    entry.last_served = entry.last_served.max(gone.last_served);
    entry.first_served = entry.first_served.min(gone.first_served);
}

/// From when on every sender uses the current policy, also one that ignores the id: the latest
/// end of all other entries. `None` while nothing else was ever served.
pub fn all_senders_by(
    ledger: &[LedgerEntry],
    current: &PolicyId,
    now: Timestamp,
) -> Option<Timestamp> {
    ledger
        .iter()
        .filter(|entry| entry.id.as_ref() != Some(current))
        .map(|entry| entry.held_until(now))
        .max()
}

impl Announced {
    /// From when on a sender that follows RFC 8461 §5.1 uses what is announced: all resolvers
    /// have dropped what they knew before. `None` until it is confirmed.
    pub fn conforming_senders_by(&self) -> Option<Timestamp> {
        self.confirmed_at?
            .checked_add(SignedDuration::from_secs(i64::from(self.previous_ttl)))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn entry(id: &str, max_age: u32, last_served: Option<i64>) -> LedgerEntry {
        LedgerEntry {
            id: Some(id.parse().unwrap()),
            sha256: Some(Sha256Digest::of(id.as_bytes())),
            mode: Mode::Enforce,
            max_age: MaxAge::from_seconds(max_age).unwrap(),
            mx: vec!["mail.example.org".parse().unwrap()],
            first_served: at(0),
            last_served: last_served.map(at),
        }
    }

    fn id(text: &str) -> PolicyId {
        text.parse().unwrap()
    }

    fn confirmed() -> Announced {
        Announced {
            id: id("b"),
            ttl: 300,
            at: at(0),
            previous_ttl: 300,
            confirmed_at: Some(at(0)),
        }
    }

    #[test]
    fn a_short_max_age_is_still_held_for_a_day() {
        assert_eq!(
            entry("a", 60, Some(10)).held_until(at(500)),
            at(10 + 86_400)
        );
        assert_eq!(
            entry("a", 604_800, None).held_until(at(500)),
            at(500 + 604_800)
        );
    }

    #[test]
    fn the_bound_for_all_senders_leaves_the_current_policy_out() {
        let ledger = [
            entry("a", 604_800, Some(5)),
            entry("b", 86_400, Some(50)),
            entry("c", 31_557_600, None),
        ];
        assert_eq!(
            all_senders_by(&ledger, &id("c"), at(60)),
            Some(at(5 + 604_800))
        );
        assert_eq!(all_senders_by(&ledger[2..], &id("c"), at(60)), None);
    }

    #[test]
    fn bytes_that_come_back_open_their_entry_again() {
        let mut ledger = vec![entry("a", 86_400, Some(5)), entry("b", 86_400, None)];
        assert!(!has_open_predecessor(&ledger, &id("b")));
        assert!(reopen(&mut ledger, &id("b"), &[Sha256Digest::of(b"a")]));
        assert!(has_open_predecessor(&ledger, &id("b")));
        close_all_but(&mut ledger, &id("b"), at(9));
        assert_eq!(ledger[0].last_served, Some(at(9)));
        assert_eq!(ledger[1].last_served, None);
    }

    #[test]
    fn an_entry_is_dropped_when_its_last_sender_has_given_it_up_and_not_before() {
        let full = vec![entry("a", 86_400, Some(0)), entry("b", 86_400, None)];
        for (now, announced, left) in [
            (at(86_399), Some(confirmed()), 2),
            (at(86_401), Some(confirmed()), 1),
            (at(86_401), None, 2),
        ] {
            let mut ledger = full.clone();
            prune(&mut ledger, &id("b"), announced.as_ref(), now);
            assert_eq!(ledger.len(), left, "{now} {announced:?}");
        }
    }

    #[test]
    fn a_full_ledger_merges_and_never_gets_shorter_than_the_truth() {
        let now = at(1000);
        let mut ledger: Vec<LedgerEntry> = (0..200)
            .map(|n| {
                let mut one = entry(&format!("a{n}"), 86_400 + n, Some(i64::from(n)));
                one.mx = vec![format!("mx{n}.example.org").parse().unwrap()];
                one
            })
            .collect();
        ledger.push(entry("now", 86_400, None));
        let before = all_senders_by(&ledger, &id("now"), now).unwrap();
        prune(&mut ledger, &id("now"), None, now);
        assert_eq!(ledger.len(), MAX_ENTRIES);
        assert!(all_senders_by(&ledger, &id("now"), now).unwrap() >= before);
        assert!(ledger.iter().any(|e| e.id == Some(id("now"))));
    }
}
