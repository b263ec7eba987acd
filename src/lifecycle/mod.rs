//! What to publish, when, and in which order. Pure: decisions on plain data, the time a parameter.

pub mod address;
pub mod allowed;
pub mod decide;
pub mod desired;
pub mod guard;
pub mod ledger;
pub mod names;
pub mod observation;
pub mod own_zone;
pub mod ownership;
pub mod publish;
pub mod record;
pub mod retirement;
pub mod rollout;
pub mod tenancy;
pub mod tls_rpt;
pub mod txt;

pub use record::{
    Address, Announced, Answers, Decision, DeletionPolicy, DnsState, LedgerEntry, Owner,
    ProviderKey, Publication, Record, RecordError, Retiring, TRIED_OUT, TlsRptAnswer,
};
