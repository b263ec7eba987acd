//! Rights for a ServiceAccount.

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

/// Grants `rules` to a ServiceAccount in its own namespace.
pub async fn grant(client: &Client, namespace: &str, account: &str, rules: Value) {
    let params = PatchParams::apply("test").force();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": account}, "rules": rules});
    Api::<Role>::namespaced(client.clone(), namespace)
        .patch(account, &params, &Patch::Apply(&role))
        .await
        .expect("a Role");
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]});
    Api::<RoleBinding>::namespaced(client.clone(), namespace)
        .patch(account, &params, &Patch::Apply(&binding))
        .await
        .expect("a RoleBinding");
}

/// The objects of one of `examples/rbac/`.
pub fn example(file: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/rbac")
        .join(file);
    let text = std::fs::read_to_string(path).expect("an example");
    let documents = text.split("\n---\n");
    documents
        .map(|text| serde_yaml::from_str(text).expect("YAML"))
        .collect()
}

/// Applies objects of whatever kind.
pub async fn apply_all(client: &Client, documents: Vec<Value>) {
    let discovery = kube::Discovery::new(client.clone())
        .run()
        .await
        .expect("discovery");
    for document in documents {
        let object: kube::core::DynamicObject =
            serde_json::from_value(document).expect("an object");
        let types = object.types.clone().expect("a kind");
        let kind = kube::core::GroupVersionKind::try_from(&types).expect("a kind");
        let (resource, _) = discovery.resolve_gvk(&kind).expect("a known kind");
        let api = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::<kube::core::DynamicObject>::all_with(client.clone(), &resource),
        };
        let name = object.metadata.name.clone().expect("a name");
        let params = PatchParams::apply("test").force();
        api.patch(&name, &params, &Patch::Apply(&object))
            .await
            .expect("it is applied");
    }
}
