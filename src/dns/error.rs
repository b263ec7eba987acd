//! What can go wrong with a DNS provider.

use std::net::SocketAddr;

use super::{RecordSet, RecordType};

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
    #[error(
        "{server} cannot be reached over TCP: {source}; check the provider's address and port, \
         that the name server runs, and that the network lets TCP through"
    )]
    Unreachable {
        /// Whom it was sent to.
        server: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// No answer in time.
    #[error(
        "{server} did not answer within {seconds} s; it may have carried out what it was asked \
         for, so it is looked at again before the next try"
    )]
    Timeout {
        /// Whom it was sent to.
        server: SocketAddr,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The server does not know the key (TSIG error BADKEY).
    #[error(
        "{server} does not know the TSIG key {key} with {algorithm}; compare keyName and \
         algorithm with the server's configuration, they must both be the same"
    )]
    BadKey {
        /// Who said so.
        server: SocketAddr,
        /// Name of the key.
        key: String,
        /// Its algorithm.
        algorithm: &'static str,
    },
    /// The signature is wrong: another secret (TSIG error BADSIG).
    #[error(
        "{server} knows the TSIG key {key}, but the signature is wrong: the secret differs from \
         the server's; copy it again, without line breaks"
    )]
    BadSignature {
        /// Who said so.
        server: SocketAddr,
        /// Name of the key.
        key: String,
    },
    /// The clocks are too far apart (TSIG error BADTIME).
    #[error(
        "{server} refuses the signature's time{}; set both clocks right (NTP)",
        how_far(*.skew_seconds)
    )]
    BadTime {
        /// Who said so.
        server: SocketAddr,
        /// The server's clock minus ours, where the answer tells it.
        skew_seconds: Option<i64>,
    },
    /// The key is right, and may not do this.
    #[error(
        "{server} refuses: the TSIG key {key} may not change these records of {zone}; grant it \
         (BIND: update-policy or allow-update, Knot: an acl with action update, PowerDNS: \
         TSIG-ALLOW-DNSUPDATE)"
    )]
    Refused {
        /// Who said so.
        server: SocketAddr,
        /// Name of the key.
        key: String,
        /// The zone.
        zone: String,
    },
    /// Refused without a signature: PowerDNS answers a wrong secret so.
    #[error(
        "{server} refuses, and does not sign its answer: the TSIG key {key} is unknown to it, has \
         another secret, or this address may not send updates; compare the key, then the \
         server's list of allowed addresses"
    )]
    RefusedUnsigned {
        /// Who said so.
        server: SocketAddr,
        /// Name of the key.
        key: String,
    },
    /// The server is no authority for the zone; or, without a signature, it does not accept the
    /// key (PowerDNS answers queries so).
    #[error(
        "{server} answers NOTAUTH for {zone}: it does not accept the TSIG key (name, algorithm, \
         secret, clock), or is not the zone's primary; compare the key, then the provider's \
         address"
    )]
    NotAuth {
        /// Who said so.
        server: SocketAddr,
        /// The zone.
        zone: String,
    },
    /// A name of the update lies outside of the zone.
    #[error("{server} answers NOTZONE: a name of the update does not lie in {zone}")]
    NotZone {
        /// Who said so.
        server: SocketAddr,
        /// The zone.
        zone: String,
    },
    /// The server has no zone that the name lies in.
    #[error(
        "{server} is not authoritative for any zone that {name} lies in; add the zone there, or \
         choose another provider"
    )]
    NoZone {
        /// Who was asked.
        server: SocketAddr,
        /// The name.
        name: String,
    },
    /// The name lies in another zone than the one that the provider is set to.
    #[error("{name} does not lie in {zone}, the only zone that this provider is set to write")]
    OutsideZone {
        /// The name.
        name: String,
        /// The provider's zone.
        zone: String,
    },
    /// The name lies below a delegation to other servers.
    #[error(
        "{name} lies in {zone}, which {server} delegates to other name servers; use a provider \
         for that zone"
    )]
    NotDelegatedHere {
        /// Who was asked.
        server: SocketAddr,
        /// The name.
        name: String,
        /// The zone that it belongs to.
        zone: String,
    },
    /// The answer does not come from the zone's own data.
    #[error(
        "{server} does not answer for {zone} with authority; point the provider at the zone's \
         primary name server, not at a resolver"
    )]
    NotAuthoritative {
        /// Who answered.
        server: SocketAddr,
        /// The zone.
        zone: String,
    },
    /// The server failed.
    #[error("{server} answers SERVFAIL for {zone}; its log says why")]
    ServFail {
        /// Who said so.
        server: SocketAddr,
        /// The zone.
        zone: String,
    },
    /// Any other response code.
    #[error("{server} answers with response code {code} for {zone}; its log may say why")]
    UnexpectedCode {
        /// Who said so.
        server: SocketAddr,
        /// The response code (RFC 6895 §2.3).
        code: u16,
        /// The zone.
        zone: String,
    },
    /// What came back is no answer to what was asked.
    #[error("{server} sent something that is no answer to the question; is it a DNS server?")]
    Malformed {
        /// Who sent it.
        server: SocketAddr,
    },
    /// The answer carries no signature although the request did: it is not believed.
    #[error(
        "{server} does not sign its answer, so it is not believed; is there a proxy or a server \
         without TSIG in between?"
    )]
    UnsignedAnswer {
        /// Who sent it.
        server: SocketAddr,
    },
    /// The answer's signature is not valid: it is not believed.
    #[error("the answer of {server} is not validly signed with the TSIG key {key}: not believed")]
    UnverifiedAnswer {
        /// Who sent it.
        server: SocketAddr,
        /// Name of the key.
        key: String,
    },
    /// The answer is cut off.
    #[error("{server} cuts off its answer even over TCP")]
    Truncated {
        /// Who sent it.
        server: SocketAddr,
    },
    /// More records than are taken in.
    #[error("{server} answers with too many records (the limit is {limit})")]
    TooManyRecords {
        /// Who sent them.
        server: SocketAddr,
        /// [`crate::limits::DNS_MESSAGE_RECORDS`].
        limit: usize,
    },
    /// The server said yes, and the records are not what was written.
    #[error(
        "{server} accepted the change, but {name} {record_type} is not what was written: {}; \
         another writer was faster, or the server ignores what contradicts its other records \
         (a CNAME beside them)",
        what_is_there(.found.as_deref())
    )]
    ReadBackDiffers {
        /// Who was asked.
        server: SocketAddr,
        /// Name of the record set.
        name: String,
        /// Its type.
        record_type: RecordType,
        /// What is there.
        found: Option<Box<RecordSet>>,
    },
    /// A text that is no DNS name.
    #[error("{name:?} is not a DNS name")]
    BadName {
        /// The text.
        name: String,
    },
    /// The zone of a name could not be found out.
    #[error("the zone that {name} lies in cannot be found out: {why}")]
    ZoneUnknown {
        /// The name.
        name: String,
        /// Why, in a sentence.
        why: String,
    },
    /// The settings or credentials of a service are not usable.
    #[error("{service} cannot be used like this: {why}")]
    ServiceUnusable {
        /// What the service is called.
        service: &'static str,
        /// What is wrong, without any secret.
        why: String,
    },
    /// A service does not know the credentials.
    #[error(
        "{service} does not accept the credentials (401): they are wrong, expired or revoked; \
         put new ones into the Secret"
    )]
    ServiceUnauthorized {
        /// What the service is called.
        service: &'static str,
    },
    /// A service knows the credentials, which may not do this.
    #[error(
        "{service} does not allow this for {zone}: {said}; give the credentials the right to list \
         and to edit the records of this zone"
    )]
    ServiceForbidden {
        /// What the service is called.
        service: &'static str,
        /// The zone.
        zone: String,
        /// What it said.
        said: String,
    },
    /// A service has no such zone, or does not show it with these credentials.
    #[error(
        "{service} has no zone {zone} for these credentials; compare the zones of the account \
         with the zone that the world is led to, and what the credentials may see"
    )]
    ServiceNotFound {
        /// What the service is called.
        service: &'static str,
        /// The zone.
        zone: String,
    },
    /// A service wants to be asked less often.
    #[error(
        "{service} asks for patience (429, too many requests); no call is made for {seconds} s, \
         and it is then tried again"
    )]
    ServiceBusy {
        /// What the service is called.
        service: &'static str,
        /// How long it is left alone.
        seconds: u64,
    },
    /// A service does not take what it was sent.
    #[error("{service} refuses the request about {zone}: {said}")]
    ServiceRefused {
        /// What the service is called.
        service: &'static str,
        /// The zone.
        zone: String,
        /// What it said.
        said: String,
    },
    /// A service failed.
    #[error("{service} fails: {said}; it is tried again")]
    ServiceFailed {
        /// What the service is called.
        service: &'static str,
        /// What it said.
        said: String,
    },
    /// A service cannot be reached.
    #[error(
        "{service} cannot be reached: {said}; check that the network lets HTTPS through, and the \
         certificate of the service"
    )]
    ServiceUnreachable {
        /// What the service is called.
        service: &'static str,
        /// What went wrong.
        said: String,
    },
    /// A service did not answer in time.
    #[error(
        "{service} did not answer in time; it may have carried out what it was asked for, so it \
         is looked at again before the next try"
    )]
    ServiceTimeout {
        /// What the service is called.
        service: &'static str,
    },
    /// Others wrote in the zone until the time was over.
    #[error(
        "other writes in the zone {zone} took so long that there was no time left for this one; it \
         is tried again"
    )]
    TurnTimeout {
        /// The zone.
        zone: String,
    },
    /// What stands under a name could not be found out.
    #[error("what the authoritative servers show for {name} cannot be found out: {why}")]
    NameUnknown {
        /// The name.
        name: String,
        /// Why, in a sentence.
        why: String,
    },
    /// An object of somebody else has the name that ours is to have.
    #[error(
        "the DNSEndpoint {object} was not made by this operator for this name: it is not touched; \
         rename or remove it"
    )]
    DnsEndpointTaken {
        /// `NAMESPACE/NAME`.
        object: String,
    },
    /// The API server knows no DNSEndpoints.
    #[error(
        "the cluster has no DNSEndpoint objects (externaldns.k8s.io/v1alpha1): install the \
         definition that comes with external-dns, and run external-dns with --source=crd"
    )]
    DnsEndpointKindMissing,
    /// The operator may not write DNSEndpoints.
    #[error(
        "the operator may not use DNSEndpoint objects: {said}; set externalDNS.enabled=true in the \
         chart's values, or apply examples/rbac/dns-endpoint.yaml"
    )]
    DnsEndpointForbidden {
        /// What the API server said.
        said: String,
    },
    /// What came back is no answer of this service.
    #[error("{service} sent something that is no answer of its API; is there a proxy in between?")]
    ServiceGarbled {
        /// What the service is called.
        service: &'static str,
    },
    /// More records than are taken in.
    #[error("{service} has too many records at {name} (the limit is {limit})")]
    ServiceTooMany {
        /// What the service is called.
        service: &'static str,
        /// The name.
        name: String,
        /// [`crate::limits::SERVICE_RECORDS`].
        limit: usize,
    },
    /// A service said yes, and its records are not what was written.
    #[error(
        "{service} accepted the change, but {name} {record_type} is not what was written: {}; \
         another writer was faster, or the service takes a while to show it",
        what_is_there(.found.as_deref())
    )]
    ServiceReadBackDiffers {
        /// What the service is called.
        service: &'static str,
        /// Name of the record set.
        name: String,
        /// Its type.
        record_type: RecordType,
        /// What is there.
        found: Option<Box<RecordSet>>,
    },
    /// Records that can't be put into one message.
    #[error("the record sets at {name} do not fit into one DNS message")]
    TooLarge {
        /// Name of the first.
        name: String,
    },
}

