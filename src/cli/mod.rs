//! The commands.

pub mod crds;
