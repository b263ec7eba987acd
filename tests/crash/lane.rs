//! One world with one controller, whose writes come to harm.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use mta_sts_operator::lifecycle::Publication;
use serde_json::json;

use crate::support::api_proxy::{ApiProxy, is_write};
use crate::support::bind::Zone;
use crate::support::chronicle::Chronicle;
use crate::support::dns_proxy::DnsProxy;
use crate::support::interfere::{Action, Interference, When, Write};
use crate::support::process::Process;
use crate::support::slow::Slow;
use crate::support::wait::{ensure, eventually};
use crate::support::world::{MAIL, Observer, SOON, SYSTEM, World, find, name, shown};

const ZONE: &str = "example.org";
/// How much later one of the policy servers hears of a new body.
const LATE: Duration = Duration::from_millis(700);
/// Long after the last write of a pass.
const QUIET: Duration = Duration::from_millis(1500);

/// More than a life has writes.
pub const DOMAINS: usize = 32;
/// Domains beside those that climb a ladder, and more than that has writes.
pub const CLIMBERS: RangeInclusive<usize> = 33..=52;

/// What happens to a write.
#[derive(Clone, Copy, Debug)]
pub enum Harm {
    /// The controller is killed before it.
    KilledBefore,
    /// The controller is killed after it, and before the answer arrives.
    KilledAfter,
    /// Its answer does not arrive.
    AnswerLost,
    /// Somebody else writes the record just before it.
    Stale,
}

/// One world with one controller. (A second controller would reconcile the same policies: what is to run
/// side by side takes a world of its own.)
pub struct Lane {
    harm: Harm,
    pub world: World,
    pub writes: Arc<Interference>,
    api: ApiProxy,
    _dns: DnsProxy,
    _late: (ApiProxy, Slow),
    _servers: [Process; 2],
    pub endpoints: [SocketAddr; 2],
    pub chronicle: Chronicle,
    controller: Arc<Mutex<Option<Process>>>,
    starts: AtomicUsize,
}

/// Whether the harm that was asked for took place.
pub type Struck = Arc<AtomicBool>;

impl Lane {
    pub async fn start(harm: Harm) -> Self {
        let world = World::with_zones(vec![zone()]).await;
        let (first, one) = world.serve("serve-1").await;
        // Of two replicas one hears everything later, so that there is something to wait for.
        let hears = ApiProxy::start(&world.api).await;
        let late = Slow::to(hears.link.address(), LATE).await;
        let url = format!("http://{}", late.address());
        let kubeconfig = world.api.kubeconfig_at(&url, world.api.admin_token());
        let (second, two) = world.serve_with("serve-2", &kubeconfig).await;
        let domains: Vec<String> = (1..=*CLIMBERS.end()).map(domain).collect();
        let names: Vec<&str> = domains.iter().map(String::as_str).collect();
        world.route(&names, one).await;
        let writes = Arc::<Interference>::default();
        let api = ApiProxy::counting(&world.api, is_write, writes.clone()).await;
        let dns = DnsProxy::counting(world.dns(), writes.clone()).await;
        world.provider(dns.address()).await;
        Self {
            harm,
            writes,
            api,
            _dns: dns,
            _late: (hears, late),
            _servers: [first, second],
            endpoints: [one, two],
            chronicle: Chronicle::keep(&world).await,
            controller: Arc::default(),
            starts: AtomicUsize::default(),
            world,
        }
    }

    /// Starts the controller if it is not there or was killed: what a kubelet does.
    pub fn revive(&self) {
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
        settings.flags = vec![
            format!("--lease-name=start-{start}"),
            "--retirement-delay=0".to_owned(),
        ];
        *controller = Some(self.world.controller(&settings));
    }

    /// Has a write come to harm: the `ordinal`-th, from now on, that `fits`, which is about domain `n` if
    /// about any.
    pub fn harm_at(
        &self,
        ordinal: usize,
        n: usize,
        fits: impl Fn(&Write) -> bool + Send + 'static,
    ) -> Struck {
        let struck = Struck::default();
        let mark = struck.clone();
        let mark = move || mark.store(true, Ordering::SeqCst);
        let controller = self.controller.clone();
        let kill = move || controller.lock().unwrap().iter().for_each(Process::kill);
        let (when, action) = match self.harm {
            Harm::KilledBefore | Harm::KilledAfter => {
                let strike = move || {
                    kill();
                    mark();
                };
                let when = match self.harm {
                    Harm::KilledBefore => When::Before,
                    _ => When::After,
                };
                (when, Action::Strike(Box::new(strike)))
            }
            Harm::AnswerLost => (When::After, Action::Strike(Box::new(mark))),
            Harm::Stale => {
                let touched = touch(self.world.client.clone(), domain(n));
                let touched = async move {
                    touched.await;
                    mark();
                };
                (When::Before, Action::Wait(Box::pin(touched)))
            }
        };
        self.writes.on(fits, ordinal, when, action);
        struck
    }

