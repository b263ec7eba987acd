//! The public HTTPS front of policy hosts: a real nginx that ends TLS by SNI, as an ingress
//! controller does, and can be made to do it wrong.

use super::http::{Answer as HttpAnswer, get, get_tls};
use super::keeper;
use super::ports::{free_port, loopback};
use super::process::{Process, SYSTEM_PATH};
use super::tls::{TestCa, Validity};
use super::wait::{ensure, eventually};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

const START: Duration = Duration::from_secs(10);

/// The certificate that a host presents.
#[derive(Clone, Copy, Debug, Deserialize)]
pub enum Certificate {
    /// In date, of the [front's CA](Front::ca_pem), for this host.
    Valid,
    /// Out of date for years.
    Expired,
    /// Not in date yet.
    NotYetValid,
    /// In date for a few days more.
    Ending,
    /// Valid, but for another name.
    WrongName,
    /// Of a CA that nobody trusts, and that is sent with it.
    Untrusted,
    /// The same without that CA: its issuer is not known.
    Alone,
}

/// What a host answers to any request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What the server at this address does, asked by plain HTTP with the Host kept.
    Proxy(SocketAddr),
    /// The same, as a cache does it: with these headers in place of the server's own.
    Cache {
        server: SocketAddr,
        headers: &'static [(&'static str, &'static str)],
    },
    /// 200 with these bytes and this Content-Type.
    Body {
        content_type: &'static str,
        body: Vec<u8>,
    },
    /// This status with this text and these headers; 403 for those whose User-Agent matches `refused`.
    Page {
        status: u16,
        content_type: String,
        body: String,
        headers: BTreeMap<String, String>,
        refused: Option<String>,
        /// At this path only; 404 elsewhere.
        path: Option<String>,
    },
    /// A status with no body.
    Status(u16),
    /// 302 to this URL.
    Redirect(String),
    /// Closes the connection after the handshake.
    Close,
}

/// One host of the front.
#[derive(Clone, Debug)]
pub struct Site {
    pub certificate: Certificate,
    pub answer: Answer,
}

impl Site {
    /// A healthy host that leads to a policy server.
    pub fn proxy(policy_server: SocketAddr) -> Self {
        Self {
            certificate: Certificate::Valid,
            answer: Answer::Proxy(policy_server),
        }
    }

    /// The same host with another certificate.
    pub fn with_certificate(self, certificate: Certificate) -> Self {
        Self {
            certificate,
            ..self
        }
    }

    /// The same host with another answer.
    pub fn with_answer(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }
}

/// nginx on a loopback port. A host that it does not know gets a TLS alert.
pub struct Front {
    nginx: Mutex<Option<Process>>,
    config: Mutex<Configuration>,
    ca: TestCa,
    untrusted_ca: TestCa,
    address: SocketAddr,
    control_port: u16,
    state: TempDir,
}

#[derive(Default)]
struct Configuration {
    sites: BTreeMap<String, Site>,
    generation: u64,
}

impl Front {
    /// Starts a front without hosts; [`set`](Self::set) adds them.
    pub async fn start() -> Self {
        Self::start_on(loopback(free_port())).await
    }

    /// The same on an address of the caller's choice.
    pub async fn start_on(address: SocketAddr) -> Self {
        let front = Self {
            nginx: Mutex::new(None),
            config: Mutex::default(),
            ca: TestCa::new("test front"),
            untrusted_ca: TestCa::new("nobody trusts this"),
            address,
            control_port: free_port(),
            state: keeper::folder("front"),
        };
        fs::write(front.ca_file(), front.ca.pem()).expect("a file");
        front.write_configuration();
        front.up().await;
        front
    }

    /// Adds or changes a host. From the moment this returns every new connection sees the change.
    pub async fn set(&self, host: &str, site: Site) {
        self.set_all([(host.to_owned(), site)]).await;
    }

    /// The same for many hosts at once.
    pub async fn set_all(&self, sites: impl IntoIterator<Item = (String, Site)>) {
        self.config().sites.extend(sites);
        self.write_configuration();
        let before = self.workers_ended();
        match self.nginx().as_ref() {
            Some(nginx) => nginx.signal("HUP"),
            None => return, // the next up() reads it
        }
        self.up_to_date().await;
        eventually(
            "the worker with the old configuration is gone",
            START,
            async || ensure(self.workers_ended() > before, "it still runs"),
        )
        .await;
    }

    /// Refuses connections until [`up`](Self::up).
    pub fn down(&self) {
        *self.nginx() = None;
    }

    /// Starts nginx (again), on the same port.
    pub async fn up(&self) {
        let folder = self.state.path();
        let mut command = Command::new("nginx");
        command
            .env("PATH", SYSTEM_PATH)
            .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
            .arg(folder);
        let nginx = Process::start("nginx", &mut command, &folder.join("nginx.log"));
        *self.nginx() = Some(nginx);
        self.up_to_date().await;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value of `--connect-to` that leads clients of `host` here.
    pub fn connect_to(&self, host: &str) -> String {
        format!("{host}:443:{}", self.address())
    }

    /// The root certificate that the front is trusted by.
    pub fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    /// A server certificate of the front's CA, with its key, both as PEM.
    pub fn issue(&self, names: &[&str], validity: Validity) -> (String, String) {
        self.ca.issue(names, validity)
    }

    /// The same, as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.state.path().join("ca.crt")
    }

