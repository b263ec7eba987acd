//! The policy servers, asked one by one inside of the cluster. (io)

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use futures::future::join_all;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::super::context::Context;
use crate::clock;
use crate::lifecycle::observation::{Endpoint, EndpointAnswer};
use crate::limits;
use crate::probe::endpoint::fetch_endpoint;
use crate::protocol::{Domain, HostName, Sha256Digest};

/// What each policy server serves for the domain; `None` where somebody else serves it.
pub(super) async fn endpoints(
    context: &Context,
    domain: &Domain,
    external: bool,
) -> Option<Vec<Endpoint>> {
    if external {
        return None;
    }
    let host = domain.policy_host();
    let asked = endpoint_addresses(context)
        .into_iter()
        .map(|address| endpoint(context, domain, &host, address));
    Some(join_all(asked).await)
}

async fn endpoint(
    context: &Context,
    domain: &Domain,
    host: &HostName,
    address: SocketAddr,
) -> Endpoint {
    let result = fetch_endpoint(address, host).await;
    let now = clock::now();
    let address = address.to_string();
    let answer = match result {
        Ok(answer) => {
            context.memory.of(domain, |memory| memory.reached(&address));
            if answer.status == 200 {
                EndpointAnswer::Body {
                    etag: answer.etag.map(|etag| etag.trim_matches('"').to_owned()),
                    sha256: Sha256Digest::of(&answer.body),
                }
            } else {
                EndpointAnswer::Other(format!("status {}", answer.status))
            }
        }
        Err(error) => EndpointAnswer::Unreachable {
            why: error.to_string(),
            since: context
                .memory
                .of(domain, |memory| memory.unreachable_since(&address, now)),
        },
    };
    Endpoint { address, answer }
}

/// Every policy-server endpoint that is not on its way out, ready or not.
fn endpoint_addresses(context: &Context) -> BTreeSet<SocketAddr> {
    let settings = &context.settings;
    if !settings.policy_endpoints.is_empty() {
        return settings.policy_endpoints.iter().copied().collect();
    }
    context
        .caches
        .endpoints
        .state()
        .iter()
        .flat_map(|slice| slice_addresses(slice, &settings.policy_port))
        .take(limits::ENDPOINTS)
        .collect()
}

/// Where the same endpoints answer DNS queries, if they do.
pub(super) fn dns_addresses(context: &Context) -> Vec<SocketAddr> {
    let slices = context.caches.endpoints.state();
    let all = slices.iter().flat_map(|slice| slice_dns(slice));
    all.take(limits::ENDPOINTS).collect()
}

/// The UDP port of one slice that is named dns.
fn slice_dns(slice: &EndpointSlice) -> Vec<SocketAddr> {
    let ports = slice.ports.iter().flatten();
    let ports: Vec<u16> = ports
        .filter(|port| port.protocol.as_deref() == Some("UDP"))
        .filter(|port| port.name.as_deref() == Some("dns"))
        .filter_map(|port| u16::try_from(port.port?).ok())
        .collect();
    on_ports(slice, &ports)
}

/// The addresses of one slice. `wanted` is the Service's port, by name or number: slices know its
/// name and the pods' port, not its number, so a number may also stand for the only port there is.
fn slice_addresses(slice: &EndpointSlice, wanted: &str) -> Vec<SocketAddr> {
    let tcp: Vec<_> = slice
        .ports
        .iter()
        .flatten()
        .filter(|port| port.protocol.as_deref().is_none_or(|p| p == "TCP"))
        .collect();
    let is_only = tcp.len() == 1 && wanted.parse::<u16>().is_ok();
    let ports: Vec<u16> = tcp
        .iter()
        .filter(|port| {
            is_only
                || port.name.as_deref().unwrap_or_default() == wanted
                || port.port.is_some_and(|number| number.to_string() == wanted)
        })
        .filter_map(|port| u16::try_from(port.port?).ok())
        .collect();
    on_ports(slice, &ports)
}

