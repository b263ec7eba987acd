//! The step of a publication that is due, carried out. (io)

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::events::EventType;

use super::accept::Accepted;
use super::context::Context;
use super::error::{Error, ProviderError};
use super::events;
use super::hold::{alias_told, provider_hold};
use super::observe::DnsSeen;
use super::reconcile::{Next, back_off};
use super::records::Stored;
use super::report::{Hold, Report};
use crate::api::MtaStsPolicy;
use crate::clock;
use crate::dns::Swap;
use crate::lifecycle::observation::{Observation, printable};
use crate::lifecycle::publish::{self, NotServed, Progress, Served, Step};
use crate::lifecycle::txt::TxtSet;
use crate::lifecycle::{Announced, Record};
use crate::protocol::Domain;

/// Remembers since when the body has been out, for a cache in front that may hold the old one.
pub(super) fn note_fresh(context: &Context, record: &Record, progress: &Progress, now: Timestamp) {
    let fresh = matches!(
        progress.served,
        Served::Yes | Served::No(NotServed::Cached(_))
    );
    let id = &record.publication.current.id;
    context
        .memory
        .of(&record.publication.domain, |memory| match &memory.fresh {
            Some((known, _)) if known == id => {}
            _ if fresh => memory.fresh = Some((id.clone(), now)),
            _ => {}
        });
}

/// Everything that carrying out the due step needs.
pub(super) struct Due<'a> {
    pub(super) context: &'a Context,
    pub(super) policy: &'a MtaStsPolicy,
    pub(super) accepted: &'a Accepted,
    pub(super) stored: &'a Stored,
    pub(super) record: &'a Record,
    pub(super) dns: &'a DnsSeen,
    pub(super) progress: &'a Progress,
    pub(super) seen: &'a Observation,
}

