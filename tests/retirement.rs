//! A deleted policy goes by RFC 8461 §8.3: mode `none` first, then time, then the record, then the
//! host; and what may come in between.
//!
//! Nobody waits a week here: that it has passed is written into the record, as if it had been
//! restored from another day.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use mta_sts_operator::api::{ClusterDnsProvider, MtaStsPolicy};
use serde_json::{Value, json};
use support::bind::clock_off;
use support::http;
use support::ports::{free_port, loopback};
use support::process::Process;
use support::run::mta_sts;
use support::wait::{always, ensure, eventually};
use support::world::{KEY, MAIL, PROVIDER, SOON, SYSTEM, World, id_in, policy};

const DOMAIN: &str = "example.org";

struct Parts {
    world: World,
    server: Process,
    address: SocketAddr,
    controller: Process,
    admin: SocketAddr,
}

/// All parts; a deleted policy is left as it is for `delay` seconds.
async fn start(delay: u32) -> Parts {
    let world = World::start(&[DOMAIN]).await;
    let (server, address) = world.serve("serve").await;
    world.route(&[DOMAIN], address).await;
    world.provider(world.dns()).await;
    let mut settings = world.settings("controller", &[address]);
    settings.flags = vec![format!("--retirement-delay={delay}")];
    let admin = loopback(free_port());
    let controller = world.controller_with_admin(&settings, admin);
    Parts {
        world,
        server,
        address,
        controller,
        admin,
    }
}

/// Publishes an enforce policy that is deleted as `deletion` says, and gives its id.
async fn publish(world: &World, deletion: Value) -> String {
    let spec = json!({"mode": "enforce", "deletionPolicy": deletion});
    world.policy(DOMAIN, spec).await;
    world.ready(DOMAIN).await.policy.unwrap().id.to_string()
}

/// Writes into the record that all that was served before `none` was served a year ago.
async fn a_year_passes(world: &World) {
    let record = world.record(DOMAIN).await.unwrap();
    let mut publication = world.publication(DOMAIN).await;
    let long_ago =
        (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 365)).to_string();
    for entry in publication["ledger"].as_array_mut().unwrap() {
        if entry["mode"] != "none" {
            entry["firstServed"] = json!(long_ago);
            entry["lastServed"] = json!(long_ago);
        }
    }
    let data = json!({"data": {"publication.json": publication.to_string()}});
    Api::<ConfigMap>::namespaced(world.client.clone(), SYSTEM)
        .patch(
            &record.name_any(),
            &PatchParams::default(),
            &Patch::Merge(data),
        )
        .await
        .unwrap();
}

async fn none_is_out(world: &World, before: &str) -> String {
    eventually("mode none is out", SOON, async || {
        let body = world.body(DOMAIN).await?;
        ensure(body.contains("mode: none\r\n"), &body)?;
        ensure(body.contains("mx: mail.example.org\r\n"), &body)?;
        let id = world.txt_id(DOMAIN).ok_or("no record")?;
        ensure(id.as_str() > before, &id)?;
        let publication = world.publication(DOMAIN).await;
        let ledger = publication["ledger"].as_array().unwrap();
        let open = |e: &&Value| e["mode"] != "none" && e.get("lastServed").is_none();
        let confirmed = publication["announced"].get("confirmedAt").is_some();
        let closed = !ledger.iter().any(|entry| open(&entry));
        ensure(confirmed && closed, publication).map(|()| id)
    })
    .await
}

async fn gone(world: &World) {
    eventually("the record is gone", SOON * 2, async || {
        ensure(world.record(DOMAIN).await.is_none(), world.txt(DOMAIN))
    })
    .await;
    assert_eq!(world.txt(DOMAIN), "");
}

async fn retirements(world: &World) -> Value {
    let args = ["retirements", "--output=json"];
    let outcome = mta_sts(&world.api.kubeconfig(), &args).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.json()["retirements"].clone()
}

