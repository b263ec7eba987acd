//! `mta-sts serve` as a process, following the records of a real API server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, Patch};
use mta_sts_operator::lifecycle::record::{
    BODY_KEY, DOMAIN_ANNOTATION, PUBLICATION_KEY, RECORD_ROLE, ROLE_LABEL,
};
use mta_sts_operator::probe::endpoint::fetch_endpoint;
use mta_sts_operator::protocol::{Domain, POLICY_PATH, Sha256Digest};
use serde_json::{Value, json};
use support::http::get;
use support::keeper;
use support::kube::{ApiServer, apply};
use support::ports::{free_port, loopback};
use support::process::Process;
use support::wait::{always, ensure, eventually};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);
/// Long enough to see that something does not happen.
const MOMENT: Duration = Duration::from_millis(700);

// --- records ---

fn publication(domain: &str, body: &str, id: &str) -> Value {
    json!({
        "domain": domain,
        "owner": {"namespace": "mail", "name": "policy", "uid": "1"},
        "current": {
            "id": id,
            "sha256": Sha256Digest::of(body.as_bytes()),
            "mode": "testing",
            "maxAge": 86400,
            "mx": [format!("mail.{domain}")],
            "decidedAt": "2026-11-25T00:00:00Z",
        },
        "ledger": [],
        "dns": {},
    })
}

/// The operator's records in one namespace.
struct Records {
    api: Api<ConfigMap>,
}

impl Records {
    async fn of(api: &ApiServer, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(api.client().await, namespace),
        }
    }

    /// Writes the record of `domain`, whose object is `name`.
    async fn write(&self, name: &str, domain: &str, body: &str, id: &str) {
        let publication = publication(domain, body, id);
        self.write_data(name, domain, body, &publication.to_string())
            .await;
    }

    async fn write_data(&self, name: &str, domain: &str, body: &str, publication: &str) {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "labels": {ROLE_LABEL: RECORD_ROLE},
                "annotations": {DOMAIN_ANNOTATION: domain},
            },
            "data": {BODY_KEY: body, PUBLICATION_KEY: publication},
        });
        self.api
            .patch(name, &apply(), &Patch::Apply(&object))
            .await
            .unwrap();
    }

    async fn delete(&self, name: &str) {
        self.api
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
}

// --- the server ---

struct Server {
    process: Process,
    policies: SocketAddr,
    admin: SocketAddr,
    _folder: TempDir,
}

impl Server {
    fn start(kubeconfig: &Path, namespace: &str) -> Self {
        let folder = keeper::folder("serve");
        let (policies, admin) = (loopback(free_port()), loopback(free_port()));
        let listen = [policies.to_string(), admin.to_string()];
        let args = [
            ["serve", "--namespace", namespace].as_slice(),
            &[
                "--listen",
                &listen[0],
                "--admin-listen",
                &listen[1],
                "--drain-seconds",
                "2",
            ],
        ]
        .concat();
        let process = Process::mta_sts("serve", folder.path(), Some(kubeconfig), &args);
        Self {
            process,
            policies,
            admin,
            _folder: folder,
        }
    }

    async fn admin(&self, path: &str) -> Result<(u16, String), String> {
        self.process.assert_alive();
        let answer = get(self.admin, "localhost", path).await?;
        Ok((answer.status, answer.text()))
    }

    async fn ready(&self) {
        eventually("the server is ready", SOON, async || {
            let (status, text) = self.admin("/readyz").await?;
            ensure(status == 200, text)
        })
        .await;
    }

    /// Waits until it listens, then checks that it does not call itself ready.
    async fn stays_unready(&self) {
        eventually("it is alive", SOON, async || {
            let (status, text) = self.admin("/healthz").await?;
            ensure(status == 200, text)
        })
        .await;
        always("it is not ready", MOMENT, async || {
            let (status, text) = self.admin("/readyz").await?;
            ensure(status == 503, text)
        })
        .await;
    }

    /// Status, id and body that it serves for a domain.
    async fn policy(&self, domain: &str) -> Result<(u16, String, String), String> {
        let host = Domain::parse(domain).unwrap().policy_host();
        let answer = fetch_endpoint(self.policies, &host)
            .await
            .map_err(|why| why.to_string())?;
        let id = answer.etag.unwrap_or_default().trim_matches('"').to_owned();
        Ok((
            answer.status,
            id,
            String::from_utf8_lossy(&answer.body).into_owned(),
        ))
    }

