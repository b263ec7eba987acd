//! The conditions of all kinds, and every reason that a condition may have.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One aspect of an object's state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds: True, False or Unknown.
    pub status: ConditionStatus,
    /// The generation of the object that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status changed last.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
    /// One word for why: documented, stable, fit for scripts.
    pub reason: String,
    /// The same for a person: what was seen, and what to do next.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It could not be found out.
    Unknown,
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The conditions of an `MtaStsPolicy`, in the order in which they are shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ConditionType {
    /// The spec is valid and this object owns the domain.
    Accepted,
    /// Every policy-server endpoint and the public URL return the exact bytes.
    PolicyServed,
    /// The policy host presents a chain valid for its name on every address.
    CertificateValid,
    /// All authoritative servers show exactly our TXT record.
    DnsPublished,
    /// Every live MX matches a pattern.
    MxCovered,
    /// Every live MX offers STARTTLS with a certificate that senders take.
    MxTlsValid,
    /// The record that asks senders for TLS reports is published, or none is asked for.
    TlsReporting,
    /// The step that is due now is published.
    Ready,
    /// No error-level finding about what is published: mail is safe.
    Healthy,
    /// kstatus: work is going on. Absent unless True.
    Reconciling,
    /// kstatus: nothing will change until somebody acts. Absent unless True.
    Stalled,
}

impl ConditionType {
    /// The name in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::PolicyServed => "PolicyServed",
            Self::CertificateValid => "CertificateValid",
            Self::DnsPublished => "DnsPublished",
            Self::MxCovered => "MxCovered",
            Self::MxTlsValid => "MxTlsValid",
            Self::TlsReporting => "TlsReporting",
            Self::Ready => "Ready",
            Self::Healthy => "Healthy",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

macro_rules! reasons {
    ($($name:ident: $meaning:literal,)+) => {
        /// Every reason that a condition may have.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum Reason { $(#[doc = $meaning] $name,)+ }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word in the object.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }
        }
    };
}

