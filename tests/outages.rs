//! Servers that are away, lie or lag behind: nothing is withdrawn, no id runs ahead of its body, and
//! all heals by itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::time::{Duration, Instant};

use ::http::Method;
use ::http::request::Parts;
use serde_json::json;
use support::api_proxy::{ApiProxy, Lie, lists, watches};
use support::http;
use support::place::{PATH, Place};
use support::ports::{free_port, loopback};
use support::wait::{always, ensure, eventually};
use support::world::{SOON, World, find, shown};

/// Long enough to see that something does not happen.
const WHILE: Duration = Duration::from_secs(4);

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
    // (Mode enforce would wait until the MX records can be looked up.)
    let longer = json!({"maxAgeSeconds": 100_000});
    world.policy(domain, longer).await;
    let status = world
        .condition(domain, "DnsPublished", "False", Some("ProviderUnreachable"))
        .await;
    let ready = find(&status, "Ready").unwrap();
    assert_eq!(ready.status.to_string(), "False", "{}", shown(&status));
    let body = world.body(domain).await.unwrap();
    assert!(body.contains("100000"), "the body may go ahead: {body}");
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
