//! The DNS provider of a policy: opening it, reading what stands there, writing. (io)

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::context::Context;
use super::dns_endpoint;
use super::error::{Error, ProviderError};
use super::opened::Opened;
use super::service;
use crate::api::{DnsServiceSpec, Rfc2136Spec, SecretKeyRef, TsigAlgorithm};
use crate::clock;
use crate::dns::dns_endpoint::HandedOver;
use crate::dns::rfc2136::{Rfc2136, Settings};
use crate::dns::{Change, Provider, RecordSet, RecordType, RecordValue, Swap, TsigKey, TsigSecret};
use crate::lifecycle::tls_rpt::{TlsRptSet, looks_like_tls_rpt};
use crate::lifecycle::txt::TxtSet;
use crate::lifecycle::{Address, ProviderKey, Publication};
use crate::limits;
use crate::protocol::{HostName, InstallationId, PolicyId};

/// Everything that is needed to open a provider.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) key: ProviderKey,
    pub(super) spec: DnsServiceSpec,
    /// Empty or `*`: all.
    pub(super) zones: Vec<String>,
}

/// What stands at the domain's names in the provider's zone.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) place: Place,
    /// Where the TXT record is: `_mta-sts.<domain>`, or what a CNAME there leads to.
    pub(super) txt_name: String,
    pub(super) txt: Option<RecordSet>,
    /// Where the address of the policy host is.
    pub(super) host: String,
    pub(super) a: Option<RecordSet>,
    pub(super) aaaa: Option<RecordSet>,
    pub(super) cname: Option<RecordSet>,
    /// How far external-dns has come with the TXT record, where it is to write it.
    pub(super) txt_handed_over: Option<HandedOver>,
    /// The same of the address.
    pub(super) host_handed_over: Option<HandedOver>,
}

/// Where it stands, and so how it is changed.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In zones of a provider.
    Zones {
        opened: Opened,
        txt: String,
        host: String,
    },
    /// In the domain's own record, from which our own name servers answer below this zone.
    Record(HostName),
}

/// A TXT record set in a provider's zone.
#[derive(Clone, Debug)]
pub(super) struct TxtPlace {
    pub(super) opened: Opened,
    pub(super) zone: String,
    pub(super) name: String,
    pub(super) set: Option<RecordSet>,
}

/// Opens a provider with its credentials.
pub(super) async fn open(context: &Context, access: &Access) -> Result<Opened, ProviderError> {
    let provider = match (
        &access.spec.rfc2136,
        service::api_services(&access.spec).first(),
    ) {
        (Some(spec), None) => Provider::Rfc2136(open_rfc2136(context, access, spec).await?),
        (None, Some(spec)) => {
            Provider::Service(Box::new(service::open(context, access, spec).await?))
        }
        (None, None) if access.spec.webhook.is_some() => {
            Provider::Webhook(service::open_webhook(context, access).await?)
        }
        (None, None) if access.spec.dns_endpoint.is_some() => {
            Provider::DnsEndpoints(Box::new(dns_endpoint::open(context, access)?))
        }
        // Refused before anybody comes here: a spec that names no service, or several.
        _ => return Err(ProviderError::NoService),
    };
    let shared = context.services.shared(access);
    Ok(Opened::new(provider, access.zones.clone(), shared))
}

async fn open_rfc2136(
    context: &Context,
    access: &Access,
    spec: &Rfc2136Spec,
) -> Result<Rfc2136, ProviderError> {
    let server = chosen_address(context, access, &spec.server, 53).await?;
    let secret = tsig_secret(context, access, &spec.tsig.secret_ref).await?;
    let tsig = TsigKey {
        name: spec.tsig.key_name.clone(),
        algorithm: match spec.tsig.algorithm {
            TsigAlgorithm::HmacSha256 => crate::dns::TsigAlgorithm::HmacSha256,
            TsigAlgorithm::HmacSha384 => crate::dns::TsigAlgorithm::HmacSha384,
            TsigAlgorithm::HmacSha512 => crate::dns::TsigAlgorithm::HmacSha512,
        },
        secret,
    };
    Ok(Rfc2136::new(Settings {
        server,
        zone: spec.zone.clone(),
        tsig,
        clock: clock::now,
    })?)
}

