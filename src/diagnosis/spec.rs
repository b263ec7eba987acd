//! The specs of our objects with their values as they were written, before anything was checked: what the linter reads from a file and the controller from a stored object.

/// The fields of a spec. `None` and empty lists are fields that were not written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpecFields<'a> {
    /// `domain`; empty where it is missing.
    pub domain: &'a str,
    /// `mode`.
    pub mode: Option<&'a str>,
    /// `mx`.
    pub mx: &'a [String],
    /// `mxPresets`, by name.
    pub mx_presets: &'a [String],
    /// `maxAgeSeconds`.
    pub max_age_seconds: Option<i64>,
    /// `dns.providerRef`.
    pub provider: Option<SpecProvider<'a>>,
    /// `dns.ttlSeconds`.
    pub ttl_seconds: Option<i64>,
    /// `hosting`.
    pub hosting: Option<SpecHosting<'a>>,
    /// `rollout`.
    pub rollout: Option<SpecRollout<'a>>,
    /// `tlsReporting.rua`.
    pub rua: Option<&'a [String]>,
    /// `enforcement`.
    pub enforcement: Option<&'a str>,
    /// `deletionPolicy`.
    pub deletion_policy: Option<&'a str>,
}

/// `rollout`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpecRollout<'a> {
    /// `strategy`.
    pub strategy: Option<&'a str>,
    /// `approval`.
    pub approval: Option<&'a str>,
    /// `onFailure`.
    pub on_failure: Option<&'a str>,
    /// `stages`.
    pub stages: Vec<SpecStage<'a>>,
}

/// One of `rollout.stages`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpecStage<'a> {
    /// `name`; empty where it is missing.
    pub name: &'a str,
    /// `mode`.
    pub mode: Option<&'a str>,
    /// `maxAgeSeconds`.
    pub max_age_seconds: Option<i64>,
    /// `minDurationSeconds`.
    pub min_duration_seconds: Option<i64>,
}

/// `dns.providerRef`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpecProvider<'a> {
    /// `kind`.
    pub kind: Option<&'a str>,
    /// `name`.
    pub name: &'a str,
}

/// `hosting`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpecHosting<'a> {
    /// `ingress`.
    pub ingress: Option<SpecIngress<'a>>,
    /// `gateway`: its `parentRefs`.
    pub gateway: Option<Vec<SpecParentRef<'a>>>,
    /// Whether `external` is there.
    pub external: bool,
    /// `address`.
    pub address: Option<SpecAddress<'a>>,
}

/// One of `hosting.gateway.parentRefs`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpecParentRef<'a> {
    /// `namespace`; empty where it is missing.
    pub namespace: &'a str,
    /// `name`; empty where it is missing.
    pub name: &'a str,
    /// `sectionName`.
    pub section_name: Option<&'a str>,
    /// `port`.
    pub port: Option<i64>,
}

/// `hosting.ingress`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpecIngress<'a> {
    /// `className`.
    pub class_name: Option<&'a str>,
    /// `annotations`, keys and values.
    pub annotations: Vec<(&'a str, &'a str)>,
    /// `tls`.
    pub tls: Option<SpecTls<'a>>,
}

/// `hosting.ingress.tls`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpecTls<'a> {
    /// `secretName`.
    pub secret_name: Option<&'a str>,
    /// `issuerRef`.
    pub issuer: Option<SpecIssuer<'a>>,
}

/// `hosting.ingress.tls.issuerRef`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpecIssuer<'a> {
    /// `kind`.
    pub kind: Option<&'a str>,
    /// `name`.
    pub name: &'a str,
}

/// `hosting.address`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpecAddress<'a> {
    /// `cname`.
    pub cname: Option<&'a str>,
    /// `ipv4`.
    pub ipv4: &'a [String],
    /// `ipv6`.
    pub ipv6: &'a [String],
    /// Whether `none` is there.
    pub none: bool,
}

/// The fields of a DnsProvider or ClusterDnsProvider. A text that was not written is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProviderFields<'a> {
    /// Whether it is a ClusterDnsProvider, which says whom it serves.
    pub cluster: bool,
    /// `zones`.
    pub zones: &'a [String],
    /// `allowedNamespaces`.
    pub allowed_namespaces: Option<ProviderSelector<'a>>,
    /// The services that are named: exactly one is right.
    pub services: Vec<ServiceFields<'a>>,
}

/// One service of a DnsProvider or ClusterDnsProvider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServiceFields<'a> {
    /// `rfc2136`.
    Rfc2136(Rfc2136Fields<'a>),
    /// `service`, or the block of a service that has one.
    Api(ApiFields<'a>),
    /// `webhook.url`.
    Webhook(&'a str),
    /// `authoritative`.
    Authoritative {
        /// `authoritative.zone`.
        zone: &'a str,
        /// `authoritative.nameServers`.
        name_servers: Vec<String>,
    },
    /// `dnsEndpoint`.
    DnsEndpoint,
}

/// `rfc2136`. A text that was not written is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rfc2136Fields<'a> {
    /// `server`.
    pub server: &'a str,
    /// `zone`.
    pub zone: Option<&'a str>,
    /// `tsig.keyName`.
    pub key_name: &'a str,
    /// `tsig.algorithm`.
    pub algorithm: Option<&'a str>,
    /// `tsig.secretRef`.
    pub secret: SecretKeyFields<'a>,
}

/// A service with an API.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ApiFields<'a> {
    /// The field that it stands in: `cloudflare`, …, `service`.
    pub block: &'a str,
    /// `service.name`; in a block of its own it is empty.
    pub name: &'a str,
    /// Its settings, as they are written.
    pub config: Vec<(String, String)>,
    /// In a block of its own: where each credential is.
    pub secrets: Vec<CredentialFields>,
    /// `service.credentialsSecretRef.name`.
    pub secret_name: Option<&'a str>,
}

/// Where a credential is. A text that was not written is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CredentialFields {
    /// Which credential.
    pub credential: String,
    /// `name` of the Secret.
    pub name: String,
    /// `key` within it.
    pub key: String,
}

/// A key of a Secret. A text that was not written is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SecretKeyFields<'a> {
    /// `name`.
    pub name: &'a str,
    /// `key`.
    pub key: &'a str,
}

/// `allowedNamespaces`: the operator and the number of values of each expression.
pub type ProviderSelector<'a> = Vec<(&'a str, usize)>;
