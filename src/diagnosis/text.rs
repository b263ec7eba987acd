//! Text from outside, made safe to show and short enough to read.

use std::fmt::Write as _;

use crate::limits::FINDING_TEXT_CHARACTERS;

/// How much of a text from outside a finding quotes, in characters: a longest host name and
/// some more, and still one screen line or two.
const QUOTE_CHARACTERS: usize = 300;

/// The text with everything escaped that a terminal, a log or a page could take for more than
/// text: control characters, line ends, bidirectional overrides, invisible characters.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_printable(c) {
            shown.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(shown, "{}", c.escape_default());
        }
    }
    shown
}

fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            // soft hyphen, Arabic letter mark, Mongolian vowel separator, zero width and
            // direction marks, line and paragraph separators, embeddings and overrides,
            // invisible operators and isolates, byte order mark, interlinear marks, tags
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text as a finding shows it: printable, and cut at
/// [`FINDING_TEXT_CHARACTERS`](crate::limits::FINDING_TEXT_CHARACTERS).
pub(super) fn shown(text: &str) -> String {
    let mut shown = printable(text);
    if let Some((end, _)) = shown.char_indices().nth(FINDING_TEXT_CHARACTERS) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

/// A printable quote of at most [`QUOTE_CHARACTERS`] characters.
pub(super) fn quote(bytes: &[u8]) -> String {
    // A character has at most four bytes: more need not be decoded.
    let head = bytes.get(..QUOTE_CHARACTERS * 4).unwrap_or(bytes);
    let text = String::from_utf8_lossy(head);
    let mut shown: String = text.chars().take(QUOTE_CHARACTERS).collect();
    if shown.len() < bytes.len() && text.chars().count() > QUOTE_CHARACTERS
        || head.len() < bytes.len()
    {
        shown.push('…');
    }
    printable(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_passes() {
        for (text, shown) in [
            ("mail.example.org", "mail.example.org"),
            ("bücher.example", "bücher.example"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("a\0b", "a\\u{0}b"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}gro.elpmaxe", "\\u{202e}gro.elpmaxe"),
            ("\u{feff}x\u{200b}", "\\u{feff}x\\u{200b}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(quote(&[b'a'; 301]).chars().count(), 301);
        assert!(quote(&[b'a'; 301]).ends_with('…'));
        assert_eq!(quote(&[b'a'; 300]), "a".repeat(300));
        assert!(quote(&vec![0xff; 64 * 1024]).chars().count() < 302);
        let long = "\n".repeat(64 * 1024);
        assert_eq!(shown(&long).chars().count(), FINDING_TEXT_CHARACTERS + 1);
    }
}
