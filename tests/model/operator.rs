//! The operator: the pure lifecycle with the controller's order of steps around it. One call does one
//! pass, as a reconcile does, and may die at any write.

use super::world::{Ended, Fault, TTL, World};
use jiff::{SignedDuration, Timestamp};
use mta_sts_operator::lifecycle::decide::{Decided, Input, decide};
use mta_sts_operator::lifecycle::desired::Desired;
use mta_sts_operator::lifecycle::guard::{
    Enforcement, LiveMx, MxHost, MxTls, before, guard, refused,
};
use mta_sts_operator::lifecycle::observation::{
    AddressState, Endpoint, EndpointAnswer, Observation, Public, TxtAnswer, TxtServer,
};
use mta_sts_operator::lifecycle::publish::{self, Step};
use mta_sts_operator::lifecycle::retirement;
use mta_sts_operator::lifecycle::rollout::{Due, Gates, OnFailure, OnStage, ROLLBACK_AFTER, Stage};
use mta_sts_operator::lifecycle::txt::TxtSet;
use mta_sts_operator::lifecycle::{DeletionPolicy, Owner, Record, Retiring};
use mta_sts_operator::protocol::{
    InstallationId, MaxAge, Mode, Policy, PolicyId, Sha256Digest, StsRecord,
};
use std::collections::HashMap;

/// How long a deleted domain is left as it is.
pub const GRACE: SignedDuration = SignedDuration::from_mins(10);
/// By how much the clocks may be apart.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A rule that is broken on purpose, to see that the model notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// A policy server that lags holds nothing.
    StaleReplicaIgnored,
    /// A name server that lags is taken for one that shows the id.
    StaleServerIgnored,
    /// The id is announced in the write that decides it.
    AnnouncedAtOnce,
    /// Only the bytes are compared, not the id.
    EtagIgnored,
    /// The ledger begins anew with each decision.
    LedgerForgotten,
    /// An entry ends with its max_age, however short.
    DayForgotten,
    /// What was before the TXT record is taken to be forgotten at once.
    OldTtlForgotten,
    /// The host goes as soon as `none` is out.
    RetiredAtOnce,
    /// A week is waited for, whatever was served.
    LedgerOfRetirementIgnored,
    /// The live MX hosts hold nothing.
    GuardForgotten,
    /// A stage ends when it likes.
    StageCutShort,
    /// A record that was lost was never enforced.
    LossIgnored,
    /// The operator's clock is believed.
    ClockBelieved,
    /// One look is enough to take an enforced stage back.
    RolledBackAtOnce,
    /// A decision is made anew after a crash.
    WriteNotCompared,
    /// What policy servers serve is no sign of an old record.
    BackupUnnoticed,
}

impl Mistake {
    pub const ALL: [Self; 16] = [
        Self::StaleReplicaIgnored,
        Self::StaleServerIgnored,
        Self::AnnouncedAtOnce,
        Self::EtagIgnored,
        Self::LedgerForgotten,
        Self::DayForgotten,
        Self::OldTtlForgotten,
        Self::RetiredAtOnce,
        Self::LedgerOfRetirementIgnored,
        Self::GuardForgotten,
        Self::StageCutShort,
        Self::LossIgnored,
        Self::ClockBelieved,
        Self::RolledBackAtOnce,
        Self::WriteNotCompared,
        Self::BackupUnnoticed,
    ];
}

/// The user's object.
#[derive(Clone, Debug)]
pub struct Object {
    pub spec: Desired,
    pub uid: usize,
    pub deleted: bool,
    /// The id that its status tells as announced.
    pub told: Option<PolicyId>,
}

#[derive(Clone, Debug)]
pub struct Operator {
    pub mistake: Option<Mistake>,
    pub installation: InstallationId,
    /// How far its clock is off, in seconds.
    pub skew: i64,
    /// Since when somebody does not answer: lost in a crash.
    pub silent: HashMap<String, Timestamp>,
}

/// What a pass works with.
struct Read {
    record: Option<(Record, u64)>,
    object: Option<Object>,
}

type Pass = Result<(), Ended>;

