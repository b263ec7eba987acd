//! A network of the test's own, for what goes by well-known ports: DNS on 53, HTTPS on 443, SMTP
//! on 25.
//!
//! The test starts itself once more, inside namespaces that have no name: two runs cannot meet, and
//! the kernel takes everything away, processes too, once the test inside has ended, however it ends.

use super::keeper;
use super::process::{Process, SYSTEM_PATH};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// The first name server of everything inside.
pub const NAME_SERVER: &str = "127.0.0.1";

const INSIDE: &str = "MTA_STS_TEST_INSIDE_NETNS";
const WITHIN: Duration = Duration::from_secs(300);

/// Makes the new namespaces look as the test wants them, and runs it.
const SCRIPT: &str = r#"
set -eu
folder=$1 addresses=$2
shift 2
for file in resolv.conf hosts nsswitch.conf; do
    [ ! -e "/etc/$file" ] || mount --bind "$folder/$file" "/etc/$file"
done
ip link set lo up
for address in $addresses; do ip address add "$address/32" dev lo; done
exec "$@"
"#;

/// Whether this is the test inside.
pub fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the test `name` of this test binary once more, with only a loopback interface, which has
/// `addresses` too. Panics with what that test printed if it fails.
///
/// ```ignore
/// if !netns::inside() {
///     return netns::run("the_name_of_this_test", &["10.77.0.2"]).await;
/// }
/// ```
pub async fn run(name: &str, addresses: &[&str]) {
    let args = ["--exact", name, "--nocapture", "--test-threads=1"];
    let (status, log) = again(&args, addresses, WITHIN).await;
    assert!(
        status.success() && log.contains("1 passed"),
        "{status}:\n{}\n{}",
        indented(&log),
        advice(&log)
    );
}

/// The same for a program that is no test: runs it once more inside, and gives what it printed.
pub async fn run_program(addresses: &[&str], within: Duration) -> String {
    let (status, log) = again(&[], addresses, within).await;
    assert!(status.success(), "{status}:\n{log}\n{}", advice(&log));
    log
}

async fn again(args: &[&str], addresses: &[&str], within: Duration) -> (ExitStatus, String) {
    let folder = keeper::folder("netns");
    // Postfix gives up root's rights and must still get at its files.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (file, text) in [
        ("resolv.conf", format!("nameserver {NAME_SERVER}\n")),
        ("hosts", "127.0.0.1 localhost\n".to_owned()),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n".to_owned(),
        ),
    ] {
        fs::write(folder.path().join(file), text).unwrap();
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("unshare");
    if !is_root(folder.path()) {
        command.args(["--user", "--map-root-user", "--map-auto"]);
    }
    command
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "sh", "-c", SCRIPT, "sh"])
        .arg(folder.path())
        .arg(addresses.join(" "))
        .arg(std::env::current_exe().unwrap())
        .args(args)
        .env("PATH", format!("{path}:{SYSTEM_PATH}"))
        .env("TMPDIR", folder.path())
        .env("RUST_BACKTRACE", "0")
        // Whatever trusts the system's CAs trusts these, once the test has written them.
        .env("SSL_CERT_FILE", folder.path().join("trusted.pem"))
        .env(INSIDE, "1");
    let test = Process::start("netns", &mut command, &folder.path().join("test.log"));
    let status = test.exit(within).await;
    let log = test.log();
    drop(test); // else it would show the end of the log once more
    (status, log)
}

/// So that nobody, and no script, takes the summary of the test inside for that of this one.
fn indented(log: &str) -> String {
    let lines: Vec<String> = log.lines().map(|line| format!("  | {line}")).collect();
    lines.join("\n")
}

fn is_root(ours: &std::path::Path) -> bool {
    fs::metadata(ours).is_ok_and(|metadata| metadata.uid() == 0)
}

fn advice(log: &str) -> &'static str {
    match log.starts_with("unshare:") {
        true => {
            "A network namespace could not be made. Run this test as root; or let ordinary users make user \
             namespaces, install newuidmap (Debian: uidmap), and give yourself a range of 65536 numbers in \
             /etc/subuid and /etc/subgid: Postfix runs as several users."
        }
        false => "",
    }
}
