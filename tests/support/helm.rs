//! Helm, and our chart.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs Helm against one cluster.
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    /// Where Helm keeps what it remembers.
    home: tempfile::TempDir,
}

impl Helm {
    /// Helm, which `tools/k8s-assets.sh helm` builds if need be.
    pub fn new(kubeconfig: &Path) -> Self {
        Self {
            program: super::kube::built("helm").join("helm"),
            kubeconfig: kubeconfig.to_owned(),
            home: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Runs it, whatever comes of it.
    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(&self.program)
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CACHE_HOME", self.home.path())
            .env("HELM_CONFIG_HOME", self.home.path())
            .env("HELM_DATA_HOME", self.home.path())
            .output()
            .expect("helm starts")
    }

    /// Runs it with success, and gives what it printed.
    pub fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "helm {args:?}: {said}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The documents that a chart renders to.
    pub fn template(&self, chart: &Path, args: &[&str]) -> Vec<Value> {
        let chart = chart.to_str().expect("UTF-8");
        let fixed = [
            "template",
            "mta-sts-operator",
            chart,
            "-n",
            super::world::SYSTEM,
        ];
        let text = self.done(&[&fixed, args].concat());
        text.split("\n---\n")
            .map(|text| serde_yaml::from_str::<Value>(text).expect("YAML"))
            .filter(|document| !document.is_null())
            .collect()
    }
}

/// The folder of our chart.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/mta-sts-operator")
}
