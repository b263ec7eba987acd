//! `mta-sts serve` against nginx, which serves the same policies as files: requests for each second
//! of processor time, and peak memory. See `benches/README.md`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

mod measure;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch};
use measure::{machine, median, peak_mebibytes, processor_seconds};
use mta_sts_operator::lifecycle::record::{
    BODY_KEY, DOMAIN_ANNOTATION, PUBLICATION_KEY, RECORD_ROLE, ROLE_LABEL,
};
use mta_sts_operator::protocol::{POLICY_PATH, Sha256Digest};
use serde_json::json;
use support::kube::{ApiServer, apply};
use support::ports::{free_port, loopback};
use support::process::{Process, SYSTEM_PATH};
use support::wait::{ensure, eventually};
use support::{http as client, keeper};
use tokio::net::TcpStream;

const DOMAINS: usize = 1000;
const CONNECTIONS: usize = 16;
/// In each round, for each server.
const REQUESTS: usize = 96_000;
/// The servers take turns, so that other work on the machine meets both.
const ROUNDS: usize = 5;
const START: Duration = Duration::from_secs(60);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(compare());
}

async fn compare() {
    machine();
    let folder = keeper::folder("bench");
    println!("starting an API server with the records of {DOMAINS} domains");
    let api = ApiServer::start().await;
    let namespace = records(&api).await;
    let servers = [
        mta_sts(folder.path(), &api, &namespace).await,
        nginx(folder.path()).await,
    ];

    let mut seconds = [Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        for (server, seconds) in servers.iter().zip(&mut seconds) {
            let before = processor_seconds(&server.process);
            load(server.address).await;
            seconds.push(processor_seconds(&server.process) - before);
        }
        println!("round {round} of {ROUNDS}: {REQUESTS} requests to each server");
    }
    report(&servers, seconds);
}

fn report(servers: &[Server; 2], seconds: [Vec<f64>; 2]) {
    let rates = seconds.map(|seconds| REQUESTS as f64 / median(seconds));
    let memory = [&servers[0], &servers[1]].map(|server| peak_mebibytes(&server.process));
    println!(
        "\n{:24}{:>26}{:>16}",
        "", "requests per CPU second", "peak memory"
    );
    for (server, (rate, memory)) in servers.iter().zip(rates.into_iter().zip(memory)) {
        println!("{:24}{rate:>26.0}{memory:>12.1} MiB", server.name);
    }
    let ratio = |of: [f64; 2]| of[0] / of[1];
    println!(
        "{:24}{:>26.2}{:>16.2}",
        "ratio",
        ratio(rates),
        ratio(memory)
    );
}

// --- what is served ---

fn domain(number: usize) -> String {
    format!("domain-{number}.example")
}

fn body(domain: &str) -> String {
    format!("version: STSv1\r\nmode: enforce\r\nmx: mail.{domain}\r\nmax_age: 604800\r\n")
}

async fn records(api: &ApiServer) -> String {
    let namespace = api.namespace("bench").await;
    let maps = Api::<ConfigMap>::namespaced(api.client().await, &namespace);
    for number in 0..DOMAINS {
        let domain = domain(number);
        let body = body(&domain);
        let name = format!("record-{number}");
        let publication = json!({
            "domain": domain,
            "owner": {"namespace": "mail", "name": "policy", "uid": "1"},
            "current": {
                "id": "20261125T000000Z000000",
                "sha256": Sha256Digest::of(body.as_bytes()),
                "mode": "enforce",
                "maxAge": 604_800,
                "mx": [format!("mail.{domain}")],
                "decidedAt": "2026-11-25T00:00:00Z",
            },
            "ledger": [],
            "dns": {},
        });
        let record = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {ROLE_LABEL: RECORD_ROLE},
                "annotations": {DOMAIN_ANNOTATION: domain}},
            "data": {BODY_KEY: body, PUBLICATION_KEY: publication.to_string()},
        });
        maps.patch(&name, &apply(), &Patch::Apply(&record))
            .await
            .unwrap();
    }
    namespace
}

// --- the servers ---

struct Server {
    name: &'static str,
    process: Process,
    address: SocketAddr,
}

async fn mta_sts(folder: &Path, api: &ApiServer, namespace: &str) -> Server {
    let address = loopback(free_port());
    let args = [
        "serve",
        "--namespace",
        namespace,
        "--listen",
        &address.to_string(),
        "--admin-listen",
        &loopback(free_port()).to_string(),
    ];
    let process = Process::mta_sts("serve", folder, Some(&api.kubeconfig()), &args);
    Server::up("mta-sts serve", process, address).await
}

async fn nginx(folder: &Path) -> Server {
    let address = loopback(free_port());
    for number in 0..DOMAINS {
        let domain = domain(number);
        let file = folder.join(format!("sites/mta-sts.{domain}{POLICY_PATH}"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, body(&domain)).unwrap();
    }
    // Root's workers would become somebody who may not read the folder.
    let is_root = fs::metadata(folder).unwrap().uid() == 0;
    let text = NGINX
        .replace("USER", if is_root { "user root;" } else { "" })
        .replace("LISTEN", &address.to_string());
    fs::write(folder.join("nginx.conf"), text).unwrap();
    let mut command = Command::new("nginx");
    command
        .env("PATH", SYSTEM_PATH)
        .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
        .arg(folder);
    let process = Process::start("nginx", &mut command, &folder.join("nginx.log"));
    Server::up("nginx, from files", process, address).await
}

/// As one would set it up to be fast: one worker, files kept open, nothing logged.
const NGINX: &str = r#"
daemon off;
worker_processes 1;
USER
pid nginx.pid;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 1000000;
  open_file_cache max=2000 inactive=1h;
  open_file_cache_valid 1h;
  default_type "text/plain; charset=utf-8";
  add_header Cache-Control no-store;
  add_header X-Content-Type-Options nosniff;
  server { listen LISTEN; root sites/$host; }
}
"#;

impl Server {
    async fn up(name: &'static str, process: Process, address: SocketAddr) -> Self {
        let last = domain(DOMAINS - 1);
        eventually("the server has all policies", START, async || {
            process.assert_alive();
            let answer = client::get(address, &format!("mta-sts.{last}"), POLICY_PATH).await?;
            ensure(answer.text() == body(&last), answer.status)
        })
        .await;
        Self {
            name,
            process,
            address,
        }
    }
}

// --- the load ---

/// Asks for all domains in turn over connections that stay open, as a front does.
async fn load(address: SocketAddr) {
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| tokio::spawn(ask(address, number)))
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

async fn ask(address: SocketAddr, client: usize) {
    let mut connection = connect(address).await;
    for number in 0..REQUESTS / CONNECTIONS {
        let domain = domain((client + number * CONNECTIONS) % DOMAINS);
        if connection.ready().await.is_err() {
            connection = connect(address).await;
            connection.ready().await.unwrap();
        }
        let request = Request::get(POLICY_PATH)
            .header("host", format!("mta-sts.{domain}"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = connection.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let received = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(received, body(&domain));
    }
}

async fn connect(address: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    sender
}
