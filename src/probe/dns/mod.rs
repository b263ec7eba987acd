//! Looking at the DNS: bounded, hostile answers expected, absolute names only.
//!
//! [`DnsProbe`] is what others use. Behind it are [`Resolver`], which asks recursive resolvers,
//! and [`Authorities`], which walks from the root to the servers that have the zone.

mod answer;
mod authorities;
mod error;
mod own;
mod query;
mod record;
mod resolver;
mod roots;
mod settings;
mod vantage;
mod walk;
mod wildcard;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures::future::join_all;
use tokio::time::Instant;

pub use answer::{Alias, Answer, Existence};
pub use authorities::{Authorities, NameServer, ServerAnswer, ZoneCut};
pub use error::LookupError;
pub use own::OwnRecords;
pub use record::{RecordData, RecordType};
pub use resolver::Resolver;
pub use settings::{
    AuthoritativeOverride, DnsProbeSettings, DnsVerify, ServerAddressError, server_address,
};
pub use wildcard::WildcardGuard;

use crate::limits;
use query::absolute;

/// Looks at the DNS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DnsProbe {
    verify: DnsVerify,
    resolver: Resolver,
    authorities: Arc<Authorities>,
}

/// One mail exchanger.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MxHost {
    /// Lower is preferred.
    pub preference: u16,
    /// The host.
    pub exchange: String,
}

/// The mail exchangers of a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MxSet {
    /// In order of preference, then name. Empty without MX, and for a null MX.
    pub hosts: Vec<MxHost>,
    /// The domain says that it takes no mail (RFC 7505).
    pub null: bool,
    /// Whether there are MX records.
    pub existence: Existence,
    /// Their TTL in seconds; 0 without.
    pub ttl: u32,
}

/// The addresses of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostAddresses {
    /// The aliases on the way, with their TTLs.
    pub chain: Vec<Alias>,
    /// IPv4 addresses.
    pub v4: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
    /// The largest TTL of chain and addresses in seconds: so long a resolver may hold any of it.
    pub largest_ttl: u32,
    /// Whether the host has addresses, exists without, or does not exist.
    pub existence: Existence,
}

impl DnsProbe {
    /// Makes a probe. Fails if resolvers are to be asked and none is known.
    pub fn new(settings: DnsProbeSettings) -> Result<Self, LookupError> {
        let resolver = match settings.resolvers.is_empty() {
            true => Resolver::system(),
            false => Resolver::new(settings.resolvers),
        };
        if settings.verify == DnsVerify::Resolver && resolver.servers().is_empty() {
            return Err(LookupError::NoResolver {
                name: ".".to_owned(),
                record_type: RecordType::Soa,
            });
        }
        Ok(Self {
            verify: settings.verify,
            resolver,
            authorities: Arc::new(Authorities::new(
                &settings.roots,
                settings.referral_port,
                settings.authoritative,
                settings.targets,
            )),
        })
    }

    /// Whose word counts.
    pub fn verify(&self) -> DnsVerify {
        self.verify
    }

    /// The configured resolvers: the cluster's view, whatever [`DnsProbe::verify`] says.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The zone of `name` and its authoritative servers, whatever [`DnsProbe::verify`] says.
    pub async fn authorities(&self, name: &str) -> Result<Arc<ZoneCut>, LookupError> {
        self.authorities.find(name).await
    }

