//! Every version of every record, as the API server tells it: what a look now and then would miss.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use mta_sts_operator::lifecycle::Publication;
use mta_sts_operator::lifecycle::record::PUBLICATION_KEY;
use mta_sts_operator::protocol::PolicyId;
use tokio::task::JoinHandle;

use super::world::{SYSTEM, World};

const RECORDS: &str = "mta-sts.dev/role=record";

/// Keeps every version of every record until it is dropped.
pub struct Chronicle {
    task: JoinHandle<()>,
    versions: Arc<Mutex<Vec<Publication>>>,
}

impl Chronicle {
    /// Starts with the next version of each record.
    pub async fn keep(world: &World) -> Self {
        let api = Api::<ConfigMap>::namespaced(world.client.clone(), SYSTEM);
        let listed = api
            .list(&ListParams::default().labels(RECORDS))
            .await
            .unwrap();
        let from = listed.metadata.resource_version.unwrap();
        let versions = Arc::<Mutex<Vec<Publication>>>::default();
        let task = tokio::spawn(follow(api, from, versions.clone()));
        Self { task, versions }
    }

    /// All versions of the record of a domain, in order.
    pub fn of(&self, domain: &str) -> Vec<Publication> {
        let all = self.versions.lock().unwrap();
        let of_domain = all.iter().filter(|p| p.domain.as_str() == domain);
        of_domain.cloned().collect()
    }

    /// Gives the ids that were decided for a domain. Panics if they ever went backwards, if one
    /// stood for two bodies, or if the ledger ever lacked a policy that a sender may hold. (None
    /// that a test serves can run out while it lasts: each is held for a day at least.)
    pub fn decided(&self, domain: &str) -> Vec<PolicyId> {
        let versions = self.of(domain);
        let mut decided: Vec<(PolicyId, String)> = Vec::new();
        for (index, version) in versions.iter().enumerate() {
            let current = &version.current;
            let (id, body) = (current.id.clone(), current.sha256.to_string());
            if decided.last() != Some(&(id.clone(), body.clone())) {
                let last = decided.last().map(|(id, _)| id);
                assert!(last < Some(&id), "version {index}: {id} after {last:?}");
                decided.push((id, body));
            }
            let held: BTreeSet<_> = version.ledger.iter().flat_map(|e| &e.id).collect();
            for (id, _) in &decided {
                assert!(held.contains(id), "version {index} forgot {id}: {held:?}");
            }
            if let Some(announced) = &version.announced {
                assert!(held.contains(&announced.id) && announced.id <= current.id);
            }
        }
        decided.into_iter().map(|(id, _)| id).collect()
    }
}

impl Drop for Chronicle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(api: Api<ConfigMap>, mut from: String, versions: Arc<Mutex<Vec<Publication>>>) {
    let params = WatchParams::default().labels(RECORDS);
    loop {
        let Ok(events) = api.watch(&params, &from).await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    from = object.metadata.resource_version.clone().unwrap();
                    let data = object.data.unwrap_or_default();
                    let publication = data.get(PUBLICATION_KEY).expect("a publication");
                    let publication = serde_json::from_str(publication).expect("a publication");
                    versions.lock().unwrap().push(publication);
                }
                WatchEvent::Deleted(object) => from = object.metadata.resource_version.unwrap(),
                WatchEvent::Bookmark(bookmark) => from = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => panic!("the records are lost from sight: {status:?}"),
            }
        }
    }
}
