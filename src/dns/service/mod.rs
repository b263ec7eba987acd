//! DNS services that are reached through their own API, by the crate `dns-update`.
//!
//! The crate lists, sets, adds to and removes from record sets. It has no compare-and-swap, so
//! this is a weaker promise than that of RFC 2136: read, compare, write, read back. What else is
//! worked around here stands in docs/dependencies.md.

mod build;
mod error;
mod pace;

pub use build::{Secret, Values};
pub use pace::Pace;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dns_update::{DnsRecord, DnsRecordType, DnsUpdater};
use futures::future::BoxFuture;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout_at};

use self::error::Redaction;
use super::{Change, DnsError, DnsProvider, RecordSet, RecordType, RecordValue, Swap};
use crate::dns_services::Service as Description;
use crate::limits;

/// Finds the zone that a name lies in, as the name servers delegate it: the services know only
/// their own zones, among them such that nobody is led to.
pub trait FindZone: Send + Sync {
    /// The zone of `name`, without the final dot; or why it is not known, in a sentence.
    fn zone_of<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<String, String>>;
}

/// How to reach a service, and with which right.
pub struct Settings {
    /// Which service.
    pub description: &'static Description,
    /// What it needs.
    pub values: Values,
    /// Finds zones.
    pub zones: Arc<dyn FindZone>,
    /// The pace of all calls with these credentials.
    pub pace: Arc<Pace>,
}

/// A service and the right to write there. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Service {
    description: &'static Description,
    updater: DnsUpdater,
    zones: Arc<dyn FindZone>,
    pace: Arc<Pace>,
    redaction: Arc<Redaction>,
}

impl Service {
    /// Fails if a setting is missing or cannot be read.
    pub fn new(settings: Settings) -> Result<Self, DnsError> {
        let Settings {
            description,
            values,
            zones,
            pace,
        } = settings;
        let redaction = Arc::new(Redaction::of(&values));
        let updater = build::updater(description, &values)
            .map_err(|error| redaction.unusable(description.title, error))?;
        Ok(Self {
            description,
            updater,
            zones,
            pace,
            redaction,
        })
    }

    /// What the service makes of a TTL in seconds.
    pub fn ttl(&self, wanted: u32) -> u32 {
        wanted.max(self.description.smallest_ttl)
    }

