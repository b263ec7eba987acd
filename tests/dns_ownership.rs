//! Whose records are whose (lifecycle.md §3), on real parts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::time::Duration;

use mta_sts_operator::api::{MtaStsPolicy, MtaStsPolicyStatus, RecordState};
use serde_json::{Value, json};
use support::bind::{Bind, Zone};
use support::front::{Answer, Certificate, Site};
use support::process::Process;
use support::wait::{always, ensure, eventually};
use support::world::{
    MAIL, SOON, World, find, id_in, message, name, policy, policy_host, rfc2136, shown,
};

/// Long enough for several looks of the controller.
const WHILE: Duration = Duration::from_secs(4);
const MX: &str = "@ MX 10 mail\nmail A 192.0.2.25\n";

/// A world with these zones, each with an MX and further records, whose fronts lead to a policy
/// server.
struct Running {
    world: World,
    server: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    _processes: [Process; 2],
}

async fn running(zones: &[(&str, &str)], flags: &[String]) -> Running {
    let zones: Vec<Zone> = zones
        .iter()
        .map(|(name, records)| Zone::dynamic(name, &format!("{MX}{records}")))
        .collect();
    start(zones, flags).await
}

async fn start(zones: Vec<Zone>, flags: &[String]) -> Running {
    let names: Vec<String> = zones.iter().map(|zone| zone.name.clone()).collect();
    let world = World::with_zones(zones).await;
    let (process, server) = world.serve("serve").await;
    for name in &names {
        world.route(&[name], server).await;
    }
    world.provider(world.dns()).await;
    let mut settings = world.settings("controller", &[server]);
    settings.flags = flags.to_vec();
    let admin = support::ports::loopback(support::ports::free_port());
    let controller = world.controller_with_admin(&settings, admin);
    Running {
        world,
        server,
        admin,
        _processes: [process, controller],
    }
}

fn dig(world: &World, name: &str, record_type: &str) -> String {
    let answer = world.bind.lock().unwrap().dig(name, record_type);
    answer.trim().to_owned()
}

/// Nothing of an MTA-STS record is at the domain's name for a while, and the zone is not written.
async fn untouched(world: &World, zone: &str, because: &str) {
    let before = world.bind.lock().unwrap().serial(zone);
    always(because, WHILE, async || {
        let now = world.bind.lock().unwrap().serial(zone);
        ensure(now == before, format!("{zone} was written to"))
    })
    .await;
}

async fn ready_with(world: &World, domain: &str, mode: &str) -> MtaStsPolicyStatus {
    let status = world.ready(domain).await;
    let published = status.policy.as_ref().unwrap();
    assert_eq!(published.mode.as_str(), mode, "{domain}");
    assert_eq!(world.txt_id(domain).as_ref(), Some(&published.id));
    assert!(
        world
            .body(domain)
            .await
            .unwrap()
            .contains(&format!("mode: {mode}\r\n"))
    );
    status
}

#[tokio::test]
async fn what_others_wrote_is_left_alone_or_taken_over_when_that_is_asked_for() {
    let foreign = "_mta-sts TXT \"v=STSv1; id=20200101;\"\n";
    let running = running(
        &[
            ("foreign.example", foreign),
            (
                "adopt.example",
                &format!("{foreign}mta-sts 1 A 127.0.0.2\n"),
            ),
            ("dead.example", &format!("{foreign}mta-sts 1 A 127.0.0.1\n")),
            ("spf.example", "_mta-sts TXT \"v=spf1 -all\"\n"),
        ],
        &[],
    )
    .await;
    tokio::join!(
        a_foreign_record_is_left_alone(&running),
        a_live_policy_is_taken_over(&running),
        a_policy_that_cannot_be_read_is_not_taken_over(&running),
        unrelated_text_stays(&running),
    );
}

