//! Amazon Route 53, version 2013-04-01: hosted zones, and batches of changes that are made as a
//! whole or not at all.
//! <https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html>
//! <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html>

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::xml::{elements, escaped, text};
use super::{Ask, Reply, Store, sigv4};

const NAMESPACE: &str = "https://route53.amazonaws.com/doc/2013-04-01/";
/// All requests are signed for this region, in whatever region the caller is.
const REGION: &str = "us-east-1";
/// The most of one answer, and the default.
const ZONES_A_PAGE: usize = 100;
const SETS_A_PAGE: usize = 300;
/// Of one request: elements, and characters in them; each of an UPSERT counts twice.
const MOST_RECORDS: usize = 1000;
const MOST_CHARACTERS: usize = 32_000;
/// Of one value.
const LONGEST_VALUE: usize = 4000;

/// A record set; its order is that of the lists: by the labels from the right, then by type.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Set {
    labels: Vec<String>,
    kind: String,
    name: String,
    ttl: u32,
    values: BTreeSet<String>,
}

struct Change {
    action: String,
    set: Set,
}

pub(super) fn answer(store: &mut Store, ask: &Ask) -> Reply {
    if let Err((status, code)) = sigv4::verify(ask, &store.token, REGION) {
        return error(status, code, "The request is not signed as it has to be.");
    }
    let Some(path) = ask.path.strip_prefix("/2013-04-01/") else {
        return error(404, "NoSuchVersion", "There is no such version.");
    };
    let path: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let zone_of = |id: &str| store.zones.iter().find(|zone| zone_id(zone) == id).cloned();
    match (ask.method.as_str(), path.as_slice()) {
        ("GET", ["hostedzonesbyname"]) => zones(store, ask),
        ("GET", ["hostedzone", id, "rrset"]) => match zone_of(id) {
            Some(zone) => list(store, &zone, ask),
            None => no_zone(id),
        },
        ("POST", ["hostedzone", id, "rrset"]) => match zone_of(id) {
            Some(zone) => change(store, &zone, &ask.text),
            None => no_zone(id),
        },
        _ => error(405, "InvalidAction", "There is no such action."),
    }
}

/// `Z` and twenty letters and digits.
pub(super) fn zone_id(zone: &str) -> String {
    let sum = zone
        .bytes()
        .fold(7_u128, |sum, b| sum.wrapping_mul(1_000_003) + u128::from(b));
    format!("Z{:020X}", sum % (1 << 80))
}

fn no_zone(id: &str) -> Reply {
    let message = format!("No hosted zone found with ID: {id}");
    error(404, "NoSuchHostedZone", &message)
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{}</Message></Error><RequestId>b25f48e8-84fd-11e6-80d9-574e0c4664cb</RequestId>\
         </ErrorResponse>",
        escaped(message)
    );
    Reply::xml(status, &body)
}

fn labels(name: &str) -> Vec<String> {
    let labels = name.trim_end_matches('.').split('.');
    labels.rev().map(str::to_ascii_lowercase).collect()
}

// --- lists ---

fn page(ask: &Ask, most: usize) -> Option<usize> {
    let wanted = ask.query.get("maxitems");
    let wanted = wanted.map_or(Some(most), |text| text.parse().ok())?;
    (wanted > 0).then_some(wanted.min(most))
}

fn zones(store: &Store, ask: &Ask) -> Reply {
    let Some(size) = page(ask, ZONES_A_PAGE) else {
        return error(400, "InvalidInput", "maxitems");
    };
    let mut all: Vec<(Vec<String>, String, &String)> = store
        .zones
        .iter()
        .map(|zone| (labels(zone), zone_id(zone), zone))
        .collect();
    all.sort();
    if let Some(name) = ask.query.get("dnsname") {
        let id = ask.query.get("hostedzoneid").cloned().unwrap_or_default();
        let from = (labels(name), id);
        all.retain(|(labels, id, _)| (labels.clone(), id.clone()) >= from);
    } else if ask.query.contains_key("hostedzoneid") {
        return error(400, "InvalidInput", "hostedzoneid without dnsname");
    }
    let mut body = format!("<ListHostedZonesByNameResponse xmlns=\"{NAMESPACE}\"><HostedZones>");
    for (_, id, zone) in all.iter().take(size) {
        write!(
            body,
            "<HostedZone><Id>/hostedzone/{id}</Id><Name>{zone}.</Name><CallerReference>{zone}\
             </CallerReference><Config><PrivateZone>false</PrivateZone></Config>\
             <ResourceRecordSetCount>2</ResourceRecordSetCount></HostedZone>"
        )
        .unwrap();
    }
    write!(
        body,
        "</HostedZones><IsTruncated>{}</IsTruncated>",
        all.len() > size
    )
    .unwrap();
    if let Some((_, id, zone)) = all.get(size) {
        write!(
            body,
            "<NextDNSName>{zone}.</NextDNSName><NextHostedZoneId>{id}</NextHostedZoneId>"
        )
        .unwrap();
    }
    write!(
        body,
        "<MaxItems>{size}</MaxItems></ListHostedZonesByNameResponse>"
    )
    .unwrap();
    Reply::xml(200, &body)
}

