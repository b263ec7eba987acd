//! What a policy may name of the cluster's: the administrator's allow-lists.
//!
//! Each list is empty at first, and what an empty one leaves are the defaults: of the operator, of
//! the cluster, and the Secret that is named after the domain. A policy that names nothing needs no
//! list.

use std::fmt;

/// An entry of an allow-list: `NAME`, or `SCOPE/NAME`; `*` stands for every name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Allowed {
    /// `None`: in every scope.
    scope: Option<String>,
    /// `None`: every name.
    name: Option<String>,
}

/// Why a text is no entry of an allow-list.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("write {form} or *: names have lower-case letters, digits, hyphens and dots")]
pub struct AllowedError {
    form: &'static str,
}

impl Allowed {
    /// An IngressClass: `NAME`.
    pub fn ingress_class(text: &str) -> Result<Self, AllowedError> {
        let entry = Self::parse(text).filter(|entry| entry.scope.is_none());
        entry.ok_or(AllowedError { form: "NAME" })
    }

    /// A cert-manager issuer: `ClusterIssuer/NAME` or `Issuer/NAME`.
    pub fn issuer(text: &str) -> Result<Self, AllowedError> {
        const KINDS: [&str; 2] = ["ClusterIssuer", "Issuer"];
        let form = "ClusterIssuer/NAME, Issuer/NAME";
        let entry = match text.split_once('/') {
            Some((kind, name)) if KINDS.contains(&kind) => Self::parse(name)
                .filter(|entry| entry.scope.is_none())
                .map(|entry| Self {
                    scope: Some(kind.to_owned()),
                    ..entry
                }),
            Some(_) => None,
            None => Self::parse(text).filter(|entry| entry.name.is_none()),
        };
        entry.ok_or(AllowedError { form })
    }

    /// A Gateway: `NAMESPACE/NAME`.
    pub fn gateway(text: &str) -> Result<Self, AllowedError> {
        let entry = Self::parse(text).filter(|e| e.scope.is_some() || e.name.is_none());
        entry.ok_or(AllowedError {
            form: "NAMESPACE/NAME",
        })
    }

    /// A TLS Secret of the operator's namespace: `NAME` for the policies of every namespace, or
    /// `NAMESPACE/NAME` for those of one.
    pub fn tls_secret(text: &str) -> Result<Self, AllowedError> {
        Self::parse(text).ok_or(AllowedError {
            form: "NAME, NAMESPACE/NAME",
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (scope, name) = match text.split_once('/') {
            Some((scope, name)) => (Some(scope), name),
            None => (None, text),
        };
        let name = match name {
            "*" => None,
            name => Some(is_name(name).then(|| name.to_owned())?),
        };
        let scope = match scope {
            None => None,
            Some(scope) => Some(is_name(scope).then(|| scope.to_owned())?),
        };
        Some(Self { scope, name })
    }

    /// Whether it allows `name` in `scope`.
    pub fn covers(&self, scope: &str, name: &str) -> bool {
        let fits = |wanted: &Option<String>, found| wanted.as_deref().is_none_or(|w| w == found);
        fits(&self.scope, scope) && fits(&self.name, name)
    }
}

fn is_name(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text.len() <= 253
        && text
            .chars()
            .all(|c| alphanumeric(c) || c == '-' || c == '.')
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scope) = &self.scope {
            write!(f, "{scope}/")?;
        }
        f.write_str(self.name.as_deref().unwrap_or("*"))
    }
}

/// Something that a policy names and may not: what, what it may name, and who can change that.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the {what} may not be named by this policy; allowed: {allowed}. Name one of these or none, or ask the administrator of the operator to start it with {flag}"
)]
pub struct NotAllowed {
    what: String,
    allowed: String,
    flag: String,
}

/// Whether a policy may name the IngressClass `name`: one of the list, or one that it would get
/// without naming any.
pub fn ingress_class(list: &[Allowed], defaults: &[&str], name: &str) -> Result<(), NotAllowed> {
    check(list, defaults, ("", name)).map_err(|allowed| NotAllowed {
        what: format!("IngressClass {name}"),
        allowed,
        flag: format!("--allow-ingress-class {name}"),
    })
}

