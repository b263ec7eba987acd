//! Objects that were stored before a rule existed: each is refused by name, disturbs nobody, heals
//! once it is corrected, and can be deleted. Nothing that stands in it is ever carried further.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use k8s_openapi::api::core::v1::{ConfigMap, Event};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::core::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use support::bind::Zone;
use support::http;
use support::ports::{free_port, loopback};
use support::process::Process;
use support::wait::{always, ensure, eventually};
use support::world::{MAIL, SOON, World, name, policy, rfc2136, zone};

/// What no log, status, record or answer may ever carry as it is.
const ESCAPE: &str = "\u{1b}[31mEVIL";

/// A policy object as it was stored before the rules existed.
struct Stored {
    domain: &'static str,
    spec: Value,
    /// What the message says.
    says: &'static str,
}

fn stored() -> Vec<Stored> {
    let object = |domain, spec, says| Stored { domain, spec, says };
    let annotated = |value: &str| {
        json!({"hosting": {"ingress": {"className": "front",
            "annotations": {"example.org/a": value}}}})
    };
    let long = "a".repeat(64 * 1024);
    vec![
        // These our types cannot hold.
        object(
            "mode.test",
            json!({"mode": "enforced"}),
            "the object cannot be read",
        ),
        object(
            "hostile-mode.test",
            json!({"mode": format!("none\r\n{ESCAPE}\0;\"")}),
            "the object cannot be read",
        ),
        object(
            "long-mode.test",
            json!({"mode": long}),
            "the object cannot be read",
        ),
        object(
            "preset.test",
            json!({"mxPresets": [{"a": ESCAPE}]}),
            "the object cannot be read",
        ),
        // These they can, and the rules refuse them.
        object(
            "mx-crlf.test",
            json!({"mx": ["mail.mx-crlf.test\r\nmode: none\r\nmx: evil.example"]}),
            "spec.mx[0]",
        ),
        object("mx-escape.test", json!({"mx": [ESCAPE]}), "spec.mx[0]"),
        object(
            "mx-nul.test",
            json!({"mx": ["mail\0.mx-nul.test"]}),
            "spec.mx[0]",
        ),
        object(
            "mx-quotes.test",
            json!({"mx": ["\"; id=evil; x=\""]}),
            "spec.mx[0]",
        ),
        object(
            "mx-long.test",
            json!({"mx": [long]}),
            "spec.mx: mx has 65536 bytes",
        ),
        object(
            "age.test",
            json!({"maxAgeSeconds": 0}),
            "spec.maxAgeSeconds",
        ),
        object(
            "ttl.test",
            json!({"dns": {"ttlSeconds": -1}}),
            "spec.dns.ttlSeconds",
        ),
        object(
            "annotation.test",
            annotated("x;\nproxy_pass http://evil.example"),
            "annotations[example.org/a]",
        ),
        object(
            "annotation-escape.test",
            annotated(ESCAPE),
            "annotations[example.org/a]",
        ),
        object(
            "class.test",
            json!({"hosting": {"ingress": {"className": format!("front\n{ESCAPE}")}}}),
            "className",
        ),
        object(
            "cname.test",
            json!({"hosting": {"address": {"ipv4": null, "cname": format!("a.example\r\n{ESCAPE}")}}}),
            "cname",
        ),
        object(
            "provider-name.test",
            json!({"dns": {"providerRef": {"name": format!("../bind\n{ESCAPE}")}}}),
            "providerRef.name",
        ),
        object(
            "domain-crlf.test",
            json!({"domain": "domain-crlf.test\r\nmx: evil.example"}),
            "spec.domain",
        ),
        object(
            "domain-quotes.test",
            json!({"domain": "domain-quotes.test\"; v=STSv1"}),
            "spec.domain",
        ),
        object(
            "domain-escape.test",
            json!({"domain": format!("{ESCAPE}.test")}),
            "spec.domain",
        ),
        object(
            "domain-long.test",
            json!({"domain": "a.".repeat(32 * 1024)}),
            "spec.domain",
        ),
        object(
            "domain-label.test",
            json!({"domain": format!("{long}.test")}),
            "spec.domain",
        ),
        object(
            "domain-capitals.test",
            json!({"domain": "Domain-Capitals.test"}),
            "write: domain: domain-capitals.test",
        ),
    ]
}

/// The API server itself can do nothing with these any more, since its rules cannot be evaluated:
/// not even their status may be written.
fn beyond_the_rules() -> Vec<Stored> {
    let object = |domain, spec| Stored {
        domain,
        spec,
        says: "the object cannot be read",
    };
    vec![
        object("number.test", json!({"mx": 5})),
        object("hosting.test", json!({"hosting": ESCAPE})),
        object(
            "addresses.test",
            json!({"hosting": {"address": {"ipv4": {"a": ESCAPE}}}}),
        ),
    ]
}

