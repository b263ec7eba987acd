//! Kubernetes: read, decide, write, status.

pub mod lease;
