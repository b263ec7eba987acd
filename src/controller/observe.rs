//! Looking: everything that a reconcile needs to know of the world, gathered at once. (io)

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::accept::{Accepted, ChosenProvider};
use super::context::Context;
use super::dns::{self, Access, View};
use super::error::ProviderError;
use crate::clock;
use crate::lifecycle::decide::Adopted;
use crate::lifecycle::publish::{
    AddressState, CertificateProblem, Endpoint, EndpointAnswer, Observation, Public, PublicAnswer,
    PublicOutcome, TxtAnswer, TxtServer,
};
use crate::lifecycle::txt::TxtSet;
use crate::lifecycle::{Address, Record};
use crate::limits;
use crate::probe::dns::{Answer, LookupError, RecordData, RecordType, ServerAnswer, WildcardGuard};
use crate::probe::endpoint::fetch_endpoint;
use crate::probe::policy_host::{
    PolicyHostAnswer, PolicyHostRequest, PolicyResponse, fetch_policy,
};
use crate::probe::tls::{TlsProblem, TlsVerdict};
use crate::protocol::{Domain, HostName, Policy, PolicyId, Sha256Digest, StsRecord};

/// What DNS says, on the provider's side and at the authoritative servers.
pub(super) struct DnsSeen {
    /// `None`: records are set by hand.
    pub(super) provider: Option<Result<View, ProviderError>>,
    /// Where the TXT record is looked for: what a CNAME leads to.
    pub(super) txt_name: String,
    /// What each authoritative server says of the TXT record.
    pub(super) servers: Vec<TxtServer>,
    /// Why nobody could be asked: then it is not even known where the TXT record belongs.
    pub(super) unknown: Option<String>,
    /// The live MX hosts.
    pub(super) mx: MxSeen,
}

/// The live MX hosts of a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum MxSeen {
    /// These; the domain itself where it has no MX but mail all the same.
    Hosts(Vec<HostName>),
    /// None: the domain's own address takes the mail.
    NoMx,
    /// The domain takes no mail (RFC 7505).
    Null,
    /// They could not be looked up.
    Failed(String),
}

impl DnsSeen {
    /// All TXT records that anybody shows.
    pub(super) fn txt(&self, context: &Context) -> TxtSet {
        let of_provider = match &self.provider {
            Some(Ok(view)) => view.txt(&context.installation),
            _ => TxtSet::default(),
        };
        self.servers
            .iter()
            .fold(of_provider, |set, server| match &server.answer {
                TxtAnswer::Set(shown, _) => set.union(shown),
                TxtAnswer::Unreachable { .. } => set,
            })
    }

    /// The longest that a resolver may remember what is there now, in seconds.
    pub(super) fn txt_ttl(&self) -> u32 {
        let of_provider = match &self.provider {
            Some(Ok(view)) => view.txt_ttl().unwrap_or(0),
            _ => 0,
        };
        self.servers
            .iter()
            .filter_map(|server| match &server.answer {
                TxtAnswer::Set(_, ttl) => Some(*ttl),
                TxtAnswer::Unreachable { .. } => None,
            })
            .fold(of_provider, u32::max)
    }
}

/// Looks at the DNS.
pub(super) async fn dns_seen(context: &Context, accepted: &Accepted) -> DnsSeen {
    let domain = &accepted.desired.domain;
    let record_name = domain.sts_record_name();
    let (servers, mx) = tokio::join!(txt_servers(context, &record_name), mx_seen(context, domain),);
    let now = clock::now();
    let (txt_name, servers, unknown) = match servers {
        Ok((name, servers)) => (name, servers, None),
        Err(error) => (record_name, Vec::new(), Some(error.to_string())),
    };
    let servers = servers
        .into_iter()
        .map(|server| txt_server(context, domain, server.server.address, server.result, now))
        .collect();
    let provider = match &accepted.provider {
        None => None,
        Some(chosen) => Some(provider_view(context, chosen, domain, &txt_name).await),
    };
    DnsSeen {
        provider,
        txt_name,
        servers,
        unknown,
        mx,
    }
}

