//! The parser of policy bodies: one pass that never stops at a breach (RFC 8461 §3.2).

use std::collections::BTreeSet;

use super::txt_fields::{is_name, lossy, trim, trim_start};
use super::{
    HostNameError, Mode, MxPattern, MxPatternError, PolicyIssue, PolicyIssueAt, PolicyReading,
};

/// Issues that are kept of one body: a hostile one of nothing but line ends has no more.
const MAX_ISSUES: usize = 1000;
const BOM: &[u8] = b"\xef\xbb\xbf";
const KEYS: [&str; 4] = ["version", "mode", "max_age", "mx"];

pub(super) fn read(body: &[u8]) -> PolicyReading {
    let mut reader = Reader::default();
    let body = match body.strip_prefix(BOM) {
        Some(rest) => {
            reader.note(1, PolicyIssue::ByteOrderMark);
            rest
        }
        None => body,
    };
    for line in lines(body) {
        if line.lone_cr {
            reader.note(line.number, PolicyIssue::LoneCr);
        }
        reader.line(line.number, line.text);
    }
    reader.finish()
}

struct Line<'a> {
    number: usize,
    text: &'a [u8],
    /// A CR that no LF follows directly ends the line.
    lone_cr: bool,
}

/// Cuts at LF and CRLF, and leniently at lone CRs as well.
fn lines(body: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut rest = body;
    let mut number = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        number += 1;
        let end = rest
            .iter()
            .position(|b| matches!(b, b'\r' | b'\n'))
            .unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        let carriage_returns = after.iter().take_while(|b| **b == b'\r').count();
        let line_feed = after.get(carriage_returns) == Some(&b'\n');
        // `\r\r\n` is one end of line with a CR too many, as a text-mode copy makes it.
        let (ends, lone_cr) = match (carriage_returns, line_feed) {
            (n, true) => (n + 1, n > 1),
            (0, false) => (0, false),
            (_, false) => (1, true),
        };
        rest = after.get(ends..).unwrap_or_default();
        Some(Line {
            number,
            text,
            lone_cr,
        })
    })
}

