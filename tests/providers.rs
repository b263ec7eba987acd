//! Every way in which a DNS provider cannot be used: its reason in the conditions of the policy
//! and of the provider, and healing by itself once the cause is gone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::IngressClass;
use kube::ResourceExt;
use mta_sts_operator::api::{ClusterDnsProvider, Condition, DnsProvider, MtaStsPolicyStatus};
use serde_json::{Value, json};
use support::api_proxy::ApiProxy;
use support::bind::{Bind, Key, Zone};
use support::dns_proxy::DnsProxy;
use support::wait::{always, ensure, eventually};
use support::world::{
    KEY, MAIL, PROVIDER, SOON, SYSTEM, World, find, merge, name, policy, shown, zone,
};
use tokio::net::TcpListener;

/// A key that its server knows and grants nothing.
const POWERLESS: Key = Key {
    name: "powerless",
    ..KEY
};

/// Something that is wrong, and how it is put right.
struct Case {
    name: &'static str,
    /// What the spec of the case's own DnsProvider has over a good one.
    provider: Value,
    /// What the spec of the policy has over a good one.
    policy: Value,
    /// The Secret: whether it has the label, and its data; none if it is missing.
    secret: Option<(bool, Value)>,
    expect: Expect,
    heal: Heal,
}

/// What the conditions say.
struct Expect {
    /// Accepted, or DnsPublished.
    condition: &'static str,
    reason: &'static str,
    /// Whether somebody has to act.
    stalled: bool,
    /// A part of the message: what to do.
    says: &'static str,
    /// The reason of the DnsProvider's own condition; none if it is fine.
    of_provider: Option<&'static str>,
}

/// How a case is put right.
enum Heal {
    /// The good Secret is written.
    Secret,
    /// The good DnsProvider is written.
    Provider,
    /// A server is written that serves the zone.
    Elsewhere,
    /// The good policy is written.
    Policy,
    /// Something that all cases share.
    Shared,
}

fn good_secret() -> Option<(bool, Value)> {
    Some((true, json!({"key": KEY.secret})))
}

fn secret_is(name: &'static str, secret: Option<(bool, Value)>, says: &'static str) -> Case {
    Case {
        secret,
        expect: Expect {
            condition: "DnsPublished",
            reason: "CredentialsInvalid",
            stalled: true,
            says,
            of_provider: Some("CredentialsInvalid"),
        },
        heal: Heal::Secret,
        ..provider_is(name, json!({}), "", true, "")
    }
}

fn provider_is(
    name: &'static str,
    provider: Value,
    reason: &'static str,
    stalled: bool,
    says: &'static str,
) -> Case {
    Case {
        name,
        provider,
        policy: json!({}),
        secret: good_secret(),
        expect: Expect {
            condition: "DnsPublished",
            reason,
            stalled,
            says,
            // Without a zone to ask for, its own check sees only the server and the key.
            of_provider: match reason {
                "NotDelegated" | "ProviderError" => None,
                reason => Some(reason),
            },
        },
        heal: Heal::Provider,
    }
}

fn policy_is(
    name: &'static str,
    spec: Value,
    reason: &'static str,
    says: &'static str,
    heal: Heal,
) -> Case {
    Case {
        policy: spec,
        expect: Expect {
            condition: "Accepted",
            reason,
            stalled: true,
            says,
            of_provider: None,
        },
        heal,
        ..provider_is(name, json!({}), "", true, "")
    }
}

/// The servers of the cases.
struct Servers {
    /// Is taken away and given back.
    proxy: DnsProxy,
    /// Its clock is an hour off.
    clock: Bind,
    /// Serves what the world's own BIND does not.
    other: Bind,
}

impl Servers {
    async fn start(world: &World) -> Self {
        let other_zones = [
            zone("elsewhere.test"),
            zone("sub.delegating.test"),
            zone("powerless.test"),
        ];
        let mut clock = Bind::start(&[zone("clock.test")], &[KEY]);
        clock.set_clock(3600);
        Self {
            proxy: DnsProxy::start(world.dns()).await,
            clock,
            other: Bind::start(&other_zones, &[KEY, POWERLESS]),
        }
    }

