//! Looking around a domain: what one plain look does not show. (io)

use futures::future::join_all;

use super::gather::{Probes, texts};
use crate::clock;
use crate::diagnosis::live::{
    AddressSeen, AgentSeen, Around, CaaRecord, CaaSeen, DomainSeen, HostAlias, HostSeen, MxAround,
    MxSeen, Outcome, TxtSeen, View, policy_of,
};
use crate::limits::{CAA_CLIMB, CHECK_PATTERN_DOMAINS};
use crate::probe::dns::{Existence, RecordData, RecordType, ServerAnswer};
use crate::probe::mx::MxProbe;
use crate::probe::policy_host::{
    PolicyHostAnswer, PolicyHostRequest, fetch_elsewhere, fetch_policy,
};
use crate::protocol::{Domain, HostName, Policy, StsRecord};

/// What else those who ask call themselves: a browser, and two that fetch policies for senders.
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "postfix-mta-sts-resolver",
    "Go-http-client/1.1",
];

/// Where people put the policy by mistake.
const WRONG_PATHS: [&str; 5] = [
    "/mta-sts.txt",
    "/.well-known/mta-sts",
    "/well-known/mta-sts.txt",
    "/.well-known/mta_sts.txt",
    "/.well-known/mta-sts/mta-sts.txt",
];

impl Probes {
    /// Looks around what was seen plainly, all at once.
    pub(super) async fn around(&self, seen: &DomainSeen) -> Around {
        let domain = &seen.domain;
        let (misplaced, record_alias, record_is_wildcard, views, looks, elsewhere, host_alias) = tokio::join!(
            self.misplaced(seen),
            self.record_alias(seen),
            self.is_wildcard(seen),
            self.views(domain),
            self.agents(seen),
            self.elsewhere(seen),
            self.host_alias(seen),
        );
        let (agents, certificate) = looks;
        let (caa, lapsed, wildcard_mx, mx) = tokio::join!(
            self.caa(seen, certificate),
            self.lapsed(seen),
            self.wildcard_mx(seen),
            self.mx_around(seen),
        );
        Around {
            misplaced,
            record_alias,
            record_is_wildcard,
            views,
            agents,
            elsewhere,
            host_alias,
            caa,
            lapsed,
            wildcard_mx,
            mx,
        }
    }

    /// Where people put the record by mistake. The last one is what zone editors make of a full name
    /// that they take for a short one.
    async fn misplaced(&self, seen: &DomainSeen) -> Vec<(String, String)> {
        let domain = &seen.domain;
        match &seen.record {
            TxtSeen::Texts(texts, _) if !texts.iter().any(|text| is_record(text)) => {}
            _ => return Vec::new(),
        }
        let places = [
            domain.to_string(),
            format!("mta-sts.{domain}"),
            format!("_mta-sts._tls.{domain}"),
            format!("_mta-sts.{domain}.{domain}"),
        ];
        let found = places.map(async |place| {
            let answer = self.dns.resolve(&place, RecordType::Txt).await.ok()?;
            let text = texts(&answer).into_iter().find(|text| is_record(text))?;
            Some((place, String::from_utf8_lossy(&text).into_owned()))
        });
        join_all(found).await.into_iter().flatten().collect()
    }

    /// Asked for where half a delegation may be what is wrong.
    async fn record_alias(&self, seen: &DomainSeen) -> Option<String> {
        let no_record = matches!(&seen.record, TxtSeen::Texts(texts, _) if texts.is_empty());
        if !no_record && !addresses(seen).is_empty() {
            return None;
        }
        let name = seen.domain.sts_record_name();
        let answer = self.dns.resolve(&name, RecordType::Cname).await.ok()?;
        match answer.records.first() {
            Some(RecordData::Cname(target)) => Some(target.clone()),
            _ => None,
        }
    }

    async fn is_wildcard(&self, seen: &DomainSeen) -> bool {
        let TxtSeen::Texts(ours, _) = &seen.record else {
            return false;
        };
        if StsRecord::parse_rrset(ours).is_err() {
            return false;
        }
        let beside = self.dns.beside(seen.domain.as_str(), RecordType::Txt).await;
        beside.is_ok_and(|answer| sorted(texts(&answer)) == sorted(ours.clone()))
    }

    /// What each server of the zone says, and each resolver that is asked anyway. Where only the
    /// network's own resolvers can be asked, nothing is compared.
    async fn views(&self, domain: &Domain) -> Vec<View> {
        let reaches = self
            .reaches_authorities
            .get_or_init(|| self.dns.reaches_authorities());
        if !*reaches.await {
            return Vec::new();
        }
        let name = domain.sts_record_name();
        let zone = self.dns.ask_authorities(&name, RecordType::Txt).await;
        let mut views: Vec<View> = zone
            .into_iter()
            .flatten()
            .filter_map(|it| view(it, true))
            .collect();
        if self.compares_resolvers && !views.is_empty() {
            let resolvers = self.dns.ask_resolvers(&name, RecordType::Txt).await;
            views.extend(
                resolvers
                    .into_iter()
                    .flatten()
                    .filter_map(|it| view(it, false)),
            );
        }
        views
    }