impl Operator {
    pub fn new(mistake: Option<Mistake>) -> Self {
        Self {
            mistake,
            installation: "00c0de".parse().unwrap(),
            skew: 0,
            silent: HashMap::new(),
        }
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// The time by its own clock.
    pub fn now(&self, world: &World) -> Timestamp {
        world.now + SignedDuration::from_secs(self.skew)
    }

    /// One pass. `fault` hits its write; a `stale` one sees an older record.
    pub fn pass(
        &mut self,
        world: &mut World,
        object: Option<&Object>,
        fault: Fault,
        stale: bool,
    ) -> Pass {
        if world.api_down {
            return Err(Ended::Unreachable);
        }
        let record = match stale {
            true => world.record_before.clone(),
            false => world.record.clone(),
        };
        let read = Read {
            record,
            object: object.cloned(),
        };
        let off = self.now(world).duration_since(world.now).abs() > SKEW;
        let waits = off && !self.makes(Mistake::ClockBelieved);
        let ended = match &read.object {
            // Only the finalizer goes on: a namespace never hangs in its deletion.
            Some(object) if waits && !object.deleted => Err(Ended::ClockOff),
            None if waits => Err(Ended::ClockOff),
            Some(object) if !object.deleted => self.publish(world, &read, object, fault),
            Some(object) => self.begin_retirement(world, &read, object, fault),
            None => self.retire(world, &read, fault),
        };
        if ended == Err(Ended::Died) {
            self.silent.clear();
        }
        ended
    }

    fn write(
        &self,
        world: &mut World,
        version: Option<u64>,
        record: Option<Record>,
        fault: Fault,
    ) -> Pass {
        let version = match self.makes(Mistake::WriteNotCompared) {
            true => world.record.as_ref().map(|(_, version)| *version),
            false => version,
        };
        world.write_record(version, record, fault)
    }

    /// What the live MX hosts show.
    pub fn live(&self, world: &World) -> LiveMx {
        if world.dns_down {
            return LiveMx::Unknown("the DNS is down".to_owned());
        }
        let (before, changed) = &world.mx_before;
        let remembered = world.now.duration_since(*changed).as_secs() < super::world::MX_TTL;
        let older = before
            .iter()
            .filter(|host| remembered && !world.mx.contains(host));
        let hosts = world.mx.iter().chain(older).map(|host| MxHost {
            host: host.clone(),
            tls: match world.broken.contains(host) {
                true => MxTls::Fails("no STARTTLS".to_owned()),
                false => MxTls::Good,
            },
        });
        LiveMx::Hosts(hosts.collect())
    }

    /// All TXT records that anybody shows.
    fn txt(&self, world: &World) -> TxtSet {
        let up = world.servers.iter().filter(|server| !server.down);
        let ids = up.map(|server| &server.txt).chain([&world.zone]);
        let ids: Vec<PolicyId> = ids.flatten().cloned().collect();
        self.set(&ids)
    }

    /// What policy servers serve that the record does not know: it is an old one.
    fn newer_served(&self, world: &World, record: Option<&Record>) -> TxtSet {
        let Some(record) = record else {
            return TxtSet::default();
        };
        let publication = &record.publication;
        let served = world.replicas.iter().filter_map(|it| it.served.as_ref());
        let ids = served.map(|served| served.id.clone());
        let ids = ids.filter(|id| *id > publication.current.id && !publication.knows(id));
        self.set(&ids.collect::<Vec<_>>())
    }

    fn set(&self, ids: &[PolicyId]) -> TxtSet {
        let texts: Vec<Vec<u8>> = ids
            .iter()
            .map(|id| StsRecord::render(id).into_bytes())
            .collect();
        TxtSet::classify(&texts, &self.installation)
    }

    fn publish(&mut self, world: &mut World, read: &Read, object: &Object, fault: Fault) -> Pass {
        let now = self.now(world);
        let mut spec = object.spec.clone();
        if self.makes(Mistake::GuardForgotten) {
            spec.enforcement = Enforcement::Unconditional;
        }
        let owner = owner(object);
        let (record, version) = match &read.record {
            Some((record, version)) => (Some(record), Some(*version)),
            None => (None, None),
        };
        // Without an answer of the DNS a record that is lost cannot be told from a new domain.
        if world.dns_down && record.is_none() {
            return Ok(());
        }
        let newer = match self.makes(Mistake::BackupUnnoticed) {
            true => TxtSet::default(),
            false => self.newer_served(world, record),
        };
        let txt = match self.makes(Mistake::LossIgnored) {
            true => TxtSet::default(),
            false => self.txt(world).union(&newer),
        };
        let live = self.live(world);
        let decided = decide(&Input {
            desired: &spec,
            owner: &owner,
            provider: None,
            installation: &self.installation,
            record,
            edited: None,
            txt: Some(&txt),
            adopted: None,
            assume_max_age: MaxAge::MAX,
            live: &live,
            now,
        });
        let mut next = match decided {
            Decided::New(next, _) | Decided::Update(next) => next,
            Decided::Keep => {
                let Some(record) = record else { return Ok(()) };
                return self.step(world, record, version, fault, Some((&spec, &live)));
            }
        };
        if self.makes(Mistake::LedgerForgotten) {
            let current = next.publication.current.id.clone();
            next.publication
                .ledger
                .retain(|entry| entry.id.as_ref() == Some(&current));
        }
        if self.makes(Mistake::AnnouncedAtOnce) {
            *next = publish::announce(&next, TTL, TTL, now);
        }
        self.write(world, version, Some(*next), fault)
    }

    /// The publication of what is decided, for a domain that has an object or is on its way out.
    fn step(
        &mut self,
        world: &mut World,
        record: &Record,
        version: Option<u64>,
        fault: Fault,
        climbing: Option<(&Desired, &LiveMx)>,
    ) -> Pass {
        let now = self.now(world);
        let seen = self.look(world, record, now);
        if let Some(reopened) = publish::reopen_ledger(record, &seen) {
            return self.write(world, version, Some(reopened), fault);
        }
        let progress = publish::progress(record, &seen, now);
        let next = match progress.step {
            Step::Announce if world.dns_down => return Ok(()),
            Step::Announce => {
                let previous = match self.makes(Mistake::OldTtlForgotten) {
                    true => 0,
                    false => TTL,
                };
                publish::announce(record, TTL, previous, now)
            }
            Step::WriteTxt => return self.write_txt(world, record, fault),
            Step::Confirm => publish::confirm(record, now),
            Step::CloseLedger => publish::close_ledger(record, now),
            Step::Done => {
                return match climbing {
                    Some((spec, live)) => self.climb(world, record, version, fault, (spec, live)),
                    None => Ok(()),
                };
            }
            Step::AwaitBody => return Ok(()),
        };
        self.write(world, version, Some(next), fault)
    }

    fn write_txt(&self, world: &mut World, record: &Record, fault: Fault) -> Pass {
        let Some(announced) = record.publication.announced_in_dns() else {
            return Ok(());
        };
        let present = world.zone.clone();
        if present.as_ref() == Some(&announced.id) {
            return Ok(());
        }
        world.write_txt(present.as_ref(), Some(announced.id.clone()), fault)
    }

    /// The next stage, where every gate is open.
    fn climb(
        &self,
        world: &mut World,
        record: &Record,
        version: Option<u64>,
        fault: Fault,
        (spec, live): (&Desired, &LiveMx),
    ) -> Pass {
        let now = self.now(world);
        let (Some(rollout), Some(on)) = (&spec.rollout, &record.publication.rollout) else {
            return Ok(());
        };
        let stage = rollout.stages.iter().find(|stage| stage.name == on.name);
        let of = |stage: &Stage| Policy {
            mode: stage.mode,
            max_age: stage.max_age,
            mx: record.publication.current.mx.clone(),
        };
        let held = stage
            .and_then(|stage| rollout.next(stage))
            .and_then(|next| {
                let before = before(Some(&record.publication), None, &self.installation, now);
                guard(spec, of(next), before, live).held
            });
        let announced = record.publication.announced.as_ref();
        let is_out = announced.is_some_and(|it| it.id == record.publication.current.id);
        let refused = stage
            .filter(|stage| is_out && stage.mode == Mode::Enforce)
            .and_then(|stage| refused(&of(stage), live));
        let gates = Gates {
            error: (!world.broken.is_empty()).then(|| "mx-starttls-missing".to_owned()),
            held,
            approved: None,
            refused: refused
                .filter(|_| rollout.on_failure == OnFailure::Rollback)
                .map(|held| format!("{held:?}")),
        };
        let on = match rollout.due(&record.publication, &gates, now) {
            Some(Due::Note(mut noted)) => {
                if let (Some(since), true) = (
                    &mut noted.refused_since,
                    self.makes(Mistake::RolledBackAtOnce),
                ) {
                    *since -= ROLLBACK_AFTER;
                }
                noted
            }
            Some(Due::Promote(on, _) | Due::RollBack(on, _)) => on,
            Some(Due::Wait(outlook)) if self.makes(Mistake::StageCutShort) => match outlook.next {
                Some(next) => OnStage::enter(next, now),
                None => return Ok(()),
            },
            Some(Due::Wait(_)) | None => return Ok(()),
        };
        let mut next = record.clone();
        next.publication.rollout = Some(on);
        self.write(world, version, Some(next), fault)
    }

    fn look(&mut self, world: &World, record: &Record, now: Timestamp) -> Observation {
        let mut endpoints = Vec::new();
        for (at, replica) in world.replicas.iter().enumerate() {
            let address = format!("replica {at}");
            let answer = match &replica.served {
                _ if replica.down => EndpointAnswer::Unreachable {
                    why: "it is down".to_owned(),
                    since: *self.silent.entry(address.clone()).or_insert(now),
                },
                None => EndpointAnswer::Other("503".to_owned()),
                Some(_) if self.makes(Mistake::StaleReplicaIgnored) => EndpointAnswer::Body {
                    etag: Some(record.publication.current.id.to_string()),
                    sha256: record.publication.current.sha256,
                },
                Some(served) => EndpointAnswer::Body {
                    etag: Some(match self.makes(Mistake::EtagIgnored) {
                        true => record.publication.current.id.to_string(),
                        false => served.id.to_string(),
                    }),
                    sha256: Sha256Digest::of(served.body.as_bytes()),
                },
            };
            if !replica.down {
                self.silent.remove(&address);
            }
            endpoints.push(Endpoint { address, answer });
        }
        Observation {
            endpoints: Some(endpoints),
            public: Public::NotLooked,
            address: AddressState::NotOurs,
            txt_servers: self.servers(world, record, now),
            fresh_since: None,
        }
    }

    fn servers(&mut self, world: &World, record: &Record, now: Timestamp) -> Vec<TxtServer> {
        let mut servers = Vec::new();
        for (at, server) in world.servers.iter().enumerate() {
            let address = format!("server {at}");
            let shown = match self.makes(Mistake::StaleServerIgnored) {
                true => record.publication.announced.as_ref().map(|a| a.id.clone()),
                false => server.txt.clone(),
            };
            let answer = match server.down || world.dns_down {
                true => TxtAnswer::Unreachable {
                    why: "it is down".to_owned(),
                    since: *self.silent.entry(address.clone()).or_insert(now),
                },
                false => {
                    self.silent.remove(&address);
                    TxtAnswer::Set(self.set(shown.as_slice()), TTL)
                }
            };
            servers.push(TxtServer { address, answer });
        }
        servers
    }

    /// The finalizer: the record is marked, and the object goes.
    fn begin_retirement(
        &self,
        world: &mut World,
        read: &Read,
        object: &Object,
        fault: Fault,
    ) -> Pass {
        let known = read.record.as_ref();
        if known.is_some_and(|(record, _)| record.publication.retiring.is_some()) {
            return Ok(());
        }
        let record = match known {
            Some((record, _)) => Some(record.clone()),
            None => self.anew(world, object),
        };
        let (Some(mut record), version) = (record, known.map(|(_, version)| *version)) else {
            return Ok(());
        };
        record.publication.retiring = Some(Retiring {
            since: self.now(world),
            withdrawn: false,
            policy: DeletionPolicy::Graceful,
            clock_asked_at: None,
            over_at: None,
            txt_gone_at: None,
        });
        self.write(world, version, Some(record), fault)
    }

    /// A record in place of one that was lost.
    fn anew(&self, world: &World, object: &Object) -> Option<Record> {
        let now = self.now(world);
        let txt = self.set(std::slice::from_ref(object.told.as_ref()?));
        let decided = decide(&Input {
            desired: &object.spec,
            owner: &owner(object),
            provider: None,
            installation: &self.installation,
            record: None,
            edited: None,
            txt: Some(&txt),
            adopted: None,
            assume_max_age: MaxAge::MAX,
            live: &LiveMx::Unknown("the object is being deleted".to_owned()),
            now,
        });
        match decided {
            Decided::New(record, _) => {
                let mut record = publish::announce(&record, TTL, 0, now);
                if let (Some(announced), Some(id)) =
                    (&mut record.publication.announced, &object.told)
                {
                    announced.id = id.clone();
                }
                Some(record)
            }
            Decided::Keep | Decided::Update(_) => None,
        }
    }

    fn retire(&mut self, world: &mut World, read: &Read, fault: Fault) -> Pass {
        let Some((record, version)) = &read.record else {
            return Ok(());
        };
        let (now, version) = (self.now(world), Some(*version));
        let Some(stage) = retirement::stage(&record.publication, GRACE, now) else {
            return Ok(());
        };
        use retirement::Stage;
        if !matches!(stage, Stage::Retained | Stage::Grace(_)) {
            let mut shown = self.newer_served(world, Some(record));
            if !world.dns_down {
                shown = shown.union(&self.txt(world));
            }
            let assumed = retirement::worst_assumed(record, &shown, &self.installation, now);
            if let Some(assumed) = assumed {
                return self.write(world, version, Some(assumed), fault);
            }
        }
        let since = record
            .publication
            .retiring
            .as_ref()
            .map_or(now, |r| r.since);
        let week = since + SignedDuration::from_hours(7 * 24);
        let stage = match stage {
            Stage::None { .. }
                if self.makes(Mistake::RetiredAtOnce) && self.is_out(world, record) =>
            {
                Stage::TakeAway
            }
            Stage::None { .. } if self.makes(Mistake::LedgerOfRetirementIgnored) && now > week => {
                Stage::TakeAway
            }
            Stage::None { .. } if self.makes(Mistake::DayForgotten) && ended(record, now) => {
                Stage::TakeAway
            }
            stage => stage,
        };
        let mut next = record.clone();
        match stage {
            Stage::Retained | Stage::Grace(_) => Ok(()),
            Stage::DecideNone => {
                let none = retirement::decide_none(record, &self.installation, now);
                self.write(world, version, Some(none), fault)
            }
            Stage::None { .. } => self.step(world, record, version, fault, None),
            Stage::CompareClocks => {
                if let Some(retiring) = &mut next.publication.retiring {
                    retiring.over_at = Some(now);
                }
                self.write(world, version, Some(next), fault)
            }
            Stage::TakeAway => self.take_away(world, record, version, fault),
        }
    }

    fn is_out(&self, world: &World, record: &Record) -> bool {
        let id = &record.publication.current.id;
        world.zone.as_ref() == Some(id)
    }

    fn take_away(
        &mut self,
        world: &mut World,
        record: &Record,
        version: Option<u64>,
        fault: Fault,
    ) -> Pass {
        let now = self.now(world);
        let Some(retiring) = &record.publication.retiring else {
            return Ok(());
        };
        let Some(gone_at) = retiring.txt_gone_at else {
            if world.dns_down {
                return Ok(());
            }
            if let Some(id) = world.zone.clone() {
                return world.write_txt(Some(&id), None, fault);
            }
            // A server that is down may come back with the record: it is waited for.
            if world
                .servers
                .iter()
                .any(|server| server.down || server.txt.is_some())
            {
                return Ok(());
            }
            let mut gone = record.clone();
            if let Some(retiring) = &mut gone.publication.retiring {
                retiring.txt_gone_at = Some(now);
            }
            return self.write(world, version, Some(gone), fault);
        };
        if gone_at + SignedDuration::from_secs(i64::from(TTL)) > now {
            return Ok(());
        }
        if !record.publication.retired {
            let mut retired = record.clone();
            retired.publication.retired = true;
            return self.write(world, version, Some(retired), fault);
        }
        self.write(world, version, None, fault)
    }
}

/// Whether every policy but `none` has ended, if nobody keeps one longer than its max_age.
fn ended(record: &Record, now: Timestamp) -> bool {
    let publication = &record.publication;
    let held = publication
        .ledger
        .iter()
        .filter(|entry| entry.mode != Mode::None);
    let mut ends = held.map(|entry| {
        let max_age = SignedDuration::from_secs(i64::from(entry.max_age.seconds()));
        entry.last_served.map(|last| last + max_age)
    });
    ends.all(|end| end.is_some_and(|end| end <= now))
}

fn owner(object: &Object) -> Owner {
    Owner {
        namespace: "mail".to_owned(),
        name: "example-org".to_owned(),
        uid: object.uid.to_string(),
    }
}
