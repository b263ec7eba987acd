//! What is served: one prepared answer a host, read without a lock, and the rules by which the
//! records of the operator change it (lifecycle.md §1).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;
use hyper::body::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;

use super::dns::names::{Names, Said, Word};
use crate::lifecycle::own_zone::{OwnZone, ZONES_ROLE, read_zones};
use crate::lifecycle::record::{DOMAIN_ANNOTATION, ROLE_LABEL};
use crate::lifecycle::{Record, RecordError};
use crate::protocol::{Domain, PolicyId};

/// The answers as they stand. Readers never wait, and see one whole state or the next.
#[derive(Debug, Default)]
pub struct Store {
    hosts: ArcSwap<HashMap<String, Answer>>,
}

/// What a known host answers with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Its policy.
    Policy(Served),
    /// The host is known, and no body of it ever was good.
    Unavailable,
}

/// A policy as it goes out. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Served {
    /// The bytes whose SHA-256 is that of the decision.
    pub body: Bytes,
    /// The policy id in quotes.
    pub etag: HeaderValue,
}

impl Store {
    /// The answer of `host` (lower case, no final dot).
    pub fn answer(&self, host: &str) -> Option<Answer> {
        self.hosts.load().get(host).cloned()
    }

    /// How many hosts are known, and how many of them have no good body.
    pub fn counts(&self) -> (usize, usize) {
        let hosts = self.hosts.load();
        let unavailable = |answer: &&Answer| matches!(answer, Answer::Unavailable);
        (hosts.len(), hosts.values().filter(unavailable).count())
    }
}

/// The one who changes a [`Store`] and the [`Names`] beside it. Changes are seen by readers after [`Writer::publish`].
#[derive(Debug)]
pub struct Writer {
    store: Arc<Store>,
    /// What was last published, and what has changed since.
    hosts: HashMap<String, Answer>,
    changed: bool,
    names: Arc<Names>,
    /// What the name servers are to say of a domain, and has not been shown to readers.
    words: HashMap<String, Option<Word>>,
    zones: Option<Vec<OwnZone>>,
    /// The records that are there, by the name of their ConfigMap.
    objects: HashMap<String, Object>,
    /// Names of the ConfigMaps that claim a host. More than one only by somebody's hand.
    claims: HashMap<String, BTreeSet<String>>,
}

#[derive(Debug)]
struct Object {
    uid: String,
    created: Option<Timestamp>,
    host: String,
    content: Content,
    /// What it lets the name servers say.
    said: Option<Said>,
}

#[derive(Debug)]
enum Content {
    Good(Served),
    /// The body is not the one that was decided, or the rest can no longer be read.
    Broken,
    /// It never could be read; only the annotation says which domain is meant.
    Unknown,
    Retired,
}

impl Writer {
    /// A writer for `store` and `names`, which have no other one.
    pub fn new(store: Arc<Store>, names: Arc<Names>) -> Self {
        Self {
            store,
            hosts: HashMap::new(),
            changed: false,
            names,
            words: HashMap::new(),
            zones: None,
            objects: HashMap::new(),
            claims: HashMap::new(),
        }
    }

    /// Takes in a record that was added or changed.
    pub fn apply(&mut self, object: &ConfigMap) {
        let Some(name) = object.metadata.name.clone() else {
            return;
        };
        if is_zones(object) {
            self.take_zones(object);
            return;
        }
        let known = self.objects.get(&name);
        let known = known.filter(|known| known.uid == uid_of(object));
        let Some(new) = Object::read(object, known) else {
            tracing::warn!(
                name,
                "a record cannot be read and has no domain; it is left aside"
            );
            self.drop_object(&name);
            return;
        };
        let host = new.host.clone();
        if self.objects.get(&name).is_some_and(|old| old.host != host) {
            self.drop_object(&name);
        }
        self.claims
            .entry(host.clone())
            .or_default()
            .insert(name.clone());
        self.objects.insert(name, new);
        self.decide(&host);
    }

    /// Takes in that a record is gone. Its host stays as it is, unless the record's last word
    /// was that the domain is retired.
    pub fn remove(&mut self, object: &ConfigMap) {
        let Some(name) = object.metadata.name.as_deref() else {
            return;
        };
        if self
            .objects
            .get(name)
            .is_some_and(|known| known.uid == uid_of(object))
        {
            self.apply(object);
            self.drop_object(name);
        }
    }

