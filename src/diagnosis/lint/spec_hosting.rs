//! `hosting` of an MtaStsPolicy: how the policy host is reached.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::diagnosis::spec::{SpecAddress, SpecHosting, SpecIngress, SpecParentRef, SpecTls};
use crate::diagnosis::text::quote;
use crate::diagnosis::{Code, Finding};
use crate::limits::{
    GATEWAY_PARENTS, POLICY_HOST_ADDRESSES, SPEC_ANNOTATION_BYTES, SPEC_LIST_COUNT,
};
use crate::protocol::{Domain, HostName};

pub(super) fn hosting(written: &SpecHosting<'_>, domain: Option<&Domain>) -> Vec<Finding> {
    let SpecHosting {
        ingress: by_ingress,
        gateway: by_gateway,
        external,
        address: host_address,
    } = written;
    let mut findings = Vec::new();
    // None is the operator's default.
    let ways = [by_ingress.is_some(), by_gateway.is_some(), *external];
    if ways.into_iter().filter(|&way| way).count() > 1 {
        let message = "ingress, gateway and external exclude each other";
        let remedy = "keep ingress or gateway if this operator is to serve the policy, external if somebody else does";
        findings.push(
            Finding::new(Code::SpecHostingInvalid, "spec.hosting", message).with_remedy(remedy),
        );
    }
    findings.extend(by_ingress.iter().flat_map(ingress));
    findings.extend(by_gateway.iter().flat_map(|parents| gateway(parents)));
    findings.extend(
        host_address
            .iter()
            .flat_map(|written| address(written, domain)),
    );
    findings
}

fn ingress(written: &SpecIngress<'_>) -> Vec<Finding> {
    let SpecIngress {
        class_name,
        annotations: extra,
        tls: certificate,
    } = written;
    let mut findings = Vec::new();
    findings
        .extend(class_name.and_then(|name| name_finding("spec.hosting.ingress.className", name)));
    findings.extend(annotations(extra));
    findings.extend(certificate.iter().flat_map(tls));
    findings
}

