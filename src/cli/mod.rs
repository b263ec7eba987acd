//! The commands.

pub mod cluster;
pub mod crds;
pub mod doctor;
pub mod exit;
mod lease;
pub mod lint;
pub mod log;
mod manifest;
pub mod output;
pub mod report;
pub mod retirements;
pub mod status;
pub mod uninstall;
mod words;
