//! Reads our objects from YAML leniently: a wrong field is a finding and never hides
//! the others.

mod provider;

use serde::Deserialize as _;
use serde_yaml::{Mapping, Value};

use crate::diagnosis::{
    Code, Finding, SpecAddress, SpecFields, SpecHosting, SpecIngress, SpecIssuer, SpecParentRef,
    SpecProvider, SpecRollout, SpecStage, SpecTls, lint_spec, near_miss,
};
use crate::limits::{FINDINGS_COUNT, GATEWAY_PARENTS, SPEC_LIST_COUNT, SPEC_STAGE_COUNT};

const API_VERSION: &str = "mta-sts.dev/v1alpha1";
const GROUP: &str = "mta-sts.dev/";

/// The fields of a kind, by the path of the object that they stand in.
type Fields = &'static [(&'static str, &'static [&'static str])];

/// Every field that an MtaStsPolicy has.
const FIELDS: Fields = &[
    (
        "spec",
        &[
            "domain",
            "mode",
            "mx",
            "mxPresets",
            "maxAgeSeconds",
            "dns",
            "hosting",
            "suspend",
            "rollout",
            "tlsReporting",
            "enforcement",
            "deletionPolicy",
        ],
    ),
    (
        "spec.rollout",
        &["strategy", "stages", "approval", "onFailure"],
    ),
    (
        "spec.rollout.stages[]",
        &["name", "mode", "maxAgeSeconds", "minDurationSeconds"],
    ),
    ("spec.tlsReporting", &["rua"]),
    ("spec.dns", &["providerRef", "ttlSeconds", "adopt"]),
    ("spec.dns.providerRef", &["kind", "name"]),
    (
        "spec.hosting",
        &["ingress", "gateway", "external", "address"],
    ),
    ("spec.hosting.gateway", &["parentRefs"]),
    (
        "spec.hosting.gateway.parentRefs[]",
        &["namespace", "name", "sectionName", "port"],
    ),
    ("spec.hosting.ingress", &["className", "annotations", "tls"]),
    ("spec.hosting.ingress.tls", &["secretName", "issuerRef"]),
    ("spec.hosting.ingress.tls.issuerRef", &["kind", "name"]),
    ("spec.hosting.external", &[]),
    ("spec.hosting.address", &["cname", "ipv4", "ipv6", "none"]),
    ("spec.hosting.address.none", &[]),
];

/// What came out of a manifest.
#[derive(Debug, Default)]
pub(super) struct ManifestLint {
    /// About our objects.
    pub(super) findings: Vec<Finding>,
    /// What was not looked at, for standard error.
    pub(super) notes: Vec<String>,
}

/// Checks every object of our kinds in a YAML stream; others are only noted.
pub(super) fn lint(bytes: &[u8]) -> ManifestLint {
    let mut lint = ManifestLint::default();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("the manifest is not UTF-8 at byte {}", error.valid_up_to());
            lint.findings
                .push(Finding::new(Code::SpecYamlInvalid, "manifest", &message));
            return lint;
        }
    };
    let mut documents = Vec::new();
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let read = Value::deserialize(document).and_then(|mut value| {
            value.apply_merge()?;
            Ok(value)
        });
        match read {
            Ok(value) => collect(value, &mut documents),
            Err(error) => {
                lint.findings.push(not_yaml(index + 1, text, &error));
                break;
            }
        }
    }
    let several = documents.iter().filter_map(Kind::of).count() > 1;
    for value in &documents {
        lint.object(value, several);
    }
    lint
}

/// The objects of a document: itself, or the items of a List.
fn collect(mut document: Value, objects: &mut Vec<Value>) {
    if document.is_null() {
        return;
    }
    let is_list = text_of(&document, "kind").is_some_and(|kind| kind.ends_with("List"));
    match document.get_mut("items") {
        Some(Value::Sequence(items)) if is_list => {
            for item in std::mem::take(items) {
                collect(item, objects);
            }
        }
        _ => objects.push(document),
    }
}

fn not_yaml(number: usize, text: &str, error: &serde_yaml::Error) -> Finding {
    let message = format!("document {number} is not YAML: {error}");
    let remedy = if text.contains("{{") {
        "this looks like a template: lint what it renders to"
    } else {
        "mend the line named; mind the indentation"
    };
    Finding::new(Code::SpecYamlInvalid, "manifest", &message).with_remedy(remedy)
}

fn text_of<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

/// The kinds that are checked.
#[derive(Clone, Copy)]
enum Kind {
    Policy,
    Provider { cluster: bool },
}

