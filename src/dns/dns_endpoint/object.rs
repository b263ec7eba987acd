//! Of a DNSEndpoint (`externaldns.k8s.io/v1alpha1`) the fields that are read or written here.

#![allow(unreachable_pub)] // the derive needs what it makes of a struct to see the struct

use std::collections::BTreeSet;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::dns::txt_text::{quoted, unquoted};
use crate::dns::{RecordSet, RecordType, RecordValue};

/// Spec of a DNSEndpoint.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "externaldns.k8s.io",
    version = "v1alpha1",
    kind = "DNSEndpoint",
    plural = "dnsendpoints",
    namespaced,
    schema = "disabled",
    status = "DnsEndpointStatus"
)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsEndpointSpec {
    /// The record sets.
    pub endpoints: Vec<Endpoint>,
}

/// Status of a DNSEndpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsEndpointStatus {
    /// The generation that external-dns has read last.
    pub observed_generation: i64,
}

/// One record set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Owner name, without the final dot.
    pub dns_name: String,
    /// TTL in seconds; 0 or absent: the service's own.
    #[serde(rename = "recordTTL")]
    pub record_ttl: i64,
    /// Type.
    pub record_type: String,
    /// Values.
    pub targets: Vec<String>,
}

impl Endpoint {
    /// A record set as external-dns is to read it. With `quote_txt` a text stands between quotes.
    pub(super) fn of(name: &str, set: &RecordSet, kind: RecordType, quote_txt: bool) -> Self {
        let target = |value: &RecordValue| match value {
            RecordValue::Txt(strings) if quote_txt => quoted(strings),
            RecordValue::Txt(strings) => String::from_utf8_lossy(&strings.concat()).into_owned(),
            other => other.to_string(),
        };
        Self {
            dns_name: name.to_owned(),
            record_ttl: set.ttl.map_or(0, i64::from),
            record_type: kind.to_string(),
            targets: set.values.iter().map(target).collect(),
        }
    }

    /// Whether it is the record set of this name and type.
    pub(super) fn is(&self, name: &str, kind: RecordType) -> bool {
        self.record_type == kind.to_string() && self.dns_name.eq_ignore_ascii_case(name)
    }

    /// Whether its texts stand between quotes, or do not.
    pub(super) fn is_quoted_as(&self, quote_txt: bool) -> bool {
        let is_txt = self.record_type == RecordType::Txt.to_string();
        !is_txt
            || self
                .targets
                .iter()
                .all(|target| target.starts_with('"') == quote_txt)
    }

    /// The record set; `None` without a value, or with one that is none.
    pub(super) fn record_set(&self, kind: RecordType) -> Option<RecordSet> {
        let value = |target: &String| match kind {
            RecordType::A => target.parse().ok().map(RecordValue::A),
            RecordType::Aaaa => target.parse().ok().map(RecordValue::Aaaa),
            RecordType::Cname => {
                let name = target.trim_end_matches('.').to_ascii_lowercase();
                Some(RecordValue::Cname(name))
            }
            RecordType::Txt => Some(RecordValue::Txt(unquoted(target))),
        };
        let values: BTreeSet<RecordValue> =
            self.targets.iter().map(value).collect::<Option<_>>()?;
        let ttl = u32::try_from(self.record_ttl).ok().filter(|&ttl| ttl > 0);
        (!values.is_empty()).then_some(RecordSet { ttl, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "_mta-sts.example.org";

    #[test]
    fn a_record_set_comes_back_as_it_was_written() {
        for (case, kind, value, quote, target) in [
            (
                "quoted",
                RecordType::Txt,
                RecordValue::txt("v=STSv1; id=1;"),
                true,
                "\"v=STSv1; id=1;\"",
            ),
            (
                "bare",
                RecordType::Txt,
                RecordValue::txt("v=STSv1; id=1;"),
                false,
                "v=STSv1; id=1;",
            ),
            (
                "address",
                RecordType::A,
                RecordValue::A([192, 0, 2, 1].into()),
                true,
                "192.0.2.1",
            ),
            (
                "alias",
                RecordType::Cname,
                RecordValue::Cname("lb.example.net".to_owned()),
                true,
                "lb.example.net",
            ),
        ] {
            let set = RecordSet::one(300, value);
            let endpoint = Endpoint::of(NAME, &set, kind, quote);
            assert_eq!(endpoint.targets, [target], "{case}");
            assert!(endpoint.is("_MTA-STS.example.org", kind), "{case}");
            assert_eq!(endpoint.record_set(kind), Some(set), "{case}");
            assert!(endpoint.is_quoted_as(quote), "{case}");
        }
    }

    #[test]
    fn the_other_way_of_quoting_is_seen() {
        let set = RecordSet::one(300, RecordValue::txt("v=STSv1; id=1;"));
        for quote in [true, false] {
            let endpoint = Endpoint::of(NAME, &set, RecordType::Txt, quote);
            assert!(!endpoint.is_quoted_as(!quote), "{quote}");
        }
        let address = RecordSet::one(300, RecordValue::A([192, 0, 2, 1].into()));
        let address = Endpoint::of(NAME, &address, RecordType::A, true);
        assert!(address.is_quoted_as(true) && address.is_quoted_as(false));
    }
}
