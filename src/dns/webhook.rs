//! The webhook protocol of external-dns, version 1: whatever service somebody has written such a
//! provider for.
//!
//! It lists all records and takes batches. Many providers refuse an update whose old value is
//! wrong, but the protocol does not ask for that: the promise is that of any API, read, compare,
//! write, read back.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;

use super::service::FindZone;
use super::txt_text::{quoted, unquoted};
use super::{Change, DnsError, DnsProvider, RecordSet, RecordType, RecordValue, Swap};
use crate::diagnosis::printable;
use crate::limits;

const SERVICE: &str = "the webhook";
const MEDIA_TYPE: &str = "application/external.dns.webhook+json;version=1";

/// How to reach a webhook.
pub struct Settings {
    /// Whether it speaks TLS, and by which trusted roots it is judged.
    pub tls: Option<Arc<ClientConfig>>,
    /// The host that its URL names, with the port where that is written.
    pub authority: String,
    /// The address that is dialled: it was checked.
    pub address: SocketAddr,
    /// The path before those of the protocol, without the final slash.
    pub path: String,
    /// Finds zones: the protocol knows none.
    pub zones: Arc<dyn FindZone>,
    /// What it listed last.
    pub listed: Arc<Listed>,
}

/// What a webhook listed last, for all who look within a moment: it only ever lists everything.
#[derive(Debug, Default)]
pub struct Listed(Mutex<Option<List>>);

/// A list, and when it was asked for.
#[derive(Clone, Debug)]
struct List {
    at: Instant,
    endpoints: Arc<Vec<Endpoint>>,
}

/// A webhook. Cheap to clone.
#[derive(Clone)]
pub struct Webhook {
    tls: Option<Arc<ClientConfig>>,
    authority: String,
    address: SocketAddr,
    path: String,
    zones: Arc<dyn FindZone>,
    listed: Arc<Listed>,
}

