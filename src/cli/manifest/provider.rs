//! Reads DnsProvider and ClusterDnsProvider objects.

use serde_yaml::{Mapping, Value};

use super::{Fields, Reader};
use crate::diagnosis::{ProviderFields, ProviderSelector, lint_provider};
use crate::limits::SPEC_LIST_COUNT;

/// Every field that a provider has.
pub(super) const FIELDS: Fields = &[
    ("spec", &["rfc2136", "zones", "allowedNamespaces"]),
    ("spec.rfc2136", &["server", "zone", "tsig"]),
    ("spec.rfc2136.tsig", &["keyName", "algorithm", "secretRef"]),
    ("spec.rfc2136.tsig.secretRef", &["name", "key"]),
    (
        "spec.allowedNamespaces",
        &["matchLabels", "matchExpressions"],
    ),
];

impl Reader {
    pub(super) fn provider_object(&mut self, value: Option<&Value>, cluster: bool) {
        let Some(spec) = self.spec(value, "write spec: with rfc2136 below it") else {
            return;
        };
        if !cluster && spec.contains_key("allowedNamespaces") {
            self.unknown("spec", "allowedNamespaces", &["rfc2136", "zones"]);
        }
        let empty = Mapping::new();
        let (path, tsig_path) = ("spec.rfc2136", "spec.rfc2136.tsig");
        let secret_path = "spec.rfc2136.tsig.secretRef";
        let rfc2136 = self.object(spec.get("rfc2136"), path).unwrap_or(&empty);
        let tsig = self
            .object(rfc2136.get("tsig"), tsig_path)
            .unwrap_or(&empty);
        let secret = self
            .object(tsig.get("secretRef"), secret_path)
            .unwrap_or(&empty);
        let zones = self.texts(spec, "spec", "zones");
        let fields = ProviderFields {
            cluster,
            zones: &zones,
            allowed_namespaces: self.selector(spec),
            server: self.text(rfc2136, path, "server").unwrap_or_default(),
            zone: self.text(rfc2136, path, "zone"),
            key_name: self.text(tsig, tsig_path, "keyName").unwrap_or_default(),
            algorithm: self.text(tsig, tsig_path, "algorithm"),
            secret_name: self.text(secret, secret_path, "name").unwrap_or_default(),
            secret_key: self.text(secret, secret_path, "key").unwrap_or_default(),
        };
        self.keep(lint_provider(&fields));
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