async fn a_foreign_record_is_left_alone(Running { world, .. }: &Running) {
    let domain = "foreign.example";
    world.policy(domain, json!({})).await;
    let status = world
        .condition(domain, "DnsPublished", "False", Some("Foreign"))
        .await;
    let told = message(&status, "DnsPublished");
    assert!(told.contains("v=STSv1; id=20200101;"), "{told}");
    assert!(find(&status, "Stalled").is_some(), "{}", shown(&status));
    assert!(
        status.findings.iter().any(|f| f.code == "dns-conflict"),
        "{:?}",
        status.findings
    );
    untouched(world, domain, "a foreign record is never touched").await;

    world.nsupdate("update delete _mta-sts.foreign.example TXT");
    ready_with(world, domain, "testing").await;
    let events = world.events(domain).await;
    assert_eq!(
        events.iter().filter(|reason| *reason == "Foreign").count(),
        1,
        "{events:?}"
    );
}

/// The ledger entries of a domain, as (id, mode, max_age, whether it has ended).
async fn ledger(world: &World, domain: &str) -> Vec<(String, String, u64, bool)> {
    let publication = world.publication(domain).await;
    let entries = publication["ledger"].as_array().unwrap().clone();
    entries
        .iter()
        .map(|entry| {
            (
                entry["id"].as_str().unwrap_or_default().to_owned(),
                entry["mode"].as_str().unwrap_or_default().to_owned(),
                entry["maxAge"].as_u64().unwrap_or_default(),
                entry.get("lastServed").is_some(),
            )
        })
        .collect()
}

async fn a_live_policy_is_taken_over(running: &Running) {
    let Running { world, server, .. } = running;
    let domain = "adopt.example";
    let body = "version: STSv1\nmode: enforce\nmx: mail.adopt.example\nmax_age: 1209600\n";
    let live = Site {
        certificate: Certificate::Valid,
        answer: Answer::Body {
            content_type: "text/plain",
            body: body.as_bytes().to_vec(),
        },
    };
    world.front.set(&policy_host(domain), live).await;
    world.policy(domain, json!({})).await;
    world
        .condition(domain, "DnsPublished", "False", Some("Foreign"))
        .await;

    world.policy(domain, json!({"dns": {"adopt": true}})).await;
    eventually("the live policy is in the ledger", SOON, async || {
        let ledger = ledger(world, domain).await;
        let live = ("20200101".to_owned(), "enforce".to_owned(), 1_209_600);
        let has = |e: &(String, String, u64, bool)| (e.0.clone(), e.1.clone(), e.2) == live;
        ensure(ledger.iter().any(has), format!("{ledger:?}"))
    })
    .await;
    // Its address was taken over, and the front is still the old one: the id waits.
    eventually("the address is ours", SOON, async || {
        let address = dig(world, &policy_host(domain), "A");
        ensure(address == "127.0.0.1", address)
    })
    .await;
    world
        .condition(domain, "PolicyServed", "False", Some("WrongBody"))
        .await;
    assert_eq!(world.txt_id(domain).as_deref(), Some("20200101"));

    world.route(&[domain], *server).await;
    let first = ready_with(world, domain, "enforce").await;
    assert_eq!(
        dig(world, "_mta-sts.adopt.example", "TXT").lines().count(),
        1
    );
    let by = first.caches.unwrap().all_senders_by.unwrap();
    let fortnight = jiff::SignedDuration::from_secs(1_209_600 - 120);
    assert!(
        by > mta_sts_operator::clock::now() + fortnight,
        "senders may hold the old policy until its own end: {by}"
    );
    // It stays in enforce until a mode is written.
    world
        .policy(domain, json!({"dns": {"adopt": true}, "mode": "testing"}))
        .await;
    ready_with(world, domain, "testing").await;
}

async fn a_policy_that_cannot_be_read_is_not_taken_over(running: &Running) {
    let Running { world, server, .. } = running;
    let domain = "dead.example";
    let dead = Site::proxy(*server).with_answer(Answer::Close);
    world.front.set(&policy_host(domain), dead).await;
    world.policy(domain, json!({"dns": {"adopt": true}})).await;
    let status = world
        .condition(domain, "DnsPublished", "False", Some("WaitingForHost"))
        .await;
    let told = message(&status, "DnsPublished");
    assert!(told.contains("senders may hold it"), "{told}");
    untouched(world, domain, "what could not be read is not replaced").await;
    world.route(&[domain], *server).await;
    ready_with(world, domain, "testing").await;
}

