//! Why a body does not count as served, as a reason and a sentence. (pure)

use crate::api::condition::Reason;
use crate::lifecycle::observation::CertificateProblem;
use crate::lifecycle::publish::NotServed;

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
