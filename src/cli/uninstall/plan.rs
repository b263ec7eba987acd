//! What there is to take away. (io to read it; the rest is arithmetic on times)

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, ResourceExt as _};

use super::Site;
use crate::api::{FINALIZER, MtaStsPolicy};
use crate::cli::cluster::{ClusterError, is_missing};
use crate::cli::retirements::records;
use crate::cli::status::pages;
use crate::cli::words::time_and_distance;
use crate::lifecycle::{DeletionPolicy, LedgerEntry, Publication};
use crate::protocol::Mode;

/// All policies and records of an installation.
pub(super) struct Plan {
    pub(super) policies: Vec<DynamicObject>,
    pub(super) records: Vec<Publication>,
}

impl Plan {
    pub(super) async fn read(site: &Site<'_>) -> Result<Self, ClusterError> {
        Ok(Self {
            policies: policies(site).await?,
            records: records(&site.cluster, &site.namespace).await?,
        })
    }

    /// The record of an object.
    pub(super) fn record_of(&self, policy: &DynamicObject) -> Option<&Publication> {
        let uid = policy.uid()?;
        self.records.iter().find(|record| record.owner.uid == uid)
    }

    /// Records whose object is gone though nobody saw its deletion.
    pub(super) fn orphans(&self) -> impl Iterator<Item = &Publication> {
        let has_object = |record: &Publication| {
            let uid = Some(&record.owner.uid);
            self.policies
                .iter()
                .any(|policy| policy.metadata.uid.as_ref() == uid)
        };
        let records = self.records.iter();
        records.filter(move |record| record.retiring.is_none() && !has_object(record))
    }

    /// Records on their way out.
    pub(super) fn retiring(&self) -> impl Iterator<Item = &Publication> {
        let records = self.records.iter();
        records.filter(|record| policy_of(record).is_some_and(|p| p != DeletionPolicy::Retain))
    }

    /// Records that are kept though their object is gone.
    pub(super) fn retained(&self) -> impl Iterator<Item = &Publication> {
        let records = self.records.iter();
        records.filter(|record| policy_of(record) == Some(DeletionPolicy::Retain))
    }
}

/// The policies of the namespaces that the installation watches. No kind, no policies.
pub(super) async fn policies(site: &Site<'_>) -> Result<Vec<DynamicObject>, ClusterError> {
    let resource = ApiResource::erase::<MtaStsPolicy>(&());
    let client = &site.cluster.client;
    let watched = &site.args.watch_namespaces;
    let apis: Vec<Api<DynamicObject>> = if watched.is_empty() {
        vec![Api::all_with(client.clone(), &resource)]
    } else {
        let of = |namespace: &String| Api::namespaced_with(client.clone(), namespace, &resource);
        watched.iter().map(of).collect()
    };
    let mut found = Vec::new();
    for api in apis {
        match pages(&api, &ListParams::default()).await {
            Ok(mut some) => found.append(&mut some),
            Err(error) if is_missing(&error) => {}
            Err(error) => {
                let what = "the MtaStsPolicy objects cannot be listed";
                return Err(ClusterError::api(what)(error));
            }
        }
    }
    Ok(found)
}

/// Namespace and name of an object.
pub(super) fn place(object: &DynamicObject) -> String {
    format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

/// The domain of an object, as it stands there.
pub(super) fn domain_of(object: &DynamicObject) -> String {
    let domain = object.data.pointer("/spec/domain");
    let domain = domain.and_then(|domain| domain.as_str());
    domain.unwrap_or("a domain that cannot be read").to_owned()
}

/// What becomes of a record whose object is gone.
fn policy_of(record: &Publication) -> Option<DeletionPolicy> {
    record.retiring.as_ref().map(|retiring| retiring.policy)
}

/// What becomes of the domain when the object is deleted.
pub(super) fn deletion_policy(object: &DynamicObject) -> DeletionPolicy {
    let written = object.data.pointer("/spec/deletionPolicy");
    let written = written.and_then(|word| serde_json::from_value(word.clone()).ok());
    written.unwrap_or_default()
}

/// Whether our finalizer is on it.
pub(super) fn is_held(object: &DynamicObject) -> bool {
    object.finalizers().iter().any(|f| f == FINALIZER)
}

/// Until when a sender may refuse mail by a policy that was served until `now`.
pub(super) fn enforced_until(record: &Publication, now: Timestamp) -> Option<Timestamp> {
    let enforce = record.ledger.iter().filter(|e| e.mode == Mode::Enforce);
    enforce
        .map(|entry: &LedgerEntry| entry.held_until(now))
        .max()
}

/// What is said of the senders of a domain that nobody looks after any more.
pub(super) fn senders(record: &Publication, now: Timestamp) -> String {
    match enforced_until(record, now) {
        Some(until) => format!(
            "senders may go by a policy in enforce until {}: keep its MX hosts and their certificates until then",
            time_and_distance(until, now)
        ),
        None => "no sender refuses mail by it".to_owned(),
    }
}

/// How far each domain is, by name.
pub(super) type Progress = BTreeMap<String, String>;
