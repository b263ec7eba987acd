//! The public URL, seen as a sender sees it, on every address of the policy host. (io)

use std::net::{IpAddr, SocketAddr};

use futures::future::join_all;

use super::super::context::Context;
use crate::clock;
use crate::config::PublicGate;
use crate::lifecycle::decide::Adopted;
use crate::lifecycle::observation::{CertificateProblem, Public, PublicAnswer, PublicOutcome};
use crate::lifecycle::txt::TxtSet;
use crate::limits;
use crate::probe::policy_host::{
    PolicyHostAnswer, PolicyHostRequest, PolicyResponse, fetch_policy,
};
use crate::probe::tls::{TlsProblem, TlsVerdict};
use crate::protocol::{Domain, HostName, Policy, PolicyId, Sha256Digest, StsRecord};

/// The public URL, on every address of the policy host, each asked `looks` times.
pub(super) async fn public(context: &Context, domain: &Domain, looks: usize) -> Public {
    if context.settings.public_gate == PublicGate::InCluster {
        return Public::NotLooked;
    }
    look(context, domain, looks).await
}

async fn look(context: &Context, domain: &Domain, looks: usize) -> Public {
    let host = domain.policy_host();
    let addresses = match context.dns.addresses(host.as_str()).await {
        Ok(addresses) => addresses,
        Err(error) => return Public::LookupFailed(error.to_string()),
    };
    let all: Vec<IpAddr> = addresses
        .v4
        .into_iter()
        .map(IpAddr::V4)
        .chain(addresses.v6.into_iter().map(IpAddr::V6))
        .take(limits::POLICY_HOST_ADDRESSES)
        .collect();
    if all.is_empty() {
        return Public::NoAddress;
    }
    let asked = all
        .into_iter()
        .map(|ip| address_answer(context, &host, ip, looks));
    Public::Answers(join_all(asked).await)
}

const HTTPS: u16 = 443;

/// What one address answers: the worst of several looks, since several servers may stand behind
/// it, and a sender meets any of them.
async fn address_answer(
    context: &Context,
    host: &HostName,
    ip: IpAddr,
    looks: usize,
) -> PublicAnswer {
    if looks > 1 {
        let looked = (0..looks).map(|_| public_answer(context, host, ip));
        return worst(join_all(looked).await)
            .unwrap_or_else(|| private(SocketAddr::new(ip, HTTPS)));
    }
    // What is published is not called broken for one bad handshake.
    let mut answer = public_answer(context, host, ip).await;
    for _ in 0..limits::SECOND_LOOKS {
        if answer.certificate.is_empty() {
            break;
        }
        answer = public_answer(context, host, ip).await;
    }
    answer
}

/// The worst of several answers of one address.
fn worst(answers: Vec<PublicAnswer>) -> Option<PublicAnswer> {
    let total = answers.len();
    let bad = answers.iter().filter(|a| !a.certificate.is_empty()).count();
    let first = answers.first().map(|answer| answer.outcome.clone());
    let mut worst = answers.into_iter().max_by_key(|answer| {
        (
            !answer.certificate.is_empty(),
            !matches!(answer.outcome, PublicOutcome::Body { .. }),
            Some(&answer.outcome) != first.as_ref(),
        )
    })?;
    if bad > 0 && bad < total {
        worst.inconsistent = Some((bad, total));
    }
    Some(worst)
}

fn private(address: SocketAddr) -> PublicAnswer {
    PublicAnswer {
        address: address.to_string(),
        outcome: PublicOutcome::Private,
        certificate: Vec::new(),
        not_after: None,
        not_before: None,
        inconsistent: None,
    }
}

async fn public_answer(context: &Context, host: &HostName, ip: IpAddr) -> PublicAnswer {
    let detour = context
        .settings
        .connect_to
        .iter()
        .find_map(|detour| detour.apply(host, HTTPS));
    let shown = SocketAddr::new(ip, HTTPS);
    if detour.is_none() && context.targets.check(ip).is_err() {
        return private(shown);
    }
    let request = PolicyHostRequest {
        host: host.clone(),
        address: detour.unwrap_or(shown),
        user_agent: "mta-sts-operator".to_owned(),
        now: clock::now(),
        time: limits::POLICY_FETCH_TIME,
    };
    let answer = fetch_policy(request, &context.trust).await;
    told(shown, answer)
}

