//! The pure lifecycle in a simulated world: a virtual clock, policy servers and name servers that lag,
//! resolvers and senders with caches, a user who changes his mind, and an operator that dies at any
//! write, reads what is stale, and wakes up late. After every step the promises hold:
//!
//! 1. no name server announces an id while a policy server serves a body that was decided before it;
//! 2. no sender refuses mail to a live MX host, if the user goes by the dates of the status;
//! 3. enforce is entered only while every live MX host would do, a stage lasts as long as it must, and one
//!    that is enforced is taken back only where that is asked for and mail was refused for long enough;
//! 4. a domain is not gone while a sender holds a policy that enforces;
//! 5. the ledger is never shorter than what senders hold;
//! 6. ids grow;
//! 7. once the faults stop, what is asked for is published.
//!
//! `MODEL_RUNS=N cargo test --test model` runs N worlds in place of the usual ones.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod operator;
mod rng;
mod senders;
mod user;
mod world;

use jiff::SignedDuration;
use mta_sts_operator::lifecycle::Record;
use mta_sts_operator::lifecycle::guard::LiveMx;
use mta_sts_operator::lifecycle::rollout::{OnFailure, ROLLBACK_AFTER};
use mta_sts_operator::protocol::{Mode, PolicyId};
use operator::{Mistake, Operator};
use rng::Rng;
use user::User;
use world::{Ended, Fault, World};

/// Worlds, and steps of each: a million steps altogether.
const RUNS: u64 = 500;
const STEPS: usize = 2_000;

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Seconds,
    Days,
    Pass,
    PassThatDies,
    PassThatIsStale,
    Zombie,
    SyncReplica,
    SyncServer,
    Send,
    User,
    TurnReplica,
    TurnServer,
    TurnApi,
    TurnDns,
    BreakMx,
    LoseRecord,
    TurnClock,
}

/// Each as often as it stands here.
const ACTIONS: [Action; 49] = {
    use Action::*;
    [
        Seconds,
        Seconds,
        Seconds,
        Seconds,
        Seconds,
        Days,
        Days,
        Pass,
        Pass,
        Pass,
        Pass,
        Pass,
        Pass,
        Pass,
        Pass,
        Pass,
        Pass,
        Pass,
        Pass,
        PassThatDies,
        PassThatDies,
        PassThatIsStale,
        Zombie,
        SyncReplica,
        SyncReplica,
        SyncReplica,
        SyncReplica,
        SyncReplica,
        SyncServer,
        SyncServer,
        SyncServer,
        SyncServer,
        SyncServer,
        Send,
        Send,
        Send,
        Send,
        Send,
        Send,
        Send,
        User,
        User,
        TurnReplica,
        TurnServer,
        TurnApi,
        TurnDns,
        BreakMx,
        LoseRecord,
        TurnClock,
    ]
};

/// An action with the seed of its chances, so that it is the same wherever it stands.
type Move = (Action, u64);

struct Model {
    world: World,
    operator: Operator,
    user: User,
    /// The id that was announced last.
    highest: Option<PolicyId>,
    /// What a leader has read that was then paused.
    paused: Option<(World, jiff::Timestamp)>,
    /// Since when senders refuse mail by the enforced policy.
    refusing_since: Option<jiff::Timestamp>,
}

impl Model {
    fn new(seed: u64, mistake: Option<Mistake>) -> Self {
        let world = World::new(&mut Rng::new(seed));
        Self {
            user: User::new(&world),
            world,
            operator: Operator::new(mistake),
            highest: None,
            paused: None,
            refusing_since: None,
        }
    }

