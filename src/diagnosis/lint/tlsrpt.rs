//! The `_smtp._tls` TXT record set (RFC 8460 §3).

use crate::diagnosis::text::quote;
use crate::diagnosis::{Code, Finding};
use crate::protocol::{Domain, RecordIssue, RecordIssueAt, Rua, TlsRptRecord, TlsRptRecordError};

const EXAMPLE: &str = "v=TLSRPTv1; rua=mailto:tls-reports@example.com";

/// What is wrong or odd with the TXT records at `_smtp._tls.<domain>`, each given as its joined
/// text. With the domain it is also told whether reports stay inside it. Whether the RFC is
/// satisfied is told by [`TlsRptRecord::parse_rrset`].
pub fn lint_tlsrpt_record(texts: &[Vec<u8>], domain: Option<&Domain>) -> Vec<Finding> {
    let subject = domain.map_or_else(|| "_smtp._tls".to_owned(), Domain::tlsrpt_record_name);
    let finding = |code, message: &str| Finding::new(code, &subject, message);
    match TlsRptRecord::select(texts) {
        Ok(chosen) => {
            let reading = TlsRptRecord::read(chosen);
            let mut findings: Vec<_> = reading
                .issues
                .iter()
                .filter_map(|at| issue(&subject, chosen, at))
                .collect();
            let inside = domain.and_then(|domain| self_only(&subject, &reading.rua, domain));
            findings.extend(inside.map(|found| found.with_evidence(&quote(chosen))));
            findings
        }
        Err(TlsRptRecordError::Several { count }) => {
            let message = format!(
                "{count} TXT records begin with v=TLSRPTv1;, and reporters take that for none"
            );
            vec![finding(Code::TlsrptMultiple, &message).with_remedy("put all addresses in the rua of one record, parted by commas, and delete the others")]
        }
        Err(_) => {
            let meant: Vec<_> = texts.iter().filter(|text| is_meant(text)).collect();
            if meant.is_empty() {
                let message = "there is no TLS-RPT record, so failures of delivery stay unseen";
                let remedy = format!("publish a TXT record such as {EXAMPLE}");
                return vec![finding(Code::TlsrptMissing, message).with_remedy(&remedy)];
            }
            meant.iter().map(|text| version(&subject, text)).collect()
        }
    }
}

fn version(subject: &str, text: &[u8]) -> Finding {
    let message = "the record does not begin with exactly v=TLSRPTv1; and is thrown away";
    Finding::new(Code::TlsrptVersion, subject, message)
        .with_evidence(&quote(text))
        .with_remedy("begin it with v=TLSRPTv1; (this spelling, nothing before it, no space before the semicolon)")
}

fn issue(subject: &str, text: &[u8], at: &RecordIssueAt) -> Option<Finding> {
    let place = format!("the record {} (at offset {})", at.issue, at.offset);
    let finding = |code, remedy: &str| {
        let finding = Finding::new(code, subject, &place);
        Some(finding.with_evidence(&quote(text)).with_remedy(remedy))
    };
    match &at.issue {
        // Unknown fields are ignored by every known reporter, and a repeated rua is lawful.
        issue if !issue.is_breach() => None,
        RecordIssue::Version { .. } => Some(version(subject, text)),
        RecordIssue::RuaMissing => finding(
            Code::TlsrptRuaMissing,
            &format!("add an address, as in {EXAMPLE}"),
        ),
        RecordIssue::RuaInvalid { .. } => finding(
            Code::TlsrptRuaInvalid,
            "write mailto: and a mail address, or an https: URL; several are parted by commas",
        ),
        _ => finding(
            Code::TlsrptSyntax,
            &format!("write it in the form {EXAMPLE}"),
        ),
    }
}

/// Whether the reports about a domain's mail need that mail to work.
pub(super) fn self_only(subject: &str, rua: &[Rua], domain: &Domain) -> Option<Finding> {
    stays_inside(rua, domain).then(|| {
        let message =
            format!("reports go only to mail inside {domain}: when its mail fails, so may they");
        Finding::new(Code::TlsrptRuaSelf, subject, &message)
            .with_remedy("add an https: address, or a mail address of another domain")
    })
}

fn stays_inside(rua: &[Rua], domain: &Domain) -> bool {
    let inside = |mail: &str| {
        let mail = mail.to_ascii_lowercase();
        let below = mail.strip_suffix(domain.as_str());
        below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !rua.is_empty() && rua.iter().all(|rua| rua.mail_domain().is_some_and(inside))
}

/// Whether somebody meant the text as a TLS-RPT record.
fn is_meant(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_lowercase();
    text.contains("tlsrpt") || text.contains("rua=") && !text.contains("v=dmarc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_set_is_judged() {
        let good = "v=TLSRPTv1; rua=mailto:a@example.net";
        for (case, texts, expected) in [
            ("good", vec![good], vec![]),
            ("missing", vec![], vec!["tlsrpt-missing"]),
            (
                "something else",
                vec!["v=spf1 -all"],
                vec!["tlsrpt-missing"],
            ),
            (
                "DMARC",
                vec!["v=DMARC1; rua=mailto:a@example.net"],
                vec!["tlsrpt-missing"],
            ),
            ("two", vec![good, good], vec!["tlsrpt-multiple"]),
            ("company", vec![good, "v=spf1 -all"], vec![]),
            (
                "version",
                vec!["v=TLSRPT1; rua=mailto:a@example.net"],
                vec!["tlsrpt-version"],
            ),
            (
                "space",
                vec!["v=TLSRPTv1 ; rua=mailto:a@example.net"],
                vec!["tlsrpt-version"],
            ),
            ("no rua", vec!["v=TLSRPTv1;"], vec!["tlsrpt-rua-missing"]),
            (
                "http",
                vec!["v=TLSRPTv1; rua=http://example.net/"],
                vec!["tlsrpt-rua-invalid"],
            ),
            (
                "syntax",
                vec!["v=TLSRPTv1;; rua=mailto:a@example.net"],
                vec!["tlsrpt-syntax"],
            ),
            (
                "self",
                vec!["v=TLSRPTv1; rua=mailto:a@example.org"],
                vec!["tlsrpt-rua-self"],
            ),
            (
                "self below",
                vec!["v=TLSRPTv1; rua=mailto:a@x.Example.org"],
                vec!["tlsrpt-rua-self"],
            ),
            (
                "self and elsewhere",
                vec!["v=TLSRPTv1; rua=mailto:a@example.org,https://example.org/"],
                vec![],
            ),
            (
                "another that ends alike",
                vec!["v=TLSRPTv1; rua=mailto:a@badexample.org"],
                vec![],
            ),
        ] {
            let domain = Domain::parse("example.org").unwrap();
            let texts: Vec<Vec<u8>> = texts
                .into_iter()
                .map(|text| text.as_bytes().to_vec())
                .collect();
            let findings = lint_tlsrpt_record(&texts, Some(&domain));
            let codes: Vec<_> = findings.iter().map(|finding| finding.code.name()).collect();
            assert_eq!(codes, expected, "{case}");
        }
    }
}
