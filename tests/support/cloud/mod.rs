//! Doubles of DNS services that exist only as somebody's cloud, made from their published API
//! rules and strict in what they take. They answer at the services' real host names, so they run in
//! a [network of the test's own](super::netns), with a certificate of a test CA.

mod cloudflare;
mod desec;
mod digitalocean;
mod route53;
mod sigv4;
mod xml;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::fs;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::netns;
use super::tls::{TestCa, Validity};

/// The token that each of them takes, and that must be seen nowhere.
pub const TOKEN: &str = "canary-0123456789abcdef-of-the-cloud";

/// What Amazon's service takes with it: the id of the key.
pub const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";

const HOSTS: [&str; 4] = [
    "api.cloudflare.com",
    "api.digitalocean.com",
    "desec.io",
    "route53.amazonaws.com",
];

/// All services, at their own host names.
#[derive(Clone)]
pub struct Cloud {
    store: Arc<Mutex<Store>>,
}

/// What a service does in place of what it should.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers this status with this body, and these headers.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Says yes to a write and lists the old records for a while.
    Lag(Duration),
    /// Does not answer.
    Silence,
}

#[derive(Clone, Debug)]
struct Entry {
    id: u64,
    zone: String,
    name: String,
    kind: String,
    content: String,
    ttl: u32,
    /// Other services list this instead until then.
    since: tokio::time::Instant,
}

/// What is stored, whichever service it is.
pub struct Store {
    zones: Vec<String>,
    entries: Vec<Entry>,
    gone: Vec<(Entry, tokio::time::Instant)>,
    lag: Duration,
    next: u64,
    token: String,
    faults: VecDeque<Fault>,
    /// Method and path of each request, in order.
    pub log: Vec<String>,
    /// Requests that carried a token to where it does not belong.
    pub strayed: Vec<String>,
}

struct Ask {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    authorization: String,
    body: Value,
    text: String,
    headers: HeaderMap,
}

struct Reply {
    status: u16,
    media: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Reply {
    fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            media: "application/json",
            headers: Vec::new(),
            body: body.to_string(),
        }
    }

    fn xml(status: u16, body: &str) -> Self {
        Self {
            status,
            media: "text/xml",
            headers: Vec::new(),
            body: format!("<?xml version=\"1.0\"?>\n{body}"),
        }
    }
}

impl Cloud {
    /// Starts all services, with these zones. Only in a network of the test's own.
    pub async fn start(zones: &[&str]) -> Self {
        assert!(netns::inside());
        let ca = TestCa::new("cloud");
        let ca_file = std::env::var("SSL_CERT_FILE").expect("set by netns");
        fs::write(ca_file, ca.pem()).unwrap();
        let mut hosts = fs::File::options().append(true).open("/etc/hosts").unwrap();
        for host in HOSTS {
            writeln!(hosts, "127.0.0.1 {host}").unwrap();
        }
        let (certificate, key) = ca.issue(&HOSTS, Validity::Now);
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(certificate.as_bytes())
                .map(Result::unwrap)
                .collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:443").await.unwrap();
        let zones = zones.iter().map(|zone| (*zone).to_owned()).collect();
        let store = Arc::new(Mutex::new(Store::new(zones)));
        let cloud = Self { store };
        let serving = cloud.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, cloud) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| cloud.clone().answer(request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        cloud
    }

    /// Looks at what is stored, or changes it.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// Forgets everything but the zones.
    pub fn empty(&self) {
        let mut store = self.store();
        *store = Store::new(store.zones.clone());
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let header = |name: &str| {
            let value = parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let host = header("host");
        let bytes = body.collect().await.map(|body| body.to_bytes());
        let bytes = bytes.unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default();
        let ask = Ask {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: pairs(query),
            authorization: header("authorization"),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
            headers: parts.headers.clone(),
        };
        let fault = {
            let mut store = self.store();
            let line = format!("{} {host}{}?{query}", ask.method, ask.path);
            store.log.push(line.clone());
            if ask.path.starts_with("/elsewhere") {
                store.strayed.push(format!("{line} {}", ask.authorization));
            }
            store.faults.pop_front()
        };
        let reply = match fault {
            Some(Fault::Answer(status, headers, body)) => Reply {
                status,
                media: "application/json",
                headers,
                body,
            },
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Lag(lag)) => {
                self.store().lag = lag;
                self.by_the_rules(&host, &ask)
            }
            None => self.by_the_rules(&host, &ask),
        };
        let mut response = Response::builder()
            .status(reply.status)
            .header("content-type", reply.media);
        for (name, value) in reply.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Full::new(Bytes::from(reply.body))).unwrap())
    }

    fn by_the_rules(&self, host: &str, ask: &Ask) -> Reply {
        let mut store = self.store();
        match host {
            "api.cloudflare.com" => cloudflare::answer(&mut store, ask),
            "api.digitalocean.com" => digitalocean::answer(&mut store, ask),
            "desec.io" => desec::answer(&mut store, ask),
            "route53.amazonaws.com" => route53::answer(&mut store, ask),
            other => panic!("no service is at {other}"),
        }
    }
}

