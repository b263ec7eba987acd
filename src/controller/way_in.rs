//! The way in to a policy host: an Ingress or an HTTPRoute, and the change from one to the other. (io)

use jiff::Timestamp;

use super::accept::{Accepted, ChosenIngress};
use super::context::Context;
use super::error::Error;
use super::gateway::{self, ChosenGateway, Missing};
use super::ingress;
use super::records::Stored;
use crate::api::condition::Reason;
use crate::lifecycle::observation::{AddressState, Observation, Public, printable};
use crate::lifecycle::publish::{Progress, Served};
use crate::lifecycle::{Address, Record};
use crate::protocol::Domain;

/// How a policy host is reached.
#[derive(Clone, Debug)]
pub(super) enum WayIn {
    /// By an Ingress.
    Ingress(ChosenIngress),
    /// By an HTTPRoute.
    Gateway(ChosenGateway),
}

/// What came of making it.
pub(super) enum Made {
    /// The durable record was changed: look again.
    Noted,
    /// It is there; with what is still missing.
    There(Option<Missing>),
}

/// Makes the way in, or mends it.
pub(super) async fn ensure(
    context: &Context,
    domain: &Domain,
    way_in: &WayIn,
    stored: &Stored,
    record: &Record,
) -> Result<Made, Error> {
    match way_in {
        WayIn::Ingress(chosen) => {
            let refused = ingress::ensure(context, domain, chosen).await?.err();
            Ok(Made::There(refused.map(|words| Missing {
                reason: Reason::IngressRefused,
                message: format!("the Ingress was refused: {}", printable(words.as_bytes())),
            })))
        }
        WayIn::Gateway(_) if !record.publication.dns.http_route => {
            // Before it is made: what is not noted would be left behind.
            note_route(context, stored, record, true).await?;
            Ok(Made::Noted)
        }
        WayIn::Gateway(chosen) => Ok(Made::There(gateway::ensure(context, domain, chosen).await?)),
    }
}

async fn note_route(
    context: &Context,
    stored: &Stored,
    record: &Record,
    there: bool,
) -> Result<(), Error> {
    let mut noted = record.clone();
    noted.publication.dns.http_route = there;
    context.permit()?;
    context.records.write(Some(stored), &noted).await?;
    Ok(())
}

/// The address that the way in reports.
pub(super) fn reported_address(context: &Context, accepted: &Accepted) -> Vec<Address> {
    match &accepted.way_in {
        Some(WayIn::Gateway(chosen)) => gateway::reported_address(context, chosen),
        _ => ingress::reported_address(context, &accepted.desired.domain),
    }
}

/// Another object that has the policy host, with its kind.
pub(super) fn rival(context: &Context, domain: &Domain) -> Option<String> {
    ingress::rival(context, domain).or_else(|| gateway::rival(context, domain))
}

/// Removes the way in that the policy had before, once nobody comes by it any more. Tells
/// whether the durable record was changed.
pub(super) async fn remove_old(
    context: &Context,
    accepted: &Accepted,
    stored: &Stored,
    record: &Record,
    seen: &Seen<'_>,
) -> Result<bool, Error> {
    let domain = &accepted.desired.domain;
    let (old, new) = match &accepted.way_in {
        Some(WayIn::Gateway(chosen)) if ingress::is_there(context, domain) => (
            ingress::reported_address(context, domain),
            gateway::reported_address(context, chosen),
        ),
        Some(WayIn::Ingress(_)) if record.publication.dns.http_route => {
            (Vec::new(), ingress::reported_address(context, domain))
        }
        _ => return Ok(false),
    };
    let by_gateway = matches!(accepted.way_in, Some(WayIn::Gateway(_)));
    // A Gateway says that it takes the route. An Ingress says nothing: what serves may still be
    // the route, if both are behind the same address.
    let apart = by_gateway || !behind_a_gateway(context, domain, &new);
    if accepted.desired.suspend || !apart || !is_over(seen, &new) {
        tracing::debug!(%domain, ?old, "the old way in is still needed");
        return Ok(false);
    }
    context.permit()?;
    if by_gateway {
        ingress::remove(context, domain).await?;
        tracing::info!(%domain, "the Ingress is removed: the policy host is reached through its Gateway");
        return Ok(false);
    }
    gateway::remove(context, domain).await?;
    note_route(context, stored, record, false).await?;
    tracing::info!(%domain, "the HTTPRoute is removed: the policy host is reached through its Ingress");
    Ok(true)
}

/// Whether an address of the Ingress is also one of a Gateway that the route is attached to.
fn behind_a_gateway(context: &Context, domain: &Domain, addresses: &[Address]) -> bool {
    let of_route = gateway::addresses_of_route(context, domain);
    // Gateways that are not known could be anywhere.
    of_route.is_none_or(|of_route| of_route.iter().any(|address| addresses.contains(address)))
}

/// What was seen of the way in that the policy has now.
pub(super) struct Seen<'a> {
    pub(super) missing: Option<&'a Missing>,
    pub(super) progress: &'a Progress,
    pub(super) world: &'a Observation,
    pub(super) now: Timestamp,
}

/// Whether the world comes by the new way: it is served there, and every address that the world
/// is given is one that the new way reports. Where that cannot be told, the old way stays. (pure)
fn is_over(seen: &Seen<'_>, new: &[Address]) -> bool {
    if seen.missing.is_some() || seen.progress.served != Served::Yes {
        return false;
    }
    match &seen.world.address {
        AddressState::Shown {
            since,
            previous_ttl,
        } => {
            let ttl = jiff::SignedDuration::from_secs(i64::from(*previous_ttl));
            if since.checked_add(ttl).is_ok_and(|end| end > seen.now) {
                return false;
            }
        }
        AddressState::NotOurs => {}
        _ => return false,
    }
    let Public::Answers(answers) = &seen.world.public else {
        return false;
    };
    let is_alias = new
        .iter()
        .any(|address| matches!(address, Address::Cname(_)));
    if is_alias {
        // Its addresses are somebody else's; that the record is ours and shown says enough.
        return matches!(seen.world.address, AddressState::Shown { .. });
    }
    !answers.is_empty()
        && answers.iter().all(|answer| {
            new.iter().any(|address| match address {
                Address::A(address) => answer.address == address.to_string(),
                Address::Aaaa(address) => answer.address == address.to_string(),
                Address::Cname(_) => false,
            })
        })
}
