//! The operator's own name servers: a customer points two names at them, once, and nobody needs
//! access to his zone.
//!
//! Everything runs in a network of its own, where the operator walks the DNS from a root: BIND has
//! the root, the customers' zones and the zone that delegates ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams};
use mta_sts_operator::api::ClusterDnsProvider;
use serde_json::{Value, json};
use support::bind::{Bind, Zone};
use support::front::Front;
use support::netns;
use support::ports::{free_port, loopback};
use support::process::Process;
use support::wait::{always, ensure, eventually};
use support::world::{KEY, SOON, SYSTEM, World, find, id_in, ready, shown};

/// Serves the root zone.
const ROOT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
/// The two policy servers; the first one's address is that of the public front too.
const NODES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(10, 77, 0, 3)];
const ADDRESSES: [&str; 3] = ["127.0.0.53", "10.77.0.2", "10.77.0.3"];
const POLICY_SERVICE: &str = "mta-sts-policy";
const POLICY_PORT: u16 = 8080;
/// Long enough to see that something does not happen.
const MOMENT: Duration = Duration::from_millis(700);
/// Our own zone.
const OWN: &str = "sts.example.net";

/// A small Internet with an operator whose policy servers are name servers.
struct Net {
    world: World,
    _root: Bind,
    servers: Vec<Process>,
    _controller: Process,
}

impl Net {
    /// Starts it with the customers' zones.
    async fn start(customers: Vec<Zone>) -> Self {
        let name_server: IpAddr = netns::NAME_SERVER.parse().unwrap();
        let mut zones = customers;
        zones.push(Zone::dynamic(
            "example.net",
            &format!(
                "sts NS ns1\nsts NS ns2\nns1 A {}\nns2 A {}",
                NODES[0], NODES[1]
            ),
        ));
        let root = Bind::try_start((ROOT, 53).into(), &[root_zone(&zones, name_server)], &[]);
        let bind = Bind::try_start((name_server, 53).into(), &zones, &[KEY]).unwrap();
        let front = Front::start_on((NODES[0], 443).into()).await;
        let domains: Vec<String> = zones.iter().map(|zone| zone.name.clone()).collect();
        let world = World::with_parts(front, bind, zones).await;
        let mut servers = Vec::new();
        for node in NODES {
            servers.push(policy_server(&world, node).await);
        }
        policy_service(&world).await;
        let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
        world.route(&domains, (NODES[0], POLICY_PORT).into()).await;
        let controller = controller(&world);
        Self {
            world,
            _root: root.unwrap(),
            servers,
            _controller: controller,
        }
    }

    /// Makes the provider, and waits until it has tried its zone.
    async fn provider(&self) {
        self.apply_provider(
            "own",
            json!({"zone": OWN,
            "nameServers": ["ns1.example.net", "ns2.example.net"]}),
        )
        .await;
        self.provider_is("own", "True", "Accepted").await;
    }

    async fn apply_provider(&self, name: &str, authoritative: Value) {
        self.world
            .apply::<ClusterDnsProvider>(
                None,
                json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "ClusterDnsProvider",
                    "metadata": {"name": name},
                    "spec": {"zones": ["*"], "allowedNamespaces": {}, "authoritative": authoritative}}),
            )
            .await;
    }

    /// Waits for the condition Ready of a provider, and gives its message.
    async fn provider_is(&self, name: &str, status: &str, reason: &str) -> String {
        let api = Api::<ClusterDnsProvider>::all(self.world.client.clone());
        eventually(&format!("{name} is {reason}"), SOON, async || {
            let provider = api.get(name).await.map_err(|error| error.to_string())?;
            let conditions = provider.status.unwrap_or_default().conditions;
            let ready = conditions.iter().find(|c| c.type_ == "Ready");
            let ready = ready.ok_or("not looked at yet")?;
            let fits = ready.status.to_string() == status && ready.reason == reason;
            ensure(fits, format!("{}: {}", ready.reason, ready.message))?;
            Ok::<_, String>(ready.message.clone())
        })
        .await
    }

    async fn policy(&self, domain: &str, spec: Value) {
        let mut spec = spec;
        spec["dns"] = json!({"providerRef": {"kind": "ClusterDnsProvider", "name": "own"},
            "ttlSeconds": 30});
        if spec.get("hosting").is_none() {
            spec["hosting"] = json!({"address": {"ipv4": [NODES[0].to_string()]}});
        }
        self.world.policy(domain, spec).await;
    }
}

async fn policy_server(world: &World, node: Ipv4Addr) -> Process {
    let admin = loopback(free_port());
    let process = Process::mta_sts(
        &format!("serve-{node}"),
        world.folder.path(),
        Some(&world.api.kubeconfig()),
        &[
            "serve",
            &format!("--namespace={SYSTEM}"),
            &format!("--listen={node}:{POLICY_PORT}"),
            &format!("--dns-listen={node}:53"),
            &format!("--admin-listen={admin}"),
            "--drain-seconds=0",
        ],
    );
    ready(&process, admin).await;
    process
}

