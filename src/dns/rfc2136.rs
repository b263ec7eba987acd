//! RFC 2136 dynamic updates, signed with TSIG (RFC 8945): BIND, Knot, PowerDNS and others.
//!
//! Everything goes over TCP: one way, no fragments, no spoofed datagrams. Every message is signed,
//! the reading ones too, and no answer is believed without a valid signature.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType as WireType};
use jiff::Timestamp;
use tokio::time::Instant;

use super::tsig::Signer;
use super::update::{self, owner};
use super::{Change, DnsError, DnsProvider, RecordSet, RecordType, Spot, Swap, TsigKey};
use crate::dns_wire::{self, WireError};
use crate::limits;

/// How to reach a primary name server, and with which right.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The zone's primary.
    pub server: SocketAddr,
    /// The only zone that may be written; `None` for each that the server has.
    pub zone: Option<String>,
    /// The key that updates are signed with.
    pub tsig: TsigKey,
    /// The wall clock that signatures carry: [`crate::clock::now`].
    pub clock: fn() -> Timestamp,
}

/// A primary name server that takes signed dynamic updates. Cheap to clone.
#[derive(Clone)]
pub struct Rfc2136 {
    server: SocketAddr,
    zone: Option<String>,
    signer: Signer,
    clock: fn() -> Timestamp,
}

/// The end of a call, and what to say when it comes.
#[derive(Clone, Copy)]
struct Until {
    deadline: Instant,
    seconds: u64,
}

impl From<Duration> for Until {
    fn from(duration: Duration) -> Self {
        Self {
            deadline: Instant::now() + duration,
            seconds: u64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
        }
    }
}

impl Rfc2136 {
    /// Fails if the key's name or the zone is no DNS name.
    pub fn new(settings: Settings) -> Result<Self, DnsError> {
        let zone = match &settings.zone {
            None => None,
            Some(zone) => Some(dns_wire::text(&owner(zone)?)),
        };
        Ok(Self {
            server: settings.server,
            zone,
            signer: Signer::new(settings.tsig)?,
            clock: settings.clock,
        })
    }

    /// Sends a signed message about `zone`; the answer's signature is valid.
    async fn call(
        &self,
        zone: &str,
        mut message: Message,
        until: Until,
    ) -> Result<Message, DnsError> {
        let server = self.server;
        let too_large = || DnsError::TooLarge {
            name: zone.to_owned(),
        };
        let now = u64::try_from((self.clock)().as_second()).unwrap_or_default();
        let verifier = self.signer.sign(&mut message, now).ok_or_else(too_large)?;
        let octets = message.to_vec().map_err(|_| too_large())?;
        let reply = dns_wire::over_tcp(server, &message, &octets, until.deadline)
            .await
            .map_err(|error| self.wire_error(error, until))?;
        self.signer.judge(server, zone, &reply, verifier, now)?;
        Ok(reply.message)
    }

