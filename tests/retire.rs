//! Domains that go while something they need is gone or broken.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use mta_sts_operator::api::ClusterDnsProvider;
use serde_json::json;
use support::wait::{ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, World, name};

#[tokio::test]
async fn a_domain_goes_although_its_record_is_garbled_and_its_provider_is_gone() {
    let (garbled, alone) = ("garbled.example", "alone.example");
    let world = World::start(&[garbled, alone]).await;
    let (_server, server) = world.serve("serve").await;
    world.route(&[garbled, alone], server).await;
    world.provider(world.dns()).await;
    let controller = world.controller(&world.settings("controller", &[server]));
    for domain in [garbled, alone] {
        world.policy(domain, json!({})).await;
        world.ready(domain).await;
    }

    // Nobody is there to mend the record before its object goes.
    controller.kill();
    let record = world.record(garbled).await.unwrap().name_any();
    let garbage = json!({"data": {"publication.json": "no JSON"}});
    Api::<ConfigMap>::namespaced(world.client.clone(), SYSTEM)
        .patch(&record, &PatchParams::default(), &Patch::Merge(&garbage))
        .await
        .unwrap();
    world
        .policies(MAIL)
        .delete(&name(garbled), &DeleteParams::default())
        .await
        .unwrap();
    let mut settings = world.settings("again", &[server]);
    // The killed one's lease is left to end by itself.
    settings.flags = vec!["--lease-name=again".to_owned()];
    let controller = world.controller(&settings);
    is_gone(&world, garbled).await;

    // Without its provider nobody but a person can remove the TXT record.
    Api::<ClusterDnsProvider>::all(world.client.clone())
        .delete(support::world::PROVIDER, &DeleteParams::default())
        .await
        .unwrap();
    world.delete(alone).await;
    let told = "the provider of a retiring domain is gone";
    controller.logged(told, SOON).await;
    assert!(world.txt_id(alone).is_some());
    world
        .body(alone)
        .await
        .expect("it is served as long as it is announced");
    world.nsupdate("update delete _mta-sts.alone.example TXT");
    is_gone(&world, alone).await;
}

async fn is_gone(world: &World, domain: &str) {
    eventually("TXT and record are gone", SOON, async || {
        let txt = world.txt(domain);
        ensure(txt.is_empty(), &txt)?;
        ensure(world.record(domain).await.is_none(), "the record is there")
    })
    .await;
}