    /// The policy host asked again, and who issued the certificate that it shows, with its names. Where
    /// the answers are not all alike, each is asked for once more.
    async fn agents(&self, seen: &DomainSeen) -> (Vec<AgentSeen>, Option<(String, Vec<String>)>) {
        let answered = |it: &&AddressSeen| matches!(it.outcome, Outcome::Response { .. });
        let Some(plain) = addresses(seen).iter().find(answered) else {
            return (Vec::new(), None);
        };
        let host = seen.domain.policy_host();
        let looks = AGENTS.map(|agent| self.as_agent(&host, plain, agent));
        let answers: Vec<PolicyHostAnswer> = join_all(looks).await.into_iter().flatten().collect();
        let certificate = answers.iter().find_map(|answer| {
            let certificate = answer.tls.as_ref()?.certificate.as_ref()?;
            Some((certificate.issuer.clone(), certificate.names.clone()))
        });
        let seen_as = |agent: &str, answer| AgentSeen {
            agent: agent.to_owned(),
            answers: vec![self.address_seen(plain.address, answer)],
        };
        let mut agents: Vec<AgentSeen> = AGENTS
            .iter()
            .zip(answers)
            .map(|(agent, answer)| seen_as(agent, answer))
            .collect();
        let differ = |it: &AgentSeen| it.answers.iter().any(|it| status(it) != status(plain));
        if agents.iter().any(differ) {
            let ours = AgentSeen {
                agent: super::gather::AGENT.to_owned(),
                answers: vec![plain.clone()],
            };
            agents.insert(0, ours);
            for agent in &mut agents {
                let again = self.as_agent(&host, plain, &agent.agent).await;
                let again = again.map(|answer| self.address_seen(plain.address, answer));
                agent.answers.extend(again);
            }
        }
        (agents, certificate)
    }

    /// The paths at which the policy stands, where it is not at its own.
    async fn elsewhere(&self, seen: &DomainSeen) -> Vec<String> {
        let host = seen.domain.policy_host();
        let missing = addresses(seen).iter().find(|it| status(it) == Some(404));
        let request = missing.and_then(|it| self.request(&host, it, super::gather::AGENT));
        let Some(request) = request else {
            return Vec::new();
        };
        let looks = WRONG_PATHS.map(async |path| {
            let response = fetch_elsewhere(&request, path, &self.trust).await.ok()?;
            let body = response.body.ok().filter(|_| response.status == 200)?;
            Policy::parse(&body).is_ok().then(|| path.to_owned())
        });
        join_all(looks).await.into_iter().flatten().collect()
    }

    async fn as_agent(
        &self,
        host: &HostName,
        plain: &AddressSeen,
        agent: &str,
    ) -> Option<PolicyHostAnswer> {
        let request = self.request(host, plain, agent)?;
        Some(fetch_policy(request, &self.trust).await)
    }

    fn request(
        &self,
        host: &HostName,
        plain: &AddressSeen,
        agent: &str,
    ) -> Option<PolicyHostRequest> {
        Some(PolicyHostRequest {
            host: host.clone(),
            address: self.reach().dialled(host, plain.address, 443).ok()?,
            user_agent: agent.to_owned(),
            now: clock::now(),
            time: self.time,
        })
    }

    /// Where the alias of a policy host without an address leads, or of one that answers with an error.
    async fn host_alias(&self, seen: &DomainSeen) -> Option<HostAlias> {
        let found = addresses(seen);
        let works = |it: &AddressSeen| matches!(it.outcome, Outcome::Response { status: 200, .. });
        if found.iter().any(works) {
            return None;
        }
        let host = seen.domain.policy_host();
        let answer = self.dns.resolve(host.as_str(), RecordType::A).await.ok()?;
        if answer.chain.is_empty() {
            return None;
        }
        Some(HostAlias {
            registered: match found.is_empty() {
                true => self.is_registered(&answer.name).await,
                false => None,
            },
            exists: answer.existence != Existence::NoName,
            target: answer.name,
        })
    }

    /// Whether the registrable domain of `name` exists; none if that can't be told, or if it is the name
    /// of a service under which others hold names.
    async fn is_registered(&self, name: &str) -> Option<bool> {
        let domain = registrable(name)?;
        let answer = self.dns.resolve(domain, RecordType::Soa).await.ok()?;
        Some(answer.existence != Existence::NoName)
    }

