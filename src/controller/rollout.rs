//! The next stage of a progressive rollout: what keeps it away, and entering it. (io)

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;

use super::accept::Accepted;
use super::context::Context;
use super::error::Error;
use super::events;
use super::findings::findings;
use super::records::Stored;
use super::report::Report;
use super::rollback;
use crate::api::MtaStsPolicy;
use crate::clock;
use crate::diagnosis::{Finding, Severity};
use crate::lifecycle::Record;
use crate::lifecycle::guard::{Held, LiveMx, before, guard};
use crate::lifecycle::rollout::{Blocker, Due, Gates, OnFailure, OnStage, ROLLBACK_AFTER, Stage};
use crate::limits;
use crate::protocol::Policy;

/// Annotation: the stage that somebody has approved.
const APPROVE: &str = "mta-sts.dev/approve";

/// Where a domain is on its ladder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RolloutReport {
    pub(super) on: OnStage,
    /// All stages, lowest first.
    pub(super) ladder: Vec<Stage>,
    pub(super) next: Option<String>,
    pub(super) blocked_by: Vec<Blocker>,
    /// What senders refuse by the policy of this stage, where it may be taken back for that.
    pub(super) refused: Option<String>,
    /// The stage that it is taken back to, and when.
    pub(super) rolls_back: Option<(String, Timestamp)>,
}

impl RolloutReport {
    /// Whether there is a next stage, or one that the domain goes back to.
    pub(super) fn goes_on(&self) -> bool {
        self.next.is_some() || self.rolls_back.is_some()
    }
}

/// What a step of the ladder needs to know.
pub(super) struct Climb<'a> {
    pub(super) context: &'a Context,
    pub(super) policy: &'a MtaStsPolicy,
    pub(super) accepted: &'a Accepted,
    pub(super) stored: &'a Stored,
    pub(super) live: &'a LiveMx,
}

impl Climb<'_> {
    /// Looks at the gates, and enters the next stage where they are open; `true` if something was
    /// written. `report` is complete but for this.
    pub(super) async fn settle(&self, report: &mut Report) -> Result<bool, Error> {
        let (Some(rollout), Some(record)) = (&self.accepted.desired.rollout, &report.record) else {
            return Ok(false);
        };
        let now = clock::now();
        let Some(on) = record.publication.rollout.clone() else {
            return Ok(false);
        };
        let suspended = self.accepted.desired.suspend;
        let next = rollout.stages.iter().find(|stage| stage.name == on.name);
        let next = next.and_then(|stage| rollout.next(stage));
        let gates = Gates {
            error: first_error(&findings(report, now)),
            held: next.and_then(|next| self.held(record, next, now)),
            approved: self.policy.annotations().get(APPROVE).map(String::as_str),
            refused: match rollout.on_failure {
                OnFailure::Rollback => rollback::proved(self.context, record, self.live).await,
                OnFailure::Freeze => None,
            },
        };
        let outlook = match rollout.due(&record.publication, &gates, now) {
            Some(Due::Wait(outlook)) => Some(outlook),
            Some(Due::Note(noted)) if !suspended => return self.write(record, noted).await,
            Some(Due::Promote(entered, next)) if !suspended && report.held.is_none() => {
                let written = self.write(record, entered).await?;
                self.tell_promoted(&on, next).await;
                return Ok(written);
            }
            Some(Due::RollBack(entered, stage)) if !suspended => {
                let written = self.write(record, entered).await?;
                let why = gates.refused.as_deref().unwrap_or_default();
                self.tell_rolled_back(&on, stage, why).await;
                return Ok(written);
            }
            _ => rollout.outlook(&record.publication, &gates, now),
        };
        let Some(outlook) = outlook else {
            return Ok(false);
        };
        report.rollout = Some(RolloutReport {
            ladder: rollout.stages.clone(),
            next: outlook.next.map(|stage| stage.name.clone()),
            rolls_back: outlook
                .rolls_back
                .map(|(stage, at)| (stage.name.clone(), at)),
            blocked_by: outlook.blocked_by,
            refused: gates.refused,
            on,
        });
        Ok(false)
    }

    /// What the live MX hosts have against the policy of the next stage.
    fn held(&self, record: &Record, next: &Stage, now: Timestamp) -> Option<Held> {
        let desired = &self.accepted.desired;
        let wanted = Policy {
            mode: next.mode,
            max_age: next.max_age,
            mx: record.publication.current.mx.clone(),
        };
        let installation = &self.context.installation;
        let before = before(Some(&record.publication), None, installation, now);
        guard(desired, wanted, before, self.live).held
    }

    async fn write(&self, record: &Record, on: OnStage) -> Result<bool, Error> {
        let mut climbed = record.clone();
        climbed.publication.rollout = Some(on);
        self.context.permit()?;
        let written = self.context.records.write(Some(self.stored), &climbed);
        written.await?;
        Ok(true)
    }

    async fn tell_promoted(&self, from: &OnStage, to: &Stage) {
        let domain = &self.accepted.desired.domain;
        tracing::info!(%domain, from = from.name, to = to.name, "a stage is over");
        let note = format!(
            "stage {} is over: {} begins (mode {}, max_age {})",
            from.name, to.name, to.mode, to.max_age
        );
        let (context, policy) = (self.context, self.policy);
        events::tell(context, policy, EventType::Normal, "StagePromoted", &note).await;
    }

    async fn tell_rolled_back(&self, from: &OnStage, to: &Stage, why: &str) {
        let domain = &self.accepted.desired.domain;
        tracing::warn!(%domain, from = from.name, to = to.name, why, "an enforced stage is taken back");
        let note = format!(
            "stage {} is taken back to {} (mode {}): senders refused mail for {} minutes: {why}",
            from.name,
            to.name,
            to.mode,
            ROLLBACK_AFTER.as_mins()
        );
        let (context, policy) = (self.context, self.policy);
        events::tell(
            context,
            policy,
            EventType::Warning,
            "StageRolledBack",
            &note,
        )
        .await;
    }
}

/// The first finding that is, or would be in mode enforce, an error.
fn first_error(found: &[Finding]) -> Option<String> {
    let counts = |finding: &&Finding| {
        let known = matches!(finding.severity, Severity::Error | Severity::Warning);
        known && finding.code.severities().enforce == Severity::Error
    };
    let first = found.iter().find(counts)?;
    Some(format!(
        "{} {}: {}",
        first.code, first.subject, first.message
    ))
}

/// When to look again, so that a stage does not last longer than it has to.
pub(super) fn sooner(report: &Report, after: Duration) -> Duration {
    let blocked = report.rollout.iter().flat_map(|it| &it.blocked_by);
    let ends = blocked.filter_map(|blocker| match blocker {
        Blocker::Duration(end) => Some(*end),
        _ => None,
    });
    let taken_back = report
        .rollout
        .iter()
        .filter_map(|it| it.rolls_back.as_ref());
    let after = match taken_back.clone().next() {
        // Each look has to see it, or time begins anew.
        Some(_) => after.min(limits::MX_LOOK_AGAIN),
        None => after,
    };
    match ends
        .max()
        .into_iter()
        .chain(taken_back.map(|(_, at)| *at))
        .min()
    {
        Some(end) => {
            let left = Duration::try_from(end.duration_since(clock::now()));
            after.min(left.unwrap_or_default() + Duration::from_millis(100))
        }
        None => after,
    }
}
