//! The user: he changes his mind, makes mistakes that the operator guards against, and moves his MX
//! hosts by the dates that the status tells.

use super::operator::{Object, Operator};
use super::rng::Rng;
use super::world::{MX_TTL, World, host};
use jiff::{SignedDuration, Timestamp};
use mta_sts_operator::lifecycle::decide::{Input, wanted};
use mta_sts_operator::lifecycle::desired::{AddressWish, Desired};
use mta_sts_operator::lifecycle::guard::Enforcement;
use mta_sts_operator::lifecycle::rollout::{OnFailure, Rollout, Stage};
use mta_sts_operator::lifecycle::{Owner, ledger};
use mta_sts_operator::protocol::{Domain, HostName, MaxAge, Mode, MxPattern};

/// Where a move of the MX is.
#[derive(Clone, Debug)]
enum Moving {
    No,
    /// The pattern of the new host is asked for.
    Adding(HostName),
    /// The MX has moved.
    Moved(HostName, Timestamp),
}

#[derive(Clone, Debug)]
pub struct User {
    pub object: Option<Object>,
    uid: usize,
    next_host: usize,
    moving: Moving,
    /// Whether the ladder is another one than that of the last pass.
    pub ladder_changed: bool,
    /// When the record was lost, until the operator has noticed.
    pub lost_at: Option<Timestamp>,
}

fn pattern(host: &HostName) -> MxPattern {
    MxPattern::parse(host.as_str()).unwrap()
}

fn ladder(on_failure: OnFailure) -> Rollout {
    let stage = |name: &str, mode, seconds, hours| Stage {
        name: name.to_owned(),
        mode,
        max_age: MaxAge::from_seconds(seconds).unwrap(),
        min_duration: SignedDuration::from_hours(hours),
    };
    Rollout {
        stages: vec![
            stage("observe", Mode::Testing, 86_400, 30),
            stage("confirm", Mode::Testing, 604_800, 50),
            stage("enforce", Mode::Enforce, 604_800, 20),
            stage("steady", Mode::Enforce, 2_592_000, 0),
        ],
        manual: false,
        on_failure,
    }
}

impl User {
    pub fn new(world: &World) -> Self {
        let mut user = Self {
            object: None,
            uid: 0,
            next_host: 1,
            moving: Moving::No,
            ladder_changed: false,
            lost_at: None,
        };
        user.create(world);
        user
    }

    fn create(&mut self, world: &World) {
        self.uid += 1;
        self.object = Some(Object {
            spec: Desired {
                domain: Domain::parse("example.org").unwrap(),
                mode: None,
                mx: world.mx.iter().map(pattern).collect(),
                max_age: None,
                rollout: None,
                enforcement: Enforcement::Guarded,
                tls_rpt: None,
                ttl: super::world::TTL,
                adopt: false,
                external: false,
                address: AddressWish::LeaveAlone,
                suspend: false,
            },
            uid: self.uid,
            deleted: false,
            told: None,
        });
    }

    /// How long a stage of the ladder has to last.
    pub fn stage_seconds(&self, name: &str) -> i64 {
        let ladder = ladder(OnFailure::Freeze);
        let stage = ladder.stages.iter().find(|stage| stage.name == name);
        stage.map_or(0, |stage| stage.min_duration.as_secs())
    }

    /// After a pass of the operator: the finalizer is gone, so the object goes.
    pub fn noticed(&mut self, world: &World, passed: bool) {
        if passed {
            self.ladder_changed = false;
        }
        let record = world.record.as_ref().map(|(record, _)| &record.publication);
        let told = record
            .and_then(|p| p.announced.as_ref())
            .map(|a| a.id.clone());
        if let Some(object) = &mut self.object {
            object.told = told.or(object.told.take());
        }
        let was_told = self
            .object
            .as_ref()
            .is_some_and(|object| object.told.is_some());
        let marked = match record {
            Some(record) => record.retiring.is_some(),
            None => !was_told,
        };
        if marked && self.object.as_ref().is_some_and(|object| object.deleted) {
            self.object = None;
        }
        match record {
            Some(_) => self.lost_at = None,
            None => self.lost_at = self.lost_at.or(Some(world.now)),
        }
    }

    pub fn asks_for(&mut self, mode: Mode, max_age: u32) {
        if let Some(object) = &mut self.object {
            object.spec.mode = Some(mode);
            object.spec.max_age = Some(MaxAge::from_seconds(max_age).unwrap());
        }
    }

    pub fn climbs(&mut self, on_failure: OnFailure) {
        if let Some(object) = &mut self.object {
            object.spec.mode = Some(Mode::Enforce);
            object.spec.rollout = Some(ladder(on_failure));
        }
    }

    pub fn deletes(&mut self) {
        if let Some(object) = &mut self.object {
            object.deleted = true;
        }
    }

