//! Writing to the DNS: the provider trait and one file for each provider.
//!
//! The trait deals in record sets: read, compare-and-swap. Who owns a record, and what should
//! stand there, is decided in `lifecycle`.

pub mod dns_endpoint;
mod error;
mod record_set;
pub mod rfc2136;
pub mod service;
mod tsig;
mod txt_text;
mod update;
pub mod webhook;

pub use error::{DnsError, DnsErrorClass};
pub use record_set::{RecordSet, RecordType, RecordValue};
pub use tsig::{TsigAlgorithm, TsigAlgorithmError, TsigKey, TsigSecret, TsigSecretError};

use std::time::Duration;

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

/// A DNS service that can be written to.
///
/// `deadline` bounds a call as a whole: the caller may hold its right to write only so long.
pub trait DnsProvider {
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

    /// Makes all `changes` (of one zone), or none of them where the provider can promise it, and
    /// reads back. Where `expected` and `desired` are equal nothing is written, only compared.
    fn compare_and_swap(
        &self,
        zone: &str,
        changes: &[Change],
        deadline: Duration,
    ) -> impl Future<Output = Result<Swap, DnsError>> + Send;

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

    async fn compare_and_swap(
        &self,
        zone: &str,
        changes: &[Change],
        deadline: Duration,
    ) -> Result<Swap, DnsError> {
        each!(self, provider => provider.compare_and_swap(zone, changes, deadline))
    }

    async fn check(&self, zones: &[String], deadline: Duration) -> Result<Vec<String>, DnsError> {
        each!(self, provider => provider.check(zones, deadline))
    }
}
