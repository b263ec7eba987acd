//! Looking at a domain: DNS, the policy host on each address, the MX hosts on port 25. (io)

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;

use super::Smtp;
use crate::clock;
use crate::diagnosis::live::{
    AddressSeen, DomainSeen, HostSeen, MxHostSeen, MxSeen, Outcome, SmtpSeen, TlsFault, TlsSeen,
    TxtSeen,
};
use crate::limits::{CHECK_ADDRESSES, CHECK_MX_HOSTS, SMTP_TIME};
use crate::probe::connect_to::ConnectTo;
use crate::probe::dns::{DnsProbe, MxHost, RecordData, RecordType};
use crate::probe::policy_host::{PolicyHostRequest, PolicyResponse, fetch_policy};
use crate::probe::smtp::{SmtpAnswer, SmtpRequest, starttls};
use crate::probe::target::TargetPolicy;
use crate::probe::tls::{TlsProblem, TlsVerdict, TrustStore};
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
}

impl Probes {
    /// Looks at all of it at once.
    pub(super) async fn look(&self, domain: &Domain) -> DomainSeen {
        let (record_name, tls_rpt_name) = (domain.sts_record_name(), domain.tlsrpt_record_name());
        let (record, tls_rpt, host, mx) = tokio::join!(
            self.txt(&record_name),
            self.txt(&tls_rpt_name),
            self.host(domain),
            self.mx(domain),
        );
        DomainSeen {
            domain: domain.clone(),
            record,
            tls_rpt,
            host,
            mx,
        }
    }

    async fn txt(&self, name: &str) -> TxtSeen {
        match self.dns.resolve(name, RecordType::Txt).await {
            Ok(answer) => {
                let texts = answer.records.iter().filter_map(RecordData::txt_octets);
                TxtSeen::Texts(texts.collect(), answer.ttl)
            }
            Err(error) => TxtSeen::Failed(error.to_string()),
        }
    }

    async fn host(&self, domain: &Domain) -> HostSeen {
        let host = domain.policy_host();
        match self.addresses(&host, 443).await {
            Err(why) => HostSeen::Failed(why),
            Ok(addresses) => {
                let looks = addresses.iter().map(|address| self.policy(&host, *address));
                HostSeen::Addresses(join_all(looks).await)
            }
        }
    }

    /// The addresses of a host; a detour stands for one that has none.
    async fn addresses(&self, host: &HostName, port: u16) -> Result<Vec<IpAddr>, String> {
        match self.dns.addresses(host.as_str()).await {
            Ok(found) => {
                let v4 = found.v4.into_iter().map(IpAddr::V4).take(CHECK_ADDRESSES);
                let v6 = found.v6.into_iter().map(IpAddr::V6).take(CHECK_ADDRESSES);
                Ok(v4.chain(v6).collect())
            }
            Err(error) => match ConnectTo::first(&self.connect_to, host, port) {
                Some(detour) => Ok(vec![detour.ip()]),
                None => Err(error.to_string()),
            },
        }
    }

    /// Where to connect; or why not.
    fn dialled(&self, host: &HostName, address: IpAddr, port: u16) -> Result<SocketAddr, String> {
        if let Some(detour) = ConnectTo::first(&self.connect_to, host, port) {
            return Ok(detour);
        }
        let checked = self.targets.check(address);
        checked.map_err(|private| format!("{address} is {}", private.kind))?;
        Ok(SocketAddr::new(address, port))
    }

    async fn policy(&self, host: &HostName, address: IpAddr) -> AddressSeen {
        let to = match self.dialled(host, address, 443) {
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
            user_agent: concat!("mta-sts/", env!("CARGO_PKG_VERSION")).to_owned(),
            now: clock::now(),
            time: self.time,
        };
        let answer = fetch_policy(request, &self.trust).await;
        AddressSeen {
            address,
            outcome: match answer.http {
                Ok(response) => outcome(response),
                Err(error) => Outcome::Failed(error.to_string()),
            },
            tls: answer.tls.as_ref().map(tls_seen),
            elapsed: answer.elapsed,
        }
    }

    async fn mx(&self, domain: &Domain) -> MxSeen {
        match self.dns.mx(domain.as_str()).await {
            Err(error) => MxSeen::Failed(error.to_string()),
            Ok(set) if set.null => MxSeen::Null,
            Ok(set) if set.hosts.is_empty() => MxSeen::None,
            Ok(set) => {
                let hosts = set.hosts.iter().take(CHECK_MX_HOSTS);
                MxSeen::Hosts(join_all(hosts.map(|host| self.mx_host(host))).await)
            }
        }
    }

    async fn mx_host(&self, mx: &MxHost) -> MxHostSeen {
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
        match self.addresses(&host, 25).await {
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
        if self.smtp == Smtp::Off {
            return seen;
        }
        for address in addresses {
            let to = match self.dialled(host, *address, 25) {
                Ok(to) => to,
                Err(kind) => {
                    seen = SmtpSeen::Private(kind);
                    continue;
                }
            };
            let request = SmtpRequest {
                host: host.clone(),
                address: to,
                // An address literal that says nothing of this machine (RFC 5321 §4.1.3).
                client: "[192.0.2.1]".to_owned(),
                now: clock::now(),
                time: SMTP_TIME.min(self.time),
            };
            seen = match starttls(&request, &self.trust).await {
                SmtpAnswer::Unreachable(why) => SmtpSeen::Unreachable(format!("{address}: {why}")),
                SmtpAnswer::NoStartTls(said) => return SmtpSeen::NoStartTls(said),
                SmtpAnswer::Tls(verdict) => return SmtpSeen::Tls(tls_seen(&verdict)),
            };
        }
        seen
    }
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

fn tls_seen(verdict: &TlsVerdict) -> TlsSeen {
    let mut faults: Vec<TlsFault> = verdict.problems.iter().map(fault).collect();
    faults.dedup();
    let certificate = verdict.certificate.as_ref();
    TlsSeen {
        faults,
        validity: certificate.map(|it| (it.not_before, it.not_after)),
    }
}

fn fault(problem: &TlsProblem) -> TlsFault {
    match problem {
        TlsProblem::Expired | TlsProblem::NotYetValid => TlsFault::Expired,
        TlsProblem::NameMismatch { names } => TlsFault::NameMismatch(names.clone()),
        TlsProblem::SelfSigned | TlsProblem::Untrusted(_) => TlsFault::Untrusted,
        TlsProblem::IncompleteChain { issuer } => TlsFault::IncompleteChain(issuer.clone()),
        TlsProblem::VersionTooOld => TlsFault::Version,
        TlsProblem::Handshake(why) => TlsFault::Handshake(why.to_string()),
    }
}
