//! Every budget for what comes from outside (bytes, counts, time), each with its reason.

use std::time::Duration;

/// Largest policy body that is read or published (RFC 8461 §3.3 suggests 64 KiB to senders).
pub const POLICY_BODY_BYTES: usize = 64 * 1024;

/// Largest body that the operator writes: some readers stop near 10 KB, so it stays below.
pub const CANONICAL_BODY_BYTES: usize = 8 * 1024;

/// What is offered by EDNS for an answer over UDP: it fits every path without fragments
/// (DNS flag day 2020). Longer answers come over TCP.
pub const DNS_UDP_BYTES: u16 = 1232;

/// Records in all sections of an answer. A referral from the root has about 40; nothing that is
/// asked for here has more than a few dozen.
pub const DNS_MESSAGE_RECORDS: usize = 256;

/// Records of one set that are taken in: no sane domain has as many MX, TXT or addresses.
pub const DNS_SET_RECORDS: usize = 64;

/// Datagrams that are not the answer (wrong id, wrong question) and are passed over while waiting
/// for it. More mean that somebody is guessing ids.
pub const DNS_STRAY_DATAGRAMS: usize = 16;

/// Wait for one datagram before it is sent once more: most answers come within 100 ms.
pub const DNS_UDP_TRY: Duration = Duration::from_millis(1500);

/// One question to one server, both tries and TCP together.
pub const DNS_QUERY_TIME: Duration = Duration::from_secs(5);

/// One lookup with all its questions (aliases, other servers, the walk from the root): long enough
/// for two dead servers, short enough for a reconcile.
pub const DNS_LOOKUP_TIME: Duration = Duration::from_secs(15);

/// Servers of a set that are tried one after the other before a lookup fails.
pub const DNS_SERVER_TRIES: usize = 4;

/// Aliases followed from one name; resolvers stop between 8 and 16.
pub const DNS_CHAIN: usize = 8;

/// Addresses of one zone's name servers that are asked and shown (13 name servers are the most
/// that the DNS itself ever used).
pub const DNS_SERVERS: usize = 16;

/// Questions of one walk from the root, nested walks for name servers without glue included.
pub const DNS_WALK_QUERIES: usize = 64;

/// Referrals of one walk from the root to a zone; real names need two to five.
pub const DNS_WALK_DEPTH: usize = 16;

/// Walks within a walk, for a name server's name that lies in yet another zone.
pub const DNS_WALK_NESTING: usize = 3;

/// How long the way to a zone is remembered: a run of probes asks the root once, and a moved zone
/// is seen within a minute.
pub const DNS_CUT_TIME: Duration = Duration::from_secs(60);

/// Zone cuts remembered at once; each is about 1 KiB.
pub const DNS_CUTS: usize = 1024;
