//! `mta-sts report` from file to exit code, on one file a case: the oddities of real reports, what
//! they are packed in, and hostile bytes.
//!
//! Each file of `tests/fixtures/reports/` has a sibling `<file>.expected`: the exit code, then what
//! a person sees. `UPDATE_FIXTURES=1 cargo test --test report` writes them anew; read the
//! difference before it is committed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use mta_sts_operator::protocol::Report;
use mta_sts_operator::reports;
use proptest::prelude::*;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reports")
}

/// Runs the command in the folder of the fixtures. Gives its exit code and both streams.
fn run(args: &[&str], stdin: &[u8]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mta-sts"))
        .arg("report")
        .args(args)
        .current_dir(folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who does not read to the end has seen enough.
    let _ = command.stdin.take().unwrap().write_all(stdin);
    let output = command.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().expect("it ends by itself");
    (code, text(output.stdout), text(output.stderr))
}

fn json_of(args: &[&str], stdin: &[u8]) -> (i32, Value) {
    let (code, stdout, stderr) = run(&[args, &["--output", "json"]].concat(), stdin);
    let document: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|why| panic!("{why}: {stdout}{stderr}"));
    assert_eq!(document["schema"], "mta-sts.report/1");
    (code, document["inputs"].clone())
}

fn codes(input: &Value) -> Vec<&str> {
    let findings = input["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|f| f["code"].as_str().unwrap())
        .collect()
}

fn fixtures() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".expected"))
        .collect();
    names.sort();
    names
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = zip::write::SimpleFileOptions::default();
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn every_file_is_explained_as_expected() {
    let update = std::env::var_os("UPDATE_FIXTURES").is_some();
    let mut wrong = Vec::new();
    for name in fixtures() {
        let (code, stdout, stderr) = run(&[&name], b"");
        let found = format!("exit {code}\n{stdout}{stderr}");
        let path = folder().join(format!("{name}.expected"));
        if update {
            fs::write(&path, &found).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if expected != found {
            wrong.push(format!("{name}\nexpected {expected}\nfound {found}"));
        }
    }
    assert!(fixtures().len() > 70, "{}", fixtures().len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn each_oddity_costs_a_field_at_most_and_never_the_report() {
    let odd = |name: &&String| {
        ["odd-", "mail-", "google", "microsoft", "rfc"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    for name in fixtures().iter().filter(odd) {
        if name == "mail-without-report.eml" {
            continue;
        }
        let (_, inputs) = json_of(&[name], b"");
        assert_eq!(inputs[0]["accepted"], true, "{name}: {inputs:#}");
        assert!(
            !inputs[0]["reports"].as_array().unwrap().is_empty(),
            "{name}"
        );
        // A date that cannot be read is never 1970.
        for report in inputs[0]["reports"].as_array().unwrap() {
            let times = format!("{} {}", report["begin"], report["end"]);
            assert!(!times.contains("1970-"), "{name}: {times}");
        }
    }
    for name in fixtures().iter().filter(|name| name.starts_with("bad-")) {
        let (code, inputs) = json_of(&[name], b"");
        assert_eq!(inputs[0]["accepted"], false, "{name}");
        assert_eq!(code, 1, "{name}");
        assert!(
            !inputs[0]["findings"].as_array().unwrap().is_empty(),
            "{name}"
        );
    }
}

#[test]
fn the_json_has_what_scripts_rely_on() {
    let (code, inputs) = json_of(&["google-mx-outside-the-policy.json"], b"");
    assert_eq!(code, 1);
    let report = &inputs[0]["reports"][0];
    assert_eq!(report["organization"], "Google Inc.");
    assert_eq!(report["begin"], "2026-11-24T00:00:00Z");
    let policy = &report["policies"][0];
    assert_eq!(
        (&policy["type"], &policy["domain"]),
        (&json!("sts"), &json!("example.org"))
    );
    assert_eq!(
        (&policy["successful"], &policy["failed"]),
        (&json!(4120), &json!(3))
    );
    let result = &policy["results"][0];
    assert_eq!(result["type"], "validation-failure");
    assert_eq!(result["known"], true);
    assert_eq!(result["receivingMx"], "mx9.example.org");
    assert!(
        result["remedy"]
            .as_str()
            .unwrap()
            .contains("mx: mx9.example.org"),
        "{result}"
    );
    for key in ["count", "sendingMtaIp", "receivingIp", "reason", "cause"] {
        assert!(result.get(key).is_some(), "{key} is null, never missing");
    }
}

#[test]
fn every_result_type_of_the_rfc_has_its_own_finding_cause_and_remedy() {
    let (_, inputs) = json_of(&["every-result-enforce.json"], b"");
    let results = inputs[0]["reports"][0]["policies"].as_array().unwrap();
    let results: Vec<&Value> = results
        .iter()
        .flat_map(|policy| policy["results"].as_array().unwrap())
        .collect();
    let of = |key: &str| {
        let mut all: Vec<&str> = results.iter().map(|r| r[key].as_str().unwrap()).collect();
        all.sort_unstable();
        all.dedup();
        all.len()
    };
    assert!(of("type") >= 11, "{results:#?}");
    assert_eq!(of("cause"), of("type"));
    assert_eq!(of("remedy"), of("type"));
}

#[test]
fn packed_as_senders_pack_it() {
    let report = fs::read(folder().join("clean.json")).unwrap();
    let packed = gzip(&report);
    let twice = gzip(&packed);
    let members = [gzip(&report[..50]), gzip(&report[50..])].concat();
    let trailing = [packed.as_slice(), b"\r\n--boundary--"].concat();
    let archive = zip(&[
        ("a.json", report.as_slice()),
        ("b.json.gz", packed.as_slice()),
    ]);
    for (case, bytes, reports) in [
        ("plain", report.clone(), 1),
        ("gzip", packed.clone(), 1),
        ("gzip of gzip", twice, 1),
        ("several members", members, 1),
        ("bytes behind the stream", trailing, 1),
        ("a zip with the same report twice", archive, 1),
        ("cut off", packed[..packed.len() / 2].to_vec(), 0),
    ] {
        let (_, inputs) = json_of(&["-"], &bytes);
        let found = inputs[0]["reports"].as_array().unwrap().len();
        assert_eq!(found, reports, "{case}: {inputs:#}");
    }
    let mut wrong_sum = packed;
    let sum = wrong_sum.len() - 5;
    wrong_sum[sum] ^= 0xff;
    let (_, inputs) = json_of(&["-"], &wrong_sum);
    assert!(
        !codes(&inputs[0]).is_empty(),
        "a wrong checksum is told: {inputs:#}"
    );
}

#[test]
fn the_same_report_twice_is_counted_once() {
    let (_, inputs) = json_of(&["clean.json", "clean.json"], b"");
    assert!(!codes(&inputs[0]).contains(&"report-duplicate"));
    assert!(
        codes(&inputs[1]).contains(&"report-duplicate"),
        "{inputs:#}"
    );
}

#[test]
fn what_cannot_be_read_is_said_and_the_others_are_read() {
    let (code, stdout, stderr) = run(&["no-such-file.json", "clean.json"], b"");
    assert_eq!(code, 2);
    assert!(stderr.contains("no-such-file.json"), "{stderr}");
    assert!(stdout.contains("clean.json: 1 report"), "{stdout}");
}

/// Small inputs that want to become large, or never end.
#[test]
fn bombs_end_in_a_finding_within_the_budgets() {
    let zeros = gzip(&vec![b'0'; 200 * 1024 * 1024]);
    let nested = (0..40).fold(gzip(b"{}"), |inner, _| gzip(&inner));
    let many: Vec<(String, Vec<u8>)> = (0..5000)
        .map(|n| {
            (
                format!("{n}.json"),
                format!("{{\"report-id\": \"{n}\"}}").into_bytes(),
            )
        })
        .collect();
    let many: Vec<(&str, &[u8])> = many
        .iter()
        .map(|(n, b)| (n.as_str(), b.as_slice()))
        .collect();
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let deep = [b"{\"policies\": ".as_slice(), &deep, b"}"].concat();
    let parts = "--x\r\nContent-Type: application/tlsrpt+json\r\n\r\n{}\r\n".repeat(20_000);
    let mail = format!(
        "From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=tlsrpt; boundary=x\r\n\r\n{parts}--x--\r\n"
    );
    for (case, bytes) in [
        ("a gzip of 200 MiB of zeros", zeros),
        ("40 times packed", nested),
        ("an archive of 5000 members", zip(&many)),
        ("100000 lists in each other", deep),
        ("20000 parts", mail.into_bytes()),
    ] {
        let begun = Instant::now();
        let (code, inputs) = json_of(&["-"], &bytes);
        assert!(begun.elapsed() < Duration::from_secs(60), "{case} hangs");
        assert!(!codes(&inputs[0]).is_empty(), "{case}: {inputs:#}");
        assert!(code <= 1, "{case}: {code}");
    }
}

#[test]
fn hostile_text_steers_no_terminal() {
    for output in ["text", "json"] {
        let (_, stdout, stderr) = run(&["odd-hostile-text.json", "--output", output], b"");
        let shown = stdout + &stderr;
        let steers = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!shown.contains(steers), "{output}: {shown:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_end_in_reports_or_findings(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let unpacked = reports::unpack("x", &bytes);
        for document in &unpacked.documents {
            let _ = Report::read(&document.bytes);
        }
        prop_assert!(!unpacked.documents.is_empty() || !unpacked.oddities.is_empty());
    }

    /// A real report with some bytes changed: the same, and packed.
    #[test]
    fn spoilt_reports_end_too(at in prop::collection::vec((0_usize..4000, any::<u8>()), 1..12)) {
        for name in ["every-result-enforce.json", "mail-gzip.eml", "mail-forwarded.eml"] {
            let mut bytes = fs::read(folder().join(name)).unwrap();
            for (place, byte) in &at {
                let place = place % bytes.len();
                bytes[place] = *byte;
            }
            for bytes in [gzip(&bytes), bytes] {
                for document in reports::unpack(name, &bytes).documents {
                    let _ = Report::read(&document.bytes);
                }
            }
        }
    }
}
