//! Contour and Envoy: an Ingress and Gateway API controller that others wrote, as two processes.

use super::keeper;
use super::kube::{ApiServer, apply};
use super::process::Process;
use super::wait::{ensure, eventually};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::Value;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const START: Duration = Duration::from_secs(60);
/// Where Contour tells Envoy what to do; the ports after it are its own as well.
const XDS: u16 = 8001;

/// The folder with both and with the CRDs; the script gets them if need be.
pub fn folder() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/contour.sh");
    let output = Command::new(script)
        .output()
        .expect("tools/contour.sh starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stdout = String::from_utf8(output.stdout).expect("a path");
    PathBuf::from(stdout.lines().last().expect("the script prints a path"))
}

/// Installs the CRDs of the Gateway API.
pub async fn install_gateway_api(client: &Client) {
    let all = fs::read_dir(folder().join("gateway-api")).expect("CRDs");
    for file in all {
        let path = file.expect("a file").path();
        let text = fs::read_to_string(&path).expect("YAML");
        if text.contains("kind: CustomResourceDefinition") {
            install(client, &text).await;
        }
    }
}

async fn install(client: &Client, text: &str) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document).expect("YAML");
        if value["kind"] != "CustomResourceDefinition" {
            continue;
        }
        let crd: CustomResourceDefinition = serde_json::from_value(value).expect("a CRD");
        let name = crd.name_any();
        crds.patch(&name, &apply(), &Patch::Apply(&crd))
            .await
            .expect("a valid CRD");
        let established = await_condition(crds.clone(), &name, is_crd_established());
        tokio::time::timeout(START, established)
            .await
            .expect("in time")
            .expect("a CRD");
    }
}

/// Both, running. One a network namespace: the ports are fixed.
pub struct Contour {
    pub contour: Process,
    pub envoy: Process,
    _state: TempDir,
}

impl Contour {
    /// Starts them. Envoy listens on `address`: for Ingresses on `https`, for listeners of the
    /// `gateway` (namespace and name), if there is one, on their port plus 8000.
    pub async fn start(
        api: &ApiServer,
        address: IpAddr,
        https: u16,
        gateway: Option<(&str, &str)>,
    ) -> Self {
        let folder = folder();
        let client = api.client().await;
        let crds = fs::read_to_string(folder.join("contour-crds.yaml")).expect("CRDs");
        install(&client, &crds).await;
        let state = keeper::folder("contour");
        let gateway = gateway.map_or(String::new(), |(namespace, name)| {
            format!("gateway: {{gatewayRef: {{namespace: {namespace}, name: {name}}}}}\n")
        });
        let config = format!("network: {{admin-port: {}}}\n{gateway}", XDS + 3);
        fs::write(state.path().join("contour.yaml"), config).expect("a file");
        let contour = contour(&folder, state.path(), api, address, https);
        let bootstrap = Command::new(folder.join("contour"))
            .arg("bootstrap")
            .arg(state.path().join("envoy.json"))
            .args(["--xds-address=127.0.0.1", "--xds-resource-version=v3"])
            .arg(format!("--xds-port={XDS}"))
            .arg(format!(
                "--admin-address={}",
                state.path().join("admin.sock").display()
            ))
            .arg(format!(
                "--resources-dir={}",
                state.path().join("resources").display()
            ))
            .output()
            .expect("contour starts");
        assert!(bootstrap.status.success(), "{bootstrap:?}");
        // Envoy ends with the thread that started it, which is the test's.
        let envoy = Process::start(
            "envoy",
            Command::new(folder.join("envoy"))
                .arg("-c")
                .arg(state.path().join("envoy.json"))
                .args(["--service-cluster", "projectcontour", "--service-node"])
                .args(["envoy", "--log-level", "warning", "--concurrency", "1"])
                .arg("--use-dynamic-base-id"),
            &state.path().join("envoy.log"),
        );
        let this = Self {
            contour,
            envoy,
            _state: state,
        };
        this.ready().await;
        this
    }

    /// Envoy is ready once it has got its listeners.
    async fn ready(&self) {
        let address = ([127, 0, 0, 1], XDS + 1).into();
        eventually("Envoy is ready", START, async || {
            self.contour.assert_alive();
            self.envoy.assert_alive();
            let answer = super::http::get(address, "localhost", "/ready").await?;
            ensure(answer.status == 200, answer.text())
        })
        .await;
    }
}

fn contour(folder: &Path, state: &Path, api: &ApiServer, address: IpAddr, https: u16) -> Process {
    let mut command = Command::new(folder.join("contour"));
    command
        .env("CONTOUR_NAMESPACE", "projectcontour")
        .arg("serve")
        .arg(format!("--kubeconfig={}", api.kubeconfig().display()))
        .arg(format!(
            "--config-path={}",
            state.join("contour.yaml").display()
        ))
        .args(["--insecure", "--xds-address=127.0.0.1"])
        .arg(format!("--xds-port={XDS}"))
        .args(["--http-address=127.0.0.1", "--health-address=127.0.0.1"])
        .arg(format!("--http-port={}", XDS - 1))
        .arg(format!("--health-port={}", XDS - 1))
        .args([
            "--debug-http-address=127.0.0.1",
            "--stats-address=127.0.0.1",
        ])
        .arg(format!("--debug-http-port={}", XDS + 2))
        .arg(format!("--stats-port={}", XDS + 1))
        .arg(format!("--envoy-service-http-address={address}"))
        .arg(format!("--envoy-service-https-address={address}"))
        .args(["--envoy-service-http-port=9080"])
        .arg(format!("--envoy-service-https-port={https}"))
        .arg(format!("--ingress-status-address={address}"))
        .args(["--ingress-class-name=contour", "--disable-leader-election"])
        .args(
            [
                "extensionservices",
                "tcproutes",
                "tlsroutes",
                "backendtlspolicies",
            ]
            .map(|kind| format!("--disable-feature={kind}")),
        )
        .args([
            "--envoy-http-access-log=/dev/null",
            "--envoy-https-access-log=/dev/null",
        ])
        .args([
            "--kubernetes-client-qps=200",
            "--kubernetes-client-burst=400",
        ]);
    Process::start("contour", &mut command, &state.join("contour.log"))
}
