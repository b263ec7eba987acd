//! The walk from the root to the zone of a name: ask for its SOA, follow referrals down.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use futures::future::{BoxFuture, FutureExt};
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, Record, RecordType as WireType};
use tokio::time::Instant;

use super::query::{self, Role};
use super::{Authorities, LookupError, NameServer, ZoneCut};
use crate::dns_wire;
use crate::limits;

/// Servers of a zone on the way that are looked for; on the last step it is all.
const ENOUGH_ON_THE_WAY: usize = 3;

/// A zone as the zone above it delegates it.
#[derive(Clone, Debug)]
pub(super) struct Delegation {
    pub(super) zone: Name,
    hosts: Hosts,
    servers: Vec<NameServer>,
}

/// Name servers by name, and those addresses that came along and may be believed.
#[derive(Clone, Debug, Default)]
struct Hosts {
    names: Vec<Name>,
    glue: Vec<(Name, IpAddr)>,
}

/// What an answer to "SOA of this name?" means for the walk.
enum Step {
    /// Ask the servers of this zone further down.
    Down(Name, Hosts),
    /// The zone is found.
    Found(Name),
    /// The name is an alias and thus no zone: it lies in the zone of its parent.
    Up,
}

/// One walk, with what is left of its budget.
pub(super) struct Walk<'a> {
    authorities: &'a Authorities,
    questions_left: usize,
    deadline: Instant,
}

