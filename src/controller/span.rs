//! One pass over an object: the span that everything it says in the log stands in. (pure)

use std::sync::atomic::{AtomicU64, Ordering};

use kube::ResourceExt;
use tracing::Span;

/// Passes since the process began.
static PASSES: AtomicU64 = AtomicU64::new(0);

/// The span of a new pass: which domain it is about, of which object, and a number that tells its
/// lines from those of any other pass of this process.
pub(super) fn of_pass(domain: &str, object: &impl ResourceExt) -> Span {
    tracing::info_span!(
        "reconcile",
        domain,
        namespace = object.namespace().unwrap_or_default(),
        name = object.name_any(),
        reconcile_id = PASSES.fetch_add(1, Ordering::Relaxed) + 1,
    )
}
