//! Following the records in one namespace.
//!
//! The watcher of kube's runtime does not tell when a watch was opened nor that a bookmark came,
//! and both matter here: the server is ready only when it hears changes, and says how long ago
//! it last heard anything.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::time::{Instant, sleep, timeout};

use super::store::Writer;
use crate::lifecycle::own_zone::ZONES_ROLE;
use crate::lifecycle::record::{RECORD_ROLE, ROLE_LABEL};
use crate::limits;

/// How well the API server is heard.
#[derive(Debug, Default)]
pub struct Feed {
    ready: AtomicBool,
    heard: ArcSwapOption<Instant>,
}

impl Feed {
    /// Whether a consistent list was read and a watch went on from it, at any time since the start.
    /// A watch that is lost later changes nothing: what is known is served.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// How long ago the API server was last heard on a watch.
    pub fn age(&self) -> Option<Duration> {
        self.heard.load().as_ref().map(|heard| heard.elapsed())
    }

    fn hear(&self) {
        self.heard.store(Some(Arc::new(Instant::now())));
    }
}

/// Why the records cannot be followed at the moment.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error("the records cannot be listed (it takes the verb list on configmaps): {0}")]
    List(#[source] Box<kube::Error>),
    #[error("the records cannot be watched (it takes the verb watch on configmaps): {0}")]
    Watch(#[source] Box<kube::Error>),
    #[error("the API server ended the watch: {0}")]
    Ended(Box<kube::core::Status>),
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
    #[error("the API server gave a list without a resourceVersion")]
    NoVersion,
}

/// Follows the records in the namespace of `api` for ever: a list, then a watch; after any error
/// a list again, with back-off.
pub async fn follow(api: Api<ConfigMap>, writer: Writer, feed: Arc<Feed>) -> Infallible {
    let mut follower = Follower {
        api,
        writer,
        feed,
        failures: 0,
    };
    loop {
        let Err(error) = follower.list_and_watch().await;
        // Said once; whoever wants to know how long it lasts looks at the metric.
        if follower.failures == 0 {
            tracing::warn!(%error, "serving what is known, trying again");
        } else {
            tracing::debug!(%error, failures = follower.failures, "trying again");
        }
        follower.failures = follower.failures.saturating_add(1);
        sleep(backoff(follower.failures)).await;
    }
}

struct Follower {
    api: Api<ConfigMap>,
    writer: Writer,
    feed: Arc<Feed>,
    /// Since the last watch that was opened.
    failures: u32,
}

impl Follower {
    async fn list_and_watch(&mut self) -> Result<Infallible, FeedError> {
        let mut version = self.list().await?;
        loop {
            let opened = Instant::now();
            version = self.watch(version).await?;
            // A server that ends each watch at once is not to be asked in a tight loop.
            if opened.elapsed() < Duration::from_secs(1) {
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Reads all records, in pages of one snapshot. Without a resourceVersion the answer is as
    /// new as the store itself; with 0 it could be an old cache's.
    async fn list(&mut self) -> Result<String, FeedError> {
        let mut params = ListParams::default()
            .labels(&selector())
            .limit(limits::LIST_PAGE);
        let mut listed = HashSet::new();
        loop {
            let page = within(limits::API_REQUEST_TIME, self.api.list(&params)).await?;
            let page = page.map_err(|error| FeedError::List(Box::new(error)))?;
            for object in &page.items {
                self.writer.apply(object);
                listed.extend(object.metadata.name.clone());
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                self.writer.retain(&listed);
                self.writer.complete();
                let version = page
                    .metadata
                    .resource_version
                    .filter(|text| !text.is_empty());
                return version.ok_or(FeedError::NoVersion);
            }
        }
    }

    /// Takes in changes after `version` until the watch ends, and gives the version then.
    async fn watch(&mut self, mut version: String) -> Result<String, FeedError> {
        let seconds = u32::try_from(limits::WATCH_TIME.as_secs()).unwrap_or(60);
        let params = WatchParams::default().labels(&selector()).timeout(seconds);
        let events = within(limits::API_REQUEST_TIME, self.api.watch(&params, &version)).await?;
        let events = events.map_err(|error| FeedError::Watch(Box::new(error)))?;
        let mut events = std::pin::pin!(events.ready_chunks(LARGEST_BURST));
        // A version that is too old is told by the first event, not by the answer's status.
        let mut patience = limits::WATCH_PROOF_TIME;
        loop {
            match timeout(patience, events.next()).await {
                Ok(Some(burst)) => {
                    for event in burst {
                        let event = event.map_err(|error| FeedError::Watch(Box::new(error)))?;
                        version = self.take(event)?.unwrap_or(version);
                    }
                    self.writer.publish();
                }
                Ok(None) => return Ok(version),
                Err(_) if patience == limits::WATCH_PROOF_TIME => {}
                Err(_) => return Err(FeedError::Timeout(limits::WATCH_TIME)),
            }
            patience = limits::WATCH_TIME + limits::WATCH_MARGIN;
            self.follows();
        }
    }

    /// The watch goes on.
    fn follows(&mut self) {
        self.feed.hear();
        self.feed.ready.store(true, Ordering::Release);
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!("following the records again");
        }
    }

    /// Takes in one event, and gives the version that it stands for.
    fn take(&mut self, event: WatchEvent<ConfigMap>) -> Result<Option<String>, FeedError> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                self.writer.apply(&object);
                Ok(object.metadata.resource_version)
            }
            WatchEvent::Deleted(object) => {
                self.writer.remove(&object);
                Ok(object.metadata.resource_version)
            }
            WatchEvent::Bookmark(bookmark) => Ok(Some(bookmark.metadata.resource_version)),
            WatchEvent::Error(status) => Err(FeedError::Ended(status)),
        }
    }
}

/// Events that are shown to readers in one step when they come together.
const LARGEST_BURST: usize = 256;

fn selector() -> String {
    format!("{ROLE_LABEL} in ({RECORD_ROLE},{ZONES_ROLE})")
}

async fn within<F: Future>(time: Duration, work: F) -> Result<F::Output, FeedError> {
    timeout(time, work)
        .await
        .map_err(|_| FeedError::Timeout(time))
}

/// Half a second, doubled for each failure.
fn backoff(failures: u32) -> Duration {
    let doubled = Duration::from_millis(250).saturating_mul(2_u32.saturating_pow(failures.min(16)));
    doubled.min(limits::WATCH_BACKOFF)
}
