//! Looking at a domain: DNS, the policy host on each address, the MX hosts on port 25. (io)

use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::OnceCell;

use super::Smtp;
use crate::clock;
use crate::diagnosis::live::{AddressSeen, Around, DomainSeen, HostSeen, MxSeen, Outcome, TxtSeen};
use crate::limits::{CHECK_MX_HOSTS, SMTP_TIME};
use crate::probe::connect_to::ConnectTo;
use crate::probe::dns::{Answer, DnsProbe, RecordData, RecordType};
use crate::probe::mx::MxProbe;
use crate::probe::policy_host::{
    PolicyHostAnswer, PolicyHostRequest, PolicyResponse, fetch_policy,
};
use crate::probe::reach::Reach;
use crate::probe::target::TargetPolicy;
use crate::probe::tls::TrustStore;
use crate::protocol::{Domain, HostName};

/// What looking needs.
pub(super) struct Probes {
    pub(super) dns: DnsProbe,
    pub(super) trust: TrustStore,
    pub(super) targets: TargetPolicy,
    pub(super) connect_to: Vec<ConnectTo>,
    pub(super) smtp: Smtp,
    /// How long one answer of a policy host may take.
    pub(super) time: Duration,
    /// Whether resolvers are believed when they say that DNSSEC vouches for an answer.
    pub(super) trust_ad: bool,
    /// Whether the resolvers are those by which the domains are meant to be seen.
    pub(super) compares_resolvers: bool,
    /// Whether authoritative servers can be asked from here; found out once.
    pub(super) reaches_authorities: OnceCell<bool>,
}

/// What we call ourselves.
pub(super) const AGENT: &str = concat!("mta-sts/", env!("CARGO_PKG_VERSION"));

impl Probes {
    /// Looks at all of it: first plainly, then around it.
    pub(super) async fn look(&self, domain: &Domain) -> DomainSeen {
        let (record_name, tls_rpt_name) = (domain.sts_record_name(), domain.tlsrpt_record_name());
        let (record, tls_rpt, host, mx) = tokio::join!(
            self.txt(&record_name),
            self.txt(&tls_rpt_name),
            self.host(domain),
            self.mx(domain),
        );
        let mut seen = DomainSeen {
            domain: domain.clone(),
            record,
            tls_rpt,
            host,
            mx,
            around: Around::default(),
        };
        seen.around = self.around(&seen).await;
        seen
    }

    pub(super) fn reach(&self) -> Reach<'_> {
        Reach {
            dns: &self.dns,
            targets: &self.targets,
            connect_to: &self.connect_to,
        }
    }

    async fn txt(&self, name: &str) -> TxtSeen {
        match self.dns.resolve(name, RecordType::Txt).await {
            Ok(answer) => TxtSeen::Texts(texts(&answer), answer.ttl),
            Err(error) => TxtSeen::Failed(error.to_string()),
        }
    }

    async fn host(&self, domain: &Domain) -> HostSeen {
        let host = domain.policy_host();
        match self.reach().addresses(&host, 443).await {
            Err(why) => HostSeen::Failed(why),
            Ok(addresses) => {
                let looks = addresses.iter().map(|address| self.policy(&host, *address));
                HostSeen::Addresses(join_all(looks).await)
            }
        }
    }

    async fn policy(&self, host: &HostName, address: IpAddr) -> AddressSeen {
        let to = match self.reach().dialled(host, address, 443) {
            Ok(to) => to,
            Err(kind) => {
                return AddressSeen {
                    address,
                    outcome: Outcome::Private(kind),
                    tls: None,
                    elapsed: Duration::ZERO,
                };
            }
        };
        let request = PolicyHostRequest {
            host: host.clone(),
            address: to,
            user_agent: AGENT.to_owned(),
            now: clock::now(),
            time: self.time,
        };
        self.address_seen(address, fetch_policy(request, &self.trust).await)
    }

    pub(super) fn address_seen(&self, address: IpAddr, answer: PolicyHostAnswer) -> AddressSeen {
        AddressSeen {
            address,
            outcome: match answer.http {
                Ok(response) => outcome(response),
                Err(error) => Outcome::Failed(error.to_string()),
            },
            tls: answer.tls.as_ref().map(Into::into),
            elapsed: answer.elapsed,
        }
    }

    async fn mx(&self, domain: &Domain) -> MxSeen {
        match self.dns.mx(domain.as_str()).await {
            Err(error) => MxSeen::Failed(error.to_string()),
            Ok(set) if set.null => MxSeen::Null,
            Ok(set) if set.hosts.is_empty() => MxSeen::None,
            Ok(set) => {
                let probe = self.mx_probe();
                let hosts = set.hosts.iter().take(CHECK_MX_HOSTS);
                MxSeen::Hosts(join_all(hosts.map(|host| probe.look(host))).await)
            }
        }
    }

    pub(super) fn mx_probe(&self) -> MxProbe<'_> {
        MxProbe {
            reach: self.reach(),
            trust: &self.trust,
            ask: self.smtp != Smtp::Off,
            time: SMTP_TIME.min(self.time),
        }
    }
}

/// The joined texts of TXT records.
pub(super) fn texts(answer: &Answer) -> Vec<Vec<u8>> {
    let texts = answer.records.iter().filter_map(RecordData::txt_octets);
    texts.collect()
}

fn outcome(response: PolicyResponse) -> Outcome {
    let age = response.age.map(|age| format!("Age: {age}"));
    Outcome::Response {
        status: response.status,
        location: response.location,
        content_type: response.content_type,
        cached: response.cache_hit.or(age),
        body: response.body.map_err(|error| error.to_string()),
    }
}
