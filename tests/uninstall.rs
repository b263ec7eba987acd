//! Taking the operator away, in the documented order and in every other one.
//!
//! There is no controller-manager here: a namespace that is deleted stays and takes no new
//! objects, and the test deletes what is in it, as the namespace controller would.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use mta_sts_operator::api::MtaStsPolicy;
use serde_json::json;
use support::process::Process;
use support::run::{Outcome, mta_sts};
use support::wait::{always, ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, World, name};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const FINALIZER: &str = "mta-sts.dev/publication";
/// "While the controller runs no namespace hangs for more than a minute."
const MINUTE: Duration = Duration::from_secs(60);

async fn uninstall(world: &World, args: &[&str]) -> Outcome {
    mta_sts(&world.api.kubeconfig(), &[&["uninstall"], args].concat()).await
}

/// A world with domains that are published.
async fn published(domains: &[&str]) -> (World, Process, Process) {
    let (world, server, controller) = World::running(domains).await;
    for domain in domains {
        world.policy(domain, json!({"mode": "enforce"})).await;
    }
    for domain in domains {
        world.ready(domain).await;
    }
    (world, server, controller)
}

async fn all(world: &World) -> Vec<MtaStsPolicy> {
    let api = Api::<MtaStsPolicy>::all(world.client.clone());
    api.list(&ListParams::default()).await.unwrap().items
}

fn is_held(policy: &MtaStsPolicy) -> bool {
    policy.finalizers().iter().any(|f| f == FINALIZER)
}

async fn delete_all(world: &World) {
    let api = world.policies(MAIL);
    api.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
}

async fn no_policy_within(world: &World, within: Duration) {
    eventually("all objects are gone", within, async || {
        let left: Vec<String> = all(world).await.iter().map(ResourceExt::name_any).collect();
        ensure(left.is_empty(), format!("{left:?}"))
    })
    .await;
}

async fn terminate(world: &World, namespace: &str) {
    let api = Api::<Namespace>::all(world.client.clone());
    let deleted = api.delete(namespace, &DeleteParams::default()).await;
    let deleted = deleted.unwrap().left().expect("it waits for its content");
    assert!(deleted.metadata.deletion_timestamp.is_some());
}

