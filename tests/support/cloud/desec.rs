//! deSEC: record sets as objects.
//! <https://desec.readthedocs.io/en/latest/dns/rrsets.html>

use serde_json::{Value, json};

use super::{Ask, Entry, Reply, Store, quoted_strings};

const SMALLEST_TTL: u64 = 3600;

pub(super) fn answer(store: &mut Store, ask: &Ask) -> Reply {
    if ask.authorization != format!("Token {}", store.token) {
        return Reply::json(401, &json!({"detail": "Invalid token."}));
    }
    let path = ask
        .path
        .trim_start_matches("/api/v1/")
        .trim_end_matches('/');
    let path: Vec<&str> = path.split('/').collect();
    let ["domains", zone, rest @ ..] = path.as_slice() else {
        return not_found();
    };
    if !store.zones.iter().any(|known| known == zone) {
        return not_found();
    }
    let zone = (*zone).to_owned();
    match (ask.method.as_str(), rest) {
        ("GET", []) => Reply::json(200, &json!({"name": zone, "minimum_ttl": SMALLEST_TTL})),
        ("GET", ["rrsets", below, kind]) => {
            let name = whole(below, &zone);
            match shown(store, &zone, &name, kind) {
                Some(set) => Reply::json(200, &set),
                None => not_found(),
            }
        }
        ("DELETE", ["rrsets", below, kind]) => {
            replace(store, &zone, &whole(below, &zone), kind, &[], 0);
            Reply {
                status: 204,
                media: "application/json",
                headers: Vec::new(),
                body: String::new(),
            }
        }
        ("PUT" | "PATCH" | "POST", ["rrsets", ..]) => write(store, &zone, &ask.body),
        _ => Reply::json(405, &json!({"detail": "Method not allowed."})),
    }
}

fn whole(below: &str, zone: &str) -> String {
    match below {
        "" | "@" => zone.to_owned(),
        below => format!("{below}.{zone}"),
    }
}

fn shown(store: &Store, zone: &str, name: &str, kind: &str) -> Option<Value> {
    let listed = store.listed(zone);
    let set: Vec<&Entry> = listed
        .iter()
        .filter(|entry| entry.name == name && entry.kind == kind)
        .collect();
    let first = set.first()?;
    let below = name.strip_suffix(&format!(".{zone}")).unwrap_or_default();
    let records: Vec<&str> = set.iter().map(|entry| entry.content.as_str()).collect();
    Some(json!({
        "domain": zone, "subname": below, "name": format!("{name}."), "type": kind,
        "ttl": first.ttl, "records": records, "created": "2026-01-01T00:00:00Z",
        "touched": "2026-01-01T00:00:00Z",
    }))
}

fn write(store: &mut Store, zone: &str, body: &Value) -> Reply {
    // One, or several at once.
    let (sets, bulk) = match body {
        Value::Array(sets) => (sets.clone(), true),
        one => (vec![one.clone()], false),
    };
    let mut written = Vec::new();
    for set in &sets {
        let name = whole(set["subname"].as_str().unwrap_or_default(), zone);
        let kind = set["type"].as_str().unwrap_or_default();
        let ttl = set["ttl"].as_u64().unwrap_or_default();
        let records: Vec<&str> = set["records"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if ttl < SMALLEST_TTL {
            let message = format!("Ensure this value is greater than or equal to {SMALLEST_TTL}.");
            return Reply::json(400, &json!({"ttl": [message]}));
        }
        let good = |record: &&str| match kind {
            "TXT" => quoted_strings(record).is_some(),
            "CNAME" => record.ends_with('.'),
            "A" => record.parse::<std::net::Ipv4Addr>().is_ok(),
            "AAAA" => record.parse::<std::net::Ipv6Addr>().is_ok(),
            _ => false,
        };
        if !records.iter().all(good) {
            let message = "Cannot parse record contents";
            return Reply::json(400, &json!({"records": [message]}));
        }
        let others = ["A", "AAAA", "TXT", "CNAME"]
            .into_iter()
            .filter(|other| *other != kind);
        let beside = others.filter(|other| kind == "CNAME" || *other == "CNAME");
        if !records.is_empty()
            && beside
                .into_iter()
                .any(|other| !store.at(&name, other).is_empty())
        {
            let message = "RRset with conflicting type present: database";
            return Reply::json(400, &json!({"non_field_errors": [message]}));
        }
        replace(
            store,
            zone,
            &name,
            kind,
            &records,
            u32::try_from(ttl).unwrap(),
        );
        let records: Vec<&str> = records.clone();
        written.push(json!({
            "domain": zone, "subname": set["subname"], "name": format!("{name}."), "type": kind,
            "ttl": ttl, "records": records, "created": "2026-01-01T00:00:00Z",
            "touched": "2026-01-01T00:00:00Z",
        }));
    }
    match bulk {
        true => Reply::json(200, &json!(written)),
        false => Reply::json(200, &written[0]),
    }
}

fn replace(store: &mut Store, zone: &str, name: &str, kind: &str, records: &[&str], ttl: u32) {
    let there = |entry: &&Entry| entry.zone == zone && entry.name == name && entry.kind == kind;
    let ids: Vec<u64> = store
        .entries
        .iter()
        .filter(there)
        .map(|entry| entry.id)
        .collect();
    for id in ids {
        store.remove(zone, id);
    }
    for record in records {
        store.insert(zone, name, kind, record, ttl);
    }
}

fn not_found() -> Reply {
    Reply::json(404, &json!({"detail": "Not found."}))
}
