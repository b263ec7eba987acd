//! The finalizer: a deletion is noted in the record, then the object goes at once. (io)

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::EventType;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use super::accept::accept;
use super::caches::GuardedPolicy;
use super::context::Context;
use super::error::Error;
use super::events;
use super::leaving::is_going;
use super::object_status;
use super::records::{Stored, cached_publication};
use crate::api::{self, FIELD_MANAGER, FINALIZER, MtaStsPolicy};
use crate::clock;
use crate::lifecycle::decide::{Decided, Input, decide};
use crate::lifecycle::guard::LiveMx;
use crate::lifecycle::publish::announce;
use crate::lifecycle::txt::TxtSet;
use crate::lifecycle::{DeletionPolicy, Owner, Publication, Record, Retiring, retirement};
use crate::protocol::{Domain, PolicyId, StsRecord};

/// Puts the finalizer on the object. Tells whether it had to.
pub(super) async fn add(context: &Context, policy: &MtaStsPolicy) -> Result<(), Error> {
    // An operator whose own namespace is going could never take it off again.
    if policy.finalizers().iter().any(|f| f == FINALIZER)
        || is_going(&context.caches.namespaces, &context.namespace)
    {
        return Ok(());
    }
    let mut finalizers = policy.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    set(&context.client, policy, &finalizers).await
}

/// Takes the finalizer off, whatever becomes of the domain.
pub(super) async fn release(client: &Client, object: &GuardedPolicy) -> Result<(), Error> {
    set(client, object, &others(object)).await
}

/// The finalizers that are not ours.
fn others(object: &GuardedPolicy) -> Vec<String> {
    let all = object.finalizers().iter();
    all.filter(|f| *f != FINALIZER).cloned().collect()
}

async fn set<K>(client: &Client, object: &K, finalizers: &[String]) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<MtaStsPolicy>::namespaced(client.clone(), &namespace);
    // With the resourceVersion the list is replaced only if nobody else has changed it.
    let patch = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": object.resource_version(),
        "uid": object.uid(),
    }});
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api
        .patch_metadata(&object.name_any(), &params, &Patch::Merge(patch))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The object is being deleted: marks its record as retiring, then lets the object go.
pub(super) async fn finish(context: &Context, object: &GuardedPolicy) -> Result<(), Error> {
    if !object.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(());
    }
    let owner = Owner {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
    };
    if let Some(domain) = domain_of(context, object, &owner) {
        let _lock = context.locks.lock(&domain).await;
        mark_retiring(context, object, &domain, &owner).await?;
    }
    let rest = others(object);
    match set(&context.client, object, &rest).await {
        Err(error) if error.is_invalid() => let_go(context, object, &rest).await,
        result => result,
    }
}

