//! A private PowerDNS with a SQLite database on loopback: dynamic updates and its HTTP API.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file takes its own part"
)]

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::bind::Key;
use super::keeper;
use super::ports::{free_port, loopback};
use super::process::{Process, SYSTEM_PATH};
use tempfile::TempDir;

/// What its API asks for.
pub const API_KEY: &str = "canary-of-powerdns";

const SCHEMA: &str = "/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql";

/// A running PowerDNS.
pub struct PowerDns {
    dns: SocketAddr,
    api: SocketAddr,
    // Before its folder, so that it is dead when that is removed.
    process: Option<Process>,
    folder: TempDir,
}

impl PowerDns {
    /// Starts a server with empty zones, which may be written with the key.
    pub fn start(zones: &[&str], key: Key) -> Self {
        let folder = keeper::folder("powerdns");
        let (dns, api) = (loopback(free_port()), loopback(free_port()));
        let path = folder.path().display();
        let configuration = format!(
            "launch=gsqlite3\ngsqlite3-database={path}/pdns.sqlite\nsocket-dir={path}\n\
             local-address={}\nlocal-port={}\ndnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8\n\
             api=yes\napi-key={API_KEY}\nwebserver=yes\nwebserver-address=127.0.0.1\n\
             webserver-port={}\ncache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\n\
             zone-cache-refresh-interval=0\nguardian=no\ndaemon=no\ndisable-syslog=yes\n",
            dns.ip(),
            dns.port(),
            api.port()
        );
        fs::write(folder.path().join("pdns.conf"), configuration).unwrap();
        let mut server = Self {
            dns,
            api,
            process: None,
            folder,
        };
        server.sqlite(&fs::read_to_string(SCHEMA).expect(
            "the schema of PowerDNS is missing; is it installed (Debian: pdns-backend-sqlite3)?",
        ));
        server.util(&["import-tsig-key", key.name, key.algorithm, key.secret]);
        for zone in zones {
            server.util(&["create-zone", zone, &format!("ns.{zone}")]);
            server.util(&["set-meta", zone, "TSIG-ALLOW-DNSUPDATE", key.name]);
        }
        server.up();
        server
    }

    /// Where it answers and takes updates.
    pub fn address(&self) -> SocketAddr {
        self.dns
    }

    /// The URL of its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// Stops it.
    pub fn down(&mut self) {
        self.process = None;
    }

    /// Starts it again.
    pub fn up(&mut self) {
        let mut command = Command::new("pdns_server");
        command
            .arg(format!("--config-dir={}", self.folder.path().display()))
            .env("PATH", path());
        let log = self.folder.path().join("pdns.log");
        self.process = Some(Process::start("pdns", &mut command, &log));
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(self.api).is_err() || TcpStream::connect(self.dns).is_err() {
            assert!(Instant::now() < end, "PowerDNS does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes a record set as an administrator would: content in presentation format.
    pub fn replace(&self, zone: &str, name: &str, kind: &str, ttl: &str, content: &[&str]) {
        let below = name
            .strip_suffix(&format!(".{zone}"))
            .expect("a name within");
        let mut args = vec!["replace-rrset", zone, below, kind, ttl];
        args.extend(content);
        self.util(&args);
    }

    fn util(&self, args: &[&str]) {
        let output = Command::new("pdnsutil")
            .arg(format!("--config-dir={}", self.folder.path().display()))
            .args(args)
            .env("PATH", path())
            .output()
            .expect("pdnsutil (Debian: pdns-server)");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pdnsutil {args:?}: {told}");
    }

    fn sqlite(&self, script: &str) {
        let file = self.folder.path().join("schema.sql");
        fs::write(&file, script).unwrap();
        let status = Command::new("sqlite3")
            .arg(self.folder.path().join("pdns.sqlite"))
            .arg(format!(".read {}", file.display()))
            .status();
        assert!(status.expect("sqlite3 (Debian: sqlite3)").success());
    }
}

fn path() -> String {
    format!(
        "{}:{SYSTEM_PATH}",
        std::env::var("PATH").unwrap_or_default()
    )
}
