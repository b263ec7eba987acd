//! DNS services with an API, as objects: a domain is published and retired by one, and what is wrong
//! with one is said where its owner looks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;
use std::process::Command;

use k8s_openapi::api::core::v1::Secret;
use mta_sts_operator::api::{ClusterDnsProvider, Condition, DnsProvider, MtaStsPolicy};
use serde_json::{Value, json};
use support::bind::Key;
use support::powerdns::{API_KEY, PowerDns};
use support::process::Process;
use support::wait::{ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, World};

const DOMAIN: &str = "api.example";
const KEY: Key = support::world::KEY;

/// A controller that knows two zones: one at BIND, and one at PowerDNS.
async fn start(power: &PowerDns, flags: &[&str]) -> (World, Process, Process) {
    let world = World::start(&["example.org"]).await;
    let (server, address) = world.serve("serve").await;
    world.route(&[DOMAIN], address).await;
    let mut settings = world.settings("controller", &[address]);
    settings.flags = vec![format!("--authoritative={DOMAIN}={}", power.address())];
    settings.flags.push("MTA_STS_LOG=trace".to_owned());
    settings
        .flags
        .extend(flags.iter().map(|&flag| flag.to_owned()));
    let controller = world.controller(&settings);
    (world, server, controller)
}

async fn secret(world: &World, namespace: &str, data: Value) {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "powerdns",
        "labels": {"mta-sts.dev/credentials": "true"}}, "stringData": data});
    // Anew: what was written as stringData stays in data.
    let secrets = kube::Api::<Secret>::namespaced(world.client.clone(), namespace);
    let _ = secrets
        .delete("powerdns", &kube::api::DeleteParams::default())
        .await;
    world.apply::<Secret>(Some(namespace), object).await;
}

async fn cluster_provider(world: &World, service: Value) {
    let mut spec = json!({"zones": ["*"], "allowedNamespaces": {}});
    support::world::merge(&mut spec, service);
    let object = json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "ClusterDnsProvider",
        "metadata": {"name": "powerdns"}, "spec": spec});
    world.apply::<ClusterDnsProvider>(None, object).await;
}

async fn provider_says(world: &World, status: &str, reason: &str) -> Condition {
    let api = kube::Api::<ClusterDnsProvider>::all(world.client.clone());
    eventually(&format!("{status} {reason}"), SOON, async || {
        let provider = api
            .get("powerdns")
            .await
            .map_err(|error| error.to_string())?;
        let conditions = provider.status.unwrap_or_default().conditions;
        let ready = conditions.into_iter().find(|c| c.type_ == "Ready");
        let ready = ready.ok_or("no condition")?;
        let fits = ready.status.to_string() == status
            && ready.reason == reason
            && ready.observed_generation == provider.metadata.generation;
        ensure(fits, format!("{ready:?}"))?;
        Ok::<_, String>(ready)
    })
    .await
}

fn dig(server: SocketAddr, name: &str, kind: &str) -> String {
    let output = Command::new("dig")
        .args([
            &format!("@{}", server.ip()),
            "-p",
            &server.port().to_string(),
        ])
        .args(["+noall", "+answer", "+norecurse", name, kind])
        .output()
        .expect("dig (Debian: bind9-dnsutils)");
    String::from_utf8(output.stdout).unwrap()
}

async fn policy(world: &World, spec: Value) -> MtaStsPolicy {
    let mut full = json!({
        "dns": {"providerRef": {"kind": "ClusterDnsProvider", "name": "powerdns"}, "ttlSeconds": 60},
    });
    support::world::merge(&mut full, spec);
    world.policy(DOMAIN, full).await
}

#[tokio::test]
async fn a_domain_is_published_changed_and_retired_by_an_api() {
    let power = PowerDns::start(&[DOMAIN], KEY);
    let (world, _server, controller) = start(&power, &[]).await;
    secret(&world, SYSTEM, json!({"key": API_KEY})).await;
    let reference = json!({"name": "powerdns", "key": "key"});
    let block = json!({"url": power.url(), "apiKeySecretRef": reference});
    cluster_provider(&world, json!({"powerdns": block})).await;
    provider_says(&world, "True", "Accepted").await;

    policy(&world, json!({})).await;
    let first = world.ready(DOMAIN).await.policy.unwrap().id;
    let txt = || dig(power.address(), &format!("_mta-sts.{DOMAIN}"), "TXT");
    let address = || dig(power.address(), &format!("mta-sts.{DOMAIN}"), "A");
    assert!(txt().contains(&format!("id={first};")), "{}", txt());
    assert!(address().contains("127.0.0.1"), "{}", address());

    // The TTL alone: the API does not tell it back.
    policy(&world, json!({"dns": {"ttlSeconds": 120}})).await;
    eventually("the TTL is changed", SOON, async || {
        ensure(
            txt().contains("\t120\tIN") || txt().contains(" 120 IN"),
            txt(),
        )
    })
    .await;

    policy(
        &world,
        json!({"mode": "enforce", "dns": {"ttlSeconds": 30}}),
    )
    .await;
    eventually("another id", SOON, async || {
        let status = world.ready(DOMAIN).await;
        ensure(status.policy.is_some_and(|policy| policy.id > first), txt())
    })
    .await;
    // A record that somebody takes away comes back.
    power.replace(
        DOMAIN,
        &format!("_mta-sts.{DOMAIN}"),
        "TXT",
        "30",
        &["\"v=spf1 -all\""],
    );
    eventually("it is repaired, and the other stays", SOON, async || {
        ensure(txt().contains("STSv1") && txt().contains("spf1"), txt())
    })
    .await;

    world.delete(DOMAIN).await;
    eventually("ours is gone, and the other is not", SOON * 3, async || {
        ensure(!txt().contains("STSv1") && txt().contains("spf1"), txt())?;
        ensure(address().is_empty(), address())
    })
    .await;
    assert!(!controller.log().contains(API_KEY));
}

