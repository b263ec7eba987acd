//! What others read of findings: the published schema of SARIF, and an XML parser for JUnit.

#![allow(dead_code, unreachable_pub, reason = "each test takes its own part")]

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the schema of SARIF 2.1.0 has against a document: nothing, or a line for each fault.
pub fn sarif_faults(document: &str) -> String {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/peers.sh");
    let output = Command::new(peers).output().expect("tools/peers.sh starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let stdout = String::from_utf8(output.stdout).expect("a path");
    let modules = PathBuf::from(stdout.lines().last().expect("a path")).join("sarif");
    let mut command = Command::new("python3");
    command
        .arg(modules.join("validate.py"))
        .env("PYTHONPATH", modules);
    told(&mut command, document)
}

/// A JUnit report: each suite with its cases, and what a case that failed or passed says.
pub fn junit(document: &str) -> Value {
    const SCRIPT: &str = r#"
import json, sys
from xml.etree import ElementTree

def case(it):
    failure = it.find("failure")
    return {"name": it.get("name"), "failure": None if failure is None else failure.get("type"),
            "text": it.findtext("failure") or it.findtext("system-out")}

root = ElementTree.parse(sys.stdin.buffer).getroot()
assert root.tag == "testsuites", root.tag
cases = root.findall("testsuite/testcase")
assert int(root.get("tests")) == len(cases), root.attrib
assert int(root.get("failures")) == len(root.findall("testsuite/testcase/failure")), root.attrib
print(json.dumps({"name": root.get("name"), "suites": [
    {"name": it.get("name"), "cases": [case(one) for one in it.findall("testcase")]}
    for it in root.findall("testsuite")]}))
"#;
    let said = told(Command::new("python3").args(["-c", SCRIPT]), document);
    serde_json::from_str(&said).expect("JSON")
}

fn told(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{command:?} fails with {input}");
    String::from_utf8(output.stdout).expect("text")
}