/// The record sets of a zone as they are listed, with those that every zone has.
fn sets(store: &Store, zone: &str) -> Vec<Set> {
    let mut sets = Vec::<Set>::new();
    for entry in store.listed(zone) {
        let there = sets
            .iter_mut()
            .find(|s| s.name == entry.name && s.kind == entry.kind);
        match there {
            Some(set) => drop(set.values.insert(entry.content)),
            None => sets.push(set(&entry.name, &entry.kind, entry.ttl, &[entry.content])),
        }
    }
    let soa = "ns-1.awsdns-00.com. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400";
    sets.push(set(
        zone,
        "NS",
        172_800,
        &["ns-1.awsdns-00.com.".to_owned()],
    ));
    sets.push(set(zone, "SOA", 900, &[soa.to_owned()]));
    sets.sort();
    sets
}

fn set(name: &str, kind: &str, ttl: u32, values: &[String]) -> Set {
    Set {
        labels: labels(name),
        kind: kind.to_owned(),
        name: name.trim_end_matches('.').to_ascii_lowercase(),
        ttl,
        values: values.iter().cloned().collect(),
    }
}

fn list(store: &Store, zone: &str, ask: &Ask) -> Reply {
    let Some(size) = page(ask, SETS_A_PAGE) else {
        return error(400, "InvalidInput", "maxitems");
    };
    let mut all = sets(store, zone);
    match (ask.query.get("name"), ask.query.get("type")) {
        (Some(name), kind) => {
            let from = (labels(name), kind.cloned().unwrap_or_default());
            all.retain(|set| (set.labels.clone(), set.kind.clone()) >= from);
        }
        (None, Some(_)) => return error(400, "InvalidInput", "type without name"),
        (None, None) => {}
    }
    let mut body =
        format!("<ListResourceRecordSetsResponse xmlns=\"{NAMESPACE}\"><ResourceRecordSets>");
    for set in all.iter().take(size) {
        write!(
            body,
            "<ResourceRecordSet><Name>{}.</Name><Type>{}</Type><TTL>{}</TTL><ResourceRecords>",
            octal(&set.name),
            set.kind,
            set.ttl
        )
        .unwrap();
        for value in &set.values {
            let value = escaped(value);
            write!(
                body,
                "<ResourceRecord><Value>{value}</Value></ResourceRecord>"
            )
            .unwrap();
        }
        body.push_str("</ResourceRecords></ResourceRecordSet>");
    }
    write!(
        body,
        "</ResourceRecordSets><IsTruncated>{}</IsTruncated>",
        all.len() > size
    )
    .unwrap();
    if let Some(next) = all.get(size) {
        let (name, kind) = (octal(&next.name), &next.kind);
        write!(
            body,
            "<NextRecordName>{name}.</NextRecordName><NextRecordType>{kind}</NextRecordType>"
        )
        .unwrap();
    }
    write!(
        body,
        "<MaxItems>{size}</MaxItems></ListResourceRecordSetsResponse>"
    )
    .unwrap();
    Reply::xml(200, &body)
}

/// A name as it is listed: what is no letter, digit, hyphen or underscore as three octal digits.
fn octal(name: &str) -> String {
    let mut text = String::new();
    for octet in name.bytes() {
        match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => text.push(char::from(octet)),
            other => write!(text, "\\{other:03o}").unwrap(),
        }
    }
    text
}

// --- changes ---

