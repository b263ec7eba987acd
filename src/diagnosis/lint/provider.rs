//! The spec of a DnsProvider or ClusterDnsProvider: every rule that needs no network, once more
//! than in the CRD.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::provider_api::{is_plain_url, lint_api};
use super::spec_hosting::is_object_name;
use crate::diagnosis::spec::{ProviderFields, Rfc2136Fields, SecretKeyFields, ServiceFields};
use crate::diagnosis::text::quote;
use crate::diagnosis::{Code, Finding};
use crate::dns_services::SERVICES;
use crate::limits::{OWN_NAME_SERVERS, PROVIDER_ZONES, SPEC_LIST_COUNT};
use crate::protocol::HostName;

/// Longest zone of the operator's own in characters: names of domains have to fit below it.
const LONGEST_ZONE: usize = 200;

const ALGORITHMS: [&str; 3] = ["hmac-sha256", "hmac-sha384", "hmac-sha512"];

/// What is wrong with the spec of a provider. It is valid if nothing is.
pub fn lint_provider(fields: &ProviderFields<'_>) -> Vec<Finding> {
    // Named one by one, so that a new field cannot be forgotten here.
    let ProviderFields {
        cluster,
        zones: written_zones,
        allowed_namespaces,
        services,
    } = fields;
    let mut findings = zones(written_zones, *cluster);
    findings.extend(selector(allowed_namespaces.as_deref(), *cluster));
    findings.extend(match services.as_slice() {
        [ServiceFields::DnsEndpoint] if !*cluster => vec![finding(
            "spec.dnsEndpoint",
            "this may stand in a ClusterDnsProvider only: external-dns writes with credentials of the cluster",
            "make it a ClusterDnsProvider, with zones and allowedNamespaces",
        )],
        [one] => service(one),
        several => not_one(several.len()),
    });
    findings
}

fn not_one(count: usize) -> Vec<Finding> {
    let message = match count {
        0 => "no service is named",
        _ => "several services are named",
    };
    let blocks: Vec<&str> = SERVICES
        .iter()
        .filter_map(|service| service.block)
        .collect();
    let remedy = format!(
        "write exactly one of rfc2136, {}, service, webhook, dnsEndpoint and authoritative",
        blocks.join(", ")
    );
    vec![finding("spec", message, &remedy)]
}

fn service(fields: &ServiceFields<'_>) -> Vec<Finding> {
    match fields {
        ServiceFields::Rfc2136(fields) => rfc2136(fields),
        ServiceFields::Api(fields) => lint_api(fields),
        ServiceFields::Webhook(url) => {
            let remedy =
                "write a URL with host, port and path only, such as http://webhook.dns.svc:8888";
            let found = text("spec.webhook.url", url, is_plain_url(url), remedy);
            found.into_iter().collect()
        }
        ServiceFields::Authoritative { zone, name_servers } => authoritative(zone, name_servers),
        ServiceFields::DnsEndpoint => Vec::new(),
    }
}

fn authoritative(zone: &str, name_servers: &[String]) -> Vec<Finding> {
    let own = HostName::parse(zone)
        .ok()
        .filter(|_| zone.len() <= LONGEST_ZONE);
    let remedy = "write a zone in lower-case A-labels without a final dot, such as sts.example.net";
    let mut findings: Vec<Finding> = text("spec.authoritative.zone", zone, own.is_some(), remedy)
        .into_iter()
        .collect();
    let subject = "spec.authoritative.nameServers";
    if !(1..=OWN_NAME_SERVERS).contains(&name_servers.len()) {
        let message = format!("{} name servers are written", name_servers.len());
        let remedy =
            format!("write from one to {OWN_NAME_SERVERS} names, such as [ns1.example.net]");
        findings.push(finding(subject, &message, &remedy));
    }
    let mut seen = BTreeSet::new();
    for (index, server) in name_servers.iter().take(OWN_NAME_SERVERS).enumerate() {
        let read = HostName::parse(server);
        let within = |name: &HostName| {
            own.as_ref()
                .is_some_and(|own| name == own || name.is_below(own))
        };
        let (message, remedy) = match &read {
            Err(_) => (
                "this is no name of a name server",
                "write it in lower case without a final dot, such as ns1.example.net",
            ),
            Ok(name) if within(name) => (
                "the name is within the zone, where nobody answers for its address",
                "write a name outside of the zone, such as ns1.example.net for sts.example.net",
            ),
            Ok(_) if !seen.insert(server) => ("the name server stands twice", "write it once"),
            Ok(_) => continue,
        };
        let found = finding(&format!("{subject}[{index}]"), message, remedy);
        findings.push(found.with_evidence(&quote(server.as_bytes())));
    }
    findings
}