reasons! {
    Accepted: "The spec is valid and this object owns the domain. Of a DNS provider: the service answers and takes the credentials.",
    InvalidSpec: "A field is wrong; the message says which and what to write. Nothing that was published is changed.",
    DomainConflict: "Another object owns the domain, its parent or a domain below it, or has its TXT record at the same CNAME target.",
    NotAllowed: "The domain is not granted to this namespace; or the DNS provider, class, issuer, Gateway or Secret that the spec names may not be used for it.",
    ProviderNotFound: "The DNS provider that the spec names does not exist, or its own spec is not valid.",
    HostingNotFound: "The spec names no hosting, the operator has no default, and the cluster has no default IngressClass; or a Gateway is named and the Gateway API is not installed, or the operator may not look at it.",
    AnnotationNotAllowed: "An annotation for the Ingress is not on the operator's allow-list, or names what only a field may.",
    NotAccepted: "Nothing is done or looked at until Accepted is True.",
    Pending: "Not yet looked at, or waiting for an earlier step.",
    Served: "Every policy-server endpoint and the public URL return the exact bytes.",
    EndpointsMissing: "There is no policy-server endpoint.",
    EndpointStale: "A policy-server endpoint still serves another body.",
    EndpointUnreachable: "A policy-server endpoint does not answer.",
    AddressPending: "The address record of the policy host is not yet at all authoritative servers, or its old one may still be cached.",
    AddressUnknown: "The address of the policy host is not known: the Ingress has none yet, and spec.hosting.address gives none.",
    HostUnresolved: "mta-sts.<domain> has no address, or could not be looked up.",
    HostUnreachable: "An address of the policy host does not answer.",
    WrongStatus: "The public URL does not answer with status 200.",
    WrongBody: "The public URL serves other bytes.",
    WrongContentType: "The public URL does not serve text/plain.",
    HostTaken: "Another Ingress or HTTPRoute has the policy host, and the public URL serves other bytes.",
    IngressRefused: "The Ingress was refused by the API server or an admission webhook.",
    RouteRefused: "The HTTPRoute was refused by the API server or an admission webhook.",
    GatewayNotFound: "A Gateway that the spec names, or its class, does not exist.",
    GatewayNotReady: "A Gateway is not accepted by its controller.",
    ListenerMissing: "A Gateway has no HTTPS listener for the policy host.",
    RouteNotAllowed: "The listener for the policy host takes no HTTPRoutes from the operator's namespace.",
    ListenerCertificate: "The listener for the policy host has no certificate, or one that the Gateway cannot use.",
    ListenerNotReady: "The listener for the policy host is not accepted, not programmed, or in conflict with another.",
    RouteNotAccepted: "A Gateway does not take the HTTPRoute.",
    RoutePending: "A Gateway has not looked at the HTTPRoute yet.",
    Cached: "A cache in front of the policy host may still hold the old body.",
    PrivateAddress: "An address of the policy host is private: the world cannot reach it, and it is not dialled.",
    Valid: "The certificate is valid for the policy host on every address. Of MxTlsValid: every live MX offers TLS that senders take.",
    Expired: "A certificate of the policy host is past its date.",
    Expiring: "The certificate ends soon.",
    NameMismatch: "A certificate has no SAN for the policy host.",
    Untrusted: "A certificate does not chain to a trusted root.",
    IncompleteChain: "A server does not send its intermediate certificate.",
    HandshakeFailed: "TLS could not be set up with the policy host.",
    NotChecked: "The operator is set not to look: at the public URL, or at port 25 of the MX hosts.",
    Published: "All authoritative servers show the record. Of Ready: the policy is served as well.",
    StagePublished: "The policy of the stage that the rollout is on is served and announced; status.rollout says what the next one waits for.",
    WaitingForHost: "The record waits until the new body is proved to be out.",
    Foreign: "A record that this operator did not write stands where ours belongs.",
    WildcardShadowed: "Writing below the domain would hide the wildcard that its MX comes from, and stop its mail.",
    ProviderError: "The DNS provider refused or failed; the message has its words.",
    ProviderUnreachable: "The DNS provider does not answer.",
    CredentialsInvalid: "The DNS provider refused the credentials, or the Secret is missing, unlabelled or malformed.",
    ClockSkew: "The clocks of the operator and of the other side (the API server, a name server) are too far apart.",
    NotDelegated: "The zone of the domain is not one that the provider's server is authoritative for, or it is not delegated; or a name does not lead to the operator's own name servers.",
    WaitingForExternalDns: "external-dns has not carried out the DNSEndpoint, or not rightly; the message says what may be in its way.",
    ServersDiffer: "Not every authoritative server shows the record yet.",
    DriftRepeated: "Somebody else keeps changing the record: the operator has stopped repairing it.",
    ManualActionNeeded: "A record has to be set by hand; status.dns.records says which.",
    Covered: "Every live MX matches a pattern.",
    Uncovered: "A live MX matches no pattern.",
    StartTlsMissing: "A live MX offers no STARTTLS that works.",
    CertificateInvalid: "A live MX has a certificate that senders refuse in mode enforce.",
    MxUnresolved: "A live MX has no address, or only private ones.",
    MxUnreachable: "A live MX does not answer on port 25, so nothing is known of its TLS.",
    Port25Blocked: "No live MX answers on port 25: most likely this network lets no mail out.",
    EnforceHeld: "Mode enforce, or a change of what is enforced, waits: senders would refuse mail to a live MX. What was published before stays.",
    NotAsked: "spec.tlsReporting is not set: senders report no failures.",
    NoMx: "The domain has no MX record; mail goes to its own address.",
    NullMx: "The domain accepts no mail (null MX).",
    LookupFailed: "The DNS could not be asked: for the MX records, or for what the authoritative servers show.",
    Healthy: "There is no error-level finding about what is published.",
    Unhealthy: "There is an error-level finding. The condition Healthy carries its code in place of this word: mx-uncovered is MxUncovered.",
    Suspended: "spec.suspend is set: everything is left as it is.",
    Progressing: "Work is going on.",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
