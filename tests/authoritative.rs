//! The operator's own name servers: a customer points two names at them, once, and nobody needs
//! access to his zone.
//!
//! The tests with an operator run in a network of their own, where it walks the DNS from a
//! root: BIND has the root, the customers' zones and the zone that delegates ours. The others ask one
//! name server alone, beside BIND and Knot with the same zone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams};
use mta_sts_operator::api::{ClusterDnsProvider, RecordState};
use mta_sts_operator::lifecycle::Address;
use mta_sts_operator::lifecycle::own_zone::OwnZone;
use mta_sts_operator::probe::endpoint::fetch_endpoint;
use mta_sts_operator::protocol::Domain;
use mta_sts_operator::serve::dns::listener::{Counts, Server, Sockets};
use mta_sts_operator::serve::dns::names::{Names, Said, Word};
use mta_sts_operator::serve::dns::sign::Signer;
use mta_sts_operator::serve::listener::Phase;
use serde_json::{Value, json};
use support::bind::{Bind, Zone};
use support::front::Front;
use support::knot::Knot;
use support::netns;
use support::ports::{free_port, loopback};
use support::process::Process;
use support::wait::{always, ensure, eventually};
use support::world::{KEY, SOON, SYSTEM, World, find, id_in, ready, shown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Serves the root zone.
const ROOT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
/// The policy servers; the first one's address is that of the public front too. The delegation leads
/// to the first two only, as a load balancer does at a time.
const NODES: [Ipv4Addr; 3] = [
    Ipv4Addr::new(10, 77, 0, 2),
    Ipv4Addr::new(10, 77, 0, 3),
    Ipv4Addr::new(10, 77, 0, 4),
];
const ADDRESSES: [&str; 4] = ["127.0.0.53", "10.77.0.2", "10.77.0.3", "10.77.0.4"];
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
                "sts NS ns1\nsts NS ns2\nns1 A {0}\nns2 A {1}\nfront A {0}",
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
    let ports = json!([{"name": "http", "port": POLICY_PORT},
        {"name": "dns", "port": 53, "protocol": "UDP"}]);
    world
        .apply::<Service>(
            Some(SYSTEM),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": POLICY_SERVICE},
                "spec": {"ports": ports}}),
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
                "addressType": "IPv4", "ports": ports, "endpoints": endpoints}),
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
            "--retirement-delay=0",
            "--smtp=Never",
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