fn rfc2136(fields: &Rfc2136Fields<'_>) -> Vec<Finding> {
    let Rfc2136Fields {
        server,
        zone,
        key_name,
        algorithm,
        secret,
    } = fields;
    let texts = [
        text("spec.rfc2136.server", server, is_server(server), "write the primary name server as a full host name in lower case or an IP address, with its port if that is not 53: ns1.example.org, 192.0.2.53:53 or [2001:db8::53]:53"),
        zone.and_then(|zone| text("spec.rfc2136.zone", zone, HostName::parse(zone).is_ok(), "write a zone in lower-case A-labels without a final dot, such as example.org, or leave it out")),
        text("spec.rfc2136.tsig.keyName", key_name, is_key_name(key_name), "write the name of the TSIG key as the name server knows it, without a final dot"),
        algorithm.and_then(|name| text("spec.rfc2136.tsig.algorithm", name, ALGORITHMS.contains(&name), "write hmac-sha256, hmac-sha384 or hmac-sha512, as the name server's key has it")),
    ];
    let mut findings: Vec<Finding> = texts.into_iter().flatten().collect();
    findings.extend(secret_key("spec.rfc2136.tsig.secretRef", *secret));
    findings
}

pub(super) fn finding(subject: &str, message: &str, remedy: &str) -> Finding {
    Finding::new(Code::SpecDnsProviderInvalid, subject, message).with_remedy(remedy)
}

pub(super) fn text(subject: &str, written: &str, good: bool, remedy: &str) -> Option<Finding> {
    if good {
        return None;
    }
    let message = match written.is_empty() {
        true => "this is missing",
        false => "this may not stand here",
    };
    let found = finding(subject, message, remedy);
    Some(match written.is_empty() {
        true => found,
        false => found.with_evidence(&quote(written.as_bytes())),
    })
}

/// A reference to a key of a Secret. The key that was written is not shown: it may be the secret
/// itself, put into the wrong field.
pub(super) fn secret_key(subject: &str, written: SecretKeyFields<'_>) -> Vec<Finding> {
    let SecretKeyFields { name, key } = written;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let good = (1..=253).contains(&key.len()) && key.bytes().all(allowed);
    let key_finding = (!good).then(|| {
        let remedy = "write the name of a key in the Secret (not its value): letters, digits, `-`, `_` and `.`";
        finding(&format!("{subject}.key"), "this is no name of a key", remedy)
    });
    secret_name(subject, name)
        .into_iter()
        .chain(key_finding)
        .collect()
}

pub(super) fn secret_name(subject: &str, name: &str) -> Option<Finding> {
    let remedy = "write the metadata.name of the Secret";
    text(
        &format!("{subject}.name"),
        name,
        is_object_name(name),
        remedy,
    )
}

fn zones(written: &[String], cluster: bool) -> Vec<Finding> {
    let subject = "spec.zones";
    if written.len() > PROVIDER_ZONES {
        let message = format!(
            "{} zones, at most {PROVIDER_ZONES} are allowed",
            written.len()
        );
        return vec![finding(subject, &message, "write \"*\" for all zones")];
    }
    if written.is_empty() && cluster {
        let remedy = "write the zones that may be written, or [\"*\"] for all that the server has";
        return vec![finding(subject, "zones are missing", remedy)];
    }
    let mut seen = BTreeSet::new();
    written
        .iter()
        .enumerate()
        .filter_map(|(index, zone)| {
            let message = if zone != "*" && HostName::parse(zone).is_err() {
                "this is no zone"
            } else if !seen.insert(zone) {
                "the zone stands twice"
            } else {
                return None;
            };
            let remedy = "write each zone once, in lower-case A-labels without a final dot, such as example.org, or \"*\" for all";
            let found = finding(&format!("{subject}[{index}]"), message, remedy);
            Some(found.with_evidence(&quote(zone.as_bytes())))
        })
        .collect()
}

