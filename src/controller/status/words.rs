//! Why a body does not count as served, as a reason and a sentence. (pure)

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::rollout::RolloutReport;
use super::details::{next_second, whole_second};
use crate::api::condition::Reason;
use crate::lifecycle::guard::Held;
use crate::lifecycle::observation::CertificateProblem;
use crate::lifecycle::publish::NotServed;
use crate::lifecycle::rollout::Blocker;
use crate::lifecycle::{Publication, Record, ledger};
use crate::protocol::{HostName, Mode};

pub(super) fn not_served(why: &NotServed) -> (Reason, String) {
    match why {
        NotServed::NoEndpoints => (
            Reason::EndpointsMissing,
            "there is no policy-server endpoint: are its pods running, and does --policy-service name their Service?".to_owned(),
        ),
        NotServed::EndpointStale(address) => (
            Reason::EndpointStale,
            format!("the policy server at {address} still serves another body; it follows within seconds, or its log says why not"),
        ),
        NotServed::EndpointUnreachable(address, why) => (
            Reason::EndpointUnreachable,
            format!("the policy server at {address} does not answer: {why}; it holds the publication for ten minutes"),
        ),
        NotServed::AddressUnknown => (
            Reason::AddressUnknown,
            "the Ingress or Gateway reports no address yet; if its controller never does, write spec.hosting.address".to_owned(),
        ),
        NotServed::AddressPending(what) => (
            Reason::AddressPending,
            format!("the address record of the policy host: {what}"),
        ),
        NotServed::AddressForeign(found) => (
            Reason::Foreign,
            format!("the policy host has an address record that this operator did not write: {found}; remove it, set spec.dns.adopt: true to take it over, or spec.hosting.address.none: {{}} to keep it"),
        ),
        NotServed::AddressCached(until) => (
            Reason::AddressPending,
            format!("the old address of the policy host may be cached until {until}"),
        ),
        NotServed::LookupFailed(why) => (
            Reason::HostUnresolved,
            format!("the policy host could not be looked up: {why}"),
        ),
        NotServed::HostUnresolved => (
            Reason::HostUnresolved,
            "the policy host has no address".to_owned(),
        ),
        NotServed::PrivateAddress(address) => (
            Reason::PrivateAddress,
            format!("{address} is private: the world cannot reach it, and it is not dialled"),
        ),
        NotServed::HostUnreachable(address, why) => (
            Reason::HostUnreachable,
            format!("the policy host at {address} does not answer: {why}"),
        ),
        NotServed::WrongStatus(address, status, location) => (
            Reason::WrongStatus,
            match location {
                Some(location) => format!("the public URL at {address} redirects to {location}; senders never follow"),
                None => format!("the public URL at {address} answers with status {status}"),
            },
        ),
        NotServed::WrongContentType(address, found) => (
            Reason::WrongContentType,
            format!("the public URL at {address} serves {}, not text/plain", found.as_deref().unwrap_or("no content type")),
        ),
        NotServed::WrongBody(address) => (
            Reason::WrongBody,
            format!("the public URL at {address} serves other bytes"),
        ),
        NotServed::Certificate(address, problem) => {
            let (reason, message) = certificate_problem(*problem);
            (reason, format!("the policy host at {address}: {message}"))
        }
        NotServed::Cached(until) => (
            Reason::Cached,
            format!("a cache in front of the policy host may hold the old body until {until}; take the host out of the cache"),
        ),
    }
}

pub(super) fn certificate_problem(problem: CertificateProblem) -> (Reason, &'static str) {
    match problem {
        CertificateProblem::Expired => (
            Reason::Expired,
            "the certificate is past its date, or not yet valid; renew it",
        ),
        CertificateProblem::NameMismatch => (
            Reason::NameMismatch,
            "the certificate has no SAN for the policy host; issue one for exactly this name",
        ),
        CertificateProblem::Untrusted => (
            Reason::Untrusted,
            "the certificate does not chain to a trusted root; use a public CA, or give a private one to --ca-file",
        ),
        CertificateProblem::IncompleteChain => (
            Reason::IncompleteChain,
            "the certificate comes alone, and its issuer is no trusted root; let the front send the full chain, or give the root of a private CA to --ca-file",
        ),
        CertificateProblem::Handshake => (
            Reason::HandshakeFailed,
            "TLS could not be set up; does the front know this host name yet?",
        ),
    }
}

