//! The `_mta-sts` TXT record set (RFC 8461 §3.1).

use crate::diagnosis::readers::Quirk;
use crate::diagnosis::text::quote;
use crate::diagnosis::{Code, Finding};
use crate::protocol::{Domain, RecordIssue, RecordIssueAt, StsRecord};

/// What is wrong or odd with the TXT records at `_mta-sts.<domain>`, each given as its joined
/// text. Whether the RFC is satisfied is told by [`StsRecord::parse_rrset`].
pub fn lint_record(texts: &[Vec<u8>], domain: Option<&Domain>) -> Vec<Finding> {
    let subject = domain.map_or_else(|| "_mta-sts".to_owned(), Domain::sts_record_name);
    let lint = RecordLint { subject };
    match StsRecord::select(texts) {
        Ok(chosen) if texts.len() > 1 => {
            let mut findings = lint.one(chosen);
            findings.extend(lint.unrelated(texts));
            findings
        }
        Ok(only) if is_meant(only) => lint.one(only),
        Ok(_) | Err(_) if texts.is_empty() => vec![lint.missing()],
        Ok(_) => vec![lint.not_sts(texts)],
        Err(_) => lint.none_or_several(texts),
    }
}

struct RecordLint {
    subject: String,
}

impl RecordLint {
    fn finding(&self, code: Code, message: &str) -> Finding {
        Finding::new(code, &self.subject, message)
    }

    fn missing(&self) -> Finding {
        self.finding(
            Code::RecordMissing,
            "there is no TXT record, so no sender looks for a policy",
        )
        .with_remedy("publish a TXT record such as v=STSv1; id=20260101000000;")
    }

    fn not_sts(&self, texts: &[Vec<u8>]) -> Finding {
        let message = "none of the TXT records is an MTA-STS record; a wildcard TXT, or the target of a CNAME pasted as text, looks so";
        self.finding(Code::RecordNotSts, message)
            .with_evidence(&all(texts))
            .with_remedy(
                "publish a TXT record such as v=STSv1; id=20260101000000; at exactly this name",
            )
    }

    fn none_or_several(&self, texts: &[Vec<u8>]) -> Vec<Finding> {
        let candidates: Vec<_> = texts
            .iter()
            .filter(|text| StsRecord::is_candidate(text))
            .collect();
        if candidates.len() > 1 {
            let message = format!(
                "{} TXT records begin with v=STSv1;, and senders take that for no record at all",
                candidates.len()
            );
            let several = self
                .finding(Code::RecordMultiple, &message)
                .with_evidence(&all(candidates.iter().copied()))
                .with_remedy(
                    "delete all but the one whose id belongs to the policy that is served",
                );
            return std::iter::once(several)
                .chain(candidates.into_iter().flat_map(|text| self.one(text)))
                .chain(self.unrelated(texts))
                .collect();
        }
        let meant: Vec<_> = texts.iter().filter(|text| is_meant(text)).collect();
        if meant.is_empty() {
            return vec![self.not_sts(texts)];
        }
        // In company a record counts only if it begins with exactly v=STSv1; (even one that
        // would be lawful alone).
        meant
            .iter()
            .map(|text| self.version(text))
            .chain(self.unrelated(texts))
            .collect()
    }

    fn one(&self, text: &[u8]) -> Vec<Finding> {
        let issues = StsRecord::read(text).issues;
        issues.iter().map(|at| self.issue(text, at)).collect()
    }

    fn issue(&self, text: &[u8], at: &RecordIssueAt) -> Finding {
        let place = format!("the record {} (at offset {})", at.issue, at.offset);
        let finding = |code| self.finding(code, &place).with_evidence(&quote(text));
        let incompatible = |quirk: Quirk| {
            let message = format!("{place}: lawful, but {} read it otherwise", quirk.names());
            self.finding(Code::RecordReaderIncompatible, &message)
                .with_evidence(&quote(text))
        };
        match &at.issue {
            RecordIssue::Version { .. } => self.version(text),
            RecordIssue::IdMissing => {
                let id = "add id= and 1 to 32 letters and digits, such as id=20260101000000;";
                finding(Code::RecordIdMissing).with_remedy(id)
            }
            RecordIssue::IdInvalid { value } => {
                finding(Code::RecordIdInvalid).with_remedy(&id_remedy(value))
            }
            RecordIssue::Duplicate { name } => finding(Code::RecordFieldDuplicate)
                .with_remedy(&format!("keep one {name}; readers disagree which counts")),
            RecordIssue::UnknownField { name } if name.eq_ignore_ascii_case("id") => {
                incompatible(Quirk::UnknownField).with_remedy("write id= in lower case")
            }
            RecordIssue::UnknownField { name } => incompatible(Quirk::UnknownField)
                .with_remedy(&format!("leave {name} out; the record has v and id only")),
            RecordIssue::SpaceAfterVersion => {
                let message = format!(
                    "{place}: lawful while it stands alone, thrown away as soon as another TXT record stands beside it"
                );
                self.finding(Code::RecordReaderIncompatible, &message)
                    .with_evidence(&quote(text))
                    .with_remedy("write v=STSv1; without white space before the semicolon")
            }
            RecordIssue::SpaceAfterId => incompatible(Quirk::SpaceAfterId)
                .with_remedy("write no white space between the id and its semicolon"),
            _ => finding(Code::RecordSyntax)
                .with_remedy("write it in the form v=STSv1; id=20260101000000;"),
        }
    }

