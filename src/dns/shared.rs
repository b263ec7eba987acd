//! What all policies of one provider share, so that it is not asked for each of them apart: what
//! was read a moment ago, and a turn in which writes that wait for the same zone go out together.
//!
//! What was read a moment ago is good enough to decide what is due, never to write by: each write
//! compares what it expects with what stands there then, and one that is refused has what was
//! remembered forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Change, DnsError, DnsProvider, RecordSet, RecordType, Swap};
use crate::limits;

/// What stands at a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The zone that the name lies in.
    pub zone: String,
    /// The record sets that were looked for; `None` for one that is not there.
    pub sets: HashMap<RecordType, Option<RecordSet>>,
}

impl Found {
    /// The record set of a type.
    pub fn set(&self, record_type: RecordType) -> Option<&RecordSet> {
        self.sets.get(&record_type)?.as_ref()
    }
}

/// What the policies of one provider share. Nothing of it has to be kept.
#[derive(Debug, Default)]
pub struct Shared {
    found: Mutex<HashMap<String, Known>>,
    queues: Mutex<HashMap<String, Arc<Queue>>>,
}

/// What was read at a name.
#[derive(Debug)]
struct Known {
    read: Instant,
    /// When it was last seen to be so.
    seen: Instant,
    found: Found,
}

/// The writes that wait for their turn in a zone.
#[derive(Debug)]
struct Queue {
    waiting: Mutex<Vec<Waiting>>,
    /// Whoever has it writes for all who wait.
    turn: tokio::sync::Mutex<Gathering>,
}

#[derive(Debug)]
struct Waiting {
    changes: Vec<Change>,
    until: Instant,
    tell: oneshot::Sender<Result<Swap, DnsError>>,
}

/// How long the next batch gathers: a write that comes alone never waits.
#[derive(Clone, Copy, Debug)]
struct Gathering {
    left: u32,
    since: Instant,
}

impl Shared {
    /// What stands at a name, if it was read within [`limits::PROVIDER_MEMORY_TIME`].
    pub fn remembered(&self, name: &str, types: &[RecordType]) -> Option<Found> {
        self.known(name, types, |known| {
            known.seen.elapsed() < limits::PROVIDER_MEMORY_TIME
        })
    }

    /// The same if it was read within [`limits::PROVIDER_CONFIRM_TIME`] and the provider can tell with
    /// one question that nothing has changed.
    pub async fn confirmed<P: DnsProvider>(
        &self,
        provider: &P,
        name: &str,
        types: &[RecordType],
        deadline: Duration,
    ) -> Option<Found> {
        let found = self.known(name, types, |known| {
            known.read.elapsed() < limits::PROVIDER_CONFIRM_TIME
        })?;
        let expected = found.sets.iter().map(|(record_type, set)| Change {
            name: name.to_owned(),
            record_type: *record_type,
            expected: set.clone(),
            desired: set.clone(),
        });
        let expected: Vec<Change> = expected.collect();
        let asked = Instant::now();
        if !provider.confirms(&found.zone, &expected, deadline).await {
            return None;
        }
        let mut all = locked(&self.found);
        let known = all.get_mut(name).filter(|known| known.found == found)?;
        known.seen = asked;
        Some(found)
    }

    fn known(
        &self,
        name: &str,
        types: &[RecordType],
        is_good: impl Fn(&Known) -> bool,
    ) -> Option<Found> {
        let found = locked(&self.found);
        let known = found.get(name).filter(|known| is_good(known))?;
        let sets = &known.found.sets;
        let has_all = types.iter().all(|wanted| sets.contains_key(wanted));
        has_all.then(|| known.found.clone())
    }