impl Kind {
    fn of(value: &Value) -> Option<Self> {
        // An object of another group may well have the same kind.
        let api_version = text_of(value, "apiVersion").unwrap_or(GROUP);
        match text_of(value, "kind")? {
            _ if !api_version.starts_with(GROUP) => None,
            "MtaStsPolicy" => Some(Self::Policy),
            "DnsProvider" => Some(Self::Provider { cluster: false }),
            "ClusterDnsProvider" => Some(Self::Provider { cluster: true }),
            _ => None,
        }
    }
}

impl ManifestLint {
    fn object(&mut self, value: &Value, several: bool) {
        let metadata = |key| {
            value
                .get("metadata")
                .and_then(|metadata| text_of(metadata, key))
        };
        let name = metadata("name").unwrap_or("(no name)");
        let Some(kind) = Kind::of(value) else {
            let kind = text_of(value, "kind").unwrap_or("an object without a kind");
            self.notes.push(format!("{kind} {name}: not checked"));
            return;
        };
        let mut reader = Reader {
            fields: match kind {
                Kind::Policy => FIELDS,
                Kind::Provider { .. } => provider::FIELDS,
            },
            findings: Vec::new(),
            wrong: Vec::new(),
        };
        let api_version = text_of(value, "apiVersion");
        if api_version != Some(API_VERSION) {
            let message = format!("apiVersion is {}", api_version.unwrap_or("missing"));
            let remedy = format!("write apiVersion: {API_VERSION}");
            reader.wrong("apiVersion", &message, &remedy);
        }
        match kind {
            Kind::Policy => reader.policy(value.get("spec")),
            Kind::Provider { cluster } => reader.provider_object(value.get("spec"), cluster),
        }
        for mut finding in reader.findings {
            if several {
                let namespace = metadata("namespace").map(|text| format!("{text}/"));
                let prefix = format!("{}{name}: ", namespace.unwrap_or_default());
                finding = finding.with_subject_prefix(&prefix);
            }
            self.findings.push(finding);
        }
    }
}

struct Reader {
    fields: Fields,
    findings: Vec<Finding>,
    /// Fields of a wrong type: what the rules say about them would only be confusing.
    wrong: Vec<String>,
}

impl Reader {
    fn wrong(&mut self, path: &str, message: &str, remedy: &str) {
        self.wrong.push(path.to_owned());
        self.findings
            .push(Finding::new(Code::SpecFieldType, path, message).with_remedy(remedy));
    }

