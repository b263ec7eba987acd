//! The watches of the Gateway API. They start when the first policy needs them: its kinds may
//! not be installed, and an operator that is used without them needs no right to read them.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::reflector::{Store, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use super::types::{GROUP, Gateway, GatewayClass, HttpRoute};
use crate::limits;

/// How far the watch of a kind is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::controller) enum State {
    /// All is known.
    Known,
    /// It has only just begun.
    Looking,
    /// The kind is not installed.
    Absent,
    /// The operator may not look; with the API server's words.
    Forbidden(String),
}

/// Everything that is watched of the Gateway API.
#[derive(Clone)]
pub(in crate::controller) struct Gateways {
    pub(super) gateways: Store<Gateway>,
    pub(super) classes: Store<GatewayClass>,
    pub(super) routes: Store<HttpRoute>,
    states: [watch::Receiver<State>; 3],
    wanted: Arc<Notify>,
}

/// What a change sets off.
pub(in crate::controller) enum Changed {
    /// A Gateway.
    Gateway(Box<Gateway>),
    /// A route.
    Route(Box<HttpRoute>),
    /// Anything else that may let a policy go on.
    Other,
}

type Tell = Arc<dyn Fn(Changed) + Send + Sync>;

impl Gateways {
    /// Nothing is asked of the API server until it is [wanted](Self::settled).
    pub(in crate::controller) fn new(
        client: Client,
        tell: impl Fn(Changed) + Send + Sync + 'static,
    ) -> Self {
        let wanted = Arc::new(Notify::new());
        let tell: Tell = Arc::new(tell);
        let start = Start {
            client,
            wanted: wanted.clone(),
            tell,
        };
        let (gateways, of_gateways) =
            start.follow(|gateway: Gateway| Changed::Gateway(Box::new(gateway)));
        let (routes, of_routes) = start.follow(|route: HttpRoute| Changed::Route(Box::new(route)));
        let (classes, of_classes) = start.follow(|_: GatewayClass| Changed::Other);
        Self {
            gateways,
            classes,
            routes,
            states: [of_gateways, of_routes, of_classes],
            wanted,
        }
    }

    /// Starts the watches if they do not run, and waits a while until they have something to say.
    pub(in crate::controller) async fn settled(&self) -> State {
        self.wanted.notify_waiters();
        for state in &self.states {
            let mut state = state.clone();
            let known = state.wait_for(|state| {
                // A task that has not yet begun to wait would sleep through one call.
                self.wanted.notify_waiters();
                *state != State::Looking
            });
            // It is looked at again when the watch has got further.
            let _ = tokio::time::timeout(limits::GATEWAY_LOOK_TIME, known).await;
        }
        self.state()
    }

    /// The worst of the three.
    pub(in crate::controller) fn state(&self) -> State {
        let states = self.states.iter().map(|state| state.borrow().clone());
        states.max().unwrap_or(State::Looking)
    }
}

struct Start {
    client: Client,
    wanted: Arc<Notify>,
    tell: Tell,
}

impl Start {
    fn follow<K>(
        &self,
        changed: impl Fn(K) -> Changed + Send + 'static,
    ) -> (Store<K>, watch::Receiver<State>)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
        K: std::fmt::Debug + Send + Sync + 'static,
    {
        let (reader, writer) = store();
        let (state, states) = watch::channel(State::Looking);
        let (client, tell) = (self.client.clone(), self.tell.clone());
        // Made here, so that no call is missed while the task begins.
        let wanted = self.wanted.clone().notified_owned();
        tokio::spawn(async move {
            wanted.await;
            while !is_served(&client, &K::plural(&())).await {
                if state.send_replace(State::Absent) != State::Absent {
                    tell(Changed::Other);
                }
                tokio::time::sleep(AGAIN).await;
            }
            let seen = move |event: &watcher::Result<watcher::Event<K>>| match event {
                Ok(watcher::Event::InitDone) => Some(State::Known),
                Err(error) => state_of(error),
                Ok(_) => None,
            };
            let mut events = std::pin::pin!(
                watcher(Api::<K>::all(client), watcher::Config::default())
                    .default_backoff()
                    .reflect(writer)
            );
            while let Some(event) = events.next().await {
                if let Some(now) = seen(&event)
                    && state.send_replace(now.clone()) != now
                {
                    tell(Changed::Other);
                }
                match event {
                    Ok(
                        watcher::Event::Apply(object)
                        | watcher::Event::Delete(object)
                        | watcher::Event::InitApply(object),
                    ) => tell(changed(object)),
                    Ok(_) => {}
                    Err(error) => {
                        let what = K::plural(&());
                        tracing::warn!(%error, %what, "the watch failed and is tried again");
                    }
                }
            }
        });
        (reader, states)
    }
}

/// How long until it is looked again whether a kind has been installed.
const AGAIN: Duration = Duration::from_secs(5);

/// Whether the API server has the kind. Everybody may ask that; where it cannot be told, the
/// watch itself finds out.
async fn is_served(client: &Client, plural: &str) -> bool {
    match client
        .list_api_group_resources(&format!("{GROUP}/v1"))
        .await
    {
        Ok(list) => list.resources.iter().any(|found| found.name == plural),
        Err(kube::Error::Api(status)) => status.code != 404,
        Err(_) => true,
    }
}

fn state_of(error: &watcher::Error) -> Option<State> {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status,
        watcher::Error::WatchError(status) => status,
        _ => return None,
    };
    match status.code {
        403 => Some(State::Forbidden(status.message.clone())),
        404 => Some(State::Absent),
        _ => None,
    }
}