impl Due<'_> {
    /// Carries out the step that is due. What holds it goes into the report.
    pub(super) async fn carry_out(&self, report: &mut Report) -> Result<Next, Error> {
        let now = clock::now();
        if self.accepted.desired.suspend {
            return Ok(Next::Wait(self.context.settings.probe_interval()));
        }
        if let Some(reopened) = publish::reopen_ledger(self.record, self.seen) {
            return self.write(&reopened).await;
        }
        if let Some(noted) = publish::note_external(self.record, self.seen, now) {
            return self.write(&noted).await;
        }
        match self.progress.step {
            Step::AwaitBody => Ok(self.wait("body", now)),
            Step::Announce if report.hold.is_some() => Ok(self.wait("hold", now)),
            Step::Announce => self.announce(now).await,
            Step::WriteTxt => self.write_txt(report, now).await,
            Step::Confirm => self.confirm(now).await,
            Step::CloseLedger => self.write(&publish::close_ledger(self.record, now)).await,
            Step::Done => self.done(report, now).await,
        }
    }

    async fn write(&self, record: &Record) -> Result<Next, Error> {
        self.context.permit()?;
        self.context
            .records
            .write(Some(self.stored), record)
            .await?;
        Ok(Next::Again)
    }

    fn wait(&self, what: &str, now: Timestamp) -> Next {
        let domain = &self.record.publication.domain;
        let id = &self.record.publication.current.id;
        let since = self.context.memory.of(domain, |memory| {
            memory.waiting_since(&format!("{what} {id}"), now)
        });
        Next::Wait(back_off(Some(since), Duration::from_secs(60)))
    }

    async fn announce(&self, now: Timestamp) -> Result<Next, Error> {
        let decided = self.record.publication.current.decided_at;
        self.context.metrics.step("served", decided, now);
        let mut announced = publish::announce(
            self.record,
            self.ttl().unwrap_or(self.accepted.desired.ttl),
            self.dns.txt_ttl(),
            now,
        );
        announced.publication.dns.txt_name = Some(self.dns.txt_name.clone());
        self.write(&announced).await
    }

    async fn write_txt(&self, report: &mut Report, now: Timestamp) -> Result<Next, Error> {
        let Some(announced) = &self.record.publication.announced else {
            return Ok(self.wait("txt", now));
        };
        let view = match &self.dns.provider {
            Some(Ok(view)) if report.hold.is_none() => view,
            _ => return Ok(self.wait("txt", now)),
        };
        let present = view.txt(&self.context.installation);
        if present.shows_exactly(&announced.id) && !view.txt_is_stale() {
            // The other servers follow by themselves.
            return Ok(self.wait("servers", now));
        }
        if announced.confirmed_at.is_some() && !self.may_repair(now) {
            report.hold = Some(Hold::Drift(describe(&present)));
            return Ok(self.wait("drift", now));
        }
        match view
            .write_txt(self.context, Some(&announced.id), self.accepted.desired.ttl)
            .await?
        {
            Ok(Swap::Done) => {
                if announced.confirmed_at.is_some() {
                    self.note_repair(now);
                }
                self.context.metrics.step("txt", announced.at, now);
                Ok(Next::Again)
            }
            // Somebody wrote in between. If he does so all the time, this must not be a race.
            Ok(Swap::Conflict) => Ok(Next::Wait(Duration::from_millis(500))),
            Err(error) => {
                report.hold = Some(self.write_held(&error));
                Ok(self.wait("txt", now))
            }
        }
    }

    fn write_held(&self, error: &ProviderError) -> Hold {
        let own_name = self.record.publication.domain.sts_record_name();
        alias_told(provider_hold(error), &own_name, &self.dns.txt_name)
    }

    /// A record that somebody changed is repaired twice an hour, not more: a rival that writes
    /// as well would otherwise be fought for ever.
    fn may_repair(&self, now: Timestamp) -> bool {
        const HOUR: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
        let domain = &self.record.publication.domain;
        self.context.memory.of(domain, |memory| {
            memory.repairs.retain(|at| now.duration_since(*at) < HOUR);
            memory.repairs.len() < 2
        })
    }

    fn note_repair(&self, now: Timestamp) {
        let domain = &self.record.publication.domain;
        self.context
            .memory
            .of(domain, |memory| memory.repairs.push(now));
        self.context.metrics.repaired();
    }

    async fn confirm(&self, now: Timestamp) -> Result<Next, Error> {
        let publication = &self.record.publication;
        let next = self.write(&publish::confirm(self.record, now)).await?;
        self.context
            .metrics
            .step("confirmed", publication.current.decided_at, now);
        let note = format!(
            "policy {} with mode {} is published: every authoritative server shows its id",
            publication.current.id, publication.current.mode
        );
        tracing::info!(domain = %publication.domain, id = %publication.current.id, "published");
        events::tell(
            self.context,
            self.policy,
            EventType::Normal,
            "Published",
            &note,
        )
        .await;
        Ok(next)
    }

    /// The TTL that our records have, or are to have; `None` while that cannot be known.
    fn ttl(&self) -> Option<u32> {
        let wanted = self.accepted.desired.ttl;
        match &self.dns.provider {
            Some(Ok(view)) => Some(view.ttl(wanted)),
            Some(Err(_)) => None,
            None => Some(wanted),
        }
    }

    /// Writes a changed TTL, if there is one.
    async fn change_ttl(
        &self,
        announced: &Announced,
        report: &mut Report,
        now: Timestamp,
    ) -> Result<Option<Next>, Error> {
        let (Some(ttl), None) = (self.ttl(), &report.hold) else {
            return Ok(None);
        };
        let view = match &self.dns.provider {
            Some(Ok(view)) => Some(view),
            _ => None,
        };
        let noted = announced.ttl == ttl;
        // Where the service does not tell the TTL, it is noted only after it was written.
        let due = view.filter(|view| match view.txt_ttl() {
            _ if view.txt_is_stale() => true,
            Some(present) => noted && present != ttl,
            None => !noted && view.ttl_untold(),
        });
        if let Some(view) = due {
            let written = view.write_txt(self.context, Some(&announced.id), ttl);
            match written.await? {
                Ok(Swap::Done) => {}
                Ok(Swap::Conflict) => return Ok(Some(Next::Wait(Duration::from_millis(500)))),
                Err(error) => {
                    report.hold = Some(self.write_held(&error));
                    return Ok(Some(self.wait("heal", now)));
                }
            }
        }
        if !noted {
            let mut changed = self.record.clone();
            if let Some(announced) = &mut changed.publication.announced {
                announced.ttl = ttl;
            }
            return self.write(&changed).await.map(Some);
        }
        Ok(due.map(|_| Next::Again))
    }

    /// Everything is published: only a changed TTL may be left to write.
    async fn done(&self, report: &mut Report, now: Timestamp) -> Result<Next, Error> {
        let Some(announced) = &self.record.publication.announced else {
            return Ok(self.wait("done", now));
        };
        if let Some(next) = self.change_ttl(announced, report, now).await? {
            return Ok(next);
        }
        if self.progress.served != Served::Yes || report.hold.is_some() {
            return Ok(self.wait("heal", now));
        }
        let domain = &self.record.publication.domain;
        self.context
            .memory
            .of(domain, |memory| memory.waiting = None);
        Ok(Next::Wait(jittered(
            self.context.settings.probe_interval(),
            domain,
        )))
    }
}

/// Spreads the probes of many domains: up to a tenth more, by the domain's name.
fn jittered(interval: Duration, domain: &Domain) -> Duration {
    let spread = domain.as_str().bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    interval + interval.mul_f64(f64::from(spread % 1000) / 10_000.0)
}

fn describe(txt: &TxtSet) -> String {
    let foreign = txt.foreign().iter().map(|text| printable(text));
    let ours = txt.ours().map(|id| format!("id {id}"));
    let all: Vec<String> = foreign.chain(ours).collect();
    if all.is_empty() {
        "no record".to_owned()
    } else {
        all.join(", ")
    }
}
