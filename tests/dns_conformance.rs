//! What every DNS provider has to do, held against every one that has something real to talk to,
//! and against strict doubles of some that are somebody's cloud.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use mta_sts_operator::clock;
use mta_sts_operator::dns::rfc2136::{self, Rfc2136};
use mta_sts_operator::dns::service::{FindZone, Pace, Secret, Service, Settings, Values};
use mta_sts_operator::dns::webhook::{self, Webhook};
use mta_sts_operator::dns::{
    Change, DnsError, DnsErrorClass, DnsProvider, Found, Provider, RecordSet, RecordType,
    RecordValue, Shared, Swap, TsigAlgorithm, TsigKey, TsigSecret,
};
use mta_sts_operator::dns_services;
use support::bind::{Bind, Key, Zone};
use support::cloud::{Cloud, Fault, KEY_ID, TOKEN};
use support::external_dns::ExternalDns;
use support::knot::Knot;
use support::moto::Moto;
use support::netns;
use support::powerdns::{API_KEY, PowerDns};
use support::relay::{Asked, Relay};

const DEADLINE: Duration = Duration::from_secs(8);
const ZONE: &str = "example.test";
const INNER: &str = "inner.example.test";
const KEY: Key = Key {
    name: "operator",
    algorithm: "hmac-sha256",
    secret: "YSBjYW5hcnkgc2luZ3MgaW4gdGhlIGNvYWwgbWluZSE=",
};

/// Writes at a name.
type Foreign = Box<dyn Fn(&str, &[&str])>;
/// What stands at a name: value and TTL.
type Seen = Box<dyn Fn(&str, RecordType) -> BTreeSet<(String, u32)>>;

/// A provider, and somebody else who writes to and reads from the same zone.
struct Subject {
    name: &'static str,
    provider: Provider,
    /// Of several writers at once exactly one is told that he has won.
    atomic: bool,
    /// The smallest TTL that it takes.
    smallest_ttl: u32,
    /// Writes TXT records as an administrator: presentation format, each string in quotes.
    foreign: Foreign,
    /// What the world sees at a name: TXT as joined octets.
    seen: Seen,
}

/// The suite. Each case has a name of its own within the zone.
async fn conform(subject: &Subject) {
    make_change_and_delete(subject).await;
    what_is_not_as_expected_is_left_alone(subject).await;
    a_ttl_alone_is_changed(subject).await;
    unrelated_values_stay(subject).await;
    nothing_is_done_twice(subject).await;
    any_text_comes_back(subject).await;
    an_alias_and_addresses_replace_each_other(subject).await;
    of_writers_at_once_one_wins(subject).await;
    zones_are_found_by_the_longest_suffix(subject).await;
    what_is_written_together_succeeds_or_fails_apart(subject).await;
    what_waits_together_is_told_apart(subject).await;
    what_is_there_is_never_taken_for_vacant(subject).await;
}

fn name(case: &str) -> String {
    format!("_mta-sts.{case}.{ZONE}")
}

fn text(ttl: u32, text: &str) -> Option<RecordSet> {
    texts(ttl, &[text])
}

fn texts(ttl: u32, texts: &[&str]) -> Option<RecordSet> {
    Some(RecordSet {
        ttl: Some(ttl),
        values: texts.iter().map(|text| RecordValue::txt(text)).collect(),
    })
}

impl Subject {
    async fn swap(
        &self,
        name: &str,
        expected: Option<RecordSet>,
        desired: Option<RecordSet>,
    ) -> Result<Swap, DnsError> {
        let change = Change {
            name: name.to_owned(),
            record_type: RecordType::Txt,
            expected,
            desired,
        };
        self.provider
            .compare_and_swap(ZONE, &[change], DEADLINE)
            .await
    }

    async fn put(&self, name: &str, expected: Option<RecordSet>, desired: Option<RecordSet>) {
        let swap = self.swap(name, expected, desired).await;
        assert_eq!(swap.unwrap(), Swap::Done, "{}: {name}", self.name);
    }

    async fn read(&self, name: &str) -> Option<RecordSet> {
        let read = self.provider.read(ZONE, name, RecordType::Txt, DEADLINE);
        read.await.unwrap()
    }

    async fn values(&self, name: &str) -> BTreeSet<RecordValue> {
        self.read(name)
            .await
            .map_or(BTreeSet::new(), |set| set.values)
    }

    fn shows(&self, name: &str) -> BTreeSet<String> {
        let seen = (self.seen)(name, RecordType::Txt);
        seen.into_iter().map(|(text, _)| text).collect()
    }