    /// Sends a query; the answer comes with authority.
    async fn ask(
        &self,
        zone: &str,
        name: &Name,
        record_type: WireType,
        until: Until,
    ) -> Result<Message, DnsError> {
        let answer = self
            .call(zone, update::query(name.clone(), record_type), until)
            .await?;
        match answer.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {}
            code => return Err(self.code_error(code, zone)),
        }
        if let Some(delegated) = delegation(&answer, name) {
            return Err(DnsError::NotDelegatedHere {
                server: self.server,
                name: dns_wire::text(name),
                zone: dns_wire::text(delegated),
            });
        }
        if !answer.metadata.authoritative {
            return Err(DnsError::NotAuthoritative {
                server: self.server,
                zone: zone.to_owned(),
            });
        }
        Ok(answer)
    }

    /// Whether the zone itself has the record set, as a prerequisite sees it: a query would also
    /// be answered by a wildcard.
    async fn has(
        &self,
        zone: &str,
        name: &Name,
        record_type: RecordType,
        until: Until,
    ) -> Result<bool, DnsError> {
        let mut message = update::update(owner(zone)?);
        update::demand_absent(&mut message, name.clone(), record_type);
        let answer = self.call(zone, message, until).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(false),
            ResponseCode::YXRRSet => Ok(true),
            code => Err(self.code_error(code, zone)),
        }
    }

    async fn read_until(
        &self,
        zone: &str,
        name: &str,
        record_type: RecordType,
        until: Until,
    ) -> Result<Option<RecordSet>, DnsError> {
        let name = owner(name)?;
        let wire_type = update::wire_type(record_type);
        let answer = self.ask(zone, &name, wire_type, until).await?;
        let set = update::record_set(&answer.answers, &name, record_type);
        if set.is_some() && !self.has(zone, &name, record_type, until).await? {
            return Ok(None);
        }
        Ok(set)
    }

    /// The first change whose set is not what is desired, with what is there instead.
    async fn first_differing<'a>(
        &self,
        zone: &str,
        changes: &'a [Change],
        until: Until,
    ) -> Result<Option<(&'a Change, Option<RecordSet>)>, DnsError> {
        for change in changes {
            let found = self
                .read_until(zone, &change.name, change.record_type, until)
                .await?;
            if found != change.desired {
                return Ok(Some((change, found)));
            }
        }
        Ok(None)
    }

    /// Makes changes that are each about another record set, in one message. `false`: one of them is
    /// not as expected, and none was made.
    async fn make(&self, zone: &str, changes: &[Change], until: Until) -> Result<bool, DnsError> {
        let message = update::compare_and_swap(owner(zone)?, changes)?;
        let answer = self.call(zone, message, until).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(true),
            ResponseCode::YXDomain
            | ResponseCode::YXRRSet
            | ResponseCode::NXRRSet
            | ResponseCode::NXDomain => Ok(false),
            code => Err(self.code_error(code, zone)),
        }
    }

    /// Whether all that was wanted stands there, asked with one message that demands it and changes
    /// nothing. It cannot tell a TTL: what differs in that alone has to be read.
    async fn stands(&self, zone: &str, changes: &[Change], until: Until) -> bool {
        let values = |set: &Option<RecordSet>| set.as_ref().map(|set| set.values.clone());
        let tells = |c: &Change| values(&c.expected) != values(&c.desired);
        if !changes.iter().all(tells) {
            return false;
        }
        let wanted: fn(&Change) -> &Option<RecordSet> = |change| &change.desired;
        self.are_there(zone, changes, until, wanted).await
    }

    /// Sends an update that demands these sets and changes nothing.
    async fn are_there(
        &self,
        zone: &str,
        changes: &[Change],
        until: Until,
        wanted: fn(&Change) -> &Option<RecordSet>,
    ) -> bool {
        let looked = changes.iter().map(|change| Change {
            expected: wanted(change).clone(),
            desired: wanted(change).clone(),
            ..change.clone()
        });
        let looked: Vec<Change> = looked.collect();
        matches!(self.make(zone, &looked, until).await, Ok(true))
    }

    async fn swap_until(
        &self,
        zone: &str,
        changes: &[Change],
        until: Until,
    ) -> Result<Swap, DnsError> {
        if changes.iter().all(|c| c.expected == c.desired) {
            let differing = self.first_differing(zone, changes, until).await?;
            return Ok(differing.map_or(Swap::Done, |_| Swap::Conflict));
        }
        if !self.make(zone, changes, until).await? {
            return Ok(Swap::Conflict);
        }
        self.read_back(zone, changes, until).await
    }

    /// NOERROR is not yet success: BIND ignores a CNAME beside other records in silence.
    async fn read_back(
        &self,
        zone: &str,
        changes: &[Change],
        until: Until,
    ) -> Result<Swap, DnsError> {
        if self.stands(zone, changes, until).await {
            return Ok(Swap::Done);
        }
        match self.first_differing(zone, changes, until).await? {
            None => Ok(Swap::Done),
            Some((change, found)) => Err(DnsError::ReadBackDiffers {
                server: self.server,
                name: change.name.clone(),
                record_type: change.record_type,
                found: found.map(Box::new),
            }),
        }
    }

    /// Makes and reads back many at once; `None` where they have to be made apart.
    async fn swap_together(
        &self,
        zone: &str,
        groups: &[Vec<Change>],
        until: Until,
    ) -> Option<Vec<Result<Swap, DnsError>>> {
        let changes: Vec<Change> = groups.iter().flatten().cloned().collect();
        if groups.len() < 2 || !matches!(self.make(zone, &changes, until).await, Ok(true)) {
            return None;
        }
        if self.stands(zone, &changes, until).await {
            return Some(groups.iter().map(|_| Ok(Swap::Done)).collect());
        }
        let mut swaps = Vec::with_capacity(groups.len());
        for changes in groups {
            swaps.push(self.read_back(zone, changes, until).await);
        }
        Some(swaps)
    }

    /// The longest suffix of `name` that the server has as a zone.
    async fn locate_until(&self, name: &str, until: Until) -> Result<Spot, DnsError> {
        let name = owner(name)?;
        let mut candidate = name.clone();
        while !candidate.is_root() {
            let zone = dns_wire::text(&candidate);
            match self.ask(&zone, &candidate, WireType::SOA, until).await {
                Ok(answer) if is_apex(&answer, &candidate) => {
                    return self.writable(&name, zone, false);
                }
                Ok(answer) => {
                    if let Some(apex) = denied_by(&answer, &candidate) {
                        let code = answer.metadata.response_code;
                        // What is below a name that does not exist does not exist (RFC 8020).
                        return self.writable(&name, apex, code == ResponseCode::NXDomain);
                    }
                }
                // No zone of this server; its parent may be one. (Knot does not sign this refusal.)
                Err(
                    DnsError::Refused { .. }
                    | DnsError::RefusedUnsigned { .. }
                    | DnsError::NotAuthoritative { .. },
                ) => {}
                Err(error) => return Err(error),
            }
            candidate = candidate.base_name();
        }
        Err(DnsError::NoZone {
            server: self.server,
            name: dns_wire::text(&name),
        })
    }

    /// `zone`, which `name` was found in, unless the provider is set to another.
    fn writable(&self, name: &Name, zone: String, vacant: bool) -> Result<Spot, DnsError> {
        match &self.zone {
            Some(only) if *only != zone => Err(DnsError::OutsideZone {
                name: dns_wire::text(name),
                zone: only.clone(),
            }),
            _ => Ok(Spot { zone, vacant }),
        }
    }

    /// Proves address, key and clock by an update that demands what is always so and changes
    /// nothing.
    async fn prove(&self, zone: &str, until: Until) -> Result<(), DnsError> {
        let apex = owner(zone)?;
        let mut message = update::update(apex.clone());
        update::demand_in_use(&mut message, apex);
        let answer = self.call(zone, message, until).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(()),
            code => Err(self.code_error(code, zone)),
        }
    }

    fn wire_error(&self, error: WireError, until: Until) -> DnsError {
        let server = self.server;
        match error {
            WireError::Unreachable(source) => DnsError::Unreachable { server, source },
            WireError::Timeout => DnsError::Timeout {
                server,
                seconds: until.seconds,
            },
            WireError::Malformed | WireError::Mismatched => DnsError::Malformed { server },
            WireError::TooManyRecords => DnsError::TooManyRecords {
                server,
                limit: limits::DNS_MESSAGE_RECORDS,
            },
            WireError::Truncated => DnsError::Truncated { server },
        }
    }

    /// What a signed answer with an error code means.
    fn code_error(&self, code: ResponseCode, zone: &str) -> DnsError {
        let server = self.server;
        let zone = zone.to_owned();
        match code {
            ResponseCode::Refused => DnsError::Refused {
                server,
                key: self.signer.key().to_owned(),
                zone,
            },
            ResponseCode::NotAuth => DnsError::NotAuth { server, zone },
            ResponseCode::NotZone => DnsError::NotZone { server, zone },
            ResponseCode::ServFail => DnsError::ServFail { server, zone },
            code => DnsError::UnexpectedCode {
                server,
                code: code.into(),
                zone,
            },
        }
    }
}