#[tokio::test]
async fn none_is_published_and_nothing_goes_before_its_time() {
    let Parts {
        world,
        server,
        address,
        controller,
        admin,
    } = start(0).await;
    let before = publish(&world, Value::Null).await;
    let observer = world.observe(DOMAIN, &[address]);
    world.delete(DOMAIN).await;
    let told = world.events(DOMAIN).await;
    assert!(told.contains(&"Retiring".to_owned()), "{told:?}");

    let none = none_is_out(&world, &before).await;
    observer.sees(&none).await;
    observer.finish();
    let record = world.record(DOMAIN).await.unwrap();
    assert_eq!(record.labels()["mta-sts.dev/retiring"], "true");

    // A person sees how long it takes, in words and in the metric.
    let found = &retirements(&world).await[0];
    assert_eq!(found["domain"], DOMAIN);
    assert_eq!(found["object"], "mail/example-org");
    let about: jiff::Timestamp = found["goneAbout"].as_str().unwrap().parse().unwrap();
    let days = about.duration_since(jiff::Timestamp::now()).as_hours() / 24;
    assert!((6..=7).contains(&days), "a week: {found:#}");
    let text = mta_sts(&world.api.kubeconfig(), &["retirements"]).await;
    assert!(
        text.stdout.contains("senders that hold the policy"),
        "{text:?}"
    );
    let metrics = http::get(admin, "localhost", "/metrics")
        .await
        .unwrap()
        .text();
    let line = format!("mta_sts_retirement_end_timestamp_seconds{{domain=\"{DOMAIN}\"}}");
    assert!(metrics.contains(&line), "{metrics}");

    always("nothing goes", Duration::from_secs(8), async || {
        ensure(
            world.txt_id(DOMAIN).as_deref() == Some(&none),
            world.txt(DOMAIN),
        )?;
        let body = world.body(DOMAIN).await?;
        ensure(body.contains("mode: none"), body)
    })
    .await;

    // The controller is replaced: what was decided stands.
    drop(controller);
    let mut settings = world.settings("second", &[address]);
    settings.flags = vec!["--retirement-delay=0".to_owned()];
    let _second = world.controller(&settings);
    a_year_passes(&world).await;
    eventually("the record goes", SOON, async || {
        ensure(world.txt(DOMAIN).is_empty(), world.txt(DOMAIN))
    })
    .await;
    // Resolvers may remember it: the host answers on.
    let body = world.body(DOMAIN).await.unwrap();
    assert!(body.contains("mode: none"), "{body}");
    gone(&world).await;
    assert!(!server.log().contains("panicked"));
}

#[tokio::test]
async fn an_object_that_comes_back_takes_all_up() {
    let Parts {
        world,
        address,
        controller: _controller,
        server: _server,
        ..
    } = start(3).await;
    let before = publish(&world, Value::Null).await;

    // A move to another namespace within the delay: nobody sees a thing.
    let observer = world.observe(DOMAIN, &[address]);
    world.delete(DOMAIN).await;
    world.namespace("moved", &[]).await;
    let moved = policy(
        DOMAIN,
        json!({"mode": "enforce", "deletionPolicy": "Graceful"}),
    );
    world.apply::<MtaStsPolicy>(Some("moved"), moved).await;
    world
        .condition_in("moved", "example-org", "Ready", "True", None)
        .await;
    always("nothing has changed", Duration::from_secs(6), async || {
        ensure(
            world.txt_id(DOMAIN).as_deref() == Some(&before),
            world.txt(DOMAIN),
        )?;
        let body = world.body(DOMAIN).await?;
        ensure(body.contains("mode: enforce"), body)
    })
    .await;
    observer.finish();

    // Once none is out: it is published anew, and the ledger knows of all three.
    let policies = world.policies("moved");
    policies
        .delete("example-org", &DeleteParams::default())
        .await
        .unwrap();
    let none = none_is_out(&world, &before).await;
    world.policy(DOMAIN, json!({"mode": "testing"})).await;
    let after = world.ready(DOMAIN).await.policy.unwrap().id.to_string();
    assert!(after > none, "{after} {none}");
    let publication = world.publication(DOMAIN).await;
    let ids: Vec<&str> = publication["ledger"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["id"].as_str())
        .collect();
    assert_eq!(ids, [before.as_str(), &none, &after]);
    assert_eq!(publication.get("retiring"), None);
    let record = world.record(DOMAIN).await.unwrap();
    assert!(!record.labels().contains_key("mta-sts.dev/retiring"));
    assert_eq!(retirements(&world).await, json!([]));
}

