//! What is watched, kept in memory, and which policies a change concerns.

use std::hash::Hash;

use futures::channel::mpsc;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{Predicate, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::gateway::{Changed, Gateway, Gateways, HttpRoute};
use super::records::cached_publication;
use super::scope::{Events, Scope, events, is_forbidden};
use crate::api::{ClusterDnsProvider, ConditionType, DnsProvider, MtaStsPolicy, ProviderKind};
use crate::lifecycle::names::object_name;
use crate::lifecycle::ownership::Holding;
use crate::lifecycle::record::{DOMAIN_ANNOTATION, RECORD_ROLE, ROLE_LABEL};
use crate::protocol::Domain;

/// A policy that may not parse: it must not stop the watch of the others.
pub(super) type GuardedPolicy = DeserializeGuard<MtaStsPolicy>;
/// A reference to a policy.
pub(super) type PolicyRef = ObjectRef<GuardedPolicy>;

/// Everything that is watched.
#[derive(Clone)]
pub(super) struct Caches {
    pub(super) policies: Store<GuardedPolicy>,
    pub(super) records: Store<ConfigMap>,
    pub(super) providers: Store<DeserializeGuard<DnsProvider>>,
    pub(super) cluster_providers: Store<DeserializeGuard<ClusterDnsProvider>>,
    pub(super) namespaces: Store<Namespace>,
    pub(super) ingresses: Store<Ingress>,
    pub(super) ingress_classes: Store<IngressClass>,
    pub(super) endpoints: Store<EndpointSlice>,
    pub(super) gateways: Gateways,
    shared: Vec<Filled>,
    of_leader: OfLeader,
    tell: Tell,
}

/// How full the caches are that the leader's controllers fill.
#[derive(Clone)]
pub(super) struct OfLeader {
    pub(super) policies: Filled,
    pub(super) providers: Filled,
    pub(super) cluster_providers: Filled,
}

/// What a change in one of the caches sets off.
pub(super) struct Triggers {
    /// Policies to look at.
    pub(super) policies: futures::stream::BoxStream<'static, PolicyRef>,
    /// Providers to look at.
    pub(super) providers: Listed<DeserializeGuard<DnsProvider>>,
    /// The same for the other kind.
    pub(super) cluster_providers: Listed<DeserializeGuard<ClusterDnsProvider>>,
    /// Records to look at: their object came, changed or went.
    pub(super) records: mpsc::UnboundedReceiver<ObjectRef<ConfigMap>>,
}

/// The streams that feed the controllers themselves.
pub(super) struct Streams {
    pub(super) policies: BoxStream<'static, Result<GuardedPolicy, watcher::Error>>,
    pub(super) providers: BoxStream<'static, Result<DeserializeGuard<DnsProvider>, watcher::Error>>,
    pub(super) cluster_providers:
        BoxStream<'static, Result<DeserializeGuard<ClusterDnsProvider>, watcher::Error>>,
}

/// Starts nothing yet: a cache, the stream that fills it while it is polled, and whether it has
/// seen a whole list. A watch that is `optional` counts as full, of nothing, where it is not granted.
///
/// That is told by our own channel: kube's `wait_until_ready` wakes only the last of several
/// waiters, and a controller waits on its store as well.
fn watch<K>(
    events: Events<K>,
    optional: Option<&'static str>,
) -> (
    Store<K>,
    impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
    Filled,
    Listed<K>,
)
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
{
    let (reader, writer) = store();
    let (full, filled) = tokio::sync::watch::channel(Fill::Awaited);
    let (again, listed) = mpsc::unbounded();
    let cache = reader.clone();
    let stream = events
        .reflect(writer)
        .inspect(move |event| match (event, optional) {
            (Ok(watcher::Event::InitDone), _)
                if full.send_replace(Fill::Listed) == Fill::Listed =>
            {
                // Nobody may be listening.
                let all = cache.state().into_iter();
                all.for_each(|o| drop(again.unbounded_send(ObjectRef::from_obj(&*o))));
            }
            (Err(error), Some(without))
                if is_forbidden(error) && *full.borrow() == Fill::Awaited =>
            {
                full.send_replace(Fill::Refused);
                tracing::warn!(%error, "{without}");
            }
            _ => {}
        })
        .touched_objects();
    (reader, stream, filled, listed)
}

/// All objects of a cache, whenever they were listed anew. A list that lacked one of them (it was
/// old, or a lie) has ended its time-table, and one that has it again looks like no change.
type Listed<K> = mpsc::UnboundedReceiver<ObjectRef<K>>;

/// Whether a cache has seen a whole list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fill {
    /// Not yet.
    Awaited,
    /// It is not granted, and need not be.
    Refused,
    /// It has.
    Listed,
}