async fn unrelated_text_stays(Running { world, .. }: &Running) {
    let domain = "spf.example";
    let spf = "\"v=spf1 -all\"";
    let beside = || -> Result<(), String> {
        let txt = world.txt(domain);
        ensure(txt.lines().any(|line| line == spf), txt)
    };
    world.policy(domain, json!({})).await;
    let first = ready_with(world, domain, "testing").await.policy.unwrap();
    beside().unwrap();
    assert_eq!(world.txt(domain).lines().count(), 2);

    world.policy(domain, json!({"mode": "enforce"})).await;
    let second = ready_with(world, domain, "enforce").await.policy.unwrap();
    beside().unwrap();
    assert!(second.id > first.id);
    assert_eq!(world.txt(domain).lines().count(), 2);

    // Only the TTL: no new id, and nothing else changes.
    world
        .policy(
            domain,
            json!({"mode": "enforce", "dns": {"ttlSeconds": 77}}),
        )
        .await;
    eventually("the TTLs are the new ones", SOON, async || {
        let bind = world.bind.lock().unwrap();
        for (name, type_) in [("_mta-sts", "TXT"), ("mta-sts", "A")] {
            let answer = bind.answer(&format!("{name}.{domain}"), type_);
            let all = answer.lines().all(|line| line.contains("\t77\t"));
            ensure(!answer.is_empty() && all, answer)?;
        }
        Ok::<_, String>(())
    })
    .await;
    let third = ready_with(world, domain, "enforce").await.policy.unwrap();
    assert_eq!(third.id, second.id);
    beside().unwrap();
    assert_eq!(
        world.publication(domain).await["announced"]["ttl"],
        json!(77)
    );

    world.delete(domain).await;
    eventually("ours is gone", SOON, async || {
        ensure(world.txt_id(domain).is_none(), world.txt(domain))
    })
    .await;
    beside().unwrap();
}

#[tokio::test]
async fn a_record_of_ours_is_kept_right() {
    let lag = Zone::new("lag.example", &format!("{MX}mta-sts A 127.0.0.1\n"));
    let second = Bind::start(std::slice::from_ref(&lag), &[]);
    let zones = vec![
        Zone::dynamic("drift.example", MX),
        Zone::dynamic("lost.example", MX),
        Zone::dynamic("old.example", MX),
        Zone {
            dynamic: true,
            ..lag
        },
    ];
    // The first server's address is known only once it runs: the flag is given by the case.
    let world = World::with_zones(zones).await;
    let (process, server) = world.serve("serve").await;
    let domains = [
        "drift.example",
        "lost.example",
        "old.example",
        "lag.example",
    ];
    world.route(&domains, server).await;
    world.provider(world.dns()).await;
    let mut settings = world.settings("controller", &[server]);
    settings.flags = vec![format!(
        "--authoritative=lag.example={},{}",
        world.dns(),
        second.address()
    )];
    let admin = support::ports::loopback(support::ports::free_port());
    let controller = world.controller_with_admin(&settings, admin);
    let running = Running {
        world,
        server,
        admin,
        _processes: [process, controller],
    };
    tokio::join!(
        a_record_that_somebody_changes_is_repaired_twice(&running),
        a_lost_record_is_taken_for_the_worst(&running),
        an_old_record_is_not_believed(&running),
        a_secondary_that_lags_is_waited_for(&running, second),
    );
}

