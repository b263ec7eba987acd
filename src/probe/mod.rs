//! Looking at the world: DNS, policy hosts, policy-server endpoints. Every answer is hostile.

pub mod connect_to;
mod dane;
pub mod endpoint;
mod fetch;
pub mod mx;
mod mx_around;
pub mod policy_host;
pub mod reach;
mod seen;
pub mod smtp;
pub mod tls;

pub use fetch::{BodyError, FetchError};
pub mod dns;
pub mod target;
