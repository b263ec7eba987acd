//! `MtaStsPolicy`: one mail domain protected by MTA-STS.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::{Empty, schema};
use crate::protocol::{Mode, MxPreset};

/// A mail domain whose MTA-STS policy (RFC 8461) is published and kept right.
#[derive(CustomResource, KubeSchema, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[kube(
    group = "mta-sts.dev",
    version = "v1alpha1",
    kind = "MtaStsPolicy",
    plural = "mtastspolicies",
    namespaced,
    doc = "A mail domain whose MTA-STS policy (RFC 8461) is published and kept right.",
    status = "MtaStsPolicyStatus",
    shortname = "mtasts",
    category = "mail",
    selectable = ".spec.domain",
    derive = "PartialEq",
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".status.policy.mode",
        description = "The mode that is published"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "ID",
        type_ = "string",
        json_path = ".status.policy.id",
        priority = 1,
        description = "The policy id that is announced or about to be"
    ),
    printcolumn(
        name = "Stage",
        type_ = "string",
        json_path = ".status.rollout.stage",
        priority = 1,
        description = "The stage of the rollout"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(
    validation = Rule::new("(has(self.mode) && self.mode == 'none') || (has(self.mx) && self.mx.size() > 0) || (has(self.mxPresets) && self.mxPresets.size() > 0)")
        .message("write at least one MX pattern in spec.mx, or a provider in spec.mxPresets, unless spec.mode is none"),
    validation = Rule::new("!has(self.rollout) || self.rollout.strategy != 'Progressive' || (has(self.mode) && self.mode == 'enforce')")
        .message("rollout.strategy Progressive leads to mode enforce: write mode: enforce, the stages begin with testing"),
    validation = Rule::new("!has(self.rollout) || self.rollout.strategy != 'Progressive' || !has(self.maxAgeSeconds)")
        .message("with rollout.strategy Progressive each stage has its own maxAgeSeconds: leave spec.maxAgeSeconds out"),
    validation = Rule::new("!has(self.mx) || self.mx.join('').size() <= 6144")
        .message("spec.mx is longer than 6 KiB: some senders would refuse the policy; use wildcards such as *.example.org"),
    validation = Rule::new("!has(self.hosting) || !has(self.hosting.address) || !has(self.hosting.address.cname) || self.hosting.address.cname != 'mta-sts.' + self.domain")
        .message("the policy host cannot be an alias of itself: write the name of the front in spec.hosting.address.cname")
)]
#[serde(rename_all = "camelCase")]
pub struct MtaStsPolicySpec {
    /// The mail domain: the part after the @, in lower-case A-labels without a final dot.
    /// Subdomains with mail need an object of their own. Cannot be changed.
    #[schemars(schema_with = "schema::domain")]
    pub domain: String,

    /// What senders do when an MX fails: testing (deliver and report; the default), enforce
    /// (do not deliver), or none (as if there were no policy).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::mode")]
    pub mode: Option<Mode>,

    /// MX hosts that may receive: host names, or *. and a host name, where the * stands for
    /// exactly one label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::mx_patterns")]
    pub mx: Vec<String>,

    /// Mail providers whose MX patterns are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub mx_presets: Vec<MxPreset>,

    /// How many seconds senders may keep the policy: 86400 (a day) by default, 604800 (a week)
    /// in mode enforce. Below 86400 some senders refuse it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::max_age_seconds")]
    pub max_age_seconds: Option<i64>,

    /// How the DNS records are written.
    #[serde(default)]
    pub dns: DnsSpec,

    /// Where the policy is served.
    #[serde(default)]
    pub hosting: HostingSpec,

    /// How the policy gets to mode enforce: at once, or by stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutSpec>,

    /// Where senders report failures to (RFC 8460): the record _smtp._tls.<domain>. Without it
    /// none is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_reporting: Option<TlsReportingSpec>,

    /// Whether the live MX hosts hold mode enforce back: Guarded (the default) never enforces a
    /// policy while senders would refuse mail to a live MX for it, because no pattern matches
    /// the host or its TLS fails; Unconditional publishes what is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::enforcement")]
    pub enforcement: Option<Enforcement>,

    /// Leave everything as it is; still look and report.
    #[serde(default)]
    pub suspend: bool,