/// What a request with these changes gets.
pub(super) fn batch(store: &mut Store, zone: &str, changes: &str) -> Reply {
    let body = format!(
        "<ChangeResourceRecordSetsRequest xmlns=\"{NAMESPACE}\"><ChangeBatch><Changes>{changes}\
         </Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
    );
    change(store, zone, &body)
}

fn change(store: &mut Store, zone: &str, body: &str) -> Reply {
    let root = format!("<ChangeResourceRecordSetsRequest xmlns=\"{NAMESPACE}\">");
    let inside = body
        .split_once(root.as_str())
        .and_then(|(_, rest)| rest.split_once("</ChangeResourceRecordSetsRequest>"));
    let changes: Option<Vec<Change>> = inside.and_then(|(inside, _)| {
        let [batch] = elements(inside, "ChangeBatch")[..] else {
            return None;
        };
        elements(batch, "Change").into_iter().map(parsed).collect()
    });
    let Some(changes) = changes.filter(|changes| !changes.is_empty()) else {
        return error(
            400,
            "MalformedXML",
            "The XML you provided was not well-formed.",
        );
    };
    let mut after = sets(store, zone);
    let mut wrong = too_much(&changes);
    for change in &changes {
        if let Err(message) = carry_out(&mut after, zone, change) {
            wrong.push(message);
        }
    }
    if !wrong.is_empty() {
        return invalid_batch(&wrong);
    }
    commit(store, zone, &changes, &after);
    Reply::xml(
        200,
        &format!(
            "<ChangeResourceRecordSetsResponse xmlns=\"{NAMESPACE}\"><ChangeInfo>\
             <Id>/change/C2682N5HXP0BZ4</Id><Status>PENDING</Status>\
             <SubmittedAt>2026-11-25T00:00:00Z</SubmittedAt></ChangeInfo>\
             </ChangeResourceRecordSetsResponse>"
        ),
    )
}

fn parsed(change: &str) -> Option<Change> {
    let action = text(change, "Action")?;
    let [within] = elements(change, "ResourceRecordSet")[..] else {
        return None;
    };
    let [records] = elements(within, "ResourceRecords")[..] else {
        return None;
    };
    let values: Option<Vec<String>> = elements(records, "ResourceRecord")
        .into_iter()
        .map(|record| text(record, "Value"))
        .collect();
    // One that is there twice would be lost in the set.
    let values =
        values.filter(|v| !v.is_empty() && v.iter().collect::<BTreeSet<_>>().len() == v.len())?;
    let ttl = text(within, "TTL")?
        .parse()
        .ok()
        .filter(|ttl| *ttl <= 2_147_483_647)?;
    let (name, kind) = (text(within, "Name")?, text(within, "Type")?);
    Some(Change {
        action,
        set: set(&name, &kind, ttl, &values),
    })
}

fn too_much(changes: &[Change]) -> Vec<String> {
    let weight = |change: &Change| if change.action == "UPSERT" { 2 } else { 1 };
    let records = |c: &Change| weight(c) * c.set.values.len();
    let length = |c: &Change| weight(c) * c.set.values.iter().map(String::len).sum::<usize>();
    let mut wrong = Vec::new();
    if changes.iter().map(records).sum::<usize>() > MOST_RECORDS {
        wrong.push("Number of records limit of 1000 exceeded.".to_owned());
    }
    if changes.iter().map(length).sum::<usize>() > MOST_CHARACTERS {
        wrong.push("Number of characters in records exceeds 32000.".to_owned());
    }
    wrong
}

