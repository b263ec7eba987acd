//! Policy hosts behind controllers that others wrote: the Gateway API, and a real Ingress.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use mta_sts_operator::api::MtaStsPolicyStatus;
use serde_json::{Value, json};
use support::bind::Bind;
use support::contour::{self, Contour};
use support::front::Front;
use support::http;
use support::netns;
use support::ports::{free_port, loopback};
use support::process::Process;
use support::tls::{TestCa, Validity};
use support::wait::{ensure, eventually};
use support::world::{KEY, MAIL, SOON, SYSTEM, World, message, policy_host, ready, zone};

const DOMAIN: &str = "example.org";
const HOST: &str = "mta-sts.example.org";
/// Has policy server and Envoy: an EndpointSlice takes no loopback address.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const SERVICE: &str = "mta-sts-policy";
const CONTROLLER: &str = "projectcontour.io/gateway-controller";

fn api(client: &Client, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind);
    let plural = match kind.kind.as_str() {
        "GatewayClass" => "gatewayclasses",
        "Gateway" => "gateways",
        _ => "httproutes",
    };
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    match kind.kind.as_str() {
        "GatewayClass" => Api::all_with(client.clone(), &resource),
        _ => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

async fn apply(client: &Client, kind: &str, namespace: &str, name: &str, spec: Value) -> i64 {
    let object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
        "metadata": {"name": name}, "spec": spec});
    let params = PatchParams::apply("test").force();
    let applied = api(client, kind, namespace)
        .patch(name, &params, &Patch::Apply(&object))
        .await
        .unwrap();
    applied.metadata.generation.unwrap()
}

async fn set_status(client: &Client, kind: &str, namespace: &str, name: &str, status: Value) {
    let params = PatchParams::default();
    api(client, kind, namespace)
        .patch_status(name, &params, &Patch::Merge(json!({"status": status})))
        .await
        .unwrap();
}

async fn route(world: &World) -> Option<DynamicObject> {
    let all = api(&world.client, "HTTPRoute", SYSTEM)
        .list(&Default::default())
        .await;
    all.unwrap().into_iter().find(|route| {
        let domain = route.annotations().get("mta-sts.dev/domain");
        domain.is_some_and(|domain| domain == DOMAIN)
    })
}

fn condition(type_: &str, status: &str, reason: &str, message: &str, generation: i64) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message,
        "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn through(parent: Value) -> Value {
    json!({"hosting": {"gateway": {"parentRefs": [parent]}, "address": null}})
}

/// Waits until PolicyServed has this reason and its message these words.
async fn told(world: &World, reason: &str, words: &[&str]) {
    eventually(&format!("{reason} {words:?}"), SOON, async || {
        let policy = world.policies(MAIL).get(&DOMAIN.replace('.', "-")).await;
        let policy = policy.map_err(|e| e.to_string())?;
        let status = policy.status.unwrap_or_default();
        let found = status.conditions.iter().find(|c| c.type_ == "PolicyServed");
        let found = found.ok_or("no condition")?;
        let fits = found.reason == reason && words.iter().all(|w| found.message.contains(w));
        ensure(fits, format!("{}: {}", found.reason, found.message))
    })
    .await;
}

fn listener(fields: Value) -> Value {
    let mut listener = json!({"name": "https", "protocol": "HTTPS", "port": 443, "hostname": HOST,
        "tls": {"mode": "Terminate", "certificateRefs": [{"name": "tls"}]},
        "allowedRoutes": {"namespaces": {"from": "All"}}});
    support::world::merge(&mut listener, fields);
    listener
}

async fn gateway(world: &World, listeners: Value) -> i64 {
    let spec = json!({"gatewayClassName": "some", "listeners": listeners});
    apply(&world.client, "Gateway", "infra", "public", spec).await
}

