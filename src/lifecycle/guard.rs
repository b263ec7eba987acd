//! Guarded enforcement: mode enforce is not entered, and an enforced policy loses no live MX, while
//! that would make senders refuse mail.

use super::desired::Desired;
use super::record::{LedgerEntry, Publication};
use crate::protocol::{HostName, InstallationId, MaxAge, Mode, MxPattern, Policy};
use jiff::Timestamp;

/// Whether a policy is guarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Enforcement {
    /// It is not enforced against the live MX hosts.
    #[default]
    Guarded,
    /// It is published as it is written.
    Unconditional,
}

/// The live MX hosts of a domain, as far as they matter here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LiveMx {
    /// They could not be looked up, and why.
    Unknown(String),
    /// These take the domain's mail; none where it takes none.
    Hosts(Vec<MxHost>),
}

/// One live MX host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MxHost {
    /// Its name.
    pub host: HostName,
    /// What it showed on port 25.
    pub tls: MxTls,
}

/// What an MX host showed on port 25.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MxTls {
    /// STARTTLS with a certificate that senders take.
    Good,
    /// Something that senders refuse in mode enforce: what.
    Fails(String),
    /// Nothing is known: nobody asked, or nobody answered. That holds nothing back.
    Unknown,
}

/// What is out there before a decision: what senders go by now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Before {
    /// No policy of anybody's, or none that is known: that a record was lost is no proof that it
    /// enforced, and mail comes first.
    Nothing,
    /// This policy.
    Policy(Policy),
}

/// Why a policy is not published as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// The MX records could not be looked up, and why.
    MxUnknown(String),
    /// These live MX hosts match no pattern.
    Uncovered(Vec<HostName>),
    /// This live MX host fails TLS, and how.
    TlsFails(HostName, String),
}

/// What is published, and why it is not what is written, if so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guarded {
    /// The policy to publish.
    pub policy: Policy,
    /// What holds the one that is written.
    pub held: Option<Held>,
}

/// Judges the policy that is `wanted`.
///
/// What enforces already is never softened here: a forged answer must not switch protection off.
/// It only is not changed into one that accepts fewer of the live MX hosts.
pub fn guard(desired: &Desired, wanted: Policy, before: Before, live: &LiveMx) -> Guarded {
    let free = desired.enforcement == Enforcement::Unconditional || wanted.mode != Mode::Enforce;
    let held = match &before {
        _ if free => None,
        Before::Policy(before) if before.mode == Mode::Enforce => lost(before, &wanted, live),
        Before::Policy(_) | Before::Nothing => unfit(&wanted, live),
    };
    let policy = match (&held, before) {
        (None, _) => wanted,
        (Some(_), Before::Policy(before)) if before.mode != Mode::None => before,
        (Some(_), _) => tested(desired, wanted),
    };
    Guarded { policy, held }
}

/// The same policy in mode testing.
fn tested(desired: &Desired, wanted: Policy) -> Policy {
    Policy {
        mode: Mode::Testing,
        max_age: desired.max_age.unwrap_or(MaxAge::DAY),
        ..wanted
    }
}

fn accepts(policy: &Policy, host: &HostName) -> bool {
    policy.mx.iter().any(|pattern| pattern.matches(host))
}

/// What keeps a policy from being enforced for the first time.
fn unfit(wanted: &Policy, live: &LiveMx) -> Option<Held> {
    let hosts = match live {
        LiveMx::Unknown(why) => return Some(Held::MxUnknown(why.clone())),
        LiveMx::Hosts(hosts) => hosts,
    };
    let bare = hosts.iter().map(|live| &live.host);
    let bare: Vec<HostName> = bare
        .filter(|host| !accepts(wanted, host))
        .cloned()
        .collect();
    if !bare.is_empty() {
        return Some(Held::Uncovered(bare));
    }
    hosts.iter().find_map(|live| match &live.tls {
        MxTls::Fails(why) => Some(Held::TlsFails(live.host.clone(), why.clone())),
        MxTls::Good | MxTls::Unknown => None,
    })
}

/// What senders refuse while `policy` is enforced; `None` as well where the MX hosts are not known.
pub fn refused(policy: &Policy, live: &LiveMx) -> Option<Held> {
    unfit(policy, live).filter(|held| !matches!(held, Held::MxUnknown(_)))
}

/// What an enforced policy would lose by a change.
fn lost(before: &Policy, wanted: &Policy, live: &LiveMx) -> Option<Held> {
    match live {
        LiveMx::Unknown(why) => {
            let kept = |pattern: &MxPattern| wanted.mx.contains(pattern);
            (!before.mx.iter().all(kept)).then(|| Held::MxUnknown(why.clone()))
        }
        LiveMx::Hosts(hosts) => {
            let hosts = hosts.iter().map(|live| &live.host);
            let lost = hosts.filter(|host| accepts(before, host) && !accepts(wanted, host));
            let lost: Vec<HostName> = lost.cloned().collect();
            (!lost.is_empty()).then_some(Held::Uncovered(lost))
        }
    }
}

/// What senders go by now, as far as a record tells. `adopted` is a foreign policy that is about to
/// be taken over.
pub fn before(
    publication: Option<&Publication>,
    adopted: Option<&Policy>,
    installation: &InstallationId,
    now: Timestamp,
) -> Before {
    let ledger = publication.map_or(&[][..], |p| p.ledger.as_slice());
    let announced = publication.and_then(|p| p.announced.as_ref());
    if let Some(announced) = announced {
        let entry = ledger.iter().find(|e| e.id.as_ref() == Some(&announced.id));
        return entry.map_or(Before::Nothing, policy_of);
    }
    if let Some(policy) = adopted {
        return Before::Policy(policy.clone());
    }
    // What is ours and was never announced was only served: nobody was told to fetch it.
    let foreign =
        |entry: &&LedgerEntry| !entry.id.as_ref().is_some_and(|id| id.is_of(installation));
    let held = ledger
        .iter()
        .filter(foreign)
        .rfind(|entry| entry.mode == Mode::Enforce && entry.held_until(now) > now);
    held.map_or(Before::Nothing, policy_of)
}

