//! Records that an external-dns writes: what it does right is published, and what it leaves undone
//! or does wrong is told, with the flag or the setting that mends it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;
use std::process::Command;

use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use mta_sts_operator::api::{ClusterDnsProvider, Condition};
use serde_json::{Value, json};
use support::external_dns::ExternalDns;
use support::manifests::{Right, apply_all, documents};
use support::powerdns::{API_KEY, PowerDns};
use support::process::Process;
use support::wait::{ensure, eventually};
use support::world::{KEY, SOON, SYSTEM, World, message};

const DOMAIN: &str = "handed.example";
/// Records that no object names go: the zone is external-dns's own.
const SYNC: &str = "--policy=sync";
const ALL_TYPES: [&str; 4] = [
    "--managed-record-types=A",
    "--managed-record-types=AAAA",
    "--managed-record-types=CNAME",
    "--managed-record-types=TXT",
];

/// A controller with the rights of the examples, for a zone at a server that only an external-dns
/// may write.
async fn start(server: SocketAddr) -> (World, Process, Process) {
    let world = World::start(&["example.org"]).await;
    let granted = ["server.yaml", "controller.yaml"].map(documents).concat();
    apply_all(&world.client, &granted).await;
    let (policy_server, address) = world.serve("serve").await;
    world.route(&[DOMAIN, "example.org"], address).await;
    let token = world
        .api
        .service_account_token(SYSTEM, "mta-sts-operator")
        .await;
    let mut settings = world.settings("controller", &[address]);
    settings.kubeconfig = world.api.kubeconfig_for(&token);
    settings.flags = vec![format!("--authoritative={DOMAIN}={server}")];
    let controller = world.controller(&settings);
    (world, policy_server, controller)
}

/// What an administrator does beside: the definition of external-dns, and our rights on it.
async fn prepare(world: &World) {
    apply_all(&world.client, &[ExternalDns::definition()]).await;
    apply_all(&world.client, &documents("dns-endpoint.yaml")).await;
}

async fn provider(world: &World, settings: Value) {
    let object = json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "ClusterDnsProvider",
        "metadata": {"name": "external-dns"},
        "spec": {"zones": ["*"], "allowedNamespaces": {}, "dnsEndpoint": settings}});
    world.apply::<ClusterDnsProvider>(None, object).await;
}

async fn policy(world: &World, domain: &str, spec: Value) {
    let mut full = json!({"dns": {"ttlSeconds": 60,
        "providerRef": {"kind": "ClusterDnsProvider", "name": "external-dns"}}});
    support::world::merge(&mut full, spec);
    world.policy(domain, full).await;
}

/// The condition once it says so.
async fn told(world: &World, domain: &str, type_: &str, reason: &str, says: &str) {
    eventually(&format!("{type_} {reason}: {says}"), SOON, async || {
        let status = world.condition(domain, type_, "False", Some(reason)).await;
        let told = message(&status, type_).to_owned();
        ensure(told.contains(says), told)
    })
    .await;
}

async fn provider_says(world: &World, status: &str, says: &str) {
    let api = Api::<ClusterDnsProvider>::all(world.client.clone());
    eventually(&format!("{status}: {says}"), SOON, async || {
        let provider = api.get("external-dns").await.map_err(|e| e.to_string())?;
        let conditions: Vec<Condition> = provider.status.unwrap_or_default().conditions;
        let ready = conditions.iter().find(|c| c.type_ == "Ready");
        let fits = ready.is_some_and(|ready| {
            ready.status.to_string() == status && ready.message.contains(says)
        });
        ensure(fits, format!("{ready:?}"))
    })
    .await;
}

fn endpoints(world: &World) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("externaldns.k8s.io", "v1alpha1", "DNSEndpoint");
    let resource = ApiResource::from_gvk_with_plural(&kind, "dnsendpoints");
    Api::namespaced_with(world.client.clone(), SYSTEM, &resource)
}

