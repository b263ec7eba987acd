//! One domain after the other: the first comes to harm at its first write, the second at its second, until
//! there is no such write.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;

use crate::lane::{DOMAINS, Lane, domain, is_about, is_struck};
use crate::support::interfere::Write;
use crate::support::wait::{ensure, eventually};
use crate::support::world::{SOON, SYSTEM};

/// What is written when the TTL of the TXT record has passed.
const AFTER_THE_TTL: [&str; 4] = [
    "DELETE ingresses",
    "UPDATE mta-sts",
    "PUT configmaps",
    "DELETE configmaps",
];

impl Lane {
    /// The writes of a start: the lease, the id of the installation, the provider's status.
    pub async fn start_the_operator(&self) {
        let installation = "configmaps mta-sts-operator-installation";
        let mut made = None;
        for what in ["/leases", installation, "/clusterdnsproviders/"] {
            let struck = self.harm_at(1, 0, move |write| write.what.contains(what));
            eventually("the operator starts, and is killed", SOON, async || {
                self.revive();
                ensure(is_struck(&struck), what)
            })
            .await;
            let now = self.installation().await;
            assert!(made.is_none() || made == now, "{made:?}, then {now:?}");
            made = now;
        }
        self.revive();
    }

    /// The id of the installation: it is in each policy id.
    async fn installation(&self) -> Option<String> {
        let api = Api::<ConfigMap>::namespaced(self.world.client.clone(), SYSTEM);
        let kept = api.get_opt("mta-sts-operator-installation").await.unwrap();
        kept.map(|kept| kept.data.unwrap()["id"].clone())
    }

    /// Publishes one domain after the other, with a kill at the first write of the first one, the
    /// second of the second, until there is no such write. Gives the number of kills.
    pub async fn publish(&self) -> usize {
        let installation = self.installation().await.unwrap();
        for n in 1..=DOMAINS {
            let observer = self.world.observe(&domain(n), &self.endpoints);
            let struck = self.harm_at(n, n, move |write| is_about(write, n));
            self.world.policy(&domain(n), json!({})).await;
            self.until(n, &struck, async || self.settled(n).await).await;
            let ids = self.agree(n, observer, "testing").await;
            assert!(ids.len() == 1 && ids[0].ends_with(&installation), "{ids:?}");
            if !is_struck(&struck) {
                return n - 1;
            }
        }
        panic!("a publication has more writes than there are domains");
    }

    /// The same for a change of what was published.
    pub async fn change(&self) -> usize {
        for n in 1..=DOMAINS {
            let observer = self.world.observe(&domain(n), &self.endpoints);
            let struck = self.harm_at(n, n, move |write| is_about(write, n));
            let enforce = json!({"mode": "enforce"});
            self.world.policy(&domain(n), enforce).await;
            self.until(n, &struck, async || self.settled(n).await).await;
            let ids = self.agree(n, observer, "enforce").await;
            assert!(ids.len() == 2, "{}: {ids:?}", domain(n));
            if !is_struck(&struck) {
                return n - 1;
            }
        }
        panic!("a change has more writes than there are domains");
    }

    /// The same for a retirement: by number up to the wait for the TTL, and after it, where many
    /// domains are worked on at once, by what is written.
    pub async fn retire(&self) -> usize {
        let mut observers = Vec::new();
        let mut kills = 0;
        for n in 1..=DOMAINS {
            observers.push(self.observe_patiently(n));
            let struck = self.harm_at(n, n, move |write| is_about(write, n));
            self.delete(n, &struck).await;
            if !is_struck(&struck) {
                break;
            }
            kills += 1;
        }
        // The kill that the last one was spared would come after the wait.
        self.writes.disarm();
        let mut late = Vec::new();
        for what in AFTER_THE_TTL {
            let n = observers.len() + 1;
            observers.push(self.observe_patiently(n));
            self.delete(n, &Arc::new(AtomicBool::new(true))).await;
            let from = self.writes.writes().len();
            let fits = move |write: &Write| is_about(write, n) && write.kind() == what;
            late.push((n, from, what, self.harm_at(1, n, fits)));
        }
        for n in 1..=observers.len() {
            self.gone(n).await;
        }
        for (n, from, what, struck) in late {
            assert!(is_struck(&struck), "{}: no {what}", domain(n));
            let writes = self.writes.writes().split_off(from);
            let of_domain = writes.iter().filter(|write| is_about(write, n));
            let other = of_domain
                .map(Write::kind)
                .find(|kind| !AFTER_THE_TTL.contains(&kind.as_str()));
            assert_eq!(other, None, "a write after the wait that has no kill");
        }
        for (observer, n) in observers.into_iter().zip(1..) {
            let seen = observer.finish_strictly();
            let decided = self.chronicle.decided(&domain(n));
            assert_eq!(seen.announced, [decided[1].to_string()], "{}", domain(n));
        }
        kills + AFTER_THE_TTL.len()
    }
}
