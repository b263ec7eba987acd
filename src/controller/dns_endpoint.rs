//! DNSEndpoints for an external-dns in the cluster: opening them, and telling how far it has come.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::context::Context;
use super::dns::{Access, View};
use super::error::ProviderError;
use super::records::object_labels;
use super::service::Zones;
use crate::diagnosis::{ExternalDns, external_dns};
use crate::dns::dns_endpoint::{self, DnsEndpoints, HandedOver, LookUp};
use crate::dns::{RecordSet, RecordType, RecordValue};
use crate::lifecycle::observation::{Observation, TxtAnswer};
use crate::lifecycle::txt::TxtSet;
use crate::probe::dns::{RecordData, RecordType as ProbeType};
use crate::protocol::PolicyId;

/// Label of a DNSEndpoint with the name of its ClusterDnsProvider: external-dns may choose by it.
const PROVIDER_LABEL: &str = "mta-sts.dev/dns-provider";

/// DNSEndpoints in the operator's namespace.
pub(super) fn open(context: &Context, access: &Access) -> Result<DnsEndpoints, ProviderError> {
    // External-dns has the credentials of the cluster: a tenant may not borrow them.
    let (Some(spec), None) = (&access.spec.dns_endpoint, &access.key.namespace) else {
        return Err(ProviderError::NoService);
    };
    let mut labels = object_labels("dns-endpoint");
    labels.insert(PROVIDER_LABEL.to_owned(), label_value(&access.key.name));
    Ok(DnsEndpoints::new(dns_endpoint::Settings {
        client: context.client.clone(),
        namespace: context.namespace.clone(),
        labels,
        quote_txt: spec.quote_txt.unwrap_or(true),
        servers: Arc::new(Zones(context.dns.clone())),
    }))
}

/// A name as the value of a label, which has at most 63 characters.
fn label_value(name: &str) -> String {
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// Why the servers do not show the address record yet, where external-dns is to write it.
pub(super) fn waits_for_address(view: &View) -> Option<String> {
    let host = view.host_handed_over.as_ref()?;
    Some(told(host, "the address record", &[], None))
}

/// Why the servers do not show the TXT record with `id` yet, where external-dns is to write it.
pub(super) fn waits_for(view: &View, seen: &Observation, id: Option<&PolicyId>) -> Option<String> {
    let (txt, id) = view.txt_handed_over.as_ref().zip(id)?;
    let sets: Vec<&TxtSet> = seen
        .txt_servers
        .iter()
        .filter_map(|server| match &server.answer {
            TxtAnswer::Set(set, _) => Some(set),
            TxtAnswer::Unreachable { .. } => None,
        })
        .collect();
    if !sets.is_empty() && sets.iter().all(|set| set.shows_exactly(id)) {
        return None;
    }
    let shown: Vec<Vec<u8>> = sets.iter().flat_map(|set| set.texts()).collect();
    let wanted = crate::protocol::StsRecord::render(id);
    Some(told(txt, "the TXT record", &shown, Some(&wanted)))
}

fn told(handed: &HandedOver, what: &str, shown: &[Vec<u8>], wanted: Option<&str>) -> String {
    external_dns(&ExternalDns {
        object: &handed.object,
        what,
        read: handed.read,
        quoted: handed.quoted,
        wanted,
        shown,
    })
}

impl LookUp for Zones {
    fn record_set<'a>(
        &'a self,
        name: &'a str,
        record_type: RecordType,
    ) -> BoxFuture<'a, Result<Option<RecordSet>, String>> {
        let of_probe = match record_type {
            RecordType::A => ProbeType::A,
            RecordType::Aaaa => ProbeType::Aaaa,
            RecordType::Cname => ProbeType::Cname,
            RecordType::Txt => ProbeType::Txt,
        };
        Box::pin(async move {
            let own = self.0.own_records(name, of_probe).await;
            let own = own.map_err(|error| error.to_string())?;
            Ok(own.map(|own| RecordSet {
                ttl: Some(own.ttl),
                values: own.records.into_iter().filter_map(value).collect(),
            }))
        })
    }
}

fn value(data: RecordData) -> Option<RecordValue> {
    match data {
        RecordData::A(address) => Some(RecordValue::A(address)),
        RecordData::Aaaa(address) => Some(RecordValue::Aaaa(address)),
        RecordData::Cname(target) => Some(RecordValue::Cname(target)),
        RecordData::Txt(strings) => Some(RecordValue::Txt(strings)),
        RecordData::Caa { .. }
        | RecordData::Mx { .. }
        | RecordData::Ns(_)
        | RecordData::Soa { .. }
        | RecordData::Tlsa { .. } => None,
    }
}