impl DnsError {
    /// A short name for metrics and reasons.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::BadKey { .. } => "bad_key",
            Self::BadSignature { .. } => "bad_signature",
            Self::BadTime { .. } => "bad_time",
            Self::Refused { .. } => "refused",
            Self::RefusedUnsigned { .. } => "refused_unsigned",
            Self::NotAuth { .. } => "not_auth",
            Self::NotZone { .. } => "not_zone",
            Self::NoZone { .. } => "no_zone",
            Self::OutsideZone { .. } => "outside_zone",
            Self::NotDelegatedHere { .. } => "not_delegated_here",
            Self::NotAuthoritative { .. } => "not_authoritative",
            Self::ServFail { .. } => "servfail",
            Self::UnexpectedCode { .. } => "unexpected_code",
            Self::Malformed { .. } => "malformed",
            Self::UnsignedAnswer { .. } => "unsigned_answer",
            Self::UnverifiedAnswer { .. } => "unverified_answer",
            Self::Truncated { .. } => "truncated",
            Self::TooManyRecords { .. } => "too_many_records",
            Self::ReadBackDiffers { .. } => "read_back_differs",
            Self::BadName { .. } => "bad_name",
            Self::TooLarge { .. } => "too_large",
            Self::ZoneUnknown { .. } => "zone_unknown",
            Self::ServiceUnusable { .. } => "service_unusable",
            Self::ServiceUnauthorized { .. } => "service_unauthorized",
            Self::ServiceForbidden { .. } => "service_forbidden",
            Self::ServiceNotFound { .. } => "service_not_found",
            Self::ServiceBusy { .. } => "service_busy",
            Self::ServiceRefused { .. } => "service_refused",
            Self::ServiceFailed { .. } => "service_failed",
            Self::ServiceUnreachable { .. } => "service_unreachable",
            Self::ServiceTimeout { .. } => "service_timeout",
            Self::TurnTimeout { .. } => "turn_timeout",
            Self::ServiceGarbled { .. } => "service_garbled",
            Self::NameUnknown { .. } => "name_unknown",
            Self::DnsEndpointTaken { .. } => "dns_endpoint_taken",
            Self::DnsEndpointKindMissing => "dns_endpoint_kind_missing",
            Self::DnsEndpointForbidden { .. } => "dns_endpoint_forbidden",
            Self::ServiceTooMany { .. } => "service_too_many",
            Self::ServiceReadBackDiffers { .. } => "service_read_back_differs",
        }
    }

    /// How the controller answers it.
    pub fn class(&self) -> DnsErrorClass {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::ServFail { .. }
            | Self::UnexpectedCode { .. }
            | Self::Malformed { .. }
            | Self::UnverifiedAnswer { .. }
            | Self::Truncated { .. }
            | Self::ReadBackDiffers { .. }
            | Self::ZoneUnknown { .. }
            | Self::ServiceBusy { .. }
            | Self::ServiceFailed { .. }
            | Self::ServiceUnreachable { .. }
            | Self::ServiceTimeout { .. }
            | Self::TurnTimeout { .. }
            | Self::ServiceGarbled { .. }
            | Self::NameUnknown { .. }
            | Self::ServiceReadBackDiffers { .. } => DnsErrorClass::Retry,
            Self::BadKey { .. }
            | Self::BadSignature { .. }
            | Self::BadTime { .. }
            | Self::Refused { .. }
            | Self::RefusedUnsigned { .. }
            | Self::NotAuth { .. }
            | Self::NotZone { .. }
            | Self::NoZone { .. }
            | Self::OutsideZone { .. }
            | Self::NotDelegatedHere { .. }
            | Self::NotAuthoritative { .. }
            | Self::UnsignedAnswer { .. }
            | Self::TooManyRecords { .. }
            | Self::BadName { .. }
            | Self::TooLarge { .. }
            | Self::ServiceUnusable { .. }
            | Self::ServiceUnauthorized { .. }
            | Self::ServiceForbidden { .. }
            | Self::ServiceNotFound { .. }
            | Self::ServiceRefused { .. }
            | Self::ServiceTooMany { .. }
            | Self::DnsEndpointTaken { .. }
            | Self::DnsEndpointKindMissing
            | Self::DnsEndpointForbidden { .. } => DnsErrorClass::Stalled,
        }
    }
}

fn how_far(seconds: Option<i64>) -> String {
    match seconds {
        None => String::new(),
        // In minutes, so that the same trouble is told in the same words each time.
        Some(seconds) => {
            let minutes = (seconds.unsigned_abs() + 30) / 60;
            let side = if seconds >= 0 { "ahead of" } else { "behind" };
            format!(": its clock is {minutes} min {side} ours")
        }
    }
}

fn what_is_there(set: Option<&RecordSet>) -> String {
    match set {
        None => "nothing is there".to_owned(),
        Some(set) => {
            let values: Vec<String> = set.values.iter().map(ToString::to_string).collect();
            match set.ttl {
                Some(ttl) => format!("TTL {ttl} and {values:?} are there"),
                None => format!("{values:?} are there"),
            }
        }
    }
}