/// Everything of a world that somebody reads.
struct Parts {
    // Before the world, whose folder has their logs.
    server: Process,
    controller: Process,
    world: World,
    admin: SocketAddr,
}

impl Parts {
    async fn start(zones: Vec<Zone>) -> Self {
        let names: Vec<String> = zones.iter().map(|zone| zone.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let world = World::with_zones(zones).await;
        let (server, address) = world.serve("serve").await;
        world.route(&names, address).await;
        world.provider(world.dns()).await;
        let admin = loopback(free_port());
        let settings = world.settings("controller", &[address]);
        let controller = world.controller_with_admin(&settings, admin);
        Self {
            world,
            server,
            controller,
            admin,
        }
    }

    async fn list<K>(&self) -> Vec<K>
    where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let all = Api::<K>::all(self.world.client.clone());
        all.list(&Default::default()).await.unwrap().items
    }

    /// Every text that the operator has written anywhere, with its place.
    async fn written(&self) -> Vec<(String, String)> {
        let mut texts = vec![
            ("the controller's log".to_owned(), self.controller.log()),
            ("the policy server's log".to_owned(), self.server.log()),
        ];
        let metrics = http::get(self.admin, "localhost", "/metrics")
            .await
            .unwrap();
        texts.push(("the metrics".to_owned(), metrics.text()));
        for object in self.list::<ConfigMap>().await {
            for (key, value) in object.data.into_iter().flatten() {
                // A body has CR by right.
                texts.push((
                    format!("the ConfigMap's {key}"),
                    value.replace("\r\n", "\n"),
                ));
            }
        }
        for event in self.list::<Event>().await {
            texts.push(("an Event".to_owned(), event.message.unwrap_or_default()));
        }
        for ingress in self.list::<Ingress>().await {
            texts.push(("an Ingress".to_owned(), strings(&json!(ingress)).join("\n")));
        }
        for kind in ["MtaStsPolicy", "DnsProvider", "ClusterDnsProvider"] {
            let all = self
                .world
                .dynamic(MAIL, kind)
                .list(&Default::default())
                .await
                .unwrap();
            for object in all {
                let place = format!("the status of {kind} {}", object.metadata.name.unwrap());
                texts.push((place, strings(&object.data["status"]).join("\n")));
            }
        }
        texts
    }

    async fn assert_nothing_hostile_was_written(&self) {
        for (place, text) in self.written().await {
            let hostile = text.find(|c: char| c.is_control() && c != '\n' && c != '\t');
            let near = hostile.map(|at| {
                text[at.saturating_sub(80)..]
                    .chars()
                    .take(160)
                    .collect::<String>()
            });
            assert_eq!(near, None, "{place} has a control character");
            let longest = text.lines().map(str::len).max().unwrap_or(0);
            assert!(longest < 8 * 1024, "{place} has a line of {longest} bytes");
        }
        let log = self.controller.log();
        assert!(
            log.contains("this replica is the leader"),
            "the log is read"
        );
        for line in log.lines() {
            assert!(
                line.starts_with("20"),
                "an injected line in the log: {line:?}"
            );
        }
    }
}

/// All strings in a JSON document.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

fn condition<'a>(object: &'a DynamicObject, type_: &str) -> Option<&'a Value> {
    let conditions = object.data["status"]["conditions"].as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == type_)
}

/// Waits until an object of ours has a condition for its present generation; gives its message.
async fn has_condition(
    api: &Api<DynamicObject>,
    name: &str,
    type_: &str,
    status: &str,
    reason: &str,
) -> String {
    let what = format!("{name}: {type_}={status} {reason}");
    eventually(&what, SOON, async || {
        let object = api.get(name).await.map_err(|error| error.to_string())?;
        let found = condition(&object, type_).ok_or("the condition is not there")?;
        let generation = json!(object.metadata.generation);
        let fits = found["status"] == status
            && found["reason"] == reason
            && found["observedGeneration"] == generation;
        let shown: String = object.data["status"]
            .to_string()
            .chars()
            .take(2000)
            .collect();
        ensure(fits, shown)?;
        Ok::<_, String>(found["message"].as_str().unwrap().to_owned())
    })
    .await
}

/// Waits for what an Event says about an object whose status cannot be written; or the status,
/// which may have been written while the rules were away.
async fn told_somewhere(world: &World, name: &str) -> String {
    told_of(world, "MtaStsPolicy", "Accepted", name).await
}

