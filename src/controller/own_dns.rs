//! The operator's own name servers as a DNS provider: what is written is the record itself, and
//! every policy server answers from it. What the owner of a domain has to do is to point its names
//! here, once. (io)

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use kube::{Resource, ResourceExt};

use super::accept::Accepted;
use super::context::Context;
use super::dns::{Access, View};
use super::error::{Error, ProviderError};
use super::records::{Stored, cached_publication, object_labels};
use super::spec::{lint_cluster_spec, lint_provider_spec};
use crate::api::{AuthoritativeSpec, DnsServiceSpec, FIELD_MANAGER};
use crate::lifecycle::own_zone::{
    OwnZone, ZONES_NAME, ZONES_ROLE, fits, granted, host_name, read_zones, tls_rpt_name, txt_name,
    write_zones,
};
use crate::lifecycle::{Answers, Publication, Record};
use crate::limits;
use crate::probe::dns::RecordType;
use crate::protocol::{Domain, HostName};

/// Where one of a domain's names leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Led {
    /// By an alias to its name below our zone.
    Alias,
    /// It is a zone of its own, delegated to name servers.
    Delegated,
    /// Elsewhere: an alias of this name, or no alias at all.
    Elsewhere(Option<String>),
}

/// What is seen of a domain whose names are to lead to the operator's own name servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Own {
    pub(super) domain: Domain,
    pub(super) zone: OwnZone,
    pub(super) txt: Led,
    pub(super) host: Led,
}

impl Led {
    /// Whether it leads to us.
    pub(super) fn is_here(&self) -> bool {
        !matches!(self, Self::Elsewhere(_))
    }
}

impl Own {
    /// Where the TXT record is asked for.
    pub(super) fn txt_name(&self) -> String {
        match self.txt {
            Led::Delegated => self.domain.sts_record_name(),
            _ => txt_name(&self.domain, &self.zone.zone),
        }
    }

    /// Where the address of the policy host is asked for.
    pub(super) fn host_name(&self) -> String {
        match self.host {
            Led::Delegated => self.domain.policy_host().to_string(),
            _ => host_name(&self.domain, &self.zone.zone),
        }
    }

    /// Where the record that asks for reports is asked for, given where its name leads.
    pub(super) fn tls_rpt_name(&self, led: &Led) -> String {
        match led {
            Led::Delegated => self.domain.tlsrpt_record_name(),
            _ => tls_rpt_name(&self.domain, &self.zone.zone),
        }
    }

    /// Where the name `_smtp._tls` of the domain leads.
    pub(super) async fn tls_rpt_led(&self, context: &Context) -> Led {
        let target = tls_rpt_name(&self.domain, &self.zone.zone);
        let name = self.domain.tlsrpt_record_name();
        led(context, &name, &target, RecordType::Txt).await
    }

    /// The record that the domain's owner sets for it: name, type and value.
    pub(super) fn tls_rpt_record(&self) -> (String, &'static str, String) {
        let target = tls_rpt_name(&self.domain, &self.zone.zone);
        self.leading(self.domain.tlsrpt_record_name(), target)
    }

    /// The record that the domain's owner sets for the TXT record: name, type and value.
    pub(super) fn txt_record(&self) -> (String, &'static str, String) {
        let target = txt_name(&self.domain, &self.zone.zone);
        self.leading(self.domain.sts_record_name(), target)
    }

    /// The same for the policy host.
    pub(super) fn host_record(&self) -> (String, &'static str, String) {
        let target = host_name(&self.domain, &self.zone.zone);
        self.leading(self.domain.policy_host().to_string(), target)
    }

    /// Where the name below our zone would be too long, the name itself is delegated.
    fn leading(&self, name: String, target: String) -> (String, &'static str, String) {
        if fits(&self.domain, &self.zone.zone) && target.len() <= HostName::MAX_LENGTH {
            return (name, "CNAME", target);
        }
        let servers: Vec<&str> = self
            .zone
            .name_servers
            .iter()
            .map(HostName::as_str)
            .collect();
        (name, "NS", servers.join(", "))
    }
}