    /// What becomes of the published policy when this object is deleted: Graceful (the default)
    /// publishes mode none, waits until no sender holds anything else, and only then takes record
    /// and host away (RFC 8461 section 8.3); Immediate takes them away at once, and senders may
    /// refuse mail until their copies end; Retain leaves all as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::deletion_policy")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// How the policy gets to mode enforce.
#[derive(KubeSchema, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.stages) || self.stages.size() == 0 || self.strategy == 'Progressive'")
        .message("stages are for strategy Progressive"),
    validation = Rule::new("!has(self.onFailure) || self.onFailure != 'Rollback' || self.strategy == 'Progressive'")
        .message("onFailure: Rollback is for strategy Progressive: without stages there is none to go back to"),
    validation = Rule::new("!has(self.onFailure) || self.onFailure != 'Rollback' || !has(self.stages) || self.stages.size() == 0 || self.stages[0].mode == 'testing'")
        .message("onFailure: Rollback goes back to a stage in mode testing: write one, or leave onFailure out"),
    validation = Rule::new("!has(self.stages) || self.stages.size() == 0 || (self.stages[self.stages.size() - 1].mode == 'enforce' && (self.stages[0].mode == 'testing' || self.stages.all(s, s.mode == 'enforce')))")
        .message("write the stages in the order in which they are climbed: those in mode testing first, then one or more in mode enforce"),
)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Direct (the default): the policy is published as it is written. Progressive: it climbs the
    /// stages, each when its gates are open; spec.mode is enforce then, and spec.maxAgeSeconds
    /// is left to the stages.
    #[serde(default)]
    #[schemars(schema_with = "schema::rollout_strategy")]
    pub strategy: RolloutStrategy,

    /// The stages, lowest first: 1 to 10. By default observe (testing, max_age one day, for two
    /// weeks), confirm (testing, a week, for two weeks), enforce (enforce, a week, for thirty
    /// days) and steady (enforce, thirty days).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::stages")]
    pub stages: Vec<StageSpec>,

    /// Whether each step waits for the annotation mta-sts.dev/approve with the name of the next
    /// stage: Manual; or Automatic (the default).
    #[serde(default)]
    #[schemars(schema_with = "schema::approval")]
    pub approval: Approval,

    /// What becomes of a stage in mode enforce when a live MX host matches no pattern any more, or its
    /// TLS fails. Freeze (the default): it stays enforced, since a forged answer must not switch the
    /// protection off. Rollback: after 15 minutes in which all authoritative servers and all
    /// resolvers named the host at each look, the last stage in mode testing is published again.
    #[serde(default)]
    #[schemars(schema_with = "schema::on_failure")]
    pub on_failure: OnFailure,
}

/// How the policy gets to mode enforce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum RolloutStrategy {
    /// At once.
    #[default]
    Direct,
    /// By stages.
    Progressive,
}

impl RolloutStrategy {
    /// The word in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "Direct",
            Self::Progressive => "Progressive",
        }
    }
}

/// Whether each step waits for somebody's approval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Approval {
    /// It does not.
    #[default]
    Automatic,
    /// It does.
    Manual,
}

impl Approval {
    /// The word in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "Automatic",
            Self::Manual => "Manual",
        }
    }
}

/// What becomes of an enforced stage while senders refuse mail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum OnFailure {
    /// It stays enforced.
    #[default]
    Freeze,
    /// The last stage in mode testing comes back.
    Rollback,
}

impl OnFailure {
    /// The word in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freeze => "Freeze",
            Self::Rollback => "Rollback",
        }
    }
}

/// One stage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageSpec {
    /// Its name.
    #[schemars(schema_with = "schema::stage_name")]
    pub name: String,
    /// testing or enforce.
    #[schemars(schema_with = "schema::stage_mode")]
    pub mode: Mode,
    /// How many seconds senders may keep its policy.
    #[schemars(schema_with = "schema::max_age_seconds")]
    pub max_age_seconds: i64,
    /// How many seconds it lasts at least without an error; of no meaning in the last one.
    #[serde(default)]
    #[schemars(schema_with = "schema::min_duration_seconds")]
    pub min_duration_seconds: i64,
}

/// Where senders report failures to (RFC 8460).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsReportingSpec {
    /// Where reports go: mailto: and an address, or an https: URL.
    #[schemars(schema_with = "schema::rua")]
    pub rua: Vec<String>,
}

/// Whether the live MX hosts hold mode enforce back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Enforcement {
    /// They do.
    #[default]
    Guarded,
    /// They do not.
    Unconditional,
}

impl Enforcement {
    /// The word in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guarded => "Guarded",
            Self::Unconditional => "Unconditional",
        }
    }
}

