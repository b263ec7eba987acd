//! Names of the objects that are made for a domain.

use crate::protocol::{Domain, Sha256Digest};

/// Longest name: a label value and the name of many kinds have at most 63 characters.
const MAX_LENGTH: usize = 63;

/// The name of a domain's ConfigMap and Ingress: a readable start and a hash, so that long
/// domains fit and no two meet.
pub fn object_name(domain: &Domain) -> String {
    hashed("mta-sts-", domain.as_str())
}

/// The name of the DNSEndpoint of a record name, such as `_mta-sts.example.org`.
pub fn endpoint_name(record_name: &str) -> String {
    hashed("dns-", record_name)
}

fn hashed(start: &str, dns_name: &str) -> String {
    let hash = Sha256Digest::of(dns_name.as_bytes()).prefix();
    let room = MAX_LENGTH - start.len() - "-".len() - hash.len();
    let readable: String = dns_name
        .trim_start_matches('_')
        .replace(['.', '_'], "-")
        .chars()
        .take(room)
        .collect();
    format!("{start}{}-{hash}", readable.trim_end_matches('-'))
}

/// The TLS Secret of a domain's policy host, unless its policy names another one.
pub fn tls_secret_name(domain: &Domain) -> String {
    format!("{}-tls", object_name(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable_short_and_unlike() {
        let name = |text: &str| object_name(&Domain::parse(text).unwrap());
        assert!(name("example.org").starts_with("mta-sts-example-org-"));
        assert_ne!(name("a-b.example"), name("a.b.example"));
        let long = format!("{}.example", vec!["a".repeat(60); 3].join("."));
        assert_eq!(name(&long).len(), MAX_LENGTH);
        assert!(!name("example.org").contains('.'));
        let of_record = endpoint_name("_mta-sts.example.org");
        assert!(of_record.starts_with("dns-mta-sts-example-org-"));
        assert_ne!(of_record, endpoint_name("mta-sts.example.org"));
        assert_eq!(
            endpoint_name(&format!("_smtp._tls.{long}")).len(),
            MAX_LENGTH
        );
    }
}