    /// What each server of the zone of `name` says; or each resolver. Aliases are followed only
    /// within the zone: see [`Answer::chain`].
    pub async fn ask_all(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<Vec<ServerAnswer>, LookupError> {
        match self.verify {
            DnsVerify::Authoritative => {
                let cut = self.authorities.find(name).await?;
                self.authorities.ask_all(&cut, name, record_type).await
            }
            DnsVerify::Resolver => self.ask_all_resolvers(name, record_type).await,
        }
    }

    /// What each of these servers says, which are meant to have `zone`, whoever the world is led to.
    pub async fn ask_these(
        &self,
        servers: &[SocketAddr],
        zone: &str,
        name: &str,
        record_type: RecordType,
    ) -> Result<Vec<ServerAnswer>, LookupError> {
        let mut answers = Vec::new();
        for servers in servers.chunks(limits::DNS_SERVERS) {
            let cut = ZoneCut {
                zone: zone.to_owned(),
                servers: NameServer::configured(servers),
            };
            answers.extend(self.authorities.ask_all(&cut, name, record_type).await?);
        }
        Ok(answers)
    }

    async fn ask_all_resolvers(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<Vec<ServerAnswer>, LookupError> {
        let name = absolute(name)?;
        let deadline = Instant::now() + limits::DNS_QUERY_TIME;
        let servers = NameServer::configured(self.resolver.servers());
        let answers = servers
            .into_iter()
            .take(limits::DNS_SERVERS)
            .map(async |server| {
                let result = resolver::ask_one(server.address, &name, record_type, deadline).await;
                ServerAnswer { server, result }
            });
        Ok(join_all(answers).await)
    }

    /// The records at the end of all aliases, as the authoritative servers have them; or as the
    /// resolvers do.
    pub async fn resolve(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<Answer, LookupError> {
        if self.verify == DnsVerify::Resolver {
            return self.resolver.lookup(name, record_type).await;
        }
        let deadline = Instant::now() + limits::DNS_LOOKUP_TIME;
        let mut chain = Vec::new();
        let mut name = absolute(name)?;
        loop {
            let cut = self.authorities.find(&crate::dns_wire::text(&name)).await?;
            let answer = self
                .authorities
                .ask_any(&cut, &name, record_type, deadline)
                .await?;
            let leads_elsewhere = answer.leads_elsewhere();
            // Each turn lengthens the chain, which has a bound.
            for alias in answer.chain {
                answer::append(&mut chain, alias)?;
            }
            if !leads_elsewhere {
                return Ok(Answer { chain, ..answer });
            }
            name = absolute(&answer.name)?;
        }
    }

    /// The mail exchangers of `domain`.
    pub async fn mx(&self, domain: &str) -> Result<MxSet, LookupError> {
        let answer = self.resolve(domain, RecordType::Mx).await?;
        let host = |data: &RecordData| match data {
            RecordData::Mx {
                preference,
                exchange,
            } => Some(MxHost {
                preference: *preference,
                exchange: exchange.clone(),
            }),
            _ => None,
        };
        let mut hosts: Vec<MxHost> = answer.records.iter().filter_map(host).collect();
        hosts.sort();
        let null = !hosts.is_empty() && hosts.iter().all(|host| host.exchange == ".");
        hosts.retain(|host| host.exchange != ".");
        Ok(MxSet {
            hosts,
            null,
            existence: answer.existence,
            ttl: answer.ttl,
        })
    }

    /// The addresses of `host`.
    pub async fn addresses(&self, host: &str) -> Result<HostAddresses, LookupError> {
        let v4 = self.resolve(host, RecordType::A).await?;
        let v6 = self.resolve(host, RecordType::Aaaa).await?;
        let ttls = [&v4, &v6].into_iter().flat_map(|answer| {
            let chain = answer.chain.iter().map(|alias| alias.ttl);
            chain.chain([answer.ttl])
        });
        let largest_ttl = ttls.max().unwrap_or_default();
        let existence = match (v4.existence, v6.existence) {
            (Existence::Found, _) | (_, Existence::Found) => Existence::Found,
            (Existence::NoName, Existence::NoName) => Existence::NoName,
            _ => Existence::NoData,
        };
        Ok(HostAddresses {
            v4: v4.records.iter().filter_map(v4_of).collect(),
            v6: v6.records.iter().filter_map(v6_of).collect(),
            chain: if v4.chain.is_empty() {
                v6.chain
            } else {
                v4.chain
            },
            largest_ttl,
            existence,
        })
    }
}

fn v4_of(data: &RecordData) -> Option<Ipv4Addr> {
    match data {
        RecordData::A(address) => Some(*address),
        _ => None,
    }
}

fn v6_of(data: &RecordData) -> Option<Ipv6Addr> {
    match data {
        RecordData::Aaaa(address) => Some(*address),
        _ => None,
    }
}