    /// The authoritative servers of the zones that the world does not have.
    fn flags(&self) -> Vec<String> {
        let (clock, other) = (self.clock.address(), self.other.address());
        let of_other = ["elsewhere.test", "sub.delegating.test", "powerless.test"];
        let mut flags = vec![format!("--authoritative=clock.test={clock}")];
        flags.extend(of_other.map(|zone| format!("--authoritative={zone}={other}")));
        flags.push("--allow-annotation=external-dns.alpha.kubernetes.io/".to_owned());
        flags.push("--allow-ingress-class=front".to_owned());
        flags
    }
}

fn secrets() -> Vec<Case> {
    vec![
        secret_is(
            "secret-missing",
            None,
            "the Secret mail/secret-missing does not exist: create it",
        ),
        secret_is(
            "secret-unlabelled",
            Some((false, json!({"key": KEY.secret}))),
            "kubectl label secret -n mail secret-unlabelled mta-sts.dev/credentials=true",
        ),
        secret_is(
            "secret-key-missing",
            Some((true, json!({"other": KEY.secret}))),
            "has no key \"key\": correct the key in the reference to it",
        ),
        secret_is(
            "secret-no-base64",
            Some((true, json!({"key": "not base64!"}))),
            "is not base64",
        ),
        secret_is(
            "secret-empty",
            Some((true, json!({"key": "\n"}))),
            "is empty",
        ),
        secret_is(
            "secret-control",
            Some((true, json!({"key": "dGhpcyBp\ncyBhIHRlc3Q="}))),
            "has line breaks or control characters within it",
        ),
        secret_is(
            "secret-wrong",
            Some((true, json!({"key": "YW5vdGhlciBzZWNyZXQgYWx0b2dldGhlcg=="}))),
            "the secret differs from the server's",
        ),
    ]
}

fn services(servers: &Servers) -> Vec<Case> {
    let at = |server: SocketAddr| json!({"rfc2136": {"server": server.to_string()}});
    vec![
        provider_is(
            "key-name",
            json!({"rfc2136": {"tsig": {"keyName": "nobody"}}}),
            "CredentialsInvalid",
            true,
            "does not know the TSIG key nobody",
        ),
        provider_is(
            "algorithm",
            json!({"rfc2136": {"tsig": {"algorithm": "hmac-sha512"}}}),
            "CredentialsInvalid",
            true,
            "compare keyName and algorithm",
        ),
        Case {
            heal: Heal::Shared,
            ..provider_is(
                "down",
                at(servers.proxy.address()),
                "ProviderUnreachable",
                false,
                "cannot be reached over TCP",
            )
        },
        Case {
            heal: Heal::Shared,
            ..provider_is(
                "clock",
                at(servers.clock.address()),
                "ClockSkew",
                true,
                "its clock is 60 min ahead of ours; set both clocks right",
            )
        },
        Case {
            heal: Heal::Elsewhere,
            ..provider_is(
                "elsewhere",
                json!({}),
                "NotDelegated",
                true,
                "is not authoritative for any zone",
            )
        },
        Case {
            heal: Heal::Elsewhere,
            ..provider_is(
                "sub.delegating",
                json!({}),
                "NotDelegated",
                true,
                "delegates to other name servers",
            )
        },
        Case {
            heal: Heal::Elsewhere,
            ..provider_is(
                "powerless",
                json!({"rfc2136": {"server": servers.other.address().to_string(), "tsig": {"keyName": "powerless"}}}),
                "ProviderError",
                true,
                "may not change these records",
            )
        },
        Case {
            provider: json!({"zones": ["other.test"]}),
            ..policy_is(
                "zones",
                json!({}),
                "NotAllowed",
                "may write other.test only, and zones.test is not below any of them",
                Heal::Provider,
            )
        },
    ]
}

