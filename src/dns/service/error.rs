//! What a failure of the crate means, without any secret.

use data_encoding::BASE64;
use dns_update::Error;

use super::Values;
use crate::diagnosis::printable;
use crate::dns::DnsError;
use crate::limits;

/// The texts that must never be told.
pub(super) struct Redaction {
    secrets: Vec<String>,
}

impl Redaction {
    pub(super) fn of(values: &Values) -> Self {
        let mut secrets: Vec<String> = Vec::new();
        for secret in values.secrets() {
            // A key file is told line by line, where it is told at all.
            let lines = secret.lines().map(str::trim);
            secrets.extend(lines.filter(|line| line.len() >= 4).map(str::to_owned));
        }
        let encoded: Vec<String> = secrets
            .iter()
            .flat_map(|secret| [BASE64.encode(secret.as_bytes()), percent_encoded(secret)])
            .collect();
        secrets.extend(encoded);
        // The longest first: one may be the beginning of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets }
    }

    /// What a service has said, fit to be shown: no secret, no query of a URL (some services want
    /// the key there), no control character, and not too long.
    fn told(&self, text: &str) -> String {
        let mut text = without_queries(text);
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), "(secret)");
        }
        let text = printable(text.trim()).to_string();
        match text.char_indices().nth(limits::SERVICE_WORDS) {
            Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
            None => text,
        }
    }

    /// Settings that the crate does not take.
    pub(super) fn unusable(&self, service: &'static str, error: Error) -> DnsError {
        let why = match error {
            Error::Protocol(text)
            | Error::Parse(text)
            | Error::Client(text)
            | Error::Response(text)
            | Error::Api(text)
            | Error::Serialize(text)
            | Error::Unsupported(text) => self.told(&text),
            Error::InvalidRegion => "the region is none".to_owned(),
            _ => "a setting or a credential is not in the form that the service wants".to_owned(),
        };
        DnsError::ServiceUnusable { service, why }
    }

    /// A call that failed.
    pub(super) fn failure(&self, service: &'static str, zone: &str, error: Error) -> DnsError {
        let zone = zone.to_owned();
        match error {
            Error::Unauthorized => DnsError::ServiceUnauthorized { service },
            Error::NotFound => DnsError::ServiceNotFound { service, zone },
            Error::BadRequest => DnsError::ServiceRefused {
                service,
                zone,
                said: "bad request".to_owned(),
            },
            Error::Unsupported(text) => DnsError::ServiceUnusable {
                service,
                why: self.told(&text),
            },
            Error::InvalidRegion => self.unusable(service, error),
            Error::Serialize(_) | Error::Parse(_) => DnsError::ServiceGarbled { service },
            Error::Protocol(text)
            | Error::Client(text)
            | Error::Response(text)
            | Error::Api(text) => self.by_status(service, zone, &text),
            _ => DnsError::ServiceGarbled { service },
        }
    }

    /// The crate tells most failures as a text that holds the HTTP status.
    fn by_status(&self, service: &'static str, zone: String, text: &str) -> DnsError {
        let said = self.told(text);
        if text.contains("Failed to send request") || text.contains("error sending request") {
            return DnsError::ServiceUnreachable { service, said };
        }
        match status(text) {
            Some(401) => DnsError::ServiceUnauthorized { service },
            Some(403) => DnsError::ServiceForbidden {
                service,
                zone,
                said,
            },
            Some(404) => DnsError::ServiceNotFound { service, zone },
            code if code == Some(429) || is_throttled(code, text) => DnsError::ServiceBusy {
                service,
                seconds: limits::SERVICE_REST.as_secs(),
            },
            Some(400..=499) => DnsError::ServiceRefused {
                service,
                zone,
                said,
            },
            Some(_) => DnsError::ServiceFailed { service, said },
            None if no_such_zone(text) => DnsError::ServiceNotFound { service, zone },
            None => DnsError::ServiceFailed { service, said },
        }
    }
}

/// The HTTP status that a text of the crate begins with: `HTTP 403: …`, `BadRequest …`,
/// `Route53 API error: 503 Service Unavailable - …`.
fn status(text: &str) -> Option<u16> {
    let head: String = text.chars().take(60).collect();
    if head.contains("BadRequest") {
        return Some(400);
    }
    head.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() == 3)
        .filter_map(|word| word.parse().ok())
        .find(|code| (300..600).contains(code))
}

