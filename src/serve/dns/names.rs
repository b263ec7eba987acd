//! What the name servers know: zones, domains, and which of their names exist.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hickory_proto::rr::Name;

use crate::dns_wire;
use crate::lifecycle::own_zone::OwnZone;
use crate::lifecycle::{Address, Publication};
use crate::protocol::{HostName, PolicyId};

const TXT_LABEL: &str = "_mta-sts.";
const HOST_LABEL: &str = "mta-sts.";
const TLS_RPT_LABEL: &str = "_smtp._tls.";
/// What stands between the last of these and the domain is a name of its own, without a record.
const TLS_LABEL: &str = "_tls.";

/// Makes what is at a name of a domain; the switch says whether that is the top of a zone.
type Make = fn(&Said, bool) -> Node;

/// What is before the domain in each of its names.
const LABELS: [(&str, Make); 4] = [
    (TXT_LABEL, txt_node),
    (HOST_LABEL, host_node),
    (TLS_RPT_LABEL, tls_rpt_node),
    (TLS_LABEL, |_, _| Node::Empty),
];

/// What is answered. Readers wait only while a change is put in place, which takes microseconds.
#[derive(Debug, Default)]
pub struct Names {
    table: RwLock<Table>,
    complete: AtomicBool,
}

/// A change: what is said of a domain from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// This.
    Said(Said),
    /// A record is there that nobody can read: neither an answer nor a denial would be true.
    Unknown,
}

/// What the record of a domain says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The operator's zone that the domain's names are below.
    pub zone: HostName,
    /// The announced id with its TTL.
    pub txt: Option<(PolicyId, u32)>,
    /// The addresses of the policy host.
    pub addresses: Box<[Address]>,
    /// Their TTL.
    pub ttl: u32,
    /// The text that asks for reports, with its TTL.
    pub tls_rpt: Option<(Box<str>, u32)>,
    /// Grows with each announcement.
    pub serial: u32,
}

impl Said {
    /// What a publication lets the name servers say; `None` where others have its records.
    pub fn of(publication: &Publication) -> Option<Self> {
        let answers = publication.dns.answers.as_ref()?;
        let announced = publication.announced_in_dns();
        let decided = publication.current.decided_at.as_second();
        let serial = announced.map_or(decided, |a| a.at.as_second());
        Some(Self {
            zone: answers.zone.clone(),
            txt: announced.map(|announced| (announced.id.clone(), announced.ttl)),
            addresses: answers.addresses.clone().into_boxed_slice(),
            ttl: answers.ttl,
            tls_rpt: publication
                .tls_rpt_in_dns()
                .map(|answer| (answer.text.as_str().into(), answer.ttl)),
            serial: u32::try_from(serial).unwrap_or(1),
        })
    }
}

/// A name that lies in a zone of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The zone's name.
    pub zone: Name,
    /// Its serial number.
    pub serial: u32,
    /// The name servers of the zone, never empty.
    pub servers: Vec<Name>,
    /// What is there.
    pub node: Node,
}

/// What is at a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// Nothing, and nothing below it.
    Missing,
    /// Nothing itself, and something below it (RFC 8020).
    Empty,
    /// The top of a zone, and nothing else.
    Apex,
    /// The TXT record of a domain, if one is announced.
    Txt {
        /// Whether the name is the top of a zone of its own, which the customer has delegated.
        apex: bool,
        /// The announced id with its TTL.
        announced: Option<(PolicyId, u32)>,
    },
    /// The record that asks for reports, if there is to be one.
    TlsRpt {
        /// Whether the name is the top of a zone of its own.
        apex: bool,
        /// The text with its TTL.
        text: Option<(Box<str>, u32)>,
    },
    /// The addresses of a policy host, if they are known.
    Host {
        /// Whether the name is the top of a zone of its own.
        apex: bool,
        /// The addresses.
        addresses: Box<[Address]>,
        /// Their TTL.
        ttl: u32,
    },
}

/// What is known of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// It is in none of our zones.
    NotOurs,
    /// It is ours, and what is there is not known.
    NotKnown,
    /// It is ours.
    Found(Box<Found>),
}

#[derive(Debug, Default)]
struct Table {
    zones: Vec<Zone>,
    domains: HashMap<Box<str>, Word>,
    /// By zone: how many domains are at or below each name, counted from the zone upwards.
    above: HashMap<HostName, HashMap<Box<str>, u32>>,
    serial: u32,
}

#[derive(Debug)]
struct Zone {
    /// `.sts.example.net`.
    suffix: String,
    zone: HostName,
    name: Name,
    servers: Vec<Name>,
}

impl Names {
    /// Puts what is said of a domain in place; `None` for nothing.
    pub fn set(&self, domain: &str, word: Option<Word>) {
        self.write().set(domain, word);
    }

