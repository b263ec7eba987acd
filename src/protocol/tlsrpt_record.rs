//! The `_smtp._tls` TXT record (RFC 8460 §3).

use std::fmt;

use super::issue::{MAX_ISSUES, RecordIssue, RecordIssueAt, RuaError};
use super::txt_fields::{self, Field, after_version, lossy};

const VERSION: &str = "v=TLSRPTv1";
const PREFIX: &str = "v=TLSRPTv1;";

/// A TLS-RPT record, as a reporter understands it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsRptRecord {
    /// Where reports go; one or more.
    pub rua: Vec<Rua>,
}

/// Where a report goes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Rua {
    /// A mail address, as it stands after `mailto:`.
    Mailto(String),
    /// A URL, `https:` included.
    Https(String),
}

/// Why a TXT record set asks for no reports.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsRptRecordError {
    /// None of the TXT records is one.
    #[error("no TXT record begins with v=TLSRPTv1;")]
    None,
    /// More than one, which counts as none.
    #[error("{count} TXT records begin with v=TLSRPTv1;, exactly one is allowed")]
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
pub struct TlsRptRecordReading {
    /// The good addresses.
    pub rua: Vec<Rua>,
    /// What is wrong or odd, by offset.
    pub issues: Vec<RecordIssueAt>,
}

impl TlsRptRecord {
    /// Reads one TXT record, given as its joined text.
    ///
    /// # Errors
    /// The first breach of the grammar, with its offset.
    pub fn parse(text: &[u8]) -> Result<Self, RecordIssueAt> {
        let reading = Self::read(text);
        match reading.issues.into_iter().find(|at| at.issue.is_breach()) {
            Some(breach) => Err(breach),
            None => Ok(Self { rua: reading.rua }),
        }
    }

    /// The record of an RRset: those that do not begin with exactly `v=TLSRPTv1;` are thrown
    /// away before counting (RFC 8460 §3).
    ///
    /// # Errors
    /// Without exactly one record that parses no reports are sent.
    pub fn parse_rrset(texts: &[Vec<u8>]) -> Result<Self, TlsRptRecordError> {
        Ok(Self::parse(Self::select(texts)?)?)
    }

    /// The one TXT record that counts.
    ///
    /// # Errors
    /// None or several begin with `v=TLSRPTv1;`.
    pub fn select(texts: &[Vec<u8>]) -> Result<&[u8], TlsRptRecordError> {
        let mut left = texts.iter().filter(|text| Self::is_candidate(text));
        match (left.next(), left.count()) {
            (Some(only), 0) => Ok(only),
            (None, _) => Err(TlsRptRecordError::None),
            (Some(_), others) => Err(TlsRptRecordError::Several { count: others + 1 }),
        }
    }

    /// Whether the text begins with exactly `v=TLSRPTv1;`.
    pub fn is_candidate(text: &[u8]) -> bool {
        text.starts_with(PREFIX.as_bytes())
    }

    /// The record as text.
    pub fn render(&self) -> String {
        let rua: Vec<String> = self.rua.iter().map(ToString::to_string).collect();
        format!("{PREFIX} rua={};", rua.join(","))
    }

    /// Reads on after each breach, so that one pass finds all of them.
    pub fn read(text: &[u8]) -> TlsRptRecordReading {
        let mut reader = Reader::default();
        let rest = match after_version(text, VERSION) {
            // Alone among the two records this one is thrown away even when it stands alone.
            Some(rest) if Self::is_candidate(text) || rest.is_empty() => rest,
            _ => {
                reader.note(0, RecordIssue::Version { expected: PREFIX });
                reader.rua_seen = true;
                b""
            }
        };
        reader.fields(rest, text.len() - rest.len());
        if !reader.rua_seen {
            reader.note(text.len(), RecordIssue::RuaMissing);
        }
        reader.issues.sort_by_key(|at| at.offset);
        TlsRptRecordReading {
            rua: reader.rua,
            issues: reader.issues,
        }
    }
}

#[derive(Default)]
struct Reader {
    rua: Vec<Rua>,
    rua_seen: bool,
    issues: Vec<RecordIssueAt>,
    /// Whether a breach was noted: the first is the verdict and is never left out.
    broken: bool,
}