    fn ttl(&self) -> u32 {
        300.max(self.smallest_ttl)
    }
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

async fn make_change_and_delete(subject: &Subject) {
    let (name, ttl) = (name("made"), subject.ttl());
    assert_eq!(subject.read(&name).await, None, "{}", subject.name);
    let (first, second) = (text(ttl, "v=STSv1; id=1;"), text(ttl, "v=STSv1; id=2;"));
    subject.put(&name, None, first.clone()).await;
    assert_eq!(
        subject.shows(&name),
        set(&["v=STSv1; id=1;"]),
        "{}",
        subject.name
    );
    let read = subject.read(&name).await;
    assert_eq!(
        read.as_ref().map(|set| &set.values),
        first.as_ref().map(|set| &set.values)
    );
    assert!(read.as_ref().unwrap().ttl.is_none_or(|told| told == ttl));
    subject.put(&name, read, second.clone()).await;
    assert_eq!(
        subject.shows(&name),
        set(&["v=STSv1; id=2;"]),
        "{}",
        subject.name
    );
    let read = subject.read(&name).await;
    subject.put(&name, read, None).await;
    assert_eq!(subject.shows(&name), set(&[]), "{}", subject.name);
    assert_eq!(subject.read(&name).await, None, "{}", subject.name);
    // What is gone is no error.
    subject.put(&name, None, None).await;
}

async fn what_is_not_as_expected_is_left_alone(subject: &Subject) {
    let (name, ttl) = (name("foreign"), subject.ttl());
    (subject.foreign)(&name, &["\"v=STSv1; id=foreign;\""]);
    let there = set(&["v=STSv1; id=foreign;"]);
    let ours = text(ttl, "v=STSv1; id=1;");
    for (case, expected, desired) in [
        ("nothing expected", None, ours.clone()),
        (
            "another value expected",
            text(ttl, "v=STSv1; id=0;"),
            ours.clone(),
        ),
        (
            "more expected",
            texts(ttl, &["v=STSv1; id=foreign;", "more"]),
            ours.clone(),
        ),
        ("a delete of another value", ours.clone(), None),
        ("a look alone", ours.clone(), ours.clone()),
    ] {
        let swap = subject.swap(&name, expected, desired).await;
        assert_eq!(swap.unwrap(), Swap::Conflict, "{}: {case}", subject.name);
        assert_eq!(subject.shows(&name), there, "{}: {case}", subject.name);
    }
}

async fn a_ttl_alone_is_changed(subject: &Subject) {
    let (name, ttl) = (name("ttl"), subject.ttl());
    let value = "v=STSv1; id=1;";
    subject.put(&name, None, text(ttl, value)).await;
    let read = subject.read(&name).await;
    subject.put(&name, read, text(ttl * 2, value)).await;
    let seen = (subject.seen)(&name, RecordType::Txt);
    assert_eq!(
        seen,
        BTreeSet::from([(value.to_owned(), ttl * 2)]),
        "{}",
        subject.name
    );
}

async fn unrelated_values_stay(subject: &Subject) {
    let (name, ttl) = (name("beside"), subject.ttl());
    let others = [
        "\"v=spf1 -all\"",
        "\"say \\\"hi\\\"; back\\\\slash\"",
        "\"one \" \"and two\"",
    ];
    (subject.foreign)(&name, &others);
    let before = subject.shows(&name);
    assert_eq!(before.len(), 3, "{}: {before:?}", subject.name);
    let mut last = subject.read(&name).await;
    for id in ["v=STSv1; id=1;", "v=STSv1; id=2;"] {
        let mut desired = last.clone().unwrap();
        desired.ttl = Some(ttl);
        desired
            .values
            .retain(|value| !value.to_string().starts_with("v=STSv1"));
        desired.values.insert(RecordValue::txt(id));
        subject.put(&name, last, Some(desired)).await;
        let mut expected = before.clone();
        expected.insert(id.to_owned());
        assert_eq!(subject.shows(&name), expected, "{}", subject.name);
        last = subject.read(&name).await;
    }
    let mut desired = last.clone().unwrap();
    desired.ttl = Some(ttl);
    desired
        .values
        .retain(|value| !value.to_string().starts_with("v=STSv1"));
    subject.put(&name, last, Some(desired)).await;
    assert_eq!(
        subject.shows(&name),
        before,
        "{}: only ours goes",
        subject.name
    );
}

async fn nothing_is_done_twice(subject: &Subject) {
    let (name, ttl) = (name("twice"), subject.ttl());
    let value = text(ttl, "v=STSv1; id=1;");
    subject.put(&name, None, value.clone()).await;
    let read = subject.read(&name).await;
    subject.put(&name, read.clone(), read).await;
    assert_eq!(
        subject.shows(&name),
        set(&["v=STSv1; id=1;"]),
        "{}",
        subject.name
    );
}

async fn any_text_comes_back(subject: &Subject) {
    let long = "0123456789".repeat(40);
    for (case, written) in [
        ("semicolons", "v=STSv1; id=1; x=y;"),
        ("quotes", "say \"hi\""),
        ("a backslash", "a\\b"),
        ("both", "\\\"; \\"),
        ("several strings", long.as_str()),
        ("spaces", " a  b "),
    ] {
        let name = name(&format!("text-{}", case.replace(' ', "-")));
        let desired = text(subject.ttl(), written);
        subject.put(&name, None, desired.clone()).await;
        assert_eq!(
            subject.values(&name).await,
            desired.unwrap().values,
            "{}: {case}",
            subject.name
        );
        assert_eq!(
            subject.shows(&name),
            set(&[written]),
            "{}: {case}",
            subject.name
        );
    }
}

async fn an_alias_and_addresses_replace_each_other(subject: &Subject) {
    let name = format!("mta-sts.alias.{ZONE}");
    let alias = RecordSet::one(
        subject.ttl(),
        RecordValue::Cname("front.example.net".to_owned()),
    );
    let address = RecordSet::one(subject.ttl(), RecordValue::A([192, 0, 2, 80].into()));
    let change = |record_type, expected: Option<&RecordSet>, desired: Option<&RecordSet>| Change {
        name: name.clone(),
        record_type,
        expected: expected.cloned(),
        desired: desired.cloned(),
    };
    let steps = [
        vec![change(RecordType::Cname, None, Some(&alias))],
        vec![
            change(RecordType::Cname, Some(&alias), None),
            change(RecordType::A, None, Some(&address)),
        ],
        vec![
            change(RecordType::Cname, None, Some(&alias)),
            change(RecordType::A, Some(&address), None),
        ],
        vec![change(RecordType::Cname, Some(&alias), None)],
    ];
    let expected = [
        ("front.example.net", ""),
        ("", "192.0.2.80"),
        ("front.example.net", ""),
        ("", ""),
    ];
    for (step, (cname, a)) in steps.iter().zip(expected) {
        let swap = subject
            .provider
            .compare_and_swap(ZONE, step, DEADLINE)
            .await;
        assert_eq!(swap.unwrap(), Swap::Done, "{}", subject.name);
        let shown = |record_type| {
            let seen = (subject.seen)(&name, record_type);
            let values: Vec<String> = seen.into_iter().map(|(value, _)| value).collect();
            values.join(" ")
        };
        assert_eq!(shown(RecordType::Cname), cname, "{}", subject.name);
        // A server that follows aliases has no address of a foreign zone.
        assert_eq!(shown(RecordType::A), a, "{}", subject.name);
    }
}

async fn of_writers_at_once_one_wins(subject: &Subject) {
    let name = name("race");
    let ids: Vec<String> = (0..4).map(|n| format!("v=STSv1; id={n};")).collect();
    let writers = ids
        .iter()
        .map(|id| subject.swap(&name, None, text(subject.ttl(), id)));
    let results = futures::future::join_all(writers).await;
    let won = results
        .iter()
        .filter(|r| matches!(r, Ok(Swap::Done)))
        .count();
    if subject.atomic {
        assert_eq!(won, 1, "{}: {results:?}", subject.name);
        assert_eq!(subject.shows(&name).len(), 1, "{}", subject.name);
    }
    // A weaker promise: whoever is told that he has won has seen his value there. The next look
    // finds what is left, and mends it.
    let read = subject.read(&name).await;
    let last = text(subject.ttl(), "v=STSv1; id=last;");
    subject.put(&name, read, last).await;
    assert_eq!(
        subject.shows(&name),
        set(&["v=STSv1; id=last;"]),
        "{}",
        subject.name
    );
}

async fn zones_are_found_by_the_longest_suffix(subject: &Subject) {
    for (name, zone) in [
        (format!("_mta-sts.{ZONE}"), ZONE),
        (format!("_mta-sts.deep.below.{ZONE}"), ZONE),
        (format!("_mta-sts.{INNER}"), INNER),
        (format!("_mta-sts.deep.{INNER}"), INNER),
    ] {
        let found = subject.provider.zone_of(&name, DEADLINE).await;
        assert_eq!(found.unwrap(), zone, "{}: {name}", subject.name);
    }
    let zones = [ZONE.to_owned(), INNER.to_owned()];
    let seen = subject.provider.check(&zones, DEADLINE).await.unwrap();
    assert_eq!(seen, zones, "{}", subject.name);
}

/// A policy's worth of changes that all expect nothing to be there.
fn made(subject: &Subject, case: &str) -> Vec<Change> {
    let host = format!("mta-sts.{case}.{ZONE}");
    let change = |name: String, record_type, value| Change {
        name,
        record_type,
        expected: None,
        desired: Some(RecordSet::one(subject.ttl(), value)),
    };
    let txt = RecordValue::txt("v=STSv1; id=1;");
    let address = RecordValue::A([192, 0, 2, 80].into());
    vec![
        change(name(case), RecordType::Txt, txt),
        change(host, RecordType::A, address),
    ]
}

/// How each of six ended, where somebody else has written at one's name.
fn fails_apart(
    subject: &Subject,
    swaps: &[Result<Swap, DnsError>],
    case: impl Fn(usize) -> String,
) {
    for (number, swap) in swaps.iter().enumerate() {
        let case = case(number);
        let host = format!("mta-sts.{case}.{ZONE}");
        let hosts = (subject.seen)(&host, RecordType::A).len();
        let (expected, texts, addresses) = match number {
            // None of a group is made where one is not as expected.
            3 => (Swap::Conflict, set(&["v=STSv1; id=foreign;"]), 0),
            _ => (Swap::Done, set(&["v=STSv1; id=1;"]), 1),
        };
        let swap = swap.as_ref().unwrap();
        assert_eq!(*swap, expected, "{}: {case}", subject.name);
        assert_eq!(subject.shows(&name(&case)), texts, "{}", subject.name);
        assert_eq!(hosts, addresses, "{}: {host}", subject.name);
    }
}

async fn what_is_written_together_succeeds_or_fails_apart(subject: &Subject) {
    let case = |number| format!("batch{number}");
    (subject.foreign)(&name(&case(3)), &["\"v=STSv1; id=foreign;\""]);
    let groups: Vec<_> = (0..6).map(|n| made(subject, &case(n))).collect();
    let provider = &subject.provider;
    let swaps = provider.compare_and_swap_each(ZONE, &groups, DEADLINE);
    fails_apart(subject, &swaps.await, case);
    let none = provider.compare_and_swap_each(ZONE, &[], DEADLINE).await;
    assert!(none.is_empty(), "{}", subject.name);
}

async fn what_waits_together_is_told_apart(subject: &Subject) {
    let case = |number| format!("turn{number}");
    (subject.foreign)(&name(&case(3)), &["\"v=STSv1; id=foreign;\""]);
    let shared = Shared::default();
    let swaps = (0..6).map(|n| {
        let (changes, shared) = (made(subject, &case(n)), &shared);
        async move {
            let swap = shared.swap(&subject.provider, ZONE, &changes, DEADLINE);
            swap.await
        }
    });
    let swaps = futures::future::join_all(swaps).await;
    fails_apart(subject, &swaps, case);
    // What was remembered follows what was written, and is gone once that was refused.
    let txt = name(&case(0));
    let types = [RecordType::Txt];
    let read = subject.read(&txt).await;
    let found = Found {
        zone: ZONE.to_owned(),
        sets: [(RecordType::Txt, read.clone())].into(),
    };
    shared.remember(&txt, found);
    let change = |expected: &Option<RecordSet>, id: &str| Change {
        name: txt.clone(),
        record_type: RecordType::Txt,
        expected: expected.clone(),
        desired: text(subject.ttl(), id),
    };
    let second = change(&read, "v=STSv1; id=2;");
    let swap = shared.swap(
        &subject.provider,
        ZONE,
        std::slice::from_ref(&second),
        DEADLINE,
    );
    assert_eq!(swap.await.unwrap(), Swap::Done, "{}", subject.name);
    let known = shared.remembered(&txt, &types).unwrap();
    assert_eq!(known.set(RecordType::Txt), second.desired.as_ref());
    // Of two who wait to write at one name the second one finds what the first one has written.
    let rivals = ["v=STSv1; id=8;", "v=STSv1; id=9;"].map(|id| Change {
        name: name("rivals"),
        expected: None,
        ..change(&None, id)
    });
    let both = rivals.iter().map(|change| {
        let change = std::slice::from_ref(change);
        shared.swap(&subject.provider, ZONE, change, DEADLINE)
    });
    let both = futures::future::join_all(both).await;
    let won = both.iter().filter(|swap| matches!(swap, Ok(Swap::Done)));
    if subject.provider.takes_batches() {
        assert_eq!(won.count(), 1, "{}: {both:?}", subject.name);
        assert!(both.iter().any(|swap| matches!(swap, Ok(Swap::Conflict))));
    }
    // What still stands there may be confirmed; what somebody has changed never is.
    let confirmed = shared.confirmed(&subject.provider, &txt, &types, DEADLINE);
    let confirmed = confirmed.await;
    assert!(
        confirmed.is_none_or(|found| found == known),
        "{}",
        subject.name
    );
    let only = name("unlike");
    (subject.foreign)(&only, &["\"v=STSv1; id=foreign;\""]);
    let sets = [(RecordType::Txt, text(subject.ttl(), "v=STSv1; id=1;"))].into();
    let zone = ZONE.to_owned();
    shared.remember(&only, Found { zone, sets });
    let confirmed = shared.confirmed(&subject.provider, &only, &types, DEADLINE);
    assert_eq!(confirmed.await, None, "{}", subject.name);
    let stale = [change(&read, "v=STSv1; id=3;")];
    let swap = shared.swap(&subject.provider, ZONE, &stale, DEADLINE);
    assert_eq!(swap.await.unwrap(), Swap::Conflict, "{}", subject.name);
    assert_eq!(shared.remembered(&txt, &types), None, "{}", subject.name);
    assert_eq!(subject.shows(&txt), set(&["v=STSv1; id=2;"]));
}

async fn what_is_there_is_never_taken_for_vacant(subject: &Subject) {
    let provider = &subject.provider;
    // Something of another type, something below, and something itself.
    (subject.foreign)(&format!("below.{}", name("between")), &["\"text\""]);
    (subject.foreign)(&name("occupied"), &["\"text\""]);
    for name in [
        name("between"),
        name("occupied"),
        format!("mta-sts.turn0.{ZONE}"),
    ] {
        let spot = provider.locate(&name, DEADLINE).await.unwrap();
        assert_eq!(spot.zone, ZONE, "{}: {name}", subject.name);
        assert!(!spot.vacant, "{}: {name}", subject.name);
    }
    let (types, name) = ([RecordType::A, RecordType::Txt], name("occupied"));
    let read = subject.read(&name).await;
    let sets = provider.glance(ZONE, &name, &types, DEADLINE);
    let sets = sets.await.unwrap();
    assert_eq!(sets[0], None, "{}", subject.name);
    assert_eq!(sets[1], read, "{}", subject.name);
}

// --- The subjects.

fn over_rfc2136(server: std::net::SocketAddr) -> Provider {
    let settings = rfc2136::Settings {
        server,
        zone: None,
        tsig: TsigKey {
            name: KEY.name.to_owned(),
            algorithm: TsigAlgorithm::HmacSha256,
            secret: TsigSecret::from_base64(KEY.secret).unwrap(),
        },
        clock: clock::now,
    };
    Provider::Rfc2136(Rfc2136::new(settings).unwrap())
}

/// Zones by the longest suffix, as a walk finds them.
struct Known;

impl FindZone for Known {
    fn zone_of<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<String, String>> {
        let within = |zone: &&str| name == *zone || name.ends_with(&format!(".{zone}"));
        let found = [INNER, ZONE].into_iter().find(within).map(str::to_owned);
        Box::pin(async { found.ok_or_else(|| "no such zone".to_owned()) })
    }
}

fn service(name: &str, config: &[(&str, &str)], secrets: &[(&str, &str)]) -> Provider {
    let mut values = Values::default();
    for (key, value) in config {
        values.put(key, value);
    }
    for (key, value) in secrets {
        values.put_secret(key, Secret::new(value));
    }
    let settings = Settings {
        description: dns_services::Service::named(name).unwrap(),
        values,
        zones: Arc::new(Known),
        pace: Arc::new(Pace::default()),
    };
    Provider::Service(Box::new(Service::new(settings).unwrap()))
}

/// What `dig` sees: TXT as joined text, names without the final dot.
fn dig(
    server: std::net::SocketAddr,
    name: &str,
    record_type: RecordType,
) -> BTreeSet<(String, u32)> {
    let output = Command::new("dig")
        .args([
            &format!("@{}", server.ip()),
            "-p",
            &server.port().to_string(),
        ])
        .args(["+noall", "+answer", "+norecurse", "+tries=3", "+time=2"])
        .args([name, &record_type.to_string()])
        .output()
        .expect("dig (Debian: bind9-dnsutils)");
    let text = String::from_utf8(output.stdout).unwrap();
    // owner, TTL, class, type, and the rest of the line.
    let of_type = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().take(4).collect();
        let (ttl, kind) = (fields.get(1)?.parse().ok()?, *fields.get(3)?);
        let end = kind.as_ptr() as usize - line.as_ptr() as usize + kind.len();
        let content = line[end..].trim_start();
        (kind == record_type.to_string()).then(|| (plain(content), ttl))
    });
    of_type.collect()
}