/// A record as a zone file has it, but for the TTL.
pub(super) fn written((name, type_, value): &(String, &'static str, String)) -> String {
    format!("{name}. {type_} {value}.")
}

/// The zone of a provider's spec.
pub(super) fn zone_of(spec: &AuthoritativeSpec) -> Option<OwnZone> {
    let servers = spec.name_servers.iter();
    Some(OwnZone {
        zone: HostName::parse(&spec.zone).ok()?,
        name_servers: servers
            .map(|server| HostName::parse(server).ok())
            .collect::<Option<Vec<_>>>()?,
    })
}

/// A spec for what is answered below a zone when its provider object may be gone.
pub(super) fn spec_of(zone: &HostName) -> DnsServiceSpec {
    DnsServiceSpec {
        authoritative: Some(AuthoritativeSpec {
            zone: zone.to_string(),
            name_servers: Vec::new(),
        }),
        ..DnsServiceSpec::default()
    }
}

/// What the record lets the name servers say, as a provider's view, and where the names lead.
pub(super) async fn view(
    context: &Context,
    access: &Access,
    spec: &AuthoritativeSpec,
    domain: &Domain,
    publication: Option<&Publication>,
) -> Result<(View, Own), ProviderError> {
    let zone = zone_of(spec).ok_or(ProviderError::NoService)?;
    let answers = publication.and_then(|p| p.dns.answers.as_ref());
    // What is answered already has its zone, whatever has become of the provider object.
    if answers.is_none_or(|answers| answers.zone != zone.zone) {
        has_zone(context, &access.key.name, &zone)?;
    }
    let host = domain.policy_host();
    let (txt_target, host_target) = (txt_name(domain, &zone.zone), host_name(domain, &zone.zone));
    let own_name = domain.sts_record_name();
    let (txt, host) = tokio::join!(
        led(context, &own_name, &txt_target, RecordType::Txt),
        led(context, host.as_str(), &host_target, RecordType::A),
    );
    let own = Own {
        domain: domain.clone(),
        zone,
        txt,
        host,
    };
    let view = View::own(publication, &own.zone.zone, own.txt_name(), own.host_name());
    Ok((view, own))
}

/// Where a name leads. What cannot be looked up leads elsewhere until it can.
async fn led(context: &Context, name: &str, target: &str, record_type: RecordType) -> Led {
    if let Some(led) = by_alias(context, name, target, record_type).await {
        return led;
    }
    let servers = context.dns.ask_all(name, RecordType::Soa).await;
    let servers = servers.unwrap_or_default();
    let mut answers = servers
        .iter()
        .filter_map(|server| server.result.as_ref().ok());
    match answers.any(|answer| answer.chain.is_empty() && !answer.records.is_empty()) {
        true => Led::Delegated,
        false => Led::Elsewhere(None),
    }
}

/// Where a name leads by aliases; `None` for a name that is none. Our own alias of the policy host
/// may lead on from there.
async fn by_alias(
    context: &Context,
    name: &str,
    target: &str,
    record_type: RecordType,
) -> Option<Led> {
    let mut at = name.to_owned();
    for _ in 0..limits::DNS_CHAIN {
        let servers = context.dns.ask_all(&at, record_type).await;
        let servers = servers.unwrap_or_default();
        let answers = servers
            .iter()
            .filter_map(|server| server.result.as_ref().ok());
        let chain = answers.map(|answer| &answer.chain).find(|c| !c.is_empty());
        let Some(chain) = chain else { break };
        if chain.iter().any(|alias| alias.target == target) {
            return Some(Led::Alias);
        }
        at = chain.last()?.target.clone();
    }
    (at != name).then_some(Led::Elsewhere(Some(at)))
}

/// Whether the zone is this provider's: another one may have asked for it before.
fn has_zone(context: &Context, provider: &str, zone: &OwnZone) -> Result<(), ProviderError> {
    match zones(context).contains(zone) {
        true => Ok(()),
        false => Err(ProviderError::OwnZoneTaken {
            zone: zone.zone.to_string(),
            provider: provider.to_owned(),
        }),
    }
}

/// The zones that are answered: those of the administrator's providers first, then of the
/// namespaces' in the order of their age.
fn zones(context: &Context) -> Vec<OwnZone> {
    let caches = &context.caches;
    let mut wanted = Vec::new();
    for object in caches.cluster_providers.state() {
        let age = age(&*object);
        let spec = object.0.as_ref().ok().map(|provider| &provider.spec);
        let spec = spec.filter(|spec| lint_cluster_spec(spec).is_ok());
        wanted
            .extend(spec.and_then(|s| Some((false, age, zone_of(s.dns.authoritative.as_ref()?)?))));
    }
    for object in caches.providers.state() {
        let age = age(&*object);
        let spec = object.0.as_ref().ok().map(|provider| &provider.spec);
        let spec = spec.filter(|spec| lint_provider_spec(spec).is_ok());
        wanted
            .extend(spec.and_then(|s| Some((true, age, zone_of(s.dns.authoritative.as_ref()?)?))));
    }
    wanted.sort();
    granted(wanted.into_iter().map(|(_, _, zone)| zone))
}

fn age<K: Resource<DynamicType = ()>>(
    object: &K,
) -> (Option<jiff::Timestamp>, Option<String>, String) {
    let created = object.creation_timestamp().map(|time| time.0);
    (created, object.namespace(), object.name_any())
}

/// Notes in the record whose zone its names are below, before anything is answered; `true` if that
/// was written.
pub(super) async fn settle(
    context: &Context,
    accepted: &Accepted,
    stored: &Stored,
    record: &Record,
    txt_leads_to: &str,
) -> Result<bool, Error> {
    let spec = accepted
        .provider
        .as_ref()
        .and_then(|p| p.spec.authoritative.as_ref());
    let zone = spec.and_then(zone_of).map(|own| own.zone);
    let answers = &record.publication.dns.answers;
    let present = answers.as_ref().map(|answers| &answers.zone);
    // With another provider it is answered on until the owner has taken his alias away: else
    // there would be a gap.
    let domain = &accepted.desired.domain;
    let still_asked =
        zone.is_none() && present.is_some_and(|z| txt_name(domain, z) == txt_leads_to);
    if present == zone.as_ref() || still_asked || accepted.desired.suspend {
        return Ok(false);
    }
    let mut settled = record.clone();
    let dns = &mut settled.publication.dns;
    dns.answers = zone.map(|zone| Answers {
        zone,
        addresses: Vec::new(),
        ttl: 0,
        tls_rpt: None,
    });
    context.permit()?;
    context.records.write(Some(stored), &settled).await?;
    Ok(true)
}

/// Makes the zones known to the policy servers, then looks whether the world is led to them.
pub(super) async fn check(
    context: &Context,
    provider: &str,
    spec: &AuthoritativeSpec,
) -> Result<Vec<String>, ProviderError> {
    let own = zone_of(spec).ok_or(ProviderError::NoService)?;
    context.caches.complete().await;
    has_zone(context, provider, &own)?;
    match publish(context).await {
        // Another replica leads now, somebody wrote in between, or the clock is off: it is looked at again.
        Ok(()) | Err(Error::NotLeader | Error::Conflict(_) | Error::ClockSkew(_)) => {}
        Err(Error::Api(error)) => return Err(ProviderError::Zones(error)),
        Err(Error::Record(_)) => return Err(ProviderError::NoService),
    }
    is_led(context, &own).await?;
    Ok(vec![own.zone.to_string()])
}

/// Writes the zones where they are not as they should be. One that no provider asks for any more
/// stays as long as a domain is below it.
async fn publish(context: &Context) -> Result<(), Error> {
    let api = context.records.api();
    let before = api.get_opt(ZONES_NAME).await?;
    let data = before.as_ref().and_then(|object| object.data.clone());
    let data = data.unwrap_or_default();
    let known = read_zones(&data).unwrap_or_default();
    let records = context.caches.records.state();
    let used: Vec<HostName> = records
        .iter()
        .filter_map(|record| Some(cached_publication(record)?.dns.answers?.zone))
        .collect();
    let kept = known.into_iter().filter(|zone| used.contains(&zone.zone));
    let wanted = granted(zones(context).into_iter().chain(kept));
    let Ok(data_wanted) = write_zones(&wanted) else {
        return Ok(());
    };
    if data == data_wanted {
        return Ok(());
    }
    context.permit()?;
    let object = zones_object(before.as_ref(), data_wanted);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match before {
        None => api.create(&params, &object).await?,
        Some(_) => api.replace(ZONES_NAME, &params, &object).await?,
    };
    Ok(())
}

fn zones_object(before: Option<&ConfigMap>, data: BTreeMap<String, String>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(ZONES_NAME.to_owned()),
            labels: Some(object_labels(ZONES_ROLE)),
            resource_version: before.and_then(ResourceExt::resource_version),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    }
}

/// Whether the zone is delegated, and every server of the delegation answers for it.
async fn is_led(context: &Context, own: &OwnZone) -> Result<(), ProviderError> {
    let zone = own.zone.as_str();
    let silent = |why: String| ProviderError::OwnZoneSilent {
        zone: zone.to_owned(),
        why,
    };
    let servers = context
        .dns
        .ask_all(zone, RecordType::Soa)
        .await
        .map_err(|error| silent(error.to_string()))?;
    for server in &servers {
        let who = format!("{} ({})", server.server.name, server.server.address);
        match &server.result {
            Err(error) => return Err(silent(format!("{who}: {error}"))),
            Ok(answer) if answer.records.is_empty() => {
                let names = own.name_servers.iter();
                let lines: Vec<String> = names.map(|name| format!("{zone}. NS {name}.")).collect();
                return Err(ProviderError::OwnZoneNotDelegated {
                    zone: zone.to_owned(),
                    server: who,
                    records: lines.join(", "),
                });
            }
            Ok(_) => {}
        }
    }
    Ok(())
}