fn gateway(parents: &[SpecParentRef<'_>]) -> Vec<Finding> {
    let subject = "spec.hosting.gateway.parentRefs";
    let finding = |subject: &str, message: &str, remedy: &str| {
        Finding::new(Code::SpecHostingInvalid, subject, message).with_remedy(remedy)
    };
    let mut findings = Vec::new();
    if !(1..=GATEWAY_PARENTS).contains(&parents.len()) {
        let message = format!("{} Gateways are named", parents.len());
        let remedy = format!("name one Gateway, at most {GATEWAY_PARENTS}");
        findings.push(finding(subject, &message, &remedy));
    }
    for (index, parent) in parents.iter().take(GATEWAY_PARENTS).enumerate() {
        let at = |field: &str| format!("{subject}[{index}].{field}");
        findings.extend(name_finding(&at("namespace"), parent.namespace));
        findings.extend(name_finding(&at("name"), parent.name));
        let section = parent.section_name;
        findings.extend(section.and_then(|name| name_finding(&at("sectionName"), name)));
        if parent
            .port
            .is_some_and(|port| !(1..=65_535).contains(&port))
        {
            let message = "this is no port";
            findings.push(finding(
                &at("port"),
                message,
                "write a port from 1 to 65535",
            ));
        }
        if parents.iter().take(index).any(|earlier| earlier == parent) {
            let message = "this Gateway is named twice";
            findings.push(finding(subject, message, "write each Gateway once"));
        }
    }
    findings
}

fn tls(written: &SpecTls<'_>) -> Vec<Finding> {
    let SpecTls {
        secret_name,
        issuer,
    } = written;
    let subject = "spec.hosting.ingress.tls";
    let finding = |message: &str, remedy: &str| {
        Finding::new(Code::SpecHostingInvalid, subject, message).with_remedy(remedy)
    };
    let mut findings = Vec::new();
    if secret_name.is_some() == issuer.is_some() {
        let message = "tls has exactly one of secretName and issuerRef";
        findings.push(finding(message, "write secretName for a certificate that is there, issuerRef for one that cert-manager is to make"));
    }
    findings
        .extend(secret_name.and_then(|name| name_finding(&format!("{subject}.secretName"), name)));
    if let Some(issuer) = issuer {
        let kinds = ["Issuer", "ClusterIssuer"];
        if let Some(kind) = issuer.kind.filter(|kind| !kinds.contains(kind)) {
            let message = format!("the kind of issuerRef is {}", quote(kind.as_bytes()));
            findings.push(finding(&message, "write Issuer or ClusterIssuer"));
        }
        findings.extend(name_finding(
            &format!("{subject}.issuerRef.name"),
            issuer.name,
        ));
    }
    findings
}

fn name_finding(subject: &str, name: &str) -> Option<Finding> {
    if is_object_name(name) {
        return None;
    }
    let message = "this is no name of a Kubernetes object";
    let finding = Finding::new(Code::SpecHostingInvalid, subject, message);
    let remedy = "write lower-case letters, digits, `-` and `.`, at most 253, a letter or digit at both ends";
    Some(
        finding
            .with_evidence(&quote(name.as_bytes()))
            .with_remedy(remedy),
    )
}

/// A DNS subdomain as Kubernetes names its objects (RFC 1123, lower case).
pub(super) fn is_object_name(name: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let label = |label: &str| {
        edge(label.bytes().next())
            && edge(label.bytes().last())
            && label.bytes().all(|b| b == b'-' || edge(Some(b)))
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Which prefixes are allowed is the operator's setting; what stands here never is.
fn annotations(written: &[(&str, &str)]) -> Vec<Finding> {
    let subject = "spec.hosting.ingress.annotations";
    if written.len() > SPEC_LIST_COUNT {
        let message = format!(
            "{} annotations, at most {SPEC_LIST_COUNT} are allowed",
            written.len()
        );
        return vec![Finding::new(Code::SpecAnnotationInvalid, subject, &message)];
    }
    written
        .iter()
        .filter_map(|(key, value)| {
            let (message, remedy) = annotation_fault(key, value)?;
            let subject = format!("{subject}[{}]", quote(key.as_bytes()));
            let finding = Finding::new(Code::SpecAnnotationInvalid, &subject, message);
            Some(
                finding
                    .with_evidence(&quote(value.as_bytes()))
                    .with_remedy(remedy),
            )
        })
        .collect()
}

fn annotation_fault(key: &str, value: &str) -> Option<(&'static str, &'static str)> {
    if !is_annotation_key(key) {
        return Some((
            "this is no key of an annotation",
            "write prefix/name with letters, digits, `-`, `_`, `.`",
        ));
    }
    if carries_configuration(key) {
        return Some((
            "it carries configuration of the Ingress controller, with which a tenant could take over every host",
            "delete it; ask the administrator to set it for the whole controller",
        ));
    }
    if value.len() > SPEC_ANNOTATION_BYTES {
        return Some(("the value is longer than 1024 bytes", "shorten it"));
    }
    // What ends a directive or a string in the configuration that a controller makes of it.
    let steers = |c: char| c.is_control() || matches!(c, ';' | '"' | '\'' | '`' | '{' | '}' | '\\');
    value.contains(steers).then_some((
        "the value has a control character, a semicolon, a quote, a brace or a backslash, which could end a directive in the Ingress controller's configuration",
        "leave such characters out",
    ))
}

fn is_annotation_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    prefix.is_none_or(is_object_name)
        && (1..=63).contains(&name.len())
        && edge(name.bytes().next())
        && edge(name.bytes().last())
        && name.bytes().all(inner)
}

/// Snippets of ingress-nginx, NGINX and HAProxy, under whatever prefix the controller was given.
fn carries_configuration(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let name = key.rsplit('/').next().unwrap_or_default();
    name.contains("snippet") || name.contains("lua") || name.starts_with("config-")
}

fn address(written: &SpecAddress<'_>, domain: Option<&Domain>) -> Vec<Finding> {
    let SpecAddress {
        cname: alias,
        ipv4,
        ipv6,
        none,
    } = written;
    let mut findings = Vec::new();
    let forms = [
        alias.is_some(),
        !(ipv4.is_empty() && ipv6.is_empty()),
        *none,
    ];
    if forms.into_iter().filter(|form| *form).count() != 1 {
        let message = "address is exactly one of cname, ipv4 and ipv6, or none";
        let remedy = "write cname: front.example.net, or ipv4: [192.0.2.1], or none: {}; or leave address out to use what the Ingress reports";
        let finding = Finding::new(Code::SpecAddressInvalid, "spec.hosting.address", message);
        findings.push(finding.with_remedy(remedy));
    }
    findings.extend(alias.and_then(|name| cname(name, domain)));
    findings.extend(addresses::<Ipv4Addr>(
        "spec.hosting.address.ipv4",
        ipv4,
        "192.0.2.1",
    ));
    findings.extend(addresses::<Ipv6Addr>(
        "spec.hosting.address.ipv6",
        ipv6,
        "2001:db8::1",
    ));
    findings
}

fn cname(written: &str, domain: Option<&Domain>) -> Option<Finding> {
    let message = match HostName::parse(written) {
        Err(error) => format!("the name {error}"),
        Ok(name) if domain.is_some_and(|domain| domain.policy_host() == name) => {
            "the policy host cannot be an alias of itself".to_owned()
        }
        Ok(_) => return None,
    };
    let finding = Finding::new(
        Code::SpecAddressInvalid,
        "spec.hosting.address.cname",
        &message,
    );
    let remedy = "write a host name in lower case without a final dot: cname: front.example.net";
    Some(
        finding
            .with_evidence(&quote(written.as_bytes()))
            .with_remedy(remedy),
    )
}

fn addresses<T: FromStr + Ord + Copy>(
    subject: &str,
    written: &[String],
    example: &str,
) -> Vec<Finding> {
    if written.len() > POLICY_HOST_ADDRESSES {
        let message = format!(
            "{} addresses, at most {POLICY_HOST_ADDRESSES} are allowed",
            written.len()
        );
        return vec![Finding::new(Code::SpecAddressInvalid, subject, &message)];
    }
    let mut seen = BTreeSet::new();
    written
        .iter()
        .enumerate()
        .filter_map(|(index, text)| {
            let message = match text.parse::<T>() {
                Err(_) => "this is no address of this family",
                Ok(address) if !seen.insert(address) => "the address stands twice",
                Ok(_) => return None,
            };
            let subject = format!("{subject}[{index}]");
            let finding = Finding::new(Code::SpecAddressInvalid, &subject, message);
            let remedy = format!("write an address such as {example}, each once");
            Some(
                finding
                    .with_evidence(&quote(text.as_bytes()))
                    .with_remedy(&remedy),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::spec::SpecIssuer;

    fn codes(hosting_fields: &SpecHosting<'_>) -> Vec<&'static str> {
        let domain = Domain::parse("example.com").unwrap();
        let findings = hosting(hosting_fields, Some(&domain));
        findings.iter().map(|finding| finding.code.name()).collect()
    }

    fn with_annotation<'a>(key: &'a str, value: &'a str) -> SpecHosting<'a> {
        let annotations = vec![(key, value)];
        let ingress = SpecIngress {
            annotations,
            ..SpecIngress::default()
        };
        SpecHosting {
            ingress: Some(ingress),
            ..SpecHosting::default()
        }
    }

    #[test]
    fn at_most_one_way_of_hosting() {
        let ingress = Some(SpecIngress::default());
        for (case, hosting, expected) in [
            (
                "ingress",
                SpecHosting {
                    ingress: ingress.clone(),
                    ..SpecHosting::default()
                },
                vec![],
            ),
            (
                "external",
                SpecHosting {
                    external: true,
                    ..SpecHosting::default()
                },
                vec![],
            ),
            ("the default", SpecHosting::default(), vec![]),
            (
                "both",
                SpecHosting {
                    ingress,
                    external: true,
                    ..SpecHosting::default()
                },
                vec!["spec-hosting-invalid"],
            ),
        ] {
            assert_eq!(codes(&hosting), expected, "{case}");
        }
    }

    #[test]
    fn gateways() {
        let parent = |namespace, name| SpecParentRef {
            namespace,
            name,
            ..SpecParentRef::default()
        };
        let port = |port| SpecParentRef {
            port: Some(port),
            ..parent("infra", "public")
        };
        let bad = "spec-hosting-invalid";
        for (case, parents, expected) in [
            ("one", vec![parent("infra", "public")], vec![]),
            ("none", vec![], vec![bad]),
            ("no namespace", vec![parent("", "public")], vec![bad]),
            ("capitals", vec![parent("infra", "Public")], vec![bad]),
            ("twice", vec![parent("a", "b"), parent("a", "b")], vec![bad]),
            ("port", vec![port(443)], vec![]),
            ("no port", vec![port(0)], vec![bad]),
        ] {
            let hosting = SpecHosting {
                gateway: Some(parents),
                ..SpecHosting::default()
            };
            assert_eq!(codes(&hosting), expected, "{case}");
        }
        let both = SpecHosting {
            ingress: Some(SpecIngress::default()),
            gateway: Some(vec![parent("infra", "public")]),
            ..SpecHosting::default()
        };
        assert_eq!(codes(&both), vec![bad]);
    }

    #[test]
    fn names_and_tls() {
        let with = |class_name, tls| SpecHosting {
            ingress: Some(SpecIngress {
                class_name,
                annotations: vec![],
                tls,
            }),
            ..SpecHosting::default()
        };
        let issuer = |kind, name| Some(SpecIssuer { kind, name });
        let tls = |secret_name, issuer| {
            with(
                None,
                Some(SpecTls {
                    secret_name,
                    issuer,
                }),
            )
        };
        let bad = vec!["spec-hosting-invalid"];
        for (case, hosting, expected) in [
            ("class", with(Some("nginx"), None), vec![]),
            ("class in capitals", with(Some("Nginx"), None), bad.clone()),
            (
                "class with a line break",
                with(Some("nginx\nx"), None),
                bad.clone(),
            ),
            ("class empty", with(Some(""), None), bad.clone()),
            ("secret", tls(Some("mta-sts-tls"), None), vec![]),
            (
                "issuer",
                tls(None, issuer(Some("ClusterIssuer"), "ca")),
                vec![],
            ),
            (
                "issuer kind",
                tls(None, issuer(Some("Secret"), "ca")),
                bad.clone(),
            ),
            ("issuer name", tls(None, issuer(None, "a/b")), bad.clone()),
            ("neither", tls(None, None), bad.clone()),
            ("both", tls(Some("a"), issuer(None, "ca")), bad.clone()),
        ] {
            assert_eq!(codes(&hosting), expected, "{case}");
        }
    }

    #[test]
    fn no_annotation_carries_configuration() {
        let long = "a".repeat(64 * 1024);
        for (key, value, good) in [
            ("external-dns.alpha.kubernetes.io/ttl", "60", true),
            (
                "nginx.ingress.kubernetes.io/whitelist-source-range",
                "192.0.2.0/24,2001:db8::/32",
                true,
            ),
            ("nginx.ingress.kubernetes.io/server-snippet", "x", false),
            (
                "nginx.ingress.kubernetes.io/configuration-snippet",
                "x",
                false,
            ),
            ("nginx.ingress.kubernetes.io/Auth-Snippet", "x", false),
            ("nginx.org/location-snippets", "x", false),
            ("example.org/my-server-snippet", "x", false),
            ("haproxy-ingress.github.io/config-backend", "x", false),
            ("haproxy.org/backend-config-snippet", "x", false),
            ("example.org/a", "x\ny", false),
            ("example.org/a", "x\ry", false),
            ("example.org/a", "x\0y", false),
            ("example.org/a", "x;y", false),
            ("example.org/a", "x\"y", false),
            ("example.org/a", "x'y", false),
            ("example.org/a", "x}y", false),
            ("example.org/a", &long, false),
            ("example.org/a\nb", "x", false),
            ("", "x", false),
            ("a/b/c", "x", false),
        ] {
            let expected: &[_] = if good {
                &[]
            } else {
                &["spec-annotation-invalid"]
            };
            assert_eq!(
                codes(&with_annotation(key, value)),
                expected,
                "{key:?} {value:.40?}"
            );
        }
    }

    #[test]
    fn exactly_one_form_of_address() {
        let v4 = ["192.0.2.1".to_owned()];
        let v6 = ["2001:db8::1".to_owned()];
        let twice = ["2001:db8::1".to_owned(), "2001:DB8:0::1".to_owned()];
        let none = SpecAddress::default();
        let bad = vec!["spec-address-invalid"];
        for (case, address, expected) in [
            (
                "cname",
                SpecAddress {
                    cname: Some("front.example.net"),
                    ..none.clone()
                },
                vec![],
            ),
            (
                "both families",
                SpecAddress {
                    ipv4: &v4,
                    ipv6: &v6,
                    ..none.clone()
                },
                vec![],
            ),
            (
                "none",
                SpecAddress {
                    none: true,
                    ..none.clone()
                },
                vec![],
            ),
            ("nothing", none.clone(), bad.clone()),
            (
                "cname and address",
                SpecAddress {
                    cname: Some("front.example.net"),
                    ipv4: &v4,
                    ..none.clone()
                },
                bad.clone(),
            ),
            (
                "address and none",
                SpecAddress {
                    ipv6: &v6,
                    none: true,
                    ..none.clone()
                },
                bad.clone(),
            ),
            (
                "cname with a final dot",
                SpecAddress {
                    cname: Some("front.example.net."),
                    ..none.clone()
                },
                bad.clone(),
            ),
            (
                "cname with a line break",
                SpecAddress {
                    cname: Some("front.example.net\nx"),
                    ..none.clone()
                },
                bad.clone(),
            ),
            (
                "cname to itself",
                SpecAddress {
                    cname: Some("mta-sts.example.com"),
                    ..none.clone()
                },
                bad.clone(),
            ),
            (
                "IPv6 as IPv4",
                SpecAddress {
                    ipv4: &v6,
                    ..none.clone()
                },
                bad.clone(),
            ),
            (
                "twice",
                SpecAddress {
                    ipv6: &twice,
                    ..none.clone()
                },
                bad.clone(),
            ),
        ] {
            let hosting = SpecHosting {
                external: true,
                address: Some(address),
                ..SpecHosting::default()
            };
            assert_eq!(codes(&hosting), expected, "{case}");
        }
    }
}