    fn spec<'v>(&mut self, value: Option<&'v Value>, remedy: &str) -> Option<&'v Mapping> {
        let spec = self.object(value, "spec");
        if spec.is_none() && self.wrong.iter().all(|path| path != "spec") {
            self.wrong("spec", "spec is missing", remedy);
        }
        spec
    }

    fn policy(&mut self, value: Option<&Value>) {
        let Some(spec) = self.spec(value, "write spec: with domain and mx below it") else {
            return;
        };
        let mx = self.texts(spec, "spec", "mx");
        let mx_presets = self.texts(spec, "spec", "mxPresets");
        let dns = self.object(spec.get("dns"), "spec.dns");
        let hosting = self.object(spec.get("hosting"), "spec.hosting");
        let address =
            hosting.and_then(|hosting| self.object(hosting.get("address"), "spec.hosting.address"));
        let ipv4 = self.addresses(address, "ipv4");
        let ipv6 = self.addresses(address, "ipv6");
        self.flag(Some(spec), "spec", "suspend");
        self.flag(dns, "spec.dns", "adopt");
        let reporting = self.object(spec.get("tlsReporting"), "spec.tlsReporting");
        let rua = reporting.map(|it| self.texts(it, "spec.tlsReporting", "rua"));
        let fields = SpecFields {
            domain: self.text(spec, "spec", "domain").unwrap_or_default(),
            mode: self.text(spec, "spec", "mode"),
            mx: &mx,
            mx_presets: &mx_presets,
            max_age_seconds: self.number(Some(spec), "spec", "maxAgeSeconds"),
            provider: dns.and_then(|dns| self.provider(dns)),
            rollout: self.rollout(spec),
            rua: rua.as_deref(),
            enforcement: self.text(spec, "spec", "enforcement"),
            deletion_policy: self.text(spec, "spec", "deletionPolicy"),
            ttl_seconds: self.number(dns, "spec.dns", "ttlSeconds"),
            hosting: hosting.map(|hosting| SpecHosting {
                ingress: self.ingress(hosting),
                gateway: self.gateway(hosting),
                external: self
                    .object(hosting.get("external"), "spec.hosting.external")
                    .is_some(),
                address: address.map(|address| SpecAddress {
                    cname: self.text(address, "spec.hosting.address", "cname"),
                    ipv4: &ipv4,
                    ipv6: &ipv6,
                    none: self
                        .object(address.get("none"), "spec.hosting.address.none")
                        .is_some(),
                }),
            }),
        };
        self.keep(lint_spec(&fields));
    }

    /// Takes in what the rules say, except about fields of a wrong type.
    fn keep(&mut self, findings: Vec<Finding>) {
        let is_wrong = |subject: &str| {
            self.wrong.iter().any(|path| {
                let rest = subject.strip_prefix(path.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
        };
        let findings = findings
            .into_iter()
            .filter(|finding| !is_wrong(&finding.subject));
        self.findings.extend(findings);
    }

    fn provider<'v>(&mut self, dns: &'v Mapping) -> Option<SpecProvider<'v>> {
        let path = "spec.dns.providerRef";
        let provider = self.object(dns.get("providerRef"), path)?;
        Some(SpecProvider {
            kind: self.text(provider, path, "kind"),
            name: self.text(provider, path, "name").unwrap_or_default(),
        })
    }

    fn rollout<'v>(&mut self, spec: &'v Mapping) -> Option<SpecRollout<'v>> {
        let path = "spec.rollout";
        let rollout = self.object(spec.get("rollout"), path)?;
        let written = rollout.get("stages").filter(|value| !value.is_null());
        let stages = written.and_then(Value::as_sequence);
        if written.is_some() && stages.is_none() {
            let example = "write one entry a stage, with name, mode and maxAgeSeconds";
            self.wrong("spec.rollout.stages", "stages is a list", example);
        }
        let each = "spec.rollout.stages[]";
        let mut read = Vec::new();
        // One more than is allowed, so that the rules see that there are too many.
        for stage in stages.into_iter().flatten().take(SPEC_STAGE_COUNT + 1) {
            let Some(stage) = self.object(Some(stage), each) else {
                continue;
            };
            read.push(SpecStage {
                name: self.text(stage, each, "name").unwrap_or_default(),
                mode: self.text(stage, each, "mode"),
                max_age_seconds: self.number(Some(stage), each, "maxAgeSeconds"),
                min_duration_seconds: self.number(Some(stage), each, "minDurationSeconds"),
            });
        }
        Some(SpecRollout {
            strategy: self.text(rollout, path, "strategy"),
            approval: self.text(rollout, path, "approval"),
            on_failure: self.text(rollout, path, "onFailure"),
            stages: read,
        })
    }

    fn ingress<'v>(&mut self, hosting: &'v Mapping) -> Option<SpecIngress<'v>> {
        let path = "spec.hosting.ingress";
        let ingress = self.object(hosting.get("ingress"), path)?;
        Some(SpecIngress {
            class_name: self.text(ingress, path, "className"),
            annotations: self.annotations(ingress),
            tls: self.tls(ingress),
        })
    }

    fn gateway<'v>(&mut self, hosting: &'v Mapping) -> Option<Vec<SpecParentRef<'v>>> {
        let path = "spec.hosting.gateway";
        let gateway = self.object(hosting.get("gateway"), path)?;
        let path = "spec.hosting.gateway.parentRefs";
        let written = gateway.get("parentRefs").filter(|value| !value.is_null());
        let Some(parents) = written.and_then(Value::as_sequence) else {
            if written.is_some() {
                self.wrong(
                    path,
                    "parentRefs is a list",
                    "write one entry a Gateway, with namespace and name",
                );
            }
            return Some(Vec::new());
        };
        let path = "spec.hosting.gateway.parentRefs[]";
        let mut refs = Vec::new();
        // One more than is allowed, so that the rules see that there are too many.
        for parent in parents.iter().take(GATEWAY_PARENTS + 1) {
            let Some(parent) = self.object(Some(parent), path) else {
                continue;
            };
            refs.push(SpecParentRef {
                namespace: self.text(parent, path, "namespace").unwrap_or_default(),
                name: self.text(parent, path, "name").unwrap_or_default(),
                section_name: self.text(parent, path, "sectionName"),
                port: self.number(Some(parent), path, "port"),
            });
        }
        Some(refs)
    }

    fn annotations<'v>(&mut self, ingress: &'v Mapping) -> Vec<(&'v str, &'v str)> {
        let path = "spec.hosting.ingress.annotations";
        let annotations = self.object(ingress.get("annotations"), path);
        let mut pairs = Vec::new();
        // One more than is allowed, so that the rules see that there are too many.
        for (key, value) in annotations.into_iter().flatten().take(SPEC_LIST_COUNT + 1) {
            match (key.as_str(), value.as_str()) {
                (Some(key), Some(value)) => pairs.push((key, value)),
                (key, _) => {
                    let path = format!("{path}[{}]", key.unwrap_or("?"));
                    self.wrong(
                        &path,
                        "an annotation is text",
                        "put key and value in quotes",
                    );
                }
            }
        }
        pairs
    }

    fn tls<'v>(&mut self, ingress: &'v Mapping) -> Option<SpecTls<'v>> {
        let path = "spec.hosting.ingress.tls";
        let tls = self.object(ingress.get("tls"), path)?;
        let issuer_path = "spec.hosting.ingress.tls.issuerRef";
        let issuer = self.object(tls.get("issuerRef"), issuer_path);
        Some(SpecTls {
            secret_name: self.text(tls, path, "secretName"),
            issuer: issuer.map(|issuer| SpecIssuer {
                kind: self.text(issuer, issuer_path, "kind"),
                name: self.text(issuer, issuer_path, "name").unwrap_or_default(),
            }),
        })
    }

    fn addresses(&mut self, address: Option<&Mapping>, key: &str) -> Vec<String> {
        address.map_or_else(Vec::new, |address| {
            self.texts(address, "spec.hosting.address", key)
        })
    }

    /// A mapping, whose fields are compared with those of the kind. A null is a field that is absent.
    fn object<'v>(&mut self, value: Option<&'v Value>, path: &str) -> Option<&'v Mapping> {
        let value = value.filter(|value| !value.is_null())?;
        let Some(mapping) = value.as_mapping() else {
            let message = format!("{path} is {}, it is an object with fields", type_of(value));
            self.wrong(path, &message, "write its fields below it, or {}");
            return None;
        };
        if let Some((_, known)) = self.fields.iter().find(|(object, _)| *object == path) {
            for key in mapping.keys().take(FINDINGS_COUNT) {
                let written = key.as_str().unwrap_or("(not text)");
                if !known.contains(&written) {
                    self.unknown(path, written, known);
                }
            }
        }
        Some(mapping)
    }

    fn unknown(&mut self, path: &str, written: &str, known: &[&str]) {
        let remedy = match near_miss(written, known) {
            Some(meant) => format!("write: {meant}"),
            None if known.is_empty() => "delete it".to_owned(),
            None => format!("delete it; the fields here are {}", known.join(", ")),
        };
        let message =
            "this version does not know the field, and the API server would drop or refuse it";
        let finding = Finding::new(
            Code::SpecFieldUnknown,
            &format!("{path}.{written}"),
            message,
        );
        self.findings.push(finding.with_remedy(&remedy));
    }

    fn text<'v>(&mut self, object: &'v Mapping, path: &str, key: &str) -> Option<&'v str> {
        let value = object.get(key).filter(|value| !value.is_null())?;
        let text = value.as_str();
        if text.is_none() {
            let message = format!("{key} is {}, it is text", type_of(value));
            self.wrong(
                &format!("{path}.{key}"),
                &message,
                "write text, in quotes if it looks like something else",
            );
        }
        text
    }

    fn texts(&mut self, object: &Mapping, path: &str, key: &str) -> Vec<String> {
        let path = format!("{path}.{key}");
        let items = match object.get(key) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Sequence(items)) => items,
            Some(value) => {
                let message = format!("{key} is {}, it is a list", type_of(value));
                let example = value.as_str().unwrap_or("mail.example.com");
                self.wrong(&path, &message, &format!("write: {key}: [{example}]"));
                return Vec::new();
            }
        };
        let texts: Vec<_> = items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        if texts.len() < items.len() {
            let message = format!("{key} has an entry that is not text");
            self.wrong(
                &path,
                &message,
                "write each entry as text, in quotes if it starts with `*`",
            );
        }
        texts
    }

    fn number(&mut self, object: Option<&Mapping>, path: &str, key: &str) -> Option<i64> {
        let value = object?.get(key).filter(|value| !value.is_null())?;
        let number = value.as_i64();
        if number.is_none() {
            let message = format!(
                "{key} is {}, it is a whole number of seconds",
                type_of(value)
            );
            self.wrong(
                &format!("{path}.{key}"),
                &message,
                "write digits only, without quotes or unit",
            );
        }
        number
    }

    fn flag(&mut self, object: Option<&Mapping>, path: &str, key: &str) {
        let value = object
            .and_then(|object| object.get(key))
            .filter(|value| !value.is_null());
        if let Some(value) = value.filter(|value| !value.is_bool()) {
            let message = format!("{key} is {}, it is true or false", type_of(value));
            self.wrong(
                &format!("{path}.{key}"),
                &message,
                "write true or false, without quotes",
            );
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "an object",
        Value::Tagged(_) => "a tagged value",
    }
}
