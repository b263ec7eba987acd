//! An MX host whose certificate is good only for those who say which host they want.

use super::{DomainSeen, MxSeen, SmtpSeen, TlsFault, fault_words};
use crate::diagnosis::{Code, Finding};
use crate::protocol::HostName;

pub(super) fn findings(seen: &DomainSeen) -> Vec<Finding> {
    let MxSeen::Hosts(hosts) = &seen.mx else {
        return Vec::new();
    };
    let is_good = |name: &str| {
        hosts.iter().any(|host| {
            host.host == name && matches!(&host.smtp, SmtpSeen::Tls(tls) if tls.faults.is_empty())
        })
    };
    let findings = seen.around.mx.iter().filter(|more| is_good(&more.host));
    let findings =
        findings.filter_map(|more| finding(&more.host, more.without_sni.as_ref()?.faults.first()?));
    findings.collect()
}

fn finding(host: &str, fault: &TlsFault) -> Option<Finding> {
    let (words, evidence) = fault_words(fault, &HostName::parse_any_case(host).ok()?);
    let evidence = evidence.map_or_else(String::new, |it| format!(" ({it})"));
    let message = "the certificate is good only for senders that say which host they want (SNI): Postfix says so only where it is told to";
    Some(
        Finding::new(Code::MxTlsNeedsSni, host, message)
            .with_evidence(&format!("without SNI: {words}{evidence}"))
            .with_remedy("make the certificate of this MX host the one that is shown by default"),
    )
}
