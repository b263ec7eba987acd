//! Which replica may write: a leader elector on a `coordination.k8s.io/v1` Lease.
//!
//! It keeps the promise that two replicas never hold the right at once as long as their clocks
//! run at about the same speed. No time stamp of another machine is ever compared with the local
//! clock: a lease is up for taking once *this* process has seen it unchanged for the lease's
//! duration. The holder stops [`limits::LEASE_RENEW_TIME`] after the *start* of its last good
//! renewal, which is before anybody can have seen it unchanged for [`limits::LEASE_TIME`].
//!
//! Each write carries the resourceVersion that was read, so of two that try, one fails. What the
//! leader writes elsewhere is compared and swapped as well: a machine that is suspended as a
//! whole may stop the clock that this relies on.

use std::pin::pin;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, ToSpan};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client, Config};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::{clock, limits};

/// What was seen of a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observed {
    /// Who holds it; `None` where nobody does.
    pub holder: Option<String>,
    /// How long it is to be left alone while it does not change.
    pub duration: Duration,
    /// Since when it has been seen as it is, by the local monotonic clock.
    pub since: Duration,
}

/// What is to be done about a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It is free: take it.
    Acquire,
    /// It is ours: renew it.
    Renew,
    /// Somebody holds it, for this long at least.
    Wait(Duration),
}

/// Decides about the lease as it was `observed` (`None`: there is none), at `now` by the clock
/// that `observed.since` is measured with.
pub fn evaluate(observed: Option<&Observed>, identity: &str, now: Duration) -> Action {
    let Some(observed) = observed else {
        return Action::Acquire;
    };
    match observed.holder.as_deref() {
        None | Some("") => Action::Acquire,
        Some(holder) if holder == identity => Action::Renew,
        Some(_) => match (observed.since + observed.duration).checked_sub(now) {
            None | Some(Duration::ZERO) => Action::Acquire,
            Some(left) => Action::Wait(left),
        },
    }
}

/// The durations of an election. Each must be well below the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// How long others leave an unchanged lease alone; whole seconds.
    pub lease: Duration,
    /// How long a renewal gives the right to write.
    pub renew: Duration,
    /// One request.
    pub request: Duration,
    /// Time between two tries.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: limits::LEASE_TIME,
            renew: limits::LEASE_RENEW_TIME,
            request: limits::LEASE_REQUEST_TIME,
            retry: limits::LEASE_RETRY_TIME,
        }
    }
}

/// Why the elector ended. The process must end as well.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeaseError {
    /// No renewal succeeded in time.
    #[error("the lease could not be renewed for {0:?}; another replica may take over")]
    NotRenewed(Duration),
    /// Somebody else holds the lease although our time was not over, or nobody does.
    #[error("the lease was taken away; it is now held by {}", .holder.as_deref().unwrap_or("nobody"))]
    TakenAway {
        /// Who holds it.
        holder: Option<String>,
    },
}

/// Why one try failed.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("the lease cannot be read or written: {0}")]
    Api(#[from] Box<kube::Error>),
    #[error("no answer about the lease within {0:?}")]
    Timeout(Duration),
    #[error("the lease changed while it was written")]
    Conflict,
}

/// A client for the elector: kube's own retries would go on past the renew deadline.
pub fn lease_client(mut config: Config) -> Result<Client, kube::Error> {
    config.default_retry = false;
    config.connect_timeout = Some(limits::LEASE_REQUEST_TIME);
    Client::try_from(config)
}

/// Takes part in the election of one leader.
#[derive(Debug)]
pub struct LeaderElector {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    /// Zero of the monotonic clock that [`Observed::since`] counts from.
    start: Instant,
    /// The lease as it was last read or written, and since when it has been so.
    seen: Option<(Lease, Duration)>,
    until: watch::Sender<Option<Instant>>,
    server_time: watch::Sender<Option<ServerTime>>,
}

