//! A DNS provider that was opened: what stands in its zones, and writing there. (io)

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::accept::zone_allows;
use super::context::Context;
use super::dns::{Place, TxtPlace, View};
use super::error::{Error, ProviderError};
use crate::dns::dns_endpoint::HandedOver;
use crate::dns::{
    Change, DnsProvider as _, Found, Provider, RecordType, RecordValue, Shared, Swap,
};
use crate::limits;
use crate::protocol::Domain;

/// A provider that was opened.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    provider: Provider,
    zones: Vec<String>,
    /// What all its policies share.
    shared: Arc<Shared>,
}

impl Opened {
    pub(super) fn new(provider: Provider, zones: Vec<String>, shared: Arc<Shared>) -> Self {
        Self {
            provider,
            zones,
            shared,
        }
    }

    /// What stands at a name now, or stood there a moment ago.
    async fn look(
        &self,
        context: &Context,
        name: &str,
        types: &[RecordType],
    ) -> Result<Found, ProviderError> {
        if let Some(found) = self.shared.remembered(name, types) {
            self.allowed(&found.zone, name)?;
            return Ok(found);
        }
        let deadline = limits::PROVIDER_CALL_TIME;
        let confirmed = self
            .shared
            .confirmed(&self.provider, name, types, deadline)
            .await;
        let is_remembered = confirmed.is_some();
        let found = match confirmed {
            Some(found) => self.allowed(&found.zone, name).map(|()| found),
            None => self.look_anew(name, types).await,
        };
        context.metrics.provider_call("read", &found);
        let found = found?;
        // Somebody else carries those out, and how far he has come is looked at each time.
        if !self.is_handed_over() && !is_remembered {
            self.shared.remember(name, found.clone());
        }
        Ok(found)
    }

    async fn look_anew(&self, name: &str, types: &[RecordType]) -> Result<Found, ProviderError> {
        let deadline = limits::PROVIDER_CALL_TIME;
        let spot = self.provider.locate(name, deadline).await?;
        self.allowed(&spot.zone, name)?;
        let sets = match spot.vacant {
            true => vec![None; types.len()],
            false => {
                let read = self.provider.glance(&spot.zone, name, types, deadline);
                read.await?
            }
        };
        let sets: HashMap<_, _> = types.iter().copied().zip(sets).collect();
        Ok(Found {
            zone: spot.zone,
            sets,
        })
    }

    /// Whether the zone may be written. `spec.zones` may name a part of a zone: then the name decides.
    fn allowed(&self, zone: &str, name: &str) -> Result<(), ProviderError> {
        match zone_allows(&self.zones, zone) || zone_allows(&self.zones, name) {
            true => Ok(()),
            false => Err(ProviderError::ZoneNotAllowed {
                zone: zone.to_owned(),
            }),
        }
    }

    /// What the service makes of a TTL.
    pub(super) fn ttl(&self, wanted: u32) -> u32 {
        match &self.provider {
            Provider::Rfc2136(_) | Provider::Webhook(_) | Provider::DnsEndpoints(_) => wanted,
            Provider::Service(service) => service.ttl(wanted),
        }
    }

    /// Whether somebody else carries out what is written.
    pub(super) fn is_handed_over(&self) -> bool {
        matches!(self.provider, Provider::DnsEndpoints(_))
    }

    /// A harmless call that shows whether everything is right.
    pub(super) async fn check(&self) -> Result<Vec<String>, ProviderError> {
        let zones: Vec<String> = self.zones.iter().filter(|z| *z != "*").cloned().collect();
        let check = self.provider.check(&zones, limits::PROVIDER_CALL_TIME);
        Ok(check.await?)
    }

    /// What stands at the domain's names.
    pub(super) async fn view(
        &self,
        context: &Context,
        domain: &Domain,
        txt_name: &str,
    ) -> Result<View, ProviderError> {
        const ADDRESSES: [RecordType; 3] = [RecordType::A, RecordType::Aaaa, RecordType::Cname];
        let host = domain.policy_host().to_string();
        // Both to the end: which of two errors is told must not depend on which came first.
        let (at_txt, at_host) = tokio::join!(
            self.look(context, txt_name, &[RecordType::Txt]),
            self.look(context, &host, &ADDRESSES),
        );
        let (at_txt, at_host) = (at_txt?, at_host?);
        let (txt_handed_over, host_handed_over) =
            tokio::try_join!(self.handed_over(txt_name), self.handed_over(&host))?;
        let [a, aaaa, cname] = ADDRESSES.map(|wanted| at_host.set(wanted).cloned());
        Ok(View {
            txt_name: txt_name.to_owned(),
            txt: at_txt.set(RecordType::Txt).cloned(),
            host,
            a,
            aaaa,
            cname,
            txt_handed_over,
            host_handed_over,
            place: Place::Zones {
                opened: self.clone(),
                txt: at_txt.zone,
                host: at_host.zone,
            },
        })
    }

    /// Forgets what is remembered of a TXT record set that an authoritative server shows otherwise:
    /// somebody has changed it, or what was written is still on its way.
    pub(super) fn compare_memory(&self, name: &str, shown: &BTreeSet<Vec<u8>>) {
        let Some(found) = self.shared.remembered(name, &[RecordType::Txt]) else {
            return;
        };
        let values = found
            .set(RecordType::Txt)
            .into_iter()
            .flat_map(|set| &set.values);
        let known: BTreeSet<Vec<u8>> = values.filter_map(RecordValue::txt_octets).collect();
        if known != *shown {
            self.shared.forget(name);
        }
    }

    /// The same without what is remembered, for what is done once and not looked at again.
    pub(super) async fn view_now(
        &self,
        context: &Context,
        domain: &Domain,
        txt_name: &str,
    ) -> Result<View, ProviderError> {
        self.shared.forget(txt_name);
        self.shared.forget(domain.policy_host().as_str());
        self.shared.forget(&domain.tlsrpt_record_name());
        self.view(context, domain, txt_name).await
    }

    /// The TXT record set at a name.
    pub(super) async fn txt_place(
        &self,
        context: &Context,
        name: &str,
    ) -> Result<TxtPlace, ProviderError> {
        let found = self.look(context, name, &[RecordType::Txt]).await?;
        Ok(TxtPlace {
            opened: self.clone(),
            name: name.to_owned(),
            set: found.set(RecordType::Txt).cloned(),
            zone: found.zone,
        })
    }

    async fn handed_over(&self, name: &str) -> Result<Option<HandedOver>, ProviderError> {
        match &self.provider {
            Provider::DnsEndpoints(endpoints) => {
                let deadline = limits::PROVIDER_CALL_TIME;
                Ok(endpoints.handed_over(name, deadline).await?)
            }
            _ => Ok(None),
        }
    }

    /// Compares and swaps, within the right to write.
    pub(super) async fn swap(
        &self,
        context: &Context,
        zone: &str,
        changes: &[Change],
    ) -> Result<Result<Swap, ProviderError>, Error> {
        let deadline: Duration = context.permit()?;
        let swap = self.shared.swap(&self.provider, zone, changes, deadline);
        let result = swap.await.map_err(ProviderError::from);
        context.metrics.provider_call("write", &result);
        Ok(result)
    }
}
