//! The settings of a DNS service with an API, held against the table of what it needs.

use super::provider::{finding, secret_key, secret_name, text};
use crate::diagnosis::Finding;
use crate::diagnosis::advice::near_miss;
use crate::diagnosis::spec::{ApiFields, SecretKeyFields};
use crate::diagnosis::text::quote;
use crate::dns_services::{Key, SERVICES, Service};
use crate::limits::SERVICE_SETTING_BYTES;

/// What is wrong with the settings of a service.
pub(super) fn lint_api(fields: &ApiFields<'_>) -> Vec<Finding> {
    let ApiFields {
        block,
        name,
        config,
        secrets,
        secret_name: whole,
    } = fields;
    let path = format!("spec.{block}");
    let own_block = Service::of_block(block);
    let Some(service) = own_block.or_else(|| Service::named(name)) else {
        return vec![unknown_service(&path, name)];
    };
    let config_path = match own_block {
        Some(_) => path.clone(),
        None => format!("{path}.config"),
    };
    let mut findings = settings(&config_path, service, config);
    match own_block {
        Some(_) => {
            for secret in secrets {
                let known = service.credentials.iter();
                if !known.clone().any(|key| key.name == secret.credential) {
                    let names: Vec<String> =
                        known.map(|key| format!("{}SecretRef", key.name)).collect();
                    let subject = format!("{path}.{}SecretRef", secret.credential);
                    let remedy = format!("write one of {}", names.join(", "));
                    findings.push(finding(&subject, "there is no such field", &remedy));
                    continue;
                }
                let subject = format!("{path}.{}SecretRef", secret.credential);
                let (name, key) = (secret.name.as_str(), secret.key.as_str());
                findings.extend(secret_key(&subject, SecretKeyFields { name, key }));
            }
            let there = |key: &Key| secrets.iter().any(|secret| secret.credential == key.name);
            findings.extend(
                service
                    .credentials
                    .iter()
                    .filter(|key| key.required && !there(key))
                    .map(|key| {
                        let subject = format!("{path}.{}SecretRef", key.name);
                        let remedy = format!(
                            "write name and key of the Secret that holds it: {}",
                            key.meaning
                        );
                        finding(&subject, "this is missing", &remedy)
                    }),
            );
        }
        None => {
            let subject = format!("{path}.credentialsSecretRef");
            findings.extend(secret_name(&subject, whole.unwrap_or_default()));
        }
    }
    findings
}

fn unknown_service(path: &str, name: &str) -> Finding {
    let subject = format!("{path}.name");
    let message = match name {
        "" => "this is missing",
        _ => "there is no such service",
    };
    let names: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
    let near = near_miss(name, &names);
    let remedy = match near {
        Some(near) => format!("write {near}"),
        None => format!("write one of {}", names.join(", ")),
    };
    finding(&subject, message, &remedy).with_evidence(&quote(name.as_bytes()))
}

fn settings(path: &str, service: &Service, written: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let there = |key: &Key| written.iter().any(|(name, _)| name == key.name);
    let missing: Vec<String> = service
        .config
        .iter()
        .filter(|key| key.required && !there(key))
        .map(|key| format!("{} ({})", key.name, key.meaning))
        .collect();
    if !missing.is_empty() {
        let message = format!("{} needs more settings", service.title);
        findings.push(finding(
            path,
            &message,
            &format!("write {}", missing.join(", ")),
        ));
    }
    for (name, value) in written {
        let subject = format!("{path}.{name}");
        match service.config.iter().find(|key| key.name == name) {
            None => findings.push(unknown_setting(&subject, service, name)),
            Some(key) => findings.extend(setting(&subject, service, key, value)),
        }
    }
    findings
}

fn unknown_setting(subject: &str, service: &Service, name: &str) -> Finding {
    let is_credential = service.credentials.iter().any(|key| key.name == name);
    let names: Vec<&str> = service.config.iter().map(|key| key.name).collect();
    let remedy = match (is_credential, names.as_slice()) {
        (true, _) => {
            format!("put {name} into the Secret, and change it: it stood in the open here")
        }
        (false, []) => format!("leave it out: {} has no settings", service.title),
        (false, names) => format!("write one of {}", names.join(", ")),
    };
    // Its value is not shown: it may be a secret.
    finding(subject, "there is no such setting", &remedy)
}