/// The same as it changes.
pub(super) type Filled = tokio::sync::watch::Receiver<Fill>;

const NO_CLUSTER_PROVIDERS: &str = "ClusterDnsProviders may not be watched: this operator works without them, as if \
     there were none. Allow `list` and `watch` of clusterdnsproviders by a ClusterRole to use them";
const NO_INGRESS_CLASSES: &str = "IngressClasses may not be watched: the cluster's default one is not known. Start the \
     operator with --default-ingress-class, or allow `list` and `watch` of ingressclasses by a ClusterRole";

/// Runs a watch for ever; each touched object is told to `then`. Errors are retried by the
/// watcher itself and only logged here.
fn follow<K>(
    what: &'static str,
    stream: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
    mut then: impl FnMut(K) + Send + 'static,
) -> tokio::task::JoinHandle<()>
where
    K: Send + 'static,
{
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(object) => then(object),
                Err(error) => tracing::warn!(%error, what, "the watch failed and is tried again"),
            }
        }
    })
}

/// Starts all watches. The caches fill while the streams are polled.
pub(super) fn start(
    client: &Client,
    namespace: &str,
    service: &str,
    scope: &Scope,
) -> (Caches, Triggers, Streams) {
    let any = watcher::Config::default;
    let narrow = scope.is_narrow();
    let (policies, policy_stream, policies_filled, policies_listed) =
        watch::<GuardedPolicy>(scope.events(client), None);
    let (records, record_stream, records_filled, _) = watch::<ConfigMap>(
        events(
            Api::namespaced(client.clone(), namespace),
            any().labels(&format!("{ROLE_LABEL}={RECORD_ROLE}")),
        ),
        None,
    );
    let (providers, provider_stream, providers_filled, providers_listed) =
        watch(scope.events(client), None);
    let (cluster_providers, cluster_provider_stream, cluster_filled, cluster_listed) = watch(
        events(Api::all(client.clone()), any()),
        narrow.then_some(NO_CLUSTER_PROVIDERS),
    );
    let (namespaces, namespace_stream, namespaces_filled, _) =
        watch::<Namespace>(scope.namespaces(client), None);
    // Without a right in the whole cluster another Ingress that has a policy host is not seen; that
    // it answers in our place still is.
    let ingress_api = match narrow {
        true => Api::namespaced(client.clone(), namespace),
        false => Api::all(client.clone()),
    };
    let (ingresses, ingress_stream, ingresses_filled, _) =
        watch::<Ingress>(events(ingress_api, any()), None);
    let (ingress_classes, class_stream, classes_filled, _) = watch::<IngressClass>(
        events(Api::all(client.clone()), any()),
        narrow.then_some(NO_INGRESS_CLASSES),
    );
    let (endpoints, endpoint_stream, endpoints_filled, _) = watch::<EndpointSlice>(
        events(
            Api::namespaced(client.clone(), namespace),
            any().labels(&format!("kubernetes.io/service-name={service}")),
        ),
        None,
    );

    let (to_policies, from_policies) = mpsc::unbounded();
    let tell = Tell {
        policies: policies.clone(),
        to: to_policies,
    };
    let caches = Caches {
        policies,
        records,
        providers,
        cluster_providers,
        namespaces,
        ingresses,
        ingress_classes,
        endpoints,
        gateways: gateways(client, namespace, tell.clone()),
        shared: vec![
            records_filled,
            namespaces_filled,
            ingresses_filled,
            classes_filled,
            endpoints_filled,
        ],
        of_leader: OfLeader {
            policies: policies_filled,
            providers: providers_filled,
            cluster_providers: cluster_filled,
        },
        tell: tell.clone(),
    };

    let told = tell.clone();
    follow("records", record_stream, move |record| {
        told.of_record(&record)
    });
    let own = namespace.to_owned();
    let told = tell.clone();
    follow("ingresses", ingress_stream, move |ingress| {
        told.of_ingress(&ingress, &own);
    });
    let told = tell.clone();
    follow("endpoints", endpoint_stream, move |_| told.unready());
    let relabelled = namespace_stream.predicate_filter(predicates::labels, Default::default());
    let told = tell.clone();
    follow("namespaces", relabelled, move |namespace| {
        told.of_namespace(&namespace.name_any());
    });
    let told = tell.clone();
    follow("ingress classes", class_stream, move |_| told.unready());

    let (to_records, from_records) = mpsc::unbounded();
    let own = namespace.to_owned();
    // Before the filter: an object that goes without its finalizer has changed in nothing.
    let policy_stream = policy_stream.inspect(move |event| {
        let policy = event
            .as_ref()
            .ok()
            .and_then(|policy| policy.0.as_ref().ok());
        if let Some(domain) = policy.and_then(|policy| Domain::parse(&policy.spec.domain).ok()) {
            let record = ObjectRef::new(&object_name(&domain)).within(&own);
            // The receiver ends with the process.
            let _ = to_records.unbounded_send(record);
        }
    });
    let relevant = predicates::generation.combine(predicates::annotations);
    let streams = Streams {
        policies: policy_stream
            .predicate_filter(relevant, Default::default())
            .boxed(),
        providers: told_of(
            provider_stream.predicate_filter(predicates::generation, Default::default()),
            tell.clone(),
        ),
        cluster_providers: told_of(
            cluster_provider_stream.predicate_filter(predicates::generation, Default::default()),
            tell,
        ),
    };
    let triggers = Triggers {
        policies: futures::stream::select(from_policies, policies_listed).boxed(),
        providers: providers_listed,
        cluster_providers: cluster_listed,
        records: from_records,
    };
    (caches, triggers, streams)
}

