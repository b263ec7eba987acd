//! A policy host that does not answer everybody alike: bot walls, and fronts of several servers.

use super::around::AgentSeen;
use super::host::bodies;
use super::{AddressSeen, DomainSeen, HostSeen, Outcome, TlsFault, fault_words};
use crate::diagnosis::{Code, Finding, printable};
use crate::protocol::{HostName, POLICY_PATH};

/// What challenge pages have in them, in lower case, and whose they are.
const CHALLENGES: &[(&str, &str)] = &[
    ("challenges.cloudflare.com", "Cloudflare"),
    ("/cdn-cgi/challenge-platform", "Cloudflare"),
    ("cf-chl-", "Cloudflare"),
    ("<title>just a moment...", "Cloudflare"),
    ("attention required! | cloudflare", "Cloudflare"),
    ("_incapsula_resource", "Imperva"),
    ("captcha-delivery.com", "DataDome"),
    ("px-captcha", "HUMAN"),
    ("awswafcookiedomainlist", "AWS WAF"),
    ("token.awswaf.com", "AWS WAF"),
    ("/.well-known/sgcaptcha", "SiteGround"),
    ("pardon our interruption", "Imperva"),
    ("making sure you're not a bot", "Anubis"),
    ("ddos-guard", "DDoS-Guard"),
    ("checking your browser before accessing", "a bot wall"),
];

pub(super) fn findings(seen: &DomainSeen) -> Vec<Finding> {
    let name = seen.domain.policy_host();
    let agents = &seen.around.agents;
    let mut findings: Vec<Finding> = bot_wall(&name, &seen.host, agents).into_iter().collect();
    if findings.is_empty() {
        findings.extend(replicas(&name, &seen.host, agents));
    }
    findings.extend(inconsistent(&name, &seen.host, agents));
    findings
}

fn addresses(host: &HostSeen) -> &[AddressSeen] {
    match host {
        HostSeen::Addresses(addresses) => addresses,
        HostSeen::Failed(_) => &[],
    }
}

fn bot_wall(name: &HostName, host: &HostSeen, agents: &[AgentSeen]) -> Option<Finding> {
    let again = agents.iter().flat_map(|agent| &agent.answers);
    let challenged = addresses(host).iter().chain(again).find_map(challenge);
    let remedy = "let everybody have this one path without a challenge: senders are programs, and they call themselves what they like";
    if let Some((status, whose)) = challenged {
        let message = "a challenge page stands before the policy: no sender can solve it";
        let found = Finding::new(Code::HostBotWall, name.as_str(), message);
        let evidence = format!("status {status}, a page of {whose}");
        return Some(found.with_evidence(&evidence).with_remedy(remedy));
    }
    let statuses: Vec<(&str, u16)> = agents.iter().filter_map(steady).collect();
    let refused = statuses.iter().any(|(_, status)| *status != 200);
    let served = statuses.iter().any(|(_, status)| *status == 200);
    (refused && served).then(|| {
        let message =
            "the status depends on what the one who asks calls himself: some senders are kept out";
        let shown = statuses
            .iter()
            .map(|(agent, status)| format!("{status} for {}", printable(agent)));
        Finding::new(Code::HostBotWall, name.as_str(), message)
            .with_evidence(&shown.collect::<Vec<_>>().join(", "))
            .with_remedy(remedy)
    })
}

/// The status of an agent that got the same one each time, and was asked more than once.
fn steady(agent: &AgentSeen) -> Option<(&str, u16)> {
    let statuses: Vec<Option<u16>> = agent.answers.iter().map(status).collect();
    let first = statuses.first().copied().flatten()?;
    let same = statuses.iter().all(|it| *it == Some(first));
    (same && statuses.len() > 1).then_some((agent.agent.as_str(), first))
}

fn status(seen: &AddressSeen) -> Option<u16> {
    match &seen.outcome {
        Outcome::Response { status, .. } => Some(*status),
        Outcome::Private(_) | Outcome::Failed(_) => None,
    }
}

/// The status, and whose page it is.
fn challenge(seen: &AddressSeen) -> Option<(u16, &'static str)> {
    let Outcome::Response {
        status,
        body: Ok(body),
        ..
    } = &seen.outcome
    else {
        return None;
    };
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    // A policy may have such words in it, a page may not be without its brackets.
    let is_page = text.trim_start().starts_with('<');
    let mark = CHALLENGES.iter().find(|(mark, _)| text.contains(mark));
    mark.filter(|_| is_page).map(|(_, whose)| (*status, *whose))
}

/// One address with several servers behind it that have different files; several addresses are
/// looked at in the plain look already.
fn replicas(name: &HostName, host: &HostSeen, agents: &[AgentSeen]) -> Option<Finding> {
    let mut plain: Vec<&[u8]> = bodies(addresses(host)).collect();
    plain.dedup();
    let again = agents.iter().flat_map(|agent| bodies(&agent.answers));
    let [body] = plain.as_slice() else {
        return None;
    };
    let looks = again.clone().count();
    let others = again.filter(|again| again != body).count();
    (others > 0).then(|| {
        let message =
            "one and the same address serves different policies: what a sender gets is chance";
        Finding::new(Code::HostReplicasDiffer, name.as_str(), message)
            .with_evidence(&format!(
                "{others} of {looks} further answers had another body than the first"
            ))
            .with_remedy("bring every server behind the name to the same file")
    })
}

/// The file is there, at a path where nobody asks for it.
pub(super) fn say_where(findings: &mut [Finding], path: &str) {
    let missing = findings.iter_mut().filter(|it| it.code == Code::HostStatus);
    for finding in missing {
        let seen = finding.evidence.take().unwrap_or_default();
        let evidence = format!("{seen}; the policy stands at {path}");
        let remedy = format!("move the policy from {path} to {POLICY_PATH}");
        *finding = finding
            .clone()
            .with_evidence(&evidence)
            .with_remedy(&remedy);
    }
}

/// The certificate is good here and bad there: whoever looks once may see nothing.
fn inconsistent(name: &HostName, host: &HostSeen, agents: &[AgentSeen]) -> Option<Finding> {
    let again = agents.iter().flat_map(|agent| &agent.answers);
    let looks = addresses(host).iter().chain(again);
    let all: Vec<_> = looks
        .filter_map(|it| Some((it.address, it.tls.as_ref()?)))
        .filter(|(_, tls)| tls.validity.is_some())
        .map(|(address, tls)| (address, tls.faults.iter().find(|it| is_of_certificate(it))))
        .collect();
    let bad: Vec<_> = all
        .iter()
        .filter_map(|(address, fault)| Some((address, (*fault)?)))
        .collect();
    let (address, fault) = bad.first()?;
    (bad.len() < all.len()).then(|| {
        let (words, _) = fault_words(fault, name);
        let message = "the certificate is wrong in some handshakes or on some addresses only";
        let found = Finding::new(Code::HostTlsInconsistent, name.as_str(), message);
        found
            .with_evidence(&format!(
                "{} of {} handshakes, such as with {address}: {words}",
                bad.len(),
                all.len()
            ))
            .with_remedy(
                "look at each server behind the name: one may not have loaded the certificate",
            )
    })
}

fn is_of_certificate(fault: &TlsFault) -> bool {
    !matches!(fault, TlsFault::Version | TlsFault::Handshake(_))
}
