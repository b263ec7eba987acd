//! What the API server refuses by itself: each wrong field of each kind, with a sentence that says
//! what to write. The linter refuses the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use clap::Parser;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::api::{Api, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::{ApiResource, DynamicObject};
use kube::{Client, ResourceExt};
use mta_sts_operator::api::{ClusterDnsProvider, DnsProvider, MtaStsPolicy, crds};
use mta_sts_operator::cli::lint::{self, LintArgs};
use mta_sts_operator::cli::output::Streams;
use serde_json::{Value, json};
use support::kube::ApiServer;
use support::world::merge;

/// How a wrong object differs from a good one, and what the refusal says.
struct Case {
    name: &'static str,
    change: Value,
    says: &'static str,
}

fn case(name: &'static str, change: Value, says: &'static str) -> Case {
    Case { name, change, says }
}

/// Create and apply word it differently.
const DUPLICATE: &str = "uplicate ";

/// A kind with an object of it that has every field.
struct Kind {
    resource: ApiResource,
    namespaced: bool,
    full: Value,
}

fn policy() -> Kind {
    Kind {
        resource: ApiResource::erase::<MtaStsPolicy>(&()),
        namespaced: true,
        full: json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "MtaStsPolicy",
        "metadata": {"name": "full"},
        "spec": {
            "domain": "example.org",
            "mode": "enforce",
            "mx": ["mail.example.org", "*.mx.example.net"],
            "mxPresets": ["google-workspace"],
            "maxAgeSeconds": 604_800,
            "dns": {"providerRef": {"kind": "ClusterDnsProvider", "name": "bind"},
                "ttlSeconds": 300, "adopt": true},
            "hosting": {
                "ingress": {"className": "front",
                    "annotations": {"external-dns.alpha.kubernetes.io/ttl": "60",
                        "nginx.ingress.kubernetes.io/whitelist-source-range": "192.0.2.0/24, 2001:db8::/32"},
                    "tls": {"issuerRef": {"kind": "ClusterIssuer", "name": "ca"}}},
                "address": {"ipv4": ["192.0.2.1"], "ipv6": ["2001:db8::1"]},
            },
            "suspend": false,
        }}),
    }
}

fn provider_spec() -> Value {
    json!({"zones": ["example.org", "xn--bcher-kva.example"],
        "rfc2136": {"server": "192.0.2.53:5353", "zone": "example.org",
            "tsig": {"keyName": "mta-sts_key.example", "algorithm": "hmac-sha512",
                "secretRef": {"name": "tsig", "key": "tls.key"}}}})
}

fn provider() -> Kind {
    Kind {
        resource: ApiResource::erase::<DnsProvider>(&()),
        namespaced: true,
        full: json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "DnsProvider",
            "metadata": {"name": "full"}, "spec": provider_spec()}),
    }
}

fn cluster_provider() -> Kind {
    let mut spec = provider_spec();
    spec["allowedNamespaces"] = json!({"matchLabels": {"team": "mail"},
        "matchExpressions": [{"key": "env", "operator": "In", "values": ["prod"]},
            {"key": "old", "operator": "DoesNotExist"}]});
    Kind {
        resource: ApiResource::erase::<ClusterDnsProvider>(&()),
        namespaced: false,
        full: json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "ClusterDnsProvider",
            "metadata": {"name": "full"}, "spec": spec}),
    }
}

fn spec(fields: Value) -> Value {
    json!({"spec": fields})
}

