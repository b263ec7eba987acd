//! Guessing what was meant: near misses of a word, the corrected form of an mx.

use crate::protocol::{HostNameError, MxPattern, MxPatternError};

/// The known word that is at most two edits away (a swap of neighbours is one), in any case and
/// with `-` for `_`; none if the word is known as it stands.
pub fn near_miss<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    // A longer word is nobody's slip, and the distance takes quadratic time.
    if written.chars().count() > 40 {
        return None;
    }
    let folded = written.to_lowercase().replace('-', "_");
    known
        .iter()
        .filter(|word| **word != written)
        .map(|word| {
            (
                distance(&folded, &word.to_lowercase().replace('-', "_")),
                *word,
            )
        })
        // Two edits turn any word of two letters into any other.
        .filter(|(edits, word)| *edits <= 2.min(word.len() / 2))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, word)| word)
}

/// Optimal string alignment distance.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let cell =
                |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let substituted = cell(&last, j) + usize::from(x != y);
            let mut best = substituted
                .min(cell(&last, j + 1) + 1)
                .min(cell(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(cell(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

/// The mode that was meant, where it can be told.
pub(super) fn meant_mode(written: &str) -> Option<&'static str> {
    let folded = written.trim_matches(['"', '\'']).to_lowercase();
    match folded.as_str() {
        "enforce" | "enforced" | "enforcing" | "enabled" | "strict" => Some("enforce"),
        "test" | "testing" | "tested" | "report" | "monitor" | "monitoring" => Some("testing"),
        "none" | "off" | "disabled" | "disable" | "no" => Some("none"),
        _ => near_miss(&folded, &["enforce", "testing", "none"]),
    }
}

/// The patterns that were most likely meant by a bad mx value; none if it cannot be told.
pub(super) fn corrected_mx(written: &str) -> Vec<MxPattern> {
    written
        .split([',', ';', ' ', '\t'])
        .filter(|piece| !piece.is_empty())
        // A priority, as in a zone file: `10 mail.example.org`.
        .filter(|piece| !piece.bytes().all(|b| b.is_ascii_digit()))
        .map(corrected_piece)
        .collect::<Option<Vec<_>>>()
        .unwrap_or_default()
}

fn corrected_piece(piece: &str) -> Option<MxPattern> {
    let piece = piece.trim_matches(['"', '\'', '<', '>', '(', ')']);
    let piece = piece.rsplit_once("://").map_or(piece, |(_, rest)| rest);
    let piece = piece.strip_prefix("mx:").unwrap_or(piece);
    let piece = piece.split('/').next().unwrap_or_default();
    let piece = match piece.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => piece,
    };
    // `.example.org` is how other programs write "every host below".
    let piece = match piece.strip_prefix('.') {
        Some(rest) => format!("*.{rest}"),
        None => piece.to_owned(),
    };
    match MxPattern::parse_any_case(piece.trim_end_matches('.')) {
        Ok(pattern) => Some(pattern),
        Err(MxPatternError::HostName(HostNameError::NotAscii {
            a_label: Some(a_label),
        })) => {
            let wildcard = if piece.starts_with("*.") { "*." } else { "" };
            MxPattern::parse_any_case(&format!("{wildcard}{a_label}")).ok()
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_another_word() {
        let keys = ["version", "mode", "max_age", "mx"];
        for (written, meant) in [
            ("max-age", Some("max_age")),
            ("maxage", Some("max_age")),
            ("max_aeg", Some("max_age")),
            ("mxs", Some("mx")),
            ("Mode", Some("mode")),
            ("MX", Some("mx")),
            ("vesrion", Some("version")),
            ("policy", None),
            ("id", None),
            ("mx", None),
            ("ab", None),
        ] {
            assert_eq!(near_miss(written, &keys), meant, "{written}");
        }
    }

    #[test]
    fn modes_are_guessed() {
        for (written, meant) in [
            ("enforced", Some("enforce")),
            ("test", Some("testing")),
            ("Testing", Some("testing")),
            ("off", Some("none")),
            ("\"enforce\"", Some("enforce")),
            ("tesitng", Some("testing")),
            ("banana", None),
        ] {
            assert_eq!(meant_mode(written), meant, "{written}");
        }
    }

    #[test]
    fn an_mx_is_corrected_where_its_meaning_is_plain() {
        for (written, corrected) in [
            ("mail.example.org.", "mail.example.org"),
            (".example.org", "*.example.org"),
            ("10 mail.example.org.", "mail.example.org"),
            ("mail.example.org:25", "mail.example.org"),
            ("smtp://mail.example.org:25/", "mail.example.org"),
            ("\"mail.example.org\"", "mail.example.org"),
            (
                "a.example.org, b.example.org",
                "a.example.org b.example.org",
            ),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.bücher.example", "*.xn--bcher-kva.example"),
            ("192.0.2.1", ""),
            ("*", ""),
            ("a*.example.org", ""),
            ("*.*.example.org", ""),
            ("ma_il.example.org", ""),
            ("", ""),
        ] {
            let patterns: Vec<_> = corrected_mx(written)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(patterns.join(" "), corrected, "{written}");
        }
    }
}