#[tokio::test]
async fn what_is_wrong_with_a_service_is_said_and_heals() {
    let power = PowerDns::start(&[DOMAIN], KEY);
    let (world, _server, controller) = start(&power, &[]).await;
    let other = |config: Value| {
        json!({"service": {"name": "powerdns", "config": config,
            "credentialsSecretRef": {"name": "powerdns"}}})
    };
    // A setting is missing.
    secret(&world, SYSTEM, json!({"password": "in the wrong place"})).await;
    cluster_provider(&world, other(json!({"serverId": "localhost"}))).await;
    let told = provider_says(&world, "False", "InvalidSpec").await.message;
    assert!(told.contains("url"), "{told}");
    // Somebody else's Secret is not used.
    let unmarked = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "unmarked"},
        "stringData": {"apiKey": API_KEY}});
    world.apply::<Secret>(Some(SYSTEM), unmarked).await;
    let mut unmarked = other(json!({"url": power.url()}));
    unmarked["service"]["credentialsSecretRef"]["name"] = json!("unmarked");
    cluster_provider(&world, unmarked).await;
    let told = provider_says(&world, "False", "CredentialsInvalid")
        .await
        .message;
    assert!(told.contains("mta-sts.dev/credentials=true"), "{told}");
    // A credential is missing.
    cluster_provider(
        &world,
        other(json!({"serverId": "localhost", "url": power.url()})),
    )
    .await;
    let told = provider_says(&world, "False", "CredentialsInvalid")
        .await
        .message;
    assert!(told.contains("apiKey (api-key of pdns.conf)"), "{told}");
    // It is wrong. (A provider that lists no zone is not called before there is something to do.)
    policy(&world, json!({})).await;
    secret(&world, SYSTEM, json!({"apiKey": "a wrong canary"})).await;
    let condition = world.condition(DOMAIN, "DnsPublished", "False", Some("CredentialsInvalid"));
    let status = condition.await;
    let told = format!("{:?}", status.conditions);
    assert!(told.contains("does not accept the credentials"), "{told}");
    assert!(!told.contains("canary"), "{told}");
    // It is right: nothing has to be touched.
    secret(&world, SYSTEM, json!({"apiKey": format!("{API_KEY}\n")})).await;
    world.condition(DOMAIN, "Ready", "True", None).await;
    let log = controller.log();
    assert!(!log.contains(API_KEY) && !log.contains("canary"));
}

#[tokio::test]
async fn a_tenant_has_no_host_within_the_cluster_called() {
    let power = PowerDns::start(&[DOMAIN], KEY);
    let (world, _server, controller) = start(&power, &[]).await;
    secret(&world, MAIL, json!({"key": API_KEY})).await;
    let reference = json!({"name": "powerdns", "key": "key"});
    let api = kube::Api::<DnsProvider>::namespaced(world.client.clone(), MAIL);
    for (url, says) in [
        (power.url(), "is not https"),
        ("https://10.0.0.1:8081".to_owned(), "private address"),
        (
            "https://169.254.169.254/latest".to_owned(),
            "private address",
        ),
    ] {
        let object = json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "DnsProvider",
            "metadata": {"name": "tenant"},
            "spec": {"zones": [DOMAIN], "powerdns": {"url": url, "apiKeySecretRef": reference}}});
        world.apply::<DnsProvider>(Some(MAIL), object).await;
        eventually(&format!("{url} is refused"), SOON, async || {
            let provider = api.get("tenant").await.map_err(|error| error.to_string())?;
            let generation = provider.metadata.generation;
            let conditions = provider.status.unwrap_or_default().conditions;
            let ready = conditions
                .into_iter()
                .find(|c| c.type_ == "Ready")
                .ok_or("none")?;
            let fits = ready.reason == "NotAllowed"
                && ready.message.contains(says)
                && ready.observed_generation == generation;
            ensure(fits, format!("{ready:?}"))
        })
        .await;
    }
    assert!(!controller.log().contains(API_KEY));
}