fn domains() -> Vec<Case> {
    const WRITE: &str = "write the domain as a host name in lower-case A-labels";
    let long = format!("{}.example", vec!["a".repeat(60); 4].join("."));
    assert!((243..=253).contains(&long.len()));
    let domain = |name, domain: &str| case(name, spec(json!({"domain": domain})), WRITE);
    vec![
        case(
            "domain missing",
            spec(json!({"domain": null})),
            "spec.domain: Required value",
        ),
        case(
            "domain empty",
            spec(json!({"domain": ""})),
            "write the mail domain",
        ),
        case(
            "domain too long",
            spec(json!({"domain": long})),
            "more than 242 characters",
        ),
        case(
            "domain far too long",
            spec(json!({"domain": format!("{long}.{long}")})),
            "more than 242 characters",
        ),
        case(
            "domain of 64 kB",
            spec(json!({"domain": "a.".repeat(32 * 1024)})),
            "spec.domain: Too long",
        ),
        domain("domain as a U-label", "bücher.example"),
        domain("domain in capitals", "Example.org"),
        domain("domain with a final dot", "example.org."),
        domain("domain an IPv4 address", "192.0.2.1"),
        domain("domain an IPv6 address", "2001:db8::1"),
        domain("domain of one label", "localhost"),
        domain("domain with an underscore", "_mta-sts.example.org"),
        domain("domain a wildcard", "*.example.org"),
        domain("domain with a mail address", "info@example.org"),
        domain("domain with a scheme", "https://example.org"),
        domain(
            "domain with a label of 64",
            &format!("{}.example", "a".repeat(64)),
        ),
        domain("domain with an empty label", "a..example"),
        domain("domain with a hyphen at the edge", "-a.example"),
        domain("domain with LF", "example.org\nmx: evil.example"),
        domain("domain with a final LF", "example.org\n"),
        domain("domain with CR", "example.org\r"),
        domain("domain with NUL", "exam\0ple.org"),
        domain("domain with a semicolon", "example.org;"),
        domain("domain in quotes", "\"example.org\""),
        domain("domain with a space", "example.org "),
    ]
}

fn patterns() -> Vec<Case> {
    const WRITE: &str = "write an MX host name in lower-case A-labels";
    let mx = |name, mx: &str| case(name, spec(json!({"mx": [mx]})), WRITE);
    let many: Vec<String> = (0..101).map(|n| format!("mx{n}.example.org")).collect();
    let long: Vec<String> = (0..40)
        .map(|n| format!("{n}.{}.example", vec!["a".repeat(50); 3].join(".")))
        .collect();
    assert!(long.concat().len() > 6 * 1024);
    vec![
        mx("mx an IPv4 address", "192.0.2.1"),
        mx("mx an IPv6 address", "2001:db8::1"),
        mx("mx an address literal", "[192.0.2.1]"),
        mx("mx as a U-label", "mail.bücher.example"),
        mx("mx in capitals", "Mail.example.org"),
        mx("mx with a leading dot", ".example.org"),
        mx("mx with a final dot", "mail.example.org."),
        mx("mx with an underscore", "mail_1.example.org"),
        mx("mx with a priority", "10 mail.example.org"),
        mx("mx with a port", "mail.example.org:25"),
        mx("mx with a scheme", "smtp://mail.example.org"),
        mx("mx with its key", "mx: mail.example.org"),
        mx("mx a comma list", "a.example.org,b.example.org"),
        mx("mx in quotes", "\"mail.example.org\""),
        mx("mx empty", ""),
        mx("mx a star", "*"),
        mx("mx of one label", "localhost"),
        mx("mx a partial wildcard", "mail*.example.org"),
        mx("mx a wildcard inside", "a.*.example.org"),
        mx("mx two wildcards", "*.*.example.org"),
        mx("mx with LF", "mail.example.org\nmode: none"),
        mx("mx with a final LF", "mail.example.org\n"),
        mx("mx with CR", "mail.example.org\r"),
        mx("mx with NUL", "mail\0.example.org"),
        mx("mx with a semicolon", "mail.example.org;"),
        case(
            "mx a wildcard of a top-level domain",
            spec(json!({"mx": ["*.example"]})),
            "a wildcard needs two labels or more after it",
        ),
        case(
            "mx of 64 kB",
            spec(json!({"mx": ["a.".repeat(32 * 1024)]})),
            "spec.mx[0]: Too long",
        ),
        case(
            "mx with 101 entries",
            spec(json!({"mx": many})),
            "must have at most 100 items",
        ),
        case(
            "mx above 6 KiB",
            spec(json!({"mx": long})),
            "spec.mx is longer than 6 KiB",
        ),
        case(
            "mx twice",
            spec(json!({"mx": ["mail.example.org", "mail.example.org"]})),
            DUPLICATE,
        ),
        case(
            "mx no list",
            spec(json!({"mx": "mail.example.org"})),
            "spec.mx",
        ),
        case(
            "preset unknown",
            spec(json!({"mxPresets": ["google"]})),
            "supported values: \"google-workspace\", \"microsoft-365\", \"cloudflare-email-routing\"",
        ),
        case(
            "preset twice",
            spec(json!({"mxPresets": ["google-workspace", "google-workspace"]})),
            DUPLICATE,
        ),
        case(
            "neither mx nor preset in enforce",
            spec(json!({"mx": null, "mxPresets": null})),
            "write at least one MX pattern in spec.mx, or a provider in spec.mxPresets",
        ),
        case(
            "empty mx in testing",
            spec(json!({"mode": "testing", "mx": [], "mxPresets": []})),
            "write at least one MX pattern in spec.mx, or a provider in spec.mxPresets",
        ),
        case(
            "no mx by default",
            spec(json!({"mode": null, "mx": null, "mxPresets": null})),
            "write at least one MX pattern in spec.mx, or a provider in spec.mxPresets",
        ),
    ]
}