/// The address of a server that its owner has chosen: a tenant may choose a public one only. It is
/// looked up once for each use, and the checked address is what is dialled.
pub(super) async fn chosen_address(
    context: &Context,
    access: &Access,
    server: &str,
    default_port: u16,
) -> Result<SocketAddr, ProviderError> {
    let of_tenant = access.key.namespace.is_some() && !context.settings.allow_private_providers;
    match of_tenant {
        true => public_address(context, server, default_port).await,
        false => look_up(server, default_port).await,
    }
}

/// The address of a server that has to be a public one.
pub(super) async fn public_address(
    context: &Context,
    server: &str,
    default_port: u16,
) -> Result<SocketAddr, ProviderError> {
    let address = look_up(server, default_port).await?;
    if context.targets.check(address.ip()).is_err() {
        return Err(ProviderError::ServerPrivate {
            server: server.to_owned(),
        });
    }
    Ok(address)
}

async fn look_up(text: &str, default_port: u16) -> Result<SocketAddr, ProviderError> {
    let unresolved = |why: String| ProviderError::ServerUnresolved {
        server: text.to_owned(),
        why,
    };
    if let Ok(address) = with_port(text, default_port).parse::<SocketAddr>() {
        return Ok(address);
    }
    let (host, port) = split_port(text, default_port);
    // With the final dot the search list is never tried.
    let lookup = tokio::net::lookup_host((format!("{host}."), port));
    tokio::time::timeout(limits::PROVIDER_CALL_TIME, lookup)
        .await
        .map_err(|_| unresolved("no answer in time".to_owned()))?
        .map_err(|error| unresolved(error.to_string()))?
        .next()
        .ok_or_else(|| unresolved("it has no address".to_owned()))
}

fn with_port(text: &str, default_port: u16) -> String {
    let (host, port) = split_port(text, default_port);
    if host.contains(':') && !host.starts_with('[') {
        return format!("[{host}]:{port}");
    }
    format!("{host}:{port}")
}

fn split_port(text: &str, default_port: u16) -> (&str, u16) {
    let split = text
        .rsplit_once(':')
        .filter(|(host, _)| host.ends_with(']') || !host.contains(':'))
        .and_then(|(host, port)| Some((host, port.parse().ok()?)));
    split.unwrap_or((text, default_port))
}

/// The TSIG secret, if its Secret may be used.
async fn tsig_secret(
    context: &Context,
    access: &Access,
    reference: &SecretKeyRef,
) -> Result<TsigSecret, ProviderError> {
    let found = service::secret(context, access, &reference.name).await?;
    let text = service::text(&found, &reference.key)?;
    TsigSecret::from_base64(&text)
        .map_err(|error| found.malformed(&reference.key, &error.to_string()))
}

impl TxtPlace {
    /// What of it is about TLS reports.
    pub(super) fn tls_rpt(&self) -> TlsRptSet {
        let values = self.set.iter().flat_map(|set| &set.values);
        let ttl = self.set.as_ref().and_then(|set| set.ttl);
        TlsRptSet::classify(values.filter_map(RecordValue::txt_octets), ttl)
    }

    /// Puts a record about TLS reports, or none, in place of those of which `replaced` is true.
    /// Everything else in the set stays.
    pub(super) async fn write_tls_rpt(
        &self,
        context: &Context,
        text: Option<&str>,
        replaced: impl Fn(&str) -> bool,
        ttl: u32,
    ) -> Result<Result<Swap, ProviderError>, Error> {
        let stays = |value: &&RecordValue| {
            let octets = value.txt_octets().unwrap_or_default();
            !(looks_like_tls_rpt(&octets) && replaced(&String::from_utf8_lossy(&octets)))
        };
        let present = self.set.iter().flat_map(|set| &set.values);
        let mut values: BTreeSet<RecordValue> = present.filter(stays).cloned().collect();
        values.extend(text.map(RecordValue::txt));
        // What is left is not ours: it keeps its TTL.
        let left = self.set.as_ref().and_then(|set| set.ttl);
        let ttl = if text.is_some() {
            ttl
        } else {
            left.unwrap_or(ttl)
        };
        let change = Change {
            name: self.name.clone(),
            record_type: RecordType::Txt,
            expected: self.set.clone(),
            desired: record_set(ttl, values),
        };
        self.opened.swap(context, &self.zone, &[change]).await
    }
}

