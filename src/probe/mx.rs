//! A mail exchanger with its addresses, asked on port 25 as a sender does.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::dns::MxHost;
use super::reach::Reach;
use super::smtp::{SmtpAnswer, SmtpRequest, starttls};
use super::tls::TrustStore;
use crate::clock;
use crate::diagnosis::live::{MxHostSeen, SmtpSeen};
use crate::protocol::HostName;

pub(super) const SMTP: u16 = 25;

/// What looking at mail exchangers needs.
#[derive(Clone, Copy, Debug)]
pub struct MxProbe<'a> {
    /// How they are reached.
    pub reach: Reach<'a>,
    /// Whose certificates are trusted.
    pub trust: &'a TrustStore,
    /// Whether port 25 is asked at all.
    pub ask: bool,
    /// How long one address may take; usually [`crate::limits::SMTP_TIME`].
    pub time: Duration,
}

impl MxProbe<'_> {
    /// Looks at one mail exchanger.
    pub async fn look(&self, mx: &MxHost) -> MxHostSeen {
        let seen = |addresses, smtp| MxHostSeen {
            preference: mx.preference,
            host: mx.exchange.clone(),
            addresses,
            smtp,
        };
        let host = match HostName::parse_any_case(&mx.exchange) {
            Ok(host) => host,
            Err(error) => return seen(Err(format!("it {error}")), SmtpSeen::NotAsked),
        };
        match self.reach.addresses(&host, SMTP).await {
            Ok(addresses) => {
                let smtp = self.smtp(&host, &addresses).await;
                seen(Ok(addresses), smtp)
            }
            Err(why) => seen(Err(why), SmtpSeen::NotAsked),
        }
    }

    /// The first address that answers stands for all: senders go by it too.
    async fn smtp(&self, host: &HostName, addresses: &[IpAddr]) -> SmtpSeen {
        let mut seen = SmtpSeen::NotAsked;
        if !self.ask {
            return seen;
        }
        for address in addresses {
            let to = match self.reach.dialled(host, *address, SMTP) {
                Ok(to) => to,
                Err(kind) => {
                    seen = SmtpSeen::Private(kind);
                    continue;
                }
            };
            let request = self.request(host, to);
            seen = match starttls(&request, self.trust).await {
                SmtpAnswer::Unreachable(why) => SmtpSeen::Unreachable(format!("{address}: {why}")),
                SmtpAnswer::NoStartTls(said) => return SmtpSeen::NoStartTls(said),
                SmtpAnswer::Tls(verdict) => return SmtpSeen::Tls((&verdict).into()),
            };
        }
        seen
    }

    pub(super) fn request(&self, host: &HostName, to: SocketAddr) -> SmtpRequest {
        SmtpRequest {
            host: host.clone(),
            address: to,
            // An address literal that says nothing of this machine (RFC 5321 §4.1.3).
            client: "[192.0.2.1]".to_owned(),
            now: clock::now(),
            time: self.time,
        }
    }
}