impl Reader {
    fn note(&mut self, offset: usize, issue: RecordIssue) {
        let is_verdict = issue.is_breach() && !self.broken;
        self.broken |= issue.is_breach();
        if self.issues.len() < MAX_ISSUES || is_verdict {
            self.issues.push(RecordIssueAt { offset, issue });
        }
    }

    fn fields(&mut self, rest: &[u8], start: usize) {
        let found = txt_fields::split(rest, start);
        for (offset, issue) in found.issues {
            self.broken(offset, issue, &found.fields);
        }
        for field in found.fields {
            if field.name == b"rua" {
                self.rua(field);
            } else if txt_fields::is_extension_value(field.value) {
                let name = lossy(field.name);
                self.note(field.offset, RecordIssue::UnknownField { name });
            } else {
                let at = field.offset + field.name.len() + 1;
                let offset = at + txt_fields::bad_value_offset(field.value);
                self.note(
                    offset,
                    RecordIssue::BadValue {
                        name: lossy(field.name),
                    },
                );
            }
        }
    }

    /// A piece that is no field: right after an `rua` it is most likely what follows a raw `;`.
    fn broken(&mut self, offset: usize, issue: RecordIssue, fields: &[Field<'_>]) {
        let before = fields.iter().rev().find(|field| field.offset < offset);
        let text = match &issue {
            RecordIssue::NoEquals { text } => text.clone(),
            RecordIssue::BadName { name } => name.clone(),
            _ => return self.note(offset, issue),
        };
        if text.starts_with("rua") {
            self.rua_seen = true;
        } else if before.is_some_and(|field| field.name == b"rua") {
            let error = RuaError::NotEncoded;
            return self.note(offset, RecordIssue::RuaInvalid { value: text, error });
        }
        self.note(offset, issue);
    }

    /// `rua=` and a comma list. The grammar permits it more than once.
    fn rua(&mut self, field: Field<'_>) {
        self.rua_seen = true;
        let mut offset = field.offset + b"rua=".len();
        for piece in field.value.split(|byte| *byte == b',') {
            let value = lossy(txt_fields::trim(piece));
            match Rua::parse(&value) {
                Ok(rua) => self.rua.push(rua),
                Err(error) => self.note(offset, RecordIssue::RuaInvalid { value, error }),
            }
            offset += piece.len() + 1;
        }
    }
}

impl Rua {
    /// Reads one address: `mailto:` or `https:`, the scheme in any case (RFC 3986 §3.1).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, RuaError> {
        if text.is_empty() {
            return Err(RuaError::Empty);
        }
        let (scheme, rest) = text.split_once(':').ok_or(RuaError::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "mailto" => {
                check_characters(rest)?;
                let address = rest.split('?').next().unwrap_or_default();
                match address.rsplit_once('@') {
                    Some((local, domain)) if !local.is_empty() && !domain.is_empty() => {
                        Ok(Self::Mailto(rest.to_owned()))
                    }
                    _ => Err(RuaError::MailAddress),
                }
            }
            "https" => {
                check_characters(rest)?;
                let after = rest.strip_prefix("//").ok_or(RuaError::Host)?;
                let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
                let host = authority.rsplit('@').next().unwrap_or_default();
                if host.is_empty() || host.starts_with(':') {
                    return Err(RuaError::Host);
                }
                Ok(Self::Https(format!("https:{rest}")))
            }
            "http" => Err(RuaError::PlainHttp),
            _ => Err(RuaError::Scheme),
        }
    }

    /// The domain that a mail address belongs to; none for a URL.
    pub fn mail_domain(&self) -> Option<&str> {
        match self {
            Self::Mailto(address) => {
                let address = address.split('?').next()?;
                address.rsplit_once('@').map(|(_, domain)| domain)
            }
            Self::Https(_) => None,
        }
    }
}

/// What RFC 3986 allows in a URI, without what RFC 8460 §3 wants encoded.
fn check_characters(text: &str) -> Result<(), RuaError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@$&'()*+=%".contains(&b);
    let mut pieces = text.split('%');
    pieces.next();
    let encoded =
        |piece: &str| piece.len() >= 2 && piece.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if text.bytes().all(allowed) && pieces.all(encoded) {
        Ok(())
    } else {
        Err(RuaError::NotEncoded)
    }
}