    fn act(&mut self, (action, seed): Move) -> Result<(), String> {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        match action {
            Action::Seconds => self.world.pass_time(rng.between(1, 120)),
            Action::Days => self.world.pass_time(rng.between(3_600, 200_000)),
            Action::Pass => self.pass(Fault::None, false)?,
            Action::PassThatDies => {
                let fault = [Fault::Before, Fault::After][rng.below(2)];
                self.pass(fault, false)?;
            }
            Action::PassThatIsStale => self.pass(Fault::None, true)?,
            Action::Zombie => self.wake_up()?,
            Action::SyncReplica => {
                let at = rng.below(self.world.replicas.len());
                self.world.sync_replica(at);
            }
            Action::SyncServer => {
                let at = rng.below(self.world.servers.len());
                self.world.sync_server(at);
            }
            Action::Send => {
                let at = rng.below(self.world.senders.len());
                if let Some(refused) = self.world.send(at, rng) {
                    return Err(refused);
                }
            }
            Action::User => {
                self.user.act(&mut self.world, rng);
            }
            Action::TurnReplica => {
                let at = rng.below(self.world.replicas.len());
                self.world.turn_replica(at);
            }
            Action::TurnServer => {
                let at = rng.below(self.world.servers.len());
                let server = &mut self.world.servers[at];
                server.down = !server.down;
                // One that comes back asks the primary first.
                self.world.sync_server(at);
            }
            Action::TurnApi => self.world.api_down = !self.world.api_down && rng.once_in(2),
            Action::TurnDns => self.world.dns_down = !self.world.dns_down && rng.once_in(2),
            Action::BreakMx => match self.world.broken.is_empty() && rng.once_in(3) {
                true => self.world.broken = self.world.mx.clone(),
                false => self.world.broken.clear(),
            },
            Action::LoseRecord => self.lose_record(rng),
            Action::TurnClock => self.turn_clock(rng),
        }
        self.check()
    }

    /// Somebody deletes the record by hand.
    fn lose_record(&mut self, rng: &mut Rng) {
        let is_retiring = |record: &Record| record.publication.retiring.is_some();
        let known = self.world.record.as_ref();
        // One on its way out is lost for good: nothing asks for it any more.
        if rng.once_in(4) && !known.is_some_and(|(record, _)| is_retiring(record)) {
            self.world.record = None;
        }
    }

    /// The operator's clock jumps by up to two days, or is set right. (It is off by more than the five
    /// minutes that it may be.)
    fn turn_clock(&mut self, rng: &mut Rng) {
        let by = rng.between(301, 172_800);
        self.operator.skew = match self.operator.skew {
            0 if rng.once_in(8) => [by, -by][rng.below(2)],
            _ => 0,
        };
    }

    fn pass(&mut self, fault: Fault, stale: bool) -> Result<(), String> {
        if self.paused.is_none() {
            self.paused = Some((self.world.clone(), self.world.now));
        }
        let before = self.world.clone();
        let object = self.user.object.clone();
        let ended = self
            .operator
            .pass(&mut self.world, object.as_ref(), fault, stale);
        self.user.noticed(&self.world, ended.is_ok());
        self.check_write(&before)
    }

    /// A leader that was paused for less than its outside writes may take goes on where it was.
    fn wake_up(&mut self) -> Result<(), String> {
        let Some((view, since)) = self.paused.take() else {
            return Ok(());
        };
        if self.world.now.duration_since(since) > SignedDuration::from_secs(15) {
            return Ok(());
        }
        let Some((record, version)) = view.record else {
            return Ok(());
        };
        let announced = record.publication.announced_in_dns().map(|a| a.id.clone());
        let latest = self.world.record.as_ref().map(|(_, version)| *version);
        let written = self
            .world
            .write_record(Some(version), Some(record.clone()), Fault::None);
        if written.is_ok() && latest != Some(version) {
            return Err("a leader that slept has written an old record".to_owned());
        }
        // The TXT record is written for what is decided, and not where the record turns out to be an old one.
        let zone = view.zone.as_ref();
        let served = view.replicas.iter().filter_map(|it| it.served.as_ref());
        let mut shown = zone.into_iter().chain(served.map(|served| &served.id));
        let knows = shown.all(|id| record.publication.knows(id));
        let is_due = |id: &PolicyId| knows && *id == record.publication.current.id;
        if let Some(id) = announced.filter(is_due) {
            let _: Result<(), Ended> =
                self.world
                    .write_txt(view.zone.as_ref(), Some(id), Fault::None);
        }
        Ok(())
    }