/// The joined text of a TXT in presentation format; anything else without its final dot.
fn plain(content: &str) -> String {
    if !content.starts_with('"') {
        return content.trim_end_matches('.').to_owned();
    }
    let (mut text, mut inside, mut rest) = (String::new(), false, content.chars());
    while let Some(c) = rest.next() {
        match c {
            '"' => inside = !inside,
            '\\' => text.push(rest.next().unwrap()),
            c if inside => text.push(c),
            _ => {}
        }
    }
    text
}

fn nsupdate(server: std::net::SocketAddr, name: &str, contents: &[&str]) {
    use std::io::Write as _;
    let mut lines = format!("server {} {}\nzone {ZONE}\n", server.ip(), server.port());
    for content in contents {
        lines += &format!("update add {name} 300 TXT {content}\n");
    }
    let mut child = Command::new("nsupdate")
        .args([
            "-y",
            &format!("{}:{}:{}", KEY.algorithm, KEY.name, KEY.secret),
        ])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("nsupdate (Debian: bind9-dnsutils)");
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(format!("{lines}send\n").as_bytes())
        .unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn bind_conforms() {
    let zones = [Zone::dynamic(ZONE, ""), Zone::dynamic(INNER, "")];
    let server = Bind::start(&zones, &[KEY]);
    let address = server.address();
    conform(&Subject {
        name: "BIND",
        provider: over_rfc2136(address),
        atomic: true,
        smallest_ttl: 0,
        foreign: Box::new(move |name, contents| nsupdate(address, name, contents)),
        seen: Box::new(move |name, kind| dig(address, name, kind)),
    })
    .await;
}

#[tokio::test]
async fn knot_conforms() {
    let server = Knot::start(&[ZONE, INNER], KEY);
    let address = server.address();
    conform(&Subject {
        name: "Knot",
        provider: over_rfc2136(address),
        atomic: true,
        smallest_ttl: 0,
        foreign: Box::new(move |name, contents| nsupdate(address, name, contents)),
        seen: Box::new(move |name, kind| dig(address, name, kind)),
    })
    .await;
}

#[tokio::test]
async fn powerdns_conforms_by_dynamic_updates() {
    let server = PowerDns::start(&[ZONE, INNER], KEY);
    let address = server.address();
    conform(&Subject {
        name: "PowerDNS (RFC 2136)",
        provider: over_rfc2136(address),
        // It looks at prerequisites before it begins a transaction.
        atomic: false,
        smallest_ttl: 0,
        foreign: Box::new(move |name, contents| nsupdate(address, name, contents)),
        seen: Box::new(move |name, kind| dig(address, name, kind)),
    })
    .await;
}

#[tokio::test]
async fn powerdns_conforms_by_its_api() {
    let server = PowerDns::start(&[ZONE, INNER], KEY);
    let address = server.address();
    conform(&Subject {
        name: "PowerDNS (HTTP API)",
        provider: service(
            "powerdns",
            &[("url", &server.url())],
            &[("apiKey", API_KEY)],
        ),
        atomic: false,
        smallest_ttl: 0,
        foreign: Box::new(move |name, contents| server.replace(ZONE, name, "TXT", "300", contents)),
        seen: Box::new(move |name, kind| dig(address, name, kind)),
    })
    .await;
}

#[tokio::test]
async fn a_text_that_is_no_ascii_is_kept_as_it_is() {
    let server = PowerDns::start(&[ZONE, INNER], KEY);
    let provider = service(
        "powerdns",
        &[("url", &server.url())],
        &[("apiKey", API_KEY)],
    );
    let name = name("octets");
    server.replace(ZONE, &name, "TXT", "300", &["\"caf\\195\\169 \\000\""]);
    let raw = || {
        let output = Command::new("dig")
            .args([
                &format!("@{}", server.address().ip()),
                "-p",
                &server.address().port().to_string(),
            ])
            .args(["+short", &name, "TXT"])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let before = raw();
    let read = provider
        .read(ZONE, &name, RecordType::Txt, DEADLINE)
        .await
        .unwrap();
    let mut desired = read.clone().unwrap();
    desired.ttl = Some(300);
    desired.values.insert(RecordValue::txt("v=STSv1; id=1;"));
    let change = Change {
        name: name.clone(),
        record_type: RecordType::Txt,
        expected: read,
        desired: Some(desired),
    };
    let swap = provider.compare_and_swap(ZONE, &[change], DEADLINE).await;
    assert_eq!(swap.unwrap(), Swap::Done);
    let after = raw();
    assert!(after.contains("v=STSv1; id=1;"), "{after}");
    assert!(after.contains(before.trim()), "{before} became {after}");
}

#[tokio::test]
async fn route53_conforms() {
    let server = Moto::start();
    for zone in [ZONE, INNER] {
        server.create_zone(zone);
    }
    // Nothing answers DNS there: what the API lists is what the world would see.
    let moto = Arc::new(server);
    let (writer, reader) = (Arc::clone(&moto), Arc::clone(&moto));
    conform(&Subject {
        name: "Amazon Route 53 (moto)",
        provider: service(
            "route53",
            // Its list of zones lacks a field that Amazon's always has.
            &[
                ("endpoint", &moto.url()),
                ("hostedZoneId", &moto.zone(ZONE)),
            ],
            &[("accessKeyId", "AKIAEXAMPLE"), ("secretAccessKey", TOKEN)],
        ),
        atomic: false,
        smallest_ttl: 0,
        foreign: Box::new(move |name, contents| writer.upsert(ZONE, name, "TXT", contents)),
        seen: Box::new(move |name, kind| {
            let found = reader.records(ZONE, name, &kind.to_string());
            found
                .into_iter()
                .map(|(content, ttl)| (plain(&content), ttl))
                .collect()
        }),
    })
    .await;
}

fn webhook(address: std::net::SocketAddr) -> Webhook {
    Webhook::new(webhook::Settings {
        tls: None,
        authority: address.to_string(),
        address,
        path: String::new(),
        zones: Arc::new(Known),
        listed: Arc::default(),
    })
}

/// As many policies at once as there are reconciles.
async fn all_at_once(provider: Provider, relay: &Relay) -> usize {
    let subject = Subject {
        name: "counted",
        provider,
        atomic: false,
        smallest_ttl: 0,
        foreign: Box::new(|_, _| {}),
        seen: Box::new(|_, _| BTreeSet::new()),
    };
    let shared = Shared::default();
    let before = relay.asked();
    let swaps = (0..32).map(|n| {
        let (changes, shared, subject) = (made(&subject, &format!("c{n}")), &shared, &subject);
        async move {
            let swap = shared.swap(&subject.provider, ZONE, &changes, DEADLINE);
            assert_eq!(swap.await.unwrap(), Swap::Done);
        }
    });
    futures::future::join_all(swaps).await;
    relay.asked() - before
}

#[tokio::test]
async fn many_writes_at_once_are_few_messages() {
    let server = Bind::start(&[Zone::dynamic(ZONE, "")], &[KEY]);
    let relay = Relay::before(server.address(), Asked::Dns).await;
    let messages = all_at_once(over_rfc2136(relay.address()), &relay).await;
    assert!(messages <= 8, "{messages} messages");
    let (provider, shared) = (over_rfc2136(relay.address()), Shared::default());
    let (first, types) = (name("c0"), [RecordType::Txt]);
    let sets = [(types[0], text(300, "v=STSv1; id=1;"))].into();
    let zone = ZONE.to_owned();
    shared.remember(&first, Found { zone, sets });
    let before = relay.asked();
    let confirmed = shared.confirmed(&provider, &first, &types, DEADLINE);
    assert!(confirmed.await.is_some());
    assert_eq!(relay.asked() - before, 1);
    assert_eq!(
        dig(server.address(), &name("c31"), RecordType::Txt).len(),
        1
    );
}

#[tokio::test]
async fn many_writes_and_looks_are_few_requests_to_a_webhook() {
    if !netns::inside() {
        ExternalDns::build();
        let case = "many_writes_and_looks_are_few_requests_to_a_webhook";
        return netns::run(case, &[]).await;
    }
    let server = ExternalDns::start(&[ZONE]);
    let relay = Relay::before(ExternalDns::address(), Asked::Http).await;
    let webhook = webhook(relay.address());
    let requests = all_at_once(Provider::Webhook(webhook.clone()), &relay).await;
    assert!(requests <= 12, "{requests} requests");
    let before = relay.asked();
    let looks = (0..32).map(|n| {
        let (name, webhook) = (name(&format!("c{n}")), &webhook);
        async move {
            let sets = webhook.glance(ZONE, &name, &[RecordType::Txt], DEADLINE);
            assert!(sets.await.unwrap()[0].is_some());
        }
    });
    futures::future::join_all(looks).await;
    assert!(relay.asked() - before <= 1, "{}", relay.asked() - before);
    drop(server);
}

#[tokio::test]
async fn what_a_wildcard_answers_is_not_vacant_and_not_there() {
    let server = Bind::start(&[Zone::dynamic(ZONE, "*.wild TXT \"hello\"\n")], &[KEY]);
    let provider = over_rfc2136(server.address());
    let name = format!("_mta-sts.wild.{ZONE}");
    let spot = provider.locate(&name, DEADLINE).await.unwrap();
    assert!(!spot.vacant);
    let expects = |text| Change {
        name: name.clone(),
        record_type: RecordType::Txt,
        expected: text,
        desired: None,
    };
    assert!(provider.confirms(ZONE, &[expects(None)], DEADLINE).await);
    let synthesised = [expects(text(300, "hello"))];
    assert!(!provider.confirms(ZONE, &synthesised, DEADLINE).await);
    let sets = provider.glance(ZONE, &name, &[RecordType::Txt], DEADLINE);
    assert_eq!(sets.await.unwrap(), [None]);
    let name = format!("_mta-sts.no.{ZONE}");
    assert!(provider.locate(&name, DEADLINE).await.unwrap().vacant);
}

#[tokio::test]
async fn a_webhook_of_external_dns_conforms() {
    if !netns::inside() {
        ExternalDns::build();
        return netns::run("a_webhook_of_external_dns_conforms", &[]).await;
    }
    let server = Arc::new(ExternalDns::start(&[ZONE, INNER]));
    let (writer, reader) = (Arc::clone(&server), Arc::clone(&server));
    conform(&Subject {
        name: "a webhook (external-dns in memory)",
        provider: Provider::Webhook(webhook(ExternalDns::address())),
        atomic: false,
        smallest_ttl: 0,
        foreign: Box::new(move |name, contents| writer.create(name, "TXT", contents)),
        seen: Box::new(move |name, kind| {
            let found = reader.records(name, &kind.to_string());
            found
                .into_iter()
                .map(|(target, ttl)| (plain(&target), ttl))
                .collect()
        }),
    })
    .await;
}

/// Answers every request alike.
async fn answering(answer: &'static [u8], without_end: bool) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
                while without_end && stream.write_all(&[b' '; 16 * 1024]).await.is_ok() {}
            });
        }
    });
    address
}