#[tokio::test]
async fn what_is_to_be_retained_stays_until_it_is_taken_back() {
    let Parts {
        world,
        controller: _controller,
        server: _server,
        ..
    } = start(0).await;
    let id = publish(&world, json!("Retain")).await;
    world.delete(DOMAIN).await;
    always("all stays", Duration::from_secs(8), async || {
        ensure(
            world.txt_id(DOMAIN).as_deref() == Some(&id),
            world.txt(DOMAIN),
        )?;
        let body = world.body(DOMAIN).await?;
        ensure(body.contains("mode: enforce"), body)
    })
    .await;
    let found = &retirements(&world).await[0];
    assert_eq!(found["deletionPolicy"], "Retain");
    assert_eq!(found["goneAbout"], Value::Null);
    let back = publish(&world, json!("Immediate")).await;
    assert_eq!(back, id, "taken back as it was");
    world.delete(DOMAIN).await;
    gone(&world).await;
}

#[tokio::test]
async fn immediately_says_how_long_senders_may_refuse() {
    let Parts {
        world,
        controller: _controller,
        server: _server,
        ..
    } = start(600).await;
    publish(&world, json!("Immediate")).await;
    world.delete(DOMAIN).await;
    let events = Api::<Event>::namespaced(world.client.clone(), MAIL);
    let events = events.list(&Default::default()).await.unwrap();
    let note = events
        .items
        .into_iter()
        .find(|e| e.reason.as_deref() == Some("Retiring"));
    let note = note.unwrap().message.unwrap();
    assert!(
        note.contains("keep its MX hosts and their certificates"),
        "{note}"
    );
    gone(&world).await;
}

/// A provider that is gone, and a foreign record: what can still be done is done.
#[tokio::test]
async fn without_its_provider_none_is_served_and_the_record_is_waited_for() {
    let Parts {
        world,
        controller,
        server: _server,
        ..
    } = start(0).await;
    let before = publish(&world, Value::Null).await;
    let providers = Api::<ClusterDnsProvider>::all(world.client.clone());
    providers
        .delete(PROVIDER, &DeleteParams::default())
        .await
        .unwrap();
    world.delete(DOMAIN).await;
    eventually("none is served, and held as such", SOON, async || {
        let body = world.body(DOMAIN).await?;
        ensure(body.contains("mode: none"), body)?;
        let publication = world.publication(DOMAIN).await;
        let ledger = publication["ledger"].as_array().unwrap();
        let open = ledger
            .iter()
            .any(|e| e["mode"] != "none" && e.get("lastServed").is_none());
        ensure(!open, publication)
    })
    .await;
    assert_eq!(world.txt_id(DOMAIN).as_deref(), Some(before.as_str()));
    a_year_passes(&world).await;
    eventually("it is told", SOON, async || {
        let log = controller.log();
        ensure(
            log.contains("the provider of a retiring domain is gone"),
            log,
        )
    })
    .await;
    always(
        "it is served until somebody acts",
        Duration::from_secs(8),
        async || world.body(DOMAIN).await.map(|_| ()),
    )
    .await;
    world.nsupdate(&format!("delete _mta-sts.{DOMAIN} TXT\n"));
    gone(&world).await;
}

