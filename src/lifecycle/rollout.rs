//! Progressive rollout: a policy climbs a ladder of stages, from testing to enforce, each when its gates
//! are open. The stage is kept in the durable record by its name and values; the spec is never changed.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::guard::{Before, Held};
use super::record::Publication;
use crate::protocol::{MaxAge, Mode};

/// How long senders have to refuse mail before an enforced stage is taken back: long enough that no
/// forged answer or two does it.
pub const ROLLBACK_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// A ladder, with what holds a step back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rollout {
    /// Its stages, lowest first; never empty.
    pub stages: Vec<Stage>,
    /// Whether somebody has to approve each step.
    pub manual: bool,
    /// What becomes of an enforced stage while senders refuse mail.
    pub on_failure: OnFailure,
}

/// What becomes of an enforced stage while senders refuse mail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnFailure {
    /// It stays as it is.
    #[default]
    Freeze,
    /// It goes back to the highest stage in mode testing.
    Rollback,
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
    /// Since when senders refuse mail by its policy, proved at each look since then; absent while
    /// they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_since: Option<Timestamp>,
    /// The rollback that led here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBack>,
}

/// A rollback of an enforced stage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolledBack {
    /// Name of the stage that was left.
    pub from: String,
    /// What senders refused.
    pub why: String,
    /// The approval that stood there then: it was for the time before, and counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent_approval: Option<String>,
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
    /// What senders refuse by the present policy, where that is proved.
    pub refused: Option<String>,
}

