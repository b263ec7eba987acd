//! Progressive rollout: a domain climbs its ladder by itself, and no stage is left while a gate is shut.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use support::bind::Zone;
use support::process::Process;
use support::smtp::{Mail, MailServer};
use support::wait::{ensure, eventually};
use support::world::{MAIL, SOON, World, find, message, name, shown};

/// Parts with a controller that asks the MX of example.org.
async fn running(mail: Mail) -> (World, MailServer, [Process; 2]) {
    let domain = "example.org";
    let world = World::with_zones(vec![Zone::dynamic(
        domain,
        "@ 1 MX 10 mail\nmail A 192.0.2.25\n",
    )])
    .await;
    let (server, address) = world.serve("serve").await;
    world.route(&[domain], address).await;
    world.provider(world.dns()).await;
    let mx = MailServer::start(&world.front, "mail.example.org", mail).await;
    let mut settings = world.settings("controller", &[address]);
    settings.smtp = true;
    settings.connect_to.insert(0, mx.connect_to());
    let controller = world.controller(&settings);
    (world, mx, [server, controller])
}

fn stage(name: &str, mode: &str, max_age: u32, seconds: u32) -> Value {
    json!({"name": name, "mode": mode, "maxAgeSeconds": max_age, "minDurationSeconds": seconds})
}

async fn on(world: &World, domain: &str, stage: &str) {
    eventually(&format!("stage {stage}"), SOON, async || {
        let object = world.policies(MAIL).get(&name(domain)).await.unwrap();
        let status = object.status.unwrap_or_default();
        let found = status.rollout.clone().unwrap_or_default().stage;
        ensure(found == stage, format!("{found:?}: {}", shown(&status)))
    })
    .await;
}

#[tokio::test]
async fn a_domain_climbs_its_ladder_by_itself() {
    let domain = "example.org";
    let (world, _mx, _processes) = running(Mail::Good).await;
    let observer = world.observe(domain, &[]);
    let stages = [
        stage("observe", "testing", 86_400, 2),
        stage("confirm", "testing", 90_000, 2),
        stage("enforce", "enforce", 100_000, 0),
    ];
    let spec = json!({"mode": "enforce", "rollout": {"strategy": "Progressive", "stages": stages}});
    world.policy(domain, spec).await;

    let first = world.ready(domain).await;
    let rollout = first.rollout.clone().unwrap();
    assert_eq!(rollout.stage, "observe", "{}", shown(&first));
    assert_eq!(rollout.next.as_deref(), Some("confirm"));
    assert_eq!(find(&first, "Ready").unwrap().reason, "StagePublished");
    let told = message(&first, "Ready");
    assert!(told.contains("[observe] > confirm > enforce"), "{told}");

    on(&world, domain, "enforce").await;
    let last = world.ready(domain).await;
    assert_eq!(find(&last, "Ready").unwrap().reason, "Published");
    let policy = last.policy.unwrap();
    assert_eq!(policy.max_age_seconds, 100_000);
    let body = world.body(domain).await.unwrap();
    assert!(body.contains("mode: enforce\r\n"), "{body}");
    // One policy a stage, and each in its time.
    let seen = observer.finish();
    assert_eq!(seen.announced.len(), 3, "{:?}", seen.announced);
    let events = world.events(domain).await;
    let promoted = events.iter().filter(|event| *event == "StagePromoted");
    assert_eq!(promoted.count(), 2, "{events:?}");
}

#[tokio::test]
async fn a_failing_mx_freezes_the_stage_and_starts_its_clock_again() {
    let domain = "example.org";
    let (world, mx, _processes) = running(Mail::Plain).await;
    let stages = [
        stage("observe", "testing", 86_400, 2),
        stage("enforce", "enforce", 100_000, 0),
    ];
    let spec = json!({"mode": "enforce", "rollout": {"strategy": "Progressive", "stages": stages}});
    world.policy(domain, spec).await;
    world.ready(domain).await;
    let waits = eventually("the error is told", SOON, async || {
        let object = world.policies(MAIL).get(&name(domain)).await.unwrap();
        let blocked = object
            .status
            .unwrap_or_default()
            .rollout
            .unwrap_or_default();
        let told = blocked.blocked_by.join(" / ");
        let clock = world.publication(domain).await["rollout"]["cleanSince"].clone();
        ensure(told.contains("mx-starttls-missing"), told.clone())?;
        ensure(
            clock == Value::Null,
            format!("the clock runs since {clock}"),
        )?;
        Ok::<_, String>(told)
    })
    .await;
    assert!(waits.contains("mail.example.org"), "{waits}");
    let body = world.body(domain).await.unwrap();
    assert!(body.contains("mode: testing\r\n"), "{body}");

    mx.show(Mail::Good);
    on(&world, domain, "enforce").await;
}

#[tokio::test]
async fn a_step_that_has_to_be_approved_waits_for_the_name_of_its_stage() {
    let domain = "example.org";
    let (world, _mx, _processes) = running(Mail::Good).await;
    let stages = [
        stage("observe", "testing", 86_400, 0),
        stage("enforce", "enforce", 100_000, 0),
    ];
    let spec = json!({"mode": "enforce",
        "rollout": {"strategy": "Progressive", "stages": stages, "approval": "Manual"}});
    world.policy(domain, spec).await;
    let status = world.ready(domain).await;
    let told = message(&status, "Ready");
    assert!(told.contains("mta-sts.dev/approve=enforce"), "{told}");

    let approve = async |stage: &str| {
        let patch = json!({"metadata": {"annotations": {"mta-sts.dev/approve": stage}}});
        let policies = world.policies(MAIL);
        let params = PatchParams::default();
        policies
            .patch(&name(domain), &params, &Patch::Merge(&patch))
            .await
            .unwrap();
    };
    approve("observe").await;
    let object = world.policies(MAIL).get(&name(domain)).await.unwrap();
    assert_eq!(object.status.unwrap().rollout.unwrap().stage, "observe");
    approve("enforce").await;
    on(&world, domain, "enforce").await;
}
