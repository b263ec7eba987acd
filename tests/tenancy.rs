//! Which namespace may claim which domain, and what a policy may name, by the administrator's settings.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use kube::ResourceExt;
use kube::api::Api;
use mta_sts_operator::api::{MtaStsPolicy, MtaStsPolicyStatus};
use serde_json::{Value, json};
use support::process::Process;
use support::wait::{ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, World, find, message, name, policy, shown};

/// A label that the grants of these tests select by.
const TEAM: (&str, &str) = ("team", "mail");

fn grants(domains: &[&str]) -> String {
    let domains: Vec<String> = domains.iter().map(|d| format!("{d:?}")).collect();
    format!(
        "- namespaceSelector: {{matchLabels: {{team: mail}}}}\n  domains: [{}]\n",
        domains.join(", ")
    )
}

/// All parts, with a tenancy file that grants these domains to the team.
async fn running(zones: &[&str], domains: &[&str]) -> (World, PathBuf, [Process; 2]) {
    let world = World::start(zones).await;
    let (server, address) = world.serve("serve").await;
    world.route(zones, address).await;
    world.provider(world.dns()).await;
    let file = world.folder.path().join("tenancy.yaml");
    fs::write(&file, grants(domains)).unwrap();
    let mut settings = world.settings("controller", &[address]);
    settings.flags = vec![format!("--tenancy-file={}", file.display())];
    let controller = world.controller(&settings);
    (world, file, [server, controller])
}

#[tokio::test]
async fn only_a_grant_allows_a_claim_and_a_lost_one_changes_nothing_that_is_out() {
    let domain = "example.org";
    let (world, _file, _processes) = running(&[domain], &[domain]).await;
    world.policy(domain, json!({})).await;
    let told = not_allowed(&world, MAIL, domain).await;
    assert!(
        told.contains("granted to it: none") && told.contains("--tenancy-file"),
        "{told}"
    );
    assert!(world.record(domain).await.is_none());
    assert_eq!(world.txt(domain), "");

    // The label of the namespace is enough, and counts at once.
    world.namespace(MAIL, &[TEAM]).await;
    let id = world.ready(domain).await.policy.unwrap().id;

    // Without it nothing is changed, and nothing that is out goes: mail must not suffer by it.
    world.namespace(MAIL, &[]).await;
    not_allowed(&world, MAIL, domain).await;
    let record = world.record(domain).await.unwrap().data;
    world.policy(domain, json!({"mode": "enforce"})).await;
    not_allowed(&world, MAIL, domain).await;
    assert_eq!(world.txt_id(domain), Some(id.clone()));
    assert!(world.body(domain).await.unwrap().contains("mode: testing"));
    assert_eq!(world.record(domain).await.unwrap().data, record);

    // Nor does it make the domain free: its owner has it as long as it exists.
    world.namespace("rival", &[TEAM]).await;
    let rival = policy(domain, json!({}));
    world.apply::<MtaStsPolicy>(Some("rival"), rival).await;
    let reason = Some("DomainConflict");
    let status = world
        .condition_in("rival", &name(domain), "Accepted", "False", reason)
        .await;
    assert!(
        message(&status, "Accepted").contains("mail/example-org"),
        "{}",
        shown(&status)
    );
    assert_eq!(world.txt_id(domain), Some(id.clone()));

    // When it goes, who has the grant takes over; its deletion needs none.
    world.delete(domain).await;
    let status = world
        .condition_in("rival", &name(domain), "Ready", "True", None)
        .await;
    assert_eq!(status.policy.unwrap().id, id, "the same policy goes on");
    let owner = world.publication(domain).await["owner"]["namespace"].clone();
    assert_eq!(owner, "rival");
}

