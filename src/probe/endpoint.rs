//! One policy server in the cluster, asked by plain HTTP what it serves for a host.

use std::net::SocketAddr;

use http::header::ETAG;

use super::fetch::{FetchError, connect, deadline_in, get};
use super::tls::clean;
use crate::limits;
use crate::protocol::HostName;

/// What a policy server answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointAnswer {
    /// The status code.
    pub status: u16,
    /// The ETag as it came, with its quotes.
    pub etag: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Asks the policy server at `address` for the policy of `host`. Whatever it answers, the
/// redirect is not followed and the wait ends after [`limits::ENDPOINT_FETCH_TIME`].
pub async fn fetch_endpoint(
    address: SocketAddr,
    host: &HostName,
) -> Result<EndpointAnswer, FetchError> {
    let deadline = deadline_in(limits::ENDPOINT_FETCH_TIME);
    let stream = connect(address, deadline).await?;
    let fetched = get(stream, host, "mta-sts-operator", deadline).await?;
    let etag = fetched.head.headers.get(ETAG);
    Ok(EndpointAnswer {
        status: fetched.head.status.as_u16(),
        etag: etag.map(|etag| clean(&String::from_utf8_lossy(etag.as_bytes()))),
        body: fetched.body?,
    })
}