fn numbers_and_references() -> Vec<Case> {
    const MODES: &str = "supported values: \"enforce\", \"testing\", \"none\"";
    const SECONDS: &str = "write a number of seconds from 1 to 31557600";
    const TTL: &str = "write a number of seconds from 30 to 86400";
    const NAME: &str = "write the name of an object: lower-case letters, digits";
    let max_age = |name, seconds: i64| case(name, spec(json!({"maxAgeSeconds": seconds})), SECONDS);
    let ttl = |name, seconds: i64| case(name, spec(json!({"dns": {"ttlSeconds": seconds}})), TTL);
    let reference =
        |name, fields: Value, says| case(name, spec(json!({"dns": {"providerRef": fields}})), says);
    vec![
        case("mode misspelt", spec(json!({"mode": "enforced"})), MODES),
        case("mode in capitals", spec(json!({"mode": "Testing"})), MODES),
        case("mode empty", spec(json!({"mode": ""})), MODES),
        case(
            "mode with LF",
            spec(json!({"mode": "none\nmx: a.example"})),
            MODES,
        ),
        max_age("maxAgeSeconds 0", 0),
        max_age("maxAgeSeconds above a year", 31_557_601),
        max_age("maxAgeSeconds negative", -1),
        max_age("maxAgeSeconds enormous", i64::MAX),
        case(
            "maxAgeSeconds with a unit",
            spec(json!({"maxAgeSeconds": "1d"})),
            "spec.maxAgeSeconds",
        ),
        ttl("ttlSeconds 29", 29),
        ttl("ttlSeconds above a day", 86_401),
        ttl("ttlSeconds negative", -1),
        reference(
            "providerRef without a name",
            json!({"name": null}),
            "spec.dns.providerRef.name: Required value",
        ),
        reference("providerRef with an empty name", json!({"name": ""}), NAME),
        reference("providerRef with a path", json!({"name": "../bind"}), NAME),
        reference(
            "providerRef of an unknown kind",
            json!({"kind": "Secret"}),
            "supported values: \"DnsProvider\", \"ClusterDnsProvider\"",
        ),
        case(
            "suspend no flag",
            spec(json!({"suspend": "yes"})),
            "spec.suspend",
        ),
    ]
}

