//! People who change by hand what is the operator's: it is put right again, and what may have been
//! served meanwhile is not forgotten.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use mta_sts_operator::lifecycle::{LedgerEntry, Publication, Record};
use mta_sts_operator::protocol::{MaxAge, Mode, Policy, PolicyId, Sha256Digest};
use serde_json::{Value, json};
use support::http;
use support::place::Place;
use support::wait::{always, ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, name};

/// Long enough to see that something does not happen.
const WHILE: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_by_hand_heals() {
    let names = [
        "deleted", "body", "both", "old", "garbled", "ingress", "orphan",
    ];
    let domains = names.map(|name| format!("{name}.example"));
    let all: Vec<&str> = domains.iter().map(String::as_str).collect();
    let place = Place::start(&all).await;
    for domain in &all {
        place.world.policy(domain, json!({})).await;
    }
    for domain in &all {
        place.world.ready(domain).await;
    }
    let [deleted, body, both, old, garbled, ingress, orphan] = all[..] else {
        unreachable!()
    };
    tokio::join!(
        a_deleted_record(&place, deleted),
        an_edited_body(&place, body),
        an_edited_policy(&place, both),
        a_record_from_a_backup(&place, old),
        a_garbled_record(&place, garbled),
        a_deleted_ingress(&place, ingress),
    );
    an_object_that_is_lost(&place, orphan).await;
}

/// What is lost is taken for the worst: nobody knows what senders hold.
async fn a_deleted_record(place: &Place, domain: &str) {
    let before = place.current(domain).await;
    let record = place.world.record(domain).await.unwrap();
    let params = DeleteParams::default();
    place
        .records()
        .delete(&record.name_any(), &params)
        .await
        .unwrap();
    let after = place.another_id(domain, &before).await;
    assert!(after.has_worst_case(), "{:?}", after.0);
}

/// Nobody has served the edit, so the id stays.
async fn an_edited_body(place: &Place, domain: &str) {
    let before = place.current(domain).await;
    let served = place.world.body(domain).await.unwrap();
    let edited = served.replace("mail.", "evil.");
    place.edit(domain, json!({"mta-sts.txt": edited})).await;
    eventually("the body is back", SOON, async || {
        let record = place.world.record(domain).await.ok_or("no record")?;
        let body = record.data.unwrap()["mta-sts.txt"].clone();
        ensure(body == served, body)
    })
    .await;
    assert_eq!(place.world.body(domain).await, Ok(served));
    assert_eq!(place.current(domain).await.0.current, before.0.current);
    assert_eq!(
        place.world.txt_id(domain),
        Some(before.0.current.id.to_string())
    );
}

/// It was served, so senders may hold it.
async fn an_edited_policy(place: &Place, domain: &str) {
    let before = place.current(domain).await;
    let mut edited = before.0.clone();
    let policy = Policy {
        mode: Mode::Enforce,
        max_age: MaxAge::MAX,
        mx: vec!["evil.example".parse().unwrap()],
    };
    let body = policy.render();
    let current = &mut edited.current;
    current.sha256 = Sha256Digest::of(body.as_bytes());
    let installation = current.id.as_str()[22..].parse().unwrap();
    let previous = current.id.clone();
    current.id = PolicyId::issue(
        current.decided_at,
        &current.sha256,
        &installation,
        Some(&previous),
    );
    (current.mode, current.max_age, current.mx) = (policy.mode, policy.max_age, policy.mx);
    let by_hand = edited.current.clone();
    let data = Record {
        body,
        publication: edited,
    }
    .to_data()
    .unwrap();
    place.edit(domain, json!(data)).await;
    let after = place.another_id(domain, &before).await;
    assert!(after.0.current.id > by_hand.id);
    let held = after
        .0
        .ledger
        .iter()
        .find(|entry| entry.id.as_ref() == Some(&by_hand.id));
    assert_eq!(
        held.map(|entry| entry.max_age),
        Some(MaxAge::MAX),
        "{:?}",
        after.0
    );
    assert_eq!(after.0.current.sha256, before.0.current.sha256);
}

/// It does not know what was published after it.
async fn a_record_from_a_backup(place: &Place, domain: &str) {
    let backup = place.world.record(domain).await.unwrap().data.unwrap();
    place.world.policy(domain, json!({"mode": "enforce"})).await;
    place.world.ready(domain).await;
    let before = place.current(domain).await;
    place.edit(domain, json!(backup)).await;
    let after = place.another_id(domain, &before).await;
    assert!(after.has_worst_case(), "{:?}", after.0);
}

