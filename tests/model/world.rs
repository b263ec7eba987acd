//! The world that the operator acts on: the API server with the record, policy servers, name servers,
//! resolvers, senders, and the MX records.

use super::rng::Rng;
use super::senders::{Kind, Resolver, Sender};
use jiff::{SignedDuration, Timestamp};
use mta_sts_operator::lifecycle::Record;
use mta_sts_operator::protocol::{HostName, PolicyId};

/// TTL of the TXT record, and how long its absence is remembered, in seconds.
pub const TTL: u32 = 300;
/// How many older records are kept.
const BACKUPS: usize = 12;
/// TTL of the MX records in seconds.
pub const MX_TTL: i64 = 60;

/// What a policy server serves.
#[derive(Clone, Debug)]
pub struct Served {
    pub id: PolicyId,
    pub body: String,
}

/// A replica of the policy server. Its watch lags.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    pub served: Option<Served>,
    /// Not running: nobody gets anything from it.
    pub down: bool,
}

/// An authoritative server of the zone. It lags behind the primary.
#[derive(Clone, Debug, Default)]
pub struct Server {
    pub txt: Option<PolicyId>,
    pub down: bool,
}

/// How a write ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// The process dies before it.
    Before,
    /// The process dies after it, or the answer is lost.
    After,
}

/// Why a pass ends early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    Conflict,
    Died,
    Unreachable,
    /// The operator's clock is off, so it writes nothing.
    ClockOff,
}

#[derive(Clone, Debug)]
pub struct World {
    /// The true time.
    pub now: Timestamp,
    /// The record with its resourceVersion.
    pub record: Option<(Record, u64)>,
    /// What it was before: a stale read sees this.
    pub record_before: Option<(Record, u64)>,
    version: u64,
    pub replicas: Vec<Replica>,
    /// What the primary of the zone has.
    pub zone: Option<PolicyId>,
    pub servers: Vec<Server>,
    pub resolvers: Vec<Resolver>,
    pub senders: Vec<Sender>,
    /// The live MX hosts, and since when they are.
    pub mx: Vec<HostName>,
    pub mx_before: (Vec<HostName>, Timestamp),
    /// MX hosts whose TLS is broken.
    pub broken: Vec<HostName>,
    /// Every sender follows the RFC, so that the user goes by the earlier of the two dates.
    pub all_conform: bool,
    pub api_down: bool,
    pub dns_down: bool,
    /// Older records.
    backups: Vec<Record>,
}

impl World {
    pub fn new(rng: &mut Rng) -> Self {
        let all_conform = rng.once_in(2);
        let kinds = match all_conform {
            true => [Kind::Conforming; 3],
            false => [Kind::Conforming, Kind::IgnoresId, Kind::KeepsADay],
        };
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let mx = vec![host(0)];
        Self {
            now: start,
            record: None,
            record_before: None,
            version: 0,
            replicas: vec![Replica::default(); 1 + rng.below(3)],
            zone: None,
            servers: vec![Server::default(); 1 + rng.below(3)],
            resolvers: vec![Resolver::default(); 2],
            senders: (0..6)
                .map(|n| Sender {
                    kind: kinds[n % kinds.len()],
                    resolver: n % 2,
                    copy: None,
                })
                .collect(),
            mx_before: (mx.clone(), start),
            mx,
            broken: Vec::new(),
            all_conform,
            api_down: false,
            dns_down: false,
            backups: Vec::new(),
        }
    }

