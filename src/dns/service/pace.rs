//! The pace of the calls with one credential, whoever makes them: so many at once, one write at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::limits;

/// So many calls at once, and none for a while after the service has asked for patience.
#[derive(Debug)]
pub struct Pace {
    turns: Semaphore,
    writes: Semaphore,
    rest: Mutex<Rest>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(limits::SERVICE_CALLS_AT_ONCE),
            writes: Semaphore::new(1),
            rest: Mutex::new(Rest::new(Instant::now())),
        }
    }
}

impl Pace {
    /// Waits for a turn; or says how long no call is made at all.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, Duration> {
        let turn = self.turns.acquire().await;
        let turn = turn.map_err(|_| limits::SERVICE_REST)?;
        match self.locked().left(Instant::now()) {
            Some(left) => Err(left),
            None => Ok(turn),
        }
    }

    /// Waits until nobody else writes. Of two changes of a zone at once services refuse one: Route 53
    /// says that the first is not complete, PowerDNS that its SQLite database is locked.
    pub(super) async fn write(&self) -> Result<SemaphorePermit<'_>, Duration> {
        let write = self.writes.acquire().await;
        write.map_err(|_| limits::SERVICE_REST)
    }

    /// The service has asked for patience: no call for a while, each time for longer.
    pub(super) fn rest(&self) {
        self.locked().begin(Instant::now());
    }

    fn locked(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long no call is made.
#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    next: Duration,
}

impl Rest {
    fn new(now: Instant) -> Self {
        Self {
            until: now,
            next: limits::SERVICE_REST,
        }
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.until.checked_duration_since(now)?;
        (!left.is_zero()).then_some(left)
    }

    fn begin(&mut self, now: Instant) {
        // Calls that were under way are refused as well: that is one refusal.
        if self.left(now).is_some() {
            return;
        }
        // A service that has been content for long is asked as at first.
        if now.duration_since(self.until) > limits::SERVICE_LONGEST_REST {
            self.next = limits::SERVICE_REST;
        }
        self.until = now + self.next;
        self.next = (self.next * 2).min(limits::SERVICE_LONGEST_REST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_refusal_nobody_calls_for_a_while_and_then_for_longer() {
        let start = Instant::now();
        let mut rest = Rest::new(start);
        assert_eq!(rest.left(start), None);
        rest.begin(start);
        rest.begin(start);
        assert_eq!(rest.left(start), Some(limits::SERVICE_REST));
        let later = start + limits::SERVICE_REST;
        assert_eq!(rest.left(later), None);
        rest.begin(later);
        assert_eq!(rest.left(later), Some(limits::SERVICE_REST * 2));
        let much_later = later + limits::SERVICE_LONGEST_REST * 3;
        rest.begin(much_later);
        assert_eq!(rest.left(much_later), Some(limits::SERVICE_REST));
    }

    #[tokio::test]
    async fn only_so_many_calls_are_made_at_once() {
        let pace = Pace::default();
        let mut turns = Vec::new();
        for _ in 0..limits::SERVICE_CALLS_AT_ONCE {
            turns.push(pace.turn().await);
        }
        assert_eq!(pace.turns.available_permits(), 0);
        turns.pop();
        assert!(pace.turn().await.is_ok());
    }
}
