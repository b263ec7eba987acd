//! Two electors on a real API server: at no time do both hold the right to write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use mta_sts_operator::controller::lease::{
    LeaderElector, Leadership, LeaseError, Timing, lease_client,
};
use serde_json::json;
use support::kube::ApiServer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Shorter than in production, with room for a machine that is busy with other tests.
const TIMING: Timing = Timing {
    lease: Duration::from_secs(6),
    renew: Duration::from_secs(4),
    request: Duration::from_millis(1500),
    retry: Duration::from_millis(400),
};
const SOON: Duration = Duration::from_secs(20);
const NAME: &str = "mta-sts-operator";

/// One replica: its elector runs until it is stopped or aborted.
struct Replica {
    leadership: Leadership,
    identity: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), LeaseError>>,
}

impl Replica {
    fn start(client: Client, namespace: &str, pod: &str) -> Self {
        let elector = LeaderElector::new(client, namespace, NAME, pod).with_timing(TIMING);
        let (leadership, identity) = (elector.leadership(), elector.identity().to_owned());
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let task = tokio::spawn(elector.run(shutdown));
        Self {
            leadership,
            identity,
            stop,
            task,
        }
    }

    async fn acquired(&self) {
        timeout(SOON, self.leadership.acquired())
            .await
            .expect("it becomes the leader in time");
    }

    fn leads(&self) -> bool {
        self.leadership.deadline().is_some()
    }
}

async fn client(api: &ApiServer, url: &str) -> Client {
    let kubeconfig = Kubeconfig::read_from(api.kubeconfig_at(url, api.admin_token())).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    lease_client(config.unwrap()).unwrap()
}

async fn direct(api: &ApiServer) -> Client {
    client(api, &format!("https://{}", api.address())).await
}