/// What time it was at the API server when an answer of it arrived.
#[derive(Clone, Copy, Debug)]
struct ServerTime {
    arrived: Instant,
    at: Timestamp,
}

impl LeaderElector {
    /// An elector for the lease `name` in `namespace`; make `client` with [`lease_client`].
    /// `identity` (the pod's name) gets a random end, so that a process that starts again under
    /// the same name does not take itself for the one before.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: format!("{identity}_{:08x}", random()),
            timing: Timing::default(),
            start: Instant::now(),
            seen: None,
            until: watch::Sender::new(None),
            server_time: watch::Sender::new(None),
        }
    }

    /// With other durations, for tests.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Who we are in the lease.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The right to write, to be asked by everybody who writes.
    pub fn leadership(&self) -> Leadership {
        Leadership {
            until: self.until.subscribe(),
            server_time: self.server_time.subscribe(),
        }
    }

    /// Waits for the lease and keeps it until `shutdown` resolves or the lease is lost.
    ///
    /// All writing must have ended before `shutdown` resolves: the lease is released then, and
    /// another replica takes it at once. When this returns, the process must end.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), LeaseError> {
        let mut shutdown = pin!(shutdown);
        let result = tokio::select! {
            () = &mut shutdown => Ok(()),
            error = self.lead() => Err(error),
        };
        self.until.send_replace(None);
        if result.is_ok() {
            self.release().await;
        }
        result
    }

    /// Becomes the leader, and gives the reason why it no longer is.
    async fn lead(&mut self) -> LeaseError {
        let mut failing = false;
        loop {
            let result = self.try_once().await;
            if let Ok(true) = result {
                break;
            }
            if let Err(error) = &result {
                if failing {
                    tracing::debug!(%error, "the lease is tried again");
                } else {
                    tracing::warn!(%error, "the lease is tried again");
                }
            }
            failing = result.is_err();
            sleep(jittered(self.timing.retry)).await;
        }
        tracing::info!(identity = self.identity, "this replica leads");
        self.keep().await
    }

    /// Renews the lease until that fails for too long.
    async fn keep(&mut self) -> LeaseError {
        loop {
            let until = *self.until.borrow();
            let Some(until) = until.filter(|until| *until > Instant::now()) else {
                return LeaseError::NotRenewed(self.timing.renew);
            };
            sleep_until(until.min(Instant::now() + self.timing.retry)).await;
            match timeout_at(until, self.try_once()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    return LeaseError::TakenAway {
                        holder: self.holder(),
                    };
                }
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed yet"),
                Err(_) => return LeaseError::NotRenewed(self.timing.renew),
            }
        }
    }

    /// Reads the lease where need be, and writes it where that may be done. Gives whether it is
    /// ours.
    async fn try_once(&mut self) -> Result<bool, TryError> {
        let leading = self.until.borrow().is_some();
        if !leading {
            self.read().await?;
        }
        // Twice: after a write whose answer was lost, the version that is known is an old one.
        for _ in 0..2 {
            let now = self.start.elapsed();
            match (
                evaluate(self.observed().as_ref(), &self.identity, now),
                leading,
            ) {
                (Action::Wait(_), _) | (Action::Acquire, true) => return Ok(false),
                (Action::Acquire, false) | (Action::Renew, _) => {}
            }
            match self.write().await {
                Err(TryError::Conflict) => self.read().await?,
                result => return result.map(|()| true),
            }
        }
        Err(TryError::Conflict)
    }

    /// Reads the lease. A version that is known keeps the time since which it is known.
    async fn read(&mut self) -> Result<(), TryError> {
        let lease = self.request(self.api.get_opt(&self.name)).await?;
        let now = self.start.elapsed();
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        self.seen = match (lease, self.seen.take()) {
            (Some(lease), Some((known, since))) if version(&lease) == version(&known) => {
                Some((lease, since))
            }
            (Some(lease), _) => Some((lease, now)),
            (None, _) => None,
        };
        Ok(())
    }

    /// Makes the lease ours, or ours for longer. The right to write counts from before the
    /// request: when it took effect is not known.
    async fn write(&mut self) -> Result<(), TryError> {
        let begun = Instant::now();
        let lease = self.claim(clock::now());
        let params = PostParams::default();
        let written = match &self.seen {
            Some(_) => match self
                .request(self.api.replace(&self.name, &params, &lease))
                .await
            {
                Err(TryError::Api(error)) if is_status(&error, 404) => Err(TryError::Conflict),
                result => result,
            }?,
            None => self.request(self.api.create(&params, &lease)).await?,
        };
        if let Some(at) = written_at(&written) {
            let arrived = Instant::now();
            self.server_time
                .send_replace(Some(ServerTime { arrived, at }));
        }
        self.seen = Some((written, self.start.elapsed()));
        self.until.send_replace(Some(begun + self.timing.renew));
        Ok(())
    }

    /// The lease with us as its holder.
    fn claim(&self, now: Timestamp) -> Lease {
        let mut lease = self
            .seen
            .as_ref()
            .map(|(lease, _)| lease.clone())
            .unwrap_or_default();
        lease.metadata.name = Some(self.name.clone());
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            spec.acquire_time = Some(MicroTime(now));
            let before = spec
                .lease_transitions
                .map_or(0, |count| count.saturating_add(1));
            spec.lease_transitions = Some(before);
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.timing.lease.as_secs()).ok();
        spec.renew_time = Some(MicroTime(after(now, spec)));
        lease
    }

    /// Gives the lease back, so that another replica need not wait until it has run out.
    async fn release(&mut self) {
        for _ in 0..2 {
            if self.holder().as_ref() != Some(&self.identity) {
                return;
            }
            let mut lease = self.claim(clock::now());
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            let params = PostParams::default();
            let error = match self
                .request(self.api.replace(&self.name, &params, &lease))
                .await
            {
                Ok(_) => return tracing::info!("the lease is released"),
                Err(TryError::Conflict) => match self.read().await {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            return tracing::warn!(%error, "the lease is not released; it will run out");
        }
    }

    async fn request<T>(
        &self,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, TryError> {
        let result = timeout(self.timing.request, request).await;
        let result = result.map_err(|_| TryError::Timeout(self.timing.request))?;
        result.map_err(|error| match error {
            error if is_status(&error, 409) => TryError::Conflict,
            error => TryError::Api(Box::new(error)),
        })
    }

    fn holder(&self) -> Option<String> {
        self.observed()?.holder
    }

    fn observed(&self) -> Option<Observed> {
        let (lease, since) = self.seen.as_ref()?;
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok());
        Some(Observed {
            holder: spec.and_then(|spec| spec.holder_identity.clone()),
            duration: seconds.map_or(self.timing.lease, Duration::from_secs),
            since: *since,
        })
    }
}

/// The right to write, as everybody who writes sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership {
    until: watch::Receiver<Option<Instant>>,
    server_time: watch::Receiver<Option<ServerTime>>,
}

