//! The policy host, asked as a sender asks it (RFC 8461 §3.3), except that a bad certificate
//! does not end the conversation: all that is wrong is told at once.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, LOCATION,
};
use jiff::Timestamp;
use tokio::time::Instant;

use super::fetch::{BodyError, FetchError, Fetched, connect, get_path};
use super::tls::{TlsVerdict, TrustStore, clean, handshake};
use crate::protocol::{HostName, POLICY_PATH};

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub struct PolicyHostRequest {
    /// The policy host, `mta-sts.<domain>`.
    pub host: HostName,
    /// Where to connect. The caller has looked it up and checked that it may be dialled;
    /// nothing else is.
    pub address: SocketAddr,
    /// What to call ourselves.
    pub user_agent: String,
    /// The time at which certificates must be valid.
    pub now: Timestamp,
    /// How long all of it may take; usually [`crate::limits::POLICY_FETCH_TIME`].
    pub time: Duration,
}

/// What one address of a policy host showed.
#[derive(Clone, PartialEq, Debug)]
pub struct PolicyHostAnswer {
    /// The address that was asked.
    pub address: SocketAddr,
    /// From the first packet to the last byte, or to giving up.
    pub elapsed: Duration,
    /// The verdict on its TLS; `None` if there was no connection to shake hands on.
    pub tls: Option<TlsVerdict>,
    /// The response, whatever the verdict.
    pub http: Result<PolicyResponse, FetchError>,
}

/// A response to the GET of the policy. Header values are cut and free of control characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyResponse {
    /// The status code. Only 200 is a policy; redirects are not followed.
    pub status: u16,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The media type with its parameters.
    pub content_type: Option<String>,
    /// Seconds that a cache has held this response.
    pub age: Option<u64>,
    /// The Cache-Control header.
    pub cache_control: Option<String>,
    /// The header by which a cache says that it answered itself, as `name: value`.
    pub cache_hit: Option<String>,
    /// The ETag with its quotes.
    pub etag: Option<String>,
    /// A coding that nobody asked for; the body is as it came.
    pub content_encoding: Option<String>,
    /// The body, at most 64 KiB.
    pub body: Result<Vec<u8>, BodyError>,
}

/// Fetches the policy from one address of its host. It always ends within `request.time`.
pub async fn fetch_policy(request: PolicyHostRequest, trust: &TrustStore) -> PolicyHostAnswer {
    let start = Instant::now();
    let (tls, http) = converse(&request, POLICY_PATH, trust, start + request.time).await;
    PolicyHostAnswer {
        address: request.address,
        elapsed: start.elapsed(),
        tls,
        http,
    }
}

/// What stands at another path of the policy host; where people put the policy by mistake.
pub async fn fetch_elsewhere(
    request: &PolicyHostRequest,
    path: &'static str,
    trust: &TrustStore,
) -> Result<PolicyResponse, FetchError> {
    let deadline = Instant::now() + request.time;
    converse(request, path, trust, deadline).await.1
}

async fn converse(
    request: &PolicyHostRequest,
    path: &'static str,
    trust: &TrustStore,
    deadline: Instant,
) -> (Option<TlsVerdict>, Result<PolicyResponse, FetchError>) {
    let stream = match connect(request.address, deadline).await {
        Ok(stream) => stream,
        Err(error) => return (None, Err(error)),
    };
    let host = &request.host;
    let (stream, verdict) =
        handshake(stream, host, &[b"http/1.1"], trust, request.now, deadline).await;
    let Some(stream) = stream else {
        return (Some(verdict), Err(FetchError::Tls));
    };
    let fetched = get_path(stream, host, path, &request.user_agent, deadline).await;
    (Some(verdict), fetched.map(PolicyResponse::from))
}

impl From<Fetched> for PolicyResponse {
    fn from(Fetched { head, body }: Fetched) -> Self {
        let headers = &head.headers;
        Self {
            status: head.status.as_u16(),
            location: text(headers, &LOCATION),
            content_type: text(headers, &CONTENT_TYPE),
            age: text(headers, &AGE).and_then(|age| age.trim().parse().ok()),
            cache_control: text(headers, &CACHE_CONTROL),
            cache_hit: cache_hit(headers),
            etag: text(headers, &ETAG),
            content_encoding: text(headers, &CONTENT_ENCODING),
            body,
        }
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(clean(&String::from_utf8_lossy(value.as_bytes())))
}

/// Headers by which caches tell that they answered themselves: RFC 9211, Cloudflare, Fastly and
/// CloudFront, nginx, Vercel, Google.
const CACHE_HEADERS: [&str; 6] = [
    "cache-status",
    "cf-cache-status",
    "x-cache",
    "x-cache-status",
    "x-proxy-cache",
    "x-vercel-cache",
];

/// Words for "from the cache" in them.
const CACHE_WORDS: [&str; 4] = ["hit", "stale", "updating", "prerender"];

fn cache_hit(headers: &HeaderMap) -> Option<String> {
    CACHE_HEADERS.iter().find_map(|name| {
        let value = clean(&String::from_utf8_lossy(headers.get(*name)?.as_bytes()));
        let lower = value.to_ascii_lowercase();
        let mut words = lower.split(|c: char| !c.is_ascii_alphanumeric());
        words
            .any(|word| CACHE_WORDS.contains(&word))
            .then(|| format!("{name}: {value}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_answers_itself_is_noticed() {
        for (name, value, hit) in [
            ("cf-cache-status", "HIT", true),
            ("cf-cache-status", "DYNAMIC", false),
            ("cf-cache-status", "EXPIRED", false),
            ("cf-cache-status", "STALE", true),
            ("x-cache", "Hit from cloudfront", true),
            ("x-cache", "RefreshHit from cloudfront", false),
            ("x-cache", "MISS, HIT", true),
            ("x-cache", "MISS", false),
            ("x-cache-status", "BYPASS", false),
            ("cache-status", "ExampleCache; hit; ttl=30", true),
            ("cache-status", "ExampleCache; fwd=uri-miss; stored", false),
            ("x-whatever", "hit", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(cache_hit(&headers).is_some(), hit, "{name}: {value}");
        }
    }
}
