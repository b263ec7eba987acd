//! Progressive rollout: a policy climbs a ladder of stages, from testing to enforce, each when its gates
//! are open. The stage is kept in the durable record by its name and values; the spec is never changed.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::guard::{Before, Held};
use super::record::Publication;
use crate::protocol::{MaxAge, Mode};

/// A ladder, with what holds a step back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rollout {
    /// Its stages, lowest first; never empty.
    pub stages: Vec<Stage>,
    /// Whether somebody has to approve each step.
    pub manual: bool,
}

/// A step of the ladder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stage {
    /// Its name, unique in the ladder.
    pub name: String,
    /// The mode of its policy.
    pub mode: Mode,
    /// The max_age of its policy.
    pub max_age: MaxAge,
    /// How long it lasts at least, without an error.
    pub min_duration: SignedDuration,
}

/// Where a domain is on its ladder: part of the durable record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnStage {
    /// Name of the stage.
    pub name: String,
    /// Mode of its policy, should the stage be renamed.
    pub mode: Mode,
    /// max_age of its policy, for the same reason.
    pub max_age: MaxAge,
    /// When it was entered.
    pub since: Timestamp,
    /// Since when no error was seen; absent while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_since: Option<Timestamp>,
}

/// What keeps the next stage away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Blocker {
    /// The policy of this stage is not announced at every authoritative server yet.
    NotPublished,
    /// Something that would be an error in mode enforce.
    Errors(String),
    /// The stage has to last until then.
    Duration(Timestamp),
    /// The live MX hosts hold mode enforce back.
    Guarded(Held),
    /// Somebody has to approve this stage.
    Approval(String),
}

/// What is known when the gates are looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gates<'a> {
    /// The first thing that would be an error in mode enforce.
    pub error: Option<String>,
    /// What would hold the policy of the next stage back.
    pub held: Option<Held>,
    /// The stage that somebody has approved.
    pub approved: Option<&'a str>,
}

/// How it goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outlook<'a> {
    /// The stage that the domain is on.
    pub stage: &'a Stage,
    /// The next one; `None` on the highest.
    pub next: Option<&'a Stage>,
    /// What keeps it away; empty where it is due.
    pub blocked_by: Vec<Blocker>,
}

impl Rollout {
    /// The ladder of a spec that names no stages: two weeks each of testing with a day's and with a
    /// week's max_age, then a month of enforce that senders forget within a week, then thirty days.
    pub fn default_stages() -> Vec<Stage> {
        const DAY: i64 = 24;
        let stage = |name: &str, mode, seconds, days: i64| Stage {
            name: name.to_owned(),
            mode,
            max_age: MaxAge::from_seconds(seconds).unwrap_or(MaxAge::DAY),
            min_duration: SignedDuration::from_hours(days * DAY),
        };
        vec![
            stage("observe", Mode::Testing, 86_400, 14),
            stage("confirm", Mode::Testing, 604_800, 14),
            stage("enforce", Mode::Enforce, 604_800, 30),
            stage("steady", Mode::Enforce, 2_592_000, 0),
        ]
    }

    /// The stage that a domain is on: by name, else by what its policy was. A domain that is on none
    /// begins with the first, unless it enforces already: that is never softened.
    pub fn stage(&self, on: Option<&OnStage>, before: &Before) -> Option<&Stage> {
        let enforcing = || self.stages.iter().find(|stage| stage.mode == Mode::Enforce);
        let Some(on) = on else {
            return match before {
                Before::Policy(policy) if policy.mode == Mode::Enforce => enforcing(),
                Before::Policy(_) | Before::Nothing => self.stages.first(),
            };
        };
        let named = self.stages.iter().find(|stage| stage.name == on.name);
        let same_mode = || self.stages.iter().filter(|stage| stage.mode == on.mode);
        named
            .or_else(|| same_mode().rfind(|stage| stage.max_age <= on.max_age))
            .or_else(|| same_mode().next())
            .or_else(|| self.stages.first())
    }

