//! `mta-sts doctor` on a real API server: a sound installation, and one fault after another.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use mta_sts_operator::controller::rights::{Place, RIGHTS, Role};
use serde_json::{Value, json};
use support::rbac::{apply_all, example};
use support::run::{Outcome, mta_sts};
use support::wait::{ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, World};

async fn doctor(kubeconfig: &Path, args: &[&str]) -> (Outcome, Vec<Value>) {
    let outcome = mta_sts(kubeconfig, &[&["doctor", "--output=json"], args].concat()).await;
    let checks = outcome.json()["checks"].as_array().unwrap().clone();
    (outcome, checks)
}

/// What is neither ok nor left out, as `check result subject: message`.
fn faults(checks: &[Value]) -> Vec<String> {
    let word = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let bad = checks
        .iter()
        .filter(|c| !["ok", "skipped"].contains(&c["result"].as_str().unwrap()));
    bad.map(|c| {
        let fields = ["check", "result", "subject", "message"].map(|key| word(c, key));
        assert!(
            c["remedy"].is_string() || c["result"] == "unknown",
            "no remedy: {c:#}"
        );
        fields.join(" ")
    })
    .collect()
}

/// The one fault there is; it has to have all these words.
fn the_fault(checks: &[Value], words: &[&str]) {
    let found = faults(checks);
    let [one] = found.as_slice() else {
        panic!("not one fault: {found:#?}");
    };
    for word in words {
        assert!(one.contains(word), "{word:?} is not in {one:?}");
    }
}

async fn policy_service(world: &World, ready: &[bool]) {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mta-sts-policy"},
        "spec": {"ports": [{"name": "http", "port": 8080}]}});
    world.apply::<Service>(Some(SYSTEM), service).await;
    let endpoints: Vec<Value> = ready
        .iter()
        .enumerate()
        .map(|(n, ready)| json!({"addresses": [format!("192.0.2.{}", n + 1)], "conditions": {"ready": ready}}))
        .collect();
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "policy", "labels": {"kubernetes.io/service-name": "mta-sts-policy"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}]});
    world.apply::<EndpointSlice>(Some(SYSTEM), slice).await;
}

async fn install(world: &World) {
    for file in ["server.yaml", "controller.yaml"] {
        apply_all(&world.client, example(file)).await;
    }
    policy_service(world, &[true, true]).await;
}