fn hosting() -> Vec<Case> {
    const ADDRESS: &str = "write exactly one of cname, addresses (ipv4 and/or ipv6), and none: {}";
    const TLS: &str = "write exactly one of secretName";
    const NAME: &str = "write the name of an object: lower-case letters, digits";
    const HOST: &str = "write a host name in lower case without a final dot";
    let address = |name, fields: Value, says| {
        let mut only = json!({"cname": null, "ipv4": null, "ipv6": null, "none": null});
        merge(&mut only, json!({}));
        for (key, value) in fields.as_object().unwrap() {
            only[key] = value.clone();
        }
        case(name, spec(json!({"hosting": {"address": only}})), says)
    };
    let ingress =
        |name, fields: Value, says| case(name, spec(json!({"hosting": {"ingress": fields}})), says);
    let tls = |name, fields: Value, says| {
        case(
            name,
            spec(json!({"hosting": {"ingress": {"tls": fields}}})),
            says,
        )
    };
    let gateway = |name, parents: Value, says| {
        let hosting = json!({"ingress": null, "gateway": {"parentRefs": parents}});
        case(name, spec(json!({"hosting": hosting})), says)
    };
    vec![
        case(
            "hosting both ways",
            spec(json!({"hosting": {"external": {}}})),
            "write one of ingress, gateway and external, not several",
        ),
        gateway("no Gateway", json!([]), "should have at least 1 items"),
        gateway(
            "a Gateway without its namespace",
            json!([{"name": "edge"}]),
            "parentRefs[0].namespace: Required value",
        ),
        gateway(
            "a Gateway twice",
            json!([{"namespace": "edge", "name": "edge"}, {"name": "edge", "namespace": "edge"}]),
            "write each Gateway once",
        ),
        gateway(
            "too many Gateways",
            json!(
                (0..5)
                    .map(|n| json!({"namespace": "edge", "name": format!("edge-{n}")}))
                    .collect::<Vec<_>>()
            ),
            "must have at most 4 items",
        ),
        gateway(
            "a Gateway with LF",
            json!([{"namespace": "edge", "name": "edge\n"}]),
            "write the name of an object",
        ),
        gateway(
            "a listener of no name",
            json!([{"namespace": "edge", "name": "edge", "sectionName": "Https"}]),
            "write the name of an object",
        ),
        gateway(
            "port 0",
            json!([{"namespace": "edge", "name": "edge", "port": 0}]),
            "write a port from 1 to 65535",
        ),
        address("address of no form", json!({}), ADDRESS),
        address(
            "address of empty lists",
            json!({"ipv4": [], "ipv6": []}),
            ADDRESS,
        ),
        address(
            "address of two forms",
            json!({"cname": "front.example.net", "ipv4": ["192.0.2.1"]}),
            ADDRESS,
        ),
        address(
            "address and none",
            json!({"none": {}, "ipv6": ["2001:db8::1"]}),
            ADDRESS,
        ),
        address(
            "IPv6 as IPv4",
            json!({"ipv4": ["2001:db8::1"]}),
            "write an IPv4 address such as 192.0.2.1",
        ),
        address(
            "IPv4 as IPv6",
            json!({"ipv6": ["192.0.2.1"]}),
            "write an IPv6 address such as 2001:db8::1",
        ),
        address(
            "a name as IPv4",
            json!({"ipv4": ["front.example.net"]}),
            "write an IPv4 address",
        ),
        address(
            "IPv4 with LF",
            json!({"ipv4": ["192.0.2.1\n"]}),
            "write an IPv4 address",
        ),
        address(
            "IPv4 twice",
            json!({"ipv4": ["192.0.2.1", "192.0.2.1"]}),
            DUPLICATE,
        ),
        address(
            "one IPv6 address in two spellings",
            json!({"ipv6": ["2001:db8::1", "2001:DB8:0::1"]}),
            "write each address once",
        ),
        address(
            "17 addresses",
            json!({"ipv4": (1..=17).map(|n| format!("192.0.2.{n}")).collect::<Vec<_>>()}),
            "must have at most 16 items",
        ),
        address(
            "cname in capitals",
            json!({"cname": "Front.example.net"}),
            HOST,
        ),
        address(
            "cname with a final dot",
            json!({"cname": "front.example.net."}),
            HOST,
        ),
        address("cname an address", json!({"cname": "192.0.2.1"}), HOST),
        address(
            "cname with LF",
            json!({"cname": "front.example.net\n"}),
            HOST,
        ),
        address(
            "cname to itself",
            json!({"cname": "mta-sts.example.org"}),
            "the policy host cannot be an alias of itself",
        ),
        ingress("class in capitals", json!({"className": "Nginx"}), NAME),
        ingress("class with LF", json!({"className": "nginx\n"}), NAME),
        ingress("class empty", json!({"className": ""}), NAME),
        tls("tls both ways", json!({"secretName": "tls"}), TLS),
        tls("tls neither way", json!({"issuerRef": null}), TLS),
        tls(
            "issuer without a name",
            json!({"issuerRef": {"name": null}}),
            "issuerRef.name: Required value",
        ),
        tls(
            "issuer with a path",
            json!({"issuerRef": {"name": "a/b"}}),
            NAME,
        ),
        tls(
            "issuer of an unknown kind",
            json!({"issuerRef": {"kind": "Secret"}}),
            "supported values: \"Issuer\", \"ClusterIssuer\"",
        ),
        tls(
            "Secret with a path",
            json!({"secretName": "../tls", "issuerRef": null}),
            NAME,
        ),
    ]
}

