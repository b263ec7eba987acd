//! Whose a domain is (lifecycle.md §7), on real parts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use mta_sts_operator::api::{MtaStsPolicy, MtaStsPolicyStatus};
use serde_json::{Value, json};
use support::ports::{free_port, loopback};
use support::wait::{always, ensure, eventually};
use support::world::{MAIL, SOON, World, find, message, name, policy, shown};

const WHILE: Duration = Duration::from_secs(4);
const OTHER: &str = "other";

#[tokio::test]
async fn a_domain_has_one_owner() {
    let domains = [
        "owned.example",
        "raced.example",
        "moved.example",
        "back.example",
        "orphan.example",
        "parent.example",
        "kin.example",
    ];
    let world = World::start(&domains).await;
    world.namespace(OTHER, &[]).await;
    let (_server, address) = world.serve("serve").await;
    world.route(&domains, address).await;
    for child in ["shop.parent.example", "deep.kin.example"] {
        world.route(&[child], address).await;
    }
    world.provider(world.dns()).await;
    // What changes ownership is to be seen by its own events, not by the next probe.
    let mut settings = world.settings("controller", &[address]);
    settings.probe_seconds = 600;
    let admin = loopback(free_port());
    let _controller = world.controller_with_admin(&settings, admin);
    tokio::join!(
        the_owner_keeps_its_domain_until_it_goes(&world),
        of_two_at_once_one_is_accepted(&world),
        a_domain_moves_between_namespaces(&world),
        an_object_made_again_takes_its_record_back(&world),
        an_orphan_is_served_and_told(&world, admin),
        a_family_of_domains_is_one_namespaces(&world),
    );
}

async fn apply(world: &World, namespace: &str, domain: &str, spec: Value) -> MtaStsPolicy {
    world.apply(Some(namespace), policy(domain, spec)).await
}

async fn delete(world: &World, namespace: &str, domain: &str) {
    let policies = world.policies(namespace);
    let params = DeleteParams::default();
    policies.delete(&name(domain), &params).await.unwrap();
    eventually("the object is gone", SOON, async || {
        let left = policies.get_opt(&name(domain)).await;
        ensure(left.map_err(|e| e.to_string())?.is_none(), "it is there")
    })
    .await;
}

async fn condition(
    world: &World,
    namespace: &str,
    domain: &str,
    [type_, status, reason]: [&str; 3],
) -> MtaStsPolicyStatus {
    world
        .condition_in(namespace, &name(domain), type_, status, Some(reason))
        .await
}

async fn ready(world: &World, namespace: &str, domain: &str) -> MtaStsPolicyStatus {
    condition(world, namespace, domain, ["Ready", "True", "Published"]).await
}

async fn refused(world: &World, namespace: &str, domain: &str) -> MtaStsPolicyStatus {
    let conflict = ["Accepted", "False", "DomainConflict"];
    condition(world, namespace, domain, conflict).await
}

/// By the log of the name server: whatever took the TXT record of a domain away put another one
/// in its place in the same message.
fn was_never_without(world: &World, domain: &str) {
    let log = world.bind.lock().unwrap().log();
    let clients = |what: &str| -> BTreeSet<String> {
        let what = format!("{what} at '_mta-sts.{domain}' TXT");
        let lines = log.lines().filter(|line| line.contains(&what));
        let client = |line: &str| {
            let mut words = line.split_whitespace().skip_while(|w| *w != "client");
            words.nth(2).map(str::to_owned)
        };
        lines.filter_map(client).collect()
    };
    let added = clients("adding an RR");
    let deleted = clients("deleting rrset");
    assert!(!added.is_empty(), "{log}");
    let gaps: Vec<_> = deleted.difference(&added).collect();
    assert!(gaps.is_empty(), "{gaps:?} left a gap:\n{log}");
}

