//! All real parts together: an API server with our CRDs, BIND, an HTTPS front, policy servers, and
//! controllers, wired as an administrator would wire them outside of a cluster.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Secret};
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Client, ResourceExt};
use mta_sts_operator::api::{
    ClusterDnsProvider, Condition, DnsProvider, MtaStsPolicy, MtaStsPolicyStatus,
};
use mta_sts_operator::protocol::{PolicyId, Sha256Digest};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::bind::{Bind, Key, Zone};
use super::front::{Front, Site};
use super::kube::ApiServer;
use super::ports::{free_port, loopback};
use super::process::Process;
use super::wait::{ensure, eventually};
use super::{http, keeper};

/// Namespace of the operator.
pub const SYSTEM: &str = "mta-sts-system";
/// Namespace of the policies, unless a test says otherwise.
pub const MAIL: &str = "mail";
/// Name of the ClusterDnsProvider.
pub const PROVIDER: &str = "bind";
/// The key that BIND takes.
pub const KEY: Key = Key {
    name: "operator",
    algorithm: "hmac-sha256",
    secret: "dGhpcyBpcyBhIHRlc3Qga2V5IGZvciB0aGUgb3BlcmF0b3I=",
};
/// Long enough for a slow machine, with every wait ending as soon as its condition holds.
pub const SOON: Duration = Duration::from_secs(60);

/// All real parts together.
pub struct World {
    pub api: ApiServer,
    pub client: Client,
    pub bind: Mutex<Bind>,
    pub front: Front,
    pub folder: TempDir,
    zones: Vec<String>,
    dns: SocketAddr,
}

/// How a controller is started.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    /// Name of its log, and of the replica.
    pub name: String,
    pub kubeconfig: PathBuf,
    /// Addresses of the policy servers.
    pub endpoints: Vec<SocketAddr>,
    /// Where it writes DNS records to, if not to BIND itself.
    pub probe_seconds: u32,
    /// Networks that may be probed although they are not public.
    pub allow_targets: Vec<String>,
    /// Detours of the public URLs: by default all of them to the front.
    pub connect_to: Vec<String>,
    /// Whether MX hosts are asked on port 25. Most tests have none.
    pub smtp: bool,
    /// Further flags.
    pub flags: Vec<String>,
}

impl World {
    /// Starts the parts with the zones `names`, each with an MX `mail.<zone>`.
    pub async fn start(names: &[&str]) -> Self {
        let zones = names.iter().map(|name| zone(name)).collect();
        Self::with_zones(zones).await
    }

    /// Starts the parts with these zones. All are dynamic.
    pub async fn with_zones(zones: Vec<Zone>) -> Self {
        let front = Front::start().await;
        let bind = Bind::start(&zones, &[KEY]);
        Self::with_parts(front, bind, zones).await
    }

    /// Starts an API server beside a front and a BIND that the caller started with [`KEY`].
    pub async fn with_parts(front: Front, bind: Bind, zones: Vec<Zone>) -> Self {
        let zones = zones.into_iter().map(|zone| zone.name).collect();
        Self::beside(front, bind, zones).await
    }

    /// Another cluster beside the same front and BIND; this one's API server ends.
    pub async fn in_another_cluster(self) -> Self {
        let Self {
            front, bind, zones, ..
        } = self;
        Self::beside(front, bind.into_inner().unwrap(), zones).await
    }

    async fn beside(front: Front, bind: Bind, zones: Vec<String>) -> Self {
        let api = ApiServer::start().await;
        api.install_crds().await;
        let client = api.client().await;
        let world = Self {
            dns: bind.address(),
            zones,
            api,
            client,
            bind: Mutex::new(bind),
            front,
            folder: keeper::folder("world"),
        };
        world.namespace(SYSTEM, &[]).await;
        world.namespace(MAIL, &[]).await;
        world.ingress_class().await;
        world
    }

    /// Starts the parts, one policy server and one controller, with a provider that is ready to
    /// use.
    pub async fn running(names: &[&str]) -> (Self, Process, Process) {
        let world = Self::start(names).await;
        let (server, address) = world.serve("serve").await;
        world.route(names, address).await;
        world.provider(world.dns).await;
        let controller = world.controller(&world.settings("controller", &[address]));
        (world, server, controller)
    }