async fn lease(api: &ApiServer, namespace: &str) -> Lease {
    Api::namespaced(api.client().await, namespace)
        .get(NAME)
        .await
        .unwrap()
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

/// Looks all the time whether two hold the right at once.
struct Umpire {
    foul: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Umpire {
    fn watch(replicas: &[&Replica]) -> Self {
        let all: Vec<_> = replicas
            .iter()
            .map(|replica| replica.leadership.clone())
            .collect();
        let foul = Arc::new(AtomicBool::new(false));
        let seen = foul.clone();
        let task = tokio::spawn(async move {
            loop {
                if all.iter().filter(|one| one.deadline().is_some()).count() > 1 {
                    seen.store(true, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Self { foul, task }
    }

    fn ask(self) {
        self.task.abort();
        assert!(
            !self.foul.load(Ordering::Relaxed),
            "two replicas held the right to write at once"
        );
    }
}

/// A way to the API server that can be cut without a word: connections stay open, nothing passes.
struct Way {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Way {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = watch::Sender::new(true);
        let state = open.subscribe();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(pass(from, target, state.clone()));
            }
        });
        Self { address, open }
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn cut(&self) {
        self.open.send_replace(false);
    }
}

async fn pass(mut from: TcpStream, target: SocketAddr, mut open: watch::Receiver<bool>) {
    let mut to = TcpStream::connect(target).await.unwrap();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => return,
        _ = open.wait_for(|open| !open) => {}
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_leader_that_shuts_down_hands_over_at_once() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("lease").await;
    let first = Replica::start(direct(api).await, &namespace, "one");
    first.acquired().await;
    let second = Replica::start(direct(api).await, &namespace, "two");
    let umpire = Umpire::watch(&[&first, &second]);
    assert_eq!(
        holder(&lease(api, &namespace).await),
        Some(first.identity.as_str())
    );

    let transitions = |lease: Lease| lease.spec.unwrap().lease_transitions;
    assert!(first.leads() && !second.leads());

    let begun = Instant::now();
    first.stop.send(()).unwrap();
    first.task.await.unwrap().unwrap();
    assert_eq!(first.leadership.deadline(), None);
    second.acquired().await;
    assert!(
        begun.elapsed() < TIMING.lease,
        "it waited for {:?}",
        begun.elapsed()
    );
    let after = lease(api, &namespace).await;
    assert_eq!(holder(&after), Some(second.identity.as_str()));
    assert_eq!(transitions(after), Some(1));
    umpire.ask();
}

#[tokio::test]
async fn a_leader_that_dies_is_followed_once_its_lease_has_run_out() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("lease").await;
    let first = Replica::start(direct(api).await, &namespace, "one");
    first.acquired().await;
    let second = Replica::start(direct(api).await, &namespace, "two");
    let umpire = Umpire::watch(&[&first, &second]);

    first.task.abort();
    let left = first.leadership.deadline().unwrap();
    second.acquired().await;
    assert!(!first.leads());
    assert!(left <= TIMING.renew);
    umpire.ask();
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_another_starts() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("lease").await;
    let way = Way::to(api.address()).await;
    let first = Replica::start(client(api, &way.url()).await, &namespace, "one");
    first.acquired().await;
    let second = Replica::start(direct(api).await, &namespace, "two");
    let umpire = Umpire::watch(&[&first, &second]);

    way.cut();
    let begun = Instant::now();
    timeout(SOON, first.leadership.lost())
        .await
        .expect("it notices");
    let lost = begun.elapsed();
    assert!(
        lost <= TIMING.renew + Duration::from_millis(1500),
        "it took {lost:?}"
    );
    assert!(!second.leads());
    second.acquired().await;
    assert_eq!(
        first.task.await.unwrap(),
        Err(LeaseError::NotRenewed(TIMING.renew))
    );
    umpire.ask();
}

#[tokio::test]
async fn without_an_api_server_nobody_leads() {
    let api = ApiServer::start().await;
    let namespace = api.namespace("lease").await;
    let first = Replica::start(direct(&api).await, &namespace, "one");
    first.acquired().await;
    let second = Replica::start(direct(&api).await, &namespace, "two");
    let umpire = Umpire::watch(&[&first, &second]);

    api.kill();
    let begun = Instant::now();
    timeout(SOON, first.leadership.lost())
        .await
        .expect("it notices");
    assert!(begun.elapsed() <= TIMING.renew + Duration::from_millis(1500));
    assert!(matches!(
        first.task.await.unwrap(),
        Err(LeaseError::NotRenewed(_))
    ));
    assert!(!second.leads());

    api.restart().await;
    second.acquired().await;
    umpire.ask();
}

#[tokio::test]
async fn a_lease_that_is_taken_or_deleted_by_hand_ends_the_leader() {
    let api = ApiServer::shared().await;
    let leases = async |namespace: &str| Api::<Lease>::namespaced(api.client().await, namespace);

    let namespace = api.namespace("lease").await;
    let taken = Replica::start(direct(api).await, &namespace, "one");
    taken.acquired().await;
    let patch = json!({"spec": {"holderIdentity": "somebody"}});
    let params = PatchParams::default();
    leases(&namespace)
        .await
        .patch(NAME, &params, &Patch::Merge(&patch))
        .await
        .unwrap();
    let somebody = Some("somebody".to_owned());
    let end = timeout(SOON, taken.task)
        .await
        .expect("it notices")
        .unwrap();
    assert_eq!(end, Err(LeaseError::TakenAway { holder: somebody }));
    assert_eq!(taken.leadership.deadline(), None);

    let namespace = api.namespace("lease").await;
    let deleted = Replica::start(direct(api).await, &namespace, "one");
    deleted.acquired().await;
    leases(&namespace)
        .await
        .delete(NAME, &DeleteParams::default())
        .await
        .unwrap();
    let end = timeout(SOON, deleted.task)
        .await
        .expect("it notices")
        .unwrap();
    assert_eq!(end, Err(LeaseError::TakenAway { holder: None }));
}

#[tokio::test]
async fn a_lease_that_others_annotate_stays_with_its_leader() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("lease").await;
    let leader = Replica::start(direct(api).await, &namespace, "one");
    leader.acquired().await;
    let leases: Api<Lease> = Api::namespaced(api.client().await, &namespace);
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < TIMING.renew + Duration::from_secs(1) {
        count += 1;
        let patch = json!({"metadata": {"annotations": {"example.org/count": count.to_string()}}});
        leases
            .patch(NAME, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(leader.leads(), "after {count} annotations");
    }
}
