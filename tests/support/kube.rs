//! A real Kubernetes API server: etcd and kube-apiserver, and nothing else of a cluster.
//!
//! There is no controller-manager: namespaces are not removed once they are deleted, owner
//! references collect nothing. Tests use a [namespace](ApiServer::namespace) of their own instead.

use super::audit::Audited;
use super::http::get_tls;
use super::keeper;
use super::ports::{free_port, loopback, random, unique};
use super::process::Process;
use super::tls::{TestCa, Validity};
use super::wait::{ensure, eventually};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, Config, ResourceExt};
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Two cores that compile or run other tests as well: nearly all of it is slack.
const START: Duration = Duration::from_secs(60);

/// etcd and kube-apiserver on loopback ports of their own, with RBAC and one administrator.
pub struct ApiServer {
    // Before `state`, so that they are dead before their folder is removed.
    running: Mutex<Option<[Process; 2]>>,
    crds: OnceCell<()>,
    etcd_port: u16,
    etcd_peer_port: u16,
    port: u16,
    ca_pem: String,
    admin_token: String,
    assets: PathBuf,
    state: TempDir,
}

impl ApiServer {
    /// The server that all tests of this test binary share, with our CRDs installed; each test takes
    /// a [namespace](Self::namespace) of its own. A test that stops its server, or looks at objects
    /// of all namespaces, [starts](Self::start) one.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<ApiServer> = OnceCell::const_new();
        let api = SHARED.get_or_init(Self::start).await;
        api.install_crds().await;
        api
    }

    /// Starts a server of one's own, and waits until it is ready.
    pub async fn start() -> Self {
        let state = keeper::folder("kube");
        let ca = TestCa::new("kubernetes");
        let admin_token = format!("{:016x}{:016x}", random(), random());
        write_credentials(state.path(), &ca, &admin_token);
        let api = Self {
            running: Mutex::new(None),
            crds: OnceCell::new(),
            etcd_port: free_port(),
            etcd_peer_port: free_port(),
            port: free_port(),
            ca_pem: ca.pem(),
            admin_token,
            assets: assets(),
            state,
        };
        api.restart().await;
        api
    }

    /// SIGKILL to both processes: no client is told anything. What was written stays.
    pub fn kill(&self) {
        *self.running() = None;
    }

    /// Starts them again, on the same ports and with the same data; waits until they are ready.
    pub async fn restart(&self) {
        self.kill();
        *self.running() = Some([self.start_etcd(), self.start_apiserver()]);
        eventually("kube-apiserver is ready", START, async || {
            self.running()
                .iter()
                .flatten()
                .for_each(Process::assert_alive);
            let answer = get_tls(self.address(), "127.0.0.1", "/readyz", &self.ca_pem).await?;
            ensure(answer.status == 200, answer.text())
        })
        .await;
    }

    /// Where it listens, with TLS.
    pub fn address(&self) -> SocketAddr {
        loopback(self.port)
    }

    /// The root certificate that it is trusted by.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A client with the administrator's rights. Each test makes its own, since a client ends with
    /// the runtime that it was made in.
    pub async fn client(&self) -> Client {
        client(&self.kubeconfig()).await
    }

    /// A kubeconfig with the administrator's rights.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_for(&self.admin_token)
    }

    /// A kubeconfig with the rights of `token`.
    pub fn kubeconfig_for(&self, token: &str) -> PathBuf {
        self.kubeconfig_at(&format!("https://{}", self.address()), token)
    }

    /// A kubeconfig for the server at `url`: a proxy before this one.
    pub fn kubeconfig_at(&self, url: &str, token: &str) -> PathBuf {
        let ca = self.state.path().join("ca.crt");
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": ca}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        });
        let path = self.state.path().join(unique("kubeconfig"));
        fs::write(&path, config.to_string()).expect("a kubeconfig");
        path
    }

    /// The administrator's token.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// A token of a ServiceAccount, which is made if it is not there. It may do nothing until a role
    /// is bound to it.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, namespace);
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        accounts
            .patch(name, &apply(), &Patch::Apply(&account))
            .await
            .expect("a ServiceAccount");
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..Default::default()
            },
            ..Default::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await;
        answer
            .expect("a token")
            .status
            .expect("a token has a status")
            .token
    }

    /// What ServiceAccounts of the operator's namespace have asked so far, in order.
    pub fn audit(&self) -> Vec<Audited> {
        let text = fs::read_to_string(self.state.path().join("audit.log")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(Audited::parse).collect()
    }

    /// Makes a namespace whose name starts with `prefix` and that no other test has.
    pub async fn namespace(&self, prefix: &str) -> String {
        let name = unique(prefix);
        let namespaces: Api<Namespace> = Api::all(self.client().await);
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        namespaces
            .patch(&name, &apply(), &Patch::Apply(&namespace))
            .await
            .expect("a namespace");
        name
    }

    /// Installs all of `crds/`, once, and waits until the API server serves them.
    pub async fn install_crds(&self) {
        let install = async || {
            let crds: Api<CustomResourceDefinition> = Api::all(self.client().await);
            for manifest in manifests(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")) {
                let crd: CustomResourceDefinition =
                    serde_yaml::from_str(&manifest).expect("a CRD in crds/");
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
        };
        self.crds.get_or_init(install).await;
    }

    fn start_etcd(&self) -> Process {
        let client = format!("http://{}", loopback(self.etcd_port));
        let peer = format!("http://{}", loopback(self.etcd_peer_port));
        let mut command = Command::new(self.assets.join("etcd"));
        command
            .args(["--name=test", "--log-level=warn", "--unsafe-no-fsync"])
            .args(["--heartbeat-interval=20", "--election-timeout=100"])
            .arg(format!(
                "--data-dir={}",
                self.state.path().join("etcd").display()
            ))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=test={peer}"));
        Process::start("etcd", &mut command, &self.state.path().join("etcd.log"))
    }

    fn start_apiserver(&self) -> Process {
        let mut command = Command::new(self.assets.join("kube-apiserver"));
        command
            .current_dir(self.state.path())
            .arg(format!(
                "--etcd-servers=http://{}",
                loopback(self.etcd_port)
            ))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={}", self.port))
            .arg("--endpoint-reconciler-type=none") // refuses loopback addresses
            .args([
                "--tls-cert-file=server.crt",
                "--tls-private-key-file=server.key",
            ])
            .args(["--cert-dir=certificates", "--token-auth-file=tokens.csv"])
            .arg("--authorization-mode=RBAC")
            .args([
                "--audit-policy-file=audit-policy.json",
                "--audit-log-path=audit.log",
            ])
            .arg("--service-cluster-ip-range=10.96.0.0/16")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg("--service-account-key-file=service-account.crt")
            .arg("--service-account-signing-key-file=service-account.key");
        Process::start(
            "kube-apiserver",
            &mut command,
            &self.state.path().join("apiserver.log"),
        )
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<[Process; 2]>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client with the rights of a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a kubeconfig")).expect("a client")
}

/// How tests write objects: server-side apply.
pub fn apply() -> PatchParams {
    PatchParams::apply("test").force()
}

fn write_credentials(state: &Path, ca: &TestCa, admin_token: &str) {
    let names = [
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default.svc",
    ];
    let (certificate, key) = ca.issue(&names, Validity::Now);
    let (service_account, service_account_key) = ca.issue(&["service-account"], Validity::Now);
    let files = [
        ("ca.crt", ca.pem()),
        ("server.crt", certificate),
        ("server.key", key),
        ("service-account.crt", service_account),
        ("service-account.key", service_account_key),
        (
            "tokens.csv",
            format!("{admin_token},admin,admin,\"system:masters\"\n"),
        ),
        ("audit-policy.json", audit_policy().to_string()),
    ];
    for (name, content) in files {
        fs::write(state.join(name), content).expect("a file in the state folder");
    }
}

/// Only what our own ServiceAccounts ask: everybody else in the tests is an administrator.
fn audit_policy() -> serde_json::Value {
    json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": ["system:serviceaccounts:mta-sts-system"]},
        {"level": "None"},
    ]})
}

