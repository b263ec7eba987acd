//! Many policies through DNS providers, beside external-dns with as many records: from the object to
//! the record, processor time, calls, memory. See `benches/README.md`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

mod measure;
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kube::api::{Api, DynamicObject, Patch};
use kube::core::{ApiResource, GroupVersionKind};
use measure::mirror::Mirror;
use measure::{goal, machine, median, peak_mebibytes, processor_seconds};
use mta_sts_operator::api::ClusterDnsProvider;
use serde_json::{Value, json};
use support::bind::Zone;
use support::external_dns::ExternalDns;
use support::kube::apply;
use support::manifests::apply_all;
use support::moto::Moto;
use support::ports::{free_port, loopback};
use support::powerdns::{API_KEY, PowerDns};
use support::process::Process;
use support::relay::{Asked, Relay};
use support::wait::{ensure, eventually};
use support::world::{KEY, MAIL, PROVIDER, SYSTEM, World, find, merge, ready, rfc2136};

const ZONE: &str = "example.org";
/// Objects that come one after the other, for the time from an object to its record.
const ONE_BY_ONE: usize = 60;
/// Two of external-dns's intervals (1m by default) are filled with them evenly.
const EVERY: Duration = Duration::from_secs(2);
/// How often a record is looked for.
const LOOK: Duration = Duration::from_millis(50);
const SOONER: f64 = 10.0;
const START: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

/// `BENCH_POLICIES`: how many policies each provider gets.
fn wanted() -> usize {
    let wanted = std::env::var("BENCH_POLICIES").ok();
    wanted.map_or(1000, |number| number.parse().unwrap())
}

/// `BENCH_PARTS=bind,webhook`: only these.
fn has_part(part: &str) -> bool {
    let parts = std::env::var("BENCH_PARTS").ok();
    parts.is_none_or(|parts| parts.split(',').any(|p| p == part))
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(measure_all());
}

async fn measure_all() {
    machine();
    println!(
        "{} policies through each provider, all made at once",
        wanted()
    );
    let mut done = Vec::new();
    if has_part("bind") {
        let setting = Setting::bind().await;
        let ours = setting.publish("BIND, rfc2136").await;
        let theirs = setting.external_dns("external-dns, rfc2136").await;
        beside(&ours, &theirs);
        setting.one_by_one().await;
        done.extend([ours, theirs]);
    }
    if has_part("powerdns") {
        done.push(
            Setting::powerdns()
                .await
                .publish("PowerDNS, HTTP API")
                .await,
        );
    }
    if has_part("route53") {
        done.push(Setting::route53().await.publish("Route 53 (moto)").await);
    }
    if has_part("webhook") {
        let ours = Setting::webhook().await.publish("webhook").await;
        let theirs = Setting::webhook()
            .await
            .external_dns("external-dns, webhook")
            .await;
        beside(&ours, &theirs);
        done.extend([ours, theirs]);
    }
    table(&done);
}

/// What became of many objects.
struct Outcome {
    name: &'static str,
    objects: usize,
    updates: usize,
    seconds: f64,
    processor: f64,
    calls: usize,
    /// Questions to those who answer the world, which are no calls of the provider's API.
    looks: usize,
    mebibytes: f64,
}

fn table(outcomes: &[Outcome]) {
    println!(
        "\n{:24}{:>9}{:>10}{:>12}{:>16}{:>14}{:>14}{:>14}",
        "",
        "objects",
        "seconds",
        "updates/s",
        "CPU ms/object",
        "calls/object",
        "looks/object",
        "peak memory"
    );
    for o in outcomes {
        let each = |sum: f64| sum / o.objects as f64;
        println!(
            "{:24}{:>9}{:>10.1}{:>12.1}{:>16.2}{:>14.2}{:>14.2}{:>10.1} MiB",
            o.name,
            o.objects,
            o.seconds,
            o.updates as f64 / o.seconds,
            each(o.processor * 1000.0),
            each(o.calls as f64),
            each(o.looks as f64),
            o.mebibytes
        );
    }
}

fn beside(ours: &Outcome, theirs: &Outcome) {
    println!(
        "\n{} : {}, as ratios (below 1 is less)",
        ours.name, theirs.name
    );
    println!(
        "  seconds until all are there {:.2}",
        ours.seconds / theirs.seconds
    );
    println!(
        "  processor time              {:.2}",
        ours.processor / theirs.processor
    );
    println!(
        "  peak memory                 {:.2}",
        ours.mebibytes / theirs.mebibytes
    );
    let calls = ours.calls as f64 / theirs.calls as f64;
    println!("  calls                       {calls:.2}");
    goal(
        "calls of external-dns for each of ours, all at once,",
        1.0 / calls,
        1.0,
    );
}

// --- where it happens ---

