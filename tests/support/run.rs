//! Our own binary as a command: run to its end.

use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// All that was written.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs `mta-sts ARGS…` without a terminal; `kubeconfig` is the only cluster it can see.
pub async fn mta_sts(kubeconfig: &Path, args: &[&str]) -> Outcome {
    program(Path::new(env!("CARGO_BIN_EXE_mta-sts")), kubeconfig, args).await
}

/// The same for the binary under another name.
pub async fn program(program: &Path, kubeconfig: &Path, args: &[&str]) -> Outcome {
    let output = Command::new(program)
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Outcome {
        code: output.status.code().expect("it ended by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}
