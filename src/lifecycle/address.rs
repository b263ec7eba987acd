//! The address records of the policy host: what is due for them.

use std::collections::BTreeSet;

use super::record::Address;

/// What is due for the address records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddressStep {
    /// They are as wanted.
    InPlace,
    /// Somebody else's records stand there: these.
    Foreign(Vec<Address>),
    /// Note in the durable record that these are ours, before they are written.
    Note(Vec<Address>),
    /// Write: everything that stands there is replaced by what is wanted.
    Write,
}

/// Decides about the address records.
///
/// An address record cannot carry an installation id. So what is ours is noted in the durable
/// record before it is written (`noted`); a value that is neither noted nor wanted is somebody
/// else's, and is touched only with `adopt`.
pub fn address_step(
    wanted: &[Address],
    noted: &[Address],
    present: &[Address],
    adopt: bool,
) -> AddressStep {
    let set = |addresses: &[Address]| addresses.iter().cloned().collect::<BTreeSet<_>>();
    let (wanted, noted, present) = (set(wanted), set(noted), set(present));
    if wanted == present {
        return AddressStep::InPlace;
    }
    let foreign: Vec<Address> = present
        .iter()
        .filter(|address| !wanted.contains(address) && !noted.contains(address))
        .cloned()
        .collect();
    if !foreign.is_empty() && !adopt {
        return AddressStep::Foreign(foreign);
    }
    // With adopt the foreign ones become ours to remove, so they are noted as well.
    let ours: BTreeSet<Address> = wanted
        .iter()
        .chain(&noted)
        .chain(&foreign)
        .cloned()
        .collect();
    if ours == noted {
        AddressStep::Write
    } else {
        AddressStep::Note(ours.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(last: u8) -> Address {
        Address::A([192, 0, 2, last].into())
    }

    #[test]
    fn what_is_not_ours_is_never_touched() {
        let cname = Address::Cname("front.example.net".to_owned());
        for (case, wanted, noted, present, adopt, expected) in [
            (
                "there",
                vec![a(1)],
                vec![],
                vec![a(1)],
                false,
                AddressStep::InPlace,
            ),
            (
                "nothing yet",
                vec![a(1)],
                vec![],
                vec![],
                false,
                AddressStep::Note(vec![a(1)]),
            ),
            (
                "noted",
                vec![a(1)],
                vec![a(1)],
                vec![],
                false,
                AddressStep::Write,
            ),
            (
                "foreign",
                vec![a(1)],
                vec![],
                vec![a(9)],
                false,
                AddressStep::Foreign(vec![a(9)]),
            ),
            (
                "foreign beside ours",
                vec![a(1)],
                vec![a(1)],
                vec![a(1), a(9)],
                false,
                AddressStep::Foreign(vec![a(9)]),
            ),
            (
                "foreign, adopted",
                vec![a(1)],
                vec![],
                vec![a(9)],
                true,
                AddressStep::Note(vec![a(1), a(9)]),
            ),
            (
                "the wish changed",
                vec![cname.clone()],
                vec![a(1)],
                vec![a(1)],
                false,
                AddressStep::Note(vec![cname.clone(), a(1)]),
            ),
            (
                "a change that was noted",
                vec![cname.clone()],
                vec![cname.clone(), a(1)],
                vec![a(1)],
                false,
                AddressStep::Write,
            ),
        ] {
            assert_eq!(
                address_step(&wanted, &noted, &present, adopt),
                expected,
                "{case}"
            );
        }
    }
}
