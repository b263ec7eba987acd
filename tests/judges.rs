//! Programs that others wrote judge what we publish: three readers of policies, and Postfix.
//!
//! Everything runs in a network of its own, by the ports that the RFCs say and without any flag that
//! leads the operator elsewhere: it walks the DNS from a root, finds its policy servers in an
//! EndpointSlice, and looks at the public URL on port 443.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use mta_sts_operator::api::MtaStsPolicyStatus;
use serde_json::{Value, json};
use support::bind::{Bind, Zone};
use support::front::Front;
use support::netns;
use support::peers::{self, Peers, READERS, Understood};
use support::ports::{free_port, loopback};
use support::postfix::Postfix;
use support::process::Process;
use support::tls::TestCa;
use support::wait::{ensure, eventually};
use support::world::{KEY, SOON, SYSTEM, World, message, ready};

/// Serves the root zone.
const ROOT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
/// Has the policy server and the public front: an EndpointSlice takes no loopback address.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The MX of all domains.
const MX: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 25);
/// Sends mail.
const SENDER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
const ADDRESSES: [&str; 4] = ["127.0.0.53", "10.77.0.2", "10.77.0.25", "10.77.0.9"];

const POLICY_SERVICE: &str = "mta-sts-policy";
const POLICY_PORT: u16 = 8080;

#[tokio::test]
async fn three_independent_readers_accept_what_is_published() {
    if !netns::inside() {
        return outside("three_independent_readers_accept_what_is_published").await;
    }
    let plain = "example.org";
    let crowded = "wildcard.example";
    let zones = vec![
        zone(plain, ""),
        // Any name that is not there has a TXT record and an address.
        zone(crowded, "* TXT \"v=spf1 -all\"\n* A 192.0.2.80\n"),
    ];
    let net = Net::start(zones).await;
    let peers = Peers::get(net.world.front.ca_file());
    for reader in READERS {
        let nothing = peers.read(reader, plain);
        assert!(nothing.is_err(), "nothing is published yet: {nothing:?}");
    }

    // Two domains at once, in every mode, with the longest and the shortest max_age that all
    // readers take, with several patterns. The last step is published without any mx in the spec.
    let many = json!([
        "*.mx.example.net",
        "mail.example.org",
        "mail.wildcard.example"
    ]);
    let steps = [
        json!({"mode": "testing", "mx": many, "maxAgeSeconds": 86400}),
        json!({"mode": "enforce", "mx": many}),
        json!({"mode": "enforce", "mx": many, "maxAgeSeconds": 31_557_600}),
        json!({"mode": "none", "mx": null}),
    ];
    let expected = [
        ("testing", 86400),
        ("enforce", 604_800),
        ("enforce", 31_557_600),
        ("none", 86400),
    ];
    let mut last = [String::new(), String::new()];
    for (step, (mode, max_age)) in steps.iter().zip(expected) {
        for domain in [plain, crowded] {
            net.apply(domain, step).await;
        }
        for (domain, last) in [plain, crowded].into_iter().zip(&mut last) {
            let status = net.published(domain, mode).await;
            let policy = status.policy.unwrap();
            assert!(policy.id > *last, "{domain}: {} after {last}", policy.id);
            let ours = Understood {
                id: policy.id.clone(),
                mode: mode.to_owned(),
                max_age,
                mx: serde_json::from_value(many.clone()).unwrap(),
            };
            for reader in READERS {
                let theirs = peers.read(reader, domain);
                assert_eq!(theirs.as_ref(), Ok(&ours), "{reader:?} on {domain}");
            }
            *last = policy.id;
        }
    }

    for domain in [plain, crowded] {
        net.world.delete(domain).await;
        eventually("no id is announced", SOON, async || {
            let found = net.world.txt(domain);
            ensure(!found.contains("STSv1"), found)
        })
        .await;
        for reader in READERS {
            let nothing = peers.read(reader, domain);
            assert!(nothing.is_err(), "it is retired: {nothing:?}");
        }
    }
}

