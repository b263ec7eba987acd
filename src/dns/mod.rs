//! Writing to the DNS: the provider trait and one file for each provider.
//!
//! The trait deals in record sets: read, compare-and-swap. Who owns a record, and what should
//! stand there, is decided in `lifecycle`.

pub mod dns_endpoint;
mod error;
mod record_set;
pub mod rfc2136;
pub mod service;
mod shared;
mod tsig;
mod txt_text;
mod update;
pub mod webhook;

pub use error::{DnsError, DnsErrorClass};
pub use record_set::{RecordSet, RecordType, RecordValue};
pub use shared::{Found, Shared};
pub use tsig::{TsigAlgorithm, TsigAlgorithmError, TsigKey, TsigSecret, TsigSecretError};

use std::time::Duration;

use tokio::time::Instant;

/// One change of one record set. With `expected` as it was read and `desired` as it is to be,
/// `None` standing for "no such record set".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Absolute owner name, lower case, without the final dot.
    pub name: String,
    /// Its type.
    pub record_type: RecordType,
    /// What must be there for the change to be made.
    pub expected: Option<RecordSet>,
    /// What is to be there afterwards.
    pub desired: Option<RecordSet>,
}

/// What came of a compare-and-swap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Swap {
    /// All changes were made, and were seen when reading back.
    Done,
    /// The record sets are not what was expected: nothing was changed; read again.
    Conflict,
}

/// Where a name lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spot {
    /// The zone, by the longest suffix that the provider may write.
    pub zone: String,
    /// Whether it was told along with it that the name does not exist: then nothing stands there,
    /// and nobody has to ask for it. `false` where that is not known.
    pub vacant: bool,
}

/// A DNS service that can be written to.
///
/// `deadline` bounds a call as a whole: the caller may hold its right to write only so long.
pub trait DnsProvider: Sync {
    /// Whether one call can carry out many changes, so that it is worth waiting for others.
    fn takes_batches(&self) -> bool {
        false
    }

    /// The zone that `name` lies in, and what is learnt of the name on the way there.
    fn locate(
        &self,
        name: &str,
        deadline: Duration,
    ) -> impl Future<Output = Result<Spot, DnsError>> + Send {
        async move {
            let zone = self.zone_of(name, deadline).await?;
            let vacant = false;
            Ok(Spot { zone, vacant })
        }
    }

    /// The zone that `name` lies in, by the longest suffix that this provider may write.
    fn zone_of(
        &self,
        name: &str,
        deadline: Duration,
    ) -> impl Future<Output = Result<String, DnsError>> + Send;

    /// The record set that stands in the zone under this very name, or `None`: neither what an
    /// alias leads to, nor what a wildcard answers in its place.
    fn read(
        &self,
        zone: &str,
        name: &str,
        record_type: RecordType,
        deadline: Duration,
    ) -> impl Future<Output = Result<Option<RecordSet>, DnsError>> + Send;

    /// The record sets of several types at one name, in their order, as they stood there a moment ago:
    /// good enough to see what is due, not to write by.
    fn glance(
        &self,
        zone: &str,
        name: &str,
        types: &[RecordType],
        deadline: Duration,
    ) -> impl Future<Output = Result<Vec<Option<RecordSet>>, DnsError>> + Send {
        let reads = types
            .iter()
            .map(|record_type| self.read(zone, name, *record_type, deadline));
        futures::future::try_join_all(reads)
    }

