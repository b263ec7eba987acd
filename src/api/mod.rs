//! The custom resources: group `mta-sts.dev`, version `v1alpha1`. One file a kind.

// The derive macros repeat each struct inside of a function, where `pub` reaches nobody.
#![allow(unreachable_pub)]

mod common;
pub mod condition;
mod crds;
mod dns_provider;
mod dns_service;
mod mta_sts_policy;
mod schema;

pub use common::{Empty, SecretKeyRef};
pub use condition::{Condition, ConditionStatus, ConditionType};
pub use crds::crds;
pub use dns_provider::{
    ClusterDnsProvider, ClusterDnsProviderSpec, DnsProvider, DnsProviderSpec, DnsProviderStatus,
    LabelSelector, LabelSelectorOperator, LabelSelectorRequirement, Rfc2136Spec, TsigAlgorithm,
    TsigSpec,
};
pub use dns_service::{
    ApiTokenSpec, AuthoritativeSpec, AzureDnsSpec, DnsEndpointsSpec, DnsServiceSpec, GandiSpec,
    GoogleCloudDnsSpec, OtherServiceSpec, OvhSpec, PowerDnsSpec, Route53Spec, SecretRef,
    WebhookSpec,
};
pub use mta_sts_policy::{
    AddressSpec, Approval, CacheStatus, DeletionPolicy, DnsSpec, DnsStatus, Enforcement,
    FindingStatus, GatewayHostingSpec, GatewayParentRef, HostingSpec, IngressSpec, IngressTlsSpec,
    IssuerKind, IssuerRef, MtaStsPolicy, MtaStsPolicySpec, MtaStsPolicyStatus, OnFailure,
    ProviderKind, ProviderRef, PublishedPolicyStatus, RecordState, RecordStatus, RolledBackStatus,
    RolloutSpec, RolloutStatus, RolloutStrategy, ServerAnswerStatus, StageSpec, StageStatus,
    TlsReportingSpec,
};

/// API group of all kinds.
pub const GROUP: &str = "mta-sts.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// Label that a Secret must carry (with the value `true`) before its bytes are used: it keeps a
/// tenant who may create a `DnsProvider` from sending any Secret of the namespace to a server of
/// his choice.
pub const CREDENTIALS_LABEL: &str = "mta-sts.dev/credentials";
/// Finalizer on `MtaStsPolicy` objects.
pub const FINALIZER: &str = "mta-sts.dev/publication";
/// Name under which the operator applies and patches.
pub const FIELD_MANAGER: &str = "mta-sts-operator";
