//! The decision: which body and which id the record of a domain is to hold.

use jiff::Timestamp;

use super::desired::{Desired, desired_policy};
use super::guard::{Before, Guarded, LiveMx, before, guard};
use super::record::{
    Decision, DnsState, LedgerEntry, Owner, ProviderKey, Publication, Record, TRIED_OUT,
};
use super::rollout::{OnStage, Stage};
use super::{ledger, txt::TxtSet};
use crate::protocol::{InstallationId, MaxAge, Mode, Policy, PolicyId, Sha256Digest};

/// Everything that a decision depends on.
#[derive(Debug)]
pub struct Input<'a> {
    /// What the spec asks for.
    pub desired: &'a Desired,
    /// The object that owns the domain.
    pub owner: &'a Owner,
    /// The provider that writes the records.
    pub provider: Option<&'a ProviderKey>,
    /// Whose ids ours are.
    pub installation: &'a InstallationId,
    /// The record as it is; `None` where there is none, or where it cannot be read at all.
    pub record: Option<&'a Record>,
    /// What is left of a record whose body was edited by hand.
    pub edited: Option<&'a Edited<'a>>,
    /// The TXT records at the domain's name, where they could be looked up.
    pub txt: Option<&'a TxtSet>,
    /// The live policy of a domain that is taken over.
    pub adopted: Option<&'a Adopted>,
    /// What a lost record is taken to have said at worst.
    pub assume_max_age: MaxAge,
    /// The live MX hosts.
    pub live: &'a LiveMx,
    /// The time.
    pub now: Timestamp,
}

/// A record whose body is not the one that was decided.
#[derive(Debug)]
pub struct Edited<'a> {
    /// What could be read.
    pub publication: &'a Publication,
    /// The body that stands there now.
    pub body: &'a str,
}

/// A live policy that was found when a domain was taken over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adopted {
    /// Its id in the TXT record.
    pub id: Option<PolicyId>,
    /// The policy.
    pub policy: Policy,
    /// Digest of its body.
    pub sha256: Sha256Digest,
}

/// Why a new decision was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The first of its domain.
    First,
    /// The spec asks for another policy.
    PolicyChanged,
    /// DNS shows an id of ours that the record does not know: the record was lost or is old.
    RecordLost,
    /// Somebody edited the record.
    Edited,
}

/// What to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decided {
    /// The record stands as it is.
    Keep,
    /// The same body and id, other particulars (owner, provider).
    Update(Box<Record>),
    /// A new body or a new id.
    New(Box<Record>, Cause),
}

/// Decides. Body and id are decided together, so that one write carries both.
pub fn decide(input: &Input<'_>) -> Decided {
    let restored = input.edited.and_then(|edited| restored(input, edited));
    let input = &Input {
        record: restored.as_ref().or(input.record),
        ..*input
    };
    let policy = wanted(input).policy;
    match (cause(input, &policy), input.record) {
        (Some(cause), _) => Decided::New(Box::new(new_record(input, &policy, cause)), cause),
        (None, Some(record)) => match update(input, record) {
            Decided::Keep if restored.is_some() => Decided::Update(Box::new(record.clone())),
            decided => decided,
        },
        (None, None) => Decided::Keep,
    }
}

/// The policy that is to be published, and what keeps another one back.
pub fn wanted(input: &Input<'_>) -> Guarded {
    let adopted = input.adopted.map(|adopted| adopted.policy.mode);
    let mut policy = desired_policy(input.desired, adopted, input.record);
    let before = before_decision(input);
    if let Some(stage) = stage(input, &before) {
        policy.mode = stage.mode;
        policy.max_age = stage.max_age;
    }
    guard(input.desired, policy, before, input.live)
}

/// What senders go by now.
pub fn before_decision(input: &Input<'_>) -> Before {
    let adopted = input.adopted.map(|adopted| &adopted.policy);
    before(
        publication_before(input),
        adopted,
        input.installation,
        input.now,
    )
}

/// The stage that the domain is on, where it is to climb a ladder.
fn stage<'a>(input: &Input<'a>, before: &Before) -> Option<&'a Stage> {
    let on = publication_before(input).and_then(|p| p.rollout.as_ref());
    input.desired.rollout.as_ref()?.stage(on, before)
}

fn on_stage(input: &Input<'_>) -> Option<OnStage> {
    let stage = stage(input, &before_decision(input))?;
    let on = publication_before(input).and_then(|p| p.rollout.as_ref());
    Some(match on {
        Some(on) => on.kept(stage),
        None => OnStage::enter(stage, input.now),
    })
}

