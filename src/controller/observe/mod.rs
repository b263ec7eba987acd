//! Looking: everything that a reconcile needs to know of the world, gathered at once. (io)

mod endpoints;
mod public;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use jiff::Timestamp;

pub(super) use self::public::adopted;
use super::context::Context;
use super::dns::{self, Access, View};
use super::error::ProviderError;
use super::own_dns::{self, Own};
use crate::clock;
use crate::lifecycle::observation::{
    AddressState, EndpointAnswer, Observation, TxtAnswer, TxtServer,
};
use crate::lifecycle::txt::TxtSet;
use crate::lifecycle::{Address, Publication, Record};
use crate::limits;
use crate::probe::dns::{Answer, LookupError, RecordData, RecordType, ServerAnswer, WildcardGuard};
use crate::protocol::{Domain, HostName, PolicyId};

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
    /// Where the domain's names lead, where they are to lead to our own name servers.
    pub(super) own: Option<Own>,
    /// The live MX hosts.
    pub(super) mx: MxSeen,
    /// Those that were live within their TTL, which senders may remember.
    pub(super) mx_before: Vec<HostName>,
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
pub(super) async fn dns_seen(
    context: &Context,
    domain: &Domain,
    provider: Option<&Access>,
    publication: Option<&Publication>,
) -> DnsSeen {
    let record_name = domain.sts_record_name();
    let (servers, (mx, mx_before)) = tokio::join!(
        end_of_aliases(context, &record_name, RecordType::Txt),
        mx_seen(context, domain),
    );
    let now = clock::now();
    let (txt_name, servers, unknown) = match servers {
        Ok((name, servers)) => (name, servers, None),
        Err(error) => (record_name, Vec::new(), Some(error.to_string())),
    };
    let (provider, own) = match provider {
        None => (None, None),
        Some(chosen) => {
            let look = Look {
                domain,
                txt_name: &txt_name,
                publication,
                shown: &servers,
            };
            match provider_view(context, chosen, &look).await {
                Ok((view, own)) => (Some(Ok(view)), own),
                Err(error) => (Some(Err(error)), None),
            }
        }
    };
    let mut servers = servers;
    if let Some(own) = own.as_ref().filter(|own| own.txt.is_here())
        && !servers.is_empty()
    {
        servers.extend(each_of_ours(context, &own.txt_name(), RecordType::Txt).await);
    }
    let servers = servers
        .into_iter()
        .map(|server| txt_server(context, domain, server.server.address, server.result, now))
        .collect();
    DnsSeen {
        provider,
        txt_name,
        servers,
        unknown,
        own,
        mx,
        mx_before,
    }
}

