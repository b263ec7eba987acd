//! The chart, installed, upgraded and uninstalled by Helm on a real API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use mta_sts_operator::api::MtaStsPolicy;
use serde_json::{Value, json};
use support::helm::{Helm, chart};
use support::kube::{ApiServer, apply};
use support::manifests::{Right, documents};
use support::world::SYSTEM;

const RELEASE: &str = "mta-sts-operator";
const POLICIES: &str = "mtastspolicies.mta-sts.dev";

async fn namespace(client: &Client, name: &str, labels: Value) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": labels}});
    Api::<Namespace>::all(client.clone())
        .patch(name, &apply(), &kube::api::Patch::Apply(&object))
        .await
        .unwrap();
}

/// A Pod from the template of a Deployment: what a ReplicaSet controller would make.
async fn pod_of(client: &Client, deployment: &str, edit: impl Fn(&mut Value)) -> kube::Result<Pod> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), SYSTEM);
    let deployment = deployments.get(deployment).await.unwrap();
    let template = deployment.spec.unwrap().template;
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "pod-", "labels": template.metadata.unwrap().labels},
        "spec": template.spec});
    edit(&mut pod);
    let pod = serde_json::from_value(pod).unwrap();
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    Api::namespaced(client.clone(), SYSTEM)
        .create(&params, &pod)
        .await
}

/// A copy of the chart as it could have been before: a definition lacks its short names.
fn previous(folder: &Path) {
    let copied = Command::new("cp")
        .arg("-r")
        .arg(chart())
        .arg(folder.join("chart"))
        .status();
    assert!(copied.unwrap().success());
    let edit = |file: &str, from: &str, to: &str| {
        let path = folder.join("chart").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}: {from}");
        fs::write(&path, text.replace(from, to)).unwrap();
    };
    edit("Chart.yaml", "\nversion: ", "\nversion: 0.0.9-before.");
    let short = "    shortNames:\n    - mtasts\n";
    edit("templates/crds/mtastspolicies.yaml", short, "");
}

#[tokio::test]
async fn it_is_installed_upgraded_with_policies_in_place_and_uninstalled() {
    let api = ApiServer::start().await;
    let client = api.client().await;
    let helm = Helm::new(&api.kubeconfig());
    let enforced = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    namespace(&client, SYSTEM, enforced).await;
    namespace(&client, "mail", json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    previous(folder.path());
    let before = folder.path().join("chart");
    helm.done(&["install", RELEASE, before.to_str().unwrap(), "-n", SYSTEM]);

    // What the namespace admits: our pods, and not the same with a capability more.
    pod_of(&client, RELEASE, |_| ()).await.unwrap();
    let refused = pod_of(&client, RELEASE, |pod| {
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    })
    .await
    .unwrap_err();
    assert!(refused.to_string().contains("restricted"), "{refused}");

    let policies = Api::<MtaStsPolicy>::namespaced(client.clone(), "mail");
    let policy = json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "MtaStsPolicy",
        "metadata": {"name": "example-org"},
        "spec": {"domain": "example.org", "mx": ["mail.example.org"]}});
    let policy = policies
        .patch("example-org", &apply(), &kube::api::Patch::Apply(&policy))
        .await
        .unwrap();

    // The definitions are upgraded, and the policy is the same object.
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    assert_eq!(
        crds.get(POLICIES).await.unwrap().spec.names.short_names,
        None
    );
    let now = chart();
    let now = now.to_str().unwrap();
    let hardened = chart().join("ci/hardened-values.yaml");
    let values = ["--values", hardened.to_str().unwrap()];
    helm.done(&[&["upgrade", RELEASE, now, "-n", SYSTEM], &values[..]].concat());
    let short = crds.get(POLICIES).await.unwrap().spec.names.short_names;
    assert_eq!(short, Some(vec!["mtasts".to_owned()]));
    let kept = policies.get("example-org").await.unwrap();
    assert_eq!(kept.uid(), policy.uid());
    pod_of(&client, "mta-sts-policy", |_| ()).await.unwrap();

    // Without the switch it would be gone, and every policy with it.
    helm.done(&["uninstall", RELEASE, "-n", SYSTEM]);
    let kept = policies.get("example-org").await.unwrap();
    assert_eq!(kept.uid(), policy.uid());
    let deployments = Api::<Deployment>::namespaced(client.clone(), SYSTEM);
    let left = deployments.list(&Default::default()).await.unwrap().items;
    assert!(left.is_empty(), "{left:?}");

    // What was kept is taken over by the next installation of the same name.
    helm.done(&["install", RELEASE, now, "-n", SYSTEM]);
}