    pub fn pass_time(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Writes the record, if it still has the resourceVersion `expected`.
    pub fn write_record(
        &mut self,
        expected: Option<u64>,
        record: Option<Record>,
        fault: Fault,
    ) -> Result<(), Ended> {
        if self.api_down {
            return Err(Ended::Unreachable);
        }
        if fault == Fault::Before {
            return Err(Ended::Died);
        }
        if self.record.as_ref().map(|(_, version)| *version) != expected {
            return Err(Ended::Conflict);
        }
        self.version += 1;
        self.backups
            .extend(self.record.as_ref().map(|(record, _)| record.clone()));
        if self.backups.len() > BACKUPS {
            self.backups.remove(0);
        }
        let written = record.map(|record| (record, self.version));
        self.record_before = std::mem::replace(&mut self.record, written);
        match fault {
            Fault::After => Err(Ended::Died),
            _ => Ok(()),
        }
    }

    /// Puts the last record that decided something else in place of the present one, as from a backup of
    /// the API server.
    pub fn restore(&mut self) {
        let Some((present, _)) = &self.record else {
            return;
        };
        let id = &present.publication.current.id;
        let knows = |record: &&Record| record.publication.knows(id);
        let Some(old) = self.backups.iter().rfind(|record| !knows(record)) else {
            return;
        };
        self.version += 1;
        self.record = Some((old.clone(), self.version));
        self.record_before = self.record.clone();
    }

    /// Whether no policy server has anything else than the record decides.
    pub fn all_serve_what_is_decided(&self) -> Result<(), String> {
        let decided = self
            .record
            .as_ref()
            .map(|(it, _)| &it.publication.current.id);
        let mut served = self.replicas.iter().filter_map(|it| it.served.as_ref());
        match served.find(|served| Some(&served.id) != decided) {
            Some(served) => Err(format!("{} is served, and {decided:?} decided", served.id)),
            None => Ok(()),
        }
    }

    /// Writes the TXT record, if the zone still has what was `expected`.
    pub fn write_txt(
        &mut self,
        expected: Option<&PolicyId>,
        id: Option<PolicyId>,
        fault: Fault,
    ) -> Result<(), Ended> {
        if self.dns_down {
            return Err(Ended::Unreachable);
        }
        if fault == Fault::Before {
            return Err(Ended::Died);
        }
        if self.zone.as_ref() != expected {
            return Err(Ended::Conflict);
        }
        self.zone = id;
        match fault {
            Fault::After => Err(Ended::Died),
            _ => Ok(()),
        }
    }

    /// A policy server takes in what the API server has. A record that is gone is served on, until a
    /// restart.
    pub fn sync_replica(&mut self, at: usize) {
        if self.api_down {
            return;
        }
        let record = self.record.as_ref().map(|(record, _)| record);
        let Some(replica) = self.replicas.get_mut(at).filter(|it| !it.down) else {
            return;
        };
        if let Some(record) = record {
            // It never goes back to an older policy: the id of the newer one may be announced.
            let is_older = |served: &Served| record.publication.current.id < served.id;
            if !record.publication.retired && replica.served.as_ref().is_some_and(is_older) {
                return;
            }
            replica.served = (!record.publication.retired).then(|| Served {
                id: record.publication.current.id.clone(),
                body: record.body.clone(),
            });
        }
    }

    /// A name server takes in what the primary has.
    pub fn sync_server(&mut self, at: usize) {
        let zone = self.zone.clone();
        if let Some(server) = self.servers.get_mut(at).filter(|it| !it.down) {
            server.txt = zone;
        }
    }

    /// A policy server stops, or starts again: then it serves nothing before it has read the record.
    pub fn turn_replica(&mut self, at: usize) {
        let can_start = !self.api_down;
        let Some(replica) = self.replicas.get_mut(at) else {
            return;
        };
        if !replica.down {
            replica.down = true;
            replica.served = None;
        } else if can_start {
            replica.down = false;
            self.sync_replica(at);
        }
    }

    /// One sender sends a mail. Gives what refused it, if so.
    pub fn send(&mut self, at: usize, rng: &mut Rng) -> Option<String> {
        let now = self.now;
        let live = self.mx_seen(rng);
        let id = self.resolve(self.senders[at].resolver, rng);
        let asks = self.senders[at].asks(id.as_ref(), now);
        let body = match asks {
            true => self.fetch(rng),
            false => None,
        };
        // Who cannot look tries again before he gives the mail up (RFC 8461 §5.1).
        let could_look = id.is_some() && (!asks || body.is_some());
        let sender = &mut self.senders[at];
        if let (Some(id), Some(body)) = (id, body) {
            sender.takes(id, &body, now);
        }
        let copy = sender
            .refuses(&live, now)
            .filter(|_| could_look || !self.all_conform)?;
        Some(format!(
            "a sender ({:?}) refuses mail to {live:?} by policy {} ({} {:?}), which it holds until {}",
            sender.kind, copy.id, copy.policy.mode, copy.policy.mx, copy.until
        ))
    }

    /// The MX records as a sender sees them: it may remember them for their TTL.
    fn mx_seen(&self, rng: &mut Rng) -> Vec<HostName> {
        let (before, changed) = &self.mx_before;
        let remembered = self.now.duration_since(*changed).as_secs() < MX_TTL;
        match remembered && rng.once_in(2) {
            true => before.clone(),
            false => self.mx.clone(),
        }
    }

    fn resolve(&mut self, at: usize, rng: &mut Rng) -> Option<PolicyId> {
        if let Some((known, until)) = &self.resolvers[at].known
            && *until > self.now
        {
            return known.clone();
        }
        let up: Vec<&Server> = self.servers.iter().filter(|server| !server.down).collect();
        let server = up.get(rng.below(up.len()))?;
        let known = server.txt.clone();
        let until = self.now + SignedDuration::from_secs(i64::from(TTL));
        self.resolvers[at].known = Some((known.clone(), until));
        known
    }

    fn fetch(&self, rng: &mut Rng) -> Option<String> {
        let up: Vec<&Served> = self
            .replicas
            .iter()
            .filter_map(|r| r.served.as_ref())
            .collect();
        up.get(rng.below(up.len()))
            .map(|served| served.body.clone())
    }

    pub fn move_mx(&mut self, to: Vec<HostName>) {
        let before = std::mem::replace(&mut self.mx, to);
        self.mx_before = (before, self.now);
    }
}

/// The `n`th MX host.
pub fn host(n: usize) -> HostName {
    HostName::parse(&format!("mx{n}.example.net")).unwrap()
}