    /// What is said of a domain.
    pub fn said(&self, domain: &str) -> Option<Word> {
        self.read().domains.get(domain).cloned()
    }

    /// Puts the zones in place of those that were known.
    pub fn set_zones(&self, zones: &[OwnZone]) {
        let zones = zones.iter().filter_map(Zone::new).collect();
        self.write().zones = zones;
    }

    /// From now on what is not known does not exist.
    pub fn complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// How many zones and domains are known.
    pub fn counts(&self) -> (usize, usize) {
        let table = self.read();
        (table.zones.len(), table.domains.len())
    }

    /// What is at `name`.
    pub fn find(&self, name: &Name) -> Lookup {
        if !self.complete.load(Ordering::Acquire) {
            return Lookup::NotKnown;
        }
        self.read().find(&plain(name))
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Zone {
    fn new(own: &OwnZone) -> Option<Self> {
        let servers: Vec<Name> = own
            .name_servers
            .iter()
            .filter_map(|server| dns_wire::name(server.as_str()))
            .collect();
        (!servers.is_empty()).then_some(Self {
            suffix: format!(".{}", own.zone),
            name: dns_wire::name(own.zone.as_str())?,
            zone: own.zone.clone(),
            servers,
        })
    }

    /// What stands before the zone in `name`; `None` for a name elsewhere.
    fn rest<'a>(&self, name: &'a str) -> Option<&'a str> {
        match name.strip_suffix(self.suffix.as_str()) {
            Some(rest) => Some(rest),
            None => (name == self.zone.as_str()).then_some(""),
        }
    }
}

impl Table {
    fn set(&mut self, domain: &str, word: Option<Word>) {
        if let Some(Word::Said(old)) = self.domains.remove(domain) {
            self.count(&old.zone, domain, false);
        }
        let Some(word) = word else { return };
        if let Word::Said(new) = &word {
            self.serial = self.serial.max(new.serial);
            self.count(&new.zone, domain, true);
        }
        self.domains.insert(domain.into(), word);
    }

    /// Counts the domain at each of its own name and those above it.
    fn count(&mut self, zone: &HostName, domain: &str, more: bool) {
        let above = self.above.entry(zone.clone()).or_default();
        for name in suffixes(domain) {
            match above.get_mut(name) {
                Some(count) if more => *count = count.saturating_add(1),
                Some(count) if *count > 1 => *count -= 1,
                Some(_) => {
                    above.remove(name);
                }
                None if more => {
                    above.insert(name.into(), 1);
                }
                None => {}
            }
        }
        if above.is_empty() {
            self.above.remove(zone);
        }
    }

    fn find(&self, name: &str) -> Lookup {
        let below = self
            .zones
            .iter()
            .filter_map(|zone| Some((zone, zone.rest(name)?)))
            .max_by_key(|(zone, _)| zone.suffix.len());
        match below {
            Some((zone, rest)) => self.below(zone, rest),
            None => self.delegated(name),
        }
    }

    /// What is at `rest` within one of the zones.
    fn below(&self, zone: &Zone, rest: &str) -> Lookup {
        let found = |node| {
            Lookup::Found(Box::new(Found {
                zone: zone.name.clone(),
                serial: self.serial.max(1),
                servers: zone.servers.clone(),
                node,
            }))
        };
        if rest.is_empty() {
            return found(Node::Apex);
        }
        for (label, make) in LABELS {
            let domain = rest.strip_prefix(label);
            match domain.and_then(|domain| self.domains.get(domain)) {
                Some(Word::Said(said)) if said.zone == zone.zone => {
                    return found(make(said, false));
                }
                Some(Word::Unknown) => return Lookup::NotKnown,
                _ => {}
            }
        }
        let above = self.above.get(&zone.zone);
        let exists = above.is_some_and(|above| above.contains_key(rest));
        found(match exists {
            true => Node::Empty,
            false => Node::Missing,
        })
    }

    /// What is at a name of a domain itself, which the customer may have delegated: each is a
    /// zone of its own.
    fn delegated(&self, name: &str) -> Lookup {
        for top in suffixes(name) {
            // `_tls` of a domain is in its owner's zone.
            for (label, make) in LABELS.into_iter().filter(|(label, _)| *label != TLS_LABEL) {
                let domain = top.strip_prefix(label);
                match domain.and_then(|domain| self.domains.get(domain)) {
                    Some(Word::Said(said)) => {
                        let node = match top == name {
                            true => make(said, true),
                            false => Node::Missing,
                        };
                        return self.of_domain(top, said, node);
                    }
                    Some(Word::Unknown) => return Lookup::NotKnown,
                    None => {}
                }
            }
        }
        Lookup::NotOurs
    }

