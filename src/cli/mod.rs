//! The commands.

pub mod check;
pub mod cluster;
pub mod crds;
pub mod dns_args;
pub mod doctor;
pub mod exit;
pub mod findings_output;
pub mod generate;
mod lease;
pub mod lint;
pub mod log;
mod manifest;
pub mod output;
pub mod pages;
pub mod plan;
pub mod report;
pub mod retirements;
pub mod status;
pub mod uninstall;
mod words;
