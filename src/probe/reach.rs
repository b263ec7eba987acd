//! How a server is reached: which addresses it has, and whether they may be dialled.

use std::net::{IpAddr, SocketAddr};

use super::connect_to::ConnectTo;
use super::dns::DnsProbe;
use super::target::TargetPolicy;
use crate::limits::CHECK_ADDRESSES;
use crate::protocol::HostName;

/// What reaching a server needs.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// Who looks its addresses up.
    pub dns: &'a DnsProbe,
    /// Which addresses may be dialled.
    pub targets: &'a TargetPolicy,
    /// Detours.
    pub connect_to: &'a [ConnectTo],
}

impl Reach<'_> {
    /// The addresses of a host; a detour stands for one that has none.
    pub async fn addresses(&self, host: &HostName, port: u16) -> Result<Vec<IpAddr>, String> {
        match self.dns.addresses(host.as_str()).await {
            Ok(found) => {
                let v4 = found.v4.into_iter().map(IpAddr::V4).take(CHECK_ADDRESSES);
                let v6 = found.v6.into_iter().map(IpAddr::V6).take(CHECK_ADDRESSES);
                Ok(v4.chain(v6).collect())
            }
            Err(error) => match ConnectTo::first(self.connect_to, host, port) {
                Some(detour) => Ok(vec![detour.ip()]),
                None => Err(error.to_string()),
            },
        }
    }

    /// Where to connect; or why not.
    pub fn dialled(
        &self,
        host: &HostName,
        address: IpAddr,
        port: u16,
    ) -> Result<SocketAddr, String> {
        if let Some(detour) = ConnectTo::of_family(self.connect_to, host, port, address) {
            return Ok(detour);
        }
        let checked = self.targets.check(address);
        checked.map_err(|private| format!("{address} is {}", private.kind))?;
        Ok(SocketAddr::new(address, port))
    }
}