fn annotations() -> Vec<Case> {
    const CONFIGURATION: &str = "annotations that carry configuration";
    const VALUE: &str =
        "write a value without control characters, semicolons, quotes, braces and backslashes";
    const KEY: &str = "write the key of an annotation as prefix/name";
    let annotated = |name, key: &str, value: &str, says| {
        let fields = json!({"hosting": {"ingress": {"annotations": {key: value}}}});
        case(name, spec(fields), says)
    };
    let key = |name, key: &str| annotated(name, key, "x", CONFIGURATION);
    let value = |name, value: &str| annotated(name, "example.org/a", value, VALUE);
    let many: serde_json::Map<_, _> = (0..33)
        .map(|n| (format!("example.org/a{n}"), json!("x")))
        .collect();
    vec![
        key(
            "a server snippet",
            "nginx.ingress.kubernetes.io/server-snippet",
        ),
        key(
            "a snippet in capitals",
            "nginx.ingress.kubernetes.io/Auth-Snippet",
        ),
        key(
            "snippets of another controller",
            "nginx.org/location-snippets",
        ),
        key("a Lua plugin", "nginx.ingress.kubernetes.io/lua-resty-waf"),
        key(
            "a configuration of HAProxy",
            "haproxy-ingress.github.io/config-backend",
        ),
        value("annotation with LF", "x\ny"),
        value("annotation with CR", "x\ry"),
        value("annotation with NUL", "x\0y"),
        value("annotation with an escape", "x\u{1b}[31m"),
        annotated(
            "annotation with a C1 control",
            "example.org/a",
            "x\u{9b}31m",
            "control characters",
        ),
        value("annotation with a semicolon", "x;y"),
        value("annotation with a double quote", "x\"y"),
        value("annotation with a single quote", "x'y"),
        value("annotation with a back quote", "x`y"),
        value("annotation with an opening brace", "x{y"),
        value("annotation with a closing brace", "x}y"),
        value("annotation with a backslash", "x\\y"),
        annotated(
            "annotation of 64 kB",
            "example.org/a",
            &"a".repeat(64 * 1024),
            "Too long",
        ),
        annotated(
            "annotation with LF in its key",
            "example.org/a\nb",
            "x",
            KEY,
        ),
        annotated("annotation with two slashes", "a/b/c", "x", KEY),
        annotated("annotation without a name", "example.org/", "x", KEY),
        annotated(
            "annotation with a name of 64",
            &format!("example.org/{}", "a".repeat(64)),
            "x",
            KEY,
        ),
        case(
            "33 annotations",
            spec(json!({"hosting": {"ingress": {"annotations": many}}})),
            "must have at most 32 items",
        ),
    ]
}

