//! `--connect-to HOST:PORT:ADDRESS:PORT`, as in curl: where to connect instead.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::protocol::{HostName, HostNameError};

/// One detour. It is a setting of the operator or the command line, never of a tenant: what it
/// names is dialled even where it is a private address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectTo {
    host: Option<HostName>,
    port: Option<u16>,
    address: IpAddr,
    to_port: Option<u16>,
}

/// Why a text is no [`ConnectTo`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectToError {
    /// Not four parts.
    #[error("write HOST:PORT:ADDRESS:PORT; HOST, and either PORT, may be left empty")]
    Parts,
    /// The host that the detour is for.
    #[error("the host {0}")]
    Host(#[from] HostNameError),
    /// A port.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// Where to go.
    #[error("the address must be an IP address (IPv6 in brackets); no name is looked up")]
    Address,
}

impl ConnectTo {
    /// Where to connect instead of to `host` and `port`; `None` if the detour is for others.
    pub fn apply(&self, host: &HostName, port: u16) -> Option<SocketAddr> {
        let host_fits = self.host.as_ref().is_none_or(|wanted| wanted == host);
        let port_fits = self.port.is_none_or(|wanted| wanted == port);
        (host_fits && port_fits)
            .then(|| SocketAddr::new(self.address, self.to_port.unwrap_or(port)))
    }

    /// The detour for connections to `address` of `host`: the first whose own address is of the same
    /// family, else the first. So two of them lead IPv4 and IPv6 apart.
    pub fn of_family(
        detours: &[Self],
        host: &HostName,
        port: u16,
        address: IpAddr,
    ) -> Option<SocketAddr> {
        let mut fitting = detours.iter().filter_map(|detour| detour.apply(host, port));
        let same = |to: &SocketAddr| to.is_ipv6() == address.is_ipv6();
        fitting
            .find(same)
            .or_else(|| Self::first(detours, host, port))
    }

    /// The first of `detours` that is for `host` and `port`.
    pub fn first(detours: &[Self], host: &HostName, port: u16) -> Option<SocketAddr> {
        detours.iter().find_map(|detour| detour.apply(host, port))
    }
}

impl FromStr for ConnectTo {
    type Err = ConnectToError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = halves(text).ok_or(ConnectToError::Parts)?;
        let ((host, port), (address, to_port)) = (from, to);
        let host = match host {
            "" => None,
            host => Some(HostName::parse_any_case(host)?),
        };
        let address = address
            .strip_prefix('[')
            .and_then(|a| a.strip_suffix(']'))
            .unwrap_or(address);
        Ok(Self {
            host,
            port: read_port(port)?,
            address: address.parse().map_err(|_| ConnectToError::Address)?,
            to_port: read_port(to_port)?,
        })
    }
}

type Half<'a> = (&'a str, &'a str);

/// `HOST:PORT` and `ADDRESS:PORT`. Only the address may have colons of its own.
fn halves(text: &str) -> Option<(Half<'_>, Half<'_>)> {
    let (host, rest) = text.split_once(':')?;
    let (port, to) = rest.split_once(':')?;
    let to = to.rsplit_once(':')?;
    let bracketed = to.0.starts_with('[') && to.0.ends_with(']');
    (bracketed || !to.0.contains(':')).then_some(((host, port), to))
}

fn read_port(text: &str) -> Result<Option<u16>, ConnectToError> {
    match text {
        "" => Ok(None),
        text => match text.parse() {
            Ok(0) | Err(_) => Err(ConnectToError::Port),
            Ok(port) => Ok(Some(port)),
        },
    }
}

impl fmt::Display for ConnectTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = |port: Option<u16>| port.map(|port| port.to_string()).unwrap_or_default();
        let host = self.host.as_ref().map(HostName::as_str).unwrap_or_default();
        let address = match self.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        write!(
            f,
            "{host}:{}:{address}:{}",
            port(self.port),
            port(self.to_port)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detour_is_taken_by_those_it_is_for() {
        for (case, text, host, port, expected) in [
            (
                "exact",
                "a.example:443:192.0.2.1:8443",
                "a.example",
                443,
                Some("192.0.2.1:8443"),
            ),
            (
                "capitals",
                "A.Example:443:192.0.2.1:8443",
                "a.example",
                443,
                Some("192.0.2.1:8443"),
            ),
            (
                "other host",
                "a.example:443:192.0.2.1:8443",
                "b.example",
                443,
                None,
            ),
            (
                "other port",
                "a.example:443:192.0.2.1:8443",
                "a.example",
                25,
                None,
            ),
            (
                "any host",
                ":443:192.0.2.1:8443",
                "b.example",
                443,
                Some("192.0.2.1:8443"),
            ),
            (
                "any port",
                "a.example::192.0.2.1:8443",
                "a.example",
                25,
                Some("192.0.2.1:8443"),
            ),
            (
                "all",
                "::192.0.2.1:8443",
                "b.example",
                25,
                Some("192.0.2.1:8443"),
            ),
            (
                "port stays",
                "::192.0.2.1:",
                "b.example",
                25,
                Some("192.0.2.1:25"),
            ),
            (
                "IPv6",
                "a.example:443:[2001:db8::1]:8443",
                "a.example",
                443,
                Some("[2001:db8::1]:8443"),
            ),
        ] {
            let detour: ConnectTo = text.parse().unwrap();
            let to = detour.apply(&HostName::parse(host).unwrap(), port);
            assert_eq!(to, expected.map(|to| to.parse().unwrap()), "{case}");
            assert_eq!(
                detour.to_string().to_lowercase(),
                text.to_lowercase(),
                "{case}"
            );
        }
    }

    #[test]
    fn each_family_takes_the_detour_of_its_own_where_there_is_one() {
        let detours = |texts: &[&str]| -> Vec<ConnectTo> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let (v4, v6) = ("a.example:443:192.0.2.1:1", "a.example:443:[2001:db8::1]:2");
        for (all, address, expected) in [
            (vec![v4, v6], "198.51.100.1", "192.0.2.1:1"),
            (vec![v4, v6], "2001:db8::9", "[2001:db8::1]:2"),
            (vec![v6, v4], "198.51.100.1", "192.0.2.1:1"),
            (vec![v4], "2001:db8::9", "192.0.2.1:1"),
        ] {
            let host = HostName::parse("a.example").unwrap();
            let address = address.parse().unwrap();
            let to = ConnectTo::of_family(&detours(&all), &host, 443, address);
            assert_eq!(to, expected.parse().ok(), "{all:?} {address}");
        }
    }

    #[test]
    fn a_malformed_detour_is_refused() {
        for (text, expected) in [
            ("", ConnectToError::Parts),
            ("a.example:443:192.0.2.1", ConnectToError::Parts),
            ("a.example:443:192.0.2.1:8443:1", ConnectToError::Parts),
            ("a.example:443:2001:db8::1:8443", ConnectToError::Parts),
            ("a.example:443:b.example:8443", ConnectToError::Address),
            ("a.example:443::8443", ConnectToError::Address),
            ("a.example:0:192.0.2.1:8443", ConnectToError::Port),
            ("a.example:x:192.0.2.1:8443", ConnectToError::Port),
            ("a.example:443:192.0.2.1:70000", ConnectToError::Port),
            (
                "localhost:443:192.0.2.1:1",
                ConnectToError::Host(HostNameError::OneLabel),
            ),
        ] {
            assert_eq!(text.parse::<ConnectTo>(), Err(expected), "{text:?}");
        }
    }
}
