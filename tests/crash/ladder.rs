//! Domains that climb a ladder of stages, and are retired gracefully.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::lane::{CLIMBERS, Lane, Struck, domain, is_about, is_struck};
use crate::support::wait::{ensure, eventually};
use crate::support::world::{MAIL, SOON, SYSTEM, name};

impl Lane {
    /// Approves one domain after the other, each with harm at another write. Gives how often.
    pub async fn climb(&self) -> usize {
        for n in CLIMBERS {
            self.ask_for_the_ladder(n).await;
        }
        for n in CLIMBERS {
            self.reaches(n, async || self.is_on(n, "observe").await)
                .await;
        }
        for (n, ordinal) in CLIMBERS.zip(1..) {
            let observer = self.world.observe(&domain(n), &self.endpoints);
            let struck = self.harm_about(n, ordinal);
            self.approve(n).await;
            self.until(n, &struck, async || self.is_on(n, "enforce").await)
                .await;
            let ids = self.agree(n, observer, "enforce").await;
            assert_eq!(ids.len(), 2, "{}: {ids:?}", domain(n));
            if !is_struck(&struck) {
                return ordinal - 1;
            }
        }
        panic!("a climb has more writes than there are domains");
    }

    /// Deletes one domain after the other, each with harm at another write, until mode none is out; then
    /// the same while the record goes. Gives how often.
    pub async fn retire_gracefully(&self) -> usize {
        let mut kills = 0;
        let mut deleted = Vec::new();
        for (n, ordinal) in CLIMBERS.zip(1..) {
            let observer = self.observe_patiently(n);
            let struck = self.harm_about(n, ordinal);
            self.delete_object(n).await;
            self.until(n, &struck, async || self.none_is_out(n).await)
                .await;
            self.agree(n, observer, "none").await;
            deleted.push(n);
            if !is_struck(&struck) {
                break;
            }
            kills += 1;
        }
        self.writes.disarm();
        let mut going = Vec::new();
        for (n, ordinal) in deleted.into_iter().zip(1..) {
            let struck = self.harm_about(n, ordinal);
            self.a_year_passes(n).await;
            self.until(n, &struck, async || self.txt_gone(n).await)
                .await;
            going.push(n);
            if !is_struck(&struck) {
                break;
            }
            kills += 1;
        }
        self.writes.disarm();
        for n in going {
            self.gone(n).await;
        }
        kills
    }

    /// The same life for all domains at once. Gives how often a publication, a climb, a retirement and its
    /// end came to harm.
    pub async fn live_at_once(&self) -> [usize; 4] {
        self.revive();
        let observers: Vec<_> = CLIMBERS.map(|n| self.observe_patiently(n)).collect();
        let published = self
            .at_once(
                async |n| self.ask_for_the_ladder(n).await,
                async |n| self.is_on(n, "observe").await,
            )
            .await;
        let climbed = self
            .at_once(
                async |n| self.approve(n).await,
                async |n| self.is_on(n, "enforce").await,
            )
            .await;
        let retired = self
            .at_once(
                async |n| self.delete_object(n).await,
                async |n| self.none_is_out(n).await,
            )
            .await;
        for (n, observer) in CLIMBERS.zip(observers) {
            let ids = self.agree(n, observer, "none").await;
            assert_eq!(ids.len(), 3, "{}: {ids:?}", domain(n));
        }
        let ended = self
            .at_once(
                async |n| self.a_year_passes(n).await,
                async |n| self.txt_gone(n).await,
            )
            .await;
        for n in CLIMBERS {
            self.gone(n).await;
        }
        [published, climbed, retired, ended]
    }

    /// Does the same to all domains, the first of which comes to harm at its first write, the second at its
    /// second; waits until each has reached what it is to. Gives how many came to harm.
    async fn at_once(
        &self,
        act: impl AsyncFn(usize),
        reached: impl AsyncFn(usize) -> Result<(), String>,
    ) -> usize {
        let mut struck = Vec::new();
        for (n, ordinal) in CLIMBERS.zip(1..) {
            struck.push(self.harm_about(n, ordinal));
            act(n).await;
        }
        for n in CLIMBERS {
            self.reaches(n, async || reached(n).await).await;
        }
        self.is_quiet().await;
        self.writes.disarm();
        // What came to harm at last has to be got over as well.
        for n in CLIMBERS {
            self.reaches(n, async || reached(n).await).await;
        }
        struck.iter().filter(|struck| is_struck(struck)).count()
    }

