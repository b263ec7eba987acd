//! Whether a controller runs, seen by its Lease. (io)

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt as _};
use tokio::time::{Instant, sleep};

use crate::limits;

/// What was seen of the Lease.
#[derive(Debug)]
pub(super) enum Seen {
    /// There is none.
    Missing,
    /// Nobody holds it.
    Free,
    /// It was renewed while we looked.
    Fresh(Box<Lease>),
    /// Somebody holds it, and did not renew it for as long as a lease is good.
    Stale(Box<Lease>),
}

/// Looks until the Lease is renewed, or has run out. No clocks of two machines are compared.
pub(super) async fn watch(api: &Api<Lease>, name: &str) -> Result<Seen, kube::Error> {
    let until = Instant::now() + limits::LEASE_TIME;
    let Some(first) = api.get_opt(name).await? else {
        return Ok(Seen::Missing);
    };
    let mut last = first.clone();
    loop {
        let holder = last
            .spec
            .as_ref()
            .and_then(|s| s.holder_identity.as_deref());
        if holder.is_none_or(str::is_empty) {
            return Ok(Seen::Free);
        }
        if last.resource_version() != first.resource_version() {
            return Ok(Seen::Fresh(Box::new(last)));
        }
        if Instant::now() >= until {
            return Ok(Seen::Stale(Box::new(last)));
        }
        sleep(Duration::from_millis(300)).await;
        last = match api.get_opt(name).await? {
            Some(lease) => lease,
            None => return Ok(Seen::Missing),
        };
    }
}