fn dig(server: SocketAddr, name: &str, kind: &str) -> String {
    let output = Command::new("dig")
        .args([&format!("@{}", server.ip()), "-p"])
        .args([&server.port().to_string(), "+short", "+norecurse"])
        .args([name, kind])
        .output()
        .expect("dig (Debian: bind9-dnsutils)");
    String::from_utf8(output.stdout).unwrap()
}

fn powerdns_flags(power: &PowerDns) -> Vec<String> {
    vec![
        "--provider=pdns".to_owned(),
        format!("--pdns-server={}", power.url()),
        format!("--pdns-api-key={API_KEY}"),
        format!("--domain-filter={DOMAIN}"),
    ]
}

fn external_dns(world: &World, flags: &[String], types: &[&str]) -> ExternalDns {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    ExternalDns::carry_out(&world.api.kubeconfig(), &[&flags, types].concat())
}

#[tokio::test]
async fn a_domain_is_published_changed_and_retired_and_what_is_missing_is_named() {
    let power = PowerDns::start(&[DOMAIN], KEY);
    let (world, _server, controller) = start(power.address()).await;
    provider(&world, json!({})).await;

    // The operator may not use it; then there is nothing to use.
    provider_says(&world, "False", "examples/rbac/dns-endpoint.yaml").await;
    apply_all(&world.client, &documents("dns-endpoint.yaml")).await;
    provider_says(&world, "False", "install the definition").await;
    apply_all(&world.client, &[ExternalDns::definition()]).await;
    provider_says(&world, "True", "").await;

    // Nobody carries it out.
    policy(&world, DOMAIN, json!({})).await;
    told(
        &world,
        DOMAIN,
        "PolicyServed",
        "AddressPending",
        "--source=crd",
    )
    .await;
    // Somebody does, for the types that it has by default.
    let flags = powerdns_flags(&power);
    let by_default = external_dns(&world, &flags, &[SYNC]);
    let reason = "WaitingForExternalDns";
    told(
        &world,
        DOMAIN,
        "DnsPublished",
        reason,
        "--managed-record-types for TXT",
    )
    .await;
    drop(by_default);

    // All of it.
    let whole = external_dns(&world, &flags, &[&ALL_TYPES[..], &[SYNC]].concat());
    let first = world.ready(DOMAIN).await.policy.unwrap().id;
    let txt = || dig(power.address(), &format!("_mta-sts.{DOMAIN}"), "TXT");
    let address = || dig(power.address(), &format!("mta-sts.{DOMAIN}"), "A");
    assert_eq!(txt().trim(), format!("\"v=STSv1; id={first};\""));
    assert_eq!(address().trim(), "127.0.0.1");

    // Changed; then with another TTL, which changes nothing else.
    policy(&world, DOMAIN, json!({"mode": "enforce"})).await;
    let second = eventually("another id", SOON, async || {
        let id = world.ready(DOMAIN).await.policy.unwrap().id;
        ensure(id > first, txt()).map(|()| id)
    })
    .await;
    assert_eq!(txt().trim(), format!("\"v=STSv1; id={second};\""));

    // Its objects say whose they are; one that somebody takes away comes back.
    let objects = endpoints(&world);
    let all = objects.list(&Default::default()).await.unwrap().items;
    assert_eq!(all.len(), 2, "{all:#?}");
    for object in &all {
        let label = object.metadata.labels.as_ref().unwrap();
        assert_eq!(label["mta-sts.dev/dns-provider"], "external-dns");
    }
    let name = all[0].metadata.name.clone().unwrap();
    objects.delete(&name, &Default::default()).await.unwrap();

    world.delete(DOMAIN).await;
    eventually("all is gone", SOON * 3, async || {
        let left = objects.list(&Default::default()).await.unwrap().items;
        ensure(left.is_empty(), format!("{left:#?}"))?;
        ensure(txt().is_empty() && address().is_empty(), txt() + &address())
    })
    .await;
    let audited = world.api.audit();
    let rights = Right::of(&documents("dns-endpoint.yaml"));
    let unused: Vec<_> = rights
        .iter()
        .filter(|right| !audited.iter().any(|a| a.code != 403 && right.allowed(a)))
        .collect();
    assert!(unused.is_empty(), "granted and not used: {unused:#?}");
    assert!(!controller.log().contains("panicked"), "{}", whole.log());
}

