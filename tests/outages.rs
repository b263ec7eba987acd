//! Servers that are away, lie or lag behind, and people who change by hand what is the operator's:
//! nothing is withdrawn, no id runs ahead of its body, and all heals by itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::http::Method;
use ::http::request::Parts;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use mta_sts_operator::lifecycle::{LedgerEntry, Publication, Record};
use mta_sts_operator::protocol::{MaxAge, Mode, Policy, PolicyId, Sha256Digest};
use serde_json::{Value, json};
use support::api_proxy::{ApiProxy, Lie, lists, watches};
use support::dns_proxy::DnsProxy;
use support::http;
use support::kubelet::Kubelet;
use support::ports::{free_port, loopback};
use support::process::Process;
use support::wait::{always, ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, World, find, name, shown};

/// Long enough to see that something does not happen.
const WHILE: Duration = Duration::from_secs(4);

/// What a record says.
struct Said(Publication);

impl Said {
    /// An entry that stands in for everything that a lost record may have said.
    fn has_worst_case(&self) -> bool {
        let worst = |e: &LedgerEntry| e.mode == Mode::Enforce && e.max_age == MaxAge::MAX;
        self.0.ledger.iter().any(worst)
    }
}

/// A world with one policy server and one controller, both with proxies before them.
struct Place {
    world: World,
    /// Before the API server, for the controller.
    api: ApiProxy,
    /// The same for the policy server.
    server_api: ApiProxy,
    dns: DnsProxy,
    _server: Process,
    endpoint: SocketAddr,
    server_admin: SocketAddr,
    controller: Kubelet,
    admin: SocketAddr,
}

impl Place {
    async fn start(domains: &[&str]) -> Self {
        let world = World::start(domains).await;
        let api = ApiProxy::start(&world.api).await;
        let server_api = ApiProxy::start(&world.api).await;
        let kubeconfig = server_api.kubeconfig(&world.api, world.api.admin_token());
        let (endpoint, server_admin) = (loopback(free_port()), loopback(free_port()));
        let server = world.serve_on("serve", &kubeconfig, endpoint, server_admin);
        support::world::ready(&server, server_admin).await;
        world.route(domains, endpoint).await;
        let dns = DnsProxy::start(world.dns()).await;
        world.provider(dns.address()).await;
        let mut settings = world.settings("controller", &[endpoint]);
        settings.kubeconfig = api.kubeconfig(&world.api, world.api.admin_token());
        let admin = loopback(free_port());
        let controllers = world.controllers(&settings, admin);
        Self {
            admin,
            controller: Kubelet::keep(controllers),
            world,
            api,
            server_api,
            dns,
            _server: server,
            endpoint,
            server_admin,
        }
    }

    async fn publish(&self, domain: &str) -> String {
        self.world.policy(domain, json!({})).await;
        self.world.ready(domain).await.policy.unwrap().id
    }

