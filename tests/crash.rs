//! The controller killed at every single write of a policy's life, and started again: the outside
//! never sees an announced id without its body, and there is one id for each decision.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod support;

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use mta_sts_operator::lifecycle::Publication;
use serde_json::json;
use support::api_proxy::{ApiProxy, is_write};
use support::bind::Zone;
use support::chronicle::Chronicle;
use support::dns_proxy::DnsProxy;
use support::interfere::{Action, Interference, When, Write};
use support::process::Process;
use support::wait::{ensure, eventually};
use support::world::{MAIL, Observer, SOON, SYSTEM, World, find, name, shown, timed};

const ZONE: &str = "example.org";
/// More than a life has writes.
const DOMAINS: usize = 32;
/// More than a retirement has writes.
const RETIREMENTS: usize = 10;
/// Long after the last write of a pass.
const QUIET: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread")]
async fn killed_just_before_each_write() {
    live_with_a_kill_at_each_write(When::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_just_after_each_write_and_before_its_answer_arrives() {
    live_with_a_kill_at_each_write(When::After).await;
}

async fn live_with_a_kill_at_each_write(when: When) {
    let begun = Instant::now();
    let lane = Lane::start(when).await;
    lane.start_the_operator().await;
    eprintln!("{when:?}: started after {}", timed(begun));
    let publication = lane.publish().await;
    eprintln!("{when:?}: published after {}", timed(begun));
    let change = lane.change().await;
    eprintln!("{when:?}: changed after {}", timed(begun));
    let retirement = lane.retire().await;
    eprintln!("{when:?}: retired after {}", timed(begun));
    // A matrix that went by without kills proves nothing.
    assert!(
        publication >= 10 && change >= 6 && retirement >= 8,
        "too few kills: {publication} in publications, {change} in changes, {retirement} in retirements"
    );
}

/// One world with one controller, which is killed again and again. (A second controller would
/// reconcile the same policies: what is to run side by side takes a world of its own.)
struct Lane {
    when: When,
    world: World,
    writes: Arc<Interference>,
    api: ApiProxy,
    _dns: DnsProxy,
    _servers: [Process; 2],
    endpoints: [SocketAddr; 2],
    chronicle: Chronicle,
    controller: Arc<Mutex<Option<Process>>>,
    starts: AtomicUsize,
}

/// Whether the kill that was asked for took place.
type Struck = Arc<AtomicBool>;

impl Lane {
    async fn start(when: When) -> Self {
        let world = World::with_zones(vec![zone()]).await;
        let (first, one) = world.serve("serve-1").await;
        let (second, two) = world.serve("serve-2").await;
        let domains: Vec<String> = (1..=DOMAINS).map(domain).collect();
        let names: Vec<&str> = domains.iter().map(String::as_str).collect();
        world.route(&names, one).await;
        let writes = Arc::<Interference>::default();
        let api = ApiProxy::counting(&world.api, is_write, writes.clone()).await;
        let dns = DnsProxy::counting(world.dns(), writes.clone()).await;
        world.provider(dns.address()).await;
        Self {
            when,
            writes,
            api,
            _dns: dns,
            _servers: [first, second],
            endpoints: [one, two],
            chronicle: Chronicle::keep(&world).await,
            controller: Arc::default(),
            starts: AtomicUsize::default(),
            world,
        }
    }

    /// Starts the controller if it is not there or was killed: what a kubelet does.
    fn revive(&self) {
        let mut controller = self.controller.lock().unwrap();
        if let Some(ended) = controller.as_ref().map(Process::ended) {
            let Some(status) = ended else { return };
            let log = controller.as_ref().map(Process::log_end);
            assert_eq!(status.signal(), Some(9), "it ended by itself: {log:?}");
        }
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let mut settings = self
            .world
            .settings(&format!("controller-{start}"), &self.endpoints);
        settings.kubeconfig = self
            .api
            .kubeconfig(&self.world.api, self.world.api.admin_token());
        // What is published is left alone, so that only the domain at hand is written.
        settings.probe_seconds = 3600;
        // A killed leader writes no more, so there is no need to wait until its lease has run out.
        settings.flags = vec![format!("--lease-name=start-{start}")];
        *controller = Some(self.world.controller(&settings));
    }

    /// Has the controller killed at the `ordinal`-th write, from now on, that `fits`.
    fn kill_at(&self, ordinal: usize, fits: impl Fn(&Write) -> bool + Send + 'static) -> Struck {
        let struck = Struck::default();
        let (controller, mark) = (self.controller.clone(), struck.clone());
        let strike = move || {
            controller.lock().unwrap().iter().for_each(Process::kill);
            mark.store(true, Ordering::SeqCst);
        };
        let action = Action::Strike(Box::new(strike));
        self.writes.on(fits, ordinal, self.when, action);
        struck
    }

    /// The writes of a start: the lease, the id of the installation, the provider's status.
    async fn start_the_operator(&self) {
        let installation = "configmaps mta-sts-operator-installation";
        let mut made = None;
        for what in ["/leases", installation, "/clusterdnsproviders/"] {
            let struck = self.kill_at(1, move |write| write.what.contains(what));
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
    async fn publish(&self) -> usize {
        let installation = self.installation().await.unwrap();
        for n in 1..=DOMAINS {
            let observer = self.world.observe(&domain(n), &self.endpoints);
            let struck = self.kill_at(n, move |write| is_about(write, n));
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
    async fn change(&self) -> usize {
        for n in 1..=DOMAINS {
            let observer = self.world.observe(&domain(n), &self.endpoints);
            let struck = self.kill_at(n, move |write| is_about(write, n));
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

    /// The same for a retirement. What comes after the wait for the TTL has its kills once all have
    /// been deleted.
    async fn retire(&self) -> usize {
        let mut retiring: Vec<(usize, Observer, Struck)> = Vec::new();
        for n in 1..=RETIREMENTS {
            let observer = self.observe_patiently(n);
            let struck = self.kill_at(n, move |write| is_about(write, n));
            let policies = self.world.policies(MAIL);
            let params = DeleteParams::default();
            policies.delete(&name(&domain(n)), &params).await.unwrap();
            self.until(n, &struck, async || self.txt_gone(n).await)
                .await;
            retiring.push((n, observer, struck));
        }
        for (n, _, _) in &retiring {
            self.gone(*n).await;
        }
        let struck: Vec<bool> = retiring
            .iter()
            .map(|(_, _, struck)| is_struck(struck))
            .collect();
        for (n, observer, _) in retiring {
            let seen = observer.finish_strictly();
            let decided = self.chronicle.decided(&domain(n));
            assert_eq!(seen.announced, [decided[1].to_string()], "{}", domain(n));
        }
        let kills = struck.iter().take_while(|struck| **struck).count();
        assert!(
            kills < RETIREMENTS && struck[kills..] == vec![false; RETIREMENTS - kills],
            "{struck:?}"
        );
        kills
    }

    /// Waits for a state, with the controller started again whenever it was killed. Where no kill
    /// comes, the wait is long enough to say that none would.
    async fn until(
        &self,
        n: usize,
        struck: &Struck,
        reached: impl AsyncFn() -> Result<(), String>,
    ) {
        let what = format!("{} gets over a kill at write {n}", domain(n));
        let mut last = (0, Instant::now());
        eventually(&what, SOON, async || {
            self.revive();
            let was_struck = is_struck(struck);
            reached().await?;
            let writes = self.writes.writes();
            let count = writes.iter().filter(|write| is_about(write, n)).count();
            if count != last.0 {
                last = (count, Instant::now());
            }
            ensure(was_struck || last.1.elapsed() > QUIET, "it still writes")
        })
        .await;
    }

    /// Ready, the last step of the publication too.
    async fn settled(&self, n: usize) -> Result<(), String> {
        let policies = self.world.policies(MAIL);
        let policy = policies.get(&name(&domain(n))).await;
        let policy = policy.map_err(|why| why.to_string())?;
        let status = policy.status.unwrap_or_default();
        let ready = find(&status, "Ready").is_some_and(|ready| {
            ready.status.to_string() == "True"
                && ready.observed_generation == policy.metadata.generation
        });
        ensure(ready, shown(&status))?;
        let publication = self.publication(n).await?;
        let current = &publication.current.id;
        let announced = publication.announced.as_ref();
        let confirmed = announced.is_some_and(|a| a.id == *current && a.confirmed_at.is_some());
        let mut others = publication
            .ledger
            .iter()
            .filter(|e| e.id.as_ref() != Some(current));
        let closed = others.all(|entry| entry.last_served.is_some());
        ensure(confirmed && closed, format!("{publication:?}"))
    }

    async fn txt_gone(&self, n: usize) -> Result<(), String> {
        let policies = self.world.policies(MAIL);
        let object = policies.get_opt(&name(&domain(n))).await;
        ensure(
            object.is_ok_and(|object| object.is_none()),
            "the object is there",
        )?;
        let retiring = self.publication(n).await?.retiring;
        let gone = retiring.as_ref().is_some_and(|r| r.txt_gone_at.is_some());
        ensure(gone, format!("{retiring:?}"))
    }

    async fn publication(&self, n: usize) -> Result<Publication, String> {
        let record = self.world.record(&domain(n)).await.ok_or("no record")?;
        let data = record.data.unwrap_or_default();
        serde_json::from_str(&data["publication.json"]).map_err(|why| why.to_string())
    }

    /// Everybody says the same: record, TXT, body, the observer, and every version of the record.
    /// Gives the ids that were decided.
    async fn agree(&self, n: usize, observer: Observer, mode: &str) -> Vec<String> {
        let domain = domain(n);
        let publication = self.publication(n).await.unwrap();
        let id = publication.current.id.to_string();
        let max_age = publication.current.max_age.seconds();
        let body = format!(
            "version: STSv1\r\nmode: {mode}\r\nmx: mail.{domain}\r\nmax_age: {max_age}\r\n"
        );
        assert_eq!(self.world.body(&domain).await, Ok(body));
        let txt = self.world.txt(&domain);
        assert_eq!(txt.trim(), format!("\"v=STSv1; id={id};\""), "{domain}");
        observer.sees(&id).await;
        eventually("the chronicle is up to date", SOON, async || {
            let version = self.chronicle.of(&domain).pop();
            ensure(
                version.as_ref() == Some(&publication),
                format!("{version:?}"),
            )
        })
        .await;
        let decided = self.chronicle.decided(&domain);
        let decided: Vec<String> = decided.iter().map(ToString::to_string).collect();
        assert_eq!(observer.finish_strictly().announced, decided, "{domain}");
        decided
    }

    fn observe_patiently(&self, n: usize) -> Observer {
        let pause = Duration::from_millis(150);
        self.world.observe_every(pause, &domain(n), &self.endpoints)
    }

    /// Waits until nothing is left of a domain, in the cluster, the zone and the policy servers.
    async fn gone(&self, n: usize) {
        let ingresses = Api::<Ingress>::namespaced(self.world.client.clone(), SYSTEM);
        let domain = domain(n);
        eventually(&format!("{domain} is gone"), SOON, async || {
            self.revive();
            let record = self.world.record(&domain).await;
            ensure(record.is_none(), "the record is there")?;
            let left = ingresses.list(&Default::default()).await;
            let left = left.map_err(|why| why.to_string())?.items;
            let is_left = left
                .iter()
                .any(|ingress| ingress.name_any().contains(&label(n)));
            ensure(!is_left, "the Ingress is there")?;
            for (name, kind) in [("_mta-sts", "TXT"), ("mta-sts", "A")] {
                let bind = self.world.bind.lock().unwrap();
                let answer = bind.dig(&format!("{name}.{domain}"), kind);
                ensure(answer.is_empty(), answer)?;
            }
            match self.world.body(&domain).await {
                Err(why) if why == "status 404" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

fn is_struck(struck: &Struck) -> bool {
    struck.load(Ordering::SeqCst)
}

fn zone() -> Zone {
    let records: Vec<String> = (1..=DOMAINS)
        .map(label)
        .map(|label| format!("{label} MX 10 mail.{label}\nmail.{label} A 192.0.2.25\n"))
        .collect();
    Zone::dynamic(ZONE, &records.concat())
}

fn domain(n: usize) -> String {
    format!("{}.{ZONE}", label(n))
}

/// In every name that is made for a domain, and in nothing else: `w` is no hex digit.
fn label(n: usize) -> String {
    format!("w{n:02}")
}

fn is_about(write: &Write, n: usize) -> bool {
    write.what.contains(&label(n))
}
