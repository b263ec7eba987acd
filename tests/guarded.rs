//! Guarded enforcement: no mail is lost by entering enforce, nor by a change of what is enforced.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use serde_json::{Value, json};
use support::bind::Zone;
use support::ports::{free_port, loopback};
use support::process::Process;
use support::smtp::{Mail, MailServer};
use support::wait::{ensure, eventually};
use support::world::{SOON, World, find, message, shown, zone};

/// Parts with a controller that asks these mail exchangers.
async fn running(zones: Vec<Zone>) -> (World, Process, std::net::SocketAddr) {
    let names: Vec<String> = zones.iter().map(|zone| zone.name.clone()).collect();
    let world = World::with_zones(zones).await;
    let (server, address) = world.serve("serve").await;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.route(&names, address).await;
    world.provider(world.dns()).await;
    (world, server, address)
}

fn controller(world: &World, address: std::net::SocketAddr, detours: Vec<String>) -> Process {
    let mut settings = world.settings("controller", &[address]);
    settings.smtp = true;
    settings.connect_to.splice(0..0, detours);
    world.controller(&settings)
}

async fn mode(world: &World, domain: &str) -> String {
    let body = world.body(domain).await.unwrap_or_default();
    let line = body.lines().find(|line| line.starts_with("mode: "));
    line.unwrap_or_default().replace("mode: ", "")
}

#[tokio::test]
async fn enforce_waits_for_every_live_mx_and_goes_out_by_itself() {
    let domain = "example.org";
    let (world, _server, address) = running(vec![zone(domain)]).await;
    let mx = MailServer::start(&world.front, "mail.example.org", Mail::OtherName).await;
    let _controller = controller(&world, address, vec![mx.connect_to()]);

    world.policy(domain, json!({"mode": "enforce"})).await;
    let held = world
        .condition(domain, "Ready", "False", Some("EnforceHeld"))
        .await;
    assert_eq!(mode(&world, domain).await, "testing", "{}", shown(&held));
    let told = message(&held, "Ready");
    assert!(told.contains("mail.example.org: its certificate"), "{told}");
    assert!(told.contains("mend the TLS"), "{told}");
    assert!(world.txt_id(domain).is_some(), "testing is announced");
    let tls = find(&held, "MxTlsValid").unwrap();
    assert_eq!(tls.reason, "CertificateInvalid", "{}", shown(&held));
    assert!(find(&held, "Reconciling").is_none() && find(&held, "Stalled").is_none());
    // In testing it is a warning: no mail is lost.
    assert_eq!(find(&held, "Healthy").unwrap().status.to_string(), "True");
    eventually("it is told", SOON, async || {
        let events = world.events(domain).await;
        ensure(
            events.iter().any(|e| e == "EnforceHeld"),
            format!("{events:?}"),
        )
    })
    .await;

    mx.show(Mail::Good);
    let status = world.ready(domain).await;
    assert_eq!(mode(&world, domain).await, "enforce", "{}", shown(&status));
    world
        .condition(domain, "MxTlsValid", "True", Some("Valid"))
        .await;

    // What enforces is not softened by a failure: it is told.
    let id = world.txt_id(domain);
    mx.show(Mail::Plain);
    let sick = world
        .condition(domain, "Healthy", "False", Some("MxStarttlsMissing"))
        .await;
    assert_eq!(find(&sick, "Ready").unwrap().status.to_string(), "True");
    assert_eq!(find(&sick, "MxTlsValid").unwrap().reason, "StartTlsMissing");
    assert_eq!(mode(&world, domain).await, "enforce");
    assert_eq!(world.txt_id(domain), id);
    eventually("it is told", SOON, async || {
        let events = world.events(domain).await;
        let told = events.iter().any(|e| e == "MxStarttlsMissing");
        ensure(told, format!("{events:?}"))
    })
    .await;
}