/// The watches of the Gateway API, which begin once they are needed.
fn gateways(client: &Client, namespace: &str, tell: Tell) -> Gateways {
    let own = namespace.to_owned();
    Gateways::new(client.clone(), move |changed| match changed {
        Changed::Gateway(gateway) => tell.of_gateway(&gateway),
        Changed::Route(route) => tell.of_route(&route, &own),
        Changed::Other => tell.unready(),
    })
}

/// The same stream, whose providers' users are told.
fn told_of<K>(
    stream: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
    tell: Tell,
) -> BoxStream<'static, Result<K, watcher::Error>>
where
    K: ResourceExt + Send + 'static,
{
    stream
        .inspect(move |event| {
            if let Ok(provider) = event {
                tell.of_provider(provider.namespace().as_deref(), &provider.name_any());
            }
        })
        .boxed()
}

impl Caches {
    /// Has the policies looked at that use a provider, because it can be used again.
    pub(super) fn tell_users_of(&self, namespace: Option<&str>, name: &str) {
        self.tell.of_provider(namespace, name);
    }

    /// How full the caches are that the leader's controllers fill.
    pub(super) fn of_leader(&self) -> &OfLeader {
        &self.of_leader
    }

    /// Has all policies looked at, because what each may do has changed.
    pub(super) fn tell_all(&self) {
        self.tell.send_where(|_| true);
    }

    /// Waits until the caches that every replica fills have seen a whole list.
    pub(super) async fn ready(&self) {
        wait_for_all(&self.shared).await;
    }

    /// Waits until all caches have: also those that only the leader's controllers fill. Deciding
    /// on half a view could give a domain to the wrong object.
    pub(super) async fn complete(&self) {
        wait_for_all(&self.shared).await;
        wait_for_all(&self.of_leader.all()).await;
    }

    /// Whether all caches have.
    pub(super) fn is_complete(&self) -> bool {
        let of_leader = self.of_leader.all();
        let mut all = self.shared.iter().chain(&of_leader);
        all.all(|filled| *filled.borrow() != Fill::Awaited)
    }
}

impl OfLeader {
    fn all(&self) -> [Filled; 3] {
        let Self {
            policies,
            providers,
            cluster_providers,
        } = self.clone();
        [policies, providers, cluster_providers]
    }
}

async fn wait_for_all(caches: &[Filled]) {
    for cache in caches {
        // The sender lives in the stream; if that is gone, so is the process soon.
        let _ = cache.clone().wait_for(|fill| *fill != Fill::Awaited).await;
    }
}

