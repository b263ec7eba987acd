//! Why a reconcile ends early, and when it is tried again.

use jiff::SignedDuration;

use crate::dns::{DnsError, DnsErrorClass};
use crate::lifecycle::RecordError;

/// Why a reconcile ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The API server refused or failed.
    #[error("the API server: {0}")]
    Api(#[source] Box<kube::Error>),
    /// Somebody else wrote in between: read again.
    #[error("{0} was changed by somebody else in the meantime")]
    Conflict(String),
    /// This replica is not, or not long enough, the leader.
    #[error("this replica does not hold the lease long enough to write")]
    NotLeader,
    /// The clock of this node is too far from the API server's.
    #[error(
        "the clock of this node is {} minutes {} the API server's, and nothing is written whose time may be wrong: set the clocks right (NTP)",
        .0.as_mins().abs(),
        if .0.is_negative() { "behind" } else { "ahead of" }
    )]
    ClockSkew(SignedDuration),
    /// A record cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// How a failed reconcile goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ErrorClass {
    /// At once: the world has changed.
    Again,
    /// With back-off.
    Retry,
}

impl Error {
    /// The metric label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Api(_) => "api",
            Self::Conflict(_) => "conflict",
            Self::NotLeader => "not-leader",
            Self::ClockSkew(_) => "clock-skew",
            Self::Record(_) => "record",
        }
    }

    /// Whether the API server refused an object as invalid.
    pub(super) fn is_invalid(&self) -> bool {
        let Self::Api(error) = self else { return false };
        matches!(&**error, kube::Error::Api(status) if status.code == 422)
    }

    /// How it goes on.
    pub(super) fn class(&self) -> ErrorClass {
        match self {
            Self::Conflict(_) => ErrorClass::Again,
            _ => ErrorClass::Retry,
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 409 => {
                Self::Conflict(status.details.as_ref().map_or_else(
                    || "an object".to_owned(),
                    |details| format!("{} {}", details.kind, details.name),
                ))
            }
            _ => Self::Api(Box::new(error)),
        }
    }
}

/// Why the DNS provider cannot be used, or what it answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    /// The Secret is not there.
    #[error(
        "the Secret {namespace}/{name} does not exist: create it, or correct the reference to it"
    )]
    SecretMissing {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The Secret may not be used.
    #[error(
        "the Secret {namespace}/{name} does not carry the label {label}=true, without which its content is not used: \
         kubectl label secret -n {namespace} {name} {label}=true",
        label = crate::api::CREDENTIALS_LABEL
    )]
    SecretUnlabelled {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The key is not in the Secret.
    #[error(
        "the Secret {namespace}/{name} has no key {key:?}: correct the key in the reference to it, or put the value there"
    )]
    SecretKeyMissing {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key that was looked for.
        key: String,
    },
    /// Keys of the service are not in the Secret.
    #[error("the Secret {namespace}/{name} lacks keys that the service needs: put there {keys}")]
    SecretKeysMissing {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The keys, each with its meaning.
        keys: String,
    },
    /// The value is not what the service needs.
    #[error("the key {key:?} of the Secret {namespace}/{name} {why}")]
    SecretMalformed {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
        /// What is wrong. Never the value.
        why: String,
    },
    /// The server's name cannot be looked up.
    #[error("the server {server} cannot be looked up: {why}")]
    ServerUnresolved {
        /// As it stands in the spec.
        server: String,
        /// What the resolver said.
        why: String,
    },
    /// A tenant's provider points at a private address.
    #[error(
        "the server {server} is at a private address; a DnsProvider may only name public ones unless the operator \
         runs with --allow-private-providers: use a ClusterDnsProvider"
    )]
    ServerPrivate {
        /// As it stands in the spec.
        server: String,
    },
    /// A tenant's provider would be called without TLS.
    #[error(
        "{server} is not https: a DnsProvider may only name https URLs unless the operator runs with \
         --allow-private-providers: write an https URL, or use a ClusterDnsProvider"
    )]
    ServerInsecure {
        /// As it stands in the spec.
        server: String,
    },
    /// The spec names no service, or several.
    #[error("the provider's spec does not name exactly one service")]
    NoService,
    /// The zone is not one that the object lists.
    #[error("the zone {zone} is not in the provider's spec.zones")]
    ZoneNotAllowed {
        /// The zone.
        zone: String,
    },
    /// What the API server gave is no Secret. Its text is not told: it may hold the value.
    #[error("the API server's answer about the Secret {namespace}/{name} cannot be read")]
    SecretUnreadable {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The API server did not give the Secret.
    #[error("the Secret cannot be read: {0}")]
    Api(#[source] Box<kube::Error>),
    /// TLS could not be set up at all.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    /// The zone of the operator's own is another provider's.
    #[error(
        "the zone {zone} of {provider} is in the way of the zone of another provider object that was there before, and \
         is not answered: name the same name servers as that one, or choose a zone that is neither above nor below it"
    )]
    OwnZoneTaken {
        /// The zone.
        zone: String,
        /// The provider object that has to do without it.
        provider: String,
    },
    /// The zone of the operator's own is not delegated.
    #[error(
        "{server} answers for a zone above {zone}, which is not delegated: set there {records} with the addresses at \
         which the policy servers are asked by DNS"
    )]
    OwnZoneNotDelegated {
        /// The zone.
        zone: String,
        /// Who was asked.
        server: String,
        /// The records that delegate it.
        records: String,
    },
    /// A name server of the operator's own zone does not answer for it.
    #[error(
        "not every name server of {zone} answers: {why}; the policy servers are to run with --dns-listen, and to be \
         reached on port 53 by UDP and TCP"
    )]
    OwnZoneSilent {
        /// The zone.
        zone: String,
        /// Who does not answer, and what happened.
        why: String,
    },
    /// The zones could not be made known to the policy servers.
    #[error("the zones cannot be made known to the policy servers: {0}")]
    Zones(#[source] Box<kube::Error>),
    /// What the DNS service answered.
    #[error(transparent)]
    Dns(#[from] DnsError),
}

impl ProviderError {
    /// The metric label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::SecretMissing { .. } => "secret-missing",
            Self::SecretUnlabelled { .. } => "secret-unlabelled",
            Self::SecretKeyMissing { .. } => "secret-key-missing",
            Self::SecretKeysMissing { .. } => "secret-keys-missing",
            Self::SecretMalformed { .. } => "secret-malformed",
            Self::SecretUnreadable { .. } => "secret-unreadable",
            Self::ServerUnresolved { .. } => "server-unresolved",
            Self::ServerPrivate { .. } => "server-private",
            Self::ServerInsecure { .. } => "server-insecure",
            Self::NoService => "no-service",
            Self::ZoneNotAllowed { .. } => "zone-not-allowed",
            Self::OwnZoneTaken { .. } => "own-zone-taken",
            Self::OwnZoneNotDelegated { .. } => "own-zone-not-delegated",
            Self::OwnZoneSilent { .. } => "own-zone-silent",
            Self::Zones(_) => "zones",
            Self::Api(_) => "api",
            Self::Tls(_) => "tls",
            Self::Dns(error) => error.label(),
        }
    }

    /// Whether it may pass by itself.
    pub(super) fn class(&self) -> DnsErrorClass {
        match self {
            Self::Dns(error) => error.class(),
            Self::Api(_)
            | Self::SecretUnreadable { .. }
            | Self::ServerUnresolved { .. }
            | Self::OwnZoneNotDelegated { .. }
            | Self::OwnZoneSilent { .. }
            | Self::Zones(_) => DnsErrorClass::Retry,
            _ => DnsErrorClass::Stalled,
        }
    }
}