/// Takes the finalizer from an object that the API server lets nobody change, because a value of
/// its spec has another type than the schema says: no rule that reads it can be evaluated. So the
/// spec of the object, which is going anyway, is cut down to its domain in the same patch; else
/// its namespace could never go.
async fn let_go(
    context: &Context,
    object: &GuardedPolicy,
    finalizers: &[String],
) -> Result<(), Error> {
    let spec = object_status::spec::<MtaStsPolicy>(context, object).await?;
    let domain = spec.and_then(|spec| spec.get("domain").cloned());
    let operations = json!([
        {"op": "replace", "path": "/metadata/uid", "value": object.uid()},
        {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
        {"op": "add", "path": "/spec", "value": {"domain": domain, "mode": "none"}},
    ]);
    object_status::change::<MtaStsPolicy>(context, object, operations).await
}

/// The domain of an object: that of its record, since a spec that was changed past the rules may
/// have another one, or none that can be read.
fn domain_of(context: &Context, object: &GuardedPolicy, owner: &Owner) -> Option<Domain> {
    let records = context.caches.records.state();
    let of_record = records
        .iter()
        .filter_map(|record| cached_publication(record))
        .find(|publication| publication.owner == *owner)
        .map(|publication| publication.domain);
    of_record.or_else(|| {
        let policy = object.0.as_ref().ok()?;
        Domain::parse(&policy.spec.domain).ok()
    })
}

async fn mark_retiring(
    context: &Context,
    object: &GuardedPolicy,
    domain: &Domain,
    owner: &Owner,
) -> Result<(), Error> {
    let stored = context.records.read(domain).await?;
    // A record that is lost just now must not let the domain be forgotten with what it announces.
    if stored.is_none() && told_id(object).is_none() {
        return Ok(());
    }
    let record = match stored.as_ref().and_then(Stored::publication) {
        Some(publication) => {
            if publication.owner.uid != owner.uid || publication.retiring.is_some() {
                return Ok(());
            }
            // A record that was edited by hand is retired with what it should have been serving.
            let whole = stored.as_ref().and_then(Stored::record).cloned();
            whole.or_else(|| restored(stored.as_ref()?))
        }
        None => anew(context, object),
    };
    let Some(mut record) = record else {
        tracing::warn!(%domain, "the domain's record cannot be read and its object is going: remove its TXT record and its ConfigMap by hand");
        return Ok(());
    };
    let now = clock::now();
    record.publication.retiring = Some(Retiring {
        since: now,
        withdrawn: false,
        policy: deletion_policy(context, object).await?,
        clock_asked_at: None,
        over_at: None,
        txt_gone_at: None,
    });
    context.permit_at_any_time()?;
    context.records.write(stored.as_ref(), &record).await?;
    let note = note(context, &record.publication, now);
    if let Ok(policy) = &object.0 {
        events::tell(context, policy, EventType::Normal, "Retiring", &note).await;
    }
    Ok(())
}

/// What the object asks for, also where the rest of it cannot be read; else the way that loses no
/// mail.
async fn deletion_policy(
    context: &Context,
    object: &GuardedPolicy,
) -> Result<DeletionPolicy, Error> {
    let written = match &object.0 {
        Ok(policy) => policy.spec.deletion_policy,
        Err(_) => {
            let spec = object_status::spec::<MtaStsPolicy>(context, object).await?;
            let word = spec.and_then(|spec| spec.get("deletionPolicy").cloned());
            word.and_then(|word| serde_json::from_value(word).ok())
        }
    };
    Ok(match written {
        Some(api::DeletionPolicy::Immediate) => DeletionPolicy::Immediate,
        Some(api::DeletionPolicy::Retain) => DeletionPolicy::Retain,
        Some(api::DeletionPolicy::Graceful) | None => DeletionPolicy::Graceful,
    })
}

/// What a person is told of a deletion.
fn note(context: &Context, publication: &Publication, now: Timestamp) -> String {
    let domain = &publication.domain;
    let grace = context.settings.retirement_delay();
    let held = retirement::held_until(publication, now);
    let policy = publication.retiring.as_ref().map(|r| r.policy);
    match (policy, held) {
        (Some(DeletionPolicy::Retain), _) => format!(
            "{domain} stays published as it is (deletionPolicy Retain); a new MtaStsPolicy takes it back"
        ),
        (Some(DeletionPolicy::Immediate), Some(until)) => format!(
            "record and host of {domain} are taken away at once (deletionPolicy Immediate); until {until} senders may go by their copies of the policy, so keep its MX hosts and their certificates"
        ),
        _ => match retirement::ends(publication, grace, now) {
            Some(end) => format!(
                "{domain} gets a policy with mode none, and is taken away when no sender holds another one, about {end} (mta-sts retirements)"
            ),
            None => format!("{domain} is being retired"),
        },
    }
}

/// The id that the object's status tells as announced.
fn told_id(object: &GuardedPolicy) -> Option<PolicyId> {
    let status = object.0.as_ref().ok()?.status.as_ref()?;
    let policy = status.policy.as_ref()?;
    policy.announced_at?;
    policy.id.parse().ok()
}

/// A record in place of one that cannot be read or is gone, from what the object asks for. Something
/// may be announced, so it says that something is: then the TXT record's end is seen and waited for.
/// And it takes the worst for granted of what senders hold.
fn anew(context: &Context, object: &GuardedPolicy) -> Option<Record> {
    let policy = object.0.as_ref().ok()?;
    let accepted = accept(context, policy).ok()?;
    let now = clock::now();
    let told_id = told_id(object);
    let told = told_id
        .as_ref()
        .map(|id| StsRecord::render(id).into_bytes());
    // With an id the worst is noted of what senders hold; without one, what the object asks for is.
    let live = match &told {
        Some(_) => LiveMx::Unknown("the object is being deleted".to_owned()),
        None => LiveMx::Hosts(Vec::new()),
    };
    let txt = TxtSet::classify(told.as_slice(), &context.installation);
    let decided = decide(&Input {
        desired: &accepted.desired,
        owner: &accepted.owner,
        provider: accepted.provider.as_ref().map(|provider| &provider.key),
        installation: &context.installation,
        record: None,
        edited: None,
        txt: Some(&txt),
        adopted: None,
        assume_max_age: accepted.assume_max_age,
        live: &live,
        now,
    });
    match decided {
        Decided::New(record, _) => {
            let mut announced = announce(&record, accepted.desired.ttl, 0, now);
            // The new id is not out, and may not be before its body is.
            if let (Some(announced), Some(id)) = (&mut announced.publication.announced, told_id) {
                announced.id = id;
            }
            Some(announced)
        }
        Decided::Keep | Decided::Update(_) => None,
    }
}

/// A record whose body was edited, with the body that its publication asks for.
pub(super) fn restored(stored: &Stored) -> Option<Record> {
    let publication = stored.publication()?.clone();
    let body = crate::protocol::Policy {
        mode: publication.current.mode,
        max_age: publication.current.max_age,
        mx: publication.current.mx.clone(),
    }
    .render();
    Some(Record { body, publication })
}