#[tokio::test]
async fn nobody_without_a_grant_takes_a_domain_over_or_keeps_it_from_others() {
    let domain = "example.org";
    let (world, _file, _processes) = running(&[domain], &["*"]).await;
    // Older than all others, and without a grant.
    world.namespace("stranger", &[]).await;
    let strange = policy(domain, json!({"mode": "enforce"}));
    world.apply::<MtaStsPolicy>(Some("stranger"), strange).await;
    not_allowed(&world, "stranger", domain).await;
    world.namespace(MAIL, &[TEAM]).await;
    world.policy(domain, json!({})).await;
    world.ready(domain).await;

    // The record retires, and goes; the stranger waits for it in vain, and holds nothing up.
    world.delete(domain).await;
    eventually("it is retired", SOON, async || {
        let record = world.record(domain).await;
        ensure(record.is_none(), "its record is there")
    })
    .await;
    not_allowed(&world, "stranger", domain).await;
    assert_eq!(world.txt(domain), "");
}

#[tokio::test]
async fn granted_domains_may_be_kin_of_those_of_other_namespaces() {
    let (world, file, _processes) = running(&["example.org"], &["example.org"]).await;
    let shop = "- namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [shop]}]}\n  domains: ['*.example.org']\n";
    fs::write(&file, format!("{}{shop}", grants(&["example.org"]))).unwrap();
    world.namespace(MAIL, &[TEAM]).await;
    world.policy("example.org", json!({})).await;
    world.ready("example.org").await;
    world.namespace("shop", &[]).await;
    let child = policy("shop.example.org", json!({}));
    world.apply::<MtaStsPolicy>(Some("shop"), child).await;
    let name = name("shop.example.org");
    world
        .condition_in("shop", &name, "Accepted", "True", None)
        .await;
    // `*.` is what is below, not the domain itself.
    let above = policy("example.org", json!({}));
    world.apply::<MtaStsPolicy>(Some("shop"), above).await;
    let told = not_allowed(&world, "shop", "example.org").await;
    assert!(told.contains("granted to it: *.example.org"), "{told}");
}

