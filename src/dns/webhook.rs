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
}

/// A webhook. Cheap to clone.
#[derive(Clone)]
pub struct Webhook {
    tls: Option<Arc<ClientConfig>>,
    authority: String,
    address: SocketAddr,
    path: String,
    zones: Arc<dyn FindZone>,
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
        } = settings;
        Self {
            tls,
            authority,
            address,
            path,
            zones,
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

    /// All record sets of the webhook.
    async fn endpoints(&self, until: Instant) -> Result<Vec<Endpoint>, DnsError> {
        let (status, body) = self.ask(Method::GET, "/records", Vec::new(), until).await?;
        if status != StatusCode::OK {
            return Err(refusal(status, &body, ""));
        }
        serde_json::from_slice(&body).map_err(|_| DnsError::ServiceGarbled { service: SERVICE })
    }

    /// Waits until the webhook lists what was written.
    async fn read_back(&self, changes: &[Change], until: Instant) -> Result<Swap, DnsError> {
        let mut pause = limits::SERVICE_READ_BACK_PAUSE;
        loop {
            let listed = self.endpoints(until).await?;
            let differs = |change: &&Change| {
                let found = set_of(&listed, change);
                values(found.as_ref()) != values(change.desired.as_ref())
            };
            let Some(change) = changes.iter().find(differs) else {
                return Ok(Swap::Done);
            };
            let again = Instant::now() + pause;
            if again + pause >= until {
                return Err(DnsError::ServiceReadBackDiffers {
                    service: SERVICE,
                    name: change.name.clone(),
                    record_type: change.record_type,
                    found: set_of(&listed, change).map(Box::new),
                });
            }
            sleep_until(again).await;
            pause *= 2;
        }
    }
}

impl DnsProvider for Webhook {
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
        let found = listed
            .iter()
            .find(|endpoint| is_at(endpoint, name, record_type));
        Ok(found.and_then(|endpoint| record_set(endpoint, record_type)))
    }

    async fn compare_and_swap(
        &self,
        zone: &str,
        changes: &[Change],
        deadline: Duration,
    ) -> Result<Swap, DnsError> {
        let until = Instant::now() + deadline;
        let listed = self.endpoints(until).await?;
        let mut batch = Changes::default();
        for change in changes {
            let found = set_of(&listed, change);
            if values(found.as_ref()) != values(change.expected.as_ref()) {
                return Ok(Swap::Conflict);
            }
            if change.expected != change.desired {
                batch.add(change, &listed);
            }
        }
        if batch.is_empty() {
            return Ok(Swap::Done);
        }
        let body = serde_json::to_vec(&batch).unwrap_or_default();
        let (status, body) = self.ask(Method::POST, "/records", body, until).await?;
        if status != StatusCode::NO_CONTENT && status != StatusCode::OK {
            return Err(refusal(status, &body, zone));
        }
        self.read_back(changes, until).await
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

fn set_of(listed: &[Endpoint], change: &Change) -> Option<RecordSet> {
    let at = |endpoint: &&Endpoint| is_at(endpoint, &change.name, change.record_type);
    record_set(listed.iter().find(at)?, change.record_type)
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
