//! What every reconcile shares.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::runtime::events::Reporter;

use super::caches::Caches;
use super::error::Error;
use super::lease::Leadership;
use super::mail_exchangers::MailExchangers;
use super::metrics::Metrics;
use super::records::Records;
use super::service::Services;
use super::tenancy::Grants;
use crate::clock;
use crate::config::ControllerArgs;
use crate::limits;
use crate::probe::dns::DnsProbe;
use crate::probe::target::TargetPolicy;
use crate::probe::tls::TrustStore;
use crate::protocol::{Domain, HostName, InstallationId, PolicyId};

/// What every reconcile shares.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) settings: ControllerArgs,
    pub(super) namespace: String,
    pub(super) installation: InstallationId,
    pub(super) caches: Caches,
    pub(super) records: Records,
    pub(super) dns: DnsProbe,
    pub(super) targets: TargetPolicy,
    pub(super) trust: TrustStore,
    pub(super) leadership: Leadership,
    pub(super) metrics: Metrics,
    pub(super) reporter: Reporter,
    pub(super) memory: Memory,
    pub(super) locks: DomainLocks,
    pub(super) tenancy: Grants,
    pub(super) services: Services,
    pub(super) mail_exchangers: MailExchangers,
}

impl Context {
    /// How long an outside write may take: shorter than the lease holds. Asked just before each. Nothing
    /// is written by a wrong clock: records carry times that cannot be mended later.
    pub(super) fn permit(&self) -> Result<Duration, Error> {
        self.trust_clock()?;
        self.permit_at_any_time()
    }

    /// The same for what has to go on whatever the time is: a namespace never hangs in its deletion.
    pub(super) fn permit_at_any_time(&self) -> Result<Duration, Error> {
        let left = self.leadership.deadline().ok_or(Error::NotLeader)?;
        if left < limits::LEAST_WRITE_TIME {
            return Err(Error::NotLeader);
        }
        Ok(left.min(limits::PROVIDER_CALL_TIME))
    }

    /// Whether the clock agrees with the API server's, as far as that is known.
    pub(super) fn trust_clock(&self) -> Result<(), Error> {
        match self.leadership.clock_ahead(clock::now()) {
            Some(ahead) if ahead.abs() > limits::CLOCK_SKEW => Err(Error::ClockSkew(ahead)),
            _ => Ok(()),
        }
    }
}

/// What this process remembers of a domain. All of it can be lost: then it is seen again, later.
#[derive(Debug, Default)]
pub(super) struct Memory {
    domains: Mutex<HashMap<Domain, DomainMemory>>,
    /// Objects that something was told about, by uid, each with its generation then.
    told: Mutex<HashMap<String, Option<i64>>>,
}

/// What is remembered of one domain.
#[derive(Clone, Debug, Default)]
pub(super) struct DomainMemory {
    /// Since when an address does not answer.
    pub(super) unreachable: HashMap<String, Timestamp>,
    /// Ids of ours that a policy server serves and the record does not know: it is an old record.
    pub(super) newer_served: Vec<PolicyId>,
    /// Since when body and public URL have been fresh, for which id.
    pub(super) fresh: Option<(PolicyId, Timestamp)>,
    /// When a changed TXT record was repaired.
    pub(super) repairs: Vec<Timestamp>,
    /// MX hosts that were seen, and until when a sender may still remember them.
    pub(super) mx_until: HashMap<HostName, Timestamp>,
    /// When the step that is waited for began: which one, and since when.
    pub(super) waiting: Option<(String, Timestamp)>,
}

impl Memory {
    /// Looks at, or changes, what is remembered of a domain.
    pub(super) fn of<T>(&self, domain: &Domain, act: impl FnOnce(&mut DomainMemory) -> T) -> T {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        act(domains.entry(domain.clone()).or_default())
    }

    /// Whether nothing was told yet about this generation of an object; from now on it was.
    pub(super) fn is_new(&self, uid: &str, generation: Option<i64>) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= limits::TOLD_OBJECTS {
            told.clear();
        }
        told.insert(uid.to_owned(), generation) != Some(generation)
    }

    /// Forgets a domain.
    pub(super) fn forget(&self, domain: &Domain) {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        domains.remove(domain);
    }
}

impl DomainMemory {
    /// Since when `what` has been waited for; from now on, if it was not.
    pub(super) fn waiting_since(&mut self, what: &str, now: Timestamp) -> Timestamp {
        match &self.waiting {
            Some((known, since)) if known == what => *since,
            _ => {
                self.waiting = Some((what.to_owned(), now));
                now
            }
        }
    }

    /// Notes the MX hosts that the DNS shows, and gives those that a sender may still remember.
    pub(super) fn remembered_mx(
        &mut self,
        shown: &[HostName],
        ttl: u32,
        now: Timestamp,
    ) -> Vec<HostName> {
        let until = now.saturating_add(SignedDuration::from_secs(i64::from(ttl)));
        let until = until.unwrap_or(Timestamp::MAX);
        self.mx_until.retain(|_, until| *until > now);
        let older = self.mx_until.keys().filter(|host| !shown.contains(host));
        let older = older.take(limits::CHECK_MX_HOSTS).cloned().collect();
        if self.mx_until.len() < limits::MX_REMEMBERED {
            let shown = shown.iter().map(|host| (host.clone(), until));
            self.mx_until.extend(shown);
        }
        older
    }

    /// Notes that an address did not answer, and tells since when.
    pub(super) fn unreachable_since(&mut self, address: &str, now: Timestamp) -> Timestamp {
        *self.unreachable.entry(address.to_owned()).or_insert(now)
    }

    /// Notes that an address answered.
    pub(super) fn reached(&mut self, address: &str) {
        self.unreachable.remove(address);
    }
}

/// One reconcile at a time a domain: the object's and the record's flow must not meet.
#[derive(Debug, Default)]
pub(super) struct DomainLocks {
    locks: Mutex<HashMap<Domain, Weak<tokio::sync::Mutex<()>>>>,
}

impl DomainLocks {
    /// Waits until nobody else works on the domain.
    pub(super) async fn lock(&self, domain: &Domain) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            match locks.get(domain).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    locks.insert(domain.clone(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}