#[tokio::test]
async fn a_sound_installation_is_called_so_and_each_fault_is_named() {
    let world = World::start(&["example.org"]).await;
    install(&world).await;
    let (_server, server) = world.serve("serve").await;
    world.route(&["example.org"], server).await;
    world.provider(world.dns()).await;
    let token = world
        .api
        .service_account_token(SYSTEM, "mta-sts-operator")
        .await;
    let mut settings = world.settings("controller", &[server]);
    settings.kubeconfig = world.api.kubeconfig_for(&token);
    let controller = world.controller(&settings);
    world.policy("example.org", json!({})).await;
    world.ready("example.org").await;
    let (admin, itself) = (world.api.kubeconfig(), settings.kubeconfig.clone());

    // As an administrator, and as the operator's own ServiceAccount in its pod.
    let both = ["--policy-service-account=mta-sts-policy"];
    let (outcome, checks) = doctor(&admin, &both).await;
    assert_eq!((outcome.code, faults(&checks)), (0, vec![]));
    assert!(checks.iter().all(|c| c["result"] == "ok"), "{checks:#?}");
    assert_eq!(
        outcome.json()["namespace"],
        SYSTEM,
        "found by its installation id"
    );
    let (outcome, checks) = doctor(&itself, &["-n", SYSTEM]).await;
    assert_eq!((outcome.code, faults(&checks)), (0, vec![]));
    let kinds: BTreeSet<&str> = checks
        .iter()
        .map(|c| c["check"].as_str().unwrap())
        .collect();
    for kind in [
        "crds",
        "rights",
        "leader",
        "clock",
        "policy-server",
        "providers",
        "policies",
        "leftovers",
    ] {
        assert!(kinds.contains(kind), "{kind} is not looked at");
    }
    let text = mta_sts(&admin, &["doctor"]).await;
    assert!(
        text.stdout
            .ends_with("namespace mta-sts-system: 0 errors, 0 warnings\n"),
        "{text:?}"
    );

    // One endpoint is not ready, none is, there is none.
    for (ready, words, code) in [
        (&[true, false][..], "1 of 2 endpoints are ready", 0),
        (&[false], "none of 1 endpoint is ready", 1),
        (&[], "there is none: no policy is served", 1),
    ] {
        policy_service(&world, ready).await;
        let (outcome, checks) = doctor(&admin, &[]).await;
        the_fault(&checks, &["policy-server", words]);
        assert_eq!(outcome.code, code, "{words}");
    }
    policy_service(&world, &[true, true]).await;

    // A right is missing: seen from outside and by itself.
    let role = Api::<ClusterRole>::all(world.client.clone());
    let mut rules = role.get("mta-sts-operator").await.unwrap().rules.unwrap();
    rules.retain(|rule| rule.resources.as_deref() != Some(&["mtastspolicies/status".to_owned()]));
    let patch = json!({"rules": rules});
    role.patch(
        "mta-sts-operator",
        &PatchParams::default(),
        &Patch::Merge(&patch),
    )
    .await
    .unwrap();
    for kubeconfig in [&admin, &itself] {
        eventually("the right is missed", SOON, async || {
            let (outcome, checks) = doctor(kubeconfig, &["-n", SYSTEM]).await;
            ensure(outcome.code == 1, &outcome.stdout)?;
            the_fault(
                &checks,
                &[
                    "rights error",
                    "serviceaccount:mta-sts-system:mta-sts-operator",
                    "it may not patch mtastspolicies/status in all namespaces",
                ],
            );
            Ok::<_, String>(())
        })
        .await;
    }
    apply_all(&world.client, example("controller.yaml")).await;

    // A definition of another version, and one that is not there.
    let crds = Api::<CustomResourceDefinition>::all(world.client.clone());
    let policies = "mtastspolicies.mta-sts.dev";
    let good = crds.get(policies).await.unwrap();
    let spec =
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend/description";
    let edit = serde_json::from_value(json!([{"op": "replace", "path": spec, "value": "Older."}]))
        .unwrap();
    crds.patch(policies, &PatchParams::default(), &Patch::Json::<()>(edit))
        .await
        .unwrap();
    let (outcome, checks) = doctor(&admin, &[]).await;
    the_fault(
        &checks,
        &[
            "crds error",
            policies,
            "another version",
            ".spec.suspend.description",
        ],
    );
    assert_eq!(outcome.code, 1);
    let back = json!({"spec": good.spec});
    crds.patch(policies, &PatchParams::default(), &Patch::Merge(&back))
        .await
        .unwrap();

    // The leader dies without a word.
    controller.kill();
    let (outcome, checks) = doctor(&admin, &[]).await;
    the_fault(
        &checks,
        &[
            "leader error",
            "has not renewed it for 15 seconds: no controller runs",
        ],
    );
    assert_eq!(outcome.code, 1);
}