#[tokio::test]
async fn trouble_of_a_webhook_is_told_and_nothing_is_taken_for_gone() {
    let change = || Change {
        name: name("trouble"),
        record_type: RecordType::Txt,
        expected: None,
        desired: text(300, "v=STSv1; id=1;"),
    };
    for (case, answer, without_end, label) in [
        (
            "no HTTP",
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            false,
            "service_unreachable",
        ),
        (
            "HTML",
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            false,
            "service_garbled",
        ),
        (
            "too many requests",
            b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n",
            false,
            "service_busy",
        ),
        (
            "a redirect",
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
            false,
            "service_failed",
        ),
        (
            "an error",
            b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\n\x1b[31mred\n",
            false,
            "service_failed",
        ),
        (
            "a body without end",
            b"HTTP/1.1 200 OK\r\n\r\n[",
            true,
            "service_garbled",
        ),
        (
            "headers without end",
            b"HTTP/1.1 200 OK\r\nX: ",
            true,
            "service_unreachable",
        ),
        ("silence", b"", false, "service_unreachable"),
    ] {
        let provider = webhook(answering(answer, without_end).await);
        let zones = ["*".to_owned()];
        let read = provider
            .read(ZONE, &name("trouble"), RecordType::Txt, DEADLINE)
            .await;
        let swap = provider.compare_and_swap(ZONE, &[change()], DEADLINE).await;
        for error in [
            read.unwrap_err(),
            swap.unwrap_err(),
            provider.check(&zones, DEADLINE).await.unwrap_err(),
        ] {
            assert_eq!(error.label(), label, "{case}: {error}");
            assert!(!error.to_string().contains('\x1b'), "{case}: {error:?}");
        }
    }
}

/// A service of the cloud's, with what its double stores.
fn in_the_cloud(cloud: &Cloud, service_name: &'static str, smallest_ttl: u32) -> Subject {
    let (writer, reader) = (cloud.clone(), cloud.clone());
    // Where a TXT is stored as plain text, it comes and goes as such.
    let is_plain = service_name == "digitalocean";
    Subject {
        name: service_name,
        provider: service(service_name, &[], credentials(service_name)),
        atomic: false,
        smallest_ttl,
        foreign: Box::new(move |name, contents| {
            for content in contents {
                let stored = match is_plain {
                    true => plain(content),
                    false => (*content).to_owned(),
                };
                writer
                    .store()
                    .put(ZONE, name, "TXT", &stored, smallest_ttl.max(300));
            }
        }),
        seen: Box::new(move |name, kind| {
            let stored = reader.store().at(name, &kind.to_string());
            let shown = |content: String| match is_plain {
                true => content.trim_end_matches('.').to_owned(),
                false => plain(&content),
            };
            stored
                .into_iter()
                .map(|(content, ttl)| (shown(content), ttl))
                .collect()
        }),
    }
}

fn credentials(service_name: &str) -> &'static [(&'static str, &'static str)] {
    match service_name {
        "route53" => &[("accessKeyId", KEY_ID), ("secretAccessKey", TOKEN)],
        _ => &[("apiToken", TOKEN)],
    }
}

