//! The policy host, on each of its addresses.

use std::time::Duration;

use jiff::Timestamp;

use super::{AddressSeen, HostSeen, Outcome, TlsFault, TlsSeen, expiring, fault_words};
use crate::diagnosis::{Code, Finding, Severity};
use crate::protocol::{Domain, HostName};

/// One reader gives up after this time.
const SLOW: Duration = Duration::from_secs(4);

/// The body that the host serves: that of its first address that has one.
pub(super) fn body(seen: &HostSeen) -> Option<&[u8]> {
    match seen {
        HostSeen::Addresses(addresses) => bodies(addresses).next(),
        HostSeen::Failed(_) => None,
    }
}

pub(super) fn bodies(addresses: &[AddressSeen]) -> impl Iterator<Item = &[u8]> + Clone {
    addresses.iter().filter_map(|it| match &it.outcome {
        Outcome::Response {
            status: 200,
            body: Ok(body),
            ..
        } => Some(body.as_slice()),
        _ => None,
    })
}

pub(super) fn findings(domain: &Domain, seen: &HostSeen, now: Timestamp) -> Vec<Finding> {
    let name = domain.policy_host();
    let finding = |code, message: &str| Finding::new(code, name.as_str(), message);
    let addresses = match seen {
        HostSeen::Failed(why) => {
            let message = "the policy host could not be looked up, so nothing is known of it";
            let found = finding(Code::HostUnresolved, message).with_evidence(why);
            return vec![found.with_severity(Severity::Unknown)];
        }
        HostSeen::Addresses(addresses) if addresses.is_empty() => {
            let message = "the policy host has no address: no sender can fetch the policy";
            let found = finding(Code::HostUnresolved, message);
            return vec![found.with_remedy("publish an address record for it")];
        }
        HostSeen::Addresses(addresses) => addresses,
    };
    let mut findings: Vec<Finding> = addresses
        .iter()
        .flat_map(|address| of_address(&name, address, now))
        .collect();
    let mut served: Vec<&[u8]> = bodies(addresses).collect();
    served.sort_unstable();
    served.dedup();
    if served.len() > 1 {
        let message = "its addresses serve different policies: what a sender gets is chance";
        let found = finding(Code::HostReplicasDiffer, message);
        findings.push(found.with_remedy("bring every server behind the name to the same file"));
    }
    findings.extend(broken_family(&name, addresses));
    findings
}

/// IPv4 works and IPv6 does not, or the other way: the owner sees one, senders the other.
fn broken_family(name: &HostName, addresses: &[AddressSeen]) -> Option<Finding> {
    let works = |v6: bool| {
        let mut of_family = addresses.iter().filter(|it| it.address.is_ipv6() == v6);
        let some = addresses.iter().any(|it| it.address.is_ipv6() == v6);
        some.then(|| of_family.any(|it| matches!(it.outcome, Outcome::Response { .. })))
    };
    let family = match (works(false), works(true)) {
        (Some(true), Some(false)) => "IPv6",
        (Some(false), Some(true)) => "IPv4",
        _ => return None,
    };
    let message = format!(
        "no address of {family} answers, the others do: some senders fail and you do not see it"
    );
    let finding = Finding::new(Code::HostAddressFamilyBroken, name.as_str(), &message);
    Some(finding.with_remedy(&format!("mend {family}, or take its address records away")))
}

fn of_address(name: &HostName, seen: &AddressSeen, now: Timestamp) -> Vec<Finding> {
    let subject = format!("{name} at {}", seen.address);
    let finding = |code, message: &str| Finding::new(code, &subject, message);
    let tls = seen.tls.as_ref();
    let mut findings: Vec<Finding> = tls
        .iter()
        .flat_map(|tls| of_tls(&subject, name, tls, now))
        .collect();
    match &seen.outcome {
        Outcome::Private(kind) => findings.push(
            finding(
                Code::HostPrivateAddress,
                "the address is private: the Internet cannot reach it, and it was not dialled",
            )
            .with_evidence(kind)
            .with_remedy("publish a public address; --allow-target lets this command ask it"),
        ),
        // A handshake that failed is told by its own finding.
        Outcome::Failed(_) if tls.is_some_and(|tls| !tls.faults.is_empty()) => {}
        Outcome::Failed(why) => findings.push(
            finding(
                Code::HostUnreachable,
                "the policy host does not answer there",
            )
            .with_evidence(why)
            .with_remedy("look at the server on this address, and at the firewall before it"),
        ),
        Outcome::Response {
            status: 200,
            content_type,
            cached,
            body,
            ..
        } => {
            findings.extend(of_headers(
                &subject,
                content_type.as_deref(),
                cached.as_deref(),
            ));
            if let Err(why) = body {
                findings.push(
                    finding(
                        Code::HostUnreachable,
                        "the policy could not be read to its end",
                    )
                    .with_evidence(why),
                );
            }
        }
        Outcome::Response {
            status, location, ..
        } => findings.push(of_status(&subject, *status, location.as_deref())),
    }
    if seen.elapsed > SLOW {
        let elapsed = format!("{} s", seen.elapsed.as_secs());
        findings.push(
            finding(
                Code::HostSlow,
                "the answer takes over 4 seconds: postfix-mta-sts-resolver gives up then",
            )
            .with_evidence(&elapsed)
            .with_remedy("look at what makes the server slow: a policy is one small file"),
        );
    }
    findings
}

