//! A program under test: its log, its signals, its end.

use super::keeper;
use super::wait::eventually;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where servers are, also for users whose own PATH leaves the folders of the system out.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A running program. It is killed when the value is dropped, and at the latest when the test
/// process ends; if the test has failed, the end of its log is shown.
pub struct Process {
    name: String,
    log: PathBuf,
    pid: u32,
    child: Mutex<Child>,
}

impl Process {
    /// Starts `command` with its standard output and error going to `log` (added at the end, if the
    /// file is there).
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a log file"))
            .stderr(out)
            .process_group(0) // so that its children die with it
            .spawn()
            .unwrap_or_else(|why| panic!("{name} does not start ({command:?}): {why}"));
        keeper::kill_at_exit(child.id());
        let pid = child.id();
        Self {
            name: name.to_owned(),
            log: log.to_owned(),
            pid,
            child: Mutex::new(child),
        }
    }

    /// Starts our own binary, `mta-sts ARGS…`, logging to `folder/NAME.log`; `kubeconfig` is the
    /// only cluster it can see. Arguments like `MTA_STS_LOG=debug` go into its environment.
    /// `TEST_BINARY` in our own is another build of it, for benches.
    pub fn mta_sts(name: &str, folder: &Path, kubeconfig: Option<&Path>, args: &[&str]) -> Self {
        let built = env!("CARGO_BIN_EXE_mta-sts").into();
        let mut command = Command::new(std::env::var_os("TEST_BINARY").unwrap_or(built));
        let variable = |arg: &&&str| arg.starts_with("MTA_STS_") || arg.starts_with("LD_PRELOAD=");
        command
            .args(args.iter().filter(|arg| !variable(arg)))
            .envs(
                args.iter()
                    .filter(variable)
                    .filter_map(|arg| arg.split_once('=')),
            )
            .env(
                "KUBECONFIG",
                kubeconfig.unwrap_or(Path::new("/nonexistent")),
            )
            .env("RUST_BACKTRACE", "1");
        Self::start(name, &mut command, &folder.join(format!("{name}.log")))
    }

    /// The number of the process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A line of `/proc/PID/status` in KiB: `VmRSS` is its memory now, `VmHWM` the most it ever had.
    pub fn kibibytes(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {field} in {status}"))
    }

    /// Sends a signal by its name: `STOP`, `CONT`, `TERM`, `HUP`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &self.pid.to_string()])
            .status()
            .expect("sh starts");
        assert!(
            sent.success(),
            "{} (process {}) can't be sent {signal}",
            self.name,
            self.pid
        );
    }

    /// SIGKILL, to its children too: they get no chance to do anything. Returns when it is dead.
    pub fn kill(&self) {
        if self.ended().is_some() {
            return;
        }
        let group = format!("-{}", self.pid);
        let _ = Command::new("sh")
            .args(["-c", "kill -KILL \"$0\"", &group])
            .status();
        let _ = self.child().wait();
        keeper::spare(self.pid);
    }

    /// SIGTERM, and waits until it has ended by itself.
    pub async fn terminate(&self, within: Duration) -> ExitStatus {
        self.signal("TERM");
        self.exit(within).await
    }

    /// Waits until it has ended by itself.
    pub async fn exit(&self, within: Duration) -> ExitStatus {
        let what = format!("{} has ended", self.name);
        eventually(&what, within, async || self.ended().ok_or("it still runs")).await
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        let status = self.child().try_wait().expect("it is our child");
        if status.is_some() {
            keeper::spare(self.pid);
        }
        status
    }

    /// All that it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until a line of the log contains `text`, and gives the line.
    pub async fn logged(&self, text: &str, within: Duration) -> String {
        let what = format!("{} logs {text:?}", self.name);
        eventually(&what, within, async || {
            let log = self.log();
            let line = log
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned);
            line.ok_or_else(|| format!("the log ends with\n{}", self.log_end()))
        })
        .await
    }

    /// Panics with the end of the log if the process has ended: to be asked while waiting for it.
    pub fn assert_alive(&self) {
        if let Some(status) = self.ended() {
            panic!("{} has ended ({status}):\n{}", self.name, self.log_end());
        }
    }

    /// The last lines of the log.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the log of {} ends with\n{}", self.name, self.log_end());
        }
    }
}
