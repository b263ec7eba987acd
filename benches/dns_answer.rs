//! `mta-sts serve --dns-listen` against Knot and BIND, which serve the same names: answers for each
//! second of processor time, and peak memory. See `benches/README.md`.

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

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::Patch;
use measure::{goal, machine, median, peak_mebibytes, processor_seconds};
use mta_sts_operator::lifecycle::own_zone::{ZONES_KEY, ZONES_NAME, ZONES_ROLE};
use mta_sts_operator::lifecycle::record::{
    BODY_KEY, DOMAIN_ANNOTATION, PUBLICATION_KEY, RECORD_ROLE, ROLE_LABEL,
};
use mta_sts_operator::protocol::Sha256Digest;
use serde_json::{Value, json};
use support::bind::{Bind, Key, Zone};
use support::keeper;
use support::knot::Knot;
use support::kube::{ApiServer, apply};
use support::ports::{free_port, loopback};
use support::process::{Process, SYSTEM_PATH};
use support::wait::{ensure, eventually};

const DOMAINS: usize = 1000;
const ZONE: &str = "sts.example.net";
const ID: &str = "20261125T000000Z000000";
/// In each round, for each server.
const SECONDS: u32 = 5;
/// The servers take turns, so that other work on the machine meets all of them.
const ROUNDS: usize = 5;
const START: Duration = Duration::from_secs(60);
const OF_KNOT: f64 = 0.4;
const OF_BIND: f64 = 0.6;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(compare());
}

async fn compare() {
    machine();
    let folder = keeper::folder("bench");
    println!("starting an API server with the records of {DOMAINS} domains");
    let api = ApiServer::start().await;
    let namespace = records(&api).await;
    let key = Key {
        name: "nobody",
        algorithm: "hmac-sha256",
        secret: "dGhpcyBpcyBhIHRlc3Qga2V5IGZvciB0aGUgb3BlcmF0b3I=",
    };
    let knot = Knot::with_records(&[ZONE], key, &zone_lines());
    let bind = Bind::start(&[Zone::new(ZONE, &zone_lines())], &[]);
    let (ours, address) = mta_sts(folder.path(), &api, &namespace);
    let servers = [
        ("mta-sts serve", &ours, address),
        ("Knot, one worker", knot.process(), knot.address()),
        ("BIND, one worker", bind.process(), bind.address()),
    ];
    for (name, process, address) in &servers {
        answers_all(name, process, *address).await;
    }

    let questions = questions(folder.path());
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        for ((_, process, address), rates) in servers.iter().zip(&mut rates) {
            let before = processor_seconds(process);
            let answers = load(*address, &questions);
            rates.push(answers / (processor_seconds(process) - before));
        }
        println!("round {round} of {ROUNDS}: {SECONDS} seconds for each server");
    }
    report(&servers, rates);
}

fn report(servers: &[(&str, &Process, SocketAddr); 3], rates: [Vec<f64>; 3]) {
    let rates = rates.map(median);
    println!(
        "\n{:20}{:>24}{:>16}",
        "", "answers per CPU second", "peak memory"
    );
    for ((name, process, _), rate) in servers.iter().zip(rates) {
        let memory = peak_mebibytes(process);
        println!("{name:20}{rate:>24.0}{memory:>12.1} MiB");
    }
    goal(
        "answers per CPU second, of Knot's",
        rates[0] / rates[1],
        OF_KNOT,
    );
    goal(
        "answers per CPU second, of BIND's",
        rates[0] / rates[2],
        OF_BIND,
    );
}

// --- what is served ---

fn domain(number: usize) -> String {
    format!("domain-{number}.example")
}

/// The names of all domains, as the lines of a zone file.
fn zone_lines() -> String {
    let mut lines = String::new();
    for number in 0..DOMAINS {
        let domain = domain(number);
        writeln!(lines, "_mta-sts.{domain} 300 TXT \"v=STSv1; id={ID};\"").unwrap();
        writeln!(lines, "mta-sts.{domain} 60 A 192.0.2.1").unwrap();
    }
    lines
}

async fn records(api: &ApiServer) -> String {
    let namespace = api.namespace("bench").await;
    let maps = Api::<ConfigMap>::namespaced(api.client().await, &namespace);
    let put = async |name: &str, metadata: Value, data: Value| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": metadata, "data": data});
        maps.patch(name, &apply(), &Patch::Apply(&map))
            .await
            .unwrap();
    };
    let zones = json!([{"zone": ZONE, "nameServers": ["ns1.example.net", "ns2.example.net"]}]);
    put(
        ZONES_NAME,
        json!({"name": ZONES_NAME, "labels": {ROLE_LABEL: ZONES_ROLE}}),
        json!({ZONES_KEY: zones.to_string()}),
    )
    .await;
    for number in 0..DOMAINS {
        let (name, domain) = (format!("record-{number}"), domain(number));
        let body =
            format!("version: STSv1\r\nmode: enforce\r\nmx: mail.{domain}\r\nmax_age: 604800\r\n");
        put(
            &name,
            json!({"name": name, "labels": {ROLE_LABEL: RECORD_ROLE},
                "annotations": {DOMAIN_ANNOTATION: domain}}),
            json!({BODY_KEY: body, PUBLICATION_KEY: publication(&domain, &body).to_string()}),
        )
        .await;
    }
    namespace
}

