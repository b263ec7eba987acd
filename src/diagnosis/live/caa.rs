//! Whether CAA lets the issuer of the policy host's certificate issue the next one (RFC 8659).

use super::around::{CaaRecord, CaaSeen};
use crate::diagnosis::{Code, Finding, Severity, printable};
use crate::protocol::Domain;

/// The tags that every issuer knows (RFC 8659 §4, RFC 9495).
const KNOWN_TAGS: [&str; 6] = [
    "issue",
    "issuewild",
    "iodef",
    "contactemail",
    "contactphone",
    "issuemail",
];

/// What stands in an issuer's name, in lower case, and the names by which CAA means it. Only those
/// whose names are public and stable: of others nothing is said. One name too many hides a finding,
/// one too few makes a false one.
const ISSUERS: &[(&str, &[&str])] = &[
    ("let's encrypt", &["letsencrypt.org"]),
    ("google trust services", &["pki.goog"]),
    ("buypass", &["buypass.com", "buypass.no"]),
    ("actalis", &["actalis.it"]),
    ("ssl.com", &["ssl.com"]),
    ("zerossl", SECTIGO),
    ("sectigo", SECTIGO),
    (
        "amazon",
        &[
            "amazon.com",
            "amazontrust.com",
            "awstrust.com",
            "amazonaws.com",
        ],
    ),
    ("globalsign", &["globalsign.com"]),
];

/// Sectigo took over the business of several others, and takes their names.
const SECTIGO: &[&str] = &[
    "sectigo.com",
    "comodoca.com",
    "comodo.com",
    "usertrust.com",
    "trust-provider.com",
    "zerossl.com",
    "entrust.net",
    "affirmtrust.com",
];

pub(super) fn finding(domain: &Domain, seen: &CaaSeen) -> Option<Finding> {
    let host = domain.policy_host();
    let finding = |message: &str| Finding::new(Code::HostCaa, host.as_str(), message);
    let (at, records, certificate) = match seen {
        CaaSeen::None => return None,
        CaaSeen::Failed(why) => {
            let message = "its CAA records could not be looked up: an issuer that gets no answer does not issue";
            let found = finding(message).with_severity(Severity::Unknown);
            let remedy = "look at whether the name servers of the zone answer for the type CAA";
            return Some(found.with_evidence(why).with_remedy(remedy));
        }
        CaaSeen::Records {
            at,
            records,
            certificate,
        } => (at, records, certificate.as_ref()),
    };
    let shown: Vec<String> = records.iter().map(shown).collect();
    let evidence = format!("CAA at {at}: {}", shown.join(", "));
    if let Some(unknown) = records.iter().find(|it| it.critical && !is_known(it)) {
        let message = "a critical CAA record has a tag that issuers do not know: none may issue a certificate for the policy host";
        let remedy = format!(
            "take the record {} away, or its flag 128",
            self::shown(unknown)
        );
        return Some(
            finding(message)
                .with_evidence(&evidence)
                .with_remedy(&remedy),
        );
    }
    let allowed = allowed(records, is_wildcard(host.as_str(), certificate, at)?)?;
    if allowed.is_empty() {
        let message =
            "CAA lets no issuer issue a certificate for the policy host: the next renewal fails";
        let remedy = format!("allow your issuer in the CAA records of {at}");
        return Some(
            finding(message)
                .with_evidence(&evidence)
                .with_remedy(&remedy),
        );
    }
    let (issuer, _) = certificate?;
    let names = names_of(issuer)?;
    let is_allowed = allowed.iter().any(|it| names.contains(&it.as_str()));
    (!is_allowed).then(|| {
        let message = "CAA does not allow the issuer of the policy host's certificate: the next renewal fails";
        let first = names.first().copied().unwrap_or_default();
        finding(message)
            .with_evidence(&format!("issued by {}; {evidence}", printable(issuer)))
            .with_remedy(&format!("add the record 0 issue \"{first}\" at {at}, or change the issuer"))
    })
}

fn shown(record: &CaaRecord) -> String {
    let flags = if record.critical { 128 } else { 0 };
    let (tag, value) = (printable(&record.tag), printable(&record.value));
    format!("{flags} {tag} \"{value}\"")
}

fn is_known(record: &CaaRecord) -> bool {
    KNOWN_TAGS
        .iter()
        .any(|tag| tag.eq_ignore_ascii_case(&record.tag))
}

/// Whether the next certificate is for a wildcard; none where the records are not those of that one:
/// an issuer looks for a wildcard's at the name behind the `*.`.
fn is_wildcard(host: &str, certificate: Option<&(String, Vec<String>)>, at: &str) -> Option<bool> {
    let names = certificate.map_or(&[][..], |(_, names)| names.as_slice());
    let has_host = names.iter().any(|it| it.eq_ignore_ascii_case(host));
    let wildcard = !has_host && names.iter().any(|it| it.starts_with("*."));
    (!wildcard || !at.eq_ignore_ascii_case(host)).then_some(wildcard)
}

/// The issuers that may issue; none if any may.
fn allowed(records: &[CaaRecord], wildcard: bool) -> Option<Vec<String>> {
    let of = |tag: &str| -> Vec<&CaaRecord> {
        let has_tag = |it: &&CaaRecord| it.tag.eq_ignore_ascii_case(tag);
        records.iter().filter(has_tag).collect()
    };
    let mut counting = if wildcard {
        of("issuewild")
    } else {
        Vec::new()
    };
    if counting.is_empty() {
        counting = of("issue");
    }
    if counting.is_empty() {
        return None;
    }
    let issuer = |it: &&CaaRecord| {
        it.value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_lowercase()
    };
    let issuers = counting.iter().map(issuer);
    Some(issuers.filter(|it| !it.is_empty()).collect())
}

fn names_of(issuer: &str) -> Option<&'static [&'static str]> {
    let issuer = issuer.to_lowercase();
    let known = ISSUERS.iter().find(|(mark, _)| issuer.contains(mark));
    known.map(|(_, names)| *names)
}
