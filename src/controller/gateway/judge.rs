//! Whether a Gateway takes the route of a policy host, and if not, what is missing. (pure)

use super::types::{GROUP, ParentRef};
use super::types::{Gateway, HttpRoute, Labels, Listener, ListenerStatus, RouteCondition};
use crate::api::GatewayParentRef;
use crate::api::condition::Reason;
use crate::lifecycle::observation::printable;

/// Why the policy host is not reached through a Gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::controller) struct Missing {
    pub(in crate::controller) reason: Reason,
    pub(in crate::controller) message: String,
}

/// What is known about one Gateway that a policy names.
pub(super) struct Parent<'a> {
    pub(super) named: &'a GatewayParentRef,
    pub(super) gateway: Option<&'a Gateway>,
    /// Whose the Gateway's class is, if the class is there.
    pub(super) controller: Option<&'a str>,
}

/// Where the route is, and which host it is for.
pub(super) struct Place<'a> {
    pub(super) host: &'a str,
    pub(super) namespace: &'a str,
    pub(super) labels: &'a Labels,
}

fn missing(reason: Reason, message: String) -> Missing {
    Missing { reason, message }
}

/// What keeps this Gateway from taking the route; `None` if it does.
pub(super) fn judge(
    parent: &Parent<'_>,
    place: &Place<'_>,
    route: Option<&HttpRoute>,
) -> Option<Missing> {
    let named = parent.named;
    let title = format!("Gateway {}/{}", named.namespace, named.name);
    let Some(gateway) = parent.gateway else {
        return Some(missing(
            Reason::GatewayNotFound,
            format!(
                "there is no {title}: create it, or correct spec.hosting.gateway.parentRefs (or --default-gateway)"
            ),
        ));
    };
    let Some(controller) = parent.controller else {
        let class = printable(gateway.spec.gateway_class_name.as_bytes());
        return Some(missing(
            Reason::GatewayNotFound,
            format!(
                "the GatewayClass {class} of the {title} does not exist, so no controller looks after it"
            ),
        ));
    };
    gateway_refused(gateway, &title)
        .or_else(|| no_listener(gateway, parent, place, &title))
        .or_else(|| route_refused(named, controller, place.namespace, route, &title))
}

fn gateway_refused(gateway: &Gateway, title: &str) -> Option<Missing> {
    let conditions = &gateway.status.as_ref()?.conditions;
    let bad = conditions
        .iter()
        .find(|c| c.type_ == "Accepted" && c.status == "False" && is_of(c, generation(gateway)))?;
    Some(missing(
        Reason::GatewayNotReady,
        format!("the {title} is not accepted: {}", told(bad)),
    ))
}

fn no_listener(
    gateway: &Gateway,
    parent: &Parent<'_>,
    place: &Place<'_>,
    title: &str,
) -> Option<Missing> {
    let named = parent.named;
    let meant: Vec<&Listener> = gateway
        .spec
        .listeners
        .iter()
        .filter(|l| named.section_name.as_ref().is_none_or(|n| *n == l.name))
        .filter(|l| named.port.is_none_or(|port| port == l.port))
        .collect();
    if meant.is_empty() {
        return Some(missing(
            Reason::ListenerMissing,
            not_named(gateway, parent, title),
        ));
    }
    let of_host: Vec<&Listener> = meant
        .iter()
        .copied()
        .filter(|l| l.protocol == "HTTPS" && takes_host(l, place.host))
        .collect();
    if of_host.is_empty() {
        return Some(missing(
            Reason::ListenerMissing,
            format!(
                "no HTTPS listener of {title} takes {host}: add one with hostname {host} (or none) and a certificate for it",
                host = place.host
            ),
        ));
    }
    let mut why = None;
    for listener in of_host {
        match not_usable(gateway, listener, place, title) {
            None => return None,
            problem => why = why.or(problem),
        }
    }
    why
}

