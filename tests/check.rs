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
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::lab::{Case, Lab, Mail};
use support::outputs;
use support::ports::{free_port, loopback};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Longer than a look and the time to the next take.
const SOON: Duration = Duration::from_secs(60);

const TESTING: &str = "version: STSv1\r\nmode: testing\r\nmx: *.mx.example\r\nmax_age: 86400\r\n";

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
async fn a_port_25_that_nobody_answers_on_is_told_once() {
    let silent = |name| Case {
        mail: Mail::Closed,
        ..Case::good(name)
    };
    let lab = Lab::start(&[silent("one"), silent("two"), Case::good("good")]).await;
    let (code, stdout, _) = lab.run(&["one.test", "two.test", "--output=json"]);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, 0, "{document:#}");
    for domain in document["domains"].as_array().unwrap() {
        assert_eq!(domain["verdict"], "ok");
        assert_eq!(domain["mx"][0]["starttls"], Value::Null);
        assert!(codes(domain).is_empty(), "{domain:#}");
    }
    let [found] = document["findings"].as_array().unwrap().as_slice() else {
        panic!("{document:#}");
    };
    assert_eq!(
        (&found["code"], &found["severity"]),
        (&json!("mx-unreachable"), &json!("unknown"))
    );
    let (code, stdout, _) = lab.run(&["one.test", "two.test"]);
    assert_eq!(
        (code, stdout.matches("mx-unreachable").count()),
        (0, 1),
        "{stdout}"
    );
    let (_, stdout, _) = lab.run(&["one.test", "two.test", "--output=junit"]);
    assert_eq!(outputs::junit(&stdout)["suites"][2]["name"], "all domains");
    // Where each has to answer, each says that it does not.
    let (code, domains) = lab.json(&["one.test", "two.test", "--smtp=required"]);
    assert_eq!(code, 3);
    for domain in &domains {
        assert!(codes(domain).contains("mx-unreachable"), "{domain:#}");
    }
    // Where one answers, it is not the network.
    let (code, domains) = lab.json(&["one.test", "good.test"]);
    assert_eq!(code, 0);
    let told = domains[0]["findings"][0]["message"].as_str().unwrap();
    assert!(told.contains("good.mx.example answers"), "{told}");
    assert!(codes(&domains[1]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn code_hosts_and_ci_systems_can_read_it() {
    let warns = Case {
        reports: String::new(),
        ..Case::good("warns")
    };
    let broken = Case {
        record: String::new(),
        ..Case::good("broken")
    };
    let lab = Lab::start(&[Case::good("good"), warns, broken]).await;
    let all = ["good.test", "warns.test", "broken.test"];

    let (code, stdout, stderr) = lab.run(&[&all[..], &["--output=sarif"]].concat());
    assert_eq!((code, stderr.as_str()), (1, ""));
    assert_eq!(outputs::sarif_faults(&stdout), "");
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let results = document["runs"][0]["results"].as_array().unwrap();
    let found = results.iter().map(|it| {
        let place = &it["locations"][0]["logicalLocations"][0]["fullyQualifiedName"];
        [&it["ruleId"], &it["level"], place].map(|it| it.as_str().unwrap())
    });
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            ["tlsrpt-missing", "warning", "_smtp._tls.warns.test"],
            ["record-missing", "error", "_mta-sts.broken.test"],
        ]
    );

    for (fail_on, failures) in [
        ("error", [false, false, true]),
        ("warning", [false, true, true]),
    ] {
        let (_, stdout, stderr) =
            lab.run(&[&all[..], &["--output=junit", "--fail-on", fail_on]].concat());
        assert_eq!(stderr, "");
        let report = outputs::junit(&stdout);
        assert_eq!(report["name"], "mta-sts check");
        for (at, (name, fails)) in all.iter().zip(failures).enumerate() {
            let suite = &report["suites"][at];
            assert_eq!(suite["name"], *name);
            assert_eq!(
                suite["cases"][0]["failure"].is_string(),
                fails,
                "{report:#}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_how_far_it_has_come() {
    let lab = Lab::start(&[Case::good("one"), Case::good("two")]).await;
    // `script` runs it on a terminal of its own; what goes to standard output is kept apart.
    let data = lab.folder().join("data");
    let on_terminal = |args: &[&str]| {
        let command = lab.command(args);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let quoted = words.map(|word| format!("'{}'", word.to_str().unwrap()));
        let line = quoted.collect::<Vec<_>>().join(" ") + &format!(" > '{}'", data.display());
        let mut script = std::process::Command::new("script");
        script
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm");
        let output = script.stdin(std::process::Stdio::null()).output();
        let output = output.expect("script is installed (Debian: bsdutils)");
        let shown = String::from_utf8(output.stdout).unwrap();
        (shown, std::fs::read_to_string(&data).unwrap())
    };
    let (shown, data) = on_terminal(&["one.test", "two.test"]);
    assert!(shown.contains("0 of 2 domains"), "{shown:?}");
    assert!(
        data.starts_with("DOMAIN") && !data.contains(" of 2 "),
        "{data}"
    );
    for args in [
        &["one.test"][..],
        &["one.test", "two.test", "--output=json"],
    ] {
        assert_eq!(on_terminal(args).0, "", "{args:?}");
    }
    let (_, _, stderr) = lab.run(&["one.test", "two.test"]);
    assert_eq!(stderr, "", "no terminal, no bar");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_when_something_changes_and_ends_when_it_is_told_to() {
    let good = Case::good("good");
    let lab = Lab::start(std::slice::from_ref(&good)).await;
    let watch = |args: &[&str]| {
        let all = [&["good.test", "--watch", "--interval=5"], args].concat();
        let mut watch = tokio::process::Command::from(lab.command(&all));
        watch
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let mut first = watch(&["--output=json"]);
    let mut second = watch(&[]);
    let mut third = watch(&["--output=json"]);
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    let mut next = async || -> Value {
        let line = tokio::time::timeout(SOON, lines.next_line()).await;
        serde_json::from_str(&line.expect("it tells").unwrap().unwrap()).unwrap()
    };
    let document = next().await;
    assert_eq!(document["schema"], "mta-sts.check/1");
    assert_eq!(document["domains"][0]["verdict"], "ok");
    // Another policy under the same id: only one who has looked before can know.
    lab.serve(&Case {
        policy: TESTING.replace("86400", "90000"),
        ..good.clone()
    })
    .await;
    let document = next().await;
    assert!(
        codes(&document["domains"][0]).contains("lifecycle-id-stale"),
        "{document}"
    );
    lab.serve(&Case {
        policy: format!("\r\n{TESTING}"),
        ..good.clone()
    })
    .await;
    // Not before it has changed, and then at once all of it.
    let document = next().await;
    assert_eq!(document["domains"][0]["verdict"], "error");
    assert!(codes(&document["domains"][0]).contains("policy-blank-line"));
    end(&mut first, "TERM", 1).await;
    end(&mut second, "INT", 1).await;
    // Nobody reads any more, and nothing changes that would have to be written.
    let mut reader = BufReader::new(third.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        reader.next_line().await.unwrap().unwrap();
    }
    drop(reader);
    let ended = tokio::time::timeout(SOON, third.wait()).await;
    assert_eq!(ended.expect("it ends").unwrap().code(), Some(1));

    for (args, says) in [
        (
            &["good.test", "--watch", "--output=junit"][..],
            "--watch goes with",
        ),
        (&["good.test", "--interval=9"], "--watch"),
        (&["good.test", "--watch", "--interval=1"], "5..=86400"),
    ] {
        let (code, stdout, stderr) = lab.run(args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
}

/// Ends it with a signal: cleanly, with the code of what it saw last.
async fn end(watch: &mut tokio::process::Child, signal: &str, code: i32) {
    let pid = watch.id().unwrap().to_string();
    let mut kill = std::process::Command::new("sh");
    kill.args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid]);
    assert!(kill.status().unwrap().success());
    let ended = tokio::time::timeout(SOON, watch.wait()).await;
    assert_eq!(
        ended.expect("it ends").unwrap().code(),
        Some(code),
        "{signal}"
    );
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
    for code in mta_sts_operator::diagnosis::Code::ALL {
        use mta_sts_operator::diagnosis::Section;
        let live = !code.is_lint()
            && matches!(
                code.section(),
                Section::Record | Section::Host | Section::Mx
            );
        let name = code.name();
        assert!(
            !live || shown.contains(name),
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
