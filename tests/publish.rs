//! A policy from its object to a served body and an announced id, on real parts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use serde_json::json;
use support::wait::{ensure, eventually};
use support::world::{SOON, World, find, shown};

#[tokio::test]
async fn a_policy_is_published_changed_and_taken_away() {
    let domain = "example.org";
    let (world, _server, _controller) = World::running(&[domain]).await;
    let observer = world.observe(domain, &[]);

    world.policy(domain, json!({})).await;
    let status = world.ready(domain).await;
    let first = status.policy.clone().unwrap();
    assert_eq!(
        world.txt(domain).trim(),
        format!("\"v=STSv1; id={};\"", first.id)
    );
    assert_eq!(
        world.body(domain).await.unwrap(),
        "version: STSv1\r\nmode: testing\r\nmx: mail.example.org\r\nmax_age: 86400\r\n"
    );
    for condition in [
        "Accepted",
        "PolicyServed",
        "CertificateValid",
        "DnsPublished",
        "MxCovered",
        "Healthy",
    ] {
        let condition = find(&status, condition).unwrap();
        assert_eq!(condition.status.to_string(), "True", "{}", shown(&status));
    }
    assert!(find(&status, "Reconciling").is_none() && find(&status, "Stalled").is_none());
    assert!(status.caches.unwrap().conforming_senders_by.is_some());

    world.policy(domain, json!({"mode": "enforce"})).await;
    let status = world.ready(domain).await;
    let second = status.policy.clone().unwrap();
    assert!(second.id > first.id);
    assert!(
        world
            .body(domain)
            .await
            .unwrap()
            .contains("mode: enforce\r\n")
    );
    assert_eq!(world.txt_id(domain), Some(second.id.clone()));

    world.delete(domain).await;
    eventually("the TXT record is gone", SOON, async || {
        ensure(world.txt(domain).is_empty(), world.txt(domain))
    })
    .await;
    let seen = observer.finish();
    assert_eq!(seen.announced, [first.id, second.id]);
    world
        .body(domain)
        .await
        .expect("it is served until the TTL has passed");
    eventually("everything is gone", SOON, async || {
        ensure(world.record(domain).await.is_none(), "the record is there")
    })
    .await;
    let address = world.bind.lock().unwrap().dig("mta-sts.example.org", "A");
    assert_eq!(address, "");
    eventually(
        "the policy server forgets the host",
        SOON,
        async || match world.body(domain).await {
            Ok(_) => Err("still served".to_owned()),
            Err(why) => ensure(why == "status 404", why),
        },
    )
    .await;
    let events = world.events(domain).await;
    assert_eq!(
        events
            .iter()
            .filter(|reason| *reason == "Published")
            .count(),
        2,
        "{events:?}"
    );
}