/// The zone that a referral points to, where the answer is one.
fn delegation<'a>(answer: &'a Message, name: &Name) -> Option<&'a Name> {
    if answer.metadata.authoritative {
        return None;
    }
    answer
        .authorities
        .iter()
        .filter(|record| record.record_type() == WireType::NS)
        .map(|record| &record.name)
        .find(|zone| !zone.is_root() && zone.zone_of(name))
}

/// The zone that a denial comes from, which names itself (RFC 2308 §3): no need to ask upwards label
/// by label.
fn denied_by(answer: &Message, name: &Name) -> Option<String> {
    if !answer.answers.is_empty() {
        return None;
    }
    let soa = |record: &&Record| record.record_type() == WireType::SOA;
    let apex = &answer.authorities.iter().find(soa)?.name;
    (!apex.is_root() && apex.zone_of(name)).then(|| dns_wire::text(apex))
}

fn is_apex(answer: &Message, name: &Name) -> bool {
    answer
        .answers
        .iter()
        .any(|record| record.record_type() == WireType::SOA && record.name == *name)
}

impl DnsProvider for Rfc2136 {
    fn takes_batches(&self) -> bool {
        true
    }

    async fn zone_of(&self, name: &str, deadline: Duration) -> Result<String, DnsError> {
        Ok(self.locate(name, deadline).await?.zone)
    }

