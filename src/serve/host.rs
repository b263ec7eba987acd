//! Which host a request is for (RFC 9112 §3.2, §3.3).

use std::net::Ipv6Addr;

use http::{HeaderValue, Request, Version, header};

use crate::protocol::HostName;

/// Why a request does not say for which host it is. All are answered with 400.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum HostError {
    /// No Host header field.
    #[error("the request has no Host")]
    Missing,
    /// More than one Host header field: two readers could choose differently.
    #[error("the request has more than one Host")]
    Repeated,
    /// A value that is not `host` or `host:port`.
    #[error("the request's Host is not a host name with or without a port")]
    Malformed,
    /// A request target in absolute form with another scheme, or with user information.
    #[error("the request target is not an http or https URL of a host")]
    Target,
}

/// The host that `request` is for: lower case, without port and final dot.
///
/// A target in absolute form wins over the Host field (RFC 9112 §3.2.2), which must be there
/// and be valid all the same.
pub(crate) fn host_of<B>(request: &Request<B>) -> Result<String, HostError> {
    let host = host_field(request)?;
    let uri = request.uri();
    let Some(authority) = uri.authority() else {
        return host.ok_or(HostError::Missing);
    };
    let scheme_is_good = matches!(uri.scheme_str(), None | Some("http" | "https"));
    if !scheme_is_good || authority.as_str().contains('@') {
        return Err(HostError::Target);
    }
    parse(authority.as_str().as_bytes()).map_err(|_| HostError::Target)
}

/// The one Host field. Only HTTP/1.0 may leave it out, and then only a target in absolute form
/// says which host is meant.
fn host_field<B>(request: &Request<B>) -> Result<Option<String>, HostError> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    match (fields.next(), fields.next()) {
        (None, _) if request.version() == Version::HTTP_10 => Ok(None),
        (None, _) => Err(HostError::Missing),
        (Some(host), None) => parse(HeaderValue::as_bytes(host)).map(Some),
        (Some(_), Some(_)) => Err(HostError::Repeated),
    }
}

fn parse(value: &[u8]) -> Result<String, HostError> {
    let value = std::str::from_utf8(value).map_err(|_| HostError::Malformed)?;
    let (host, port) = split_port(value).ok_or(HostError::Malformed)?;
    if port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HostError::Malformed);
    }
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| HostError::Malformed)?;
        return Ok(format!("[{address}]"));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let labels_are_good = host.split('.').all(|label| {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        !label.is_empty() && label.bytes().all(good)
    });
    if !labels_are_good || host.len() > HostName::MAX_LENGTH {
        return Err(HostError::Malformed);
    }
    Ok(host.to_ascii_lowercase())
}

/// Host and port of `host[:port]`; the colons of an IPv6 address stand in brackets.
fn split_port(value: &str) -> Option<(&str, &str)> {
    let end = value.find(']').map_or(0, |bracket| bracket + 1);
    let rest = value.get(end..)?;
    match rest.split_once(':') {
        Some((name, port)) => Some((value.get(..end + name.len())?, port)),
        None => Some((value, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_value_is_read_or_refused() {
        let long = format!("{}.example", "a".repeat(250));
        for (case, value, expected) in [
            ("plain", "mta-sts.example.org", Some("mta-sts.example.org")),
            (
                "capitals",
                "MTA-STS.Example.ORG",
                Some("mta-sts.example.org"),
            ),
            (
                "port",
                "mta-sts.example.org:8443",
                Some("mta-sts.example.org"),
            ),
            (
                "empty port",
                "mta-sts.example.org:",
                Some("mta-sts.example.org"),
            ),
            (
                "final dot",
                "mta-sts.example.org.",
                Some("mta-sts.example.org"),
            ),
            (
                "final dot and port",
                "mta-sts.example.org.:443",
                Some("mta-sts.example.org"),
            ),
            ("IPv4", "192.0.2.1:80", Some("192.0.2.1")),
            ("IPv6", "[2001:DB8::1]:80", Some("[2001:db8::1]")),
            ("one label", "localhost", Some("localhost")),
            ("empty", "", None),
            ("a dot", ".", None),
            ("only a port", ":443", None),
            ("two final dots", "mta-sts.example.org..", None),
            ("bad port", "mta-sts.example.org:44a", None),
            ("signed port", "mta-sts.example.org:+1", None),
            ("long port", "mta-sts.example.org:000443", None),
            ("two ports", "mta-sts.example.org:1:2", None),
            ("IPv6 without brackets", "2001:db8::1", None),
            ("open bracket", "[2001:db8::1", None),
            ("after the bracket", "[2001:db8::1]x:80", None),
            ("user", "a@mta-sts.example.org", None),
            ("path", "mta-sts.example.org/../x", None),
            ("escape", "mta-sts%2eexample.org", None),
            ("space", "mta-sts.example.org x", None),
            ("comma", "mta-sts.example.org,mta-sts.example.com", None),
            ("not ASCII", "mta-sts.bücher.example", None),
            ("too long", long.as_str(), None),
        ] {
            let read = parse(value.as_bytes());
            assert_eq!(read.as_deref().ok(), expected, "{case}: {value:?}");
        }
    }

    #[test]
    fn the_target_in_absolute_form_wins() {
        let request = |target: &str, version, hosts: &[&str]| {
            let mut request = Request::builder().uri(target).version(version);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            host_of(&request.body(()).unwrap())
        };
        let (v10, v11) = (Version::HTTP_10, Version::HTTP_11);
        for (case, target, version, hosts, expected) in [
            ("origin form", "/", v11, &["a.example"][..], Ok("a.example")),
            ("no Host", "/", v11, &[], Err(HostError::Missing)),
            (
                "no Host in HTTP/1.0",
                "/",
                v10,
                &[],
                Err(HostError::Missing),
            ),
            (
                "two",
                "/",
                v11,
                &["a.example", "a.example"],
                Err(HostError::Repeated),
            ),
            (
                "absolute",
                "http://b.example/",
                v11,
                &["a.example"],
                Ok("b.example"),
            ),
            (
                "absolute, 1.0",
                "https://b.example/",
                v10,
                &[],
                Ok("b.example"),
            ),
            (
                "absolute, no Host",
                "http://b.example/",
                v11,
                &[],
                Err(HostError::Missing),
            ),
            (
                "absolute, bad Host",
                "http://b.example/",
                v11,
                &["a b"],
                Err(HostError::Malformed),
            ),
            (
                "other scheme",
                "ftp://b.example/",
                v11,
                &["a.example"],
                Err(HostError::Target),
            ),
            (
                "user",
                "http://a@b.example/",
                v11,
                &["a.example"],
                Err(HostError::Target),
            ),
        ] {
            let host = request(target, version, hosts);
            assert_eq!(host.as_deref().map_err(|error| *error), expected, "{case}");
        }
    }
}