    /// Keeps what was read.
    pub fn remember(&self, name: &str, found: Found) {
        let mut known = locked(&self.found);
        if known.len() >= limits::PROVIDER_MEMORY_NAMES {
            known.retain(|_, known| known.seen.elapsed() < limits::PROVIDER_MEMORY_TIME);
        }
        if known.len() < limits::PROVIDER_MEMORY_NAMES {
            let now = Instant::now();
            let (read, seen) = (now, now);
            known.insert(name.to_owned(), Known { read, seen, found });
        }
    }

    /// Forgets what was read at a name.
    pub fn forget(&self, name: &str) {
        locked(&self.found).remove(name);
    }

    /// Compares and swaps, together with whatever else waits to be written in this zone where the
    /// provider takes batches.
    pub async fn swap<P: DnsProvider>(
        &self,
        provider: &P,
        zone: &str,
        changes: &[Change],
        deadline: Duration,
    ) -> Result<Swap, DnsError> {
        let swap = match provider.takes_batches() {
            true => self.in_turn(provider, zone, changes, deadline).await,
            false => provider.compare_and_swap(zone, changes, deadline).await,
        };
        self.note(changes, matches!(swap, Ok(Swap::Done)));
        swap
    }

    /// What was written is known; what was refused has to be read again.
    fn note(&self, changes: &[Change], done: bool) {
        let mut found = locked(&self.found);
        for change in changes {
            match found.get_mut(&change.name) {
                Some(known) if done => {
                    let set = change.desired.clone();
                    known.found.sets.insert(change.record_type, set);
                }
                _ => {
                    found.remove(&change.name);
                }
            }
        }
    }

    async fn in_turn<P: DnsProvider>(
        &self,
        provider: &P,
        zone: &str,
        changes: &[Change],
        deadline: Duration,
    ) -> Result<Swap, DnsError> {
        let queue = self.queue(zone);
        let until = Instant::now() + deadline;
        let (tell, mut told) = oneshot::channel();
        locked(&queue.waiting).push(Waiting {
            changes: changes.to_vec(),
            until,
            tell,
        });
        let timeout = || DnsError::TurnTimeout {
            zone: zone.to_owned(),
        };
        let turn = timeout_at(until, queue.turn.lock()).await;
        let mut turn = turn.map_err(|_| timeout())?;
        // Whoever had the turn before may have written this as well.
        if let Ok(swap) = told.try_recv() {
            return swap;
        }
        loop {
            sleep_until(turn.next(Instant::now()).min(until)).await;
            queue.write_all(provider, zone).await;
            match told.try_recv() {
                Ok(swap) => return swap,
                Err(TryRecvError::Closed) => return Err(timeout()),
                // There were too many, or somebody before wrote at the same name.
                Err(TryRecvError::Empty) => {}
            }
        }
    }

    fn queue(&self, zone: &str) -> Arc<Queue> {
        let mut queues = locked(&self.queues);
        // Those that nobody waits in are made anew when they are needed.
        if queues.len() >= limits::PROVIDER_MEMORY_NAMES {
            queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        }
        let queue = queues.entry(zone.to_owned()).or_insert_with(|| {
            Arc::new(Queue {
                waiting: Mutex::default(),
                turn: tokio::sync::Mutex::new(Gathering::new(Instant::now())),
            })
        });
        Arc::clone(queue)
    }
}