    /// What a write may not do.
    fn check_write(&self, before: &World) -> Result<(), String> {
        let (Some((new, _)), old) = (&self.world.record, before.record.as_ref()) else {
            return self.check_end(before);
        };
        let old = old.map(|(record, _)| record);
        let publication = &new.publication;
        let was = old.map(|record| &record.publication.current);
        let decided = was.is_none_or(|was| was.id != publication.current.id);
        if !decided {
            return self.check_stage(old, new);
        }
        let announced = old.and_then(|record| record.publication.announced.as_ref());
        let ledger = old.map(|record| record.publication.ledger.as_slice());
        let mode = announced.and_then(|announced| {
            let mut entries = ledger.unwrap_or_default().iter();
            entries
                .find(|e| e.id.as_ref() == Some(&announced.id))
                .map(|e| e.mode)
        });
        let enters = publication.current.mode == Mode::Enforce && mode != Some(Mode::Enforce);
        let accepts = |host| publication.current.mx.iter().any(|it| it.matches(host));
        let unfit = self
            .world
            .mx
            .iter()
            .find(|host| !accepts(host) || self.world.broken.contains(host));
        match unfit {
            Some(host) if enters => {
                Err(format!("enforce is entered though {host} would be refused"))
            }
            _ => self.check_stage(old, new),
        }
    }

    /// A stage lasts as long as it must. One that is enforced is taken back only where that is asked
    /// for, and where mail was refused for long enough.
    fn check_stage(&self, old: Option<&Record>, new: &Record) -> Result<(), String> {
        let (Some(old), Some(on)) = (old, &new.publication.rollout) else {
            return Ok(());
        };
        let Some(was) = &old.publication.rollout else {
            return Ok(());
        };
        if was.name == on.name || self.user.ladder_changed {
            return Ok(());
        }
        if was.mode == Mode::Enforce && on.mode == Mode::Testing {
            return self.check_rollback();
        }
        let least = self.user.stage_seconds(&was.name);
        let lasted = self
            .operator
            .now(&self.world)
            .duration_since(was.since)
            .as_secs();
        match lasted < least {
            true => Err(format!(
                "stage {} lasted {lasted} s in place of {least}",
                was.name
            )),
            false => Ok(()),
        }
    }

    fn check_rollback(&self) -> Result<(), String> {
        let object = self.user.object.as_ref();
        let rollout = object.and_then(|object| object.spec.rollout.as_ref());
        let asked = rollout.is_some_and(|it| it.on_failure == OnFailure::Rollback);
        let since = self.refusing_since.unwrap_or(self.world.now);
        let lasted = self.world.now.duration_since(since);
        match asked && lasted >= ROLLBACK_AFTER {
            true => Ok(()),
            false => Err(format!(
                "an enforced stage was taken back (asked for: {asked}), and mail was refused for {} s",
                lasted.as_secs()
            )),
        }
    }

    /// Notes since when an MX host has been there that a sender refuses by the enforced policy. What is
    /// mended between two looks of the operator counts on: it cannot know.
    fn note_refusals(&mut self) {
        let record = self.world.record.as_ref();
        let current = record.map(|(record, _)| &record.publication.current);
        let Some(current) = current.filter(|current| current.mode == Mode::Enforce) else {
            self.refusing_since = None;
            return;
        };
        let accepts = |host| current.mx.iter().any(|pattern| pattern.matches(host));
        let mut hosts = self.world.mx.iter();
        if hosts.any(|host| !accepts(host) || self.world.broken.contains(host)) {
            self.refusing_since = self.refusing_since.or(Some(self.world.now));
        }
    }

    /// The end of a domain.
    fn check_end(&self, before: &World) -> Result<(), String> {
        if before.record.is_none() {
            return Ok(());
        }
        let held = self
            .world
            .senders
            .iter()
            .filter_map(|sender| sender.copy.as_ref());
        let mut held = held.filter(|copy| copy.until > self.world.now);
        match held.find(|copy| copy.policy.mode == Mode::Enforce) {
            Some(copy) => Err(format!(
                "the domain is gone, and a sender enforces {} until {}",
                copy.id, copy.until
            )),
            None => Ok(()),
        }
    }

    /// What holds at any time.
    fn check(&mut self) -> Result<(), String> {
        self.note_refusals();
        for (at, server) in self.world.servers.iter().enumerate() {
            let Some(id) = &server.txt else { continue };
            for (of, replica) in self.world.replicas.iter().enumerate() {
                if let Some(served) = replica.served.as_ref().filter(|served| served.id < *id) {
                    return Err(format!(
                        "server {at} announces {id} while replica {of} serves {}",
                        served.id
                    ));
                }
            }
        }
        if let Some(id) = &self.world.zone {
            let highest = self.highest.get_or_insert_with(|| id.clone());
            if id < highest {
                return Err(format!("{id} is announced after {highest}"));
            }
            *highest = id.clone();
        }
        self.check_ledger()
    }