fn selector(expressions: Option<&[(&str, usize)]>, cluster: bool) -> Vec<Finding> {
    let subject = "spec.allowedNamespaces";
    let Some(expressions) = expressions else {
        let remedy = "write which namespaces may use it, by their labels, or {} for all";
        let missing = finding(subject, "it is missing", remedy);
        return cluster.then_some(missing).into_iter().collect();
    };
    if expressions.len() > SPEC_LIST_COUNT {
        let message = format!(
            "{} expressions, at most {SPEC_LIST_COUNT} are allowed",
            expressions.len()
        );
        return vec![finding(
            subject,
            &message,
            "give the namespaces a label of their own",
        )];
    }
    let wrong = expressions
        .iter()
        .enumerate()
        .filter_map(|(index, (operator, values))| {
            let remedy = match (*operator, values) {
                ("In" | "NotIn", 0) => "write values: with one or more labels' values",
                ("Exists" | "DoesNotExist", 1..) => "delete values, or write In or NotIn",
                ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => return None,
                _ => "write the operator In, NotIn, Exists or DoesNotExist",
            };
            let subject = format!("{subject}.matchExpressions[{index}]");
            let found = finding(&subject, "operator and values do not fit together", remedy);
            Some(found.with_evidence(&quote(operator.as_bytes())))
        });
    wrong.collect()
}

fn is_key_name(name: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let inner = |b: u8| edge(Some(b)) || matches!(b, b'-' | b'.');
    name.len() <= 253
        && edge(name.bytes().next())
        && edge(name.bytes().last())
        && name.bytes().all(inner)
}

/// A host name of two labels or more, an IPv4 address, or an IPv6 address in brackets, each with
/// or without a port.
fn is_server(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // The colon stands within the brackets of an address.
        Some((_, rest)) if rest.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let port_is_good = port.is_none_or(|port| {
        let digits = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
        digits && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host_is_good = match bracketed {
        Some(inside) => inside
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.to_ipv4_mapped().is_none()),
        None => host.parse::<Ipv4Addr>().is_ok() || HostName::parse(host).is_ok(),
    };
    port_is_good && host_is_good
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(fields: &ProviderFields<'_>) -> Vec<String> {
        let findings = lint_provider(fields);
        findings
            .into_iter()
            .map(|finding| finding.subject)
            .collect()
    }

    fn good() -> ProviderFields<'static> {
        with_key("key")
    }

    fn with_key(key: &'static str) -> ProviderFields<'static> {
        let rfc2136 = Rfc2136Fields {
            server: "192.0.2.53",
            key_name: "mta-sts",
            secret: SecretKeyFields { name: "tsig", key },
            ..Rfc2136Fields::default()
        };
        ProviderFields {
            services: vec![ServiceFields::Rfc2136(rfc2136)],
            ..ProviderFields::default()
        }
    }

    #[test]
    fn exactly_one_service_is_named() {
        let mut none = good();
        none.services.clear();
        assert_eq!(subjects(&none), ["spec"]);
        let mut two = good();
        two.services.extend(good().services);
        assert_eq!(subjects(&two), ["spec"]);
    }

    #[test]
    fn the_smallest_provider_is_good() {
        assert_eq!(subjects(&good()), [""; 0]);
    }

    #[test]
    fn a_cluster_provider_says_whom_it_serves_and_which_zones() {
        let cluster = ProviderFields {
            cluster: true,
            ..good()
        };
        assert_eq!(subjects(&cluster), ["spec.zones", "spec.allowedNamespaces"]);
        let zones = ["*".to_owned()];
        let open = ProviderFields {
            zones: &zones,
            allowed_namespaces: Some(Vec::new()),
            ..cluster
        };
        assert_eq!(subjects(&open), [""; 0]);
    }

    #[test]
    fn a_server_is_a_name_or_an_address_with_or_without_a_port() {
        for (server, expected) in [
            ("ns1.example.org", true),
            ("ns1.example.org:5353", true),
            ("192.0.2.53", true),
            ("192.0.2.53:53", true),
            ("[2001:db8::53]", true),
            ("[2001:db8::53]:53", true),
            ("[::ffff:192.0.2.53]:53", false),
            ("", false),
            ("ns1", false),
            ("NS1.example.org", false),
            ("ns1.example.org.", false),
            ("999.0.2.53", false),
            ("2001:db8::53", false),
            ("[2001:db8::53", false),
            ("[192.0.2.53]", false),
            ("192.0.2.53:0", false),
            ("192.0.2.53:+53", false),
            ("192.0.2.53:65536", false),
            ("192.0.2.53:", false),
            ("ns1.example.org\n", false),
            ("\u{1b}[31m.example.org", false),
        ] {
            assert_eq!(is_server(server), expected, "{server:?}");
        }
    }

    #[test]
    fn the_secret_in_the_wrong_field_is_not_shown() {
        let fields = with_key("Y2FuYXJ5IGJpcmQ=");
        let findings = lint_provider(&fields);
        assert_eq!(findings.len(), 1);
        assert!(!format!("{findings:?}").contains("Y2FuYXJ5"));
    }
}
