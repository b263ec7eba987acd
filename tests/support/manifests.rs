//! The manifests that administrators apply, and the rights that they grant.

use super::audit::Audited;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{Api, Patch, PatchParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::{Client, Discovery};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The folder of the manifests that the proofs of `tests/rbac.rs` are about.
pub const RIGHTS: &str = "examples/rbac";

/// The documents of a file in [`RIGHTS`].
pub fn documents(file: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(RIGHTS);
    let text = fs::read_to_string(folder.join(file)).expect(file);
    text.split("\n---\n")
        .map(|text| serde_yaml::from_str(text).expect(file))
        .collect()
}

/// Applies all documents, of whatever kinds.
pub async fn apply_all(client: &Client, documents: &[Value]) {
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    for document in documents {
        let object: DynamicObject = serde_json::from_value(document.clone()).unwrap();
        let types = object.types.clone().unwrap();
        let (group, version) = types.api_version.split_once('/').unwrap_or(("", "v1"));
        let kind = GroupVersionKind::gvk(group, version, &types.kind);
        let (resource, _) = discovery.resolve_gvk(&kind).unwrap();
        let api = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::<DynamicObject>::all_with(client.clone(), &resource),
        };
        let name = object.metadata.name.clone().unwrap();
        let params = PatchParams::apply("test").force();
        api.patch(&name, &params, &Patch::Apply(&object))
            .await
            .unwrap();
    }
}

/// One verb on one resource, as a role grants it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Right {
    /// The role: of a namespace, or of the cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub role: String,
    pub group: String,
    /// With its subresource.
    pub resource: String,
    pub verb: String,
}

impl Right {
    /// All that the roles in `documents` grant.
    pub fn of(documents: &[Value]) -> Vec<Self> {
        documents.iter().flat_map(Self::of_one).collect()
    }

    fn of_one(document: &Value) -> Vec<Self> {
        let (namespace, role, rules) = match document["kind"].as_str().unwrap() {
            "Role" => {
                let role: Role = serde_json::from_value(document.clone()).unwrap();
                (role.metadata.namespace, role.metadata.name, role.rules)
            }
            "ClusterRole" => {
                let role: ClusterRole = serde_json::from_value(document.clone()).unwrap();
                (None, role.metadata.name, role.rules)
            }
            _ => return Vec::new(),
        };
        let of_rule = |rule: PolicyRule| {
            let mut rights = Vec::new();
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    for verb in &rule.verbs {
                        assert!(
                            ![group, resource, verb].iter().any(|it| it.contains('*')),
                            "no right is asked for wholesale: {rule:?}"
                        );
                        rights.push(Self {
                            namespace: namespace.clone(),
                            role: role.clone().unwrap(),
                            group: group.clone(),
                            resource: resource.clone(),
                            verb: verb.clone(),
                        });
                    }
                }
            }
            rights
        };
        rules.unwrap().into_iter().flat_map(of_rule).collect()
    }

    /// The documents without this right.
    pub fn taken_from(&self, documents: &[Value]) -> Vec<Value> {
        let mut documents = documents.to_vec();
        for document in &mut documents {
            let metadata = &document["metadata"];
            let kind = match self.namespace {
                Some(_) => "Role",
                None => "ClusterRole",
            };
            if document["kind"] != kind
                || metadata["name"] != self.role
                || metadata["namespace"].as_str() != self.namespace.as_deref()
            {
                continue;
            }
            let rules: Vec<PolicyRule> = serde_json::from_value(document["rules"].clone()).unwrap();
            let left = rules
                .into_iter()
                .flat_map(|rule| self.taken_from_rule(rule));
            document["rules"] = serde_json::to_value(left.collect::<Vec<_>>()).unwrap();
        }
        documents
    }

    fn taken_from_rule(&self, rule: PolicyRule) -> Vec<PolicyRule> {
        let mut left = Vec::new();
        for resource in rule.resources.iter().flatten() {
            let mut verbs = rule.verbs.clone();
            let same_group = rule.api_groups.iter().flatten().any(|g| *g == self.group);
            if *resource == self.resource && same_group {
                verbs.retain(|verb| *verb != self.verb);
            }
            if !verbs.is_empty() {
                left.push(PolicyRule {
                    resources: Some(vec![resource.clone()]),
                    verbs,
                    ..rule.clone()
                });
            }
        }
        left
    }

    /// Whether a request was allowed by it, as the API server itself says.
    pub fn allowed(&self, audited: &Audited) -> bool {
        let role = match &self.namespace {
            Some(namespace) => audited
                .allowed_by
                .contains(&format!("/{namespace}\" of Role \"{}\"", self.role)),
            None => audited
                .allowed_by
                .contains(&format!("of ClusterRole \"{}\"", self.role)),
        };
        role && self.is_of(audited)
    }

    /// Whether a request needs this verb on this resource (in whatever namespace).
    pub fn is_of(&self, audited: &Audited) -> bool {
        let verb = audited.verb == self.verb || (audited.made && self.verb == "create");
        verb && audited.group == self.group && audited.resource == self.resource
    }
}