async fn the_owner_keeps_its_domain_until_it_goes(world: &World) {
    let domain = "owned.example";
    let observer = world.observe(domain, &[]);
    apply(world, MAIL, domain, json!({})).await;
    let first = ready(world, MAIL, domain).await.policy.unwrap().id;
    let record = world.record(domain).await.unwrap();
    let serial = world.bind.lock().unwrap().serial(domain);

    let enforce = json!({"mode": "enforce"});
    apply(world, OTHER, domain, enforce.clone()).await;
    let status = refused(world, OTHER, domain).await;
    let told = message(&status, "Accepted");
    assert!(told.contains("mail/owned-example"), "{told}");
    assert!(
        status.policy.is_none() && status.dns.is_none(),
        "nothing of the owner's is shown"
    );
    assert!(find(&status, "Stalled").is_some(), "{}", shown(&status));
    assert_eq!(status.findings[0].code, "domain-conflict");
    let unchanged = async || {
        let now = world.record(domain).await.unwrap();
        ensure(now.data == record.data, "the owner's record was changed")?;
        ensure(
            now.resource_version() == record.resource_version(),
            "it was written",
        )?;
        let now = world.bind.lock().unwrap().serial(domain);
        ensure(now == serial, "the zone was written to")
    };
    always("the owner's record stays, byte for byte", WHILE, unchanged).await;

    // The other one goes: it takes nothing with it.
    delete(world, OTHER, domain).await;
    always("the owner's record stays", WHILE, unchanged).await;

    // The owner goes: the other one takes over.
    apply(world, OTHER, domain, enforce).await;
    refused(world, OTHER, domain).await;
    delete(world, MAIL, domain).await;
    let second = ready(world, OTHER, domain).await.policy.unwrap();
    assert_eq!(second.mode.as_str(), "enforce");
    was_never_without(world, domain);
    assert_eq!(observer.finish().announced, [first.clone(), second.id]);
    let publication = world.publication(domain).await;
    assert_eq!(publication["owner"]["namespace"], OTHER);
    let ledger = publication["ledger"].as_array().unwrap();
    assert!(
        ledger.iter().any(|entry| entry["id"] == json!(first)),
        "the ledger comes along: {ledger:?}"
    );
}

async fn of_two_at_once_one_is_accepted(world: &World) {
    let domain = "raced.example";
    tokio::join!(
        apply(world, MAIL, domain, json!({})),
        apply(world, OTHER, domain, json!({"mode": "enforce"})),
    );
    let outcome = async |namespace: &str| {
        let policy = world.policies(namespace).get(&name(domain)).await.unwrap();
        let status = policy.status.unwrap_or_default();
        let accepted = find(&status, "Accepted").map(|c| (c.status.to_string(), c.reason.clone()));
        accepted.unwrap_or_default()
    };
    let one = ("True".to_owned(), "Accepted".to_owned());
    let other = ("False".to_owned(), "DomainConflict".to_owned());
    let seen = async || {
        let seen = [outcome(MAIL).await, outcome(OTHER).await];
        let fits = seen.contains(&one) && seen.contains(&other);
        ensure(fits, format!("{seen:?}"))?;
        Ok::<_, String>(seen)
    };
    let first = eventually("one is accepted, the other refused", SOON, seen).await;
    let owner = if first[0] == one { MAIL } else { OTHER };
    ready(world, owner, domain).await;
    assert_eq!(world.publication(domain).await["owner"]["namespace"], owner);
    always("it stays so", WHILE, async || {
        ensure(seen().await? == first, "the domain changed hands")
    })
    .await;
}

async fn a_domain_moves_between_namespaces(world: &World) {
    let domain = "moved.example";
    let observer = world.observe(domain, &[]);
    apply(world, MAIL, domain, json!({})).await;
    let id = ready(world, MAIL, domain).await.policy.unwrap().id;
    apply(world, OTHER, domain, json!({})).await;
    refused(world, OTHER, domain).await;
    delete(world, MAIL, domain).await;
    let status = ready(world, OTHER, domain).await;
    assert_eq!(
        status.policy.unwrap().id,
        id,
        "the same policy keeps its id"
    );
    was_never_without(world, domain);
    assert_eq!(observer.finish().announced, [id]);
}

