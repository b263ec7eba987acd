//! The commands.

pub mod lint;
mod manifest;
pub mod output;
