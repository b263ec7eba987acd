//! Of the Gateway API (`gateway.networking.k8s.io/v1`) the fields that are read or written here.
//! Everything else is passed over, so that an older or newer version does not matter.

#![allow(unreachable_pub)] // the derive needs what it makes of a struct to see the struct

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::api::LabelSelector;

/// The API group.
pub(in crate::controller) const GROUP: &str = "gateway.networking.k8s.io";

/// Spec of a GatewayClass.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "GatewayClass",
    plural = "gatewayclasses",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayClassSpec {
    /// Whose Gateways these are.
    pub controller_name: String,
}

/// Spec of a Gateway.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "Gateway",
    plural = "gateways",
    namespaced,
    schema = "disabled",
    status = "GatewayStatus"
)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// Its class.
    pub gateway_class_name: String,
    /// What it listens on.
    pub listeners: Vec<Listener>,
}

/// One listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Which hosts it takes; absent: all.
    pub hostname: Option<String>,
    /// Its port.
    pub port: i32,
    /// HTTP, HTTPS, TLS, …
    pub protocol: String,
    /// Its certificates.
    pub tls: Option<ListenerTls>,
    /// Which routes it takes.
    pub allowed_routes: Option<AllowedRoutes>,
}

/// The TLS of a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerTls {
    /// Terminate (the default) or Passthrough.
    pub mode: Option<String>,
    /// Its certificates.
    pub certificate_refs: Vec<CertificateRef>,
}

/// Names a certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateRef {
    /// Secret, unless it says otherwise.
    pub kind: Option<String>,
    /// Its namespace; default: the Gateway's.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// Which routes a listener takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedRoutes {
    /// From where.
    pub namespaces: Option<RouteNamespaces>,
    /// Of which kinds; empty: those that fit the protocol.
    pub kinds: Vec<RouteKind>,
}

/// From where a listener takes routes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteNamespaces {
    /// Same (the default), All or Selector.
    pub from: Option<String>,
    /// For Selector.
    pub selector: Option<LabelSelector>,
}

/// A kind of route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteKind {
    /// Its group; default: that of the Gateway API.
    pub group: Option<String>,
    /// The kind.
    pub kind: String,
}

/// Status of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayStatus {
    /// Where it is reached.
    pub addresses: Vec<GatewayAddress>,
    /// About all of it.
    pub conditions: Vec<RouteCondition>,
    /// About each listener.
    pub listeners: Vec<ListenerStatus>,
}

/// Where a Gateway is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayAddress {
    /// IPAddress (the default) or Hostname.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// The address.
    pub value: String,
}

/// About one listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Accepted, ResolvedRefs, Programmed, Conflicted.
    pub conditions: Vec<RouteCondition>,
}

/// A condition as the Gateway API writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteCondition {
    /// What it is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// One word for why.
    pub reason: String,
    /// The same for a person.
    pub message: String,
    /// The generation that was looked at.
    pub observed_generation: Option<i64>,
}

/// Spec of an HTTPRoute.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    root = "HttpRoute",
    plural = "httproutes",
    namespaced,
    schema = "disabled",
    status = "HttpRouteStatus"
)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteSpec {
    /// The Gateways that are to take it.
    pub parent_refs: Vec<ParentRef>,
    /// For which hosts.
    pub hostnames: Vec<String>,
    /// Where requests go.
    pub rules: Vec<Rule>,
}

/// Names a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParentRef {
    /// The API group.
    pub group: Option<String>,
    /// Gateway.
    pub kind: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The name of a listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// The port of a listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// Where some requests go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Which.
    pub matches: Vec<Match>,
    /// Where to.
    pub backend_refs: Vec<BackendRef>,
}

/// Which requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Match {
    /// By their path.
    pub path: PathMatch,
}

/// A path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathMatch {
    /// PathPrefix.
    #[serde(rename = "type")]
    pub type_: String,
    /// The path.
    pub value: String,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendRef {
    /// The core group.
    pub group: String,
    /// Service.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: i32,
    /// Its part of the requests.
    pub weight: i32,
}

/// Status of an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteStatus {
    /// What each Gateway's controller says.
    pub parents: Vec<RouteParentStatus>,
}

/// What a controller says about a route and one of its Gateways.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteParentStatus {
    /// The Gateway.
    pub parent_ref: ParentRef,
    /// Who says so.
    pub controller_name: String,
    /// Accepted, ResolvedRefs.
    pub conditions: Vec<RouteCondition>,
}

/// The labels of a namespace.
pub(super) type Labels = BTreeMap<String, String>;