    /// Begins to move the MX to another host.
    pub fn adds_a_host(&mut self, world: &World) {
        let new = host(self.next_host);
        self.next_host += 1;
        if let Some(object) = &mut self.object {
            object.spec.mx = world.mx.iter().chain([&new]).map(pattern).collect();
            self.moving = Moving::Adding(new);
        }
    }

    pub fn act(&mut self, world: &mut World, rng: &mut Rng) {
        self.go_on_moving(world);
        let moving = !matches!(self.moving, Moving::No);
        let Some(object) = &mut self.object else {
            if world.record.is_none() && rng.once_in(2) {
                // Nobody holds anything: the MX may go anywhere.
                world.move_mx(vec![host(self.next_host)]);
                self.next_host += 1;
            }
            // What is on its way out is seldom taken back.
            if rng.once_in(if world.record.is_some() { 40 } else { 3 }) {
                self.moving = Moving::No;
                self.create(world);
            }
            return;
        };
        if object.deleted {
            return;
        }
        let spec = &mut object.spec;
        match rng.below(12) {
            0..=2 => spec.mode = Some([Mode::Testing, Mode::Enforce, Mode::None][rng.below(3)]),
            3 => spec.mode = Some(Mode::Enforce),
            4 => {
                let seconds = [3_600, 86_400, 604_800, 2_592_000][rng.below(4)];
                spec.max_age = Some(MaxAge::from_seconds(seconds).unwrap());
            }
            5 if !moving => self.adds_a_host(world),
            // The live host is forgotten, or written again.
            6 if !moving => spec.mx = vec![pattern(&host(9_999))],
            7 | 8 if !moving => spec.mx = world.mx.iter().map(pattern).collect(),
            9 => {
                spec.mode = Some(Mode::Enforce);
                spec.max_age = None;
                let on_failure = [OnFailure::Freeze, OnFailure::Rollback][rng.below(2)];
                spec.rollout = Some(ladder(on_failure));
                self.ladder_changed = true;
            }
            10 => {
                spec.rollout = None;
                self.ladder_changed = true;
            }
            11 if !matches!(self.moving, Moving::Moved(..)) => {
                object.deleted = true;
                self.moving = Moving::No;
            }
            _ => {}
        }
    }

    /// The MX moves when the status says that every sender knows its pattern.
    pub fn go_on_moving(&mut self, world: &mut World) {
        match self.moving.clone() {
            Moving::No => {}
            Moving::Adding(new) => {
                if self.all_know(world, &new) {
                    world.move_mx(vec![new.clone()]);
                    self.moving = Moving::Moved(new, world.now);
                }
            }
            Moving::Moved(new, since) => {
                if world.now.duration_since(since).as_secs() > MX_TTL {
                    if let Some(object) = &mut self.object {
                        object.spec.mx = vec![pattern(&new)];
                    }
                    self.moving = Moving::No;
                }
            }
        }
    }

    /// Whether both bounds of `status.caches` have passed for a policy with the host.
    fn all_know(&self, world: &World, new: &HostName) -> bool {
        let Some((record, _)) = &world.record else {
            return false;
        };
        let publication = &record.publication;
        let (current, now) = (&publication.current, world.now);
        let announced = publication.announced.as_ref();
        let announced = announced.filter(|announced| announced.id == current.id);
        let conforming = announced.and_then(|announced| announced.conforming_senders_by());
        let all = ledger::all_senders_by(&publication.ledger, &current.id, now);
        let named = current.mx.iter().any(|it| it.matches(new));
        named
            && conforming.is_some_and(|by| by <= now)
            && (world.all_conform || all.is_none_or(|by| by <= now))
            && publication.retiring.is_none()
    }

    /// Whether what is asked for is published.
    pub fn is_served(&self, world: &World, operator: &Operator) -> Result<(), String> {
        let Some(object) = self.object.as_ref().filter(|object| !object.deleted) else {
            return Ok(());
        };
        let Some((record, _)) = &world.record else {
            return Err("there is no record".to_owned());
        };
        let publication = &record.publication;
        let owner = Owner {
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
        };
        let live = operator.live(world);
        let policy = wanted(&Input {
            desired: &object.spec,
            owner: &owner,
            provider: None,
            installation: &operator.installation,
            record: Some(record),
            edited: None,
            txt: None,
            adopted: None,
            assume_max_age: MaxAge::MAX,
            live: &live,
            now: operator.now(world),
        });
        let current = &publication.current;
        let right = policy.policy.mode == current.mode
            && policy.policy.mx == current.mx
            && world.zone.as_ref() == Some(&current.id)
            && world
                .servers
                .iter()
                .all(|server| server.txt.as_ref() == Some(&current.id))
            && publication
                .announced
                .as_ref()
                .is_some_and(|a| a.confirmed_at.is_some());
        match right {
            true => Ok(()),
            false => Err(format!(
                "the spec asks for {:?}, {} is decided, and the zone has {:?}",
                policy.policy, current.id, world.zone
            )),
        }
    }
}