/// What the authoritative servers say of the TXT record, wherever a CNAME leads (RFC 8461 §8.2).
async fn txt_servers(
    context: &Context,
    record_name: &str,
) -> Result<(String, Vec<ServerAnswer>), LookupError> {
    let mut name = record_name.to_owned();
    for _ in 0..limits::DNS_CHAIN {
        let servers = context.dns.ask_all(&name, RecordType::Txt).await?;
        let target = servers
            .iter()
            .filter_map(|server| server.result.as_ref().ok())
            .find_map(|answer| answer.chain.last())
            .map(|alias| alias.target.clone());
        match target {
            // Its own servers decide, not what the servers of the alias say about it.
            Some(target) if target != name => name = target,
            _ => return Ok((name, servers)),
        }
    }
    Err(LookupError::ChainTooLong {
        name: record_name.to_owned(),
        limit: limits::DNS_CHAIN,
    })
}

async fn provider_view(
    context: &Context,
    chosen: &ChosenProvider,
    domain: &Domain,
    txt_name: &str,
) -> Result<View, ProviderError> {
    let access = Access {
        key: chosen.key.clone(),
        spec: chosen.spec.clone(),
        zones: chosen.zones.clone(),
    };
    let view = async {
        let opened = dns::open(context, &access).await?;
        opened.view(domain, txt_name).await
    };
    let view = view.await;
    context.metrics.provider_call("read", &view);
    view
}

pub(super) fn txt_server(
    context: &Context,
    domain: &Domain,
    address: SocketAddr,
    result: Result<Answer, LookupError>,
    now: Timestamp,
) -> TxtServer {
    let address = address.to_string();
    let answer = match result {
        Ok(answer) => {
            context.memory.of(domain, |memory| memory.reached(&address));
            let texts: Vec<Vec<u8>> = answer
                .records
                .iter()
                .filter_map(RecordData::txt_octets)
                .collect();
            let ttl = if answer.records.is_empty() {
                answer.negative_ttl.unwrap_or(0)
            } else {
                answer.ttl
            };
            TxtAnswer::Set(TxtSet::classify(&texts, &context.installation), ttl)
        }
        Err(error) => TxtAnswer::Unreachable {
            why: error.to_string(),
            since: context
                .memory
                .of(domain, |memory| memory.unreachable_since(&address, now)),
        },
    };
    TxtServer { address, answer }
}

async fn mx_seen(context: &Context, domain: &Domain) -> MxSeen {
    match context.dns.mx(domain.as_str()).await {
        Err(error) => MxSeen::Failed(error.to_string()),
        Ok(set) if set.null => MxSeen::Null,
        Ok(set) if set.hosts.is_empty() => MxSeen::NoMx,
        Ok(set) => MxSeen::Hosts(
            set.hosts
                .iter()
                .filter_map(|host| HostName::parse_any_case(&host.exchange).ok())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        ),
    }
}

/// Whether writing below the domain would hide the wildcard that its MX comes from.
pub(super) async fn shadows_wildcard(
    context: &Context,
    domain: &Domain,
) -> Result<Option<Vec<String>>, LookupError> {
    match context.dns.wildcard_guard(domain.as_str()).await? {
        WildcardGuard::Synthesised { mx } => {
            Ok(Some(mx.into_iter().map(|host| host.exchange).collect()))
        }
        _ => Ok(None),
    }
}

/// Looks at policy servers, address records and the public URL.
pub(super) async fn world(
    context: &Context,
    accepted: &Accepted,
    record: &Record,
    dns: &DnsSeen,
    address: AddressState,
) -> Observation {
    let domain = &accepted.desired.domain;
    let (endpoints, public) = tokio::join!(
        endpoints(context, domain, accepted.desired.external),
        public(context, domain),
    );
    let id = &record.publication.current.id;
    let fresh_since = context.memory.of(domain, |memory| match &memory.fresh {
        Some((known, since)) if known == id => Some(*since),
        _ => None,
    });
    Observation {
        endpoints,
        public,
        address,
        txt_servers: dns.servers.clone(),
        fresh_since,
    }
}

async fn endpoints(context: &Context, domain: &Domain, external: bool) -> Option<Vec<Endpoint>> {
    if external {
        return None;
    }
    let host = domain.policy_host();
    let asked = endpoint_addresses(context)
        .into_iter()
        .map(|address| endpoint(context, domain, &host, address));
    Some(join_all(asked).await)
}