/// What both provider kinds refuse.
fn providers() -> Vec<Case> {
    const SERVER: &str =
        "write the primary name server as a full host name in lower case or an IP address";
    const ZONE: &str = "write a zone in lower-case A-labels without a final dot";
    const KEY: &str = "write the name of the TSIG key as the name server knows it";
    let rfc2136 = |name, fields: Value, says| case(name, spec(json!({"rfc2136": fields})), says);
    let server = |name, server: &str| rfc2136(name, json!({"server": server}), SERVER);
    let tsig = |name, fields: Value, says| rfc2136(name, json!({"tsig": fields}), says);
    let zone = |name, zone: &str| case(name, spec(json!({"zones": [zone]})), ZONE);
    const ONE: &str = "write exactly one of rfc2136, cloudflare, route53";
    const URL: &str = "write an https URL with host, port and path only";
    let secret = || json!({"name": "credentials", "key": "key"});
    let own = |fields: Value| {
        let mut own = json!({"zone": "sts.example.net",
            "nameServers": ["ns1.example.net", "ns2.example.net"]});
        merge(&mut own, fields);
        json!({"authoritative": own})
    };
    let service = |name, fields: Value, says| {
        let mut full = json!({"rfc2136": null});
        merge_all(&mut full, fields);
        case(name, spec(full), says)
    };
    vec![
        case("no service", spec(json!({"rfc2136": null})), ONE),
        case(
            "two services",
            spec(json!({"cloudflare": {"apiTokenSecretRef": {"name": "a", "key": "b"}}})),
            ONE,
        ),
        service(
            "a webhook without a scheme",
            json!({"webhook": {"url": "webhook:8888"}}),
            URL,
        ),
        service(
            "no name servers",
            own(json!({"nameServers": null})),
            "spec.authoritative.nameServers: Required value",
        ),
        service(
            "an empty list of name servers",
            own(json!({"nameServers": []})),
            "should have at least 1 items",
        ),
        service(
            "a name server twice",
            own(json!({"nameServers": ["ns1.example.net", "ns1.example.net"]})),
            DUPLICATE,
        ),
        service(
            "a name server with a final dot",
            own(json!({"nameServers": ["ns1.example.net."]})),
            "write the name of a name server in lower case",
        ),
        service(
            "a name server within the zone",
            own(json!({"nameServers": ["ns1.sts.example.net"]})),
            "write name servers whose names stand outside of the zone",
        ),
        service(
            "a zone in capitals",
            own(json!({"zone": "STS.example.net"})),
            "write a zone in lower-case A-labels",
        ),
        service(
            "a zone that is too long",
            own(json!({"zone": format!("{}.example.net", vec!["a".repeat(60); 4].join("."))})),
            "spec.authoritative.zone: Too long",
        ),
        service(
            "no token",
            json!({"cloudflare": {}}),
            "spec.cloudflare.apiTokenSecretRef: Required value",
        ),
        service(
            "a URL without a scheme",
            json!({"powerdns": {"url": "pdns.example.org", "apiKeySecretRef": secret()}}),
            URL,
        ),
        service(
            "a URL with a password",
            json!({"powerdns": {"url": "https://a:b@pdns.example.org", "apiKeySecretRef": secret()}}),
            URL,
        ),
        service(
            "a URL with LF",
            json!({"powerdns": {"url": "https://pdns.example.org\n", "apiKeySecretRef": secret()}}),
            URL,
        ),
        service(
            "an unknown endpoint",
            json!({"ovh": {"endpoint": "ovh-xx", "applicationKeySecretRef": secret(),
            "applicationSecretSecretRef": secret(), "consumerKeySecretRef": secret()}}),
            "supported values: \"ovh-eu\"",
        ),
        service(
            "an unknown service",
            json!({"service": {"name": "nobody", "credentialsSecretRef": {"name": "a"}}}),
            "supported values: \"alidns\"",
        ),
        service(
            "a setting with LF",
            json!({"service": {"name": "dnsimple", "config": {"accountId": "1\n2"},
            "credentialsSecretRef": {"name": "a"}}}),
            "write printable ASCII",
        ),
        service(
            "a key that is a secret",
            json!({"hetzner": {"apiTokenSecretRef": {"name": "a", "key": "a b"}}}),
            "write the name of a key",
        ),
        rfc2136(
            "no server",
            json!({"server": null}),
            "spec.rfc2136.server: Required value",
        ),
        server("server empty", ""),
        server("server in capitals", "NS1.example.org"),
        server("server of one label", "ns1"),
        server("server with a scheme", "dns://ns1.example.org"),
        server("server with a final dot", "ns1.example.org."),
        server("server no address", "999.0.2.53"),
        server("server an IPv6 address without brackets", "2001:db8::53"),
        server("server no IPv6 address", "[2001:db8::53::]:53"),
        server("server with a port of words", "ns1.example.org:dns"),
        server("server with port 0", "ns1.example.org:0"),
        server("server with a port above 65535", "192.0.2.53:65536"),
        server("server with an IPv6 address and port 0", "[2001:db8::53]:0"),
        server("server with LF", "ns1.example.org\n"),
        server("server with a list", "ns1.example.org,ns2.example.org"),
        rfc2136(
            "server of 64 kB",
            json!({"server": "a.".repeat(32 * 1024)}),
            "Too long",
        ),
        rfc2136(
            "zone with a final dot",
            json!({"zone": "example.org."}),
            "write a host name in lower case",
        ),
        rfc2136(
            "zone all zones",
            json!({"zone": "*"}),
            "write a host name in lower case",
        ),
        rfc2136(
            "no key",
            json!({"tsig": null}),
            "spec.rfc2136.tsig: Required value",
        ),
        tsig(
            "no key name",
            json!({"keyName": null}),
            "keyName: Required value",
        ),
        tsig("key name empty", json!({"keyName": ""}), KEY),
        tsig(
            "key name with a final dot",
            json!({"keyName": "mta-sts."}),
            KEY,
        ),
        tsig("key name with LF", json!({"keyName": "mta-sts\n"}), KEY),
        tsig("key name in quotes", json!({"keyName": "\"mta-sts\""}), KEY),
        tsig(
            "an unknown algorithm",
            json!({"algorithm": "hmac-md5"}),
            "supported values: \"hmac-sha256\", \"hmac-sha384\", \"hmac-sha512\"",
        ),
        tsig(
            "no Secret",
            json!({"secretRef": null}),
            "secretRef: Required value",
        ),
        tsig(
            "Secret without a key",
            json!({"secretRef": {"key": null}}),
            "secretRef.key: Required value",
        ),
        tsig(
            "Secret with a path",
            json!({"secretRef": {"name": "../tsig"}}),
            "write the name of an object",
        ),
        tsig(
            "the secret itself for its key",
            json!({"secretRef": {"key": "dGhlIHNlY3JldA=="}}),
            "write the name of a key in the Secret (not its value)",
        ),
        zone("zones with a final dot", "example.org."),
        zone("zones in capitals", "Example.org"),
        zone("zones a wildcard", "*.example.org"),
        zone("zones a U-label", "bücher.example"),
        zone("zones an address", "192.0.2.0"),
        zone("zones with LF", "example.org\n"),
        case(
            "zones twice",
            spec(json!({"zones": ["example.org", "example.org"]})),
            DUPLICATE,
        ),
        case(
            "101 zones",
            spec(json!({"zones": (0..101).map(|n| format!("z{n}.example")).collect::<Vec<_>>()})),
            "must have at most 100 items",
        ),
    ]
}

