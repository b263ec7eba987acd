//! What was seen of one domain, as plain data.

use jiff::{SignedDuration, Timestamp};

use super::txt::TxtSet;
use crate::protocol::{Policy, Sha256Digest};

/// How long an endpoint or a name server that cannot be reached holds a publication: ten
/// minutes, long enough for a restart, short enough not to block for a dead one.
pub const UNREACHABLE_HOLD: SignedDuration = SignedDuration::from_mins(10);

/// What was seen of one domain.
#[derive(Clone, PartialEq, Debug)]
pub struct Observation {
    /// The policy-server endpoints; `None` where somebody else serves the policy.
    pub endpoints: Option<Vec<Endpoint>>,
    /// The public URL.
    pub public: Public,
    /// The address records of the policy host.
    pub address: AddressState,
    /// The TXT record at the authoritative servers.
    pub txt_servers: Vec<TxtServer>,
    /// Since when endpoints and public URL have been fresh, as far as this process knows.
    pub fresh_since: Option<Timestamp>,
}

/// One policy-server endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Its address.
    pub address: String,
    /// What it answered.
    pub answer: EndpointAnswer,
}

/// What a policy-server endpoint answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndpointAnswer {
    /// A policy, by its ETag and its bytes.
    Body {
        /// The ETag without its quotes.
        etag: Option<String>,
        /// Digest of the bytes.
        sha256: Sha256Digest,
    },
    /// Something else: a status, another host's answer.
    Other(String),
    /// Nothing.
    Unreachable {
        /// What happened.
        why: String,
        /// Since when.
        since: Timestamp,
    },
}

/// What was seen at the public URL.
#[derive(Clone, PartialEq, Debug)]
pub enum Public {
    /// The operator is set not to look.
    NotLooked,
    /// The address could not be looked up.
    LookupFailed(String),
    /// The policy host has no address.
    NoAddress,
    /// One answer an address.
    Answers(Vec<PublicAnswer>),
}

/// What one address of the policy host answered.
#[derive(Clone, PartialEq, Debug)]
pub struct PublicAnswer {
    /// The address.
    pub address: String,
    /// How the fetch ended.
    pub outcome: PublicOutcome,
    /// What is wrong with its certificate, as words for a person; empty when it is valid.
    pub certificate: Vec<CertificateProblem>,
    /// When its certificate ends.
    pub not_after: Option<Timestamp>,
    /// When its certificate began.
    pub not_before: Option<Timestamp>,
    /// Of how many looks how many showed a bad certificate, where not all did: several servers
    /// behind one address, and some of them do not have the right one.
    pub inconsistent: Option<(usize, usize)>,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CertificateProblem {
    /// Past its date, or before it.
    Expired,
    /// No SAN for the host.
    NameMismatch,
    /// No chain to a trusted root.
    Untrusted,
    /// The intermediate is not sent.
    IncompleteChain,
    /// TLS could not be set up.
    Handshake,
}

/// How the fetch from one address ended.
#[derive(Clone, PartialEq, Debug)]
pub enum PublicOutcome {
    /// The address is private and was not dialled.
    Private,
    /// No answer.
    Unreachable(String),
    /// A status other than 200.
    Status {
        /// The status.
        status: u16,
        /// Where a redirect points.
        location: Option<String>,
    },
    /// A body.
    Body {
        /// Digest of the bytes.
        sha256: Sha256Digest,
        /// The policy in it, where it is one.
        policy: Option<Policy>,
        /// The media type, without parameters.
        content_type: Option<String>,
        /// A cache stands in front: for how many seconds it may keep an answer.
        cache_seconds: Option<u32>,
    },
}

/// How far the address records of the policy host are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddressState {
    /// They are not ours to write, or are set by hand: what DNS says counts.
    NotOurs,
    /// No address is known yet.
    Unknown,
    /// Something has to be written, or is not yet at all servers.
    Pending(String),
    /// Somebody else's record stands there.
    Foreign(String),
    /// At all servers since then; what they replaced may be cached until so many seconds later.
    Shown {
        /// Since when.
        since: Timestamp,
        /// TTL of what was there before, in seconds.
        previous_ttl: u32,
    },
}

/// What one authoritative server says at the TXT record's name.
#[derive(Clone, PartialEq, Debug)]
pub struct TxtServer {
    /// Its address.
    pub address: String,
    /// What it says.
    pub answer: TxtAnswer,
}

/// What a name server says.
#[derive(Clone, PartialEq, Debug)]
pub enum TxtAnswer {
    /// Its records (none for NODATA and NXDOMAIN), with the TTL.
    Set(TxtSet, u32),
    /// No usable answer.
    Unreachable {
        /// What happened.
        why: String,
        /// Since when.
        since: Timestamp,
    },
}

/// Octets from the DNS as text that can be shown anywhere.
pub fn printable(octets: &[u8]) -> String {
    octets
        .iter()
        .take(512)
        .map(|&octet| match octet {
            b' '..=b'~' => char::from(octet).to_string(),
            _ => format!("\\{octet:03}"),
        })
        .collect()
}

impl Observation {
    /// The policies that somebody else serves, with the digests of their bodies; none where the
    /// policy servers are ours.
    pub fn external_policies(&self) -> impl Iterator<Item = (Sha256Digest, &Policy)> {
        let answers = match (&self.endpoints, &self.public) {
            (None, Public::Answers(answers)) => answers.as_slice(),
            _ => &[],
        };
        answers.iter().filter_map(|answer| match &answer.outcome {
            PublicOutcome::Body {
                sha256,
                policy: Some(policy),
                ..
            } => Some((*sha256, policy)),
            _ => None,
        })
    }
}