    /// Takes in a complete list of names: records that are not in it give up their claims, and
    /// their hosts stay as they are. So an empty list drops nothing.
    pub fn retain(&mut self, listed: &HashSet<String>) {
        let gone: Vec<String> = self
            .objects
            .keys()
            .filter(|name| !listed.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            tracing::warn!(
                name,
                "a record is gone without being retired; it is served until restart"
            );
            self.drop_object(&name);
        }
    }

    /// From now on what is not known does not exist: a complete list was read.
    pub fn complete(&mut self) {
        self.publish();
        self.names.complete();
    }

    /// Shows the changes to readers: bodies first, so that no id is announced before its body.
    pub fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.store.hosts.store(Arc::new(self.hosts.clone()));
        }
        if let Some(zones) = self.zones.take() {
            self.names.set_zones(&zones);
        }
        for (host, word) in self.words.drain() {
            self.names.set(domain_of(&host), word);
        }
    }

    /// Takes in the zones. Ones that cannot be read leave those that are known.
    fn take_zones(&mut self, object: &ConfigMap) {
        match read_zones(object.data.as_ref().unwrap_or(&Default::default())) {
            Ok(zones) => self.zones = Some(zones),
            Err(error) => {
                tracing::warn!(%error, "the operator's zones cannot be read; those that are known stay");
            }
        }
    }

    /// Ends the claim of an object; another claimant of the host comes in.
    fn drop_object(&mut self, name: &str) {
        let Some(object) = self.objects.remove(name) else {
            return;
        };
        if let Some(names) = self.claims.get_mut(&object.host) {
            names.remove(name);
            if names.is_empty() {
                self.claims.remove(&object.host);
            }
        }
        self.decide(&object.host);
    }

    /// Answers for `host` as its claimants say. Without any, the answer stays.
    fn decide(&mut self, host: &str) {
        let Some(names) = self.claims.get(host) else {
            return;
        };
        let mut claimants: Vec<(&String, &Object)> = names
            .iter()
            .filter_map(|name| Some((name, self.objects.get(name)?)))
            .collect();
        claimants.sort_by_key(|(name, object)| (object.rank(), object.created, *name));
        let Some((winner, object)) = claimants.first() else {
            return;
        };
        for (loser, _) in claimants.iter().skip(1) {
            tracing::warn!(
                host,
                winner,
                loser,
                "two records claim one host; the older one is served"
            );
        }
        if self.is_from_before(host, object) {
            tracing::warn!(
                host,
                name = winner,
                "the record is older than the policy that is served, as after a restore from a backup; that one is served on until a newer one is decided"
            );
            return;
        }
        let answer = match &object.content {
            Content::Good(served) => Some(Answer::Policy(served.clone())),
            Content::Broken | Content::Unknown => {
                tracing::warn!(
                    host,
                    name = winner,
                    "the record's body is not the decided one; not served"
                );
                Some(self.hosts.get(host).cloned().unwrap_or(Answer::Unavailable))
            }
            Content::Retired => None,
        };
        let word = match object.content {
            Content::Unknown => self.word(host).or(Some(Word::Unknown)),
            _ => {
                let said = object.said.clone();
                said.map(|said| self.not_early(host, said, answer.as_ref()))
            }
        };
        if self.word(host) != word {
            self.words.insert(host.to_owned(), word);
        }
        if self.hosts.get(host) != answer.as_ref() {
            self.changed = true;
            match answer {
                Some(answer) => self.hosts.insert(host.to_owned(), answer),
                None => self.hosts.remove(host),
            };
        }
    }

    /// Whether a record would take the host back to an older policy: the id of the newer one may be
    /// announced, and senders would fetch the old body under it. The operator sees by the ETag that its
    /// record is an old one, and decides anew.
    fn is_from_before(&self, host: &str, object: &Object) -> bool {
        match (&object.content, self.hosts.get(host)) {
            (Content::Good(new), Some(Answer::Policy(served))) => new.id() < served.id(),
            _ => false,
        }
    }

    /// What the name servers are to say of a host's domain at present.
    fn word(&self, host: &str) -> Option<Word> {
        match self.words.get(host) {
            Some(word) => word.clone(),
            None => self.names.said(domain_of(host)),
        }
    }

    /// What may be said beside `answer`: an id never while an older body is served here.
    fn not_early(&self, host: &str, said: Said, answer: Option<&Answer>) -> Word {
        let older = match (answer, &said.txt) {
            (Some(Answer::Policy(served)), Some((id, _))) => {
                served.id().is_none_or(|served| served < *id)
            }
            _ => false,
        };
        if !older {
            return Word::Said(said);
        }
        tracing::warn!(
            host,
            "the record announces an id that is newer than the body that is served; not announced"
        );
        let known = self.word(host);
        known.unwrap_or(Word::Said(Said { txt: None, ..said }))
    }
}