    /// Makes a namespace.
    pub async fn namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        self.apply::<Namespace>(
            None,
            json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": labels}}),
        )
        .await;
    }

    async fn ingress_class(&self) {
        self.apply::<IngressClass>(
            None,
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                "metadata": {"name": "front", "annotations":
                    {"ingressclass.kubernetes.io/is-default-class": "true"}},
                "spec": {"controller": "mta-sts.dev/test"}}),
        )
        .await;
    }

    /// Applies an object, cluster-scoped or in `namespace`.
    pub async fn apply<K>(&self, namespace: Option<&str>, object: Value) -> K
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + ApiOf,
    {
        self.try_apply(namespace, object).await.unwrap()
    }

    /// Applies an object; gives the API server's refusal.
    pub async fn try_apply<K>(
        &self,
        namespace: Option<&str>,
        object: Value,
    ) -> Result<K, kube::Error>
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + ApiOf,
    {
        let api = K::api_of(self.client.clone(), namespace);
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let params = PatchParams::apply("test").force();
        api.patch(&name, &params, &Patch::Apply(&object)).await
    }

    /// The Secret and the ClusterDnsProvider for BIND, or for a proxy before it.
    pub async fn provider(&self, server: SocketAddr) {
        self.secret(SYSTEM, "tsig", KEY.secret).await;
        self.apply::<ClusterDnsProvider>(
            None,
            json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "ClusterDnsProvider",
                "metadata": {"name": PROVIDER},
                "spec": {"zones": ["*"], "allowedNamespaces": {}, "rfc2136": rfc2136(server)}}),
        )
        .await;
    }

    /// A Secret that may be used for a provider.
    pub async fn secret(&self, namespace: &str, name: &str, value: &str) {
        self.apply::<Secret>(
            Some(namespace),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name,
                "labels": {"mta-sts.dev/credentials": "true"}}, "stringData": {"key": value}}),
        )
        .await;
    }

    /// Starts a policy server, ready to serve; gives its address.
    pub async fn serve(&self, name: &str) -> (Process, SocketAddr) {
        self.serve_with(name, &self.api.kubeconfig()).await
    }

    /// Starts a policy server that sees the API server through `kubeconfig`.
    pub async fn serve_with(&self, name: &str, kubeconfig: &Path) -> (Process, SocketAddr) {
        let address = loopback(free_port());
        let admin = loopback(free_port());
        let process = self.serve_on(name, kubeconfig, address, admin);
        ready(&process, admin).await;
        (process, address)
    }

    /// Starts a policy server on given addresses, without waiting.
    pub fn serve_on(
        &self,
        name: &str,
        kubeconfig: &Path,
        address: SocketAddr,
        admin: SocketAddr,
    ) -> Process {
        Process::mta_sts(
            name,
            self.folder.path(),
            Some(kubeconfig),
            &[
                "serve",
                "--namespace",
                SYSTEM,
                "--listen",
                &address.to_string(),
                "--admin-listen",
                &admin.to_string(),
                "--drain-seconds",
                "0",
            ],
        )
    }

    /// Lets the front lead to a policy server for the policy hosts of these domains.
    pub async fn route(&self, domains: &[&str], address: SocketAddr) {
        let site = |domain: &&str| (policy_host(domain), Site::proxy(address));
        self.front.set_all(domains.iter().map(site)).await;
    }

    /// The usual settings of a controller.
    pub fn settings(&self, name: &str, endpoints: &[SocketAddr]) -> ControllerSettings {
        ControllerSettings {
            name: name.to_owned(),
            kubeconfig: self.api.kubeconfig(),
            endpoints: endpoints.to_vec(),
            probe_seconds: 2,
            allow_targets: vec!["127.0.0.0/8".to_owned()],
            connect_to: vec![format!("::{}", host_and_port(self.front.address()))],
            smtp: false,
            flags: Vec::new(),
        }
    }

    /// Starts a controller.
    pub fn controller(&self, settings: &ControllerSettings) -> Process {
        self.controller_with_admin(settings, loopback(free_port()))
    }

    /// Starts a controller with a given admin address.
    pub fn controller_with_admin(
        &self,
        settings: &ControllerSettings,
        admin: SocketAddr,
    ) -> Process {
        self.controllers(settings, admin)(0)
    }

    /// What starts a controller, again and again where need be.
    pub fn controllers(
        &self,
        settings: &ControllerSettings,
        admin: SocketAddr,
    ) -> impl Fn(usize) -> Process + Send + 'static {
        let mut args = vec![
            "controller".to_owned(),
            format!("--namespace={SYSTEM}"),
            format!("--admin-listen={admin}"),
            format!("--identity={}", settings.name),
            format!("--resolver={}", self.dns),
            format!("--ca-file={}", self.front.ca_file().display()),
            format!("--probe-interval={}", settings.probe_seconds),
        ];
        if !settings.smtp {
            args.push("--smtp=Never".to_owned());
        }
        for range in &settings.allow_targets {
            args.push(format!("--allow-target={range}"));
        }
        for detour in &settings.connect_to {
            args.push(format!("--connect-to={detour}"));
        }
        for zone in &self.zones {
            args.push(format!("--authoritative={zone}={}", self.dns));
        }
        for endpoint in &settings.endpoints {
            args.push(format!("--policy-endpoint={endpoint}"));
        }
        args.extend(settings.flags.iter().cloned());
        let (name, kubeconfig) = (settings.name.clone(), settings.kubeconfig.clone());
        let folder = self.folder.path().to_owned();
        move |_| {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            Process::mta_sts(&name, &folder, Some(&kubeconfig), &args)
        }
    }

    /// Has controllers that are started from now on ask BIND through something else, as a relay.
    pub fn ask_through(&mut self, way: SocketAddr) {
        self.dns = way;
    }

    /// Where BIND listens.
    pub fn dns(&self) -> SocketAddr {
        self.dns
    }

    /// The policies of a namespace.
    pub fn policies(&self, namespace: &str) -> Api<MtaStsPolicy> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Applies a policy named as its domain, in [`MAIL`]; `spec` is merged over what every test
    /// needs.
    pub async fn policy(&self, domain: &str, spec: Value) -> MtaStsPolicy {
        self.apply(Some(MAIL), policy(domain, spec)).await
    }

    /// Waits until the policy of a domain is Ready for its present generation, and gives its
    /// status.
    pub async fn ready(&self, domain: &str) -> MtaStsPolicyStatus {
        self.condition(domain, "Ready", "True", None).await
    }

    /// Waits until a condition has a status (and a reason), for the present generation.
    pub async fn condition(
        &self,
        domain: &str,
        type_: &str,
        status: &str,
        reason: Option<&str>,
    ) -> MtaStsPolicyStatus {
        self.condition_in(MAIL, &name(domain), type_, status, reason)
            .await
    }

    /// The same for any object.
    pub async fn condition_in(
        &self,
        namespace: &str,
        name: &str,
        type_: &str,
        status: &str,
        reason: Option<&str>,
    ) -> MtaStsPolicyStatus {
        let policies = self.policies(namespace);
        let what = format!(
            "{namespace}/{name}: {type_}={status} {}",
            reason.unwrap_or("")
        );
        eventually(&what, SOON, async || {
            let policy = policies.get(name).await.map_err(|e| e.to_string())?;
            let found = policy.status.clone().unwrap_or_default();
            let condition = find(&found, type_).ok_or("the condition is not there")?;
            let fits = condition.status.to_string() == status
                && reason.is_none_or(|reason| condition.reason == reason)
                && condition.observed_generation == policy.metadata.generation;
            ensure(fits, shown(&found))?;
            Ok::<_, String>(found)
        })
        .await
    }

    /// Deletes the policy of a domain and waits until the object is gone.
    pub async fn delete(&self, domain: &str) {
        let policies = self.policies(MAIL);
        policies
            .delete(&name(domain), &DeleteParams::default())
            .await
            .unwrap();
        eventually("the object is gone", SOON, async || {
            let left = policies
                .get_opt(&name(domain))
                .await
                .map_err(|e| e.to_string())?;
            ensure(left.is_none(), "still there")
        })
        .await;
    }

    /// The joined TXT at `_mta-sts.<domain>`, as dig prints it; empty if there is none.
    pub fn txt(&self, domain: &str) -> String {
        let bind = self.bind.lock().unwrap();
        bind.dig(&format!("_mta-sts.{domain}"), "TXT")
    }

    /// The id in DNS.
    pub fn txt_id(&self, domain: &str) -> Option<String> {
        id_in(&self.txt(domain))
    }

    /// Changes the zone by hand, as its administrator would.
    pub fn nsupdate(&self, lines: &str) {
        self.bind.lock().unwrap().nsupdate(KEY, lines);
    }

    /// The body that the public URL serves.
    pub async fn body(&self, domain: &str) -> Result<String, String> {
        let answer = self
            .front
            .get(&policy_host(domain), "/.well-known/mta-sts.txt")
            .await?;
        ensure(answer.status == 200, format!("status {}", answer.status))?;
        Ok(answer.text())
    }

    /// The record of a domain.
    pub async fn record(&self, domain: &str) -> Option<ConfigMap> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), SYSTEM);
        let all = api.list(&Default::default()).await.unwrap();
        all.into_iter().find(|map| {
            map.annotations()
                .get("mta-sts.dev/domain")
                .is_some_and(|d| d == domain)
        })
    }

    /// The publication of a domain's record.
    pub async fn publication(&self, domain: &str) -> Value {
        let record = self.record(domain).await.expect("a record");
        serde_json::from_str(&record.data.unwrap()["publication.json"]).unwrap()
    }

    /// Reasons of the Events about a policy.
    pub async fn events(&self, domain: &str) -> Vec<String> {
        let api = Api::<Event>::namespaced(self.client.clone(), MAIL);
        let all = api.list(&Default::default()).await.unwrap();
        all.into_iter()
            .filter(|event| event.involved_object.name.as_deref() == Some(&name(domain)))
            .filter_map(|event| event.reason)
            .collect()
    }

    /// Watches a domain from outside until the observer is finished: DNS first, then each policy
    /// server and the public URL.
    pub fn observe(&self, domain: &str, endpoints: &[SocketAddr]) -> Observer {
        Observer::start(self, domain, endpoints, Duration::from_millis(15))
    }

    /// The same with a pause between two looks: for a test with many observers.
    pub fn observe_every(
        &self,
        pause: Duration,
        domain: &str,
        endpoints: &[SocketAddr],
    ) -> Observer {
        Observer::start(self, domain, endpoints, pause)
    }

    /// Stores an object of ours as it would have been stored before the rules existed: with the
    /// CRD's validation taken away for a moment.
    pub async fn store_unchecked(&self, namespace: &str, object: Value) {
        let crds = Api::<CustomResourceDefinition>::all(self.client.clone());
        let kind = object["kind"].as_str().unwrap();
        let all = crds.list(&Default::default()).await.unwrap();
        let good = all.into_iter().find(|crd| crd.spec.names.kind == kind);
        let good = good.expect("one of our kinds");
        let name = good.name_any();
        let mut open = serde_json::to_value(&good).unwrap();
        // The domain is a selectable field, so that it has to stay.
        open["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"domain": {"type": "string"}}});
        open["metadata"]["managedFields"] = Value::Null;
        let open = serde_json::from_value(open).unwrap();
        let replaced = crds.replace(&name, &PostParams::default(), &open).await;
        let api = self.dynamic(namespace, kind);
        // A merge patch, since apply wants both versions to fit the schema of the moment.
        let object_name = object["metadata"]["name"].as_str().unwrap();
        eventually("the object is stored", SOON, async || {
            let parsed = serde_json::from_value::<DynamicObject>(object.clone()).unwrap();
            match api.create(&PostParams::default(), &parsed).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    let params = PatchParams::default();
                    let patch = Patch::Merge(&object);
                    api.patch(object_name, &params, &patch).await.map(drop)
                }
                other => other.map(drop),
            }
        })
        .await;
        let mut back = good.clone();
        back.metadata.resource_version = replaced.unwrap().metadata.resource_version;
        crds.replace(&name, &PostParams::default(), &back)
            .await
            .unwrap();
        self.rules_are_back(&api, &object).await;
    }

    /// The API server takes a moment to follow a changed CRD.
    async fn rules_are_back(&self, api: &Api<DynamicObject>, like: &Value) {
        let mut wrong = like.clone();
        wrong["metadata"] = json!({"name": "a-trial"});
        wrong["spec"] = json!({"domain": "Wrong", "rfc2136": 5});
        let wrong: DynamicObject = serde_json::from_value(wrong).unwrap();
        let trial = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        eventually("the rules hold again", SOON, async || {
            match api.create(&trial, &wrong).await {
                Err(kube::Error::Api(status)) if status.code == 422 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Objects of one of our kinds, also those that our types cannot hold.
    pub fn dynamic(&self, namespace: &str, kind: &str) -> Api<DynamicObject> {
        let client = self.client.clone();
        match kind {
            "MtaStsPolicy" => {
                let resource = ApiResource::erase::<MtaStsPolicy>(&());
                Api::namespaced_with(client, namespace, &resource)
            }
            "DnsProvider" => {
                let resource = ApiResource::erase::<DnsProvider>(&());
                Api::namespaced_with(client, namespace, &resource)
            }
            "ClusterDnsProvider" => {
                Api::all_with(client, &ApiResource::erase::<ClusterDnsProvider>(&()))
            }
            other => panic!("{other} is none of our kinds"),
        }
    }
}

/// Kinds that can be applied, each with its scope.
pub trait ApiOf: Sized {
    fn api_of(client: Client, namespace: Option<&str>) -> Api<Self>;
}

macro_rules! scopes {
    (cluster: $($cluster:ty),+; namespaced: $($namespaced:ty),+) => {
        $(impl ApiOf for $cluster {
            fn api_of(client: Client, _: Option<&str>) -> Api<Self> {
                Api::all(client)
            }
        })+
        $(impl ApiOf for $namespaced {
            fn api_of(client: Client, namespace: Option<&str>) -> Api<Self> {
                Api::namespaced(client, namespace.expect("a namespace"))
            }
        })+
    };
}
scopes!(cluster: Namespace, IngressClass, ClusterDnsProvider;
    namespaced: Secret, ConfigMap, DnsProvider, MtaStsPolicy,
        k8s_openapi::api::networking::v1::Ingress, k8s_openapi::api::core::v1::Service,
        k8s_openapi::api::discovery::v1::EndpointSlice);

/// A zone with an MX.
pub fn zone(name: &str) -> Zone {
    Zone::dynamic(name, "@ MX 10 mail\nmail A 192.0.2.25\n")
}

/// `spec.rfc2136` for a server with [`KEY`].
pub fn rfc2136(server: SocketAddr) -> Value {
    json!({"server": server.to_string(), "tsig": {"keyName": KEY.name,
        "algorithm": KEY.algorithm, "secretRef": {"name": "tsig", "key": "key"}}})
}

/// A policy object named as its domain.
pub fn policy(domain: &str, spec: Value) -> Value {
    let mut full = json!({
        "domain": domain,
        "mx": [format!("mail.{domain}")],
        "dns": {"providerRef": {"kind": "ClusterDnsProvider", "name": PROVIDER}, "ttlSeconds": 30},
        "hosting": {"address": {"ipv4": ["127.0.0.1"]}},
        // What is not about retirement must not wait for days.
        "deletionPolicy": "Immediate",
    });
    merge(&mut full, spec);
    json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "MtaStsPolicy",
        "metadata": {"name": name(domain)}, "spec": full})
}

/// Puts the fields of `from` over those of `into`; null takes a field away.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(old) if !value.is_null() => merge(old, value),
                    _ if value.is_null() => drop(into.remove(&key)),
                    _ => drop(into.insert(key, value)),
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// The object's name for a domain.
pub fn name(domain: &str) -> String {
    domain.replace('.', "-")
}

/// The policy host of a domain.
pub fn policy_host(domain: &str) -> String {
    format!("mta-sts.{domain}")
}

/// The id in a TXT record as dig prints it.
pub fn id_in(text: &str) -> Option<String> {
    let rest = text.split("id=").nth(1)?;
    Some(rest.split(';').next()?.to_owned())
}

/// The message of a condition; empty where that is not there.
pub fn message<'a>(status: &'a MtaStsPolicyStatus, type_: &str) -> &'a str {
    find(status, type_).map_or("", |condition| &condition.message)
}

