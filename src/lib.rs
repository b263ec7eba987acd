//! MTA-STS (RFC 8461) and TLS-RPT (RFC 8460) for Kubernetes and the command line.
//!
//! The rooms, and who may enter them, are described in `ARCHITECTURE.md`:
//! `protocol`, `diagnosis` and `lifecycle` are pure; `probe`, `dns`, `serve`, `controller` and
//! `cli` talk to the outside world; `api` holds the custom resources.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod controller;
pub mod diagnosis;
pub mod dns;
pub mod dns_services;
mod dns_wire;
pub mod lifecycle;
pub mod limits;
pub mod probe;
pub mod protocol;
pub mod reports;
pub mod serve;
