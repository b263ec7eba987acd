//! What is, and what is not, among the crates that the binary is made of: cargo is asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// aws-lc-rs is the one implementation of cryptography.
const ABSENT: &[&str] = &[
    "ring",
    "openssl",
    "openssl-sys",
    "native-tls",
    "boring",
    "mbedtls",
];

/// Two of one of these would not understand each other's types, or would double what is compiled.
const ONCE: &[&str] = &[
    "aws-lc-rs",
    "hickory-proto",
    "http",
    "hyper",
    "hyper-util",
    "jiff",
    "k8s-openapi",
    "kube",
    "kube-client",
    "kube-core",
    "kube-runtime",
    "rustls",
    "schemars",
    "tokio",
    "tokio-rustls",
    "x509-parser",
];

#[test]
fn only_aws_lc_rs_does_cryptography() {
    let crates = crates();
    let found: Vec<_> = ABSENT
        .iter()
        .filter(|name| crates.contains_key(**name))
        .collect();
    assert!(
        found.is_empty(),
        "`cargo tree -i NAME` says who brings {found:?}"
    );
}

#[test]
fn there_is_one_version_of_what_must_be_shared() {
    let crates = crates();
    for name in ONCE {
        let versions = crates
            .get(*name)
            .unwrap_or_else(|| panic!("{name} is gone: take it off the list"));
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
}

/// Names and versions of all crates on this platform, also those for tests.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal,build,dev",
        ])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let mut crates = BTreeMap::<String, BTreeSet<String>>::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            crates
                .entry(name.to_owned())
                .or_default()
                .insert(version.to_owned());
        }
    }
    crates
}
