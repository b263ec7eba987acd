//! The durable record of a domain: the body that is served, the id that is announced, and the
//! ledger of everything that senders may still hold. One ConfigMap a domain.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::rollout::OnStage;
use super::tls_rpt::TlsRptNotes;
use crate::protocol::{
    Domain, HostName, InstallationId, MaxAge, Mode, MxPattern, Policy, PolicyId, Sha256Digest,
};

/// Key of the policy body in the ConfigMap's `data`.
pub const BODY_KEY: &str = "mta-sts.txt";
/// Key of the [`Publication`] in the ConfigMap's `data`.
pub const PUBLICATION_KEY: &str = "publication.json";
/// Label that every record's ConfigMap carries, with the value `record`.
pub const ROLE_LABEL: &str = "mta-sts.dev/role";
/// Value of [`ROLE_LABEL`] on a record.
pub const RECORD_ROLE: &str = "record";
/// Label of a record whose domain is on its way out, with the value `true`.
pub const RETIRING_LABEL: &str = "mta-sts.dev/retiring";
/// Annotation with the full domain, on every object that is made for one.
pub const DOMAIN_ANNOTATION: &str = "mta-sts.dev/domain";
/// Annotation with the full name of the records, on a DNSEndpoint that is made for it.
pub const RECORD_NAME_ANNOTATION: &str = "mta-sts.dev/record-name";

/// What a record's ConfigMap holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The bytes under [`BODY_KEY`].
    pub body: String,
    /// What stands under [`PUBLICATION_KEY`].
    pub publication: Publication,
}

/// Everything about a domain's publication except the body itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    /// The policy domain.
    pub domain: Domain,
    /// The object that the domain belongs to.
    pub owner: Owner,
    /// What is to be served.
    pub current: Decision,
    /// What DNS is to say; absent until the first body is proved to be out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<Announced>,
    /// Every policy that a sender may still hold, the current one included.
    pub ledger: Vec<LedgerEntry>,
    /// How and where the DNS records are written.
    pub dns: DnsState,
    /// Mode of a foreign policy that was taken over; stands until the spec names a mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_mode: Option<Mode>,
    /// Where the domain is on its ladder; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<OnStage>,
    /// Whether a policy was tried out before one enforces: in mode testing, or enforced for
    /// [`TRIED_OUT`]; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_out: Option<bool>,
    /// Whether somebody else serves the policy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// Set once the domain is on its way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retiring: Option<Retiring>,
    /// The domain is given up: a policy server forgets it. Nothing else makes it forget.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
}

/// How long a policy has to be enforced to count as tried out.
pub const TRIED_OUT: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The object that a record belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Its uid: another object of the same name is another owner.
    pub uid: String,
}

/// One decision: a body and its id, made in one write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The policy id.
    pub id: PolicyId,
    /// Digest of the body.
    pub sha256: Sha256Digest,
    /// The policy's mode.
    pub mode: Mode,
    /// The policy's max_age in seconds.
    pub max_age: MaxAge,
    /// The policy's patterns.
    pub mx: Vec<MxPattern>,
    /// When it was decided.
    pub decided_at: Timestamp,
}

/// What DNS is to say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announced {
    /// The id in the TXT record.
    pub id: PolicyId,
    /// TTL of the TXT record in seconds.
    pub ttl: u32,
    /// When it was decided to announce it.
    pub at: Timestamp,
    /// The longest that a resolver may still say something older, in seconds from the time when
    /// the last server showed this id: TTL of the record before it, or the zone's negative TTL.
    pub previous_ttl: u32,
    /// When the last authoritative server was seen to show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
}

/// A policy that senders may hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// Its id; absent for one that was only seen, never announced by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<PolicyId>,
    /// Digest of its body; absent for the worst case that stands in for a lost record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Digest>,
    /// Its mode.
    pub mode: Mode,
    /// Its max_age in seconds.
    pub max_age: MaxAge,
    /// Its patterns.
    pub mx: Vec<MxPattern>,
    /// When it was first served.
    pub first_served: Timestamp,
    /// When it was last served; absent while it is, or may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_served: Option<Timestamp>,
}

/// Which provider object writes a domain's records.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderKey {
    /// Namespace of a `DnsProvider`; absent for a `ClusterDnsProvider`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// How and where a domain's records are written: enough to take them away when the object and
/// its spec are gone.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsState {
    /// The provider; absent where records are set by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderKey>,
    /// Owner name at which the TXT record was written last (it follows a CNAME).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txt_name: Option<String>,
    /// Whether an HTTPRoute was made for the policy host: noted before it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub http_route: bool,
    /// Address records of the policy host that are ours: noted before they are written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Since when every authoritative server has shown the present address set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses_confirmed_at: Option<Timestamp>,
    /// Largest TTL of the address chain that the present one replaced, in seconds.
    #[serde(default)]
    pub addresses_previous_ttl: u32,
    /// The texts of `_smtp._tls.<domain>` that are ours: noted before they are written.
    #[serde(default, skip_serializing_if = "TlsRptNotes::is_empty")]
    pub tls_rpt: TlsRptNotes,
    /// What the operator's own name servers answer beside the TXT record; absent where somebody
    /// else's servers have the records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
}

