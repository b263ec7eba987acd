//! RFC 2136 dynamic updates, signed with TSIG (RFC 8945).

/// A primary name server that takes signed dynamic updates.
#[derive(Debug)]
pub struct Rfc2136 {}