    fn check_ledger(&self) -> Result<(), String> {
        let Some((record, _)) = &self.world.record else {
            return Ok(());
        };
        let ledger = &record.publication.ledger;
        let now = self.world.now;
        for copy in self
            .world
            .senders
            .iter()
            .filter_map(|sender| sender.copy.as_ref())
        {
            let covers = ledger.iter().any(|entry| {
                let same = entry.sha256 == Some(copy.body)
                    || entry.sha256.is_none()
                    || entry.mx.is_empty();
                same && entry.held_until(now) >= copy.until
            });
            // One that says none makes nobody refuse mail.
            let matters = copy.until > now && copy.policy.mode != Mode::None;
            if matters && !covers && self.user.lost_at.is_none() {
                return Err(format!(
                    "a sender holds {} until {}, and the ledger does not say so",
                    copy.id, copy.until
                ));
            }
        }
        Ok(())
    }

    /// The faults stop: then what is asked for is published before long.
    fn heal(&mut self) -> Result<(), String> {
        self.operator.skew = 0;
        self.world.api_down = false;
        self.world.dns_down = false;
        self.world.broken.clear();
        for server in &mut self.world.servers {
            server.down = false;
        }
        for at in 0..self.world.replicas.len() {
            if self.world.replicas[at].down {
                self.world.turn_replica(at);
            }
        }
        self.rounds(60, 30)?;
        self.user.is_served(&self.world, &self.operator)
    }
}

/// Stories that chance seldom tells.
impl Model {
    /// A published enforce policy of this max_age, held by every sender.
    fn enforced(mistake: Option<Mistake>, all_conform: bool, max_age: u32) -> Result<Self, String> {
        let mut model = Self::new(0, mistake);
        model.world.all_conform = all_conform;
        for sender in &mut model.world.senders {
            sender.kind = match all_conform {
                true => senders::Kind::Conforming,
                false => senders::Kind::KeepsADay,
            };
        }
        model.user.asks_for(Mode::Enforce, max_age);
        model.settle(20)?;
        model.everybody_sends()?;
        Ok(model)
    }

    /// Goes on without faults, a second a round.
    fn settle(&mut self, rounds: usize) -> Result<(), String> {
        self.rounds(rounds, 1)
    }

    /// Everybody does his part, in rounds of so many seconds.
    fn rounds(&mut self, rounds: usize, seconds: i64) -> Result<(), String> {
        for _ in 0..rounds {
            self.pass(Fault::None, false)?;
            for at in 0..self.world.replicas.len() {
                self.world.sync_replica(at);
            }
            for at in 0..self.world.servers.len() {
                self.world.sync_server(at);
            }
            self.world.pass_time(seconds);
            self.check()?;
        }
        Ok(())
    }

    fn everybody_sends(&mut self) -> Result<(), String> {
        for at in 0..self.world.senders.len() {
            if let Some(refused) = self.world.send(at, &mut Rng::new(at as u64)) {
                return Err(refused);
            }
        }
        Ok(())
    }

    /// The stage that the domain is on.
    fn stage(&self) -> Option<&str> {
        let (record, _) = self.world.record.as_ref()?;
        let on = record.publication.rollout.as_ref()?;
        Some(&on.name)
    }

    /// Lets days pass until the domain is on `stage`.
    fn climbed_to(&mut self, stage: &str) -> Result<(), String> {
        for _ in 0..10 {
            self.settle(20)?;
            if self.stage() == Some(stage) {
                return Ok(());
            }
            self.world.pass_time(86_400);
        }
        Err(format!("it is on stage {:?}, not on {stage}", self.stage()))
    }

    /// The object is deleted, and `none` gets out.
    fn deleted(&mut self) -> Result<(), String> {
        self.user.deletes();
        self.settle(5)?;
        self.world.pass_time(11 * 60);
        self.settle(20)
    }
}

/// A policy with a short max_age is deleted: some senders hold it for a day.
fn a_short_max_age(mistake: Option<Mistake>) -> Result<(), String> {
    let mut model = Model::enforced(mistake, false, 3_600)?;
    model.deleted()?;
    model.world.pass_time(7_200);
    model.settle(20)?;
    model.world.pass_time(400);
    model.settle(20)
}

