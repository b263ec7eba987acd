//! A validating resolver before the lab's name server.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::bind::{Bind, free_port};
use crate::support::keeper;
use crate::support::process::{Process, SYSTEM_PATH};
use crate::support::wait::{ensure, eventually};

const START: Duration = Duration::from_secs(30);

/// BIND as a resolver: it passes all on to one server, and believes the keys of its signed zones.
pub(super) struct Resolver {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Resolver {
    pub(super) async fn start(lab: &Bind, signed: &[&str]) -> Self {
        let mut anchors = String::new();
        for zone in signed {
            eventually("the zone is signed", START, async || {
                ensure(lab.answer_signed(zone).contains("RRSIG"), "no RRSIG yet")
            })
            .await;
            for key in lab
                .dig(zone, "DNSKEY")
                .lines()
                .filter(|key| key.starts_with("257"))
            {
                let mut parts = key.split_whitespace();
                let numbers: Vec<&str> = parts.by_ref().take(3).collect();
                let public: String = parts.collect();
                let numbers = numbers.join(" ");
                let _ = writeln!(anchors, "\"{zone}\" static-key {numbers} \"{public}\";");
            }
        }
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let address = SocketAddr::new(ip, free_port(ip));
        let folder = keeper::folder("resolver");
        let (at, port) = (folder.path().display(), address.port());
        let (server, server_port) = (lab.address().ip(), lab.address().port());
        let config = format!(
            r#"options {{
    directory "{at}";
    pid-file "{at}/named.pid";
    lock-file "{at}/named.lock";
    session-keyfile "{at}/session.key";
    managed-keys-directory "{at}";
    listen-on port {port} {{ {ip}; }};
    listen-on-v6 {{ none; }};
    reuseport no;
    recursion yes;
    forward only;
    forwarders {{ {server} port {server_port}; }};
    empty-zones-enable no;
    dnssec-validation yes;
}};
trust-anchors {{
{anchors}}};
controls {{ }};
"#
        );
        let config = match anchors.is_empty() {
            true => config
                .replace("trust-anchors {\n};\n", "")
                .replace("dnssec-validation yes", "dnssec-validation no"),
            false => config,
        };
        fs::write(folder.path().join("named.conf"), config).unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("named");
        command
            .env("PATH", SYSTEM_PATH)
            .args(["-g", "-n", "1", "-c"])
            .arg(folder.path().join("named.conf"));
        let process = Process::start("named (resolver)", &mut command, &log);
        eventually("the resolver runs", START, async || {
            process.assert_alive();
            let said = fs::read_to_string(&log).unwrap_or_default();
            ensure(said.contains(" running\n"), said)
        })
        .await;
        Self {
            address,
            _process: process,
            _folder: folder,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}