fn publication_before<'a>(input: &Input<'a>) -> Option<&'a Publication> {
    let edited = input.edited.map(|edited| edited.publication);
    input.record.map(|record| &record.publication).or(edited)
}

/// A record of which only the body was edited, with its own body again: no policy server has
/// served the edit, since its digest was not the one decided, so the id can stay.
fn restored(input: &Input<'_>, edited: &Edited<'_>) -> Option<Record> {
    let current = &edited.publication.current;
    let policy = Policy {
        mode: current.mode,
        max_age: current.max_age,
        mx: current.mx.clone(),
    };
    let body = policy.render();
    (input.record.is_none() && Sha256Digest::of(body.as_bytes()) == current.sha256).then(|| {
        Record {
            body,
            publication: edited.publication.clone(),
        }
    })
}

fn cause(input: &Input<'_>, policy: &Policy) -> Option<Cause> {
    let Some(record) = input.record else {
        return Some(if input.edited.is_some() {
            Cause::Edited
        } else if lost_ids(input).next().is_some() {
            Cause::RecordLost
        } else {
            Cause::First
        });
    };
    if lost_ids(input).next().is_some() {
        return Some(Cause::RecordLost);
    }
    let digest = Sha256Digest::of(policy.render().as_bytes());
    (record.publication.current.sha256 != digest).then_some(Cause::PolicyChanged)
}

/// The ids in DNS that are ours and that the record does not know.
fn lost_ids<'a>(input: &Input<'a>) -> impl Iterator<Item = &'a PolicyId> {
    let publication = publication_before(input);
    let ids = input.txt.into_iter().flat_map(TxtSet::ours);
    ids.filter(move |id| !publication.is_some_and(|p| p.knows(id)))
}

impl Publication {
    /// Whether the id is one that this record has decided, or still remembers.
    pub fn knows(&self, id: &PolicyId) -> bool {
        self.current.id == *id
            || self.announced.as_ref().is_some_and(|a| a.id == *id)
            || self
                .ledger
                .iter()
                .any(|entry| entry.id.as_ref() == Some(id))
    }
}

fn new_record(input: &Input<'_>, policy: &Policy, cause: Cause) -> Record {
    let before = publication_before(input);
    let mut entries = before.map(|p| p.ledger.clone()).unwrap_or_default();
    // Whatever else is the cause: what the record does not know of was served.
    let worst =
        |id: &PolicyId| LedgerEntry::worst_case(id.clone(), input.assume_max_age, input.now);
    entries.extend(lost_ids(input).map(worst));
    if let Some(edited) = input.edited.filter(|_| cause == Cause::Edited) {
        entries.extend(edited_entry(edited, input.now));
    }
    if let Some(before) = before {
        entries.extend(unknown_to_ledger(before, input.now));
    }
    if let Some(adopted) = input.adopted {
        entries.push(adopted_entry(adopted, input.now));
    }
    let previous = [
        lost_ids(input).max(),
        before.map(|p| &p.current.id),
        before.and_then(|p| p.announced.as_ref()).map(|a| &a.id),
    ];
    let previous = previous.into_iter().flatten().max();
    let (body, current) = Decision::of(policy, input.installation, previous, input.now);
    entries.push(LedgerEntry::of(&current, input.now));
    let announced = before.and_then(|p| p.announced.clone());
    ledger::prune(&mut entries, &current.id, announced.as_ref(), input.now);
    Record {
        body,
        publication: Publication {
            domain: input.desired.domain.clone(),
            owner: input.owner.clone(),
            current,
            announced,
            ledger: entries,
            dns: dns_state(input, before),
            adopted_mode: adopted_mode(input, before),
            tried_out: tried_out(input, before),
            rollout: on_stage(input),
            external: input.desired.external,
            retiring: None,
            retired: false,
        },
    }
}

/// The entry of a policy that was put in by hand, body and publication both: it was served.
fn unknown_to_ledger(before: &Publication, now: Timestamp) -> Option<LedgerEntry> {
    let current = &before.current;
    let known = |entry: &LedgerEntry| {
        entry.id.as_ref() == Some(&current.id) && entry.sha256 == Some(current.sha256)
    };
    (!before.ledger.iter().any(known)).then(|| LedgerEntry::of(current, now))
}

/// A body that somebody put in by hand may have been served by an older policy server.
fn edited_entry(edited: &Edited<'_>, now: Timestamp) -> Option<LedgerEntry> {
    let policy = Policy::parse(edited.body.as_bytes()).ok()?;
    Some(LedgerEntry {
        id: None,
        sha256: Some(Sha256Digest::of(edited.body.as_bytes())),
        mode: policy.mode,
        max_age: policy.max_age,
        mx: policy.mx,
        first_served: now,
        last_served: None,
    })
}