async fn a_record_that_somebody_changes_is_repaired_twice(running: &Running) {
    let Running { world, admin, .. } = running;
    let domain = "drift.example";
    let drifting = async || {
        let answer = support::http::get(*admin, "localhost", "/metrics").await?;
        Ok::<_, String>(
            answer
                .text()
                .contains("mta_sts_drifting{domain=\"drift.example\"} 1"),
        )
    };
    world.policy(domain, json!({})).await;
    let old = world.ready(domain).await.policy.unwrap().id;
    world.policy(domain, json!({"mode": "enforce"})).await;
    let id = ready_with(world, domain, "enforce")
        .await
        .policy
        .unwrap()
        .id;
    let repaired = async |what: &str| {
        eventually(what, SOON, async || {
            let txt = world.txt(domain);
            ensure(txt.trim() == format!("\"v=STSv1; id={id};\""), txt)
        })
        .await;
    };

    world.nsupdate("update delete _mta-sts.drift.example TXT");
    repaired("a record that was deleted by hand comes back").await;
    world.ready(domain).await;
    let set = |id: &str| {
        world.nsupdate(&format!(
            "update delete _mta-sts.drift.example TXT\nupdate add _mta-sts.drift.example 30 TXT \"v=STSv1; id={id};\""
        ));
    };
    set(&old);
    repaired("an older id that came back is replaced").await;
    assert!(!drifting().await.unwrap());

    set(&old);
    let status = world
        .condition(domain, "DnsPublished", "False", Some("DriftRepeated"))
        .await;
    assert!(
        message(&status, "DnsPublished").contains(&old),
        "{}",
        shown(&status)
    );
    assert!(find(&status, "Stalled").is_some(), "{}", shown(&status));
    untouched(world, domain, "a third repair within the hour is not made").await;
    assert_eq!(world.txt_id(domain), Some(old.clone()));
    assert!(drifting().await.unwrap());
    let events = world.events(domain).await;
    assert_eq!(
        events.iter().filter(|r| *r == "DriftRepeated").count(),
        1,
        "{events:?}"
    );

    set(&id);
    world.ready(domain).await;
    assert!(!drifting().await.unwrap());
    let new = world.publication(domain).await;
    assert_eq!(new["current"]["id"], json!(id), "no repair is a decision");
}

/// Assumes a day and a second of what a lost record may have said.
fn assuming(domain: &str, spec: Value) -> Value {
    let mut object = policy(domain, spec);
    object["metadata"]["annotations"] = json!({"mta-sts.dev/assume-max-age-seconds": "86401"});
    object
}

async fn configmap(world: &World) -> kube::Api<k8s_openapi::api::core::v1::ConfigMap> {
    kube::Api::namespaced(world.client.clone(), support::world::SYSTEM)
}

async fn a_lost_record_is_taken_for_the_worst(Running { world, .. }: &Running) {
    let domain = "lost.example";
    let observer = world.observe(domain, &[]);
    world
        .apply::<MtaStsPolicy>(Some(MAIL), assuming(domain, json!({})))
        .await;
    let first = world.ready(domain).await.policy.unwrap().id;
    let record = world.record(domain).await.unwrap().metadata.name.unwrap();
    configmap(world)
        .await
        .delete(&record, &Default::default())
        .await
        .unwrap();
    let second = passed(world, domain, &first).await;
    let ledger = ledger(world, domain).await;
    assert!(
        ledger
            .iter()
            .any(|e| e.0 == first && e.1 == "enforce" && e.2 == 86_401),
        "the worst is assumed: {ledger:?}"
    );
    assert!(
        ledger.len() <= 3,
        "lost once, not again and again: {ledger:?}"
    );
    assert!(
        world
            .events(domain)
            .await
            .contains(&"RecordLost".to_owned())
    );
    assert_eq!(observer.finish().announced, [first, second]);
}

/// Waits until a greater id than `id` is published.
async fn passed(world: &World, domain: &str, id: &str) -> String {
    eventually("a greater id is out", SOON, async || {
        let now = world.txt_id(domain).unwrap_or_default();
        ensure(now.as_str() > id, now)
    })
    .await;
    eventually("the status tells it", SOON, async || {
        let status = world.ready(domain).await.policy.unwrap();
        let txt = world.txt_id(domain).unwrap_or_default();
        ensure(status.id == txt, format!("{} and {txt}", status.id))?;
        Ok::<_, String>(txt)
    })
    .await
}