/// What is not on its way out, on each of these ports.
fn on_ports(slice: &EndpointSlice, ports: &[u16]) -> Vec<SocketAddr> {
    slice
        .endpoints
        .iter()
        .filter(|endpoint| {
            let terminating = endpoint.conditions.as_ref().and_then(|c| c.terminating);
            !terminating.unwrap_or(false)
        })
        .flat_map(|endpoint| &endpoint.addresses)
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .flat_map(|address| {
            ports
                .iter()
                .map(move |port| SocketAddr::new(address, *port))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dns_is_asked_on_the_udp_port_of_that_name() {
        let slice = |ports| -> EndpointSlice {
            serde_json::from_value(
                json!({"addressType": "IPv4", "metadata": {}, "ports": ports,
                "endpoints": [{"addresses": ["10.0.0.1"]},
                    {"addresses": ["10.0.0.2"], "conditions": {"terminating": true}}]}),
            )
            .unwrap()
        };
        let http = json!({"name": "http", "port": 8080, "protocol": "TCP"});
        let dns = json!({"name": "dns", "port": 5353, "protocol": "UDP"});
        let addresses = slice_dns(&slice(json!([http, dns])));
        assert_eq!(addresses, ["10.0.0.1:5353".parse().unwrap()]);
        assert!(slice_dns(&slice(json!([http]))).is_empty());
        let addresses = slice_addresses(&slice(json!([http, dns])), "8080");
        assert_eq!(addresses, ["10.0.0.1:8080".parse().unwrap()]);
    }

    #[test]
    fn every_endpoint_that_is_not_on_its_way_out_is_asked() {
        let http = json!([{"name": "http", "port": 8081, "protocol": "TCP"}]);
        let two = json!([{"name": "http", "port": 8081}, {"name": "admin", "port": 8082}]);
        let udp = json!([{"name": "http", "port": 8081, "protocol": "UDP"}]);
        let unnamed = json!([{"port": 8081}]);
        let plain = json!({"addresses": ["10.0.0.1"]});
        let state = |ready: bool, terminating: bool| {
            json!({"addresses": ["10.0.0.1"],
                "conditions": {"ready": ready, "serving": ready, "terminating": terminating}})
        };
        for (case, wanted, ports, endpoint, expected) in [
            (
                "by name",
                "http",
                &http,
                plain.clone(),
                &["10.0.0.1:8081"][..],
            ),
            ("another name", "web", &http, plain.clone(), &[]),
            (
                "by the pods' number",
                "8081",
                &two,
                plain.clone(),
                &["10.0.0.1:8081"],
            ),
            (
                "by the Service's number",
                "80",
                &http,
                plain.clone(),
                &["10.0.0.1:8081"],
            ),
            ("which of two is not known", "80", &two, plain.clone(), &[]),
            (
                "the only one, without a name",
                "80",
                &unnamed,
                plain.clone(),
                &["10.0.0.1:8081"],
            ),
            (
                "a name that is not there",
                "http",
                &unnamed,
                plain.clone(),
                &[],
            ),
            ("not TCP", "http", &udp, plain.clone(), &[]),
            (
                "not ready",
                "http",
                &http,
                state(false, false),
                &["10.0.0.1:8081"],
            ),
            ("on its way out", "http", &http, state(false, true), &[]),
            (
                "serving till the end",
                "http",
                &http,
                state(true, true),
                &[],
            ),
            (
                "IPv6",
                "http",
                &http,
                json!({"addresses": ["2001:db8::1"]}),
                &["[2001:db8::1]:8081"],
            ),
            (
                "a name",
                "http",
                &http,
                json!({"addresses": ["pod.example"]}),
                &[],
            ),
        ] {
            let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "addressType": "IPv4", "ports": ports, "endpoints": [endpoint]});
            let slice = serde_json::from_value(slice).unwrap();
            let found: Vec<String> = slice_addresses(&slice, wanted)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn a_slice_without_ports_or_endpoints_has_no_address() {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "addressType": "IPv4", "ports": null, "endpoints": []});
        let slice = serde_json::from_value(slice).unwrap();
        assert!(slice_addresses(&slice, "http").is_empty());
    }
}
