//! What a proxy does to the n-th write that passes it: the tool of crash and outage tests.

use super::ports::loopback;
use super::process::Process;
use super::wait::{ensure, eventually};
use futures::future::BoxFuture;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

/// Where a write is when an action is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum When {
    /// The proxy has the request whole; the server has seen nothing of it.
    Before,
    /// The server has carried it out and answered; the client has seen nothing of the answer.
    After,
}

/// What is done to a write. Before: all but `Delay`, `Run`, `Wait` and `Hold` keep it from the server. After: they
/// keep the answer from the client.
pub enum Action {
    /// Closes the client's connection.
    Drop,
    /// Goes on after a while.
    Delay(Duration),
    /// Cuts the proxy off, as [`Link::cut`] does.
    Cut,
    /// SIGKILL to the client.
    Kill(Arc<Process>),
    /// Calls a function of the test, and goes on.
    Run(Box<dyn FnOnce() + Send>),
    /// Waits for what the test does, and goes on.
    Wait(BoxFuture<'static, ()>),
    /// Calls a function of the test, which may kill the client, and goes no further.
    Strike(Box<dyn FnOnce() + Send>),
    /// Goes on when the test says [`Notify::notify_one`]: a packet that was long on its way.
    Hold(Arc<Notify>),
}

/// A write that came by.
#[derive(Clone, Debug)]
pub struct Write {
    /// Counted from 1.
    pub number: usize,
    /// For people: the request line, or the names that an update touches.
    pub what: String,
    /// The server's status or response code; none if it was never asked.
    pub answered: Option<u16>,
}

impl Write {
    /// What kind of write it is: of the API the method and the resource (`PUT configmaps`, `PATCH
    /// mtastspolicies/status`), of the DNS the first label that is changed (`UPDATE _mta-sts`).
    pub fn kind(&self) -> String {
        let mut words = self.what.split(' ');
        let (method, object) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        if method == "UPDATE" {
            return format!("UPDATE {}", object.split('.').next().unwrap_or(""));
        }
        let path: Vec<&str> = object.split('/').collect();
        let namespaced = path.iter().position(|part| *part == "namespaces");
        let resource = namespaced.map_or(4, |at| at + 2);
        let part = path.get(resource + 2).map(|part| format!("/{part}"));
        let resource = path.get(resource).unwrap_or(&"");
        format!("{method} {resource}{}", part.unwrap_or_default())
    }
}

/// Counts writes and holds what is to happen to them. Proxies share it with the test.
#[derive(Default)]
pub struct Interference {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    writes: Vec<Write>,
    due: Vec<Due>,
}

/// An action for the `left`-th write from now on that fits.
struct Due {
    fits: Box<dyn Fn(&Write) -> bool + Send>,
    left: usize,
    when: When,
    action: Action,
    /// The write that it is for, once that has come.
    number: Option<usize>,
}

impl Interference {
    /// Has `action` done to the write `number`, counted from 1 since the start or the last
    /// [`reset`](Self::reset).
    pub fn on_write(&self, number: usize, when: When, action: Action) {
        self.on(move |write| write.number == number, 1, when, action);
    }

    /// Has `action` done to the `ordinal`-th write, counted from 1 and from now on, that `fits`.
    pub fn on(
        &self,
        fits: impl Fn(&Write) -> bool + Send + 'static,
        ordinal: usize,
        when: When,
        action: Action,
    ) {
        self.state().due.push(Due {
            fits: Box::new(fits),
            left: ordinal,
            when,
            action,
            number: None,
        });
    }

    /// Forgets actions that are not done.
    pub fn disarm(&self) {
        self.state().due.clear();
    }

    /// Counts from 1 again and forgets actions that are not done.
    pub fn reset(&self) {
        *self.state() = State::default();
    }

    /// The writes so far, in the order in which they came.
    pub fn writes(&self) -> Vec<Write> {
        self.state().writes.clone()
    }

    /// Waits until `count` writes came, and the server's answer to the last of them.
    pub async fn answered(&self, count: usize, within: Duration) {
        let what = format!("{count} writes were answered");
        eventually(&what, within, async || {
            let writes = self.writes();
            let answered = writes
                .iter()
                .filter(|write| write.answered.is_some())
                .count();
            ensure(answered >= count, format!("{writes:#?}"))
        })
        .await;
    }

    /// Counts a write and gives its number.
    pub(super) fn begin(&self, what: String) -> usize {
        let state = &mut *self.state();
        let number = state.writes.len() + 1;
        let write = Write {
            number,
            what,
            answered: None,
        };
        let waiting = state.due.iter_mut().filter(|due| due.number.is_none());
        for due in waiting.filter(|due| (due.fits)(&write)) {
            due.left -= 1;
            due.number = (due.left == 0).then_some(number);
        }
        state.writes.push(write);
        number
    }

    pub(super) fn end(&self, number: usize, answered: u16) {
        if let Some(write) = self.state().writes.get_mut(number - 1) {
            write.answered = Some(answered);
        }
    }

    /// Does what is due for a write; `false` if the write, or its answer, goes no further.
    pub(super) async fn pass(&self, number: usize, when: When, link: &Link) -> bool {
        let mut goes_on = true;
        for action in self.take(number, when) {
            match action {
                Action::Delay(time) => tokio::time::sleep(time).await,
                Action::Run(function) => function(),
                Action::Wait(done) => done.await,
                Action::Strike(function) => {
                    function();
                    goes_on = false;
                }
                Action::Hold(released) => released.notified().await,
                Action::Drop => goes_on = false,
                Action::Cut => {
                    link.set(false);
                    goes_on = false;
                }
                Action::Kill(process) => {
                    process.kill();
                    goes_on = false;
                }
            }
        }
        goes_on
    }

    fn take(&self, number: usize, when: When) -> Vec<Action> {
        let due = &mut self.state().due;
        due.extract_if(.., |due| due.number == Some(number) && due.when == when)
            .map(|due| due.action)
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether clients reach the proxy.
pub struct Link {
    address: SocketAddr,
    up: watch::Sender<bool>,
}

impl Link {
    pub(super) fn new(port: u16) -> Arc<Self> {
        Arc::new(Self {
            address: loopback(port),
            up: watch::Sender::new(true),
        })
    }

    /// Where the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections and refuses new ones until [`mend`](Self::mend).
    pub async fn cut(&self) {
        self.set(false);
        eventually("the proxy is cut off", Duration::from_secs(5), async || {
            ensure(
                TcpStream::connect(self.address).await.is_err(),
                "it accepts a connection",
            )
        })
        .await;
    }

    /// Lets clients in again.
    pub async fn mend(&self) {
        self.set(true);
        eventually("the proxy is back", Duration::from_secs(5), async || {
            TcpStream::connect(self.address).await.map(drop)
        })
        .await;
    }

    pub(super) fn set(&self, up: bool) {
        self.up.send_replace(up);
    }

    /// Returns when the link is (or already was) in the state asked for.
    pub(super) async fn until(&self, up: bool) {
        if self
            .up
            .subscribe()
            .wait_for(|&now| now == up)
            .await
            .is_err()
        {
            pending::<()>().await; // can't be: the sender is ours
        }
    }
}
