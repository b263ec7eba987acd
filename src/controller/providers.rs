//! The flow of a `DnsProvider` or `ClusterDnsProvider`: a real, harmless call, and its outcome
//! as the condition Ready.

use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::context::Context;
use super::dns::{self, Access};
use super::error::{Error, ProviderError};
use super::hold::provider_hold;
use super::report::Hold;
use super::spec::{lint_cluster_spec, lint_provider_spec, unreadable};
use crate::api::condition::Reason;
use crate::api::{
    ClusterDnsProvider, Condition, ConditionStatus, DnsProvider, DnsProviderStatus, FIELD_MANAGER,
    Rfc2136Spec,
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
    fn api(context: &Context, namespace: Option<&str>) -> Api<Self>;
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

    fn api(context: &Context, namespace: Option<&str>) -> Api<Self> {
        namespaced(context, namespace)
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

    fn api(context: &Context, _: Option<&str>) -> Api<Self> {
        Api::all(context.client.clone())
    }
}

fn namespaced<K>(context: &Context, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(context.client.clone(), namespace.unwrap_or_default())
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
            (outcome, provider.status())
        }
        Err(invalid) => (Err((Reason::InvalidSpec, unreadable(&invalid.error))), None),
    };
    let ready = outcome.is_ok();
    let status = build(object.meta().generation, known, outcome, clock::now());
    if known != Some(&status) {
        write::<K>(&context, &*object, &status).await?;
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

async fn write<K: ProviderObject>(
    context: &Context,
    object: &impl ResourceExt,
    status: &DnsProviderStatus,
) -> Result<(), Error> {
    let namespace = object.namespace();
    let api = K::api(context, namespace.as_deref());
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any()},
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api
        .patch_status(&object.name_any(), &params, &Patch::Apply(&patch))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}