const SERVICES: [(&str, u32); 4] = [
    ("cloudflare", 60),
    ("digitalocean", 30),
    ("desec", 3600),
    ("route53", 0),
];

#[tokio::test]
async fn services_of_the_cloud_conform() {
    if !netns::inside() {
        return netns::run("services_of_the_cloud_conform", &[]).await;
    }
    let cloud = Cloud::start(&[ZONE, INNER]).await;
    for (name, smallest_ttl) in SERVICES {
        cloud.empty();
        conform(&in_the_cloud(&cloud, name, smallest_ttl)).await;
    }
}

#[tokio::test]
async fn trouble_of_a_service_is_told_without_the_token_and_heals() {
    if !netns::inside() {
        return netns::run(
            "trouble_of_a_service_is_told_without_the_token_and_heals",
            &[],
        )
        .await;
    }
    let cloud = Cloud::start(&[ZONE, INNER]).await;
    let html = "<html><body>Bad gateway</body></html>".to_owned();
    let echo = format!("{{\"error\": \"token {TOKEN} is bad\"}}");
    let elsewhere = vec![("location", "https://desec.io/elsewhere".to_owned())];
    for (service_name, smallest_ttl) in SERVICES {
        let cases = [
            (
                "too many requests",
                Fault::Answer(429, vec![("retry-after", "3600".to_owned())], String::new()),
                DnsErrorClass::Retry,
            ),
            (
                "a bad gateway",
                Fault::Answer(502, Vec::new(), html.clone()),
                DnsErrorClass::Retry,
            ),
            (
                "HTML as if all were well",
                Fault::Answer(200, Vec::new(), html.clone()),
                DnsErrorClass::Retry,
            ),
            (
                "a redirect",
                Fault::Answer(302, elsewhere.clone(), String::new()),
                DnsErrorClass::Retry,
            ),
            (
                "the token in the answer",
                Fault::Answer(400, Vec::new(), echo.clone()),
                DnsErrorClass::Stalled,
            ),
            (
                "forbidden",
                Fault::Answer(403, Vec::new(), echo.clone()),
                DnsErrorClass::Stalled,
            ),
            ("silence", Fault::Silence, DnsErrorClass::Retry),
        ];
        for (case, fault, class) in cases {
            cloud.empty();
            let subject = in_the_cloud(&cloud, service_name, smallest_ttl);
            let name = name("trouble");
            (subject.foreign)(&name, &["\"v=STSv1; id=foreign;\""]);
            cloud.store().faults(std::iter::repeat_n(fault, 20));
            let begun = Instant::now();
            let short = Duration::from_secs(2);
            let read = subject
                .provider
                .read(ZONE, &name, RecordType::Txt, short)
                .await;
            assert!(begun.elapsed() < 2 * short, "{service_name}: {case}");
            let error = read
                .err()
                .unwrap_or_else(|| panic!("{service_name}: {case}"));
            let told = format!("{error} {error:?}");
            assert_eq!(error.class(), class, "{service_name}: {case}: {told}");
            assert!(!told.contains(TOKEN), "{service_name}: {case}: {told}");
            // Nothing is taken for gone, and nothing is written.
            cloud.store().faults([]);
            assert_eq!(subject.shows(&name).len(), 1, "{service_name}: {case}");
            assert!(
                cloud.store().log.iter().all(|line| line.starts_with("GET")),
                "{service_name}: {case}"
            );
            assert!(cloud.store().strayed.is_empty(), "{service_name}: {case}");
            let healed = in_the_cloud(&cloud, service_name, smallest_ttl);
            assert_eq!(
                healed.values(&name).await.len(),
                1,
                "{service_name}: {case}"
            );
        }
    }
}

