//! The answer to one request: a pure function of the request's head and the [`Store`].

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, RETRY_AFTER,
    TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use super::host::host_of;
use super::store::{Answer, Served, Store};
use crate::protocol::POLICY_PATH;

/// The answer that `store` gives to `request`.
///
/// Whoever asks for a policy gets all of it with status 200, whatever range or condition the
/// request names: a sender takes nothing else for a policy (RFC 8461 §3.3).
pub fn answer<B>(store: &Store, request: &Request<B>) -> Response<Full<Bytes>> {
    let host = match host_of(request) {
        Ok(host) => host,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if has_content(request) {
        return refuse(
            StatusCode::BAD_REQUEST,
            "a request for a policy has no content\n",
        );
    }
    let uri = request.uri();
    if uri.path() != POLICY_PATH || uri.query().is_some() {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    }
    match store.answer(&host) {
        Some(Answer::Policy(served)) => policy(served),
        Some(Answer::Unavailable) => {
            let text = "this host is known, its policy is not: see the operator's log\n";
            let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("60"));
            response
        }
        None => plain(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn policy(served: Served) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::OK, served.body);
    response.headers_mut().insert(ETAG, served.etag);
    response
}

/// An error after which the connection is closed: where the next request would begin is not
/// worth an argument with a front that reads it differently (RFC 9112 §11.2).
fn refuse(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = plain(status, text);
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A text answer that nobody may keep, so that an old body cannot outlive its id.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let body: Bytes = text.into();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn has_content<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get_all(CONTENT_LENGTH)
            .iter()
            .any(|length| length != "0")
}
