//! The record `_smtp._tls.<domain>` (RFC 8460 §3): what is ours of it, and what is due next.
//!
//! It carries no id by which a record of ours could be told from another's. So every text is noted in
//! the durable record before it is written, and only what was noted is ours.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The texts that this operator has written, or is about to: until the newest is out, those before it
/// are ours as well.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TlsRptNotes(BTreeSet<String>);

/// What stands at the name, told apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsRptSet {
    /// Records that ask for reports, good or broken, as text.
    pub records: BTreeSet<String>,
    /// How many texts have nothing to do with it.
    pub unrelated: usize,
    /// Their TTL in seconds, where it is known.
    pub ttl: Option<u32>,
}

/// What is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TlsRptStep {
    /// Nothing.
    Done,
    /// To note this before anything is written.
    Note(TlsRptNotes),
    /// To write this record, or none, in place of those that are ours.
    Write(Option<String>),
    /// Nothing, since somebody else's record stands there.
    Foreign(String),
}

impl TlsRptNotes {
    /// Whether nothing of ours can be there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a text is ours.
    pub fn has(&self, text: &str) -> bool {
        self.0.contains(text)
    }
}

impl TlsRptSet {
    /// Tells the joined texts of a TXT record set apart.
    pub fn classify(texts: impl IntoIterator<Item = Vec<u8>>, ttl: Option<u32>) -> Self {
        let mut set = Self {
            ttl,
            ..Self::default()
        };
        for text in texts {
            match looks_like_tls_rpt(&text) {
                true => {
                    set.records
                        .insert(String::from_utf8_lossy(&text).into_owned());
                }
                false => set.unrelated += 1,
            }
        }
        set
    }

    /// Whether exactly this record stands there.
    pub fn shows_exactly(&self, text: &str) -> bool {
        self.records.len() == 1 && self.records.contains(text)
    }
}

/// Anything that means to be the record: it must not stand beside ours, however broken.
pub fn looks_like_tls_rpt(text: &[u8]) -> bool {
    let start = text.iter().filter(|octet| !octet.is_ascii_whitespace());
    let start: Vec<u8> = start.copied().take(9).collect();
    start.eq_ignore_ascii_case(b"v=TLSRPTv")
}

/// What is due for the record `wanted`, with this TTL in seconds, given what was noted and what stands
/// there. With `adopt` a foreign record is replaced.
pub fn step(
    wanted: Option<&str>,
    ttl: u32,
    adopt: bool,
    notes: &TlsRptNotes,
    present: &TlsRptSet,
) -> TlsRptStep {
    let is_ours = |text: &&String| notes.has(text);
    let ours = present.records.iter().any(|text| is_ours(&text));
    let Some(wanted) = wanted else {
        return match (ours, notes.is_empty()) {
            (true, _) => TlsRptStep::Write(None),
            (false, true) => TlsRptStep::Done,
            (false, false) => TlsRptStep::Note(TlsRptNotes::default()),
        };
    };
    let shown = present.shows_exactly(wanted);
    // Somebody has set the same by hand: it stays his.
    if shown && !notes.has(wanted) {
        return TlsRptStep::Done;
    }
    let foreign = present.records.iter().find(|text| !is_ours(text));
    if let Some(foreign) = foreign.filter(|_| !adopt) {
        return TlsRptStep::Foreign(foreign.clone());
    }
    if !notes.has(wanted) {
        let mut noted = notes.clone();
        noted.0.insert(wanted.to_owned());
        return TlsRptStep::Note(noted);
    }
    if !shown || present.ttl.is_some_and(|present| present != ttl) {
        return TlsRptStep::Write(Some(wanted.to_owned()));
    }
    match notes.0.len() {
        1 => TlsRptStep::Done,
        _ => TlsRptStep::Note(TlsRptNotes(BTreeSet::from([wanted.to_owned()]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "v=TLSRPTv1; rua=mailto:a@example.org;";
    const B: &str = "v=TLSRPTv1; rua=mailto:b@example.org;";

    fn notes(texts: &[&str]) -> TlsRptNotes {
        TlsRptNotes(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    fn set(texts: &[&str]) -> TlsRptSet {
        let octets = texts.iter().map(|text| text.as_bytes().to_vec());
        TlsRptSet::classify(octets, (!texts.is_empty()).then_some(300))
    }

    #[test]
    fn a_record_is_noted_before_it_is_written_and_only_what_was_noted_is_replaced() {
        use TlsRptStep::{Done, Foreign, Note, Write};
        let write = |text: &str| Write(Some(text.to_owned()));
        for (case, wanted, adopt, noted, present, expected) in [
            ("nothing at all", None, false, &[][..], &[][..], Done),
            ("somebody else's", None, false, &[], &[B], Done),
            (
                "the first time",
                Some(A),
                false,
                &[],
                &[],
                Note(notes(&[A])),
            ),
            ("noted", Some(A), false, &[A], &[], write(A)),
            ("out", Some(A), false, &[A], &[A], Done),
            ("the same by hand", Some(A), false, &[], &[A], Done),
            (
                "another by hand",
                Some(A),
                false,
                &[],
                &[B],
                Foreign(B.to_owned()),
            ),
            (
                "a rival beside ours",
                Some(A),
                false,
                &[A],
                &[A, B],
                Foreign(B.to_owned()),
            ),
            ("taken over", Some(A), true, &[], &[B], Note(notes(&[A]))),
            ("taken over, noted", Some(A), true, &[A], &[B], write(A)),
            ("changed", Some(B), false, &[A], &[A], Note(notes(&[A, B]))),
            ("changed, noted", Some(B), false, &[A, B], &[A], write(B)),
            (
                "changed, out",
                Some(B),
                false,
                &[A, B],
                &[B],
                Note(notes(&[B])),
            ),
            ("given up", None, false, &[A], &[A, B], Write(None)),
            ("gone", None, false, &[A], &[B], Note(notes(&[]))),
            (
                "broken",
                Some(A),
                false,
                &[],
                &["V=TLSRPTv1 rua=x"],
                Foreign("V=TLSRPTv1 rua=x".to_owned()),
            ),
            (
                "beside it something else",
                Some(A),
                false,
                &[A],
                &["hello", A],
                Done,
            ),
        ] {
            let found = step(wanted, 300, adopt, &notes(noted), &set(present));
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn a_ttl_that_is_known_to_differ_is_written() {
        let present = set(&[A]);
        let due = step(Some(A), 60, false, &notes(&[A]), &present);
        assert_eq!(due, TlsRptStep::Write(Some(A.to_owned())));
        let untold = TlsRptSet {
            ttl: None,
            ..present
        };
        let due = step(Some(A), 60, false, &notes(&[A]), &untold);
        assert_eq!(due, TlsRptStep::Done);
    }
}
