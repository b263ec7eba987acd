//! external-dns: as a webhook provider, which keeps its records in memory and always listens on
//! 127.0.0.1:8888, so that it needs a [network of the test's own](super::netns); and as the one that
//! carries out DNSEndpoints.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::keeper;
use super::netns;
use super::ports::free_port;
use super::process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running webhook provider.
pub struct ExternalDns {
    // Before its folder, so that it is dead when that is removed.
    process: Process,
    _folder: TempDir,
}

impl ExternalDns {
    /// Builds it, where that was never done: before the network is left.
    pub fn build() -> PathBuf {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/external-dns.sh");
        let output = Command::new(script)
            .output()
            .expect("tools/external-dns.sh starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        PathBuf::from(stdout.lines().last().unwrap()).join("external-dns")
    }

    /// The definition of DNSEndpoint.
    pub fn definition() -> Value {
        let file = Self::build().with_file_name("dnsendpoints.externaldns.k8s.io.yaml");
        serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    }

    /// Starts one that carries out DNSEndpoints each second, with further flags: its provider,
    /// which types it writes, and what becomes of records that no object names.
    pub fn carry_out(kubeconfig: &Path, flags: &[&str]) -> Self {
        let each_second = ["--interval=1s", "--min-event-sync-interval=1s"];
        Self::carry_out_as(kubeconfig, &[&each_second, flags].concat())
    }

    /// The same as often as it does by itself, or as the flags say.
    pub fn carry_out_as(kubeconfig: &Path, flags: &[&str]) -> Self {
        let folder = keeper::folder("external-dns");
        let port = free_port();
        let mut command = Command::new(Self::build());
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--metrics-address=127.0.0.1:{port}"))
            .args(["--source=crd", "--registry=noop"])
            .args(flags);
        let log = folder.path().join("external-dns.log");
        let process = Process::start("external-dns", &mut command, &log);
        Self {
            process,
            _folder: folder,
        }
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Starts it with these zones. Only in a network of the test's own.
    pub fn start(zones: &[&str]) -> Self {
        assert!(netns::inside());
        Self::start_here(zones)
    }

    /// The same where nobody else has its port.
    pub fn start_here(zones: &[&str]) -> Self {
        let folder = keeper::folder("external-dns");
        let mut command = Command::new(Self::build());
        command.args(["--webhook-server", "--source=fake", "--provider=inmemory"]);
        command.arg("--metrics-address=127.0.0.1:7979");
        for zone in zones {
            command.arg(format!("--inmemory-zone={zone}"));
        }
        let log = folder.path().join("external-dns.log");
        let process = Process::start("external-dns", &mut command, &log);
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(Self::address()).is_err() {
            assert!(Instant::now() < end, "external-dns: {}", process.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self {
            process,
            _folder: folder,
        }
    }

    /// Where it listens.
    pub fn address() -> SocketAddr {
        "127.0.0.1:8888".parse().unwrap()
    }

    /// Makes a record set, as somebody else would.
    pub fn create(&self, name: &str, kind: &str, targets: &[&str]) {
        let endpoint =
            json!({"dnsName": name, "recordType": kind, "targets": targets, "recordTTL": 300});
        let answer = ask(
            "POST",
            "/records",
            &json!({"create": [endpoint]}).to_string(),
        );
        assert!(
            answer.starts_with("HTTP/1.0 204"),
            "{answer}\n{}",
            self.process.log()
        );
    }

    /// What it lists at a name: target and TTL.
    pub fn records(&self, name: &str, kind: &str) -> Vec<(String, u32)> {
        self.all(kind).remove(name).unwrap_or_default()
    }

    /// All that it lists of a type, by name.
    pub fn all(&self, kind: &str) -> HashMap<String, Vec<(String, u32)>> {
        let answer = ask("GET", "/records", "");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let listed: Vec<Value> = serde_json::from_str(body).unwrap();
        let of_kind = listed.iter().filter(|e| e["recordType"] == kind);
        of_kind
            .map(|endpoint| {
                let ttl = endpoint["recordTTL"].as_u64().unwrap_or_default();
                let target = |target: &Value| {
                    let text = target.as_str().unwrap().to_owned();
                    (text, u32::try_from(ttl).unwrap())
                };
                let targets = endpoint["targets"].as_array().unwrap();
                let name = endpoint["dnsName"].as_str().unwrap().to_owned();
                (name, targets.iter().map(target).collect())
            })
            .collect()
    }
}

fn ask(method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(ExternalDns::address()).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\n\
         Content-Type: application/external.dns.webhook+json;version=1\r\n\
         Accept: application/external.dns.webhook+json;version=1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
