//! One bounded GET of the policy path. No redirect is followed and nothing is decompressed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, Request, Uri, header, response};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::limits;
use crate::protocol::{HostName, POLICY_PATH};

/// Why there is no whole response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error("no connection ({0})")]
    Connect(io::ErrorKind),
    /// Nobody took the connection in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// TLS did not come about; the verdict on it says why.
    #[error("no TLS connection")]
    Tls,
    /// The connection stood, and no response came in time.
    #[error("no response in time")]
    Timeout,
    /// The response's head is over [`limits::RESPONSE_HEAD_BYTES`] or
    /// [`limits::RESPONSE_HEADERS`].
    #[error("the response's headers are too large")]
    HeadTooLarge,
    /// What came is not HTTP/1.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// The server closed or broke the connection before the response was there.
    #[error("the connection broke before the response")]
    Broken,
    /// The head is good, the body is not.
    #[error("{0}")]
    Body(#[from] BodyError),
}

/// Why there is no whole body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// Over [`limits::POLICY_BODY_BYTES`].
    #[error("the body has more than {} bytes", limits::POLICY_BODY_BYTES)]
    TooLarge,
    /// It did not end in time.
    #[error("the body did not end in time")]
    Timeout,
    /// The connection broke, or the framing did.
    #[error("the connection broke within the body")]
    Broken,
}

/// A response: its head, and its body or what was wrong with it.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) head: response::Parts,
    pub(crate) body: Result<Vec<u8>, BodyError>,
}

/// Connects to exactly `address`, which the caller has checked.
pub(crate) async fn connect(
    address: SocketAddr,
    deadline: Instant,
) -> Result<TcpStream, FetchError> {
    let deadline = deadline.min(Instant::now() + limits::CONNECT_TIME);
    match timeout_at(deadline, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(FetchError::Connect(error.kind())),
        Err(_) => Err(FetchError::ConnectTimeout),
    }
}

/// Fetches the policy path of `host` over `stream`.
pub(crate) async fn get<S>(
    stream: S,
    host: &HostName,
    user_agent: &str,
    deadline: Instant,
) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    get_path(stream, host, POLICY_PATH, user_agent, deadline).await
}

/// Fetches another path of `host` over `stream`.
pub(crate) async fn get_path<S>(
    stream: S,
    host: &HostName,
    path: &'static str,
    user_agent: &str,
    deadline: Instant,
) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(limits::RESPONSE_HEAD_BYTES)
        .max_headers(limits::RESPONSE_HEADERS);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| fetch_error(&error))?;
    let mut exchange = std::pin::pin!(exchange(sender, request(host, path, user_agent), deadline));
    // The connection is driven here and not in a task, so that nothing outlives the probe.
    tokio::select! {
        biased;
        fetched = &mut exchange => fetched,
        _ = connection => exchange.await,
    }
}

fn request(host: &HostName, path: &'static str, user_agent: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = Uri::from_static(path);
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(host.as_str()) {
        headers.insert(header::HOST, host);
    }
    if let Ok(user_agent) = HeaderValue::from_str(user_agent) {
        headers.insert(header::USER_AGENT, user_agent);
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    request
}

async fn exchange(
    mut sender: http1::SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    deadline: Instant,
) -> Result<Fetched, FetchError> {
    let response = timeout_at(deadline, sender.send_request(request)).await;
    let response = response.map_err(|_| FetchError::Timeout)?;
    let (head, body) = response.map_err(|error| fetch_error(&error))?.into_parts();
    let body = timeout_at(deadline, collect(body))
        .await
        .unwrap_or(Err(BodyError::Timeout));
    Ok(Fetched { head, body })
}

async fn collect(mut body: Incoming) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if bytes.len() + data.len() > limits::POLICY_BODY_BYTES {
            return Err(BodyError::TooLarge);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

fn fetch_error(error: &hyper::Error) -> FetchError {
    if error.is_parse_too_large() {
        FetchError::HeadTooLarge
    } else if error.is_parse() {
        FetchError::NotHttp
    } else {
        FetchError::Broken
    }
}

/// The deadline of something that may take `time` from now.
pub(crate) fn deadline_in(time: Duration) -> Instant {
    Instant::now() + time
}
