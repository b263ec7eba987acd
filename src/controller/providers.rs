//! The flow of a `DnsProvider` or `ClusterDnsProvider`: a real, harmless call, and its outcome
//! as the condition Ready.

use std::sync::Arc;

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::context::Context;
use super::dns::{self, Access};
use super::error::{Error, ProviderError};
use super::hold::provider_hold;
use super::object_status::{self, Written};
use super::report::Hold;
use super::spec::{lint_cluster_spec, lint_provider_spec, unreadable};
use crate::api::condition::Reason;
use crate::api::{
    ClusterDnsProvider, Condition, ConditionStatus, DnsProvider, DnsProviderStatus, Rfc2136Spec,
};
use crate::clock;
use crate::lifecycle::ProviderKey;
use crate::limits;

/// What both kinds have in common.
pub(super) trait ProviderObject:
    Resource<DynamicType = ()> + Clone + DeserializeOwned
{
    fn spec(&self) -> (&Rfc2136Spec, &[String]);
    /// The first breach of the rules that the schema also has.
    fn fault(&self) -> Result<(), String>;
    fn status(&self) -> Option<&DnsProviderStatus>;
}

impl ProviderObject for DnsProvider {
    fn spec(&self) -> (&Rfc2136Spec, &[String]) {
        (&self.spec.rfc2136, &self.spec.zones)
    }

    fn fault(&self) -> Result<(), String> {
        lint_provider_spec(&self.spec)
    }

    fn status(&self) -> Option<&DnsProviderStatus> {
        self.status.as_ref()
    }
}

impl ProviderObject for ClusterDnsProvider {
    fn spec(&self) -> (&Rfc2136Spec, &[String]) {
        (&self.spec.rfc2136, &self.spec.zones)
    }

    fn fault(&self) -> Result<(), String> {
        lint_cluster_spec(&self.spec)
    }

    fn status(&self) -> Option<&DnsProviderStatus> {
        self.status.as_ref()
    }
}

/// Looks at one provider object.
pub(super) async fn reconcile<K: ProviderObject>(
    object: Arc<DeserializeGuard<K>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    if object.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let (outcome, known) = match &object.0 {
        Ok(provider) => {
            let (spec, zones) = provider.spec();
            let access = Access {
                key: ProviderKey {
                    namespace: object.namespace(),
                    name: object.name_any(),
                },
                spec: spec.clone(),
                zones: zones.to_vec(),
            };
            let outcome = match provider.fault() {
                Ok(()) => check(&context, &access).await,
                Err(fault) => Err((Reason::InvalidSpec, fault)),
            };
            (outcome, provider.status().cloned())
        }
        Err(invalid) => {
            let known = object_status::read::<K, _>(&context, &*object).await?;
            (
                Err((Reason::InvalidSpec, unreadable(&invalid.error))),
                known,
            )
        }
    };
    let ready = outcome.is_ok();
    let status = build(
        object.meta().generation,
        known.as_ref(),
        outcome,
        clock::now(),
    );
    if known.as_ref() != Some(&status) {
        let written = object_status::replace::<K>(&context, &*object, &status).await?;
        if let (Written::Refused, Some(condition)) = (written, status.conditions.first()) {
            object_status::tell_instead(&context, &*object, &condition.message).await;
        }
    }
    let was_ready = known.as_ref().is_some_and(is_ready);
    if ready && !was_ready {
        let namespace = object.namespace();
        let caches = &context.caches;
        caches.tell_users_of(namespace.as_deref(), &object.name_any());
    }
    Ok(Action::requeue(if ready {
        limits::PROVIDER_CHECK_TIME
    } else {
        limits::PROVIDER_RECHECK_TIME
    }))
}

/// What to do after a failure.
pub(super) fn error_policy<K: ProviderObject>(
    object: Arc<DeserializeGuard<K>>,
    error: &Error,
    _: Arc<Context>,
) -> Action {
    tracing::warn!(%error, name = object.name_any(), "a provider's status could not be written");
    Action::requeue(limits::PROVIDER_RECHECK_TIME)
}

async fn check(context: &Context, access: &Access) -> Result<Vec<String>, (Reason, String)> {
    let result: Result<Vec<String>, ProviderError> =
        async { dns::open(context, access).await?.check().await }.await;
    context.metrics.provider_call("check", &result);
    result.map_err(|error| match provider_hold(&error) {
        Hold::Provider {
            reason, message, ..
        } => (reason, message),
        _ => (Reason::ProviderError, error.to_string()),
    })
}

fn is_ready(status: &DnsProviderStatus) -> bool {
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
    ready.is_some_and(|ready| ready.status == ConditionStatus::True)
}

fn build(
    generation: Option<i64>,
    known: Option<&DnsProviderStatus>,
    outcome: Result<Vec<String>, (Reason, String)>,
    now: Timestamp,
) -> DnsProviderStatus {
    let (status, reason, message, zones) = match outcome {
        Ok(zones) => (
            ConditionStatus::True,
            Reason::Accepted,
            "the service answers and takes the credentials".to_owned(),
            zones,
        ),
        Err((reason, message)) => (
            ConditionStatus::False,
            reason,
            message,
            known.map(|known| known.zones.clone()).unwrap_or_default(),
        ),
    };
    let before = known
        .and_then(|known| known.conditions.iter().find(|c| c.type_ == "Ready"))
        .filter(|before| before.status == status);
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    DnsProviderStatus {
        observed_generation: generation,
        conditions: vec![Condition {
            type_: "Ready".to_owned(),
            status,
            observed_generation: generation,
            last_transition_time: before.map_or(now, |before| before.last_transition_time),
            reason: reason.to_string(),
            message,
        }],
        zones: zones.into_iter().take(limits::STATUS_ZONES).collect(),
    }
}
