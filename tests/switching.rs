//! A policy whose provider, hosting or cluster is another one from now on: nobody outside sees a gap, and no
//! id goes out that nothing asked for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use mta_sts_operator::api::ClusterDnsProvider;
use serde_json::{Value, json};
use support::wait::{ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, World, name, rfc2136};

const DOMAIN: &str = "example.org";

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_is_seen_by_nobody() {
    let world = World::start(&[DOMAIN]).await;
    let (_server, address) = world.serve("serve").await;
    world.route(&[DOMAIN], address).await;
    world.provider(world.dns()).await;
    world
        .apply::<ClusterDnsProvider>(
            None,
            json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "ClusterDnsProvider",
                "metadata": {"name": "second"},
                "spec": {"zones": [DOMAIN], "allowedNamespaces": {},
                    "rfc2136": rfc2136(world.dns())}}),
        )
        .await;
    let _controller = world.controller(&world.settings("controller", &[address]));
    world.policy(DOMAIN, json!({"mode": "enforce"})).await;
    let id = world.ready(DOMAIN).await.policy.unwrap().id;
    let observer = world.observe(DOMAIN, &[address]);
    observer.sees(&id).await;

    let second = json!({"providerRef": {"kind": "ClusterDnsProvider", "name": "second"}});
    let external = json!({"external": {}, "address": null});
    let own = json!({"external": null});
    for (case, dns, hosting) in [
        ("another provider", second.clone(), own.clone()),
        ("by hand", json!({"providerRef": null}), own.clone()),
        ("another provider again", second.clone(), own.clone()),
        ("somebody else serves it", second.clone(), external),
        ("the operator serves it again", second, own),
    ] {
        let spec = json!({"mode": "enforce", "dns": dns, "hosting": hosting});
        world.policy(DOMAIN, spec.clone()).await;
        world.ready(DOMAIN).await;
        let wanted = dns["providerRef"]["name"].clone();
        let is_external = hosting["external"].is_object();
        eventually(case, SOON, async || {
            let publication = world.publication(DOMAIN).await;
            let provider = &publication["dns"]["provider"]["name"];
            ensure(*provider == wanted, &publication)?;
            let external = publication.get("external") == Some(&Value::from(true));
            ensure(external == is_external, &publication)?;
            // The way in of before stays until the object goes: nobody knows when the last sender left it.
            ensure(has_ingress(&world).await, "the Ingress")
        })
        .await;
        let status = world.ready(DOMAIN).await;
        assert_eq!(status.policy.unwrap().id, id, "{case}");
        assert_eq!(world.txt_id(DOMAIN).as_ref(), Some(&id), "{case}");
    }
    let seen = observer.finish_strictly();
    assert_eq!(seen.announced, [id], "no other id ever");
    let events = world.events(DOMAIN).await;
    let decided = events.iter().filter(|it| *it == "PolicyDecided").count();
    assert_eq!(decided, 1, "{}/{}: {events:?}", MAIL, name(DOMAIN));
}

/// What docs/high-availability.md says of a move: records and installation id first, then the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_another_cluster_is_seen_by_nobody() {
    let (old, old_server, controller) = World::running(&[DOMAIN]).await;
    old.policy(DOMAIN, json!({})).await;
    let tested = old.ready(DOMAIN).await.policy.unwrap().id;
    let enforce = json!({"mode": "enforce"});
    old.policy(DOMAIN, enforce.clone()).await;
    let id = old.ready(DOMAIN).await.policy.unwrap().id;
    let observer = old.observe(DOMAIN, &[]);
    observer.sees(&id).await;
    let kept = ListParams::default().labels("mta-sts.dev/role in (record, installation)");
    let api = Api::<ConfigMap>::namespaced(old.client.clone(), SYSTEM);
    let mut backup = api.list(&kept).await.unwrap().items;
    assert_eq!(backup.len(), 2, "{backup:?}");

    drop(controller);
    let new = old.in_another_cluster().await;
    let api = Api::<ConfigMap>::namespaced(new.client.clone(), SYSTEM);
    for object in &mut backup {
        let old = std::mem::take(&mut object.metadata);
        (object.metadata.name, object.metadata.labels) = (old.name, old.labels);
        object.metadata.annotations = old.annotations;
        api.create(&PostParams::default(), object).await.unwrap();
    }
    let (_server, address) = new.serve("serve-new").await;
    new.provider(new.dns()).await;
    new.policy(DOMAIN, enforce).await;
    new.route(&[DOMAIN], address).await;
    drop(old_server);
    let _controller = new.controller(&new.settings("controller-new", &[address]));

    let status = new.ready(DOMAIN).await;
    assert_eq!(status.policy.unwrap().id, id);
    assert_eq!(new.txt_id(DOMAIN).as_ref(), Some(&id));
    let publication = new.publication(DOMAIN).await;
    let ledger = publication["ledger"].as_array().unwrap();
    let ids: Vec<_> = ledger.iter().filter_map(|it| it["id"].as_str()).collect();
    assert_eq!(
        ids,
        [tested.as_str(), &id],
        "what senders may hold came along"
    );
    let events = new.events(DOMAIN).await;
    assert!(!events.contains(&"RecordLost".to_owned()), "{events:?}");
    assert_eq!(observer.finish_strictly().announced, [id]);
}

async fn has_ingress(world: &World) -> bool {
    let api = Api::<Ingress>::namespaced(world.client.clone(), SYSTEM);
    let all = api.list(&Default::default()).await.unwrap();
    all.iter()
        .any(|ingress| ingress.name_any().contains("example-org"))
}
