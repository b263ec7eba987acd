//! Whether an object is accepted: a valid spec, an owned domain, a provider and a hosting that
//! it may use. (pure, on what the caches hold)

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use super::allowed;
use super::caches::{Caches, Fill, holdings};
use super::context::Context;
use super::dns::Access;
use super::gateway;
use super::spec::{assume_max_age, desired, lint_cluster_spec, lint_provider_spec, unreadable};
use super::tenancy::{self, Tenancy};
use super::way_in::WayIn;
use crate::api::condition::Reason;
use crate::api::{
    ClusterDnsProviderSpec, DnsProviderSpec, IngressSpec, IngressTlsSpec, MtaStsPolicy,
    ProviderKind,
};
use crate::config::ControllerArgs;
use crate::diagnosis::Finding;
use crate::lifecycle::desired::Desired;
use crate::lifecycle::ownership::{Claim, Claimant, Kin, claim};
use crate::lifecycle::{Owner, ProviderKey};
use crate::protocol::{Domain, MaxAge};

/// An object that may be published.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) owner: Owner,
    pub(super) desired: Desired,
    /// `None`: the records are set by hand.
    pub(super) provider: Option<Access>,
    /// `None`: somebody else serves the policy.
    pub(super) way_in: Option<WayIn>,
    /// What a lost record is taken to have said at worst.
    pub(super) assume_max_age: MaxAge,
    /// Warnings about the spec.
    pub(super) findings: Vec<Finding>,
}

/// The Ingress of a policy.
#[derive(Clone, Debug)]
pub(super) struct ChosenIngress {
    pub(super) class_name: String,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) tls: Option<IngressTlsSpec>,
}

/// Why an object is not accepted.
#[derive(Clone, Debug)]
pub(super) struct Rejected {
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) findings: Vec<Finding>,
}

impl Rejected {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            findings: Vec::new(),
        }
    }
}

/// Decides whether `policy` is accepted.
pub(super) fn accept(context: &Context, policy: &MtaStsPolicy) -> Result<Accepted, Rejected> {
    let (desired, findings) = desired(policy)?;
    let owner = owner(policy);
    granted(context, &owner.namespace, &desired.domain)?;
    own(context, policy, &owner, &desired.domain)?;
    let provider = provider(context, policy, &desired.domain)?;
    let way_in = way_in(context, policy, &desired.domain)?;
    Ok(Accepted {
        owner,
        assume_max_age: assume_max_age(policy)?,
        desired,
        provider,
        way_in,
        findings,
    })
}

/// The object as an owner.
pub(super) fn owner(policy: &MtaStsPolicy) -> Owner {
    Owner {
        namespace: policy.namespace().unwrap_or_default(),
        name: policy.name_any(),
        uid: policy.uid().unwrap_or_default(),
    }
}

/// Whether the namespace may claim the domain at all: looked at in every reconcile, since its labels
/// and the grants may change.
fn granted(context: &Context, namespace: &str, domain: &Domain) -> Result<(), Rejected> {
    let may_claim = |tenancy: &Tenancy| tenancy.allows(domain, &labels(&context.caches, namespace));
    match context.tenancy.now() {
        Some(tenancy) if !may_claim(&tenancy) => {
            let granted = tenancy.granted(&labels(&context.caches, namespace));
            Err(Rejected::new(
                Reason::NotAllowed,
                tenancy::refusal(namespace, domain, &granted),
            ))
        }
        _ => Ok(()),
    }
}

/// Whether an object's namespace may claim the object's domain.
pub(super) fn is_granted(context: &Context, policy: &MtaStsPolicy) -> bool {
    let domain = Domain::parse(&policy.spec.domain);
    let namespace = policy.namespace().unwrap_or_default();
    domain.is_ok_and(|domain| granted(context, &namespace, &domain).is_ok())
}

/// The labels of a namespace; `None` if it is not there or may not be looked at.
fn labels(caches: &Caches, namespace: &str) -> Option<BTreeMap<String, String>> {
    let found = caches.namespaces.get(&ObjectRef::new(namespace))?;
    Some(found.labels().clone())
}

