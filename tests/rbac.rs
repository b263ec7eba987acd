//! The rights of [`RIGHTS`](support::manifests::RIGHTS): enough for the whole work, and nothing that
//! is not used. What is allowed and asked is taken from the API server's own audit log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;

use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams};
use mta_sts_operator::api::{ClusterDnsProvider, DnsProvider, MtaStsPolicy};
use serde_json::{Value, json};
use support::audit::Audited;
use support::manifests::{Right, apply_all, documents};
use support::process::Process;
use support::wait::{ensure, eventually};
use support::world::{KEY, MAIL, PROVIDER, SOON, SYSTEM, World, find, policy, rfc2136};

/// An installation for the whole cluster, with a tenant's provider.
const CLUSTER: [&str; 4] = [
    "server.yaml",
    "controller.yaml",
    "tenant-credentials.yaml",
    "admission.yaml",
];
/// An installation for some namespaces, here `mail`, with no right in the whole cluster.
const NARROW: [&str; 3] = [
    "server.yaml",
    "some-namespaces.yaml",
    "tenant-credentials.yaml",
];
/// What such an installation may be given in the cluster, to use more.
const NARROW_CLUSTER: &str = "some-namespaces-cluster.yaml";

fn all(files: &[&str]) -> Vec<Value> {
    files.iter().flat_map(|file| documents(file)).collect()
}

#[tokio::test]
async fn everything_granted_is_used_and_nothing_is_refused() {
    let world = World::start(&["example.org", "example.net"]).await;
    let granted = all(&CLUSTER);
    apply_all(&world.client, &granted).await;
    let (server, address) = serve(&world).await;
    world.route(&["example.org", "example.net"], address).await;
    world.provider(world.dns()).await;
    let controller = controller(&world, address, &[]).await;
    a_whole_life(&world).await;
    controller.terminate(SOON).await;

    nothing_was_refused(&world, &[&server, &controller], |_| false);
    all_was_used(&world, &Right::of(&granted));
}

