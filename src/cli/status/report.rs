//! What `mta-sts status` tells, as data: the shape of its JSON.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde::Serialize;

use crate::api::{
    Condition, ConditionStatus, ConditionType, MtaStsPolicyStatus, RecordStatus, RolloutStatus,
};
use crate::lifecycle::record::PUBLICATION_KEY;
use crate::lifecycle::{LedgerEntry, Publication};

/// Name and version of the JSON document.
const SCHEMA: &str = "mta-sts.status/1";

/// The whole answer.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub(super) struct Report {
    schema: &'static str,
    pub(super) policies: Vec<PolicyReport>,
}

/// What is to be thought of a policy.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// Published, and nothing is wrong with it.
    Ok,
    /// Work is going on.
    Pending,
    /// Somebody has to do something, and what is published is safe.
    Warning,
    /// It is refused, stuck, or what is published loses mail.
    Error,
    /// Nobody has looked at it.
    Unknown,
}

/// One policy.
#[derive(Serialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyReport {
    pub(super) namespace: String,
    pub(super) name: String,
    #[serde(skip)]
    pub(super) uid: String,
    pub(super) domain: Option<String>,
    pub(super) verdict: Verdict,
    pub(super) ready: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) id: Option<String>,
    pub(super) max_age_seconds: Option<i64>,
    pub(super) mx: Vec<String>,
    /// When body and id were decided.
    pub(super) decided_at: Option<Timestamp>,
    pub(super) announced_at: Option<Timestamp>,
    pub(super) conforming_senders_by: Option<Timestamp>,
    pub(super) all_senders_by: Option<Timestamp>,
    /// Whether the status is about the spec as it is now.
    pub(super) current: bool,
    pub(super) deleted_at: Option<Timestamp>,
    pub(super) conditions: Vec<ConditionReport>,
    /// Where the domain is on its ladder; null without one.
    pub(super) rollout: Option<RolloutStatus>,
    pub(super) records: Vec<RecordSetReport>,
    pub(super) findings: Vec<FindingReport>,
    pub(super) findings_total: i64,
    /// The durable record; null where many policies are shown.
    pub(super) record: Option<RecordReport>,
}

#[derive(Serialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConditionReport {
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) since: Timestamp,
}

#[derive(Serialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordSetReport {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) value: String,
    pub(super) ttl_seconds: i64,
    pub(super) state: String,
    pub(super) servers: Vec<ServerReport>,
}

#[derive(Serialize, Clone, PartialEq, Debug)]
pub(super) struct ServerReport {
    pub(super) address: String,
    pub(super) answer: String,
}

#[derive(Serialize, Clone, PartialEq, Debug)]
pub(super) struct FindingReport {
    pub(super) code: String,
    pub(super) severity: String,
    pub(super) subject: String,
    pub(super) message: String,
}

/// The durable record of the domain.
#[derive(Serialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordReport {
    /// Namespace and name of its ConfigMap.
    pub(super) config_map: String,
    /// Why it cannot be read; null where it can.
    pub(super) unreadable: Option<String>,
    /// The object that it belongs to, where that is another one.
    pub(super) owner: Option<String>,
    pub(super) retiring_since: Option<Timestamp>,
    pub(super) ledger: Vec<HeldReport>,
}

/// A policy that senders may hold.
#[derive(Serialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeldReport {
    pub(super) id: Option<String>,
    pub(super) current: bool,
    pub(super) mode: String,
    pub(super) max_age_seconds: u32,
    pub(super) mx: Vec<String>,
    pub(super) first_served: Timestamp,
    /// Null while it is served, or may be.
    pub(super) last_served: Option<Timestamp>,
    /// When the last sender gives it up; null while it is served.
    pub(super) held_until: Option<Timestamp>,
}

impl Report {
    pub(super) fn new(policies: Vec<PolicyReport>) -> Self {
        Self {
            schema: SCHEMA,
            policies,
        }
    }
}