impl Object {
    /// What `object` says. `known` is the same object as it was before, which tells the host
    /// even when nothing else can be read any more.
    fn read(object: &ConfigMap, known: Option<&Self>) -> Option<Self> {
        let empty = Default::default();
        let data = object.data.as_ref().unwrap_or(&empty);
        let mut said = known.and_then(|known| known.said.clone());
        let (host, content) = match Record::from_data(data) {
            Ok(Record { publication, .. }) if publication.retired => {
                (host_of(&publication.domain), Content::Retired)
            }
            Ok(Record { body, publication }) => {
                said = Said::of(&publication);
                let host = host_of(&publication.domain);
                match Served::new(body, &publication.current.id) {
                    Some(served) => (host, Content::Good(served)),
                    None => (host, Content::Broken),
                }
            }
            Err(RecordError::BodyChanged { publication, .. }) => {
                said = Said::of(&publication);
                let retired = publication.retired;
                let content = if retired {
                    Content::Retired
                } else {
                    Content::Broken
                };
                (host_of(&publication.domain), content)
            }
            Err(RecordError::KeyMissing(_) | RecordError::Publication(_)) => match known {
                Some(Self {
                    host,
                    content: Content::Retired,
                    ..
                }) => (host.clone(), Content::Retired),
                Some(Self {
                    host,
                    content: Content::Good(_) | Content::Broken,
                    ..
                }) => (host.clone(), Content::Broken),
                _ => (annotated_host(object)?, Content::Unknown),
            },
        };
        Some(Self {
            uid: uid_of(object).to_owned(),
            created: object
                .metadata
                .creation_timestamp
                .as_ref()
                .map(|time| time.0),
            host,
            said: said.filter(|_| !matches!(content, Content::Retired)),
            content,
        })
    }

    /// Order among the claimants of a host before age counts: something that never was a
    /// record disturbs no record, and a retired one stands back for one that is alive.
    fn rank(&self) -> u8 {
        match self.content {
            Content::Good(_) | Content::Broken => 0,
            Content::Retired => 1,
            Content::Unknown => 2,
        }
    }
}

impl Served {
    /// A body and the id that belongs to it.
    pub fn new(body: String, id: &PolicyId) -> Option<Self> {
        Some(Self {
            body: Bytes::from(body),
            etag: HeaderValue::from_str(&format!("\"{id}\"")).ok()?,
        })
    }

    fn id(&self) -> Option<PolicyId> {
        let etag = self.etag.to_str().ok()?;
        etag.trim_matches('"').parse().ok()
    }
}

fn host_of(domain: &Domain) -> String {
    domain.policy_host().as_str().to_owned()
}

/// The domain of a policy host.
fn domain_of(host: &str) -> &str {
    host.split_once('.').map_or(host, |(_, domain)| domain)
}

fn is_zones(object: &ConfigMap) -> bool {
    let labels = object.metadata.labels.as_ref();
    labels.is_some_and(|labels| {
        labels
            .get(ROLE_LABEL)
            .is_some_and(|role| role == ZONES_ROLE)
    })
}

fn annotated_host(object: &ConfigMap) -> Option<String> {
    let domain = object
        .metadata
        .annotations
        .as_ref()?
        .get(DOMAIN_ANNOTATION)?;
    Some(host_of(&Domain::parse(domain).ok()?))
}

