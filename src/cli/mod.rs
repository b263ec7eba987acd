//! The commands.

pub mod crds;
pub mod lint;
pub mod log;
mod manifest;
pub mod output;
