//! A private Knot on loopback.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file takes its own part"
)]

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::bind::Key;
use super::keeper;
use super::ports::{free_port, loopback};
use super::process::{Process, SYSTEM_PATH};
use tempfile::TempDir;

/// A running Knot.
pub struct Knot {
    address: SocketAddr,
    // Before its folder, so that it is dead when that is removed.
    process: Process,
    _folder: TempDir,
}

impl Knot {
    /// Starts a server with empty zones, which may be written with the key.
    pub fn start(zones: &[&str], key: Key) -> Self {
        Self::with_records(zones, key, "")
    }

    /// The same with these lines in each zone.
    pub fn with_records(zones: &[&str], key: Key, records: &str) -> Self {
        let folder = keeper::folder("knot");
        let address = loopback(free_port());
        let path = folder.path().display();
        let mut configuration = format!(
            "server:\n  rundir: {path}\n  listen: {}@{}\n  background-workers: 1\n  udp-workers: 1\n  \
             tcp-workers: 1\ndatabase:\n  storage: {path}\nlog:\n  - target: stderr\n    any: info\n\
             key:\n  - id: {}\n    algorithm: {}\n    secret: {}\nacl:\n  - id: update\n    key: {}\n    \
             action: update\nzone:\n",
            address.ip(),
            address.port(),
            key.name,
            key.algorithm,
            key.secret,
            key.name
        );
        for zone in zones {
            let text = format!(
                "{zone}. 300 SOA ns.{zone}. hostmaster.{zone}. 1 3600 900 604800 300\n{zone}. 300 NS ns.{zone}.\nns.{zone}. 300 A {}\n$ORIGIN {zone}.\n$TTL 300\n{records}\n",
                address.ip()
            );
            fs::write(folder.path().join(format!("{zone}.zone")), text).unwrap();
            let line = "  - domain: ZONE\n    storage: PATH\n    file: ZONE.zone\n    acl: update\n    zonefile-sync: -1\n    journal-content: all\n";
            let line = line
                .replace("ZONE", zone)
                .replace("PATH", &path.to_string());
            configuration.write_str(&line).unwrap();
        }
        let file = folder.path().join("knot.conf");
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new("knotd");
        let path = format!(
            "{}:{SYSTEM_PATH}",
            std::env::var("PATH").unwrap_or_default()
        );
        command.arg("-c").arg(&file).env("PATH", path);
        let process = Process::start("knot", &mut command, &folder.path().join("knot.log"));
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(
                Instant::now() < end,
                "Knot does not come up: {}",
                process.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            address,
            process,
            _folder: folder,
        }
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where it answers and takes updates.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
