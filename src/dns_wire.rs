//! One DNS message to one server and its answer, within budgets. `dns` (which writes) and `probe`
//! (which looks) both stand on it, so that neither needs the other.
//!
//! Every answer is hostile: it must carry our id and our question, and its counts are looked at
//! before anything is decoded or set aside for it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::{Header, HeaderCounts, Message, MessageType, Metadata, ResponseCode};
use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::limits;

/// An answer that belongs to its question.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The decoded message.
    pub(crate) message: Message,
    /// The octets as they came, for a signature.
    pub(crate) octets: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum WireError {
    /// No connection, or it broke.
    Unreachable(io::Error),
    /// Nothing that belongs to the question came in time.
    Timeout,
    /// What came is no DNS message.
    Malformed,
    /// What came has another id or another question.
    Mismatched,
    /// More records than [`limits::DNS_MESSAGE_RECORDS`].
    TooManyRecords,
    /// The answer is cut off and can't be had over TCP.
    Truncated,
}

/// Reads an absolute name, with or without its final dot. `None` if it can't be one.
pub(crate) fn name(text: &str) -> Option<Name> {
    if text.is_empty() {
        return None;
    }
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// A name in the form that is used everywhere: lower case, without the final dot; the root is `.`.
/// Octets that are not plain are escaped.
pub(crate) fn text(name: &Name) -> String {
    let mut text = name.to_lowercase().to_ascii();
    if text.len() > 1 && name.is_fqdn() {
        text.pop();
    }
    text
}

/// Sends `request`, whose encoded form is `octets`, over TCP.
pub(crate) async fn over_tcp(
    server: SocketAddr,
    request: &Message,
    octets: &[u8],
    deadline: Instant,
) -> Result<Reply, WireError> {
    let length = u16::try_from(octets.len()).map_err(|_| WireError::Malformed)?;
    let answer = timeout_at(deadline, async {
        let mut stream = TcpStream::connect(server).await?;
        let mut framed = Vec::with_capacity(octets.len() + 2);
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(octets);
        stream.write_all(&framed).await?;
        // The length is 16 bits, so that the answer stays below 64 KiB by itself.
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    })
    .await
    .map_err(|_| WireError::Timeout)?
    .map_err(WireError::Unreachable)?;
    match read(request, answer)? {
        Read::Whole(reply) => Ok(reply),
        Read::CutOff => Err(WireError::Truncated),
    }
}

/// Sends `request` over UDP, and over TCP if the answer does not fit.
pub(crate) async fn over_udp_then_tcp(
    server: SocketAddr,
    request: &Message,
    deadline: Instant,
) -> Result<Reply, WireError> {
    let octets = request.to_vec().map_err(|_| WireError::Malformed)?;
    let first_try = deadline.min(Instant::now() + limits::DNS_UDP_TRY);
    let answer = match over_udp(server, request, &octets, first_try).await {
        Err(WireError::Timeout) => over_udp(server, request, &octets, deadline).await?,
        answer => answer?,
    };
    match answer {
        Read::Whole(reply) => Ok(reply),
        Read::CutOff => over_tcp(server, request, &octets, deadline)
            .await
            .map_err(|error| match error {
                WireError::Unreachable(_) | WireError::Timeout => WireError::Truncated,
                error => error,
            }),
    }
}

/// One datagram out of a fresh port, and the first that answers it.
async fn over_udp(
    server: SocketAddr,
    request: &Message,
    octets: &[u8],
    deadline: Instant,
) -> Result<Read, WireError> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(WireError::Unreachable)?;
    // Connected: the system drops what does not come from this very address.
    socket
        .connect(server)
        .await
        .map_err(WireError::Unreachable)?;
    socket.send(octets).await.map_err(WireError::Unreachable)?;
    let mut buffer = vec![0; usize::from(limits::DNS_UDP_BYTES)];
    let mut strays = 0;
    loop {
        let length = match timeout_at(deadline, socket.recv(&mut buffer)).await {
            Ok(length) => length.map_err(WireError::Unreachable)?,
            Err(_) if strays > 0 => return Err(WireError::Mismatched),
            Err(_) => return Err(WireError::Timeout),
        };
        let datagram = buffer.iter().take(length).copied().collect();
        match read(request, datagram) {
            Err(WireError::Mismatched) if strays < limits::DNS_STRAY_DATAGRAMS => strays += 1,
            answer => return answer,
        }
    }
}

enum Read {
    Whole(Reply),
    /// The TC bit is set: nothing in it is used.
    CutOff,
}