    /// One call, in its turn. What it says of a failure never holds a secret.
    ///
    /// The call runs as a task of its own, which its deadline ends.
    async fn call<T: Send + 'static>(
        &self,
        zone: &str,
        until: Instant,
        call: impl Future<Output = dns_update::Result<T>> + Send + 'static,
    ) -> Result<T, DnsError> {
        let service = self.description.title;
        let timeout = || DnsError::ServiceTimeout { service };
        let _turn = self.waited(timeout_at(until, self.pace.turn()).await)?;
        let mut task = AbortOnDrop(tokio::spawn(call));
        match timeout_at(until, &mut task.0).await {
            Err(_) => {
                // The crate waits by itself where it is asked for patience.
                self.pace.rest();
                Err(timeout())
            }
            Ok(Err(_)) => Err(DnsError::ServiceGarbled { service }),
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => {
                let error = self.redaction.failure(service, zone, error);
                if matches!(error, DnsError::ServiceBusy { .. }) {
                    self.pace.rest();
                }
                Err(error)
            }
        }
    }

    /// The same of a call that changes something: one at a time.
    async fn call_alone<T: Send + 'static>(
        &self,
        zone: &str,
        until: Instant,
        call: impl Future<Output = dns_update::Result<T>> + Send + 'static,
    ) -> Result<T, DnsError> {
        let _write = self.waited(timeout_at(until, self.pace.write()).await)?;
        self.call(zone, until, call).await
    }

    fn waited<T>(&self, turn: Result<Result<T, Duration>, Elapsed>) -> Result<T, DnsError> {
        let service = self.description.title;
        turn.map_err(|_| DnsError::ServiceTimeout { service })?
            .map_err(|wait| DnsError::ServiceBusy {
                service,
                seconds: wait.as_secs().max(1),
            })
    }

    async fn list(
        &self,
        zone: &str,
        name: &str,
        record_type: RecordType,
        until: Instant,
    ) -> Result<Option<RecordSet>, DnsError> {
        let (updater, wire) = (self.updater.clone(), wire_type(record_type));
        let (owner, origin) = (name.to_owned(), zone.to_owned());
        let call = async move {
            updater
                .list_rrset(owner.as_str(), wire, origin.as_str())
                .await
        };
        let records = self.call(zone, until, call).await?;
        if records.len() > limits::SERVICE_RECORDS {
            return Err(DnsError::ServiceTooMany {
                service: self.description.title,
                name: name.to_owned(),
                limit: limits::SERVICE_RECORDS,
            });
        }
        let values: BTreeSet<RecordValue> = records.into_iter().filter_map(value).collect();
        Ok((!values.is_empty()).then_some(RecordSet { ttl: None, values }))
    }

    /// Puts `change` into effect.
    ///
    /// A set that stays in part is not written as a whole: what the crate lists of a TXT with
    /// octets beyond ASCII is not what it would have to write to keep it. Those that stay are then
    /// not touched at all, and for a moment ours is not there.
    async fn write(&self, zone: &str, change: &Change, until: Instant) -> Result<(), DnsError> {
        let none = BTreeSet::new();
        let values =
            |set: &Option<RecordSet>| set.as_ref().map_or(none.clone(), |s| s.values.clone());
        let (before, after) = (values(&change.expected), values(&change.desired));
        let stays = before.intersection(&after).count();
        let ttl = change.desired.as_ref().and_then(|set| set.ttl);
        let ttl = self.ttl(ttl.unwrap_or(limits::RETIRED_TTL));
        if stays == 0 {
            return self.set(zone, change, after, ttl, until).await;
        }
        // Where only the TTL changes ours is written anew: the crate leaves a record whose value is
        // right as it is. Beside others it keeps the TTL of theirs.
        let only_ttl = before == after;
        if only_ttl && before.len() > 1 {
            return Ok(());
        }
        let difference = |a: &BTreeSet<RecordValue>, b: &BTreeSet<RecordValue>| match only_ttl {
            true => a.clone(),
            false => a.difference(b).cloned().collect(),
        };
        let (goes, comes) = (difference(&before, &after), difference(&after, &before));
        self.remove(zone, change, goes, until).await?;
        self.add(zone, change, comes, ttl, until).await
    }

    async fn set(
        &self,
        zone: &str,
        change: &Change,
        values: BTreeSet<RecordValue>,
        ttl: u32,
        until: Instant,
    ) -> Result<(), DnsError> {
        let (updater, owner, wire, origin) = self.parts(zone, change);
        let records = self.records(values);
        let call = async move {
            updater
                .set_rrset(owner.as_str(), wire, ttl, records, origin.as_str())
                .await
        };
        self.call_alone(zone, until, call).await
    }

    async fn remove(
        &self,
        zone: &str,
        change: &Change,
        values: BTreeSet<RecordValue>,
        until: Instant,
    ) -> Result<(), DnsError> {
        let (updater, owner, wire, origin) = self.parts(zone, change);
        let records = self.records(values);
        let call = async move {
            updater
                .remove_from_rrset(owner.as_str(), wire, records, origin.as_str())
                .await
        };
        self.call_alone(zone, until, call).await
    }

    async fn add(
        &self,
        zone: &str,
        change: &Change,
        values: BTreeSet<RecordValue>,
        ttl: u32,
        until: Instant,
    ) -> Result<(), DnsError> {
        let (updater, owner, wire, origin) = self.parts(zone, change);
        let records = self.records(values);
        let call = async move {
            updater
                .add_to_rrset(owner.as_str(), wire, ttl, records, origin.as_str())
                .await
        };
        self.call_alone(zone, until, call).await
    }

    /// Records as the crate takes them: a TXT as its joined text.
    fn records(&self, values: BTreeSet<RecordValue>) -> Vec<DnsRecord> {
        let record = |value| match value {
            RecordValue::A(address) => DnsRecord::A(address),
            RecordValue::Aaaa(address) => DnsRecord::AAAA(address),
            RecordValue::Cname(name) => DnsRecord::CNAME(name),
            RecordValue::Txt(strings) => {
                let text = String::from_utf8_lossy(&strings.concat()).into_owned();
                match UNESCAPED.contains(&self.description.name) {
                    true => DnsRecord::TXT(escaped(&text)),
                    false => DnsRecord::TXT(text),
                }
            }
        };
        values.into_iter().map(record).collect()
    }

    fn parts(&self, zone: &str, change: &Change) -> (DnsUpdater, String, DnsRecordType, String) {
        (
            self.updater.clone(),
            change.name.clone(),
            wire_type(change.record_type),
            zone.to_owned(),
        )
    }

    /// The first change whose set is not `wanted`, with what is there instead.
    async fn first_differing<'a>(
        &self,
        zone: &str,
        changes: &'a [Change],
        wanted: fn(&Change) -> &Option<RecordSet>,
        until: Instant,
    ) -> Result<Option<(&'a Change, Option<RecordSet>)>, DnsError> {
        for change in changes {
            let found = self
                .list(zone, &change.name, change.record_type, until)
                .await?;
            let values = |set: &Option<RecordSet>| set.as_ref().map(|set| set.values.clone());
            if values(&found) != values(wanted(change)) {
                return Ok(Some((change, found)));
            }
        }
        Ok(None)
    }

    /// Waits until the service lists what was written; some do so only after a while.
    async fn read_back(
        &self,
        zone: &str,
        changes: &[Change],
        until: Instant,
    ) -> Result<Swap, DnsError> {
        let mut pause = limits::SERVICE_READ_BACK_PAUSE;
        loop {
            let differing = self.first_differing(zone, changes, |c| &c.desired, until);
            let Some((change, found)) = differing.await? else {
                return Ok(Swap::Done);
            };
            let again = Instant::now() + pause;
            if again + pause >= until {
                return Err(DnsError::ServiceReadBackDiffers {
                    service: self.description.title,
                    name: change.name.clone(),
                    record_type: change.record_type,
                    found: found.map(Box::new),
                });
            }
            sleep_until(again).await;
            pause *= 2;
        }
    }
}