fn policies() -> Vec<Case> {
    let cluster =
        |name: &str| json!({"dns": {"providerRef": {"kind": "ClusterDnsProvider", "name": name}}});
    vec![
        policy_is(
            "provider-missing",
            json!({"dns": {"providerRef": {"name": "absent"}}}),
            "ProviderNotFound",
            "there is no DnsProvider absent in the namespace mail: create it",
            Heal::Shared,
        ),
        policy_is(
            "cluster-provider-missing",
            cluster("absent"),
            "ProviderNotFound",
            "there is no ClusterDnsProvider absent: create it",
            Heal::Shared,
        ),
        policy_is(
            "namespace",
            cluster("labelled"),
            "NotAllowed",
            "does not allow the namespace mail",
            Heal::Shared,
        ),
        policy_is(
            "class",
            json!({"hosting": {"ingress": {"className": null}}}),
            "HostingNotFound",
            "write spec.hosting.ingress.className",
            Heal::Shared,
        ),
        policy_is(
            "annotation",
            json!({"hosting": {"ingress": {"annotations": {"nginx.ingress.kubernetes.io/affinity": "cookie"}}}}),
            "AnnotationNotAllowed",
            "is not on the operator's allow-list (--allow-annotation): external-dns.alpha.kubernetes.io/",
            Heal::Policy,
        ),
    ]
}

impl Case {
    fn domain(&self) -> String {
        format!("{}.test", self.name)
    }

    fn object(&self) -> String {
        name(&self.domain())
    }

    async fn write_secret(&self, world: &World, secret: &Option<(bool, Value)>) {
        let Some((labelled, data)) = secret else {
            return;
        };
        let label = if *labelled { "true" } else { "no" };
        world
            .apply::<Secret>(
                Some(MAIL),
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.secret_name(),
                    "labels": {"mta-sts.dev/credentials": label}}, "stringData": data}),
            )
            .await;
    }

    fn secret_name(&self) -> String {
        self.name.replace('.', "-")
    }

    async fn write_provider(&self, world: &World, over: &Value) {
        let mut spec = json!({"rfc2136": {"server": world.dns().to_string(), "tsig": {
            "keyName": KEY.name, "algorithm": KEY.algorithm,
            "secretRef": {"name": self.secret_name(), "key": "key"}}}});
        merge(&mut spec, over.clone());
        world
            .apply::<DnsProvider>(
                Some(MAIL),
                json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "DnsProvider",
                    "metadata": {"name": self.object()}, "spec": spec}),
            )
            .await;
    }

    async fn write_policy(&self, world: &World, over: &Value) {
        let mut spec = json!({
            "dns": {"providerRef": {"kind": "DnsProvider", "name": self.object()}},
            "hosting": {"ingress": {"className": "front"}},
        });
        merge(&mut spec, over.clone());
        world.policy(&self.domain(), spec).await;
    }

    async fn write(&self, world: &World) {
        self.write_secret(world, &self.secret).await;
        self.write_provider(world, &self.provider).await;
        self.write_policy(world, &self.policy).await;
    }

    /// The conditions say what is wrong, and what to do.
    async fn is_told(&self, world: &World) {
        let Expect {
            condition,
            reason,
            stalled,
            says,
            of_provider,
        } = self.expect;
        let domain = self.domain();
        let status = world
            .condition(&domain, condition, "False", Some(reason))
            .await;
        let found = find(&status, condition).unwrap();
        assert!(found.message.contains(says), "{domain}: {}", found.message);
        let status = world
            .condition(&domain, "Ready", "False", Some(reason))
            .await;
        self.is_for_kstatus(&status, stalled);
        let accepted = find(&status, "Accepted").unwrap();
        let refused = condition == "Accepted";
        assert_eq!(
            accepted.status.to_string() == "False",
            refused,
            "{}",
            shown(&status)
        );
        let (expected, reason) = match of_provider {
            Some(reason) => ("False", Some(reason)),
            None => ("True", None),
        };
        let provider = provider_condition(world, &self.object(), expected, reason).await;
        assert!(
            of_provider.is_none() || provider.message.contains(says),
            "{domain}: {}",
            provider.message
        );
    }

    fn is_for_kstatus(&self, status: &MtaStsPolicyStatus, stalled: bool) {
        let (there, absent) = match stalled {
            true => ("Stalled", "Reconciling"),
            false => ("Reconciling", "Stalled"),
        };
        assert!(
            find(status, there).is_some(),
            "{}: {}",
            self.name,
            shown(status)
        );
        assert!(
            find(status, absent).is_none(),
            "{}: {}",
            self.name,
            shown(status)
        );
    }

    async fn heal(&self, world: &World, servers: &Servers) {
        match self.heal {
            Heal::Secret => self.write_secret(world, &good_secret()).await,
            Heal::Provider => self.write_provider(world, &json!({})).await,
            Heal::Elsewhere => {
                let server = servers.other.address().to_string();
                self.write_provider(world, &json!({"rfc2136": {"server": server}}))
                    .await;
            }
            Heal::Policy => self.write_policy(world, &json!({})).await,
            Heal::Shared => {}
        }
    }
}

