//! The services that a DNS provider object can name: one block each.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Rfc2136Spec, SecretKeyRef, schema};

/// Which service it is: exactly one of these.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsServiceSpec {
    /// A primary name server that takes RFC 2136 dynamic updates signed with TSIG.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<Rfc2136Spec>,
    /// Cloudflare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloudflare: Option<ApiTokenSpec>,
    /// Amazon Route 53.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route53: Option<Route53Spec>,
    /// Google Cloud DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub google_cloud_dns: Option<GoogleCloudDnsSpec>,
    /// Azure DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_dns: Option<AzureDnsSpec>,
    /// The HTTP API of a PowerDNS Authoritative Server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub powerdns: Option<PowerDnsSpec>,
    /// DigitalOcean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digital_ocean: Option<ApiTokenSpec>,
    /// Hetzner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hetzner: Option<ApiTokenSpec>,
    /// deSEC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub de_sec: Option<ApiTokenSpec>,
    /// OVHcloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ovh: Option<OvhSpec>,
    /// Gandi LiveDNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gandi: Option<GandiSpec>,
    /// Any other service of the list in the documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<OtherServiceSpec>,
    /// A webhook provider of external-dns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSpec>,
    /// An external-dns in the cluster, by DNSEndpoint objects; of a ClusterDnsProvider only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_endpoint: Option<DnsEndpointsSpec>,
    /// The operator's own name servers: no access to anybody's zone is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authoritative: Option<AuthoritativeSpec>,
}

/// The rule that exactly one service is named.
pub(super) const ONE_SERVICE: &str = "[has(self.rfc2136), has(self.cloudflare), has(self.route53), has(self.googleCloudDns), has(self.azureDns), has(self.powerdns), has(self.digitalOcean), has(self.hetzner), has(self.deSec), has(self.ovh), has(self.gandi), has(self.service), has(self.webhook), has(self.dnsEndpoint), has(self.authoritative)].filter(x, x).size() == 1";
/// What it says.
pub(super) const ONE_SERVICE_SAYS: &str = "write exactly one of rfc2136, cloudflare, route53, googleCloudDns, azureDns, powerdns, digitalOcean, hetzner, deSec, ovh, gandi, service, webhook, dnsEndpoint and authoritative";

/// The rule of the kind that a tenant may write: external-dns has credentials that are not his.
pub(super) const NO_DNS_ENDPOINT: &str = "!has(self.dnsEndpoint)";
/// What it says.
pub(super) const NO_DNS_ENDPOINT_SAYS: &str = "dnsEndpoint may stand in a ClusterDnsProvider only: external-dns writes with credentials of the cluster";

/// A service that takes one API token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiTokenSpec {
    /// Where the API token is.
    pub api_token_secret_ref: SecretKeyRef,
}

/// Amazon Route 53.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Route53Spec {
    /// Region that requests are signed for; us-east-1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::service_setting")]
    pub region: Option<String>,
    /// Id of the only hosted zone to write; by default it is found by the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::service_setting")]
    pub hosted_zone_id: Option<String>,
    /// Another URL of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::service_url")]
    pub endpoint: Option<String>,
    /// Where the access key id is.
    pub access_key_id_secret_ref: SecretKeyRef,
    /// Where the secret access key is.
    pub secret_access_key_secret_ref: SecretKeyRef,
    /// Where the token of temporary credentials is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token_secret_ref: Option<SecretKeyRef>,
}

/// Google Cloud DNS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoogleCloudDnsSpec {
    /// Project of the managed zones.
    #[schemars(schema_with = "schema::service_setting")]
    pub project_id: String,
    /// Name of the only managed zone to write; by default it is found by the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::service_setting")]
    pub managed_zone: Option<String>,
    /// E-mail of the service account to act as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::service_setting")]
    pub impersonate_service_account: Option<String>,
    /// Where the key file of a service account is, in JSON.
    pub service_account_secret_ref: SecretKeyRef,
}

/// Azure DNS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureDnsSpec {
    /// Directory (tenant) id.
    #[schemars(schema_with = "schema::service_setting")]
    pub tenant_id: String,
    /// Application (client) id.
    #[schemars(schema_with = "schema::service_setting")]
    pub client_id: String,
    /// Subscription of the zones.
    #[schemars(schema_with = "schema::service_setting")]
    pub subscription_id: String,
    /// Resource group of the zones.
    #[schemars(schema_with = "schema::service_setting")]
    pub resource_group: String,
    /// public (default), china or usgovernment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::azure_environment")]
    pub environment: Option<String>,
    /// Where the secret of the application is.
    pub client_secret_secret_ref: SecretKeyRef,
}

/// The HTTP API of a PowerDNS Authoritative Server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PowerDnsSpec {
    /// URL of the API server, such as https://pdns.example.org:8081.
    #[schemars(schema_with = "schema::service_url")]
    pub url: String,
    /// The server; localhost by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::service_setting")]
    pub server_id: Option<String>,
    /// Where the api-key of pdns.conf is.
    pub api_key_secret_ref: SecretKeyRef,
}

/// OVHcloud.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OvhSpec {
    /// Which API: ovh-eu, ovh-us, ovh-ca, kimsufi-eu, kimsufi-ca, soyoustart-eu or soyoustart-ca.
    #[schemars(schema_with = "schema::ovh_endpoint")]
    pub endpoint: String,
    /// Where the application key is.
    pub application_key_secret_ref: SecretKeyRef,
    /// Where the application secret is.
    pub application_secret_secret_ref: SecretKeyRef,
    /// Where the consumer key is.
    pub consumer_key_secret_ref: SecretKeyRef,
}

/// Gandi LiveDNS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GandiSpec {
    /// Where the personal access token is.
    pub personal_access_token_secret_ref: SecretKeyRef,
}

/// Any other service of the list in the documentation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtherServiceSpec {
    /// Which service.
    #[schemars(schema_with = "schema::service_name")]
    pub name: String,
    /// Its settings that are no secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::service_config")]
    pub config: BTreeMap<String, String>,
    /// The Secret with its credentials, each under its name.
    pub credentials_secret_ref: SecretRef,
}

/// A webhook provider of external-dns.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WebhookSpec {
    /// Its URL, such as http://webhook.dns.svc:8888.
    #[schemars(schema_with = "schema::service_url")]
    pub url: String,
}

/// The operator's own name servers, which every policy server is that was started to be one.
#[derive(KubeSchema, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.nameServers.all(n, n != self.zone && !n.endsWith('.' + self.zone))")
    .message("write name servers whose names stand outside of the zone, such as ns1.example.net for the zone sts.example.net: within it nobody answers for their addresses"))]
pub struct AuthoritativeSpec {
    /// A zone of yours that is for this alone, such as sts.example.net, delegated once to the name
    /// servers. The names of a domain are below it: _mta-sts.example.com.sts.example.net and
    /// mta-sts.example.com.sts.example.net, to which the domain's owner points two CNAME records.
    #[schemars(schema_with = "schema::own_zone")]
    pub zone: String,
    /// The names by which the zone is delegated, such as ns1.example.net, with the addresses at
    /// which the policy servers are asked by DNS.
    #[schemars(schema_with = "schema::name_servers")]
    pub name_servers: Vec<String>,
}

/// An external-dns in the cluster, by DNSEndpoint objects.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsEndpointsSpec {
    /// Whether TXT values stand between quotes in the objects, as external-dns hands them to most
    /// services; true by default. Set it to false where the quotes end up in the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote_txt: Option<bool>,
}

/// A Secret as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Name of the Secret. It must carry the label `mta-sts.dev/credentials: "true"`.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
}
