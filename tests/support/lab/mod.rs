//! A lab of domains on loopback, each with one thing wrong: real BIND (with DNSSEC, and a validating
//! resolver), a real nginx, and MX hosts that do what they should not. Each file of
//! `tests/fixtures/lab/` is a domain: what is wrong, and which findings have to come of it.

mod case;
mod mail;
mod old_tls;
mod resolver;
mod site;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub use self::case::{Case, Dane, Mail, SecondIs, Special};
use self::old_tls::OldTls;
use self::resolver::Resolver;
use super::bind::{Bind, Zone};
use super::front::Front;
use super::keeper;
use super::ports::{free_port, loopback};
use super::tls::TestCa;

/// All servers of the lab.
pub struct Lab {
    bind: Bind,
    second: Bind,
    resolver: Resolver,
    front: Front,
    folder: TempDir,
    flags: Vec<String>,
    old_tls: Vec<OldTls>,
    /// Whose certificates for MX hosts are trusted.
    pub mail_ca: TestCa,
}

/// Where the lab's servers are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// On free ports.
    Free,
    /// On those that the RFCs say, for programs that know no others: it takes a [network of its
    /// own](super::netns).
    Real,
}

impl Lab {
    pub async fn start(cases: &[Case]) -> Self {
        Self::start_on(Ports::Free, cases).await
    }

