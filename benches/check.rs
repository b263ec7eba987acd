//! `mta-sts check` against checkdmarc on the same domains: domains for each second of processor time, peak
//! memory, and whether a dead domain delays others; and the parsers of policies and records against those
//! of postfix-mta-sts-resolver. See `benches/README.md`.

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

use std::fs;
use std::hint::black_box;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use measure::{Used, goal, machine};
use mta_sts_operator::protocol::{Policy, StsRecord};
use serde_json::Value;
use support::lab::{Case, Lab, Mail, Ports};
use support::netns;
use support::peers::{self, Peers};

const DOMAINS: usize = 1000;
/// At a time, for both.
const JOBS: usize = 64;
const RATIO: f64 = 5.0;
const MEMORY: f64 = 200.0;
/// A policy host of loopback that takes connections and says nothing.
const DEAD: &str = "127.0.0.2";
const DEAD_SECONDS: &str = "--timeout=20";
/// Times that all texts are parsed.
const PARSES: usize = 20_000;
const WITHIN: Duration = Duration::from_secs(3600);

fn main() {
    // The lab's servers have threads of their own, so that they do not wait for each other.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        if netns::inside() {
            return compare().await;
        }
        // Inside there is no network to get them by.
        peers::folder();
        println!("{}", netns::run_program(&[], WITHIN).await);
    });
}

async fn compare() {
    machine();
    let domains: usize = match std::env::var("BENCH_DOMAINS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => DOMAINS,
    };
    println!("starting {domains} domains");
    let good = |number: usize| Case {
        mail: Mail::Shared,
        ..Case::good(&format!("domain-{number}"))
    };
    let dead = Case {
        host: format!("mta-sts A {DEAD}"),
        ..good(domains)
    };
    let mut cases: Vec<Case> = (0..domains).map(good).collect();
    cases.push(dead.clone());
    let lab = Lab::start_on(Ports::Real, &cases).await;
    let _dead = TcpListener::bind((DEAD, 443)).unwrap();
    let names: Vec<String> = cases.iter().map(Case::domain).collect();
    let (living, dead) = names.split_at(domains);

    let peers = Peers::get(lab.ca_file());
    against_checkdmarc(&lab, &peers, living);
    a_dead_one(&lab, living, &dead[0]);
    parsers(&peers, lab.folder());
}

fn against_checkdmarc(lab: &Lab, peers: &Peers, domains: &[String]) {
    let output = lab.folder().join("output");
    let ours = ours(lab, domains, &output);
    let list = lab.folder().join("list");
    fs::write(&list, "").unwrap();
    // Reading its modules is no check.
    let start = measure::run(&peers.checkdmarc_all(&list, JOBS), &output);
    fs::write(&list, domains.join("\n")).unwrap();
    let theirs = measure::run(&peers.checkdmarc_all(&list, JOBS), &output);
    let good: usize = serde_json::from_slice(&fs::read(&output).unwrap()).unwrap();
    assert!(good > 0, "checkdmarc finds no domain good");
    if good < domains.len() {
        let bad = domains.len() - good;
        println!("checkdmarc does not come to the end of {bad} domains");
    }

    let count = f64::from(u32::try_from(domains.len()).unwrap());
    let rate = |processor: f64| count / processor;
    let rows = [
        ("mta-sts check", ours.processor, &ours),
        ("checkdmarc", theirs.processor - start.processor, &theirs),
    ];
    println!(
        "\n{:16}{:>24}{:>10}{:>16}",
        "", "domains per CPU second", "wall", "peak memory"
    );
    for (name, processor, used) in rows {
        let (wall, peak) = (used.wall, used.peak);
        println!(
            "{name:16}{:>24.1}{wall:>8.1} s{peak:>12.1} MiB",
            rate(processor)
        );
    }
    let ratio = rate(rows[0].1) / rate(rows[1].1);
    goal("domains per CPU second, of checkdmarc's", ratio, RATIO);
    let met = if ours.peak <= MEMORY {
        "met"
    } else {
        "NOT met"
    };
    println!(
        "goal: peak memory at most {MEMORY} MiB: {met} ({:.1})",
        ours.peak
    );
}