fn root_zone(zones: &[Zone], server: IpAddr) -> Zone {
    let lines: Vec<String> = zones
        .iter()
        .map(|zone| format!("{0} NS ns.{0}\nns.{0} A {server}", zone.name))
        .collect();
    Zone::new(".", &lines.join("\n"))
}

async fn policy_service(world: &World) {
    let port = json!({"name": "http", "port": POLICY_PORT});
    world
        .apply::<Service>(
            Some(SYSTEM),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": POLICY_SERVICE},
                "spec": {"ports": [port]}}),
        )
        .await;
    let endpoints: Vec<Value> = NODES
        .iter()
        .map(|node| json!({"addresses": [node.to_string()], "conditions": {"ready": true}}))
        .collect();
    world
        .apply::<EndpointSlice>(
            Some(SYSTEM),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": format!("{POLICY_SERVICE}-1"),
                    "labels": {"kubernetes.io/service-name": POLICY_SERVICE}},
                "addressType": "IPv4", "ports": [port], "endpoints": endpoints}),
        )
        .await;
}

fn controller(world: &World) -> Process {
    Process::mta_sts(
        "controller",
        world.folder.path(),
        Some(&world.api.kubeconfig()),
        &[
            "controller",
            &format!("--namespace={SYSTEM}"),
            &format!("--admin-listen={}", loopback(free_port())),
            "--identity=controller",
            &format!("--policy-service={POLICY_SERVICE}"),
            &format!("--dns-root={ROOT}"),
            &format!("--ca-file={}", world.front.ca_file().display()),
            "--allow-target=127.0.0.0/8",
            "--allow-target=10.77.0.0/16",
            "--probe-interval=2",
        ],
    )
}

/// A customer's zone with an MX.
fn customer(name: &str, more: &str) -> Zone {
    Zone::dynamic(name, &format!("@ MX 10 mail\nmail A 192.0.2.25\n{more}"))
}

/// What `dig` prints about a question to one server.
fn dig(server: impl Into<IpAddr>, port: u16, args: &[&str]) -> String {
    let server: IpAddr = server.into();
    let output = Command::new("dig")
        .arg(format!("@{server}"))
        .args(["-p", &port.to_string(), "+norecurse", "+tries=1", "+time=2"])
        .args(args)
        .output()
        .expect("dig is installed (Debian: bind9-dnsutils)");
    String::from_utf8(output.stdout).unwrap()
}

/// The id that each of our name servers announces at a name.
fn ids(name: &str) -> Vec<Option<String>> {
    NODES
        .iter()
        .map(|node| id_in(&dig(*node, 53, &["+short", name, "TXT"])))
        .collect()
}

#[tokio::test]
async fn a_customer_points_two_names_here_and_no_token_is_needed() {
    let name = "a_customer_points_two_names_here_and_no_token_is_needed";
    if !netns::inside() {
        support::kube::assets();
        return netns::run(name, &ADDRESSES).await;
    }
    let domain = "example.org";
    let net = Net::start(vec![customer(domain, "")]).await;
    let world = &net.world;
    net.provider().await;
    net.policy(domain, json!({})).await;

    // Who has done nothing yet is told what to do, both names at once.
    let status = world
        .condition(domain, "Ready", "False", Some("NotDelegated"))
        .await;
    let message = find(&status, "Ready").unwrap().message.clone();
    for record in [
        "_mta-sts.example.org. CNAME _mta-sts.example.org.sts.example.net.",
        "mta-sts.example.org. CNAME mta-sts.example.org.sts.example.net.",
    ] {
        assert!(message.contains(record), "{message}");
    }
    assert!(find(&status, "Stalled").is_none() && find(&status, "Reconciling").is_none());
    let half = |code: &str| code == "record-delegation-broken";
    let mut codes = status.findings.iter().map(|finding| &finding.code);
    assert!(!codes.any(|code| half(code)), "{}", shown(&status));
    let manual = status.dns.as_ref().unwrap().records.iter();
    let manual: Vec<String> = manual
        .filter(|record| record.type_ == "CNAME")
        .map(|record| format!("{} {} {:?}", record.name, record.value, record.state))
        .collect();
    assert_eq!(
        manual,
        [
            "_mta-sts.example.org _mta-sts.example.org.sts.example.net Manual",
            "mta-sts.example.org mta-sts.example.org.sts.example.net Manual",
        ]
    );
    let own_txt = format!("_mta-sts.{domain}.{OWN}");
    assert_eq!(ids(&own_txt), [None, None], "nothing is announced");

    // Half of it is a finding that names the other half.
    let alias = |name: &str| format!("update add {name}.{domain} 60 CNAME {name}.{domain}.{OWN}");
    world.nsupdate(&alias("mta-sts"));
    let status = world
        .condition(domain, "Healthy", "False", Some("RecordDelegationBroken"))
        .await;
    let mut findings = status.findings.iter();
    let finding = findings.find(|finding| half(&finding.code)).unwrap();
    assert!(
        finding
            .message
            .contains("set _mta-sts.example.org. CNAME _mta-sts.example.org.sts.example.net."),
        "{}",
        finding.message
    );
    assert_eq!(ids(&own_txt), [None, None], "nobody would see it");

    world.nsupdate(&alias("_mta-sts"));
    let serial = world.bind.lock().unwrap().serial(domain);
    let status = world.ready(domain).await;
    let first = status.policy.unwrap().id;
    assert_eq!(ids(&own_txt), [Some(first.clone()), Some(first.clone())]);
    assert!(world.body(domain).await.unwrap().contains("mode: testing"));

    net.policy(domain, json!({"mode": "enforce"})).await;
    let status = world.ready(domain).await;
    let second = status.policy.unwrap().id;
    assert!(second > first);
    assert_eq!(ids(&own_txt), [Some(second.clone()), Some(second.clone())]);

    // The provider object may go: what was announced stays, also over a restart.
    let api = Api::<ClusterDnsProvider>::all(world.client.clone());
    api.delete("own", &DeleteParams::default()).await.unwrap();
    world.delete(domain).await;
    eventually("the TXT record is gone", SOON, async || {
        ensure(ids(&own_txt) == [None, None], "still there")
    })
    .await;
    world
        .body(domain)
        .await
        .expect("it is served until the TTL has passed");
    let address = dig(
        NODES[0],
        53,
        &["+short", &format!("mta-sts.{domain}.{OWN}"), "A"],
    );
    assert_eq!(address.trim(), NODES[0].to_string());
    eventually("everything is gone", 2 * SOON, async || {
        ensure(world.record(domain).await.is_none(), "the record is there")?;
        let address = dig(NODES[1], 53, &[&format!("mta-sts.{domain}.{OWN}"), "A"]);
        ensure(address.contains("NXDOMAIN"), address)
    })
    .await;
    let after = world.bind.lock().unwrap().serial(domain);
    assert_eq!(after, serial, "nobody wrote into the customer's zone");
    for server in &net.servers {
        server.assert_alive();
    }
}