fn told(shown: SocketAddr, answer: PolicyHostAnswer) -> PublicAnswer {
    let certificate = answer.tls.as_ref().and_then(|tls| tls.certificate.as_ref());
    let (not_before, not_after) = (
        certificate.map(|c| c.not_before),
        certificate.map(|c| c.not_after),
    );
    let problems = answer.tls.as_ref().map(problems).unwrap_or_default();
    let outcome = match answer.http {
        Ok(response) => outcome(response),
        Err(error) => PublicOutcome::Unreachable(error.to_string()),
    };
    PublicAnswer {
        address: shown.to_string(),
        // A handshake that failed is told by the certificate's problems alone.
        outcome,
        certificate: problems,
        not_after,
        not_before,
        inconsistent: None,
    }
}

fn problems(verdict: &TlsVerdict) -> Vec<CertificateProblem> {
    let mut problems: Vec<_> = verdict
        .problems
        .iter()
        .map(|problem| match problem {
            TlsProblem::Expired | TlsProblem::NotYetValid => CertificateProblem::Expired,
            TlsProblem::NameMismatch { .. } => CertificateProblem::NameMismatch,
            TlsProblem::SelfSigned | TlsProblem::Untrusted { .. } => CertificateProblem::Untrusted,
            TlsProblem::IncompleteChain { .. } => CertificateProblem::IncompleteChain,
            _ => CertificateProblem::Handshake,
        })
        .collect();
    problems.sort();
    problems.dedup();
    problems
}

fn outcome(response: PolicyResponse) -> PublicOutcome {
    if response.status != 200 {
        return PublicOutcome::Status {
            status: response.status,
            location: response.location,
        };
    }
    let cache_seconds = cache_seconds(&response);
    match response.body {
        Err(error) => PublicOutcome::Unreachable(error.to_string()),
        Ok(body) => PublicOutcome::Body {
            sha256: Sha256Digest::of(&body),
            policy: Policy::parse(&body).ok(),
            content_type: response
                .content_type
                .map(|text| text.split(';').next().unwrap_or_default().trim().to_owned()),
            cache_seconds,
        },
    }
}

/// How long a cache in front may keep an answer: what the headers say, else an hour.
fn cache_seconds(response: &PolicyResponse) -> Option<u32> {
    if response.age.is_none() && response.cache_hit.is_none() {
        return None;
    }
    let control = response.cache_control.as_deref().unwrap_or_default();
    let seconds = |key: &str| {
        control
            .split(',')
            .filter_map(|directive| directive.trim().split_once('='))
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .and_then(|(_, value)| value.trim_matches('"').parse::<u32>().ok())
    };
    Some(
        seconds("s-maxage")
            .or_else(|| seconds("max-age"))
            .unwrap_or(3600)
            .min(86_400),
    )
}

/// The live policy of a domain that is to be taken over: what senders may hold by now. `None`
/// where the policy host shows none; an error where it could not be asked, so that there may be
/// one all the same.
pub(in crate::controller) async fn adopted(
    context: &Context,
    domain: &Domain,
    txt: &TxtSet,
) -> Result<Option<Adopted>, String> {
    // Whatever the gate is set to: what is live now need not stand behind this cluster's front.
    let answers = match look(context, domain, 1).await {
        Public::Answers(answers) => answers,
        Public::LookupFailed(why) => return Err(why),
        Public::NotLooked | Public::NoAddress => return Ok(None),
    };
    let silent = answers.iter().find_map(|answer| match &answer.outcome {
        PublicOutcome::Unreachable(why) => Some(format!("{}: {why}", answer.address)),
        _ => None,
    });
    let id: Option<PolicyId> = txt
        .foreign()
        .iter()
        .find_map(|text| StsRecord::parse(text).ok())
        .map(|record| record.id);
    let found = answers.into_iter().find_map(|answer| match answer.outcome {
        PublicOutcome::Body {
            sha256,
            policy: Some(policy),
            ..
        } => Some(Adopted {
            id: id.clone(),
            policy,
            sha256,
        }),
        _ => None,
    });
    match (found, silent) {
        (None, Some(why)) => Err(why),
        (found, _) => Ok(found),
    }
}
