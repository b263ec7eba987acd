//! What GitOps tools see: the verdicts of kstatus and of Argo CD by their own code, whose fields are
//! whose, and the examples for them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DynamicObject, ObjectMeta, Patch, PatchParams};
use mta_sts_operator::api::{ClusterDnsProvider, DnsProvider, FIELD_MANAGER, MtaStsPolicy};
use serde_json::{Value, json};
use support::helm::Helm;
use support::kube::kubectl;
use support::ports::loopback;
use support::wait::{ensure, eventually};
use support::world::{MAIL, PROVIDER, SOON, SYSTEM, World, policy, rfc2136};

/// What the tools make of an object.
#[derive(Debug, PartialEq)]
struct Verdict {
    kstatus: String,
    argocd: String,
    message: String,
}

/// Judged by `tools/gitops`: kstatus, and Argo CD with the health check that we ship.
fn verdict(object: &DynamicObject) -> Verdict {
    static JUDGE: LazyLock<PathBuf> =
        LazyLock::new(|| support::kube::built("gitops").join("gitops"));
    let mut judge = Command::new(&*JUDGE)
        .arg(example("argocd/health.lua"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the judge starts");
    let text = serde_json::to_vec(object).unwrap();
    judge.stdin.take().unwrap().write_all(&text).unwrap();
    let said = judge.wait_with_output().unwrap();
    assert!(said.status.success(), "{object:?}");
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    let word = |key: &str| said[key].as_str().unwrap().to_owned();
    Verdict {
        kstatus: word("kstatus"),
        argocd: word("argocd"),
        message: word("message"),
    }
}

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/gitops")
        .join(file)
}

/// Waits until both tools say so; the message is for a person.
async fn judged(api: &Api<DynamicObject>, name: &str, kstatus: &str, argocd: &str, words: &str) {
    eventually(&format!("{name}: {kstatus}, {argocd}"), SOON, async || {
        let object = api.get(name).await.map_err(|why| why.to_string())?;
        let verdict = verdict(&object);
        let fits = verdict.kstatus == kstatus && verdict.argocd == argocd;
        let says = verdict.message.contains(words);
        ensure(fits && says, format!("{verdict:?}\n{object:?}"))
    })
    .await;
}

fn of_policies(world: &World, namespace: &str) -> Api<DynamicObject> {
    world.dynamic(namespace, "MtaStsPolicy")
}

#[tokio::test]
async fn a_policy_is_done_once_it_is_out_and_what_needs_a_person_is_not_waited_for() {
    let world = World::start(&["example.org", "example.net"]).await;
    let (_server, address) = world.serve("serve").await;
    world.route(&["example.org", "example.net"], address).await;
    world.provider(world.dns()).await;
    world.namespace("other", &[]).await;
    let policies = of_policies(&world, MAIL);

    // Nobody has looked at it.
    world.policy("example.org", json!({})).await;
    judged(
        &policies,
        "example-org",
        "InProgress",
        "Progressing",
        "not looked at",
    )
    .await;

    // At no moment is it done before its id is out.
    let settings = world.settings("controller", &[address]);
    let controller = world.controller(&settings);
    eventually("it is published", SOON, async || {
        let object = policies.get("example-org").await.unwrap();
        let verdict = verdict(&object);
        let done = verdict.kstatus == "Current" || verdict.argocd == "Healthy";
        assert!(
            !done || world.txt_id("example.org").is_some(),
            "{verdict:?}"
        );
        ensure(
            verdict.kstatus == "Current" && verdict.argocd == "Healthy",
            format!("{verdict:?}"),
        )
    })
    .await;

    // What no waiting helps.
    world
        .apply::<MtaStsPolicy>(Some("other"), policy("example.org", json!({})))
        .await;
    let others = of_policies(&world, "other");
    judged(&others, "example-org", "Failed", "Degraded", "example.org").await;
    let issuer = json!({"hosting": {"ingress": {"tls": {"issuerRef": {"name": "theirs"}}}}});
    world.policy("issuer.example", issuer).await;
    judged(
        &policies,
        "issuer-example",
        "Failed",
        "Degraded",
        "--allow-issuer",
    )
    .await;
    let missing = json!({"dns": {"providerRef": {"name": "nobody"}}});
    world.policy("missing.example", missing).await;
    judged(&policies, "missing-example", "Failed", "Degraded", "nobody").await;
    let mut unreadable = policy("unreadable.example", json!({}));
    unreadable["spec"]["mx"] = json!(["not a host"]);
    world.store_unchecked(MAIL, unreadable).await;
    judged(
        &policies,
        "unreadable-example",
        "Failed",
        "Degraded",
        "not a host",
    )
    .await;

    // Waiting for a person: no fault, and not done.
    let by_hand = json!({"dns": {"providerRef": null}});
    world.policy("example.net", by_hand).await;
    judged(&policies, "example-net", "InProgress", "Suspended", "").await;
    world.policy("example.org", json!({"suspend": true})).await;
    judged(&policies, "example-org", "Current", "Suspended", "").await;

    // A newer generation, and a deletion, that nobody has seen.
    world.policy("example.org", json!({})).await;
    judged(&policies, "example-org", "Current", "Healthy", "").await;
    controller.terminate(SOON).await;
    world
        .policy("example.org", json!({"mode": "enforce"}))
        .await;
    judged(
        &policies,
        "example-org",
        "InProgress",
        "Progressing",
        "this generation",
    )
    .await;
    policies
        .delete("example-org", &Default::default())
        .await
        .unwrap();
    judged(
        &policies,
        "example-org",
        "Terminating",
        "Progressing",
        "deleted",
    )
    .await;
}

#[tokio::test]
async fn a_provider_is_done_once_it_answers_and_stalled_where_trying_again_is_of_no_use() {
    let (world, _server, _controller) = World::running(&["example.org"]).await;
    let cluster = world.dynamic("", "ClusterDnsProvider");
    judged(&cluster, PROVIDER, "Current", "Healthy", "answers").await;

    // Nobody listens there: tried again.
    let spec = json!({"zones": ["*"], "allowedNamespaces": {}, "rfc2136": rfc2136(loopback(9))});
    let object = json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "ClusterDnsProvider",
        "metadata": {"name": "away"}, "spec": spec});
    world.apply::<ClusterDnsProvider>(None, object).await;
    judged(&cluster, "away", "InProgress", "Progressing", "").await;

    // The server does not know the key.
    let mut wrong = rfc2136(world.dns());
    wrong["tsig"]["keyName"] = json!("somebody-elses");
    world.secret(MAIL, "tsig", "bm90IGEgc2VjcmV0").await;
    let object = json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "DnsProvider",
        "metadata": {"name": "own"}, "spec": {"rfc2136": wrong}});
    world.apply::<DnsProvider>(Some(MAIL), object).await;
    let own = world.dynamic(MAIL, "DnsProvider");
    judged(&own, "own", "Failed", "Degraded", "").await;
}