/// A record set as the protocol has it. What is not known here is kept as it came.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(default)]
    dns_name: String,
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    record_type: String,
    #[serde(default, rename = "recordTTL", skip_serializing_if = "is_zero")]
    record_ttl: u32,
    #[serde(flatten)]
    more: serde_json::Map<String, Value>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(ttl: &u32) -> bool {
    *ttl == 0
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changes {
    create: Vec<Endpoint>,
    update_old: Vec<Endpoint>,
    update_new: Vec<Endpoint>,
    delete: Vec<Endpoint>,
}

impl Webhook {
    /// A webhook at this place.
    pub fn new(settings: Settings) -> Self {
        let Settings {
            tls,
            authority,
            address,
            path,
            zones,
            listed,
        } = settings;
        Self {
            tls,
            authority,
            address,
            path,
            zones,
            listed,
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        until: Instant,
    ) -> Result<(StatusCode, Bytes), DnsError> {
        let timeout = |_| DnsError::ServiceTimeout { service: SERVICE };
        let asked = timeout_at(until, async {
            let stream = TcpStream::connect(self.address)
                .await
                .map_err(unreachable)?;
            let Some(config) = &self.tls else {
                return self.send(stream, method, path, body).await;
            };
            let host = self
                .authority
                .rsplit_once(':')
                .map_or(&*self.authority, |(host, _)| host);
            let name = ServerName::try_from(host.to_owned()).map_err(unreachable)?;
            let connector = TlsConnector::from(Arc::clone(config));
            let stream = connector.connect(name, stream).await.map_err(unreachable)?;
            self.send(stream, method, path, body).await
        });
        asked.await.map_err(timeout)?
    }

    /// One request on a connection of its own. No redirect is followed.
    async fn send<S>(
        &self,
        stream: S,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), DnsError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.path))
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, MEDIA_TYPE)
            .header(header::CONTENT_TYPE, MEDIA_TYPE)
            .body(Full::new(Bytes::from(body)))
            .map_err(unreachable)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(limits::RESPONSE_HEAD_BYTES.max(8192))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(unreachable)?;
        let _connection = super::service::AbortOnDrop(tokio::spawn(connection));
        let response = sender.send_request(request).await.map_err(unreachable)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limits::WEBHOOK_BYTES);
        match body.collect().await {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(_) => Err(DnsError::ServiceGarbled { service: SERVICE }),
        }
    }

    /// All record sets of the webhook, as they are now.
    async fn endpoints(&self, until: Instant) -> Result<Arc<Vec<Endpoint>>, DnsError> {
        let at = Instant::now();
        let (status, body) = self.ask(Method::GET, "/records", Vec::new(), until).await?;
        if status != StatusCode::OK {
            return Err(refusal(status, &body, ""));
        }
        let garbled = |_| DnsError::ServiceGarbled { service: SERVICE };
        let endpoints = Arc::new(serde_json::from_slice(&body).map_err(garbled)?);
        // Whoever is just asking for a list keeps his own.
        if let Ok(mut listed) = self.listed.0.try_lock() {
            let endpoints = Arc::clone(&endpoints);
            *listed = Some(List { at, endpoints });
        }
        Ok(endpoints)
    }

    /// The same as they were a moment ago. Whoever comes while it is being listed waits for that.
    async fn lately(&self, until: Instant) -> Result<Arc<Vec<Endpoint>>, DnsError> {
        let listed = timeout_at(until, self.listed.0.lock()).await;
        let mut listed = listed.map_err(|_| DnsError::ServiceTimeout { service: SERVICE })?;
        if let Some(list) = &*listed
            && list.at.elapsed() < limits::WEBHOOK_LIST_TIME
        {
            return Ok(Arc::clone(&list.endpoints));
        }
        let at = Instant::now();
        *listed = None;
        let endpoints = self.endpoints(until).await?;
        *listed = Some(List {
            at,
            endpoints: Arc::clone(&endpoints),
        });
        Ok(endpoints)
    }

    /// Writes all groups with one request, as far as what each expects stands there. An error is one
    /// of all of them.
    async fn swap_together(
        &self,
        zone: &str,
        groups: &[Vec<Change>],
        until: Instant,
    ) -> Result<Vec<Result<Swap, DnsError>>, DnsError> {
        let listed = self.endpoints(until).await?;
        let as_expected = |change: &Change| {
            let found = set_of(&listed, change);
            values(found.as_ref()) == values(change.expected.as_ref())
        };
        let made = |group: &&Vec<Change>| group.iter().all(as_expected);
        let mut batch = Changes::default();
        for change in groups.iter().filter(made).flatten() {
            if change.expected != change.desired {
                batch.add(change, &listed);
            }
        }
        let shown = match batch.is_empty() {
            true => Arc::clone(&listed),
            false => {
                let body = serde_json::to_vec(&batch).unwrap_or_default();
                let (status, body) = self.ask(Method::POST, "/records", body, until).await?;
                if status != StatusCode::NO_CONTENT && status != StatusCode::OK {
                    return Err(refusal(status, &body, zone));
                }
                let made: Vec<&Change> = groups.iter().filter(made).flatten().collect();
                self.read_back(&made, until).await?
            }
        };
        let swap = |group: &Vec<Change>| match made(&group) {
            false => Ok(Swap::Conflict),
            true => match group.iter().find(|change| differs(&shown, change)) {
                None => Ok(Swap::Done),
                Some(change) => Err(DnsError::ServiceReadBackDiffers {
                    service: SERVICE,
                    name: change.name.clone(),
                    record_type: change.record_type,
                    found: set_of(&shown, change).map(Box::new),
                }),
            },
        };
        Ok(groups.iter().map(swap).collect())
    }

    /// Waits until the webhook lists what was written, or until the time is over; gives the last list.
    async fn read_back(
        &self,
        changes: &[&Change],
        until: Instant,
    ) -> Result<Arc<Vec<Endpoint>>, DnsError> {
        let mut pause = limits::SERVICE_READ_BACK_PAUSE;
        loop {
            let listed = self.endpoints(until).await?;
            let again = Instant::now() + pause;
            let is_shown = !changes.iter().any(|change| differs(&listed, change));
            if is_shown || again + pause >= until {
                return Ok(listed);
            }
            sleep_until(again).await;
            pause *= 2;
        }
    }
}

impl DnsProvider for Webhook {
    fn takes_batches(&self) -> bool {
        true
    }

    async fn zone_of(&self, name: &str, deadline: Duration) -> Result<String, DnsError> {
        let found = tokio::time::timeout(deadline, self.zones.zone_of(name)).await;
        found
            .map_err(|_| DnsError::ServiceTimeout { service: SERVICE })?
            .map_err(|why| DnsError::ZoneUnknown {
                name: name.to_owned(),
                why,
            })
    }

