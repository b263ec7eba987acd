//! `mta-sts plan`: what applying a manifest would do, and that it touches nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod support;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use support::run::{Outcome, mta_sts};
use support::world::{World, policy};

/// Runs it on a manifest with the policy of example.org, changed by `spec`.
async fn plan(world: &World, spec: Value, more: &[&str]) -> Outcome {
    let manifest = serde_yaml::to_string(&policy("example.org", spec)).unwrap();
    let file = world.folder.path().join("plan.yaml");
    std::fs::write(&file, manifest).unwrap();
    let dns = world.dns().to_string();
    let args = ["plan", "-f", file.to_str().unwrap(), "--resolver", &dns];
    mta_sts(&world.api.kubeconfig(), &[&args, more].concat()).await
}

async fn one(world: &World, spec: Value) -> Value {
    let found = plan(world, spec, &["--output=json"]).await;
    assert_eq!(found.code, 0, "{found:?}");
    let document = found.json();
    assert_eq!(document["schema"], "mta-sts.plan/1");
    document["plans"][0].clone()
}

fn days(time: &Value) -> i64 {
    let time: Timestamp = time.as_str().unwrap().parse().unwrap();
    // Some time passes between the answer and here.
    let left = time.duration_since(Timestamp::now()) + SignedDuration::from_mins(5);
    left.as_hours() / 24
}

#[tokio::test]
async fn it_says_what_would_change_and_until_when_senders_hold_the_old() {
    let (world, _server, _controller) = World::running(&["example.org"]).await;
    world.policy("example.org", json!({})).await;
    world.ready("example.org").await;
    let before = world.record("example.org").await.unwrap();

    let same = one(&world, json!({})).await;
    assert_eq!(same["change"], "nothing", "{same}");
    assert_eq!(same["steps"], json!([]));

    let spec = json!({"mode": "enforce", "mx": ["mail.example.org", "new.example.org"]});
    let found = one(&world, spec.clone()).await;
    assert_eq!(found["change"], "policy", "{found}");
    assert_eq!(found["before"]["mode"], "testing");
    assert_eq!(found["after"]["maxAgeSeconds"], 604_800);
    let body = found["body"].as_array().unwrap();
    for line in [
        "-mode: testing",
        "+mode: enforce",
        " mx: mail.example.org",
        "+mx: new.example.org",
    ] {
        assert!(body.contains(&json!(line)), "{line}: {found}");
    }
    assert_eq!(found["held"], Value::Null);
    assert_eq!(days(&found["allSendersBy"]), 1, "{found}");
    let text = plan(&world, spec, &[]).await;
    assert_eq!(text.code, 0, "{text:?}");
    assert!(
        text.stdout.contains("then     enforce, kept for 7 days"),
        "{text:?}"
    );

    // Its own id ends as it was foretold, once the object is applied.
    let ends = found["idEnds"].as_str().unwrap().to_owned();
    let after = world.record("example.org").await.unwrap();
    assert_eq!(before.resource_version(), after.resource_version());
    let spec = json!({"mode": "enforce", "mx": ["mail.example.org", "new.example.org"]});
    world.policy("example.org", spec).await;
    let id = world.ready("example.org").await.policy.unwrap().id;
    assert!(id.ends_with(&ends), "{id} does not end with {ends}");
}

#[tokio::test]
async fn it_says_what_holds_a_policy_and_when_enforce_comes() {
    let world = World::start(&["example.org"]).await;
    let held = one(
        &world,
        json!({"mode": "enforce", "mx": ["other.example.org"]}),
    )
    .await;
    assert_eq!(held["change"], "first", "{held}");
    assert_eq!(held["after"]["mode"], "testing");
    let why = held["held"].as_str().unwrap();
    assert!(why.contains("mail.example.org"), "{why}");

    let rollout = json!({"mode": "enforce", "rollout": {"strategy": "Progressive"}});
    let climbing = one(&world, rollout).await;
    assert_eq!(climbing["after"]["mode"], "testing");
    assert_eq!(days(&climbing["enforceNotBefore"]), 28, "{climbing}");

    let wrong = plan(&world, json!({"mode": "enforced"}), &[]).await;
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("mta-sts lint"), "{wrong:?}");
    let nothing = mta_sts(&world.api.kubeconfig(), &["plan", "-f", "/nonexistent"]).await;
    assert_eq!(nothing.code, 2, "{nothing:?}");
}