impl Store {
    /// An empty one with these zones.
    pub fn new(zones: Vec<String>) -> Self {
        Self {
            zones,
            entries: Vec::new(),
            gone: Vec::new(),
            lag: Duration::ZERO,
            next: 1,
            token: TOKEN.to_owned(),
            faults: VecDeque::new(),
            log: Vec::new(),
            strayed: Vec::new(),
        }
    }

    /// The next requests meet these.
    pub fn faults(&mut self, faults: impl IntoIterator<Item = Fault>) {
        self.faults = faults.into_iter().collect();
    }

    /// Takes the token back.
    pub fn revoke(&mut self) {
        "another".clone_into(&mut self.token);
    }

    /// Takes it again.
    pub fn restore(&mut self) {
        TOKEN.clone_into(&mut self.token);
    }

    /// Writes a record as its owner would in the service's own pages.
    pub fn put(&mut self, zone: &str, name: &str, kind: &str, content: &str, ttl: u32) {
        let id = self.next;
        self.next += 1;
        self.entries.push(Entry {
            id,
            zone: zone.to_owned(),
            name: name.to_owned(),
            kind: kind.to_owned(),
            content: content.to_owned(),
            ttl,
            since: tokio::time::Instant::now(),
        });
    }

    /// What is stored at a name: content and TTL.
    pub fn at(&self, name: &str, kind: &str) -> BTreeSet<(String, u32)> {
        let there = |entry: &&Entry| entry.name == name && entry.kind == kind;
        let found = self.entries.iter().filter(there);
        found.map(|e| (e.content.clone(), e.ttl)).collect()
    }

    /// What the service lists, which may lag.
    fn listed(&self, zone: &str) -> Vec<Entry> {
        let now = tokio::time::Instant::now();
        let here = self.entries.iter().filter(|entry| entry.since <= now);
        let still = self.gone.iter().filter(|(_, until)| *until > now);
        let all = here.chain(still.map(|(entry, _)| entry));
        all.filter(|entry| entry.zone == zone).cloned().collect()
    }

    fn insert(&mut self, zone: &str, name: &str, kind: &str, content: &str, ttl: u32) -> u64 {
        self.put(zone, name, kind, content, ttl);
        let lag = self.lag;
        let entry = self.entries.last_mut().unwrap();
        entry.since += lag;
        entry.id
    }

    fn remove(&mut self, zone: &str, id: u64) -> bool {
        let there = |entry: &Entry| entry.id == id && entry.zone == zone;
        let Some(index) = self.entries.iter().position(there) else {
            return false;
        };
        let entry = self.entries.remove(index);
        let until = tokio::time::Instant::now() + self.lag;
        self.gone.push((entry, until));
        true
    }

    /// A CNAME stands alone (RFC 1034 §3.6.2).
    fn clashes(&self, name: &str, kind: &str) -> bool {
        let beside = |entry: &Entry| {
            entry.name == name && ((kind == "CNAME") != (entry.kind == "CNAME") || kind == "CNAME")
        };
        self.entries.iter().any(beside)
    }
}

fn pairs(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), decoded(v))).collect()
}

fn decoded(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => b' ',
            b'%' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(octets).unwrap()
}

/// The character-strings of a TXT in presentation format, each in quotes; `None` if it is not that.
fn quoted_strings(content: &str) -> Option<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    let mut rest = content.bytes().peekable();
    loop {
        while rest.next_if_eq(&b' ').is_some() {}
        match rest.next() {
            None if !strings.is_empty() => return Some(strings),
            Some(b'"') => {}
            _ => return None,
        }
        let mut string = Vec::new();
        loop {
            match rest.next()? {
                b'"' => break,
                b'\\' => match rest.next()? {
                    digit @ b'0'..=b'9' => {
                        let (a, b) = (rest.next()?, rest.next()?);
                        let number = [digit, a, b];
                        let number = std::str::from_utf8(&number).ok()?;
                        string.push(number.parse().ok()?);
                    }
                    other => string.push(other),
                },
                other => string.push(other),
            }
        }
        if string.len() > 255 {
            return None;
        }
        strings.push(string);
    }
}

/// What Amazon's service says to a batch of changes of a zone: status and body. Each change is its
/// action, and a record set in XML.
pub fn route53_change(store: &mut Store, zone: &str, changes: &[(&str, &str)]) -> (u16, String) {
    let changes: String = changes
        .iter()
        .map(|(action, set)| {
            format!("<Change><Action>{action}</Action><ResourceRecordSet>{set}</ResourceRecordSet></Change>")
        })
        .collect();
    let reply = route53::batch(store, zone, &changes);
    (reply.status, reply.body)
}
