//! Two controllers: one takes over from the other, dead or asleep, and a leader that wakes up too
//! late changes nothing any more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use support::api_proxy::{ApiProxy, is_write};
use support::bind::clock_off;
use support::dns_proxy::DnsProxy;
use support::http;
use support::interfere::{Action, Interference, When, Write};
use support::ports::{free_port, loopback};
use support::process::Process;
use support::wait::{always, ensure, eventually};
use support::world::{SOON, SYSTEM, World, message, ready};
use tokio::sync::Notify;

const DOMAIN: &str = "example.org";
/// Longer than what is in flight may take to arrive.
const WHILE: Duration = Duration::from_secs(4);

/// A controller with proxies of its own, so that its writes are told from another's.
struct Replica {
    process: Arc<Process>,
    admin: SocketAddr,
    /// All writes, the lease's too.
    writes: Arc<Interference>,
    _api: ApiProxy,
}

impl Replica {
    async fn start(world: &World, name: &str, endpoint: SocketAddr) -> Self {
        let writes = Arc::<Interference>::default();
        let api = ApiProxy::counting(&world.api, is_write, writes.clone()).await;
        let mut settings = world.settings(name, &[endpoint]);
        settings.kubeconfig = api.kubeconfig(&world.api, world.api.admin_token());
        let admin = loopback(free_port());
        let process = world.controller_with_admin(&settings, admin);
        ready(&process, admin).await;
        Self {
            process: Arc::new(process),
            admin,
            writes,
            _api: api,
        }
    }

    /// The metric `mta_sts_leader`.
    async fn leads(&self) -> Result<bool, String> {
        let metrics = http::get(self.admin, "localhost", "/metrics").await?.text();
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix("mta_sts_leader "));
        value.map(|value| value == "1").ok_or(metrics)
    }

    async fn is_leader(&self) {
        eventually("it is the leader", SOON, async || {
            ensure(self.leads().await?, "it is not")
        })
        .await;
    }
}

/// A world with two controllers; the first one leads.
struct Pair {
    world: World,
    _server: Process,
    endpoint: SocketAddr,
    first: Replica,
    second: Replica,
}

impl Pair {
    async fn start() -> Self {
        let world = World::start(&[DOMAIN]).await;
        let (server, endpoint) = world.serve("serve").await;
        world.route(&[DOMAIN], endpoint).await;
        world.provider(world.dns()).await;
        let first = Replica::start(&world, "first", endpoint).await;
        first.is_leader().await;
        let second = Replica::start(&world, "second", endpoint).await;
        assert_eq!(second.leads().await, Ok(false), "two leaders");
        Self {
            world,
            _server: server,
            endpoint,
            first,
            second,
        }
    }