/// A condition of a status.
pub fn find<'a>(status: &'a MtaStsPolicyStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|c| c.type_ == type_)
}

/// A status for a failing test's message.
pub fn shown(status: &MtaStsPolicyStatus) -> String {
    let mut text = String::new();
    for c in &status.conditions {
        let _ = writeln!(
            text,
            "    {}={} {}: {}",
            c.type_, c.status, c.reason, c.message
        );
    }
    text
}

fn host_and_port(address: SocketAddr) -> String {
    format!("{}:{}", address.ip(), address.port())
}

/// Waits until a process of ours is ready.
pub async fn ready(process: &Process, admin: SocketAddr) {
    eventually("it is ready", SOON, async || {
        process.assert_alive();
        let answer = http::get(admin, "localhost", "/readyz").await?;
        ensure(answer.status == 200, answer.text())
    })
    .await;
}

/// Looks at a domain from outside, all the time.
pub struct Observer {
    task: tokio::task::JoinHandle<()>,
    seen: Arc<Mutex<Seen>>,
}

/// What an observer has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How often it looked.
    pub looks: usize,
    /// The ids that DNS announced, in order.
    pub announced: Vec<String>,
    /// Breaches of the invariant.
    pub breaches: Vec<String>,
    /// Ids that were seen out of order.
    pub backwards: Vec<String>,
    /// Announced ids for which somebody answered with no policy at all.
    pub unserved: Vec<String>,
    /// Bodies that do not belong to the id they were served with.
    pub strangers: Vec<String>,
}