    pub async fn start_on(ports: Ports, cases: &[Case]) -> Self {
        let (ca, other) = (TestCa::new("MX"), TestCa::new("nobody's"));
        let front = match ports {
            Ports::Free => Front::start().await,
            Ports::Real => Front::start_on(loopback(443)).await,
        };
        let sites = cases.iter().filter_map(Case::on_front);
        front.set_all(sites).await;
        let mut flags = Vec::new();
        let mut exchangers = String::new();
        let mut old_tls = Vec::new();
        for case in cases {
            let host = case.policy_host();
            let port = match site::own(case, &front, &mut old_tls).await {
                Some(address) => address.port(),
                None => front.address().port(),
            };
            if case.detour {
                flags.push(format!("--connect-to={host}:443:127.0.0.1:{port}"));
            }
            if case.dead_ipv6 {
                flags.push(format!("--connect-to={host}:443:[::1]:{}", free_port()));
            }
            if case.mail == Mail::Elsewhere {
                continue;
            }
            if case.mail == Mail::Shared {
                let _ = writeln!(exchangers, "{} A 127.0.0.1", case.name);
                continue;
            }
            let mail = mail::server(case, &ca, &other, &mut old_tls).await;
            let (name, port) = (case.mx_host(), mail.address.port());
            flags.push(format!("--connect-to={name}:25:127.0.0.1:{port}"));
            let _ = writeln!(
                exchangers,
                "{0} A 127.0.0.1\ndeep.{0} A 127.0.0.1",
                case.name
            );
            if let Some(tlsa) = case.tlsa(&mail.certificate) {
                let _ = writeln!(exchangers, "_25._tcp.{} TLSA {tlsa}", case.name);
            }
        }
        if cases.iter().any(|case| case.mail == Mail::Shared) {
            mail::shared(&ca).await;
        }
        let zones = zones(cases, &exchangers);
        let bind = match ports {
            Ports::Free => Bind::start(&zones, &[]),
            Ports::Real => Bind::try_start(loopback(53), &zones, &[]).unwrap(),
        };
        let second: Vec<Zone> = cases.iter().filter_map(Case::second_zone).collect();
        let second = Bind::start(&second, &[]);
        let signed: Vec<&str> = zones
            .iter()
            .filter(|zone| zone.signed)
            .map(|zone| zone.name.as_str())
            .collect();
        let resolver = Resolver::start(&bind, &signed).await;
        flags.extend(dns_flags(cases, &zones, bind.address(), second.address()));
        flags.push(format!("--resolver={}", resolver.address()));
        flags.push("--trust-ad".to_owned());
        if cases
            .iter()
            .any(|case| case.second_is == SecondIs::Resolver)
        {
            flags.push(format!("--resolver={}", second.address()));
        }
        let folder = keeper::folder("check");
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, front.ca_pem() + &ca.pem()).unwrap();
        flags.push(format!("--ca-file={}", ca_file.display()));
        flags.push("--timeout=6".to_owned());
        Self {
            bind,
            second,
            resolver,
            front,
            folder,
            flags,
            old_tls,
            mail_ca: ca,
        }
    }

    /// The CA of the policy hosts, as a file.
    pub fn site_ca(&self) -> PathBuf {
        self.front.ca_file()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes the policy host of a domain answer as another case says.
    pub async fn serve(&self, case: &Case) {
        self.front.set_all(case.on_front()).await;
    }

    /// `mta-sts check` against the lab. `TEST_BINARY` is another build of it, for benches.
    pub fn command(&self, args: &[&str]) -> Command {
        let built = env!("CARGO_BIN_EXE_mta-sts").into();
        let mut command = Command::new(std::env::var_os("TEST_BINARY").unwrap_or(built));
        command.arg("check").args(&self.flags).args(args);
        command.env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    /// The certificates that are trusted in the lab, as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The same without any detour, where the lab has its [real ports](Ports::Real): it asks the system's
    /// resolver, as everybody does.
    pub fn command_without_detours(&self) -> Command {
        let given = self.command(&[]);
        let mut command = Command::new(given.get_program());
        command.args(["check", "--allow-target=127.0.0.0/8", "--ca-file"]);
        command.arg(self.ca_file()).stdin(Stdio::null());
        command
    }

    /// Runs `mta-sts check` against the lab.
    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.command(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().expect("it ends by itself");
        (code, text(output.stdout), text(output.stderr))
    }

    pub fn json(&self, args: &[&str]) -> (i32, Vec<Value>) {
        let (code, stdout, stderr) = self.run(&[args, &["--output=json"]].concat());
        let document: Value =
            serde_json::from_str(&stdout).unwrap_or_else(|why| panic!("{why}: {stdout}{stderr}"));
        assert_eq!(document["schema"], "mta-sts.check/1");
        (code, document["domains"].as_array().unwrap().clone())
    }

    /// Writes a script that runs `mta-sts check` with all that the lab needs.
    pub fn write_script(&self, script: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let flags: Vec<String> = self
            .flags
            .iter()
            .map(|flag| format!("  '{flag}' \\\n"))
            .collect();
        let program = env!("CARGO_BIN_EXE_mta-sts");
        let text = format!(
            "#!/bin/sh\nexec '{program}' check \\\n{}  \"$@\"\n",
            flags.concat()
        );
        fs::create_dir_all(script.parent().unwrap()).unwrap();
        fs::write(script, text).unwrap();
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// The zones of all domains, that of the MX hosts, and those above and beside them.
fn zones(cases: &[Case], exchangers: &str) -> Vec<Zone> {
    let mut zones: Vec<Zone> = cases.iter().map(Case::zone).collect();
    let signed = cases.iter().any(|case| case.dane != Dane::None);
    zones.push(Zone {
        signed,
        ..Zone::new("mx.example", exchangers)
    });
    // A pattern's domain has to be registered.
    zones.push(Zone::new("example", "web A 127.0.0.1"));
    zones.push(Zone::new("test", ""));
    zones.push(Zone::new("azurewebsites.net", ""));
    zones
}

fn dns_flags(cases: &[Case], zones: &[Zone], first: SocketAddr, second: SocketAddr) -> Vec<String> {
    let mut flags = vec!["--dns-verify=authoritative".to_owned()];
    let has_two = |zone: &Zone| {
        cases
            .iter()
            .any(|case| case.zone_name() == zone.name && case.second_is == SecondIs::Authority)
    };
    for zone in zones {
        let name = &zone.name;
        flags.push(match has_two(zone) {
            true => format!("--authoritative={name}={first},{second}"),
            false => format!("--authoritative={name}={first}"),
        });
    }
    flags
}

/// The folder with a file for each domain.
pub fn cases_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lab")
}