/// Whose records are in a TXT record set.
pub(super) fn classify(set: Option<&RecordSet>, installation: &InstallationId) -> TxtSet {
    let texts: Vec<Vec<u8>> = set
        .iter()
        .flat_map(|set| &set.values)
        .filter_map(RecordValue::txt_octets)
        .collect();
    TxtSet::classify(&texts, installation)
}

impl View {
    /// What the record of a domain lets our own name servers say.
    pub(super) fn own(
        publication: Option<&Publication>,
        zone: &HostName,
        txt_name: String,
        host: String,
    ) -> Self {
        let answers = publication.and_then(|p| p.dns.answers.as_ref());
        let answers = answers.filter(|answers| answers.zone == *zone);
        let announced = publication.and_then(Publication::announced_in_dns);
        let announced = announced.filter(|_| answers.is_some());
        let of = |pick: fn(&Address) -> Option<RecordValue>| {
            let values = answers.iter().flat_map(|a| &a.addresses).filter_map(pick);
            record_set(answers.map_or(0, |a| a.ttl), values.collect())
        };
        Self {
            place: Place::Record(zone.clone()),
            txt_handed_over: None,
            host_handed_over: None,
            txt_name,
            txt: announced.map(|announced| {
                let text = crate::protocol::StsRecord::render(&announced.id);
                RecordSet::one(announced.ttl, RecordValue::txt(&text))
            }),
            host,
            a: of(a_value),
            aaaa: of(aaaa_value),
            cname: of(cname_value),
        }
    }

    /// Our own zone, where our own name servers answer.
    pub(super) fn own_zone(&self) -> Option<&HostName> {
        match &self.place {
            Place::Record(zone) => Some(zone),
            Place::Zones { .. } => None,
        }
    }

    /// What stands at another name; `None` where the operator's own name servers answer, which know
    /// no other.
    pub(super) async fn txt_at(
        &self,
        context: &Context,
        name: &str,
    ) -> Result<Option<TxtPlace>, ProviderError> {
        match &self.place {
            Place::Zones { opened, .. } => opened.txt_place(context, name).await.map(Some),
            Place::Record(_) => Ok(None),
        }
    }

    /// Whose TXT records stand there.
    pub(super) fn txt(&self, installation: &InstallationId) -> TxtSet {
        classify(self.txt.as_ref(), installation)
    }

    /// The TTL of the TXT record set, where the service tells it.
    pub(super) fn txt_ttl(&self) -> Option<u32> {
        self.txt.as_ref().and_then(|set| set.ttl)
    }

    /// The address records that stand there.
    pub(super) fn addresses(&self) -> Vec<Address> {
        [&self.cname, &self.a, &self.aaaa]
            .into_iter()
            .flatten()
            .flat_map(|set| &set.values)
            .filter_map(|value| match value {
                RecordValue::A(address) => Some(Address::A(*address)),
                RecordValue::Aaaa(address) => Some(Address::Aaaa(*address)),
                RecordValue::Cname(name) => Some(Address::Cname(name.clone())),
                RecordValue::Txt(_) => None,
            })
            .collect()
    }

    /// The largest TTL of the address records that stand there, where the service tells it.
    pub(super) fn addresses_ttl(&self) -> Option<u32> {
        [&self.cname, &self.a, &self.aaaa]
            .into_iter()
            .flatten()
            .filter_map(|set| set.ttl)
            .max()
    }

    /// What the service makes of a TTL.
    pub(super) fn ttl(&self, wanted: u32) -> u32 {
        match &self.place {
            Place::Zones { opened, .. } => opened.ttl(wanted),
            Place::Record(_) => wanted,
        }
    }

    /// Whether somebody else carries out what is written: it does not stand there at once.
    pub(super) fn is_handed_over(&self) -> bool {
        match &self.place {
            Place::Zones { opened, .. } => opened.is_handed_over(),
            Place::Record(_) => false,
        }
    }

    /// Whether the TXT record was handed over in a form that is not the one wanted now.
    pub(super) fn txt_is_stale(&self) -> bool {
        let handed_over = self.txt_handed_over.as_ref();
        handed_over.is_some_and(|handed_over| handed_over.stale)
    }