/// Everything is told from hand-written statuses: no controller of the Gateway API runs.
#[tokio::test]
async fn each_missing_thing_has_its_own_sentence() {
    let world = World::start(&[DOMAIN]).await;
    let (_server, address) = world.serve("serve").await;
    world.route(&[DOMAIN], address).await;
    world.provider(world.dns()).await;
    let mut settings = world.settings("controller", &[address]);
    settings.flags = vec!["--allow-gateway=infra/public".to_owned()];
    let _controller = world.controller(&settings);
    world.namespace("infra", &[]).await;
    let other = json!({"namespace": "infra", "name": "internal"});
    world.policy(DOMAIN, through(other)).await;
    let status = world
        .condition(DOMAIN, "Accepted", "False", Some("NotAllowed"))
        .await;
    let says = message(&status, "Accepted");
    assert!(says.contains("--allow-gateway infra/internal"), "{says}");
    let parent = json!({"namespace": "infra", "name": "public"});
    world.policy(DOMAIN, through(parent)).await;
    let status = world
        .condition(DOMAIN, "Accepted", "False", Some("HostingNotFound"))
        .await;
    let says = message(&status, "Accepted");
    assert!(says.contains("sigs.k8s.io/gateway-api"), "{says}");

    contour::install_gateway_api(&world.client).await;
    let client = &world.client;
    told(
        &world,
        "EndpointsMissing",
        &["there is no Service mta-sts-system/mta-sts-policy"],
    )
    .await;
    world
        .apply::<Service>(
            Some(SYSTEM),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE},
                "spec": {"ports": [{"name": "http", "port": 8080}]}}),
        )
        .await;
    told(
        &world,
        "GatewayNotFound",
        &["there is no Gateway infra/public"],
    )
    .await;
    gateway(
        &world,
        json!([listener(json!({"hostname": "www.example.net"}))]),
    )
    .await;
    told(&world, "GatewayNotFound", &["the GatewayClass some of"]).await;
    let class = json!({"controllerName": CONTROLLER});
    apply(client, "GatewayClass", "", "some", class).await;
    let missing = "no HTTPS listener of Gateway infra/public takes mta-sts.example.org: add one";
    told(&world, "ListenerMissing", &[missing]).await;
    gateway(&world, json!([listener(json!({"allowedRoutes": null}))])).await;
    told(&world, "RouteNotAllowed", &["from is Same", SYSTEM]).await;
    let selector =
        json!({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"routes": "yes"}}}});
    gateway(
        &world,
        json!([listener(json!({"allowedRoutes": selector}))]),
    )
    .await;
    told(&world, "RouteNotAllowed", &["from is Selector"]).await;
    // A label lets the operator's namespace in; then it is the kind that is not taken.
    world.namespace(SYSTEM, &[("routes", "yes")]).await;
    let mut allowed = selector.clone();
    allowed["kinds"] = json!([{"kind": "GRPCRoute"}]);
    gateway(&world, json!([listener(json!({"allowedRoutes": allowed}))])).await;
    told(&world, "RouteNotAllowed", &["add {kind: HTTPRoute}"]).await;

    let generation = gateway(
        &world,
        json!([listener(json!({"hostname": "*.example.org"}))]),
    )
    .await;
    told(&world, "RoutePending", &[CONTROLLER]).await;
    let words = "Secret infra/tls does not exist";
    let of_listener = |conditions: Value| {
        json!({"listeners": [{"name": "https", "attachedRoutes": 0, "supportedKinds": [],
            "conditions": conditions}]})
    };
    let bad = condition(
        "ResolvedRefs",
        "False",
        "InvalidCertificateRef",
        words,
        generation,
    );
    set_status(
        client,
        "Gateway",
        "infra",
        "public",
        of_listener(json!([bad])),
    )
    .await;
    let says = [
        "listener https of Gateway infra/public refers to the Secret infra/tls",
        "ResolvedRefs=False InvalidCertificateRef",
        words,
    ];
    told(&world, "ListenerCertificate", &says).await;
    let bad = condition("Programmed", "False", "Invalid", "no port", generation);
    set_status(
        client,
        "Gateway",
        "infra",
        "public",
        of_listener(json!([bad])),
    )
    .await;
    told(
        &world,
        "ListenerNotReady",
        &["Programmed=False Invalid: no port"],
    )
    .await;
    set_status(client, "Gateway", "infra", "public", of_listener(json!([]))).await;
    the_route_says(&world).await;
}

