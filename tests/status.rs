//! `mta-sts status` on a real API server, with a controller that publishes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use support::run::{Outcome, mta_sts, program};
use support::wait::{ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, World, name};
use tokio::io::{AsyncBufReadExt as _, BufReader};

async fn status(kubeconfig: &Path, args: &[&str]) -> Outcome {
    mta_sts(kubeconfig, &[&["status"], args].concat()).await
}

#[tokio::test]
async fn it_shows_all_as_a_table_one_as_a_tree_and_says_what_is_wrong_by_its_code() {
    let world = World::start(&["example.org"]).await;
    let (_server, server) = world.serve("serve").await;
    world.route(&["example.org"], server).await;
    world.provider(world.dns()).await;
    let _controller = world.controller(&world.settings("controller", &[server]));
    let kubeconfig = world.api.kubeconfig();

    // Nothing at all: said, and no error.
    let none = status(&kubeconfig, &["-A"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (0, ""), "{none:?}");
    assert!(
        none.stderr
            .contains("there is no MtaStsPolicy in the cluster"),
        "{none:?}"
    );

    world
        .policy("example.org", json!({"mode": "enforce"}))
        .await;
    world.ready("example.org").await;
    let id = world.txt_id("example.org").unwrap();

    let table = status(&kubeconfig, &["-A"]).await;
    assert_eq!(table.code, 0, "{table:?}");
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert!(lines[0].starts_with("NAMESPACE   NAME"), "{table:?}");
    for word in [
        MAIL,
        "example-org",
        "example.org",
        "enforce",
        "True",
        "Published",
        &id,
    ] {
        assert!(lines[1].contains(word), "{word}: {table:?}");
    }
    assert!(
        !table.stdout.contains('\u{1b}'),
        "colour without a terminal"
    );
    // The context's own namespace has none, as kubectl would say.
    let here = status(&kubeconfig, &[]).await;
    assert!(
        here.stderr
            .contains("in the namespace default: look in all with -A"),
        "{here:?}"
    );

    let tree = status(&kubeconfig, &["-n", MAIL, "example-org"]).await;
    assert_eq!(tree.code, 0, "{tree:?}");
    for words in [
        "example.org  mail/example-org  Published",
        &format!("policy {id}: enforce, max_age 7 days"),
        "waiting for nothing",
        "nobody holds an older policy",
        &format!("{id}: enforce, max_age 7 days, the present one"),
        "Published  _mta-sts.example.org 30 TXT",
        &format!("127.0.0.1:{} says", world.dns().port()),
    ] {
        assert!(tree.stdout.contains(words), "{words}: {}", tree.stdout);
    }

    // The other one never gets a provider.
    let missing = json!({"dns": {"providerRef": {"name": "nowhere"}}});
    world.policy("example.net", missing).await;
    world
        .condition("example.net", "Accepted", "False", Some("ProviderNotFound"))
        .await;
    let bad = status(
        &kubeconfig,
        &["--domain", "example.net", "--output", "json"],
    )
    .await;
    assert_eq!(bad.code, 1, "{bad:?}");
    let bad = bad.json();
    assert_eq!(bad["schema"], "mta-sts.status/1");
    let policy = &bad["policies"][0];
    assert_eq!(policy["verdict"], "error", "{bad:#}");
    assert_eq!(policy["reason"], "ProviderNotFound");
    assert_eq!(policy["id"], Value::Null, "a key without a value is null");
    assert!(
        policy["record"]["unreadable"]
            .as_str()
            .unwrap()
            .contains("there is none"),
        "{bad:#}"
    );

    let one = status(&kubeconfig, &["-n", MAIL, "nobody"]).await;
    assert_eq!(one.code, 2, "{one:?}");
    assert!(
        one.stderr
            .contains("no MtaStsPolicy nobody in the namespace mail"),
        "{one:?}"
    );
}

#[tokio::test]
async fn a_change_of_policy_shows_who_still_holds_the_old_one() {
    let (world, _server, _controller) = World::running(&["example.org"]).await;
    world
        .policy("example.org", json!({"mode": "enforce"}))
        .await;
    world.ready("example.org").await;
    let old = world.txt_id("example.org").unwrap();
    world
        .policy("example.org", json!({"mode": "testing"}))
        .await;
    world.ready("example.org").await;
    let kubeconfig = world.api.kubeconfig();
    let args = ["-n", MAIL, "example-org", "--output", "json"];
    let held = eventually("the old one's end is known", SOON, async || {
        let report = status(&kubeconfig, &args).await.json();
        let ledger = report["policies"][0]["record"]["ledger"].clone();
        let old = ledger
            .as_array()
            .unwrap()
            .iter()
            .find(|e| e["id"] == old.as_str())
            .cloned();
        let old = old.ok_or("it is not in the ledger")?;
        ensure(old["heldUntil"].is_string(), &report)?;
        Ok::<_, String>(old)
    })
    .await;
    assert_eq!(
        (&held["mode"], &held["current"]),
        (&json!("enforce"), &json!(false))
    );
    let tree = status(&kubeconfig, &["-n", MAIL, "example-org"])
        .await
        .stdout;
    assert!(
        tree.contains(&format!("{old}: enforce, max_age 7 days, held until")),
        "{tree}"
    );
    assert!(
        tree.contains("the last sender gives an older policy up by"),
        "{tree}"
    );
}

#[tokio::test]
async fn a_tenant_sees_his_own_and_is_told_what_he_may_not_see() {
    let (world, _server, _controller) = World::running(&["example.org"]).await;
    world.policy("example.org", json!({})).await;
    world.ready("example.org").await;
    let token = world.api.service_account_token(MAIL, "tenant").await;
    let kubeconfig = world.api.kubeconfig_for(&token);

    // With no right at all it is not known what there is.
    let nothing = status(&kubeconfig, &["-n", MAIL]).await;
    assert_eq!(nothing.code, 3, "{nothing:?}");
    assert!(
        nothing.stderr.contains("cannot be listed") && nothing.stderr.contains("forbidden"),
        "{nothing:?}"
    );

    support::rbac::grant(
        &world.client,
        MAIL,
        "tenant",
        json!([
        {"apiGroups": ["mta-sts.dev"], "resources": ["mtastspolicies"], "verbs": ["list"]}]),
    )
    .await;
    let tree = status(&kubeconfig, &["-n", MAIL, "example-org"]).await;
    assert_eq!(tree.code, 0, "{tree:?}");
    assert!(tree.stdout.contains("waiting for nothing"), "{tree:?}");
    let place = format!("the record {SYSTEM}/mta-sts-example-org-");
    assert!(
        tree.stdout.contains(&place) && tree.stdout.contains("forbidden"),
        "{tree:?}"
    );
    // By its domain too, although he may not look everywhere.
    let args = [
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--domain",
        "example.org",
        "-n",
        MAIL,
    ];
    let found = status(Path::new("/nonexistent"), &args).await;
    assert_eq!(found.code, 0, "{found:?}");
}

#[tokio::test]
async fn what_nobody_looked_at_is_unknown_and_a_watch_tells_when_it_changes() {
    let world = World::start(&["example.org"]).await;
    world.provider(world.dns()).await;
    world.policy("example.org", json!({})).await;
    let kubeconfig = world.api.kubeconfig();
    let unseen = status(&kubeconfig, &["-n", MAIL, &name("example.org")]).await;
    assert_eq!(unseen.code, 3, "{unseen:?}");
    assert!(
        unseen
            .stdout
            .contains("mta-sts doctor says whether it runs"),
        "{unseen:?}"
    );

    let mut watch = tokio::process::Command::new(env!("CARGO_BIN_EXE_mta-sts"))
        .args(["status", "-A", "--watch", "--output", "json"])
        .env("KUBECONFIG", &kubeconfig)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let verdict = |line: &str| -> Value {
        serde_json::from_str::<Value>(line).unwrap()["policies"][0]["verdict"].clone()
    };
    let first = lines.next_line().await.unwrap().unwrap();
    assert_eq!(verdict(&first), "unknown");

    let (_server, server) = world.serve("serve").await;
    world.route(&["example.org"], server).await;
    let _controller = world.controller(&world.settings("controller", &[server]));
    let published = async { while verdict(&lines.next_line().await.unwrap().unwrap()) != "ok" {} };
    tokio::time::timeout(SOON, published)
        .await
        .expect("it is told when it is published");
}

#[tokio::test]
async fn what_is_no_way_to_a_cluster_is_wrong_usage_and_kubectl_finds_its_plugin() {
    let nowhere = status(Path::new("/nonexistent"), &[]).await;
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
    assert!(
        nowhere.stderr.contains("there is no way to a cluster"),
        "{nowhere:?}"
    );
    let api = support::kube::ApiServer::shared().await;
    let context = status(&api.kubeconfig(), &["--context", "other"]).await;
    assert_eq!(context.code, 2, "{context:?}");
    assert!(context.stderr.contains("other"), "{context:?}");

    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-mta_sts");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mta-sts"), &plugin).unwrap();
    let help = program(&plugin, &api.kubeconfig(), &["status", "--help"]).await;
    assert!(
        help.stdout.contains("Usage: kubectl mta-sts status"),
        "{help:?}"
    );
    let run = program(
        &plugin,
        &api.kubeconfig(),
        &["status", "-A", "--output=json"],
    )
    .await;
    assert_eq!(run.json()["schema"], "mta-sts.status/1");
}

#[tokio::test]
async fn kubectl_checks_the_domain_of_a_policy() {
    let (world, _server, _controller) = World::running(&["example.org"]).await;
    world.policy("example.org", json!({})).await;
    world.ready("example.org").await;
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-mta_sts");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mta-sts"), &plugin).unwrap();
    let (dns, front) = (world.dns().to_string(), world.front.address());
    let detour = format!("::{}:{}", front.ip(), front.port());
    let ca = world.front.ca_file();
    let check = async |name: &str| {
        let args = [
            "check",
            name,
            "-n",
            MAIL,
            "--smtp=off",
            "--output=json",
            "--resolver",
            &dns,
            "--connect-to",
            &detour,
            "--ca-file",
            ca.to_str().unwrap(),
        ];
        program(&plugin, &world.api.kubeconfig(), &args).await
    };
    let found = check("example-org").await.json();
    assert_eq!(found["domains"][0]["domain"], "example.org");
    assert_eq!(found["domains"][0]["policy"]["mode"], "testing");
    let missing = check("other").await;
    assert_eq!(missing.code, 2, "{missing:?}");
    let told = "there is none in the namespace mail";
    assert!(missing.stderr.contains(told), "{missing:?}");
}