fn adopted_entry(adopted: &Adopted, now: Timestamp) -> LedgerEntry {
    LedgerEntry {
        id: adopted.id.clone(),
        sha256: Some(adopted.sha256),
        mode: adopted.policy.mode,
        max_age: adopted.policy.max_age,
        mx: adopted.policy.mx.clone(),
        first_served: now,
        last_served: None,
    }
}

fn adopted_mode(input: &Input<'_>, before: Option<&Publication>) -> Option<Mode> {
    if input.desired.mode.is_some() {
        return None;
    }
    input
        .adopted
        .map(|a| a.policy.mode)
        .or_else(|| before.and_then(|p| p.adopted_mode))
}

fn tried_out(input: &Input<'_>, before: Option<&Publication>) -> Option<bool> {
    let Some(before) = before else {
        let is_first = input.adopted.is_none() && lost_ids(input).next().is_none();
        let tested = input
            .adopted
            .is_some_and(|it| it.policy.mode == Mode::Testing);
        return (is_first || tested).then_some(tested);
    };
    let current = &before.current;
    let since = before.announced.as_ref().filter(|it| it.id == current.id);
    let since = since.and_then(|announced| announced.confirmed_at);
    let lasted = since.map(|since| input.now.duration_since(since));
    match (current.mode, lasted) {
        (Mode::Testing, Some(_)) => Some(true),
        (Mode::Enforce, Some(lasted)) if lasted >= TRIED_OUT => Some(true),
        _ => before.tried_out,
    }
}

fn dns_state(input: &Input<'_>, before: Option<&Publication>) -> DnsState {
    DnsState {
        provider: input.provider.cloned(),
        ..before.map(|p| p.dns.clone()).unwrap_or_default()
    }
}

fn update(input: &Input<'_>, record: &Record) -> Decided {
    let mut updated = record.clone();
    let publication = &mut updated.publication;
    publication.owner = input.owner.clone();
    publication.dns = dns_state(input, Some(&record.publication));
    publication.adopted_mode = adopted_mode(input, Some(&record.publication));
    publication.rollout = on_stage(input);
    publication.external = input.desired.external;
    if publication.retiring.take().is_some() {
        // Its TXT record may be gone: writing it again is a publication, no repair.
        if let Some(announced) = &mut publication.announced {
            announced.confirmed_at = None;
        }
    }
    publication.retired = false;
    if let Some(adopted) = input.adopted {
        let known = |e: &LedgerEntry| e.id == adopted.id && e.sha256 == Some(adopted.sha256);
        if !publication.ledger.iter().any(known) {
            publication.ledger.push(adopted_entry(adopted, input.now));
        }
    }
    let announced = publication.announced.clone();
    ledger::prune(
        &mut publication.ledger,
        &record.publication.current.id,
        announced.as_ref(),
        input.now,
    );
    if updated == *record {
        Decided::Keep
    } else {
        Decided::Update(Box::new(updated))
    }
}

#[cfg(test)]
mod tests {
    use super::super::desired::tests::desired;
    use super::*;

    struct World {
        desired: Desired,
        owner: Owner,
        installation: InstallationId,
        live: LiveMx,
        now: Timestamp,
    }

    impl World {
        fn new() -> Self {
            Self {
                desired: desired(),
                owner: Owner {
                    namespace: "mail".to_owned(),
                    name: "example-org".to_owned(),
                    uid: "1".to_owned(),
                },
                installation: "00c0de".parse().unwrap(),
                live: LiveMx::Hosts(Vec::new()),
                now: "2026-11-25T12:00:00Z".parse().unwrap(),
            }
        }

