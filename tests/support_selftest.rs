//! The test support proves itself: what it starts is real, and what it promises to do to a write,
//! it does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use ::http as http_types;
use http_body_util::Full;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, WatchEvent, WatchParams};
use kube::{Client, Config, ResourceExt};
use mta_sts_operator::api::MtaStsPolicy;
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use support::api_proxy::ApiProxy;
use support::bind::{Bind, Key, Zone};
use support::dns_proxy::DnsProxy;
use support::front::{Answer, Certificate, Front, Site};
use support::interfere::{Action, When};
use support::kube::{ApiServer, apply, client};
use support::process::Process;
use support::wait::{ensure, eventually};
use support::{http, keeper, ports};

const SOON: Duration = Duration::from_secs(10);

async fn write(client: &Client, namespace: &str, value: &str) -> Result<(), kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"value": value}});
    maps.patch("map", &apply(), &Patch::Apply(&map))
        .await
        .map(drop)
}

async fn read(client: &Client, namespace: &str) -> String {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    maps.get("map").await.unwrap().data.unwrap()["value"].clone()
}

#[tokio::test]
async fn an_api_server_that_is_killed_comes_back_with_its_data() {
    let api = ApiServer::start().await;
    let namespace = api.namespace("restart").await;
    write(&api.client().await, &namespace, "kept")
        .await
        .unwrap();

    api.kill();
    assert!(http::get(api.address(), "localhost", "/").await.is_err());
    api.restart().await;
    assert_eq!(read(&api.client().await, &namespace).await, "kept");
}

#[tokio::test]
async fn a_service_account_may_do_nothing_unless_a_role_says_so() {
    let api = ApiServer::start().await;
    let namespace = api.namespace("rbac").await;
    let token = api.service_account_token(&namespace, "operator").await;
    let refused = write(&client(&api.kubeconfig_for(&token)).await, &namespace, "x").await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
}

#[tokio::test]
async fn the_shared_server_has_our_resources() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("shared").await;
    let policies: Api<MtaStsPolicy> = Api::namespaced(api.client().await, &namespace);
    let policy = json!({
        "apiVersion": "mta-sts.dev/v1alpha1",
        "kind": "MtaStsPolicy",
        "metadata": {"name": "policy"},
        "spec": {"domain": "example.org", "mx": ["mail.example.org"]},
    });
    let made = policies
        .patch("policy", &apply(), &Patch::Apply(&policy))
        .await
        .unwrap();
    assert_eq!(made.spec.domain, "example.org");
}

/// kube repeats some requests by itself, which would spoil the counting.
async fn client_without_retries(kubeconfig: &Path) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &Default::default())
        .await
        .unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn the_api_proxy_counts_writes_and_interferes_with_the_one_it_is_told() {
    let api = ApiServer::start().await;
    let namespace = api.namespace("proxy").await;
    let proxy = ApiProxy::start(&api).await;
    let through = client_without_retries(&proxy.kubeconfig(&api, api.admin_token())).await;
    let direct = api.client().await;

    write(&through, &namespace, "one").await.unwrap();
    assert_eq!(read(&through, &namespace).await, "one");
    assert_eq!(proxy.writes.writes().len(), 1, "a read is no write");

    proxy.writes.on_write(2, When::Before, Action::Drop);
    write(&through, &namespace, "two").await.unwrap_err();
    assert_eq!(read(&direct, &namespace).await, "one");
    assert_eq!(proxy.writes.writes()[1].answered, None);

    proxy.writes.on_write(3, When::After, Action::Drop);
    write(&through, &namespace, "three").await.unwrap_err();
    assert_eq!(read(&direct, &namespace).await, "three");
    assert_eq!(proxy.writes.writes()[2].answered, Some(200));

    proxy.writes.on_write(4, When::After, Action::Cut);
    write(&through, &namespace, "four").await.unwrap_err();
    write(&through, &namespace, "five").await.unwrap_err();
    assert_eq!(read(&direct, &namespace).await, "four");
    proxy.link.mend().await;
    write(&through, &namespace, "six").await.unwrap();
    proxy.writes.answered(3, SOON).await;
}