#[tokio::test]
async fn the_file_is_read_again_and_a_bad_one_changes_nothing() {
    let domain = "example.org";
    let (world, file, [_server, controller]) = running(&[domain], &["example.com"]).await;
    world.namespace(MAIL, &[TEAM]).await;
    world.policy(domain, json!({})).await;
    let told = not_allowed(&world, MAIL, domain).await;
    assert!(told.contains("granted to it: example.com"), "{told}");

    // As a ConfigMap's mount changes: a symbolic link to another folder.
    let link = as_mounted(&file, "one", &grants(&[domain]));
    world.ready(domain).await;

    fs::write(&link, "- namespaceSelector: {}\n  domain: [example.org]\n").unwrap();
    let log = controller.logged("unknown field `domain`", SOON).await;
    assert!(log.contains("until it is mended"), "{log}");
    world.policy(domain, json!({"mode": "enforce"})).await;
    world.ready(domain).await;
    fs::remove_file(&link).unwrap();
    controller.logged("cannot be read", SOON).await;
    world.policy(domain, json!({"mode": "testing"})).await;
    world.ready(domain).await;

    fs::write(&link, "[]\n").unwrap();
    not_allowed(&world, MAIL, domain).await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_end_the_start_with_a_sentence() {
    let world = World::start(&[]).await;
    let file = world.folder.path().join("tenancy.yaml");
    let path = file.display();
    let missing = format!("--tenancy-file={path}");
    let mut settings = world.settings("controller", &[]);
    settings.flags = vec![missing.clone()];
    refuses_to_start(&world, &settings, "tenancy.yaml cannot be read").await;
    fs::write(&file, "- domains: [example.org]\n").unwrap();
    refuses_to_start(
        &world,
        &settings,
        "missing field `namespaceSelector` at line 1",
    )
    .await;
    for (flag, told) in [
        ("--allow-issuer=ca", "ClusterIssuer/NAME"),
        ("--allow-gateway=public", "NAMESPACE/NAME"),
        ("--allow-ingress-class=Nginx", "lower-case"),
        ("--allow-tls-secret=../x", "[NAMESPACE/]NAME"),
    ] {
        settings.flags = vec![flag.to_owned()];
        refuses_to_start(&world, &settings, told).await;
    }
}

async fn refuses_to_start(
    world: &World,
    settings: &support::world::ControllerSettings,
    told: &str,
) {
    let controller = world.controller(settings);
    let status = controller.exit(SOON).await;
    assert!(!status.success());
    assert!(
        controller.log().contains(told),
        "{told}: {}",
        controller.log()
    );
}

#[tokio::test]
async fn a_policy_names_only_what_the_administrator_allows() {
    let domain = "example.org";
    let (world, _server, controller) = World::running(&[domain]).await;
    world.policy(domain, json!({})).await;
    let published = world.ready(domain).await.policy.unwrap().id;
    let own = its_secret(&world, domain).await;
    for (ingress, told) in [
        (
            json!({"className": "internal"}),
            "IngressClass internal may not be named by this policy; allowed: front. Name one of these or none, or ask \
             the administrator of the operator to start it with --allow-ingress-class internal",
        ),
        (
            json!({"tls": {"issuerRef": {"name": "ca"}}}),
            "--allow-issuer ClusterIssuer/ca",
        ),
        (
            json!({"tls": {"issuerRef": {"kind": "Issuer", "name": "own"}}}),
            "--allow-issuer Issuer/own",
        ),
        (
            json!({"tls": {"secretName": "somebody-elses"}}),
            "--allow-tls-secret mail/somebody-elses",
        ),
    ] {
        hosted(&world, domain, ingress).await;
        let found = not_allowed(&world, MAIL, domain).await;
        assert!(found.contains(told), "{found}");
        assert_eq!(its_secret(&world, domain).await, own);
    }
    // What it would get anyway it may name.
    hosted(
        &world,
        domain,
        json!({"className": "front", "tls": {"secretName": own}}),
    )
    .await;
    world.ready(domain).await;
    assert_eq!(world.txt_id(domain), Some(published));

    // No annotation goes around the lists, whatever prefixes are allowed.
    controller.terminate(SOON).await;
    let mut settings = world.settings("controller-2", &[]);
    settings.flags = ["cert-manager.io/", "kubernetes.io/"]
        .map(|prefix| format!("--allow-annotation={prefix}"))
        .to_vec();
    let _controller = world.controller(&settings);
    for (key, field) in [
        ("cert-manager.io/cluster-issuer", "tls.issuerRef"),
        ("kubernetes.io/ingress.class", "className"),
    ] {
        hosted(&world, domain, json!({"annotations": {key: "x"}})).await;
        let reason = Some("AnnotationNotAllowed");
        let status = world.condition(domain, "Accepted", "False", reason).await;
        let told = message(&status, "Accepted");
        assert!(told.contains(field), "{told}");
    }
}

async fn hosted(world: &World, domain: &str, ingress: Value) {
    world
        .policy(domain, json!({"hosting": {"ingress": ingress}}))
        .await;
}

/// The Secret of the domain's Ingress.
async fn its_secret(world: &World, domain: &str) -> String {
    type Ingress = k8s_openapi::api::networking::v1::Ingress;
    let all = Api::<Ingress>::namespaced(world.client.clone(), SYSTEM);
    let all = all.list(&Default::default()).await.unwrap();
    let ours = |ingress: &Ingress| {
        ingress
            .annotations()
            .get("mta-sts.dev/domain")
            .map(String::as_str)
            == Some(domain)
    };
    let ingress = all.into_iter().find(ours).expect("an Ingress");
    ingress.spec.unwrap().tls.unwrap()[0]
        .secret_name
        .clone()
        .unwrap()
}

/// Waits until a policy may not have what it wants, and gives the sentence.
async fn not_allowed(world: &World, namespace: &str, domain: &str) -> String {
    let reason = Some("NotAllowed");
    let status: MtaStsPolicyStatus = world
        .condition_in(namespace, &name(domain), "Accepted", "False", reason)
        .await;
    assert!(find(&status, "Stalled").is_some(), "{}", shown(&status));
    message(&status, "Accepted").to_owned()
}

/// Puts a link in place of the file, as a ConfigMap's mount has it, and gives what it leads to.
fn as_mounted(file: &Path, version: &str, text: &str) -> PathBuf {
    let folder = file.with_file_name(version);
    fs::create_dir(&folder).unwrap();
    let target = folder.join("tenancy.yaml");
    fs::write(&target, text).unwrap();
    let link = file.with_file_name(format!("{version}-link"));
    symlink(&target, &link).unwrap();
    fs::rename(&link, file).unwrap();
    target
}
