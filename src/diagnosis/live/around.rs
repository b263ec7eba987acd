//! What stands around a domain's record, policy and mail: looked at because one plain look does not
//! show it. Each kind of trouble has a file; what was not looked at makes no finding.

use super::dane::DaneSeen;
use super::{AddressSeen, DomainSeen, TlsSeen};
use crate::diagnosis::{Code, Finding};
use crate::protocol::Policy;

use super::{caa, claims, dane, record, shadow, sni, wall};

/// What was seen around a domain.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Around {
    /// Names where the record stands by mistake, with its text.
    pub misplaced: Vec<(String, String)>,
    /// Where `_mta-sts` is an alias to.
    pub record_alias: Option<String>,
    /// A name that nobody has is answered with the record as well.
    pub record_is_wildcard: bool,
    /// What each server says of `_mta-sts`.
    pub views: Vec<View>,
    /// The policy host, asked again under other names of the one who asks.
    pub agents: Vec<AgentSeen>,
    /// Other paths of the policy host that have the policy, where its own has none.
    pub elsewhere: Vec<String>,
    /// The aliases from the policy host, and what the world has at their end.
    pub host_alias: Option<HostAlias>,
    /// The CAA records that an issuer goes by for the policy host.
    pub caa: CaaSeen,
    /// Domains of patterns that nobody has registered.
    pub lapsed: Vec<String>,
    /// The MX of a name beside the domain that nobody has, where the domain itself has neither MX nor
    /// address.
    pub wildcard_mx: Vec<String>,
    /// More about each MX host.
    pub mx: Vec<MxAround>,
}

/// What one server says of the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The server.
    pub server: String,
    /// Whether it has the zone itself; a resolver may remember what was.
    pub authoritative: bool,
    /// The texts, sorted, and the TTL in seconds.
    pub texts: Vec<Vec<u8>>,
    /// For how long it still says so, in seconds.
    pub ttl: u32,
}

/// The answer of the policy host to one that calls itself so.
#[derive(Clone, PartialEq, Debug)]
pub struct AgentSeen {
    /// What the one who asked called himself.
    pub agent: String,
    /// What came of it; twice, where the first answers were not all alike.
    pub answers: Vec<AddressSeen>,
}

/// Where the aliases from the policy host lead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostAlias {
    /// The name at their end.
    pub target: String,
    /// Whether that name exists.
    pub exists: bool,
    /// Whether its registrable domain exists; none if that could not be told.
    pub registered: Option<bool>,
}

/// The CAA records that count for the policy host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum CaaSeen {
    /// Not looked at, or there are none.
    #[default]
    None,
    /// They could not be looked up, and why.
    Failed(String),
    /// These.
    Records {
        /// The name at which they were found, climbing (RFC 8659 §3).
        at: String,
        /// The records.
        records: Vec<CaaRecord>,
        /// Who issued the certificate that the host has, and its names.
        certificate: Option<(String, Vec<String>)>,
    },
}

/// One CAA record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaaRecord {
    /// An issuer that does not know the tag must not issue.
    pub critical: bool,
    /// `issue`, `issuewild`, `iodef` and the like.
    pub tag: String,
    /// The value.
    pub value: String,
}

/// More about an MX host.
#[derive(Clone, PartialEq, Debug)]
pub struct MxAround {
    /// The host, as the MX record names it.
    pub host: String,
    /// Its TLS for one who does not say which host he wants; none if that was not looked at.
    pub without_sni: Option<TlsSeen>,
    /// Its TLSA records, with DNSSEC.
    pub dane: DaneSeen,
}

/// Findings that say more exactly what another one says in general, and stand in its place.
const IN_PLACE_OF: &[(Code, &[Code])] = &[
    (Code::RecordMisplaced, &[Code::RecordMissing]),
    (
        Code::RecordDelegationBroken,
        &[Code::RecordMissing, Code::HostUnresolved],
    ),
    (
        Code::HostDangling,
        &[Code::HostUnresolved, Code::HostStatus],
    ),
    (
        Code::HostBotWall,
        &[
            Code::HostStatus,
            Code::HostContentType,
            Code::PolicyNotAPolicy,
        ],
    ),
    (Code::MxWildcardShadowed, &[Code::MxNone]),
];

/// Adds what was seen around a domain to what is plain to see.
pub(super) fn add(seen: &DomainSeen, policy: Option<&Policy>, findings: &mut Vec<Finding>) {
    let mut more = record::findings(seen);
    more.extend(wall::findings(seen));
    more.extend(caa::finding(&seen.domain, &seen.around.caa));
    more.extend(claims::dangling(seen));
    more.extend(claims::lapsed(&seen.around, policy));
    more.extend(shadow::finding(seen));
    more.extend(sni::findings(seen));
    more.extend(dane::findings(&seen.around));
    for (exact, general) in IN_PLACE_OF {
        if more.iter().any(|finding| finding.code == *exact) {
            findings.retain(|finding| !general.contains(&finding.code));
        }
    }
    // A pattern that nobody has registered is not merely unused.
    let lapsed: Vec<&Finding> = more
        .iter()
        .filter(|it| it.code == Code::MxPatternLapsed)
        .collect();
    findings.retain(|finding| {
        finding.code != Code::MxPatternUnused
            || lapsed.iter().all(|it| it.subject != finding.subject)
    });
    if let Some(path) = seen.around.elsewhere.first() {
        wall::say_where(findings, path);
    }
    findings.append(&mut more);
}