#[tokio::test]
async fn what_was_left_behind_is_named_and_a_namespace_that_goes() {
    let world = World::start(&["example.org"]).await;
    install(&world).await;
    let (_server, server) = world.serve("serve").await;
    world.route(&["example.org"], server).await;
    world.provider(world.dns()).await;
    let controller = world.controller(&world.settings("controller", &[server]));
    world.policy("example.org", json!({})).await;
    world.ready("example.org").await;
    let admin = world.api.kubeconfig();

    // The object is lost without its deletion being seen, and an Ingress without its record.
    controller.terminate(SOON).await;
    let policies = world.policies(MAIL);
    let free = json!({"metadata": {"finalizers": null}});
    policies
        .patch("example-org", &PatchParams::default(), &Patch::Merge(&free))
        .await
        .unwrap();
    policies
        .delete("example-org", &DeleteParams::default())
        .await
        .unwrap();
    let ingresses = Api::<Ingress>::namespaced(world.client.clone(), SYSTEM);
    let mut copy = ingresses
        .list(&Default::default())
        .await
        .unwrap()
        .items
        .remove(0);
    copy.metadata =
        serde_json::from_value(json!({"name": "alone", "labels": copy.metadata.labels})).unwrap();
    ingresses.create(&Default::default(), &copy).await.unwrap();
    // A domain with a Secret that the operator may not read.
    let narrowed = json!([{"op": "remove", "path": "/rules/4"}]);
    let narrowed = serde_json::from_value(narrowed).unwrap();
    Api::<k8s_openapi::api::rbac::v1::Role>::namespaced(world.client.clone(), SYSTEM)
        .patch(
            "mta-sts-operator",
            &PatchParams::default(),
            &Patch::Json::<()>(narrowed),
        )
        .await
        .unwrap();
    let found = eventually("the right is missed", SOON, async || {
        let found = faults(&doctor(&admin, &[]).await.1);
        ensure(
            found.iter().any(|f| f.starts_with("rights")),
            format!("{found:#?}"),
        )?;
        Ok::<_, String>(found)
    })
    .await;
    let all = found.join("\n");
    for words in [
        "leader error Lease mta-sts-system/mta-sts-operator nobody holds it: no controller runs",
        "it may not get the Secret mta-sts-system/tsig",
        "leftovers warning record mta-sts-system/mta-sts-example-org-",
        "example.org is still published, and its object mail/example-org is gone",
        "leftovers warning Ingress mta-sts-system/alone",
    ] {
        assert!(all.contains(words), "{words}: {all}");
    }
    assert_eq!(found.len(), 4, "{all}");

    let namespaces = Api::<Namespace>::all(world.client.clone());
    namespaces
        .delete(SYSTEM, &DeleteParams::default())
        .await
        .unwrap();
    let found = faults(&doctor(&admin, &["-n", SYSTEM]).await.1).join("\n");
    assert!(
        found.contains("namespace error mta-sts-system it is being deleted"),
        "{found}"
    );

    // Two installations: which one is meant has to be said.
    world.namespace("other", &[]).await;
    let id = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other",
        "labels": {"mta-sts.dev/role": "installation"}}});
    world.apply::<ConfigMap>(Some("other"), id).await;
    let unclear = mta_sts(&admin, &["doctor"]).await;
    assert_eq!(unclear.code, 2, "{unclear:?}");
    assert!(
        unclear.stderr.contains("mta-sts-system, other"),
        "{unclear:?}"
    );
}

#[tokio::test]
async fn a_cluster_without_the_operator_is_told_so() {
    let api = support::kube::ApiServer::start().await;
    let (outcome, checks) = doctor(&api.kubeconfig(), &[]).await;
    assert_eq!(outcome.code, 1);
    let found = faults(&checks).join("\n");
    for words in [
        "crds error mtastspolicies.mta-sts.dev it is not installed",
        "namespace error mta-sts-system it does not exist",
        "rights error ServiceAccount mta-sts-system/mta-sts-operator it does not exist",
        "there is none: no controller has ever led here",
        "policy-server error Service mta-sts-system/mta-sts-policy it does not exist",
    ] {
        assert!(found.contains(words), "{words}: {found}");
    }
    // Somebody without any right learns what he can, and that it is not all.
    let token = api.service_account_token("default", "nobody").await;
    let (outcome, checks) = doctor(&api.kubeconfig_for(&token), &["-n", "mta-sts-system"]).await;
    assert_eq!(outcome.code, 1, "{checks:#?}");
    assert!(
        checks.iter().any(|c| c["result"] == "unknown"),
        "{checks:#?}"
    );
}

#[test]
fn the_rights_that_are_asked_for_are_those_of_the_examples() {
    let mut granted = BTreeSet::new();
    for (file, role) in [
        ("controller.yaml", Role::Controller),
        ("server.yaml", Role::PolicyServer),
    ] {
        for document in example(file) {
            let own = match document["kind"].as_str().unwrap() {
                "Role" => true,
                "ClusterRole" => false,
                _ => continue,
            };
            for rule in document["rules"].as_array().unwrap() {
                let list = |key: &str| -> Vec<String> {
                    serde_json::from_value(rule[key].clone()).unwrap()
                };
                for resource in list("resources") {
                    for verb in list("verbs") {
                        let group = list("apiGroups").remove(0);
                        assert!(granted.insert((role, own, group, resource.clone(), verb)));
                    }
                }
            }
        }
    }
    let mut asked = BTreeSet::new();
    for right in RIGHTS {
        let resource = [right.resource, right.subresource].join("/");
        let resource = resource.trim_end_matches('/');
        for verb in right.verbs {
            let own = right.place == Place::Own;
            let right = (
                right.role,
                own,
                right.group.to_owned(),
                resource.to_owned(),
                (*verb).to_owned(),
            );
            assert!(asked.insert(right.clone()), "twice: {right:?}");
        }
    }
    assert_eq!(asked, granted);
}