/// What is due on the ladder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Due<'a> {
    /// The domain stays where it is, and this is to be noted of it.
    Note(OnStage),
    /// The next stage begins.
    Promote(OnStage, &'a Stage),
    /// An enforced stage is taken back to this one.
    RollBack(OnStage, &'a Stage),
    /// Nothing for now.
    Wait(Outlook<'a>),
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
    /// The stage that it goes back to, and when, unless what senders refuse is mended.
    pub rolls_back: Option<(&'a Stage, Timestamp)>,
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

    /// The stage that an enforced one is taken back to: the highest in mode testing below it.
    fn fallback(&self, stage: &Stage) -> Option<&Stage> {
        if self.on_failure != OnFailure::Rollback || stage.mode != Mode::Enforce {
            return None;
        }
        let below = self.stages.iter().take_while(|it| it.name != stage.name);
        below.filter(|it| it.mode == Mode::Testing).last()
    }

    /// What is due for a domain; `None` where it is on no stage of this ladder.
    pub fn due(
        &self,
        publication: &Publication,
        gates: &Gates<'_>,
        now: Timestamp,
    ) -> Option<Due<'_>> {
        let on = publication.rollout.as_ref()?;
        let noted = on.noted(gates, now);
        if noted != *on {
            return Some(Due::Note(noted));
        }
        let outlook = self.outlook(publication, gates, now)?;
        Some(match (outlook.rolls_back, outlook.next) {
            (Some((stage, at)), _) if at <= now => {
                Due::RollBack(on.rolled_back(stage, gates, now), stage)
            }
            (_, Some(next)) if outlook.blocked_by.is_empty() => {
                Due::Promote(OnStage::enter(next, now), next)
            }
            _ => Due::Wait(outlook),
        })
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
        let taken_back = on.refused_since.and_then(|since| {
            let at = since.saturating_add(ROLLBACK_AFTER);
            Some((self.fallback(stage)?, at.unwrap_or(Timestamp::MAX)))
        });
        Some(Outlook {
            stage,
            next,
            blocked_by,
            rolls_back: taken_back,
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
        let approved = gates.approved.filter(|_| !on.is_spent(gates));
        if self.manual && approved != Some(next.name.as_str()) {
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
            refused_since: None,
            rolled_back: None,
        }
    }

    /// From now on the domain is back on this stage. Its clock stands until what senders refuse is gone.
    fn rolled_back(&self, stage: &Stage, gates: &Gates<'_>, now: Timestamp) -> Self {
        Self {
            clean_since: None,
            rolled_back: Some(RolledBack {
                from: self.name.clone(),
                why: gates.refused.clone().unwrap_or_default(),
                spent_approval: gates.approved.map(str::to_owned),
            }),
            ..Self::enter(stage, now)
        }
    }

    /// Whether the approval is the one that stood there before a rollback.
    fn is_spent(&self, gates: &Gates<'_>) -> bool {
        let spent = self.rolled_back.as_ref();
        let spent = spent.and_then(|back| back.spent_approval.as_deref());
        spent.is_some() && spent == gates.approved
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

    /// The same with what is seen now: the clock runs while there is no error, and time is taken while
    /// senders refuse mail.
    fn noted(&self, gates: &Gates<'_>, now: Timestamp) -> Self {
        let mut noted = self.clone();
        noted.clean_since = match gates.error {
            Some(_) => None,
            None => self.clean_since.or(Some(now)),
        };
        noted.refused_since = match gates.refused {
            Some(_) => self.refused_since.or(Some(now)),
            None => None,
        };
        if let Some(back) = &mut noted.rolled_back
            && !self.is_spent(gates)
        {
            back.spent_approval = None;
        }
        noted
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
            on_failure: OnFailure::Freeze,
        }
    }

    fn on(name: &str, mode: Mode, max_age: u32) -> OnStage {
        OnStage {
            name: name.to_owned(),
            mode,
            max_age: MaxAge::from_seconds(max_age).unwrap(),
            clean_since: Some(at(0)),
            ..OnStage::enter(&Rollout::default_stages()[0], at(0))
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

    /// What is due an hour and `minutes` after the enforced stage began.
    fn due(ladder: &Rollout, stage: OnStage, gates: &Gates<'_>, minutes: i64) -> String {
        let now = at(1) + SignedDuration::from_mins(minutes);
        match ladder.due(&publication(stage), gates, now).unwrap() {
            Due::Note(on) => format!(
                "note {:?}",
                on.refused_since
                    .map(|it| it.duration_since(at(1)).as_mins())
            ),
            Due::Promote(on, _) => format!("enter {}", on.name),
            Due::RollBack(on, stage) => {
                assert_eq!(
                    (on.name.as_str(), on.clean_since),
                    (stage.name.as_str(), None)
                );
                format!("back to {}", on.name)
            }
            Due::Wait(outlook) => match outlook.rolls_back {
                Some((stage, _)) => format!("soon back to {}", stage.name),
                None => "wait".to_owned(),
            },
        }
    }

    #[test]
    fn an_enforced_stage_is_taken_back_when_mail_was_refused_for_long_enough_at_each_look() {
        let rollback = Rollout {
            on_failure: OnFailure::Rollback,
            ..ladder()
        };
        let enforced = |since: Option<i64>| OnStage {
            refused_since: since.map(|minutes| at(1) + SignedDuration::from_mins(minutes)),
            ..on("enforce", Mode::Enforce, 604_800)
        };
        let refused = Gates {
            refused: Some("the live MX mail.example.org: no STARTTLS".to_owned()),
            ..Gates::default()
        };
        let well = Gates::default();
        for (case, ladder, stage, gates, minutes, expected) in [
            ("all is well", &rollback, enforced(None), &well, 0, "wait"),
            (
                "the first look",
                &rollback,
                enforced(None),
                &refused,
                3,
                "note Some(3)",
            ),
            (
                "too early",
                &rollback,
                enforced(Some(3)),
                &refused,
                17,
                "soon back to confirm",
            ),
            (
                "long enough",
                &rollback,
                enforced(Some(3)),
                &refused,
                18,
                "back to confirm",
            ),
            (
                "mended at last",
                &rollback,
                enforced(Some(3)),
                &well,
                18,
                "note None",
            ),
            (
                "nobody asked for it",
                &ladder(),
                enforced(Some(3)),
                &refused,
                900,
                "wait",
            ),
            (
                "nothing is enforced",
                &rollback,
                OnStage {
                    refused_since: Some(at(1)),
                    ..on("confirm", Mode::Testing, 604_800)
                },
                &refused,
                900,
                "wait",
            ),
        ] {
            assert_eq!(due(ladder, stage, gates, minutes), expected, "{case}");
        }
    }

    #[test]
    fn an_approval_from_before_a_rollback_counts_no_more() {
        let mut ladder = ladder();
        ladder.manual = true;
        let before = Gates {
            refused: Some("the live MX mail.example.org: no STARTTLS".to_owned()),
            approved: Some("enforce"),
            ..Gates::default()
        };
        let back = on("enforce", Mode::Enforce, 604_800);
        let mut back = back.rolled_back(&ladder.stages[1], &before, at(0));
        back.clean_since = Some(at(0));
        let gates = |approved| Gates {
            approved,
            ..Gates::default()
        };
        let due = |on: &OnStage, approved| {
            let due = ladder.due(&publication(on.clone()), &gates(approved), at(10_000));
            due_name(&due)
        };
        assert_eq!(due(&back, Some("enforce")), "wait");
        assert_eq!(due(&back, None), "note");
        let noted = back.noted(&gates(None), at(0));
        assert_eq!(due(&noted, Some("enforce")), "promote");
    }

    fn due_name(due: &Option<Due<'_>>) -> &'static str {
        match due {
            None => "nothing",
            Some(Due::Note(_)) => "note",
            Some(Due::Promote(..)) => "promote",
            Some(Due::RollBack(..)) => "roll back",
            Some(Due::Wait(_)) => "wait",
        }
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