#[tokio::test]
async fn a_watch_goes_through_the_api_proxy_and_ends_when_it_is_cut_off() {
    use futures::TryStreamExt;
    let api = ApiServer::start().await;
    let namespace = api.namespace("watch").await;
    let proxy = ApiProxy::start(&api).await;
    let through = client(&proxy.kubeconfig(&api, api.admin_token())).await;
    let maps: Api<ConfigMap> = Api::namespaced(through, &namespace);
    let events = maps.watch(&WatchParams::default(), "0").await.unwrap();
    let mut events = std::pin::pin!(events);

    write(&api.client().await, &namespace, "seen")
        .await
        .unwrap();
    loop {
        match events.try_next().await.unwrap() {
            Some(WatchEvent::Added(map)) if map.name_any() == "map" => break,
            Some(_) => {}
            None => panic!("the watch ended"),
        }
    }
    proxy.link.cut().await;
    let end = tokio::time::timeout(SOON, events.try_next())
        .await
        .expect("the watch ends");
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
}

#[tokio::test]
async fn a_client_can_be_killed_before_its_write_goes_out() {
    let api = ApiServer::start().await;
    let namespace = api.namespace("kill").await;
    let proxy = ApiProxy::start(&api).await;
    let folder = keeper::folder("kill");
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"map"}}"#;
    let command = |log: &str| {
        let url = format!(
            "http://{}/api/v1/namespaces/{namespace}/configmaps",
            proxy.link.address()
        );
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "-X",
            "POST",
            "-H",
            "Content-Type: application/json",
            "--data",
            body,
        ])
        .args([
            "-H",
            &format!("Authorization: Bearer {}", api.admin_token()),
            &url,
        ]);
        Arc::new(Process::start("curl", &mut curl, &folder.path().join(log)))
    };
    // The client must be known before its write comes, so the write is held until then.
    let (tell, told) = std::sync::mpsc::channel::<Arc<Process>>();
    let kill = move || told.recv_timeout(SOON).unwrap().kill();
    proxy
        .writes
        .on_write(1, When::Before, Action::Run(Box::new(kill)));
    proxy.writes.on_write(1, When::Before, Action::Drop);
    let victim = command("victim.log");
    tell.send(victim.clone()).unwrap();

    let status = victim.exit(SOON).await;
    assert!(!status.success());
    assert_eq!(proxy.writes.writes()[0].answered, None);
    assert!(command("second.log").exit(SOON).await.success());
}

#[tokio::test]
async fn the_dns_proxy_counts_updates_and_interferes_with_the_one_it_is_told() {
    let key = Key {
        name: "test",
        algorithm: "hmac-sha256",
        secret: "bm90IGEgc2VjcmV0LCBqdXN0IGFuIGV4YW1wbGUgISE=",
    };
    let bind = Bind::start(&[Zone::dynamic("example.org", "")], &[key]);
    let proxy = DnsProxy::start(bind.address()).await;
    let update = async |name: &str, transport: &str| {
        let lines = format!("update add {name}.example.org 60 TXT {name}\n");
        nsupdate(proxy.address(), &key, transport, &lines).await
    };
    assert!(update("one", "udp").await);
    assert!(update("two", "tcp").await);
    let writes = proxy.writes.writes();
    assert_eq!((writes.len(), writes[1].answered), (2, Some(0)));
    assert!(writes[1].what.contains("two.example.org"), "{writes:?}");

    proxy.writes.on_write(3, When::Before, Action::Drop);
    assert!(!update("three", "tcp").await);
    assert_eq!(bind.dig("three.example.org", "TXT"), "");

    let before = proxy.writes.writes().len() + 1;
    proxy.writes.on_write(before, When::After, Action::Drop);
    assert!(!update("four", "tcp").await);
    assert_eq!(bind.dig("four.example.org", "TXT"), "\"four\"\n");

    proxy.link.cut().await;
    assert!(!update("five", "tcp").await);
    proxy.link.mend().await;
    assert!(update("six", "tcp").await);
}

/// Whether `nsupdate` succeeds; it may try more than once.
async fn nsupdate(server: SocketAddr, key: &Key, transport: &str, lines: &str) -> bool {
    let folder = keeper::folder("nsupdate");
    let file = folder.path().join("lines");
    let lines = format!("server {} {}\n{lines}send\n", server.ip(), server.port());
    std::fs::write(&file, lines).unwrap();
    let mut command = Command::new("nsupdate");
    let key = format!("{}:{}:{}", key.algorithm, key.name, key.secret);
    command.args(["-r", "0", "-t", "2", "-y", &key]).arg(&file);
    if transport == "tcp" {
        command.arg("-v");
    }
    let log = folder.path().join("log");
    let process = Process::start("nsupdate", &mut command, &log);
    process.exit(SOON).await.success()
}