async fn an_object_made_again_takes_its_record_back(world: &World) {
    let domain = "back.example";
    apply(world, MAIL, domain, json!({})).await;
    let id = ready(world, MAIL, domain).await.policy.unwrap().id;
    // More often than a drift would be repaired.
    for _ in 0..4 {
        delete(world, MAIL, domain).await;
        let made = apply(world, MAIL, domain, json!({})).await;
        let status = ready(world, MAIL, domain).await;
        assert_eq!(status.policy.unwrap().id, id);
        assert_eq!(world.txt_id(domain).as_ref(), Some(&id));
        let publication = world.publication(domain).await;
        assert_eq!(publication["owner"]["uid"], json!(made.uid()));
        assert!(publication["retiring"].is_null(), "{publication}");
    }
}

async fn an_orphan_is_served_and_told(world: &World, admin: SocketAddr) {
    let domain = "orphan.example";
    let orphaned = async || {
        let answer = support::http::get(admin, "localhost", "/metrics").await?;
        let line = "mta_sts_orphaned{domain=\"orphan.example\"} 1";
        Ok::<_, String>(answer.text().contains(line))
    };
    apply(world, MAIL, domain, json!({})).await;
    let id = ready(world, MAIL, domain).await.policy.unwrap().id;
    assert!(!orphaned().await.unwrap());

    // Somebody strips the finalizer and deletes the object.
    let policies = world.policies(MAIL);
    let strip = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    policies
        .patch(&name(domain), &PatchParams::default(), &strip)
        .await
        .unwrap();
    let params = DeleteParams::default();
    policies.delete(&name(domain), &params).await.unwrap();
    assert!(policies.get_opt(&name(domain)).await.unwrap().is_none());
    eventually("the orphan is told", SOON, async || {
        ensure(orphaned().await?, "the metric is not there")
    })
    .await;
    // Nobody else gets it.
    apply(world, OTHER, domain, json!({})).await;
    refused(world, OTHER, domain).await;
    always("it is served, not retired by itself", WHILE, async || {
        let publication = world.publication(domain).await;
        ensure(publication["retiring"].is_null(), "it is retiring")?;
        ensure(world.txt_id(domain).as_ref() == Some(&id), "the id is gone")?;
        world.body(domain).await.map(drop)
    })
    .await;

    let made = apply(world, MAIL, domain, json!({})).await;
    ready(world, MAIL, domain).await;
    let publication = world.publication(domain).await;
    assert_eq!(publication["owner"]["uid"], json!(made.uid()));
    assert_eq!(publication["current"]["id"], json!(id));
    eventually("it is no orphan any more", SOON, async || {
        ensure(!orphaned().await?, "the metric is still there")
    })
    .await;
}

async fn a_family_of_domains_is_one_namespaces(world: &World) {
    let (parent, child) = ("parent.example", "shop.parent.example");
    let mx = |domain: &str| json!({"mx": [format!("mail.{domain}")]});
    apply(world, MAIL, parent, mx(parent)).await;
    ready(world, MAIL, parent).await;
    apply(world, OTHER, child, mx(parent)).await;
    let status = refused(world, OTHER, child).await;
    let told = message(&status, "Accepted");
    assert!(
        told.contains("mail/parent-example") && told.contains(parent),
        "{told}"
    );
    assert!(world.record(child).await.is_none());
    // The same namespace may.
    apply(world, MAIL, child, mx(parent)).await;
    ready(world, MAIL, child).await;
    refused(world, OTHER, child).await;

    // The other way round: who has the child keeps the parent from others.
    let (parent, child) = ("kin.example", "deep.kin.example");
    apply(world, OTHER, child, mx(parent)).await;
    ready(world, OTHER, child).await;
    apply(world, MAIL, parent, mx(parent)).await;
    let status = refused(world, MAIL, parent).await;
    assert!(
        message(&status, "Accepted").contains("other/deep-kin-example"),
        "{}",
        shown(&status)
    );
    assert!(world.txt(parent).is_empty());
    apply(world, OTHER, parent, mx(parent)).await;
    ready(world, OTHER, parent).await;
}
