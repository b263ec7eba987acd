//! `mta-sts lint` from file to exit code, on one file a case.
//!
//! Each `tests/fixtures/<kind>/<case>.txt` has a sibling `<case>.expected`: the verdict, then a
//! line for each finding. `UPDATE_FIXTURES=1 cargo test --test lint` writes them anew; read the
//! difference before it is committed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "support/outputs.rs"]
mod outputs;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use mta_sts_operator::cli::lint::{self, LintArgs};
use mta_sts_operator::cli::output::Streams;
use mta_sts_operator::diagnosis::{Code, Section};
use serde_json::Value;

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    lint: LintArgs,
}

struct Outcome {
    code: u8,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

fn run_with(args: &[&str], stdin: &[u8], terminal: bool) -> Outcome {
    let args = CommandLine::try_parse_from(std::iter::once("lint").chain(args.iter().copied()));
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut stdin = stdin;
    let code = lint::run(
        &args.unwrap().lint,
        &mut Streams {
            stdin: &mut stdin,
            stdout: &mut stdout,
            stderr: &mut stderr,
            terminal,
        },
    );
    Outcome {
        code,
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

fn run(args: &[&str], stdin: &str) -> Outcome {
    run_with(args, stdin.as_bytes(), false)
}

const KINDS: [&str; 4] = ["policy", "record", "tlsrpt-record", "manifest"];
const GOOD: &str = "version: STSv1\nmode: enforce\nmx: mail.example.org\nmax_age: 604800\n";

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(kind);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

fn lint_fixture(kind: &str, path: &Path) -> Outcome {
    let path = path.to_str().unwrap();
    run(
        &[
            "--as",
            kind,
            "--domain",
            "example.org",
            "--output",
            "json",
            path,
        ],
        "",
    )
}

/// The verdict and a line for each finding.
fn summary(outcome: &Outcome) -> String {
    let document = outcome.json();
    let input = &document["inputs"][0];
    let valid = input["valid"].as_bool().unwrap();
    let mut text = String::from(if valid { "valid\n" } else { "not valid\n" });
    for finding in input["findings"].as_array().unwrap() {
        let field = |name: &str| finding[name].as_str().unwrap().to_owned();
        writeln!(
            text,
            "{} {} {}",
            field("severity"),
            field("code"),
            field("subject")
        )
        .unwrap();
    }
    text
}

#[test]
fn every_fixture_has_the_findings_that_are_expected_of_it() {
    let update = std::env::var_os("UPDATE_FIXTURES").is_some();
    let mut differences = String::new();
    for kind in KINDS {
        for path in fixtures(kind) {
            let outcome = lint_fixture(kind, &path);
            let found = summary(&outcome);
            let has_error = found.lines().any(|line| line.starts_with("error "));
            assert_eq!(outcome.code, u8::from(has_error), "{}", path.display());
            let expected_path = path.with_extension("expected");
            if update {
                fs::write(&expected_path, &found).unwrap();
            }
            let expected = fs::read_to_string(&expected_path).unwrap_or_default();
            if found != expected {
                let name = path.display();
                writeln!(differences, "{name}\nexpected:\n{expected}found:\n{found}").unwrap();
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn every_rule_of_the_linter_has_a_fixture_that_it_finds() {
    let mut found = BTreeSet::new();
    for kind in KINDS {
        for path in fixtures(kind) {
            let document = lint_fixture(kind, &path).json();
            for finding in document["inputs"][0]["findings"].as_array().unwrap() {
                found.insert(finding["code"].as_str().unwrap().to_owned());
            }
        }
    }
    let lint = |code: &&Code| code.is_lint();
    let rules: BTreeSet<_> = Code::ALL
        .iter()
        .filter(lint)
        .map(|code| code.name().to_owned())
        .collect();
    assert_eq!(found, rules);
}

#[test]
fn nothing_that_steers_a_terminal_passes() {
    let hostile = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    for kind in KINDS {
        for path in fixtures(kind) {
            let name = path.to_str().unwrap();
            for output in ["text", "json"] {
                let outcome = run(&["--as", kind, "--output", output, name], "");
                assert!(!outcome.stdout.contains(hostile), "{name}");
                assert!(!outcome.stderr.contains(hostile), "{name}");
            }
        }
    }
    let missing = run(&["no\u{1b}[31m-such-file"], "");
    assert!(!missing.stderr.contains(hostile), "{}", missing.stderr);
}

#[test]
fn json_has_exactly_the_shape_that_scripts_rely_on() {
    let outcome = run(&["--output", "json", "-"], &format!("{GOOD}\n"));
    assert_eq!(
        outcome.json(),
        serde_json::json!({
            "schema": "mta-sts.lint/1",
            "inputs": [{
                "name": "-",
                "kind": "policy",
                "valid": false,
                "findings": [{
                    "code": "policy-blank-line",
                    "severity": "error",
                    "subject": "line 5",
                    "message": "a blank line is not in the grammar, at the end neither: postfix-tlspol and go-mtasts (maddy) refuse the policy for it",
                    "evidence": null,
                    "remedy": "delete the blank lines; the last line ends with one line end",
                    "reference": "RFC 8461 §3.2",
                }],
            }],
        })
    );
}

#[test]
fn the_exit_code_tells_the_worst() {
    let warning = GOOD.replace("604800", "86400");
    let error = GOOD.replace("enforce", "enforced");
    for (case, args, stdin, code) in [
        ("good", vec!["-"], GOOD, 0),
        ("warning", vec!["-"], &warning, 0),
        (
            "warning counts",
            vec!["--fail-on", "warning", "-"],
            &warning,
            1,
        ),
        (
            "good and warnings count",
            vec!["--fail-on", "warning", "-"],
            GOOD,
            0,
        ),
        ("error", vec!["-"], &error, 1),
        ("missing file", vec!["no-such-file"], "", 2),
        (
            "missing file and an error",
            vec!["-", "no-such-file"],
            &error,
            2,
        ),
        (
            "an error and a missing file",
            vec!["no-such-file", "-"],
            &error,
            2,
        ),
        ("a folder", vec!["."], "", 2),
    ] {
        assert_eq!(run(&args, stdin).code, code, "{case}");
    }
}

#[test]
fn an_unreadable_file_does_not_hide_the_others() {
    let outcome = run(&["--output", "json", "no-such-file", "-"], GOOD);
    assert_eq!(outcome.json()["inputs"].as_array().unwrap().len(), 1);
    assert!(
        outcome.stderr.starts_with("no-such-file: "),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_huge_file_is_not_read_to_its_end() {
    let huge = vec![b'\n'; 5 * 1024 * 1024];
    assert_eq!(run_with(&["-"], &huge, false).code, 2);
    let large = vec![b'\n'; 3 * 1024 * 1024];
    let outcome = run_with(&["--output", "json", "-"], &large, false);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stdout.len() < 1024 * 1024);
}

#[test]
fn aliases_that_multiply_fill_no_memory() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        writeln!(bomb, "a{level}: &a{level} [{before}]").unwrap();
    }
    let outcome = run(&["--as", "manifest", "--output", "json", "-"], &bomb);
    assert_eq!(
        summary(&outcome),
        "not valid\nerror spec-yaml-invalid manifest\n"
    );
    let deep = "[".repeat(100_000);
    let outcome = run(&["--as", "manifest", "--output", "json", "-"], &deep);
    assert_eq!(
        summary(&outcome),
        "not valid\nerror spec-yaml-invalid manifest\n"
    );
}

#[test]
fn text_reads_from_what_to_why_to_fix() {
    let outcome = run(&["-"], &GOOD.replace("enforce", "enforced"));
    assert_eq!(
        outcome.stdout,
        "-: policy, not valid, 1 finding\n\
         error policy-mode  line 2\n\
         \x20 the mode is \"enforced\": it is enforce, testing or none, in lower case\n\
         \x20 fix: write: mode: enforce\n\
         \x20 RFC 8461 §3.2\n"
    );
    assert_eq!(
        run(&["-"], GOOD).stdout,
        "-: policy, valid, nothing found\n"
    );
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let bad = GOOD.replace("enforce", "enforced");
    let coloured = |args: &[&str], terminal| {
        run_with(args, bad.as_bytes(), terminal)
            .stdout
            .contains('\u{1b}')
    };
    // The variable may be set where the tests run, so it is overruled here.
    assert!(coloured(&["--no-color=", "-"], true));
    assert!(!coloured(&["--no-color=", "-"], false));
    assert!(!coloured(&["--no-color", "-"], true));
}

#[test]
fn objects_that_are_not_checked_are_noted_and_nothing_else() {
    let path = fixtures("manifest")
        .into_iter()
        .find(|path| path.ends_with("several-documents.txt"))
        .unwrap();
    let outcome = run(&["--as", "manifest", path.to_str().unwrap()], "");
    let notes: Vec<_> = outcome
        .stderr
        .lines()
        .filter_map(|line| line.rsplit_once(".txt: "))
        .map(|(_, note)| note)
        .collect();
    assert_eq!(
        notes,
        ["ConfigMap other: not checked", "Secret tsig: not checked"]
    );
}

#[test]
fn a_wrong_mx_is_answered_with_the_corrected_line() {
    for (written, fix) in [
        ("mail.example.org.", "write: mx: mail.example.org"),
        ("10 mail.example.org.", "write: mx: mail.example.org"),
        ("bücher.example", "write: mx: xn--bcher-kva.example"),
        (
            "a.example, b.example",
            "write: mx: a.example / mx: b.example",
        ),
    ] {
        let body = GOOD.replace("mail.example.org", written);
        let document = run(&["--output", "json", "-"], &body).json();
        assert_eq!(
            document["inputs"][0]["findings"][0]["remedy"], fix,
            "{written}"
        );
    }
}

#[test]
fn code_hosts_and_ci_systems_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.txt", GOOD);
    let bad = file(
        "my: bücher.txt",
        &GOOD.replace("enforce", "\u{1b}<enforced>&"),
    );
    let warns = file("warns.txt", &GOOD.replace("604800", "3600"));
    let all = [good.as_str(), &bad, &warns];

    let sarif = run(&[&["--output=sarif"], &all[..]].concat(), "");
    assert_eq!((sarif.code, sarif.stderr.as_str()), (1, ""));
    assert_eq!(outputs::sarif_faults(&sarif.stdout), "");
    let results = sarif.json()["runs"][0]["results"]
        .as_array()
        .unwrap()
        .clone();
    let of = |result: &Value| {
        let place = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        let place = place
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        (place, result["ruleId"].as_str().unwrap().to_owned())
    };
    let found: Vec<(String, String)> = results.iter().map(of).collect();
    let expected = [
        ("my%3A%20b%C3%BCcher.txt", "policy-mode"),
        ("warns.txt", "policy-max-age-short"),
        ("warns.txt", "policy-reader-incompatible"),
    ];
    assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    // Nothing wrong is a document as well; and the schema does say so when there is a fault.
    let none = run(&["--output=sarif", &good], "");
    assert_eq!(
        (none.code, outputs::sarif_faults(&none.stdout).as_str()),
        (0, "")
    );
    let odd = none.stdout.replace("\"results\"", "\"result\"");
    assert_ne!(outputs::sarif_faults(&odd), "");

    for (fail_on, failures) in [("error", 1), ("warning", 2)] {
        let args = [&["--output=junit", "--fail-on", fail_on], &all[..]].concat();
        let junit = run(&args, "");
        assert_eq!((junit.code, junit.stderr.as_str()), (1, ""));
        let report = outputs::junit(&junit.stdout);
        assert_eq!(report["name"], "mta-sts lint");
        let suites = report["suites"].as_array().unwrap();
        let names: Vec<&str> = suites
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, all);
        let cases: Vec<&Value> = suites.iter().map(|it| &it["cases"][0]).collect();
        assert_eq!(cases[0]["failure"], Value::Null);
        assert_eq!(cases[1]["failure"], "policy-mode");
        let failed = cases.iter().filter(|it| !it["failure"].is_null());
        assert_eq!(failed.count(), failures, "{report:#}");
        // A warning that does not fail is told all the same.
        assert!(
            cases[2]["text"].as_str().unwrap().contains("3600 seconds"),
            "{report:#}"
        );
    }
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    for args in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["crds"],
        &["lint", "--output=json", "Cargo.toml"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_mta-sts"));
        let output = command.args(args).stdout(writer).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code().is_some_and(|it| it < 2),
            "{args:?}: {stderr}"
        );
        assert_eq!(stderr, "", "{args:?}");
    }
}

#[test]
fn the_table_of_findings_in_the_documentation_is_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/findings.md");
    let page = fs::read_to_string(&path).unwrap();
    let (start, end) = ("<!-- catalogue -->\n", "<!-- end of the catalogue -->");
    let (before, rest) = page.split_once(start).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let fresh = format!("{before}{start}{}{end}{after}", catalogue());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &fresh).unwrap();
    } else {
        assert_eq!(page, fresh, "run UPDATE_DOCS=1 cargo test --test lint");
    }
}

fn catalogue() -> String {
    let sections = [
        (Section::Record, "Record `_mta-sts`"),
        (Section::Policy, "Policy body"),
        (Section::Host, "Policy host"),
        (Section::Mx, "MX"),
        (Section::TlsReporting, "TLS reporting"),
        (Section::Report, "TLS reports"),
        (Section::Lifecycle, "Lifecycle"),
        (Section::Spec, "Manifests"),
    ];
    let mut text = String::new();
    for (section, title) in sections {
        write!(text, "\n## {title}\n\n| code | severity | lint | meaning | reference |\n|---|---|---|---|---|\n").unwrap();
        for code in Code::ALL.iter().filter(|code| code.section() == section) {
            let severities = code.severities();
            let severity = if severities.enforce == severities.testing {
                severities.enforce.as_str().to_owned()
            } else {
                format!(
                    "{} / {}",
                    severities.enforce.as_str(),
                    severities.testing.as_str()
                )
            };
            let lint = if code.is_lint() { "yes" } else { "" };
            let reference = code.reference().unwrap_or_default();
            writeln!(
                text,
                "| `{code}` | {severity} | {lint} | {} | {reference} |",
                code.meaning()
            )
            .unwrap();
        }
    }
    text.push('\n');
    text
}
