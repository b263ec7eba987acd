//! The commands.

pub mod crds;
pub mod log;