/// The fields of the object that `manager` owns: `metadata.finalizers`, `spec.mode` and the like.
fn owned(metadata: &ObjectMeta, manager: &str) -> Vec<String> {
    let entries = metadata.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| entry.manager.as_deref() == Some(manager));
    let mut fields = Vec::new();
    for entry in ours {
        let tree = serde_json::to_value(&entry.fields_v1).unwrap();
        for (top, below) in tree.as_object().unwrap() {
            let below = below.as_object().unwrap();
            let names = below.keys().filter(|key| key.starts_with("f:"));
            fields.extend(names.map(|key| format!("{}.{}", &top[2..], &key[2..])));
        }
    }
    fields
}

#[tokio::test]
async fn nothing_of_what_people_apply_is_ever_written_by_the_operator() {
    let (world, _server, _controller) = World::running(&["example.org"]).await;
    let kubeconfig = world.api.kubeconfig();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    let mut object = policy("example.org", json!({}));
    object["metadata"]["namespace"] = json!(MAIL);
    // What the tools put on everything that they apply.
    object["metadata"]["labels"] = json!({"app.kubernetes.io/instance": "mail",
        "kustomize.toolkit.fluxcd.io/name": "mail"});
    object["metadata"]["annotations"] =
        json!({"argocd.argoproj.io/tracking-id": "mail:mta-sts.dev/MtaStsPolicy:mail/example-org"});
    let path = file.to_str().unwrap();
    for (mode, ways) in [
        ("testing", vec!["--server-side"]),
        ("enforce", vec!["--server-side"]),
        (
            "testing",
            vec![
                "--server-side",
                "--field-manager=another",
                "--force-conflicts",
            ],
        ),
    ] {
        object["spec"]["mode"] = json!(mode);
        fs::write(&file, object.to_string()).unwrap();
        done(kubectl(
            &kubeconfig,
            &[&["apply", "-f", path], &ways[..]].concat(),
        ));
        published(&world, mode).await;
        let diff = kubectl(&kubeconfig, &[&["diff", "-f", path], &ways[..]].concat());
        assert!(
            diff.status.success(),
            "{}",
            String::from_utf8_lossy(&diff.stdout)
        );
    }
    let applied = of_policies(&world, MAIL).get("example-org").await.unwrap();
    let mut fields = owned(&applied.metadata, FIELD_MANAGER);
    assert!(
        fields.iter().any(|field| field.starts_with("status.")),
        "{applied:?}"
    );
    fields.retain(|field| !field.starts_with("status.") && field != "metadata.finalizers");
    assert!(fields.is_empty(), "{fields:?}");

    // And as most people do it.
    let mut client_side = policy("client.example", json!({}));
    client_side["metadata"]["namespace"] = json!(MAIL);
    fs::write(&file, client_side.to_string()).unwrap();
    done(kubectl(&kubeconfig, &["apply", "-f", path]));
    world
        .condition("client.example", "Accepted", "True", None)
        .await;
    let diff = kubectl(&kubeconfig, &["diff", "-f", path]);
    assert!(
        diff.status.success(),
        "{}",
        String::from_utf8_lossy(&diff.stdout)
    );

    // Nothing that the operator makes looks like a thing of theirs, to be adopted or pruned.
    let made = world.record("example.org").await.unwrap().metadata;
    untracked(made);
    let ingresses = Api::<Ingress>::namespaced(world.client.clone(), SYSTEM);
    for ingress in ingresses.list(&Default::default()).await.unwrap() {
        untracked(ingress.metadata);
    }
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), SYSTEM);
    for map in maps.list(&Default::default()).await.unwrap() {
        if map.metadata.name.as_deref() != Some("kube-root-ca.crt") {
            untracked(map.metadata);
        }
    }
}