async fn endpoint(
    context: &Context,
    domain: &Domain,
    host: &HostName,
    address: SocketAddr,
) -> Endpoint {
    let result = fetch_endpoint(address, host).await;
    let now = clock::now();
    let address = address.to_string();
    let answer = match result {
        Ok(answer) => {
            context.memory.of(domain, |memory| memory.reached(&address));
            if answer.status == 200 {
                EndpointAnswer::Body {
                    etag: answer.etag.map(|etag| etag.trim_matches('"').to_owned()),
                    sha256: Sha256Digest::of(&answer.body),
                }
            } else {
                EndpointAnswer::Other(format!("status {}", answer.status))
            }
        }
        Err(error) => EndpointAnswer::Unreachable {
            why: error.to_string(),
            since: context
                .memory
                .of(domain, |memory| memory.unreachable_since(&address, now)),
        },
    };
    Endpoint { address, answer }
}

/// Every policy-server endpoint that is not on its way out, ready or not.
fn endpoint_addresses(context: &Context) -> BTreeSet<SocketAddr> {
    let settings = &context.settings;
    if !settings.policy_endpoints.is_empty() {
        return settings.policy_endpoints.iter().copied().collect();
    }
    context
        .caches
        .endpoints
        .state()
        .iter()
        .flat_map(|slice| slice_addresses(slice, &settings.policy_port))
        .take(limits::ENDPOINTS)
        .collect()
}

/// The addresses of one slice. `wanted` is the Service's port, by name or number: slices know its
/// name and the pods' port, not its number, so a number may also stand for the only port there is.
fn slice_addresses(slice: &EndpointSlice, wanted: &str) -> Vec<SocketAddr> {
    let tcp: Vec<_> = slice
        .ports
        .iter()
        .flatten()
        .filter(|port| port.protocol.as_deref().is_none_or(|p| p == "TCP"))
        .collect();
    let is_only = tcp.len() == 1 && wanted.parse::<u16>().is_ok();
    let ports: Vec<u16> = tcp
        .iter()
        .filter(|port| {
            is_only
                || port.name.as_deref().unwrap_or_default() == wanted
                || port.port.is_some_and(|number| number.to_string() == wanted)
        })
        .filter_map(|port| u16::try_from(port.port?).ok())
        .collect();
    slice
        .endpoints
        .iter()
        .filter(|endpoint| {
            let terminating = endpoint.conditions.as_ref().and_then(|c| c.terminating);
            !terminating.unwrap_or(false)
        })
        .flat_map(|endpoint| &endpoint.addresses)
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .flat_map(|address| {
            ports
                .iter()
                .map(move |port| SocketAddr::new(address, *port))
        })
        .collect()
}

/// The public URL, on every address of the policy host.
async fn public(context: &Context, domain: &Domain) -> Public {
    if context.settings.public_gate == crate::config::PublicGate::InCluster {
        return Public::NotLooked;
    }
    look(context, domain).await
}

async fn look(context: &Context, domain: &Domain) -> Public {
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
    let asked = all.into_iter().map(|ip| public_answer(context, &host, ip));
    Public::Answers(join_all(asked).await)
}

const HTTPS: u16 = 443;

