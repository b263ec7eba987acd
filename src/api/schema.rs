//! Schema fragments with the rules that the API server checks by itself, each with a sentence
//! that says what to write. The same rules stand once more in `diagnosis::spec`, for the command
//! line and for objects that were stored before a rule existed.

use schemars::{JsonSchema as _, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{GatewayParentRef, StageSpec};
use crate::dns_services::{AZURE_ENVIRONMENTS, OVH_ENDPOINTS, SERVICES};
use crate::limits::{
    GATEWAY_PARENTS, OWN_NAME_SERVERS, POLICY_HOST_ADDRESSES, PROVIDER_ZONES,
    SERVICE_SETTING_BYTES, SPEC_ANNOTATION_BYTES, SPEC_LIST_COUNT, SPEC_MX_COUNT, SPEC_RUA_BYTES,
    SPEC_RUA_COUNT, SPEC_STAGE_COUNT,
};

/// A host name of two or more labels, in lower-case A-labels.
const HOST: &str = r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
/// All labels are digits: it would be read as an IPv4 address.
const NUMERIC_TOP: &str = r"(^|\\.)[0-9]+$";

/// The name of a Kubernetes object (RFC 1123 subdomain).
const OBJECT_NAME: &str = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*";

fn rule(rule: impl Into<String>, message: &str) -> Value {
    json!({"rule": rule.into(), "message": message})
}

/// `spec.domain`
pub(super) fn domain(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        // Above every name, so that it is the rule below that says how long it may be.
        "maxLength": 1024,
        "x-kubernetes-validations": [
            rule("self.size() > 0", "write the mail domain: the part after the @ of its addresses, such as example.org"),
            rule("self.size() <= 242", "the domain has more than 242 characters: the record _smtp._tls.<domain> would be longer than a DNS name may be (253)"),
            rule(
                format!("self.size() == 0 || (self.matches('^{HOST}') && !self.matches('{NUMERIC_TOP}'))"),
                "write the domain as a host name in lower-case A-labels without a final dot, such as example.org or xn--bcher-kva.example (mta-sts lint prints the A-label form)",
            ),
            rule("self == oldSelf", "the domain of an object cannot be changed: create another MtaStsPolicy for the other domain and delete this one"),
        ],
    })
}

/// `spec.mode`: written out, since the type's own description would hide the field's.
pub(super) fn mode(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["enforce", "testing", "none"]})
}

/// `spec.deletionPolicy`: written out for the same reason.
pub(super) fn deletion_policy(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Graceful", "Immediate", "Retain"]})
}

/// `spec.enforcement`: written out for the same reason.
pub(super) fn enforcement(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Guarded", "Unconditional"]})
}

/// `spec.rollout.strategy`
pub(super) fn rollout_strategy(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Direct", "Progressive"]})
}

/// `spec.rollout.approval`
pub(super) fn approval(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Automatic", "Manual"]})
}

/// `spec.rollout.onFailure`
pub(super) fn on_failure(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Freeze", "Rollback"]})
}

/// `spec.rollout.stages`
pub(super) fn stages(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": SPEC_STAGE_COUNT,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": StageSpec::json_schema(generator),
    })
}

/// `spec.rollout.stages[].name`
pub(super) fn stage_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 63,
        "x-kubernetes-validations": [rule(
            "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "write a name of lower-case letters, digits and hyphens, such as observe",
        )],
    })
}

/// `spec.rollout.stages[].mode`
pub(super) fn stage_mode(_: &mut SchemaGenerator) -> Schema {
    // The length is for the API server, which estimates what a rule over all stages costs.
    json_schema!({"type": "string", "enum": ["testing", "enforce"], "maxLength": 7})
}

/// `spec.rollout.stages[].minDurationSeconds`
pub(super) fn min_duration_seconds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "format": "int64",
        "x-kubernetes-validations": [rule(
            "self >= 0 && self <= 31557600",
            "write a number of seconds from 0 to 31557600 (one year)",
        )],
    })
}

/// `spec.tlsReporting.rua`
pub(super) fn rua(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": SPEC_RUA_COUNT,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": SPEC_RUA_BYTES,
            "x-kubernetes-validations": [rule(
                r"self.matches('^(mailto:[^@?]+@[^@?]+([?].*)?|https://[^/?#:]+.*)$') && self.matches('^([-A-Za-z0-9._~:/?#@$&()*+=]|%[0-9A-Fa-f]{2})+$')",
                "write mailto: and an address, such as mailto:tlsrpt@example.org, or an https: URL; write a comma as %2C, ! as %21 and ; as %3B",
            )],
        },
    })
}

