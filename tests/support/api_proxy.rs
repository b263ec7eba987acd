//! A plain-HTTP proxy before the API server: it counts what a client writes, and can interfere or
//! lie.

use super::interfere::{Interference, Link, When};
use super::kube::ApiServer;
use super::ports::free_port;
use super::tls;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// Forwards everything, tokens and watches too, to an [`ApiServer`]. Only writes are counted, and of
/// those not the ones that come by the clock or change nothing: leases, Events and reviews.
///
/// ```ignore
/// let proxy = ApiProxy::start(&api).await;
/// proxy.writes.on_write(3, When::Before, Action::Kill(controller.clone()));
/// ```
pub struct ApiProxy {
    /// The writes, and what is to happen to them.
    pub writes: Arc<Interference>,
    /// Takes the API server away from the clients of this proxy, and gives it back.
    pub link: Arc<Link>,
    /// What it says in place of the API server.
    pub lies: Arc<Lies>,
    asked: Arc<AtomicUsize>,
    answered: Arc<Log>,
    accepting: JoinHandle<()>,
}

/// Whether a request counts as a write.
pub type Counts = fn(&Method, &str) -> bool;

/// What one connection of a client needs to forward its requests.
struct Upstream {
    address: SocketAddr,
    ca_pem: String,
    writes: Arc<Interference>,
    counts: Counts,
    link: Arc<Link>,
    lies: Arc<Lies>,
    asked: Arc<AtomicUsize>,
    answered: Arc<Log>,
}

/// A request that the API server has answered, whatever it was.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Answered {
    /// GET, POST, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The status of the answer.
    pub status: u16,
}

type Log = std::sync::Mutex<BTreeSet<Answered>>;

type Body = BoxBody<Bytes, hyper::Error>;
type Connection = Mutex<Option<SendRequest<Full<Bytes>>>>;

impl ApiProxy {
    /// Starts a proxy on a port of its own; it stops when it is dropped.
    pub async fn start(api: &ApiServer) -> Self {
        Self::counting(api, is_steady, Arc::default()).await
    }

    /// The same with another idea of what counts, and with numbers that it may share with other
    /// proxies.
    pub async fn counting(api: &ApiServer, counts: Counts, writes: Arc<Interference>) -> Self {
        let lies = Arc::<Lies>::default();
        let asked = Arc::<AtomicUsize>::default();
        let answered = Arc::<Log>::default();
        let link = Link::new(free_port());
        let upstream = Arc::new(Upstream {
            address: api.address(),
            ca_pem: api.ca_pem().to_owned(),
            writes: writes.clone(),
            counts,
            link: link.clone(),
            lies: lies.clone(),
            asked: asked.clone(),
            answered: answered.clone(),
        });
        let accepting = tokio::spawn(accept(upstream));
        link.mend().await;
        Self {
            writes,
            link,
            lies,
            asked,
            answered,
            accepting,
        }
    }

    /// How many requests came so far, of any kind.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// All requests that the API server answered so far, each once.
    pub fn answered(&self) -> BTreeSet<Answered> {
        let answered = self.answered.lock();
        answered.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A kubeconfig that leads through this proxy, with the rights of `token`.
    pub fn kubeconfig(&self, api: &ApiServer, token: &str) -> PathBuf {
        api.kubeconfig_at(&format!("http://{}", self.link.address()), token)
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.link.set(false);
        self.accepting.abort();
    }
}

async fn accept(upstream: Arc<Upstream>) {
    let link = upstream.link.clone();
    loop {
        link.until(true).await;
        let listener = TcpListener::bind(link.address())
            .await
            .expect("the proxy's port is free");
        loop {
            tokio::select! {
                () = link.until(false) => break,
                accepted = listener.accept() => {
                    let Ok((client, _)) = accepted else { continue };
                    tokio::spawn(serve(client, upstream.clone()));
                }
            }
        }
    }
}

/// Serves one connection of a client until either side ends it or the link is cut.
async fn serve(client: TcpStream, upstream: Arc<Upstream>) {
    let connection = Connection::default();
    let service = service_fn(|request| forward(request, &connection, &upstream));
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(client), service);
    tokio::select! {
        () = upstream.link.until(false) => {}
        _ended = serving => {}
    }
}

/// An error closes the client's connection without an answer.
async fn forward(
    request: Request<Incoming>,
    connection: &Connection,
    upstream: &Upstream,
) -> Result<Response<Body>, String> {
    upstream.asked.fetch_add(1, Ordering::Relaxed);
    let (mut head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|why| why.to_string())?
        .to_bytes();
    let lie = upstream.lies.about(&head);
    match &lie {
        Some(Lie::Answer(status, body)) => return Ok(answer(*status, body)),
        Some(Lie::Silence) => std::future::pending::<()>().await,
        Some(Lie::Empty) | None => {}
    }
    let number = (upstream.counts)(&head.method, head.uri.path())
        .then(|| upstream.writes.begin(describe(&head, &body)));
    head.headers
        .insert(HOST, HeaderValue::from_static("kubernetes"));
    pass(number, When::Before, upstream).await?;

    let mut sender = connection.lock().await;
    if sender.as_ref().is_none_or(SendRequest::is_closed) {
        *sender = Some(connect(upstream).await?);
    }
    let sender = sender.as_mut().ok_or("connected above")?;
    sender.ready().await.map_err(|why| why.to_string())?;
    let (method, target) = (head.method.to_string(), head.uri.to_string());
    let request = Request::from_parts(head, Full::new(body));
    let response = sender
        .send_request(request)
        .await
        .map_err(|why| why.to_string())?;

    let answered = Answered {
        method,
        target,
        status: response.status().as_u16(),
    };
    let log = upstream.answered.lock();
    log.unwrap_or_else(PoisonError::into_inner).insert(answered);
    if let Some(number) = number {
        upstream.writes.end(number, response.status().as_u16());
    }
    pass(number, When::After, upstream).await?;
    let (head, body) = response.into_parts();
    match lie {
        Some(Lie::Empty) => {
            let list = body.collect().await.map_err(|why| why.to_string())?;
            Ok(answer(head.status.as_u16(), &emptied(&list.to_bytes())))
        }
        _ => Ok(Response::from_parts(head, body.boxed())),
    }
}

