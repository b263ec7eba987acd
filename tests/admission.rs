//! The ValidatingAdmissionPolicy that holds the operator to finalizers on its own kinds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use mta_sts_operator::api::{ClusterDnsProvider, MtaStsPolicy};
use serde_json::{Value, json};
use support::kube::client;
use support::manifests::{apply_all, documents};
use support::wait::{ensure, eventually};
use support::world::{MAIL, PROVIDER, SOON, SYSTEM, World, policy};

/// A world in which the rights are applied, and the admission policy works.
async fn guarded(zones: &[&str]) -> (World, String) {
    let world = World::start(zones).await;
    for file in ["controller.yaml", "admission.yaml"] {
        apply_all(&world.client, &documents(file)).await;
    }
    let token = world
        .api
        .service_account_token(SYSTEM, "mta-sts-operator")
        .await;
    (world, token)
}

/// Gives the operator every right, so that only the admission policy is in its way.
async fn every_right(world: &World) {
    let bindings = Api::<ClusterRoleBinding>::all(world.client.clone());
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "too-much"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "mta-sts-operator", "namespace": SYSTEM}]});
    let params = PatchParams::apply("test");
    bindings
        .patch("too-much", &params, &Patch::Apply(&binding))
        .await
        .unwrap();
}

fn policies(client: &Client) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<MtaStsPolicy>(&());
    Api::namespaced_with(client.clone(), MAIL, &resource)
}

async fn merge(api: &Api<DynamicObject>, name: &str, patch: Value) -> Result<(), String> {
    let params = PatchParams::default();
    let answer = api.patch(name, &params, &Patch::Merge(patch)).await;
    answer.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_operator_changes_finalizers_and_nothing_else() {
    let (world, token) = guarded(&[]).await;
    every_right(&world).await;
    let object = world.policy("example.org", json!({})).await;
    let by_operator = client(&world.api.kubeconfig_for(&token)).await;
    let operator = policies(&by_operator);
    let name = "example-org";

    // The API server takes a moment to follow the policy, and the binding.
    let mut tries = 86_400;
    eventually("the policy is in force", SOON, async || {
        tries += 1; // else a second try would change nothing
        match merge(&operator, name, json!({"spec": {"maxAgeSeconds": tries}})).await {
            Err(refusal) => ensure(refusal.contains("not its spec"), refusal),
            Ok(()) => Err("the spec was changed".to_owned()),
        }
    })
    .await;
    for (patch, told) in [
        (
            json!({"spec": {"mx": ["mail.evil.example"]}}),
            "not its spec",
        ),
        (json!({"spec": {"mode": "none"}}), "not its spec"),
        (json!({"spec": null}), "spec"),
        (
            json!({"metadata": {"labels": {"a": "b"}}}),
            "not its labels",
        ),
        (
            json!({"metadata": {"annotations": {"mta-sts.dev/assume-max-age-seconds": "1"}}}),
            "not its labels",
        ),
        (
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap",
                "name": "x", "uid": object.metadata.uid}]}}),
            "not its labels",
        ),
        (
            json!({"metadata": {"finalizers": ["example.org/other"]}}),
            "not those of others",
        ),
        // Not even together with what it may do.
        (
            json!({"metadata": {"finalizers": ["mta-sts.dev/publication"]}, "spec": {"mode": "enforce"}}),
            "not its spec",
        ),
    ] {
        let refusal = merge(&operator, name, patch.clone()).await;
        let refusal = refusal.expect_err(&patch.to_string());
        assert!(refusal.contains(told), "{patch}: {refusal}");
    }
    let finalizers = json!({"metadata": {"finalizers": ["mta-sts.dev/publication"]}});
    merge(&operator, name, finalizers).await.unwrap();

    // Nor does it make or delete objects, or touch those of the other kinds.
    let mut another: DynamicObject =
        serde_json::from_value(policy("example.net", json!({}))).unwrap();
    another.metadata.namespace = Some(MAIL.to_owned());
    let created = operator.create(&PostParams::default(), &another).await;
    assert!(created.unwrap_err().to_string().contains("neither creates"));
    let deleted = operator.delete(name, &DeleteParams::default()).await;
    assert!(deleted.unwrap_err().to_string().contains("neither creates"));
    world.provider(world.dns()).await;
    let resource = ApiResource::erase::<ClusterDnsProvider>(&());
    let providers = Api::<DynamicObject>::all_with(by_operator, &resource);
    let widened = json!({"spec": {"zones": ["example.net"]}});
    let refusal = merge(&providers, PROVIDER, widened).await.unwrap_err();
    assert!(refusal.contains("not its spec"), "{refusal}");

    // Nobody else is held.
    let all = policies(&world.client);
    let by_hand = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"mode": "enforce"}});
    merge(&all, name, by_hand).await.unwrap();

    // While it is going: only the cut that lets it go, in one with the finalizer.
    all.delete(name, &DeleteParams::default()).await.unwrap();
    for patch in [
        json!({"spec": {"mode": "none"}}),
        json!({"metadata": {"finalizers": null}, "spec": {"mx": ["mail.evil.example"]}}),
        json!({"metadata": {"finalizers": null}, "spec": {"mode": "none"}}),
    ] {
        let refusal = merge(&operator, name, patch.clone()).await;
        let refusal = refusal.expect_err(&patch.to_string());
        assert!(refusal.contains("not its spec"), "{patch}: {refusal}");
    }
    let cut = json!([
        {"op": "add", "path": "/metadata/finalizers", "value": []},
        {"op": "add", "path": "/spec", "value": {"domain": "example.org", "mode": "none"}},
    ]);
    let cut = Patch::Json::<()>(serde_json::from_value(cut).unwrap());
    operator
        .patch(name, &PatchParams::default(), &cut)
        .await
        .unwrap();
    assert!(all.get_opt(name).await.unwrap().is_none());
}

#[tokio::test]
async fn under_it_a_domain_lives_its_life_and_an_unreadable_object_can_go() {
    let (world, token) = guarded(&["example.org"]).await;
    let (_server, address) = world.serve("serve").await;
    world.route(&["example.org"], address).await;
    world.provider(world.dns()).await;
    let mut settings = world.settings("controller", &[address]);
    settings.kubeconfig = world.api.kubeconfig_for(&token);
    let _controller = world.controller(&settings);
    world.policy("example.org", json!({})).await;
    world.ready("example.org").await;
    world
        .policy("example.org", json!({"mode": "enforce"}))
        .await;
    world.ready("example.org").await;

    // Nobody may change it any more, since its rules cannot be evaluated; and it has a finalizer.
    let mut bad = policy("example.org", json!({}));
    bad["spec"]["mx"] = json!(5);
    world.store_unchecked(MAIL, bad).await;
    let all = policies(&world.client);
    let name = "example-org";
    all.delete(name, &DeleteParams::default()).await.unwrap();
    eventually("the object is gone", SOON, async || {
        let left = all.get_opt(name).await.map_err(|error| error.to_string())?;
        ensure(left.is_none(), "still there")
    })
    .await;
    eventually("it is retired", SOON, async || {
        let record = world.record("example.org").await;
        ensure(record.is_none(), "its record is there")
    })
    .await;
}

#[test]
fn the_chart_has_the_same_policy() {
    let rules = |file: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(path).unwrap();
        let from = text.find("  variables:").unwrap();
        let to = text.find("\n---").unwrap();
        text[from..to].to_owned()
    };
    assert_eq!(
        rules("examples/rbac/admission.yaml"),
        rules("charts/mta-sts-operator/templates/admission.yaml")
    );
}
