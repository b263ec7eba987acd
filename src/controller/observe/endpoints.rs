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

fn slice_addresses(slice: &EndpointSlice, wanted: &str) -> Vec<SocketAddr> {
    let ports = slice.ports.iter().flatten().filter(|port| {
        port.name.as_deref().unwrap_or_default() == wanted
            || port.port.is_some_and(|number| number.to_string() == wanted)
    });
    let ports: Vec<u16> = ports
        .filter_map(|port| u16::try_from(port.port?).ok())
        .collect();
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
