//! What keeps the operator from writing to the DNS, whatever is due. (io)

use jiff::Timestamp;

use super::accept::Accepted;
use super::adoption::Adoption;
use super::context::Context;
use super::dns::View;
use super::error::ProviderError;
use super::observe::{self, DnsSeen};
use super::own_dns::{Led, Own, written};
use super::records::cached_publication;
use super::report::Hold;
use crate::api::condition::Reason;
use crate::dns::{DnsError, DnsErrorClass};
use crate::lifecycle::observation::printable;
use crate::lifecycle::{Publication, Record};
use crate::protocol::Domain;

/// What keeps the operator from writing to the DNS, whatever is due.
pub(super) async fn hold(
    context: &Context,
    accepted: &Accepted,
    record: &Record,
    dns: &DnsSeen,
    adoption: &Adoption,
) -> Option<Hold> {
    if let Some(provider) = &dns.provider {
        let held = provider_held(context, accepted, record, dns, provider);
        if held.is_some() {
            return held;
        }
    }
    if let Adoption::Unknown(why) = adoption {
        return Some(Hold::Provider {
            reason: Reason::WaitingForHost,
            message: format!(
                "before its record is taken over, the policy that is live must be read, since senders may hold it, and it cannot be: {why}; mend the policy host, or remove the TXT record by hand"
            ),
            stalled: false,
        });
    }
    let publication = &record.publication;
    let first_write = publication.announced.is_none() && publication.dns.addresses.is_empty();
    let shadowed = match first_write {
        true => shadowed(context, accepted).await,
        false => None,
    };
    // A record in the owner's zone would hide the wildcard as well.
    shadowed.or_else(|| dns.own.as_ref().and_then(not_led))
}

async fn shadowed(context: &Context, accepted: &Accepted) -> Option<Hold> {
    match observe::shadows_wildcard(context, &accepted.desired.domain).await {
        Ok(Some(mx)) => Some(Hold::WildcardShadowed(mx)),
        Ok(None) => None,
        Err(error) => Some(Hold::Provider {
            reason: Reason::LookupFailed,
            message: format!(
                "before the first write it must be known whether the domain's MX comes from a wildcard, and that could not be looked up: {error}"
            ),
            stalled: false,
        }),
    }
}

fn provider_held(
    context: &Context,
    accepted: &Accepted,
    record: &Record,
    dns: &DnsSeen,
    provider: &Result<View, ProviderError>,
) -> Option<Hold> {
    let domain = &accepted.desired.domain;
    let own_name = domain.sts_record_name();
    if let Some(why) = &dns.unknown {
        return Some(Hold::Provider {
            reason: Reason::LookupFailed,
            message: format!(
                "nothing is written before the name servers of {own_name} can be asked what stands there: {why}"
            ),
            stalled: false,
        });
    }
    let view = match provider {
        Ok(view) => view,
        Err(error) => return Some(alias_told(provider_hold(error), &own_name, &dns.txt_name)),
    };
    if let Some(rival) = shared_target(context, &record.publication, &view.txt_name) {
        return Some(Hold::Provider {
            reason: Reason::DomainConflict,
            message: format!(
                "{own_name} is an alias of {}, which is the place of the record of {rival}: give each domain a target of its own",
                view.txt_name
            ),
            stalled: true,
        });
    }
    // What stands in the owner's own zone is not ours to replace, and not to be passed over.
    let txt = match &dns.own {
        Some(_) => dns.txt(context),
        None => view.txt(&context.installation),
    };
    match txt.foreign().first() {
        Some(foreign) if !accepted.desired.adopt => Some(Hold::Foreign(printable(foreign))),
        _ => None,
    }
}

/// A name that does not lead to our own name servers keeps the id back: nobody would see it.
fn not_led(own: &Own) -> Option<Hold> {
    let Led::Elsewhere(found) = &own.txt else {
        return None;
    };
    let (name, ..) = own.txt_record();
    let found = match found {
        Some(target) => format!("{name} is an alias (CNAME) of {target}"),
        None => format!("{name} does not lead to this operator's name servers yet"),
    };
    let mut records = vec![written(&own.txt_record())];
    if !own.host.is_here() {
        records.push(written(&own.host_record()));
    }
    Some(Hold::NotLed(format!(
        "{found}: set {}",
        records.join(" and ")
    )))
}