impl Delegation {
    pub(super) fn root(servers: Vec<NameServer>) -> Self {
        Self {
            zone: Name::root(),
            hosts: Hosts::default(),
            servers,
        }
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(authorities: &'a Authorities) -> Self {
        Self {
            authorities,
            questions_left: limits::DNS_WALK_QUERIES,
            deadline: Instant::now() + limits::DNS_LOOKUP_TIME,
        }
    }

    /// The zone of `name` with all its servers: those that the zone above names and those that it
    /// names itself, for resolvers ask either.
    pub(super) async fn zone_cut(mut self, name: &Name) -> Result<ZoneCut, LookupError> {
        let (zone, delegation) = self.descend(name, 0).await?;
        let mut hosts = match delegation.zone == zone {
            true => delegation.hosts.clone(),
            false => Hosts::default(),
        };
        let own = self
            .ask(&delegation, &zone, WireType::NS, |message| {
                let hosts = Hosts::read(&message.answers, message, &zone, &zone);
                (message.metadata.authoritative && !hosts.names.is_empty()).then_some(hosts)
            })
            .await;
        match own {
            Ok(own) => hosts.add(own),
            Err(error) if hosts.names.is_empty() && !zone.is_root() => return Err(error),
            Err(_) => {}
        }
        let servers = match zone.is_root() {
            true => delegation.servers.clone(),
            false => self.servers(&zone, &hosts, usize::MAX, 0).await?,
        };
        Ok(ZoneCut {
            zone: dns_wire::text(&zone),
            servers: servers.into_iter().take(limits::DNS_SERVERS).collect(),
        })
    }

    /// The zone of `name`, and the last delegation on the way, whose servers answer for it.
    async fn descend(
        &mut self,
        name: &Name,
        nesting: usize,
    ) -> Result<(Name, Delegation), LookupError> {
        let mut delegation = self.authorities.nearest(name);
        let mut asked = name.clone();
        for _ in 0..limits::DNS_WALK_DEPTH {
            let zone = &delegation.zone;
            let step = self
                .ask(&delegation, &asked, WireType::SOA, |message| {
                    step(message, zone, &asked)
                })
                .await?;
            match step {
                Step::Found(zone) => return Ok((zone, delegation.as_ref().clone())),
                Step::Up => asked = asked.base_name(),
                Step::Down(zone, hosts) => {
                    let servers = self
                        .servers(&zone, &hosts, ENOUGH_ON_THE_WAY, nesting)
                        .await?;
                    delegation = self.authorities.remember(Delegation {
                        zone,
                        hosts,
                        servers,
                    });
                }
            }
        }
        Err(self.too_long(name))
    }

    /// Asks the servers of a zone in turn, until `read` makes something of an answer.
    async fn ask<T>(
        &mut self,
        delegation: &Delegation,
        name: &Name,
        record_type: WireType,
        read: impl Fn(&Message) -> Option<T>,
    ) -> Result<T, LookupError> {
        let mut first_error = None;
        for server in self.authorities.in_turn(&delegation.servers) {
            match self.ask_one(server, name, record_type).await {
                Ok(message) => match read(&message) {
                    Some(found) => return Ok(found),
                    None => first_error.get_or_insert(LookupError::NotAuthoritative {
                        server: server.address,
                        zone: dns_wire::text(&delegation.zone),
                    }),
                },
                Err(error) => first_error.get_or_insert(error),
            };
        }
        Err(first_error.unwrap_or_else(|| no_name_server(&delegation.zone)))
    }

    async fn ask_one(
        &mut self,
        server: &NameServer,
        name: &Name,
        record_type: WireType,
    ) -> Result<Message, LookupError> {
        self.authorities.check_target(server)?;
        self.questions_left = self
            .questions_left
            .checked_sub(1)
            .ok_or_else(|| self.too_long(name))?;
        query::ask(
            server.address,
            Role::Authority,
            name,
            record_type,
            self.deadline,
        )
        .await
    }

    /// The addresses of a zone's name servers. Those that came as glue are free; for others there
    /// is another walk, until `enough` servers are known.
    async fn servers(
        &mut self,
        zone: &Name,
        hosts: &Hosts,
        enough: usize,
        nesting: usize,
    ) -> Result<Vec<NameServer>, LookupError> {
        let mut found = Vec::new();
        let mut without = Vec::new();
        for host in hosts.names.iter().take(limits::DNS_SERVERS) {
            let addresses = hosts.glue_of(host);
            match addresses.is_empty() {
                true => without.push(host),
                false => found.push((host, addresses)),
            }
        }
        let mut first_error = None;
        for host in without {
            if found.len() >= enough {
                break;
            }
            match self.addresses(host, nesting + 1).await {
                Ok(addresses) if addresses.is_empty() => {}
                Ok(addresses) => found.push((host, addresses)),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        let servers = in_order(&found, self.authorities.referral_port);
        match servers.is_empty() {
            true => Err(first_error.unwrap_or_else(|| no_name_server(zone))),
            false => Ok(servers),
        }
    }

    /// The addresses of a name server whose name lies in another zone. (A name server must not be
    /// an alias, RFC 2181 §10.3.)
    fn addresses<'b>(
        &'b mut self,
        host: &'b Name,
        nesting: usize,
    ) -> BoxFuture<'b, Result<Vec<IpAddr>, LookupError>> {
        async move {
            if nesting > limits::DNS_WALK_NESTING {
                return Err(self.too_long(host));
            }
            let delegation = match self.authorities.configured(host) {
                Some(cut) => Delegation::root(cut.servers),
                None => self.descend(host, nesting).await?.1,
            };
            let mut addresses = Vec::new();
            for record_type in [WireType::A, WireType::AAAA] {
                let found = self
                    .ask(&delegation, host, record_type, |message| {
                        let addresses = addresses_of(&message.answers, host);
                        message
                            .metadata
                            .authoritative
                            .then(|| addresses.collect::<Vec<_>>())
                    })
                    .await?;
                addresses.extend(found);
            }
            Ok(addresses)
        }
        .boxed()
    }

    fn too_long(&self, name: &Name) -> LookupError {
        LookupError::WalkTooLong {
            name: dns_wire::text(name),
        }
    }
}

impl Hosts {
    /// Reads the name servers of `zone` out of a section. Addresses are believed only for names
    /// in `bailiwick`, the zone that the answering server speaks for.
    fn read(section: &[Record], message: &Message, zone: &Name, bailiwick: &Name) -> Self {
        let mut hosts = Self::default();
        for record in section.iter().filter(|record| record.name == *zone) {
            if let RData::NS(host) = &record.data {
                hosts.names.push(host.0.clone());
            }
        }
        for host in hosts.names.iter().filter(|host| bailiwick.zone_of(host)) {
            let glue = addresses_of(&message.additionals, host);
            hosts
                .glue
                .extend(glue.map(|address| (host.clone(), address)));
        }
        hosts
    }

