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

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// Looks until the Lease is renewed, has run out, or was left free for longer than a replica that
/// waits would leave it. No clocks of two machines are compared.
pub(super) async fn watch(api: &Api<Lease>, name: &str) -> Result<Seen, kube::Error> {
    let begun = Instant::now();
    let mut first: Option<Lease> = None;
    loop {
        let now = api.get_opt(name).await?;
        let looked = begun.elapsed();
        match now {
            Some(lease) if holder(&lease).is_some() => match &first {
                Some(first) if first.resource_version() != lease.resource_version() => {
                    return Ok(Seen::Fresh(Box::new(lease)));
                }
                _ if looked >= limits::LEASE_TIME => return Ok(Seen::Stale(Box::new(lease))),
                _ => first = Some(lease),
            },
            free if looked >= limits::LEASE_RETRY_TIME * 3 => {
                return Ok(free.map_or(Seen::Missing, |_| Seen::Free));
            }
            _ => {}
        }
        sleep(PAUSE).await;
    }
}

/// Who holds a Lease.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    let spec = lease.spec.as_ref()?;
    let holder = spec.holder_identity.as_deref()?;
    Some(holder).filter(|holder| !holder.is_empty())
}