/// Half a day before a retirement ends the operator's clock goes a day ahead.
fn a_clock_ahead(mistake: Option<Mistake>) -> Result<(), String> {
    let mut model = Model::enforced(mistake, false, 604_800)?;
    model.deleted()?;
    model.world.pass_time(604_800 - 43_200);
    model.operator.skew = 86_400;
    model.settle(20)?;
    model.world.pass_time(400);
    model.settle(20)
}

/// The MX moves as soon as the status says that senders who follow the RFC know the new host.
fn a_hasty_move(mistake: Option<Mistake>) -> Result<(), String> {
    let mut model = Model::enforced(mistake, true, 604_800)?;
    model.user.adds_a_host(&model.world);
    for _ in 0..30 {
        model.settle(12)?;
        model.user.go_on_moving(&mut model.world);
        model.everybody_sends()?;
    }
    Ok(())
}

/// A domain has climbed to an enforced stage when its MX breaks: it is taken back, and climbs again.
fn an_mx_that_breaks(mistake: Option<Mistake>) -> Result<(), String> {
    let mut model = Model::new(0, mistake);
    model.user.climbs(OnFailure::Rollback);
    model.climbed_to("enforce")?;
    model.world.broken = model.world.mx.clone();
    model.check()?;
    model.rounds(20, 60)?;
    if model.stage() != Some("confirm") {
        return Err(format!("it is on stage {:?}", model.stage()));
    }
    model.world.broken.clear();
    model.climbed_to("steady")
}

/// The API server is restored from a backup of the time before a change of the policy, whose id is `out` or
/// not yet, and the object is `deleted` or not.
fn a_backup(mistake: Option<Mistake>, out: bool, deleted: bool) -> Result<(), String> {
    let mut model = Model::enforced(mistake, false, 604_800)?;
    model.user.asks_for(Mode::Enforce, 2_592_000);
    match out {
        true => model.settle(20)?,
        false => {
            // The policy servers have the new body, and nobody is told.
            model.pass(Fault::None, false)?;
            for at in 0..model.world.replicas.len() {
                model.world.sync_replica(at);
            }
        }
    }
    model.everybody_sends()?;
    // The object is one of that time as well.
    model.user.asks_for(Mode::Enforce, 604_800);
    model.world.restore();
    match deleted {
        true => {
            model.deleted()?;
            model.world.pass_time(8 * 86_400);
            model.settle(20)?;
            model.world.pass_time(400);
            model.settle(20)
        }
        false => {
            model.settle(20)?;
            model.user.is_served(&model.world, &model.operator)?;
            model.world.all_serve_what_is_decided()
        }
    }
}

fn a_backup_before_what_is_announced(mistake: Option<Mistake>) -> Result<(), String> {
    a_backup(mistake, true, false)
}

fn a_backup_before_what_is_served(mistake: Option<Mistake>) -> Result<(), String> {
    a_backup(mistake, false, false)
}

fn a_backup_and_a_deletion(mistake: Option<Mistake>) -> Result<(), String> {
    a_backup(mistake, true, true)
}

type Story = fn(Option<Mistake>) -> Result<(), String>;

const STORIES: [Story; 7] = [
    a_short_max_age,
    a_clock_ahead,
    a_hasty_move,
    an_mx_that_breaks,
    a_backup_before_what_is_announced,
    a_backup_before_what_is_served,
    a_backup_and_a_deletion,
];

/// Plays a list of moves; gives the first broken promise, and how many moves it took.
fn play(seed: u64, moves: &[Move], mistake: Option<Mistake>) -> Result<(), (usize, String)> {
    let mut model = Model::new(seed, mistake);
    for (at, step) in moves.iter().enumerate() {
        model.act(*step).map_err(|why| (at + 1, why))?;
    }
    model
        .heal()
        .map_err(|why| (moves.len(), format!("once the faults had stopped: {why}")))
}

fn moves(seed: u64, count: usize) -> Vec<Move> {
    let mut rng = Rng::new(seed ^ 0xA11C_E5ED);
    (0..count)
        .map(|at| {
            let action = ACTIONS[rng.below(ACTIONS.len())];
            let action = match (seed % 4, action) {
                // Worlds in which hours pass in place of months,
                (1, Action::Days) => Action::Seconds,
                // and those in which the user goes on holiday: what he has deleted comes to its end.
                (2, Action::User) if at > count / 4 && at % 300 > 20 => Action::Days,
                (2, Action::BreakMx | Action::LoseRecord) => Action::TurnClock,
                _ => action,
            };
            (action, seed.wrapping_mul(1_000_003).wrapping_add(at as u64))
        })
        .collect()
}

