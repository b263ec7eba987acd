//! `mta-sts generate` from the live MX of domains at a real BIND; what it writes is taken by the
//! programs that it is written for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use mta_sts_operator::protocol::Policy;
use support::bind::{Bind, Zone};
use support::keeper;
use support::ports::{free_port, loopback};
use support::tls::{TestCa, Validity};

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn generate(bind: &Bind, args: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mta-sts"));
    command.args(["generate", "--dns-verify=authoritative"]);
    for zone in ["own.test", "google.test", "null.test", "bare.test"] {
        command.arg(format!("--authoritative={zone}={}", bind.address()));
    }
    let output = command.args(args).stdin(Stdio::null()).output().unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn start() -> Bind {
    let zones = [
        Zone::new(
            "own.test",
            "@ MX 10 MX1\n@ MX 20 mx2\nmx1 A 192.0.2.1\nmx2 A 192.0.2.2",
        ),
        Zone::new(
            "google.test",
            "@ MX 1 aspmx.l.google.com.\n@ MX 5 alt1.aspmx.l.google.com.",
        ),
        Zone::new("null.test", "@ MX 0 ."),
        Zone::new("bare.test", "@ A 192.0.2.3"),
    ];
    Bind::start(&zones, &[])
}

fn lint(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mta-sts"))
        .arg("lint")
        .arg(&file)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && told.contains("nothing found"),
        "{told}\n{text}"
    );
}

#[test]
fn a_manifest_names_the_live_mx_and_passes_the_linter() {
    let bind = start();
    let folder = keeper::folder("generate");
    let own = generate(&bind, &["postmaster@OWN.test"]);
    assert_eq!(own.code, 0, "{}", own.stderr);
    for line in [
        "  domain: own.test",
        "  mode: testing",
        "    - mx1.own.test",
        "    - mx2.own.test",
    ] {
        assert!(
            own.stdout.lines().any(|found| found == line),
            "{line}: {}",
            own.stdout
        );
    }
    lint(folder.path(), "own.yaml", &own.stdout);
    let google = generate(
        &bind,
        &["google.test", "--mode=enforce", "--max-age=1209600"],
    );
    assert!(
        google.stdout.contains("    - google-workspace\n"),
        "{}",
        google.stdout
    );
    assert!(
        google.stdout.contains("  maxAgeSeconds: 1209600\n"),
        "{}",
        google.stdout
    );
    lint(folder.path(), "google.yaml", &google.stdout);
    let policy = generate(&bind, &["google.test", "--format=policy"]).stdout;
    assert!(Policy::parse(policy.as_bytes()).is_ok(), "{policy}");
    lint(folder.path(), "mta-sts.txt", &policy);

    // What there is nothing to write for, and what cannot be known.
    let null = generate(&bind, &["null.test"]);
    assert_eq!(
        (null.code, null.stdout.as_str()),
        (1, ""),
        "{}",
        null.stderr
    );
    assert!(null.stderr.contains("null MX"), "{}", null.stderr);
    let bare = generate(&bind, &["bare.test"]);
    assert!(bare.stdout.contains("    - bare.test\n"), "{}", bare.stdout);
    let nobody = format!("--authoritative=gone.test={}", loopback(free_port()));
    assert_eq!(generate(&bind, &["gone.test", &nobody]).code, 3);
    for bad in [
        &["no domain"][..],
        &["own.test", "--mode=enforced"],
        &["own.test", "--max-age=x"],
    ] {
        let bad = generate(&bind, bad);
        assert_eq!((bad.code, bad.stdout.as_str()), (2, ""), "{}", bad.stderr);
    }
}

#[test]
fn each_form_is_taken_by_what_it_is_written_for() {
    let bind = start();
    let folder = keeper::folder("generate-forms");
    let folder = folder.path();
    let form = |format: &str| {
        let outcome = generate(&bind, &["own.test", &format!("--format={format}")]);
        assert_eq!(outcome.code, 0, "{format}: {}", outcome.stderr);
        outcome.stdout
    };
    let body = form("policy");
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program)
            .args(args)
            .current_dir(folder)
            .output();
        let output = output.unwrap_or_else(|why| panic!("{program}: {why}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{program}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    };

    // The zone file, by BIND's own reader.
    let zone = format!(
        "$ORIGIN own.test.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\n{}",
        form("zone")
    );
    std::fs::write(folder.join("zone"), zone).unwrap();
    run("/usr/bin/named-checkzone", &["own.test", "zone"]);

    // The static site.
    std::fs::write(folder.join("pages.sh"), form("pages")).unwrap();
    run("sh", &["pages.sh"]);
    let written = std::fs::read_to_string(folder.join(".well-known/mta-sts.txt")).unwrap();
    assert_eq!(
        Policy::parse(written.as_bytes()),
        Policy::parse(body.as_bytes())
    );
    assert_eq!(
        std::fs::read_to_string(folder.join("CNAME")).unwrap(),
        "mta-sts.own.test\n"
    );

    // nginx, with a certificate in the place of Let's Encrypt's.
    let (certificate, key) = TestCa::new("generate").issue(&["mta-sts.own.test"], Validity::Now);
    std::fs::write(folder.join("fullchain.pem"), certificate).unwrap();
    std::fs::write(folder.join("privkey.pem"), key).unwrap();
    let here = folder.display().to_string();
    let server = form("nginx").replace("/etc/letsencrypt/live/mta-sts.own.test", &here);
    let config = format!(
        "pid {here}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{server}}}\n"
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    run(
        "/usr/sbin/nginx",
        &["-t", "-q", "-p", &here, "-c", &format!("{here}/nginx.conf")],
    );

    // The Worker: its string is one in JSON as well.
    let worker = form("worker");
    let literal = worker
        .lines()
        .find_map(|line| line.strip_prefix("const policy = "));
    let literal = literal.unwrap().trim_end_matches(';');
    assert_eq!(serde_json::from_str::<String>(literal).unwrap(), body);

    // Caddy is not here; its text holds the policy line by line.
    let caddy = form("caddy");
    for line in body.lines() {
        assert!(
            caddy.lines().any(|found| found.trim() == line),
            "{line}: {caddy}"
        );
    }
}