impl PolicyReport {
    /// What an object says, also one whose spec does not fit its type.
    pub(super) fn of(object: &DynamicObject) -> Self {
        let status = object.data.get("status").cloned().unwrap_or_default();
        let status: MtaStsPolicyStatus = serde_json::from_value(status).unwrap_or_default();
        let spec = object.data.get("spec");
        let domain = spec.and_then(|spec| spec.get("domain")?.as_str());
        let policy = status.policy.as_ref();
        let ready = condition(&status, ConditionType::Ready);
        let caches = status.caches.clone().unwrap_or_default();
        let records = status.dns.iter().flat_map(|dns| &dns.records);
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            domain: domain.map(str::to_owned),
            verdict: verdict(&status),
            ready: ready.map(|ready| ready.status.to_string()),
            reason: ready.map(|ready| ready.reason.clone()),
            mode: policy.map(|policy| policy.mode.as_str().to_owned()),
            id: policy.map(|policy| policy.id.clone()),
            max_age_seconds: policy.map(|policy| policy.max_age_seconds),
            mx: policy.map(|policy| policy.mx.clone()).unwrap_or_default(),
            decided_at: policy.and_then(|policy| policy.served_since),
            announced_at: policy.and_then(|policy| policy.announced_at),
            conforming_senders_by: caches.conforming_senders_by,
            all_senders_by: caches.all_senders_by,
            current: status.observed_generation == object.metadata.generation,
            deleted_at: object.metadata.deletion_timestamp.as_ref().map(|t| t.0),
            rollout: status.rollout.clone(),
            conditions: status.conditions.iter().map(ConditionReport::of).collect(),
            records: records.map(RecordSetReport::of).collect(),
            findings: status.findings.iter().map(FindingReport::of).collect(),
            findings_total: status.findings_total.unwrap_or_default(),
            record: None,
        }
    }

    /// Until when a sender may hold an older policy, if that is still to come.
    pub(super) fn older_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.all_senders_by.filter(|by| *by > now)
    }
}

fn condition(status: &MtaStsPolicyStatus, type_: ConditionType) -> Option<&Condition> {
    let mut all = status.conditions.iter();
    all.find(|condition| condition.type_ == type_.as_str())
}

fn verdict(status: &MtaStsPolicyStatus) -> Verdict {
    let is = |type_, wanted| condition(status, type_).is_some_and(|c| c.status == wanted);
    let (yes, no) = (ConditionStatus::True, ConditionStatus::False);
    if status.conditions.is_empty() {
        Verdict::Unknown
    } else if is(ConditionType::Stalled, yes)
        || is(ConditionType::Accepted, no)
        || is(ConditionType::Healthy, no)
        || status.findings.iter().any(|f| f.severity == "error")
    {
        Verdict::Error
    } else if is(ConditionType::Ready, yes) {
        Verdict::Ok
    } else if is(ConditionType::Reconciling, yes) {
        Verdict::Pending
    } else {
        Verdict::Warning
    }
}

impl ConditionReport {
    fn of(condition: &Condition) -> Self {
        Self {
            type_: condition.type_.clone(),
            status: condition.status.to_string(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            since: condition.last_transition_time,
        }
    }
}

impl RecordSetReport {
    fn of(record: &RecordStatus) -> Self {
        let servers = record.servers.iter().map(|server| ServerReport {
            address: server.address.clone(),
            answer: server.answer.clone(),
        });
        Self {
            name: record.name.clone(),
            type_: record.type_.clone(),
            value: record.value.clone(),
            ttl_seconds: record.ttl_seconds,
            state: format!("{:?}", record.state),
            servers: servers.collect(),
        }
    }
}

impl FindingReport {
    fn of(finding: &crate::api::FindingStatus) -> Self {
        Self {
            code: finding.code.clone(),
            severity: finding.severity.clone(),
            subject: finding.subject.clone(),
            message: finding.message.clone(),
        }
    }
}

impl RecordReport {
    pub(super) fn of(config_map: String, object: &ConfigMap, uid: &str) -> Self {
        let data = object.data.as_ref();
        let text = data.and_then(|data| data.get(PUBLICATION_KEY));
        match text.map(|text| serde_json::from_str::<Publication>(text)) {
            Some(Ok(publication)) => Self::of_publication(config_map, &publication, uid),
            Some(Err(error)) => Self::unreadable(config_map, error.to_string()),
            None => Self::unreadable(config_map, format!("it has no {PUBLICATION_KEY}")),
        }
    }

    fn of_publication(config_map: String, publication: &Publication, uid: &str) -> Self {
        let owner = &publication.owner;
        let other = owner.uid != uid;
        let current = &publication.current.id;
        Self {
            config_map,
            unreadable: None,
            owner: other.then(|| format!("{}/{}", owner.namespace, owner.name)),
            retiring_since: publication.retiring.as_ref().map(|r| r.since),
            ledger: publication
                .ledger
                .iter()
                .map(|entry| HeldReport::of(entry, entry.id.as_ref() == Some(current)))
                .collect(),
        }
    }

    pub(super) fn unreadable(config_map: String, why: String) -> Self {
        Self {
            config_map,
            unreadable: Some(why),
            owner: None,
            retiring_since: None,
            ledger: Vec::new(),
        }
    }
}

impl HeldReport {
    fn of(entry: &LedgerEntry, current: bool) -> Self {
        Self {
            id: entry.id.as_ref().map(ToString::to_string),
            current,
            mode: entry.mode.as_str().to_owned(),
            max_age_seconds: entry.max_age.seconds(),
            mx: entry.mx.iter().map(ToString::to_string).collect(),
            first_served: entry.first_served,
            last_served: entry.last_served,
            held_until: entry.last_served.map(|last| entry.held_until(last)),
        }
    }
}
