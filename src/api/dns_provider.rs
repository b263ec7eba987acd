//! `DnsProvider` and `ClusterDnsProvider`: who writes DNS records, and with which credentials.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::dns_service::{
    DnsServiceSpec, NO_DNS_ENDPOINT, NO_DNS_ENDPOINT_SAYS, ONE_SERVICE, ONE_SERVICE_SAYS,
};
use super::{SecretKeyRef, schema};

/// A DNS service that the policies of one namespace may use.
#[derive(CustomResource, KubeSchema, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[kube(
    group = "mta-sts.dev",
    version = "v1alpha1",
    kind = "DnsProvider",
    plural = "dnsproviders",
    namespaced,
    doc = "A DNS service that the MtaStsPolicy objects of the same namespace may use.",
    status = "DnsProviderStatus",
    shortname = "mtastsdns",
    derive = "PartialEq",
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
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(validation = Rule::new(ONE_SERVICE).message(ONE_SERVICE_SAYS))]
#[x_kube(validation = Rule::new(NO_DNS_ENDPOINT).message(NO_DNS_ENDPOINT_SAYS))]
#[serde(rename_all = "camelCase")]
pub struct DnsProviderSpec {
    /// The service.
    #[serde(flatten)]
    pub dns: DnsServiceSpec,
    /// The zones that may be written; none given means all that the server has. "*" means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::zones")]
    pub zones: Vec<String>,
}

/// A DNS service that the policies of the allowed namespaces may use.
#[derive(CustomResource, KubeSchema, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[kube(
    group = "mta-sts.dev",
    version = "v1alpha1",
    kind = "ClusterDnsProvider",
    plural = "clusterdnsproviders",
    doc = "A DNS service that the MtaStsPolicy objects of the allowed namespaces may use. Its Secret is in the operator's namespace.",
    status = "DnsProviderStatus",
    shortname = "cmtastsdns",
    derive = "PartialEq",
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
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(validation = Rule::new(ONE_SERVICE).message(ONE_SERVICE_SAYS))]
#[serde(rename_all = "camelCase")]
pub struct ClusterDnsProviderSpec {
    /// The service.
    #[serde(flatten)]
    pub dns: DnsServiceSpec,
    /// The zones that may be written; ["*"] means all that the server has.
    #[schemars(schema_with = "schema::required_zones")]
    pub zones: Vec<String>,
    /// Which namespaces may use it, by their labels; {} means all.
    pub allowed_namespaces: LabelSelector,
}

/// A primary name server that takes RFC 2136 dynamic updates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rfc2136Spec {
    /// Host name or address of the primary name server, with a port if it is not 53.
    #[schemars(schema_with = "schema::server")]
    pub server: String,
    /// The zone to write; by default it is found by asking the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::host_name")]
    pub zone: Option<String>,
    /// The key that signs the updates.
    pub tsig: TsigSpec,
}

/// A TSIG key (RFC 8945).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TsigSpec {
    /// Name of the key, as the server knows it.
    #[schemars(schema_with = "schema::key_name")]
    pub key_name: String,
    /// Its algorithm.
    #[serde(default)]
    pub algorithm: TsigAlgorithm,
    /// Where its secret is, in base64 as `tsig-keygen` prints it.
    pub secret_ref: SecretKeyRef,
}

/// TSIG algorithms (RFC 8945 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

/// Which namespaces are meant, by their labels.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions, all of which must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One condition on a label.
#[derive(KubeSchema, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)")
    .message("write values with the operators In and NotIn, and only there"))]
pub struct LabelSelectorRequirement {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: LabelSelectorOperator,
    /// With what; for In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum LabelSelectorOperator {
    /// It has one of the values.
    In,
    /// It has none of the values, or is absent.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

impl LabelSelectorOperator {
    /// The word in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
        }
    }
}

impl LabelSelector {
    /// Whether the labels satisfy every condition.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let equal = self
            .match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value));
        equal && self.match_expressions.iter().all(|e| e.matches(labels))
    }
}

impl LabelSelectorRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            LabelSelectorOperator::In => value.is_some_and(|v| self.values.contains(v)),
            LabelSelectorOperator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            LabelSelectorOperator::Exists => value.is_some(),
            LabelSelectorOperator::DoesNotExist => value.is_none(),
        }
    }
}

/// What was seen of a DNS provider.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsProviderStatus {
    /// The generation of the spec that this status is about; -1 until it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: a real, harmless call to the service has succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The zones that were seen, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_kubernetes_does() {
        let labels = BTreeMap::from([("team".to_owned(), "mail".to_owned())]);
        let requirement = |operator, values: &[&str]| LabelSelectorRequirement {
            key: "team".to_owned(),
            operator,
            values: values.iter().map(|&v| v.to_owned()).collect(),
        };
        use LabelSelectorOperator as Op;
        for (case, expression, with, without) in [
            ("In", requirement(Op::In, &["mail"]), true, false),
            ("In another", requirement(Op::In, &["web"]), false, false),
            ("NotIn", requirement(Op::NotIn, &["mail"]), false, true),
            ("Exists", requirement(Op::Exists, &[]), true, false),
            (
                "DoesNotExist",
                requirement(Op::DoesNotExist, &[]),
                false,
                true,
            ),
        ] {
            let selector = LabelSelector {
                match_expressions: vec![expression],
                ..Default::default()
            };
            assert_eq!(selector.matches(&labels), with, "{case}");
            assert_eq!(
                selector.matches(&BTreeMap::new()),
                without,
                "{case}, absent"
            );
        }
        assert!(
            LabelSelector::default().matches(&labels),
            "empty matches all"
        );
    }
}
