//! The address records of the policy host: what is due for them, carried out. (io)

use super::accept::Accepted;
use super::context::Context;
use super::dns::View;
use super::dns_endpoint;
use super::error::{Error, ProviderError};
use super::observe::{self, DnsSeen};
use super::own_dns::Led;
use super::records::Stored;
use super::report::{Hold, Report};
use super::way_in;
use crate::clock;
use crate::lifecycle::address::{AddressStep, address_step};
use crate::lifecycle::desired::AddressWish;
use crate::lifecycle::observation::{AddressState, printable};
use crate::lifecycle::{Address, Answers, Record};

/// The address records that the policy host is to have.
pub(super) fn wanted_addresses(context: &Context, accepted: &Accepted) -> Vec<Address> {
    match &accepted.desired.address {
        AddressWish::FromIngress => way_in::reported_address(context, accepted),
        wish => wish.addresses(),
    }
}

/// What came of it.
pub(super) enum AddressOutcome {
    State(AddressState),
    Wrote,
    Failed(ProviderError),
}

/// The address records of the policy host: what is due for them, done.
pub(super) async fn address(
    context: &Context,
    accepted: &Accepted,
    stored: &Stored,
    record: &Record,
    dns: &DnsSeen,
    report: &Report,
) -> Result<AddressOutcome, Error> {
    use AddressOutcome::{Failed, State, Wrote};
    let desired = &accepted.desired;
    let noted = &record.publication.dns;
    let Some(provider) = &dns.provider else {
        return Ok(State(AddressState::NotOurs));
    };
    if desired.address == AddressWish::LeaveAlone {
        return Ok(State(AddressState::NotOurs));
    }
    let shown = noted
        .addresses_confirmed_at
        .map(|since| AddressState::Shown {
            since,
            previous_ttl: noted.addresses_previous_ttl,
        });
    let wanted = &report.wanted_addresses;
    if wanted.is_empty() {
        return Ok(State(AddressState::Unknown));
    }
    let view = match provider {
        Ok(view) => view,
        // What was confirmed stays confirmed while the provider is away.
        Err(error) => {
            return Ok(State(shown.unwrap_or_else(|| {
                AddressState::Pending(format!("the DNS provider: {error}"))
            })));
        }
    };
    let pending = |what: &str| Ok(State(AddressState::Pending(what.to_owned())));
    let present = view.addresses();
    let held = report.hold.as_ref().is_some_and(Hold::holds_addresses) || desired.suspend;
    if let Some(own) = dns.own.as_ref().filter(|own| own.host == Led::Delegated)
        && wanted.iter().any(|a| matches!(a, Address::Cname(_)))
    {
        let (name, ..) = own.host_record();
        return pending(&format!(
            "{name} is delegated (NS) and the address is an alias ({}), which cannot stand at the top of a zone: set spec.hosting.address to addresses, or let a CNAME stand there in place of the delegation",
            shown_addresses(wanted)
        ));
    }
    let place = Place {
        context,
        stored,
        record,
        view,
    };
    match address_step(wanted, &noted.addresses, &present, desired.adopt) {
        AddressStep::Foreign(found) => Ok(State(AddressState::Foreign(shown_addresses(&found)))),
        AddressStep::Note(_) | AddressStep::Write if held => {
            pending("it is not written while spec.suspend is set or the TXT record is held")
        }
        AddressStep::Note(ours) => {
            let previous_ttl = match view.addresses_ttl() {
                Some(ttl) => ttl,
                None if present.is_empty() => 0,
                None => match observe::addresses_ttl(context, &desired.domain).await {
                    Ok(ttl) => ttl,
                    Err(error) => {
                        return pending(&format!("what stands there cannot be looked up: {error}"));
                    }
                },
            };
            let mut noted = record.clone();
            noted.publication.dns.addresses = ours;
            noted.publication.dns.addresses_confirmed_at = None;
            noted.publication.dns.addresses_previous_ttl = previous_ttl;
            context.permit()?;
            context.records.write(Some(stored), &noted).await?;
            Ok(Wrote)
        }
        AddressStep::Write => match place.write(wanted, desired.ttl).await? {
            Ok(()) => Ok(Wrote),
            Err(error) => Ok(Failed(error)),
        },
        AddressStep::InPlace if noted.addresses.is_empty() => Ok(State(AddressState::NotOurs)),
        AddressStep::InPlace => {
            let ttl = view.ttl(desired.ttl);
            if !held && view.addresses_ttl().is_some_and(|present| present != ttl) {
                return match place.write(wanted, desired.ttl).await? {
                    Ok(()) => Ok(Wrote),
                    Err(error) => Ok(Failed(error)),
                };
            }
            if let (Some(shown), true) = (shown, same(&noted.addresses, wanted)) {
                return Ok(State(shown));
            }
            match observe::addresses_shown(context, &view.host, wanted).await {
                Ok(true) if !desired.suspend => {
                    let mut confirmed = record.clone();
                    confirmed.publication.dns.addresses = wanted.clone();
                    confirmed.publication.dns.addresses_confirmed_at = Some(clock::now());
                    context.permit()?;
                    context.records.write(Some(stored), &confirmed).await?;
                    Ok(Wrote)
                }
                Ok(_) => match dns_endpoint::waits_for_address(view) {
                    Some(what) => pending(&what),
                    None => pending("not every authoritative server shows it yet"),
                },
                Err(error) => pending(&error.to_string()),
            }
        }
    }
}

/// Where the address records are written.
struct Place<'a> {
    context: &'a Context,
    stored: &'a Stored,
    record: &'a Record,
    view: &'a View,
}

impl Place<'_> {
    /// Writes them; if somebody else wrote in between, that is seen in the next pass.
    async fn write(
        &self,
        wanted: &[Address],
        ttl: u32,
    ) -> Result<Result<(), ProviderError>, Error> {
        let Self {
            context,
            stored,
            record,
            view,
        } = *self;
        let Some(zone) = view.own_zone() else {
            let swap = view.write_addresses(context, wanted, ttl).await?;
            return Ok(swap.map(|_| ()));
        };
        let mut written = record.clone();
        written.publication.dns.answers = Some(Answers {
            zone: zone.clone(),
            addresses: wanted.to_vec(),
            ttl,
            tls_rpt: record.publication.tls_rpt_in_dns().cloned(),
        });
        context.permit()?;
        context.records.write(Some(stored), &written).await?;
        Ok(Ok(()))
    }
}

fn same(a: &[Address], b: &[Address]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}

/// Address records as words.
pub(super) fn shown_addresses(addresses: &[Address]) -> String {
    let words: Vec<String> = addresses
        .iter()
        .map(|address| match address {
            Address::A(address) => address.to_string(),
            Address::Aaaa(address) => address.to_string(),
            Address::Cname(name) => format!("CNAME {}", printable(name.as_bytes())),
        })
        .collect();
    words.join(", ")
}
