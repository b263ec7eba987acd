//! The `_smtp._tls` TXT record (RFC 8460 §3).