/// A world with a zone at one provider, and a count of what that is asked.
struct Setting {
    world: World,
    zone: &'static str,
    relay: Relay,
    /// Before what the world asks: authoritative servers, and a resolver.
    looks: Relay,
    /// Block of the provider object.
    provider: Value,
    flags: Vec<String>,
    external_dns: Vec<String>,
    /// How many TXT records are there.
    count: Box<dyn Fn() -> usize>,
    _parts: Box<dyn std::any::Any>,
}

fn label(number: usize) -> String {
    format!("d{number:04}")
}

async fn world() -> World {
    let lines = |n| format!("{0} MX 10 mail.{0}\nmail.{0} A 192.0.2.25\n", label(n));
    let records: String = (0..wanted() + ONE_BY_ONE).map(lines).collect();
    let world = World::with_zones(vec![Zone::dynamic(ZONE, &records)]).await;
    apply_all(&world.client, &[ExternalDns::definition()]).await;
    world
}

impl Setting {
    async fn bind() -> Self {
        let mut world = world().await;
        let server = world.dns();
        let relay = Relay::before(server, Asked::Dns).await;
        let looks = Relay::before(server, Asked::Dns).await;
        world.ask_through(looks.address());
        world.secret(SYSTEM, "tsig", KEY.secret).await;
        Self {
            zone: ZONE,
            provider: json!({"rfc2136": rfc2136(relay.address())}),
            flags: Vec::new(),
            external_dns: [
                "--provider=rfc2136".to_owned(),
                format!("--rfc2136-host={}", relay.address().ip()),
                format!("--rfc2136-port={}", relay.address().port()),
                format!("--rfc2136-zone={ZONE}"),
                format!("--rfc2136-tsig-keyname={}", KEY.name),
                format!("--rfc2136-tsig-secret={}", KEY.secret),
                "--rfc2136-tsig-secret-alg=hmac-sha256".to_owned(),
                "--rfc2136-tsig-axfr".to_owned(),
                format!("--domain-filter={ZONE}"),
            ]
            .to_vec(),
            relay,
            looks,
            world,
            count: Box::new(move || transferred(server)),
            _parts: Box::new(()),
        }
    }

    async fn powerdns() -> Self {
        let (world, zone) = (world().await, "pdns.example");
        let server = PowerDns::start(&[zone], KEY);
        let api = server.url().trim_start_matches("http://").parse().unwrap();
        let relay = Relay::before(api, Asked::Http).await;
        let looks = Relay::before(server.address(), Asked::Dns).await;
        world.secret(SYSTEM, "key", API_KEY).await;
        Self {
            zone,
            provider: json!({"powerdns": {"url": format!("http://{}", relay.address()),
                "apiKeySecretRef": {"name": "key", "key": "key"}}}),
            flags: vec![format!("--authoritative={zone}={}", looks.address())],
            external_dns: Vec::new(),
            relay,
            looks,
            world,
            count: Box::new(|| 0),
            _parts: Box::new(server),
        }
    }

    async fn route53() -> Self {
        let (world, zone) = (world().await, "moto.example");
        let moto = Arc::new(Moto::start());
        moto.create_zone(zone);
        let api = moto.url().trim_start_matches("http://").parse().unwrap();
        let relay = Relay::before(api, Asked::Http).await;
        let listing = moto.clone();
        let listed = Box::new(move |name: &str, kind: &str| listing.records(zone, name, kind));
        let dns = Mirror::of(zone, listed).await;
        let looks = Relay::before(dns.address(), Asked::Dns).await;
        world.secret(SYSTEM, "key", "not-a-secret-of-anybody").await;
        let reference = json!({"name": "key", "key": "key"});
        Self {
            zone,
            // moto's list of zones lacks a field that Amazon's always has.
            provider: json!({"route53": {"endpoint": format!("http://{}", relay.address()),
                "hostedZoneId": moto.zone(zone), "accessKeyIdSecretRef": reference,
                "secretAccessKeySecretRef": reference}}),
            flags: vec![format!("--authoritative={zone}={}", looks.address())],
            external_dns: Vec::new(),
            relay,
            looks,
            world,
            count: Box::new(|| 0),
            _parts: Box::new((dns, moto)),
        }
    }

