//! Readers of MTA-STS policies that others wrote, as judges of what we publish.

use super::keeper;
use super::process::Process;
use super::wait::eventually;
use serde::Deserialize;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;

const START: Duration = Duration::from_secs(30);

/// A program that reads policies as a sending mail server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// What Postfix is told policies by.
    PostfixMtaStsResolver,
    /// The library of the maddy mail server.
    GoMtasts,
    /// A checker for administrators; its warnings count as refusals.
    Checkdmarc,
}

/// All of them.
pub const READERS: [Reader; 3] = [
    Reader::PostfixMtaStsResolver,
    Reader::GoMtasts,
    Reader::Checkdmarc,
];

/// What a reader understood.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Understood {
    pub id: String,
    pub mode: String,
    pub max_age: u32,
    pub mx: Vec<String>,
}

/// The installed readers. They use the system's resolver and the ports that the RFC says, so they
/// need a [network of their own](super::netns).
pub struct Peers {
    folder: PathBuf,
    ca_file: PathBuf,
}

impl Peers {
    /// Finds or installs them (which needs the network). They trust the certificates in `ca_file`
    /// alone.
    pub fn get(ca_file: PathBuf) -> Self {
        Self {
            folder: folder(),
            ca_file,
        }
    }

    /// Asks one for a domain's policy; gives what it complains about if it does not accept it.
    pub fn read(&self, reader: Reader, domain: &str) -> Result<Understood, String> {
        let mut command = match reader {
            Reader::GoMtasts => self.command(self.folder.join("go-mtasts")),
            Reader::PostfixMtaStsResolver => self.python_reader("postfix-mta-sts-resolver"),
            Reader::Checkdmarc => self.python_reader("checkdmarc"),
        };
        let output = command.arg(domain).output().expect("the reader starts");
        if !output.status.success() {
            return Err(format!(
                "{reader:?} says {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        serde_json::from_slice(&output.stdout).map_err(|why| format!("{reader:?}: {why}"))
    }

    /// What checkdmarc says of each domain: null, or why it refuses its record or policy.
    pub fn checkdmarc(&self, domains: &[String]) -> Vec<Option<String>> {
        const SCRIPT: &str = r#"
import json, sys
from concurrent.futures import ThreadPoolExecutor
from checkdmarc.mta_sts import check_mta_sts

def verdict(domain):
    result = check_mta_sts(domain)
    return None if result["valid"] else str(result.get("error"))

with ThreadPoolExecutor(8) as pool:
    print(json.dumps(list(pool.map(verdict, sys.argv[1:]))))
"#;
        let mut command = self.python_command();
        let output = command.arg("-c").arg(SCRIPT).args(domains).output();
        let output = output.expect("python3 starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "checkdmarc: {said}");
        serde_json::from_slice(&output.stdout).expect("a verdict for each")
    }

    /// checkdmarc on the domains of a list, so many at a time: its checks of MTA-STS, TLS reporting and MX,
    /// STARTTLS included. It prints of how many all are good.
    pub fn checkdmarc_all(&self, list: &Path, at_a_time: usize) -> Command {
        const SCRIPT: &str = r#"
import sys
from concurrent.futures import ThreadPoolExecutor
from checkdmarc.mta_sts import check_mta_sts
from checkdmarc.smtp import check_mx
from checkdmarc.smtp_tls_reporting import check_smtp_tls_reporting

def good(domain):
    sts, reports = check_mta_sts(domain), check_smtp_tls_reporting(domain)
    patterns = sts["policy"]["mx"] if sts["valid"] else []
    mx = check_mx(domain, mta_sts_mx_patterns=patterns, check_mx_tls=True)
    if patterns and reports["valid"] and mx["hosts"] and all(host["starttls"] for host in mx["hosts"]):
        return True
    print(domain, sts, reports, mx, file=sys.stderr)
    return False

domains = open(sys.argv[1]).read().split()
with ThreadPoolExecutor(int(sys.argv[2])) as pool:
    print(sum(pool.map(good, domains)))
"#;
        let mut command = self.python_command();
        command
            .arg("-c")
            .arg(SCRIPT)
            .arg(list)
            .arg(at_a_time.to_string());
        command
    }

    /// How long postfix-mta-sts-resolver parses a policy and a record, in microseconds, on average of
    /// all texts, each so many times.
    pub fn time_parsers(
        &self,
        policies: &[String],
        records: &[String],
        times: usize,
        folder: &Path,
    ) -> [f64; 2] {
        const SCRIPT: &str = r#"
import json, sys, time
from postfix_mta_sts_resolver.utils import parse_mta_sts_policy, parse_mta_sts_record

policies, records, times = json.load(open(sys.argv[1]))

def microseconds(parse, texts):
    begun = time.process_time()
    for _ in range(times):
        for text in texts:
            parse(text)
    return (time.process_time() - begun) * 1e6 / times / len(texts)

print(json.dumps([microseconds(parse_mta_sts_policy, policies), microseconds(parse_mta_sts_record, records)]))
"#;
        let file = folder.join("texts.json");
        let texts = serde_json::to_vec(&(policies, records, times)).expect("JSON");
        fs::write(&file, texts).expect("a file");
        let mut command = self.python_command();
        let output = command.arg("-c").arg(SCRIPT).arg(&file).output();
        let output = output.expect("python3 starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "postfix-mta-sts-resolver: {said}");
        serde_json::from_slice(&output.stdout).expect("two numbers")
    }

    /// Starts the daemon that tells Postfix policies, at `address`. It asks DNS before each answer,
    /// as it always does for a policy that it has had for a minute.
    pub async fn daemon(&self, address: SocketAddr) -> Daemon {
        let folder = keeper::folder("mta-sts-daemon");
        let config = folder.path().join("config.yml");
        fs::write(
            &config,
            format!(
                "host: {}\nport: {}\ncache_grace: 0\n\
                 cache: {{type: internal, options: {{cache_size: 100}}}}\n\
                 default_zone: {{strict_testing: false, timeout: 20}}\n",
                address.ip(),
                address.port()
            ),
        )
        .unwrap();
        let mut command = self.python("bin/mta-sts-daemon");
        command.arg("-c").arg(&config);
        let log = folder.path().join("log");
        let process = Process::start("mta-sts-daemon", &mut command, &log);
        eventually("mta-sts-daemon listens", START, async || {
            process.assert_alive();
            TcpStream::connect(address).await.map(drop)
        })
        .await;
        Daemon {
            process,
            _folder: folder,
        }
    }

    fn python_reader(&self, name: &str) -> Command {
        let mut command = self.python("read_policy.py");
        command.arg(name);
        command
    }

    fn python(&self, script: &str) -> Command {
        let mut command = self.python_command();
        command.arg(self.folder.join("python").join(script));
        command
    }

    fn python_command(&self) -> Command {
        let modules = self.folder.join("python");
        let mut command = self.command(PathBuf::from("python3"));
        command
            .env("PYTHONPATH", modules)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// With the test CA, and with no proxy that the environment may name.
    fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent")
            .env("SSL_CERT_FILE", &self.ca_file)
            .env("REQUESTS_CA_BUNDLE", &self.ca_file);
        command
    }
}

/// A running postfix-mta-sts-resolver.
pub struct Daemon {
    pub process: Process,
    _folder: TempDir,
}

/// Where the readers are; they are installed if need be.
pub fn folder() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/peers.sh");
    let output = Command::new(&script)
        .output()
        .expect("tools/peers.sh starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stdout = String::from_utf8(output.stdout).expect("a path");
    PathBuf::from(stdout.lines().last().expect("the script prints a path"))
}
