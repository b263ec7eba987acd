//! Flags and environment of the operator, read once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::lifecycle::allowed::Allowed;
use crate::limits;
use crate::probe::connect_to::ConnectTo;
use crate::protocol::InstallationId;
use ipnet::IpNet;
use jiff::SignedDuration;

/// The operator's namespace, where nothing says another one.
pub const DEFAULT_NAMESPACE: &str = "mta-sts-system";

/// Flags of `mta-sts controller`.
#[derive(Clone, Debug, clap::Args)]
pub struct ControllerArgs {
    /// Namespace of the operator: of its records, Ingresses and Lease; default: that of the
    /// kubeconfig or the pod
    #[arg(long, env = "MTA_STS_NAMESPACE")]
    pub namespace: Option<String>,

    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, env = "MTA_STS_ADMIN_LISTEN", default_value = "0.0.0.0:8082")]
    pub admin_listen: SocketAddr,

    /// Name of the Lease that the replicas elect their leader with
    #[arg(long, env = "MTA_STS_LEASE_NAME", default_value = "mta-sts-operator")]
    pub lease_name: String,

    /// Name of this replica in the Lease; default: the host name
    #[arg(long, env = "MTA_STS_IDENTITY")]
    pub identity: Option<String>,

    /// Service of the policy servers, in the operator's namespace: its EndpointSlices say where
    /// they are, and Ingresses point at it
    #[arg(long, env = "MTA_STS_POLICY_SERVICE", default_value = "mta-sts-policy")]
    pub policy_service: String,

    /// Port of that Service: its name or number
    #[arg(long, env = "MTA_STS_POLICY_PORT", default_value = "http")]
    pub policy_port: String,

    /// A policy server outside of the cluster; given once or more it replaces the EndpointSlices
    #[arg(
        long = "policy-endpoint",
        value_name = "ADDR:PORT",
        env = "MTA_STS_POLICY_ENDPOINTS",
        value_delimiter = ','
    )]
    pub policy_endpoints: Vec<SocketAddr>,

    /// Whether the public URL has to be seen before an id is announced; InCluster where this
    /// cluster cannot reach its own front
    #[arg(long, env = "MTA_STS_PUBLIC_GATE", value_enum, default_value_t = PublicGate::Public, ignore_case = true)]
    pub public_gate: PublicGate,

    /// Connect to ADDR:PORT instead of HOST:PORT, as curl does
    #[arg(
        long = "connect-to",
        value_name = "HOST:PORT:ADDR:PORT",
        env = "MTA_STS_CONNECT_TO",
        value_delimiter = ','
    )]
    pub connect_to: Vec<ConnectTo>,

    /// Certificates that are trusted beside the system's, in PEM
    #[arg(long, value_name = "FILE", env = "MTA_STS_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// A private network whose addresses may be probed and written to
    #[arg(
        long = "allow-target",
        value_name = "CIDR",
        env = "MTA_STS_ALLOW_TARGETS",
        value_delimiter = ','
    )]
    pub allow_targets: Vec<IpNet>,

    /// Whom to ask whether a record is out: the zone's authoritative servers, or the resolver
    #[arg(long, env = "MTA_STS_DNS_VERIFY", value_enum, default_value_t = DnsVerify::Authoritative, ignore_case = true)]
    pub dns_verify: DnsVerify,

    /// The authoritative servers of a zone, for split horizon; default: found from the root
    #[arg(
        long = "authoritative",
        value_name = "ZONE=ADDR[:PORT][,…]",
        env = "MTA_STS_AUTHORITATIVE",
        value_delimiter = ';'
    )]
    pub authoritative: Vec<String>,

    /// A resolver; default: those of /etc/resolv.conf
    #[arg(
        long = "resolver",
        value_name = "ADDR[:PORT]",
        env = "MTA_STS_RESOLVERS",
        value_delimiter = ','
    )]
    pub resolvers: Vec<String>,

    /// A root name server, for a private root; default: the Internet's
    #[arg(
        long = "dns-root",
        value_name = "ADDR[:PORT]",
        env = "MTA_STS_DNS_ROOTS",
        value_delimiter = ','
    )]
    pub dns_roots: Vec<String>,

    /// ClusterDnsProvider of the policies that name none; without one their records are set by
    /// hand
    #[arg(long, value_name = "NAME", env = "MTA_STS_DEFAULT_DNS_PROVIDER")]
    pub default_dns_provider: Option<String>,

    /// IngressClass of the policies that name none; default: the cluster's default class
    #[arg(long, value_name = "NAME", env = "MTA_STS_DEFAULT_INGRESS_CLASS")]
    pub default_ingress_class: Option<String>,

    /// Gateway of the policies that name no hosting, which then get an HTTPRoute and no Ingress
    #[arg(long, value_name = "NAMESPACE/NAME", env = "MTA_STS_DEFAULT_GATEWAY")]
    pub default_gateway: Option<GatewayName>,

    /// Prefix of the annotations that a policy may put on its Ingress
    #[arg(
        long = "allow-annotation",
        value_name = "PREFIX",
        env = "MTA_STS_ALLOW_ANNOTATIONS",
        value_delimiter = ','
    )]
    pub allow_annotations: Vec<String>,

    /// Which namespaces may claim which domains: a YAML list of {namespaceSelector, domains}; read
    /// again when it changes. Without it any namespace may claim any free domain
    #[arg(long, value_name = "FILE", env = "MTA_STS_TENANCY_FILE")]
    pub tenancy_file: Option<PathBuf>,

    /// An IngressClass that a policy may name, besides the default one; * is every one
    #[arg(
        long = "allow-ingress-class",
        value_name = "NAME",
        env = "MTA_STS_ALLOW_INGRESS_CLASSES",
        value_delimiter = ',',
        value_parser = Allowed::ingress_class
    )]
    pub allow_ingress_classes: Vec<Allowed>,

    /// A cert-manager issuer that a policy may name; * is every one
    #[arg(
        long = "allow-issuer",
        value_name = "KIND/NAME",
        env = "MTA_STS_ALLOW_ISSUERS",
        value_delimiter = ',',
        value_parser = Allowed::issuer
    )]
    pub allow_issuers: Vec<Allowed>,

    /// A Gateway that a policy may name, besides the default one; * is every one
    #[arg(
        long = "allow-gateway",
        value_name = "NAMESPACE/NAME",
        env = "MTA_STS_ALLOW_GATEWAYS",
        value_delimiter = ',',
        value_parser = Allowed::gateway
    )]
    pub allow_gateways: Vec<Allowed>,

    /// A TLS Secret of the operator's namespace that a policy (of NAMESPACE) may name, besides the
    /// one that is named after its domain; * is every one
    #[arg(
        long = "allow-tls-secret",
        value_name = "[NAMESPACE/]NAME",
        env = "MTA_STS_ALLOW_TLS_SECRETS",
        value_delimiter = ',',
        value_parser = Allowed::tls_secret
    )]
    pub allow_tls_secrets: Vec<Allowed>,

    /// A namespace whose policies and DnsProviders are looked after; given once or more, no other
    /// is, and no right in all namespaces is needed
    #[arg(
        long = "watch-namespace",
        value_name = "NAMESPACE",
        env = "MTA_STS_WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    pub watch_namespaces: Vec<String>,

    /// Whether a namespaced DnsProvider may name a server with a private address
    #[arg(long, env = "MTA_STS_ALLOW_PRIVATE_PROVIDERS")]
    pub allow_private_providers: bool,

    /// Whether the live MX hosts are asked on port 25; Never where this network lets no mail out
    #[arg(
        long,
        env = "MTA_STS_SMTP",
        value_enum,
        default_value_t,
        ignore_case = true
    )]
    pub smtp: SmtpLook,

    /// Id of this installation, six hex digits, for a restore or a move; default: made once and
    /// kept in a ConfigMap
    #[arg(long, value_name = "HEX", env = "MTA_STS_INSTALLATION_ID")]
    pub installation_id: Option<InstallationId>,

    /// Seconds between two looks at a policy that is published
    #[arg(long, value_name = "SECONDS", env = "MTA_STS_PROBE_INTERVAL", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    pub probe_interval: u32,

    /// Seconds that the domain of a deleted policy is left as it is, so that another object can
    /// take it over without a gap
    #[arg(
        long,
        value_name = "SECONDS",
        env = "MTA_STS_RETIREMENT_DELAY",
        default_value_t = limits::RETIREMENT_DELAY_SECONDS,
        value_parser = clap::value_parser!(u32).range(0..=604_800)
    )]
    pub retirement_delay: u32,
}

