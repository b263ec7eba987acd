//! Looking at the world: DNS, policy hosts, policy-server endpoints. Every answer is hostile.

pub mod dns;
pub mod target;
