//! How the policy host is reached, and by whom its policy is served, on real parts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use mta_sts_operator::api::MtaStsPolicyStatus;
use serde_json::{Value, json};
use support::bind::Zone;
use support::front::{Answer, Certificate, Site};
use support::process::Process;
use support::wait::{always, ensure, eventually};
use support::world::{
    ControllerSettings, MAIL, SOON, SYSTEM, World, find, message, policy_host, shown,
};

const WHILE: Duration = Duration::from_secs(4);
const MX: &str = "@ MX 10 mail\nmail A 192.0.2.25\n";

struct Running {
    world: World,
    server: SocketAddr,
    settings: ControllerSettings,
    processes: [Process; 2],
}

async fn running(zones: &[(&str, &str)], flags: &[&str]) -> Running {
    let names: Vec<&str> = zones.iter().map(|(name, _)| *name).collect();
    let zones = zones
        .iter()
        .map(|(name, records)| Zone::dynamic(name, &format!("{MX}{records}")));
    let world = World::with_zones(zones.collect()).await;
    let (process, server) = world.serve("serve").await;
    world.route(&names, server).await;
    world.provider(world.dns()).await;
    let mut settings = world.settings("controller", &[server]);
    settings.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    let controller = world.controller(&settings);
    Running {
        world,
        server,
        settings,
        processes: [process, controller],
    }
}

fn ingresses(world: &World, namespace: &str) -> Api<Ingress> {
    Api::namespaced(world.client.clone(), namespace)
}

/// The Ingress that was made for a domain.
async fn ingress(world: &World, domain: &str) -> Option<Ingress> {
    let all = ingresses(world, SYSTEM).list(&Default::default()).await;
    all.unwrap().into_iter().find(|ingress| {
        ingress
            .annotations()
            .get("mta-sts.dev/domain")
            .is_some_and(|of| of == domain)
    })
}

async fn its_ingress(world: &World, domain: &str) -> Ingress {
    eventually("the Ingress is there", SOON, async || {
        ingress(world, domain).await.ok_or("it is not")
    })
    .await
}

fn dig(world: &World, name: &str, record_type: &str) -> String {
    let answer = world.bind.lock().unwrap().dig(name, record_type);
    answer.trim().to_owned()
}

fn codes(status: &MtaStsPolicyStatus) -> Vec<&str> {
    status.findings.iter().map(|f| f.code.as_str()).collect()
}

fn served_by_somebody_else(body: &str) -> Site {
    Site {
        certificate: Certificate::Valid,
        answer: Answer::Body {
            content_type: "text/plain",
            body: body.as_bytes().to_vec(),
        },
    }
}

#[tokio::test]
async fn ways_in() {
    let running = running(
        &[
            ("plain.example", ""),
            ("ing.example", ""),
            ("targets.example", "lb A 127.0.0.1\n"),
            ("foreign.example", "mta-sts A 192.0.2.9\n"),
            ("taken.example", ""),
            ("external.example", "mta-sts A 127.0.0.1\n"),
            ("paused.example", ""),
            ("cached.example", ""),
        ],
        &[
            "--allow-annotation=example.org/",
            "--allow-ingress-class=named",
            "--allow-issuer=ClusterIssuer/ca,Issuer/own",
            "--allow-tls-secret=mail/mine",
        ],
    )
    .await;
    // Alone: without a default class the others would wait for one.
    a_class_is_chosen(&running.world).await;
    tokio::join!(
        an_ingress_has_its_exact_shape(&running.world),
        the_address_follows_the_ingress(&running.world),
        a_foreign_address_is_left_alone(&running.world),
        a_host_that_another_ingress_has(&running),
        somebody_else_serves_the_policy(&running),
        nothing_is_written_while_suspended(&running.world),
        a_cache_in_front_is_waited_for(&running),
    );
}

