//! What the operator may do: every right that it needs, once.
//!
//! `mta-sts doctor` asks the API server for each. `tests/doctor.rs` compares them with
//! `examples/rbac/`, and `tests/rbac.rs` those with what is really used.

/// Where a right is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Place {
    /// On objects that are in no namespace.
    Cluster,
    /// In every namespace that the operator watches; by default all.
    Watched,
    /// In the operator's own namespace.
    Own,
}

/// Who needs a right.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Role {
    /// `mta-sts controller`
    Controller,
    /// `mta-sts serve`
    PolicyServer,
}

/// Verbs on one resource.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Right {
    /// Who needs it.
    pub role: Role,
    /// Where.
    pub place: Place,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// The resource, in the plural.
    pub resource: &'static str,
    /// Its subresource, or nothing.
    pub subresource: &'static str,
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// What for.
    pub why: &'static str,
}

const fn right(
    role: Role,
    place: Place,
    group: &'static str,
    (resource, subresource): (&'static str, &'static str),
    verbs: &'static [&'static str],
    why: &'static str,
) -> Right {
    Right {
        role,
        place,
        group,
        resource,
        subresource,
        verbs,
        why,
    }
}

use Place::{Cluster, Own, Watched};
use Role::{Controller, PolicyServer};

const OURS: &str = crate::api::GROUP;
const LOOK: &[&str] = &["list", "watch"];

/// Every right that the operator needs.
pub const RIGHTS: &[Right] = &[
    right(
        Controller,
        Watched,
        OURS,
        ("mtastspolicies", ""),
        &["list", "watch", "patch"],
        "the policies; patch is for their finalizer",
    ),
    right(
        Controller,
        Watched,
        OURS,
        ("mtastspolicies", "status"),
        &["patch"],
        "their status",
    ),
    right(
        Controller,
        Watched,
        OURS,
        ("dnsproviders", ""),
        LOOK,
        "the providers of a namespace",
    ),
    right(
        Controller,
        Watched,
        OURS,
        ("dnsproviders", "status"),
        &["patch"],
        "their status",
    ),
    right(
        Controller,
        Cluster,
        OURS,
        ("clusterdnsproviders", ""),
        LOOK,
        "the providers of the cluster",
    ),
    right(
        Controller,
        Cluster,
        OURS,
        ("clusterdnsproviders", "status"),
        &["patch"],
        "their status",
    ),
    right(
        Controller,
        Cluster,
        "",
        ("namespaces", ""),
        LOOK,
        "their labels say who may use a ClusterDnsProvider",
    ),
    right(
        Controller,
        Watched,
        "networking.k8s.io",
        ("ingresses", ""),
        LOOK,
        "another Ingress may have the policy host",
    ),
    right(
        Controller,
        Cluster,
        "networking.k8s.io",
        ("ingressclasses", ""),
        LOOK,
        "which class is the default",
    ),
    right(
        Controller,
        Watched,
        "events.k8s.io",
        ("events", ""),
        &["create"],
        "to tell what happened",
    ),
    right(
        Controller,
        Own,
        "",
        ("configmaps", ""),
        &["get", "list", "watch", "create", "update", "delete"],
        "the records",
    ),
    right(
        Controller,
        Own,
        "networking.k8s.io",
        ("ingresses", ""),
        &["create", "patch", "delete"],
        "the way to the policy hosts",
    ),
    right(
        Controller,
        Own,
        "coordination.k8s.io",
        ("leases", ""),
        &["get", "create", "update"],
        "the election of one leader",
    ),
    right(
        Controller,
        Own,
        "discovery.k8s.io",
        ("endpointslices", ""),
        LOOK,
        "every policy server is asked",
    ),
    right(
        Controller,
        Own,
        "",
        ("secrets", ""),
        &["get"],
        "the credentials of ClusterDnsProviders",
    ),
    right(
        PolicyServer,
        Own,
        "",
        ("configmaps", ""),
        LOOK,
        "the policies that it serves",
    ),
];
