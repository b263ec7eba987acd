//! A world with a proxy before each of its servers: for outages, and for what is done by hand.

use std::net::SocketAddr;

use serde_json::json;

use super::api_proxy::ApiProxy;
use super::dns_proxy::DnsProxy;
use super::http;
use super::kubelet::Kubelet;
use super::ports::{free_port, loopback};
use super::process::Process;
use super::wait::ensure;
use super::world::{World, ready};

/// Path of a policy (RFC 8461 §3.3).
pub const PATH: &str = "/.well-known/mta-sts.txt";

/// A world with one policy server and one controller, both with proxies before them.
pub struct Place {
    pub world: World,
    /// Before the API server, for the controller.
    pub api: ApiProxy,
    /// The same for the policy server.
    pub server_api: ApiProxy,
    pub dns: DnsProxy,
    _server: Process,
    pub endpoint: SocketAddr,
    pub server_admin: SocketAddr,
    pub controller: Kubelet,
    pub admin: SocketAddr,
}

impl Place {
    /// Starts all of it, with the zones `domains`.
    pub async fn start(domains: &[&str]) -> Self {
        let world = World::start(domains).await;
        let api = ApiProxy::start(&world.api).await;
        let server_api = ApiProxy::start(&world.api).await;
        let kubeconfig = server_api.kubeconfig(&world.api, world.api.admin_token());
        let (endpoint, server_admin) = (loopback(free_port()), loopback(free_port()));
        let server = world.serve_on("serve", &kubeconfig, endpoint, server_admin);
        ready(&server, server_admin).await;
        world.route(domains, endpoint).await;
        let dns = DnsProxy::start(world.dns()).await;
        world.provider(dns.address()).await;
        let mut settings = world.settings("controller", &[endpoint]);
        settings.kubeconfig = api.kubeconfig(&world.api, world.api.admin_token());
        let admin = loopback(free_port());
        let controllers = world.controllers(&settings, admin);
        Self {
            admin,
            controller: Kubelet::keep(controllers),
            world,
            api,
            server_api,
            dns,
            _server: server,
            endpoint,
            server_admin,
        }
    }

    /// Publishes a policy, and gives its id.
    pub async fn publish(&self, domain: &str) -> String {
        self.world.policy(domain, json!({})).await;
        self.world.ready(domain).await.policy.unwrap().id
    }

    /// Whether the policy server answers with this id and is ready, DNS announces it, and the
    /// operator has written nothing to the DNS since `updates` were counted.
    pub async fn stands(&self, domain: &str, id: &str, updates: usize) -> Result<(), String> {
        let answer = self
            .world
            .front
            .get(&format!("mta-sts.{domain}"), PATH)
            .await?;
        let served = answer.status == 200 && answer.header("etag") == format!("\"{id}\"");
        ensure(
            served,
            format!("{} {}", answer.status, answer.header("etag")),
        )?;
        let ready = http::get(self.server_admin, "localhost", "/readyz").await?;
        ensure(ready.status == 200, "the policy server is not ready")?;
        let announced = self.world.txt_id(domain);
        ensure(announced.as_deref() == Some(id), format!("{announced:?}"))?;
        let written = self.dns.writes.writes().split_off(updates);
        ensure(written.is_empty(), format!("{written:?}"))
    }
}
