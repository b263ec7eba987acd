//! The rights of `examples/rbac/`: enough for the whole work, and nothing that is not used.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use kube::api::{Api, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Client, Discovery};
use mta_sts_operator::api::DnsProvider;
use serde_json::{Value, json};
use support::api_proxy::{Answered, ApiProxy};
use support::process::Process;
use support::wait::{ensure, eventually};
use support::world::{MAIL, SOON, SYSTEM, World, policy, rfc2136};

const ALL: [&str; 3] = ["server.yaml", "controller.yaml", "tenant-credentials.yaml"];

#[tokio::test]
async fn the_examples_grant_what_is_used_and_nothing_else() {
    let world = World::start(&["example.org", "example.net"]).await;
    let proxy = ApiProxy::start(&world.api).await;
    for file in ALL {
        apply_all(&world.client, documents(file)).await;
    }
    let (server, address) = serve(&world, &proxy).await;
    world.route(&["example.org", "example.net"], address).await;
    world.provider(world.dns()).await;
    let controller = controller(&world, &proxy, address).await;

    // One domain with the administrator's provider, one with a provider of the namespace.
    world.policy("example.org", json!({})).await;
    tenant_provider(&world, MAIL).await;
    let own = json!({"dns": {"providerRef": {"kind": "DnsProvider", "name": "own"}}});
    world.policy("example.net", own).await;
    for domain in ["example.org", "example.net"] {
        world.ready(domain).await;
    }
    world
        .policy("example.org", json!({"mode": "enforce"}))
        .await;
    world.ready("example.org").await;
    assert!(
        world
            .events("example.org")
            .await
            .contains(&"Published".to_owned())
    );
    for domain in ["example.org", "example.net"] {
        world.delete(domain).await;
    }
    for domain in ["example.org", "example.net"] {
        eventually("it is retired", SOON, async || {
            ensure(world.record(domain).await.is_none(), "its record is there")
        })
        .await;
    }
    controller.terminate(Duration::from_secs(20)).await;

    let answered = proxy.answered();
    let refused: Vec<_> = answered.iter().filter(|a| a.status == 403).collect();
    assert!(refused.is_empty(), "not granted: {refused:#?}");
    for process in [&server, &controller] {
        let log = process.log().to_lowercase();
        assert!(!log.contains("forbidden"), "{log}");
    }
    let used: BTreeSet<Use> = answered.iter().flat_map(Use::of).collect();
    let unused: Vec<_> = granted()
        .into_iter()
        .filter(|g| !g.is_used(&used))
        .collect();
    assert!(
        unused.is_empty(),
        "granted and not used: {unused:#?}\nused: {used:#?}"
    );
}

#[tokio::test]
async fn a_secret_that_is_out_of_reach_is_told_on_the_provider_and_the_policy() {
    let world = World::start(&["example.org"]).await;
    let proxy = ApiProxy::start(&world.api).await;
    for file in ["server.yaml", "controller.yaml"] {
        apply_all(&world.client, documents(file)).await;
    }
    let (_server, address) = serve(&world, &proxy).await;
    world.route(&["example.org"], address).await;
    let _controller = controller(&world, &proxy, address).await;
    tenant_provider(&world, MAIL).await;
    let own = json!({"dns": {"providerRef": {"kind": "DnsProvider", "name": "own"}}});
    world
        .apply::<mta_sts_operator::api::MtaStsPolicy>(Some(MAIL), policy("example.org", own))
        .await;
    let reason = Some("ProviderError");
    let status = world
        .condition("example.org", "DnsPublished", "False", reason)
        .await;
    let message = support::world::shown(&status);
    assert!(message.contains("the Secret cannot be read"), "{message}");
    assert!(message.contains("forbidden"), "{message}");
}

async fn serve(world: &World, proxy: &ApiProxy) -> (Process, std::net::SocketAddr) {
    let token = world
        .api
        .service_account_token(SYSTEM, "mta-sts-policy")
        .await;
    world
        .serve_with("serve", &proxy.kubeconfig(&world.api, &token))
        .await
}

async fn controller(world: &World, proxy: &ApiProxy, server: std::net::SocketAddr) -> Process {
    let token = world
        .api
        .service_account_token(SYSTEM, "mta-sts-operator")
        .await;
    let mut settings = world.settings("controller", &[server]);
    settings.kubeconfig = proxy.kubeconfig(&world.api, &token);
    world.controller(&settings)
}

/// A DnsProvider with its Secret, as a tenant makes them.
async fn tenant_provider(world: &World, namespace: &str) {
    world
        .secret(namespace, "tsig", support::world::KEY.secret)
        .await;
    world
        .apply::<DnsProvider>(
            Some(namespace),
            json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "DnsProvider",
                "metadata": {"name": "own"}, "spec": {"rfc2136": rfc2136(world.dns())}}),
        )
        .await;
}

fn documents(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/rbac")
        .join(file);
    let text = fs::read_to_string(&path).unwrap();
    let documents = text.split("\n---\n");
    documents
        .map(|text| serde_yaml::from_str(text).unwrap())
        .collect()
}

