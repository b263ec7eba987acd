//! Names of the objects that are made for a domain.

use crate::protocol::{Domain, Sha256Digest};

/// Longest name: a label value and the name of many kinds have at most 63 characters.
const MAX_LENGTH: usize = 63;

/// The name of a domain's ConfigMap and Ingress: a readable start and a hash, so that long
/// domains fit and no two meet.
pub fn object_name(domain: &Domain) -> String {
    let hash = Sha256Digest::of(domain.as_str().as_bytes()).prefix();
    let room = MAX_LENGTH - "mta-sts-".len() - "-".len() - hash.len();
    let readable: String = domain
        .as_str()
        .replace('.', "-")
        .chars()
        .take(room)
        .collect();
    format!("mta-sts-{}-{hash}", readable.trim_end_matches('-'))
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
    }
}