/// Amazon asks for patience with the status of a bad request, and the code in the body.
fn is_throttled(status: Option<u16>, text: &str) -> bool {
    let codes = ["<Code>Throttling", "<Code>PriorRequestNotComplete"];
    status == Some(400) && codes.iter().any(|code| text.contains(code))
}

/// How the crate says that a list of zones has none for a name.
fn no_such_zone(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("zone") && (text.contains("no ") || text.contains("not found"))
}

/// Cuts off what follows the `?` of each URL.
fn without_queries(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        match word.split_once('?') {
            Some((path, rest)) if path.contains("://") => {
                shown.push_str(path);
                let query = rest.trim_end().trim_end_matches(':').len();
                shown.push_str(rest.get(query..).unwrap_or_default());
            }
            _ => shown.push_str(word),
        }
    }
    shown
}

fn percent_encoded(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(octet).to_string()
        }
        _ => format!("%{octet:02X}"),
    };
    text.bytes().map(octet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::service::Secret;

    fn redaction() -> Redaction {
        let mut values = Values::default();
        values.put_secret("apiKey", Secret::new("s3cr3t/key"));
        values.put_secret("privateKey", Secret::new("-----BEGIN\nabcdefgh\n"));
        Redaction::of(&values)
    }

    #[test]
    fn what_a_failure_means() {
        let cases: [(&str, Error, &str); 13] = [
            ("unauthorized", Error::Unauthorized, "service_unauthorized"),
            ("not found", Error::NotFound, "service_not_found"),
            (
                "forbidden",
                Error::Api("HTTP 403: no".into()),
                "service_forbidden",
            ),
            ("too many", Error::Api("HTTP 429".into()), "service_busy"),
            (
                "bad request",
                Error::Api("BadRequest {\"code\":1004}".into()),
                "service_refused",
            ),
            (
                "unprocessable",
                Error::Api("HTTP 422: TTL too small".into()),
                "service_refused",
            ),
            (
                "server error",
                Error::Api("HTTP 503: later".into()),
                "service_failed",
            ),
            (
                "of Route 53",
                Error::Api("Route53 API error: 403 Forbidden - x".into()),
                "service_forbidden",
            ),
            (
                "too many, of Route 53",
                Error::Api("Route53 API error: 400 Bad Request - <Code>Throttling</Code>".into()),
                "service_busy",
            ),
            (
                "no connection",
                Error::Api("Failed to send request to https://a/: x".into()),
                "service_unreachable",
            ),
            (
                "no zone",
                Error::Api("No Cloudflare zone found for example.org".into()),
                "service_not_found",
            ),
            (
                "HTML",
                Error::Serialize("expected value".into()),
                "service_garbled",
            ),
            (
                "a redirect",
                Error::Api("HTTP 302".into()),
                "service_failed",
            ),
        ];
        for (case, error, expected) in cases {
            let failure = redaction().failure("Any", "example.org", error);
            assert_eq!(failure.label(), expected, "{case}: {failure}");
        }
    }

    #[test]
    fn no_secret_is_told_in_any_form() {
        let basic = BASE64.encode(b"s3cr3t/key");
        let text = format!(
            "HTTP 500: got s3cr3t/key, {basic}, s3cr3t%2Fkey, abcdefgh\u{1b}[31m at https://api.example.org/x?key=unknown&a=b: timeout"
        );
        let told = redaction()
            .failure("Any", "example.org", Error::Api(text))
            .to_string();
        for secret in ["s3cr3t", basic.as_str(), "abcdefgh", "unknown", "\u{1b}"] {
            assert!(!told.contains(secret), "{told}");
        }
        assert!(told.contains("https://api.example.org/x"), "{told}");
    }

    #[test]
    fn a_long_answer_is_cut() {
        let said = "x".repeat(100_000);
        let told = redaction()
            .failure("Any", "example.org", Error::Api(said))
            .to_string();
        assert!(told.len() < 1000, "{}", told.len());
    }
}