/// What becomes of a published policy when its object is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// By RFC 8461 §8.3.
    #[default]
    Graceful,
    /// At once.
    Immediate,
    /// Nothing.
    Retain,
}

impl DeletionPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Graceful, Self::Immediate, Self::Retain];

    /// The word in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Graceful => "Graceful",
            Self::Immediate => "Immediate",
            Self::Retain => "Retain",
        }
    }
}

/// How the DNS records are written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsSpec {
    /// The provider that writes the records. By default the operator's own default; with none at
    /// all the records are set by hand, and status.dns.records says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<ProviderRef>,

    /// TTL of the records in seconds.
    #[serde(default = "DnsSpec::default_ttl")]
    #[schemars(schema_with = "schema::ttl_seconds")]
    pub ttl_seconds: i64,

    /// Take over records that this operator did not write.
    #[serde(default)]
    pub adopt: bool,
}

impl DnsSpec {
    const fn default_ttl() -> i64 {
        300
    }
}

impl Default for DnsSpec {
    fn default() -> Self {
        Self {
            provider_ref: None,
            ttl_seconds: Self::default_ttl(),
            adopt: false,
        }
    }
}

/// Names a DNS provider object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProviderRef {
    /// DnsProvider (of this object's namespace) or ClusterDnsProvider.
    #[serde(default)]
    pub kind: ProviderKind,
    /// Its name.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
}

/// The kinds of DNS provider objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum ProviderKind {
    /// Of the same namespace.
    #[default]
    DnsProvider,
    /// Of the whole cluster.
    ClusterDnsProvider,
}

/// Where the policy is served.
#[derive(KubeSchema, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("[has(self.ingress), has(self.gateway), has(self.external)].filter(x, x).size() <= 1")
    .message("write one of ingress, gateway and external, not several"))]
#[serde(rename_all = "camelCase")]
pub struct HostingSpec {
    /// Through an Ingress in the operator's namespace. The default where the operator or the
    /// cluster has a default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSpec>,

    /// Through an HTTPRoute in the operator's namespace. The default where the operator has a
    /// default Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayHostingSpec>,

    /// Somebody else serves the policy; the operator only verifies it and publishes the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<Empty>,

    /// The address record of mta-sts.<domain>. By default what the Ingress or
    /// the Gateway reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<AddressSpec>,
}

/// An Ingress for the policy host.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressSpec {
    /// The IngressClass. By default the operator's, else the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub class_name: Option<String>,

    /// Annotations for the Ingress, of the prefixes that the operator's configuration allows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,

    /// The certificate of the policy host. By default the Secret `<name of the Ingress>-tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<IngressTlsSpec>,
}

/// The certificate of the policy host.
#[derive(KubeSchema, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.secretName) != has(self.issuerRef)")
    .message("write exactly one of secretName (a TLS Secret in the operator's namespace) and issuerRef (a cert-manager issuer)"))]
#[serde(rename_all = "camelCase")]
pub struct IngressTlsSpec {
    /// A TLS Secret in the operator's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub secret_name: Option<String>,
    /// A cert-manager issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

/// Names a cert-manager issuer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct IssuerRef {
    /// Issuer (of the operator's namespace) or ClusterIssuer.
    #[serde(default)]
    pub kind: IssuerKind,
    /// Its name.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
}

/// The kinds of cert-manager issuers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum IssuerKind {
    /// Of the operator's namespace.
    Issuer,
    /// Of the whole cluster.
    #[default]
    ClusterIssuer,
}

/// An HTTPRoute for the policy host.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayHostingSpec {
    /// The Gateways that take the route: one to four.
    #[schemars(schema_with = "schema::parent_refs")]
    pub parent_refs: Vec<GatewayParentRef>,
}

/// Names a Gateway, or one of its listeners.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayParentRef {
    /// The namespace of the Gateway.
    #[schemars(schema_with = "schema::object_name")]
    pub namespace: String,
    /// Its name.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// The name of the listener. By default every listener that takes the policy host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub section_name: Option<String>,
    /// The port of the listener. By default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::listener_port")]
    pub port: Option<i32>,
}

/// The address record of the policy host: exactly one of a CNAME, addresses, or nothing.
#[derive(KubeSchema, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("[has(self.cname), has(self.none), (has(self.ipv4) && self.ipv4.size() > 0) || (has(self.ipv6) && self.ipv6.size() > 0)].filter(x, x).size() == 1")
    .message("write exactly one of cname, addresses (ipv4 and/or ipv6), and none: {}"))]
