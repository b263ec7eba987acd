//! How the DNS is looked at. All of it is the administrator's word, never a tenant's.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use hickory_proto::rr::Name;

use super::resolver::DNS_PORT;
use crate::dns_wire;
use crate::probe::target::TargetPolicy;

/// Whose word counts when looking whether a record is published.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DnsVerify {
    /// Every authoritative server's.
    #[default]
    Authoritative,
    /// The configured resolvers', where the authoritative servers can't be reached.
    Resolver,
}

/// How the DNS is looked at.
#[derive(Clone, Debug)]
pub struct DnsProbeSettings {
    /// Whose word counts.
    pub verify: DnsVerify,
    /// Recursive resolvers; empty for those of `/etc/resolv.conf`.
    pub resolvers: Vec<SocketAddr>,
    /// Root name servers; empty for the world's.
    pub roots: Vec<SocketAddr>,
    /// The port of name servers that a referral names; anything but 53 is for tests.
    pub referral_port: u16,
    /// Zones whose servers are given instead of found.
    pub authoritative: Vec<AuthoritativeOverride>,
    /// Which addresses may be asked on the word of a referral.
    pub targets: TargetPolicy,
}

impl Default for DnsProbeSettings {
    fn default() -> Self {
        Self {
            verify: DnsVerify::default(),
            resolvers: Vec::new(),
            roots: Vec::new(),
            referral_port: DNS_PORT,
            authoritative: Vec::new(),
            targets: TargetPolicy::default(),
        }
    }
}

/// `--authoritative ZONE=ADDR:PORT[,ADDR:PORT]`: who answers for a zone and all below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthoritativeOverride {
    /// The zone: lower case, without the final dot.
    pub zone: String,
    /// Its servers.
    pub servers: Vec<SocketAddr>,
    name: Name,
}

/// Why a text is no server address or no [`AuthoritativeOverride`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ServerAddressError {
    /// Not an address.
    #[error(
        "{0:?} is not an IP address with or without a port (write 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53)"
    )]
    NotAnAddress(String),
    /// No equals sign, or no zone before it.
    #[error("{0:?} is not ZONE=ADDRESS[:PORT][,ADDRESS[:PORT]…]")]
    NotAnOverride(String),
}

impl AuthoritativeOverride {
    /// Says who answers for `zone`.
    pub fn new(zone: &str, servers: Vec<SocketAddr>) -> Result<Self, ServerAddressError> {
        let refused = || ServerAddressError::NotAnOverride(zone.to_owned());
        let name = dns_wire::name(zone).ok_or_else(refused)?;
        if servers.is_empty() {
            return Err(refused());
        }
        Ok(Self {
            zone: dns_wire::text(&name),
            servers,
            name,
        })
    }

    pub(super) fn zone_name(&self) -> &Name {
        &self.name
    }
}

impl FromStr for AuthoritativeOverride {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ServerAddressError::NotAnOverride(text.to_owned());
        let (zone, servers) = text.split_once('=').ok_or_else(refused)?;
        let servers: Result<Vec<_>, _> = servers.split(',').map(server_address).collect();
        Self::new(zone, servers?).map_err(|_| refused())
    }
}

/// Reads `ADDRESS` or `ADDRESS:PORT`; the port is 53 if it is left out.
pub fn server_address(text: &str) -> Result<SocketAddr, ServerAddressError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(address) => Ok((address, DNS_PORT).into()),
        Err(_) => Err(ServerAddressError::NotAnAddress(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_addresses_are_read_or_refused() {
        for (text, address) in [
            ("192.0.2.1", Some("192.0.2.1:53")),
            ("192.0.2.1:5353", Some("192.0.2.1:5353")),
            ("2001:db8::1", Some("[2001:db8::1]:53")),
            ("[2001:db8::1]", Some("[2001:db8::1]:53")),
            ("[2001:db8::1]:5353", Some("[2001:db8::1]:5353")),
            ("ns.example.org", None),
            ("192.0.2.1:", None),
            ("192.0.2.1:99999", None),
            ("", None),
        ] {
            let read = server_address(text).ok().map(|address| address.to_string());
            assert_eq!(read.as_deref(), address, "{text:?}");
        }
    }

    #[test]
    fn overrides_are_read_or_refused() {
        let entry: AuthoritativeOverride = "Example.ORG.=192.0.2.1,192.0.2.2:5353".parse().unwrap();
        assert_eq!(entry.zone, "example.org");
        assert_eq!(entry.servers.len(), 2);
        for text in [
            "example.org",
            "=192.0.2.1",
            "example.org=",
            "a b=192.0.2.1",
            "",
        ] {
            assert!(text.parse::<AuthoritativeOverride>().is_err(), "{text:?}");
        }
    }
}