#[tokio::test]
async fn retire_asks_and_shows_when_it_ends_and_goes_on_after_an_interruption() {
    let domains = ["example.org", "example.net"];
    let (world, _server, controller) = published(&domains).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mta-sts-policy",
        "annotations": {"meta.helm.sh/release-name": "sts"}}, "spec": {"ports": [{"port": 8080}]}});
    world.apply::<Service>(Some(SYSTEM), service).await;

    // Neither way, or no answer: nothing happens.
    let neither = uninstall(&world, &[]).await;
    assert_eq!(neither.code, 2, "{neither:?}");
    let unasked = uninstall(&world, &["--retire"]).await;
    assert_eq!(unasked.code, 2, "{unasked:?}");
    assert!(unasked.stderr.contains("give --yes"), "{unasked:?}");
    for words in [
        "2 MtaStsPolicies to delete",
        "example.org  mail/example-org  enforce: gone soon after 20",
        "senders may go by a policy in enforce until 20",
        "(in 7 days)",
    ] {
        assert!(
            unasked.stdout.contains(words),
            "{words}: {}",
            unasked.stdout
        );
    }
    assert_eq!(
        all(&world)
            .await
            .iter()
            .filter(|p| p.metadata.deletion_timestamp.is_none())
            .count(),
        2
    );

    // It is ended in the middle.
    let mut first = tokio::process::Command::new(env!("CARGO_BIN_EXE_mta-sts"))
        .args(["uninstall", "--retire", "--yes"])
        .env("KUBECONFIG", world.api.kubeconfig())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    let told = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("resolvers that remember its TXT record, which is gone; gone about") {
                return;
            }
        }
        panic!("it ended too early");
    };
    tokio::time::timeout(SOON, told)
        .await
        .expect("the TXT record goes");
    first.kill().await.unwrap();
    no_policy_within(&world, MINUTE).await;

    let again = uninstall(&world, &["--retire", "--yes"]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stdout.contains("is being retired"), "{again:?}");
    assert!(
        again.stdout.ends_with(
            "No domain is published any more. Next: helm uninstall sts -n mta-sts-system\n"
        ),
        "{again:?}"
    );
    for domain in domains {
        assert_eq!(world.txt(domain), "");
        assert!(world.record(domain).await.is_none());
    }
    // There is nothing to ask any more.
    let idle = uninstall(&world, &["--retire"]).await;
    assert_eq!(idle.code, 0, "{idle:?}");

    // Nobody would do the work.
    controller.kill();
    world.policy("example.org", json!({})).await;
    let alone = uninstall(&world, &["--retire", "--yes"]).await;
    assert_eq!(alone.code, 1, "{alone:?}");
    assert!(alone.stderr.contains("no controller runs"), "{alone:?}");
    assert!(all(&world).await[0].metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn retire_stops_where_somebody_creates_the_objects_again() {
    let (world, _server, _controller) = published(&["example.org"]).await;
    let api = world.policies(MAIL);
    let again = async {
        eventually("it is created again", SOON, async || {
            let there = api.get_opt(&name("example.org")).await.unwrap();
            ensure(there.is_none(), "still there")
        })
        .await;
        world
            .policy("example.org", json!({"mode": "enforce"}))
            .await;
    };
    let (outcome, ()) = tokio::join!(uninstall(&world, &["--retire", "--yes"]), again);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(
        outcome.stderr.contains("stop what creates it"),
        "{outcome:?}"
    );
    world.ready("example.org").await;
    assert!(
        world.txt_id("example.org").is_some(),
        "the domain is published all the time"
    );
}

#[tokio::test]
async fn keep_stops_the_controller_first_and_leaves_all_that_is_published() {
    let (world, _server, controller) = published(&["example.org"]).await;
    let id = world.txt_id("example.org").unwrap();

    // It finds nothing that it could scale.
    let running = uninstall(&world, &["--keep", "--yes"]).await;
    assert_eq!(running.code, 1, "{running:?}");
    assert!(
        running
            .stderr
            .contains("kubectl scale deployment -n mta-sts-system"),
        "{running:?}"
    );
    assert!(all(&world).await.iter().all(is_held));

    let deployments = Api::<Deployment>::namespaced(world.client.clone(), SYSTEM);
    for (name, role) in [("sts", "controller"), ("sts-policy", "serve")] {
        let deployment = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": role,
                    "image": "ghcr.io/mta-sts-operator/mta-sts-operator:1", "args": [role]}]}}}}));
        deployments
            .create(&PostParams::default(), &deployment.unwrap())
            .await
            .unwrap();
    }
    // What the kubelet would do.
    let kubelet = async {
        eventually("it is scaled to 0", SOON, async || {
            let spec = deployments.get("sts").await.unwrap().spec.unwrap();
            ensure(spec.replicas == Some(0), "not yet")
        })
        .await;
        controller.terminate(SOON).await;
    };
    let (kept, ()) = tokio::join!(uninstall(&world, &["--keep", "--yes"]), kubelet);
    assert_eq!(kept.code, 0, "{kept:?}");
    for words in [
        &format!("the TXT record _mta-sts.example.org (id {id}) stays until somebody removes it"),
        "senders may go by a policy in enforce until 20",
        "First the Deployment mta-sts-system/sts is scaled to 0.",
        "mail/example-org: let go",
    ] {
        assert!(kept.stdout.contains(words), "{words}: {kept:?}");
    }
    let other = deployments.get("sts-policy").await.unwrap().spec.unwrap();
    assert_eq!(
        other.replicas,
        Some(2),
        "the policy server is none of its business"
    );
    assert!(!all(&world).await.iter().any(is_held));
    assert_eq!(world.txt_id("example.org"), Some(id));
    world.body("example.org").await.unwrap();
    // Once more has nothing to do, and asks nothing.
    let again = uninstall(&world, &["--keep"]).await;
    assert_eq!(again.code, 0, "{again:?}");
    delete_all(&world).await;
    no_policy_within(&world, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn chart_first_leaves_objects_that_keep_sets_free_and_then_the_definitions_go() {
    let (world, _server, controller) = published(&["example.org"]).await;
    controller.terminate(SOON).await;
    let crds = Api::<CustomResourceDefinition>::all(world.client.clone());
    let policies = "mtastspolicies.mta-sts.dev";
    crds.delete(policies, &DeleteParams::default())
        .await
        .unwrap();
    // It waits for its objects, and they for an operator that is gone.
    eventually("the object is being deleted", SOON, async || {
        let going = all(&world).await[0].metadata.deletion_timestamp.is_some();
        ensure(going, "not yet")
    })
    .await;
    let freed = uninstall(&world, &["--keep", "--yes"]).await;
    assert_eq!(freed.code, 0, "{freed:?}");
    assert!(
        freed
            .stdout
            .contains("mail/example-org: is being deleted, and goes at once"),
        "{freed:?}"
    );
    eventually("the definition is gone", MINUTE, async || {
        let left = crds.get_opt(policies).await.unwrap();
        ensure(left.is_none(), "still there")
    })
    .await;
    assert!(
        world.txt_id("example.org").is_some(),
        "what is announced stays"
    );
    // Without the kind there is nothing to free, and that is no error.
    let idle = uninstall(&world, &["--keep"]).await;
    assert_eq!(idle.code, 0, "{idle:?}");
}

#[tokio::test]
async fn definitions_first_the_objects_go_and_the_domain_is_served_until_its_record_is_away() {
    let (world, _server, controller) = published(&["example.org"]).await;
    let begun = Instant::now();
    let crds = Api::<CustomResourceDefinition>::all(world.client.clone());
    // One by one, as kubectl does: a collection of definitions goes without its objects' finalizers.
    for crd in crds.list(&ListParams::default()).await.unwrap() {
        let name = crd.name_any();
        crds.delete(&name, &DeleteParams::default()).await.unwrap();
    }
    eventually("all definitions are gone", MINUTE, async || {
        let left = crds.list(&ListParams::default()).await.unwrap().items;
        let left: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
        ensure(left.is_empty(), format!("{left:?}"))
    })
    .await;
    assert!(begun.elapsed() < MINUTE);
    // With its provider gone as well, somebody has to take the TXT record away, or it has gone.
    let record = eventually("it is being retired", SOON, async || {
        let Some(_) = world.record("example.org").await else {
            return Ok(None);
        };
        let publication = world.publication("example.org").await;
        ensure(publication["retiring"].is_object(), &publication)?;
        Ok::<_, String>(Some(()))
    })
    .await;
    if record.is_some() && world.txt_id("example.org").is_some() {
        world
            .body("example.org")
            .await
            .expect("it is served as long as it is announced");
        world.nsupdate("update delete _mta-sts.example.org TXT");
    }
    eventually("the record is gone", SOON, async || {
        let left = world.record("example.org").await;
        ensure(left.is_none(), "still there")
    })
    .await;
    controller.assert_alive();
}

#[tokio::test]
async fn a_namespace_of_policies_goes_within_a_minute() {
    let (world, _server, _controller) = published(&["example.org", "example.net"]).await;
    let begun = Instant::now();
    terminate(&world, MAIL).await;
    // Nothing can be created there any more, not even an Event.
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "x"}})).unwrap();
    let api = Api::<ConfigMap>::namespaced(world.client.clone(), MAIL);
    let refused = api.create(&PostParams::default(), &map).await.unwrap_err();
    assert!(
        refused.to_string().contains("being terminated"),
        "{refused}"
    );
    delete_all(&world).await;
    no_policy_within(&world, MINUTE).await;
    assert!(begun.elapsed() < MINUTE);
    for domain in ["example.org", "example.net"] {
        eventually("it is retired", SOON, async || {
            ensure(world.record(domain).await.is_none(), "its record is there")
        })
        .await;
        assert_eq!(world.txt(domain), "");
    }
}

