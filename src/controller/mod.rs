//! Kubernetes: read → decide → write → status.
//!
//! `reconcile` is the flow of one `MtaStsPolicy`; `retire` that of a record whose object is gone;
//! `providers` that of the DNS provider objects. Deciding is done in `lifecycle`; what is here
//! looks, carries out, and tells.

mod accept;
mod address;
mod adoption;
mod allowed;
mod caches;
mod context;
mod dns;
mod dns_endpoint;
mod error;
mod events;
mod finalize;
mod findings;
mod gateway;
mod history;
mod hold;
mod ingress;
pub mod lease;
mod leaving;
mod mail_exchangers;
pub mod metrics;
mod object_status;
mod observe;
mod opened;
mod own_dns;
mod providers;
mod reconcile;
mod records;
mod report;
mod retire;
pub mod rights;
mod rollback;
mod rollout;
mod run;
mod scope;
mod service;
mod span;
mod spec;
mod status;
mod steps;
mod tenancy;
mod tls_rpt;
mod way_in;

pub use run::{ControllerError, INSTALLATION_LABELS, run};
pub use spec::parse_spec;