fn uid_of(object: &ConfigMap) -> &str {
    object.metadata.uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::lifecycle::record::{BODY_KEY, PUBLICATION_KEY};
    use crate::protocol::Sha256Digest;

    const HOST: &str = "mta-sts.example.org";

    /// A record of example.org with `body`, in a ConfigMap made `created` seconds after 1970.
    fn record(name: &str, created: i64, body: &str) -> ConfigMap {
        let publication = json!({
            "domain": "example.org",
            "owner": {"namespace": "mail", "name": "example-org", "uid": "1"},
            "current": {
                "id": "20261125000000aaaaaaaabbbbbb",
                "sha256": Sha256Digest::of(body.as_bytes()),
                "mode": "testing",
                "maxAge": 86400,
                "mx": ["mail.example.org"],
                "decidedAt": "2026-11-25T00:00:00Z",
            },
            "ledger": [],
            "dns": {},
        });
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.uid = Some(format!("{name}-{created}"));
        object.metadata.creation_timestamp = Some(Time(Timestamp::from_second(created).unwrap()));
        object.metadata.annotations =
            Some([(DOMAIN_ANNOTATION.to_owned(), "example.org".to_owned())].into());
        set(&mut object, BODY_KEY, body);
        set(&mut object, PUBLICATION_KEY, &publication.to_string());
        object
    }

    fn set(object: &mut ConfigMap, key: &str, value: &str) {
        object
            .data
            .get_or_insert_default()
            .insert(key.to_owned(), value.to_owned());
    }

    fn with(mut object: ConfigMap, key: &str, value: &str) -> ConfigMap {
        set(&mut object, key, value);
        object
    }

    fn retired(object: &ConfigMap) -> ConfigMap {
        let publication = &object.data.as_ref().unwrap()[PUBLICATION_KEY];
        let mut publication: serde_json::Value = serde_json::from_str(publication).unwrap();
        publication["retired"] = true.into();
        with(object.clone(), PUBLICATION_KEY, &publication.to_string())
    }

    enum Step {
        Apply(ConfigMap),
        Remove(ConfigMap),
        List(&'static [&'static str]),
    }
    use Step::{Apply, List, Remove};

    /// The body of [`HOST`] after `steps`; `503` without a good one, `404` when not known.
    fn after(steps: Vec<Step>) -> String {
        let store = Arc::new(Store::default());
        let mut writer = Writer::new(store.clone(), Arc::default());
        for step in steps {
            match step {
                Apply(object) => writer.apply(&object),
                Remove(object) => writer.remove(&object),
                List(names) => writer.retain(&names.iter().map(|n| (*n).to_owned()).collect()),
            }
            writer.publish();
        }
        match store.answer(HOST) {
            Some(Answer::Policy(served)) => String::from_utf8(served.body.to_vec()).unwrap(),
            Some(Answer::Unavailable) => "503".to_owned(),
            None => "404".to_owned(),
        }
    }

    #[test]
    fn records_decide_what_is_served() {
        let a = || record("a", 1, "A");
        let young = || record("b", 2, "B");
        let bad_body = |object| with(object, BODY_KEY, "edited");
        let garbage = |object| with(object, PUBLICATION_KEY, "{");
        let mut anonymous = garbage(a());
        anonymous.metadata.annotations = None;
        for (case, steps, expected) in [
            ("nothing", vec![], "404"),
            ("a record", vec![Apply(a())], "A"),
            (
                "a new body",
                vec![Apply(a()), Apply(record("a", 1, "A2"))],
                "A2",
            ),
            ("bad edit", vec![Apply(a()), Apply(bad_body(a()))], "A"),
            (
                "mended edit",
                vec![
                    Apply(a()),
                    Apply(bad_body(a())),
                    Apply(record("a", 1, "A2")),
                ],
                "A2",
            ),
            ("bad from the start", vec![Apply(bad_body(a()))], "503"),
            ("garbage from the start", vec![Apply(garbage(a()))], "503"),
            (
                "garbage of no domain",
                vec![Apply(anonymous.clone())],
                "404",
            ),
            ("garbage later", vec![Apply(a()), Apply(garbage(a()))], "A"),
            (
                "garbage later, no domain",
                vec![Apply(a()), Apply(anonymous.clone())],
                "A",
            ),
            ("mended", vec![Apply(garbage(a())), Apply(a())], "A"),
            ("deleted", vec![Apply(a()), Remove(a())], "A"),
            ("empty list", vec![Apply(a()), List(&[])], "A"),
            ("retired", vec![Apply(a()), Apply(retired(&a()))], "404"),
            (
                "retired, then edited",
                vec![Apply(a()), Apply(retired(&a())), Apply(garbage(a()))],
                "404",
            ),
            (
                "retired by the last word",
                vec![Apply(a()), Remove(retired(&a()))],
                "404",
            ),
            (
                "retired and taken back",
                vec![Apply(retired(&a())), Apply(record("a", 1, "A2"))],
                "A2",
            ),
            ("two, older first", vec![Apply(a()), Apply(young())], "A"),
            ("two, older last", vec![Apply(young()), Apply(a())], "A"),
            (
                "two, the older edited",
                vec![Apply(a()), Apply(young()), Apply(bad_body(a()))],
                "A",
            ),
            (
                "two, the older gone",
                vec![Apply(a()), Apply(young()), Remove(a())],
                "B",
            ),
            (
                "two, the older retired",
                vec![Apply(a()), Apply(young()), Apply(retired(&a()))],
                "B",
            ),
            (
                "two, the younger retired",
                vec![Apply(a()), Apply(retired(&young()))],
                "A",
            ),
            (
                "two, the older unlisted",
                vec![Apply(a()), Apply(young()), List(&["b"])],
                "B",
            ),
            (
                "older garbage",
                vec![Apply(garbage(a())), Apply(young())],
                "B",
            ),
            (
                "made anew",
                vec![Apply(a()), Remove(a()), Apply(record("a", 9, "new"))],
                "new",
            ),
            (
                "made anew, unseen",
                vec![Apply(a()), Apply(record("a", 9, "new"))],
                "new",
            ),
            (
                "deletion of one that was replaced",
                vec![Apply(record("a", 9, "new")), Remove(a())],
                "new",
            ),
        ] {
            assert_eq!(after(steps), expected, "{case}");
        }
    }

    #[test]
    fn a_record_that_moves_to_another_domain_leaves_the_first_served() {
        let moved = record("a", 1, "A");
        let publication = moved.data.as_ref().unwrap()[PUBLICATION_KEY]
            .replace(r#""domain":"example.org""#, r#""domain":"example.com""#);
        let moved = with(moved, PUBLICATION_KEY, &publication);
        assert_eq!(
            after(vec![Apply(record("a", 1, "A")), Apply(moved.clone())]),
            "A"
        );
        assert_eq!(after(vec![Apply(moved)]), "404");
    }

    #[test]
    fn nothing_older_is_served_after_a_newer_policy() {
        const OLD: &str = "20261125000000aaaaaaaabbbbbb";
        const NEW: &str = "20261126000000aaaaaaaabbbbbb";
        const NEWEST: &str = "20261127000000aaaaaaaabbbbbb";
        let old = || Step::Apply(announcing("old", OLD, Some(OLD)));
        let new = || Step::Apply(announcing("new", NEW, Some(NEW)));
        for (case, steps, expected) in [
            ("as it goes on", vec![old(), new()], "new"),
            ("a record from a backup", vec![old(), new(), old()], "new"),
            (
                "the operator has noticed",
                vec![
                    new(),
                    old(),
                    Step::Apply(announcing("newest", NEWEST, Some(NEW))),
                ],
                "newest",
            ),
            (
                "a domain that was retired and comes back",
                vec![
                    new(),
                    Step::Apply(retired(&announcing("new", NEW, Some(NEW)))),
                    old(),
                ],
                "old",
            ),
            ("a server that has started since", vec![old()], "old"),
        ] {
            assert_eq!(after(steps), expected, "{case}");
        }
    }

    #[test]
    fn readers_see_nothing_before_it_is_published() {
        let store = Arc::new(Store::default());
        let mut writer = Writer::new(store.clone(), Arc::default());
        writer.apply(&record("a", 1, "A"));
        assert_eq!(store.counts(), (0, 0));
        writer.publish();
        assert_eq!(store.counts(), (1, 0));
        assert!(store.answer("mta-sts.example.com").is_none());
    }

    /// A record of example.org below sts.example.net that announces the id of its body, or another.
    fn announcing(body: &str, id: &str, announced: Option<&str>) -> ConfigMap {
        let object = record("a", 1, body);
        let text = &object.data.as_ref().unwrap()[PUBLICATION_KEY];
        let mut publication: serde_json::Value = serde_json::from_str(text).unwrap();
        publication["current"]["id"] = id.into();
        publication["dns"] = json!({"answers": {"zone": "sts.example.net", "ttl": 60}});
        if let Some(id) = announced {
            publication["announced"] =
                json!({"id": id, "ttl": 300, "at": "2026-11-25T00:00:00Z", "previousTtl": 0});
        }
        with(object, PUBLICATION_KEY, &publication.to_string())
    }

    /// What the name servers announce for example.org after `steps`.
    fn announced_after(steps: Vec<Step>) -> String {
        let names = Arc::new(Names::default());
        let mut writer = Writer::new(Arc::default(), names.clone());
        for step in steps {
            match step {
                Apply(object) => writer.apply(&object),
                Remove(object) => writer.remove(&object),
                List(names) => writer.retain(&names.iter().map(|n| (*n).to_owned()).collect()),
            }
            writer.publish();
        }
        match names.said("example.org") {
            Some(Word::Said(said)) => said.txt.map_or("none".to_owned(), |(id, _)| id.to_string()),
            Some(Word::Unknown) => "unknown".to_owned(),
            None => "nothing".to_owned(),
        }
    }

    #[test]
    fn the_announced_part_alone_decides_what_the_name_servers_say() {
        const OLD: &str = "20261125000000aaaaaaaabbbbbb";
        const NEW: &str = "20261125000001aaaaaaaabbbbbb";
        let old = || announcing("A", OLD, Some(OLD));
        let edit = |key, value| with(old(), key, value);
        let withdrawn = || {
            let text = &old().data.unwrap()[PUBLICATION_KEY];
            let mut publication: serde_json::Value = serde_json::from_str(text).unwrap();
            publication["retiring"] = json!({"since": "2026-11-25T00:00:00Z", "withdrawn": true});
            with(old(), PUBLICATION_KEY, &publication.to_string())
        };
        for (case, steps, expected) in [
            (
                "others have its records",
                vec![Apply(record("a", 1, "A"))],
                "nothing",
            ),
            (
                "not announced",
                vec![Apply(announcing("A", OLD, None))],
                "none",
            ),
            ("announced", vec![Apply(old())], OLD),
            (
                "a new body alone",
                vec![Apply(old()), Apply(announcing("B", NEW, Some(OLD)))],
                OLD,
            ),
            (
                "and its id",
                vec![Apply(old()), Apply(announcing("B", NEW, Some(NEW)))],
                NEW,
            ),
            (
                "an id from the future",
                vec![Apply(old()), Apply(announcing("A", OLD, Some(NEW)))],
                OLD,
            ),
            (
                "a body that is not the decided one, with its id",
                vec![
                    Apply(old()),
                    Apply(with(announcing("B", NEW, Some(NEW)), BODY_KEY, "edited")),
                ],
                OLD,
            ),
            (
                "a bad body from the start",
                vec![Apply(edit(BODY_KEY, "edited"))],
                OLD,
            ),
            (
                "a publication that cannot be read",
                vec![Apply(old()), Apply(edit(PUBLICATION_KEY, "{"))],
                OLD,
            ),
            (
                "one that never could",
                vec![Apply(edit(PUBLICATION_KEY, "{"))],
                "unknown",
            ),
            ("withdrawn", vec![Apply(old()), Apply(withdrawn())], "none"),
            (
                "retired",
                vec![Apply(old()), Apply(retired(&old()))],
                "nothing",
            ),
            ("gone", vec![Apply(old()), Remove(old())], OLD),
            ("not listed", vec![Apply(old()), List(&[])], OLD),
        ] {
            assert_eq!(announced_after(steps), expected, "{case}");
        }
    }
}
