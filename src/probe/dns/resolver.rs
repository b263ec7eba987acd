//! Recursive resolvers, as the system or the administrator names them.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::Name;
use tokio::time::Instant;

use super::query::{self, Role, absolute};
use super::{Answer, LookupError, RecordType};
use crate::dns_wire;
use crate::limits;

/// The port of the DNS.
pub(super) const DNS_PORT: u16 = 53;

/// Recursive resolvers, asked in turn until one answers. Names are absolute: the search list is
/// never used.
#[derive(Clone, Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
}

impl Resolver {
    /// Asks `servers`.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    /// Asks those of `/etc/resolv.conf`; none, if it can't be read.
    pub fn system() -> Self {
        let text = std::fs::read("/etc/resolv.conf").unwrap_or_default();
        let config = resolv_conf::Config::parse(text).ok();
        let servers = config.iter().flat_map(|config| &config.nameservers);
        let address = |server| SocketAddr::new(IpAddr::from(server), DNS_PORT);
        Self::new(servers.map(address).collect())
    }

    /// Whom it asks.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Asks for the records of an absolute name.
    pub async fn lookup(&self, name: &str, record_type: RecordType) -> Result<Answer, LookupError> {
        let name = absolute(name)?;
        let deadline = Instant::now() + limits::DNS_LOOKUP_TIME;
        let mut first_error = None;
        for server in self.servers.iter().take(limits::DNS_SERVER_TRIES) {
            match ask_one(*server, &name, record_type, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(error) => first_error.get_or_insert(error),
            };
        }
        Err(first_error.unwrap_or_else(|| LookupError::NoResolver {
            name: dns_wire::text(&name),
            record_type,
        }))
    }
}

/// Asks one resolver.
pub(super) async fn ask_one(
    server: SocketAddr,
    name: &Name,
    record_type: RecordType,
    deadline: Instant,
) -> Result<Answer, LookupError> {
    let wire_type = record_type.wire();
    let message = query::ask(server, Role::Resolver, name, wire_type, deadline).await?;
    Answer::read(server, &message, name, record_type, &Name::root())
}