/// Makes one change of a batch in what the others have made of the zone.
fn carry_out(sets: &mut Vec<Set>, zone: &str, change: &Change) -> Result<(), String> {
    let Change {
        action,
        set: wanted,
    } = change;
    let (name, kind) = (&wanted.name, &wanted.kind);
    if name != zone && !name.ends_with(&format!(".{zone}")) {
        return Err(format!(
            "RRSet with DNS name {name}. is not permitted in zone {zone}."
        ));
    }
    for value in &wanted.values {
        judge(kind, value)?;
    }
    let index = sets
        .iter()
        .position(|set| set.name == *name && set.kind == *kind);
    let set = format!("resource record set [name='{name}.', type='{kind}']");
    match (action.as_str(), index) {
        ("CREATE", Some(_)) => return Err(format!("Tried to create {set} but it already exists")),
        ("DELETE", None) => return Err(format!("Tried to delete {set} but it was not found")),
        ("DELETE", Some(index)) if sets[index] != *wanted => {
            return Err(format!(
                "Tried to delete {set} but the values provided do not match the current values"
            ));
        }
        ("UPSERT" | "DELETE", Some(index)) => drop(sets.remove(index)),
        ("CREATE" | "UPSERT", None) => {}
        _ => return Err(format!("Invalid action {action}")),
    }
    if action == "DELETE" {
        return Ok(());
    }
    let beside = sets
        .iter()
        .any(|set| set.name == *name && ((kind == "CNAME") != (set.kind == "CNAME")));
    if beside {
        return Err(format!(
            "RRSet of type {kind} with DNS name {name}. is not permitted because a conflicting \
             RRSet with the same DNS name already exists in zone {zone}."
        ));
    }
    sets.push(wanted.clone());
    Ok(())
}

/// What a value has to look like.
fn judge(kind: &str, value: &str) -> Result<(), String> {
    let fatal = |what: &str| {
        Err(format!(
            "Invalid Resource Record: FATAL problem: {what} encountered with '{value}'"
        ))
    };
    if value.len() > LONGEST_VALUE {
        return fatal("ValueTooLong (Value exceeds 4000 characters)");
    }
    match kind {
        "A" if value.parse::<std::net::Ipv4Addr>().is_err() => fatal("ARRDATAIllegalIPv4Address"),
        "AAAA" if value.parse::<std::net::Ipv6Addr>().is_err() => {
            fatal("AAAARRDATAIllegalIPv6Address")
        }
        "CNAME" if value.is_empty() || value.contains(' ') => fatal("DomainLabelEmpty"),
        "TXT" => match strings(value) {
            None => fatal("InvalidCharacterString (Value should be enclosed in quotation marks)"),
            Some(longest) if longest > 255 => fatal("CharacterStringTooLong (Value is too long)"),
            Some(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The length of the longest string of a TXT; `None` if one is not in quotes. What is no printable
/// ASCII has to be three octal digits behind a backslash.
fn strings(value: &str) -> Option<usize> {
    let mut rest = value.bytes().peekable();
    let (mut longest, mut count) = (0, 0);
    loop {
        while rest.next_if_eq(&b' ').is_some() {}
        match rest.next() {
            None => return (count > 0).then_some(longest),
            Some(b'"') => count += 1,
            Some(_) => return None,
        }
        let mut length = 0;
        loop {
            match rest.next()? {
                b'"' => break,
                b'\\' => {
                    if rest.next()?.is_ascii_digit() {
                        let octal = |digit: Option<u8>| matches!(digit, Some(b'0'..=b'7'));
                        (octal(rest.next()) && octal(rest.next())).then_some(())?;
                    }
                }
                b' '..=b'~' => {}
                _ => return None,
            }
            length += 1;
        }
        longest = longest.max(length);
    }
}

fn invalid_batch(messages: &[String]) -> Reply {
    let messages: String = messages
        .iter()
        .map(|message| format!("<Message>{}</Message>", escaped(message)))
        .collect();
    let body = format!(
        "<InvalidChangeBatch xmlns=\"{NAMESPACE}\"><Messages>{messages}</Messages>\
         <RequestId>b25f48e8-84fd-11e6-80d9-574e0c4664cb</RequestId></InvalidChangeBatch>"
    );
    Reply::xml(400, &body)
}

/// Stores what all changes together have made of the sets that they name.
fn commit(store: &mut Store, zone: &str, changes: &[Change], after: &[Set]) {
    let named: BTreeSet<(&str, &str)> = changes
        .iter()
        .map(|change| (change.set.name.as_str(), change.set.kind.as_str()))
        .collect();
    for (name, kind) in named {
        let old: Vec<u64> = store
            .entries
            .iter()
            .filter(|entry| entry.zone == zone && entry.name == name && entry.kind == kind)
            .map(|entry| entry.id)
            .collect();
        for id in old {
            store.remove(zone, id);
        }
        let set = after
            .iter()
            .find(|set| set.name == name && set.kind == kind);
        for (set, value) in set
            .iter()
            .flat_map(|set| set.values.iter().map(move |v| (set, v)))
        {
            store.insert(zone, name, kind, value, set.ttl);
        }
    }
}