#[tokio::test]
async fn own_namespace_first_every_policy_is_let_go_and_its_domain_named() {
    let (world, _server, controller) = published(&["example.org", "example.net"]).await;
    let id = world.txt_id("example.org");
    terminate(&world, SYSTEM).await;
    eventually("no policy waits for the operator", MINUTE, async || {
        let all = all(&world).await;
        ensure(!all.iter().any(is_held), format!("{all:?}"))
    })
    .await;
    for domain in ["example.org", "example.net"] {
        let told = format!("the TXT record _mta-sts.{domain} stays");
        controller.logged(&told, SOON).await;
        eventually("an Event names it", SOON, async || {
            let events = world.events(domain).await;
            ensure(
                events.contains(&"LeftBehind".to_owned()),
                format!("{events:?}"),
            )
        })
        .await;
    }
    // A change of the spec does not bring the finalizer back.
    let edit = json!({"spec": {"mode": "testing"}});
    let api = world.policies(MAIL);
    api.patch("example-org", &PatchParams::default(), &Patch::Merge(&edit))
        .await
        .unwrap();
    always(
        "the finalizer stays away",
        Duration::from_secs(3),
        async || {
            let policy = api.get("example-org").await.map_err(|e| e.to_string())?;
            ensure(!is_held(&policy), "it is back")
        },
    )
    .await;
    delete_all(&world).await;
    no_policy_within(&world, Duration::from_secs(10)).await;
    // Nothing that was published was taken away by that.
    assert!(world.txt_id("example.org") >= id);
}