/// Whether a policy may name this cert-manager issuer.
pub fn issuer(list: &[Allowed], kind: &str, name: &str) -> Result<(), NotAllowed> {
    check(list, &[], (kind, name)).map_err(|allowed| NotAllowed {
        what: format!("{kind} {name}"),
        allowed,
        flag: format!("--allow-issuer {kind}/{name}"),
    })
}

/// Whether a policy may name this Gateway: one of the list, or the operator's default.
pub fn gateway(
    list: &[Allowed],
    default: Option<(&str, &str)>,
    namespace: &str,
    name: &str,
) -> Result<(), NotAllowed> {
    if default == Some((namespace, name)) {
        return Ok(());
    }
    let shown = default.map(|(namespace, name)| format!("{namespace}/{name}"));
    let defaults: Vec<&str> = shown.as_deref().into_iter().collect();
    check(list, &defaults, (namespace, name)).map_err(|allowed| NotAllowed {
        what: format!("Gateway {namespace}/{name}"),
        allowed,
        flag: format!("--allow-gateway {namespace}/{name}"),
    })
}

/// Whether a policy of `namespace` may name the TLS Secret `name` of the operator's namespace. By
/// its name alone, since the operator reads no such Secret: the one that is named after the domain
/// is the domain's, any other may be somebody else's.
pub fn tls_secret(
    list: &[Allowed],
    own: &str,
    namespace: &str,
    name: &str,
) -> Result<(), NotAllowed> {
    if name == own {
        return Ok(());
    }
    let ours: Vec<Allowed> = list
        .iter()
        .filter(|e| e.is_for(namespace))
        .cloned()
        .collect();
    check(&ours, &[own], (namespace, name)).map_err(|allowed| NotAllowed {
        what: format!("TLS Secret {name}"),
        allowed,
        flag: format!("--allow-tls-secret {namespace}/{name}"),
    })
}

impl Allowed {
    fn is_for(&self, scope: &str) -> bool {
        self.scope.as_deref().is_none_or(|wanted| wanted == scope)
    }
}

/// Annotations that say what a list of ours governs, whatever prefix of theirs is allowed, each
/// with the field to write in its place.
const GOVERNED: &[(&str, &str)] = &[
    (
        "cert-manager.io/issuer",
        "spec.hosting.ingress.tls.issuerRef",
    ),
    (
        "cert-manager.io/cluster-issuer",
        "spec.hosting.ingress.tls.issuerRef",
    ),
    (
        "cert-manager.io/issuer-kind",
        "spec.hosting.ingress.tls.issuerRef",
    ),
    (
        "cert-manager.io/issuer-group",
        "spec.hosting.ingress.tls.issuerRef",
    ),
    (
        "kubernetes.io/ingress.class",
        "spec.hosting.ingress.className",
    ),
];

/// The field that an Ingress annotation would go around, where it would.
pub fn governed_by(annotation: &str) -> Option<&'static str> {
    let found = GOVERNED.iter().find(|(key, _)| *key == annotation);
    found.map(|(_, field)| *field)
}

