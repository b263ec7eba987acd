//! The `_mta-sts` TXT record (RFC 8461 §3.1).

use std::collections::BTreeSet;

use super::PolicyId;
use super::issue::{MAX_ISSUES, RecordIssue, RecordIssueAt};
use super::txt_fields::{self, Field, after_version, lossy};

/// The version, as it must stand first.
const VERSION: &str = "v=STSv1";
/// What a record must begin with to be looked at beside other TXT records.
const PREFIX: &str = "v=STSv1;";

/// An MTA-STS record, as a sender understands it: its character-strings joined, unknown fields
/// ignored, the first of a repeated field taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StsRecord {
    /// Names the policy that is served now.
    pub id: PolicyId,
}

/// Why a TXT record set announces no policy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StsRecordError {
    /// No TXT record that could be one.
    #[error("no TXT record begins with v=STSv1;")]
    None,
    /// More than one, which counts as none.
    #[error("{count} TXT records begin with v=STSv1;, exactly one is allowed")]
    Several {
        /// How many.
        count: usize,
    },
    /// The one that is there breaks the grammar.
    #[error(transparent)]
    Syntax(#[from] RecordIssueAt),
}

/// A record read to its end, whatever is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StsRecordReading {
    /// The id, where there is a good one.
    pub id: Option<PolicyId>,
    /// What is wrong or odd, by offset.
    pub issues: Vec<RecordIssueAt>,
}

impl StsRecord {
    /// Reads one TXT record, given as its joined text, as a conforming sender does.
    ///
    /// # Errors
    /// The first breach of the grammar, with its offset.
    pub fn parse(text: &[u8]) -> Result<Self, RecordIssueAt> {
        Self::read(text).into_record()
    }

    /// The record of an RRset: the exactly-one rule of RFC 8461 §3.1, then [`Self::parse`].
    ///
    /// # Errors
    /// Without exactly one record that parses there is no (new) policy.
    pub fn parse_rrset(texts: &[Vec<u8>]) -> Result<Self, StsRecordError> {
        Ok(Self::parse(Self::select(texts)?)?)
    }

    /// The one TXT record that counts. Only if several are returned, those that do not begin
    /// with exactly `v=STSv1;` are thrown away (RFC 8461 §3.1).
    ///
    /// # Errors
    /// None or several are left.
    pub fn select(texts: &[Vec<u8>]) -> Result<&[u8], StsRecordError> {
        if let [only] = texts {
            return Ok(only);
        }
        let mut left = texts.iter().filter(|text| Self::is_candidate(text));
        match (left.next(), left.count()) {
            (Some(only), 0) => Ok(only),
            (None, _) => Err(StsRecordError::None),
            (Some(_), others) => Err(StsRecordError::Several { count: others + 1 }),
        }
    }

    /// Whether the text begins with exactly `v=STSv1;`.
    pub fn is_candidate(text: &[u8]) -> bool {
        text.starts_with(PREFIX.as_bytes())
    }

    /// The record that announces `id`, in the one form that every known reader takes:
    /// a final `;`, no space before the first one (erratum 6285).
    pub fn render(id: &PolicyId) -> String {
        format!("{PREFIX} id={id};")
    }

    /// Reads on after each breach, so that one pass finds all of them.
    pub fn read(text: &[u8]) -> StsRecordReading {
        let mut reader = Reader::default();
        match after_version(text, VERSION) {
            Some(rest) => {
                if space_before_semicolon(rest) {
                    reader.note(VERSION.len(), RecordIssue::SpaceAfterVersion);
                }
                reader.fields(text, rest);
                if !reader.id_seen {
                    reader.note(text.len(), RecordIssue::IdMissing);
                }
            }
            None => reader.without_version(text),
        }
        reader.finish()
    }
}

impl StsRecordReading {
    /// The record, or the first breach of the grammar.
    ///
    /// # Errors
    /// The first breach.
    pub fn into_record(self) -> Result<StsRecord, RecordIssueAt> {
        match (
            self.issues.into_iter().find(|at| at.issue.is_breach()),
            self.id,
        ) {
            (None, Some(id)) => Ok(StsRecord { id }),
            (Some(breach), _) => Err(breach),
            (None, None) => Err(RecordIssueAt {
                offset: 0,
                issue: RecordIssue::IdMissing,
            }),
        }
    }
}