async fn a_garbled_record(place: &Place, domain: &str) {
    let before = place.current(domain).await;
    place
        .edit(domain, json!({"publication.json": "{", "mta-sts.txt": ""}))
        .await;
    let after = place.another_id(domain, &before).await;
    assert!(after.has_worst_case(), "{:?}", after.0);
}

async fn a_deleted_ingress(place: &Place, domain: &str) {
    let api = Api::<Ingress>::namespaced(place.world.client.clone(), SYSTEM);
    let of_domain = async || {
        let all = api.list(&Default::default()).await.unwrap();
        let annotation =
            |ingress: &Ingress| ingress.annotations().get("mta-sts.dev/domain").cloned();
        all.into_iter()
            .find(|ingress| annotation(ingress).as_deref() == Some(domain))
    };
    let before = of_domain().await.unwrap();
    api.delete(&before.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    eventually("there is an Ingress again", SOON, async || {
        let now = of_domain().await.ok_or("none")?;
        ensure(
            now.uid() != before.uid() && now.spec == before.spec,
            format!("{now:?}"),
        )
    })
    .await;
}

/// Its deletion was never seen: its finalizer was taken off by hand, or it was not in the backup.
async fn an_object_that_is_lost(place: &Place, domain: &str) {
    let world = &place.world;
    let before = place.current(domain).await.0.current;
    let id = before.id.to_string();
    place.api.link.cut().await;
    let (policies, name) = (world.policies(MAIL), name(domain));
    let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    policies
        .patch(&name, &PatchParams::default(), &bare)
        .await
        .unwrap();
    policies
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    place.api.link.mend().await;
    eventually("the orphan is told", SOON, async || {
        let metrics = http::get(place.admin, "localhost", "/metrics")
            .await?
            .text();
        let line = format!("mta_sts_orphaned{{domain=\"{domain}\"}} 1");
        ensure(metrics.contains(&line), metrics)
    })
    .await;
    let updates = place.dns.writes.writes().len();
    always("the orphan is served", WHILE, async || {
        place.stands(domain, &id, updates).await
    })
    .await;
    world.policy(domain, json!({})).await;
    world.ready(domain).await;
    assert_eq!(place.current(domain).await.0.current, before);
    assert_eq!(place.world.txt_id(domain), Some(id));
}

/// What a record says.
struct Said(Publication);

impl Said {
    /// An entry that stands in for everything that a lost record may have said.
    fn has_worst_case(&self) -> bool {
        let worst = |e: &LedgerEntry| e.mode == Mode::Enforce && e.max_age == MaxAge::MAX;
        self.0.ledger.iter().any(worst)
    }
}

impl Place {
    fn records(&self) -> Api<ConfigMap> {
        Api::namespaced(self.world.client.clone(), SYSTEM)
    }

    async fn current(&self, domain: &str) -> Said {
        let publication = self.world.publication(domain).await;
        Said(serde_json::from_value(publication).unwrap())
    }

    /// Changes the data of a record as somebody with kubectl would.
    async fn edit(&self, domain: &str, data: Value) {
        let name = self.world.record(domain).await.unwrap().name_any();
        let patch = Patch::Merge(json!({"data": data}));
        let records = self.records();
        records
            .patch(&name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Waits until an id greater than the one before is published, with the body that the spec
    /// asks for, and gives what the record says then.
    async fn another_id(&self, domain: &str, before: &Said) -> Said {
        let what = format!("{domain}: another id is published");
        let after = eventually(&what, SOON, async || {
            let record = self.world.record(domain).await.ok_or("no record")?;
            let record = Record::from_data(&record.data.unwrap_or_default());
            let after = record.map_err(|why| why.to_string())?.publication;
            let announced = after
                .announced
                .as_ref()
                .filter(|a| a.confirmed_at.is_some());
            let published = announced.is_some_and(|a| a.id == after.current.id);
            let newer = after.current.id > before.0.current.id;
            ensure(published && newer, format!("{after:?}"))?;
            Ok::<_, String>(after)
        })
        .await;
        assert_eq!(
            self.world.txt_id(domain),
            Some(after.current.id.to_string())
        );
        let body = self.world.body(domain).await.unwrap();
        assert_eq!(after.current.sha256, Sha256Digest::of(body.as_bytes()));
        assert_eq!(
            after.current.sha256, before.0.current.sha256,
            "{domain}: what the spec asks for"
        );
        Said(after)
    }
}