    /// Deletes a policy, and waits until its TXT record is gone.
    pub async fn delete(&self, n: usize, struck: &Struck) {
        let policies = self.world.policies(MAIL);
        let params = DeleteParams::default();
        policies.delete(&name(&domain(n)), &params).await.unwrap();
        self.until(n, struck, async || self.txt_gone(n).await).await;
    }

    /// Waits for a state, with the controller started again whenever it was killed. Where no kill
    /// comes, the wait is long enough to say that none would.
    pub async fn until(
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

    /// Waits until nothing is written for a while.
    pub async fn is_quiet(&self) {
        let mut last = (0, Instant::now());
        eventually("nothing is written", SOON, async || {
            let count = self.writes.writes().len();
            if count != last.0 {
                last = (count, Instant::now());
            }
            ensure(last.1.elapsed() > QUIET, "it still writes")
        })
        .await;
    }

    /// Ready, the last step of the publication too.
    pub async fn settled(&self, n: usize) -> Result<(), String> {
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

    pub async fn txt_gone(&self, n: usize) -> Result<(), String> {
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

    pub async fn publication(&self, n: usize) -> Result<Publication, String> {
        let record = self.world.record(&domain(n)).await.ok_or("no record")?;
        let data = record.data.unwrap_or_default();
        serde_json::from_str(&data["publication.json"]).map_err(|why| why.to_string())
    }

    /// Everybody says the same: record, TXT, body, the observer, and every version of the record.
    /// Gives the ids that were decided.
    pub async fn agree(&self, n: usize, observer: Observer, mode: &str) -> Vec<String> {
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
        // The observer may have come when some were over.
        let announced = observer.finish_strictly().announced;
        let (seen, all) = (announced.len(), decided.len());
        assert!(
            (1..=all).contains(&seen),
            "{domain}: {announced:?} of {decided:?}"
        );
        assert_eq!(announced, decided[all - seen..], "{domain}");
        decided
    }

    pub fn observe_patiently(&self, n: usize) -> Observer {
        let pause = Duration::from_millis(150);
        self.world.observe_every(pause, &domain(n), &self.endpoints)
    }

    /// Waits until nothing is left of a domain, in the cluster, the zone and the policy servers.
    pub async fn gone(&self, n: usize) {
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

pub fn is_struck(struck: &Struck) -> bool {
    struck.load(Ordering::SeqCst)
}

fn zone() -> Zone {
    let records: Vec<String> = (1..=*CLIMBERS.end())
        .map(label)
        .map(|label| format!("{label} MX 10 mail.{label}\nmail.{label} A 192.0.2.25\n"))
        .collect();
    Zone::dynamic(ZONE, &records.concat())
}

pub fn domain(n: usize) -> String {
    format!("{}.{ZONE}", label(n))
}

/// In every name that is made for a domain, and in nothing else: `w` is no hex digit.
fn label(n: usize) -> String {
    format!("w{n:02}")
}

pub fn is_about(write: &Write, n: usize) -> bool {
    write.what.contains(&label(n))
}

/// Writes something of its own into the record of a domain, where there is one.
async fn touch(client: Client, domain: String) {
    let api = Api::<ConfigMap>::namespaced(client, SYSTEM);
    let all = api.list(&Default::default()).await.unwrap();
    let of_domain = |map: &&ConfigMap| map.annotations().get("mta-sts.dev/domain") == Some(&domain);
    let Some(record) = all.items.iter().find(of_domain) else {
        return;
    };
    let version = record.resource_version();
    let patch = json!({"metadata": {"annotations": {"example.org/touched": version}}});
    let params = PatchParams::default();
    // It may be gone by now.
    let _ = api
        .patch(&record.name_any(), &params, &Patch::Merge(patch))
        .await;
}