    fn of_domain(&self, top: &str, said: &Said, node: Node) -> Lookup {
        let zone = self.zones.iter().find(|zone| zone.zone == said.zone);
        match (zone, dns_wire::name(top)) {
            (Some(zone), Some(name)) => Lookup::Found(Box::new(Found {
                zone: name,
                serial: said.serial.max(1),
                servers: zone.servers.clone(),
                node,
            })),
            _ => Lookup::NotKnown,
        }
    }
}

fn txt_node(said: &Said, apex: bool) -> Node {
    Node::Txt {
        apex,
        announced: said.txt.clone(),
    }
}

fn tls_rpt_node(said: &Said, apex: bool) -> Node {
    Node::TlsRpt {
        apex,
        text: said.tls_rpt.clone(),
    }
}

fn host_node(said: &Said, apex: bool) -> Node {
    Node::Host {
        apex,
        addresses: said.addresses.clone(),
        ttl: said.ttl,
    }
}

/// The name itself, and what is left of it without its first labels.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| Some(name.split_once('.')?.1))
}

/// The name in lower case without its final dot. What no name of ours has becomes `?`, so that a
/// dot within a label is none between two.
fn plain(name: &Name) -> String {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|&octet| match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => char::from(octet),
            b'A'..=b'Z' => char::from(octet.to_ascii_lowercase()),
            _ => '?',
        }));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(zone: &str) -> Option<Word> {
        Some(Word::Said(Said {
            zone: zone.parse().unwrap(),
            txt: None,
            addresses: Box::default(),
            ttl: 60,
            tls_rpt: None,
            serial: 1,
        }))
    }

    /// What is at a name: `Found(…)`, `NotOurs` or `NotKnown`.
    fn node(names: &Names, name: &str) -> String {
        match names.find(&Name::from_ascii(name).unwrap()) {
            Lookup::Found(found) => format!("{:?}", found.node),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_name_between_exists_as_long_as_something_is_below_it() {
        let names = Names::default();
        names.set_zones(&[OwnZone {
            zone: "sts.example.net".parse().unwrap(),
            name_servers: vec!["ns1.example.net".parse().unwrap()],
        }]);
        names.complete();
        let above = "example.org.sts.example.net.";
        assert_eq!(node(&names, above), "Missing");
        names.set("a.example.org", said("sts.example.net"));
        names.set("b.example.org", said("sts.example.net"));
        names.set("b.example.org", said("sts.example.net"));
        assert_eq!(node(&names, above), "Empty");
        names.set("a.example.org", None);
        assert_eq!(node(&names, above), "Empty", "the other is still there");
        names.set("b.example.org", said("sts.example.com"));
        assert_eq!(
            node(&names, above),
            "Missing",
            "it has moved to another zone"
        );
        names.set("b.example.org", None);
        let table = names.read();
        assert!(
            table.above.is_empty() && table.domains.is_empty(),
            "{table:?}"
        );
    }

    #[test]
    fn a_domain_whose_zone_is_not_known_is_not_denied() {
        let names = Names::default();
        names.set("example.org", said("sts.example.net"));
        names.complete();
        assert_eq!(node(&names, "_mta-sts.example.org."), "NotKnown");
        assert_eq!(
            node(&names, "_mta-sts.example.org.sts.example.net."),
            "NotOurs"
        );
    }

    /// 100,000 domains and their names take less than 60 MB: run with `--ignored --nocapture`.
    #[test]
    #[ignore = "measures memory"]
    fn a_hundred_thousand_domains_are_no_burden() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
            let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            kib / 1024
        };
        let before = resident();
        let names = Names::default();
        names.set_zones(&[OwnZone {
            zone: "sts.example.net".parse().unwrap(),
            name_servers: vec!["ns1.example.net".parse().unwrap()],
        }]);
        let begun = std::time::Instant::now();
        for number in 0..100_000 {
            let word = Word::Said(Said {
                zone: "sts.example.net".parse().unwrap(),
                txt: Some(("20261125000000aaaaaaaabbbbbb".parse().unwrap(), 300)),
                addresses: vec![Address::A([192, 0, 2, 1].into())].into(),
                ttl: 60,
                tls_rpt: None,
                serial: number,
            });
            names.set(&format!("customer{number}.example.org"), Some(word));
        }
        names.complete();
        let taken = resident() - before;
        println!("{taken} MB, filled in {:?}", begun.elapsed());
        let name = Name::from_ascii("_mta-sts.customer77777.example.org.sts.example.net.").unwrap();
        let begun = std::time::Instant::now();
        for _ in 0..100_000 {
            assert!(matches!(names.find(&name), Lookup::Found(_)));
        }
        println!("{:?} a lookup", begun.elapsed() / 100_000);
        assert!(taken < 60, "{taken} MB");
    }
}