fn publication(domain: &str, body: &str) -> Value {
    let at = "2026-11-25T00:00:00Z";
    json!({
        "domain": domain,
        "owner": {"namespace": "mail", "name": "policy", "uid": "1"},
        "current": {
            "id": ID,
            "sha256": Sha256Digest::of(body.as_bytes()),
            "mode": "enforce",
            "maxAge": 604_800,
            "mx": [format!("mail.{domain}")],
            "decidedAt": at,
        },
        "announced": {"id": ID, "ttl": 300, "at": at, "previousTtl": 60, "confirmedAt": at},
        "ledger": [],
        "dns": {"answers": {"zone": ZONE, "addresses": [{"a": "192.0.2.1"}], "ttl": 60}},
    })
}

// --- the servers ---

fn mta_sts(folder: &Path, api: &ApiServer, namespace: &str) -> (Process, SocketAddr) {
    let dns = loopback(free_port());
    let args = [
        "serve",
        "--namespace",
        namespace,
        "--listen",
        &loopback(free_port()).to_string(),
        "--dns-listen",
        &dns.to_string(),
        // All of the load comes from one address. The other two have no rate limit.
        "--dns-unlimited=127.0.0.0/8",
        "--admin-listen",
        &loopback(free_port()).to_string(),
    ];
    let process = Process::mta_sts("serve", folder, Some(&api.kubeconfig()), &args);
    (process, dns)
}

/// Waits until a server gives both answers for the last domain.
async fn answers_all(name: &str, process: &Process, address: SocketAddr) {
    let last = domain(DOMAINS - 1);
    eventually(&format!("{name} has all names"), START, async || {
        process.assert_alive();
        let txt = dig(address, &format!("_mta-sts.{last}.{ZONE}"), "TXT");
        let a = dig(address, &format!("mta-sts.{last}.{ZONE}"), "A");
        let right = txt.trim() == format!("\"v=STSv1; id={ID};\"") && a.trim() == "192.0.2.1";
        ensure(right, format!("{txt}{a}"))
    })
    .await;
}

fn dig(address: SocketAddr, name: &str, kind: &str) -> String {
    let output = Command::new("dig")
        .arg(format!("@{}", address.ip()))
        .args(["-p", &address.port().to_string(), "+short", "+norecurse"])
        .args(["+tries=1", "+time=2", name, kind])
        .output()
        .expect("dig is installed (Debian: bind9-dnsutils)");
    String::from_utf8(output.stdout).unwrap()
}

// --- the load ---

/// All names, in an order that is the same for all servers and goes to and fro.
fn questions(folder: &Path) -> PathBuf {
    let mut lines = String::new();
    for step in 0..DOMAINS {
        let domain = domain((step * 379) % DOMAINS);
        writeln!(
            lines,
            "_mta-sts.{domain}.{ZONE} TXT\nmta-sts.{domain}.{ZONE} A"
        )
        .unwrap();
    }
    let file = folder.join("questions");
    fs::write(&file, lines).unwrap();
    file
}

/// Asks as fast as one core can, with 200 questions under way; gives how many were answered, and
/// well.
fn load(address: SocketAddr, questions: &Path) -> f64 {
    let output = Command::new("dnsperf")
        .args([
            "-s",
            &address.ip().to_string(),
            "-p",
            &address.port().to_string(),
        ])
        .args([
            "-l",
            &SECONDS.to_string(),
            "-c",
            "8",
            "-T",
            "1",
            "-q",
            "200",
            "-d",
        ])
        .arg(questions)
        .env("PATH", SYSTEM_PATH)
        .output()
        .expect("dnsperf is installed (Debian: dnsperf)");
    let told = String::from_utf8(output.stdout).unwrap();
    let number = |label: &str| -> f64 {
        let line = told.lines().find(|line| line.trim().starts_with(label));
        let rest = line
            .and_then(|line| line.split_once(':'))
            .map(|(_, rest)| rest);
        let number = rest.and_then(|rest| rest.split_whitespace().next());
        number
            .and_then(|n| n.parse().ok())
            .unwrap_or_else(|| panic!("no {label:?} in {told}"))
    };
    let codes = told.lines().find(|line| line.contains("Response codes:"));
    assert!(
        codes.is_some_and(|c| c.contains("NOERROR") && c.contains("(100.00%)")),
        "{told}"
    );
    number("Queries completed")
}
