//! The `_mta-sts` TXT record (RFC 8461 §3.1).
