//! Reading and writing objects of ours, whatever else stands in them: also where an object does not fit its type or its schema any more. (io)

use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::context::Context;
use super::error::Error;
use super::events;
use crate::api::FIELD_MANAGER;
use crate::api::condition::Reason;

/// The status of an object of kind `K`, as far as it can be read.
pub(super) async fn read<K, S>(
    context: &Context,
    object: &impl ResourceExt,
) -> Result<Option<S>, Error>
where
    K: Resource<DynamicType = ()>,
    S: DeserializeOwned,
{
    let status = field::<K>(context, object, "status").await?;
    Ok(status.and_then(|status| serde_json::from_value(status).ok()))
}

/// The spec of an object of kind `K`, as it stands there.
pub(super) async fn spec<K>(
    context: &Context,
    object: &impl ResourceExt,
) -> Result<Option<Value>, Error>
where
    K: Resource<DynamicType = ()>,
{
    field::<K>(context, object, "spec").await
}

async fn field<K>(
    context: &Context,
    object: &impl ResourceExt,
    name: &str,
) -> Result<Option<Value>, Error>
where
    K: Resource<DynamicType = ()>,
{
    // A list of one: the operator may list its kinds, and needs no right beyond that.
    let params = ListParams::default().fields(&format!("metadata.name={}", object.name_any()));
    let found = api::<K>(context, object).list(&params).await?;
    let found = found.items.into_iter().next();
    Ok(found.and_then(|found| found.data.get(name).cloned()))
}

/// Changes an object of kind `K` by the operations of a JSON patch (RFC 6902). One that is gone is
/// no error.
pub(super) async fn change<K>(
    context: &Context,
    object: &impl ResourceExt,
    operations: Value,
) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let operations = serde_json::from_value(operations).map_err(kube::Error::SerdeError)?;
    let api = api::<K>(context, object);
    match api
        .patch(
            &object.name_any(),
            &params(),
            &Patch::Json::<()>(operations),
        )
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// What came of writing a status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Written {
    /// It is there.
    Yes,
    /// The object is not there any more.
    Gone,
    /// The API server takes nothing for this object: a value of its spec has another type than the
    /// schema says, and a rule that reads it cannot be evaluated.
    Refused,
}

/// Puts `status` in place of the whole status of an object of kind `K`.
///
/// Server-side apply would refuse every object whose spec does not fit the schema, and leave
/// behind what was once written in another way.
pub(super) async fn replace<K>(
    context: &Context,
    object: &impl ResourceExt,
    status: &impl Serialize,
) -> Result<Written, Error>
where
    K: Resource<DynamicType = ()>,
{
    let operations = json!([
        // An object of the same name that was made anew is refused.
        {"op": "replace", "path": "/metadata/uid", "value": object.uid()},
        {"op": "add", "path": "/status", "value": status},
    ]);
    let operations = serde_json::from_value(operations).map_err(kube::Error::SerdeError)?;
    let patch = Patch::Json::<()>(operations);
    match api::<K>(context, object)
        .patch_status(&object.name_any(), &params(), &patch)
        .await
    {
        Ok(_) => Ok(Written::Yes),
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(Written::Gone),
        Err(kube::Error::Api(error)) if error.code == 422 => Ok(Written::Refused),
        Err(error) => Err(error.into()),
    }
}

/// Tells by an Event, once a generation, what the status of an object cannot tell.
pub(super) async fn tell_instead<K>(context: &Context, object: &K, message: &str)
where
    K: Resource<DynamicType = ()>,
{
    let uid = object.uid().unwrap_or_default();
    if !context.memory.is_new(&uid, object.meta().generation) {
        return;
    }
    let note = format!(
        "{message}; until the spec is corrected the API server takes no status for this object"
    );
    tracing::warn!(
        namespace = object.namespace().unwrap_or_default(),
        name = object.name_any(),
        "{note}"
    );
    events::tell(
        context,
        object,
        EventType::Warning,
        Reason::InvalidSpec.as_str(),
        &note,
    )
    .await;
}

/// The API of objects of kind `K`, in which every object can be read.
fn api<K>(context: &Context, object: &impl ResourceExt) -> Api<DynamicObject>
where
    K: Resource<DynamicType = ()>,
{
    let resource = ApiResource::erase::<K>(&());
    match object.namespace() {
        Some(namespace) => Api::namespaced_with(context.client.clone(), &namespace, &resource),
        None => Api::all_with(context.client.clone(), &resource),
    }
}
