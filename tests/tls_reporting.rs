//! The record `_smtp._tls.<domain>` (RFC 8460 §3): published from `spec.tlsReporting`, changed, taken
//! away, and never in place of somebody else's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use serde_json::json;
use support::wait::{ensure, eventually};
use support::world::{SOON, World, find, message, shown};

const NAME: &str = "_smtp._tls.example.org";

fn record(world: &World) -> String {
    world.bind.lock().unwrap().dig(NAME, "TXT")
}

async fn shows(world: &World, expected: &str) {
    eventually(&format!("{NAME} is {expected:?}"), SOON, async || {
        let found = record(world);
        ensure(found.trim() == expected, found)
    })
    .await;
}

#[tokio::test]
async fn the_record_is_published_changed_and_taken_away() {
    let domain = "example.org";
    let (world, _server, _controller) = World::running(&[domain]).await;
    world.nsupdate(&format!(
        "zone example.org\nupdate add {NAME} 60 TXT \"somebody's verification\""
    ));
    let rua = |rua: &[&str]| json!({"tlsReporting": {"rua": rua}});
    let beside = "\"somebody's verification\"";

    world
        .policy(domain, rua(&["mailto:tlsrpt@example.net"]))
        .await;
    let status = world.ready(domain).await;
    let reporting = find(&status, "TlsReporting").unwrap();
    assert_eq!(reporting.reason, "Published", "{}", shown(&status));
    let first = "\"v=TLSRPTv1; rua=mailto:tlsrpt@example.net;\"";
    let lines = |found: String| {
        let mut lines: Vec<String> = found.trim().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(record(&world)), [beside, first]);
    let records = status.dns.unwrap().records;
    let told = records.iter().find(|it| it.name == NAME).unwrap();
    assert_eq!(format!("\"{}\"", told.value), first);

    let both = rua(&[
        "mailto:tlsrpt@example.net",
        "https://reports.example.net/v1",
    ]);
    world.policy(domain, both).await;
    let second = "\"v=TLSRPTv1; rua=mailto:tlsrpt@example.net,https://reports.example.net/v1;\"";
    eventually("both addresses are there", SOON, async || {
        let found = lines(record(&world));
        ensure(found == [beside, second], format!("{found:?}"))
    })
    .await;

    // Without the field it goes, and what is not ours stays.
    world.policy(domain, json!({"tlsReporting": null})).await;
    shows(&world, beside).await;
    let status = world
        .condition(domain, "TlsReporting", "True", Some("NotAsked"))
        .await;
    assert_eq!(find(&status, "Ready").unwrap().status.to_string(), "True");

    // With the domain it goes as well.
    world
        .policy(domain, rua(&["mailto:tlsrpt@example.net"]))
        .await;
    world.ready(domain).await;
    world.delete(domain).await;
    shows(&world, beside).await;
}

#[tokio::test]
async fn a_record_that_somebody_else_wrote_is_not_touched_unless_it_is_to_be_taken_over() {
    let domain = "example.org";
    let (world, _server, _controller) = World::running(&[domain]).await;
    let theirs = "\"v=TLSRPTv1; rua=mailto:old@example.com\"";
    world.nsupdate(&format!(
        "zone example.org\nupdate add {NAME} 60 TXT {theirs}"
    ));
    let spec = json!({"tlsReporting": {"rua": ["mailto:tlsrpt@example.net"]}});

    world.policy(domain, spec.clone()).await;
    let status = world
        .condition(domain, "Ready", "False", Some("Foreign"))
        .await;
    let told = message(&status, "TlsReporting");
    assert!(told.contains("rua=mailto:old@example.com"), "{told}");
    assert!(find(&status, "Stalled").is_some(), "{}", shown(&status));
    // The policy itself is out all the same.
    assert_eq!(
        find(&status, "DnsPublished").unwrap().status.to_string(),
        "True"
    );
    assert_eq!(record(&world).trim(), theirs);

    let mut adopt = spec;
    support::world::merge(&mut adopt, json!({"dns": {"adopt": true}}));
    world.policy(domain, adopt).await;
    world.ready(domain).await;
    shows(&world, "\"v=TLSRPTv1; rua=mailto:tlsrpt@example.net;\"").await;
}

#[tokio::test]
async fn without_a_provider_it_is_told_what_to_set_by_hand() {
    let domain = "example.org";
    let (world, _server, _controller) = World::running(&[domain]).await;
    let spec = json!({"dns": {"providerRef": null}, "tlsReporting": {"rua": ["mailto:tlsrpt@example.net"]}});
    world.policy(domain, spec).await;
    let status = world
        .condition(domain, "TlsReporting", "False", Some("ManualActionNeeded"))
        .await;
    assert_eq!(record(&world), "");
    let records = status.dns.unwrap().records;
    let told = records.iter().find(|it| it.name == NAME).unwrap();
    let value = told.value.clone();
    world.nsupdate(&format!(
        "zone example.org\nupdate add {NAME} 60 TXT \"{value}\""
    ));
    world
        .condition(domain, "TlsReporting", "True", Some("Published"))
        .await;
}
