//! Cloudflare API v4: zones, and DNS records as single objects.
//! <https://developers.cloudflare.com/api/resources/dns/>

use serde_json::{Value, json};

use super::{Ask, Entry, Reply, Store, quoted_strings};

pub(super) fn answer(store: &mut Store, ask: &Ask) -> Reply {
    match ask.authorization.strip_prefix("Bearer ") {
        None => return error(400, 6003, "Invalid request headers"),
        Some(token) if token != store.token => return error(403, 10000, "Authentication error"),
        Some(_) => {}
    }
    let path: Vec<&str> = ask
        .path
        .trim_start_matches("/client/v4/")
        .split('/')
        .collect();
    match (ask.method.as_str(), path.as_slice()) {
        ("GET", ["zones"]) => zones(store, ask),
        ("GET", ["zones", zone, "dns_records"]) => match zone_named(store, zone) {
            Some(zone) => list(store, &zone, ask),
            None => no_zone(zone),
        },
        ("POST", ["zones", zone, "dns_records"]) => match zone_named(store, zone) {
            Some(zone) => create(store, &zone, &ask.body),
            None => no_zone(zone),
        },
        ("DELETE", ["zones", zone, "dns_records", id]) => match zone_named(store, zone) {
            Some(zone) if store.remove(&zone, number(id)) => ok(&json!({"id": id}), None),
            Some(_) => error(404, 81044, "Record does not exist."),
            None => no_zone(zone),
        },
        _ => error(
            405,
            10405,
            "Method not allowed for this authentication scheme",
        ),
    }
}

fn number(id: &str) -> u64 {
    id.parse().unwrap_or_default()
}

fn zone_named(store: &Store, id: &str) -> Option<String> {
    store.zones.iter().find(|zone| zone_id(zone) == id).cloned()
}

/// 32 hexadecimal digits.
fn zone_id(zone: &str) -> String {
    let sum = zone
        .bytes()
        .fold(7_u128, |sum, b| sum.wrapping_mul(1_000_003) + u128::from(b));
    format!("{sum:032x}")
}

fn no_zone(_: &str) -> Reply {
    error(
        404,
        7003,
        "Could not route to /zones/…, perhaps your object identifier is invalid?",
    )
}

fn zones(store: &Store, ask: &Ask) -> Reply {
    let wanted = |zone: &&String| ask.query.get("name").is_none_or(|name| name == *zone);
    let found: Vec<Value> = store
        .zones
        .iter()
        .filter(wanted)
        .map(|zone| json!({"id": zone_id(zone), "name": zone, "status": "active"}))
        .collect();
    ok(&json!(found), Some((1, 20, found.len(), found.len())))
}

fn list(store: &Store, zone: &str, ask: &Ask) -> Reply {
    let known = ["name", "type", "match", "per_page", "page", "content"];
    if let Some(other) = ask.query.keys().find(|key| !known.contains(&key.as_str())) {
        return error(400, 1004, &format!("unknown filter {other}"));
    }
    let page = |key, default| {
        ask.query
            .get(key)
            .map_or(Some(default), |v| v.parse::<usize>().ok())
    };
    let (Some(page @ 1..), Some(size @ 1..=5_000_000)) = (page("page", 1), page("per_page", 100))
    else {
        return error(400, 1004, "per_page must be between 1 and 5000000");
    };
    let fits = |entry: &Entry| {
        let is = |key: &str, value: &str| ask.query.get(key).is_none_or(|wanted| wanted == value);
        is("name", &entry.name) && is("type", &entry.kind) && is("content", &entry.content)
    };
    let all: Vec<Entry> = store.listed(zone).into_iter().filter(fits).collect();
    let shown: Vec<Value> = all
        .iter()
        .skip((page - 1) * size)
        .take(size)
        .map(shown)
        .collect();
    ok(&json!(shown), Some((page, size, shown.len(), all.len())))
}

fn shown(entry: &Entry) -> Value {
    json!({
        "id": entry.id.to_string(), "name": entry.name, "type": entry.kind,
        "content": entry.content, "ttl": entry.ttl, "proxied": false, "proxiable": false,
        "created_on": "2026-01-01T00:00:00Z", "modified_on": "2026-01-01T00:00:00Z",
        "comment": null, "tags": [], "settings": {}, "meta": {},
    })
}

fn create(store: &mut Store, zone: &str, body: &Value) -> Reply {
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let (name, kind, content) = (text("name"), text("type"), text("content"));
    let ttl = body["ttl"].as_u64().unwrap_or(1);
    if name != zone && !name.ends_with(&format!(".{zone}")) {
        return error(400, 1004, "DNS Validation Error");
    }
    if ttl != 1 && !(60..=86400).contains(&ttl) {
        let message = "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.";
        return error(400, 9021, message);
    }
    let good = match kind.as_str() {
        "A" => content.parse::<std::net::Ipv4Addr>().is_ok(),
        "AAAA" => content.parse::<std::net::Ipv6Addr>().is_ok(),
        "CNAME" => !content.is_empty(),
        "TXT" => content.len() <= 2048 && quoted_strings(&content).is_some(),
        _ => false,
    };
    if !good {
        return error(400, 9005, "Content for this record is invalid.");
    }
    if kind != "TXT" && store.clashes(&name, &kind) && kind == "CNAME"
        || kind != "CNAME" && !store.at(&name, "CNAME").is_empty()
    {
        let message = "An A, AAAA, or CNAME record with that host already exists.";
        return error(400, 81053, message);
    }
    if store
        .at(&name, &kind)
        .iter()
        .any(|(there, _)| *there == content)
    {
        return error(400, 81058, "An identical record already exists.");
    }
    let ttl = u32::try_from(ttl).unwrap();
    let id = store.insert(zone, &name, &kind, &content, ttl);
    let entry = store.entries.iter().find(|entry| entry.id == id).unwrap();
    ok(&shown(entry), None)
}

fn ok(result: &Value, page: Option<(usize, usize, usize, usize)>) -> Reply {
    let mut body = json!({"success": true, "errors": [], "messages": [], "result": result});
    if let Some((page, per_page, count, total)) = page {
        body["result_info"] =
            json!({"page": page, "per_page": per_page, "count": count, "total_count": total});
    }
    Reply::json(200, &body)
}

fn error(status: u16, code: u32, message: &str) -> Reply {
    Reply::json(
        status,
        &json!({
            "success": false, "errors": [{"code": code, "message": message}],
            "messages": [], "result": null,
        }),
    )
}
