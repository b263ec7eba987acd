//! Nothing that a test starts outlives it, even if the test process is killed.
//!
//! A server that all tests of a binary share lives in a `static`, which is never dropped, and a
//! killed process drops nothing at all. So one small shell, the keeper, stands by: it reads from a
//! pipe what there is to clean up, and when the pipe closes, because this process is gone, it kills
//! and removes what is left.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use tempfile::TempDir;

const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=
while IFS=' ' read -r verb what; do
    case $verb in
        kill) pids="$pids $what" ;;
        spare)
            kept=
            for pid in $pids; do [ "$pid" = "$what" ] || kept="$kept $pid"; done
            pids=$kept ;;
        remove) set -- "$@" "$what" ;;
    esac
done
for pid in $pids; do kill -KILL "-$pid"; done
for folder; do rm -rf "$folder" || { sleep 1; rm -rf "$folder"; }; done
"#;

/// A folder that is removed when the value is dropped, and at the latest when this process ends.
pub fn folder(name: &str) -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix(&format!("mta-sts-test-{name}."))
        .tempdir()
        .expect("a temporary folder");
    tell("remove", &folder.path().display().to_string());
    folder
}

/// Has the process group `pid` killed when this process ends, until [`spare`] takes it back.
pub(super) fn kill_at_exit(pid: u32) {
    tell("kill", &pid.to_string());
}

/// Takes [`kill_at_exit`] back. Called as soon as the process is known to be dead, since its number
/// may then be given to another one.
pub(super) fn spare(pid: u32) {
    tell("spare", &pid.to_string());
}

#[allow(
    clippy::zombie_processes,
    reason = "it outlives this process: that is its purpose"
)]
fn tell(verb: &str, what: &str) {
    static KEEPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .current_dir(Path::new("/"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // so that it outlives what kills this process
            .spawn()
            .expect("sh starts");
        Mutex::new(shell.stdin.take().expect("stdin is piped"))
    });
    let mut pipe = keeper.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(pipe, "{verb} {what}").expect("the keeper listens");
}
