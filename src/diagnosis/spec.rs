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
    /// `rfc2136.server`.
    pub server: &'a str,
    /// `rfc2136.zone`.
    pub zone: Option<&'a str>,
    /// `rfc2136.tsig.keyName`.
    pub key_name: &'a str,
    /// `rfc2136.tsig.algorithm`.
    pub algorithm: Option<&'a str>,
    /// `rfc2136.tsig.secretRef.name`.
    pub secret_name: &'a str,
    /// `rfc2136.tsig.secretRef.key`.
    pub secret_key: &'a str,
}

/// `allowedNamespaces`: the operator and the number of values of each expression.
pub type ProviderSelector<'a> = Vec<(&'a str, usize)>;
