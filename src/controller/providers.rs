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
use super::own_dns;
use super::report::Hold;
use super::spec::{lint_cluster_spec, lint_provider_spec, unreadable};
use crate::api::condition::{ConditionType, Reason};
use crate::api::{
    ClusterDnsProvider, Condition, ConditionStatus, DnsProvider, DnsProviderStatus, DnsServiceSpec,
};
use crate::clock;
use crate::lifecycle::ProviderKey;
use crate::limits;

/// What both kinds have in common.
pub(super) trait ProviderObject:
    Resource<DynamicType = ()> + Clone + DeserializeOwned
{
    fn spec(&self) -> (&DnsServiceSpec, &[String]);
    /// The first breach of the rules that the schema also has.
    fn fault(&self) -> Result<(), String>;
    fn status(&self) -> Option<&DnsProviderStatus>;
}

impl ProviderObject for DnsProvider {
    fn spec(&self) -> (&DnsServiceSpec, &[String]) {
        (&self.spec.dns, &self.spec.zones)
    }

    fn fault(&self) -> Result<(), String> {
        lint_provider_spec(&self.spec)
    }

    fn status(&self) -> Option<&DnsProviderStatus> {
        self.status.as_ref()
    }
}

impl ProviderObject for ClusterDnsProvider {
    fn spec(&self) -> (&DnsServiceSpec, &[String]) {
        (&self.spec.dns, &self.spec.zones)
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
                Err(fault) => Err(Refusal::of_spec(fault)),
            };
            (outcome, provider.status().cloned())
        }
        Err(invalid) => {
            let known = object_status::read::<K, _>(&context, &*object).await?;
            (Err(Refusal::of_spec(unreadable(&invalid.error))), known)
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

/// Why a provider cannot be used.
struct Refusal {
    reason: Reason,
    message: String,
    /// Trying again changes nothing: somebody has to act.
    stalled: bool,
}

impl Refusal {
    fn of_spec(message: String) -> Self {
        Self {
            reason: Reason::InvalidSpec,
            message,
            stalled: true,
        }
    }
}

async fn check(context: &Context, access: &Access) -> Result<Vec<String>, Refusal> {
    let result: Result<Vec<String>, ProviderError> = async {
        match &access.spec.authoritative {
            Some(spec) => own_dns::check(context, &access.key.name, spec).await,
            None => dns::open(context, access).await?.check().await,
        }
    }
    .await;
    context.metrics.provider_call("check", &result);
    result.map_err(|error| match provider_hold(&error) {
        Hold::Provider {
            reason,
            message,
            stalled,
            ..
        } => Refusal {
            reason,
            message,
            stalled,
        },
        _ => Refusal {
            reason: Reason::ProviderError,
            message: error.to_string(),
            stalled: false,
        },
    })
}

fn is_ready(status: &DnsProviderStatus) -> bool {
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
    ready.is_some_and(|ready| ready.status == ConditionStatus::True)
}

fn build(
    generation: Option<i64>,
    known: Option<&DnsProviderStatus>,
    outcome: Result<Vec<String>, Refusal>,
    now: Timestamp,
) -> DnsProviderStatus {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let condition = |type_: ConditionType, status, reason: Reason, message: &str| {
        let before = known
            .and_then(|known| known.conditions.iter().find(|c| c.type_ == type_.as_str()))
            .filter(|before| before.status == status);
        Condition {
            type_: type_.as_str().to_owned(),
            status,
            observed_generation: generation,
            last_transition_time: before.map_or(now, |before| before.last_transition_time),
            reason: reason.to_string(),
            message: message.to_owned(),
        }
    };
    let (conditions, zones) = match outcome {
        Ok(zones) => {
            let works = "the service answers and takes the credentials";
            let ready = condition(
                ConditionType::Ready,
                ConditionStatus::True,
                Reason::Accepted,
                works,
            );
            (vec![ready], zones)
        }
        Err(refusal) => {
            let Refusal {
                reason, message, ..
            } = refusal;
            let no = ConditionStatus::False;
            let ready = condition(ConditionType::Ready, no, reason, &message);
            // What kstatus goes by: a person has to act, or it is tried again.
            let (type_, reason) = match refusal.stalled {
                true => (ConditionType::Stalled, reason),
                false => (ConditionType::Reconciling, Reason::Progressing),
            };
            let next = condition(type_, ConditionStatus::True, reason, &message);
            let zones = known.map(|known| known.zones.clone()).unwrap_or_default();
            (vec![ready, next], zones)
        }
    };
    DnsProviderStatus {
        observed_generation: generation,
        conditions,
        zones: zones.into_iter().take(limits::STATUS_ZONES).collect(),
    }
}