    fn version(&self, text: &[u8]) -> Finding {
        let hint = if text.contains(&b'\\') {
            ": the backslash before a semicolon belongs in a zone file, not in the record itself"
        } else if text.starts_with(b"\"") {
            ": the quotes belong in a zone file, not in the record itself"
        } else {
            ""
        };
        let message = format!("the record does not begin with exactly v=STSv1;{hint}");
        self.finding(Code::RecordVersion, &message)
            .with_evidence(&quote(text))
            .with_remedy("begin it with v=STSv1; (this spelling, nothing before it, no space before the semicolon)")
    }

    fn unrelated(&self, texts: &[Vec<u8>]) -> Option<Finding> {
        let others: Vec<_> = texts
            .iter()
            .filter(|text| !StsRecord::is_candidate(text))
            .filter(|text| {
                !is_meant(text) || texts.iter().any(|text| StsRecord::is_candidate(text))
            })
            .collect();
        if others.is_empty() {
            return None;
        }
        let message = "other TXT records stand beside it: senders discard them, some tools do not";
        let finding = self.finding(Code::RecordUnrelatedTxt, message);
        Some(
            finding
                .with_evidence(&all(others))
                .with_remedy("delete them unless something needs them"),
        )
    }
}

fn id_remedy(value: &str) -> String {
    let kept: String = value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(32)
        .collect();
    if kept.is_empty() {
        "write 1 to 32 letters and digits, such as id=20260101000000;".to_owned()
    } else {
        format!("write letters and digits only, 32 at most, such as id={kept};")
    }
}

/// Whether somebody meant the text as an MTA-STS record.
fn is_meant(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_lowercase();
    text.contains("v=sts") || text.contains("stsv1") || text.starts_with("v=mta")
}

/// The records as a list; a hostile answer with thousands of them is cut.
fn all<'a>(texts: impl IntoIterator<Item = &'a Vec<u8>>) -> String {
    let mut texts = texts.into_iter();
    let mut shown: Vec<_> = texts.by_ref().take(8).map(|text| quote(text)).collect();
    match texts.count() {
        0 => {}
        more => shown.push(format!("… and {more} more")),
    }
    shown.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_set_is_judged() {
        let good = "v=STSv1; id=1;";
        for (case, texts, expected) in [
            ("good", vec![good], vec![]),
            ("missing", vec![], vec!["record-missing"]),
            ("SPF", vec!["v=spf1 -all"], vec!["record-not-sts"]),
            (
                "a CNAME target as text",
                vec!["mta-sts.example.net."],
                vec!["record-not-sts"],
            ),
            (
                "two others",
                vec!["v=spf1 -all", "x"],
                vec!["record-not-sts"],
            ),
            ("two", vec![good, good], vec!["record-multiple"]),
            (
                "two, one bad",
                vec![good, "v=STSv1; id=-"],
                vec!["record-multiple", "record-id-invalid"],
            ),
            (
                "company",
                vec![good, "v=spf1 -all"],
                vec!["record-unrelated-txt"],
            ),
            (
                "misspelt company",
                vec![good, "v=STS1; id=1"],
                vec!["record-unrelated-txt"],
            ),
            (
                "all misspelt",
                vec!["v=STS1; id=1", "x"],
                vec!["record-version", "record-unrelated-txt"],
            ),
            (
                "space in company",
                vec!["v=STSv1 ; id=1", "x"],
                vec!["record-version", "record-unrelated-txt"],
            ),
            (
                "space alone",
                vec!["v=STSv1 ; id=1"],
                vec!["record-reader-incompatible"],
            ),
            ("version", vec!["v=stsv1; id=1"], vec!["record-version"]),
            ("quoted", vec!["\"v=STSv1; id=1;\""], vec!["record-version"]),
            ("no id", vec!["v=STSv1;"], vec!["record-id-missing"]),
            (
                "bad id",
                vec!["v=STSv1; id=2024-01-01"],
                vec!["record-id-invalid"],
            ),
            (
                "id twice",
                vec!["v=STSv1; id=1; id=2"],
                vec!["record-field-duplicate"],
            ),
            (
                "unknown field",
                vec!["v=STSv1; id=1; x=y"],
                vec!["record-reader-incompatible"],
            ),
            ("syntax", vec!["v=STSv1;; id=1"], vec!["record-syntax"]),
        ] {
            let texts: Vec<Vec<u8>> = texts
                .into_iter()
                .map(|text| text.as_bytes().to_vec())
                .collect();
            let codes: Vec<_> = lint_record(&texts, None)
                .iter()
                .map(|f| f.code.name())
                .collect();
            assert_eq!(codes, expected, "{case}");
        }
    }
}
