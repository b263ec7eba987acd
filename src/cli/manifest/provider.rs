//! Reads DnsProvider and ClusterDnsProvider objects.

use serde_yaml::{Mapping, Value};

use super::{Fields, Reader};
use crate::diagnosis::{
    ApiFields, CredentialFields, ProviderFields, ProviderSelector, Rfc2136Fields, SecretKeyFields,
    ServiceFields, lint_provider,
};
use crate::dns_services::SERVICES;
use crate::limits::SPEC_LIST_COUNT;

/// Every field that a provider has.
pub(super) const FIELDS: Fields = &[
    (
        "spec",
        &[
            "rfc2136",
            "cloudflare",
            "route53",
            "googleCloudDns",
            "azureDns",
            "powerdns",
            "digitalOcean",
            "hetzner",
            "deSec",
            "ovh",
            "gandi",
            "service",
            "webhook",
            "dnsEndpoint",
            "authoritative",
            "zones",
            "allowedNamespaces",
        ],
    ),
    ("spec.rfc2136", &["server", "zone", "tsig"]),
    ("spec.rfc2136.tsig", &["keyName", "algorithm", "secretRef"]),
    ("spec.rfc2136.tsig.secretRef", &["name", "key"]),
    ("spec.service", &["name", "config", "credentialsSecretRef"]),
    ("spec.webhook", &["url"]),
    ("spec.dnsEndpoint", &["quoteTxt"]),
    ("spec.authoritative", &["zone", "nameServers"]),
    ("spec.service.credentialsSecretRef", &["name"]),
    (
        "spec.allowedNamespaces",
        &["matchLabels", "matchExpressions"],
    ),
];

impl Reader {
    pub(super) fn provider_object(&mut self, value: Option<&Value>, cluster: bool) {
        let Some(spec) = self.spec(
            value,
            "write spec: with a service below it, such as rfc2136",
        ) else {
            return;
        };
        if !cluster && spec.contains_key("allowedNamespaces") {
            self.unknown("spec", "allowedNamespaces", &["rfc2136", "zones"]);
        }
        let zones = self.texts(spec, "spec", "zones");
        let fields = ProviderFields {
            cluster,
            zones: &zones,
            allowed_namespaces: self.selector(spec),
            services: self.services(spec),
        };
        self.keep(lint_provider(&fields));
    }

    fn services<'v>(&mut self, spec: &'v Mapping) -> Vec<ServiceFields<'v>> {
        let mut services = Vec::new();
        if let Some(rfc2136) = self.object(spec.get("rfc2136"), "spec.rfc2136") {
            services.push(ServiceFields::Rfc2136(self.rfc2136(rfc2136)));
        }
        for service in SERVICES {
            let Some(block) = service.block else { continue };
            let path = format!("spec.{block}");
            if let Some(fields) = self.object(spec.get(block), &path) {
                let fields = self.own_block(block, &path, fields);
                services.push(ServiceFields::Api(fields));
            }
        }
        if let Some(other) = self.object(spec.get("service"), "spec.service") {
            services.push(ServiceFields::Api(self.other_service(other)));
        }
        if let Some(webhook) = self.object(spec.get("webhook"), "spec.webhook") {
            let url = self.text(webhook, "spec.webhook", "url");
            services.push(ServiceFields::Webhook(url.unwrap_or_default()));
        }
        if let Some(endpoint) = self.object(spec.get("dnsEndpoint"), "spec.dnsEndpoint") {
            self.flag(Some(endpoint), "spec.dnsEndpoint", "quoteTxt");
            services.push(ServiceFields::DnsEndpoint);
        }
        let path = "spec.authoritative";
        if let Some(own) = self.object(spec.get("authoritative"), path) {
            services.push(ServiceFields::Authoritative {
                zone: self.text(own, path, "zone").unwrap_or_default(),
                name_servers: self.texts(own, path, "nameServers"),
            });
        }
        services
    }

    fn rfc2136<'v>(&mut self, rfc2136: &'v Mapping) -> Rfc2136Fields<'v> {
        let (path, tsig_path) = ("spec.rfc2136", "spec.rfc2136.tsig");
        let secret_path = "spec.rfc2136.tsig.secretRef";
        let tsig = self.object(rfc2136.get("tsig"), tsig_path);
        let secret = tsig.and_then(|tsig| self.object(tsig.get("secretRef"), secret_path));
        let mut in_tsig = |key| tsig.and_then(|tsig| self.text(tsig, tsig_path, key));
        let (key_name, algorithm) = (in_tsig("keyName"), in_tsig("algorithm"));
        let mut in_secret = |key| secret.and_then(|secret| self.text(secret, secret_path, key));
        let secret = SecretKeyFields {
            name: in_secret("name").unwrap_or_default(),
            key: in_secret("key").unwrap_or_default(),
        };
        Rfc2136Fields {
            server: self.text(rfc2136, path, "server").unwrap_or_default(),
            zone: self.text(rfc2136, path, "zone"),
            key_name: key_name.unwrap_or_default(),
            algorithm,
            secret,
        }
    }

    fn own_block<'v>(&mut self, block: &'v str, path: &str, fields: &'v Mapping) -> ApiFields<'v> {
        let mut read = ApiFields {
            block,
            ..ApiFields::default()
        };
        for name in fields.keys().filter_map(Value::as_str) {
            let Some(credential) = name.strip_suffix("SecretRef") else {
                if let Some(value) = self.text(fields, path, name) {
                    read.config.push((name.to_owned(), value.to_owned()));
                }
                continue;
            };
            let path = format!("{path}.{name}");
            let secret = self.object(fields.get(name), &path);
            let mut text = |key| secret.and_then(|secret| self.text(secret, &path, key));
            read.secrets.push(CredentialFields {
                credential: credential.to_owned(),
                name: text("name").unwrap_or_default().to_owned(),
                key: text("key").unwrap_or_default().to_owned(),
            });
        }
        read
    }

    fn other_service<'v>(&mut self, fields: &'v Mapping) -> ApiFields<'v> {
        let (path, config_path) = ("spec.service", "spec.service.config");
        let secret_path = "spec.service.credentialsSecretRef";
        let mut config = Vec::new();
        if let Some(written) = self.object(fields.get("config"), config_path) {
            for name in written.keys().filter_map(Value::as_str) {
                if let Some(value) = self.text(written, config_path, name) {
                    config.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        let secret = self.object(fields.get("credentialsSecretRef"), secret_path);
        ApiFields {
            block: "service",
            name: self.text(fields, path, "name").unwrap_or_default(),
            config,
            secrets: Vec::new(),
            secret_name: secret.and_then(|secret| self.text(secret, secret_path, "name")),
        }
    }

    fn selector<'v>(&mut self, spec: &'v Mapping) -> Option<ProviderSelector<'v>> {
        let path = "spec.allowedNamespaces";
        let selector = self.object(spec.get("allowedNamespaces"), path)?;
        let expressions = selector
            .get("matchExpressions")
            .and_then(Value::as_sequence);
        let mut read = Vec::new();
        // One more than is allowed, so that the rules see that there are too many.
        for expression in expressions.into_iter().flatten().take(SPEC_LIST_COUNT + 1) {
            let operator = expression.get("operator").and_then(Value::as_str);
            let values = expression.get("values").and_then(Value::as_sequence);
            read.push((operator.unwrap_or_default(), values.map_or(0, Vec::len)));
        }
        Some(read)
    }
}