    /// external-dns as the server, for both sides.
    async fn webhook() -> Self {
        let (world, zone) = (world().await, "hook.example");
        let port = TcpListener::bind(ExternalDns::address());
        drop(port.expect("the port that external-dns always takes is free"));
        let server = Arc::new(ExternalDns::start_here(&[zone]));
        let relay = Relay::before(ExternalDns::address(), Asked::Http).await;
        let (listing, counting) = (Remembered::default(), server.clone());
        let asked = server.clone();
        let listed = Box::new(move |name: &str, kind: &str| listing.at(&asked, name, kind));
        let dns = Mirror::of(zone, listed).await;
        let looks = Relay::before(dns.address(), Asked::Dns).await;
        Self {
            zone,
            provider: json!({"webhook": {"url": format!("http://{}", relay.address())}}),
            flags: vec![format!("--authoritative={zone}={}", looks.address())],
            external_dns: [
                "--provider=webhook".to_owned(),
                format!("--webhook-provider-url=http://{}", relay.address()),
            ]
            .to_vec(),
            relay,
            looks,
            world,
            count: Box::new(move || counting.all("TXT").len()),
            _parts: Box::new((dns, server)),
        }
    }
}

/// What a webhook listed a moment ago: it lists all that it has at once.
#[derive(Default)]
struct Remembered(Mutex<HashMap<String, (Instant, ByName)>>);

type ByName = HashMap<String, Vec<(String, u32)>>;

impl Remembered {
    fn at(&self, server: &ExternalDns, name: &str, kind: &str) -> Vec<(String, u32)> {
        let mut kinds = self.0.lock().unwrap();
        let fresh = |(at, _): &(Instant, _)| at.elapsed() < Duration::from_millis(200);
        if !kinds.get(kind).is_some_and(fresh) {
            kinds.insert(kind.to_owned(), (Instant::now(), server.all(kind)));
        }
        kinds[kind].1.get(name).cloned().unwrap_or_default()
    }
}

/// The TXT records in the zone that are no part of it from the beginning.
fn transferred(server: SocketAddr) -> usize {
    let output = Command::new("dig")
        .args([
            &format!("@{}", server.ip()),
            "-p",
            &server.port().to_string(),
        ])
        .args([
            "-y",
            &format!("{}:{}:{}", KEY.algorithm, KEY.name, KEY.secret),
        ])
        .args(["+noall", "+answer", ZONE, "AXFR"])
        .output()
        .expect("dig is installed (Debian: bind9-dnsutils)");
    let told = String::from_utf8(output.stdout).unwrap();
    told.lines()
        .filter(|line| line.contains("plain-text"))
        .count()
}

// --- what is measured ---

impl Setting {
    /// Publishes all policies at once.
    async fn publish(&self, name: &'static str) -> Outcome {
        println!("{name}: starting");
        let (controller, _server) = self.controller().await;
        let (processor, calls) = (processor_seconds(&controller), self.relay.asked());
        let looks = self.looks.asked();
        let begun = Instant::now();
        let domains = (0..wanted()).map(|n| format!("{}.{}", label(n), self.zone));
        stream::iter(domains)
            .for_each_concurrent(16, async |domain| {
                drop(self.world.policy(&domain, json!({})).await);
            })
            .await;
        eventually("all policies are ready", LONGEST, async || {
            controller.assert_alive();
            let policies = self.world.policies(MAIL).list(&Default::default()).await;
            let policies = policies.map_err(|why| why.to_string())?.items;
            let ready = policies
                .iter()
                .filter_map(|p| find(p.status.as_ref()?, "Ready"));
            let ready = ready.filter(|c| c.status.to_string() == "True").count();
            ensure(ready == wanted(), format!("{ready} of {} are", wanted()))
        })
        .await;
        Outcome {
            name,
            objects: wanted(),
            // The address, and the TXT record.
            updates: 2 * wanted(),
            seconds: begun.elapsed().as_secs_f64(),
            processor: processor_seconds(&controller) - processor,
            calls: self.relay.asked() - calls,
            looks: self.looks.asked() - looks,
            mebibytes: peak_mebibytes(&controller),
        }
    }