    /// Whether all record sets are still as the changes expect them, where that is one question; their
    /// TTLs are not compared. `false` where it is not known: then they have to be read.
    fn confirms(
        &self,
        _zone: &str,
        _expected: &[Change],
        _deadline: Duration,
    ) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }

    /// Makes all `changes` (of one zone), or none of them where the provider can promise it, and
    /// reads back. Where `expected` and `desired` are equal nothing is written, only compared.
    fn compare_and_swap(
        &self,
        zone: &str,
        changes: &[Change],
        deadline: Duration,
    ) -> impl Future<Output = Result<Swap, DnsError>> + Send;

    /// Several of these, of one zone, each of which succeeds or fails by itself: what is refused of
    /// one does not fail the others. No two are about the same record set.
    fn compare_and_swap_each(
        &self,
        zone: &str,
        groups: &[Vec<Change>],
        deadline: Duration,
    ) -> impl Future<Output = Vec<Result<Swap, DnsError>>> + Send {
        async move {
            let until = Instant::now() + deadline;
            let mut swaps = Vec::with_capacity(groups.len());
            for changes in groups {
                let left = until.saturating_duration_since(Instant::now());
                swaps.push(self.compare_and_swap(zone, changes, left).await);
            }
            swaps
        }
    }

    /// A real, harmless call that shows whether address and credentials are right.
    /// Gives the zones that were seen.
    fn check(
        &self,
        zones: &[String],
        deadline: Duration,
    ) -> impl Future<Output = Result<Vec<String>, DnsError>> + Send;
}

/// A provider, ready to be called. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Provider {
    /// RFC 2136 dynamic updates with TSIG.
    Rfc2136(rfc2136::Rfc2136),
    /// A service with an API of its own.
    Service(Box<service::Service>),
    /// A webhook provider of external-dns.
    Webhook(webhook::Webhook),
    /// DNSEndpoint objects for an external-dns in the cluster.
    DnsEndpoints(Box<dns_endpoint::DnsEndpoints>),
}

/// Calls the same method of whichever provider it is: the one match arm of each.
macro_rules! each {
    ($self:ident, $provider:ident => $call:expr) => {
        match $self {
            Provider::Rfc2136($provider) => $call.await,
            Provider::Service($provider) => $call.await,
            Provider::Webhook($provider) => $call.await,
            Provider::DnsEndpoints($provider) => $call.await,
        }
    };
}

impl DnsProvider for Provider {
    fn takes_batches(&self) -> bool {
        match self {
            Self::Rfc2136(provider) => provider.takes_batches(),
            Self::Service(provider) => provider.takes_batches(),
            Self::Webhook(provider) => provider.takes_batches(),
            Self::DnsEndpoints(provider) => provider.takes_batches(),
        }
    }

    async fn locate(&self, name: &str, deadline: Duration) -> Result<Spot, DnsError> {
        each!(self, provider => provider.locate(name, deadline))
    }

    async fn zone_of(&self, name: &str, deadline: Duration) -> Result<String, DnsError> {
        each!(self, provider => provider.zone_of(name, deadline))
    }

    async fn read(
        &self,
        zone: &str,
        name: &str,
        record_type: RecordType,
        deadline: Duration,
    ) -> Result<Option<RecordSet>, DnsError> {
        each!(self, provider => provider.read(zone, name, record_type, deadline))
    }

    async fn glance(
        &self,
        zone: &str,
        name: &str,
        types: &[RecordType],
        deadline: Duration,
    ) -> Result<Vec<Option<RecordSet>>, DnsError> {
        each!(self, provider => provider.glance(zone, name, types, deadline))
    }

    async fn confirms(&self, zone: &str, expected: &[Change], deadline: Duration) -> bool {
        each!(self, provider => provider.confirms(zone, expected, deadline))
    }

    async fn compare_and_swap(
        &self,
        zone: &str,
        changes: &[Change],
        deadline: Duration,
    ) -> Result<Swap, DnsError> {
        each!(self, provider => provider.compare_and_swap(zone, changes, deadline))
    }

    async fn compare_and_swap_each(
        &self,
        zone: &str,
        groups: &[Vec<Change>],
        deadline: Duration,
    ) -> Vec<Result<Swap, DnsError>> {
        each!(self, provider => provider.compare_and_swap_each(zone, groups, deadline))
    }

    async fn check(&self, zones: &[String], deadline: Duration) -> Result<Vec<String>, DnsError> {
        each!(self, provider => provider.check(zones, deadline))
    }
}