        fn input<'a>(&'a self, record: Option<&'a Record>, txt: Option<&'a TxtSet>) -> Input<'a> {
            Input {
                desired: &self.desired,
                owner: &self.owner,
                provider: None,
                installation: &self.installation,
                record,
                edited: None,
                txt,
                adopted: None,
                assume_max_age: MaxAge::MAX,
                live: &self.live,
                now: self.now,
            }
        }

        fn decide(&self, record: Option<&Record>, txt: Option<&TxtSet>) -> Decided {
            decide(&self.input(record, txt))
        }
    }

    fn new(decided: Decided) -> (Record, Cause) {
        match decided {
            Decided::New(record, cause) => (*record, cause),
            other => panic!("no new decision: {other:?}"),
        }
    }

    #[test]
    fn the_first_decision_is_served_and_in_the_ledger_and_not_announced() {
        let (record, cause) = new(World::new().decide(None, None));
        let publication = &record.publication;
        assert_eq!(cause, Cause::First);
        assert_eq!(publication.announced, None);
        assert_eq!(publication.ledger.len(), 1);
        assert_eq!(
            publication.ledger[0].id.as_ref(),
            Some(&publication.current.id)
        );
        assert!(
            publication
                .current
                .id
                .belongs_to(&publication.current.sha256)
        );
        assert!(Record::from_data(&record.to_data().unwrap()).unwrap() == record);
    }

    #[test]
    fn deciding_again_changes_nothing() {
        let mut world = World::new();
        let (record, _) = new(world.decide(None, None));
        world.now = "2026-11-25T12:30:00Z".parse().unwrap();
        assert_eq!(world.decide(Some(&record), None), Decided::Keep);
    }

    #[test]
    fn a_policy_is_tried_out_in_mode_testing_or_by_two_weeks_of_enforce() {
        let out = |record: &Record, at: Timestamp| {
            let mut announced = super::super::publish::announce(record, 300, 300, at);
            if let Some(announced) = &mut announced.publication.announced {
                announced.confirmed_at = Some(at);
            }
            announced
        };
        for (case, mode, is_out, days, expected) in [
            ("nothing was out", Mode::Testing, false, 20, Some(false)),
            ("testing was out", Mode::Testing, true, 0, Some(true)),
            ("enforce for a week", Mode::Enforce, true, 7, Some(false)),
            ("enforce for two", Mode::Enforce, true, 14, Some(true)),
        ] {
            let mut world = World::new();
            world.desired.mode = Some(mode);
            let (first, _) = new(world.decide(None, None));
            assert_eq!(first.publication.tried_out, Some(false), "{case}");
            let first = if is_out {
                out(&first, world.now)
            } else {
                first
            };
            world.now += jiff::SignedDuration::from_hours(24 * days);
            world.desired.mode = Some(Mode::Enforce);
            world.desired.max_age = Some(MaxAge::from_seconds(700_000).unwrap());
            let (second, _) = new(world.decide(Some(&first), None));
            assert_eq!(second.publication.tried_out, expected, "{case}");
        }
    }

    #[test]
    fn bytes_that_come_back_get_a_new_and_greater_id() {
        let mut world = World::new();
        let (a, _) = new(world.decide(None, None));
        world.desired.mode = Some(Mode::Enforce);
        let (b, cause) = new(world.decide(Some(&a), None));
        assert_eq!(cause, Cause::PolicyChanged);
        world.desired.mode = None;
        let (again, _) = new(world.decide(Some(&b), None));
        assert_eq!(again.body, a.body);
        let ids = [&a, &b, &again].map(|r| r.publication.current.id.clone());
        assert!(ids[0] < ids[1] && ids[1] < ids[2], "{ids:?}");
        assert_eq!(again.publication.ledger.len(), 3);
        assert!(
            again
                .publication
                .ledger
                .iter()
                .all(|e| e.last_served.is_none())
        );
    }

    #[test]
    fn a_lost_record_is_taken_for_the_worst_and_its_id_is_passed() {
        let world = World::new();
        let lost = "20301231235959aaaaaaaa00c0de";
        let txt = TxtSet::classify(
            &[format!("v=STSv1; id={lost};").into_bytes()],
            &world.installation,
        );
        let (record, cause) = new(world.decide(None, Some(&txt)));
        assert_eq!(cause, Cause::RecordLost);
        assert!(record.publication.current.id.as_str() > lost);
        let worst = &record.publication.ledger[0];
        assert_eq!((worst.mode, worst.max_age), (Mode::Enforce, MaxAge::MAX));
        assert_eq!(
            world.decide(Some(&record), Some(&txt)),
            Decided::Keep,
            "the old id is lost once only, though DNS shows it until the new one is out"
        );
    }

    #[test]
    fn an_old_record_restored_from_a_backup_gets_a_new_id() {
        let mut world = World::new();
        let (old, _) = new(world.decide(None, None));
        let txt = TxtSet::classify(
            &[b"v=STSv1; id=20271231235959aaaaaaaa00c0de;".to_vec()],
            &world.installation,
        );
        world.now = "2026-11-25T12:30:00Z".parse().unwrap();
        let (record, cause) = new(world.decide(Some(&old), Some(&txt)));
        assert_eq!(cause, Cause::RecordLost);
        assert!(record.publication.current.id.as_str() > "20271231235959");
        assert_eq!(record.body, old.body);
    }

    #[test]
    fn an_old_record_is_taken_for_the_worst_also_where_the_spec_asks_for_another_policy() {
        let mut world = World::new();
        let (old, _) = new(world.decide(None, None));
        world.desired.mode = Some(Mode::Enforce);
        let (lost, _) = new(world.decide(Some(&old), None));
        let lost = lost.publication.current.id;
        let txt = format!("v=STSv1; id={lost};").into_bytes();
        let txt = TxtSet::classify(&[txt], &world.installation);
        let (record, cause) = new(world.decide(Some(&old), Some(&txt)));
        assert_eq!(cause, Cause::RecordLost);
        let publication = &record.publication;
        assert!(publication.current.id > lost);
        let worst = publication
            .ledger
            .iter()
            .find(|e| e.id.as_ref() == Some(&lost));
        assert_eq!(worst.map(|e| e.max_age), Some(MaxAge::MAX));
    }

    #[test]
    fn an_edit_of_the_body_alone_is_undone_and_keeps_its_id() {
        let world = World::new();
        let (record, _) = new(world.decide(None, None));
        let edited = Edited {
            publication: &record.publication,
            body: "nonsense",
        };
        let mut input = world.input(None, None);
        input.edited = Some(&edited);
        assert_eq!(decide(&input), Decided::Update(Box::new(record.clone())));
    }

    #[test]
    fn an_edit_of_body_and_publication_is_a_new_decision_and_enters_the_ledger() {
        let world = World::new();
        let (record, _) = new(world.decide(None, None));
        let mut edited = record.clone();
        let current = &mut edited.publication.current;
        current.mode = Mode::Enforce;
        edited.body = edited.body.replace("testing", "enforce");
        current.sha256 = Sha256Digest::of(edited.body.as_bytes());
        let (mended, cause) = new(world.decide(Some(&edited), None));
        assert_eq!(cause, Cause::PolicyChanged);
        assert_eq!(mended.body, record.body);
        assert!(mended.publication.current.id > record.publication.current.id);
        let by_hand = |e: &LedgerEntry| e.sha256 == Some(edited.publication.current.sha256);
        assert!(mended.publication.ledger.iter().any(by_hand));
    }

    #[test]
    fn an_edited_body_that_cannot_be_restored_enters_the_ledger() {
        let world = World::new();
        let (mut record, _) = new(world.decide(None, None));
        record.publication.current.sha256 = Sha256Digest::of(b"of another body");
        let body = "version: STSv1\r\nmode: enforce\r\nmx: evil.example\r\nmax_age: 31557600\r\n";
        let edited = Edited {
            publication: &record.publication,
            body,
        };
        let mut input = world.input(None, None);
        input.edited = Some(&edited);
        let (mended, cause) = new(decide(&input));
        assert_eq!(cause, Cause::Edited);
        assert!(mended.publication.current.id > record.publication.current.id);
        let by_hand = |e: &LedgerEntry| (e.mode, e.max_age) == (Mode::Enforce, MaxAge::MAX);
        assert!(mended.publication.ledger.iter().any(by_hand));
    }

    #[test]
    fn a_policy_that_was_taken_over_keeps_enforcing_until_the_spec_names_a_mode() {
        let mut world = World::new();
        let live = Policy {
            mode: Mode::Enforce,
            max_age: MaxAge::WEEK,
            mx: vec!["mail.example.org".parse().unwrap()],
        };
        let adopted = Adopted {
            id: Some("1".parse().unwrap()),
            sha256: Sha256Digest::of(live.render().as_bytes()),
            policy: live,
        };
        let mut input = world.input(None, None);
        input.adopted = Some(&adopted);
        let (record, _) = new(decide(&input));
        assert_eq!(record.publication.current.mode, Mode::Enforce);
        assert_eq!(record.publication.ledger.len(), 2);
        assert_eq!(world.decide(Some(&record), None), Decided::Keep);
        world.desired.mode = Some(Mode::Testing);
        let (record, _) = new(world.decide(Some(&record), None));
        assert_eq!(record.publication.current.mode, Mode::Testing);
    }

    #[test]
    fn a_new_owner_takes_the_record_as_it_is() {
        let mut world = World::new();
        let (record, _) = new(world.decide(None, None));
        world.owner.uid = "2".to_owned();
        match world.decide(Some(&record), None) {
            Decided::Update(updated) => {
                assert_eq!(updated.publication.owner.uid, "2");
                assert_eq!(updated.publication.current, record.publication.current);
            }
            other => panic!("{other:?}"),
        }
    }
}