    async fn controller(&self) -> (Process, Process) {
        let world = &self.world;
        let (server, endpoint) = world.serve("serve").await;
        let domains: Vec<String> = (0..wanted() + ONE_BY_ONE)
            .map(|n| format!("{}.{}", label(n), self.zone))
            .collect();
        let names: Vec<&str> = domains.iter().map(String::as_str).collect();
        world.route(&names, endpoint).await;
        let mut spec = json!({"zones": ["*"], "allowedNamespaces": {}});
        merge(&mut spec, self.provider.clone());
        let object = json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "ClusterDnsProvider",
            "metadata": {"name": PROVIDER}, "spec": spec});
        world.apply::<ClusterDnsProvider>(None, object).await;
        let mut settings = world.settings("controller", &[endpoint]);
        settings.probe_seconds = 3600;
        settings.flags.clone_from(&self.flags);
        let admin = loopback(free_port());
        let controller = world.controller_with_admin(&settings, admin);
        ready(&controller, admin).await;
        (controller, server)
    }

    /// The same with as many plain texts by external-dns, with its default interval.
    async fn external_dns(&self, name: &'static str) -> Outcome {
        println!("{name}: starting");
        let external_dns = self.start_external_dns().await;
        let before = (self.count)();
        let (processor, calls) = (
            processor_seconds(external_dns.process()),
            self.relay.asked(),
        );
        let begun = Instant::now();
        stream::iter(0..wanted())
            .for_each_concurrent(16, async |n| {
                self.endpoint(&format!("x{n}"), &format!("x{n}.{}", self.zone))
                    .await;
            })
            .await;
        eventually("all records are there", LONGEST, async || {
            external_dns.process().assert_alive();
            let there = (self.count)() - before;
            ensure(there == wanted(), format!("{there} of {} are", wanted()))
        })
        .await;
        Outcome {
            name,
            objects: wanted(),
            updates: wanted(),
            seconds: begun.elapsed().as_secs_f64(),
            processor: processor_seconds(external_dns.process()) - processor,
            calls: self.relay.asked() - calls,
            looks: 0,
            mebibytes: peak_mebibytes(external_dns.process()),
        }
    }

    /// Its first look, at the start, is over: as it is when objects are made in a cluster.
    async fn start_external_dns(&self) -> ExternalDns {
        let mut flags: Vec<&str> = self.external_dns.iter().map(String::as_str).collect();
        // By itself it takes away what no object of its own names, ours too.
        flags.extend(["--managed-record-types=TXT", "--policy=upsert-only"]);
        let external_dns = ExternalDns::carry_out_as(&self.world.api.kubeconfig(), &flags);
        let process = external_dns.process();
        process
            .logged("records are already up to date", START)
            .await;
        external_dns
    }

    async fn endpoint(&self, name: &str, owner: &str) {
        let kind = GroupVersionKind::gvk("externaldns.k8s.io", "v1alpha1", "DNSEndpoint");
        let resource = ApiResource::from_gvk_with_plural(&kind, "dnsendpoints");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.world.client.clone(), MAIL, &resource);
        let object = json!({"apiVersion": "externaldns.k8s.io/v1alpha1", "kind": "DNSEndpoint",
            "metadata": {"name": name}, "spec": {"endpoints": [{"dnsName": owner,
                "recordType": "TXT", "recordTTL": 300, "targets": ["plain-text"]}]}});
        api.patch(name, &apply(), &Patch::Apply(&object))
            .await
            .unwrap();
    }

    /// Both at once, with objects that come evenly: how long each takes to its record.
    async fn one_by_one(&self) {
        println!("\n{ONE_BY_ONE} objects for each, one every {EVERY:?}");
        let (controller, _server) = self.controller().await;
        let external_dns = self.start_external_dns().await;
        let start = tokio::time::Instant::now();
        let (ours, theirs) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let numbers = stream::iter(0..ONE_BY_ONE);
        let made = numbers.for_each_concurrent(None, async |n| {
            tokio::time::sleep_until(start + EVERY * u32::try_from(n).unwrap()).await;
            let domain = format!("{}.{}", label(wanted() + n), self.zone);
            let begun = Instant::now();
            drop(self.world.policy(&domain, json!({})).await);
            let name = format!("y{n}.{}", self.zone);
            self.endpoint(&format!("y{n}"), &name).await;
            let sts = format!("_mta-sts.{domain}");
            tokio::join!(
                self.seen(&sts, begun, &ours),
                self.seen(&name, begun, &theirs)
            );
        });
        made.await;
        controller.assert_alive();
        external_dns.process().assert_alive();
        let [ours, theirs] = [ours, theirs].map(|seconds| median(seconds.into_inner().unwrap()));
        println!("object to record, median: {ours:.2} s; external-dns {theirs:.2} s");
        goal("times sooner than external-dns", theirs / ours, SOONER);
    }

    async fn seen(&self, name: &str, begun: Instant, seconds: &Mutex<Vec<f64>>) {
        let mut clock = tokio::time::interval(LOOK);
        loop {
            clock.tick().await;
            if is_there(self.world.dns(), name).await {
                seconds.lock().unwrap().push(begun.elapsed().as_secs_f64());
                return;
            }
        }
    }
}

/// Whether a server has a TXT at a name.
async fn is_there(server: SocketAddr, name: &str) -> bool {
    use hickory_proto::op::{Message, Query};
    use hickory_proto::rr::{Name, RecordType};
    let mut query = Message::query();
    let name = Name::from_ascii(format!("{name}.")).unwrap();
    query.add_query(Query::query(name, RecordType::TXT));
    let socket = tokio::net::UdpSocket::bind(loopback(0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&query.to_vec().unwrap()).await.unwrap();
    let mut buffer = vec![0; 4096];
    let received = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut buffer)).await;
    let Ok(Ok(length)) = received else {
        return false;
    };
    Message::from_vec(&buffer[..length]).is_ok_and(|answer| !answer.answers.is_empty())
}
