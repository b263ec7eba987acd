//! TLSA records of an MX host, where DNSSEC vouches for them (RFC 7672).

use super::around::Around;
use crate::diagnosis::{Code, Finding, Severity};

/// The TLSA records of an MX host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum DaneSeen {
    /// Not looked at, none there, or none that DNSSEC vouches for.
    #[default]
    None,
    /// Some are there and none can be used for SMTP (RFC 7672 §3.1.3): as they are written.
    Unusable(Vec<String>),
    /// Some can be used, and TLS did not come about, so that they could not be compared.
    NotCompared,
    /// Some can be used.
    Usable {
        /// All that can be used, as they are written.
        records: Vec<String>,
        /// Whether one of them matches what the MX showed.
        matches: bool,
    },
}

pub(super) fn findings(around: &Around) -> Vec<Finding> {
    let findings = around
        .mx
        .iter()
        .filter_map(|it| finding(&it.host, &it.dane));
    findings.collect()
}

fn finding(host: &str, seen: &DaneSeen) -> Option<Finding> {
    match seen {
        DaneSeen::None | DaneSeen::NotCompared => None,
        DaneSeen::Unusable(records) => {
            let message = "no TLSA record of this MX host can be used for mail: senders that look for DANE take its TLS as unproved";
            let found = Finding::new(Code::MxDaneBroken, host, message);
            let remedy = "write a record 3 1 1 of the MX host's key, or take these away";
            let found = found.with_severity(Severity::Warning);
            Some(found.with_evidence(&records.join("; ")).with_remedy(remedy))
        }
        DaneSeen::Usable { records, matches } => {
            let evidence = records.join("; ");
            Some(if *matches {
                let message = "this MX host has TLSA records with DNSSEC: senders that know DANE go by them, and not by MTA-STS";
                Finding::new(Code::MxDanePresent, host, message).with_evidence(&evidence)
            } else {
                let message = "no TLSA record matches what this MX host shows: senders that know DANE deliver no mail to it";
                let remedy = "write the record of the new key, or give the MX host the old one back; next time the record comes first";
                let found = Finding::new(Code::MxDaneBroken, host, message);
                found.with_evidence(&evidence).with_remedy(remedy)
            })
        }
    }
}
