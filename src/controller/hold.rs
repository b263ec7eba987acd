//! What keeps the operator from writing to the DNS, whatever is due. (io)

use super::accept::Accepted;
use super::context::Context;
use super::error::ProviderError;
use super::observe::{self, DnsSeen};
use super::records::cached_publication;
use super::report::Hold;
use crate::api::condition::Reason;
use crate::dns::{DnsError, DnsErrorClass};
use crate::lifecycle::Record;
use crate::lifecycle::observation::printable;
use crate::protocol::Domain;

/// What keeps the operator from writing to the DNS, whatever is due.
pub(super) async fn hold(
    context: &Context,
    accepted: &Accepted,
    record: &Record,
    dns: &DnsSeen,
) -> Option<Hold> {
    let view = match dns.provider.as_ref()? {
        Ok(view) => view,
        Err(error) => return Some(provider_hold(error)),
    };
    let txt = view.txt(&context.installation);
    if let (Some(foreign), false) = (txt.foreign().first(), accepted.desired.adopt) {
        return Some(Hold::Foreign(printable(foreign)));
    }
    if let Some(rival) = shared_target(context, &accepted.desired.domain, &view.txt_name) {
        return Some(Hold::Provider {
            reason: Reason::DomainConflict,
            message: format!(
                "{} is an alias of {}, where the record of {rival} stands already: give each domain a target of its own",
                accepted.desired.domain.sts_record_name(),
                view.txt_name
            ),
            stalled: true,
        });
    }
    let publication = &record.publication;
    let first_write = publication.announced.is_none() && publication.dns.addresses.is_empty();
    if !first_write {
        return None;
    }
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

/// Another domain whose TXT record stands at the same name.
fn shared_target(context: &Context, domain: &Domain, txt_name: &str) -> Option<Domain> {
    context
        .caches
        .records
        .state()
        .iter()
        .filter_map(|object| cached_publication(object))
        .find(|p| p.domain != *domain && p.dns.txt_name.as_deref() == Some(txt_name))
        .map(|p| p.domain)
}

/// What a provider's error means for the condition.
pub(super) fn provider_hold(error: &ProviderError) -> Hold {
    let reason = match error {
        ProviderError::SecretMissing { .. }
        | ProviderError::SecretUnlabelled { .. }
        | ProviderError::SecretKeyMissing { .. }
        | ProviderError::SecretMalformed { .. }
        | ProviderError::Dns(DnsError::BadKey { .. } | DnsError::BadSignature { .. }) => {
            Reason::CredentialsInvalid
        }
        ProviderError::ServerPrivate { .. } | ProviderError::ZoneNotAllowed { .. } => {
            Reason::NotAllowed
        }
        ProviderError::Gone(_) => Reason::ProviderNotFound,
        ProviderError::Dns(DnsError::BadTime { .. }) => Reason::ClockSkew,
        ProviderError::Dns(
            DnsError::NoZone { .. }
            | DnsError::NotZone { .. }
            | DnsError::NotDelegatedHere { .. }
            | DnsError::NotAuthoritative { .. },
        ) => Reason::NotDelegated,
        ProviderError::Dns(DnsError::Unreachable { .. } | DnsError::Timeout { .. })
        | ProviderError::ServerUnresolved { .. } => Reason::ProviderUnreachable,
        ProviderError::Dns(_) | ProviderError::Api(_) => Reason::ProviderError,
    };
    Hold::Provider {
        reason,
        message: error.to_string(),
        stalled: error.class() == DnsErrorClass::Stalled,
    }
}