    /// The stage after `stage`.
    pub fn next(&self, stage: &Stage) -> Option<&Stage> {
        let mut after = self.stages.iter().skip_while(|it| it.name != stage.name);
        after.nth(1)
    }

    /// How it goes on for a domain.
    pub fn outlook(
        &self,
        publication: &Publication,
        gates: &Gates<'_>,
        now: Timestamp,
    ) -> Option<Outlook<'_>> {
        let on = publication.rollout.as_ref()?;
        let stage = self.stages.iter().find(|stage| stage.name == on.name)?;
        let next = self.next(stage);
        let blocked_by = match next {
            Some(next) => self.blockers(publication, (on, stage, next), gates, now),
            None => Vec::new(),
        };
        Some(Outlook {
            stage,
            next,
            blocked_by,
        })
    }

    fn blockers(
        &self,
        publication: &Publication,
        (on, stage, next): (&OnStage, &Stage, &Stage),
        gates: &Gates<'_>,
        now: Timestamp,
    ) -> Vec<Blocker> {
        let mut blockers = Vec::new();
        let announced = publication.announced.as_ref();
        let announced = announced.filter(|announced| announced.id == publication.current.id);
        let published = announced.and_then(|announced| announced.confirmed_at);
        if published.is_none() {
            blockers.push(Blocker::NotPublished);
        }
        blockers.extend(gates.error.clone().map(Blocker::Errors));
        if let (Some(published), Some(clean)) = (published, on.clean_since) {
            let begun = published.max(clean).max(on.since);
            let end = begun.saturating_add(stage.min_duration);
            let end = end.unwrap_or(Timestamp::MAX);
            blockers.extend((end > now).then_some(Blocker::Duration(end)));
        }
        let held = gates.held.clone().filter(|_| next.mode == Mode::Enforce);
        blockers.extend(held.map(Blocker::Guarded));
        if self.manual && gates.approved != Some(next.name.as_str()) {
            blockers.push(Blocker::Approval(next.name.clone()));
        }
        blockers
    }
}

impl OnStage {
    /// From now on the domain is on this stage.
    pub fn enter(stage: &Stage, now: Timestamp) -> Self {
        Self {
            name: stage.name.clone(),
            mode: stage.mode,
            max_age: stage.max_age,
            since: now,
            clean_since: Some(now),
        }
    }

    /// The same stage, with its values as they are written now.
    pub fn kept(&self, stage: &Stage) -> Self {
        Self {
            name: stage.name.clone(),
            mode: stage.mode,
            max_age: stage.max_age,
            ..self.clone()
        }
    }