#[tokio::test]
async fn an_enforced_policy_loses_no_live_mx() {
    let domain = "example.org";
    // What senders may remember of the MX records counts as well.
    let short = Zone::dynamic(domain, "@ 1 MX 10 mail\nmail A 192.0.2.25\n");
    let (world, _server, address) = running(vec![short]).await;
    let old = MailServer::start(&world.front, "mail.example.org", Mail::Good).await;
    let new = MailServer::start(&world.front, "new.example.org", Mail::Good).await;
    let detours = vec![old.connect_to(), new.connect_to()];
    let _controller = controller(&world, address, detours);
    let patterns = |mx: &[&str]| json!({"mode": "enforce", "mx": mx});

    world.policy(domain, patterns(&["mail.example.org"])).await;
    world.ready(domain).await;
    let before = world.body(domain).await.unwrap();
    let id = world.txt_id(domain);

    // The new host alone, while the old one is what takes the mail.
    world.policy(domain, patterns(&["new.example.org"])).await;
    let held = world
        .condition(domain, "Ready", "False", Some("EnforceHeld"))
        .await;
    let told = message(&held, "Ready");
    assert!(told.contains("the live MX mail.example.org"), "{told}");
    assert!(told.contains("this change of the policy waits"), "{told}");
    assert_eq!(world.body(domain).await.unwrap(), before);
    assert_eq!(world.txt_id(domain), id);

    // As it is done rightly: first both, with the dates told.
    let both = patterns(&["mail.example.org", "new.example.org"]);
    world.policy(domain, both).await;
    let status = world.ready(domain).await;
    let told = message(&status, "Ready");
    assert!(
        told.contains("without new.example.org: point no MX there"),
        "{told}"
    );
    let caches = status.caches.clone().unwrap();
    let by = caches.all_senders_by.unwrap().to_string();
    assert!(told.contains(&by), "{told} has no {by}");

    // Then the MX moves, and the old pattern goes.
    world.nsupdate(
        "zone example.org\nupdate delete example.org MX\nupdate add example.org 1 MX 10 new.example.org.\nupdate add new.example.org 1 A 192.0.2.26",
    );
    world.policy(domain, patterns(&["new.example.org"])).await;
    world.ready(domain).await;
    let body = world.body(domain).await.unwrap();
    assert!(!body.contains("mail.example.org"), "{body}");
}

#[tokio::test]
async fn what_cannot_be_known_holds_nothing_and_who_insists_is_obeyed() {
    let zones = ["silent.example", "bare.example", "forced.example"].map(zone);
    let (world, _server, address) = running(zones.to_vec()).await;
    let closed = |host: &str| format!("{host}:25:127.0.0.1:{}", free_port());
    let detours = ["silent.example", "bare.example", "forced.example"]
        .map(|domain| closed(&format!("mail.{domain}")));
    let _controller = controller(&world, address, detours.to_vec());
    let other = |more: Value| {
        let mut spec = json!({"mode": "enforce", "mx": ["elsewhere.example"]});
        support::world::merge(&mut spec, more);
        spec
    };

    world
        .policy("silent.example", json!({"mode": "enforce"}))
        .await;
    world.policy("bare.example", other(json!({}))).await;
    let insists = other(json!({"enforcement": "Unconditional"}));
    world.policy("forced.example", insists).await;

    let silent = world.ready("silent.example").await;
    assert_eq!(mode(&world, "silent.example").await, "enforce");
    let tls = find(&silent, "MxTlsValid").unwrap();
    assert_eq!(
        (tls.status.to_string(), tls.reason.as_str()),
        ("Unknown".to_owned(), "Port25Blocked"),
        "{}",
        shown(&silent)
    );
    assert_eq!(find(&silent, "Healthy").unwrap().status.to_string(), "True");

    let bare = world
        .condition("bare.example", "Ready", "False", Some("EnforceHeld"))
        .await;
    let told = message(&bare, "Ready");
    assert!(told.contains("add mail.bare.example to spec.mx"), "{told}");
    assert_eq!(mode(&world, "bare.example").await, "testing");

    let forced = world.ready("forced.example").await;
    assert_eq!(mode(&world, "forced.example").await, "enforce");
    let health = find(&forced, "Healthy").unwrap();
    assert_eq!(health.reason, "MxAllUncovered", "{}", shown(&forced));
}

#[tokio::test]
async fn the_metrics_tell_what_is_found_and_what_is_held() {
    let domain = "example.org";
    let (world, _server, address) = running(vec![zone(domain)]).await;
    let mx = MailServer::start(&world.front, "mail.example.org", Mail::Plain).await;
    let mut settings = world.settings("controller", &[address]);
    settings.smtp = true;
    settings.connect_to.insert(0, mx.connect_to());
    let admin = loopback(free_port());
    let _controller = world.controller_with_admin(&settings, admin);
    let metrics = async || {
        let answer = support::http::get(admin, "localhost", "/metrics").await;
        answer.map(|answer| answer.text()).unwrap_or_default()
    };
    let finding = "mta_sts_finding{domain=\"example.org\",code=\"mx-starttls-missing\",severity=\"warning\"} 1";

    world.policy(domain, json!({"mode": "enforce"})).await;
    world
        .condition(domain, "Ready", "False", Some("EnforceHeld"))
        .await;
    let told = metrics().await;
    assert!(told.contains(finding), "{told}");
    assert!(
        told.contains("mta_sts_enforce_held{domain=\"example.org\"} 1"),
        "{told}"
    );

    mx.show(Mail::Good);
    world.ready(domain).await;
    let told = metrics().await;
    assert!(!told.contains("mx-starttls-missing"), "{told}");
    assert!(!told.contains("mta_sts_enforce_held{"), "{told}");
}
