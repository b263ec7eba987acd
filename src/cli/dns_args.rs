//! How commands look at the DNS, and domains as people write them.

use clap::Args;
use ipnet::IpNet;

use crate::config::DnsVerify;
use crate::probe::dns::{AuthoritativeOverride, DnsProbe, DnsProbeSettings, server_address};
use crate::probe::target::TargetPolicy;
use crate::protocol::Domain;

/// Whom to ask.
#[derive(Args, Clone, Debug)]
pub struct DnsArgs {
    /// A resolver to ask, ADDR or ADDR:PORT; default: those of /etc/resolv.conf
    #[arg(long = "resolver", value_name = "ADDR[:PORT]")]
    pub resolvers: Vec<String>,

    /// Whom to ask: the resolvers, as senders do, or the authoritative servers of each zone
    #[arg(long, value_enum, default_value_t = DnsVerify::Resolver, ignore_case = true)]
    pub dns_verify: DnsVerify,

    /// The authoritative servers of a zone, with --dns-verify authoritative; default: found from the root
    #[arg(long = "authoritative", value_name = "ZONE=ADDR[:PORT][,…]")]
    pub authoritative: Vec<String>,

    /// A private network whose addresses may be dialled
    #[arg(long = "allow-target", value_name = "CIDR")]
    pub allow_targets: Vec<IpNet>,
}

impl DnsArgs {
    /// What may be dialled.
    pub(super) fn targets(&self) -> TargetPolicy {
        TargetPolicy {
            allowed: self.allow_targets.clone(),
        }
    }

    /// A probe; or which flag is wrong.
    pub(super) fn probe(&self) -> Result<DnsProbe, String> {
        let servers = self.resolvers.iter().map(|text| server_address(text));
        let resolvers = servers.collect::<Result<_, _>>();
        let zones = self.authoritative.iter().map(|text| text.parse());
        let authoritative: Result<Vec<AuthoritativeOverride>, _> = zones.collect();
        let probe = DnsProbe::new(DnsProbeSettings {
            verify: self.dns_verify.into(),
            resolvers: resolvers.map_err(|error| format!("--resolver: {error}"))?,
            authoritative: authoritative.map_err(|error| format!("--authoritative: {error}"))?,
            targets: self.targets(),
            ..DnsProbeSettings::default()
        });
        probe.map_err(|error| error.to_string())
    }
}

/// A domain as people write it: in capitals, with a final dot, an address, a URL.
pub(super) fn domain(text: &str) -> Result<Domain, String> {
    let bare = text.trim();
    let bare = bare.rsplit_once('@').map_or(bare, |(_, domain)| domain);
    let bare = bare.split_once("://").map_or(bare, |(_, rest)| rest);
    let bare = bare.split('/').next().unwrap_or_default();
    let bare = bare.trim_end_matches('.').to_lowercase();
    let bare = bare.strip_prefix("mta-sts.").unwrap_or(&bare);
    Domain::parse(bare).map_err(|error| format!("{text:?} is no mail domain: it {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_may_be_written_as_people_do() {
        for text in [
            "example.org",
            "Example.ORG.",
            " example.org ",
            "postmaster@example.org",
            "https://example.org/",
            "https://mta-sts.example.org/.well-known/mta-sts.txt",
        ] {
            assert_eq!(domain(text).unwrap().as_str(), "example.org", "{text}");
        }
        for text in ["", "localhost", "192.0.2.1", "a b.example", "@"] {
            assert!(domain(text).is_err(), "{text}");
        }
    }
}