#[tokio::test]
async fn two_releases_of_one_name_do_not_meet() {
    let api = ApiServer::start().await;
    let client = api.client().await;
    let helm = Helm::new(&api.kubeconfig());
    let chart = chart();
    let chart = chart.to_str().unwrap();
    for (namespace_name, flags) in [
        ("one", ["--set", "watchNamespaces={mail}"]),
        (
            "two",
            ["--set", "watchNamespaces={shop},crds.enabled=false"],
        ),
    ] {
        namespace(&client, namespace_name, json!({})).await;
        for watched in ["mail", "shop"] {
            namespace(&client, watched, json!({})).await;
        }
        let fixed = ["install", RELEASE, chart, "-n", namespace_name];
        helm.done(&[&fixed, &flags[..]].concat());
    }
    let roles = Api::<ClusterRole>::all(client);
    for name in ["mta-sts-operator-one", "mta-sts-operator-two"] {
        roles.get(name).await.unwrap();
    }
}

/// What the roles grant to the operator, whatever they are called.
fn rights(documents: &[Value]) -> BTreeSet<(Option<String>, String, String, String)> {
    let operators: Vec<Value> = documents
        .iter()
        .filter(|d| d["kind"] == "Role" || d["kind"] == "ClusterRole")
        // Of people.
        .filter(|d| {
            let labels = d["metadata"]["labels"].as_object();
            !labels.is_some_and(|l| l.keys().any(|key| key.contains("aggregate-to")))
        })
        .cloned()
        .collect();
    Right::of(&operators)
        .into_iter()
        .map(|right| (right.namespace, right.group, right.resource, right.verb))
        .collect()
}

/// `tests/rbac.rs` proves that the examples grant what is used and nothing else; this, that the
/// chart grants the same.
#[tokio::test]
async fn its_rights_are_those_that_were_proved() {
    let helm = Helm::new(Path::new("/dev/null"));
    let examples =
        |files: &[&str]| -> Vec<Value> { files.iter().flat_map(|file| documents(file)).collect() };
    let narrow = ["some-namespaces.yaml", "server.yaml"];
    let cases: [(&[&str], &[&str]); 5] = [
        (&[], &["controller.yaml", "server.yaml"]),
        (
            &["gatewayAPI.enabled=true"],
            &["controller.yaml", "server.yaml", "gateway.yaml"],
        ),
        (
            &["externalDNS.enabled=true"],
            &["controller.yaml", "server.yaml", "dns-endpoint.yaml"],
        ),
        (
            &["watchNamespaces={mail}"],
            &[
                "some-namespaces.yaml",
                "some-namespaces-cluster.yaml",
                "server.yaml",
            ],
        ),
        (
            &["watchNamespaces={mail}", "rbac.clusterProviders=false"],
            &narrow,
        ),
    ];
    for (settings, files) in cases {
        let mut proved = rights(&examples(files));
        // The chart gives the port of the policy servers by its number.
        proved.retain(|(_, _, resource, _)| resource != "services");
        for mode in ["Sidecar", "Deployment"] {
            let mode = format!("policyServer.mode={mode}");
            let mut flags = vec!["--set", &mode];
            flags.extend(settings.iter().flat_map(|set| ["--set", set]));
            assert_eq!(
                rights(&helm.template(&chart(), &flags)),
                proved,
                "{flags:?}"
            );
        }
    }
}