#[tokio::test]
async fn a_revoked_token_is_told_as_such() {
    if !netns::inside() {
        return netns::run("a_revoked_token_is_told_as_such", &[]).await;
    }
    let cloud = Cloud::start(&[ZONE, INNER]).await;
    for (service_name, smallest_ttl) in SERVICES {
        cloud.empty();
        let subject = in_the_cloud(&cloud, service_name, smallest_ttl);
        let name = name("revoked");
        subject
            .put(&name, None, text(subject.ttl(), "v=STSv1; id=1;"))
            .await;
        let read = subject.read(&name).await;
        cloud.store().revoke();
        let swap = subject
            .swap(&name, read, text(subject.ttl(), "v=STSv1; id=2;"))
            .await;
        let error = swap.unwrap_err();
        assert_eq!(
            error.class(),
            DnsErrorClass::Stalled,
            "{service_name}: {error}"
        );
        assert!(
            ["service_unauthorized", "service_forbidden"].contains(&error.label()),
            "{service_name}: {error}"
        );
        assert!(!format!("{error} {error:?}").contains(TOKEN));
        assert_eq!(
            subject.shows(&name),
            set(&["v=STSv1; id=1;"]),
            "{service_name}"
        );
        cloud.store().restore();
        assert_eq!(subject.values(&name).await.len(), 1, "{service_name}");
    }
}

