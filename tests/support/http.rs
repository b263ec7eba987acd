//! A small HTTP client: one GET, one connection, the bytes as they came.

use super::tls;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(5);

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET `http://host/path` from `address`.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Result<Answer, String> {
    bounded(async {
        let tcp = TcpStream::connect(address)
            .await
            .map_err(|why| format!("{address}: {why}"))?;
        ask(tcp, host, path).await
    })
    .await
}

/// GET `https://host/path` from `address`, trusting `ca_pem` alone.
pub async fn get_tls(
    address: SocketAddr,
    host: &str,
    path: &str,
    ca_pem: &str,
) -> Result<Answer, String> {
    bounded(async { ask(tls::connect(address, host, ca_pem).await?, host, path).await }).await
}

async fn ask<S>(stream: S, host: &str, path: &str) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|why| why.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", host)
        .body(Empty::<Bytes>::new())
        .map_err(|why| why.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|why| why.to_string())?;
    let (head, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|why| why.to_string())?
        .to_bytes()
        .to_vec();
    connection.abort();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

async fn bounded(asking: impl Future<Output = Result<Answer, String>>) -> Result<Answer, String> {
    let late = |_| format!("no answer within {DEADLINE:?}");
    tokio::time::timeout(DEADLINE, asking).await.map_err(late)?
}