    /// RFC 8659 §3: the name itself, then each one above it; a name's alias is followed, and what is
    /// above the alias's target does not count.
    async fn caa(&self, seen: &DomainSeen, certificate: Option<(String, Vec<String>)>) -> CaaSeen {
        let host = seen.domain.policy_host();
        if addresses(seen).is_empty() {
            return CaaSeen::None;
        }
        let suffix = psl::suffix_str(host.as_str()).unwrap_or_default();
        let mut name = host.as_str();
        for _ in 0..CAA_CLIMB {
            let answer = match self.dns.resolve(name, RecordType::Caa).await {
                Ok(answer) => answer,
                // No public suffix has any: that a walk does not get to it says nothing.
                Err(_) if name.len() <= suffix.len() => return CaaSeen::None,
                Err(error) => return CaaSeen::Failed(format!("{name}: {error}")),
            };
            let records: Vec<CaaRecord> = answer.records.iter().filter_map(caa).collect();
            if !records.is_empty() {
                return CaaSeen::Records {
                    at: name.to_owned(),
                    records,
                    certificate,
                };
            }
            match name.split_once('.') {
                Some((_, parent)) => name = parent,
                None => break,
            }
        }
        CaaSeen::None
    }

    /// The domains of the policy's patterns that nobody has registered.
    async fn lapsed(&self, seen: &DomainSeen) -> Vec<String> {
        let policy = policy_of(&seen.host);
        let patterns = policy.iter().flat_map(|policy| &policy.mx);
        let mut domains: Vec<&str> = patterns
            .filter_map(|pattern| registrable(pattern.host().as_str()))
            .filter(|domain| Some(*domain) != registrable(seen.domain.as_str()))
            .collect();
        domains.sort_unstable();
        domains.dedup();
        let looks = domains.into_iter().take(CHECK_PATTERN_DOMAINS);
        let looks = looks.map(async |domain| {
            let registered = self.is_registered(domain).await;
            (registered == Some(false)).then(|| domain.to_owned())
        });
        join_all(looks).await.into_iter().flatten().collect()
    }

    /// The MX of names beside a domain that has neither MX nor address.
    async fn wildcard_mx(&self, seen: &DomainSeen) -> Vec<String> {
        let domain = seen.domain.as_str();
        let parent = domain.split_once('.').map(|(_, parent)| parent);
        // Nobody but the owner of a public suffix could have a wildcard there.
        let Some(parent) = parent.filter(|_| psl::domain_str(domain) != Some(domain)) else {
            return Vec::new();
        };
        if seen.mx != MxSeen::None {
            return Vec::new();
        }
        let own = self.dns.addresses(domain).await;
        if !own.is_ok_and(|own| own.v4.is_empty() && own.v6.is_empty()) {
            return Vec::new();
        }
        let beside = self.dns.beside(parent, RecordType::Mx).await;
        let records = beside.map(|answer| answer.records).unwrap_or_default();
        let exchange = |record: RecordData| match record {
            RecordData::Mx { exchange, .. } if exchange != "." => Some(exchange),
            _ => None,
        };
        records.into_iter().filter_map(exchange).collect()
    }

    async fn mx_around(&self, seen: &DomainSeen) -> Vec<MxAround> {
        let MxSeen::Hosts(hosts) = &seen.mx else {
            return Vec::new();
        };
        let domain = seen.domain.as_str();
        let dane = self.trust_ad
            && matches!(
                self.dns.validated(domain, RecordType::Mx).await,
                Ok((_, true))
            );
        let probe: MxProbe<'_> = self.mx_probe();
        join_all(hosts.iter().map(|host| probe.around(host, dane))).await
    }
}

fn addresses(seen: &DomainSeen) -> &[AddressSeen] {
    match &seen.host {
        HostSeen::Addresses(addresses) => addresses,
        HostSeen::Failed(_) => &[],
    }
}

fn status(seen: &AddressSeen) -> Option<u16> {
    match &seen.outcome {
        Outcome::Response { status, .. } => Some(*status),
        Outcome::Private(_) | Outcome::Failed(_) => None,
    }
}

fn is_record(text: &[u8]) -> bool {
    let start = text.get(..7).unwrap_or_default();
    start.eq_ignore_ascii_case(b"v=STSv1")
}

fn sorted(mut texts: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    texts.sort();
    texts
}

/// What a server says, unless it only leads elsewhere.
fn view(answer: ServerAnswer, authoritative: bool) -> Option<View> {
    let said = answer.result.ok()?;
    if authoritative && !said.chain.is_empty() {
        return None;
    }
    let left = if said.records.is_empty() {
        said.negative_ttl
    } else {
        Some(said.ttl)
    };
    Some(View {
        server: answer.server.name,
        authoritative,
        texts: sorted(texts(&said)),
        ttl: left.unwrap_or_default(),
    })
}

fn caa(record: &RecordData) -> Option<CaaRecord> {
    match record {
        RecordData::Caa {
            critical,
            tag,
            value,
        } => Some(CaaRecord {
            critical: *critical,
            tag: tag.clone(),
            value: String::from_utf8_lossy(value).into_owned(),
        }),
        _ => None,
    }
}

/// The domain that somebody registers for `name`; none below a suffix that a service has made.
fn registrable(name: &str) -> Option<&str> {
    let suffix = psl::suffix(name.as_bytes())?;
    let domain = psl::domain_str(name)?;
    (suffix.typ() != Some(psl::Type::Private)).then_some(domain)
}