async fn provider_condition(
    world: &World,
    name: &str,
    status: &str,
    reason: Option<&str>,
) -> Condition {
    let api = kube::Api::<DnsProvider>::namespaced(world.client.clone(), MAIL);
    let what = format!(
        "the DnsProvider {name}: Ready={status} {}",
        reason.unwrap_or_default()
    );
    eventually(&what, SOON, async || {
        let provider = api.get(name).await.map_err(|error| error.to_string())?;
        let found = provider
            .status
            .unwrap_or_default()
            .conditions
            .into_iter()
            .next();
        let found = found.ok_or("no condition")?;
        let fits = found.status.to_string() == status
            && reason.is_none_or(|reason| found.reason == reason)
            && found.observed_generation == provider.metadata.generation;
        ensure(fits, format!("{found:?}"))?;
        Ok::<_, String>(found)
    })
    .await
}

/// A ClusterDnsProvider for the world's own BIND.
async fn cluster_provider(world: &World, name: &str, server: SocketAddr, over: Value) {
    let mut spec = json!({"zones": ["*"], "allowedNamespaces": {}, "rfc2136": support::world::rfc2136(server)});
    merge(&mut spec, over);
    world
        .apply::<ClusterDnsProvider>(
            None,
            json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "ClusterDnsProvider",
                "metadata": {"name": name}, "spec": spec}),
        )
        .await;
}

async fn default_class(world: &World, is_default: &str) {
    world
        .apply::<IngressClass>(
            None,
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                "metadata": {"name": "front", "annotations":
                    {"ingressclass.kubernetes.io/is-default-class": is_default}},
                "spec": {"controller": "mta-sts.dev/test"}}),
        )
        .await;
}

/// What the cases share is put right.
async fn heal_shared(world: &World, servers: &mut Servers) {
    servers.proxy.link.mend().await;
    servers.clock.set_clock(0);
    cluster_provider(world, "absent", world.dns(), json!({})).await;
    world.secret(MAIL, "tsig", KEY.secret).await;
    world
        .apply::<DnsProvider>(
            Some(MAIL),
            json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "DnsProvider",
                "metadata": {"name": "absent"}, "spec": {"rfc2136": support::world::rfc2136(world.dns())}}),
        )
        .await;
    world.namespace(MAIL, &[("team", "mail")]).await;
    default_class(world, "true").await;
}

/// Versions of all objects of ours.
async fn versions(world: &World) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    for kind in ["MtaStsPolicy", "DnsProvider", "ClusterDnsProvider"] {
        let all = world
            .dynamic(MAIL, kind)
            .list(&Default::default())
            .await
            .unwrap();
        for object in all {
            let status = object.data["status"]["conditions"].to_string();
            let version = format!("{} {status}", object.resource_version().unwrap());
            versions.push((format!("{kind} {}", object.name_any()), version));
        }
    }
    versions
}

/// The versions once two looks in a row see the same: what a case waits for may be told one write
/// before the last one.
async fn settled(world: &World) -> Vec<(String, String)> {
    eventually("the statuses settle", SOON, async || {
        let before = versions(world).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = versions(world).await;
        ensure(before == now, format!("{now:#?}")).map(|()| now)
    })
    .await
}

