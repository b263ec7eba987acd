//! The HTTPRoute of a policy host, in the operator's namespace, and the Gateways that take it. (io)

mod judge;
mod types;
mod watch;

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

pub(super) use self::judge::Missing;
use self::judge::{Parent, Place, judge};
use self::types::{BackendRef, GROUP, HttpRouteSpec, Match, ParentRef, PathMatch, Rule};
pub(super) use self::types::{Gateway, HttpRoute};
pub(super) use self::watch::{Changed, Gateways, State};
use super::accept::Rejected;
use super::context::Context;
use super::error::Error;
use super::records::object_labels;
use crate::api::condition::Reason;
use crate::api::{FIELD_MANAGER, GatewayParentRef, MtaStsPolicy};
use crate::config::ControllerArgs;
use crate::lifecycle::Address;
use crate::lifecycle::names::object_name;
use crate::lifecycle::record::DOMAIN_ANNOTATION;
use crate::protocol::{Domain, HostName};

/// The Gateways of a policy.
#[derive(Clone, Debug)]
pub(super) struct ChosenGateway {
    pub(super) parents: Vec<GatewayParentRef>,
}

/// The Gateways that a policy goes through: those that it names, or the operator's where it
/// names no hosting at all.
pub(super) fn named(settings: &ControllerArgs, policy: &MtaStsPolicy) -> Option<ChosenGateway> {
    let hosting = &policy.spec.hosting;
    if let Some(gateway) = &hosting.gateway {
        let parents = gateway.parent_refs.clone();
        return Some(ChosenGateway { parents });
    }
    if hosting.ingress.is_some() || hosting.external.is_some() {
        return None;
    }
    let default = settings.default_gateway.as_ref()?;
    let parent = GatewayParentRef {
        namespace: default.namespace.clone(),
        name: default.name.clone(),
        ..GatewayParentRef::default()
    };
    Some(ChosenGateway {
        parents: vec![parent],
    })
}

/// Whether Gateways can be used in this cluster at all.
pub(super) fn usable(context: &Context, chosen: &ChosenGateway) -> Result<(), Rejected> {
    let names: Vec<String> = chosen.parents.iter().map(title).collect();
    let names = names.join(", ");
    let message = match context.caches.gateways.state() {
        State::Known | State::Looking => return Ok(()),
        State::Absent => format!(
            "the policy is to be reached through the Gateway {names}, and this cluster has no Gateway API: install its CRDs (gateway.networking.k8s.io/v1: GatewayClass, Gateway and HTTPRoute, from sigs.k8s.io/gateway-api) and a controller for them, or write spec.hosting.ingress"
        ),
        State::Forbidden(words) => format!(
            "the policy is to be reached through the Gateway {names}, and the operator may not look at the Gateway API: apply examples/rbac/gateway.yaml; the API server says: {}",
            crate::lifecycle::observation::printable(words.as_bytes())
        ),
    };
    Err(Rejected::new(Reason::HostingNotFound, message))
}

fn title(parent: &GatewayParentRef) -> String {
    format!("{}/{}", parent.namespace, parent.name)
}

/// The HTTPRoute as it is to be. (pure)
fn desired(domain: &Domain, chosen: &ChosenGateway, service: &str, port: i32) -> HttpRoute {
    let parent = |parent: &GatewayParentRef| ParentRef {
        group: Some(GROUP.to_owned()),
        kind: Some("Gateway".to_owned()),
        namespace: Some(parent.namespace.clone()),
        name: parent.name.clone(),
        section_name: parent.section_name.clone(),
        port: parent.port,
    };
    // What the API server would fill in is written out, so that the two can be compared.
    let rule = Rule {
        matches: vec![Match {
            path: PathMatch {
                type_: "PathPrefix".to_owned(),
                value: "/".to_owned(),
            },
        }],
        backend_refs: vec![BackendRef {
            group: String::new(),
            kind: "Service".to_owned(),
            name: service.to_owned(),
            port,
            weight: 1,
        }],
    };
    HttpRoute {
        metadata: ObjectMeta {
            name: Some(object_name(domain)),
            labels: Some(object_labels("policy-host")),
            annotations: Some([(DOMAIN_ANNOTATION.to_owned(), domain.to_string())].into()),
            ..ObjectMeta::default()
        },
        spec: HttpRouteSpec {
            parent_refs: chosen.parents.iter().map(parent).collect(),
            hostnames: vec![domain.policy_host().to_string()],
            rules: vec![rule],
        },
        status: None,
    }
}