/// Whether the domain is this object's.
fn own(
    context: &Context,
    policy: &MtaStsPolicy,
    owner: &Owner,
    domain: &Domain,
) -> Result<(), Rejected> {
    let me = Claimant {
        object: owner.clone(),
        domain: domain.clone(),
        created: created(policy),
    };
    let kin = match context.tenancy.now() {
        Some(_) => Kin::Anywhere,
        None => Kin::OfOneNamespace,
    };
    let caches = &context.caches;
    let others: Vec<Claimant> = caches
        .policies
        .state()
        .iter()
        .filter_map(|other| other.0.as_ref().ok())
        .filter(|other| other.meta().deletion_timestamp.is_none())
        .filter(|other| kin == Kin::OfOneNamespace || is_granted(context, other))
        .filter_map(|other| {
            Some(Claimant {
                object: self::owner(other),
                domain: Domain::parse(&other.spec.domain).ok()?,
                created: created(other),
            })
        })
        .collect();
    match claim(&me, &others, &holdings(&caches.records), kin) {
        Claim::Owned => Ok(()),
        Claim::Conflict {
            with,
            domain: theirs,
        } => Err(conflict(domain, &with, &theirs)),
    }
}

/// The rejection of an object whose domain somebody else has.
pub(super) fn conflict(domain: &Domain, with: &str, theirs: &Domain) -> Rejected {
    let message = if theirs == domain {
        format!(
            "the MtaStsPolicy {with} already has {domain}; delete one of the two (this one takes over when the other goes)"
        )
    } else {
        format!(
            "the MtaStsPolicy {with} of another namespace has {theirs}; put this object into the same namespace"
        )
    };
    Rejected::new(Reason::DomainConflict, message)
}

fn created(policy: &MtaStsPolicy) -> Timestamp {
    policy
        .creation_timestamp()
        .map_or(Timestamp::MAX, |time| time.0)
}

/// The provider that writes the records, if the object may use it. Looked at in every
/// reconcile: labels and zones may change after admission.
fn provider(
    context: &Context,
    policy: &MtaStsPolicy,
    domain: &Domain,
) -> Result<Option<Access>, Rejected> {
    let namespace = policy.namespace().unwrap_or_default();
    let (kind, name) = match (&policy.spec.dns.provider_ref, &context.settings) {
        (Some(reference), _) => (reference.kind, reference.name.clone()),
        (
            None,
            ControllerArgs {
                default_dns_provider: Some(name),
                ..
            },
        ) => (ProviderKind::ClusterDnsProvider, name.clone()),
        (None, _) => return Ok(None),
    };
    let chosen = match kind {
        ProviderKind::DnsProvider => {
            let spec = namespaced_spec(&context.caches, &namespace, &name)?;
            Access {
                key: ProviderKey {
                    namespace: Some(namespace),
                    name,
                },
                spec: spec.dns,
                zones: spec.zones,
            }
        }
        ProviderKind::ClusterDnsProvider => {
            let spec = cluster_spec(&context.caches, &name)?;
            allowed_namespace(&context.caches, &spec, &namespace, &name)?;
            Access {
                key: ProviderKey {
                    namespace: None,
                    name,
                },
                spec: spec.dns,
                zones: spec.zones,
            }
        }
    };
    if !zone_allows(&chosen.zones, domain.as_str()) {
        return Err(Rejected::new(
            Reason::NotAllowed,
            format!(
                "the DNS provider {} may write {} only, and {domain} is not below any of them",
                chosen.key.name,
                chosen.zones.join(", ")
            ),
        ));
    }
    Ok(Some(chosen))
}

/// The spec of a `DnsProvider`.
pub(super) fn namespaced_spec(
    caches: &Caches,
    namespace: &str,
    name: &str,
) -> Result<DnsProviderSpec, Rejected> {
    let key = ObjectRef::new(name).within(namespace);
    let found = caches.providers.get(&key).ok_or_else(|| {
        Rejected::new(
            Reason::ProviderNotFound,
            format!("there is no DnsProvider {name} in the namespace {namespace}: create it, or correct spec.dns.providerRef (kind ClusterDnsProvider?)"),
        )
    })?;
    let spec = match &found.0 {
        Ok(provider) => lint_provider_spec(&provider.spec).map(|()| provider.spec.clone()),
        Err(error) => Err(unreadable(&error.error)),
    };
    spec.map_err(|fault| unusable("DnsProvider", name, &fault))
}

/// The spec of a `ClusterDnsProvider`.
pub(super) fn cluster_spec(
    caches: &Caches,
    name: &str,
) -> Result<ClusterDnsProviderSpec, Rejected> {
    let key = ObjectRef::new(name);
    let found = caches.cluster_providers.get(&key).ok_or_else(|| {
        let message = match *caches.of_leader().cluster_providers.borrow() {
            Fill::Refused => format!("this operator may not read ClusterDnsProviders, so that {name} cannot be used: write a DnsProvider of this namespace, or ask its administrator for list and watch of clusterdnsproviders"),
            _ => format!("there is no ClusterDnsProvider {name}: create it, or correct spec.dns.providerRef (kind DnsProvider?)"),
        };
        Rejected::new(Reason::ProviderNotFound, message)
    })?;
    let spec = match &found.0 {
        Ok(provider) => lint_cluster_spec(&provider.spec).map(|()| provider.spec.clone()),
        Err(error) => Err(unreadable(&error.error)),
    };
    spec.map_err(|fault| unusable("ClusterDnsProvider", name, &fault))
}