#[tokio::test]
async fn a_service_that_shows_a_change_later_is_waited_for() {
    if !netns::inside() {
        return netns::run("a_service_that_shows_a_change_later_is_waited_for", &[]).await;
    }
    let cloud = Cloud::start(&[ZONE, INNER]).await;
    for (service_name, smallest_ttl) in SERVICES {
        cloud.empty();
        let subject = in_the_cloud(&cloud, service_name, smallest_ttl);
        let name = name("lag");
        cloud
            .store()
            .faults([Fault::Lag(Duration::from_millis(700))]);
        subject
            .put(&name, None, text(subject.ttl(), "v=STSv1; id=1;"))
            .await;
        let read = subject.read(&name).await;
        subject
            .put(&name, read, text(subject.ttl(), "v=STSv1; id=2;"))
            .await;
        assert_eq!(subject.values(&name).await.len(), 1, "{service_name}");
    }
}

#[tokio::test]
async fn records_on_a_later_page_are_found() {
    if !netns::inside() {
        return netns::run("records_on_a_later_page_are_found", &[]).await;
    }
    let cloud = Cloud::start(&[ZONE, INNER]).await;
    let subject = in_the_cloud(&cloud, "digitalocean", 30);
    let name = name("pages");
    for n in 0..199 {
        cloud
            .store()
            .put(ZONE, &name, "TXT", &format!("other {n}"), 300);
    }
    cloud.store().put(ZONE, &name, "TXT", "v=STSv1; id=1;", 300);
    assert_eq!(subject.values(&name).await.len(), 200);
    cloud
        .store()
        .put(ZONE, &name, "TXT", "one more than is taken in", 300);
    let read = subject
        .provider
        .read(ZONE, &name, RecordType::Txt, DEADLINE)
        .await;
    assert_eq!(read.unwrap_err().label(), "service_too_many");
}

