//! The zone that a name lies in and its authoritative servers, found as a resolver finds them:
//! from the root down, never by the cluster's view.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use hickory_proto::rr::Name;
use tokio::time::Instant;

use super::query::{self, Role, absolute};
use super::settings::AuthoritativeOverride;
use super::walk::{Delegation, Walk};
use super::{Answer, LookupError, RecordType, roots};
use crate::dns_wire;
use crate::limits;
use crate::probe::target::TargetPolicy;

/// One address of one name server.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NameServer {
    /// Its name; its address, where only that is known.
    pub name: String,
    /// Where it is asked.
    pub address: SocketAddr,
    /// Named by the administrator: asked whatever its address is.
    pub configured: bool,
}

impl NameServer {
    pub(super) fn configured(addresses: &[SocketAddr]) -> Vec<Self> {
        let server = |address: &SocketAddr| Self {
            name: address.to_string(),
            address: *address,
            configured: true,
        };
        addresses.iter().map(server).collect()
    }
}

/// A zone and who answers for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneCut {
    /// The zone.
    pub zone: String,
    /// All addresses of its name servers, those of the delegation and those of the zone itself; at
    /// most [`limits::DNS_SERVERS`].
    pub servers: Vec<NameServer>,
}

/// What one server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerAnswer {
    /// Who.
    pub server: NameServer,
    /// What; without authority it is an error.
    pub result: Result<Answer, LookupError>,
}

/// Finds and asks authoritative servers.
#[derive(Debug)]
pub struct Authorities {
    pub(super) roots: Vec<NameServer>,
    pub(super) referral_port: u16,
    overrides: Vec<AuthoritativeOverride>,
    targets: TargetPolicy,
    cuts: Cache<ZoneCut>,
    delegations: Cache<Delegation>,
    /// Where the next question starts in a list of servers, so that not all go to the first.
    turn: AtomicUsize,
}

impl Authorities {
    pub(super) fn new(
        roots: &[SocketAddr],
        referral_port: u16,
        overrides: Vec<AuthoritativeOverride>,
        targets: TargetPolicy,
    ) -> Self {
        Self {
            roots: roots::servers(roots),
            referral_port,
            overrides,
            targets,
            cuts: Cache::default(),
            delegations: Cache::default(),
            turn: AtomicUsize::default(),
        }
    }

    /// The zone that `name` lies in, and its servers.
    pub async fn find(&self, name: &str) -> Result<Arc<ZoneCut>, LookupError> {
        let name = absolute(name)?;
        if let Some(cut) = self.configured(&name) {
            return Ok(Arc::new(cut));
        }
        let key = dns_wire::text(&name);
        if let Some(cut) = self.cuts.get(&key) {
            return Ok(cut);
        }
        let cut = Walk::new(self).zone_cut(&name).await?;
        Ok(self.cuts.put(key, cut))
    }

    /// Asks every server of `cut`, all at once.
    pub async fn ask_all(
        &self,
        cut: &ZoneCut,
        name: &str,
        record_type: RecordType,
    ) -> Result<Vec<ServerAnswer>, LookupError> {
        let name = absolute(name)?;
        let zone = absolute(&cut.zone)?;
        let deadline = Instant::now() + limits::DNS_QUERY_TIME;
        let answers = cut
            .servers
            .iter()
            .take(limits::DNS_SERVERS)
            .map(async |server| {
                let result = self
                    .ask_one(server, &zone, &name, record_type, deadline)
                    .await;
                ServerAnswer {
                    server: server.clone(),
                    result,
                }
            });
        Ok(join_all(answers).await)
    }

    /// Asks the servers of `cut` in turn until one answers.
    pub(super) async fn ask_any(
        &self,
        cut: &ZoneCut,
        name: &Name,
        record_type: RecordType,
        deadline: Instant,
    ) -> Result<Answer, LookupError> {
        let zone = absolute(&cut.zone)?;
        let mut first_error = None;
        for server in self.in_turn(&cut.servers) {
            match self
                .ask_one(server, &zone, name, record_type, deadline)
                .await
            {
                Ok(answer) => return Ok(answer),
                Err(error) => first_error.get_or_insert(error),
            };
        }
        Err(first_error.unwrap_or_else(|| LookupError::NoNameServer {
            zone: cut.zone.clone(),
        }))
    }

    async fn ask_one(
        &self,
        server: &NameServer,
        zone: &Name,
        name: &Name,
        record_type: RecordType,
        deadline: Instant,
    ) -> Result<Answer, LookupError> {
        self.check_target(server)?;
        let (address, wire_type) = (server.address, record_type.wire());
        let message = query::ask(address, Role::Authority, name, wire_type, deadline).await?;
        if !message.metadata.authoritative {
            return Err(LookupError::NotAuthoritative {
                server: address,
                zone: dns_wire::text(zone),
            });
        }
        Answer::read(address, &message, name, record_type, zone)
    }

    /// Whether the server may be asked.
    pub(super) fn check_target(&self, server: &NameServer) -> Result<(), LookupError> {
        match server.configured {
            true => Ok(()),
            false => Ok(self.targets.check(server.address.ip())?),
        }
    }

    /// A few of the servers, another one first each time.
    pub(super) fn in_turn<'a>(
        &self,
        servers: &'a [NameServer],
    ) -> impl Iterator<Item = &'a NameServer> + use<'a> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let start = turn.checked_rem(servers.len()).unwrap_or_default();
        servers
            .iter()
            .cycle()
            .skip(start)
            .take(servers.len().min(limits::DNS_SERVER_TRIES))
    }

    /// The administrator's word on the zone of `name`: the longest suffix.
    pub(super) fn configured(&self, name: &Name) -> Option<ZoneCut> {
        let of_name = |entry: &&AuthoritativeOverride| entry.zone_name().zone_of(name);
        let entry = self
            .overrides
            .iter()
            .filter(of_name)
            .max_by_key(|entry| entry.zone.len())?;
        Some(ZoneCut {
            zone: entry.zone.clone(),
            servers: NameServer::configured(&entry.servers),
        })
    }

    /// The nearest zone above `name` whose delegation is remembered, else the root.
    pub(super) fn nearest(&self, name: &Name) -> Arc<Delegation> {
        let mut zone = name.clone();
        while !zone.is_root() {
            if let Some(delegation) = self.delegations.get(&dns_wire::text(&zone)) {
                return delegation;
            }
            zone = zone.base_name();
        }
        Arc::new(Delegation::root(self.roots.clone()))
    }

    pub(super) fn remember(&self, delegation: Delegation) -> Arc<Delegation> {
        let key = dns_wire::text(&delegation.zone);
        self.delegations.put(key, delegation)
    }
}

/// A small, short memory.
#[derive(Debug)]
struct Cache<T>(Mutex<HashMap<String, (Instant, Arc<T>)>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Cache<T> {
    fn get(&self, key: &str) -> Option<Arc<T>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, value) = entries.get(key)?;
        (since.elapsed() < limits::DNS_CUT_TIME).then(|| Arc::clone(value))
    }

    fn put(&self, key: String, value: T) -> Arc<T> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= limits::DNS_CUTS {
            entries.retain(|_, (since, _)| since.elapsed() < limits::DNS_CUT_TIME);
        }
        if entries.len() >= limits::DNS_CUTS {
            // More names than fit within a minute: starting afresh costs questions, not memory.
            entries.clear();
        }
        let value = Arc::new(value);
        entries.insert(key, (Instant::now(), Arc::clone(&value)));
        value
    }
}
