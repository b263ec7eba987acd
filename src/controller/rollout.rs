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
use crate::api::MtaStsPolicy;
use crate::clock;
use crate::diagnosis::{Finding, Severity};
use crate::lifecycle::Record;
use crate::lifecycle::guard::{Held, LiveMx, before, guard};
use crate::lifecycle::rollout::{Blocker, Gates, OnStage, Rollout, Stage};
use crate::protocol::Policy;

/// Annotation: the stage that somebody has approved.
const APPROVE: &str = "mta-sts.dev/approve";

/// Where a domain is on its ladder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RolloutReport {
    pub(super) on: OnStage,
    /// The names of all stages, lowest first.
    pub(super) ladder: Vec<String>,
    pub(super) next: Option<String>,
    pub(super) blocked_by: Vec<Blocker>,
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
        let error = first_error(&findings(report, now));
        let suspended = self.accepted.desired.suspend;
        if let Some(clocked) = on.clocked(error.is_some(), now).filter(|_| !suspended) {
            return self.write(record, clocked).await;
        }
        let approved = self.policy.annotations().get(APPROVE);
        let next = rollout.stages.iter().find(|stage| stage.name == on.name);
        let next = next.and_then(|stage| rollout.next(stage));
        let gates = Gates {
            error,
            held: next.and_then(|next| self.held(record, next, now)),
            approved: approved.map(String::as_str),
        };
        let Some(outlook) = rollout.outlook(&record.publication, &gates, now) else {
            return Ok(false);
        };
        if let (Some(next), true, false) = (
            outlook.next,
            outlook.blocked_by.is_empty(),
            suspended || report.held.is_some(),
        ) {
            let written = self.write(record, OnStage::enter(next, now)).await?;
            self.tell(&on, next).await;
            return Ok(written);
        }
        let (next, blocked_by) = (outlook.next.map(|s| s.name.clone()), outlook.blocked_by);
        report.rollout = Some(RolloutReport {
            ladder: names(rollout),
            next,
            blocked_by,
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

    async fn tell(&self, from: &OnStage, to: &Stage) {
        let domain = &self.accepted.desired.domain;
        tracing::info!(%domain, from = from.name, to = to.name, "a stage is over");
        let note = format!(
            "stage {} is over: {} begins (mode {}, max_age {})",
            from.name, to.name, to.mode, to.max_age
        );
        let (context, policy) = (self.context, self.policy);
        events::tell(context, policy, EventType::Normal, "StagePromoted", &note).await;
    }
}

fn names(rollout: &Rollout) -> Vec<String> {
    let stages = rollout.stages.iter();
    stages.map(|stage| stage.name.clone()).collect()
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
    match ends.max() {
        Some(end) => {
            let left = Duration::try_from(end.duration_since(clock::now()));
            after.min(left.unwrap_or_default() + Duration::from_millis(100))
        }
        None => after,
    }
}
