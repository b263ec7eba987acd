//! The grammar that both TXT records share (RFC 8461 §3.1, RFC 8460 §3): a version, then fields
//! of the form `name=value`, parted by `;` with white space around it.

use super::issue::RecordIssue;

/// Longest name of an extension field: an alphanumeric and 31 more.
const MAX_NAME_LENGTH: usize = 32;

/// One field of a TXT record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    /// Offset in bytes of its first character.
    pub(super) offset: usize,
    /// What stands before the first `=`.
    pub(super) name: &'a [u8],
    /// What stands after it.
    pub(super) value: &'a [u8],
}

/// What follows the version, cut into pieces.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    /// The fields that are `name=value`.
    pub(super) fields: Vec<Field<'a>>,
    /// What is wrong with the others, by offset.
    pub(super) issues: Vec<(usize, RecordIssue)>,
}

/// The text after `version`, where the text starts with the version and a delimiter (or ends).
pub(super) fn after_version<'a>(text: &'a [u8], version: &str) -> Option<&'a [u8]> {
    let rest = text.strip_prefix(version.as_bytes())?;
    match trim_start(rest).first() {
        None => rest.is_empty().then_some(rest),
        Some(b';') => Some(rest),
        Some(_) => None,
    }
}

/// Cuts `rest` (nothing, or a `;` and what follows), which starts at `start` in the whole text.
pub(super) fn split(rest: &[u8], start: usize) -> Fields<'_> {
    let mut found = Fields::default();
    let mut offset = start;
    let last = rest.iter().filter(|byte| **byte == b';').count();
    for (index, piece) in rest.split(|byte| *byte == b';').enumerate() {
        let at = offset + piece.len() - trim_start(piece).len();
        offset += piece.len() + 1;
        match trim(piece) {
            // Nothing stands before the first `;`, and a final one is allowed.
            [] if index == 0 || index == last => {}
            [] => found.issues.push((at, RecordIssue::EmptyField)),
            field => {
                if index == last && trim_start(piece).len() > field.len() {
                    found
                        .issues
                        .push((at + field.len(), RecordIssue::FinalSpace));
                }
                found.push(at, field);
            }
        }
    }
    found
}

impl<'a> Fields<'a> {
    fn push(&mut self, offset: usize, field: &'a [u8]) {
        let Some(equals) = field.iter().position(|byte| *byte == b'=') else {
            let text = lossy(field);
            self.issues.push((offset, RecordIssue::NoEquals { text }));
            return;
        };
        let (name, value) = field.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        if is_name(name) {
            self.fields.push(Field {
                offset,
                name,
                value,
            });
        } else {
            let name = lossy(name);
            self.issues.push((offset, RecordIssue::BadName { name }));
        }
    }
}

/// `(ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / ".")`
pub(super) fn is_name(name: &[u8]) -> bool {
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    name.len() <= MAX_NAME_LENGTH
        && name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(inner)
}

/// `1*(%x21-3A / %x3C / %x3E-7E)`: printable, without space, `;` and `=`.
pub(super) fn is_extension_value(value: &[u8]) -> bool {
    !value.is_empty()
        && value
            .iter()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b';' | b'='))
}

/// Where the first byte stands that is not allowed in a value.
pub(super) fn bad_value_offset(value: &[u8]) -> usize {
    value
        .iter()
        .position(|b| !is_extension_value(std::slice::from_ref(b)))
        .unwrap_or(value.len())
}

fn is_wsp(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without the white space (space and tab only) at the start.
pub(super) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes {
        if !is_wsp(*first) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// Without the white space (space and tab only) at both ends.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = trim_start(bytes);
    while let [rest @ .., last] = bytes {
        if !is_wsp(*last) {
            break;
        }
        bytes = rest;
    }
    bytes
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