async fn public_answer(context: &Context, host: &HostName, ip: IpAddr) -> PublicAnswer {
    let detour = context
        .settings
        .connect_to
        .iter()
        .find_map(|detour| detour.apply(host, HTTPS));
    let shown = SocketAddr::new(ip, HTTPS);
    if detour.is_none() && context.targets.check(ip).is_err() {
        return PublicAnswer {
            address: shown.to_string(),
            outcome: PublicOutcome::Private,
            certificate: Vec::new(),
            not_after: None,
            not_before: None,
        };
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

/// Whether every authoritative server shows exactly these address records.
pub(super) async fn addresses_shown(
    context: &Context,
    domain: &Domain,
    wanted: &[Address],
) -> Result<bool, LookupError> {
    let host = domain.policy_host();
    let (a, aaaa, cname) = tokio::try_join!(
        context.dns.ask_all(host.as_str(), RecordType::A),
        context.dns.ask_all(host.as_str(), RecordType::Aaaa),
        context.dns.ask_all(host.as_str(), RecordType::Cname),
    )?;
    let wants = |pick: fn(&Address) -> bool| {
        wanted
            .iter()
            .filter(|address| pick(address))
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    let is_alias = wanted.iter().any(|a| matches!(a, Address::Cname(_)));
    let shows = |answers: &[ServerAnswer], wanted: &BTreeSet<Address>| {
        answers.iter().all(|server| match &server.result {
            Ok(answer) => present(answer) == *wanted,
            // A silent server is named by the TXT step; the address alone must not wait for it.
            Err(_) => true,
        }) && answers.iter().any(|server| server.result.is_ok())
    };
    let cname_shown = shows(&cname, &wants(|a| matches!(a, Address::Cname(_))));
    // With an alias the addresses are somebody else's.
    let addresses_shown = is_alias
        || (shows(&a, &wants(|a| matches!(a, Address::A(_))))
            && shows(&aaaa, &wants(|a| matches!(a, Address::Aaaa(_)))));
    Ok(cname_shown && addresses_shown)
}

fn present(answer: &Answer) -> BTreeSet<Address> {
    answer
        .records
        .iter()
        .filter_map(|record| match record {
            RecordData::A(address) => Some(Address::A(*address)),
            RecordData::Aaaa(address) => Some(Address::Aaaa(*address)),
            RecordData::Cname(name) => Some(Address::Cname(name.clone())),
            _ => None,
        })
        .collect()
}

/// The live policy of a domain that is to be taken over: what senders may hold by now. `None`
/// where the policy host shows none; an error where it could not be asked, so that there may be
/// one all the same.
pub(super) async fn adopted(
    context: &Context,
    domain: &Domain,
    txt: &TxtSet,
) -> Result<Option<Adopted>, String> {
    // Whatever the gate is set to: what is live now need not stand behind this cluster's front.
    let answers = match look(context, domain).await {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_endpoint_that_is_not_on_its_way_out_is_asked() {
        let http = json!([{"name": "http", "port": 8081, "protocol": "TCP"}]);
        let two = json!([{"name": "http", "port": 8081}, {"name": "admin", "port": 8082}]);
        let udp = json!([{"name": "http", "port": 8081, "protocol": "UDP"}]);
        let unnamed = json!([{"port": 8081}]);
        let plain = json!({"addresses": ["10.0.0.1"]});
        let state = |ready: bool, terminating: bool| {
            json!({"addresses": ["10.0.0.1"],
                "conditions": {"ready": ready, "serving": ready, "terminating": terminating}})
        };
        for (case, wanted, ports, endpoint, expected) in [
            (
                "by name",
                "http",
                &http,
                plain.clone(),
                &["10.0.0.1:8081"][..],
            ),
            ("another name", "web", &http, plain.clone(), &[]),
            (
                "by the pods' number",
                "8081",
                &two,
                plain.clone(),
                &["10.0.0.1:8081"],
            ),
            (
                "by the Service's number",
                "80",
                &http,
                plain.clone(),
                &["10.0.0.1:8081"],
            ),
            ("which of two is not known", "80", &two, plain.clone(), &[]),
            (
                "the only one, without a name",
                "80",
                &unnamed,
                plain.clone(),
                &["10.0.0.1:8081"],
            ),
            (
                "a name that is not there",
                "http",
                &unnamed,
                plain.clone(),
                &[],
            ),
            ("not TCP", "http", &udp, plain.clone(), &[]),
            (
                "not ready",
                "http",
                &http,
                state(false, false),
                &["10.0.0.1:8081"],
            ),
            ("on its way out", "http", &http, state(false, true), &[]),
            (
                "serving till the end",
                "http",
                &http,
                state(true, true),
                &[],
            ),
            (
                "IPv6",
                "http",
                &http,
                json!({"addresses": ["2001:db8::1"]}),
                &["[2001:db8::1]:8081"],
            ),
            (
                "a name",
                "http",
                &http,
                json!({"addresses": ["pod.example"]}),
                &[],
            ),
        ] {
            let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "addressType": "IPv4", "ports": ports, "endpoints": [endpoint]});
            let slice = serde_json::from_value(slice).unwrap();
            let found: Vec<String> = slice_addresses(&slice, wanted)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn a_slice_without_ports_or_endpoints_has_no_address() {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "addressType": "IPv4", "ports": null, "endpoints": []});
        let slice = serde_json::from_value(slice).unwrap();
        assert!(slice_addresses(&slice, "http").is_empty());
    }
}
