//! The CustomResourceDefinitions, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use super::{ClusterDnsProvider, DnsProvider, MtaStsPolicy};

/// All CustomResourceDefinitions, in the order in which they are installed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        MtaStsPolicy::crd(),
        DnsProvider::crd(),
        ClusterDnsProvider::crd(),
    ]
    .into_iter()
    .map(with_unseen_status)
    .collect()
}

/// Gives the status a default that kstatus reads as "not yet looked at": without it a new object
/// would count as ready until the operator has seen it.
fn with_unseen_status(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(status) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(status_schema)
        {
            status.default = Some(JSON(json!({"observedGeneration": -1})));
        }
    }
    crd
}

fn status_schema(root: &mut JSONSchemaProps) -> Option<&mut JSONSchemaProps> {
    root.properties.as_mut()?.get_mut("status")
}
