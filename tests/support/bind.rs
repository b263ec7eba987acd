//! A private BIND on loopback, with its own files, ended when dropped.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file takes its own part"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::keeper;
use super::process::{Process, SYSTEM_PATH};
use tempfile::TempDir;

/// A TSIG key: name, algorithm, secret in base64.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub algorithm: &'static str,
    pub secret: &'static str,
}

/// A zone: its name, and the lines below the `SOA` and `NS` that every zone gets.
#[derive(Clone, Debug)]
pub struct Zone {
    pub name: String,
    pub records: String,
    /// May be changed with any of the server's keys.
    pub dynamic: bool,
    /// Name servers in place of `ns.<zone>` at the server's own address.
    pub name_servers: Option<String>,
    /// Signed with keys that the server makes (DNSSEC).
    pub signed: bool,
}

impl Zone {
    pub fn new(name: &str, records: &str) -> Self {
        Self {
            name: name.to_owned(),
            records: records.to_owned(),
            dynamic: false,
            name_servers: None,
            signed: false,
        }
    }

    pub fn dynamic(name: &str, records: &str) -> Self {
        Self {
            dynamic: true,
            ..Self::new(name, records)
        }
    }

    /// The lines `@ NS …` (and glue) in place of the usual ones.
    pub fn with_name_servers(self, lines: &str) -> Self {
        Self {
            name_servers: Some(lines.to_owned()),
            ..self
        }
    }
}

/// A running (or stopped) BIND.
pub struct Bind {
    address: SocketAddr,
    // Before its folder, so that it is dead when that is removed.
    process: Option<Process>,
    folder: TempDir,
    /// How far its clock is off, in seconds.
    clock: i32,
}