    async fn holder(&self) -> String {
        let leases = Api::<Lease>::namespaced(self.world.client.clone(), SYSTEM);
        let lease = leases.get("mta-sts-operator").await.unwrap();
        lease.spec.unwrap().holder_identity.unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_leaders_publication_is_finished_by_the_other_replica() {
    let pair = Pair::start().await;
    let world = &pair.world;
    let observer = world.observe(DOMAIN, &[pair.endpoint]);
    // Killed with the body decided and out, and its id not yet announced.
    let decided =
        |write: &Write| write.what.starts_with("POST") && write.what.contains("/configmaps");
    let kill = Action::Kill(pair.first.process.clone());
    pair.first.writes.on(decided, 1, When::After, kill);
    world.policy(DOMAIN, json!({})).await;
    let status = world.ready(DOMAIN).await;
    assert!(pair.first.process.ended().is_some(), "it was not killed");
    assert_eq!(pair.second.leads().await, Ok(true));
    let id = status.policy.unwrap().id;
    observer.sees(&id).await;
    // Its own decision, not a second one.
    assert_eq!(
        observer.finish_strictly().announced,
        std::slice::from_ref(&id)
    );
    let ledger = world.publication(DOMAIN).await["ledger"].clone();
    assert_eq!(ledger.as_array().map(Vec::len), Some(1), "{ledger}");
    assert_eq!(ledger[0]["id"], json!(id));
    assert!(pair.holder().await.starts_with("second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wakes_up_after_its_lease_writes_nothing_and_ends() {
    let pair = Pair::start().await;
    let world = &pair.world;
    world.policy(DOMAIN, json!({})).await;
    let before = world.ready(DOMAIN).await.policy.unwrap().id;
    let observer = world.observe(DOMAIN, &[pair.endpoint]);

    pair.first.process.signal("STOP");
    // It has enough to do when it wakes up.
    world.policy(DOMAIN, json!({"mode": "enforce"})).await;
    let after = world.ready(DOMAIN).await.policy.unwrap().id;
    assert_eq!(pair.second.leads().await, Ok(true));
    let (written, updated) = (
        pair.first.writes.writes(),
        world.bind.lock().unwrap().serial(DOMAIN),
    );
    pair.first.process.signal("CONT");
    let status = pair.first.process.exit(SOON).await;
    assert!(!status.success(), "it says that it failed");
    assert!(pair.first.process.log().contains("lease"), "and why");
    let late = pair.first.writes.writes().split_off(written.len());
    assert!(
        late.is_empty(),
        "written after the lease was over: {late:?}"
    );
    assert_eq!(
        world.bind.lock().unwrap().serial(DOMAIN),
        updated,
        "the zone was changed"
    );
    observer.sees(&after).await;
    assert_eq!(observer.finish_strictly().announced, [before, after]);
    assert!(pair.holder().await.starts_with("second"));
}

/// What was sent in time may arrive late, and by then somebody else has written.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_txt_record_that_arrives_late_is_refused() {
    let place = Late::start().await;
    let writes = place.dns.writes.clone();
    place
        .is_refused(&writes, |write| write.what.contains("_mta-sts."))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_record_that_arrives_late_is_refused() {
    let place = Late::start().await;
    let writes = place.first.writes.clone();
    let is_record = |write: &Write| {
        write.what.starts_with("PUT") && write.what.contains("/configmaps/mta-sts-")
    };
    place.is_refused(&writes, is_record).await;
}

/// Two controllers that write to the DNS through a proxy, and what the first one published.
struct Late {
    world: World,
    _server: Process,
    endpoint: SocketAddr,
    dns: DnsProxy,
    first: Replica,
    second: Replica,
    before: String,
}

impl Late {
    async fn start() -> Self {
        let world = World::start(&[DOMAIN]).await;
        let (server, endpoint) = world.serve("serve").await;
        world.route(&[DOMAIN], endpoint).await;
        let dns = DnsProxy::start(world.dns()).await;
        world.provider(dns.address()).await;
        let first = Replica::start(&world, "first", endpoint).await;
        first.is_leader().await;
        let second = Replica::start(&world, "second", endpoint).await;
        world.policy(DOMAIN, json!({})).await;
        let before = world.ready(DOMAIN).await.policy.unwrap().id;
        Self {
            world,
            _server: server,
            endpoint,
            dns,
            first,
            second,
            before,
        }
    }

    /// Puts the leader to sleep with a write that `fits` on its way, and lets that arrive only when
    /// the other replica has published that decision and the next one.
    async fn is_refused(&self, writes: &Interference, fits: fn(&Write) -> bool) {
        let world = &self.world;
        let observer = world.observe(DOMAIN, &[self.endpoint]);
        let (release, sleeper) = (Arc::new(Notify::new()), self.first.process.clone());
        let sleep = Action::Run(Box::new(move || sleeper.signal("STOP")));
        writes.on(fits, 1, When::Before, sleep);
        writes.on(fits, 1, When::Before, Action::Hold(release.clone()));
        let before = writes.writes().len();
        let held = || writes.writes().into_iter().skip(before).find(fits);
        world.policy(DOMAIN, json!({"mode": "enforce"})).await;
        eventually("the write is held", SOON, async || {
            held().ok_or("not yet sent")
        })
        .await;

        self.second.is_leader().await;
        world.ready(DOMAIN).await;
        let middle = world.txt_id(DOMAIN).unwrap();
        let another = json!({"mode": "enforce", "maxAgeSeconds": 86400});
        world.policy(DOMAIN, another).await;
        let last = world.ready(DOMAIN).await.policy.unwrap().id;
        let record = world.publication(DOMAIN).await;

        release.notify_one();
        let refusal = eventually("the late write is answered", SOON, async || {
            held().and_then(|write| write.answered).ok_or("not yet")
        })
        .await;
        // YXRRSET, NXRRSET; 409 Conflict.
        assert!([7, 8, 409].contains(&refusal), "answered {refusal}");
        always("the last decision stands", WHILE, async || {
            assert_eq!(world.publication(DOMAIN).await, record);
            let announced = world.txt_id(DOMAIN);
            ensure(announced.as_ref() == Some(&last), format!("{announced:?}"))
        })
        .await;
        self.first.process.signal("CONT");
        self.first.process.exit(SOON).await;
        observer.sees(&last).await;
        let seen = observer.finish_strictly();
        assert_eq!(seen.announced, [self.before.clone(), middle, last]);
    }
}

#[tokio::test]
async fn a_leader_with_a_wrong_clock_writes_nothing_and_says_so() {
    let world = World::start(&[DOMAIN]).await;
    let (_server, endpoint) = world.serve("serve").await;
    world.route(&[DOMAIN], endpoint).await;
    world.provider(world.dns()).await;
    let right = world.controller(&world.settings("right", &[endpoint]));
    world.policy(DOMAIN, json!({})).await;
    world.ready(DOMAIN).await;
    let before = (world.publication(DOMAIN).await, world.txt(DOMAIN));
    drop(right);

    for (name, seconds, told) in [
        ("ahead", 1200, "ahead of the API server's"),
        ("behind", -1200, "behind the API server's"),
    ] {
        let folder = support::keeper::folder(name);
        let library = clock_off(folder.path(), seconds);
        let mut settings = world.settings(name, &[endpoint]);
        settings.flags = vec![format!("LD_PRELOAD={}", library.display())];
        let off = world.controller(&settings);
        let max_age = 700_000 + seconds;
        world
            .policy(DOMAIN, json!({"maxAgeSeconds": max_age}))
            .await;
        let ready = world.condition(DOMAIN, "Ready", "False", Some("ClockSkew"));
        let status = ready.await;
        let why = message(&status, "Ready");
        assert!(why.contains(told), "{why}");
        always("nothing is written", WHILE, async || {
            let now = (world.publication(DOMAIN).await, world.txt(DOMAIN));
            ensure(now == before, format!("{now:?}"))
        })
        .await;
        drop(off);
    }

    let _right = world.controller(&world.settings("right-again", &[endpoint]));
    let policy = world.ready(DOMAIN).await.policy.unwrap();
    assert_eq!(policy.max_age_seconds, 698_800);
}