impl ControllerArgs {
    /// How long the domain of a deleted policy is left as it is.
    pub fn retirement_delay(&self) -> SignedDuration {
        SignedDuration::from_secs(self.retirement_delay.into())
    }

    /// The pause between two looks at a policy that is published.
    pub fn probe_interval(&self) -> Duration {
        Duration::from_secs(self.probe_interval.into())
    }
}

/// A Gateway by namespace and name, as flags write it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::str::FromStr for GatewayName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err(format!(
                "{text:?} is not NAMESPACE/NAME, such as infra/public"
            )),
        }
    }
}

/// Whether the public URL has to be seen before an id is announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PublicGate {
    /// Yes, on every address.
    Public,
    /// No: only the policy servers are asked.
    InCluster,
}

/// Whether the live MX hosts are asked on port 25.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum SmtpLook {
    /// They are not. (Not `Off`, which is no text in YAML.)
    Never,
    /// They are; one that does not answer holds nothing back.
    #[default]
    Auto,
}

/// Whom to ask whether a record is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum DnsVerify {
    /// The zone's authoritative servers.
    Authoritative,
    /// The resolver.
    Resolver,
}

impl From<DnsVerify> for crate::probe::dns::DnsVerify {
    fn from(verify: DnsVerify) -> Self {
        match verify {
            DnsVerify::Authoritative => Self::Authoritative,
            DnsVerify::Resolver => Self::Resolver,
        }
    }
}