/// `spec.mx`
pub(super) fn mx_patterns(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": SPEC_MX_COUNT,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 255,
            "x-kubernetes-validations": [
                rule(
                    format!(r"self.matches('^(\\*\\.)?{HOST}') && !self.matches('{NUMERIC_TOP}')"),
                    "write an MX host name in lower-case A-labels, such as mail.example.org, or *. and a host name, such as *.example.org: no priority, port, scheme, address, quotes or final dot",
                ),
                rule("!self.startsWith('*.') || self.matches('^\\\\*\\\\.[^.]+\\\\.')", "a wildcard needs two labels or more after it, such as *.example.org"),
            ],
        },
    })
}

/// `spec.maxAgeSeconds`
pub(super) fn max_age_seconds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "format": "int64",
        "x-kubernetes-validations": [rule(
            "self >= 1 && self <= 31557600",
            "write a number of seconds from 1 to 31557600 (one year); 86400 (a day) is the least that all senders accept",
        )],
    })
}

/// `spec.dns.ttlSeconds`
pub(super) fn ttl_seconds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "format": "int64",
        "x-kubernetes-validations": [rule(
            "self >= 30 && self <= 86400",
            "write a number of seconds from 30 to 86400 (one day)",
        )],
    })
}

/// A host name such as the target of a CNAME.
pub(super) fn host_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 253,
        "x-kubernetes-validations": [rule(
            format!("self.matches('^{HOST}') && !self.matches('{NUMERIC_TOP}')"),
            "write a host name in lower case without a final dot, such as front.example.net",
        )],
    })
}

/// `spec.authoritative.zone`
pub(super) fn own_zone(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 200,
        "x-kubernetes-validations": [
            rule(
                format!("self.matches('^{HOST}') && !self.matches('{NUMERIC_TOP}')"),
                "write a zone in lower-case A-labels without a final dot, such as sts.example.net",
            ),
            rule(
                "self == oldSelf",
                "the zone cannot be changed, since the records of your customers point into it: make another provider with the new zone",
            ),
        ],
    })
}

/// `spec.authoritative.nameServers`
pub(super) fn name_servers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": OWN_NAME_SERVERS,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 253,
            "x-kubernetes-validations": [rule(
                format!("self.matches('^{HOST}') && !self.matches('{NUMERIC_TOP}')"),
                "write the name of a name server in lower case without a final dot, such as ns1.example.net",
            )],
        },
    })
}

/// A list of IPv4 addresses.
pub(super) fn ipv4_list(_: &mut SchemaGenerator) -> Schema {
    address_list(4, "write an IPv4 address such as 192.0.2.1")
}

/// A list of IPv6 addresses.
pub(super) fn ipv6_list(_: &mut SchemaGenerator) -> Schema {
    address_list(6, "write an IPv6 address such as 2001:db8::1")
}

fn address_list(family: u8, message: &str) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": POLICY_HOST_ADDRESSES,
        "x-kubernetes-list-type": "set",
        // The set knows texts only: 2001:db8::1 and 2001:DB8::1 are one address.
        "x-kubernetes-validations": [rule(
            "self.all(a, !isIP(a) || self.filter(b, isIP(b) && ip(b) == ip(a)).size() == 1)",
            "write each address once",
        )],
        "items": {
            "type": "string",
            "maxLength": 45,
            "x-kubernetes-validations": [rule(
                format!("isIP(self) && ip(self).family() == {family}"),
                message,
            )],
        },
    })
}

/// The name of another object, such as a Secret or an IngressClass.
pub(super) fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 253,
        "x-kubernetes-validations": [rule(
            format!("self.matches('^{OBJECT_NAME}$')"),
            "write the name of an object: lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
        )],
    })
}

/// `spec.hosting.gateway.parentRefs`
pub(super) fn parent_refs(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": GATEWAY_PARENTS,
        "x-kubernetes-list-type": "atomic",
        "items": GatewayParentRef::json_schema(generator),
        "x-kubernetes-validations": [rule(
            "self.all(a, self.filter(b, b == a).size() == 1)",
            "write each Gateway once",
        )],
    })
}

/// The port of a Gateway's listener.
pub(super) fn listener_port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "format": "int32",
        "x-kubernetes-validations": [rule(
            "self >= 1 && self <= 65535",
            "write a port from 1 to 65535",
        )],
    })
}

/// A key of a Secret.
pub(super) fn secret_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 253,
        "x-kubernetes-validations": [rule(
            "self.matches('^[A-Za-z0-9._-]+$')",
            "write the name of a key in the Secret (not its value): letters, digits, '-', '_' and '.'",
        )],
    })
}