    fn add(&mut self, other: Self) {
        for name in other.names {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
        for glue in other.glue {
            if !self.glue.contains(&glue) {
                self.glue.push(glue);
            }
        }
    }

    fn glue_of(&self, host: &Name) -> Vec<IpAddr> {
        let of_host = self.glue.iter().filter(|(name, _)| name == host);
        of_host.map(|(_, address)| *address).collect()
    }
}

/// What the answer of a server of `zone` to "SOA of `asked`?" means; `None` if it makes no sense.
fn step(message: &Message, zone: &Name, asked: &Name) -> Option<Step> {
    let owner = |section: &'_ [Record], record_type| {
        section
            .iter()
            .find(|record| {
                record.record_type() == record_type
                    && zone.zone_of(&record.name)
                    && record.name.zone_of(asked)
            })
            .map(|record| record.name.clone())
    };
    if message.metadata.authoritative {
        let found = owner(&message.answers, WireType::SOA).filter(|name| name == asked);
        if let Some(zone) = found {
            return Some(Step::Found(zone));
        }
        if owner(&message.answers, WireType::CNAME).is_some() && asked != zone {
            return Some(Step::Up);
        }
        if let Some(zone) = owner(&message.authorities, WireType::SOA) {
            return Some(Step::Found(zone));
        }
    }
    let below = owner(&message.authorities, WireType::NS).filter(|name| name != zone)?;
    let hosts = Hosts::read(&message.authorities, message, &below, zone);
    Some(Step::Down(below, hosts))
}

fn addresses_of<'a>(section: &'a [Record], host: &'a Name) -> impl Iterator<Item = IpAddr> + 'a {
    let of_host = section.iter().filter(move |record| record.name == *host);
    of_host.filter_map(|record| match &record.data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    })
}

/// First one address of each host, then the second ones, and so on: a limit cuts off addresses
/// before hosts.
fn in_order(found: &[(&Name, Vec<IpAddr>)], port: u16) -> Vec<NameServer> {
    let mut servers: Vec<(usize, NameServer)> = Vec::new();
    for (host, addresses) in found {
        for (nth, address) in usable(addresses, port).into_iter().enumerate() {
            if servers.iter().all(|(_, server)| server.address != address) {
                let server = NameServer {
                    name: dns_wire::text(host),
                    address,
                    configured: false,
                };
                servers.push((nth, server));
            }
        }
    }
    servers.sort_by_key(|(nth, _)| *nth);
    servers.into_iter().map(|(_, server)| server).collect()
}

/// The addresses that this machine has a route to; all, if it has none to any. A cluster without
/// IPv6 must not wait for the IPv6 address of a server that it asks by IPv4.
fn usable(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let all = || {
        addresses
            .iter()
            .map(|address| SocketAddr::new(*address, port))
    };
    let routed: Vec<SocketAddr> = all().filter(has_route).collect();
    match routed.is_empty() {
        true => all().collect(),
        false => routed,
    }
}

/// Connecting a UDP socket sends nothing; it fails if there is no route.
fn has_route(address: &SocketAddr) -> bool {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(any)
        .and_then(|socket| socket.connect(address))
        .is_ok()
}

fn no_name_server(zone: &Name) -> LookupError {
    LookupError::NoNameServer {
        zone: dns_wire::text(zone),
    }
}