fn done(output: std::process::Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

async fn published(world: &World, mode: &str) {
    eventually(&format!("{mode} is out"), SOON, async || {
        let policy = world.policies(MAIL).get("example-org").await.unwrap();
        let generation = policy.metadata.generation;
        let status = policy.status.unwrap_or_default();
        let out = status.policy.as_ref().map(|policy| policy.mode.to_string());
        let ready = status
            .conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status.to_string() == "True");
        let seen = status.observed_generation == generation;
        ensure(
            ready && seen && out.as_deref() == Some(mode),
            format!("{status:?}"),
        )
    })
    .await;
}

fn untracked(metadata: ObjectMeta) {
    let labels = metadata.labels.clone().unwrap_or_default();
    let annotations = metadata.annotations.clone().unwrap_or_default();
    for key in labels.keys().chain(annotations.keys()) {
        let theirs = [
            "argocd.argoproj.io",
            "fluxcd.io",
            "app.kubernetes.io/instance",
            "meta.helm.sh",
        ];
        assert!(
            !theirs.iter().any(|word| key.contains(word)),
            "{metadata:?}"
        );
    }
    assert_eq!(metadata.owner_references, None, "{metadata:?}");
}

#[tokio::test]
async fn helm_waits_for_the_policies_of_a_chart() {
    let (world, _server, _controller) = World::running(&["example.org"]).await;
    let helm = Helm::new(&world.api.kubeconfig());
    let chart = tempfile::tempdir().unwrap();
    fs::create_dir(chart.path().join("templates")).unwrap();
    let head = "apiVersion: v2\nname: policies\nversion: 1.0.0\n";
    fs::write(chart.path().join("Chart.yaml"), head).unwrap();
    let template = chart.path().join("templates/policy.yaml");
    fs::write(&template, policy("example.org", json!({})).to_string()).unwrap();
    let path = chart.path().to_str().unwrap();
    helm.done(&[
        "install",
        "policies",
        path,
        "-n",
        MAIL,
        "--wait",
        "--timeout",
        "60s",
    ]);
    assert!(world.txt_id("example.org").is_some());

    // One that cannot get there is told at once, and not after the time-out.
    let refused = json!({"dns": {"providerRef": {"name": "nobody"}}});
    fs::write(&template, policy("example.net", refused).to_string()).unwrap();
    let begun = std::time::Instant::now();
    let install = [
        "install",
        "refused",
        path,
        "-n",
        MAIL,
        "--wait",
        "--timeout",
        "300s",
    ];
    let output = helm.run(&install);
    assert!(!output.status.success());
    assert!(begun.elapsed() < std::time::Duration::from_secs(120));
}

#[tokio::test]
async fn the_examples_are_valid() {
    let (world, _server, _controller) = World::running(&["example.org"]).await;
    let kubeconfig = world.api.kubeconfig();
    let kustomize = example("kustomize");
    done(kubectl(
        &kubeconfig,
        &["apply", "-k", kustomize.to_str().unwrap()],
    ));
    let labels = PatchParams::default();
    let read = of_policies(&world, MAIL)
        .patch("example-org", &labels, &Patch::Merge(json!({})))
        .await
        .unwrap();
    assert_eq!(read.metadata.labels.unwrap()["team"], "mail");

    // The script stands in the ConfigMap as it was judged.
    let script = fs::read_to_string(example("argocd/health.lua")).unwrap();
    let patch = fs::read_to_string(example("argocd/argocd-cm.yaml")).unwrap();
    let patch: Value = serde_yaml::from_str(&patch).unwrap();
    for kind in ["MtaStsPolicy", "DnsProvider", "ClusterDnsProvider"] {
        let key = format!("resource.customizations.health.mta-sts.dev_{kind}");
        assert_eq!(patch["data"][&key], json!(script), "{kind}");
    }
    for file in [
        "argocd/operator.yaml",
        "argocd/policies.yaml",
        "flux/operator.yaml",
        "flux/policies.yaml",
    ] {
        let text = fs::read_to_string(example(file)).unwrap();
        for document in text.split("\n---\n") {
            let object: Value = serde_yaml::from_str(document).unwrap();
            assert!(
                object["apiVersion"].is_string() && object["spec"].is_object(),
                "{file}"
            );
        }
    }
}
