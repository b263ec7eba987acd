//! Which namespace may claim which domain, where the administrator says so.

use std::fmt;

use serde::Deserialize;

use crate::protocol::{Domain, DomainError};

/// Grants of domains to namespaces. Where there are any, nothing but a grant allows a claim.
///
/// `S` selects namespaces; what it is, and the labels that it looks at, are the caller's.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(transparent)]
pub struct Tenancy<S> {
    grants: Vec<Grant<S>>,
}

/// Domains that the selected namespaces may claim.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant<S> {
    /// Which namespaces.
    pub namespace_selector: S,
    /// Which domains.
    pub domains: Vec<GrantedDomain>,
}

/// A domain in a grant.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum GrantedDomain {
    /// `*`: every domain.
    Any,
    /// Exactly this one.
    Exactly(Domain),
    /// `*.example.org`: whatever is below, at any depth, and not the domain itself.
    Below(Domain),
}

/// Why a text grants no domain.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the domain {text:?} {why}; write example.org, *.example.org (all below it) or * (every domain)"
)]
pub struct GrantedDomainError {
    text: String,
    why: DomainError,
}

impl<S> Tenancy<S> {
    /// The grants, in their order.
    pub fn new(grants: Vec<Grant<S>>) -> Self {
        Self { grants }
    }

    /// What the namespace that `selects` tells of may claim.
    pub fn granted<'a>(
        &'a self,
        selects: impl Fn(&S) -> bool + 'a,
    ) -> impl Iterator<Item = &'a GrantedDomain> {
        self.grants
            .iter()
            .filter(move |grant| selects(&grant.namespace_selector))
            .flat_map(|grant| &grant.domains)
    }

    /// Whether the namespace that `selects` tells of may claim `domain`.
    pub fn allows(&self, domain: &Domain, selects: impl Fn(&S) -> bool) -> bool {
        self.granted(selects).any(|granted| granted.covers(domain))
    }
}

impl GrantedDomain {
    /// Reads `example.org`, `*.example.org` or `*`.
    pub fn parse(text: &str) -> Result<Self, GrantedDomainError> {
        let domain = |name: &str| {
            Domain::parse(name).map_err(|why| GrantedDomainError {
                text: text.to_owned(),
                why,
            })
        };
        match (text, text.strip_prefix("*.")) {
            ("*", _) => Ok(Self::Any),
            (_, Some(below)) => Ok(Self::Below(domain(below)?)),
            (exactly, None) => Ok(Self::Exactly(domain(exactly)?)),
        }
    }

    /// Whether it grants `domain`.
    pub fn covers(&self, domain: &Domain) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(granted) => granted == domain,
            Self::Below(above) => domain.host_name().is_below(above.host_name()),
        }
    }
}

impl TryFrom<String> for GrantedDomain {
    type Error = GrantedDomainError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl fmt::Display for GrantedDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exactly(domain) => write!(f, "{domain}"),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_covers_what_it_says_and_nothing_alike() {
        for (grant, domain, covered) in [
            ("example.org", "example.org", true),
            ("example.org", "shop.example.org", false),
            ("example.org", "badexample.org", false),
            ("*.example.org", "shop.example.org", true),
            ("*.example.org", "deep.down.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "badexample.org", false),
            ("*.example.org", "example.org.example.net", false),
            ("*", "example.net", true),
        ] {
            let granted = GrantedDomain::parse(grant).unwrap();
            let domain = Domain::parse(domain).unwrap();
            assert_eq!(granted.covers(&domain), covered, "{grant} and {domain}");
            assert_eq!(granted.to_string(), grant);
        }
    }

    #[test]
    fn what_is_no_domain_is_refused_with_the_way_to_write_it() {
        for wrong in [
            "",
            "*.",
            "**",
            "*.*.org",
            "a.*.org",
            "EXAMPLE.org",
            "example.org.",
            "*example.org",
        ] {
            let error = GrantedDomain::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("write example.org"), "{wrong}: {error}");
        }
    }

    #[test]
    fn only_a_grant_of_the_namespace_counts_and_none_allows_nothing() {
        let grant = |who: &'static str, domains: &[&str]| Grant {
            namespace_selector: who,
            domains: domains
                .iter()
                .map(|d| GrantedDomain::parse(d).unwrap())
                .collect(),
        };
        let tenancy = Tenancy::new(vec![
            grant("mail", &["example.org", "*.example.net"]),
            grant("mail", &["example.com"]),
            grant("shop", &["shop.example.org"]),
        ]);
        for (who, domain, allowed) in [
            ("mail", "example.org", true),
            ("mail", "a.example.net", true),
            ("mail", "example.com", true),
            ("mail", "shop.example.org", false),
            ("shop", "shop.example.org", true),
            ("shop", "example.org", false),
            ("other", "example.org", false),
        ] {
            let domain = Domain::parse(domain).unwrap();
            let found = tenancy.allows(&domain, |selected| *selected == who);
            assert_eq!(found, allowed, "{who} and {domain}");
        }
        let none = Tenancy::<&str>::new(Vec::new());
        assert!(!none.allows(&Domain::parse("example.org").unwrap(), |_| true));
    }
}