/// The name that a CNAME leads to in the end (RFC 8461 §8.2), and what its authoritative servers
/// say of it.
pub(super) async fn end_of_aliases(
    context: &Context,
    record_name: &str,
    record_type: RecordType,
) -> Result<(String, Vec<ServerAnswer>), LookupError> {
    let mut name = record_name.to_owned();
    for _ in 0..limits::DNS_CHAIN {
        let servers = context.dns.ask_all(&name, record_type).await?;
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

/// What each of our own name servers says: behind one address of the delegation there may be many.
pub(super) async fn each_of_ours(
    context: &Context,
    name: &str,
    record_type: RecordType,
) -> Vec<ServerAnswer> {
    let servers = endpoints::dns_addresses(context);
    let zone = name.split_once('.').map_or(name, |(_, zone)| zone);
    let asked = context.dns.ask_these(&servers, zone, name, record_type);
    asked.await.unwrap_or_default()
}

/// What a provider is asked about.
struct Look<'a> {
    domain: &'a Domain,
    txt_name: &'a str,
    publication: Option<&'a Publication>,
    /// What the authoritative servers say of the TXT record.
    shown: &'a [ServerAnswer],
}

async fn provider_view(
    context: &Context,
    access: &Access,
    look: &Look<'_>,
) -> Result<(View, Option<Own>), ProviderError> {
    if let Some(spec) = &access.spec.authoritative {
        let view = own_dns::view(context, access, spec, look.domain, look.publication);
        return view.await.map(|(view, own)| (view, Some(own)));
    }
    let opened = dns::open(context, access).await;
    let opened = opened.inspect_err(|error| context.metrics.provider_failed("read", error))?;
    for answer in look.shown.iter().filter_map(|s| s.result.as_ref().ok()) {
        let texts = answer.records.iter().filter_map(RecordData::txt_octets);
        opened.compare_memory(look.txt_name, &texts.collect());
    }
    let view = opened.view(context, look.domain, look.txt_name).await?;
    Ok((view, None))
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

/// The live MX hosts, and those that were live a moment ago.
async fn mx_seen(context: &Context, domain: &Domain) -> (MxSeen, Vec<HostName>) {
    let set = match context.dns.mx(domain.as_str()).await {
        Err(error) => return (MxSeen::Failed(error.to_string()), Vec::new()),
        Ok(set) => set,
    };
    let hosts: BTreeSet<HostName> = set
        .hosts
        .iter()
        .filter_map(|host| HostName::parse_any_case(&host.exchange).ok())
        .collect();
    let hosts: Vec<HostName> = hosts.into_iter().collect();
    let before = context.memory.of(domain, |memory| {
        memory.remembered_mx(&hosts, set.ttl, clock::now())
    });
    let seen = match set {
        set if set.null => MxSeen::Null,
        set if set.hosts.is_empty() => MxSeen::NoMx,
        _ => MxSeen::Hosts(hosts),
    };
    (seen, before)
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
    domain: &Domain,
    external: bool,
    record: &Record,
    dns: &DnsSeen,
    address: AddressState,
) -> Observation {
    let id = &record.publication.current.id;
    let announced = record.publication.announced.as_ref();
    // Before an id goes out, everything behind an address must be right; later one look will do.
    let looks = match announced.is_some_and(|announced| announced.id == *id) {
        true => 1,
        false => limits::LOOKS_BEFORE_ANNOUNCING,
    };
    let (endpoints, public) = tokio::join!(
        endpoints::endpoints(context, domain, external),
        public::public(context, domain, looks),
    );
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

/// Ids of this installation that policy servers serve and that are newer than anything the record knows: it
/// was restored from a backup, and they do not go back with it.
pub(super) fn newer_served(
    context: &Context,
    record: &Record,
    seen: &Observation,
) -> Vec<PolicyId> {
    let publication = &record.publication;
    let is_newer = |id: &PolicyId| {
        id.is_of(&context.installation) && *id > publication.current.id && !publication.knows(id)
    };
    let endpoints = seen.endpoints.iter().flatten();
    let ids = endpoints.filter_map(|endpoint| match &endpoint.answer {
        EndpointAnswer::Body { etag, .. } => etag.as_ref()?.parse().ok(),
        _ => None,
    });
    ids.filter(is_newer).collect()
}

/// Whether every authoritative server shows exactly these address records.
pub(super) async fn addresses_shown(
    context: &Context,
    host: &str,
    wanted: &[Address],
) -> Result<bool, LookupError> {
    let (a, aaaa, cname) = tokio::try_join!(
        context.dns.ask_all(host, RecordType::A),
        context.dns.ask_all(host, RecordType::Aaaa),
        context.dns.ask_all(host, RecordType::Cname),
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

/// The largest TTL of the address records that the servers show, where the DNS service does not
/// tell it.
pub(super) async fn addresses_ttl(context: &Context, domain: &Domain) -> Result<u32, LookupError> {
    let host = domain.policy_host();
    let (a, aaaa, cname) = tokio::try_join!(
        context.dns.ask_all(host.as_str(), RecordType::A),
        context.dns.ask_all(host.as_str(), RecordType::Aaaa),
        context.dns.ask_all(host.as_str(), RecordType::Cname),
    )?;
    let answers = [a, aaaa, cname].into_iter().flatten();
    let ttls = answers.filter_map(|server| server.result.ok().map(|answer| answer.ttl));
    Ok(ttls.max().unwrap_or(0))
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