    /// GET `https://host/path` as the public sees it.
    pub async fn get(&self, host: &str, path: &str) -> Result<HttpAnswer, String> {
        get_tls(self.address(), host, path, &self.ca.pem()).await
    }

    async fn up_to_date(&self) {
        let generation = self.config().generation;
        eventually("nginx has taken its configuration", START, async || {
            if let Some(nginx) = self.nginx().as_ref() {
                nginx.assert_alive();
            }
            let answer = get(loopback(self.control_port), "control", "/").await?;
            // Another one may have been written meanwhile: it holds this one as well.
            let taken = answer.text().parse::<u64>();
            ensure(
                taken.is_ok_and(|taken| taken >= generation),
                format!("generation {}", answer.text()),
            )
        })
        .await;
    }

    fn workers_ended(&self) -> usize {
        let log = fs::read_to_string(self.state.path().join("error.log")).unwrap_or_default();
        log.matches("exited with code").count()
    }

    fn write_configuration(&self) {
        let mut config = self.config();
        config.generation += 1;
        let servers: Vec<_> = config
            .sites
            .iter()
            .map(|(host, site)| self.server(host, site))
            .collect();
        let folder = self.state.path();
        let is_root = fs::metadata(folder).is_ok_and(|metadata| metadata.uid() == 0);
        let text = CONFIGURATION
            .replace("USER", if is_root { "user root;" } else { "" })
            .replace("CONTROL", &loopback(self.control_port).to_string())
            .replace("GENERATION", &config.generation.to_string())
            .replace("LISTEN", &self.address().to_string())
            .replace("SERVERS", &servers.join("\n"));
        fs::write(folder.join("nginx.conf"), text).expect("a file");
    }

    fn server(&self, host: &str, site: &Site) -> String {
        let (ca, name, validity) = match site.certificate {
            Certificate::Valid => (&self.ca, host, Validity::Now),
            Certificate::Expired => (&self.ca, host, Validity::Expired),
            Certificate::NotYetValid => (&self.ca, host, Validity::NotYet),
            Certificate::Ending => (&self.ca, host, Validity::Ending),
            Certificate::WrongName => (&self.ca, "wrong.example", Validity::Now),
            Certificate::Untrusted | Certificate::Alone => {
                (&self.untrusted_ca, host, Validity::Now)
            }
        };
        let (mut certificate, key) = ca.issue(&[name], validity);
        if matches!(site.certificate, Certificate::Untrusted) {
            certificate.push_str(&ca.pem());
        }
        let file = |kind: &str| self.state.path().join(format!("{host}.{kind}"));
        fs::write(file("crt"), certificate).expect("a file");
        fs::write(file("key"), key).expect("a file");
        let location = match &site.answer {
            Answer::Proxy(address) => format!("proxy_pass http://{address};"),
            Answer::Cache { server, headers } => {
                let headers = headers.iter().map(|(name, value)| {
                    format!("proxy_hide_header {name}; add_header {name} \"{value}\"; ")
                });
                let headers: String = headers.collect();
                format!("{headers}proxy_pass http://{server};")
            }
            Answer::Body { content_type, body } => {
                fs::write(file("body"), body).expect("a file");
                format!("default_type \"{content_type}\"; try_files /{host}.body =404;")
            }
            Answer::Page {
                status,
                content_type,
                body,
                headers,
                refused,
                path,
            } => {
                let refused = refused.iter().map(|agents| {
                    format!("if ($http_user_agent ~ \"{agents}\") {{ return 403; }} ")
                });
                let headers = headers
                    .iter()
                    .map(|(name, value)| format!("add_header {name} \"{value}\" always; "));
                let before: String = refused.chain(headers).collect();
                let page =
                    format!("{before}default_type \"{content_type}\"; return {status} \"{body}\";");
                match path {
                    // Within the location of all paths.
                    Some(path) => format!("location = {path} {{ {page} }} return 404;"),
                    None => page,
                }
            }
            Answer::Status(status) => format!("return {status};"),
            Answer::Redirect(url) => format!("return 302 \"{url}\";"),
            Answer::Close => "return 444;".to_owned(),
        };
        format!(
            "  server {{\n    listen LISTEN ssl;\n    server_name {host};\n    \
             ssl_certificate {host}.crt;\n    ssl_certificate_key {host}.key;\n    \
             location / {{ {location} }}\n  }}"
        )
        .replace("LISTEN", &self.address().to_string())
    }

    fn config(&self) -> MutexGuard<'_, Configuration> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nginx(&self) -> MutexGuard<'_, Option<Process>> {
        self.nginx.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No keep-alive, and an old worker that still sends a body is stopped after a second, so that no
/// connection outlives its configuration.
const CONFIGURATION: &str = r#"
daemon off;
worker_processes 1;
worker_shutdown_timeout 1s;
USER
pid nginx.pid;
error_log error.log notice;
events { worker_connections 512; }
http {
  access_log access.log;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_timeout 0;
  server_tokens off;
  etag off;
  root .;
  proxy_http_version 1.1;
  proxy_set_header Host $host;
  proxy_set_header Connection "";
  ssl_protocols TLSv1.2 TLSv1.3;
  server { listen CONTROL; location / { return 200 "GENERATION"; } }
  server { listen LISTEN ssl default_server; ssl_reject_handshake on; }
SERVERS
}
"#;