async fn an_old_record_is_not_believed(Running { world, .. }: &Running) {
    let domain = "old.example";
    let observer = world.observe(domain, &[]);
    let apply = async |spec| {
        world
            .apply::<MtaStsPolicy>(Some(MAIL), assuming(domain, spec))
            .await;
    };
    apply(json!({})).await;
    let first = world.ready(domain).await.policy.unwrap().id;
    let backup = world.record(domain).await.unwrap();
    apply(json!({"mode": "enforce"})).await;
    let second = ready_with(world, domain, "enforce")
        .await
        .policy
        .unwrap()
        .id;

    let mut restored = backup.clone();
    restored.metadata.resource_version = None;
    restored.metadata.managed_fields = None;
    let name = restored.metadata.name.clone().unwrap();
    configmap(world)
        .await
        .replace(&name, &Default::default(), &restored)
        .await
        .unwrap();
    passed(world, domain, &second).await;
    ready_with(world, domain, "enforce").await;
    let ledger = ledger(world, domain).await;
    assert!(
        ledger.iter().any(|e| e.0 == second && e.2 == 86_401),
        "{ledger:?}"
    );
    // The policy server was given an old body by hand, for a moment; DNS never went back.
    let seen = observer.seen();
    assert_eq!(seen.announced[..2], [first, second]);
    assert!(seen.backwards.is_empty(), "{seen:#?}");
}

async fn a_secondary_that_lags_is_waited_for(Running { world, .. }: &Running, mut second: Bind) {
    let domain = "lag.example";
    let alone = second.address().to_string();
    let differs = async || {
        eventually("the second server alone is named", SOON, async || {
            let reason = Some("ServersDiffer");
            let status = world
                .condition(domain, "DnsPublished", "False", reason)
                .await;
            let told = message(&status, "DnsPublished").to_owned();
            let alone = told.contains(&alone) && !told.contains(&world.dns().to_string());
            ensure(alone, told)?;
            Ok::<_, String>(status)
        })
        .await
    };
    let catches_up = |id: &str| {
        let records = format!("{MX}mta-sts A 127.0.0.1\n_mta-sts 30 TXT \"v=STSv1; id={id};\"\n");
        Zone::new("lag.example", &records)
    };
    world.policy(domain, json!({})).await;
    let status = differs().await;
    let servers = &status.dns.unwrap().records.last().unwrap().servers.clone();
    assert_eq!(servers.len(), 2, "each server is shown with what it says");
    holds(world, domain).await;
    let id = world.txt_id(domain).unwrap();
    second.serve_instead(&catches_up(&id));
    world.ready(domain).await;

    // A silent one holds as well, and is named.
    second.stop();
    world.policy(domain, json!({"mode": "enforce"})).await;
    differs().await;
    holds(world, domain).await;
    let next = world.txt_id(domain).unwrap();
    assert!(next > id);
    second.serve_instead(&catches_up(&next));
    world.ready(domain).await;
}

/// DnsPublished stays False for a while.
async fn holds(world: &World, domain: &str) {
    always("it waits", WHILE, async || {
        let policy = world.policies(MAIL).get(&name(domain)).await;
        let status = policy.map_err(|e| e.to_string())?.status.unwrap();
        let published = find(&status, "DnsPublished").unwrap();
        ensure(published.status.to_string() == "False", shown(&status))
    })
    .await;
}

#[tokio::test]
async fn aliases_wildcards_and_hands() {
    let zones = [
        ("targets.example", ""),
        ("wild.example", "* MX 10 mail\n"),
        ("alias.example", "_mta-sts CNAME alias.targets.example.\n"),
        ("narrow.example", "_mta-sts CNAME narrow.targets.example.\n"),
        ("ice.example", "_mta-sts CNAME ice.frozen.example.\n"),
        ("one.example", "_mta-sts CNAME shared.targets.example.\n"),
        ("two.example", "_mta-sts CNAME shared.targets.example.\n"),
        (
            "squat.example",
            "_mta-sts CNAME _mta-sts.targets.example.\n",
        ),
        ("hand.example", ""),
    ];
    let mut zones: Vec<Zone> = zones
        .iter()
        .map(|(name, records)| Zone::dynamic(name, &format!("{MX}{records}")))
        .collect();
    zones.push(Zone::new("frozen.example", ""));
    let running = start(zones, &[]).await;
    let world = &running.world;
    for domain in ["shop.wild.example", "hand.wild.example"] {
        world.route(&[domain], running.server).await;
    }
    tokio::join!(
        an_alias_is_followed_to_where_it_may_be_written(world),
        a_shared_target_is_refused(world),
        a_domains_own_name_is_not_somebody_elses_target(world),
        a_wildcard_is_not_hidden(world),
        records_are_set_by_hand(world),
    );
}