/// What is allowed, in the error, as a person reads it.
fn check(list: &[Allowed], defaults: &[&str], (scope, name): (&str, &str)) -> Result<(), String> {
    let listed = list.iter().any(|entry| entry.covers(scope, name));
    if listed || defaults.contains(&name) {
        return Ok(());
    }
    let mut allowed: Vec<String> = defaults.iter().map(|&d| d.to_owned()).collect();
    allowed.extend(list.iter().map(ToString::to_string));
    Err(if allowed.is_empty() {
        "none".to_owned()
    } else {
        allowed.join(", ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = fn(&str) -> Result<Allowed, AllowedError>;

    #[test]
    fn entries_are_read_and_shown_as_they_are_written() {
        let cases: [(Read, &[&str], &[&str]); 4] = [
            (
                Allowed::ingress_class,
                &["nginx", "a.b-c", "*"],
                &["", "a/b", "Nginx", "-a", "a b", "a,b"],
            ),
            (
                Allowed::issuer,
                &["ClusterIssuer/ca", "Issuer/own", "Issuer/*", "*"],
                &["ca", "Secret/ca", "/ca", "Issuer/", "Issuer/a/b"],
            ),
            (
                Allowed::gateway,
                &["infra/public", "infra/*", "*"],
                &["public", "/public", "infra/", "a/b/c", "*/public"],
            ),
            (
                Allowed::tls_secret,
                &["wildcard", "mail/wildcard", "mail/*", "*"],
                &["", "/", "mail/../x", "A"],
            ),
        ];
        for (read, good, bad) in cases {
            for text in good {
                assert_eq!(read(text).unwrap().to_string(), *text);
            }
            for text in bad {
                assert!(read(text).is_err(), "{text:?} was taken");
            }
        }
    }

    fn list(read: Read, entries: &[&str]) -> Vec<Allowed> {
        entries.iter().map(|text| read(text).unwrap()).collect()
    }

    #[test]
    fn an_empty_list_leaves_the_defaults() {
        assert!(ingress_class(&[], &["front"], "front").is_ok());
        assert!(ingress_class(&[], &["front"], "internal").is_err());
        assert!(issuer(&[], "ClusterIssuer", "ca").is_err());
        assert!(gateway(&[], None, "infra", "public").is_err());
        assert!(gateway(&[], Some(("infra", "public")), "infra", "public").is_ok());
        assert!(gateway(&[], Some(("infra", "public")), "infra", "other").is_err());
        assert!(tls_secret(&[], "mta-sts-a-tls", "mail", "mta-sts-a-tls").is_ok());
        assert!(tls_secret(&[], "mta-sts-a-tls", "mail", "mta-sts-b-tls").is_err());
    }

    #[test]
    fn a_list_allows_what_it_names_in_its_scope() {
        let classes = list(Allowed::ingress_class, &["nginx"]);
        assert!(ingress_class(&classes, &[], "nginx").is_ok());
        assert!(ingress_class(&classes, &[], "other").is_err());
        let issuers = list(Allowed::issuer, &["ClusterIssuer/ca"]);
        assert!(issuer(&issuers, "ClusterIssuer", "ca").is_ok());
        assert!(issuer(&issuers, "Issuer", "ca").is_err());
        let gateways = list(Allowed::gateway, &["infra/*"]);
        assert!(gateway(&gateways, None, "infra", "public").is_ok());
        assert!(gateway(&gateways, None, "mail", "public").is_err());
        let secrets = list(Allowed::tls_secret, &["shared", "mail/own"]);
        assert!(tls_secret(&secrets, "default", "mail", "own").is_ok());
        assert!(tls_secret(&secrets, "default", "shop", "own").is_err());
        assert!(tls_secret(&secrets, "default", "shop", "shared").is_ok());
        for all in [
            list(Allowed::issuer, &["*"]),
            list(Allowed::tls_secret, &["*"]),
        ] {
            assert!(issuer(&all, "Issuer", "any").is_ok());
            assert!(tls_secret(&all, "default", "mail", "any").is_ok());
        }
    }

    #[test]
    fn a_refusal_says_what_is_allowed_and_who_can_change_it() {
        let error = issuer(
            &list(Allowed::issuer, &["ClusterIssuer/ca"]),
            "Issuer",
            "own",
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "the Issuer own may not be named by this policy; allowed: ClusterIssuer/ca. Name one of these or none, \
             or ask the administrator of the operator to start it with --allow-issuer Issuer/own"
        );
        // What is allowed to somebody else is none of his business.
        let secrets = list(Allowed::tls_secret, &["mail/own"]);
        let error = tls_secret(&secrets, "default", "shop", "own").unwrap_err();
        assert!(!error.to_string().contains("mail/own"), "{error}");
    }

    #[test]
    fn no_annotation_goes_around_a_list() {
        for key in [
            "cert-manager.io/cluster-issuer",
            "kubernetes.io/ingress.class",
        ] {
            assert!(governed_by(key).is_some(), "{key}");
        }
        assert_eq!(governed_by("cert-manager.io/duration"), None);
    }
}