async fn a_class_is_chosen(world: &World) {
    let domain = "plain.example";
    let classes = Api::<IngressClass>::all(world.client.clone());
    let params = DeleteParams::default();
    classes.delete("front", &params).await.unwrap();
    world.policy(domain, json!({})).await;
    let status = world
        .condition(domain, "Accepted", "False", Some("HostingNotFound"))
        .await;
    let told = message(&status, "Accepted");
    assert!(told.contains("spec.hosting.ingress.className"), "{told}");
    assert!(find(&status, "Stalled").is_some(), "{}", shown(&status));
    assert!(world.record(domain).await.is_none());

    // A class that the spec names needs no default.
    let named = json!({"hosting": {"ingress": {"className": "named"}}});
    world.policy(domain, named).await;
    world.condition(domain, "Accepted", "True", None).await;
    let class = |ingress: &Ingress| ingress.spec.as_ref().unwrap().ingress_class_name.clone();
    let named = its_ingress(world, domain).await;
    assert_eq!(class(&named).as_deref(), Some("named"));

    let front = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "front", "annotations":
            {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "mta-sts.dev/test"}});
    world.apply::<IngressClass>(None, front).await;
    world.policy(domain, json!({})).await;
    world.ready(domain).await;
    let default = its_ingress(world, domain).await;
    assert_eq!(class(&default).as_deref(), Some("front"));
}

