//! Two controllers: one takes over from the other, dead or asleep, and a leader that wakes up too
//! late changes nothing any more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use support::api_proxy::{ApiProxy, is_write};
use support::dns_proxy::DnsProxy;
use support::http;
use support::interfere::{Action, Interference, When};
use support::ports::{free_port, loopback};
use support::process::Process;
use support::wait::{always, ensure, eventually};
use support::world::{SOON, SYSTEM, World, ready};
use tokio::sync::Notify;

const DOMAIN: &str = "example.org";
/// Longer than what is in flight may take to arrive.
const WHILE: Duration = Duration::from_secs(4);

/// A controller with proxies of its own, so that its writes are told from another's.
struct Replica {
    process: Arc<Process>,
    admin: SocketAddr,
    /// All writes, the lease's too.
    writes: Arc<Interference>,
    _api: ApiProxy,
}

impl Replica {
    async fn start(world: &World, name: &str, endpoint: SocketAddr) -> Self {
        let writes = Arc::<Interference>::default();
        let api = ApiProxy::counting(&world.api, is_write, writes.clone()).await;
        let mut settings = world.settings(name, &[endpoint]);
        settings.kubeconfig = api.kubeconfig(&world.api, world.api.admin_token());
        let admin = loopback(free_port());
        let process = world.controller_with_admin(&settings, admin);
        ready(&process, admin).await;
        Self {
            process: Arc::new(process),
            admin,
            writes,
            _api: api,
        }
    }

    /// The metric `mta_sts_leader`.
    async fn leads(&self) -> Result<bool, String> {
        let metrics = http::get(self.admin, "localhost", "/metrics").await?.text();
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix("mta_sts_leader "));
        value.map(|value| value == "1").ok_or(metrics)
    }

    async fn is_leader(&self) {
        eventually("it is the leader", SOON, async || {
            ensure(self.leads().await?, "it is not")
        })
        .await;
    }
}