    async fn read(
        &self,
        _zone: &str,
        name: &str,
        record_type: RecordType,
        deadline: Duration,
    ) -> Result<Option<RecordSet>, DnsError> {
        let listed = self.endpoints(Instant::now() + deadline).await?;
        Ok(set_at(&listed, name, record_type))
    }

    async fn glance(
        &self,
        _zone: &str,
        name: &str,
        types: &[RecordType],
        deadline: Duration,
    ) -> Result<Vec<Option<RecordSet>>, DnsError> {
        let listed = self.lately(Instant::now() + deadline).await?;
        let sets = types.iter();
        Ok(sets.map(|wanted| set_at(&listed, name, *wanted)).collect())
    }

    async fn compare_and_swap(
        &self,
        zone: &str,
        changes: &[Change],
        deadline: Duration,
    ) -> Result<Swap, DnsError> {
        let groups = [changes.to_vec()];
        let swaps = self.swap_together(zone, &groups, Instant::now() + deadline);
        swaps.await?.pop().unwrap_or(Ok(Swap::Conflict))
    }

    async fn compare_and_swap_each(
        &self,
        zone: &str,
        groups: &[Vec<Change>],
        deadline: Duration,
    ) -> Vec<Result<Swap, DnsError>> {
        let until = Instant::now() + deadline;
        let mut all = Vec::with_capacity(groups.len());
        // One that is refused is found by halves: the others are still written together.
        let mut parts = vec![groups];
        while let Some(part) = parts.pop() {
            match (self.swap_together(zone, part, until).await, part.len()) {
                (Ok(swaps), _) => all.extend(swaps),
                (Err(error), 0 | 1) => all.push(Err(error)),
                (Err(_), count) => {
                    let (first, second) = part.split_at(count / 2);
                    parts.extend([second, first]);
                }
            }
        }
        all
    }

    async fn check(&self, zones: &[String], deadline: Duration) -> Result<Vec<String>, DnsError> {
        let until = Instant::now() + deadline;
        let (status, body) = self.ask(Method::GET, "/", Vec::new(), until).await?;
        if status != StatusCode::OK {
            return Err(refusal(status, &body, ""));
        }
        self.endpoints(until).await?;
        let mut seen = Vec::new();
        for zone in zones.iter().filter(|zone| *zone != "*") {
            let zone = self.zone_of(zone, deadline).await?;
            if !seen.contains(&zone) {
                seen.push(zone);
            }
        }
        Ok(seen)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("authority", &self.authority)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update_new.is_empty() && self.delete.is_empty()
    }

    /// What stands there is handed back exactly as it was listed: a webhook may compare it.
    fn add(&mut self, change: &Change, listed: &[Endpoint]) {
        let old = listed
            .iter()
            .find(|endpoint| is_at(endpoint, &change.name, change.record_type));
        match (old, &change.desired) {
            (None, None) => {}
            (Some(old), None) => self.delete.push(old.clone()),
            (None, Some(set)) => self.create.push(Endpoint {
                dns_name: change.name.clone(),
                targets: set.values.iter().map(target).collect(),
                record_type: change.record_type.to_string(),
                record_ttl: set.ttl.unwrap_or_default(),
                more: serde_json::Map::new(),
            }),
            (Some(old), Some(set)) => {
                let kept = |value: &RecordValue| {
                    let same = |target: &&String| {
                        parsed(target, change.record_type).as_ref() == Some(value)
                    };
                    let listed = old.targets.iter().find(same);
                    listed.cloned().unwrap_or_else(|| target(value))
                };
                let mut new = old.clone();
                new.targets = set.values.iter().map(kept).collect();
                new.record_ttl = set.ttl.unwrap_or(old.record_ttl);
                self.update_old.push(old.clone());
                self.update_new.push(new);
            }
        }
    }
}

fn is_at(endpoint: &Endpoint, name: &str, record_type: RecordType) -> bool {
    let listed = endpoint.dns_name.trim_end_matches('.');
    listed.eq_ignore_ascii_case(name) && endpoint.record_type == record_type.to_string()
}

fn set_at(listed: &[Endpoint], name: &str, record_type: RecordType) -> Option<RecordSet> {
    let at = |endpoint: &&Endpoint| is_at(endpoint, name, record_type);
    record_set(listed.iter().find(at)?, record_type)
}