    /// Whether the policy server answers with this id and is ready, DNS announces it, and the
    /// operator has written nothing to the DNS since `updates` were counted.
    async fn stands(&self, domain: &str, id: &str, updates: usize) -> Result<(), String> {
        let answer = self
            .world
            .front
            .get(&format!("mta-sts.{domain}"), PATH)
            .await?;
        let served = answer.status == 200 && answer.header("etag") == format!("\"{id}\"");
        ensure(
            served,
            format!("{} {}", answer.status, answer.header("etag")),
        )?;
        let ready = http::get(self.server_admin, "localhost", "/readyz").await?;
        ensure(ready.status == 200, "the policy server is not ready")?;
        let announced = self.world.txt_id(domain);
        ensure(announced.as_deref() == Some(id), format!("{announced:?}"))?;
        let written = self.dns.writes.writes().split_off(updates);
        ensure(written.is_empty(), format!("{written:?}"))
    }

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

const PATH: &str = "/.well-known/mta-sts.txt";

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_for_half_a_minute_changes_nothing() {
    let domain = "example.org";
    let place = Place::start(&[domain]).await;
    let first = place.publish(domain).await;
    let observer = place.world.observe(domain, &[place.endpoint]);
    let updates = place.dns.writes.writes().len();

    place.world.api.kill();
    always(
        "all stands as it was",
        Duration::from_secs(30),
        async || place.stands(domain, &first, updates).await,
    )
    .await;
    place.world.api.restart().await;
    place.world.policy(domain, json!({"mode": "enforce"})).await;
    let second = place.world.ready(domain).await.policy.unwrap().id;
    observer.sees(&second).await;
    assert_eq!(observer.finish_strictly().announced, [first, second]);
    assert!(
        place.controller.starts() > 1,
        "a lost lease ends the process"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dns_server_that_is_away_is_named_and_written_to_once_it_is_back() {
    let domain = "example.org";
    let place = Place::start(&[domain]).await;
    let world = &place.world;
    let first = place.publish(domain).await;
    let observer = world.observe(domain, &[place.endpoint]);

    world.bind.lock().unwrap().stop();
    world.policy(domain, json!({"mode": "enforce"})).await;
    let status = world
        .condition(domain, "DnsPublished", "False", Some("ProviderUnreachable"))
        .await;
    let ready = find(&status, "Ready").unwrap();
    assert_eq!(ready.status.to_string(), "False", "{}", shown(&status));
    let body = world.body(domain).await.unwrap();
    assert!(body.contains("enforce"), "the body may go ahead: {body}");
    world.bind.lock().unwrap().restart();
    let second = world.ready(domain).await.policy.unwrap().id;
    observer.sees(&second).await;
    assert_eq!(observer.finish_strictly().announced, [first, second]);
    assert_eq!(place.controller.starts(), 1);
}

/// A lie, and the requests that get it.
type Told = (fn(&Parts) -> bool, Lie);

/// Something that the API server says wrongly.
struct Falsehood {
    name: &'static str,
    lies: Vec<Told>,
    /// Whether it does not concern policy servers, which need nothing but the records.
    spares_servers: bool,
}

impl Falsehood {
    fn all() -> Vec<Self> {
        let new = |name, lies: &[Told], spares_servers| Self {
            name,
            lies: lies.to_vec(),
            spares_servers,
        };
        let records = |head: &Parts| lists(head, "configmaps");
        let record_watch = |head: &Parts| watches(head, "configmaps");
        let policies = |head: &Parts| lists(head, "mtastspolicies");
        let policy_watch = |head: &Parts| watches(head, "mtastspolicies");
        let (expired, gone) = (|| Lie::refusal(410, "Expired"), Lie::watch_gone);
        let forbidden = || Lie::refusal(403, "Forbidden");
        vec![
            // A watch that cannot go on is what makes everybody list anew.
            new(
                "no-records",
                &[(records, Lie::Empty), (record_watch, gone())],
                false,
            ),
            new(
                "nothing-at-all",
                &[(is_list, Lie::Empty), (is_watch, gone())],
                false,
            ),
            // Nothing else is listed anew when the policies are back.
            new(
                "no-policies",
                &[(policies, Lie::Empty), (policy_watch, gone())],
                true,
            ),
            new("gone", &[(is_list, expired()), (is_watch, gone())], false),
            new("no-watch", &[(record_watch, forbidden())], false),
            new(
                "no-such-record",
                &[(is_record, Lie::refusal(404, "NotFound"))],
                true,
            ),
            new(
                "broken",
                &[(|_| true, Lie::refusal(500, "InternalError"))],
                false,
            ),
        ]
    }
}

const WATCHED: [&str; 8] = [
    "configmaps",
    "mtastspolicies",
    "dnsproviders",
    "clusterdnsproviders",
    "namespaces",
    "ingresses",
    "ingressclasses",
    "endpointslices",
];

fn is_list(head: &Parts) -> bool {
    WATCHED.iter().any(|plural| lists(head, plural))
}

fn is_watch(head: &Parts) -> bool {
    WATCHED.iter().any(|plural| watches(head, plural))
}

fn is_record(head: &Parts) -> bool {
    let path = head.uri.path();
    head.method == Method::GET
        && path.contains("/configmaps/mta-sts-")
        && !path.ends_with("installation")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_lies_withdraws_nothing() {
    let cases = Falsehood::all();
    let domains: Vec<String> = cases
        .iter()
        .map(|case| format!("{}.example", case.name))
        .collect();
    let names: Vec<&str> = domains.iter().map(String::as_str).collect();
    let place = Place::start(&names).await;
    for (case, domain) in cases.into_iter().zip(names) {
        withdraws_nothing(&place, case, domain).await;
    }
}

async fn withdraws_nothing(place: &Place, case: Falsehood, domain: &str) {
    let world = &place.world;
    let first = place.publish(domain).await;
    let observer = world.observe(domain, &[place.endpoint]);
    let updates = place.dns.writes.writes().len();

    for proxy in [&place.api, &place.server_api] {
        for (about, lie) in &case.lies {
            proxy.lies.tell(*about, lie.clone());
        }
        // So that everybody has to list or watch anew.
        proxy.link.cut().await;
        proxy.link.mend().await;
    }
    let kubeconfig = place
        .server_api
        .kubeconfig(&world.api, world.api.admin_token());
    let admin = loopback(free_port());
    let _fresh = world.serve_on(case.name, &kubeconfig, loopback(free_port()), admin);
    let begun = Instant::now();
    eventually(case.name, SOON, async || {
        place.stands(domain, &first, updates).await.unwrap();
        let fresh = http::get(admin, "localhost", "/readyz").await;
        let ready = fresh.is_ok_and(|answer| answer.status == 200);
        assert!(
            case.spares_servers || !ready,
            "{}: a policy server that knows nothing is ready",
            case.name
        );
        let told = place.api.lies.all_told();
        ensure(
            told && begun.elapsed() > WHILE,
            "the controller was not told every lie",
        )
    })
    .await;
    place.api.lies.stop();
    place.server_api.lies.stop();

    // Whoever was lied to works again, and not only where something changes.
    world.nsupdate(&format!("update delete _mta-sts.{domain} TXT"));
    eventually(case.name, SOON, async || {
        let announced = world.txt_id(domain);
        ensure(announced.as_ref() == Some(&first), format!("{announced:?}"))
    })
    .await;
    world.policy(domain, json!({"mode": "enforce"})).await;
    let second = world.ready(domain).await.policy.unwrap().id;
    observer.sees(&second).await;
    let seen = observer.finish_strictly();
    assert_eq!(seen.announced, [first, second], "{}", case.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_come_back_wait_for_the_replica_that_never_lost_them() {
    let domain = "example.org";
    let world = World::start(&[domain]).await;
    let (_one, first) = world.serve("serve-1").await;
    let lag = ApiProxy::start(&world.api).await;
    let kubeconfig = lag.kubeconfig(&world.api, world.api.admin_token());
    let (_two, second) = world.serve_with("serve-2", &kubeconfig).await;
    world.route(&[domain], first).await;
    world.provider(world.dns()).await;
    let endpoints = [first, second];
    let _controller = world.controller(&world.settings("controller", &endpoints));
    world.policy(domain, json!({})).await;
    let before = world.ready(domain).await.policy.unwrap().id;
    let observer = world.observe(domain, &endpoints);

    lag.link.cut().await;
    for mode in ["enforce", "testing"] {
        world.policy(domain, json!({"mode": mode})).await;
        let status = world
            .condition(domain, "PolicyServed", "False", Some("EndpointStale"))
            .await;
        let message = &find(&status, "PolicyServed").unwrap().message;
        assert!(message.contains(&second.to_string()), "{mode}: {message}");
    }
    let body = world.body(domain).await.unwrap();
    let decided = world.publication(domain).await["current"]["id"].clone();
    // Both replicas serve the same bytes now, one of them under the first id.
    always("the last id is not announced", WHILE, async || {
        let host = format!("mta-sts.{domain}");
        let lagging = http::get(second, &host, PATH).await?;
        assert_eq!(lagging.text(), body);
        let announced = world.txt_id(domain);
        ensure(
            announced.as_ref() == Some(&before),
            format!("{announced:?}"),
        )
    })
    .await;
    lag.link.mend().await;
    let last = world.ready(domain).await.policy.unwrap().id;
    assert_eq!(decided, json!(last));
    observer.sees(&last).await;
    assert_eq!(observer.finish_strictly().announced, [before, last]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_answer_is_named_and_waited_for() {
    let domain = "example.org";
    let world = World::start(&[domain]).await;
    let (_one, first) = world.serve("serve-1").await;
    let (two, second) = world.serve("serve-2").await;
    world.route(&[domain], first).await;
    world.provider(world.dns()).await;
    let endpoints = [first, second];
    let _controller = world.controller(&world.settings("controller", &endpoints));
    world.policy(domain, json!({})).await;
    let before = world.ready(domain).await.policy.unwrap().id;
    let observer = world.observe(domain, &endpoints);

    two.signal("STOP");
    world.policy(domain, json!({"mode": "enforce"})).await;
    let status = world
        .condition(domain, "PolicyServed", "False", Some("EndpointUnreachable"))
        .await;
    let message = &find(&status, "PolicyServed").unwrap().message;
    assert!(message.contains(&second.to_string()), "{message}");
    assert_eq!(world.txt_id(domain), Some(before.clone()));
    two.signal("CONT");
    let last = world.ready(domain).await.policy.unwrap().id;
    eventually("the observer has seen the end", SOON, async || {
        let seen = observer.seen();
        ensure(
            seen.looks > 5 && seen.announced.len() > 1,
            format!("{seen:?}"),
        )
    })
    .await;
    observer.sees(&last).await;
    assert_eq!(observer.finish_strictly().announced, [before, last]);
}

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
