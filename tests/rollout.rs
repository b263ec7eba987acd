//! Progressive rollout: a domain climbs its ladder by itself, and no stage is left while a gate is shut.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod support;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use mta_sts_operator::protocol::Mode;
use serde_json::{Value, json};
use support::bind::Zone;
use support::process::Process;
use support::run::mta_sts;
use support::smtp::{Mail, MailServer};
use support::wait::{ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, World, find, message, name, shown};

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
    let [now, second, third] = rollout.ladder.as_slice() else {
        panic!("{rollout:?}")
    };
    assert_eq!((now.name.as_str(), now.not_before), ("observe", None));
    assert!(second.not_before.is_some() && second.not_before == rollout.next_not_before);
    let after = second.not_before.unwrap() + SignedDuration::from_secs(2);
    assert_eq!(third.not_before, Some(after), "{rollout:?}");
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
    let args = ["status", "-n", MAIL, &name(domain)];
    let tree = mta_sts(&world.api.kubeconfig(), &args).await;
    for line in [
        "observe: testing, max_age 1 day, now",
        "enforce: enforce, max_age",
        "enforce waits: somebody has to approve it",
    ] {
        assert!(tree.stdout.contains(line), "{tree:?}");
    }

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

/// Writes into the record that senders have refused mail for 16 minutes: nobody waits that long here.
async fn time_passes(world: &World, domain: &str) {
    let record = world.record(domain).await.unwrap();
    let mut publication = world.publication(domain).await;
    let since = Timestamp::now() - SignedDuration::from_mins(16);
    publication["rollout"]["refusedSince"] = json!(since.to_string());
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

/// Waits until the status tells when the stage is taken back, or that it is not.
async fn is_to_go_back(world: &World, domain: &str, expected: bool) {
    eventually("it is told whether it goes back", SOON, async || {
        let object = world.policies(MAIL).get(&name(domain)).await.unwrap();
        let status = object.status.unwrap_or_default();
        let at = status.rollout.clone().unwrap_or_default().rolls_back_at;
        ensure(at.is_some() == expected, shown(&status))?;
        let told = message(&status, "Ready").contains("it is taken back to observe");
        ensure(told == expected, shown(&status))
    })
    .await;
}

#[tokio::test]
async fn an_enforced_stage_is_taken_back_where_mail_is_refused_for_long() {
    let domain = "example.org";
    let (world, mx, _processes) = running(Mail::Good).await;
    let observer = world.observe(domain, &[]);
    let stages = [
        stage("observe", "testing", 86_400, 2),
        stage("enforce", "enforce", 100_000, 0),
    ];
    let spec = json!({"mode": "enforce", "rollout":
        {"strategy": "Progressive", "stages": stages, "onFailure": "Rollback"}});
    world.policy(domain, spec).await;
    on(&world, domain, "enforce").await;
    world.ready(domain).await;

    // What is mended in time changes nothing.
    mx.show(Mail::Plain);
    is_to_go_back(&world, domain, true).await;
    let body = world.body(domain).await.unwrap();
    assert!(body.contains("mode: enforce\r\n"), "{body}");
    mx.show(Mail::Good);
    is_to_go_back(&world, domain, false).await;

    mx.show(Mail::OtherName);
    is_to_go_back(&world, domain, true).await;
    time_passes(&world, domain).await;
    on(&world, domain, "observe").await;
    let status = world.ready(domain).await;
    assert_eq!(status.policy.as_ref().unwrap().mode, Mode::Testing);
    let back = status.rollout.clone().unwrap().rolled_back.unwrap();
    assert_eq!(back.from, "enforce");
    assert!(back.message.contains("mail.example.org"), "{back:?}");
    let told = message(&status, "Ready");
    assert!(told.contains("taken back from enforce"), "{told}");
    let events = world.events(domain).await;
    assert!(events.contains(&"StageRolledBack".to_owned()), "{events:?}");

    // It climbs again, by itself, when all is well for as long as the stage lasts.
    mx.show(Mail::Good);
    on(&world, domain, "enforce").await;
    let status = world.ready(domain).await;
    assert_eq!(status.rollout.unwrap().rolled_back, None);
    let seen = observer.finish();
    assert_eq!(seen.announced.len(), 4, "{:?}", seen.announced);
}