#[tokio::test]
async fn the_front_ends_tls_by_name_and_changes_at_run_time() {
    let upstream = Front::start().await; // any other server does
    let front = Front::start().await;
    let host = "mta-sts.example.org";
    let text = |body: &str| Answer::Body {
        content_type: "text/plain",
        body: body.into(),
    };
    let site = Site::proxy(upstream.address());
    front
        .set(
            host,
            site.clone().with_answer(text("a $body; \"with\" all\r\n")),
        )
        .await;
    front
        .set(
            "other.example.org",
            site.clone().with_answer(Answer::Status(404)),
        )
        .await;

    let answer = front.get(host, "/.well-known/mta-sts.txt").await.unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "a $body; \"with\" all\r\n")
    );
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!(
        front.get("other.example.org", "/").await.unwrap().status,
        404
    );
    assert!(front.get("unknown.example.org", "/").await.is_err());

    let cases = [
        (Certificate::Expired, "expired"),
        (Certificate::NotYetValid, "not valid yet"),
        (Certificate::WrongName, "not valid for name"),
        (Certificate::Untrusted, "UnknownIssuer"),
    ];
    for (certificate, why) in cases {
        front
            .set(host, site.clone().with_certificate(certificate))
            .await;
        let error = front.get(host, "/").await.unwrap_err();
        assert!(error.contains(why), "{certificate:?}: {error}");
    }

    front
        .set(
            host,
            site.clone()
                .with_answer(Answer::Redirect("https://example.net/".into())),
        )
        .await;
    let answer = front.get(host, "/").await.unwrap();
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, "https://example.net/")
    );
    front.set(host, site.with_answer(Answer::Close)).await;
    front.get(host, "/").await.unwrap_err();

    front.down();
    let refused = front.get("other.example.org", "/").await.unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
    front.up().await;
    assert_eq!(
        front.get("other.example.org", "/").await.unwrap().status,
        404
    );
}

#[tokio::test]
async fn the_front_proxies_with_the_host_kept() {
    use mta_sts_operator::serve::listener::{self, Limits, Phase};
    let echo = |request: &http_types::Request<_>| {
        let host = request.headers()["host"].as_bytes().to_vec();
        http_types::Response::new(Full::from(host))
    };
    let address = ports::loopback(ports::free_port());
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let (_phase, phases) = tokio::sync::watch::channel(Phase::Serving);
    tokio::spawn(listener::serve(
        listener,
        Arc::new(echo),
        Limits::default(),
        Arc::default(),
        phases,
    ));

    let front = Front::start().await;
    front.set("mta-sts.example.org", Site::proxy(address)).await;
    assert_eq!(
        front.get("mta-sts.example.org", "/").await.unwrap().text(),
        "mta-sts.example.org"
    );
}

#[tokio::test]
async fn a_process_takes_signals_and_ends() {
    let folder = keeper::folder("signals");
    let sleeper = sleeper(folder.path());
    sleeper.signal("STOP");
    sleeper.signal("CONT");
    assert_eq!(sleeper.ended(), None);
    let status = sleeper.terminate(SOON).await;
    assert!(!status.success());
}

#[tokio::test]
async fn what_a_killed_test_process_has_started_is_gone_too() {
    let folder = keeper::folder("keeper");
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args([
        "--ignored",
        "--exact",
        "starts_a_process_and_hangs",
        "--nocapture",
    ]);
    let test = Process::start("test", &mut test, &folder.path().join("test.log"));
    let line = test.logged("started ", SOON).await;
    let [pid, state] = line
        .trim_start_matches("started ")
        .split(' ')
        .collect::<Vec<_>>()[..]
    else {
        panic!("{line}")
    };
    let (process, state) = (Path::new("/proc").join(pid), Path::new(state));
    assert!(process.exists() && state.exists());

    test.kill();
    eventually("process and folder are gone", SOON, async || {
        ensure(!process.exists() && !state.exists(), "they are still there")
    })
    .await;
}

#[tokio::test]
#[ignore = "the test above runs it, and kills it"]
async fn starts_a_process_and_hangs() {
    let folder = keeper::folder("hangs");
    let sleeper = sleeper(folder.path());
    println!("\nstarted {} {}", sleeper.pid(), folder.path().display());
    std::future::pending::<()>().await;
}

fn sleeper(folder: &Path) -> Process {
    let mut command = Command::new("sleep");
    Process::start("sleep", command.arg("600"), &folder.join("sleep.log"))
}