fn merge_all(into: &mut Value, from: Value) {
    let from = from.as_object().unwrap().clone();
    into.as_object_mut().unwrap().extend(from);
}

fn tenant_providers() -> Vec<Case> {
    let mut cases = providers();
    cases.push(case(
        "an external-dns of the cluster",
        spec(json!({"rfc2136": null, "dnsEndpoint": {}})),
        "dnsEndpoint may stand in a ClusterDnsProvider only",
    ));
    cases
}

fn cluster_providers() -> Vec<Case> {
    let selector =
        |name, fields: Value, says| case(name, spec(json!({"allowedNamespaces": fields})), says);
    let expression = |name, fields: Value| {
        selector(
            name,
            json!({"matchExpressions": [fields]}),
            "write values with the operators In and NotIn, and only there",
        )
    };
    let mut cases = providers();
    cases.extend([
        case(
            "no zones",
            spec(json!({"zones": null})),
            "spec.zones: Required value",
        ),
        case("empty zones", spec(json!({"zones": []})), "spec.zones"),
        selector(
            "no namespaces",
            Value::Null,
            "spec.allowedNamespaces: Required value",
        ),
        expression("In without values", json!({"key": "a", "operator": "In"})),
        expression(
            "Exists with values",
            json!({"key": "a", "operator": "Exists", "values": ["b"]}),
        ),
        selector(
            "an unknown operator",
            json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
            "supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\"",
        ),
    ]);
    cases
}

fn all() -> Vec<(Kind, Vec<Case>)> {
    let of_policies = [
        domains(),
        patterns(),
        numbers_and_references(),
        hosting(),
        annotations(),
    ];
    vec![
        (policy(), of_policies.into_iter().flatten().collect()),
        (provider(), tenant_providers()),
        (cluster_provider(), cluster_providers()),
    ]
}

fn changed(full: &Value, change: &Value) -> Value {
    let mut object = full.clone();
    merge(&mut object, change.clone());
    object
}

fn api_of(client: &Client, kind: &Kind) -> Api<DynamicObject> {
    match kind.namespaced {
        true => Api::namespaced_with(client.clone(), "default", &kind.resource),
        false => Api::all_with(client.clone(), &kind.resource),
    }
}