async fn the_route_says(world: &World) {
    let client = &world.client;
    let route = route(world).await.unwrap();
    let spec = &route.data["spec"];
    assert_eq!(spec["hostnames"], json!([HOST]), "{spec}");
    assert_eq!(
        spec["rules"][0]["matches"][0]["path"],
        json!({"type": "PathPrefix", "value": "/"})
    );
    assert_eq!(
        spec["rules"][0]["backendRefs"][0]["name"], SERVICE,
        "{spec}"
    );
    let (name, generation) = (route.name_any(), route.metadata.generation.unwrap());
    let parents = |controller: &str, conditions: Value| {
        json!({"parents": [{"controllerName": controller, "conditions": conditions,
            "parentRef": {"namespace": "infra", "name": "public"}}]})
    };
    let no = condition(
        "Accepted",
        "False",
        "NoMatchingParent",
        "not mine",
        generation,
    );
    let yes = |type_| condition(type_, "True", type_, "", generation);
    // What another controller says does not count, nor what was said of an older generation.
    let others = parents("example.net/other", json!([no]));
    set_status(client, "HTTPRoute", SYSTEM, &name, others).await;
    told(world, "RoutePending", &[CONTROLLER]).await;
    let refused = parents(CONTROLLER, json!([no]));
    set_status(client, "HTTPRoute", SYSTEM, &name, refused).await;
    told(world, "RouteNotAccepted", &["NoMatchingParent: not mine"]).await;
    let half = json!([
        yes("Accepted"),
        condition(
            "ResolvedRefs",
            "False",
            "BackendNotFound",
            "no Service",
            generation
        )
    ]);
    set_status(
        client,
        "HTTPRoute",
        SYSTEM,
        &name,
        parents(CONTROLLER, half),
    )
    .await;
    told(world, "RouteNotAccepted", &["BackendNotFound: no Service"]).await;
    let all = json!([yes("Accepted"), yes("ResolvedRefs")]);
    set_status(client, "HTTPRoute", SYSTEM, &name, parents(CONTROLLER, all)).await;
    told(world, "AddressUnknown", &["Ingress or Gateway"]).await;
    let address = json!({"addresses": [{"type": "IPAddress", "value": "127.0.0.1"}]});
    set_status(client, "Gateway", "infra", "public", address).await;
    world.ready(DOMAIN).await;
    let address = world.bind.lock().unwrap().dig(HOST, "A");
    assert_eq!(address.trim(), "127.0.0.1");

    world.delete(DOMAIN).await;
    eventually("the route is gone", SOON, async || {
        ensure(self::route(world).await.is_none(), "it is there")
    })
    .await;
}

struct Net {
    world: World,
    ca: TestCa,
    _processes: [Process; 2],
}

/// A cluster whose policy server is at an address that an EndpointSlice takes. The operator looks
/// for public URLs where Envoy listens.
async fn net(flags: &[&str]) -> Net {
    let bind = Bind::try_start((NODE, 53).into(), &[zone(DOMAIN)], &[KEY]).unwrap();
    let front = Front::start().await;
    let world = World::with_parts(front, bind, vec![zone(DOMAIN)]).await;
    let ca = TestCa::new("certificates of policy hosts");
    let trusted = format!("{}\n{}", world.front.ca_pem(), ca.pem());
    std::fs::write(world.front.ca_file(), trusted).unwrap();
    let server = SocketAddr::from((NODE, 8080));
    let admin = loopback(free_port());
    let process = world.serve_on("serve", &world.api.kubeconfig(), server, admin);
    ready(&process, admin).await;
    let port = json!({"name": "http", "port": 8080});
    world
        .apply::<Service>(
            Some(SYSTEM),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE},
                "spec": {"ports": [port]}}),
        )
        .await;
    world
        .apply::<EndpointSlice>(
            Some(SYSTEM),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": format!("{SERVICE}-1"),
                    "labels": {"kubernetes.io/service-name": SERVICE}},
                "addressType": "IPv4", "ports": [port],
                "endpoints": [{"addresses": [NODE.to_string()], "conditions": {"ready": true}}]}),
        )
        .await;
    world.provider(world.dns()).await;
    let mut settings = world.settings("controller", &[]);
    settings.allow_targets.push("10.77.0.0/16".to_owned());
    settings.connect_to = vec![format!("::{NODE}:8443")];
    settings.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    let controller = world.controller(&settings);
    Net {
        world,
        ca,
        _processes: [process, controller],
    }
}