impl Queue {
    /// Writes for those who wait, until he whose turn it is has been written for. The right to write
    /// of none of them ends before the call does.
    async fn write_all<P: DnsProvider>(&self, provider: &P, zone: &str) {
        let batch = self.take(Instant::now());
        let Some(until) = batch.iter().map(|waiting| waiting.until).min() else {
            return;
        };
        let (groups, tells): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|w| (w.changes, w.tell)).unzip();
        let deadline = until.saturating_duration_since(Instant::now());
        let swaps = provider.compare_and_swap_each(zone, &groups, deadline);
        for (tell, swap) in tells.into_iter().zip(swaps.await) {
            // Whoever has given up does not hear it, and looks again.
            let _ = tell.send(swap);
        }
    }

    /// Those that can go out together, the oldest first: each record set once.
    fn take(&self, now: Instant) -> Vec<Waiting> {
        let mut waiting = locked(&self.waiting);
        let mut batch: Vec<Waiting> = Vec::new();
        let mut left = Vec::new();
        for one in waiting.drain(..) {
            let meets = |other: &Waiting| {
                let has = |name: &str| other.changes.iter().any(|c| c.name == name);
                one.changes.iter().any(|change| has(&change.name))
            };
            let left_time = one.until.saturating_duration_since(now);
            let over = left_time < limits::LEAST_BATCH_TIME || one.tell.is_closed();
            match (over, batch.len() < limits::WRITES_TOGETHER) {
                // Dropped: he is told that there was no time.
                (true, _) => {}
                (false, true) if !batch.iter().any(meets) => batch.push(one),
                (false, _) => left.push(one),
            }
        }
        *waiting = left;
        batch
    }
}

impl Gathering {
    fn new(now: Instant) -> Self {
        Self {
            left: limits::BATCHES_AT_ONCE,
            since: now,
        }
    }

    /// When the next batch may go out.
    fn next(&mut self, now: Instant) -> Instant {
        while self.left < limits::BATCHES_AT_ONCE && now >= self.since + limits::BATCH_TIME {
            self.left += 1;
            self.since += limits::BATCH_TIME;
        }
        if self.left == limits::BATCHES_AT_ONCE {
            self.since = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                now
            }
            None => {
                self.since += limits::BATCH_TIME;
                self.since
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_batches_go_out_at_once_and_then_one_after_the_other() {
        let start = Instant::now();
        let mut gathering = Gathering::new(start);
        for _ in 0..limits::BATCHES_AT_ONCE {
            assert_eq!(gathering.next(start), start);
        }
        assert_eq!(gathering.next(start), start + limits::BATCH_TIME);
        let second = start + limits::BATCH_TIME * 2;
        assert_eq!(gathering.next(start + limits::BATCH_TIME), second);
        // After a rest it is as at first, and no better.
        let later = start + limits::BATCH_TIME * 1000;
        for _ in 0..limits::BATCHES_AT_ONCE {
            assert_eq!(gathering.next(later), later);
        }
        assert_eq!(gathering.next(later), later + limits::BATCH_TIME);
    }

    fn waiting(name: &str, until: Instant) -> (Waiting, oneshot::Receiver<Result<Swap, DnsError>>) {
        let (tell, told) = oneshot::channel();
        let change = Change {
            name: name.to_owned(),
            record_type: RecordType::Txt,
            expected: None,
            desired: None,
        };
        let changes = vec![change];
        let one = Waiting {
            changes,
            until,
            tell,
        };
        (one, told)
    }

    #[test]
    fn whoever_has_given_up_or_has_no_time_left_is_not_written_for() {
        let now = Instant::now();
        let good = now + Duration::from_secs(5);
        let queue = Queue {
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::new(Gathering::new(now)),
        };
        let mut told = Vec::new();
        for (name, until, stays) in [
            ("a.example.org", good, true),
            ("b.example.org", now + limits::LEAST_BATCH_TIME / 2, true),
            ("c.example.org", good, false),
            ("a.example.org", good, true),
            ("d.example.org", good, true),
        ] {
            let (one, receiver) = waiting(name, until);
            locked(&queue.waiting).push(one);
            if stays {
                told.push(receiver);
            }
        }
        let names = |batch: &[Waiting]| -> Vec<String> {
            let first = batch.iter().filter_map(|one| one.changes.first());
            first.map(|change| change.name.clone()).collect()
        };
        let batch = queue.take(now);
        assert_eq!(names(&batch), ["a.example.org", "d.example.org"]);
        // Of two who write at one name the second one comes later.
        assert_eq!(names(&queue.take(now)), ["a.example.org"]);
        assert!(queue.take(now).is_empty());
    }
}
