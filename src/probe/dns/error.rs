//! Why a lookup gave no answer. None of these says that something is missing: what could not be
//! looked at is unknown.

use std::io;
use std::net::SocketAddr;

use super::RecordType;
use crate::probe::target::PrivateTarget;

/// Why a lookup gave no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LookupError {
    /// The text is no DNS name.
    #[error("{name:?} is not a DNS name")]
    BadName {
        /// The text.
        name: String,
    },
    /// No connection.
    #[error("{server} cannot be reached for DNS ({kind}); is the server up, and does the network let UDP and TCP port {} through?", .server.port())]
    Unreachable {
        /// Who was asked.
        server: SocketAddr,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// Nothing came in time.
    #[error("{server} did not answer a DNS question in time")]
    Timeout {
        /// Who was asked.
        server: SocketAddr,
    },
    /// Not a DNS message.
    #[error("{server} sent something that is not a DNS message")]
    Malformed {
        /// Who sent it.
        server: SocketAddr,
    },
    /// A message with another id or question.
    #[error("{server} sent only answers to what was not asked")]
    Mismatched {
        /// Who sent it.
        server: SocketAddr,
    },
    /// Cut off over UDP, and not to be had over TCP.
    #[error("{server} has an answer that does not fit into a datagram, and gives it over TCP neither; let TCP port {} through", .server.port())]
    Truncated {
        /// Who sent it.
        server: SocketAddr,
    },
    /// More records than are taken in.
    #[error("{server} sent more than {limit} records")]
    TooManyRecords {
        /// Who sent them.
        server: SocketAddr,
        /// How many are taken in.
        limit: usize,
    },
    /// SERVFAIL.
    #[error("{server} answers SERVFAIL for {name}; the zone is broken there, or its DNSSEC is")]
    ServFail {
        /// Who said so.
        server: SocketAddr,
        /// What it was asked for.
        name: String,
    },
    /// REFUSED.
    #[error("{server} refuses to answer for {name}; it does not serve the zone, or not to us")]
    Refused {
        /// Who said so.
        server: SocketAddr,
        /// What it was asked for.
        name: String,
    },
    /// Any other response code.
    #[error("{server} answers with response code {code} for {name}")]
    UnexpectedCode {
        /// Who said so.
        server: SocketAddr,
        /// The response code (RFC 6895 §2.3).
        code: u16,
        /// What it was asked for.
        name: String,
    },
    /// The server is named as authoritative and is not.
    #[error("{server} is named as a name server of {zone} and does not answer with authority")]
    NotAuthoritative {
        /// Who answered.
        server: SocketAddr,
        /// The zone.
        zone: String,
    },
    /// The server's address is not public.
    #[error("a name server could not be asked: {0}")]
    PrivateTarget(#[from] PrivateTarget),
    /// An alias that comes back to itself.
    #[error("the aliases (CNAME) from {name} run in a circle")]
    CnameLoop {
        /// Where it starts.
        name: String,
    },
    /// Too many aliases.
    #[error("more than {limit} aliases (CNAME) follow each other from {name}")]
    ChainTooLong {
        /// Where it starts.
        name: String,
        /// How many are followed.
        limit: usize,
    },
    /// No address of any of a zone's name servers was found.
    #[error("no name server of {zone} has an address")]
    NoNameServer {
        /// The zone.
        zone: String,
    },
    /// The walk from the root took too many steps.
    #[error("the way from the root to {name} has too many steps; its delegation is broken")]
    WalkTooLong {
        /// Where it should have ended.
        name: String,
    },
    /// Neither set nor found in the system's configuration.
    #[error(
        "no resolver is known for {record_type} of {name}: /etc/resolv.conf names none, and none is set"
    )]
    NoResolver {
        /// What was to be asked for.
        name: String,
        /// Its type.
        record_type: RecordType,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl LookupError {
    /// A short name for metrics and reasons.
    pub fn label(&self) -> &'static str {
        match self {
            Self::BadName { .. } => "bad_name",
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Malformed { .. } => "malformed",
            Self::Mismatched { .. } => "mismatched",
            Self::Truncated { .. } => "truncated",
            Self::TooManyRecords { .. } => "too_many_records",
            Self::ServFail { .. } => "servfail",
            Self::Refused { .. } => "refused",
            Self::UnexpectedCode { .. } => "unexpected_code",
            Self::NotAuthoritative { .. } => "not_authoritative",
            Self::PrivateTarget(_) => "private_target",
            Self::CnameLoop { .. } => "cname_loop",
            Self::ChainTooLong { .. } => "chain_too_long",
            Self::NoNameServer { .. } => "no_name_server",
            Self::WalkTooLong { .. } => "walk_too_long",
            Self::NoResolver { .. } => "no_resolver",
            Self::NoRandom => "no_random",
        }
    }
}