/// The shortest list that still breaks a promise, as far as leaving parts out finds it.
fn shrunk(seed: u64, mut list: Vec<Move>) -> (Vec<Move>, String) {
    let fails = |list: &[Move]| play(seed, list, None).err();
    let mut why = String::new();
    if let Some((at, first)) = fails(&list) {
        list.truncate(at);
        why = first;
    }
    let mut part = list.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < list.len() {
            let mut less = list.clone();
            less.drain(at..(at + part).min(less.len()));
            match fails(&less) {
                Some((end, shorter)) => {
                    less.truncate(end);
                    list = less;
                    why = shorter;
                }
                None => at += part,
            }
        }
        part /= 2;
    }
    (list, why)
}

/// What happens in a list of moves, a line each.
fn told(seed: u64, list: &[Move]) -> String {
    let mut model = Model::new(seed, None);
    let mut lines = String::new();
    for step in list {
        let ended = model.act(*step);
        let record = model
            .world
            .record
            .as_ref()
            .map(|(record, _)| &record.publication);
        let current = record.map(|p| format!("{} {}", p.current.id, p.current.mode));
        let announced = record
            .and_then(|p| p.announced.as_ref())
            .map(|a| a.id.to_string());
        let open = record.map(|p| {
            p.ledger
                .iter()
                .map(|e| e.last_served.is_none())
                .collect::<Vec<_>>()
        });
        let served = model.world.replicas.iter();
        let served: Vec<_> = served
            .map(|r| r.served.as_ref().map(|s| s.id.to_string()))
            .collect();
        lines.push_str(&format!(
            "{} {:?}: current {current:?} announced {announced:?} open {open:?} served {served:?} zone {:?} {ended:?}\n",
            model.world.now, step.0, model.world.zone
        ));
    }
    lines
}

fn runs() -> u64 {
    #[allow(clippy::disallowed_methods)] // It is a flag of this test alone.
    let asked = std::env::var("MODEL_RUNS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(RUNS)
}

#[test]
fn every_promise_holds_in_every_world() {
    let threads: Vec<_> = (0..2)
        .map(|half| {
            std::thread::spawn(move || {
                for seed in (0..runs()).filter(|seed| seed % 2 == half) {
                    let list = moves(seed, STEPS);
                    if let Err((at, why)) = play(seed, &list, None) {
                        let (list, shorter) = shrunk(seed, list);
                        panic!(
                            "world {seed}, step {at}: {why}\nshrunk to {} steps: {shorter}\n{}",
                            list.len(),
                            told(seed, &list)
                        );
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn every_planted_mistake_is_noticed() {
    let mut missed = Vec::new();
    for mistake in Mistake::ALL {
        let told = STORIES.iter().any(|story| story(Some(mistake)).is_err());
        let noticed = told
            || (0..RUNS / 2).any(|seed| play(seed, &moves(seed, STEPS), Some(mistake)).is_err());
        if !noticed {
            missed.push(mistake);
        }
    }
    assert!(missed.is_empty(), "the model does not notice {missed:?}");
}

#[test]
fn the_stories_end_well() {
    for story in STORIES {
        story(None).unwrap();
    }
}

#[test]
fn the_worlds_are_not_idle() {
    let mut model = Model::new(1, None);
    let mut announced = std::collections::BTreeSet::new();
    let mut modes = std::collections::BTreeSet::new();
    for seed in 0..20 {
        model = Model::new(seed, None);
        for step in moves(seed, STEPS) {
            model.act(step).unwrap();
            announced.extend(model.world.zone.clone());
            let copies = model.world.senders.iter().filter_map(|s| s.copy.as_ref());
            modes.extend(copies.map(|copy| copy.policy.mode.as_str()));
        }
    }
    assert!(announced.len() > 80, "{} ids", announced.len());
    assert_eq!(modes.len(), 3, "{modes:?}");
    assert!(matches!(
        model.operator.live(&model.world),
        LiveMx::Hosts(_) | LiveMx::Unknown(_)
    ));
}