/// Why the policy that the spec asks for waits, where one with `mode` stays published.
pub(super) fn enforce_held(held: &Held, mode: Mode) -> String {
    let what = match mode {
        Mode::Enforce => "this change of the policy",
        Mode::Testing | Mode::None => "mode enforce",
    };
    let (why, fix) = match held {
        Held::MxUnknown(error) => (
            format!("the MX records could not be looked up ({error})"),
            "it goes on by itself once they can".to_owned(),
        ),
        Held::Uncovered(hosts) => {
            let hosts: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
            let hosts = hosts.join(", ");
            (
                format!(
                    "senders would refuse mail to the live MX {hosts}, which no pattern matches"
                ),
                format!("add {hosts} to spec.mx, or take it out of the MX records"),
            )
        }
        Held::TlsFails(host, seen) => (
            format!("senders would refuse mail to the live MX {host}: {seen}"),
            format!("mend the TLS of {host}, or take it out of the MX records"),
        ),
    };
    format!(
        "{what} waits, since {why}; {fix}. Until then the policy with mode {mode} stays as it is (spec.enforcement)"
    )
}

/// What a domain does on its ladder.
pub(super) fn on_stage(rollout: &RolloutReport) -> String {
    let on = &rollout.on.name;
    let ladder = rollout.ladder.iter().map(|stage| match stage.name == *on {
        true => format!("[{}]", stage.name),
        false => stage.name.clone(),
    });
    let ladder: Vec<String> = ladder.collect();
    let ladder = ladder.join(" > ");
    let rollback = rollback(rollout);
    let Some(next) = &rollout.next else {
        return format!("{ladder}: the last stage is published{rollback}");
    };
    let why: Vec<String> = rollout.blocked_by.iter().map(blocker).collect();
    format!(
        "{ladder}: the policy of this stage is published{rollback}; {next} waits: {}",
        why.join("; ")
    )
}

/// The rollback that led here, or the one that lies ahead.
fn rollback(rollout: &RolloutReport) -> String {
    if let (Some((stage, at)), Some(refused)) = (&rollout.rolls_back, &rollout.refused) {
        return format!(
            "; senders refuse mail ({refused}): it is taken back to {stage} at {}, unless that is mended",
            next_second(*at)
        );
    }
    let back = rollout.on.rolled_back.as_ref();
    back.map_or_else(String::new, |back| {
        format!(" (taken back from {}: {})", back.from, back.why)
    })
}

/// What keeps the next stage away, and what to do.
pub(super) fn blocker(blocker: &Blocker) -> String {
    match blocker {
        Blocker::NotPublished => {
            "the policy of this stage is not announced everywhere yet".to_owned()
        }
        Blocker::Errors(error) => {
            format!("{error} (mend it: the stage begins anew when it is gone)")
        }
        Blocker::Duration(end) => format!("the stage lasts until {}", whole_second(*end)),
        Blocker::Guarded(held) => match held {
            Held::MxUnknown(why) => format!("the MX records could not be looked up ({why})"),
            Held::Uncovered(hosts) => {
                let hosts: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
                format!(
                    "no pattern matches the live MX {}: add it to spec.mx",
                    hosts.join(", ")
                )
            }
            Held::TlsFails(host, seen) => format!("the live MX {host}: {seen}"),
        },
        Blocker::Approval(stage) => {
            format!(
                "somebody has to approve it: annotate the object with mta-sts.dev/approve={stage}"
            )
        }
    }
}

/// What is said of a policy that is out: also what must not be done to the MX records yet, where it
/// has other patterns than one that senders may still hold.
pub(super) fn published(record: Option<&Record>, now: Timestamp) -> String {
    const DONE: &str = "the policy is served and its id is announced";
    let moving = record.and_then(|record| moving(&record.publication, now));
    moving.map_or_else(|| DONE.to_owned(), |moving| format!("{DONE}; {moving}"))
}

fn moving(publication: &Publication, now: Timestamp) -> Option<String> {
    let current = &publication.current;
    let conforming = publication.announced.as_ref()?.conforming_senders_by()?;
    let all = ledger::all_senders_by(&publication.ledger, &current.id, now)?;
    let older = publication.ledger.iter().filter(|entry| {
        entry.id.as_ref() != Some(&current.id)
            && entry.mode == Mode::Enforce
            && entry.held_until(now) > now
            && entry.last_served.is_some()
    });
    let added: BTreeSet<String> = older
        .flat_map(|entry| current.mx.iter().filter(|it| !entry.mx.contains(it)))
        .map(ToString::to_string)
        .collect();
    (!added.is_empty()).then(|| {
        let added: Vec<String> = added.into_iter().collect();
        format!(
            "senders may still hold a policy without {}: point no MX there, and retire no old MX, before {} (senders that follow RFC 8461) and {} (all)",
            added.join(", "),
            next_second(conforming),
            next_second(all)
        )
    })
}
