//! Postfix on an address of its own and port 25, as a domain's MX or as a sender.

use super::keeper;
use super::process::{Process, SYSTEM_PATH};
use super::tls::{TestCa, Validity};
use super::wait::{ensure, eventually};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const START: Duration = Duration::from_secs(30);
/// When a sender tries again. Its queue manager loses sight of a message that it takes up again
/// while the last attempt is not quite over, so a second would be too short.
const RETRY_SECONDS: u32 = 4;
/// The user `nobody`: mail must be delivered as somebody who is not root.
const NOBODY: u32 = 65534;

/// A running Postfix with its own queue. It needs a [network of its own](super::netns).
pub struct Postfix {
    pub process: Process,
    address: Ipv4Addr,
    folder: TempDir,
}

impl Postfix {
    /// An MX that takes all mail for `domains`, with a certificate for `certificate_name` by `ca`.
    pub async fn mx(
        address: Ipv4Addr,
        domains: &[&str],
        ca: &TestCa,
        certificate_name: &str,
    ) -> Self {
        let certificate = ca.issue(&[certificate_name], Validity::Now);
        Self::mx_with(address, domains, Some(certificate)).await
    }

    /// The same with this certificate and key, or without STARTTLS.
    pub async fn mx_with(
        address: Ipv4Addr,
        domains: &[&str],
        certificate: Option<(String, String)>,
    ) -> Self {
        Self::mx_in(new_folder("mx"), address, domains, certificate, "").await
    }

    /// The same with a certificate for those alone who say that they want `host`; all others get
    /// `default`.
    pub async fn mx_by_sni(
        address: Ipv4Addr,
        domains: &[&str],
        host: &str,
        (certificate, key): (String, String),
        default: (String, String),
    ) -> Self {
        let folder = new_folder("mx");
        let chain = folder.path().join("named.pem");
        fs::write(&chain, key + &certificate).unwrap();
        let map = folder.path().join("sni");
        fs::write(&map, format!("{host} {}\n", chain.display())).unwrap();
        // Postfix reads keys from such a map alone in which postmap has put the file's content (-F).
        let etc = folder.path().join("postmap");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("main.cf"), "compatibility_level = 3.6\n").unwrap();
        let made = Command::new("postmap")
            .env("PATH", SYSTEM_PATH)
            .arg("-c")
            .arg(&etc)
            .args(["-F", &format!("hash:{}", map.display())])
            .output()
            .expect("Postfix is installed");
        assert!(made.status.success(), "{made:?}");
        let settings = format!("tls_server_sni_maps = hash:{}\n", map.display());
        Self::mx_in(folder, address, domains, Some(default), &settings).await
    }

    /// The same with other settings of TLS besides.
    pub async fn mx_that(
        address: Ipv4Addr,
        domains: &[&str],
        certificate: (String, String),
        settings: &str,
    ) -> Self {
        Self::mx_in(
            new_folder("mx"),
            address,
            domains,
            Some(certificate),
            settings,
        )
        .await
    }

    async fn mx_in(
        folder: TempDir,
        address: Ipv4Addr,
        domains: &[&str],
        certificate: Option<(String, String)>,
        more: &str,
    ) -> Self {
        let mail = folder.path().join("mail");
        fs::create_dir(&mail).unwrap();
        chown(&mail, Some(NOBODY), Some(NOBODY)).unwrap();
        let chain = folder.path().join("chain.pem");
        let tls = match certificate {
            Some((certificate, key)) => {
                fs::write(&chain, key + &certificate).unwrap();
                format!(
                    "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {}\n",
                    chain.display()
                )
            }
            None => "smtpd_tls_security_level = none\n".to_owned(),
        };
        let settings = format!(
            "myhostname = mx.example.net\n\
             virtual_mailbox_domains = {}\n\
             virtual_mailbox_maps = static:inbox/\n\
             virtual_mailbox_base = {}\n\
             virtual_uid_maps = static:{NOBODY}\n\
             virtual_gid_maps = static:{NOBODY}\n\
             {tls}{more}",
            domains.join(" "),
            mail.display(),
        );
        Self::start("postfix-mx", address, folder, &settings).await
    }

    /// A sender that asks `policies`, a socketmap server, how to treat each domain, and tries again
    /// every few seconds what could not be sent.
    pub async fn sender(address: Ipv4Addr, policies: SocketAddr, ca_file: &Path) -> Self {
        let folder = new_folder("sender");
        let settings = format!(
            "myhostname = sender.example.net\n\
             smtpd_relay_restrictions = permit_mynetworks, reject\n\
             mynetworks = {address}/32\n\
             smtp_tls_security_level = may\n\
             smtp_tls_policy_maps = socketmap:inet:{policies}:postfix\n\
             smtp_tls_CAfile = {}\n\
             smtp_tls_loglevel = 1\n\
             minimal_backoff_time = {RETRY_SECONDS}s\n\
             maximal_backoff_time = {RETRY_SECONDS}s\n\
             queue_run_delay = 1s\n",
            ca_file.display()
        );
        Self::start("postfix-sender", address, folder, &settings).await
    }

    async fn start(name: &str, address: Ipv4Addr, folder: TempDir, settings: &str) -> Self {
        let etc = folder.path().join("etc");
        for part in ["etc", "spool", "data"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        let owner = id("postfix");
        chown(folder.path().join("data"), Some(owner), None).unwrap();
        fs::write(
            etc.join("main.cf"),
            main_cf(folder.path(), address) + settings,
        )
        .unwrap();
        fs::write(etc.join("master.cf"), master_cf(address)).unwrap();

        let mut command = Command::new("postfix");
        command
            .env("PATH", SYSTEM_PATH)
            .arg("-c")
            .arg(&etc)
            .arg("start-fg");
        let log = folder.path().join("log");
        let postfix = Self {
            process: Process::start(name, &mut command, &log),
            address,
            folder,
        };
        eventually("Postfix greets", START, async || {
            postfix.process.assert_alive();
            postfix.greeting().await
        })
        .await;
        postfix
    }

    /// Ends it with all its processes: its address is free when this returns.
    pub async fn stop(self) {
        let status = Command::new("postfix")
            .env("PATH", SYSTEM_PATH)
            .arg("-c")
            .arg(self.folder.path().join("etc"))
            .arg("stop")
            .status();
        assert!(status.expect("Postfix is installed").success());
        self.process.exit(START).await;
    }

    async fn greeting(&self) -> Result<(), String> {
        use tokio::io::AsyncReadExt;
        let address = SocketAddr::from((self.address, 25));
        let mut connection = tokio::net::TcpStream::connect(address)
            .await
            .map_err(|why| why.to_string())?;
        let mut greeting = [0; 4];
        connection
            .read_exact(&mut greeting)
            .await
            .map_err(|why| why.to_string())?;
        ensure(&greeting == b"220 ", String::from_utf8_lossy(&greeting))
    }

    /// Hands it a message, as a mail program does.
    pub fn submit(&self, to: &str, subject: &str) {
        let message = self.folder.path().join("message");
        fs::write(
            &message,
            format!("From: <somebody@sender.example.net>\r\nTo: <{to}>\r\nSubject: {subject}\r\n\r\nHello.\r\n"),
        )
        .unwrap();
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "30"])
            .arg(format!("smtp://{}", self.address))
            .args(["--mail-from", "somebody@sender.example.net"])
            .args(["--mail-rcpt", to, "--upload-file"])
            .arg(&message)
            .output()
            .expect("curl is installed");
        assert!(output.status.success(), "{output:?}");
    }

    /// Whether a message with this subject has arrived here.
    pub fn has(&self, subject: &str) -> bool {
        let new = self.folder.path().join("mail/inbox/new");
        let messages = fs::read_dir(new).into_iter().flatten().flatten();
        let line = format!("Subject: {subject}\n");
        messages
            .filter_map(|message| fs::read_to_string(message.path()).ok())
            .any(|text| text.contains(&line))
    }
}

