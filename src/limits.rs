//! Every budget for what comes from outside (bytes, counts, time), each with its reason.

use std::time::Duration;

/// Largest policy body that is read or published (RFC 8461 §3.3 suggests 64 KiB to senders).
pub const POLICY_BODY_BYTES: usize = 64 * 1024;

/// Largest body that the operator writes: some readers stop near 10 KB, so it stays below.
pub const CANONICAL_BODY_BYTES: usize = 8 * 1024;

/// Largest file that `lint` reads: a Kubernetes object has at most 1.5 MiB, and a manifest of
/// many policies still fits.
pub const LINT_INPUT_BYTES: u64 = 4 * 1024 * 1024;

/// Most entries of `spec.mx`: the largest known mail setups have some dozen MX hosts.
pub const SPEC_MX_COUNT: usize = 100;

/// Most bytes of all `spec.mx` together, so that the body stays below [`CANONICAL_BODY_BYTES`]
/// with keys, line ends and every preset added.
pub const SPEC_MX_BYTES: usize = 6 * 1024;

/// Most Ingress annotations of a policy, and addresses of one family.
pub const SPEC_LIST_COUNT: usize = 32;

/// Longest value of an Ingress annotation in bytes: a host, a list of addresses, a class.
pub const SPEC_ANNOTATION_BYTES: usize = 1024;

/// Most findings that are kept of one input, and most issues of one body or record: more helps
/// nobody, and a hostile file of nothing but line ends would fill the memory with them.
pub const FINDINGS_COUNT: usize = 1000;

/// Largest record file that `lint` reads: a DNS answer has at most 65535 bytes.
pub const RECORD_FILE_BYTES: usize = 64 * 1024;
