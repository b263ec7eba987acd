//! The operator's own namespace is going: no policy may wait for an operator that is gone. (io)

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};

use super::caches::GuardedPolicy;
use super::error::Error;
use super::finalize;
use super::scope::Scope;
use crate::api::{FIELD_MANAGER, FINALIZER};

/// How often the cached namespace is looked at. Its objects go within seconds, our own rights
/// among them, so it is often.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until the operator's own namespace is being deleted. From then on it takes our finalizer
/// from every policy, and names the domains that stay behind. It never ends.
pub(super) async fn watch(client: Client, namespaces: Store<Namespace>, scope: Scope, own: String) {
    while !is_going(&namespaces, &own) {
        tokio::time::sleep(PAUSE).await;
    }
    tracing::warn!(
        namespace = own,
        "the operator's namespace is being deleted: it lets go of all policies"
    );
    let mut told = HashSet::new();
    loop {
        if let Err(error) = let_all_go(&client, &scope, &own, &mut told).await {
            tracing::warn!(%error, "a policy could not be let go yet");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the namespace is being deleted. What is being deleted is never kept again.
pub(super) fn is_going(namespaces: &Store<Namespace>, namespace: &str) -> bool {
    namespaces
        .get(&ObjectRef::new(namespace))
        .is_some_and(|namespace| namespace.meta().deletion_timestamp.is_some())
}

async fn let_all_go(
    client: &Client,
    scope: &Scope,
    own: &str,
    told: &mut HashSet<String>,
) -> Result<(), Error> {
    let mut result = Ok(());
    // Read anew: only the leader's cache is filled.
    for policy in scope.list::<GuardedPolicy>(client).await? {
        if !policy.finalizers().iter().any(|f| f == FINALIZER) {
            continue;
        }
        match finalize::release(client, &policy).await {
            Ok(()) if told.insert(policy.uid().unwrap_or_default()) => {
                tell(client, &policy, own).await;
            }
            Ok(()) => {}
            // The others are let go all the same.
            Err(error) => result = Err(error),
        }
    }
    result
}

async fn tell(client: &Client, policy: &GuardedPolicy, own: &str) {
    let domain = policy.0.as_ref().ok().map(|p| p.spec.domain.as_str());
    let domain = domain.unwrap_or("a domain that cannot be read");
    let note = format!(
        "the operator's namespace {own} is being deleted, and its record of {domain} with it: the TXT record \
         _mta-sts.{domain} stays, and senders keep the policy until its max_age has passed; remove the record by hand, \
         or install the operator again"
    );
    tracing::warn!(
        domain,
        namespace = policy.namespace().unwrap_or_default(),
        name = policy.name_any(),
        "{note}"
    );
    let event = Event {
        type_: EventType::Warning,
        reason: "LeftBehind".to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let reporter = Reporter {
        controller: FIELD_MANAGER.to_owned(),
        instance: None,
    };
    let recorder = Recorder::new(client.clone(), reporter);
    // Events are news, not state.
    if let Err(error) = recorder.publish(&event, &policy.object_ref(&())).await {
        tracing::debug!(%error, "an Event could not be told");
    }
}