fn setting(subject: &str, service: &Service, key: &Key, value: &str) -> Option<Finding> {
    let printable = |b: u8| (b' '..=b'~').contains(&b);
    let good = (1..=SERVICE_SETTING_BYTES).contains(&value.len()) && value.bytes().all(printable);
    if !good {
        let remedy = format!("write {} in printable ASCII", key.meaning);
        return text(subject, value, false, &remedy);
    }
    if let Some(choices) = service.choices(key.name) {
        let remedy = format!("write {}", choices.join(" or "));
        return text(subject, value, choices.contains(&value), &remedy);
    }
    let is_url = matches!(key.name, "url" | "endpoint") && service.has_own_host();
    let remedy =
        "write an https URL with host, port and path only, such as https://pdns.example.org:8081";
    text(subject, value, !is_url || is_plain_url(value), remedy)
}

/// A URL with nothing but scheme, host, port and path.
pub(super) fn is_plain_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return false };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let in_host =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    let in_path =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'/' | b'-');
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    let port_is_good =
        port.is_none_or(|port| port.ends_with(']') || port.parse::<u16>().is_ok_and(|p| p > 0));
    !authority.is_empty()
        && authority.bytes().all(in_host)
        && port_is_good
        && path.bytes().all(in_path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::spec::CredentialFields;

    fn pairs(config: &[(&str, &str)]) -> Vec<(String, String)> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        config.iter().map(pair).collect()
    }

    fn other(name: &'static str, config: &[(&str, &str)]) -> ApiFields<'static> {
        ApiFields {
            block: "service",
            name,
            config: pairs(config),
            secret_name: Some("token"),
            ..ApiFields::default()
        }
    }

    #[test]
    fn what_a_service_needs_is_asked_for_by_name() {
        let secret = |credential: &str| CredentialFields {
            credential: credential.to_owned(),
            name: "s".to_owned(),
            key: "k".to_owned(),
        };
        let block = |block, config: &[(&str, &str)], secrets| ApiFields {
            block,
            config: pairs(config),
            secrets,
            ..ApiFields::default()
        };
        for (case, fields, subjects, says) in [
            ("all there", other("linode", &[]), vec![], ""),
            (
                "no such service",
                other("linnode", &[]),
                vec!["spec.service.name"],
                "linode",
            ),
            (
                "a setting is missing",
                other("dnsimple", &[]),
                vec!["spec.service.config"],
                "accountId",
            ),
            (
                "a setting too many",
                other("linode", &[("region", "x")]),
                vec!["spec.service.config.region"],
                "no settings",
            ),
            (
                "a secret in the open",
                other("linode", &[("apiToken", "canary")]),
                vec!["spec.service.config.apiToken"],
                "into the Secret",
            ),
            (
                "no URL",
                other("powerdns", &[("url", "pdns:8081")]),
                vec!["spec.service.config.url"],
                "https",
            ),
            (
                "a URL with a password",
                other("powerdns", &[("url", "https://a:b@c/")]),
                vec!["spec.service.config.url"],
                "https",
            ),
            (
                "a line break",
                other("dnsimple", &[("accountId", "1\n2")]),
                vec!["spec.service.config.accountId"],
                "printable",
            ),
            (
                "a block",
                block("cloudflare", &[], vec![secret("apiToken")]),
                vec![],
                "",
            ),
            (
                "a block without its credential",
                block("cloudflare", &[], vec![]),
                vec!["spec.cloudflare.apiTokenSecretRef"],
                "DNS:Edit",
            ),
            (
                "a block without its setting",
                block("powerdns", &[], vec![secret("apiKey")]),
                vec!["spec.powerdns"],
                "url",
            ),
        ] {
            let findings = lint_api(&fields);
            let seen: Vec<&str> = findings.iter().map(|f| f.subject.as_str()).collect();
            assert_eq!(seen, subjects, "{case}");
            let told = format!("{findings:?}");
            assert!(told.contains(says), "{case}: {told}");
            assert!(!told.contains("canary"), "{case}: {told}");
        }
    }
}