/// The folder with etcd and kube-apiserver; the script builds them if need be.
pub fn assets() -> PathBuf {
    built("k8s")
}

/// The folder with one of the sets of programs that `tools/k8s-assets.sh` builds.
pub fn built(set: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/k8s-assets.sh");
    let output = Command::new(&script)
        .arg(set)
        .output()
        .expect("tools/k8s-assets.sh starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stdout = String::from_utf8(output.stdout).expect("a path");
    PathBuf::from(stdout.lines().last().expect("the script prints a path"))
}

/// The YAML documents of all files in a folder.
fn manifests(folder: &Path) -> Vec<String> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|why| panic!("{}: {why}", folder.display()))
        .map(|entry| entry.expect("a folder entry").path())
        .collect();
    paths.sort();
    let text: Vec<_> = paths
        .iter()
        .map(|path| fs::read_to_string(path).expect("YAML"))
        .collect();
    let documents = text.iter().flat_map(|text| text.split("\n---\n"));
    documents
        .filter(|document| document.contains("kind:"))
        .map(str::to_owned)
        .collect()
}

/// Runs kubectl, which the script builds where none is on PATH.
pub fn kubectl(kubeconfig: &Path, args: &[&str]) -> std::process::Output {
    let built = assets().join("kubectl");
    let program = if built.exists() {
        built
    } else {
        PathBuf::from("kubectl")
    };
    Command::new(program)
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .output()
        .expect("kubectl starts")
}