    async fn serves(&self, domain: &str, body: &str, id: &str) {
        let expected = (200, id.to_owned(), body.to_owned());
        eventually(&format!("{domain} serves {body}"), SOON, async || {
            let seen = self.policy(domain).await?;
            ensure(seen == expected, format!("{seen:?}"))
        })
        .await;
    }

    async fn answers(&self, domain: &str, status: u16) {
        eventually(&format!("{domain} answers {status}"), SOON, async || {
            let seen = self.policy(domain).await?;
            ensure(seen.0 == status, format!("{seen:?}"))
        })
        .await;
    }

    async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.admin("/metrics").await.unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

// --- cases ---

#[tokio::test]
async fn records_are_followed_as_they_come_change_and_go() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("serve").await;
    let records = Records::of(api, &namespace).await;
    records.write("a", "example.org", "A1", "1").await;
    let server = Server::start(&api.kubeconfig(), &namespace);
    server.ready().await;
    assert_eq!(
        server.policy("example.org").await.unwrap(),
        (200, "1".into(), "A1".into())
    );
    assert_eq!(server.policy("example.com").await.unwrap().0, 404);

    records.write("a", "example.org", "A2", "2").await;
    server.serves("example.org", "A2", "2").await;
    records.write("b", "example.com", "B1", "3").await;
    server.serves("example.com", "B1", "3").await;
    records.write("a", "example.org", "A1", "4").await;
    server.serves("example.org", "A1", "4").await;

    // Objects that are no records, in all kinds of ways, disturb nobody.
    records.write_data("c", "example.net", "C", "{").await;
    records
        .write_data("d", "not a domain", "\0", "\u{1b}[31m")
        .await;
    server.answers("example.net", 503).await;
    let edited = publication("example.org", "A1", "4").to_string();
    records
        .write_data("a", "example.org", "edited by hand", &edited)
        .await;
    records.write("b", "example.com", "B2", "5").await;
    server.serves("example.com", "B2", "5").await;
    server.serves("example.org", "A1", "4").await;
    records.write("a", "example.org", "A3", "6").await;
    server.serves("example.org", "A3", "6").await;

    // Only a record that says so retires its host.
    records.delete("a").await;
    let mut retired = publication("example.com", "B2", "5");
    retired["retired"] = true.into();
    records
        .write_data("b", "example.com", "B2", &retired.to_string())
        .await;
    server.answers("example.com", 404).await;
    server.serves("example.org", "A3", "6").await;

    // A record that comes again under the same name is the newer one.
    records.write("a", "example.org", "A4", "7").await;
    server.serves("example.org", "A4", "7").await;
    // And of two that are there, the older one counts.
    records.write("z", "example.org", "Z", "8").await;
    records.write("b", "example.com", "B3", "9").await;
    server.serves("example.com", "B3", "9").await;
    server.serves("example.org", "A4", "7").await;
    server
        .process
        .logged("two records claim one host", SOON)
        .await;
}

#[tokio::test]
async fn more_records_than_a_page_are_all_served() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("serve").await;
    let records = Records::of(api, &namespace).await;
    const COUNT: usize = 520;
    let writes = (0..COUNT).map(|n| {
        let records = &records;
        async move {
            records
                .write(&format!("r{n}"), &format!("d{n}.example.org"), "B", "1")
                .await
        }
    });
    futures::future::join_all(writes).await;
    let server = Server::start(&api.kubeconfig(), &namespace);
    server.ready().await;
    assert_eq!(server.metric("mta_sts_server_hosts").await, Some(520.0));
    server.serves("d0.example.org", "B", "1").await;
    server.serves("d519.example.org", "B", "1").await;
}

#[tokio::test]
async fn the_server_outlives_the_api_server_and_starts_without_it() {
    let api = ApiServer::start().await;
    let namespace = api.namespace("serve").await;
    let records = Records::of(&api, &namespace).await;
    records.write("a", "example.org", "A1", "1").await;
    let server = Server::start(&api.kubeconfig(), &namespace);
    server.ready().await;

    api.kill();
    let late = Server::start(&api.kubeconfig(), &namespace);
    late.stays_unready().await;
    assert_eq!(late.policy("example.org").await.unwrap().0, 404);
    server.serves("example.org", "A1", "1").await;
    server.ready().await;

    api.restart().await;
    late.ready().await;
    late.serves("example.org", "A1", "1").await;
    let records = Records::of(&api, &namespace).await;
    records.write("a", "example.org", "A2", "2").await;
    server.serves("example.org", "A2", "2").await;
    late.serves("example.org", "A2", "2").await;

    // Said once, not once a try.
    let told = |log: &str| log.matches("serving what is known").count();
    assert_eq!(told(&late.process.log()), 1);
}

