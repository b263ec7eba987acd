//! Watching in all namespaces, or in some and with no right beyond them. (io)

use std::collections::{BTreeMap, HashMap};

use futures::StreamExt;
use futures::stream::{self, BoxStream, select_all};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::runtime::reflector::Lookup;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::limits;

/// What a watch brings.
pub(super) type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

/// The namespaces whose policies and DnsProviders are looked after.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    /// All of the cluster.
    Cluster,
    /// These alone.
    Namespaces(Vec<String>),
}

impl Scope {
    /// None given: all.
    pub(super) fn of(namespaces: &[String]) -> Self {
        let mut namespaces = namespaces.to_vec();
        namespaces.sort();
        namespaces.dedup();
        match namespaces.is_empty() {
            true => Self::Cluster,
            false => Self::Namespaces(namespaces),
        }
    }

    /// Whether rights in the whole cluster may be missing.
    pub(super) fn is_narrow(&self) -> bool {
        matches!(self, Self::Namespaces(_))
    }

    /// Watches the objects of a kind in its namespaces.
    pub(super) fn events<K>(&self, client: &Client) -> Events<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync,
        K: Lookup<DynamicType = ()> + 'static,
        K: Resource<Scope = NamespaceResourceScope>,
    {
        match self {
            Self::Cluster => events(Api::all(client.clone()), watcher::Config::default()),
            Self::Namespaces(names) => {
                let of = |name: &String| {
                    let api = Api::namespaced(client.clone(), name);
                    events(api, watcher::Config::default())
                };
                merged(names.iter().map(of).collect())
            }
        }
    }

    /// Lists the objects of a kind in its namespaces.
    pub(super) async fn list<K>(&self, client: &Client) -> Result<Vec<K>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let all = ListParams::default();
        let names = match self {
            Self::Cluster => return Ok(Api::all(client.clone()).list(&all).await?.items),
            Self::Namespaces(names) => names,
        };
        let mut objects = Vec::new();
        for name in names {
            objects.extend(Api::namespaced(client.clone(), name).list(&all).await?);
        }
        Ok(objects)
    }

    /// Watches the namespaces themselves. Without a right in the whole cluster they are read one by
    /// one, as a Role in each allows, and again after a while.
    pub(super) fn namespaces(&self, client: &Client) -> Events<Namespace> {
        let api = Api::all(client.clone());
        match self {
            Self::Cluster => events(api, watcher::Config::default()),
            Self::Namespaces(names) => one_by_one(api, names.clone()),
        }
    }
}

/// Watches what `api` has.
pub(super) fn events<K>(api: Api<K>, config: watcher::Config) -> Events<K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, config).default_backoff().boxed()
}

/// Whether the API server does not allow the watch.
pub(super) fn is_forbidden(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code,
        watcher::Error::WatchError(status) => status.code,
        _ => return false,
    };
    code == 403
}