fn set_of(listed: &[Endpoint], change: &Change) -> Option<RecordSet> {
    set_at(listed, &change.name, change.record_type)
}

/// Whether other values are listed than were to be written.
fn differs(listed: &[Endpoint], change: &Change) -> bool {
    let found = set_of(listed, change);
    values(found.as_ref()) != values(change.desired.as_ref())
}

fn record_set(endpoint: &Endpoint, record_type: RecordType) -> Option<RecordSet> {
    let values: BTreeSet<RecordValue> = endpoint
        .targets
        .iter()
        .take(limits::SERVICE_RECORDS)
        .filter_map(|target| parsed(target, record_type))
        .collect();
    // 0 means that the webhook's own default is taken.
    let ttl = (endpoint.record_ttl != 0).then_some(endpoint.record_ttl);
    (!values.is_empty()).then_some(RecordSet { ttl, values })
}

fn values(set: Option<&RecordSet>) -> Option<&BTreeSet<RecordValue>> {
    set.map(|set| &set.values)
}

fn parsed(target: &str, record_type: RecordType) -> Option<RecordValue> {
    match record_type {
        RecordType::A => target.parse().ok().map(RecordValue::A),
        RecordType::Aaaa => target.parse().ok().map(RecordValue::Aaaa),
        RecordType::Cname => {
            let name = target.trim_end_matches('.').to_ascii_lowercase();
            Some(RecordValue::Cname(name))
        }
        RecordType::Txt => Some(RecordValue::Txt(unquoted(target))),
    }
}

/// A value as a target. A TXT is quoted: some providers of external-dns cut one that is not at its
/// first semicolon.
fn target(value: &RecordValue) -> String {
    match value {
        RecordValue::Txt(strings) => quoted(strings),
        other => other.to_string(),
    }
}

fn unreachable(error: impl fmt::Display) -> DnsError {
    DnsError::ServiceUnreachable {
        service: SERVICE,
        said: error.to_string(),
    }
}

fn refusal(status: StatusCode, body: &[u8], zone: &str) -> DnsError {
    let words: String = String::from_utf8_lossy(body)
        .chars()
        .take(limits::SERVICE_WORDS)
        .collect();
    let said = format!("{status} {}", printable(words.trim()));
    match status.as_u16() {
        401 => DnsError::ServiceUnauthorized { service: SERVICE },
        429 => DnsError::ServiceBusy {
            service: SERVICE,
            seconds: limits::SERVICE_REST.as_secs(),
        },
        400..=499 => DnsError::ServiceRefused {
            service: SERVICE,
            zone: zone.to_owned(),
            said,
        },
        _ => DnsError::ServiceFailed {
            service: SERVICE,
            said,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(targets: &[&str]) -> Endpoint {
        serde_json::from_value(serde_json::json!({
            "dnsName": "_mta-sts.example.org", "targets": targets, "recordType": "TXT",
            "labels": {"owner": "somebody"},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_there_is_handed_back_as_it_was_listed() {
        let listed = [endpoint(&["v=spf1 -all", "\"v=STSv1; id=1;\""])];
        let set = record_set(&listed[0], RecordType::Txt).unwrap();
        assert_eq!(set.ttl, None);
        let mut desired = set.clone();
        desired.ttl = Some(300);
        desired.values.remove(&RecordValue::txt("v=STSv1; id=1;"));
        desired.values.insert(RecordValue::txt("v=STSv1; id=2;"));
        let change = Change {
            name: "_mta-sts.example.org".to_owned(),
            record_type: RecordType::Txt,
            expected: Some(set),
            desired: Some(desired),
        };
        let mut batch = Changes::default();
        batch.add(&change, &listed);
        let sent = serde_json::to_value(&batch).unwrap();
        assert_eq!(sent["updateOld"][0]["targets"][0], "v=spf1 -all");
        assert_eq!(sent["updateOld"][0]["labels"]["owner"], "somebody");
        let new = &sent["updateNew"][0];
        assert_eq!(
            new["targets"],
            serde_json::json!(["\"v=STSv1; id=2;\"", "v=spf1 -all"])
        );
        assert_eq!(new["recordTTL"], 300);
        assert_eq!(new["labels"]["owner"], "somebody");
    }
}
