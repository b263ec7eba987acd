//! What was seen of a domain on the network, judged. Pure: the looking is `probe`'s.

mod around;
mod caa;
mod claims;
mod dane;
mod host;
mod mx;
mod port25;
mod record;
mod shadow;
mod sni;
mod wall;

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

pub use self::mx::{nearest, tls_findings, tls_trouble};
pub use self::port25::port_25;
use super::lint::{lint_policy, lint_record, lint_tlsrpt_record};
use super::{Code, Finding, Severity};
use crate::protocol::{Domain, HostName, Mode, Policy, StsRecord};

pub use self::around::{AgentSeen, Around, CaaRecord, CaaSeen, HostAlias, MxAround, View};
pub use self::dane::DaneSeen;

/// Everything that was seen of a domain.
#[derive(Clone, PartialEq, Debug)]
pub struct DomainSeen {
    /// The domain.
    pub domain: Domain,
    /// The TXT records at `_mta-sts.<domain>`.
    pub record: TxtSeen,
    /// The TXT records at `_smtp._tls.<domain>`.
    pub tls_rpt: TxtSeen,
    /// The policy host.
    pub host: HostSeen,
    /// The mail exchangers.
    pub mx: MxSeen,
    /// What stands around all that.
    pub around: Around,
}

impl DomainSeen {
    /// Gives up what only a judgement needs: the bodies, and what stands around.
    pub fn forget_bodies(&mut self) {
        self.around = Around::default();
        let HostSeen::Addresses(addresses) = &mut self.host else {
            return;
        };
        for address in addresses {
            if let Outcome::Response { body, .. } = &mut address.outcome {
                *body = Ok(Vec::new());
            }
        }
    }
}

/// TXT records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TxtSeen {
    /// Their joined texts, and their TTL in seconds.
    Texts(Vec<Vec<u8>>, u32),
    /// They could not be looked up, and why.
    Failed(String),
}

/// The policy host.
#[derive(Clone, PartialEq, Debug)]
pub enum HostSeen {
    /// It could not be looked up, and why.
    Failed(String),
    /// What each of its addresses showed; none if it has none.
    Addresses(Vec<AddressSeen>),
}

/// What one address of the policy host showed.
#[derive(Clone, PartialEq, Debug)]
pub struct AddressSeen {
    /// The address.
    pub address: IpAddr,
    /// What came of asking it.
    pub outcome: Outcome,
    /// Its TLS; none without a connection.
    pub tls: Option<TlsSeen>,
    /// How long the answer took.
    pub elapsed: Duration,
}

/// What came of asking for the policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was not dialled: the address is private, and of which kind.
    Private(String),
    /// No response, and why.
    Failed(String),
    /// A response.
    Response {
        /// Status code.
        status: u16,
        /// Where a redirect leads.
        location: Option<String>,
        /// Media type with its parameters.
        content_type: Option<String>,
        /// What shows that a cache answered.
        cached: Option<String>,
        /// The body, or why there is none.
        body: Result<Vec<u8>, String>,
    },
}

/// The TLS of a server, as far as it came about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsSeen {
    /// All that is wrong.
    pub faults: Vec<TlsFault>,
    /// Begin and end of the certificate's validity.
    pub validity: Option<(Timestamp, Timestamp)>,
}

/// One thing that is wrong with a server's TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TlsFault {
    /// Past its date, or not yet valid.
    Expired,
    /// No SAN for the host; it has these.
    NameMismatch(Vec<String>),
    /// Self-signed, or of an unknown root.
    Untrusted,
    /// It came alone, issued by this one.
    IncompleteChain(String),
    /// No TLS 1.2 or later.
    Version,
    /// Anything else, in words.
    Handshake(String),
}

/// The mail exchangers of a domain.
#[derive(Clone, PartialEq, Debug)]
pub enum MxSeen {
    /// They could not be looked up, and why.
    Failed(String),
    /// There are none: the domain's own address takes the mail.
    None,
    /// The domain takes no mail (RFC 7505).
    Null,
    /// These.
    Hosts(Vec<MxHostSeen>),
}

/// One mail exchanger.
#[derive(Clone, PartialEq, Debug)]
pub struct MxHostSeen {
    /// Lower is preferred.
    pub preference: u16,
    /// The host, as the MX record names it.
    pub host: String,
    /// Its addresses, or why they are not known.
    pub addresses: Result<Vec<IpAddr>, String>,
    /// What it showed on port 25.
    pub smtp: SmtpSeen,
}

/// What a mail exchanger showed on port 25.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SmtpSeen {
    /// It was not asked.
    NotAsked,
    /// No address of it is public, and of which kind it is.
    Private(String),
    /// It does not answer, and why.
    Unreachable(String),
    /// It answers, and STARTTLS does not come about: what it said.
    NoStartTls(String),
    /// TLS was spoken, or tried.
    Tls(TlsSeen),
}

/// What a person wants to know of a domain besides the findings.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Judged {
    /// The record, where it is one.
    pub record: Option<StsRecord>,
    /// The policy, where it is one.
    pub policy: Option<Policy>,
    /// All findings, worst first.
    pub findings: Vec<Finding>,
}