#[tokio::test]
async fn own_namespace_first_a_replica_that_does_not_lead_lets_go_too() {
    let (world, _server, controller) = published(&["example.org"]).await;
    controller.kill();
    terminate(&world, SYSTEM).await;
    // The Lease goes with the namespace, and none can be made.
    let leases =
        Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(world.client.clone(), SYSTEM);
    leases
        .delete("mta-sts-operator", &DeleteParams::default())
        .await
        .unwrap();
    let settings = world.settings("late", &[]);
    let late = world.controller(&settings);
    eventually("no policy waits for the operator", MINUTE, async || {
        late.assert_alive();
        ensure(!all(&world).await.iter().any(is_held), late.log_end())
    })
    .await;
}

#[tokio::test]
async fn what_is_not_clear_is_refused() {
    let world = World::start(&[]).await;
    let none = uninstall(&world, &["--retire", "--yes"]).await;
    assert_eq!(none.code, 2, "{none:?}");
    assert!(
        none.stderr
            .contains("no installation is found in the cluster https://127.0.0.1"),
        "{none:?}"
    );
    world.namespace("other", &[]).await;
    for namespace in [SYSTEM, "other"] {
        let id = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "id",
            "labels": {"mta-sts.dev/role": "installation"}}});
        world.apply::<ConfigMap>(Some(namespace), id).await;
    }
    let two = uninstall(&world, &["--keep", "--yes"]).await;
    assert_eq!(two.code, 2, "{two:?}");
    assert!(
        two.stderr.contains("mta-sts-system, other): say with -n"),
        "{two:?}"
    );
    let whose = uninstall(&world, &["--keep", "--yes", "-n", SYSTEM]).await;
    assert_eq!(whose.code, 2, "{whose:?}");
    assert!(whose.stderr.contains("--watch-namespace"), "{whose:?}");
    let clear = uninstall(&world, &["--keep", "-n", SYSTEM, "--watch-namespace", MAIL]).await;
    assert_eq!(clear.code, 0, "{clear:?}");
}