async fn apply_all(client: &Client, documents: Vec<Value>) {
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    for document in documents {
        let object: DynamicObject = serde_json::from_value(document).unwrap();
        let types = object.types.clone().unwrap();
        let (group, version) = types.api_version.split_once('/').unwrap_or(("", "v1"));
        let kind = kube::core::GroupVersionKind::gvk(group, version, &types.kind);
        let (resource, _) = discovery.resolve_gvk(&kind).unwrap();
        let api = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::<DynamicObject>::all_with(client.clone(), &resource),
        };
        let name = object.metadata.name.clone().unwrap();
        let params = PatchParams::apply("test").force();
        api.patch(&name, &params, &Patch::Apply(&object))
            .await
            .unwrap();
    }
}

/// A verb on a resource, in one namespace or in all.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Use {
    namespace: Option<String>,
    group: String,
    resource: String,
    verb: &'static str,
}

const VERBS: [&str; 7] = [
    "get", "list", "watch", "create", "update", "patch", "delete",
];

impl Use {
    /// What a request takes. Server-side apply takes `create` as well where it made the object.
    fn of(answered: &Answered) -> Vec<Self> {
        let (path, query) = answered
            .target
            .split_once('?')
            .unwrap_or((&answered.target, ""));
        let mut parts = path.trim_start_matches('/').split('/');
        let group = match parts.next() {
            Some("api") => "",
            Some("apis") => parts.next().unwrap_or_default(),
            _ => return Vec::new(),
        };
        let mut parts: Vec<_> = parts.skip(1).collect();
        let namespace = match parts.as_slice() {
            ["namespaces", namespace, _, ..] => Some((*namespace).to_owned()),
            _ => None,
        };
        if namespace.is_some() {
            parts.drain(..2);
        }
        let Some((resource, rest)) = parts.split_first() else {
            return Vec::new();
        };
        let subresource = rest.get(1).map(|sub| format!("/{sub}")).unwrap_or_default();
        let verb = match answered.method.as_str() {
            "GET" if query.contains("watch=") => "watch",
            "GET" if rest.is_empty() => "list",
            "GET" => "get",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            other => panic!("{other} is not known here"),
        };
        let of = |verb| Self {
            namespace: namespace.clone(),
            group: group.to_owned(),
            resource: format!("{resource}{subresource}"),
            verb,
        };
        let made = verb == "patch" && answered.status == 201;
        [Some(of(verb)), made.then(|| of("create"))]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// A verb that a manifest grants, in a namespace or in all.
#[derive(Clone, Debug)]
struct Grant {
    right: Use,
    /// The same right is granted by a Role in these namespaces.
    elsewhere: BTreeSet<String>,
}

impl Grant {
    fn is_used(&self, used: &BTreeSet<Use>) -> bool {
        used.iter().any(|u| {
            let same = (&u.group, &u.resource, u.verb)
                == (&self.right.group, &self.right.resource, self.right.verb);
            same && match (&self.right.namespace, &u.namespace) {
                (None, Some(namespace)) => !self.elsewhere.contains(namespace),
                (None, None) => true,
                (granted, used) => granted == used,
            }
        })
    }
}

fn granted() -> Vec<Grant> {
    let mut rights = Vec::new();
    for document in ALL.into_iter().flat_map(documents) {
        let (namespace, rules) = match document["kind"].as_str().unwrap() {
            "Role" => {
                let role: Role = serde_json::from_value(document).unwrap();
                (role.metadata.namespace, role.rules.unwrap())
            }
            "ClusterRole" => {
                let role: ClusterRole = serde_json::from_value(document).unwrap();
                (None, role.rules.unwrap())
            }
            "RoleBinding" => {
                let _: RoleBinding = serde_json::from_value(document).unwrap();
                continue;
            }
            "ClusterRoleBinding" => {
                let _: ClusterRoleBinding = serde_json::from_value(document).unwrap();
                continue;
            }
            "ServiceAccount" => {
                let _: ServiceAccount = serde_json::from_value(document).unwrap();
                continue;
            }
            other => panic!("{other} is not known here"),
        };
        rights.extend(
            rules
                .iter()
                .flat_map(|rule| rights_of(namespace.as_ref(), rule)),
        );
    }
    let elsewhere = |right: &Use| {
        let same = rights.iter().filter(|r| {
            (&r.group, &r.resource, r.verb) == (&right.group, &right.resource, right.verb)
        });
        same.filter_map(|r| r.namespace.clone()).collect()
    };
    rights
        .iter()
        .map(|right| Grant {
            elsewhere: elsewhere(right),
            right: right.clone(),
        })
        .collect()
}

fn rights_of(namespace: Option<&String>, rule: &PolicyRule) -> Vec<Use> {
    let mut rights = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                rights.push(Use {
                    namespace: namespace.cloned(),
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: VERBS.into_iter().find(|v| v == verb).expect("a verb, no *"),
                });
            }
        }
    }
    rights
}