#[tokio::test]
async fn a_hosted_zone_on_a_later_page_is_found() {
    if !netns::inside() {
        return netns::run("a_hosted_zone_on_a_later_page_is_found", &[]).await;
    }
    // The list is ordered by the labels from the right: these come first.
    let others: Vec<String> = (0..150).map(|n| format!("zone{n}.example.net")).collect();
    let mut zones: Vec<&str> = others.iter().map(String::as_str).collect();
    zones.push(ZONE);
    let cloud = Cloud::start(&zones).await;
    let subject = in_the_cloud(&cloud, "route53", 0);
    let name = name("pages");
    subject.put(&name, None, text(300, "v=STSv1; id=1;")).await;
    let log = cloud.store().log.clone();
    assert_eq!(subject.shows(&name), set(&["v=STSv1; id=1;"]));
    let paged = |line: &&String| line.contains("hostedzonesbyname") && line.contains("dnsname=");
    assert!(log.iter().any(|line| paged(&line)), "{log:?}");
}

#[tokio::test]
async fn amazon_asks_for_patience_as_for_a_bad_request() {
    if !netns::inside() {
        return netns::run("amazon_asks_for_patience_as_for_a_bad_request", &[]).await;
    }
    let cloud = Cloud::start(&[ZONE]).await;
    for code in ["Throttling", "PriorRequestNotComplete"] {
        cloud.empty();
        let subject = in_the_cloud(&cloud, "route53", 0);
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>"
        );
        let busy = Fault::Answer(400, Vec::new(), body);
        let name = name("busy");
        // Once: nobody notices.
        cloud.store().faults([busy.clone()]);
        subject.put(&name, None, text(300, "v=STSv1; id=1;")).await;
        cloud.store().faults(std::iter::repeat_n(busy, 20));
        let read = subject
            .provider
            .read(ZONE, &name, RecordType::Txt, DEADLINE)
            .await;
        let error = read.unwrap_err();
        assert_eq!(error.label(), "service_busy", "{code}: {error}");
        assert_eq!(error.class(), DnsErrorClass::Retry, "{code}: {error}");
    }
}