fn answer(status: u16, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {});
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body.boxed())
        .expect("a response")
}

/// The same list at the same version, with nothing in it.
fn emptied(list: &[u8]) -> Value {
    let mut list: Value = serde_json::from_slice(list).expect("a list");
    list["items"] = json!([]);
    if let Some(metadata) = list["metadata"].as_object_mut() {
        metadata.retain(|key, _| key == "resourceVersion");
    }
    list
}

async fn pass(number: Option<usize>, when: When, upstream: &Upstream) -> Result<(), String> {
    match number {
        Some(number) if !upstream.writes.pass(number, when, &upstream.link).await => {
            Err(format!("write {number} goes no further, as the test asked"))
        }
        _ => Ok(()),
    }
}

async fn connect(upstream: &Upstream) -> Result<SendRequest<Full<Bytes>>, String> {
    let tls = tls::connect(upstream.address, "127.0.0.1", &upstream.ca_pem).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
        .await
        .map_err(|why| why.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The request line, and what a new object is called (or is about), which its path does not say.
fn describe(head: &Parts, body: &[u8]) -> String {
    let line = format!("{} {}", head.method, head.uri.path());
    let object: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = [&object["regarding"]["name"], &object["metadata"]["name"]]
        .into_iter()
        .find_map(Value::as_str);
    match name {
        Some(name) if head.method == Method::POST => format!("{line} {name}"),
        _ => line,
    }
}

/// Writes that do not come by the clock and do change something: no leases, Events and reviews.
fn is_steady(method: &Method, path: &str) -> bool {
    let unsteady = ["/leases", "/events", "reviews"];
    is_write(method, path) && !unsteady.iter().any(|resource| path.contains(resource))
}

/// Every write.
pub fn is_write(method: &Method, _path: &str) -> bool {
    [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method)
}

/// What a proxy says that is not so.
#[derive(Clone, Debug)]
pub enum Lie {
    /// This status with this body; the API server is not asked.
    Answer(u16, Value),
    /// The API server's list, without its items.
    Empty,
    /// Nothing, for as long as the connection lasts.
    Silence,
}

impl Lie {
    /// A refusal as the API server words it.
    pub fn refusal(code: u16, reason: &str) -> Self {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": format!("the test says {reason}"), "reason": reason, "code": code});
        Self::Answer(code, status)
    }

    /// What the API server says to a watch that it cannot continue: the error comes as an event.
    pub fn watch_gone() -> Self {
        let Self::Answer(_, status) = Self::refusal(410, "Expired") else {
            unreachable!("a refusal is an answer")
        };
        Self::Answer(200, json!({"type": "ERROR", "object": status}))
    }
}

/// What a proxy lies about. It tells the truth until the test says otherwise.
#[derive(Default)]
pub struct Lies {
    told: std::sync::Mutex<Vec<Told>>,
}

struct Told {
    about: Box<dyn Fn(&Parts) -> bool + Send>,
    lie: Lie,
    times: usize,
}

impl Lies {
    /// From now on says `lie` to each request that is `about` it.
    pub fn tell(&self, about: impl Fn(&Parts) -> bool + Send + 'static, lie: Lie) {
        self.told().push(Told {
            about: Box::new(about),
            lie,
            times: 0,
        });
    }

    /// From now on tells the truth.
    pub fn stop(&self) {
        self.told().clear();
    }

    /// Whether each lie was told to somebody.
    pub fn all_told(&self) -> bool {
        self.told().iter().all(|told| told.times > 0)
    }

    fn about(&self, head: &Parts) -> Option<Lie> {
        let mut told = self.told();
        let told = told.iter_mut().find(|told| (told.about)(head))?;
        told.times += 1;
        Some(told.lie.clone())
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Vec<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request lists (not watches) the resource `plural`.
pub fn lists(head: &Parts, plural: &str) -> bool {
    reads(head, plural) && !watching(head)
}

/// Whether a request watches the resource `plural`.
pub fn watches(head: &Parts, plural: &str) -> bool {
    reads(head, plural) && watching(head)
}

fn reads(head: &Parts, plural: &str) -> bool {
    head.method == Method::GET && head.uri.path().ends_with(&format!("/{plural}"))
}

fn watching(head: &Parts) -> bool {
    head.uri
        .query()
        .is_some_and(|query| query.contains("watch=true"))
}