    fn harm_about(&self, n: usize, ordinal: usize) -> Struck {
        self.harm_at(ordinal, n, move |write| is_about(write, n))
    }

    async fn reaches(&self, n: usize, reached: impl AsyncFn() -> Result<(), String>) {
        let what = format!("{} gets there", domain(n));
        eventually(&what, SOON, async || {
            self.revive();
            reached().await
        })
        .await;
    }

    async fn ask_for_the_ladder(&self, n: usize) {
        let stage = |name: &str, mode: &str, max_age: u32| json!({"name": name, "mode": mode, "maxAgeSeconds": max_age});
        let spec = json!({
            "mode": "enforce",
            "deletionPolicy": "Graceful",
            "rollout": {
                "strategy": "Progressive",
                "approval": "Manual",
                "stages": [stage("observe", "testing", 86_400), stage("enforce", "enforce", 100_000)],
            },
        });
        self.world.policy(&domain(n), spec).await;
    }

    async fn approve(&self, n: usize) {
        let patch = json!({"metadata": {"annotations": {"mta-sts.dev/approve": "enforce"}}});
        let (policies, params) = (self.world.policies(MAIL), PatchParams::default());
        let (name, patch) = (name(&domain(n)), Patch::Merge(&patch));
        policies.patch(&name, &params, &patch).await.unwrap();
    }

    async fn delete_object(&self, n: usize) {
        let (policies, params) = (self.world.policies(MAIL), DeleteParams::default());
        policies.delete(&name(&domain(n)), &params).await.unwrap();
    }

    async fn is_on(&self, n: usize, stage: &str) -> Result<(), String> {
        let publication = self.publication(n).await?;
        let on = publication.rollout.as_ref();
        // The stage is entered by one write, and its policy decided by the next; then it goes out.
        let mode = publication.current.mode;
        let is_there = on.is_some_and(|on| on.name == stage && on.mode == mode);
        ensure(is_there, format!("{publication:?}"))?;
        self.settled(n).await
    }

    async fn none_is_out(&self, n: usize) -> Result<(), String> {
        let object = self.world.policies(MAIL).get_opt(&name(&domain(n))).await;
        ensure(object.is_ok_and(|it| it.is_none()), "the object is there")?;
        let publication = self.publication(n).await?;
        let current = &publication.current;
        let out = publication.announced.as_ref();
        let out = out.is_some_and(|it| it.id == current.id && it.confirmed_at.is_some());
        let mut ledger = publication.ledger.iter();
        let closed =
            ledger.all(|it| it.id.as_ref() == Some(&current.id) || it.last_served.is_some());
        let is_none = current.mode.as_str() == "none";
        ensure(is_none && out && closed, format!("{publication:?}"))
    }

    /// Writes into the record that all that was served before `none` was served a year ago.
    async fn a_year_passes(&self, n: usize) {
        let record = self.world.record(&domain(n)).await.unwrap();
        let mut publication = self.world.publication(&domain(n)).await;
        let long_ago = (Timestamp::now() - SignedDuration::from_hours(24 * 365)).to_string();
        for entry in publication["ledger"].as_array_mut().unwrap() {
            if entry["mode"] != "none" {
                entry["firstServed"] = Value::from(long_ago.as_str());
                entry["lastServed"] = Value::from(long_ago.as_str());
            }
        }
        let data = json!({"data": {"publication.json": publication.to_string()}});
        let api = Api::<ConfigMap>::namespaced(self.world.client.clone(), SYSTEM);
        let params = PatchParams::default();
        let (name, patch) = (record.name_any(), Patch::Merge(data));
        api.patch(&name, &params, &patch).await.unwrap();
    }
}