/// What the operator's own name servers answer for a domain. The TXT record of the policy is not among
/// it: that comes from [`Publication::announced_in_dns`] alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answers {
    /// The operator's zone, below which the domain's names are.
    pub zone: HostName,
    /// The address records of the policy host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Their TTL in seconds.
    #[serde(default)]
    pub ttl: u32,
    /// The record that asks senders for reports (RFC 8460 §3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_rpt: Option<TlsRptAnswer>,
}

/// The record `_smtp._tls` as the operator's own name servers answer it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRptAnswer {
    /// Its text.
    pub text: String,
    /// Its TTL in seconds.
    pub ttl: u32,
}

/// One address record of the policy host.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// An alias.
    Cname(String),
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
}

/// A domain on its way out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retiring {
    /// When the object's deletion was seen.
    pub since: Timestamp,
    /// The operator's own name servers are to say nothing any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
    /// What the object asked for.
    #[serde(default)]
    pub policy: DeletionPolicy,
    /// When the API server was asked for its time, to compare with ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_asked_at: Option<Timestamp>,
    /// When it was found, by two clocks, that no sender holds a policy any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_at: Option<Timestamp>,
    /// When every authoritative server was seen to have lost the TXT record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txt_gone_at: Option<Timestamp>,
}

/// What becomes of a domain whose object was deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// `none` is published, and what senders hold is waited for (RFC 8461 §8.3).
    #[default]
    Graceful,
    /// All is taken away at once.
    Immediate,
    /// All stays as it is.
    Retain,
}

/// Why a ConfigMap is no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A key is missing.
    #[error("the ConfigMap has no {0}")]
    KeyMissing(&'static str),
    /// The publication is not what this version writes.
    #[error("{PUBLICATION_KEY} cannot be read: {0}")]
    Publication(#[from] serde_json::Error),
    /// Somebody edited the body: it is not the one that was decided.
    #[error("{BODY_KEY} is not the body whose SHA-256 is {expected}")]
    BodyChanged {
        /// Digest of the body that was decided.
        expected: Sha256Digest,
        /// What could be read all the same.
        publication: Box<Publication>,
    },
}

impl Publication {
    /// What the operator's own name servers announce: the id that DNS is to say, until the domain
    /// on its way out has taken it back.
    pub fn announced_in_dns(&self) -> Option<&Announced> {
        self.announced.as_ref().filter(|_| !self.is_withdrawn())
    }

    /// What they answer for `_smtp._tls`, until then.
    pub fn tls_rpt_in_dns(&self) -> Option<&TlsRptAnswer> {
        let answer = self.dns.answers.as_ref()?.tls_rpt.as_ref();
        answer.filter(|_| !self.is_withdrawn())
    }

    fn is_withdrawn(&self) -> bool {
        self.retired || self.retiring.as_ref().is_some_and(|r| r.withdrawn)
    }
}

impl Decision {
    /// The decision for a policy, with an id above `previous`; and its body.
    pub fn of(
        policy: &Policy,
        installation: &InstallationId,
        previous: Option<&PolicyId>,
        now: Timestamp,
    ) -> (String, Self) {
        let body = policy.render();
        let sha256 = Sha256Digest::of(body.as_bytes());
        let decision = Self {
            id: PolicyId::issue(now, &sha256, installation, previous),
            sha256,
            mode: policy.mode,
            max_age: policy.max_age,
            mx: policy.mx.clone(),
            decided_at: now,
        };
        (body, decision)
    }
}

impl LedgerEntry {
    /// The entry of a decision that is served from now on.
    pub fn of(decision: &Decision, now: Timestamp) -> Self {
        Self {
            id: Some(decision.id.clone()),
            sha256: Some(decision.sha256),
            mode: decision.mode,
            max_age: decision.max_age,
            mx: decision.mx.clone(),
            first_served: now,
            last_served: None,
        }
    }
}

impl Record {
    /// Reads a ConfigMap's `data`. A body whose digest is not that of the current decision is an
    /// error: it must never be served.
    pub fn from_data(data: &BTreeMap<String, String>) -> Result<Self, RecordError> {
        let publication = data
            .get(PUBLICATION_KEY)
            .ok_or(RecordError::KeyMissing(PUBLICATION_KEY))?;
        let publication: Publication = serde_json::from_str(publication)?;
        let body = data.get(BODY_KEY).cloned().unwrap_or_default();
        if Sha256Digest::of(body.as_bytes()) != publication.current.sha256 {
            return Err(RecordError::BodyChanged {
                expected: publication.current.sha256,
                publication: Box::new(publication),
            });
        }
        Ok(Self { body, publication })
    }

    /// The `data` of the record's ConfigMap.
    pub fn to_data(&self) -> Result<BTreeMap<String, String>, RecordError> {
        Ok(BTreeMap::from([
            (BODY_KEY.to_owned(), self.body.clone()),
            (
                PUBLICATION_KEY.to_owned(),
                serde_json::to_string_pretty(&self.publication)?,
            ),
        ]))
    }
}