fn of_headers(subject: &str, content_type: Option<&str>, cached: Option<&str>) -> Vec<Finding> {
    let media_type = content_type.map(|it| it.split(';').next().unwrap_or_default().trim());
    let plain = media_type.is_some_and(|it| it.eq_ignore_ascii_case("text/plain"));
    let wrong = (!plain).then(|| {
        Finding::new(
            Code::HostContentType,
            subject,
            "the content type is not text/plain: some senders refuse the policy",
        )
        .with_evidence(content_type.unwrap_or("no Content-Type"))
        .with_remedy("serve the file as Content-Type: text/plain; charset=utf-8")
    });
    let cached = cached.map(|header| {
        Finding::new(
            Code::HostCached,
            subject,
            "a cache in front answers: an old policy can outlive its id",
        )
        .with_evidence(header)
        .with_remedy("take the policy host out of the cache")
    });
    wrong.into_iter().chain(cached).collect()
}

fn of_status(subject: &str, status: u16, location: Option<&str>) -> Finding {
    match location {
        Some(location) if (300..400).contains(&status) => {
            Finding::new(Code::HostRedirect, subject, "the policy host redirects, and senders never follow")
                .with_evidence(&format!("status {status}, Location: {location}"))
                .with_remedy("serve the policy with status 200 at this very URL")
        }
        _ => Finding::new(Code::HostStatus, subject, "the status is not 200")
            .with_evidence(&format!("status {status}"))
            .with_remedy("put the policy at /.well-known/mta-sts.txt of this host, for everybody: no login, no challenge"),
    }
}

fn of_tls(subject: &str, name: &HostName, tls: &TlsSeen, now: Timestamp) -> Vec<Finding> {
    let mut findings: Vec<Finding> = tls
        .faults
        .iter()
        .map(|fault| {
            let (code, remedy) = match fault {
                TlsFault::Expired => (
                    Code::HostTlsExpired,
                    "renew the certificate of the policy host (not that of the MX)",
                ),
                TlsFault::NameMismatch(_) => (
                    Code::HostTlsNameMismatch,
                    "issue a certificate for exactly this name; a wildcard covers one label only",
                ),
                TlsFault::Untrusted => (
                    Code::HostTlsUntrusted,
                    "use a certificate of a public CA; --ca-file trusts a private one here",
                ),
                TlsFault::IncompleteChain(_) => {
                    (Code::HostTlsIncompleteChain, "serve the full chain")
                }
                TlsFault::Version => (Code::HostTlsVersion, "switch TLS 1.2 or 1.3 on"),
                TlsFault::Handshake(_) => (
                    Code::HostTlsHandshake,
                    "let the server offer TLS 1.2 or 1.3 for this name",
                ),
            };
            told(code, subject, fault, name).with_remedy(remedy)
        })
        .collect();
    findings.extend(expiring(tls, now).map(|left| {
        Finding::new(
            Code::HostTlsExpiring,
            subject,
            "the certificate ends soon: its renewal seems to be stuck",
        )
        .with_evidence(&left)
        .with_remedy("look at what renews it")
    }));
    findings
}

pub(super) fn told(code: Code, subject: &str, fault: &TlsFault, name: &HostName) -> Finding {
    let (words, evidence) = fault_words(fault, name);
    let finding = Finding::new(code, subject, words);
    match evidence {
        Some(evidence) => finding.with_evidence(&evidence),
        None => finding,
    }
}
