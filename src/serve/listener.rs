//! A bounded HTTP/1 listener: so many connections, so much time for each, and a drain in two
//! steps at the end.

use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::limits;

/// How a listener bounds its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Time until a new connection's first request is complete.
    pub first_request: Duration,
    /// Time from one request to the next one's end of headers; not below `first_request`.
    pub keep_alive: Duration,
    /// Takes the place of both while more than three quarters of the connections are taken.
    pub pressed: Duration,
    /// Time for requests in flight at the end.
    pub finish: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: limits::SERVER_CONNECTIONS,
            first_request: limits::FIRST_REQUEST_TIME,
            keep_alive: limits::KEEP_ALIVE_TIME,
            pressed: limits::PRESSED_TIME,
            finish: limits::FINISH_TIME,
        }
    }
}

/// How far the end of a listener has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Business as usual.
    Serving,
    /// Still accepting, but each answer asks the client to open a new connection, which by
    /// then leads to another replica.
    LastCall,
    /// Nothing new; requests in flight are finished.
    Closing,
}

/// What can be counted about connections.
#[derive(Debug, Default)]
pub struct Stats {
    open: AtomicUsize,
    broken: AtomicU64,
}

impl Stats {
    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that ended by a malformed request, a reset or a time-out, since the start.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }
}

/// Answers on `listener` with `handler` until `phase` says [`Phase::Closing`] (or its sender is
/// gone), then gives requests in flight `limits.finish` and returns.
pub async fn serve<H>(
    listener: TcpListener,
    handler: Arc<H>,
    limits: Limits,
    stats: Arc<Stats>,
    phase: watch::Receiver<Phase>,
) where
    H: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (pressed, _) = watch::channel(false);
    let accepting = async {
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let stream = accept(&listener).await;
            set_pressed(&pressed, &slots, &limits);
            let connection = Connection {
                limits,
                phase: phase.clone(),
                pressed: pressed.subscribe(),
                taken: Taken::new(slot, stats.clone()),
            };
            let handler = handler.clone();
            tokio::spawn(async move { connection.run(stream, handler).await });
        }
    };
    let mut closing = phase.clone();
    tokio::select! {
        () = accepting => {}
        _ = closing.wait_for(|phase| *phase == Phase::Closing) => {}
    }
    drop(listener);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    if timeout(limits.finish, slots.acquire_many(all))
        .await
        .is_err()
    {
        tracing::warn!(
            open = stats.open(),
            "connections were still busy when time was up"
        );
    }
}

/// The next connection. Out of files or memory is a reason to wait, never to end.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn set_pressed(pressed: &watch::Sender<bool>, slots: &Semaphore, limits: &Limits) {
    let now = slots.available_permits() < limits.connections / 4;
    pressed.send_if_modified(|was| std::mem::replace(was, now) != now);
}

/// One place among the connections, given back when dropped.
struct Taken {
    _slot: OwnedSemaphorePermit,
    stats: Arc<Stats>,
}

impl Taken {
    fn new(slot: OwnedSemaphorePermit, stats: Arc<Stats>) -> Self {
        stats.open.fetch_add(1, Ordering::Relaxed);
        Self { _slot: slot, stats }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.stats.open.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Connection {
    limits: Limits,
    phase: watch::Receiver<Phase>,
    pressed: watch::Receiver<bool>,
    taken: Taken,
}

impl Connection {
    async fn run<H>(self, stream: TcpStream, handler: Arc<H>)
    where
        H: Fn(&Request<Incoming>) -> Response<Full<Bytes>>,
    {
        let Self {
            limits,
            mut phase,
            mut pressed,
            taken,
        } = self;
        // Answers are one small write; waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let activity = Activity::new();
        let last_call = phase.clone();
        let service = service_fn(|request| {
            activity.touch();
            let mut response = handler(&request);
            if *last_call.borrow() != Phase::Serving {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            ready(Ok::<_, Infallible>(response))
        });
        let mut connection = pin!(
            http1::Builder::new()
                .max_buf_size(limits::REQUEST_HEAD_BYTES)
                .max_header_size(limits::REQUEST_HEAD_BYTES)
                .max_headers(limits::REQUEST_HEADERS)
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(stream), service)
        );
        let mut closing = false;
        let well = loop {
            let deadline = activity.deadline(&limits, *pressed.borrow_and_update());
            tokio::select! {
                result = connection.as_mut() => break result.is_ok(),
                () = sleep_until(deadline) => {
                    let pressed = *pressed.borrow();
                    if activity.deadline(&limits, pressed) <= Instant::now() {
                        break activity.any_request();
                    }
                }
                Ok(()) = pressed.changed() => {}
                _ = phase.wait_for(|phase| *phase == Phase::Closing), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if !well {
            taken.stats.broken.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// When a connection last did what connections are for. The header time-out of hyper would
/// count idle time too and cannot be changed while a connection lives.
struct Activity {
    opened: Instant,
    /// Milliseconds from `opened` to the last request; 0 before the first.
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            opened: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn touch(&self) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since.max(1), Ordering::Relaxed);
    }

    fn any_request(&self) -> bool {
        self.last.load(Ordering::Relaxed) != 0
    }

    fn deadline(&self, limits: &Limits, pressed: bool) -> Instant {
        let patience = match (pressed, self.any_request()) {
            (true, _) => limits.pressed,
            (false, false) => limits.first_request,
            (false, true) => limits.keep_alive,
        };
        self.opened + Duration::from_millis(self.last.load(Ordering::Relaxed)) + patience
    }
}