async fn an_alias_is_followed_to_where_it_may_be_written(world: &World) {
    world.policy("alias.example", json!({})).await;
    let id = world.ready("alias.example").await.policy.unwrap().id;
    let target = dig(world, "alias.targets.example", "TXT");
    assert_eq!(target, format!("\"v=STSv1; id={id};\""));
    assert_eq!(
        dig(world, "_mta-sts.alias.example", "CNAME"),
        "alias.targets.example."
    );

    // A provider that may not write the target's zone.
    world
        .apply::<mta_sts_operator::api::ClusterDnsProvider>(
            None,
            json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "ClusterDnsProvider",
                "metadata": {"name": "narrow"},
                "spec": {"zones": ["narrow.example"], "allowedNamespaces": {},
                    "rfc2136": rfc2136(world.dns())}}),
        )
        .await;
    let narrow = json!({"dns": {"providerRef": {"name": "narrow"}}});
    world.policy("narrow.example", narrow).await;
    world.policy("ice.example", json!({})).await;
    for (domain, target, reason) in [
        ("narrow.example", "narrow.targets.example", "NotAllowed"),
        ("ice.example", "ice.frozen.example", "ProviderError"),
    ] {
        let status = world
            .condition(domain, "DnsPublished", "False", Some(reason))
            .await;
        let told = message(&status, "DnsPublished");
        assert!(
            told.contains(&format!("_mta-sts.{domain}")) && told.contains(target),
            "the alias is named: {told}"
        );
        assert_eq!(dig(world, target, "TXT"), "");
    }

    world.delete("alias.example").await;
    eventually("the target is empty again", SOON, async || {
        let target = dig(world, "alias.targets.example", "TXT");
        ensure(target.is_empty(), target)
    })
    .await;
}

async fn a_shared_target_is_refused(world: &World) {
    world.policy("one.example", json!({})).await;
    let id = world.ready("one.example").await.policy.unwrap().id;
    world.policy("two.example", json!({})).await;
    let status = world
        .condition(
            "two.example",
            "DnsPublished",
            "False",
            Some("DomainConflict"),
        )
        .await;
    let told = message(&status, "DnsPublished");
    assert!(told.contains("one.example"), "{told}");
    let decided = world.publication("two.example").await["current"]["id"].clone();
    always("nobody is disturbed", WHILE, async || {
        let target = dig(world, "shared.targets.example", "TXT");
        ensure(id_in(&target).as_ref() == Some(&id), target)?;
        let now = world.publication("two.example").await["current"]["id"].clone();
        ensure(now == decided, "somebody else's id made a new decision")
    })
    .await;
    world.ready("one.example").await;

    // Each with a target of its own.
    world.nsupdate(
        "update delete _mta-sts.two.example CNAME\nupdate add _mta-sts.two.example 30 CNAME two.targets.example.",
    );
    let own = world.ready("two.example").await.policy.unwrap().id;
    assert_eq!(id_in(&dig(world, "two.targets.example", "TXT")), Some(own));
    assert_eq!(
        id_in(&dig(world, "shared.targets.example", "TXT")),
        Some(id)
    );
}

async fn a_domains_own_name_is_not_somebody_elses_target(world: &World) {
    // The squatter is there first.
    world.policy("squat.example", json!({})).await;
    world.ready("squat.example").await;
    world.policy("targets.example", json!({})).await;
    let id = world.ready("targets.example").await.policy.unwrap().id;
    world
        .condition(
            "squat.example",
            "DnsPublished",
            "False",
            Some("DomainConflict"),
        )
        .await;
    world.delete("squat.example").await;
    eventually("the squatter has gone", SOON, async || {
        let publication = world.publication("squat.example").await;
        let gone = publication["retiring"]["txtGoneAt"].clone();
        ensure(!gone.is_null(), publication["retiring"].clone())
    })
    .await;
    always("and took nothing with it", WHILE, async || {
        let txt = world.txt_id("targets.example");
        ensure(txt.as_ref() == Some(&id), format!("{txt:?}"))
    })
    .await;
    let ledger = ledger(world, "targets.example").await;
    assert!(
        ledger.iter().all(|entry| entry.0 == id),
        "somebody else's id is no lost one: {ledger:?}"
    );
}