async fn an_ingress_has_its_exact_shape(world: &World) {
    let domain = "plain.example";
    let host = policy_host(domain);
    let made = its_ingress(world, domain).await;
    let name = made.name_any();
    let backend = json!({"service": {"name": "mta-sts-policy", "port": {"name": "http"}}});
    assert_eq!(
        serde_json::to_value(&made.spec).unwrap(),
        json!({
            "ingressClassName": "front",
            "rules": [{"host": host, "http": {"paths":
                [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
            "tls": [{"hosts": [host], "secretName": format!("{name}-tls")}],
        })
    );
    assert_eq!(
        json!(made.labels()),
        json!({"app.kubernetes.io/managed-by": "mta-sts-operator", "mta-sts.dev/role": "policy-host"})
    );
    assert_eq!(
        json!(made.annotations()),
        json!({"mta-sts.dev/domain": domain})
    );

    // Annotations of the allow-list, and a certificate by cert-manager.
    let spec = |annotation: &str, issuer: Value| json!({"hosting": {"ingress": {"annotations": {annotation: "x"}, "tls": issuer}}});
    for (issuer, key, value) in [
        (
            json!({"issuerRef": {"name": "ca"}}),
            "cert-manager.io/cluster-issuer",
            "ca",
        ),
        (
            json!({"issuerRef": {"kind": "Issuer", "name": "own"}}),
            "cert-manager.io/issuer",
            "own",
        ),
    ] {
        world.policy(domain, spec("example.org/tier", issuer)).await;
        let wanted = json!({"mta-sts.dev/domain": domain, "example.org/tier": "x", key: value});
        eventually("its annotations are exactly these", SOON, async || {
            let found = json!(its_ingress(world, domain).await.annotations());
            ensure(found == wanted, found)
        })
        .await;
    }
    let secret = json!({"secretName": "mine"});
    world
        .policy(domain, spec("example.org/tier", secret.clone()))
        .await;
    eventually("its Secret is the one that was named", SOON, async || {
        let found = its_ingress(world, domain).await.spec.unwrap().tls.unwrap();
        ensure(
            found[0].secret_name.as_deref() == Some("mine"),
            format!("{found:?}"),
        )
    })
    .await;
    world.policy(domain, spec("example.net/tier", secret)).await;
    let status = world
        .condition(domain, "Accepted", "False", Some("AnnotationNotAllowed"))
        .await;
    let told = message(&status, "Accepted");
    assert!(
        told.contains("example.net/tier") && told.contains("example.org/"),
        "{told}"
    );

    // However long the domain, every name fits.
    let label = "a".repeat(60);
    let long = format!("{label}.{label}.{label}.plain.example");
    let apply = support::world::policy(&long, json!({}));
    let mut apply = apply;
    apply["metadata"]["name"] = json!("long");
    world
        .apply::<mta_sts_operator::api::MtaStsPolicy>(Some(MAIL), apply)
        .await;
    let made = its_ingress(world, &long).await;
    let record = world.record(&long).await.unwrap();
    for name in [made.name_any(), record.name_any()] {
        assert!(name.len() <= 63, "{name}");
    }
    let hosts = made.spec.unwrap().tls.unwrap()[0].hosts.clone().unwrap();
    assert_eq!(hosts, [policy_host(&long)]);
}

/// Puts an address into the status of a domain's Ingress, as its controller would.
async fn report_address(world: &World, domain: &str, address: Value) {
    let name = its_ingress(world, domain).await.name_any();
    let patch = json!({"status": {"loadBalancer": {"ingress": [address]}}});
    ingresses(world, SYSTEM)
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

async fn the_address_follows_the_ingress(world: &World) {
    let domain = "ing.example";
    let host = policy_host(domain);
    let host = host.as_str();
    let shows = async |record_type: &str, value: &str| {
        eventually("the address record is the new one", SOON, async || {
            let found = dig(world, host, record_type);
            ensure(found == value, found)
        })
        .await;
    };
    world
        .policy(domain, json!({"hosting": {"address": null}}))
        .await;
    world
        .condition(domain, "PolicyServed", "False", Some("AddressUnknown"))
        .await;
    report_address(world, domain, json!({"ip": "127.0.0.1"})).await;
    let id = world.ready(domain).await.policy.unwrap().id;
    assert_eq!(dig(world, host, "A"), "127.0.0.1");

    // Another address: until the old one's TTL has passed some senders still go there.
    report_address(world, domain, json!({"ip": "127.0.0.3"})).await;
    shows("A", "127.0.0.3").await;
    let status = eventually("the old address may be cached", SOON, async || {
        let reason = Some("AddressPending");
        let status = world
            .condition(domain, "PolicyServed", "False", reason)
            .await;
        let told = message(&status, "PolicyServed").to_owned();
        ensure(told.contains("may be cached until"), told)?;
        Ok::<_, String>(status)
    })
    .await;
    // What was published stays so.
    let published = find(&status, "DnsPublished").unwrap();
    assert_eq!(published.status.to_string(), "True", "{}", shown(&status));
    assert_eq!(world.txt_id(domain).as_deref(), Some(id.as_str()));
    // A policy that changes now is not announced before the old address has gone.
    world
        .policy(
            domain,
            json!({"hosting": {"address": null}, "mode": "enforce"}),
        )
        .await;
    let begun = std::time::Instant::now();
    let status = world.ready(domain).await;
    assert!(
        begun.elapsed() > Duration::from_secs(15),
        "it was announced within the old address's TTL of 30 s"
    );
    assert!(status.policy.unwrap().id > id);

    // An alias and addresses replace each other in one change: the host always has one.
    let alias = json!({"hostname": "lb.targets.example"});
    report_address(world, domain, alias).await;
    shows("CNAME", "lb.targets.example.").await;
    in_one_update(world, host, "CNAME", "A");
    report_address(world, domain, json!({"ip": "127.0.0.4"})).await;
    shows("A", "127.0.0.4").await;
    assert_eq!(dig(world, host, "CNAME"), "");
    in_one_update(world, host, "A", "CNAME");
}

/// By the log of the name server: the last record that was added for `host` took the place of the
/// other one in the same message.
fn in_one_update(world: &World, host: &str, added: &str, deleted: &str) {
    let log = world.bind.lock().unwrap().log();
    let added = format!("adding an RR at '{host}' {added}");
    let deleted = format!("deleting rrset at '{host}' {deleted}");
    let client = |line: &str| {
        let words = line.split_whitespace();
        let client = words.skip_while(|word| *word != "client").nth(2);
        client.map(str::to_owned)
    };
    let adding = log.lines().rev().find(|line| line.contains(&added));
    let adding = adding.and_then(client).expect("the addition is logged");
    let deleting = log
        .lines()
        .filter(|line| line.contains(&deleted))
        .filter_map(client);
    assert!(deleting.into_iter().any(|of| of == adding), "{log}");
}

async fn a_foreign_address_is_left_alone(world: &World) {
    let domain = "foreign.example";
    world.policy(domain, json!({})).await;
    let status = world
        .condition(domain, "PolicyServed", "False", Some("Foreign"))
        .await;
    assert!(
        message(&status, "PolicyServed").contains("192.0.2.9"),
        "{}",
        shown(&status)
    );
    assert!(
        codes(&status).contains(&"dns-conflict"),
        "{:?}",
        status.findings
    );
    let before = world.bind.lock().unwrap().serial(domain);
    always("it is not touched", WHILE, async || {
        let now = world.bind.lock().unwrap().serial(domain);
        ensure(now == before, "the zone was written to")
    })
    .await;

    let keep = json!({"hosting": {"address": {"ipv4": null, "none": {}}}});
    world.policy(domain, keep).await;
    world.ready(domain).await;
    assert_eq!(dig(world, &policy_host(domain), "A"), "192.0.2.9");
}

async fn a_host_that_another_ingress_has(running: &Running) {
    let Running { world, server, .. } = running;
    let domain = "taken.example";
    let path = json!({"path": "/", "pathType": "Prefix",
        "backend": {"service": {"name": "web", "port": {"number": 80}}}});
    let rival = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "rival"},
        "spec": {"rules": [{"host": policy_host(domain), "http": {"paths": [path]}}]}});
    let rival = world.apply::<Ingress>(Some(MAIL), rival).await;
    let theirs = served_by_somebody_else("hello\r\n");
    world.front.set(&policy_host(domain), theirs).await;
    world.policy(domain, json!({})).await;
    let status = world
        .condition(domain, "PolicyServed", "False", Some("HostTaken"))
        .await;
    let told = message(&status, "PolicyServed");
    assert!(told.contains("mail/rival"), "{told}");
    assert!(world.txt(domain).is_empty(), "nothing is announced");

    // The bytes decide, not who is there.
    world.route(&[domain], *server).await;
    world.ready(domain).await;
    let left = ingresses(world, MAIL).get("rival").await.unwrap();
    assert_eq!(left.resource_version(), rival.resource_version());
}

async fn somebody_else_serves_the_policy(running: &Running) {
    let world = &running.world;
    let domain = "external.example";
    let host = policy_host(domain);
    let spec = |mode: &str| {
        json!({"mode": mode, "mx": ["mail.external.example", "*.mx.external.example"],
            "hosting": {"external": {}, "address": null}})
    };
    // The same policy in other words: LF, another order, no end of the last line.
    let body = |mode: &str, max_age: u32| {
        format!(
            "version: STSv1\nmax_age: {max_age}\nmx: mail.external.example\nmode: {mode}\nmx: *.mx.external.example"
        )
    };
    let serve = async |body: String| {
        world.front.set(&host, served_by_somebody_else(&body)).await;
    };
    serve(body("testing", 86_400)).await;
    world.policy(domain, spec("testing")).await;
    let first = world.ready(domain).await.policy.unwrap().id;
    assert_eq!(world.txt_id(domain).as_ref(), Some(&first));
    assert!(
        ingress(world, domain).await.is_none(),
        "there is nothing to route"
    );

    // The spec changes first: the id waits until the host follows.
    world.policy(domain, spec("enforce")).await;
    world
        .condition(domain, "PolicyServed", "False", Some("WrongBody"))
        .await;
    assert_eq!(world.txt_id(domain).as_ref(), Some(&first));
    // It follows, but not quite: senders may hold that one now for two weeks.
    serve(body("enforce", 1_209_600)).await;
    let noted = async |max_age: u64, ended: bool| {
        eventually("what was served is in the ledger", SOON, async || {
            let publication = world.publication(domain).await;
            let ledger = publication["ledger"].clone();
            let has = ledger.as_array().unwrap().iter().any(|e| {
                e.get("id").is_none()
                    && (e["mode"] == "enforce" && e["maxAge"] == max_age)
                    && e.get("lastServed").is_some() == ended
            });
            ensure(has, ledger)
        })
        .await;
    };
    noted(1_209_600, false).await;
    assert_eq!(
        world.txt_id(domain).as_ref(),
        Some(&first),
        "a differing one holds the id"
    );
    serve(body("enforce", 604_800)).await;
    let second = world.ready(domain).await;
    assert!(second.policy.clone().unwrap().id > first);
    noted(1_209_600, true).await;
    let by = second.caches.unwrap().all_senders_by.unwrap();
    let nearly = jiff::SignedDuration::from_secs(1_209_600 - 300);
    assert!(by > mta_sts_operator::clock::now() + nearly, "{by}");
    // All is at rest: the same policy in other words is no change.
    let version = world.record(domain).await.unwrap().resource_version();
    always("nothing is written any more", WHILE, async || {
        let now = world.record(domain).await.unwrap().resource_version();
        ensure(now == version, "the record was written")
    })
    .await;
}

async fn nothing_is_written_while_suspended(world: &World) {
    let domain = "paused.example";
    let spec = |suspend: bool, mode: &str| json!({"suspend": suspend, "mode": mode});
    let serial = || world.bind.lock().unwrap().serial(domain);
    let before = serial();
    world.policy(domain, spec(true, "testing")).await;
    world
        .condition(domain, "Ready", "False", Some("Suspended"))
        .await;
    always("an object that begins suspended", WHILE, async || {
        ensure(world.record(domain).await.is_none(), "has a record")?;
        ensure(ingress(world, domain).await.is_none(), "has an Ingress")?;
        ensure(serial() == before, "has written to the zone")
    })
    .await;

    world.policy(domain, spec(false, "testing")).await;
    let first = world.ready(domain).await.policy.unwrap().id;
    world.policy(domain, spec(true, "enforce")).await;
    world
        .condition(domain, "Ready", "True", Some("Suspended"))
        .await;
    // Even what somebody else breaks is left as it is.
    world.nsupdate("update delete _mta-sts.paused.example TXT");
    let name = its_ingress(world, domain).await.name_any();
    ingresses(world, SYSTEM)
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let record = world.record(domain).await.unwrap().resource_version();
    let before = serial();
    always("nothing is written", WHILE, async || {
        let now = world.record(domain).await.unwrap().resource_version();
        ensure(now == record, "the record was written")?;
        ensure(
            ingress(world, domain).await.is_none(),
            "the Ingress was made",
        )?;
        ensure(serial() == before, "the zone was written to")
    })
    .await;

    world.policy(domain, spec(false, "enforce")).await;
    let status = world.ready(domain).await;
    assert!(status.policy.unwrap().id > first);
    its_ingress(world, domain).await;
}

async fn a_cache_in_front_is_waited_for(running: &Running) {
    let Running { world, server, .. } = running;
    let domain = "cached.example";
    let cache = Answer::Cache {
        server: *server,
        headers: &[("Age", "2"), ("Cache-Control", "max-age=9")],
    };
    let site = Site::proxy(*server).with_answer(cache);
    world.front.set(&policy_host(domain), site).await;
    world.policy(domain, json!({})).await;
    let status = world
        .condition(domain, "PolicyServed", "False", Some("Cached"))
        .await;
    assert!(
        codes(&status).contains(&"host-cached"),
        "{:?}",
        status.findings
    );
    assert!(world.txt(domain).is_empty(), "the id waits");
    let status = world.ready(domain).await;
    assert!(
        codes(&status).contains(&"host-cached"),
        "{:?}",
        status.findings
    );
    let healthy = find(&status, "Healthy").unwrap();
    assert_eq!(healthy.status.to_string(), "True", "a warning is no error");
}

/// A fault of the front: what PolicyServed and CertificateValid say, and the finding.
type Fault = (
    &'static str,
    Site,
    &'static str,
    [&'static str; 2],
    &'static str,
);

#[tokio::test]
async fn what_is_wrong_with_the_front_is_told_and_heals() {
    let domain = "example.org";
    let running = running(&[(domain, "")], &[]).await;
    let Running { world, server, .. } = &running;
    world.policy(domain, json!({})).await;
    let id = world.ready(domain).await.policy.unwrap().id;

    let good = || Site::proxy(*server);
    let body = |content_type: &'static str, body: &str| Answer::Body {
        content_type,
        body: body.as_bytes().to_vec(),
    };
    let policy = world.body(domain).await.unwrap();
    let elsewhere = "https://example.net/".to_owned();
    let valid = ["True", "Valid"];
    let faults: Vec<Fault> = vec![
        (
            "expired",
            good().with_certificate(Certificate::Expired),
            "Expired",
            ["False", "Expired"],
            "host-tls-expired",
        ),
        (
            "not yet valid",
            good().with_certificate(Certificate::NotYetValid),
            "Expired",
            ["False", "Expired"],
            "host-tls-expired",
        ),
        (
            "of another name",
            good().with_certificate(Certificate::WrongName),
            "NameMismatch",
            ["False", "NameMismatch"],
            "host-tls-name-mismatch",
        ),
        (
            "of a CA that nobody trusts",
            good().with_certificate(Certificate::Untrusted),
            "Untrusted",
            ["False", "Untrusted"],
            "host-tls-untrusted",
        ),
        (
            "of an issuer that is not sent",
            good().with_certificate(Certificate::Alone),
            "IncompleteChain",
            ["False", "IncompleteChain"],
            "host-tls-incomplete-chain",
        ),
        (
            "redirect",
            good().with_answer(Answer::Redirect(elsewhere)),
            "WrongStatus",
            valid,
            "host-redirect",
        ),
        (
            "404",
            good().with_answer(Answer::Status(404)),
            "WrongStatus",
            valid,
            "host-status",
        ),
        (
            "HTML",
            good().with_answer(body("text/html", &policy)),
            "WrongContentType",
            valid,
            "host-content-type",
        ),
        (
            "closed",
            good().with_answer(Answer::Close),
            "HostUnreachable",
            valid,
            "host-unreachable",
        ),
    ];
    for (case, site, served, [status, reason], code) in faults {
        world.front.set(&policy_host(domain), site).await;
        world
            .condition(domain, "PolicyServed", "False", Some(served))
            .await;
        let seen = eventually("its finding is the only one", SOON, async || {
            let seen = world
                .condition(domain, "CertificateValid", status, Some(reason))
                .await;
            let mut found = codes(&seen);
            found.retain(|found| found.starts_with("host-"));
            ensure(found == [code], format!("{case}: {found:?}"))?;
            Ok::<_, String>(seen)
        })
        .await;
        let healthy = find(&seen, "Healthy").unwrap();
        assert_eq!(healthy.status.to_string(), "False", "{case}");
        // What is announced stays: a fault of the front takes nobody's protection away.
        assert_eq!(world.txt_id(domain), Some(id.clone()), "{case}");
    }
    world.front.set(&policy_host(domain), good()).await;
    let status = world.ready(domain).await;
    assert_eq!(codes(&status), Vec::<&str>::new());

    world.front.down();
    let reason = Some("HostUnreachable");
    world
        .condition(domain, "PolicyServed", "False", reason)
        .await;
    let unknown = Some("Pending");
    world
        .condition(domain, "CertificateValid", "Unknown", unknown)
        .await;
    world.front.up().await;
    world
        .condition(domain, "CertificateValid", "True", None)
        .await;
    let status = world.ready(domain).await;
    assert_eq!(
        status.policy.unwrap().id,
        id,
        "no new id for a fault of the front"
    );

    the_front_need_not_be_seen(running).await;
}

/// `--public-gate=InCluster`.
async fn the_front_need_not_be_seen(running: Running) {
    let Running {
        world,
        mut settings,
        processes: [_server, controller],
        ..
    } = running;
    let domain = "example.org";
    controller.terminate(SOON).await;
    world.front.down();
    settings.name = "in-cluster".to_owned();
    settings.flags.push("--public-gate=InCluster".to_owned());
    let _controller = world.controller(&settings);
    world.policy(domain, json!({"mode": "enforce"})).await;
    let status = world.ready(domain).await;
    let certificate = find(&status, "CertificateValid").unwrap();
    assert_eq!(certificate.reason, "NotChecked", "{}", shown(&status));
    assert_eq!(world.txt_id(domain), Some(status.policy.unwrap().id));
}