/// Postfix gives up root's rights and must still get at its files.
fn new_folder(name: &str) -> TempDir {
    let folder = keeper::folder(&format!("postfix-{name}"));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn main_cf(folder: &Path, address: Ipv4Addr) -> String {
    let daemons: PathBuf = ["/usr/lib/postfix/sbin", "/usr/libexec/postfix"]
        .iter()
        .map(PathBuf::from)
        .find(|folder| folder.exists())
        .expect("Postfix is installed (Debian: postfix)");
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {folder}/spool\n\
         data_directory = {folder}/data\n\
         command_directory = /usr/sbin\n\
         daemon_directory = {daemons}\n\
         maillog_file = {folder}/log\n\
         maillog_file_prefixes = {folder}\n\
         inet_interfaces = {address}\n\
         inet_protocols = ipv4\n\
         mydestination =\n\
         alias_maps =\n\
         local_recipient_maps =\n",
        folder = folder.display(),
        daemons = daemons.display(),
    )
}

/// The services that take, queue, send and deliver mail; none in a chroot of its own.
fn master_cf(address: Ipv4Addr) -> String {
    let mut text = format!("{address}:25 inet n - n - - smtpd\n");
    for (service, kind, privileged, wakeup, most, program) in [
        ("cleanup", "unix", "n", "-", "0", "cleanup"),
        ("qmgr", "unix", "n", "300", "1", "qmgr"),
        ("tlsmgr", "unix", "-", "1000?", "1", "tlsmgr"),
        ("rewrite", "unix", "-", "-", "-", "trivial-rewrite"),
        ("bounce", "unix", "-", "-", "0", "bounce"),
        ("defer", "unix", "-", "-", "0", "bounce"),
        ("trace", "unix", "-", "-", "0", "bounce"),
        ("verify", "unix", "-", "-", "1", "verify"),
        ("flush", "unix", "n", "1000?", "0", "flush"),
        ("proxymap", "unix", "-", "-", "-", "proxymap"),
        ("smtp", "unix", "-", "-", "-", "smtp"),
        ("relay", "unix", "-", "-", "-", "smtp"),
        ("error", "unix", "-", "-", "-", "error"),
        ("retry", "unix", "-", "-", "-", "error"),
        ("virtual", "unix", "-", "-", "-", "virtual"),
        ("anvil", "unix", "-", "-", "1", "anvil"),
        ("scache", "unix", "-", "-", "1", "scache"),
        ("postlog", "unix-dgram", "n", "-", "1", "postlogd"),
    ] {
        // Only the program that writes into mailboxes keeps root's rights.
        let unprivileged = if program == "virtual" { "n" } else { "-" };
        let _ = writeln!(
            text,
            "{service} {kind} {privileged} {unprivileged} n {wakeup} {most} {program}"
        );
    }
    text
}

/// The number of a user.
fn id(user: &str) -> u32 {
    let output = Command::new("id").args(["-u", user]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("there is no user {user}; is Postfix installed?"))
}