    async fn locate(&self, name: &str, deadline: Duration) -> Result<Spot, DnsError> {
        self.locate_until(name, deadline.into()).await
    }

    async fn read(
        &self,
        zone: &str,
        name: &str,
        record_type: RecordType,
        deadline: Duration,
    ) -> Result<Option<RecordSet>, DnsError> {
        self.read_until(zone, name, record_type, deadline.into())
            .await
    }

    async fn confirms(&self, zone: &str, expected: &[Change], deadline: Duration) -> bool {
        let wanted: fn(&Change) -> &Option<RecordSet> = |change| &change.expected;
        self.are_there(zone, expected, deadline.into(), wanted)
            .await
    }

    async fn compare_and_swap(
        &self,
        zone: &str,
        changes: &[Change],
        deadline: Duration,
    ) -> Result<Swap, DnsError> {
        self.swap_until(zone, changes, deadline.into()).await
    }

    async fn compare_and_swap_each(
        &self,
        zone: &str,
        groups: &[Vec<Change>],
        deadline: Duration,
    ) -> Vec<Result<Swap, DnsError>> {
        let until = Until::from(deadline);
        let mut swaps = Vec::with_capacity(groups.len());
        // One that is refused is found by halves: the others are still made together.
        let mut parts = vec![groups];
        while let Some(part) = parts.pop() {
            match part {
                [] => {}
                [changes] => swaps.push(self.swap_until(zone, changes, until).await),
                _ => match self.swap_together(zone, part, until).await {
                    Some(made) => swaps.extend(made),
                    None => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
            }
        }
        swaps
    }

    async fn check(&self, zones: &[String], deadline: Duration) -> Result<Vec<String>, DnsError> {
        let until = Until::from(deadline);
        let named = zones.iter().filter(|zone| *zone != "*");
        let mut seen = Vec::new();
        for zone in named.chain(&self.zone) {
            let zone = self.locate_until(zone, until).await?.zone;
            if !seen.contains(&zone) {
                self.prove(&zone, until).await?;
                seen.push(zone);
            }
        }
        if seen.is_empty() {
            // No zone is known to ask for. Any signed answer proves the key; Knot refuses this
            // question before it looks at the key, so that only the server is proved.
            let question = update::query(Name::root(), WireType::SOA);
            match self.call(".", question, until).await {
                Ok(_) | Err(DnsError::RefusedUnsigned { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(seen)
    }
}

impl fmt::Debug for Rfc2136 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rfc2136")
            .field("server", &self.server)
            .field("zone", &self.zone)
            .field("key", &self.signer.key())
            .finish_non_exhaustive()
    }
}
