//! Whose TXT records stand at a domain's name.

use crate::protocol::{InstallationId, PolicyId};

/// The TXT records at one name, told apart by who wrote them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TxtSet {
    /// MTA-STS records with an id of this installation, with the octets as they stand there.
    ours: Vec<(PolicyId, Vec<u8>)>,
    /// Other MTA-STS records, good or broken.
    foreign: Vec<Vec<u8>>,
    /// What has nothing to do with MTA-STS.
    unrelated: Vec<Vec<u8>>,
}

impl TxtSet {
    /// Tells the joined texts of a TXT record set apart.
    pub fn classify(texts: &[Vec<u8>], installation: &InstallationId) -> Self {
        let mut set = Self::default();
        for text in texts {
            match own_id(text, installation) {
                Some(id) => set.ours.push((id, text.clone())),
                None if looks_like_sts(text) => set.foreign.push(text.clone()),
                None => set.unrelated.push(text.clone()),
            }
        }
        set
    }

    /// Both together: what either of them shows.
    pub fn union(mut self, other: &Self) -> Self {
        fn add<T: PartialEq + Clone>(to: &mut Vec<T>, from: &[T]) {
            for item in from {
                if !to.contains(item) {
                    to.push(item.clone());
                }
            }
        }
        add(&mut self.ours, &other.ours);
        add(&mut self.foreign, &other.foreign);
        add(&mut self.unrelated, &other.unrelated);
        self
    }

    /// The ids of this installation.
    pub fn ours(&self) -> impl Iterator<Item = &PolicyId> {
        self.ours.iter().map(|(id, _)| id)
    }

    /// MTA-STS records that this installation did not write.
    pub fn foreign(&self) -> &[Vec<u8>] {
        &self.foreign
    }

    /// Texts that have nothing to do with MTA-STS.
    pub fn unrelated(&self) -> &[Vec<u8>] {
        &self.unrelated
    }

    /// Every text, as it stands there.
    pub fn texts(&self) -> Vec<Vec<u8>> {
        let ours = self.ours.iter().map(|(_, text)| text);
        let others = self.foreign.iter().chain(&self.unrelated);
        ours.chain(others).cloned().collect()
    }

    /// Whether exactly one MTA-STS record stands there, ours, with `id`.
    pub fn shows_exactly(&self, id: &PolicyId) -> bool {
        self.foreign.is_empty() && matches!(self.ours.as_slice(), [(only, _)] if only == id)
    }

    /// Whether no MTA-STS record of ours stands there.
    pub fn has_none_of_ours(&self) -> bool {
        self.ours.is_empty()
    }
}

/// Anything that means to be an MTA-STS record: it must not stand beside ours, however broken.
fn looks_like_sts(text: &[u8]) -> bool {
    let start: Vec<u8> = text
        .iter()
        .copied()
        .filter(|octet| !octet.is_ascii_whitespace())
        .take(7)
        .collect();
    start.eq_ignore_ascii_case(b"v=STSv1")
}

/// The id of a record that reads exactly as this operator writes it.
fn own_id(text: &[u8], installation: &InstallationId) -> Option<PolicyId> {
    let text = std::str::from_utf8(text).ok()?;
    let id: PolicyId = text
        .strip_prefix("v=STSv1; id=")?
        .strip_suffix(';')?
        .parse()
        .ok()?;
    id.is_of(installation).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_apart_by_who_wrote_them() {
        let installation = "00c0de".parse().unwrap();
        let ours = "v=STSv1; id=20261125231800ba7816bf00c0de;";
        for (case, text, counts) in [
            ("ours", ours, (1, 0, 0)),
            (
                "of another installation",
                "v=STSv1; id=20261125231800ba7816bf00c0df;",
                (0, 1, 0),
            ),
            ("by hand", "v=STSv1; id=1;", (0, 1, 0)),
            ("broken by hand", "V=stsv1 ; id=20-1", (0, 1, 0)),
            (
                "ours, changed by hand",
                "v=STSv1;id=20261125231800ba7816bf00c0de",
                (0, 1, 0),
            ),
            ("SPF", "v=spf1 -all", (0, 0, 1)),
            ("empty", "", (0, 0, 1)),
        ] {
            let set = TxtSet::classify(&[text.as_bytes().to_vec()], &installation);
            let found = (set.ours.len(), set.foreign.len(), set.unrelated.len());
            assert_eq!(found, counts, "{case}");
        }
        let id = "20261125231800ba7816bf00c0de".parse().unwrap();
        let set = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(|t| t.as_bytes().to_vec()).collect();
            TxtSet::classify(&texts, &installation)
        };
        assert!(set(&[ours, "v=spf1 -all"]).shows_exactly(&id));
        assert!(!set(&[ours, "v=STSv1; id=1;"]).shows_exactly(&id));
        assert!(!set(&[ours, ours]).shows_exactly(&id));
        assert!(!set(&[]).shows_exactly(&id));
    }
}
