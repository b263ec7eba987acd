//! `mta-sts check` against broken domains: the [lab](support::lab), a file a domain. Each has to get its
//! findings, no more and no less.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::lab::{Case, Lab, Mail};
use support::ports::{free_port, loopback};

const TESTING: &str = "version: STSv1\r\nmode: testing\r\nmx: *.mx.example\r\nmax_age: 86400\r\n";

/// Codes without a domain: detours lead both address families to one server, and nobody here speaks
/// old TLS. Tables in src/diagnosis/live/ have them.
const NOT_IN_THE_LAB: [&str; 3] = [
    "host-address-family-broken",
    "host-tls-version",
    "mx-tls-version",
];

fn codes(domain: &Value) -> BTreeSet<&str> {
    let findings = domain["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|f| f["code"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_domain_gets_its_findings_and_no_others() {
    let cases = Case::all();
    assert!(cases.len() >= 80, "some are not read: {}", cases.len());
    let lab = Lab::start(&cases).await;
    let list = lab.folder().join("domains");
    let text: String = cases.iter().map(|case| case.domain() + "\n").collect();
    std::fs::write(&list, format!("# the lab\n\n{text}")).unwrap();
    let begun = Instant::now();
    let (code, domains) = lab.json(&["--file", list.to_str().unwrap()]);
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "a dead one delays all"
    );
    assert_eq!(code, 1);
    assert_eq!(domains.len(), cases.len());
    let mut wrong = Vec::new();
    for (case, domain) in cases.iter().zip(&domains) {
        assert_eq!(
            domain["domain"],
            case.domain().as_str(),
            "the order is kept"
        );
        let expected: BTreeSet<&str> = case.expect.iter().map(String::as_str).collect();
        if codes(domain) != expected {
            wrong.push(format!("{}: expected {expected:?}\n{domain:#}", case.name));
        }
        for finding in domain["findings"].as_array().unwrap() {
            let told = finding["message"].as_str().unwrap();
            assert!(told.len() > 10 && finding["subject"] != "", "{finding:#}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // Some have to be told so that somebody can act on them.
    for (name, told) in [
        ("label-short", "*.label-short.mx.example would match"),
        ("wrong-path", "the policy stands at /mta-sts.txt"),
        ("misplaced-host", "mta-sts.misplaced-host.test"),
        ("bot-wall", "403 for Go-http-client"),
        ("dangling-service", "gone.azurewebsites.net"),
        ("caa-above", "CAA at caa-above.test"),
        ("mail-needs-sni", "without SNI: "),
        ("servers-differ", "id older"),
        ("dane-broken", "3 0 1 "),
    ] {
        let nth = cases.iter().position(|case| case.name == name);
        let found = domains[nth.unwrap()].to_string();
        assert!(found.contains(told), "{name}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_scripts_get_what_they_need() {
    let cases = vec![
        Case::good("good"),
        Case {
            mail: Mail::Closed,
            ..Case::good("silent")
        },
        Case {
            reports: String::new(),
            policy: TESTING.to_owned(),
            mail: Mail::Expired,
            ..Case::good("warns")
        },
        Case {
            record: String::new(),
            ..Case::good("broken")
        },
    ];
    let lab = Lab::start(&cases).await;

    // One domain in detail; written as people write it.
    let (code, stdout, _) = lab.run(&["postmaster@GOOD.test."]);
    assert_eq!(code, 0, "{stdout}");
    for line in [
        "good.test",
        "  record   id 20261126",
        "  policy   enforce, kept for 14 days",
        "           mx: *.mx.example",
        "  mx       10 good.mx.example: named by the policy, TLS with a valid certificate",
        "nothing found",
    ] {
        assert!(
            stdout.lines().any(|found| found == line),
            "{line}\n{stdout}"
        );
    }
    // Several as a table; the worst decides.
    let (code, stdout, _) = lab.run(&["good.test", "broken.test", "warns.test"]);
    assert_eq!(code, 1);
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("DOMAIN"), "{stdout}");
    assert!(
        lines[1].starts_with("good.test") && lines[1].contains("ok"),
        "{stdout}"
    );
    assert!(
        lines[2].contains("error") && lines[2].contains("record-missing"),
        "{stdout}"
    );
    assert!(
        lines[3].contains("warning") && lines[3].contains("testing"),
        "{stdout}"
    );
    // In mode testing a bad MX is a warning, which fails only where that is asked for.
    assert_eq!(lab.run(&["warns.test"]).0, 0);
    assert_eq!(lab.run(&["warns.test", "--fail-on=warning"]).0, 1);
    // A port 25 that answers nowhere.
    for (smtp, code, found) in [("auto", 0, true), ("required", 3, true), ("off", 0, false)] {
        let (exit, domains) = lab.json(&["silent.test", &format!("--smtp={smtp}")]);
        assert_eq!(exit, code, "{smtp}");
        assert_eq!(
            codes(&domains[0]).contains("mx-unreachable"),
            found,
            "{smtp}"
        );
    }
    // The shape that scripts rely on.
    let (_, domains) = lab.json(&["good.test"]);
    assert_eq!(domains[0]["verdict"], "ok");
    assert_eq!(
        domains[0]["policy"],
        json!({"mode": "enforce", "maxAgeSeconds": 1_209_600, "mx": ["*.mx.example"]})
    );
    assert_eq!(
        domains[0]["record"],
        json!({"id": "20261126", "ttlSeconds": 300})
    );
    assert_eq!(domains[0]["host"]["addresses"][0]["status"], 200);
    assert_eq!(domains[0]["mx"][0]["starttls"], true);
    // A zone that nobody answers for: nothing is known, and nothing is called missing.
    let nobody = loopback(free_port());
    let (code, domains) = lab.json(&[
        "unknown.test",
        &format!("--authoritative=unknown.test={nobody}"),
    ]);
    assert_eq!(code, 3, "{domains:#?}");
    assert_eq!(domains[0]["verdict"], "unknown");
    // Bad input.
    for (args, says) in [
        (&["no such domain"][..], "is no mail domain"),
        (&["--file", "no-such-list"][..], "no-such-list"),
        (&["good.test", "--resolver", "x y"][..], "--resolver"),
        (&["good.test", "--allow-target", "x"][..], "--allow-target"),
    ] {
        let (code, stdout, stderr) = lab.run(args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for a person: make lab"]
async fn keep_the_lab_running() {
    let cases = Case::all();
    let lab = Lab::start(&cases).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab/check");
    lab.write_script(&script);
    println!(
        "\n{} domains run; Ctrl-C ends them. In another terminal:\n",
        cases.len()
    );
    println!("  {} bot-wall.test", script.display());
    println!("\nEach file of tests/fixtures/lab/ is a domain: NAME.yaml is NAME.test.");
    tokio::signal::ctrl_c().await.unwrap();
}

#[test]
fn each_code_that_check_finds_has_its_domain() {
    let cases = Case::all();
    let shown: BTreeSet<&str> = cases
        .iter()
        .flat_map(|case| &case.expect)
        .map(String::as_str)
        .collect();
    for code in NOT_IN_THE_LAB {
        assert!(!shown.contains(code), "{code} has its domain by now");
    }
    for code in mta_sts_operator::diagnosis::Code::ALL {
        use mta_sts_operator::diagnosis::Section;
        let live = !code.is_lint()
            && matches!(
                code.section(),
                Section::Record | Section::Host | Section::Mx
            );
        let name = code.name();
        assert!(
            !live || shown.contains(name) || NOT_IN_THE_LAB.contains(&name),
            "no file of tests/fixtures/lab has {name}"
        );
    }
}

/// `UPDATE_DOCS=1 cargo test --test check` writes the table again.
#[test]
fn the_page_of_the_lab_has_each_domain() {
    let page_file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lab.md");
    let page = std::fs::read_to_string(&page_file).unwrap();
    let (begin, end) = ("<!-- lab -->\n", "<!-- /lab -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let mut rows = Vec::new();
    for case in Case::all() {
        let file = support::lab::cases_folder().join(format!("{}.yaml", case.name));
        let text = std::fs::read_to_string(file).unwrap();
        let about = text
            .lines()
            .next()
            .unwrap()
            .strip_prefix("# ")
            .expect("what is wrong, first");
        let found = match case.expect.as_slice() {
            [] => "nothing".to_owned(),
            codes => format!("`{}`", codes.join("`, `")),
        };
        rows.push((found, case.domain(), about.to_owned()));
    }
    rows.sort();
    let rows = rows
        .iter()
        .map(|(found, domain, about)| format!("| {found} | {domain} | {about} |\n"));
    let table: String = rows.collect();
    let fresh = format!(
        "{before}{begin}\n| finding | domain | what is wrong |\n|---|---|---|\n{table}\n{end}{after}"
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&page_file, fresh).unwrap();
    } else {
        assert_eq!(page, fresh, "run UPDATE_DOCS=1 cargo test --test check");
    }
}