#[tokio::test]
async fn an_installation_for_some_namespaces_needs_nothing_beyond_them() {
    let world = World::start(&["example.org", "example.net"]).await;
    let granted = all(&NARROW);
    apply_all(&world.client, &granted).await;
    let (server, address) = serve(&world).await;
    world.route(&["example.org", "example.net"], address).await;
    let flags = ["--watch-namespace=mail", "--default-ingress-class=front"];
    let first = controller(&world, address, &flags).await;

    // What is elsewhere is not looked at, nor can it be.
    world.namespace("elsewhere", &[]).await;
    let other = policy("example.net", json!({}));
    world.apply::<MtaStsPolicy>(Some("elsewhere"), other).await;
    tenant_provider(&world, MAIL).await;
    let own = json!({"dns": {"providerRef": {"kind": "DnsProvider", "name": "own"}}});
    world.policy("example.org", own).await;
    world.ready("example.org").await;
    let untouched = world.policies("elsewhere").get("example-net").await;
    let untouched = untouched.unwrap();
    assert_eq!(untouched.metadata.finalizers, None);
    assert!(untouched.status.unwrap_or_default().conditions.is_empty());

    // A ClusterDnsProvider is as good as none, and that is told.
    world.provider(world.dns()).await;
    world.policy("example.net", json!({})).await;
    let reason = Some("ProviderNotFound");
    let status = world
        .condition("example.net", "Accepted", "False", reason)
        .await;
    let told = support::world::message(&status, "Accepted");
    assert!(told.contains("may not read ClusterDnsProviders"), "{told}");
    let log = first.log();
    for told in [
        "ClusterDnsProviders may not be watched",
        "IngressClasses may not be watched",
    ] {
        assert!(log.contains(told), "{told}: {log}");
    }
    let optional =
        |a: &Audited| ["clusterdnsproviders", "ingressclasses"].contains(&a.resource.as_str());
    nothing_was_refused(&world, &[&server], optional);
    world.delete("example.org").await;
    retired(&world, "example.org").await;
    first.terminate(SOON).await;
    all_was_used(&world, &Right::of(&granted));

    // With the optional rights it is used, and the labels of the namespace count.
    let more = documents(NARROW_CLUSTER);
    apply_all(&world.client, &more).await;
    let flags = ["--watch-namespace=mail", "--watch-namespace=second"];
    let mut second_namespace = documents("some-namespaces.yaml");
    for document in &mut second_namespace {
        if document["metadata"]["namespace"] == MAIL {
            document["metadata"]["namespace"] = json!("second");
        }
    }
    world.namespace("second", &[]).await;
    apply_all(&world.client, &second_namespace).await;
    let before = world.api.audit().len();
    let _second = controller(&world, address, &flags).await;
    world.ready("example.net").await;
    let in_second = policy("example.org", json!({}));
    world.apply::<MtaStsPolicy>(Some("second"), in_second).await;
    world
        .condition_in("second", "example-org", "Ready", "True", None)
        .await;
    let audited = world.api.audit().split_off(before);
    let refused: Vec<_> = audited.iter().filter(|a| a.code == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    all_was_used(&world, &Right::of(&more));

    let selector = json!({"matchLabels": {"mail": "yes"}});
    world
        .apply::<ClusterDnsProvider>(
            None,
            json!({"apiVersion": "mta-sts.dev/v1alpha1",
        "kind": "ClusterDnsProvider", "metadata": {"name": PROVIDER}, "spec": {"zones": ["*"],
        "allowedNamespaces": selector, "rfc2136": rfc2136(world.dns())}}),
        )
        .await;
    let reason = Some("NotAllowed");
    world
        .condition("example.net", "Accepted", "False", reason)
        .await;
    world.namespace(MAIL, &[("mail", "yes")]).await;
    world
        .condition("example.net", "Accepted", "True", None)
        .await;
}

/// Each right is taken away in turn. Whatever then happens first is refused for the lack of it, is
/// told, and what depends on it does not come about.
#[tokio::test]
async fn without_any_one_of_them_something_fails() {
    let rights = Right::of(&all(&CLUSTER));
    assert!(rights.len() > 30, "{rights:#?}");
    // Each world for itself, since the rights are those of the whole cluster.
    const WORLDS: usize = 3;
    let numbered: Vec<_> = rights.into_iter().enumerate().collect();
    let shares = (0..WORLDS).map(|share| {
        let of_share = numbered.iter().filter(move |(n, _)| n % WORLDS == share);
        take_away_each(of_share.cloned().collect())
    });
    join_all(shares).await;
}

async fn take_away_each(rights: Vec<(usize, Right)>) {
    let world = World::start(&["example.org"]).await;
    let granted = all(&CLUSTER);
    apply_all(&world.client, &granted).await;
    let (_server, address) = serve(&world).await;
    let domains: Vec<String> = rights.iter().map(|(n, _)| domain_of(*n)).collect();
    let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
    world.route(&domains, address).await;
    for (number, right) in rights {
        apply_all(&world.client, &right.taken_from(&granted)).await;
        fails_without(&world, address, number, &right).await;
        apply_all(&world.client, &granted).await;
    }
}

fn domain_of(number: usize) -> String {
    format!("r{number}.example.org")
}

async fn fails_without(world: &World, address: SocketAddr, number: usize, right: &Right) {
    let before = world.api.audit().len();
    let process = if right.role == "mta-sts-policy" {
        server_without_waiting(world).await
    } else {
        // As at the first start, so that each step is taken.
        let leases = Api::<Lease>::namespaced(world.client.clone(), SYSTEM);
        if right.resource == "leases" && right.verb == "create" {
            let params = DeleteParams::default();
            leases.delete("mta-sts-operator", &params).await.ok();
        }
        anew(world).await;
        let domain = domain_of(number);
        let own = json!({"dns": {"providerRef": {"kind": "DnsProvider", "name": "own"}}});
        let spec = match right.resource.as_str() {
            "secrets" if right.namespace.as_deref() == Some(MAIL) => own,
            _ => json!({}),
        };
        world.policy(&domain, spec).await;
        let process = controller(world, address, &[]).await;
        if right.verb == "delete" {
            world.ready(&domain).await;
            let params = DeleteParams::default();
            let policies = world.policies(MAIL);
            policies
                .delete(&support::world::name(&domain), &params)
                .await
                .unwrap();
        }
        process
    };
    let refused = eventually(&format!("{right:?} is missed"), SOON, async || {
        let audited = world.api.audit().split_off(before);
        let refused: Vec<_> = audited.into_iter().filter(|a| a.code == 403).collect();
        let missed = refused.iter().filter(|a| right.is_of(a)).count();
        ensure(missed > 0, "nothing was refused")?;
        Ok::<_, String>(refused)
    })
    .await;
    let others: Vec<_> = refused.iter().filter(|a| !right.is_of(a)).collect();
    assert!(others.is_empty(), "{right:?}: {others:#?}");
    if right.role == "mta-sts-operator" {
        does_not_come_about(world, &domain_of(number), right, &process).await;
    }
    // Without some it ends by itself, which is a way to fail.
    if process.ended().is_none() {
        process.terminate(SOON).await;
    }
}

/// What a right is for is not there, and why is told: in a status, or in the log.
async fn does_not_come_about(world: &World, domain: &str, right: &Right, process: &Process) {
    let policies = world.policies(MAIL);
    let status = policies
        .get_opt(&support::world::name(domain))
        .await
        .unwrap();
    let status = status.and_then(|policy| policy.status).unwrap_or_default();
    let told_in_status = status
        .conditions
        .iter()
        .any(|c| c.message.contains("forbidden"));
    match (right.resource.as_str(), right.verb.as_str()) {
        // Nobody is told that nothing can be told, but the log at its widest.
        ("events", _) => {
            assert!(world.events(domain).await.is_empty());
            return;
        }
        (_, "delete") => assert!(world.record(domain).await.is_some(), "it is retired"),
        // Served from the list, until that grows old.
        (_, "watch") => {}
        ("dnsproviders/status" | "clusterdnsproviders/status", _) => {}
        _ => assert!(
            find(&status, "Ready").is_none_or(|ready| ready.status.to_string() != "True"),
            "{right:?}: it is ready"
        ),
    }
    if !told_in_status {
        let told = eventually("it is told", SOON, async || {
            let log = process.log();
            ensure(log.to_lowercase().contains("forbidden"), log)
        });
        told.await;
    }
}

/// The providers as if nobody had looked at them yet.
async fn anew(world: &World) {
    let cluster = Api::<ClusterDnsProvider>::all(world.client.clone());
    cluster
        .delete(PROVIDER, &DeleteParams::default())
        .await
        .ok();
    let own = Api::<DnsProvider>::namespaced(world.client.clone(), MAIL);
    own.delete("own", &DeleteParams::default()).await.ok();
    world.provider(world.dns()).await;
    tenant_provider(world, MAIL).await;
}

/// One domain with the administrator's provider, one with a provider of the namespace: published,
/// changed and retired.
async fn a_whole_life(world: &World) {
    world.policy("example.org", json!({})).await;
    tenant_provider(world, MAIL).await;
    let own = json!({"dns": {"providerRef": {"kind": "DnsProvider", "name": "own"}}});
    world.policy("example.net", own).await;
    for domain in ["example.org", "example.net"] {
        world.ready(domain).await;
    }
    world
        .policy("example.org", json!({"mode": "enforce"}))
        .await;
    world.ready("example.org").await;
    let events = world.events("example.org").await;
    assert!(events.contains(&"Published".to_owned()), "{events:?}");
    for domain in ["example.org", "example.net"] {
        world.delete(domain).await;
    }
    for domain in ["example.org", "example.net"] {
        retired(world, domain).await;
    }
}

async fn retired(world: &World, domain: &str) {
    eventually("it is retired", SOON, async || {
        ensure(world.record(domain).await.is_none(), "its record is there")
    })
    .await;
}

fn nothing_was_refused(world: &World, processes: &[&Process], but: impl Fn(&Audited) -> bool) {
    let audited = world.api.audit();
    assert!(audited.len() > 20, "the audit log is empty");
    let refused: Vec<_> = audited
        .iter()
        .filter(|a| a.code == 403 && !but(a))
        .collect();
    assert!(refused.is_empty(), "not granted: {refused:#?}");
    for process in processes {
        let log = process.log().to_lowercase();
        assert!(!log.contains("forbidden"), "{log}");
    }
}

fn all_was_used(world: &World, rights: &[Right]) {
    let audited = world.api.audit();
    let unused: Vec<_> = rights
        .iter()
        .filter(|right| !audited.iter().any(|a| a.code != 403 && right.allowed(a)))
        .collect();
    assert!(unused.is_empty(), "granted and not used: {unused:#?}");
}

#[tokio::test]
async fn a_secret_that_is_out_of_reach_is_told_on_the_provider_and_the_policy() {
    let world = World::start(&["example.org"]).await;
    apply_all(&world.client, &all(&["server.yaml", "controller.yaml"])).await;
    let (_server, address) = serve(&world).await;
    world.route(&["example.org"], address).await;
    let _controller = controller(&world, address, &[]).await;
    tenant_provider(&world, MAIL).await;
    let own = json!({"dns": {"providerRef": {"kind": "DnsProvider", "name": "own"}}});
    world.policy("example.org", own).await;
    let reason = Some("ProviderError");
    let status = world
        .condition("example.org", "DnsPublished", "False", reason)
        .await;
    let message = support::world::shown(&status);
    assert!(message.contains("the Secret cannot be read"), "{message}");
    assert!(message.contains("forbidden"), "{message}");
}

async fn serve(world: &World) -> (Process, SocketAddr) {
    let token = world
        .api
        .service_account_token(SYSTEM, "mta-sts-policy")
        .await;
    world
        .serve_with("serve", &world.api.kubeconfig_for(&token))
        .await
}

async fn server_without_waiting(world: &World) -> Process {
    let token = world
        .api
        .service_account_token(SYSTEM, "mta-sts-policy")
        .await;
    let [address, admin] = [(); 2].map(|()| support::ports::loopback(support::ports::free_port()));
    world.serve_on("second", &world.api.kubeconfig_for(&token), address, admin)
}

async fn controller(world: &World, server: SocketAddr, flags: &[&str]) -> Process {
    let token = world
        .api
        .service_account_token(SYSTEM, "mta-sts-operator")
        .await;
    let mut settings = world.settings("controller", &[server]);
    settings.kubeconfig = world.api.kubeconfig_for(&token);
    settings.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    if !flags.is_empty() {
        settings.name = format!("controller-{}", flags.len());
    }
    world.controller(&settings)
}

/// A DnsProvider with its Secret, as a tenant makes them.
async fn tenant_provider(world: &World, namespace: &str) {
    world.secret(namespace, "tsig", KEY.secret).await;
    world
        .apply::<DnsProvider>(
            Some(namespace),
            json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "DnsProvider",
                "metadata": {"name": "own"}, "spec": {"rfc2136": rfc2136(world.dns())}}),
        )
        .await;
}