/// Judges a domain.
pub fn judge(seen: &DomainSeen, now: Timestamp) -> Judged {
    let record = record_of(&seen.record);
    let mut findings = record_findings(seen);
    let body = host::body(&seen.host);
    let policy = policy_of(&seen.host);
    let mode = policy.as_ref().map_or(Mode::Testing, |policy| policy.mode);
    // Where nothing was ever set up, one finding says so.
    if !(is_missing(&seen.record) && has_no_address(&seen.host)) {
        findings.extend(host::findings(&seen.domain, &seen.host, now));
    }
    if let Some(body) = body {
        let name = seen.domain.policy_host();
        let of_policy = lint_policy(body, Some(&seen.domain)).into_iter();
        findings.extend(of_policy.map(|it| it.with_subject_prefix(&format!("policy of {name}, "))));
    }
    findings.extend(mx::findings(seen, policy.as_ref(), mode, now));
    findings.extend(tls_rpt_findings(seen));
    around::add(seen, policy.as_ref(), &mut findings);
    findings.sort_by_key(|finding| finding.severity);
    Judged {
        record,
        policy,
        findings,
    }
}

/// The policy that the host serves, where it is one.
pub fn policy_of(host: &HostSeen) -> Option<Policy> {
    host::body(host).and_then(|body| Policy::parse(body).ok())
}

fn record_of(seen: &TxtSeen) -> Option<StsRecord> {
    match seen {
        TxtSeen::Texts(texts, _) => StsRecord::parse_rrset(texts).ok(),
        TxtSeen::Failed(_) => None,
    }
}

fn is_missing(seen: &TxtSeen) -> bool {
    matches!(seen, TxtSeen::Texts(texts, _) if texts.is_empty())
}

fn has_no_address(seen: &HostSeen) -> bool {
    matches!(seen, HostSeen::Addresses(addresses) if addresses.is_empty())
}

fn record_findings(seen: &DomainSeen) -> Vec<Finding> {
    const DAY: u32 = 86_400;
    let name = seen.domain.sts_record_name();
    match &seen.record {
        TxtSeen::Failed(why) => vec![not_looked_up(Code::RecordMissing, &name, why)],
        TxtSeen::Texts(texts, ttl) => {
            let mut findings = lint_record(texts, Some(&seen.domain));
            if *ttl > DAY {
                let message = "the TTL is above one day: so long resolvers may hide a new id";
                let finding = Finding::new(Code::RecordTtlLong, &name, message);
                let finding = finding.with_evidence(&format!("{ttl} s"));
                findings.push(finding.with_remedy("set the TTL to an hour or less"));
            }
            findings
        }
    }
}

fn tls_rpt_findings(seen: &DomainSeen) -> Vec<Finding> {
    match &seen.tls_rpt {
        TxtSeen::Texts(texts, _) => lint_tlsrpt_record(texts, Some(&seen.domain)),
        TxtSeen::Failed(why) => {
            let name = seen.domain.tlsrpt_record_name();
            vec![not_looked_up(Code::TlsrptMissing, &name, why)]
        }
    }
}

/// A record whose lookup failed is not missing: nothing is known.
fn not_looked_up(code: Code, name: &str, why: &str) -> Finding {
    Finding::new(
        code,
        name,
        "it could not be looked up, so nothing is known of it",
    )
    .with_severity(Severity::Unknown)
    .with_evidence(why)
    .with_remedy("try again, or ask another resolver")
}

/// A fault of a certificate or handshake, in words.
pub(super) fn fault_words(fault: &TlsFault, host: &HostName) -> (&'static str, Option<String>) {
    match fault {
        TlsFault::Expired => ("its certificate is past its date, or not yet valid", None),
        TlsFault::NameMismatch(names) => (
            "its certificate has no SAN for this name (a CN does not count)",
            Some(match names.as_slice() {
                [] => format!("no name at all; {host} is needed"),
                names => names.join(", "),
            }),
        ),
        TlsFault::Untrusted => ("its certificate does not chain to a trusted root", None),
        TlsFault::IncompleteChain(issuer) => (
            "its certificate comes alone, and its issuer is no trusted root",
            Some(format!("issued by {issuer}")),
        ),
        TlsFault::Version => ("it does not speak TLS 1.2 or later", None),
        TlsFault::Handshake(why) => ("TLS could not be set up", Some(why.clone())),
    }
}

/// Under 14 days left, or under a third of its life: its renewal is stuck.
pub(super) fn expiring(tls: &TlsSeen, now: Timestamp) -> Option<String> {
    let (begin, end) = tls.validity.filter(|_| tls.faults.is_empty())?;
    let left = end.duration_since(now).as_secs();
    let life = end.duration_since(begin).as_secs();
    let days = left / 86_400;
    (days < 14 || left < life / 3).then(|| format!("valid until {end}, {days} days left"))
}

#[cfg(test)]
mod around_tests;
#[cfg(test)]
mod tests;