/// `spec.hosting.ingress.annotations`
pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": SPEC_LIST_COUNT,
        "additionalProperties": {
            "type": "string",
            "maxLength": SPEC_ANNOTATION_BYTES,
            "x-kubernetes-validations": [rule(
                r#"!self.matches('[\\p{Cc};"\'`{}\\\\]')"#,
                "write a value without control characters, semicolons, quotes, braces and backslashes: they could end a directive in the configuration of the Ingress controller",
            )],
        },
        "x-kubernetes-validations": [
            rule(
                "self.all(key, !key.matches('(?i)((snippet|lua)[^/]*$|(^|/)config-[^/]*$)'))",
                "annotations that carry configuration (snippets, Lua, config-) are refused: they would let this object rewrite the Ingress controller",
            ),
            rule(
                format!("self.all(key, key.matches('^({OBJECT_NAME}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{{0,61}}[A-Za-z0-9])?$'))"),
                "write the key of an annotation as prefix/name, such as external-dns.alpha.kubernetes.io/ttl: the name has at most 63 letters, digits, '-', '_' and '.'",
            ),
        ],
    })
}

/// `spec.zones` of a namespaced provider: optional.
pub(super) fn zones(_: &mut SchemaGenerator) -> Schema {
    zone_list(0)
}

/// `spec.zones` of a cluster provider: required and not empty.
pub(super) fn required_zones(_: &mut SchemaGenerator) -> Schema {
    zone_list(1)
}

fn zone_list(at_least: u8) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": at_least,
        "maxItems": PROVIDER_ZONES,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 253,
            "x-kubernetes-validations": [rule(
                format!("self == '*' || (self.matches('^{HOST}') && !self.matches('{NUMERIC_TOP}'))"),
                "write a zone in lower-case A-labels without a final dot, such as example.org, or \"*\" for all zones",
            )],
        },
    })
}

/// `spec.rfc2136.server`
pub(super) fn server(_: &mut SchemaGenerator) -> Schema {
    // A host name or something in brackets, then a port.
    let shape = format!(
        r"self.matches('^({}|\\[[0-9a-f:.]+\\])(:[0-9]{{1,5}})?$')",
        HOST.trim_end_matches('$')
    );
    // What looks like an address is one.
    let address = r"(!self.matches('^(\\[|[^:]*\\.[0-9]+(:|$))') || isIP(self.startsWith('[') ? self.substring(1, self.indexOf(']')) : self.split(':')[0]))";
    let port = r"(!self.matches(':[0-9]+$') || (int(self.substring(self.lastIndexOf(':') + 1)) >= 1 && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535))";
    json_schema!({
        "type": "string",
        "maxLength": 270,
        "x-kubernetes-validations": [rule(
            format!("{shape} && {address} && {port}"),
            "write the primary name server as a full host name in lower case or an IP address, with its port (1 to 65535) if that is not 53: ns1.example.org, 192.0.2.53:53 or [2001:db8::53]:53",
        )],
    })
}

/// `spec.rfc2136.tsig.keyName`
pub(super) fn key_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 253,
        "x-kubernetes-validations": [rule(
            r"self.matches('^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$')",
            "write the name of the TSIG key as the name server knows it, without a final dot",
        )],
    })
}

/// A setting of a DNS service.
pub(super) fn service_setting(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": SERVICE_SETTING_BYTES,
        "x-kubernetes-validations": [rule(
            r"self.matches('^[\\x20-\\x7e]*$')",
            "write printable ASCII",
        )],
    })
}

/// `spec.powerdns.url`, `spec.route53.endpoint`
pub(super) fn service_url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": SERVICE_SETTING_BYTES,
        "x-kubernetes-validations": [rule(
            r"self.matches('^https?://[a-zA-Z0-9.:\\[\\]-]+(/[a-zA-Z0-9._~/-]*)?$') && isURL(self)",
            "write an https URL with host, port and path only, such as https://pdns.example.org:8081",
        )],
    })
}

/// `spec.azureDns.environment`
pub(super) fn azure_environment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": AZURE_ENVIRONMENTS})
}

/// `spec.ovh.endpoint`
pub(super) fn ovh_endpoint(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": OVH_ENDPOINTS})
}

/// `spec.service.name`
pub(super) fn service_name(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
    json_schema!({"type": "string", "enum": names})
}

/// `spec.service.config`
pub(super) fn service_config(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 10,
        "additionalProperties": service_setting(generator),
    })
}
