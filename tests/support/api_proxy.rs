//! A plain-HTTP proxy before the API server: it counts what a client writes, and can interfere.

use super::interfere::{Interference, Link, When};
use super::kube::ApiServer;
use super::ports::free_port;
use super::tls;
use http::header::HOST;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
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
    requests: Arc<Requests>,
    accepting: JoinHandle<()>,
}

/// What one connection of a client needs to forward its requests.
struct Upstream {
    address: SocketAddr,
    ca_pem: String,
    writes: Arc<Interference>,
    link: Arc<Link>,
    requests: Arc<Requests>,
}

/// A request that the API server has answered, whatever it was.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Answered {
    /// GET, POST, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The status of the answer.
    pub status: u16,
}

type Requests = std::sync::Mutex<BTreeSet<Answered>>;

type Connection = Mutex<Option<SendRequest<Full<Bytes>>>>;

impl ApiProxy {
    /// Starts a proxy on a port of its own; it stops when it is dropped.
    pub async fn start(api: &ApiServer) -> Self {
        let writes = Arc::new(Interference::default());
        let link = Link::new(free_port());
        let requests = Arc::<Requests>::default();
        let upstream = Arc::new(Upstream {
            address: api.address(),
            ca_pem: api.ca_pem().to_owned(),
            writes: writes.clone(),
            link: link.clone(),
            requests: requests.clone(),
        });
        let accepting = tokio::spawn(accept(upstream));
        link.mend().await;
        Self {
            writes,
            link,
            requests,
            accepting,
        }
    }

    /// All requests that were answered so far, each once.
    pub fn answered(&self) -> BTreeSet<Answered> {
        self.requests.lock().expect("nobody panics with it").clone()
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
) -> Result<Response<Incoming>, String> {
    let number = is_counted(request.method(), request.uri().path()).then(|| {
        upstream
            .writes
            .begin(format!("{} {}", request.method(), request.uri().path()))
    });
    let (mut head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|why| why.to_string())?
        .to_bytes();
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
    let requests = upstream.requests.lock();
    requests.expect("nobody panics with it").insert(answered);
    if let Some(number) = number {
        upstream.writes.end(number, response.status().as_u16());
    }
    pass(number, When::After, upstream).await?;
    Ok(response)
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

fn is_counted(method: &Method, path: &str) -> bool {
    let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
    let unsteady = ["/leases", "/events", "reviews"];
    writes && !unsteady.iter().any(|resource| path.contains(resource))
}