#[tokio::test]
async fn each_trouble_has_its_reason_and_heals() {
    let delegating = Zone::dynamic("delegating.test", "sub NS ns.sub\nns.sub A 127.0.0.1\n");
    let mut zones = vec![delegating, zone("other.test"), zone("newline.test")];
    let of_cases = secrets()
        .into_iter()
        .chain(policies())
        .map(|case| case.domain());
    zones.extend(of_cases.map(|domain| zone(&domain)));
    zones.extend(["key-name.test", "algorithm.test", "down.test", "zones.test"].map(zone));
    let world = World::with_zones(zones).await;
    let mut servers = Servers::start(&world).await;
    let cases: Vec<Case> = [secrets(), services(&servers), policies()]
        .into_iter()
        .flatten()
        .collect();
    let domains: Vec<String> = cases.iter().map(Case::domain).collect();
    let mut domains: Vec<&str> = domains.iter().map(String::as_str).collect();
    domains.push("newline.test");

    let (_server, address) = world.serve("serve").await;
    world.route(&domains, address).await;
    world.provider(world.dns()).await;
    cluster_provider(
        &world,
        "labelled",
        world.dns(),
        json!({"allowedNamespaces": {"matchLabels": {"team": "mail"}}}),
    )
    .await;
    default_class(&world, "false").await;
    servers.proxy.link.cut().await;
    let mut settings = world.settings("controller", &[address]);
    settings.flags = servers.flags();
    let controller = world.controller(&settings);

    for case in &cases {
        case.write(&world).await;
    }
    for case in &cases {
        case.is_told(&world).await;
    }
    a_trailing_line_break_is_no_trouble(&world).await;
    the_columns_tell_it(&world).await;

    // Many looks later nothing was written again.
    let before = settled(&world).await;
    always(
        "no status is written anew",
        Duration::from_secs(18),
        async || {
            let now = versions(&world).await;
            let changed: Vec<_> = now
                .iter()
                .filter(|version| !before.contains(version))
                .collect();
            ensure(
                changed.is_empty(),
                format!("{changed:#?}\nbefore: {before:#?}"),
            )
        },
    )
    .await;

    heal_shared(&world, &mut servers).await;
    for case in &cases {
        case.heal(&world, &servers).await;
    }
    for domain in &domains {
        world.ready(domain).await;
    }
    for case in &cases {
        provider_condition(&world, &case.object(), "True", None).await;
    }
    assert!(!controller.log().contains("panicked"));
}

async fn a_trailing_line_break_is_no_trouble(world: &World) {
    let case = secret_is("newline", None, "");
    let secret = format!("{}\r\n", KEY.secret);
    case.write_secret(world, &Some((true, json!({"key": secret}))))
        .await;
    case.write_provider(world, &json!({})).await;
    case.write_policy(world, &json!({})).await;
    world.ready("newline.test").await;
    provider_condition(world, "newline-test", "True", None).await;
}

/// What `kubectl get` shows: the API server's own table.
async fn the_columns_tell_it(world: &World) {
    let table = async |path: &str| {
        let request = http::Request::get(path)
            .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(Vec::new())
            .unwrap();
        world.client.request::<Value>(request).await.unwrap()
    };
    let columns = |table: &Value, wide: bool| -> Vec<String> {
        let all = table["columnDefinitions"].as_array().unwrap();
        let shown = all.iter().filter(|column| wide || column["priority"] == 0);
        shown
            .map(|column| column["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let row = |table: &Value, name: &str| -> Vec<String> {
        let rows = table["rows"].as_array().unwrap();
        let row = rows
            .iter()
            .find(|row| row["object"]["metadata"]["name"] == name)
            .unwrap();
        let cells = row["cells"].as_array().unwrap();
        cells
            .iter()
            .map(|cell| cell.as_str().unwrap_or_default().to_owned())
            .collect()
    };

    let group = "/apis/mta-sts.dev/v1alpha1";
    let policies = table(&format!("{group}/namespaces/{MAIL}/mtastspolicies")).await;
    assert_eq!(
        columns(&policies, false),
        ["Name", "Domain", "Mode", "Ready", "Status", "Age"]
    );
    assert_eq!(
        columns(&policies, true),
        [
            "Name", "Domain", "Mode", "Ready", "Status", "ID", "Stage", "Age"
        ]
    );
    let good = row(&policies, "newline-test");
    assert_eq!(
        good[..5],
        [
            "newline-test",
            "newline.test",
            "testing",
            "True",
            "Published"
        ]
    );
    assert_eq!(good[5].len(), 28, "the id");
    let bad = row(&policies, "secret-missing-test");
    assert_eq!(bad[3..5], ["False", "CredentialsInvalid"]);

    let providers = table(&format!("{group}/namespaces/{MAIL}/dnsproviders")).await;
    assert_eq!(
        columns(&providers, true),
        ["Name", "Ready", "Status", "Age"]
    );
    assert_eq!(row(&providers, "clock-test")[1..3], ["False", "ClockSkew"]);
    let cluster = table(&format!("{group}/clusterdnsproviders")).await;
    assert_eq!(columns(&cluster, true), ["Name", "Ready", "Status", "Age"]);
    assert_eq!(row(&cluster, PROVIDER)[1], "True");
}

/// A server that counts who comes, on an address that no tenant may name.
async fn listener(address: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let (address, count) = (
        listener.local_addr().unwrap(),
        Arc::<AtomicUsize>::default(),
    );
    let visitors = count.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            visitors.fetch_add(1, Ordering::Relaxed);
        }
    });
    (address, count)
}