async fn a_wildcard_is_not_hidden(world: &World) {
    let zone = "wild.example";
    let domain = "shop.wild.example";
    let mail = json!({"mx": ["mail.wild.example"]});
    world.policy(domain, mail.clone()).await;
    let mut by_hand = mail.clone();
    by_hand["dns"] = json!({"providerRef": null});
    world.policy("hand.wild.example", by_hand).await;
    for domain in [domain, "hand.wild.example"] {
        let status = world
            .condition(domain, "DnsPublished", "False", Some("WildcardShadowed"))
            .await;
        let told = message(&status, "DnsPublished");
        assert!(told.contains("mail.wild.example"), "{told}");
        let finding = |code: &str| status.findings.iter().any(|f| f.code == code);
        assert!(finding("mx-wildcard-shadowed"), "{:?}", status.findings);
        let txt = status.dns.unwrap().records;
        assert!(!txt.iter().any(|r| r.type_ == "TXT"), "{txt:?}");
    }
    untouched(world, zone, "nothing at all is written below the domain").await;
    assert_eq!(dig(world, domain, "MX"), "10 mail.wild.example.");

    world.nsupdate("update add shop.wild.example 30 MX 10 mail.wild.example.");
    ready_with(world, domain, "testing").await;
    assert_eq!(dig(world, domain, "MX"), "10 mail.wild.example.");
}

async fn records_are_set_by_hand(world: &World) {
    let domain = "hand.example";
    let by_hand = |mode: &str| json!({"dns": {"providerRef": null}, "mode": mode});
    world.policy(domain, by_hand("testing")).await;
    let status = world
        .condition(domain, "PolicyServed", "False", Some("HostUnresolved"))
        .await;
    let records = status.dns.clone().unwrap().records;
    assert_eq!(
        records.len(),
        1,
        "the TXT value is not told yet: {records:?}"
    );
    assert_eq!(
        (records[0].type_.as_str(), records[0].value.as_str()),
        ("A", "127.0.0.1")
    );
    assert_eq!(records[0].state, RecordState::Manual);
    waits_for_a_person(&status);

    world.nsupdate("update add mta-sts.hand.example 30 A 127.0.0.1");
    let wanted = async || {
        let status = world
            .condition(domain, "Ready", "False", Some("ManualActionNeeded"))
            .await;
        waits_for_a_person(&status);
        let records = status.dns.clone().unwrap().records;
        let txt = records.iter().find(|r| r.type_ == "TXT").unwrap().clone();
        assert_eq!(txt.state, RecordState::Manual);
        assert_eq!(txt.name, "_mta-sts.hand.example");
        txt.value
    };
    let set = |value: &str| {
        world.nsupdate(&format!(
            "update delete _mta-sts.hand.example TXT\nupdate add _mta-sts.hand.example 30 TXT \"{value}\""
        ));
    };
    set(&wanted().await);
    let first = ready_with(world, domain, "testing")
        .await
        .policy
        .unwrap()
        .id;
    world.policy(domain, by_hand("enforce")).await;
    let value = wanted().await;
    assert_ne!(id_in(&value).unwrap(), first);
    assert!(world.body(domain).await.unwrap().contains("enforce"));
    set(&value);
    ready_with(world, domain, "enforce").await;

    world.delete(domain).await;
    always(
        "the policy is served while its id is out",
        WHILE,
        async || {
            let publication = world.publication(domain).await;
            ensure(
                publication["retiring"]["txtGoneAt"].is_null(),
                publication["retiring"].clone(),
            )?;
            world.body(domain).await.map(drop)
        },
    )
    .await;
    world.nsupdate("update delete _mta-sts.hand.example TXT");
    eventually("it is seen that the person removed it", SOON, async || {
        let publication = world.publication(domain).await;
        let gone = &publication["retiring"]["txtGoneAt"];
        ensure(!gone.is_null(), publication["retiring"].clone())
    })
    .await;
}

fn waits_for_a_person(status: &MtaStsPolicyStatus) {
    for type_ in ["Reconciling", "Stalled"] {
        assert!(find(status, type_).is_none(), "{}", shown(status));
    }
}