#[derive(Default)]
struct Reader<'a> {
    id: Option<PolicyId>,
    id_seen: bool,
    seen: BTreeSet<&'a [u8]>,
    issues: Vec<RecordIssueAt>,
    /// Whether a breach was noted: the first is the verdict and is never left out.
    broken: bool,
}

impl<'a> Reader<'a> {
    fn note(&mut self, offset: usize, issue: RecordIssue) {
        let is_verdict = issue.is_breach() && !self.broken;
        self.broken |= issue.is_breach();
        if self.issues.len() < MAX_ISSUES || is_verdict {
            self.issues.push(RecordIssueAt { offset, issue });
        }
    }

    fn fields(&mut self, text: &[u8], rest: &'a [u8]) {
        let found = txt_fields::split(rest, text.len() - rest.len());
        for (offset, issue) in found.issues {
            // `id:1` and `id 1` are a bad field, and not a missing one as well.
            self.id_seen |= is_meant_as_id(&issue);
            self.note(offset, issue);
        }
        for field in found.fields {
            self.field(text, field);
        }
    }

    fn field(&mut self, text: &[u8], field: Field<'a>) {
        let name = || lossy(field.name);
        if !self.seen.insert(field.name) {
            self.note(field.offset, RecordIssue::Duplicate { name: name() });
            return;
        }
        let value_offset = field.offset + field.name.len() + 1;
        if field.name == b"id" {
            self.id_seen = true;
            self.id = std::str::from_utf8(field.value)
                .ok()
                .and_then(|id| id.parse().ok());
            let end = value_offset + field.value.len();
            if self.id.is_none() {
                let value = lossy(field.value);
                self.note(value_offset, RecordIssue::IdInvalid { value });
            } else if space_before_semicolon(text.get(end..).unwrap_or_default()) {
                self.note(end, RecordIssue::SpaceAfterId);
            }
        } else if txt_fields::is_extension_value(field.value) {
            self.note(field.offset, RecordIssue::UnknownField { name: name() });
        } else {
            let offset = value_offset + txt_fields::bad_value_offset(field.value);
            self.note(offset, RecordIssue::BadValue { name: name() });
        }
    }

    /// The version is wrong; an id that is plainly wrong too is worth telling at once.
    fn without_version(&mut self, text: &'a [u8]) {
        self.note(0, RecordIssue::Version { expected: PREFIX });
        // Semicolons escaped as in a zone file: the id is not what is wrong.
        if text.contains(&b'\\') {
            return;
        }
        let found = txt_fields::split(text, 0);
        if let Some(id) = found.fields.into_iter().find(|field| field.name == b"id") {
            self.field(text, id);
        }
    }

    fn finish(mut self) -> StsRecordReading {
        self.issues.sort_by_key(|at| at.offset);
        StsRecordReading {
            id: self.id,
            issues: self.issues,
        }
    }
}

fn space_before_semicolon(rest: &[u8]) -> bool {
    let trimmed = txt_fields::trim_start(rest);
    trimmed.len() < rest.len() && trimmed.starts_with(b";")
}