/// Holds each policy server to the order: what it announces is never newer than what any of them
/// serves a moment later. Gives how often it looked.
async fn observe(domain: &'static str, ends: watch::Receiver<bool>) -> usize {
    let host = Domain::parse(domain).unwrap().policy_host();
    let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    let mut buffer = [0; 1232];
    let mut looks = 0;
    while !*ends.borrow() {
        let node = NODES[looks % NODES.len()];
        let question = question(domain, 1);
        socket.send_to(&question, (node, 53)).await.unwrap();
        let length = timeout(SOON, socket.recv(&mut buffer)).await.unwrap();
        let said = String::from_utf8_lossy(&buffer[..length.unwrap()]).into_owned();
        let announced = id_in(&said).expect("it was announced before");
        for node in NODES {
            let served = fetch_endpoint((node, POLICY_PORT).into(), &host).await;
            let served = served.unwrap().etag.unwrap();
            let served = served.trim_matches('"');
            assert!(
                *announced <= *served,
                "{announced} is announced and {node} serves {served}"
            );
        }
        looks += 1;
        // Below what a network of clients gets of equal answers.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    looks
}

/// The same id at each of our name servers.
fn each(id: &str) -> Vec<Option<String>> {
    vec![Some(id.to_owned()); NODES.len()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_points_two_names_here_and_no_token_is_needed() {
    let name = "a_customer_points_two_names_here_and_no_token_is_needed";
    if !netns::inside() {
        support::kube::assets();
        return netns::run(name, &ADDRESSES).await;
    }
    let domain = "example.org";
    let mut net = Net::start(vec![customer(domain, "")]).await;
    net.provider().await;
    // As a load balancer that has a name.
    let hosting = json!({"address": {"ipv4": null, "cname": "front.example.net"}});
    net.policy(domain, json!({"hosting": hosting})).await;
    let world = &net.world;

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
        .filter(|record| record.state == RecordState::Manual)
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
    assert_eq!(ids(&own_txt), [None, None, None], "nothing is announced");

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
    assert_eq!(ids(&own_txt), [None, None, None], "nobody would see it");

    world.nsupdate(&alias("_mta-sts"));
    let serial = world.bind.lock().unwrap().serial(domain);
    let status = world.ready(domain).await;
    let first = status.policy.unwrap().id;
    assert_eq!(ids(&own_txt), each(&first));
    assert!(world.body(domain).await.unwrap().contains("mode: testing"));

    let (end, ends) = watch::channel(false);
    let observer = tokio::spawn(observe(domain, ends));
    let enforce = json!({"mode": "enforce", "hosting": hosting});
    net.policy(domain, enforce).await;
    let status = world.ready(domain).await;
    let second = status.policy.clone().unwrap().id;
    assert!(second > first);
    assert_eq!(ids(&own_txt), each(&second));

    end.send_replace(true);
    let looks = observer.await.unwrap();
    assert!(looks > 2, "{looks} looks");

    // Each was asked, not only those that the delegation leads to.
    let records = status.dns.unwrap().records;
    let txt = records.iter().find(|record| record.type_ == "TXT").unwrap();
    let asked: Vec<&str> = txt.servers.iter().map(|s| s.address.as_str()).collect();
    assert!(asked.contains(&"10.77.0.4:53"), "{asked:?}");

    // The provider object may go: what was announced stays, also over a restart.
    let api = Api::<ClusterDnsProvider>::all(world.client.clone());
    api.delete("own", &DeleteParams::default()).await.unwrap();
    net.servers.pop().unwrap().terminate(SOON).await;
    let again = policy_server(world, NODES[2]).await;
    assert_eq!(ids(&own_txt), each(&second));
    net.servers.push(again);
    world.delete(domain).await;
    eventually("the TXT record is gone", SOON, async || {
        ensure(ids(&own_txt) == [None, None, None], "still there")
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
    assert_eq!(address.trim(), "front.example.net.");
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
        json!({"deletionPolicy": "Graceful",
            "hosting": {"address": {"ipv4": [NODES[0].to_string()]}}}),
    )
    .await;
    let status = world.ready(domain).await;
    let id = status.policy.unwrap().id;
    assert_eq!(ids("_mta-sts.example.com"), each(&id));

    // The zones are found again by a policy server that starts later, from what is stored.
    let zones = Api::<ConfigMap>::namespaced(world.client.clone(), SYSTEM);
    let zones = zones.get("mta-sts-zones").await.unwrap();
    assert!(zones.data.unwrap()["zones.json"].contains(OWN));

    // On its way out the domain announces mode none, which the provider object is not needed for.
    let api = Api::<ClusterDnsProvider>::all(world.client.clone());
    api.delete("own", &DeleteParams::default()).await.unwrap();
    world.delete(domain).await;
    eventually("mode none is announced", SOON, async || {
        let announced = ids("_mta-sts.example.com");
        let newer = |other: &Option<String>| other.as_ref().is_some_and(|other| *other > id);
        ensure(announced.iter().all(newer), format!("{announced:?}"))
    })
    .await;
    assert!(world.body(domain).await.unwrap().contains("mode: none"));
}

/// What each of our name servers answers as TXT at a name.
fn texts(name: &str) -> Vec<String> {
    let shown = |node: &Ipv4Addr| dig(*node, 53, &["+short", name, "TXT"]);
    let shown = NODES.iter().map(shown);
    shown.map(|shown| shown.trim().to_owned()).collect()
}

async fn each_answers(name: &str, text: &str) {
    let expected = vec![text.to_owned(); NODES.len()];
    eventually(&format!("{name} is {text:?}"), SOON, async || {
        let found = texts(name);
        ensure(found == expected, format!("{found:?}"))
    })
    .await;
}

#[tokio::test]
async fn reports_are_asked_for_where_a_third_name_leads_here() {
    let name = "reports_are_asked_for_where_a_third_name_leads_here";
    if !netns::inside() {
        support::kube::assets();
        return netns::run(name, &ADDRESSES).await;
    }
    let (alias, delegated) = ("example.org", "example.com");
    let of_alias = |name| format!("{name} CNAME {name}.{alias}.{OWN}.\n");
    let aliases: String = ["_mta-sts", "mta-sts"].map(of_alias).concat();
    let of_zone = |name| format!("{name} NS ns1.example.net.\n{name} NS ns2.example.net.\n");
    let zones: String = ["_mta-sts", "mta-sts", "_smtp._tls"].map(of_zone).concat();
    let net = Net::start(vec![customer(alias, &aliases), customer(delegated, &zones)]).await;
    let world = &net.world;
    net.provider().await;
    let rua = |rua: &str| json!({"tlsReporting": {"rua": [rua]}});
    let text = |rua: &str| format!("\"v=TLSRPTv1; rua={rua};\"");
    let (first, second) = (
        "mailto:tlsrpt@example.net",
        "https://reports.example.net/v1",
    );

    // It is answered, and half a delegation is told: nobody is led to the answer.
    net.policy(alias, rua(first)).await;
    let manual = Some("ManualActionNeeded");
    let status = world
        .condition(alias, "TlsReporting", "False", manual)
        .await;
    let own = format!("_smtp._tls.{alias}.{OWN}");
    let line = format!("set _smtp._tls.{alias}. CNAME {own}.");
    let message = find(&status, "TlsReporting").unwrap().message.clone();
    assert!(message.contains(&line), "{message}");
    let records = status.dns.as_ref().unwrap().records.iter();
    let mut manual = records.filter(|record| record.state == RecordState::Manual);
    let told = manual.next().unwrap();
    assert_eq!((&*told.type_, &*told.value), ("CNAME", &*own));
    each_answers(&own, &text(first)).await;
    let broken = Some("RecordDelegationBroken");
    let status = world.condition(alias, "Healthy", "False", broken).await;
    let mut findings = status.findings.iter();
    assert!(
        findings.any(|f| f.message.contains(&line)),
        "{}",
        shown(&status)
    );

    world.nsupdate(&format!("update add _smtp._tls.{alias} 60 CNAME {own}"));
    world.ready(alias).await;
    let status = world
        .condition(alias, "TlsReporting", "True", Some("Published"))
        .await;
    let records = status.dns.unwrap().records;
    let txt = records.iter().find(|r| r.name == own).unwrap();
    // Each was asked, not only those that the delegation leads to.
    let asked: Vec<&str> = txt.servers.iter().map(|s| s.address.as_str()).collect();
    assert!(asked.contains(&"10.77.0.4:53"), "{asked:?}");

    net.policy(alias, rua(second)).await;
    each_answers(&own, &text(second)).await;
    net.policy(alias, json!({"tlsReporting": null})).await;
    each_answers(&own, "").await;
    world
        .condition(alias, "TlsReporting", "True", Some("NotAsked"))
        .await;

    // A name that is delegated is a zone of its own.
    net.policy(delegated, rua(first)).await;
    world.ready(delegated).await;
    world
        .condition(delegated, "TlsReporting", "True", Some("Published"))
        .await;
    let name = format!("_smtp._tls.{delegated}");
    each_answers(&name, &text(first)).await;
    world.delete(delegated).await;
    each_answers(&name, "").await;
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

    net.apply_provider(
        "bare",
        json!({"zone": "bare.example.net", "nameServers": servers}),
    )
    .await;
    let message = net.provider_is("bare", "False", "NotDelegated").await;
    let record = "bare.example.net. NS ns1.example.net.";
    assert!(message.contains(record), "{message}");

    for (name, zone) in [
        ("zz-nested", "example.org.sts.example.net"),
        ("zz-above", "example.net"),
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

/// One name server alone, with example.org and a.b.example.com below our zone.
struct Alone {
    address: SocketAddr,
    _phase: watch::Sender<Phase>,
    task: JoinHandle<()>,
}

impl Alone {
    async fn start() -> Self {
        Self::with_signer(None).await
    }

    /// The same with a key that signs.
    async fn with_signer(signer: Option<Arc<Signer>>) -> Self {
        let names = Arc::new(Names::default());
        names.set_zones(&[OwnZone {
            zone: OWN.parse().unwrap(),
            name_servers: vec!["ns1.example.net".parse().unwrap()],
        }]);
        for (domain, address) in [
            ("example.org", Address::A([192, 0, 2, 1].into())),
            (
                "a.b.example.com",
                Address::Cname("front.example.net".to_owned()),
            ),
        ] {
            let said = Said {
                zone: OWN.parse().unwrap(),
                txt: Some((ID.parse().unwrap(), 300)),
                addresses: vec![address].into(),
                ttl: 300,
                tls_rpt: None,
                serial: 1,
            };
            names.set(domain, Some(Word::Said(said)));
        }
        names.complete();
        let sockets = Sockets::bind(loopback(0)).await.unwrap();
        let address = sockets.address().unwrap();
        let (phase, phases) = watch::channel(Phase::Serving);
        let server = Server {
            names,
            counts: Counts::default(),
            signer,
            limiter: Arc::default(),
        };
        let task = tokio::spawn(async move { server.serve(sockets, phases).await });
        Self {
            address,
            _phase: phase,
            task,
        }
    }

    /// What it answers to octets, if anything before `MOMENT` is over.
    async fn datagram(&self, octets: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind(loopback(0)).await.unwrap();
        socket.send_to(octets, self.address).await.unwrap();
        let mut buffer = vec![0; 65_535];
        let received = timeout(MOMENT, socket.recv(&mut buffer)).await.ok()?;
        buffer.truncate(received.unwrap());
        Some(buffer)
    }

    async fn assert_alive(&self) {
        assert!(!self.task.is_finished());
        let answer = self.datagram(&question("example.org", 7)).await.unwrap();
        assert_eq!(answer[..2], [0, 7]);
        assert_eq!(answer[3] & 15, 0);
    }
}

const ID: &str = "20261125000000aaaaaaaabbbbbb";

/// The same zone as BIND and Knot have it.
const ZONE_TEXT: &str = "_mta-sts.example.org TXT \"v=STSv1; id=20261125000000aaaaaaaabbbbbb;\"\n\
    mta-sts.example.org A 192.0.2.1\n\
    _mta-sts.a.b.example.com TXT \"v=STSv1; id=20261125000000aaaaaaaabbbbbb;\"\n\
    mta-sts.a.b.example.com CNAME front.example.net.\n";

/// A question for the TXT record of a domain below our zone.
fn question(domain: &str, id: u8) -> Vec<u8> {
    let mut octets = vec![0, id, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in format!("_mta-sts.{domain}.{OWN}").split('.') {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend(label.as_bytes());
    }
    octets.extend([0, 0, 16, 0, 1]);
    octets
}

/// Code, flags and answers as `dig` prints them, and whose SOA denies; sizes and times left out.
fn essence(printed: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in printed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some((_, status)) = line.split_once("status: ") {
            found.push(status.split(',').next().unwrap().to_owned());
        } else if let Some(rest) = line.strip_prefix(";; flags: ") {
            found.push(rest.split(';').next().unwrap().to_owned());
        } else if line.starts_with("; EDNS") {
            let edns = line.split(", udp").next().unwrap().split(" udp").next();
            found.push(edns.unwrap().to_owned());
        } else if words.get(3) == Some(&"SOA") {
            found.push(format!("SOA of {}", words[0]));
        } else if !line.starts_with(';') && words.len() > 4 {
            // Whose capitals an owner name has, the question's or the zone's, differs among all.
            let owner = words[0].to_lowercase();
            found.push(format!("{} {} {}", owner, words[3], words[4..].join(" ")));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_as_bind_and_knot_do() {
    let ours = Alone::start().await;
    let zone = Zone::new(OWN, ZONE_TEXT).with_name_servers("@ NS ns1.example.net.");
    let bind = Bind::start(&[zone], &[]);
    let knot = Knot::with_records(&[OWN], KEY, ZONE_TEXT);
    let others = [("BIND", bind.address()), ("Knot", knot.address())];
    let below = |name: &str| format!("{name}.{OWN}");
    let names = [
        below("_mta-sts.example.org"),
        below("_MTA-sts.eXample.ORG"),
        below("mta-sts.example.org"),
        below("mta-sts.a.b.example.com"),
        below("example.org"),
        below("b.example.com"),
        below("org"),
        below("x.example.org"),
        below("x._mta-sts.example.org"),
        below("x"),
        OWN.to_owned(),
        "example.com".to_owned(),
    ];
    let ways: [&[&str]; 5] = [
        &["+noedns"],
        &["+edns=0", "+nocookie"],
        &["+edns=0", "+nocookie", "+dnssec"],
        &["+tcp", "+nocookie"],
        &["+edns=1", "+noednsneg", "+nocookie"],
    ];
    for name in &names {
        for record_type in ["TXT", "A", "AAAA", "CNAME", "MX", "DS"] {
            for way in ways {
                let args = |server: SocketAddr| {
                    let shown = ["+noall", "+comments", "+answer", "+authority"];
                    let mut args: Vec<&str> = shown.to_vec();
                    args.extend(way);
                    args.extend([name.as_str(), record_type]);
                    essence(&dig(server.ip(), server.port(), &args))
                };
                let answer = args(ours.address);
                assert!(answer.len() > 1, "{name} {record_type} {way:?}: {answer:?}");
                for (who, server) in others {
                    assert_eq!(answer, args(server), "{who}: {name} {record_type} {way:?}");
                }
            }
        }
    }
    let any = dig(
        ours.address.ip(),
        ours.address.port(),
        &["+notcp", &names[0], "ANY"],
    );
    assert!(any.contains("RFC8482"), "{any}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_sent_nothing_is_reflected_and_nothing_ends() {
    let server = Alone::start().await;
    let good = question("example.org", 1);
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(&str, Change<'_>, Option<u8>); 9] = [
        ("an answer", &|o| o[2] = 0x84, None),
        ("nothing", &|o| o.clear(), None),
        ("half a header", &|o| o.truncate(7), None),
        ("half a name", &|o| o.truncate(20), Some(1)),
        ("no question", &|o| o[5] = 0, Some(1)),
        ("two questions", &|o| o[5] = 2, Some(1)),
        (
            "a loop",
            &|o| o[12..14].copy_from_slice(&[0xC0, 0x0C]),
            Some(1),
        ),
        ("an update", &|o| o[2] = 0x28, Some(4)),
        ("a long tail", &|o| o.extend([0xFF; 3000]), Some(0)),
    ];
    for (case, change, code) in cases {
        let mut octets = good.clone();
        change(&mut octets);
        let answer = server.datagram(&octets).await;
        assert_eq!(answer.as_ref().map(|a| a[3] & 15), code, "{case}");
        if let Some(answer) = answer.filter(|_| code != Some(0)) {
            assert!(answer.len() <= octets.len(), "{case}: it is made larger");
        }
        server.assert_alive().await;
    }
    // Over TCP: a length that nothing follows, one that is too long, and many at once.
    for octets in [&[0, 200, 1][..], &[255, 255], &[0, 0], &[0, 3, 1, 2, 3]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(octets).await.unwrap();
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty());
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for id in 1..=3 {
        let octets = question("example.org", id);
        let length = u16::try_from(octets.len()).unwrap();
        let framed = [&length.to_be_bytes()[..], &octets].concat();
        stream.write_all(&framed).await.unwrap();
    }
    for id in 1..=3 {
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[1], id);
    }
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_often_is_asked_to_come_by_tcp() {
    let server = Alone::start().await;
    let socket = UdpSocket::bind(loopback(0)).await.unwrap();
    let octets = question("example.org", 1);
    let (mut whole, mut cut) = (0, 0);
    let mut buffer = vec![0; 65_535];
    for _ in 0..200 {
        socket.send_to(&octets, server.address).await.unwrap();
        while let Ok(Ok(_)) = timeout(Duration::from_millis(2), socket.recv(&mut buffer)).await {
            match buffer[2] & 2 {
                0 => whole += 1,
                _ => cut += 1,
            }
        }
    }
    assert!((20..120).contains(&whole), "{whole} whole answers");
    assert!(cut > 20, "{cut} were cut off");
    let (ip, port) = (server.address.ip(), server.address.port());
    let name = format!("_mta-sts.example.org.{OWN}");
    let by_tcp = dig(ip, port, &["+tcp", "+short", &name, "TXT"]);
    assert_eq!(id_in(&by_tcp).as_deref(), Some(ID));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_that_others_wrote_believes_what_is_signed() {
    let folder = support::keeper::folder("dnssec");
    let key = folder.path().join("dnssec.key");
    let made = Command::new("openssl")
        .args([
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
        ])
        .arg(&key)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    let signer = Arc::new(Signer::from_file(&key).unwrap());
    let server = Alone::with_signer(Some(signer)).await;
    let (ip, port) = (server.address.ip(), server.address.port());
    let below = |name: &str| format!("{name}.{OWN}");
    for (zone, name, record_type, expected) in [
        (OWN, below("_mta-sts.example.org"), "TXT", "fully validated"),
        (OWN, below("_MTA-sts.Example.ORG"), "TXT", "fully validated"),
        (OWN, below("mta-sts.example.org"), "A", "fully validated"),
        (OWN, OWN.to_owned(), "SOA", "fully validated"),
        (OWN, OWN.to_owned(), "NS", "fully validated"),
        (
            OWN,
            below("mta-sts.example.org"),
            "AAAA",
            "negative response, fully validated",
        ),
        (
            OWN,
            below("x.example.org"),
            "A",
            "negative response, fully validated",
        ),
        (
            OWN,
            below("example.org"),
            "A",
            "negative response, fully validated",
        ),
        (
            OWN,
            OWN.to_owned(),
            "TXT",
            "negative response, fully validated",
        ),
        (
            "_mta-sts.example.org",
            "_mta-sts.example.org".to_owned(),
            "TXT",
            "fully validated",
        ),
        (
            "mta-sts.example.org",
            "mta-sts.example.org".to_owned(),
            "MX",
            "negative response, fully validated",
        ),
    ] {
        let anchor = folder.path().join("anchor");
        let dnskey = dig(ip, port, &["+short", zone, "DNSKEY"]);
        let mut words = dnskey.split_whitespace();
        let numbers = words.by_ref().take(3).collect::<Vec<_>>().join(" ");
        let public: String = words.collect();
        let text = format!("trust-anchors {{ \"{zone}\" static-key {numbers} \"{public}\"; }};");
        std::fs::write(&anchor, text).unwrap();
        let output = Command::new("delv")
            .args([&format!("@{ip}"), "-p", &port.to_string(), "-a"])
            .arg(&anchor)
            .args([&format!("+root={zone}"), &name, record_type])
            .output()
            .expect("delv is installed (Debian: bind9-dnsutils)");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        let verdict = said.lines().find(|line| line.starts_with("; "));
        assert_eq!(
            verdict,
            Some(format!("; {expected}").as_str()),
            "{name} {record_type}: {said}"
        );
    }
    // Who does not ask for signatures is told of a missing name as ever.
    let plain = dig(ip, port, &[&below("x.example.org"), "A"]);
    assert!(
        plain.contains("NXDOMAIN") && !plain.contains("RRSIG"),
        "{plain}"
    );
    let compact = dig(ip, port, &["+dnssec", &below("x.example.org"), "A"]);
    assert!(
        compact.contains("NOERROR") && compact.contains("TYPE128"),
        "{compact}"
    );

    // What is no key is refused, and not shown.
    std::fs::write(
        &key,
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let error = Signer::from_file(&key).unwrap_err().to_string();
    assert!(
        error.contains("openssl genpkey") && !error.contains("c2Vj"),
        "{error}"
    );
}