impl fmt::Display for Rua {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailto(address) => write!(f, "mailto:{address}"),
            Self::Https(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let name = |at: RecordIssueAt| {
            let debug = format!("{:?}", at.issue);
            debug
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect()
        };
        TlsRptRecord::read(text.as_bytes())
            .issues
            .into_iter()
            .map(name)
            .collect()
    }

    #[test]
    fn the_grammar_of_section_3() {
        for (case, text, issues) in [
            ("mail", "v=TLSRPTv1; rua=mailto:reports@example.org", vec![]),
            (
                "https",
                "v=TLSRPTv1;rua=https://reports.example.org/v1?a=b;",
                vec![],
            ),
            (
                "both",
                "v=TLSRPTv1; rua=mailto:a@example.org , https://example.org/;",
                vec![],
            ),
            (
                "scheme in capitals",
                "v=TLSRPTv1; rua=MAILTO:a@example.org",
                vec![],
            ),
            (
                "rua twice",
                "v=TLSRPTv1; rua=mailto:a@example.org; rua=mailto:b@example.org",
                vec![],
            ),
            (
                "encoded",
                "v=TLSRPTv1; rua=mailto:a%21b@example.org",
                vec![],
            ),
            (
                "extension",
                "v=TLSRPTv1; rua=mailto:a@example.org; x=y",
                vec!["UnknownField"],
            ),
            (
                "version",
                "v=TLSRPT1; rua=mailto:a@example.org",
                vec!["Version"],
            ),
            (
                "space before the semicolon",
                "v=TLSRPTv1 ; rua=mailto:a@example.org",
                vec!["Version"],
            ),
            (
                "version not first",
                "rua=mailto:a@example.org; v=TLSRPTv1",
                vec!["Version"],
            ),
            ("no rua", "v=TLSRPTv1;", vec!["RuaMissing"]),
            ("version alone", "v=TLSRPTv1", vec!["RuaMissing"]),
            ("rua empty", "v=TLSRPTv1; rua=;", vec!["RuaInvalid"]),
            (
                "http",
                "v=TLSRPTv1; rua=http://example.org/",
                vec!["RuaInvalid"],
            ),
            (
                "no scheme",
                "v=TLSRPTv1; rua=a@example.org",
                vec!["RuaInvalid"],
            ),
            ("no host", "v=TLSRPTv1; rua=https:///x", vec!["RuaInvalid"]),
            (
                "no mail domain",
                "v=TLSRPTv1; rua=mailto:a",
                vec!["RuaInvalid"],
            ),
            (
                "raw exclamation mark",
                "v=TLSRPTv1; rua=mailto:a@example.org!10m",
                vec!["RuaInvalid"],
            ),
            (
                "raw comma",
                "v=TLSRPTv1; rua=https://example.org/a,b",
                vec!["RuaInvalid"],
            ),
            (
                "raw semicolon",
                "v=TLSRPTv1; rua=https://example.org/a;b",
                vec!["RuaInvalid"],
            ),
            (
                "space inside",
                "v=TLSRPTv1; rua=mailto:a b@example.org",
                vec!["RuaInvalid"],
            ),
            (
                "bad percent",
                "v=TLSRPTv1; rua=mailto:a%2@example.org",
                vec!["RuaInvalid"],
            ),
            (
                "colon for equals",
                "v=TLSRPTv1; rua:mailto:a@example.org",
                vec!["NoEquals"],
            ),
            (
                "two semicolons",
                "v=TLSRPTv1;; rua=mailto:a@example.org",
                vec!["EmptyField"],
            ),
        ] {
            assert_eq!(names(text), issues, "{case}: {text:?}");
        }
    }

    #[test]
    fn others_are_thrown_away_before_counting() {
        let good = b"v=TLSRPTv1; rua=mailto:a@example.org".to_vec();
        let other = b"v=spf1 -all".to_vec();
        assert_eq!(
            TlsRptRecord::select(std::slice::from_ref(&other)),
            Err(TlsRptRecordError::None)
        );
        assert!(TlsRptRecord::parse_rrset(&[other, good.clone()]).is_ok());
        let two = [good.clone(), good];
        assert_eq!(
            TlsRptRecord::select(&two),
            Err(TlsRptRecordError::Several { count: 2 })
        );
    }
}
