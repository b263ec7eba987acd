//! What packs the image, and what looks into it before it is let out: both tried on small programs.
//! `make image` does the same with the real one, whose release build takes minutes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

const LABELS: &[&str] = &["source", "version", "revision", "licenses"];

#[test]
fn the_same_files_give_the_same_bytes_in_any_folder_at_any_time() {
    let (one, two) = (Parts::new(), Parts::new());
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let binary = fs::File::options().append(true).open(two.path("mta-sts"));
    binary.unwrap().set_modified(long_ago).unwrap();
    let (first, second) = (one.pack(&[]), two.pack(&[]));
    assert_eq!(fs::read(first).unwrap(), fs::read(second).unwrap());
}

#[test]
fn another_byte_gives_another_digest() {
    let (one, two) = (Parts::new(), Parts::new());
    fs::write(two.path("mta-sts"), program("another")).unwrap();
    assert_ne!(digest(&one.pack(&[])), digest(&two.pack(&[])));
}

#[test]
fn a_good_image_passes() {
    let parts = Parts::new();
    let checked = check(&parts.pack(&[]), &["--forbid", "/srv/builder"]);
    assert!(checked.status.success(), "{}", said(&checked));
}

#[test]
fn each_broken_promise_is_told() {
    let dynamic = fs::read("/proc/self/exe").unwrap();
    let few = "-----BEGIN CERTIFICATE-----\n".repeat(3).into_bytes();
    let with_path = program("panicked at /srv/builder/src/main.rs");
    let broken: [(&str, Break<'_>, &[&str], &str); 8] = [
        ("mta-sts", Break::File(&dynamic), &[], "is not static"),
        ("mta-sts", Break::File(b"#!/bin/sh\n"), &[], "no 64-bit ELF"),
        (
            "mta-sts",
            Break::File(&with_path),
            &[],
            "a path of the machine",
        ),
        ("ca.crt", Break::File(&few), &[], "has 3 certificates"),
        ("", Break::Option("--user", "0:0"), &[], "User is '0:0'"),
        (
            "",
            Break::Option("--entrypoint", "[\"/bin/sh\"]"),
            &[],
            "Entrypoint is",
        ),
        (
            "",
            Break::Option("--link", "/etc/own=/tmp"),
            &[],
            "the files are",
        ),
        (
            "",
            Break::Nothing,
            &["--max-mib", "0.001"],
            "not below 0.001 MiB",
        ),
    ];
    for (file, how, flags, expected) in broken {
        let parts = Parts::new();
        let image = match how {
            Break::File(bytes) => {
                fs::write(parts.path(file), bytes).unwrap();
                parts.pack(&[])
            }
            Break::Option(name, value) => parts.pack(&[name, value]),
            Break::Nothing => parts.pack(&[]),
        };
        let checked = check(&image, &[&["--forbid", "/srv/builder"], flags].concat());
        assert!(!checked.status.success(), "{expected:?} was let out");
        assert!(said(&checked).contains(expected), "{}", said(&checked));
    }
}

#[test]
fn the_dockerfile_makes_the_same_image() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (script, dockerfile) = (read("tools/image.sh"), read("Dockerfile"));
    for (packed, built) in [
        ("--user 65532:65532", "USER 65532:65532"),
        ("--entrypoint '[\"/mta-sts\"]'", "ENTRYPOINT [\"/mta-sts\"]"),
        (
            "--env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
        ),
        (
            "--port 8080 --port 8081 --port 8082",
            "EXPOSE 8080 8081 8082",
        ),
    ] {
        assert!(script.contains(packed), "tools/image.sh has no {packed}");
        assert!(dockerfile.contains(built), "the Dockerfile has no {built}");
    }
    for label in ["title", "description"].iter().chain(LABELS) {
        let label = format!("org.opencontainers.image.{label}=");
        assert!(script.contains(&label), "tools/image.sh has no {label}");
        assert!(dockerfile.contains(&label), "the Dockerfile has no {label}");
    }
}

/// How an image is spoilt.
enum Break<'a> {
    File(&'a [u8]),
    Option(&'a str, &'a str),
    Nothing,
}

/// What goes into an image, in a folder of its own.
struct Parts(tempfile::TempDir);

impl Parts {
    fn new() -> Self {
        let parts = Self(tempfile::tempdir().unwrap());
        let authorities = "-----BEGIN CERTIFICATE-----\n".repeat(100);
        fs::write(parts.path("mta-sts"), program("good")).unwrap();
        fs::write(parts.path("ca.crt"), authorities).unwrap();
        parts
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Packs as tools/image.sh does; of an option that is given twice the last counts.
    fn pack(&self, options: &[&str]) -> PathBuf {
        let image = self.path("image.oci.tar");
        let mut pack = python("pack.py");
        pack.arg(&image).arg("registry.example/mta-sts:1.0.0");
        for (name, place) in [
            ("mta-sts", "/mta-sts:755"),
            ("ca.crt", "/etc/ssl/certs/ca-certificates.crt:644"),
        ] {
            let path = self.path(name);
            pack.args(["--add", &format!("{}:{place}", path.display())]);
        }
        pack.args(["--user", "65532:65532", "--entrypoint", "[\"/mta-sts\"]"]);
        pack.args(["--env", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"]);
        for label in LABELS {
            pack.args(["--label", &format!("org.opencontainers.image.{label}=x")]);
        }
        let packed = pack.args(options).output().unwrap();
        assert!(packed.status.success(), "{}", said(&packed));
        image
    }
}

/// A static ELF program without segments, with some text in it.
fn program(text: &str) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn check(image: &Path, flags: &[&str]) -> Output {
    let mut check = python("check.py");
    check.arg(image).args(["--max-mib", "25"]).args(flags);
    check.output().unwrap()
}

fn digest(image: &Path) -> String {
    let output = python("pack.py").arg("--digest").arg(image).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(root().join("tools/image").join(script));
    command.env("SOURCE_DATE_EPOCH", "1700000000");
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