fn is_meant_as_id(issue: &RecordIssue) -> bool {
    let text = match issue {
        RecordIssue::NoEquals { text } => text,
        RecordIssue::BadName { name } => name,
        _ => return false,
    };
    text.strip_prefix("id")
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let reading = StsRecord::read(text.as_bytes());
        let name = |at: RecordIssueAt| {
            let debug = format!("{:?}", at.issue);
            let name: String = debug
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            format!("{name}@{}", at.offset)
        };
        reading.issues.into_iter().map(name).collect()
    }

    #[test]
    fn the_grammar_of_section_3_1() {
        let long = format!("v=STSv1; id={};", "a".repeat(33));
        for (case, text, valid, issues) in [
            ("canonical", "v=STSv1; id=20160831085700Z;", true, vec![]),
            ("no final semicolon", "v=STSv1; id=1", true, vec![]),
            ("no space", "v=STSv1;id=1;", true, vec![]),
            ("tabs", "v=STSv1;\tid=1;\t", true, vec![]),
            (
                "extension",
                "v=STSv1; id=1; a_b-c.d=x:y",
                true,
                vec!["UnknownField@15"],
            ),
            (
                "extension before id",
                "v=STSv1; x=y; id=1;",
                true,
                vec!["UnknownField@9"],
            ),
            (
                "space before the first semicolon",
                "v=STSv1 ; id=1;",
                true,
                vec!["SpaceAfterVersion@7"],
            ),
            (
                "space after the id",
                "v=STSv1; id=1 ;",
                true,
                vec!["SpaceAfterId@13"],
            ),
            (
                "id twice",
                "v=STSv1; id=1; id=-;",
                true,
                vec!["Duplicate@15"],
            ),
            (
                "first id bad",
                "v=STSv1; id=-; id=1;",
                false,
                vec!["IdInvalid@12", "Duplicate@15"],
            ),
            ("id too long", &long, false, vec!["IdInvalid@12"]),
            ("id empty", "v=STSv1; id=;", false, vec!["IdInvalid@12"]),
            (
                "id with a hyphen",
                "v=STSv1; id=2024-01-01;",
                false,
                vec!["IdInvalid@12"],
            ),
            (
                "id in capitals",
                "v=STSv1; ID=1;",
                false,
                vec!["UnknownField@9", "IdMissing@14"],
            ),
            (
                "id with a colon",
                "v=STSv1; id:1;",
                false,
                vec!["NoEquals@9"],
            ),
            (
                "space around equals",
                "v=STSv1; id = 1;",
                false,
                vec!["BadName@9"],
            ),
            ("version alone", "v=STSv1", false, vec!["IdMissing@7"]),
            (
                "version and semicolon",
                "v=STSv1;",
                false,
                vec!["IdMissing@8"],
            ),
            (
                "version of another spelling",
                "v=STS1; id=1;",
                false,
                vec!["Version@0"],
            ),
            (
                "version in lower case",
                "v=stsv1; id=1;",
                false,
                vec!["Version@0"],
            ),
            (
                "version not first",
                "id=1; v=STSv1;",
                false,
                vec!["Version@0"],
            ),
            (
                "longer version",
                "v=STSv10; id=1;",
                false,
                vec!["Version@0"],
            ),
            (
                "version without semicolon",
                "v=STSv1 id=1;",
                false,
                vec!["Version@0"],
            ),
            (
                "white space at the end of the version",
                "v=STSv1 ",
                false,
                vec!["Version@0"],
            ),
            ("leading space", " v=STSv1; id=1;", false, vec!["Version@0"]),
            (
                "both wrong",
                "v=STS1; id=a-b;",
                false,
                vec!["Version@0", "IdInvalid@11"],
            ),
            (
                "two semicolons",
                "v=STSv1;; id=1;",
                false,
                vec!["EmptyField@8"],
            ),
            (
                "two final semicolons",
                "v=STSv1; id=1;;",
                false,
                vec!["EmptyField@14"],
            ),
            (
                "final space",
                "v=STSv1; id=1 ",
                false,
                vec!["FinalSpace@13"],
            ),
            (
                "extension without a value",
                "v=STSv1; id=1; a=;",
                false,
                vec!["BadValue@17"],
            ),
            (
                "extension with equals",
                "v=STSv1; id=1; a=b=c;",
                false,
                vec!["BadValue@18"],
            ),
            (
                "extension name",
                "v=STSv1; id=1; _a=b;",
                false,
                vec!["BadName@15"],
            ),
            ("not ASCII", "v=STSv1; id=é;", false, vec!["IdInvalid@12"]),
            ("empty", "", false, vec!["Version@0"]),
        ] {
            assert_eq!(names(text), issues, "{case}: {text:?}");
            assert_eq!(
                StsRecord::parse(text.as_bytes()).is_ok(),
                valid,
                "{case}: {text:?}"
            );
        }
    }

    #[test]
    fn exactly_one_record_counts() {
        let good = "v=STSv1; id=1;";
        let spf = "v=spf1 -all";
        let spaced = "v=STSv1 ; id=1;";
        for (case, texts, expected) in [
            ("none", vec![], Err(StsRecordError::None)),
            ("one", vec![good], Ok(good)),
            (
                "one that is something else is left to the parser",
                vec![spf],
                Ok(spf),
            ),
            ("one beside something else", vec![spf, good], Ok(good)),
            (
                "two",
                vec![good, good],
                Err(StsRecordError::Several { count: 2 }),
            ),
            (
                "a space before the semicolon, alone",
                vec![spaced],
                Ok(spaced),
            ),
            (
                "a space before the semicolon, in company",
                vec![spaced, spf],
                Err(StsRecordError::None),
            ),
        ] {
            let texts: Vec<Vec<u8>> = texts
                .into_iter()
                .map(|text| text.as_bytes().to_vec())
                .collect();
            let expected = expected.map(str::as_bytes);
            assert_eq!(StsRecord::select(&texts), expected, "{case}");
        }
    }
}