fn not_named(gateway: &Gateway, parent: &Parent<'_>, title: &str) -> String {
    let named = parent.named;
    let mut wanted = String::new();
    if let Some(section) = &named.section_name {
        wanted.push_str(&format!(" named {section}"));
    }
    if let Some(port) = named.port {
        wanted.push_str(&format!(" on port {port}"));
    }
    let have: Vec<String> = gateway
        .spec
        .listeners
        .iter()
        .map(|l| format!("{} (port {})", printable(l.name.as_bytes()), l.port))
        .collect();
    format!(
        "{title} has no listener{wanted}; it has {}: correct sectionName and port in spec.hosting.gateway.parentRefs",
        have.join(", ")
    )
}

/// What keeps a listener that has the host from taking the route.
fn not_usable(
    gateway: &Gateway,
    listener: &Listener,
    place: &Place<'_>,
    title: &str,
) -> Option<Missing> {
    let name = printable(listener.name.as_bytes());
    not_allowed(gateway, listener, place)
        .map(|what| {
            missing(
                Reason::RouteNotAllowed,
                format!(
                    "listener {name} of {title} has the host {}, and {what}",
                    place.host
                ),
            )
        })
        .or_else(|| no_certificate(gateway, listener, &format!("listener {name} of {title}")))
        .or_else(|| {
            let bad = listener_condition(gateway, listener, |c| {
                matches!(
                    (c.type_.as_str(), c.status.as_str()),
                    ("Accepted" | "Programmed", "False") | ("Conflicted", "True")
                )
            })?;
            Some(missing(
                Reason::ListenerNotReady,
                format!("listener {name} of {title} is not ready: {}", told(bad)),
            ))
        })
}

fn not_allowed(gateway: &Gateway, listener: &Listener, place: &Place<'_>) -> Option<String> {
    let allowed = listener.allowed_routes.clone().unwrap_or_default();
    let namespaces = allowed.namespaces.unwrap_or_default();
    let from = namespaces.from.as_deref().unwrap_or("Same");
    let lets_in = match from {
        "All" => true,
        "Same" => gateway.metadata.namespace.as_deref() == Some(place.namespace),
        "Selector" => namespaces
            .selector
            .is_some_and(|selector| selector.matches(place.labels)),
        _ => false,
    };
    if !lets_in {
        return Some(format!(
            "takes no routes of the namespace {ours}, where the operator's are (allowedRoutes.namespaces.from is {from}): set it to All, or to Selector with matchLabels {{kubernetes.io/metadata.name: {ours}}}",
            ours = place.namespace,
            from = printable(from.as_bytes()),
        ));
    }
    let takes_kind = allowed.kinds.is_empty()
        || allowed.kinds.iter().any(|kind| {
            kind.kind == "HTTPRoute" && kind.group.as_deref().unwrap_or(GROUP) == GROUP
        });
    (!takes_kind)
        .then(|| "takes no HTTPRoutes: add {kind: HTTPRoute} to its allowedRoutes.kinds".to_owned())
}

fn no_certificate(gateway: &Gateway, listener: &Listener, title: &str) -> Option<Missing> {
    let tls = listener.tls.clone().unwrap_or_default();
    let of = |message| Some(missing(Reason::ListenerCertificate, message));
    if tls.mode.as_deref() == Some("Passthrough") {
        return of(format!(
            "{title} passes TLS through, and the policy servers speak plain HTTP: set tls.mode to Terminate"
        ));
    }
    if tls.certificate_refs.is_empty() {
        return of(format!(
            "{title} has no certificate: name a Secret in tls.certificateRefs"
        ));
    }
    let bad = listener_condition(gateway, listener, |c| {
        c.type_ == "ResolvedRefs" && c.status == "False"
    })?;
    let own = gateway.metadata.namespace.as_deref().unwrap_or_default();
    let refs: Vec<String> = tls
        .certificate_refs
        .iter()
        .map(|r| {
            let kind = r.kind.as_deref().unwrap_or("Secret");
            let namespace = r.namespace.as_deref().unwrap_or(own);
            format!("{kind} {namespace}/{}", r.name)
        })
        .collect();
    of(format!(
        "{title} refers to the {}, which cannot be used: {}",
        printable(refs.join(", ").as_bytes()),
        told(bad)
    ))
}

