//! Events: each transition is told once, never once a loop. (io)

use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder};

use super::context::Context;

/// Tells an Event about `object`. Events are news, not state: one that fails is only logged.
pub(super) async fn tell<K>(
    context: &Context,
    object: &K,
    type_: EventType,
    reason: &str,
    note: &str,
) where
    K: Resource<DynamicType = ()>,
{
    let mut note = note.to_owned();
    if note.len() > NOTE_BYTES {
        let cut = (0..=NOTE_BYTES).rev().find(|&at| note.is_char_boundary(at));
        note.truncate(cut.unwrap_or(0));
    }
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let reference = object.object_ref(&());
    // A recorder that lives on would count an Event of the same reason into the first one, and
    // keep that one's note.
    let recorder = Recorder::new(context.client.clone(), context.reporter.clone());
    if let Err(error) = recorder.publish(&event, &reference).await {
        tracing::debug!(%error, reason, "an Event could not be told");
    }
}

/// The API server refuses longer notes.
const NOTE_BYTES: usize = 1000;
