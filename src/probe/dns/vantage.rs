//! The same question put elsewhere than [`DnsProbe::resolve`] puts it: to those who have the zone
//! themselves, and to validating resolvers.

use tokio::time::{Instant, timeout};

use super::query::{self, Role, absolute};
use super::wildcard::random_label;
use super::{Answer, DnsProbe, DnsVerify, LookupError, RecordType, ServerAnswer};
use crate::limits;

impl DnsProbe {
    /// What each authoritative server of the zone of `name` says, whatever [`DnsProbe::verify`] says.
    pub async fn ask_authorities(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<Vec<ServerAnswer>, LookupError> {
        let cut = self.authorities.find(name).await?;
        self.authorities.ask_all(&cut, name, record_type).await
    }

    /// What each resolver says, whatever [`DnsProbe::verify`] says.
    pub async fn ask_resolvers(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<Vec<ServerAnswer>, LookupError> {
        self.ask_all_resolvers(name, record_type).await
    }

    /// Whether the authoritative servers of the world can be asked from here at all: many networks
    /// let DNS through to their own resolvers only.
    pub async fn reaches_authorities(&self) -> bool {
        if self.verify == DnsVerify::Authoritative {
            return true;
        }
        let root = self.authorities.find("net");
        matches!(timeout(limits::DNS_ROOT_TIME, root).await, Ok(Ok(_)))
    }

    /// What a name beside `name` that nobody has is answered with: anything but nothing comes from a
    /// wildcard.
    pub async fn beside(
        &self,
        parent: &str,
        record_type: RecordType,
    ) -> Result<Answer, LookupError> {
        let name = format!("{}.{parent}", random_label()?);
        self.resolve(&name, record_type).await
    }

    /// What the resolvers say, and whether they say that DNSSEC vouches for it: the AD bit
    /// (RFC 4035 §3.2.3, asked for as in RFC 6840 §5.7). It is worth as much as the resolver and the
    /// way to it.
    pub async fn validated(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<(Answer, bool), LookupError> {
        let name = absolute(name)?;
        let deadline = Instant::now() + limits::DNS_LOOKUP_TIME;
        let mut failed = LookupError::NoResolver {
            name: crate::dns_wire::text(&name),
            record_type,
        };
        for server in self
            .resolver
            .servers()
            .iter()
            .take(limits::DNS_SERVER_TRIES)
        {
            let wire_type = record_type.wire();
            match query::ask(*server, Role::Validator, &name, wire_type, deadline).await {
                Ok(message) => {
                    let root = hickory_proto::rr::Name::root();
                    let answer = Answer::read(*server, &message, &name, record_type, &root)?;
                    return Ok((answer, message.metadata.authentic_data));
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}