/// The same of any kind, and the condition that says it.
async fn told_of(world: &World, kind: &str, type_: &str, name: &str) -> String {
    let events = Api::<Event>::namespaced(world.client.clone(), MAIL);
    let objects = world.dynamic(MAIL, kind);
    let what = format!("an Event or a status InvalidSpec of {name}");
    eventually(&what, SOON, async || {
        let all = events.list(&Default::default()).await;
        let about = all.map_err(|e| e.to_string())?.into_iter().find(|event| {
            event.involved_object.name.as_deref() == Some(name)
                && event.reason.as_deref() == Some("InvalidSpec")
        });
        if let Some(message) = about.and_then(|event| event.message) {
            return Ok(message);
        }
        let object = objects.get(name).await.map_err(|e| e.to_string())?;
        let told = condition(&object, type_).ok_or("neither is there")?;
        ensure(told["reason"] == "InvalidSpec", told)?;
        Ok::<_, String>(told["message"].as_str().unwrap().to_owned())
    })
    .await
}

/// Deletes an object and waits until it is gone.
async fn delete(api: &Api<DynamicObject>, name: &str) {
    api.delete(name, &DeleteParams::default()).await.unwrap();
    eventually("the object is gone", SOON, async || {
        let left = api.get_opt(name).await.map_err(|error| error.to_string())?;
        ensure(left.is_none(), "still there")
    })
    .await;
}

/// Writes an object anew as `kubectl replace` does.
async fn correct(api: &Api<DynamicObject>, good: Value) {
    let name = good["metadata"]["name"].as_str().unwrap();
    eventually("the object is corrected", SOON, async || {
        let mut object = api.get(name).await?;
        object.data["spec"] = good["spec"].clone();
        api.replace(name, &Default::default(), &object).await
    })
    .await;
}

#[tokio::test]
async fn objects_from_before_the_rules_disturb_nobody_and_heal() {
    let neighbours = ["neighbour.test", "newcomer.test", "spoilt.test"];
    let mut zones: Vec<Zone> = neighbours.iter().map(|name| zone(name)).collect();
    let all = stored().into_iter().chain(beyond_the_rules());
    zones.extend(all.map(|object| zone(object.domain)));
    let parts = Parts::start(zones).await;
    let world = &parts.world;
    let policies = world.dynamic(MAIL, "MtaStsPolicy");

    for domain in ["neighbour.test", "spoilt.test"] {
        world.policy(domain, json!({})).await;
    }
    let before = world.ready("neighbour.test").await.policy.unwrap().id;
    let spoilt = world.ready("spoilt.test").await.policy.unwrap().id;

    // They come while the operator runs.
    for object in stored() {
        world.store_unchecked(MAIL, policy_named(&object)).await;
    }
    for object in stored() {
        let object_name = name(object.domain);
        let said = has_condition(&policies, &object_name, "Accepted", "False", "InvalidSpec").await;
        assert!(said.contains(object.says), "{}: {said}", object.domain);
        has_condition(&policies, &object_name, "Ready", "False", "InvalidSpec").await;
        has_condition(&policies, &object_name, "Stalled", "True", "InvalidSpec").await;
    }

    // These say it by an Event, once.
    for object in beyond_the_rules() {
        world.store_unchecked(MAIL, policy_named(&object)).await;
    }
    for object in beyond_the_rules() {
        let said = told_somewhere(world, &name(object.domain)).await;
        assert!(said.contains(object.says), "{}: {said}", object.domain);
    }

    // Neither those that are there nor those that come are held up.
    world
        .policy("neighbour.test", json!({"mode": "enforce"}))
        .await;
    world.policy("newcomer.test", json!({})).await;
    let after = world.ready("neighbour.test").await.policy.unwrap().id;
    assert!(after > before);
    world.ready("newcomer.test").await;

    // A published one that turns bad stays published.
    let mut bad = policy("spoilt.test", json!({}));
    bad["spec"]["mx"] = json!(5);
    world.store_unchecked(MAIL, bad).await;
    told_somewhere(world, "spoilt-test").await;
    always("it stays published", Duration::from_secs(3), async || {
        ensure(
            world.txt_id("spoilt.test") == Some(spoilt.clone()),
            world.txt("spoilt.test"),
        )?;
        world.body("spoilt.test").await.map(drop)
    })
    .await;

    nothing_was_made_of_them(&parts).await;
    parts.assert_nothing_hostile_was_written().await;

    // Deleting works: of one that was never good, and of one that was published.
    for domain in ["number.test", "mx-crlf.test", "spoilt.test"] {
        delete(&policies, &name(domain)).await;
    }
    eventually("the TXT record is gone", SOON, async || {
        ensure(
            world.txt("spoilt.test").is_empty(),
            world.txt("spoilt.test"),
        )
    })
    .await;

    // Correcting heals.
    for object in stored().into_iter().chain(beyond_the_rules()) {
        if ["number.test", "mx-crlf.test"].contains(&object.domain) {
            continue;
        }
        if object.spec.get("domain").is_some() {
            // A domain cannot be changed, not even a wrong one.
            delete(&policies, &name(object.domain)).await;
            world.policy(object.domain, json!({})).await;
        } else {
            correct(&policies, policy(object.domain, json!({}))).await;
        }
        world.ready(object.domain).await;
    }
    parts.assert_nothing_hostile_was_written().await;
}

