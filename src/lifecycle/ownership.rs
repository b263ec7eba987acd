//! Which object a domain belongs to.

use jiff::Timestamp;

use super::record::Owner;
use crate::protocol::Domain;

/// An object that claims a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claimant {
    /// The object.
    pub object: Owner,
    /// What it claims.
    pub domain: Domain,
    /// When it was created.
    pub created: Timestamp,
}

/// A domain that already has a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holding {
    /// The record's owner.
    pub owner: Owner,
    /// The domain.
    pub domain: Domain,
    /// On its way out: anybody who claims the domain may take it over.
    pub retiring: bool,
}

/// Whether a domain may belong to another namespace than its parent or child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kin {
    /// Nobody has said who may claim what: a part of somebody else's mail is not for the taking.
    OfOneNamespace,
    /// The administrator has granted each domain: he has divided them himself.
    Anywhere,
}

/// Whether an object has its domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claim {
    /// It has.
    Owned,
    /// Somebody else has it, or a parent or child of it.
    Conflict {
        /// Namespace and name of the other object.
        with: String,
        /// The domain that the other one has.
        domain: Domain,
    },
}

/// Decides whether `me` has its domain.
///
/// The owner of a record keeps the domain while the record exists. Without a record the older
/// object has it. A parent or child of a domain of another namespace cannot be claimed: whoever
/// holds `_mta-sts.<sub>.<domain>` could otherwise speak for a part of somebody else's mail; and
/// an object that is refused for that keeps nobody else from the domain. With [`Kin::Anywhere`]
/// only the same domain counts, and `others` are those that may claim theirs.
pub fn claim(me: &Claimant, others: &[Claimant], holdings: &[Holding], kin: Kin) -> Claim {
    if let Some(holding) = held_against(me, holdings, kin) {
        return conflict(&holding.owner, &holding.domain);
    }
    if holds(me, holdings) {
        return Claim::Owned;
    }
    let rivals = others.iter().filter(|other| {
        let kin_counts = kin == Kin::OfOneNamespace
            && other.object.namespace != me.object.namespace
            && related(&other.domain, &me.domain);
        other.object != me.object
            && (other.domain == me.domain || kin_counts)
            && held_against(other, holdings, kin).is_none()
    });
    match rivals
        .filter(|other| age(other) < age(me))
        .min_by_key(|o| age(o))
    {
        Some(older) => conflict(&older.object, &older.domain),
        None => Claim::Owned,
    }
}

fn holds(me: &Claimant, holdings: &[Holding]) -> bool {
    holdings.iter().any(|holding| {
        holding.domain == me.domain && !holding.retiring && same_object(&holding.owner, &me.object)
    })
}

/// The record of somebody else that `me` cannot have its domain beside.
fn held_against<'a>(me: &Claimant, holdings: &'a [Holding], kin: Kin) -> Option<&'a Holding> {
    let held_by_me = holds(me, holdings);
    holdings
        .iter()
        .filter(|holding| !same_object(&holding.owner, &me.object))
        .find(|holding| {
            let same = holding.domain == me.domain && !holding.retiring;
            let kin_counts = kin == Kin::OfOneNamespace
                && holding.owner.namespace != me.object.namespace
                && !held_by_me
                && related(&holding.domain, &me.domain);
            same || kin_counts
        })
}

/// An object that was deleted and made again is another one, but takes back what it had.
fn same_object(a: &Owner, b: &Owner) -> bool {
    a.namespace == b.namespace && a.name == b.name
}

fn related(a: &Domain, b: &Domain) -> bool {
    a.host_name().is_below(b.host_name()) || b.host_name().is_below(a.host_name())
}

fn age(claimant: &Claimant) -> (Timestamp, &str) {
    (claimant.created, &claimant.object.uid)
}

fn conflict(owner: &Owner, domain: &Domain) -> Claim {
    Claim::Conflict {
        with: format!("{}/{}", owner.namespace, owner.name),
        domain: domain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(namespace: &str, name: &str, domain: &str, created: i64) -> Claimant {
        Claimant {
            object: Owner {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: format!("{namespace}/{name}"),
            },
            domain: Domain::parse(domain).unwrap(),
            created: Timestamp::from_second(created).unwrap(),
        }
    }

    fn holding(of: &Claimant, retiring: bool) -> Holding {
        Holding {
            owner: of.object.clone(),
            domain: of.domain.clone(),
            retiring,
        }
    }

    #[test]
    fn the_owner_keeps_its_domain_and_the_older_gets_a_free_one() {
        let old = claimant("a", "old", "example.org", 1);
        let young = claimant("b", "young", "example.org", 2);
        let both = [old.clone(), young.clone()];
        let owns = |me: &Claimant, holdings: &[Holding]| {
            claim(me, &both, holdings, Kin::OfOneNamespace) == Claim::Owned
        };

        assert!(
            owns(&old, &[]) && !owns(&young, &[]),
            "no record: the older"
        );
        let record = [holding(&young, false)];
        assert!(
            !owns(&old, &record) && owns(&young, &record),
            "record: its owner"
        );
        let retiring = [holding(&young, true)];
        assert!(owns(&old, &retiring), "retiring: free for the older");
        assert!(!owns(&young, &retiring), "retiring: not for the younger");
    }

    #[test]
    fn an_object_made_again_takes_its_record_back() {
        let me = claimant("a", "x", "example.org", 5);
        let mut record = holding(&me, false);
        record.owner.uid = "before".to_owned();
        assert_eq!(
            claim(&me, &[], &[record], Kin::OfOneNamespace),
            Claim::Owned
        );
    }

    #[test]
    fn an_orphaned_record_is_not_free() {
        let me = claimant("b", "x", "example.org", 5);
        let orphan = holding(&claimant("a", "gone", "example.org", 1), false);
        assert!(matches!(
            claim(&me, &[], &[orphan], Kin::OfOneNamespace),
            Claim::Conflict { .. }
        ));
    }

    #[test]
    fn kin_of_another_namespace_is_refused_and_of_the_same_is_not() {
        let parent = claimant("a", "parent", "example.org", 1);
        for (case, me, expected) in [
            (
                "child, other namespace",
                claimant("b", "c", "shop.example.org", 2),
                false,
            ),
            (
                "child, same namespace",
                claimant("a", "c", "shop.example.org", 2),
                true,
            ),
            ("only alike", claimant("b", "c", "badexample.org", 2), true),
            (
                "older child, other namespace",
                claimant("b", "c", "shop.example.org", 0),
                true,
            ),
        ] {
            let owned = |kin| claim(&me, std::slice::from_ref(&parent), &[], kin) == Claim::Owned;
            assert_eq!(owned(Kin::OfOneNamespace), expected, "{case}");
            assert!(owned(Kin::Anywhere), "{case}, where each domain is granted");
        }
        let child = claimant("b", "c", "shop.example.org", 0);
        let held = [holding(&parent, false)];
        assert!(matches!(
            claim(&child, &[], &held, Kin::OfOneNamespace),
            Claim::Conflict { .. }
        ));
        // What is refused keeps nobody else from the domain, however old it is.
        let own = claimant("a", "c", "shop.example.org", 2);
        assert_eq!(
            claim(&own, &[child], &held, Kin::OfOneNamespace),
            Claim::Owned
        );
    }
}
