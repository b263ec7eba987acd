//! Every budget for what comes from outside (bytes, counts, time), each with its reason.

use std::time::Duration;

/// Largest policy body that is read or published (RFC 8461 §3.3 suggests 64 KiB to senders).
pub const POLICY_BODY_BYTES: usize = 64 * 1024;

/// Largest body that the operator writes: some readers stop near 10 KB, so it stays below.
pub const CANONICAL_BODY_BYTES: usize = 8 * 1024;