    /// The same with the clock started again or stopped, as there is an error or not; `None` if it
    /// runs rightly.
    pub fn clocked(&self, error: bool, now: Timestamp) -> Option<Self> {
        let clean_since = match (error, self.clean_since) {
            (true, Some(_)) => None,
            (false, None) => Some(now),
            _ => return None,
        };
        Some(Self {
            clean_since,
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Announced;
    use super::*;
    use crate::protocol::Policy;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * 3600).unwrap()
    }

    fn ladder() -> Rollout {
        Rollout {
            stages: Rollout::default_stages(),
            manual: false,
        }
    }

    fn on(name: &str, mode: Mode, max_age: u32) -> OnStage {
        OnStage {
            name: name.to_owned(),
            mode,
            max_age: MaxAge::from_seconds(max_age).unwrap(),
            since: at(0),
            clean_since: Some(at(0)),
        }
    }

    /// A publication on `stage`, confirmed one hour after it was entered.
    fn publication(stage: OnStage) -> Publication {
        let mut publication = super::super::publish::tests::record().publication;
        publication.announced = Some(Announced {
            id: publication.current.id.clone(),
            ttl: 300,
            at: at(0),
            previous_ttl: 300,
            confirmed_at: Some(at(1)),
        });
        publication.rollout = Some(stage);
        publication
    }

    #[test]
    fn the_stage_is_found_by_name_then_by_what_its_policy_was() {
        let policy = |mode| {
            Before::Policy(Policy {
                mode,
                max_age: MaxAge::DAY,
                mx: Vec::new(),
            })
        };
        for (case, known, before, expected) in [
            ("a new domain", None, Before::Nothing, "observe"),
            ("one that is tested", None, policy(Mode::Testing), "observe"),
            ("one that enforces", None, policy(Mode::Enforce), "enforce"),
            (
                "on a stage",
                Some(on("confirm", Mode::Testing, 604_800)),
                Before::Nothing,
                "confirm",
            ),
            (
                "renamed",
                Some(on("gone", Mode::Testing, 604_800)),
                Before::Nothing,
                "confirm",
            ),
            (
                "with other values",
                Some(on("gone", Mode::Enforce, 700_000)),
                Before::Nothing,
                "enforce",
            ),
            (
                "below all of its mode",
                Some(on("gone", Mode::Enforce, 60)),
                Before::Nothing,
                "enforce",
            ),
        ] {
            let ladder = ladder();
            let stage = ladder.stage(known.as_ref(), &before).unwrap();
            assert_eq!(stage.name, expected, "{case}");
        }
    }

    #[test]
    fn the_next_stage_is_due_when_every_gate_is_open() {
        let observe = || on("observe", Mode::Testing, 86_400);
        let days = |days: i64| at(1 + days * 24);
        let error = || Gates {
            error: Some("mx-uncovered mail.example.org".to_owned()),
            ..Gates::default()
        };
        let mut sick = observe();
        sick.clean_since = None;
        let mut mended = observe();
        mended.clean_since = Some(days(10));
        for (case, stage, gates, now, expected) in [
            (
                "too early",
                observe(),
                Gates::default(),
                days(13),
                vec![Blocker::Duration(days(14))],
            ),
            ("due", observe(), Gates::default(), days(14), vec![]),
            (
                "an error",
                sick,
                error(),
                days(20),
                vec![Blocker::Errors("mx-uncovered mail.example.org".to_owned())],
            ),
            (
                "the clock began again",
                mended,
                Gates::default(),
                days(20),
                vec![Blocker::Duration(days(24))],
            ),
        ] {
            let ladder = ladder();
            let publication = publication(stage);
            let outlook = ladder.outlook(&publication, &gates, now).unwrap();
            assert_eq!(outlook.next.unwrap().name, "confirm", "{case}");
            assert_eq!(outlook.blocked_by, expected, "{case}");
        }
    }

    #[test]
    fn what_is_not_out_does_not_count() {
        let ladder = ladder();
        let mut publication = publication(on("observe", Mode::Testing, 86_400));
        publication.announced = None;
        let outlook = ladder.outlook(&publication, &Gates::default(), at(10_000));
        assert_eq!(outlook.unwrap().blocked_by, [Blocker::NotPublished]);
    }

    #[test]
    fn enforce_waits_for_the_guard_and_for_whoever_approves() {
        let held = Held::MxUnknown("SERVFAIL".to_owned());
        let mut ladder = ladder();
        ladder.manual = true;
        let publication = publication(on("confirm", Mode::Testing, 604_800));
        let blocked = |approved| {
            let gates = Gates {
                held: Some(held.clone()),
                approved,
                ..Gates::default()
            };
            ladder
                .outlook(&publication, &gates, at(10_000))
                .unwrap()
                .blocked_by
        };
        let guarded = Blocker::Guarded(held.clone());
        let approval = Blocker::Approval("enforce".to_owned());
        assert_eq!(blocked(None), [guarded.clone(), approval.clone()]);
        assert_eq!(blocked(Some("confirm")), [guarded.clone(), approval]);
        assert_eq!(blocked(Some("enforce")), [guarded]);
    }

    #[test]
    fn the_highest_stage_stays() {
        let ladder = ladder();
        let publication = publication(on("steady", Mode::Enforce, 2_592_000));
        let outlook = ladder
            .outlook(&publication, &Gates::default(), at(10_000))
            .unwrap();
        assert_eq!((outlook.next, outlook.blocked_by), (None, Vec::new()));
    }
}
