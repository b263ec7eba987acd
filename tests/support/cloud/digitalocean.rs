//! DigitalOcean API v2: records as single objects below a domain, in pages.
//! <https://docs.digitalocean.com/reference/api/digitalocean/#tag/Domain-Records>

use serde_json::{Value, json};

use super::{Ask, Entry, Reply, Store};

pub(super) fn answer(store: &mut Store, ask: &Ask) -> Reply {
    if ask.authorization != format!("Bearer {}", store.token) {
        return error(401, "unauthorized", "Unable to authenticate you");
    }
    let path: Vec<&str> = ask.path.trim_start_matches("/v2/").split('/').collect();
    let (zone, rest) = match path.as_slice() {
        ["domains", zone, "records", rest @ ..] => ((*zone).to_owned(), rest),
        _ => return not_found(),
    };
    if !store.zones.contains(&zone) {
        return not_found();
    }
    match (ask.method.as_str(), rest) {
        ("GET", []) => list(store, &zone, ask),
        ("POST", []) => create(store, &zone, &ask.body),
        ("DELETE", [id]) => match store.remove(&zone, id.parse().unwrap_or_default()) {
            true => Reply {
                status: 204,
                media: "application/json",
                headers: Vec::new(),
                body: String::new(),
            },
            false => not_found(),
        },
        _ => error(405, "method_not_allowed", "Method not allowed"),
    }
}

/// The name within the zone, `@` for the zone itself.
fn below(name: &str, zone: &str) -> String {
    match name.strip_suffix(&format!(".{zone}")) {
        Some(below) => below.to_owned(),
        None => "@".to_owned(),
    }
}

fn list(store: &Store, zone: &str, ask: &Ask) -> Reply {
    let number = |key, default| {
        ask.query
            .get(key)
            .map_or(default, |v| v.parse().unwrap_or(0))
    };
    let (page, size): (usize, usize) = (number("page", 1), number("per_page", 20));
    if page == 0 || !(1..=200).contains(&size) {
        return error(
            422,
            "unprocessable_entity",
            "per_page must be between 1 and 200",
        );
    }
    // The filter wants the whole name.
    let fits = |entry: &Entry| {
        let is = |key: &str, value: &str| ask.query.get(key).is_none_or(|wanted| wanted == value);
        is("name", &entry.name) && is("type", &entry.kind)
    };
    let all: Vec<Entry> = store.listed(zone).into_iter().filter(fits).collect();
    let shown: Vec<Value> = all
        .iter()
        .skip((page - 1) * size)
        .take(size)
        .map(|entry| shown(entry, zone))
        .collect();
    let more = page * size < all.len();
    let pages = match more {
        true => {
            json!({"next": format!("https://api.digitalocean.com/v2/domains/{zone}/records?page={}", page + 1)})
        }
        false => json!({}),
    };
    Reply::json(
        200,
        &json!({"domain_records": shown, "links": {"pages": pages}, "meta": {"total": all.len()}}),
    )
}

fn shown(entry: &Entry, zone: &str) -> Value {
    json!({
        "id": entry.id, "type": entry.kind, "name": below(&entry.name, zone),
        "data": entry.content, "priority": null, "port": null, "ttl": entry.ttl,
        "weight": null, "flags": null, "tag": null,
    })
}

fn create(store: &mut Store, zone: &str, body: &Value) -> Reply {
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let (below, kind, data) = (text("name"), text("type"), text("data"));
    let ttl = body["ttl"].as_u64().unwrap_or(1800);
    let unprocessable = |message: &str| error(422, "unprocessable_entity", message);
    if ttl < 30 {
        return unprocessable("TTL must be at least 30 seconds");
    }
    if below.ends_with(zone) || below.is_empty() {
        return unprocessable("Name must be relative to the domain");
    }
    let name = match below.as_str() {
        "@" => zone.to_owned(),
        below => format!("{below}.{zone}"),
    };
    let good = match kind.as_str() {
        "A" => data.parse::<std::net::Ipv4Addr>().is_ok(),
        "AAAA" => data.parse::<std::net::Ipv6Addr>().is_ok(),
        "CNAME" => data.ends_with('.'),
        "TXT" => !data.is_empty(),
        _ => false,
    };
    if !good {
        return unprocessable("Data needs to be valid, and to end with a dot (.)");
    }
    let alone = kind == "CNAME" && store.clashes(&name, &kind);
    if alone || kind != "CNAME" && !store.at(&name, "CNAME").is_empty() {
        return unprocessable("CNAME records cannot share a name with other records");
    }
    let id = store.insert(zone, &name, &kind, &data, u32::try_from(ttl).unwrap());
    let entry = store.entries.iter().find(|entry| entry.id == id).unwrap();
    Reply::json(201, &json!({"domain_record": shown(entry, zone)}))
}

fn not_found() -> Reply {
    error(
        404,
        "not_found",
        "The resource you were accessing could not be found.",
    )
}

fn error(status: u16, id: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"id": id, "message": message}))
}