/// Some of [`KEYS`]: each good line asks, so there is no tree.
#[derive(Default)]
struct Keys(Vec<&'static str>);

impl Keys {
    /// Whether it was not there yet.
    fn insert(&mut self, key: &'static str) -> bool {
        let new = !self.0.contains(&key);
        if new {
            self.0.push(key);
        }
        new
    }
}

#[derive(Default)]
struct Reader {
    reading: PolicyReading,
    /// Known keys that were meant, well-formed or not: what is misspelt is not missing as well.
    meant: Keys,
    /// Known keys whose first value was taken.
    taken: Keys,
    /// Unknown keys that were seen.
    seen: BTreeSet<Vec<u8>>,
    /// Whether a breach was noted.
    broken: bool,
}

impl Reader {
    fn note(&mut self, line: usize, issue: PolicyIssue) {
        let issues = &mut self.reading.issues;
        // The first breach is the verdict and is never left out.
        let is_verdict = issue.is_breach() && !self.broken;
        self.broken |= issue.is_breach();
        if issues.len() < MAX_ISSUES || is_verdict {
            issues.push(PolicyIssueAt {
                line: Some(line),
                issue,
            });
        }
    }

    fn line(&mut self, line: usize, text: &[u8]) {
        let start = trim_start(text);
        if start.is_empty() {
            return self.note(line, PolicyIssue::BlankLine);
        }
        if start.starts_with(b"#") || start.starts_with(b"//") {
            return self.note(
                line,
                PolicyIssue::Comment {
                    text: lossy(trim(text)),
                },
            );
        }
        if start.len() < text.len() {
            self.note(line, PolicyIssue::LeadingSpace);
        }
        let Some(colon) = start.iter().position(|b| *b == b':') else {
            if let Some(key) = KEYS.iter().find(|key| begins_with_word(start, key)) {
                self.meant.insert(key);
            }
            return self.note(
                line,
                PolicyIssue::NoColon {
                    text: lossy(trim(start)),
                },
            );
        };
        let (written, value) = start.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        let key = trim(written);
        if !is_name(key) {
            return self.note(line, PolicyIssue::BadKey { key: lossy(key) });
        }
        if key.len() < written.len() {
            self.note(line, PolicyIssue::SpaceBeforeColon { key: lossy(key) });
        }
        match KEYS.iter().find(|known| known.as_bytes() == key) {
            Some(known) => self.known(line, known, &String::from_utf8_lossy(trim(value))),
            None => self.unknown(line, key, trim(value)),
        }
    }

    fn known(&mut self, line: usize, key: &'static str, value: &str) {
        // Another field on the line would have a colon.
        if !value.contains(':') {
            return self.field(line, key, value);
        }
        let fields = run_together(key, value);
        if fields.len() > 1 {
            let texts = fields
                .iter()
                .map(|(key, value)| format!("{key}: {value}"))
                .collect();
            self.note(line, PolicyIssue::RunTogether { fields: texts });
        }
        for (key, value) in fields {
            self.field(line, key, value);
        }
    }

    fn field(&mut self, line: usize, key: &'static str, value: &str) {
        self.meant.insert(key);
        if key != "mx" && !self.taken.insert(key) {
            let key = key.to_owned();
            return self.note(line, PolicyIssue::DuplicateKey { key });
        }
        if let Some(issue) = self.value(line, key, value) {
            self.note(line, issue);
        }
    }

    fn value(&mut self, line: usize, key: &str, value: &str) -> Option<PolicyIssue> {
        let text = || value.to_owned();
        match key {
            "version" => (value != "STSv1").then(|| PolicyIssue::Version { value: text() }),
            "mode" => {
                self.reading.mode = value.parse().ok().map(|mode| (line, mode));
                let good = self.reading.mode.is_some();
                (!good).then(|| PolicyIssue::Mode { value: text() })
            }
            "max_age" => match value.parse() {
                Ok(max_age) => {
                    self.reading.max_age = Some((line, max_age));
                    None
                }
                Err(error) => {
                    let value = text();
                    Some(PolicyIssue::MaxAge { value, error })
                }
            },
            _ => match MxPattern::parse_any_case(value) {
                Ok(pattern) => {
                    self.reading.mx.push((line, pattern));
                    None
                }
                Err(error) => {
                    let (lawful, value) = (is_lawful_mx(value, &error), text());
                    Some(match lawful {
                        true => PolicyIssue::MxUnusable { value, error },
                        false => PolicyIssue::Mx { value, error },
                    })
                }
            },
        }
    }

    fn unknown(&mut self, line: usize, key: &[u8], value: &[u8]) {
        let name = lossy(key);
        let issue = match std::str::from_utf8(value) {
            _ if value.is_empty() => PolicyIssue::EmptyValue { key: name },
            // The ABNF excludes CTLs, which are the ASCII ones (RFC 5234 §B.1).
            Ok(text) if !text.bytes().any(|b| b.is_ascii_control()) => {
                if self.seen.insert(key.to_vec()) {
                    PolicyIssue::UnknownKey {
                        key: name,
                        value: text.to_owned(),
                    }
                } else {
                    PolicyIssue::DuplicateKey { key: name }
                }
            }
            _ => PolicyIssue::BadValue { key: name },
        };
        self.note(line, issue);
    }

    fn finish(mut self) -> PolicyReading {
        let mode = self.reading.mode.map(|(_, mode)| mode);
        let needs_mx = mode.filter(|mode| *mode != Mode::None);
        let missing = [
            ("version", Some(PolicyIssue::VersionMissing)),
            ("mode", Some(PolicyIssue::ModeMissing)),
            ("max_age", Some(PolicyIssue::MaxAgeMissing)),
            ("mx", needs_mx.map(|mode| PolicyIssue::MxMissing { mode })),
        ];
        for (key, issue) in missing {
            if let Some(issue) = issue.filter(|_| !self.meant.0.contains(&key)) {
                self.reading
                    .issues
                    .push(PolicyIssueAt { line: None, issue });
            }
        }
        self.reading
    }
}

fn begins_with_word(text: &[u8], word: &str) -> bool {
    text.strip_prefix(word.as_bytes())
        .is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphanumeric))
}

/// The field itself, and those that follow it on the same line without an end of line between.
/// A value of a known key never has a colon, so a known key with one starts a field.
fn run_together<'a>(key: &'static str, value: &'a str) -> Vec<(&'static str, &'a str)> {
    let mut fields = Vec::new();
    let mut current = (key, value);
    while let Some((at, length, next)) = next_field(current.1) {
        let before = current.1.get(..at).unwrap_or_default();
        let after = current.1.get(at + length..).unwrap_or_default();
        fields.push((current.0, trim_separators(before)));
        current = (next, trim_separators(after));
    }
    fields.push(current);
    fields
}