/// A provider that was stored before a rule existed is as good as none.
fn unusable(kind: &str, name: &str, fault: &str) -> Rejected {
    Rejected::new(
        Reason::ProviderNotFound,
        format!("the {kind} {name} is not valid: {fault}"),
    )
}

fn allowed_namespace(
    caches: &Caches,
    spec: &ClusterDnsProviderSpec,
    namespace: &str,
    name: &str,
) -> Result<(), Rejected> {
    match labels(caches, namespace) {
        Some(labels) if spec.allowed_namespaces.matches(&labels) => Ok(()),
        _ => Err(Rejected::new(
            Reason::NotAllowed,
            format!(
                "the ClusterDnsProvider {name} does not allow the namespace {namespace}: its administrator decides by spec.allowedNamespaces"
            ),
        )),
    }
}

/// Whether `name` is one of the zones, or below one.
pub(super) fn zone_allows(zones: &[String], name: &str) -> bool {
    zones.is_empty()
        || zones.iter().any(|zone| {
            let below = name
                .strip_suffix(zone.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            zone == "*" || below
        })
}

/// The way in to make, if one is.
fn way_in(
    context: &Context,
    policy: &MtaStsPolicy,
    domain: &Domain,
) -> Result<Option<WayIn>, Rejected> {
    if policy.spec.hosting.external.is_some() {
        return Ok(None);
    }
    match gateway::named(&context.settings, policy) {
        Some(chosen) => {
            allowed::gateways(&context.settings, &chosen.parents)?;
            gateway::usable(context, &chosen)?;
            Ok(Some(WayIn::Gateway(chosen)))
        }
        None => ingress(context, policy, domain).map(|chosen| Some(WayIn::Ingress(chosen))),
    }
}

/// The Ingress to make.
fn ingress(
    context: &Context,
    policy: &MtaStsPolicy,
    domain: &Domain,
) -> Result<ChosenIngress, Rejected> {
    let spec = policy.spec.hosting.ingress.clone().unwrap_or_default();
    let IngressSpec {
        class_name,
        annotations,
        tls,
    } = spec;
    let default = context.settings.default_ingress_class.clone();
    let default = default.or_else(|| default_class(&context.caches));
    let settings = &context.settings;
    allowed::annotations(settings, &annotations)?;
    allowed::class(settings, default.as_deref(), class_name.as_deref())?;
    let namespace = policy.namespace().unwrap_or_default();
    allowed::certificate(settings, &namespace, domain, tls.as_ref())?;
    match class_name.or(default) {
        Some(class_name) => Ok(ChosenIngress {
            class_name,
            annotations,
            tls,
        }),
        None => Err(Rejected::new(
            Reason::HostingNotFound,
            "the policy needs a way in: write spec.hosting.ingress.className or spec.hosting.gateway, start the operator with --default-ingress-class or --default-gateway, mark an IngressClass as the cluster's default, or write spec.hosting.external: {} if somebody else serves the policy",
        )),
    }
}

/// The class that the cluster marks as its default.
fn default_class(caches: &Caches) -> Option<String> {
    let is_default = |annotations: &BTreeMap<String, String>| {
        annotations
            .get("ingressclass.kubernetes.io/is-default-class")
            .is_some_and(|value| value == "true")
    };
    caches
        .ingress_classes
        .state()
        .iter()
        .filter(|class| is_default(class.annotations()))
        .map(|class| class.name_any())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_allows_itself_and_what_is_below() {
        let zones = |list: &[&str]| list.iter().map(|&z| z.to_owned()).collect::<Vec<_>>();
        for (case, list, name, allowed) in [
            ("itself", zones(&["example.org"]), "example.org", true),
            ("below", zones(&["example.org"]), "a.b.example.org", true),
            (
                "only alike",
                zones(&["example.org"]),
                "badexample.org",
                false,
            ),
            ("all", zones(&["*"]), "example.net", true),
            ("none given", zones(&[]), "example.net", true),
            ("another", zones(&["example.org"]), "example.net", false),
        ] {
            assert_eq!(zone_allows(&list, name), allowed, "{case}");
        }
    }
}