/// The Secret of the provider is gone: mode none is served, time passes, and what has to be removed by the
/// provider waits for it, or for somebody's hand.
#[tokio::test]
async fn without_the_secret_none_is_served_and_the_rest_waits_for_it() {
    let Parts {
        world,
        controller: _controller,
        server: _server,
        ..
    } = start(0).await;
    let before = publish(&world, Value::Null).await;
    let secrets = Api::<Secret>::namespaced(world.client.clone(), SYSTEM);
    secrets
        .delete("tsig", &DeleteParams::default())
        .await
        .unwrap();
    world.delete(DOMAIN).await;
    eventually(
        "none is served, and what was before has an end",
        SOON,
        async || {
            let body = world.body(DOMAIN).await?;
            ensure(body.contains("mode: none"), body)?;
            let publication = world.publication(DOMAIN).await;
            let ledger = publication["ledger"].as_array().unwrap();
            let mut open = ledger.iter().filter(|e| e.get("lastServed").is_none());
            ensure(open.all(|e| e["mode"] == "none"), publication.clone())
        },
    )
    .await;
    assert_eq!(world.txt_id(DOMAIN).as_deref(), Some(before.as_str()));
    a_year_passes(&world).await;
    world.nsupdate(&format!("delete _mta-sts.{DOMAIN} TXT\n"));
    eventually("the hand is noticed", SOON, async || {
        let retiring = world.publication(DOMAIN).await["retiring"].clone();
        ensure(retiring.get("txtGoneAt").is_some(), retiring)
    })
    .await;
    // The address is the provider's to remove: a name without its host could be taken by anybody.
    world.secret(SYSTEM, "tsig", KEY.secret).await;
    gone(&world).await;
}

/// The front is gone before the object: senders cannot fetch anything, so their copies just end.
#[tokio::test]
async fn a_host_that_nobody_reaches_is_not_waited_for() {
    let Parts {
        world,
        controller,
        server: _server,
        ..
    } = start(0).await;
    publish(&world, Value::Null).await;
    world.front.down();
    world.delete(DOMAIN).await;
    eventually("what was served is noted as ended", SOON, async || {
        let publication = world.publication(DOMAIN).await;
        let ledger = publication["ledger"].as_array().unwrap();
        let open = ledger
            .iter()
            .any(|e| e["mode"] != "none" && e.get("lastServed").is_none());
        let begun = publication["current"]["mode"] == "none";
        ensure(begun && !open, publication)
    })
    .await;
    assert!(controller.log().contains("nobody can fetch the policy"));
    assert!(world.txt_id(DOMAIN).is_some(), "its copies have not ended");
    a_year_passes(&world).await;
    gone(&world).await;
}

#[tokio::test]
async fn a_foreign_record_gets_no_none() {
    let Parts {
        world,
        controller: _controller,
        server: _server,
        ..
    } = start(4).await;
    publish(&world, Value::Null).await;
    let suspended = json!({"mode": "enforce", "deletionPolicy": null, "suspend": true});
    world.policy(DOMAIN, suspended).await;
    let name = format!("_mta-sts.{DOMAIN}");
    let foreign = "\"v=STSv1; id=somebody;\"";
    world.nsupdate(&format!("delete {name} TXT\nadd {name} 30 TXT {foreign}\n"));
    world.delete(DOMAIN).await;
    eventually("the record is gone", SOON * 2, async || {
        if let Ok(body) = world.body(DOMAIN).await {
            assert!(body.contains("mode: enforce"), "{body}");
        }
        ensure(world.record(DOMAIN).await.is_none(), world.txt(DOMAIN))
    })
    .await;
    assert_eq!(id_in(&world.txt(DOMAIN)).as_deref(), Some("somebody"));
}

#[tokio::test]
async fn a_clock_that_is_off_takes_nothing_away() {
    let Parts {
        world,
        controller,
        address,
        server: _server,
        ..
    } = start(0).await;
    let before = publish(&world, Value::Null).await;
    world.delete(DOMAIN).await;
    let none = none_is_out(&world, &before).await;
    drop(controller);

    let folder = support::keeper::folder("clock");
    let library = clock_off(folder.path(), 1200);
    let mut settings = world.settings("ahead", &[address]);
    settings.flags = vec![format!("LD_PRELOAD={}", library.display())];
    let admin = loopback(free_port());
    let ahead = world.controller_with_admin(&settings, admin);
    a_year_passes(&world).await;
    eventually("it is told", SOON, async || {
        let metrics = http::get(admin, "localhost", "/metrics").await?.text();
        let line = format!("mta_sts_retirement_clock_skew{{domain=\"{DOMAIN}\"}} 1");
        ensure(metrics.contains(&line), metrics)
    })
    .await;
    assert!(ahead.log().contains("too far apart"));
    assert_eq!(world.txt_id(DOMAIN), Some(none));

    // A controller with the right time goes on.
    drop(ahead);
    let _right = world.controller(&world.settings("right", &[address]));
    gone(&world).await;
}