/// The two ways in: server-side apply, and create as kubectl and client-go do it.
async fn refusals(api: &Api<DynamicObject>, object: &Value) -> [(&'static str, String); 2] {
    let name = object["metadata"]["name"].as_str().unwrap();
    let params = PatchParams::apply("test").force();
    let applied = api.patch(name, &params, &Patch::Apply(object)).await;
    let parsed: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    let created = api.create(&PostParams::default(), &parsed).await;
    let text = |result: Result<DynamicObject, kube::Error>| match result {
        Ok(_) => "it was stored".to_owned(),
        Err(error) => error.to_string(),
    };
    [("apply", text(applied)), ("create", text(created))]
}

#[tokio::test]
async fn each_wrong_field_is_refused_with_a_sentence_that_says_what_to_write() {
    let api = ApiServer::start().await;
    api.install_crds().await;
    let client = api.client().await;
    let mut wrong = Vec::new();
    for (kind, cases) in all() {
        let api = api_of(&client, &kind);
        for case in cases {
            let object = changed(&kind.full, &case.change);
            for (way, said) in refusals(&api, &object).await {
                if !said.contains(case.says) {
                    let said: String = said.chars().take(600).collect();
                    wrong.push(format!(
                        "{} {}, {way}: {said}",
                        kind.resource.kind, case.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test]
async fn good_objects_are_accepted_and_their_domain_stays() {
    let api = ApiServer::start().await;
    api.install_crds().await;
    let client = api.client().await;
    let apply = async |kind: &Kind, object: &Value| {
        let params = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply("test").force()
        };
        let name = object["metadata"]["name"].as_str().unwrap();
        let api = api_of(&client, kind);
        api.patch(name, &params, &Patch::Apply(object)).await
    };
    for kind in [policy(), provider(), cluster_provider()] {
        apply(&kind, &kind.full).await.unwrap();
    }

    let kind = policy();
    let spec_of = |fields: Value| {
        json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "MtaStsPolicy",
        "metadata": {"name": "small"}, "spec": fields})
    };
    for fields in [
        json!({"domain": "example.com", "mx": ["mail.example.com"]}),
        json!({"domain": "example.com", "mxPresets": ["microsoft-365"]}),
        json!({"domain": "example.com", "mode": "none"}),
        json!({"domain": "example.com", "mode": "none", "mx": [], "hosting": {"external": {}}}),
    ] {
        let small = apply(&kind, &spec_of(fields.clone())).await.unwrap();
        assert_eq!(small.data["spec"]["dns"]["ttlSeconds"], 300, "{fields}");
        assert_eq!(
            small.data["status"]["observedGeneration"], -1,
            "never ready before it was seen"
        );
    }

    let moved = spec_of(json!({"domain": "example.net", "mx": ["mail.example.com"]}));
    let said = apply(&kind, &moved).await.unwrap_err().to_string();
    assert!(
        said.contains("the domain of an object cannot be changed"),
        "{said}"
    );

    let misspelt = spec_of(json!({"domain": "example.com", "mxs": ["mail.example.com"]}));
    let said = apply(&kind, &misspelt).await.unwrap_err().to_string();
    assert!(said.contains("spec.mxs"), "{said}");
}

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    lint: LintArgs,
}

/// The error findings of `mta-sts lint --as manifest`.
fn lint_errors(object: &Value) -> Vec<String> {
    let args = ["lint", "--as", "manifest", "--output", "json", "-"];
    let args = CommandLine::try_parse_from(args).unwrap().lint;
    let manifest = object.to_string();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = lint::run(
        &args,
        &mut Streams {
            stdin: &mut manifest.as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            terminal: false,
        },
    );
    let report: Value = serde_json::from_slice(&stdout).unwrap();
    let errors: Vec<String> = report["inputs"][0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .map(|finding| format!("{} {}", finding["code"], finding["subject"]))
        .collect();
    assert_eq!(
        code == 1,
        !errors.is_empty(),
        "{}",
        String::from_utf8_lossy(&stderr)
    );
    errors
}

#[test]
fn the_linter_refuses_what_the_api_server_refuses() {
    let mut wrong = Vec::new();
    for (kind, cases) in all() {
        let of_good = lint_errors(&kind.full);
        assert!(of_good.is_empty(), "{}: {of_good:?}", kind.resource.kind);
        for case in cases {
            if lint_errors(&changed(&kind.full, &case.change)).is_empty() {
                wrong.push(format!("{} {}", kind.resource.kind, case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "not refused:\n{}", wrong.join("\n"));
}

#[test]
fn every_field_is_described_and_every_definition_fits_its_annotation() {
    for crd in crds() {
        let name = crd.name_any();
        // kubectl apply keeps a whole copy in an annotation, and those have 256 KiB in all.
        let size = serde_json::to_string(&crd).unwrap().len();
        assert!(size < 200_000, "{name} has {size} bytes");
        let mut bare = Vec::new();
        undescribed(root(&crd), &name, &mut bare);
        assert!(bare.is_empty(), "without a description: {bare:#?}");
    }
}

fn root(crd: &CustomResourceDefinition) -> &JSONSchemaProps {
    let schema = crd.spec.versions[0].schema.as_ref().unwrap();
    schema.open_api_v3_schema.as_ref().unwrap()
}

fn undescribed(schema: &JSONSchemaProps, path: &str, bare: &mut Vec<String>) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        if field.description.as_ref().is_none_or(String::is_empty) {
            bare.push(path.clone());
        }
        undescribed(field, &path, bare);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        undescribed(items, &format!("{path}[]"), bare);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        undescribed(values, &format!("{path}{{}}"), bare);
    }
}
