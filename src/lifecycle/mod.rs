//! What to publish, when, and in which order. Pure: decisions on plain data, the time a parameter.

pub mod record;

pub use record::{
    Announced, Decision, LedgerEntry, Owner, ProviderKey, Publication, Record, RecordError,
};