#[tokio::test]
async fn the_rights_it_needs_are_list_and_watch_and_both() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("serve").await;
    let records = Records::of(api, &namespace).await;
    records.write("a", "example.org", "A1", "1").await;
    let token = api.service_account_token(&namespace, "server").await;
    let server = Server::start(&api.kubeconfig_for(&token), &namespace);
    server.stays_unready().await;

    grant(api, &namespace, &["list"]).await;
    server.serves("example.org", "A1", "1").await;
    server.stays_unready().await;

    grant(api, &namespace, &["list", "watch"]).await;
    server.ready().await;
    records.write("a", "example.org", "A2", "2").await;
    server.serves("example.org", "A2", "2").await;

    // Rights that are lost later leave it ready, and serving what it knows.
    grant(api, &namespace, &[]).await;
    always("it stays ready", MOMENT, async || {
        let (status, text) = server.admin("/readyz").await?;
        ensure(status == 200, text)
    })
    .await;
    server.serves("example.org", "A2", "2").await;
}

/// Gives the ServiceAccount `server` these verbs on ConfigMaps, and no others.
async fn grant(api: &ApiServer, namespace: &str, verbs: &[&str]) {
    let roles: Api<Role> = Api::namespaced(api.client().await, namespace);
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "server"},
        "rules": if verbs.is_empty() { json!([]) } else { json!([rule]) },
    });
    roles
        .patch("server", &apply(), &Patch::Apply(&role))
        .await
        .unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(api.client().await, namespace);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "server"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "server"},
        "subjects": [{"kind": "ServiceAccount", "name": "server", "namespace": namespace}],
    });
    bindings
        .patch("server", &apply(), &Patch::Apply(&binding))
        .await
        .unwrap();
}

#[tokio::test]
async fn sigterm_makes_it_unready_first_and_ends_it_last() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("serve").await;
    Records::of(api, &namespace)
        .await
        .write("a", "example.org", "A1", "1")
        .await;
    let server = Server::start(&api.kubeconfig(), &namespace);
    server.ready().await;
    server.process.signal("TERM");
    eventually("it is not ready", SOON, async || {
        let (status, text) = server.admin("/readyz").await?;
        ensure(status == 503, text)
    })
    .await;
    assert_eq!(
        server.policy("example.org").await.unwrap().0,
        200,
        "it still serves"
    );
    assert!(server.process.exit(SOON).await.success());
}

#[tokio::test]
async fn metrics_do_not_grow_with_requests() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("serve").await;
    Records::of(api, &namespace)
        .await
        .write("a", "example.org", "A1", "1")
        .await;
    let server = Server::start(&api.kubeconfig(), &namespace);
    server.ready().await;
    let ask = async |host: &str, path: &str| get(server.policies, host, path).await.unwrap().status;
    assert_eq!(ask("mta-sts.example.org", POLICY_PATH).await, 200);
    assert_eq!(ask("mta-sts.example.com", POLICY_PATH).await, 404);
    let series = async || server.admin("/metrics").await.unwrap().1.lines().count();
    let before = series().await;
    for n in 0..300 {
        assert_eq!(
            ask(&format!("h{n}.example.net"), &format!("/{n}")).await,
            404
        );
    }
    assert_eq!(series().await, before);
    let requests = |class: &str| format!("mta_sts_server_requests_total{{class=\"{class}\"}}");
    assert_eq!(server.metric(&requests("2xx")).await, Some(1.0));
    assert_eq!(server.metric(&requests("4xx")).await, Some(301.0));
    assert_eq!(server.metric("mta_sts_server_hosts").await, Some(1.0));
    assert_eq!(server.metric("mta_sts_server_ready").await, Some(1.0));
    assert!(
        server
            .metric("mta_sts_server_watch_age_seconds")
            .await
            .unwrap()
            < 120.0
    );
}