/// Sends the policies that a change concerns to the controller.
#[derive(Clone)]
struct Tell {
    policies: Store<GuardedPolicy>,
    to: mpsc::UnboundedSender<PolicyRef>,
}

impl Tell {
    fn send_where(&self, wanted: impl Fn(&MtaStsPolicy) -> bool) {
        for policy in self.policies.state() {
            if policy.0.as_ref().is_ok_and(&wanted) {
                // The receiver ends with the process.
                let _ = self.to.unbounded_send(ObjectRef::from_obj(&*policy));
            }
        }
    }

    /// All that claim the record's domain: the owner, and whoever waits for it.
    fn of_record(&self, record: &ConfigMap) {
        let Some(domain) = record.annotations().get(DOMAIN_ANNOTATION) else {
            return;
        };
        self.send_where(|policy| policy.spec.domain == *domain);
    }

    /// The policy whose Ingress it is, or whose policy host it claims.
    fn of_ingress(&self, ingress: &Ingress, namespace: &str) {
        let own = ingress.namespace().as_deref() == Some(namespace);
        let domain = ingress.annotations().get(DOMAIN_ANNOTATION).filter(|_| own);
        let hosts: Vec<&str> = ingress_hosts(ingress).collect();
        self.send_where(|policy| {
            let host = format!("mta-sts.{}", policy.spec.domain);
            domain.is_some_and(|d| *d == policy.spec.domain) || hosts.contains(&host.as_str())
        });
    }

    /// The policy whose HTTPRoute it is, or whose policy host it claims.
    fn of_route(&self, route: &HttpRoute, namespace: &str) {
        let own = route.namespace().as_deref() == Some(namespace);
        let domain = route.annotations().get(DOMAIN_ANNOTATION).filter(|_| own);
        self.send_where(|policy| {
            let host = format!("mta-sts.{}", policy.spec.domain);
            domain.is_some_and(|d| *d == policy.spec.domain) || route.spec.hostnames.contains(&host)
        });
    }

    /// All that name the Gateway, or no hosting: it may be the operator's default.
    fn of_gateway(&self, gateway: &Gateway) {
        let (namespace, name) = (gateway.namespace().unwrap_or_default(), gateway.name_any());
        self.send_where(|policy| match &policy.spec.hosting.gateway {
            Some(hosting) => hosting
                .parent_refs
                .iter()
                .any(|parent| parent.namespace == namespace && parent.name == name),
            None => policy.spec.hosting.ingress.is_none(),
        });
    }

    /// All of a namespace, whose labels say which providers they may use.
    fn of_namespace(&self, namespace: &str) {
        self.send_where(|policy| policy.namespace().as_deref() == Some(namespace));
    }

    /// All that use a provider: a `DnsProvider` of the namespace, or a `ClusterDnsProvider`, which
    /// may also be the operator's default.
    fn of_provider(&self, namespace: Option<&str>, name: &str) {
        self.send_where(|policy| match (&policy.spec.dns.provider_ref, namespace) {
            (Some(reference), None) => {
                reference.kind == ProviderKind::ClusterDnsProvider && reference.name == name
            }
            (Some(reference), Some(namespace)) => {
                reference.kind == ProviderKind::DnsProvider
                    && reference.name == name
                    && policy.namespace().as_deref() == Some(namespace)
            }
            (None, namespace) => namespace.is_none(),
        });
    }

    /// All that wait for something.
    fn unready(&self) {
        self.send_where(|policy| {
            !policy
                .status
                .as_ref()
                .is_some_and(|status| super::status::is_true(status, ConditionType::Ready))
        });
    }
}

/// The hosts of an Ingress's rules.
pub(super) fn ingress_hosts(ingress: &Ingress) -> impl Iterator<Item = &str> {
    ingress
        .spec
        .iter()
        .flat_map(|spec| spec.rules.iter().flatten())
        .filter_map(|rule| rule.host.as_deref())
}

/// What the cached records hold.
pub(super) fn holdings(records: &Store<ConfigMap>) -> Vec<Holding> {
    records
        .state()
        .iter()
        .filter_map(|object| cached_publication(object))
        .map(|publication| Holding {
            owner: publication.owner,
            domain: publication.domain,
            retiring: publication.retiring.is_some(),
        })
        .collect()
}