impl Leadership {
    /// How long the right to write still holds; `None` without it. To be asked just before each
    /// write, whose own time-out must be shorter.
    pub fn deadline(&self) -> Option<Duration> {
        let until = *self.until.borrow();
        until?
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }

    /// How far `now` is ahead of the API server's clock, as of the last renewal and the time that has
    /// passed since, so that a jump is known at once; `None` before the first one, or where its answers
    /// carry no time. Good to about a second.
    pub fn clock_ahead(&self, now: Timestamp) -> Option<SignedDuration> {
        let known = (*self.server_time.borrow())?;
        let passed = SignedDuration::try_from(known.arrived.elapsed()).ok()?;
        Some(now.duration_since(known.at.checked_add(passed).ok()?))
    }

    /// Resolves when the right is there; never, if the elector has ended.
    pub async fn acquired(&self) {
        let mut until = self.until.clone();
        while self.deadline().is_none() {
            if until.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Resolves when the right is gone (or at once, if it is not there).
    pub async fn lost(&self) {
        let mut changes = self.until.clone();
        loop {
            let until = *changes.borrow_and_update();
            let Some(until) = until.filter(|until| *until > Instant::now()) else {
                return;
            };
            tokio::select! {
                () = sleep_until(until) => {}
                Ok(()) = changes.changed() => {}
            }
        }
    }
}

fn is_status(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// When the API server carried out the last write of a lease, to the second.
fn written_at(lease: &Lease) -> Option<Timestamp> {
    let fields = lease.metadata.managed_fields.iter().flatten();
    fields
        .filter_map(|entry| Some(entry.time.as_ref()?.0))
        .max()
}

/// A time of renewal that differs from the last one even where the clock stands or jumps: others
/// see by it that the holder is alive.
fn after(now: Timestamp, spec: &LeaseSpec) -> Timestamp {
    let last = spec.renew_time.as_ref().map(|time| time.0);
    let next = last.and_then(|last| last.checked_add(1.microsecond()).ok());
    next.map_or(now, |next| next.max(now))
}

/// Up to a fifth more, so that replicas that started together do not try together.
fn jittered(time: Duration) -> Duration {
    time + time.mul_f64(f64::from(random() % 1000) / 5000.0)
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness there would be no TLS to the API server either.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_renewed_or_left_alone() {
        let seconds = Duration::from_secs;
        let held = |holder: &str, duration, since| {
            Some(Observed {
                holder: Some(holder.to_owned()),
                duration: seconds(duration),
                since: seconds(since),
            })
        };
        let nobody = Some(Observed {
            holder: None,
            duration: seconds(1),
            since: seconds(100),
        });
        for (case, observed, now, expected) in [
            ("no lease", None, 100, Action::Acquire),
            ("nobody's", nobody, 100, Action::Acquire),
            ("an empty name", held("", 15, 100), 100, Action::Acquire),
            ("ours", held("me", 15, 100), 101, Action::Renew),
            (
                "ours, long unchanged",
                held("me", 15, 100),
                1000,
                Action::Renew,
            ),
            (
                "another's, fresh",
                held("other", 15, 100),
                100,
                Action::Wait(seconds(15)),
            ),
            (
                "another's, older",
                held("other", 15, 100),
                114,
                Action::Wait(seconds(1)),
            ),
            (
                "another's, run out",
                held("other", 15, 100),
                115,
                Action::Acquire,
            ),
            (
                "another's, long run out",
                held("other", 15, 100),
                1000,
                Action::Acquire,
            ),
            (
                "its own duration counts",
                held("other", 60, 100),
                130,
                Action::Wait(seconds(30)),
            ),
        ] {
            assert_eq!(
                evaluate(observed.as_ref(), "me", seconds(now)),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn the_durations_leave_room_for_each_other() {
        let Timing {
            lease,
            renew,
            request,
            retry,
        } = Timing::default();
        assert!(
            renew < lease,
            "the right must end before another can take the lease"
        );
        assert!(2 * (retry + request) <= renew, "two tries may fail");
    }

    #[test]
    fn every_renewal_changes_the_lease() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut spec = LeaseSpec::default();
        let now = at("2026-06-15T12:00:00.5Z");
        assert_eq!(after(now, &spec), now, "the first time");
        for (case, last) in [
            ("the clock runs", "2026-06-15T11:59:58Z"),
            ("the clock stands", "2026-06-15T12:00:00.5Z"),
            ("the clock jumped back", "2026-06-16T12:00:00Z"),
        ] {
            spec.renew_time = Some(MicroTime(at(last)));
            assert!(after(now, &spec) > at(last), "{case}");
        }
    }
}