#[tokio::test]
async fn postfix_sends_mail_by_what_is_published() {
    if !netns::inside() {
        return outside("postfix_sends_mail_by_what_is_published").await;
    }
    let domain = "example.org";
    let to = "postmaster@example.org";
    let ca = TestCa::new("certificates of mail servers");
    let net = Net::start_trusting(vec![zone(domain, "")], &ca.pem()).await;
    let ca_file = net.world.folder.path().join("mail-ca.crt");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let peers = Peers::get(net.world.front.ca_file());
    let policies = loopback(8461);
    let _daemon = peers.daemon(policies).await;
    let sender = Postfix::sender(SENDER, policies, &ca_file).await;

    // While the MX would be refused, enforce waits.
    let mx = Postfix::mx(MX, &[domain], &ca, "mail.impostor.example").await;
    net.apply(domain, &json!({"mode": "enforce"})).await;
    let held = net
        .world
        .condition(domain, "Ready", "False", Some("EnforceHeld"))
        .await;
    let told = message(&held, "Ready");
    assert!(told.contains("mail.impostor.example"), "{told}");
    assert!(told.contains("mode testing stays"), "{told}");
    mx.stop().await;
    let mx = Postfix::mx(MX, &[domain], &ca, "mail.example.org").await;
    net.published(domain, "enforce").await;
    sender.submit(to, "To the right server");
    arrives(&mx, "To the right server").await;
    sender
        .process
        .logged(
            "Verified TLS connection established to mail.example.org[10.77.0.25]:25",
            SOON,
        )
        .await;

    // Somebody else at the same address, with a valid certificate for his own name.
    mx.stop().await;
    let mx = Postfix::mx(MX, &[domain], &ca, "mail.impostor.example").await;
    sender.submit(to, "To the wrong server");
    let refused = sender.process.logged("status=deferred", SOON).await;
    assert!(
        refused.contains("Server certificate not verified"),
        "{refused}"
    );
    eventually("it is tried again", SOON, async || {
        let tries = sender.process.log().matches("status=deferred").count();
        ensure(tries > 1, format!("tried {tries} times"))
    })
    .await;
    assert!(!mx.has("To the wrong server"));

    // The same message goes out by the new policy: the sender asks for the id again as soon as the
    // TTL of the record has passed.
    net.apply(domain, &json!({"mode": "testing"})).await;
    net.published(domain, "testing").await;
    arrives(&mx, "To the wrong server").await;
}

async fn outside(test: &str) {
    // Inside there is no network to get them by.
    peers::folder();
    support::kube::assets();
    netns::run(test, &ADDRESSES).await;
}

/// The sender may have to wait until the TTL of a record has passed.
async fn arrives(mx: &Postfix, subject: &str) {
    eventually(subject, 2 * SOON, async || {
        ensure(mx.has(subject), mx.process.log_end())
    })
    .await;
}

/// A zone with an MX `mail.<zone>`.
fn zone(name: &str, more: &str) -> Zone {
    Zone::dynamic(name, &format!("@ MX 10 mail\nmail A {MX}\n{more}"))
}

/// A small Internet: a root, a DNS server for the domains, a front on 443; and the operator in a
/// cluster that it learns its policy server from.
struct Net {
    world: World,
    _root: Bind,
    _server: Process,
    _controller: Process,
}

impl Net {
    async fn start(zones: Vec<Zone>) -> Self {
        Self::start_trusting(zones, "").await
    }

    /// The same with an operator that trusts these certificates as well.
    async fn start_trusting(zones: Vec<Zone>, more: &str) -> Self {
        let name_server: IpAddr = netns::NAME_SERVER.parse().unwrap();
        let root = Bind::try_start((ROOT, 53).into(), &[root_zone(&zones, name_server)], &[]);
        let bind = Bind::try_start((name_server, 53).into(), &zones, &[KEY]).unwrap();
        let front = Front::start_on((NODE, 443).into()).await;
        std::fs::write(front.ca_file(), front.ca_pem() + more).unwrap();
        let domains: Vec<String> = zones.iter().map(|zone| zone.name.clone()).collect();
        let world = World::with_parts(front, bind, zones).await;

        let listen = SocketAddr::from((NODE, POLICY_PORT));
        let admin = loopback(free_port());
        let server = world.serve_on("serve", &world.api.kubeconfig(), listen, admin);
        ready(&server, admin).await;
        policy_service(&world).await;
        let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
        world.route(&domains, listen).await;
        world.provider(world.dns()).await;
        let controller = controller(&world);
        Self {
            world,
            _root: root.unwrap(),
            _server: server,
            _controller: controller,
        }
    }

    async fn apply(&self, domain: &str, spec: &Value) {
        let mut spec = spec.clone();
        spec["hosting"] = json!({"address": {"ipv4": [NODE.to_string()]}});
        self.world.policy(domain, spec).await;
    }

    async fn published(&self, domain: &str, mode: &str) -> MtaStsPolicyStatus {
        let status = self.world.ready(domain).await;
        let policy = status.policy.as_ref().unwrap();
        assert_eq!(policy.mode.to_string(), mode);
        status
    }
}

/// Delegates the zones to the server that has them.
fn root_zone(zones: &[Zone], server: IpAddr) -> Zone {
    let lines: Vec<String> = zones
        .iter()
        .map(|zone| format!("{0} NS ns.{0}\nns.{0} A {server}", zone.name))
        .collect();
    Zone::new(".", &lines.join("\n"))
}

/// What a chart makes, and what Kubernetes makes of it.
async fn policy_service(world: &World) {
    let port = json!({"name": "http", "port": POLICY_PORT});
    world
        .apply::<Service>(
            Some(SYSTEM),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": POLICY_SERVICE},
                "spec": {"ports": [port]}}),
        )
        .await;
    world
        .apply::<EndpointSlice>(
            Some(SYSTEM),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": format!("{POLICY_SERVICE}-1"),
                    "labels": {"kubernetes.io/service-name": POLICY_SERVICE}},
                "addressType": "IPv4", "ports": [port],
                "endpoints": [{"addresses": [NODE.to_string()], "conditions": {"ready": true}}]}),
        )
        .await;
}

fn controller(world: &World) -> Process {
    let kubeconfig = world.api.kubeconfig();
    Process::mta_sts(
        "controller",
        world.folder.path(),
        Some(&kubeconfig),
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
