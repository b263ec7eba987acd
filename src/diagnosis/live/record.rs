//! The record `_mta-sts` beside what stands there: at a wrong name, made up by a wildcard, behind a
//! broken alias, different from server to server.

use std::collections::BTreeMap;

use super::around::View;
use super::{DomainSeen, has_no_address, is_missing};
use crate::diagnosis::{Code, Finding, Severity, printable};
use crate::protocol::StsRecord;

pub(super) fn findings(seen: &DomainSeen) -> Vec<Finding> {
    let name = seen.domain.sts_record_name();
    let around = &seen.around;
    let mut findings: Vec<Finding> = misplaced(&name, &around.misplaced).into_iter().collect();
    findings.extend(delegation(seen, &name));
    if around.record_is_wildcard {
        let message = "the record comes from a wildcard: names that do not exist have it as well, and every subdomain inherits it";
        let found = Finding::new(Code::RecordWildcard, &name, message);
        findings.push(found.with_remedy("write the record at this very name, without the *"));
    }
    findings.extend(views(&name, &around.views));
    findings
}

fn misplaced(name: &str, found: &[(String, String)]) -> Option<Finding> {
    let places: Vec<String> = found
        .iter()
        .map(|(place, text)| format!("{place} has {:?}", printable(text)))
        .collect();
    let (place, _) = found.first()?;
    let message = "the record stands at another name, where no sender looks: for senders there is no MTA-STS here";
    let remedy = format!("move the record from {place} to {name}");
    Some(
        Finding::new(Code::RecordMisplaced, name, message)
            .with_evidence(&places.join("; "))
            .with_remedy(&remedy),
    )
}

/// A delegation by CNAME has two halves, and both have to lead somewhere (RFC 8461 §8.2).
fn delegation(seen: &DomainSeen, name: &str) -> Option<Finding> {
    let target = seen.around.record_alias.as_ref()?;
    let host = seen.domain.policy_host();
    let evidence = format!("{name} CNAME {target}");
    if is_missing(&seen.record) {
        let message =
            "the alias leads to a name without TXT records: for senders there is no MTA-STS here";
        let found = Finding::new(Code::RecordDelegationBroken, name, message);
        let remedy = format!("have {target} published, or take the CNAME away");
        return Some(found.with_evidence(&evidence).with_remedy(&remedy));
    }
    if !has_no_address(&seen.host) {
        return None;
    }
    let message = format!("the record is delegated, and {host} is not: it has no address");
    let found = Finding::new(Code::RecordDelegationBroken, name, &message);
    let remedy = format!("set a CNAME at {host} as well, to the host that your provider names");
    Some(found.with_evidence(&evidence).with_remedy(&remedy))
}

/// Servers of the zone that differ are a fault. A resolver that differs from them may only remember
/// what was, for as long as its TTL runs.
fn views(name: &str, views: &[View]) -> Option<Finding> {
    let (zone, resolvers): (Vec<&View>, Vec<&View>) = views.iter().partition(|it| it.authoritative);
    let groups = grouped(&zone);
    if groups.len() > 1 {
        let message = "the name servers of the zone do not say the same of the record: which one a sender gets is chance";
        let found = Finding::new(Code::RecordVantageDiffers, name, message);
        let remedy = "look at why the zone is not carried to all its servers";
        return Some(found.with_evidence(&shown(&groups)).with_remedy(remedy));
    }
    let texts = &zone.first()?.texts;
    let differs: Vec<&View> = resolvers
        .into_iter()
        .filter(|it| it.texts != *texts)
        .collect();
    let longest = differs.iter().map(|it| it.ttl).max()?;
    let message = format!(
        "a resolver still has another record than the name servers of the zone: normal for {longest} s yet, a fault after that"
    );
    let all: Vec<&View> = zone.iter().chain(&differs).copied().collect();
    Some(
        Finding::new(Code::RecordVantageDiffers, name, &message)
            .with_severity(Severity::Info)
            .with_evidence(&shown(&grouped(&all)))
            .with_remedy("look again when that time is over"),
    )
}

fn grouped<'a>(views: &[&'a View]) -> BTreeMap<&'a [Vec<u8>], Vec<&'a str>> {
    let mut groups: BTreeMap<&[Vec<u8>], Vec<&str>> = BTreeMap::new();
    for view in views {
        let servers = groups.entry(view.texts.as_slice()).or_default();
        servers.push(view.server.as_str());
    }
    groups
}

fn shown(groups: &BTreeMap<&[Vec<u8>], Vec<&str>>) -> String {
    let shown = groups.iter().map(|(texts, servers)| {
        let says = match StsRecord::parse_rrset(texts) {
            Ok(record) => format!("id {}", record.id),
            Err(_) if texts.is_empty() => "no record".to_owned(),
            Err(_) => texts
                .iter()
                .map(|it| quoted(it))
                .collect::<Vec<_>>()
                .join(", "),
        };
        format!("{says} at {}", servers.join(", "))
    });
    shown.collect::<Vec<_>>().join("; ")
}

fn quoted(text: &[u8]) -> String {
    format!("{:?}", printable(&String::from_utf8_lossy(text)))
}
