//! What can go wrong with a DNS provider.

use std::net::SocketAddr;

/// How an error is answered by the controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DnsErrorClass {
    /// Try again with back-off; it may pass by itself.
    Retry,
    /// Nothing changes until somebody mends a configuration; look again now and then.
    Stalled,
}

/// Why a call to a DNS provider failed. No variant ever holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// No connection, or it broke.
    #[error("{server} cannot be reached: {source}")]
    Unreachable {
        /// Whom it was sent to.
        server: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("{server} did not answer within {seconds} s")]
    Timeout {
        /// Whom it was sent to.
        server: SocketAddr,
        /// How long it was waited for.
        seconds: u64,
    },
}