/// A port that is free for TCP and UDP alike, and below those that the system gives to clients:
/// none of them can take it while a server is stopped for a moment.
pub fn free_port(ip: IpAddr) -> u16 {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let random = RandomState::new().build_hasher().finish();
        let port = 10_000 + u16::try_from(random % 22_000).unwrap();
        let is_free = TcpListener::bind((ip, port)).is_ok() && UdpSocket::bind((ip, port)).is_ok();
        if is_free && TAKEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

impl Bind {
    /// Starts a server on 127.0.0.1 and a free port.
    pub fn start(zones: &[Zone], keys: &[Key]) -> Self {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for _ in 0..5 {
            if let Ok(bind) = Self::try_start((ip, free_port(ip)).into(), zones, keys) {
                return bind;
            }
        }
        panic!("named does not start; is it installed (Debian: bind9, bind9-dnsutils)?");
    }

    /// Starts a server on an address of the caller's choice.
    pub fn try_start(address: SocketAddr, zones: &[Zone], keys: &[Key]) -> Result<Self, String> {
        let folder = keeper::folder("bind");
        for zone in zones {
            fs::write(
                folder.path().join(zone_file(&zone.name)),
                zone_text(zone, address),
            )
            .unwrap();
        }
        fs::write(
            folder.path().join("named.conf"),
            config(folder.path(), address, zones, keys),
        )
        .unwrap();
        let mut bind = Self {
            address,
            folder,
            process: None,
            clock: 0,
        };
        bind.try_restart()?;
        Ok(bind)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, while it runs.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Ends the server at once, as an outage does.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Serves another text of a zone: a secondary that has lagged behind catches up.
    pub fn serve_instead(&mut self, zone: &Zone) {
        let file = self.folder.path().join(zone_file(&zone.name));
        fs::write(file, zone_text(zone, self.address)).unwrap();
        self.restart();
    }

    /// Starts the server again with its clock so many seconds off.
    pub fn set_clock(&mut self, seconds: i32) {
        self.clock = seconds;
        self.restart();
    }

    /// Starts the stopped server again, on the same address and with what it had written.
    pub fn restart(&mut self) {
        self.try_restart().unwrap();
    }

    fn try_restart(&mut self) -> Result<(), String> {
        self.stop();
        let log = self.folder.path().join("log");
        let _ = fs::remove_file(&log); // what it says must be about this start
        let mut command = Command::new("named");
        if self.clock != 0 {
            command.env("LD_PRELOAD", clock_off(self.folder.path(), self.clock));
        }
        command
            .env("PATH", SYSTEM_PATH)
            .args(["-g", "-n", "1", "-c"])
            .arg(self.folder.path().join("named.conf"));
        let process = Process::start("named", &mut command, &log);
        self.process = Some(process);
        self.wait_until_it_runs()
    }

    /// The log alone says that it is this server, and not another on the same port.
    fn wait_until_it_runs(&mut self) -> Result<(), String> {
        let give_up = Instant::now() + Duration::from_secs(20);
        while Instant::now() < give_up {
            let log = self.log();
            if log.contains("\nrunning") || log.contains(" running\n") {
                return match log.contains("address in use") {
                    true => Err(log),
                    false => Ok(()),
                };
            }
            if self.process.as_ref().unwrap().ended().is_some() {
                return Err(log);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(self.log())
    }

    /// What `dig +short` says.
    pub fn dig(&self, name: &str, record_type: &str) -> String {
        let output = Command::new("dig")
            .arg(format!("@{}", self.address.ip()))
            .args(["-p", &self.address.port().to_string()])
            .args(["+short", "+tcp", "+norecurse", name, record_type])
            .output()
            .expect("dig is installed (Debian: bind9-dnsutils)");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The answer section as dig prints it: with TTLs and types.
    pub fn answer(&self, name: &str, record_type: &str) -> String {
        let output = Command::new("dig")
            .arg(format!("@{}", self.address.ip()))
            .args(["-p", &self.address.port().to_string()])
            .args(["+noall", "+answer", "+tcp", "+norecurse", name, record_type])
            .output()
            .expect("dig is installed (Debian: bind9-dnsutils)");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The answer to a question for a zone's SOA, with its signature if it has one.
    pub fn answer_signed(&self, zone: &str) -> String {
        let output = Command::new("dig")
            .arg(format!("@{}", self.address.ip()))
            .args(["-p", &self.address.port().to_string()])
            .args([
                "+noall",
                "+answer",
                "+tcp",
                "+norecurse",
                "+dnssec",
                zone,
                "SOA",
            ])
            .output()
            .expect("dig is installed (Debian: bind9-dnsutils)");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Changes a dynamic zone behind everybody's back, with lines for `nsupdate`.
    pub fn nsupdate(&self, key: Key, lines: &str) {
        let file = self.folder.path().join("nsupdate");
        let (ip, port) = (self.address.ip(), self.address.port());
        fs::write(&file, format!("server {ip} {port}\n{lines}\nsend\n")).unwrap();
        let output = Command::new("nsupdate")
            .args(["-v", "-y"])
            .arg(format!("{}:{}:{}", key.algorithm, key.name, key.secret))
            .arg(&file)
            .output()
            .expect("nsupdate is installed (Debian: bind9-dnsutils)");
        assert!(output.status.success(), "{output:?}");
    }

    /// The serial number of a zone: it grows with each change.
    pub fn serial(&self, zone: &str) -> u32 {
        let soa = self.dig(zone, "SOA");
        soa.split_whitespace().nth(2).unwrap().parse().unwrap()
    }
}

fn zone_file(zone: &str) -> String {
    match zone {
        "." => "root.zone".to_owned(),
        zone => format!("{zone}.zone"),
    }
}

/// A library that puts the wall clock of whoever loads it (LD_PRELOAD) `seconds` off.
pub fn clock_off(folder: &Path, seconds: i32) -> PathBuf {
    let library = folder.join("clock_off.so");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", &format!("-DOFFSET={seconds}"), "-o"])
        .arg(&library)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/clock_off.c"))
        .output()
        .expect("cc is installed, since Rust links with it");
    assert!(output.status.success(), "{output:?}");
    library
}

fn zone_text(zone: &Zone, address: SocketAddr) -> String {
    let origin = format!("{}.", zone.name.trim_end_matches('.'));
    let name_servers = zone.name_servers.clone().unwrap_or_else(|| {
        let family = if address.is_ipv4() { "A" } else { "AAAA" };
        format!("@ NS ns\nns {family} {}", address.ip())
    });
    // Blanks at the start of a line would mean "the same name again".
    let records: Vec<&str> = zone.records.lines().map(str::trim).collect();
    let records = records.join("\n");
    format!(
        "$ORIGIN {origin}\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n{name_servers}\n{records}\n"
    )
}

fn config(folder: &Path, address: SocketAddr, zones: &[Zone], keys: &[Key]) -> String {
    let (ip, port) = (address.ip(), address.port());
    let folder = folder.display();
    let (v4, v6) = match ip {
        IpAddr::V4(ip) => (ip.to_string(), "none".to_owned()),
        IpAddr::V6(ip) => ("none".to_owned(), ip.to_string()),
    };
    // A key that may write the zone may read it as a whole, as external-dns does.
    let keys_may: String = match keys.is_empty() {
        true => "none; ".to_owned(),
        false => keys
            .iter()
            .map(|key| format!("key {}; ", key.name))
            .collect(),
    };
    let mut text = format!(
        r#"options {{
    directory "{folder}";
    pid-file "{folder}/named.pid";
    lock-file "{folder}/named.lock";
    session-keyfile "{folder}/session.key";
    managed-keys-directory "{folder}";
    listen-on port {port} {{ {v4}; }};
    listen-on-v6 port {port} {{ {v6}; }};
    reuseport no;
    recursion no;
    minimal-responses no-auth;
    dnssec-validation no;
    notify no;
    empty-zones-enable no;
    allow-transfer {{ {keys_may} }};
}};
controls {{ }};
"#
    );
    for key in keys {
        let (name, algorithm, secret) = (key.name, key.algorithm, key.secret);
        let _ = writeln!(
            text,
            "key \"{name}\" {{ algorithm {algorithm}; secret \"{secret}\"; }};"
        );
    }
    for zone in zones {
        let (name, file) = (&zone.name, zone_file(&zone.name));
        let grants: String = match zone.dynamic {
            true => keys
                .iter()
                .filter(|key| !key.name.starts_with("powerless"))
                .map(|key| format!("grant {} zonesub ANY; ", key.name))
                .collect(),
            false => String::new(),
        };
        let mut policy = match grants.is_empty() {
            true => String::new(),
            false => format!("update-policy {{ {grants}}};"),
        };
        if zone.signed {
            policy.push_str(" dnssec-policy default; inline-signing yes;");
        }
        let _ = writeln!(
            text,
            "zone \"{name}\" {{ type primary; file \"{folder}/{file}\"; {policy} }};"
        );
    }
    text
}