fn listener_condition<'g>(
    gateway: &'g Gateway,
    listener: &Listener,
    wanted: impl Fn(&RouteCondition) -> bool,
) -> Option<&'g RouteCondition> {
    let of: &ListenerStatus = gateway
        .status
        .as_ref()?
        .listeners
        .iter()
        .find(|status| status.name == listener.name)?;
    of.conditions
        .iter()
        .find(|c| is_of(c, generation(gateway)) && wanted(c))
}

fn route_refused(
    named: &GatewayParentRef,
    controller: &str,
    namespace: &str,
    route: Option<&HttpRoute>,
    title: &str,
) -> Option<Missing> {
    let pending = |what: &str| Some(missing(Reason::RoutePending, what.to_owned()));
    let Some(route) = route else {
        return pending("the HTTPRoute has just been written");
    };
    let parents = route.status.iter().flat_map(|status| &status.parents);
    let mut ours = parents
        .filter(|p| p.controller_name == controller && is_same(&p.parent_ref, named, namespace));
    let Some(parent) = ours.next() else {
        return pending(&format!(
            "the controller {} of the {title} has not looked at the HTTPRoute yet: does it run, and does it look after this Gateway?",
            printable(controller.as_bytes())
        ));
    };
    let generation = route.metadata.generation.unwrap_or_default();
    for type_ in ["Accepted", "ResolvedRefs"] {
        let condition = parent.conditions.iter().find(|c| c.type_ == type_);
        match condition.filter(|c| is_of(c, generation)) {
            Some(c) if c.status == "True" => {}
            Some(c) => {
                return Some(missing(
                    Reason::RouteNotAccepted,
                    format!("the {title} does not take the HTTPRoute: {}", told(c)),
                ));
            }
            None => {
                return pending(&format!(
                    "the {title} has not said {type_} of the newest HTTPRoute yet"
                ));
            }
        }
    }
    None
}

fn is_same(seen: &ParentRef, named: &GatewayParentRef, namespace: &str) -> bool {
    seen.name == named.name
        && seen.namespace.as_deref().unwrap_or(namespace) == named.namespace
        && seen.section_name == named.section_name
        && seen.port == named.port
}

/// Whether a condition is about this generation; one that names none is taken at its word.
fn is_of(condition: &RouteCondition, generation: i64) -> bool {
    condition
        .observed_generation
        .is_none_or(|seen| seen >= generation)
}

fn generation(gateway: &Gateway) -> i64 {
    gateway.metadata.generation.unwrap_or_default()
}

/// Whether a listener's hostname covers the host. `*.` stands for one label or more, as the
/// Gateway API has it; whether the certificate covers it is seen at the public URL.
fn takes_host(listener: &Listener, host: &str) -> bool {
    let Some(hostname) = listener.hostname.as_deref().filter(|name| !name.is_empty()) else {
        return true;
    };
    match hostname.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => host == hostname,
    }
}

fn told(condition: &RouteCondition) -> String {
    let text = format!(
        "{}={} {}: {}",
        condition.type_, condition.status, condition.reason, condition.message
    );
    printable(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_takes_its_hostname_and_what_is_below_a_star() {
        let host = "mta-sts.example.org";
        for (hostname, takes) in [
            (None, true),
            (Some("mta-sts.example.org"), true),
            (Some("*.example.org"), true),
            (Some("*.org"), true),
            (Some("*.mta-sts.example.org"), false),
            (Some("*.ample.org"), false),
            (Some("example.org"), false),
            (Some("mta-sts.example.net"), false),
        ] {
            let listener = Listener {
                hostname: hostname.map(str::to_owned),
                ..Listener::default()
            };
            assert_eq!(takes_host(&listener, host), takes, "{hostname:?}");
        }
    }
}