/// How often a Secret was read, and a message came to the DNS server.
struct Counts<'a> {
    api: &'a ApiProxy,
    dns: &'a DnsProxy,
}

impl Counts<'_> {
    fn now(&self) -> (usize, usize) {
        (self.api.writes.writes().len(), self.dns.asked())
    }

    /// For several looks nobody reads the credentials or sends a message.
    async fn stay(&self, what: &str) {
        let before = self.now();
        always(what, Duration::from_secs(7), async || {
            ensure(
                self.now() == before,
                format!("{:?} after {before:?}", self.now()),
            )
        })
        .await;
    }
}

#[tokio::test]
async fn a_provider_that_may_not_be_used_is_not_touched() {
    let (domain, tenant) = ("tenant.test", "tenant");
    let world = World::start(&[domain, "other.test"]).await;
    let (_server, address) = world.serve("serve").await;
    world.route(&[domain], address).await;
    world.secret(SYSTEM, "tsig", KEY.secret).await;
    world.namespace(tenant, &[("team", "mail")]).await;
    world.namespace("stranger", &[]).await;
    let dns = DnsProxy::start(world.dns()).await;
    let limits = |zone: &str| json!({"zones": [zone], "allowedNamespaces": {"matchLabels": {"team": "mail"}}});
    cluster_provider(&world, "limited", dns.address(), limits(domain)).await;
    let reads: support::api_proxy::Counts = |_, path| path.contains("/secrets/");
    let api = ApiProxy::counting(&world.api, reads, Arc::default()).await;
    let mut settings = world.settings("controller", &[address]);
    settings.kubeconfig = api.kubeconfig(&world.api, world.api.admin_token());
    let _controller = world.controller(&settings);
    let counts = Counts {
        api: &api,
        dns: &dns,
    };

    let with_mode = |mode: &str| {
        let reference = json!({"kind": "ClusterDnsProvider", "name": "limited"});
        policy(
            domain,
            json!({"mode": mode, "dns": {"providerRef": reference}}),
        )
    };
    let refused = async |namespace: &str, says: &str| {
        eventually(says, SOON, async || {
            let policy = world.policies(namespace).get(&name(domain)).await;
            let policy = policy.map_err(|error| error.to_string())?;
            let status = policy.status.unwrap_or_default();
            let accepted = find(&status, "Accepted").ok_or("no condition")?;
            let fits = accepted.reason == "NotAllowed"
                && accepted.message.contains(says)
                && accepted.observed_generation == policy.metadata.generation;
            ensure(fits, shown(&status))
        })
        .await;
    };
    let apply = async |namespace: &str, object: Value| {
        world
            .apply::<mta_sts_operator::api::MtaStsPolicy>(Some(namespace), object)
            .await;
    };

    // A stranger may not use it, and nobody may for another zone.
    apply("stranger", with_mode("testing")).await;
    refused("stranger", "does not allow the namespace stranger").await;
    cluster_is_ready(&world, "limited").await;
    counts.stay("the stranger's policy touches nothing").await;
    world
        .policies("stranger")
        .delete(&name(domain), &Default::default())
        .await
        .unwrap();

    apply(tenant, with_mode("testing")).await;
    world
        .condition_in(tenant, &name(domain), "Ready", "True", None)
        .await;
    let announced = world.txt_id(domain);

    // The label goes after admission.
    world.namespace(tenant, &[]).await;
    refused(tenant, "does not allow the namespace tenant").await;
    apply(tenant, with_mode("enforce")).await;
    refused(tenant, "does not allow the namespace tenant").await;
    counts.stay("the withdrawn namespace touches nothing").await;
    assert_eq!(world.txt_id(domain), announced);

    // It comes back, and the zone goes.
    cluster_provider(&world, "limited", dns.address(), limits("other.test")).await;
    cluster_is_ready(&world, "limited").await;
    world.namespace(tenant, &[("team", "mail")]).await;
    refused(tenant, "may write other.test only").await;
    counts
        .stay("a policy outside of the zones touches nothing")
        .await;
    assert_eq!(world.txt_id(domain), announced);
    assert!(
        world.body(domain).await.unwrap().contains("mode: testing"),
        "what was published stays"
    );

    cluster_provider(&world, "limited", dns.address(), limits(domain)).await;
    world
        .condition_in(tenant, &name(domain), "Ready", "True", None)
        .await;
    assert!(world.txt_id(domain) > announced);
}

