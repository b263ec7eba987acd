//! One question to one server.

use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType as WireType};
use tokio::time::Instant;

use super::LookupError;
use crate::dns_wire::{self, WireError};
use crate::limits;

/// Whom the question is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// A name server of a zone: it answers from what it has.
    Authority,
    /// A resolver: it finds out.
    Resolver,
    /// A resolver that is asked to say whether DNSSEC vouches for its answer.
    Validator,
}

/// The name, or the error that says that it is none.
pub(super) fn absolute(name: &str) -> Result<Name, LookupError> {
    dns_wire::name(name).ok_or_else(|| LookupError::BadName {
        name: name.to_owned(),
    })
}

/// Asks; the answer is NOERROR or NXDOMAIN.
pub(super) async fn ask(
    server: SocketAddr,
    role: Role,
    name: &Name,
    record_type: WireType,
    deadline: Instant,
) -> Result<Message, LookupError> {
    let mut request = Message::query();
    request.metadata.recursion_desired = role != Role::Authority;
    request.metadata.authentic_data = role == Role::Validator;
    request.add_query(Query::query(name.clone(), record_type));
    let mut edns = Edns::new();
    edns.set_max_payload(limits::DNS_UDP_BYTES);
    request.set_edns(edns);

    let deadline = deadline.min(Instant::now() + limits::DNS_QUERY_TIME);
    let reply = dns_wire::over_udp_then_tcp(server, &request, deadline)
        .await
        .map_err(|error| wire_error(error, server))?;
    let name = || dns_wire::text(name);
    match reply.message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(reply.message),
        ResponseCode::ServFail => Err(LookupError::ServFail {
            server,
            name: name(),
        }),
        ResponseCode::Refused => Err(LookupError::Refused {
            server,
            name: name(),
        }),
        code => Err(LookupError::UnexpectedCode {
            server,
            code: code.into(),
            name: name(),
        }),
    }
}

fn wire_error(error: WireError, server: SocketAddr) -> LookupError {
    match error {
        WireError::Unreachable(error) => LookupError::Unreachable {
            server,
            kind: error.kind(),
        },
        WireError::Timeout => LookupError::Timeout { server },
        WireError::Malformed => LookupError::Malformed { server },
        WireError::Mismatched => LookupError::Mismatched { server },
        WireError::TooManyRecords => LookupError::TooManyRecords {
            server,
            limit: limits::DNS_MESSAGE_RECORDS,
        },
        WireError::Truncated => LookupError::Truncated { server },
    }
}