impl DnsProvider for Service {
    async fn zone_of(&self, name: &str, deadline: Duration) -> Result<String, DnsError> {
        let service = self.description.title;
        let found = tokio::time::timeout(deadline, self.zones.zone_of(name)).await;
        found
            .map_err(|_| DnsError::ServiceTimeout { service })?
            .map_err(|why| DnsError::ZoneUnknown {
                name: name.to_owned(),
                why,
            })
    }

    async fn read(
        &self,
        zone: &str,
        name: &str,
        record_type: RecordType,
        deadline: Duration,
    ) -> Result<Option<RecordSet>, DnsError> {
        self.list(zone, name, record_type, Instant::now() + deadline)
            .await
    }

    async fn compare_and_swap(
        &self,
        zone: &str,
        changes: &[Change],
        deadline: Duration,
    ) -> Result<Swap, DnsError> {
        let until = Instant::now() + deadline;
        let differing = self.first_differing(zone, changes, |c| &c.expected, until);
        if differing.await?.is_some() {
            return Ok(Swap::Conflict);
        }
        let (removals, writes): (Vec<&Change>, Vec<&Change>) = changes
            .iter()
            .filter(|change| change.expected != change.desired)
            .partition(|change| change.desired.is_none());
        if removals.is_empty() && writes.is_empty() {
            return Ok(Swap::Done);
        }
        // What goes goes first: no service takes a CNAME beside addresses.
        for change in removals.into_iter().chain(writes) {
            self.write(zone, change, until).await?;
        }
        self.read_back(zone, changes, until).await
    }

    async fn check(&self, zones: &[String], deadline: Duration) -> Result<Vec<String>, DnsError> {
        let until = Instant::now() + deadline;
        let mut seen = Vec::new();
        for zone in zones.iter().filter(|zone| *zone != "*") {
            let zone = self.zone_of(zone, deadline).await?;
            if !seen.contains(&zone) {
                self.list(&zone, &format!("_mta-sts.{zone}"), RecordType::Txt, until)
                    .await?;
                seen.push(zone);
            }
        }
        Ok(seen)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.description.name)
            .finish_non_exhaustive()
    }
}

/// Ends a task with whatever waits for it.
pub(super) struct AbortOnDrop<T>(pub(super) tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn wire_type(record_type: RecordType) -> DnsRecordType {
    match record_type {
        RecordType::A => DnsRecordType::A,
        RecordType::Aaaa => DnsRecordType::AAAA,
        RecordType::Cname => DnsRecordType::CNAME,
        RecordType::Txt => DnsRecordType::TXT,
    }
}

/// Services whose TXT the crate puts between quotes as it is, without escapes and in one string.
const UNESCAPED: &[&str] = &["desec"];

/// The text in presentation format, but for the first and the last quote.
fn escaped(text: &str) -> String {
    let (mut escaped, mut octets) = (String::with_capacity(text.len()), 0);
    for c in text.chars() {
        if octets + c.len_utf8() > 255 {
            escaped.push_str("\" \"");
            octets = 0;
        }
        octets += c.len_utf8();
        if matches!(c, '"' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A record as it was listed; `None` for one of another type.
fn value(record: DnsRecord) -> Option<RecordValue> {
    match record {
        DnsRecord::A(address) => Some(RecordValue::A(address)),
        DnsRecord::AAAA(address) => Some(RecordValue::Aaaa(address)),
        DnsRecord::CNAME(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            Some(RecordValue::Cname(name))
        }
        DnsRecord::TXT(text) => Some(RecordValue::txt(&text)),
        _ => None,
    }
}