impl Observer {
    fn start(world: &World, domain: &str, endpoints: &[SocketAddr], pause: Duration) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let look = Look {
            dns: world.dns,
            domain: domain.to_owned(),
            endpoints: endpoints.to_vec(),
            front: world.front.address(),
            ca: world.front.ca_pem(),
            seen: seen.clone(),
        };
        let task = tokio::spawn(async move {
            loop {
                look.once().await;
                tokio::time::sleep(pause).await;
            }
        });
        Self { task, seen }
    }

    /// What has been seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until it sees this id announced.
    pub async fn sees(&self, id: &str) {
        let what = format!("the observer sees the id {id}");
        eventually(&what, SOON, async || {
            let seen = self.seen();
            let last = seen.announced.last().is_some_and(|last| last == id);
            ensure(last && seen.looks > 5, format!("{seen:?}"))
        })
        .await;
    }

    /// Ends the watch. Panics if the invariant was ever broken.
    pub fn finish(self) -> Seen {
        self.task.abort();
        let seen = self.seen();
        assert!(seen.looks > 5, "the observer saw too little: {seen:?}");
        assert!(
            seen.breaches.is_empty(),
            "the invariant was broken: {seen:#?}"
        );
        assert!(seen.backwards.is_empty(), "ids went backwards: {seen:#?}");
        seen
    }

    /// The same, and whoever answered had a policy for each announced id, and each body belonged
    /// to its id. Not for tests that start a policy server anew or edit records by hand.
    pub fn finish_strictly(self) -> Seen {
        let seen = self.finish();
        assert!(
            seen.unserved.is_empty() && seen.strangers.is_empty(),
            "an announced id without its body: {seen:#?}"
        );
        seen
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Look {
    dns: SocketAddr,
    domain: String,
    endpoints: Vec<SocketAddr>,
    front: SocketAddr,
    ca: String,
    seen: Arc<Mutex<Seen>>,
}

impl Look {
    /// DNS is asked first: if it has an id, a body that is fetched afterwards must not be older.
    async fn once(&self) {
        let announced = super::dns_txt::ids(self.dns, &format!("_mta-sts.{}", self.domain)).await;
        let host = policy_host(&self.domain);
        let mut served = Vec::new();
        for endpoint in &self.endpoints {
            let answer = http::get(*endpoint, &host, "/.well-known/mta-sts.txt").await;
            served.push((endpoint.to_string(), answer));
        }
        let public = http::get_tls(self.front, &host, "/.well-known/mta-sts.txt", &self.ca).await;
        served.push(("the public URL".to_owned(), public));
        self.note(announced, served);
    }

    fn note(&self, announced: Vec<String>, served: Vec<(String, Result<http::Answer, String>)>) {
        let mut seen = self.seen.lock().unwrap();
        seen.looks += 1;
        if announced.len() > 1 {
            seen.breaches
                .push(format!("two ids at once: {announced:?}"));
        }
        for id in &announced {
            if seen.announced.last() != Some(id) {
                let last = seen.announced.last().cloned().unwrap_or_default();
                if last > *id {
                    seen.backwards.push(format!("{id} after {last}"));
                }
                seen.announced.push(id.clone());
            }
            for (who, answer) in &served {
                // A server that does not answer serves nothing.
                let Ok(answer) = answer else { continue };
                let body = answer.header("etag").trim_matches('"').to_owned();
                if answer.status != 200 {
                    let status = answer.status;
                    seen.unserved
                        .push(format!("DNS announces {id}, {who} answers {status}"));
                } else if !belongs(&body, &answer.body) {
                    seen.strangers
                        .push(format!("{who} serves {body} with {}", answer.text()));
                }
                if answer.status == 200 && body < *id {
                    seen.breaches
                        .push(format!("DNS announces {id} while {who} serves {body}"));
                }
            }
        }
    }
}

/// Whether a body is the one that its id was made for.
fn belongs(id: &str, body: &[u8]) -> bool {
    let id = id.parse::<PolicyId>();
    id.is_ok_and(|id| id.belongs_to(&Sha256Digest::of(body)))
}

/// How long something took, for a person who reads the test's output.
pub fn timed(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}