/// Says with the hold that it is about the target of an alias, where it is.
pub(super) fn alias_told(hold: Hold, own_name: &str, txt_name: &str) -> Hold {
    match hold {
        Hold::Provider {
            reason,
            message,
            stalled,
        } if own_name != txt_name => Hold::Provider {
            reason,
            message: format!("{own_name} is an alias (CNAME) of {txt_name}: {message}"),
            stalled,
        },
        hold => hold,
    }
}

/// Other domains whose TXT record stands, or belongs, at `txt_name`.
pub(super) fn sharers(context: &Context, domain: &Domain, txt_name: &str) -> Vec<Publication> {
    let records = context.caches.records.state();
    let publications = records
        .iter()
        .filter_map(|object| cached_publication(object));
    publications
        .filter(|p| p.domain != *domain)
        .filter(|p| {
            p.dns.txt_name.as_deref() == Some(txt_name) || p.domain.sts_record_name() == txt_name
        })
        .collect()
}

/// The domain that keeps `txt_name` from this one. A name that is a domain's own is that
/// domain's, however early somebody else's alias came; among aliases the first one has it.
fn shared_target(context: &Context, publication: &Publication, txt_name: &str) -> Option<Domain> {
    let domain = &publication.domain;
    if domain.sts_record_name() == txt_name {
        return None;
    }
    let since = |p: &Publication| {
        let at = p.announced.as_ref().map_or(Timestamp::MAX, |a| a.at);
        (at, p.domain.to_string())
    };
    sharers(context, domain, txt_name)
        .into_iter()
        .find(|p| p.domain.sts_record_name() == txt_name || since(p) < since(publication))
        .map(|p| p.domain)
}

/// What a provider's error means for the condition.
pub(super) fn provider_hold(error: &ProviderError) -> Hold {
    let reason = match error {
        ProviderError::SecretMissing { .. }
        | ProviderError::SecretUnlabelled { .. }
        | ProviderError::SecretKeyMissing { .. }
        | ProviderError::SecretKeysMissing { .. }
        | ProviderError::SecretMalformed { .. }
        | ProviderError::Dns(
            DnsError::BadKey { .. }
            | DnsError::BadSignature { .. }
            | DnsError::ServiceUnauthorized { .. },
        ) => Reason::CredentialsInvalid,
        ProviderError::ServerPrivate { .. }
        | ProviderError::ServerInsecure { .. }
        | ProviderError::ZoneNotAllowed { .. }
        | ProviderError::OwnZoneTaken { .. } => Reason::NotAllowed,
        ProviderError::NoService => Reason::InvalidSpec,
        ProviderError::Dns(DnsError::BadTime { .. }) => Reason::ClockSkew,
        ProviderError::Dns(
            DnsError::NoZone { .. }
            | DnsError::NotZone { .. }
            | DnsError::NotDelegatedHere { .. }
            | DnsError::NotAuthoritative { .. }
            | DnsError::ServiceNotFound { .. },
        )
        | ProviderError::OwnZoneNotDelegated { .. } => Reason::NotDelegated,
        ProviderError::Dns(
            DnsError::Unreachable { .. }
            | DnsError::Timeout { .. }
            | DnsError::ServiceUnreachable { .. }
            | DnsError::ServiceTimeout { .. }
            | DnsError::TurnTimeout { .. },
        )
        | ProviderError::ServerUnresolved { .. }
        | ProviderError::OwnZoneSilent { .. } => Reason::ProviderUnreachable,
        ProviderError::Dns(_)
        | ProviderError::Api(_)
        | ProviderError::Zones(_)
        | ProviderError::Tls(_)
        | ProviderError::SecretUnreadable { .. } => Reason::ProviderError,
    };
    Hold::Provider {
        reason,
        message: error.to_string(),
        stalled: error.class() == DnsErrorClass::Stalled,
    }
}