fn matches(present: &HttpRoute, wanted: &HttpRoute) -> bool {
    let labels = wanted.labels().iter();
    let annotations = wanted.annotations().iter();
    present.spec == wanted.spec
        && labels
            .clone()
            .all(|(k, v)| present.labels().get(k) == Some(v))
        && annotations
            .clone()
            .all(|(k, v)| present.annotations().get(k) == Some(v))
}

/// Makes the HTTPRoute, or mends it. Gives what keeps the Gateways from taking it.
pub(super) async fn ensure(
    context: &Context,
    domain: &Domain,
    chosen: &ChosenGateway,
) -> Result<Option<Missing>, Error> {
    let service = &context.settings.policy_service;
    let port = match service_port(context).await? {
        Ok(port) => port,
        Err(missing) => return Ok(Some(missing)),
    };
    let wanted = desired(domain, chosen, service, port);
    if !cached(context, domain).is_some_and(|present| matches(&present, &wanted)) {
        context.permit()?;
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let written = api(context)
            .patch(&wanted.name_any(), &params, &Patch::Apply(&wanted))
            .await;
        match written {
            Ok(_) => {}
            Err(kube::Error::Api(status))
                if (400..500).contains(&status.code) && status.code != 409 =>
            {
                let words = crate::lifecycle::observation::printable(status.message.as_bytes());
                let message = format!("the HTTPRoute was refused: {words}");
                return Ok(Some(Missing {
                    reason: Reason::RouteRefused,
                    message,
                }));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(first_missing(context, domain, chosen))
}

/// The port of the policy servers' Service: a route has to name it by number.
async fn service_port(context: &Context) -> Result<Result<i32, Missing>, Error> {
    let (name, port) = (
        &context.settings.policy_service,
        &context.settings.policy_port,
    );
    if let Ok(number) = port.parse() {
        return Ok(Ok(number));
    }
    let not_there = |what: String| {
        Ok(Err(Missing {
            reason: Reason::EndpointsMissing,
            message: what,
        }))
    };
    let api = Api::<Service>::namespaced(context.client.clone(), &context.namespace);
    let service = match api.get_opt(name).await {
        Ok(service) => service,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return not_there(format!(
                "the operator may not read the Service {name} for the number of its port {port}: apply examples/rbac/gateway.yaml, or give --policy-port as a number"
            ));
        }
        Err(error) => return Err(error.into()),
    };
    let Some(service) = service else {
        return not_there(format!(
            "there is no Service {}/{name}, which the HTTPRoute is to lead to: create it, or correct --policy-service",
            context.namespace
        ));
    };
    let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
    match ports.iter().find(|found| found.name.as_ref() == Some(port)) {
        Some(found) => Ok(Ok(found.port)),
        None => not_there(format!(
            "the Service {}/{name} has no port named {port}: correct --policy-port",
            context.namespace
        )),
    }
}

/// What the first Gateway lacks that does not take the route.
fn first_missing(context: &Context, domain: &Domain, chosen: &ChosenGateway) -> Option<Missing> {
    if context.caches.gateways.state() != State::Known {
        return Some(Missing {
            reason: Reason::RoutePending,
            message: "the Gateways of the cluster are being looked at".to_owned(),
        });
    }
    let route = cached(context, domain);
    let own = context
        .caches
        .namespaces
        .get(&ObjectRef::new(&context.namespace));
    let labels = own.map(|own| own.labels().clone()).unwrap_or_default();
    let host = domain.policy_host().to_string();
    let place = Place {
        host: &host,
        namespace: &context.namespace,
        labels: &labels,
    };
    chosen.parents.iter().find_map(|named| {
        let gateway = gateway(context, named);
        let class = gateway.as_ref().and_then(|gateway| {
            let key = ObjectRef::new(&gateway.spec.gateway_class_name);
            context.caches.gateways.classes.get(&key)
        });
        let parent = Parent {
            named,
            gateway: gateway.as_deref(),
            controller: class
                .as_ref()
                .map(|class| class.spec.controller_name.as_str()),
        };
        judge(&parent, &place, route.as_deref())
    })
}

fn gateway(context: &Context, named: &GatewayParentRef) -> Option<std::sync::Arc<Gateway>> {
    let key = ObjectRef::new(&named.name).within(&named.namespace);
    context.caches.gateways.gateways.get(&key)
}

fn api(context: &Context) -> Api<HttpRoute> {
    Api::namespaced(context.client.clone(), &context.namespace)
}

fn cached(context: &Context, domain: &Domain) -> Option<std::sync::Arc<HttpRoute>> {
    let key = ObjectRef::new(&object_name(domain)).within(&context.namespace);
    context.caches.gateways.routes.get(&key)
}

/// Removes the HTTPRoute. One whose kind is gone from the cluster is gone as well.
pub(super) async fn remove(context: &Context, domain: &Domain) -> Result<(), Error> {
    match api(context)
        .delete(&object_name(domain), &DeleteParams::default())
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What the Gateways report as their addresses. A name wins over addresses: a record set cannot
/// hold both.
pub(super) fn reported_address(context: &Context, chosen: &ChosenGateway) -> Vec<Address> {
    let gateways: Vec<_> = chosen
        .parents
        .iter()
        .filter_map(|named| gateway(context, named))
        .collect();
    let addresses = || {
        gateways
            .iter()
            .filter_map(|gateway| gateway.status.as_ref())
            .flat_map(|status| &status.addresses)
    };
    let name = addresses()
        .filter(|address| address.type_.as_deref() == Some("Hostname"))
        .find_map(|address| HostName::parse_any_case(address.value.trim_end_matches('.')).ok());
    if let Some(name) = name {
        return vec![Address::Cname(name.to_string())];
    }
    let mut found: Vec<Address> = addresses()
        .filter_map(|address| address.value.parse().ok())
        .map(|address| match address {
            IpAddr::V4(address) => Address::A(address),
            IpAddr::V6(address) => Address::Aaaa(address),
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The addresses of the Gateways that the route is attached to; `None` if they are not known.
pub(super) fn addresses_of_route(context: &Context, domain: &Domain) -> Option<Vec<Address>> {
    let route = cached(context, domain)?;
    let parents = route
        .spec
        .parent_refs
        .iter()
        .map(|parent| GatewayParentRef {
            namespace: parent.namespace.clone().unwrap_or_default(),
            name: parent.name.clone(),
            ..GatewayParentRef::default()
        });
    let parents = parents.collect();
    let addresses = reported_address(context, &ChosenGateway { parents });
    let known = !addresses.is_empty();
    known.then_some(addresses)
}

/// Another HTTPRoute that has the policy host, as far as HTTPRoutes are watched.
pub(super) fn rival(context: &Context, domain: &Domain) -> Option<String> {
    let host = domain.policy_host().to_string();
    let own = (Some(context.namespace.clone()), object_name(domain));
    let routes = context.caches.gateways.routes.state();
    let rival = routes
        .iter()
        .filter(|route| (route.namespace(), route.name_any()) != own)
        .find(|route| route.spec.hostnames.contains(&host))?;
    let namespace = rival.namespace().unwrap_or_default();
    Some(format!("HTTPRoute {namespace}/{}", rival.name_any()))
}