/// Several watches as one: a cache takes a list for the whole, so the lists are joined.
fn merged<K>(watches: Vec<Events<K>>) -> Events<K>
where
    K: Lookup<DynamicType = ()> + Clone + Send + 'static,
{
    let mut union = Union::new(watches.len());
    let numbered = watches
        .into_iter()
        .enumerate()
        .map(|(number, events)| events.map(move |event| (number, event)).boxed());
    select_all(numbered)
        .map(move |(number, event)| match event {
            Ok(event) => union.take(number, event).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
        .flat_map(stream::iter)
        .boxed()
}

/// What each of several watches holds.
struct Union<K> {
    parts: Vec<Part<K>>,
}

struct Part<K> {
    objects: HashMap<String, K>,
    /// A list that has begun and not ended.
    coming: HashMap<String, K>,
    listed: bool,
}

impl<K: Lookup<DynamicType = ()> + Clone> Union<K> {
    fn new(parts: usize) -> Self {
        let part = || Part {
            objects: HashMap::new(),
            coming: HashMap::new(),
            listed: false,
        };
        Self {
            parts: std::iter::repeat_with(part).take(parts).collect(),
        }
    }

    /// Takes an event of one watch, and gives those of the union. Nothing comes of it until each
    /// watch has seen a whole list; afterwards a new list of one is a new list of all.
    fn take(&mut self, number: usize, event: Event<K>) -> Vec<Event<K>> {
        let all_listed = self.parts.iter().all(|part| part.listed);
        let Some(part) = self.parts.get_mut(number) else {
            return Vec::new();
        };
        match event {
            Event::Init => part.coming.clear(),
            Event::InitApply(object) => drop(part.coming.insert(key(&object), object)),
            Event::InitDone => {
                part.objects = std::mem::take(&mut part.coming);
                part.listed = true;
                return self.whole();
            }
            Event::Apply(object) => {
                part.objects.insert(key(&object), object.clone());
                if all_listed {
                    return vec![Event::Apply(object)];
                }
            }
            Event::Delete(object) => {
                part.objects.remove(&key(&object));
                if all_listed {
                    return vec![Event::Delete(object)];
                }
            }
        }
        Vec::new()
    }

    fn whole(&self) -> Vec<Event<K>> {
        if !self.parts.iter().all(|part| part.listed) {
            return Vec::new();
        }
        let objects = self.parts.iter().flat_map(|part| part.objects.values());
        let mut events = vec![Event::Init];
        events.extend(objects.cloned().map(Event::InitApply));
        events.push(Event::InitDone);
        events
    }
}

fn key<K: Lookup<DynamicType = ()>>(object: &K) -> String {
    let namespace = object.namespace().unwrap_or_default();
    format!("{namespace}/{}", object.name().unwrap_or_default())
}

/// Reads namespaces by their names, again and again.
fn one_by_one(api: Api<Namespace>, names: Vec<String>) -> Events<Namespace> {
    let seen = Seen {
        api,
        names,
        known: None,
        warned: false,
    };
    stream::unfold(seen, |mut seen| async move {
        if seen.known.is_some() {
            tokio::time::sleep(limits::NAMESPACE_CHECK_TIME).await;
        }
        let events = seen.look().await;
        if seen.known.is_none() {
            tokio::time::sleep(limits::NAMESPACE_RETRY_TIME).await;
        }
        Some((stream::iter(events), seen))
    })
    .flatten()
    .boxed()
}

struct Seen {
    api: Api<Namespace>,
    names: Vec<String>,
    /// `None` until all could be looked at once.
    known: Option<BTreeMap<String, Namespace>>,
    warned: bool,
}

impl Seen {
    async fn look(&mut self) -> Vec<Result<Event<Namespace>, watcher::Error>> {
        let mut found = BTreeMap::new();
        let mut events = Vec::new();
        for name in self.names.clone() {
            match self.api.get_opt(&name).await {
                Ok(Some(namespace)) => drop(found.insert(name, namespace)),
                Ok(None) => {}
                Err(kube::Error::Api(status)) if status.code == 403 => self.warn(&name),
                Err(error) => {
                    // Not looked at is not gone: what was known of it holds.
                    let before = self.known.as_ref().and_then(|known| known.get(&name));
                    found.extend(before.map(|before| (name, before.clone())));
                    events.push(Err(watcher::Error::InitialListFailed(error)));
                }
            }
        }
        match self.known.take() {
            None if !events.is_empty() => return events,
            None => {
                events.push(Ok(Event::Init));
                events.extend(found.values().cloned().map(|n| Ok(Event::InitApply(n))));
                events.push(Ok(Event::InitDone));
            }
            Some(known) => {
                let version = |namespace: &Namespace| namespace.metadata.resource_version.clone();
                let changed = found
                    .iter()
                    .filter(|(name, now)| known.get(*name).map(version) != Some(version(now)));
                events.extend(changed.map(|(_, now)| Ok(Event::Apply(now.clone()))));
                let gone = known.iter().filter(|(name, _)| !found.contains_key(*name));
                events.extend(gone.map(|(_, was)| Ok(Event::Delete(was.clone()))));
            }
        }
        self.known = Some(found);
        events
    }

    fn warn(&mut self, name: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                namespace = name,
                "the labels of this namespace may not be read, so that no ClusterDnsProvider and no grant counts for \
                 it: allow `get` of namespaces by a Role in it (docs/rbac.md)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(namespace: &str, name: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some(namespace.to_owned());
        object.metadata.name = Some(name.to_owned());
        object
    }

    fn shown(events: Vec<Event<ConfigMap>>) -> Vec<String> {
        let shown = |event| match event {
            Event::Init => "[".to_owned(),
            Event::InitApply(object) => key(&object),
            Event::InitDone => "]".to_owned(),
            Event::Apply(object) => format!("+{}", key(&object)),
            Event::Delete(object) => format!("-{}", key(&object)),
        };
        let mut shown: Vec<String> = events.into_iter().map(shown).collect();
        if let [_, within @ .., _] = shown.as_mut_slice() {
            within.sort();
        }
        shown
    }

    #[test]
    fn the_union_is_whole_once_each_part_is_and_a_new_list_of_one_leaves_the_others() {
        let mut union = Union::new(2);
        let mut take = |number, event| shown(union.take(number, event));
        let list =
            |take: &mut dyn FnMut(usize, Event<ConfigMap>) -> Vec<String>, number, of: &[&str]| {
                let namespace = ["a", "b"][number];
                assert!(take(number, Event::Init).is_empty());
                for name in of {
                    assert!(take(number, Event::InitApply(object(namespace, name))).is_empty());
                }
                take(number, Event::InitDone)
            };
        assert!(list(&mut take, 0, &["1", "2"]).is_empty(), "b is not there");
        // What changes meanwhile is not lost, and not told too early.
        assert!(take(0, Event::Apply(object("a", "3"))).is_empty());
        assert!(take(0, Event::Delete(object("a", "1"))).is_empty());
        assert_eq!(list(&mut take, 1, &["1"]), ["[", "a/2", "a/3", "b/1", "]"]);
        assert_eq!(take(1, Event::Apply(object("b", "2"))), ["+b/2"]);
        assert_eq!(take(0, Event::Delete(object("a", "2"))), ["-a/2"]);
        assert_eq!(list(&mut take, 1, &[]), ["[", "a/3", "]"], "b's are gone");
    }

    #[test]
    fn no_namespace_given_is_all() {
        assert!(!Scope::of(&[]).is_narrow());
        let twice = ["a".to_owned(), "a".to_owned()];
        assert!(matches!(Scope::of(&twice), Scope::Namespaces(names) if names == ["a"]));
    }
}
