//! Many policies at once, and many hosts that nobody has: the work is bounded, and ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::http::Request;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::json;
use support::api_proxy::{ApiProxy, is_write};
use support::bind::Zone;
use support::dns_proxy::DnsProxy;
use support::http::get;
use support::interfere::Write;
use support::ports::{free_port, loopback, random};
use support::process::Process;
use support::wait::{ensure, eventually};
use support::world::{MAIL, World, find, ready, timed};
use tokio::net::TcpStream;

/// `LOAD_POLICIES=100 cargo test --test load -- --nocapture` measures what docs/sizing.md tells.
fn wanted_policies() -> usize {
    let wanted = std::env::var("LOAD_POLICIES").ok();
    wanted.map_or(200, |number| number.parse().unwrap())
}

/// Nearly all of it is slack for a machine that does other things as well.
fn time_for_all() -> Duration {
    Duration::from_secs(240).max(Duration::from_secs(wanted_policies() as u64))
}

/// So many writes to the API server may one publication take: finalizer, record, Ingress, the
/// addresses, the announcement, statuses and Events.
const WRITES_EACH: usize = 16;
/// What is watched for afterwards.
const QUIET: Duration = Duration::from_secs(5);
/// The lease and watches that end, during that time.
const QUIET_REQUESTS: usize = 20;
/// What an allocator may keep for itself.
const SERVER_GROWTH_KIB: u64 = 8 * 1024;
/// Unoptimised, with its symbols.
const CONTROLLER_KIB: u64 = 256 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_policies_get_ready_and_then_it_is_quiet() {
    let begun = Instant::now();
    let domains: Vec<String> = (0..wanted_policies())
        .map(|n| format!("d{n:03}.example.org"))
        .collect();
    let world = World::with_zones(vec![zone()]).await;
    let (server, endpoint) = world.serve("serve").await;
    let names: Vec<&str> = domains.iter().map(String::as_str).collect();
    world.route(&names, endpoint).await;
    let api = ApiProxy::counting(&world.api, is_write, Default::default()).await;
    let dns = DnsProxy::start(world.dns()).await;
    world.provider(dns.address()).await;
    let mut settings = world.settings("controller", &[endpoint]);
    settings.kubeconfig = api.kubeconfig(&world.api, world.api.admin_token());
    settings.probe_seconds = 3600;
    let admin = loopback(free_port());
    let controller = world.controller_with_admin(&settings, admin);
    ready(&controller, admin).await;
    took("the controller with nothing to do", &controller);

    let applied = Instant::now();
    stream::iter(&domains)
        .for_each_concurrent(16, async |domain| {
            drop(world.policy(domain, json!({})).await)
        })
        .await;
    eventually("all policies are ready", time_for_all(), async || {
        controller.assert_alive();
        let policies = world.policies(MAIL).list(&Default::default()).await;
        let policies = policies.map_err(|why| why.to_string())?.items;
        let is_ready =
            |status| find(status, "Ready").is_some_and(|c| c.status.to_string() == "True");
        let ready = policies
            .iter()
            .filter(|p| p.status.as_ref().is_some_and(is_ready));
        let ready = ready.count();
        let all = wanted_policies();
        ensure(ready == all, format!("{ready} of {all} are"))
    })
    .await;
    eprintln!(
        "started in {}, all ready in {}",
        timed(begun),
        timed(applied)
    );
    for policy in world
        .policies(MAIL)
        .list(&Default::default())
        .await
        .unwrap()
    {
        let domain = &policy.spec.domain;
        let served = world.body(domain).await.unwrap();
        assert!(
            served.contains(&format!("mx: mail.{domain}\r\n")),
            "{served}"
        );
        let published = policy.status.unwrap().policy.unwrap().id;
        assert_eq!(world.txt_id(domain), Some(published), "{domain}");
    }

    let mut by_kind = BTreeMap::<String, usize>::new();
    for write in api.writes.writes() {
        *by_kind.entry(write.kind()).or_default() += 1;
    }
    eprintln!("writes: {by_kind:#?}");
    eprintln!(
        "DNS: {} updates, {} messages",
        dns.writes.writes().len(),
        dns.asked()
    );
    let written: usize = by_kind.values().sum();
    assert!(written <= wanted_policies() * WRITES_EACH, "{by_kind:#?}");
    // The address, and the TXT record: each once, and many of them in one message.
    let mut updates = BTreeMap::<String, usize>::new();
    for update in dns.writes.writes() {
        let changes = update.what.trim_start_matches("UPDATE ").split(", ");
        let names = changes.filter_map(|change| change.split(' ').next());
        for name in names.collect::<BTreeSet<_>>() {
            *updates.entry(name.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(updates.len(), 2 * wanted_policies());
    let again = updates.iter().find(|(_, count)| **count > 1);
    assert_eq!(again, None, "written more than once");
    assert!(dns.writes.writes().len() < wanted_policies());

    took("the controller", &controller);
    took("the policy server", &server);
    eprintln!("requests to the API server: {}", api.asked());
    let memory = controller.kibibytes("VmHWM");
    assert!(memory < CONTROLLER_KIB, "{memory} KiB");

    // Nothing may go round in circles. Statuses that follow the last step are waited for.
    let work = async || {
        let other = |write: &Write| !write.what.contains("/leases");
        let writes = api.writes.writes().into_iter().filter(other).count();
        (writes, dns.asked(), reconciles(admin).await)
    };
    let mut last = (work().await, api.asked(), Instant::now());
    eventually("it is quiet", time_for_all(), async || {
        let now = work().await;
        if now != last.0 {
            last = (now, api.asked(), Instant::now());
        }
        ensure(last.2.elapsed() > QUIET, format!("{now:?}"))
    })
    .await;
    let requests = api.asked() - last.1;
    took("the controller in the end", &controller);
    assert!(
        requests <= QUIET_REQUESTS,
        "{requests} requests without work"
    );
    eprintln!("then {requests} requests in {QUIET:?}");
}

/// Tells memory and processor time of a process so far.
fn took(what: &str, process: &Process) {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = [11, 12]
        .map(|n| fields[n].parse::<u64>().unwrap())
        .iter()
        .sum();
    // Linux counts in hundredths of a second whatever the machine (USER_HZ).
    eprintln!(
        "{what}: {} KiB of its own, {} with its program, {} at most; {}.{:02} s of processor time",
        process.kibibytes("RssAnon"),
        process.kibibytes("VmRSS"),
        process.kibibytes("VmHWM"),
        ticks / 100,
        ticks % 100
    );
}

/// Reconciles so far, of any outcome.
async fn reconciles(admin: SocketAddr) -> u64 {
    let metrics = get(admin, "localhost", "/metrics").await.unwrap().text();
    let counts = metrics
        .lines()
        .filter(|line| line.starts_with("mta_sts_reconciles_total"));
    counts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn zone() -> Zone {
    let records: Vec<String> = (0..wanted_policies())
        .map(|n| format!("d{n:03} MX 10 mail.d{n:03}\nmail.d{n:03} A 192.0.2.25\n"))
        .collect();
    Zone::dynamic("example.org", &records.concat())
}

/// Whoever asks for hosts that are not there leaves no trace: no metric, no memory.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_unknown_hosts_leave_no_trace_in_a_policy_server() {
    let world = World::start(&[]).await;
    let (endpoint, admin) = (loopback(free_port()), loopback(free_port()));
    let server = world.serve_on("serve", &world.api.kubeconfig(), endpoint, admin);
    ready(&server, admin).await;

    unknown_hosts(endpoint, 1000).await;
    let series = async || {
        let metrics = get(admin, "localhost", "/metrics").await.unwrap().text();
        metrics
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count()
    };
    let (before, memory) = (series().await, server.kibibytes("VmRSS"));
    unknown_hosts(endpoint, 10_000).await;
    assert_eq!(series().await, before);
    let grown = server.kibibytes("VmRSS").saturating_sub(memory);
    eprintln!("{before} series, {memory} KiB, {grown} KiB more afterwards");
    assert!(grown < SERVER_GROWTH_KIB, "{grown} KiB");
}

async fn unknown_hosts(address: SocketAddr, count: usize) {
    let tcp = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(tcp)).await.unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..count {
        let request = Request::get("/.well-known/mta-sts.txt")
            .header("host", format!("mta-sts.h{:016x}.example", random()))
            .body(Empty::<Bytes>::new())
            .unwrap();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 404);
        answer.into_body().collect().await.unwrap();
    }
    connection.abort();
}
