//! Senders of mail with their caches: those that follow RFC 8461, and two kinds that are known not to.

use jiff::{SignedDuration, Timestamp};
use mta_sts_operator::protocol::{HostName, Mode, Policy, PolicyId, Sha256Digest};

/// How a sender treats what it has cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// By the RFC: a new id is followed at once.
    Conforming,
    /// The id is not looked at until the copy ends.
    IgnoresId,
    /// Every copy is kept for a day at least.
    KeepsADay,
}

/// A policy that a sender holds.
#[derive(Clone, Debug)]
pub struct Copy {
    pub policy: Policy,
    pub id: PolicyId,
    pub body: Sha256Digest,
    pub until: Timestamp,
}

/// A sender.
#[derive(Clone, Debug)]
pub struct Sender {
    pub kind: Kind,
    /// Which resolver it asks.
    pub resolver: usize,
    pub copy: Option<Copy>,
}

/// What a resolver remembers of the TXT record.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    pub known: Option<(Option<PolicyId>, Timestamp)>,
}

impl Sender {
    /// Whether it asks for the policy, where the DNS announces `id`.
    pub fn asks(&self, id: Option<&PolicyId>, now: Timestamp) -> bool {
        let held = self.copy.as_ref().filter(|copy| copy.until > now);
        match (held, id) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(copy), Some(id)) => self.kind != Kind::IgnoresId && copy.id != *id,
        }
    }

    /// Takes in a policy that it got for `id`.
    pub fn takes(&mut self, id: PolicyId, body: &str, now: Timestamp) {
        let policy = Policy::parse(body.as_bytes()).expect("a policy of ours");
        let body = Sha256Digest::of(body.as_bytes());
        let least = match self.kind {
            Kind::KeepsADay | Kind::IgnoresId => 86_400,
            Kind::Conforming => 0,
        };
        let seconds = policy.max_age.seconds().max(least);
        let until = now + SignedDuration::from_secs(i64::from(seconds));
        self.copy = Some(Copy {
            policy,
            id,
            body,
            until,
        });
    }

    /// Whether it refuses to send to any of these hosts.
    pub fn refuses(&self, live: &[HostName], now: Timestamp) -> Option<&Copy> {
        let copy = self.copy.as_ref().filter(|copy| copy.until > now)?;
        let accepts = |host: &HostName| copy.policy.mx.iter().any(|it| it.matches(host));
        let refused = copy.policy.mode == Mode::Enforce && !live.iter().any(accepts);
        refused.then_some(copy)
    }
}