/// The faults of external-dns's own provider for RFC 2136, against a real BIND.
#[tokio::test]
async fn what_external_dns_does_wrong_is_told_apart() {
    let world = World::start(&["example.org"]).await;
    let (_server, address) = world.serve("serve").await;
    world.route(&["example.org"], address).await;
    let _controller = world.controller(&world.settings("controller", &[address]));
    prepare(&world).await;
    provider(&world, json!({"quoteTxt": false})).await;
    let bind = world.dns();
    let flags: Vec<String> = vec![
        "--provider=rfc2136".to_owned(),
        format!("--rfc2136-host={}", bind.ip()),
        format!("--rfc2136-port={}", bind.port()),
        "--rfc2136-zone=example.org".to_owned(),
        format!("--rfc2136-tsig-keyname={}", KEY.name),
        format!("--rfc2136-tsig-secret={}", KEY.secret),
        "--rfc2136-tsig-secret-alg=hmac-sha256".to_owned(),
        "--rfc2136-tsig-axfr".to_owned(),
        "--domain-filter=example.org".to_owned(),
    ];
    let _external_dns = external_dns(&world, &flags, &[&ALL_TYPES[..], &[SYNC]].concat());
    let reason = "WaitingForExternalDns";

    // Without quotes the value is cut.
    policy(&world, "example.org", json!({})).await;
    told(
        &world,
        "example.org",
        "DnsPublished",
        reason,
        "cut at the first semicolon",
    )
    .await;
    assert_eq!(world.txt("example.org").trim(), "\"v=STSv1\"");

    // With quotes the first one is right, and a second one stands beside it.
    provider(&world, json!({"quoteTxt": true})).await;
    world.ready("example.org").await;
    policy(&world, "example.org", json!({"mode": "enforce"})).await;
    told(
        &world,
        "example.org",
        "DnsPublished",
        reason,
        "is still there as well",
    )
    .await;
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let power = PowerDns::start(&[DOMAIN], KEY);
    let (world, _server, _controller) = start(power.address()).await;
    prepare(&world).await;
    let foreign = "\"v=STSv1; id=somebody;\"";
    let name = format!("_mta-sts.{DOMAIN}");
    power.replace(DOMAIN, &name, "TXT", "60", &[foreign]);
    provider(&world, json!({})).await;
    let flags = powerdns_flags(&power);
    let types = [&ALL_TYPES[..], &["--policy=upsert-only"]].concat();
    let _external_dns = external_dns(&world, &flags, &types);

    // In the DNS, where no object of ours is.
    policy(&world, DOMAIN, json!({})).await;
    told(&world, DOMAIN, "DnsPublished", "Foreign", "id=somebody").await;
    assert_eq!(dig(power.address(), &name, "TXT").trim(), foreign);

    // In the API: an object of the name that ours would have.
    let taken = mta_sts_operator::lifecycle::names::endpoint_name(&name);
    let object = json!({"apiVersion": "externaldns.k8s.io/v1alpha1", "kind": "DNSEndpoint",
        "metadata": {"name": taken}, "spec": {"endpoints": []}});
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let objects = endpoints(&world);
    objects.create(&Default::default(), &object).await.unwrap();
    told(
        &world,
        DOMAIN,
        "DnsPublished",
        "ProviderError",
        "was not made by this operator",
    )
    .await;

    // Both go: it is published, and what stands beside it stays.
    objects.delete(&taken, &Default::default()).await.unwrap();
    power.replace(DOMAIN, &name, "TXT", "60", &["\"v=spf1 -all\""]);
    world.ready(DOMAIN).await;
    let txt = dig(power.address(), &name, "TXT");
    assert!(txt.contains("spf1") && txt.contains("STSv1"), "{txt}");
}