#[serde(rename_all = "camelCase")]
pub struct AddressSpec {
    /// The name that mta-sts.<domain> is an alias of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::host_name")]
    pub cname: Option<String>,
    /// IPv4 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ipv4_list")]
    pub ipv4: Vec<String>,
    /// IPv6 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ipv6_list")]
    pub ipv6: Vec<String>,
    /// The address record is somebody else's: leave it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<Empty>,
}

/// What is published, and what was seen.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MtaStsPolicyStatus {
    /// The generation of the spec that this status is about; -1 until the object was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, PolicyServed, CertificateValid, DnsPublished, MxCovered, MxTlsValid,
    /// TlsReporting, Ready, Healthy, and while they hold Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The policy that is served, or is about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PublishedPolicyStatus>,
    /// The DNS records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsStatus>,
    /// Until when senders may still hold an older policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caches: Option<CacheStatus>,
    /// Where the domain is on its ladder, with rollout.strategy Progressive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// What is wrong or worth knowing, worst first, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingStatus>,
    /// How many findings there are in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings_total: Option<i64>,
}

/// The policy that is served, or is about to be.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishedPolicyStatus {
    /// Its id.
    pub id: String,
    /// Its mode.
    pub mode: Mode,
    /// Its max_age in seconds.
    pub max_age_seconds: i64,
    /// SHA-256 of the body in hex.
    pub sha256: String,
    /// Its MX patterns.
    pub mx: Vec<String>,
    /// When it was decided; it has been served since soon after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub served_since: Option<Timestamp>,
    /// When its id was announced; absent while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub announced_at: Option<Timestamp>,
}

/// The DNS records of the domain.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsStatus {
    /// One entry a record set.
    #[serde(default)]
    pub records: Vec<RecordStatus>,
}

/// One record set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordStatus {
    /// Owner name, absolute, without the final dot.
    pub name: String,
    /// A, AAAA, CNAME or TXT.
    #[serde(rename = "type")]
    pub type_: String,
    /// The value; several are joined with a comma.
    pub value: String,
    /// TTL in seconds.
    pub ttl_seconds: i64,
    /// How far it is.
    pub state: RecordState,
    /// What each authoritative server was seen to answer; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerAnswerStatus>,
}

/// How far a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum RecordState {
    /// Not yet at all servers.
    Pending,
    /// At all servers.
    Published,
    /// Somebody else's record stands there.
    Foreign,
    /// To be set by hand.
    Manual,
}

/// What one authoritative server answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerAnswerStatus {
    /// Its address.
    pub address: String,
    /// The answer, or why there was none.
    pub answer: String,
}

/// Until when senders may still hold an older policy.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheStatus {
    /// From then on a sender that follows RFC 8461 §5.1 uses the current policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub conforming_senders_by: Option<Timestamp>,
    /// From then on also those that ignore the id until their copy expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub all_senders_by: Option<Timestamp>,
}

/// Where a domain is on its ladder.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The stage that it is on.
    pub stage: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub since: Option<Timestamp>,
    /// The next one; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When the next one is due, if nothing comes in between; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub next_not_before: Option<Timestamp>,
    /// What keeps the next one away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<String>,
    /// All stages, lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<StageStatus>,
    /// When this stage is taken back to one in mode testing, unless what senders refuse is mended
    /// (rollout.onFailure: Rollback).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub rolls_back_at: Option<Timestamp>,
    /// The rollback that led here; absent once the next stage was entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBackStatus>,
}

/// A stage of the ladder.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Its name.
    pub name: String,
    /// testing or enforce.
    #[schemars(with = "String")]
    pub mode: Mode,
    /// How many seconds senders may keep its policy.
    pub max_age_seconds: i64,
    /// When it can begin at the earliest, if nothing comes in between; absent for the present stage and
    /// those below, and where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub not_before: Option<Timestamp>,
}

/// A rollback of an enforced stage.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolledBackStatus {
    /// The stage that was left.
    pub from: String,
    /// What senders refused.
    pub message: String,
}

/// One finding, as `mta-sts check` and `mta-sts lint` tell it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingStatus {
    /// Stable code.
    pub code: String,
    /// error, warning, info or unknown.
    pub severity: String,
    /// What it is about.
    pub subject: String,
    /// What was seen, and what to do.
    pub message: String,
}