/// Checks the domains, all of which have to be good, but for those with a host that is dead.
fn ours(lab: &Lab, domains: &[String], output: &Path) -> Used {
    let list = lab.folder().join("list");
    fs::write(&list, domains.join("\n")).unwrap();
    let mut command = lab.command_without_detours();
    command.args(["--output=json", DEAD_SECONDS, "--jobs", &JOBS.to_string()]);
    let used = measure::run(command.arg("--file").arg(&list), output);
    let document: Value = serde_json::from_slice(&fs::read(output).unwrap()).unwrap();
    let mut unknown = 0;
    for domain in document["domains"].as_array().unwrap() {
        let is_dead = domain["host"]["addresses"][0]["address"] == DEAD;
        match domain["verdict"].as_str() {
            _ if is_dead => {}
            Some("ok") => assert_eq!(domain["mx"][0]["starttls"], true, "{domain:#}"),
            // On a machine with much else to do a question to the name server may stay unanswered.
            Some("unknown") => unknown += 1,
            _ => panic!("{domain:#}"),
        }
    }
    if unknown > 0 {
        println!("{unknown} domains are not known to the end: the machine is too busy");
    }
    used
}

fn a_dead_one(lab: &Lab, living: &[String], dead: &String) {
    let output = lab.folder().join("output");
    let wall = |domains: &[String]| ours(lab, domains, &output).wall;
    let alone = wall(std::slice::from_ref(dead));
    let without = wall(living);
    let mut with = vec![dead.clone()];
    with.extend_from_slice(living);
    let with = wall(&with);
    println!(
        "\na dead policy host: {alone:.1} s alone; the others {without:.1} s without it, {with:.1} s with it"
    );
}

// --- the parsers ---

fn policies() -> Vec<String> {
    let mut policies = Vec::new();
    for mode in ["enforce", "testing"] {
        for hosts in [1, 2, 5, 20] {
            for end in ["\n", "\r\n"] {
                let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {mode}")];
                lines.push("max_age: 604800".to_owned());
                let hosts = (0..hosts).map(|n| match n % 2 {
                    0 => format!("mx: mx{n}.mail.example.org"),
                    _ => format!("mx: *.pool{n}.example.net"),
                });
                lines.extend(hosts);
                policies.push(lines.join(end) + end);
            }
        }
    }
    policies
}

fn records() -> Vec<String> {
    let ids = ["1", "20261126095544", "20261126095544b9b04727b0847a"];
    let forms = ["v=STSv1; id={};", "v=STSv1;id={}", "v=STSv1; id={}; ext=1;"];
    let of = |form: &'static str| ids.map(|id| form.replace("{}", id));
    forms.into_iter().flat_map(of).collect()
}

fn parsers(peers: &Peers, folder: &Path) {
    let (policies, records) = (policies(), records());
    let theirs = peers.time_parsers(&policies, &records, PARSES / 20, folder);
    let ours = [
        each(&policies, |text| Policy::parse(text.as_bytes()).is_ok()),
        each(&records, |text| StsRecord::parse(text.as_bytes()).is_ok()),
    ];
    println!("\n{:16}{:>20}{:>20}", "µs for a text", "policy", "record");
    for (name, [policy, record]) in [("mta-sts", ours), ("postfix-mta-sts", theirs)] {
        println!("{name:16}{policy:>20.2}{record:>20.2}");
    }
    goal(
        "policies, of postfix-mta-sts-resolver's",
        theirs[0] / ours[0],
        RATIO,
    );
    goal(
        "records, of postfix-mta-sts-resolver's",
        theirs[1] / ours[1],
        RATIO,
    );
}

/// Microseconds for a text. It is the only thing that this thread does meanwhile.
fn each(texts: &[String], parse: impl Fn(&str) -> bool) -> f64 {
    let begun = Instant::now();
    for _ in 0..PARSES {
        for text in texts {
            assert!(black_box(parse(black_box(text))), "{text}");
        }
    }
    let count = f64::from(u32::try_from(PARSES * texts.len()).unwrap());
    begun.elapsed().as_secs_f64() * 1e6 / count
}