impl Net {
    async fn certificate(&self, namespace: &str, name: &str) {
        let (certificate, key) = self.ca.issue(&[HOST], Validity::Now);
        self.world
            .apply::<Secret>(
                Some(namespace),
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                    "type": "kubernetes.io/tls",
                    "stringData": {"tls.crt": certificate, "tls.key": key}}),
            )
            .await;
    }

    async fn body(&self) -> Result<String, String> {
        let envoy = SocketAddr::from((NODE, 8443));
        let path = "/.well-known/mta-sts.txt";
        let answer = http::get_tls(envoy, &policy_host(DOMAIN), path, &self.ca.pem()).await?;
        ensure(answer.status == 200, format!("status {}", answer.status))?;
        Ok(answer.text())
    }

    async fn published(&self, mode: &str) -> MtaStsPolicyStatus {
        let status = self.world.ready(DOMAIN).await;
        let body = self.body().await.unwrap();
        assert!(body.contains(&format!("mode: {mode}")), "{body}");
        let address = self.world.bind.lock().unwrap().dig(HOST, "A");
        assert_eq!(address.trim(), NODE.to_string());
        status
    }
}

async fn outside(test: &str) {
    // Inside there is no network to get them by.
    contour::folder();
    support::kube::assets();
    netns::run(test, &["10.77.0.2"]).await;
}

#[tokio::test]
async fn a_policy_is_published_through_a_gateway() {
    if !netns::inside() {
        return outside("a_policy_is_published_through_a_gateway").await;
    }
    let net = net(&["--default-gateway=infra/public"]).await;
    let world = &net.world;
    world.namespace("infra", &[]).await;
    contour::install_gateway_api(&world.client).await;
    let class = json!({"controllerName": CONTROLLER});
    apply(&world.client, "GatewayClass", "", "some", class).await;
    gateway(world, json!([listener(json!({}))])).await;
    let gateway = Some(("infra", "public"));
    let _contour = Contour::start(&world.api, IpAddr::V4(NODE), 9443, gateway).await;

    // The controller's own words about the Secret that is not there.
    let spec = json!({"hosting": null});
    world.policy(DOMAIN, spec.clone()).await;
    told(
        world,
        "ListenerCertificate",
        &["Secret infra/tls", "InvalidCertificateRef"],
    )
    .await;
    net.certificate("infra", "tls").await;
    net.published("testing").await;
    let mut enforce = spec;
    enforce["mode"] = json!("enforce");
    world.policy(DOMAIN, enforce).await;
    net.published("enforce").await;

    world.delete(DOMAIN).await;
    eventually("the route is gone", SOON, async || {
        ensure(route(world).await.is_none(), "it is there")
    })
    .await;
    eventually("the record is gone", SOON, async || {
        ensure(world.record(DOMAIN).await.is_none(), "it is there")
    })
    .await;
    eventually("nobody serves it any more", SOON, async || {
        ensure(net.body().await.is_err(), "it is served")
    })
    .await;
}

#[tokio::test]
async fn a_policy_is_published_through_an_ingress_of_contour() {
    if !netns::inside() {
        return outside("a_policy_is_published_through_an_ingress_of_contour").await;
    }
    let net = net(&[
        "--allow-ingress-class=contour",
        "--allow-tls-secret=policy-host",
    ])
    .await;
    let world = &net.world;
    let _contour = Contour::start(&world.api, IpAddr::V4(NODE), 8443, None).await;
    net.certificate(SYSTEM, "policy-host").await;
    let ingress = json!({"className": "contour", "tls": {"secretName": "policy-host"}});
    let spec = json!({"hosting": {"ingress": ingress, "address": null}});
    world.policy(DOMAIN, spec).await;
    net.published("testing").await;
    world
        .policy(
            DOMAIN,
            json!({"mode": "enforce", "hosting": {"ingress": ingress, "address": null}}),
        )
        .await;
    net.published("enforce").await;
    let ingresses = Api::<Ingress>::namespaced(world.client.clone(), SYSTEM);
    assert_eq!(
        ingresses
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    world.delete(DOMAIN).await;
    eventually("the Ingress is gone", SOON, async || {
        let left = ingresses.list(&Default::default()).await;
        ensure(left.unwrap().items.is_empty(), "it is there")
    })
    .await;
}