    /// Whether there is a TXT record set whose TTL the service does not tell.
    pub(super) fn ttl_untold(&self) -> bool {
        self.txt.as_ref().is_some_and(|set| set.ttl.is_none())
    }

    /// Brings the TXT record set to announce `id`, or nothing. Everything in it that is no
    /// MTA-STS record stays; foreign MTA-STS records go, so the caller has asked whether they may.
    pub(super) async fn write_txt(
        &self,
        context: &Context,
        id: Option<&PolicyId>,
        ttl: u32,
    ) -> Result<Result<Swap, ProviderError>, Error> {
        let mut values: BTreeSet<RecordValue> = self
            .txt
            .iter()
            .flat_map(|set| &set.values)
            .filter(|value| is_unrelated(value, &context.installation))
            .cloned()
            .collect();
        let mut set_ttl = self.ttl(ttl);
        match id {
            Some(id) => {
                values.insert(RecordValue::txt(&crate::protocol::StsRecord::render(id)));
            }
            // What is left is not ours: it keeps its TTL.
            None => set_ttl = self.txt_ttl().unwrap_or(ttl),
        }
        let change = Change {
            name: self.txt_name.clone(),
            record_type: RecordType::Txt,
            expected: self.txt.clone(),
            desired: record_set(set_ttl, values),
        };
        match &self.place {
            Place::Zones { opened, txt, .. } => opened.swap(context, txt, &[change]).await,
            // It is announced by the record alone, and whoever has read that has read this.
            Place::Record(_) => Ok(Ok(Swap::Conflict)),
        }
    }

    /// Brings the address records to be exactly `wanted`, all in one change.
    pub(super) async fn write_addresses(
        &self,
        context: &Context,
        wanted: &[Address],
        ttl: u32,
    ) -> Result<Result<Swap, ProviderError>, Error> {
        let ttl = self.ttl(ttl);
        let of = |pick: fn(&Address) -> Option<RecordValue>| {
            record_set(ttl, wanted.iter().filter_map(pick).collect())
        };
        let desired = [
            (RecordType::Cname, &self.cname, of(cname_value)),
            (RecordType::A, &self.a, of(a_value)),
            (RecordType::Aaaa, &self.aaaa, of(aaaa_value)),
        ];
        let changes: Vec<Change> = desired
            .into_iter()
            .filter(|(_, expected, desired)| *expected != desired)
            .map(|(record_type, expected, desired)| Change {
                name: self.host.clone(),
                record_type,
                expected: expected.clone(),
                desired,
            })
            .collect();
        if changes.is_empty() {
            return Ok(Ok(Swap::Done));
        }
        match &self.place {
            Place::Zones { opened, host, .. } => opened.swap(context, host, &changes).await,
            // Written into the record by whoever has it.
            Place::Record(_) => Ok(Ok(Swap::Conflict)),
        }
    }
}

fn record_set(ttl: u32, values: BTreeSet<RecordValue>) -> Option<RecordSet> {
    (!values.is_empty()).then_some(RecordSet {
        ttl: Some(ttl),
        values,
    })
}

fn is_unrelated(value: &RecordValue, installation: &InstallationId) -> bool {
    let octets = value.txt_octets().unwrap_or_default();
    !TxtSet::classify(&[octets], installation)
        .unrelated()
        .is_empty()
}

fn cname_value(address: &Address) -> Option<RecordValue> {
    match address {
        Address::Cname(name) => Some(RecordValue::Cname(name.clone())),
        _ => None,
    }
}

fn a_value(address: &Address) -> Option<RecordValue> {
    match address {
        Address::A(address) => Some(RecordValue::A(*address)),
        _ => None,
    }
}

fn aaaa_value(address: &Address) -> Option<RecordValue> {
    match address {
        Address::Aaaa(address) => Some(RecordValue::Aaaa(*address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_be_written_with_or_without_its_port() {
        for (text, expected) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("ns1.example.org", "ns1.example.org:53"),
            ("ns1.example.org:5353", "ns1.example.org:5353"),
        ] {
            assert_eq!(with_port(text, 53), expected);
        }
    }
}