fn policy_of(entry: &LedgerEntry) -> Before {
    // It stands in for a policy that is not known.
    if entry.mx.is_empty() {
        return Before::Nothing;
    }
    Before::Policy(Policy {
        mode: entry.mode,
        max_age: entry.max_age,
        mx: entry.mx.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::desired::tests::desired;
    use super::*;

    fn policy(mode: Mode, mx: &[&str]) -> Policy {
        Policy {
            mode,
            max_age: MaxAge::WEEK,
            mx: mx
                .iter()
                .map(|text| MxPattern::parse(text).unwrap())
                .collect(),
        }
    }

    fn live(hosts: &[(&str, MxTls)]) -> LiveMx {
        let host = |(name, tls): &(&str, MxTls)| MxHost {
            host: HostName::parse(name).unwrap(),
            tls: tls.clone(),
        };
        LiveMx::Hosts(hosts.iter().map(host).collect())
    }

    const A: &str = "a.example.org";
    const B: &str = "b.example.org";

    fn held_by(wanted: Policy, before: Before, live: &LiveMx) -> (Policy, Option<Held>) {
        let Guarded { policy, held } = guard(&desired(), wanted, before, live);
        (policy, held)
    }

    #[test]
    fn enforce_is_not_entered_while_a_live_mx_would_be_refused() {
        use MxTls::{Fails, Good, Unknown};
        let expired = || Fails("its certificate is past its date".to_owned());
        let b = || HostName::parse(B).unwrap();
        for (case, live, expected) in [
            ("all is well", live(&[(A, Good)]), None),
            ("no mail at all", live(&[]), None),
            ("port 25 is closed to us", live(&[(A, Unknown)]), None),
            (
                "a pattern is missing",
                live(&[(A, Good), (B, Good)]),
                Some(Held::Uncovered(vec![b()])),
            ),
            (
                "a certificate is bad",
                live(&[(A, expired())]),
                Some(Held::TlsFails(
                    HostName::parse(A).unwrap(),
                    "its certificate is past its date".to_owned(),
                )),
            ),
            (
                "nothing is known",
                LiveMx::Unknown("SERVFAIL".to_owned()),
                Some(Held::MxUnknown("SERVFAIL".to_owned())),
            ),
        ] {
            let wanted = policy(Mode::Enforce, &[A]);
            let testing = policy(Mode::Testing, &["old.example.org"]);
            let (published, held) = held_by(wanted.clone(), Before::Policy(testing.clone()), &live);
            assert_eq!(held, expected, "{case}");
            let stays = expected.is_some();
            assert_eq!(published, if stays { testing } else { wanted }, "{case}");
        }
    }

    #[test]
    fn where_nothing_protects_the_same_policy_is_tested() {
        let bad = live(&[(A, MxTls::Fails("no STARTTLS".to_owned()))]);
        let given_up = Before::Policy(policy(Mode::None, &[B]));
        for before in [Before::Nothing, given_up] {
            let (published, held) = held_by(policy(Mode::Enforce, &[A]), before, &bad);
            assert!(held.is_some());
            assert_eq!(
                (published.mode, published.max_age),
                (Mode::Testing, MaxAge::DAY)
            );
            assert_eq!(published.mx, policy(Mode::Enforce, &[A]).mx);
        }
    }

    #[test]
    fn what_enforces_is_not_softened_and_loses_no_live_mx() {
        let failing = || MxTls::Fails("no STARTTLS".to_owned());
        let servfail = || LiveMx::Unknown("SERVFAIL".to_owned());
        for (case, wanted, live, held) in [
            ("a failure later", vec![A], live(&[(A, failing())]), false),
            ("a pattern more", vec![A, B], live(&[(A, failing())]), false),
            (
                "one less that nobody uses",
                vec![A],
                live(&[(A, failing())]),
                false,
            ),
            (
                "one less that is live",
                vec![B],
                live(&[(A, MxTls::Good)]),
                true,
            ),
            (
                "one was never accepted",
                vec![A],
                live(&[(A, MxTls::Good), ("c.example.org", MxTls::Good)]),
                false,
            ),
            ("nothing known, no less", vec![A, B], servfail(), false),
            ("nothing known, one less", vec![B], servfail(), true),
        ] {
            let before = policy(
                Mode::Enforce,
                if case.contains("less") { &[A, B] } else { &[A] },
            );
            let wanted = policy(Mode::Enforce, &wanted);
            let known = Before::Policy(before.clone());
            let (published, why) = held_by(wanted.clone(), known, &live);
            assert_eq!(why.is_some(), held, "{case}");
            assert_eq!(published, if held { before } else { wanted }, "{case}");
        }
    }

    #[test]
    fn nothing_is_held_that_is_not_enforced_or_not_guarded() {
        let none = live(&[(B, MxTls::Unknown)]);
        let (published, held) = held_by(policy(Mode::Testing, &[A]), Before::Nothing, &none);
        assert_eq!((published.mode, held), (Mode::Testing, None));
        let unguarded = Desired {
            enforcement: Enforcement::Unconditional,
            ..desired()
        };
        let wanted = policy(Mode::Enforce, &[A]);
        let free = guard(&unguarded, wanted.clone(), Before::Nothing, &none);
        assert_eq!((free.policy, free.held), (wanted.clone(), None));
    }
}