async fn cluster_is_ready(world: &World, name: &str) {
    let api = kube::Api::<ClusterDnsProvider>::all(world.client.clone());
    eventually("the ClusterDnsProvider is ready", SOON, async || {
        let provider = api.get(name).await.map_err(|error| error.to_string())?;
        let found = provider
            .status
            .unwrap_or_default()
            .conditions
            .into_iter()
            .next();
        let found = found.ok_or("no condition")?;
        let seen = found.observed_generation == provider.metadata.generation;
        ensure(
            seen && found.status.to_string() == "True",
            format!("{found:?}"),
        )
    })
    .await;
}

#[tokio::test]
async fn a_tenant_sends_no_secret_to_a_server_of_his_choice() {
    let domain = "tenant.test";
    let world = World::start(&[domain]).await;
    let (inside, inside_visitors) = listener("127.0.0.2:0").await;
    let (outside, outside_visitors) = listener("127.0.0.1:0").await;
    let reads: support::api_proxy::Counts = |_, path| path.contains("/secrets/");
    let api = ApiProxy::counting(&world.api, reads, Arc::default()).await;
    let mut settings = world.settings("controller", &[]);
    settings.kubeconfig = api.kubeconfig(&world.api, world.api.admin_token());
    // What is not allowed here is private, though a tenant may name it.
    settings.allow_targets = vec!["127.0.0.1/32".to_owned()];
    let controller = world.controller(&settings);

    // A server within the cluster, with a Secret that may be used.
    let case = secret_is("inside", None, "");
    case.write_secret(&world, &good_secret()).await;
    case.write_provider(&world, &json!({"rfc2136": {"server": inside.to_string()}}))
        .await;
    let found = provider_condition(&world, "inside-test", "False", Some("NotAllowed")).await;
    assert!(
        found.message.contains("at a private address"),
        "{}",
        found.message
    );
    assert!(
        found.message.contains("--allow-private-providers"),
        "{}",
        found.message
    );
    let reference = json!({"dns": {"providerRef": {"kind": "DnsProvider", "name": "inside-test"}}});
    world.policy(domain, reference).await;
    world
        .condition(domain, "DnsPublished", "False", Some("NotAllowed"))
        .await;
    assert_eq!(api.writes.writes().len(), 0, "the Secret is not even read");

    // A server outside, with somebody else's Secret of the namespace.
    let case = secret_is("outside", None, "");
    case.write_secret(
        &world,
        &Some((false, json!({"key": "somebody else's password"}))),
    )
    .await;
    case.write_provider(&world, &json!({"rfc2136": {"server": outside.to_string()}}))
        .await;
    let reason = Some("CredentialsInvalid");
    let found = provider_condition(&world, "outside-test", "False", reason).await;
    assert!(
        found.message.contains("mta-sts.dev/credentials=true"),
        "{}",
        found.message
    );
    assert_eq!(outside_visitors.load(Ordering::Relaxed), 0);
    assert_eq!(inside_visitors.load(Ordering::Relaxed), 0);

    // The administrator may allow it.
    controller.terminate(SOON).await;
    settings.flags = vec!["--allow-private-providers".to_owned()];
    let _controller = world.controller(&settings);
    eventually(
        "the server within the cluster is called",
        SOON,
        async || ensure(inside_visitors.load(Ordering::Relaxed) > 0, "nobody came"),
    )
    .await;
}
