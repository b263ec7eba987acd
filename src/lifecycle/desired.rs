//! What a spec asks for, parsed, and the policy that follows from it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::guard::Enforcement;
use super::record::{Address, Record};
use super::rollout::Rollout;
use crate::protocol::{Domain, HostName, MaxAge, Mode, MxPattern, Policy, TlsRptRecord};

/// A valid spec: every value parsed, every default that needs no cluster filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Desired {
    /// The policy domain.
    pub domain: Domain,
    /// The mode, where the spec names one.
    pub mode: Option<Mode>,
    /// Patterns of the spec and of its presets, without duplicates, sorted.
    pub mx: Vec<MxPattern>,
    /// The max_age, where the spec names one.
    pub max_age: Option<MaxAge>,
    /// The ladder to mode enforce; `None`: the policy is published as it is written.
    pub rollout: Option<Rollout>,
    /// Whether the live MX hosts may hold mode enforce back.
    pub enforcement: Enforcement,
    /// The record that asks for TLS reports, where one is to be published.
    pub tls_rpt: Option<TlsRptRecord>,
    /// TTL of the records in seconds.
    pub ttl: u32,
    /// Whether foreign records are taken over.
    pub adopt: bool,
    /// Whether somebody else serves the policy.
    pub external: bool,
    /// The address records of the policy host.
    pub address: AddressWish,
    /// Whether everything is left as it is.
    pub suspend: bool,
}

/// Which address records the policy host is to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddressWish {
    /// Those that the Ingress or the Gateway reports.
    FromIngress,
    /// An alias.
    Cname(HostName),
    /// Addresses.
    Addresses(Vec<Ipv4Addr>, Vec<Ipv6Addr>),
    /// The address record is somebody else's.
    LeaveAlone,
}

impl AddressWish {
    /// The records as they stand in the durable record.
    pub fn addresses(&self) -> Vec<Address> {
        match self {
            Self::Cname(name) => vec![Address::Cname(name.to_string())],
            Self::Addresses(v4, v6) => v4
                .iter()
                .map(|&a| Address::A(a))
                .chain(v6.iter().map(|&a| Address::Aaaa(a)))
                .collect(),
            Self::FromIngress | Self::LeaveAlone => Vec::new(),
        }
    }
}

/// The policy to publish.
///
/// A mode that the spec leaves open is `testing`, unless a foreign policy was taken over: its
/// enforce stays until the spec says otherwise. In mode `none` without patterns the last served
/// ones stay, else the domain itself stands there: two readers refuse a policy without any.
pub fn desired_policy(desired: &Desired, adopted: Option<Mode>, last: Option<&Record>) -> Policy {
    let adopted = adopted.or_else(|| last.and_then(|r| r.publication.adopted_mode));
    let mode = desired.mode.or(adopted).unwrap_or(Mode::Testing);
    let max_age = desired.max_age.unwrap_or(match mode {
        Mode::Enforce => MaxAge::WEEK,
        Mode::Testing | Mode::None => MaxAge::DAY,
    });
    let mut mx = desired.mx.clone();
    if mx.is_empty() {
        mx = last
            .map(|r| r.publication.current.mx.clone())
            .unwrap_or_default();
    }
    if mx.is_empty() {
        mx.extend(MxPattern::parse(desired.domain.as_str()));
    }
    mx.sort_by_key(ToString::to_string);
    mx.dedup();
    Policy { mode, max_age, mx }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What the smallest useful object asks for.
    pub(crate) fn desired() -> Desired {
        Desired {
            domain: Domain::parse("example.org").unwrap(),
            mode: None,
            mx: vec![MxPattern::parse("mail.example.org").unwrap()],
            max_age: None,
            rollout: None,
            enforcement: Enforcement::Guarded,
            tls_rpt: None,
            ttl: 300,
            adopt: false,
            external: false,
            address: AddressWish::FromIngress,
            suspend: false,
        }
    }

    #[test]
    fn defaults_follow_the_mode() {
        for (case, mode, adopted, expected, max_age) in [
            ("nothing said", None, None, Mode::Testing, 86_400),
            ("enforce", Some(Mode::Enforce), None, Mode::Enforce, 604_800),
            ("none", Some(Mode::None), None, Mode::None, 86_400),
            (
                "taken over",
                None,
                Some(Mode::Enforce),
                Mode::Enforce,
                604_800,
            ),
            (
                "taken over, testing written",
                Some(Mode::Testing),
                Some(Mode::Enforce),
                Mode::Testing,
                86_400,
            ),
        ] {
            let spec = Desired { mode, ..desired() };
            let policy = desired_policy(&spec, adopted, None);
            assert_eq!(
                (policy.mode, policy.max_age.seconds()),
                (expected, max_age),
                "{case}"
            );
        }
    }

    #[test]
    fn mode_none_keeps_a_pattern() {
        let spec = Desired {
            mode: Some(Mode::None),
            mx: Vec::new(),
            ..desired()
        };
        let body = desired_policy(&spec, None, None).render();
        assert!(body.contains("mx: example.org\r\n"), "{body}");
    }
}