/// Offset and length of the first `key:` of a known key in the text.
fn next_field(text: &str) -> Option<(usize, usize, &'static str)> {
    let start_of = |key: &'static str| {
        text.match_indices(key).find_map(|(at, _)| {
            let rest = text.get(at + key.len()..)?;
            let spaces = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            let parted = at == 0 || text.get(..at)?.ends_with([' ', '\t', ';', ',']);
            // A host name may well end in "mx" before a port.
            let field = rest.get(spaces..)?.starts_with(':') && (parted || key != "mx");
            field.then_some((at, key.len() + spaces + 1, key))
        })
    };
    KEYS.into_iter()
        .filter_map(start_of)
        .min_by_key(|(at, ..)| *at)
}

fn trim_separators(text: &str) -> &str {
    text.trim_matches([' ', '\t', ';', ','])
}

/// Whether `["*."] Domain` (RFC 5321 §4.1.2) lets the value pass although it is no pattern.
fn is_lawful_mx(value: &str, error: &MxPatternError) -> bool {
    let host = value.strip_prefix("*.").unwrap_or(value);
    let label = |label: &str| {
        let alphanumeric = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        alphanumeric(label.bytes().next())
            && alphanumeric(label.bytes().last())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let a_label_or_length = matches!(
        error,
        MxPatternError::HostName(
            HostNameError::BadALabel { .. }
                | HostNameError::TooLong { .. }
                | HostNameError::BadLabel { .. }
        )
    );
    !a_label_or_length && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{MaxAge, Policy};

    const GOOD: &str = "version: STSv1\nmode: enforce\nmx: mail.example.org\nmax_age: 86400\n";

    fn names(body: &[u8]) -> Vec<String> {
        let name = |at: PolicyIssueAt| {
            let debug = format!("{:?}", at.issue);
            let name: String = debug
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            at.line
                .map_or(name.clone(), |line| format!("{name}@{line}"))
        };
        Policy::read(body).issues.into_iter().map(name).collect()
    }

    #[test]
    fn a_policy_is_read() {
        let expected = Policy {
            mode: Mode::Enforce,
            max_age: MaxAge::DAY,
            mx: vec![MxPattern::parse("mail.example.org").unwrap()],
        };
        for (case, body) in [
            ("LF", GOOD.to_owned()),
            ("CRLF", GOOD.replace('\n', "\r\n")),
            ("no final end of line", GOOD.trim_end().to_owned()),
            ("white space at the ends", GOOD.replace('\n', " \t\n")),
            ("no white space after the colon", GOOD.replace(": ", ":")),
            ("tab after the colon", GOOD.replace(": ", ":\t ")),
            ("capitals in mx", GOOD.replace("mail.e", "MAIL.E")),
            (
                "another order",
                "mx: mail.example.org\nmax_age: 86400\nmode: enforce\nversion: STSv1".to_owned(),
            ),
            (
                "duplicates and unknown keys",
                format!("{GOOD}mode: nonsense\nx.y-z_1: ü : 2\nmax_age: 1\n"),
            ),
            (
                "an address among the patterns",
                format!("{GOOD}mx: 192.0.2.1\n"),
            ),
        ] {
            assert_eq!(
                Policy::parse(body.as_bytes()),
                Ok(expected.clone()),
                "{case}: {body:?}"
            );
        }
    }

    #[test]
    fn mode_none_needs_no_mx() {
        assert!(Policy::parse(b"version: STSv1\nmode: none\nmax_age: 86400\n").is_ok());
    }

    #[test]
    fn every_breach_is_found_in_one_pass() {
        let with = |line: &str| {
            format!("version: STSv1\n{line}\nmode: enforce\nmx: mail.example.org\nmax_age: 86400\n")
        };
        for (case, body, issues) in [
            (
                "empty",
                String::new(),
                vec!["VersionMissing", "ModeMissing", "MaxAgeMissing"],
            ),
            ("blank line", with(""), vec!["BlankLine@2"]),
            ("line of white space", with("  "), vec!["BlankLine@2"]),
            ("final blank line", format!("{GOOD}\n"), vec!["BlankLine@5"]),
            (
                "final white space without an end",
                format!("{GOOD} "),
                vec!["BlankLine@5"],
            ),
            ("comment", with("# hello: you"), vec!["Comment@2"]),
            (
                "comment of two slashes",
                with("// hello"),
                vec!["Comment@2"],
            ),
            (
                "byte order mark",
                format!("\u{feff}{GOOD}"),
                vec!["ByteOrderMark@1"],
            ),
            ("lone CR", GOOD.replacen('\n', "\r", 1), vec!["LoneCr@1"]),
            (
                "a CR too many",
                GOOD.replacen('\n', "\r\r\n", 1),
                vec!["LoneCr@1"],
            ),
            ("no colon", with("hello"), vec!["NoColon@2"]),
            (
                "leading space",
                with(" x: y"),
                vec!["LeadingSpace@2", "UnknownKey@2"],
            ),
            (
                "space before the colon",
                with("x : y"),
                vec!["SpaceBeforeColon@2", "UnknownKey@2"],
            ),
            ("extension name", with("_comment: y"), vec!["BadKey@2"]),
            (
                "extension without a value",
                with("x:"),
                vec!["EmptyValue@2"],
            ),
            (
                "extension with a control character",
                with("x: a\u{7}b"),
                vec!["BadValue@2"],
            ),
            ("unknown key", with("max-age: 1"), vec!["UnknownKey@2"]),
            (
                "unknown key twice",
                with("x: 1\nx: 2"),
                vec!["UnknownKey@2", "DuplicateKey@3"],
            ),
            (
                "an equals sign",
                GOOD.replace("mode: ", "mode="),
                vec!["NoColon@2"],
            ),
            (
                "version in lower case",
                GOOD.replace("STSv1", "stsv1"),
                vec!["Version@1"],
            ),
            (
                "mode in capitals",
                GOOD.replace("enforce", "Enforce"),
                vec!["Mode@2"],
            ),
            (
                "key in capitals",
                GOOD.replace("mode", "Mode"),
                vec!["UnknownKey@2", "ModeMissing"],
            ),
            ("max_age", GOOD.replace("86400", "1d"), vec!["MaxAge@4"]),
            (
                "no mx",
                GOOD.replace("mx: mail.example.org\n", ""),
                vec!["MxMissing"],
            ),
            (
                "mx empty",
                GOOD.replace("mail.example.org", ""),
                vec!["Mx@3"],
            ),
            (
                "mx with an underscore",
                GOOD.replace("mail", "ma_il"),
                vec!["Mx@3"],
            ),
            (
                "mx with a port",
                GOOD.replace(".org", ".org:25"),
                vec!["Mx@3"],
            ),
            (
                "mx with a port after mx",
                GOOD.replace(".org", ".mx:25"),
                vec!["Mx@3"],
            ),
            (
                "mx of one label",
                GOOD.replace("mail.example.org", "mail"),
                vec!["MxUnusable@3"],
            ),
            (
                "mx of a whole top-level domain",
                GOOD.replace("mail.example.org", "*.com"),
                vec!["MxUnusable@3"],
            ),
            (
                "mx with a bad A-label",
                GOOD.replace("mail", "xn--a"),
                vec!["Mx@3"],
            ),
            (
                "mx IPv4",
                GOOD.replace("mail.example.org", "192.0.2.1"),
                vec!["MxUnusable@3"],
            ),
            (
                "mx IPv6",
                GOOD.replace("mail.example.org", "2001:db8::1"),
                vec!["Mx@3"],
            ),
            (
                "run together",
                GOOD.replacen('\n', " ", 1),
                vec!["RunTogether@1"],
            ),
            (
                "all on one line",
                GOOD.replace('\n', "; "),
                vec!["RunTogether@1"],
            ),
            (
                "without a space",
                GOOD.replacen('\n', "", 1),
                vec!["RunTogether@1"],
            ),
        ] {
            assert_eq!(names(body.as_bytes()), issues, "{case}: {body:?}");
            let breach = Policy::read(body.as_bytes())
                .issues
                .iter()
                .any(|at| at.issue.is_breach());
            assert_eq!(Policy::parse(body.as_bytes()).is_err(), breach, "{case}");
        }
    }

    #[test]
    fn a_body_of_line_ends_fills_no_memory() {
        assert_eq!(
            Policy::read(&vec![b'\n'; 64 * 1024]).issues.len(),
            MAX_ISSUES + 3
        );
        let odd = format!("{GOOD}{}\n", "x: y\n".repeat(2 * MAX_ISSUES));
        assert!(Policy::parse(odd.as_bytes()).is_err());
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_a_breach() {
        let body = [GOOD.as_bytes(), b"x: \xff\n"].concat();
        assert_eq!(names(&body), ["BadValue@5"]);
        let body = GOOD.replace("mail", "ma\u{fffd}il");
        assert_eq!(names(body.as_bytes()), ["Mx@3"]);
    }
}