/// The double of Route 53 is as strict as Amazon's published rules.
#[test]
fn a_batch_of_route_53_is_made_as_a_whole_or_not_at_all() {
    use support::cloud::{Store, route53_change};
    let set = |name: &str, kind: &str, ttl: u32, values: &[&str]| {
        let values: String = values
            .iter()
            .map(|v| format!("<ResourceRecord><Value>{v}</Value></ResourceRecord>"))
            .collect();
        format!(
            "<Name>{name}</Name><Type>{kind}</Type><TTL>{ttl}</TTL><ResourceRecords>{values}</ResourceRecords>"
        )
    };
    let txt = |ttl, values: &[&str]| set("a.example.test.", "TXT", ttl, values);
    let (one, two) = (txt(300, &["&quot;one&quot;"]), txt(300, &["\"two\""]));
    let good = set("b.example.test.", "A", 60, &["192.0.2.1"]);
    let long = format!("\"{}\"", "x".repeat(256));
    let longer = "\"x\" ".repeat(1001);
    let alias = set("a.example.test.", "CNAME", 60, &["b.example.test."]);
    let octal = txt(300, &["\"gr\\374n\""]);
    let many: Vec<String> = (0..501).map(|n| format!("\"{n}\"")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    type Batch<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Batch<'_>, Option<&str>); 20] = [
        (
            "a set that is there",
            &[("CREATE", &two)],
            Some("already exists"),
        ),
        (
            "and one beside it",
            &[("CREATE", &good), ("CREATE", &two)],
            Some("already exists"),
        ),
        ("UPSERT takes it", &[("UPSERT", &two)], None),
        ("other values", &[("DELETE", &two)], Some("do not match")),
        (
            "another TTL",
            &[("DELETE", &txt(60, &["\"one\""]))],
            Some("do not match"),
        ),
        (
            "not all values",
            &[("DELETE", &txt(300, &["\"one\"", "\"two\""]))],
            Some("do not match"),
        ),
        ("the same", &[("DELETE", &one)], None),
        (
            "one for another",
            &[("DELETE", &one), ("CREATE", &two)],
            None,
        ),
        (
            "nothing to delete",
            &[("DELETE", &good)],
            Some("was not found"),
        ),
        (
            "without quotes",
            &[("UPSERT", &txt(300, &["one"]))],
            Some("quotation marks"),
        ),
        (
            "a long string",
            &[("UPSERT", &txt(300, &[&long]))],
            Some("TooLong"),
        ),
        (
            "a long value",
            &[("UPSERT", &txt(300, &[&longer]))],
            Some("4000"),
        ),
        (
            "no ASCII",
            &[("UPSERT", &txt(300, &["\"grün\""]))],
            Some("InvalidCharacterString"),
        ),
        ("the same in octal", &[("UPSERT", &octal)], None),
        (
            "an alias beside",
            &[("CREATE", &alias)],
            Some("conflicting"),
        ),
        (
            "an alias instead",
            &[("DELETE", &one), ("CREATE", &alias)],
            None,
        ),
        (
            "elsewhere",
            &[("CREATE", &set("example.net.", "A", 60, &["192.0.2.1"]))],
            Some("not permitted"),
        ),
        (
            "no address",
            &[("CREATE", &set("b.example.test.", "A", 60, &["b"]))],
            Some("IPv4"),
        ),
        (
            "too many, since each counts twice",
            &[("UPSERT", &txt(300, &many))],
            Some("1000"),
        ),
        (
            "a word of its own",
            &[("REPLACE", &one)],
            Some("Invalid action"),
        ),
    ];
    for (case, changes, refusal) in cases {
        let mut store = Store::new(vec!["example.test".to_owned()]);
        store.put("example.test", "a.example.test", "TXT", "\"one\"", 300);
        let (status, body) = route53_change(&mut store, "example.test", changes);
        let unchanged = store
            .at("a.example.test", "TXT")
            .contains(&("\"one\"".to_owned(), 300))
            && store.at("b.example.test", "A").is_empty();
        match refusal {
            None => assert!(status == 200 && !unchanged, "{case}: {body}"),
            Some(words) => {
                assert!(status == 400 && unchanged, "{case}: {status} {body}");
                assert!(body.contains("<InvalidChangeBatch"), "{case}: {body}");
                assert!(body.contains(words), "{case}: {body}");
            }
        }
    }
}