#[tokio::test]
async fn a_customer_delegates_the_names_themselves() {
    let name = "a_customer_delegates_the_names_themselves";
    if !netns::inside() {
        support::kube::assets();
        return netns::run(name, &ADDRESSES).await;
    }
    let domain = "example.com";
    let lines: String = ["_mta-sts", "mta-sts"]
        .iter()
        .map(|name| format!("{name} NS ns1.example.net.\n{name} NS ns2.example.net.\n"))
        .collect();
    let net = Net::start(vec![customer(domain, &lines)]).await;
    let world = &net.world;
    net.provider().await;

    // An alias cannot stand at the top of a zone.
    net.policy(
        domain,
        json!({"hosting": {"address": {"ipv4": null, "cname": "ns1.example.net"}}}),
    )
    .await;
    let status = world
        .condition(domain, "PolicyServed", "False", Some("AddressPending"))
        .await;
    let message = &find(&status, "PolicyServed").unwrap().message;
    assert!(message.contains("top of a zone"), "{message}");

    net.policy(
        domain,
        json!({"hosting": {"address": {"ipv4": [NODES[0].to_string()]}}}),
    )
    .await;
    let status = world.ready(domain).await;
    let id = status.policy.unwrap().id;
    assert_eq!(
        ids("_mta-sts.example.com"),
        [Some(id.clone()), Some(id.clone())]
    );

    // The zones are found again by a policy server that starts later, from what is stored.
    let zones = Api::<ConfigMap>::namespaced(world.client.clone(), SYSTEM);
    let zones = zones.get("mta-sts-zones").await.unwrap();
    assert!(zones.data.unwrap()["zones.json"].contains(OWN));
}

#[tokio::test]
async fn a_provider_says_what_is_missing_for_its_zone() {
    let name = "a_provider_says_what_is_missing_for_its_zone";
    if !netns::inside() {
        support::kube::assets();
        return netns::run(name, &ADDRESSES).await;
    }
    let net = Net::start(vec![customer("example.org", "")]).await;
    net.provider().await;
    let servers = ["ns1.example.net", "ns2.example.net"];

    // Not delegated, then somebody else's, then one that no name server answers for.
    net.apply_provider(
        "bare",
        json!({"zone": "bare.example.net", "nameServers": servers}),
    )
    .await;
    let message = net.provider_is("bare", "False", "NotDelegated").await;
    let record = "bare.example.net. NS ns1.example.net.";
    assert!(message.contains(record), "{message}");
    net.world
        .nsupdate("update add bare.example.net 60 NS ns1.example.net");
    net.provider_is("bare", "True", "Accepted").await;

    for (name, zone) in [
        ("nested", "example.org.sts.example.net"),
        ("above", "example.net"),
    ] {
        net.apply_provider(
            name,
            json!({"zone": zone, "nameServers": ["ns1.example.com"]}),
        )
        .await;
        net.provider_is(name, "False", "NotAllowed").await;
    }
    always("the zone keeps its name servers", MOMENT, async || {
        let servers = dig(NODES[1], 53, &["+short", OWN, "NS"]);
        ensure(servers.contains("ns2.example.net"), servers)
    })
    .await;
}