fn read(request: &Message, octets: Vec<u8>) -> Result<Read, WireError> {
    let Header { metadata, counts } =
        Header::read(&mut BinDecoder::new(&octets)).map_err(|_| WireError::Malformed)?;
    if !belongs_to(&metadata, request) {
        return Err(WireError::Mismatched);
    }
    if counts.queries > 1 {
        return Err(WireError::Malformed);
    }
    if metadata.truncation {
        return Ok(Read::CutOff);
    }
    if records(&counts) > limits::DNS_MESSAGE_RECORDS {
        return Err(WireError::TooManyRecords);
    }
    let message = Message::from_vec(&octets).map_err(|_| WireError::Malformed)?;
    // A server that did not understand or like the question may leave it out.
    let nothing_is_claimed = !matches!(
        message.metadata.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    );
    if message.queries != request.queries && !(message.queries.is_empty() && nothing_is_claimed) {
        return Err(WireError::Mismatched);
    }
    Ok(Read::Whole(Reply { message, octets }))
}

fn belongs_to(answer: &Metadata, request: &Message) -> bool {
    answer.id == request.metadata.id
        && answer.message_type == MessageType::Response
        && answer.op_code == request.metadata.op_code
}

fn records(counts: &HeaderCounts) -> usize {
    usize::from(counts.answers) + usize::from(counts.authorities) + usize::from(counts.additionals)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;
    use hickory_proto::rr::RecordType;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_comes_nothing_breaks(tail in proptest::collection::vec(any::<u8>(), 0..600)) {
            let request = question();
            let mut octets = request.metadata.id.to_be_bytes().to_vec();
            // An answer with small counts, so that the records are looked at.
            octets.extend([0x84, 0, 0, 1, 0, 3, 0, 3, 0, 3]);
            octets.extend(&request.to_vec().unwrap()[12..]);
            octets.extend(&tail);
            let _ = read(&request, octets);
            let _ = read(&request, tail);
        }
    }

    fn question() -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(name("example.org").unwrap(), RecordType::TXT));
        message
    }

    #[test]
    fn names_have_one_text() {
        for (case, given, text_form) in [
            ("plain", "example.org", Some("example.org")),
            ("capitals and a dot", "Example.ORG.", Some("example.org")),
            (
                "underscore",
                "_mta-sts.example.org",
                Some("_mta-sts.example.org"),
            ),
            ("root", ".", Some(".")),
            ("empty", "", None),
            ("an empty label", "a..example", None),
            ("a space", "a b.example", None),
            ("a line break", "a\n.example", None),
            ("a long label", &"a".repeat(64), None),
            ("a long name", &"a.".repeat(128), None),
        ] {
            assert_eq!(
                name(given).map(|n| text(&n)).as_deref(),
                text_form,
                "{case}"
            );
        }
    }

    #[test]
    fn only_what_answers_the_question_is_taken() {
        let request = question();
        let answer = |change: &dyn Fn(&mut Message)| {
            let mut message = request.clone().into_response();
            change(&mut message);
            message.to_vec().unwrap()
        };
        let whole = answer(&|_| ());
        assert!(matches!(read(&request, whole.clone()), Ok(Read::Whole(_))));

        type Change<'a> = &'a dyn Fn(&mut Message);
        let wrong: [(&str, Change<'_>); 4] = [
            ("id", &|m| m.metadata.id = !m.metadata.id),
            ("not a response", &|m| {
                m.metadata.message_type = MessageType::Query
            }),
            ("another name", &|m| {
                m.queries = vec![Query::query(name("example.net").unwrap(), RecordType::TXT)];
            }),
            ("no question", &|m| m.queries.clear()),
        ];
        for (case, change) in wrong {
            let result = read(&request, answer(change));
            assert!(matches!(result, Err(WireError::Mismatched)), "{case}");
        }
        let refused = answer(&|m| {
            m.queries.clear();
            m.metadata.response_code = ResponseCode::Refused;
        });
        assert!(matches!(read(&request, refused), Ok(Read::Whole(_))));
        let cut_off = answer(&|m| m.metadata.truncation = true);
        assert!(matches!(read(&request, cut_off), Ok(Read::CutOff)));

        for length in 0..whole.len() {
            assert!(
                read(&request, whole[..length].to_vec()).is_err(),
                "{length} octets"
            );
        }
        let mut crowded = whole;
        crowded[6..8].copy_from_slice(&u16::MAX.to_be_bytes());
        assert!(matches!(
            read(&request, crowded),
            Err(WireError::TooManyRecords)
        ));
    }
}