/// The object is named for the domain of its zone, whatever its spec says.
fn policy_named(object: &Stored) -> Value {
    let mut named = policy(object.domain, object.spec.clone());
    named["metadata"]["name"] = json!(name(object.domain));
    named
}

async fn nothing_was_made_of_them(parts: &Parts) {
    for object in stored().into_iter().chain(beyond_the_rules()) {
        let (world, domain) = (&parts.world, object.domain);
        assert!(
            world.record(domain).await.is_none(),
            "{domain} has a record"
        );
        assert_eq!(world.txt(domain), "", "{domain} has a TXT record");
        let body = world.body(domain).await;
        assert_eq!(body.unwrap_err(), "status 404", "{domain} is served");
    }
    let ingresses = parts.list::<Ingress>().await;
    assert_eq!(
        ingresses.len(),
        3,
        "one for each of the neighbours and the spoilt one"
    );
}

#[tokio::test]
async fn providers_from_before_the_rules_are_as_good_as_none() {
    let domain = "provided.test";
    let parts = Parts::start(vec![zone(domain), zone("neighbour.test")]).await;
    let world = &parts.world;
    let good = json!({"zones": ["*"], "rfc2136": rfc2136(world.dns())});
    for (case, fields, says) in [
        (
            "unreadable",
            json!({"rfc2136": 5}),
            "the object cannot be read",
        ),
        (
            "server",
            json!({"rfc2136": {"server": format!("ns1.example.org\n{ESCAPE}")}}),
            "spec.rfc2136.server",
        ),
        (
            "server-long",
            json!({"rfc2136": {"server": "a.".repeat(32 * 1024)}}),
            "spec.rfc2136.server",
        ),
        (
            "key-name",
            json!({"rfc2136": {"tsig": {"keyName": ESCAPE}}}),
            "spec.rfc2136.tsig.keyName",
        ),
        (
            "secret",
            json!({"rfc2136": {"tsig": {"secretRef": {"name": format!("../x\r\n{ESCAPE}")}}}}),
            "spec.rfc2136.tsig.secretRef.name",
        ),
        (
            "zone",
            json!({"rfc2136": {"zone": format!("example.org.\n{ESCAPE}")}}),
            "spec.rfc2136.zone",
        ),
        ("zones", json!({"zones": [ESCAPE]}), "spec.zones[0]"),
    ] {
        let mut spec = good.clone();
        support::world::merge(&mut spec, fields);
        let object = json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "DnsProvider",
            "metadata": {"name": case}, "spec": spec});
        world.store_unchecked(MAIL, object).await;
        let providers = world.dynamic(MAIL, "DnsProvider");
        let said = match case {
            // The API server cannot evaluate its rules on it, and refuses every write, of the status
            // too.
            "unreadable" => told_of(world, "DnsProvider", "Ready", case).await,
            _ => has_condition(&providers, case, "Ready", "False", "InvalidSpec").await,
        };
        assert!(said.contains(says), "{case}: {said}");

        let reference = json!({"dns": {"providerRef": {"kind": "DnsProvider", "name": case}}});
        world.policy(domain, reference).await;
        let policies = world.dynamic(MAIL, "MtaStsPolicy");
        let said = has_condition(
            &policies,
            &name(domain),
            "Accepted",
            "False",
            "ProviderNotFound",
        )
        .await;
        assert!(said.contains(says), "{case}: {said}");
    }
    world.policy("neighbour.test", json!({})).await;
    world.ready("neighbour.test").await;
    parts.assert_nothing_hostile_was_written().await;
    let policies = world.dynamic(MAIL, "MtaStsPolicy");
    delete(&policies, &name(domain)).await;
}

#[tokio::test]
async fn a_corrected_object_may_be_applied() {
    let parts = Parts::start(vec![zone("applied.test")]).await;
    let world = &parts.world;
    let mut bad = policy("applied.test", json!({}));
    bad["spec"]["mx"] = json!(5);
    world.store_unchecked(MAIL, bad).await;
    let policies = world.dynamic(MAIL, "MtaStsPolicy");
    told_somewhere(world, "applied-test").await;
    // As `kubectl apply` does without --server-side.
    let good = policy("applied.test", json!({}));
    let params = PatchParams::default();
    policies
        .patch("applied-test", &params, &Patch::Merge(&good))
        .await
        .unwrap();
    world.ready("applied.test").await;
}
