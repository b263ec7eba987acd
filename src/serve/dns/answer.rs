//! The answer to one message: a function of its octets and of what is known.

use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::{
    Edns, Header, HeaderCounts, Message, MessageType, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HINFO, NS, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::names::{Found, Lookup, Names, Node};
use super::sign::Signer;
use crate::clock;
use crate::dns_wire;
use crate::lifecycle::Address;
use crate::limits;
use crate::protocol::StsRecord;

/// TTL of what only a change of the provider object changes.
const ZONE_TTL: u32 = 3600;
/// How long a denial may be remembered: so long may a customer wait who was too early.
const DENIAL_TTL: u32 = 60;
/// Answer without EDNS (RFC 1035 §4.2.1).
const PLAIN_UDP_BYTES: u16 = 512;

/// How the message came, and so how long its answer may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// As a datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

/// An answer, ready to go out.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    /// Its octets.
    pub octets: Vec<u8>,
    /// Its code.
    pub code: ResponseCode,
    /// What it is about, for counting equal ones; `None` for an error, and for a name that does not
    /// exist.
    pub about: Option<Name>,
    response: Message,
}

impl Reply {
    /// The same without records and with the TC bit: so it asks to come again by TCP. It is encoded
    /// only where it is needed, since most answers go out whole.
    pub fn cut(&self) -> Option<Vec<u8>> {
        self.response.truncate().to_vec().ok()
    }
}

/// Answers a message; `None` for what deserves no answer: no DNS message at all, or an answer,
/// whose sender did not ask (two servers would else talk to each other for ever).
///
/// With a `signer` it is signed for those who ask for signatures.
pub fn answer(names: &Names, signer: Option<&Signer>, octets: &[u8], way: Way) -> Option<Reply> {
    let header = Header::read(&mut BinDecoder::new(octets)).ok()?;
    if header.metadata.message_type != MessageType::Query {
        return None;
    }
    let request = match read(&header, octets) {
        Ok(request) => request,
        Err(code) => return reply(bare(&header, code), None, PLAIN_UDP_BYTES),
    };
    let room = room(&request, way);
    let mut response = Message::new(
        request.metadata.id,
        MessageType::Response,
        request.metadata.op_code,
    );
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.queries.clone_from(&request.queries);
    if let Some(asked) = &request.edns {
        response.set_edns(edns(asked));
    }
    let about = fill(names, signer, &request, &mut response);
    reply(response, about, room)
}

/// Reads a message that holds one question and nothing but what may come with one.
fn read(header: &Header, octets: &[u8]) -> Result<Message, ResponseCode> {
    if header.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let HeaderCounts {
        queries,
        answers,
        authorities,
        additionals,
    } = header.counts;
    // RFC 9619: a query has exactly one question.
    let sane = queries == 1
        && answers == 0
        && authorities == 0
        && additionals <= limits::DNS_QUERY_RECORDS;
    if !sane {
        return Err(ResponseCode::FormErr);
    }
    Message::from_vec(octets).map_err(|_| ResponseCode::FormErr)
}

/// An answer of a header alone, for what could not be read.
fn bare(header: &Header, code: ResponseCode) -> Message {
    let mut message = Message::error_msg(header.metadata.id, header.metadata.op_code, code);
    message.metadata.recursion_desired = header.metadata.recursion_desired;
    message
}

fn room(request: &Message, way: Way) -> u16 {
    match (way, &request.edns) {
        (Way::Tcp, _) => u16::MAX,
        (Way::Udp, None) => PLAIN_UDP_BYTES,
        (Way::Udp, Some(edns)) => edns
            .max_payload()
            .clamp(PLAIN_UDP_BYTES, limits::DNS_UDP_BYTES),
    }
}

/// Our side of EDNS: version 0, the DO bit as it came (RFC 3225 §3), no options.
fn edns(asked: &Edns) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(limits::DNS_UDP_BYTES);
    edns.set_dnssec_ok(asked.flags().dnssec_ok);
    edns
}

/// Fills in code and records. Gives the name that an answer is about, if it exists.
fn fill(
    names: &Names,
    signer: Option<&Signer>,
    request: &Message,
    response: &mut Message,
) -> Option<Name> {
    let Some(query) = request.queries.first() else {
        response.metadata.response_code = ResponseCode::FormErr;
        return None;
    };
    if let Some(code) = refusal(request, query) {
        response.metadata.response_code = code;
        return None;
    }
    let found = match names.find(&query.name) {
        Lookup::Found(found) => found,
        Lookup::NotOurs => {
            response.metadata.response_code = ResponseCode::Refused;
            return None;
        }
        Lookup::NotKnown => {
            response.metadata.response_code = ResponseCode::ServFail;
            return None;
        }
    };
    response.metadata.authoritative = true;
    if found.node == Node::Missing {
        response.metadata.response_code = ResponseCode::NXDomain;
    }
    response.answers = records(&found, signer, query);
    // Names that exist are few: only those that do not are all alike.
    let about = (found.node != Node::Missing).then(|| query.name.clone());
    if response.answers.is_empty() {
        response.add_authority(soa(&found, DENIAL_TTL));
    }
    let wants = request.edns.as_ref().is_some_and(|e| e.flags().dnssec_ok);
    if let Some(signer) = signer.filter(|_| wants) {
        signer.sign(response, &found.zone, &present(&found.node), clock::now());
    }
    about
}

/// Why a question is not looked at.
fn refusal(request: &Message, query: &Query) -> Option<ResponseCode> {
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Some(ResponseCode::BADVERS);
    }
    if request.signature.is_some() {
        // There is no key that anybody could sign with.
        return Some(ResponseCode::NotAuth);
    }
    if query.query_class != DNSClass::IN {
        return Some(ResponseCode::Refused);
    }
    match u16::from(query.query_type) {
        0 | 41 => Some(ResponseCode::FormErr),
        // Transfers, mail boxes, keys: what is no record (RFC 6895 §3.1), but ANY.
        128..=254 => Some(ResponseCode::Refused),
        _ => None,
    }
}

/// The records that answer a question, none for a denial.
fn records(found: &Found, signer: Option<&Signer>, query: &Query) -> Vec<Record> {
    let asked = query.query_type;
    let record = |ttl, data| Record::from_rdata(query.name.clone(), ttl, data);
    let is_apex = match &found.node {
        Node::Missing | Node::Empty => return Vec::new(),
        Node::Apex => true,
        Node::Txt { apex, .. } | Node::TlsRpt { apex, .. } | Node::Host { apex, .. } => *apex,
    };
    match (asked, signer) {
        (RecordType::DNSKEY, Some(signer)) if is_apex => {
            let key = DNSSECRData::DNSKEY(signer.dnskey().clone());
            return vec![record(ZONE_TTL, RData::DNSSEC(key))];
        }
        _ => {}
    }
    match asked {
        RecordType::SOA if is_apex => return vec![soa(found, ZONE_TTL)],
        RecordType::NS if is_apex => {
            let servers = found.servers.iter().cloned();
            let server = |name| record(ZONE_TTL, RData::NS(NS(name)));
            return servers.map(server).collect();
        }
        _ => {}
    }
    let data = data(&found.node, asked);
    if asked == RecordType::ANY && data.is_empty() {
        // RFC 8482 §4.2: nobody is served by all records of a name but he who amplifies.
        let hinfo = HINFO::new("RFC8482".to_owned(), String::new());
        return vec![record(ZONE_TTL, RData::HINFO(hinfo))];
    }
    data.into_iter()
        .map(|(ttl, data)| record(ttl, data))
        .collect()
}

/// The types at a node of a signed zone.
fn present(node: &Node) -> Vec<RecordType> {
    let (apex, of_node) = match node {
        Node::Missing | Node::Empty => (false, Vec::new()),
        Node::Apex => (true, Vec::new()),
        Node::Txt { apex, announced } => {
            let txt = announced.as_ref().map(|_| RecordType::TXT);
            (*apex, txt.into_iter().collect())
        }
        Node::TlsRpt { apex, text } => {
            let txt = text.as_ref().map(|_| RecordType::TXT);
            (*apex, txt.into_iter().collect())
        }
        Node::Host { apex, .. } => {
            let types = [RecordType::A, RecordType::AAAA, RecordType::CNAME];
            let there = |asked: &RecordType| !data(node, *asked).is_empty();
            (*apex, types.into_iter().filter(there).collect())
        }
    };
    let top = [RecordType::SOA, RecordType::NS, RecordType::DNSKEY];
    let top = top.into_iter().filter(|_| apex);
    top.chain(of_node).collect()
}

/// The data at a node that answers a type: an alias answers all types.
fn data(node: &Node, asked: RecordType) -> Vec<(u32, RData)> {
    match node {
        Node::Txt {
            announced: Some((id, ttl)),
            ..
        } if asked == RecordType::TXT => {
            let text = TXT::new(vec![StsRecord::render(id)]);
            vec![(*ttl, RData::TXT(text))]
        }
        Node::TlsRpt {
            text: Some((text, ttl)),
            ..
        } if asked == RecordType::TXT => {
            // As many strings as it takes; readers join them (RFC 8460 §3).
            let strings = text.as_bytes().chunks(255).collect();
            vec![(*ttl, RData::TXT(TXT::from_bytes(strings)))]
        }
        Node::Host {
            apex,
            addresses,
            ttl,
        } => {
            let of_type = addresses
                .iter()
                .filter_map(|address| address_data(address, asked, *apex));
            of_type.map(|data| (*ttl, data)).collect()
        }
        _ => Vec::new(),
    }
}

/// The data of an address if it answers the type. At the top of a zone no alias may stand
/// (RFC 1034 §3.6.2).
fn address_data(address: &Address, asked: RecordType, apex: bool) -> Option<RData> {
    match address {
        Address::A(address) if asked == RecordType::A => Some(RData::A(A(*address))),
        Address::Aaaa(address) if asked == RecordType::AAAA => Some(RData::AAAA(AAAA(*address))),
        Address::Cname(target) if !apex => {
            dns_wire::name(target).map(|name| RData::CNAME(CNAME(name)))
        }
        _ => None,
    }
}

/// The SOA record. Nothing transfers the zone: the times are the usual ones.
fn soa(found: &Found, ttl: u32) -> Record {
    let primary = found.servers.first().cloned().unwrap_or_default();
    let hostmaster = Name::from_ascii("hostmaster").and_then(|name| name.append_domain(&primary));
    let soa = SOA::new(
        primary.clone(),
        hostmaster.unwrap_or(primary),
        found.serial,
        3600,
        600,
        86_400,
        DENIAL_TTL,
    );
    Record::from_rdata(found.zone.clone(), ttl, RData::SOA(soa))
}

/// Encodes an answer, cut off where it has no room.
fn reply(response: Message, about: Option<Name>, room: u16) -> Option<Reply> {
    let octets = response.to_vec().ok()?;
    let fits = octets.len() <= usize::from(room);
    let mut reply = Reply {
        octets,
        code: response.metadata.response_code,
        about,
        response,
    };
    if !fits {
        reply.octets = reply.cut()?;
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::names::{Said, Word};
    use super::*;
    use crate::lifecycle::own_zone::OwnZone;

    const ID: &str = "20261125000000aaaaaaaabbbbbb";

    /// A zone `sts.example.net` with example.org (announced, two addresses), example.com (an
    /// alias) and a.b.example.org (nothing yet).
    fn names() -> Names {
        let names = Names::default();
        names.set_zones(&[OwnZone {
            zone: "sts.example.net".parse().unwrap(),
            name_servers: vec![
                "ns1.example.net".parse().unwrap(),
                "ns2.example.net".parse().unwrap(),
            ],
        }]);
        let said = |txt: Option<&str>, addresses: Vec<Address>| {
            Some(Word::Said(Said {
                zone: "sts.example.net".parse().unwrap(),
                txt: txt.map(|id| (id.parse().unwrap(), 300)),
                addresses: addresses.into(),
                ttl: 60,
                tls_rpt: txt.map(|_| ("v=TLSRPTv1; rua=mailto:r@example.net;".into(), 90)),
                serial: 7,
            }))
        };
        let a = Address::A([192, 0, 2, 1].into());
        let aaaa = Address::Aaaa("2001:db8::1".parse().unwrap());
        let alias = Address::Cname("front.example.net".to_owned());
        names.set("example.org", said(Some(ID), vec![a, aaaa]));
        names.set("example.com", said(Some(ID), vec![alias]));
        names.set("a.b.example.org", said(None, Vec::new()));
        names.set("broken.example", Some(Word::Unknown));
        names.complete();
        names
    }

    fn query(name: &str, record_type: RecordType) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(
            Name::from_ascii(format!("{name}.")).unwrap(),
            record_type,
        ));
        message
    }

    fn ask(names: &Names, message: &Message, way: Way) -> Message {
        let reply = answer(names, None, &message.to_vec().unwrap(), way).unwrap();
        Message::from_vec(&reply.octets).unwrap()
    }

    /// The answer in short: code, answers, and who signs a denial.
    fn short(message: &Message) -> String {
        let data = |record: &Record| format!("{} {}", record.record_type(), record.data);
        let answers: Vec<String> = message.answers.iter().map(data).collect();
        let authority = message.authorities.iter().map(|soa| soa.name.to_ascii());
        let mut text = format!("{:?}", message.metadata.response_code);
        for part in answers.into_iter().chain(authority) {
            text.push_str(" | ");
            text.push_str(&part);
        }
        text
    }

    #[test]
    fn each_name_answers_as_the_dns_wants() {
        use RecordType as T;
        let names = names();
        let txt = format!("NoError | TXT v=STSv1; id={ID};");
        let no_data = "NoError | sts.example.net.";
        let reports = "NoError | TXT v=TLSRPTv1; rua=mailto:r@example.net;";
        let missing = "NXDomain | sts.example.net.";
        for (case, name, record_type, expected) in [
            (
                "the TXT record",
                "_mta-sts.example.org.sts.example.net",
                T::TXT,
                txt.as_str(),
            ),
            (
                "in capitals",
                "_MTA-STS.Example.ORG.STS.example.net",
                T::TXT,
                &txt,
            ),
            (
                "another type",
                "_mta-sts.example.org.sts.example.net",
                T::A,
                no_data,
            ),
            (
                "A",
                "mta-sts.example.org.sts.example.net",
                T::A,
                "NoError | A 192.0.2.1",
            ),
            (
                "AAAA",
                "mta-sts.example.org.sts.example.net",
                T::AAAA,
                "NoError | AAAA 2001:db8::1",
            ),
            (
                "an alias answers A",
                "mta-sts.example.com.sts.example.net",
                T::A,
                "NoError | CNAME front.example.net.",
            ),
            (
                "and TXT",
                "mta-sts.example.com.sts.example.net",
                T::TXT,
                "NoError | CNAME front.example.net.",
            ),
            (
                "and ANY",
                "mta-sts.example.com.sts.example.net",
                T::ANY,
                "NoError | CNAME front.example.net.",
            ),
            (
                "not announced",
                "_mta-sts.a.b.example.org.sts.example.net",
                T::TXT,
                no_data,
            ),
            (
                "the record that asks for reports",
                "_smtp._tls.example.org.sts.example.net",
                T::TXT,
                reports,
            ),
            (
                "another type there",
                "_smtp._tls.example.org.sts.example.net",
                T::A,
                no_data,
            ),
            (
                "between it and the domain",
                "_tls.example.org.sts.example.net",
                T::TXT,
                no_data,
            ),
            (
                "nobody asks for reports",
                "_smtp._tls.a.b.example.org.sts.example.net",
                T::TXT,
                no_data,
            ),
            (
                "beside it",
                "_imap._tls.example.org.sts.example.net",
                T::TXT,
                missing,
            ),
            (
                "delegated, reports",
                "_smtp._tls.example.org",
                T::TXT,
                reports,
            ),
            (
                "delegated, reports, its top",
                "_smtp._tls.example.org",
                T::NS,
                "NoError | NS ns1.example.net. | NS ns2.example.net.",
            ),
            ("the label above it", "_tls.example.org", T::TXT, "Refused"),
            (
                "between two",
                "b.example.org.sts.example.net",
                T::TXT,
                no_data,
            ),
            ("above all", "org.sts.example.net", T::A, no_data),
            ("missing", "c.example.org.sts.example.net", T::A, missing),
            (
                "below the TXT record",
                "x._mta-sts.example.org.sts.example.net",
                T::TXT,
                missing,
            ),
            (
                "another domain",
                "_mta-sts.example.sts.example.net",
                T::TXT,
                missing,
            ),
            ("the top", "sts.example.net", T::A, no_data),
            (
                "its name servers",
                "sts.example.net",
                T::NS,
                "NoError | NS ns1.example.net. | NS ns2.example.net.",
            ),
            ("elsewhere", "example.net", T::A, "Refused"),
            ("only alike", "xsts.example.net", T::A, "Refused"),
            ("the root", "", T::NS, "Refused"),
            ("delegated", "_mta-sts.example.org", T::TXT, &txt),
            (
                "delegated, its name servers",
                "_mta-sts.example.org",
                T::NS,
                "NoError | NS ns1.example.net. | NS ns2.example.net.",
            ),
            (
                "delegated, another type",
                "_mta-sts.example.org",
                T::MX,
                "NoError | _mta-sts.example.org.",
            ),
            (
                "below it",
                "x._mta-sts.example.org",
                T::TXT,
                "NXDomain | _mta-sts.example.org.",
            ),
            (
                "the delegated host",
                "mta-sts.example.org",
                T::A,
                "NoError | A 192.0.2.1",
            ),
            (
                "no alias at the top of a zone",
                "mta-sts.example.com",
                T::A,
                "NoError | mta-sts.example.com.",
            ),
            ("not ours", "_mta-sts.example.net", T::TXT, "Refused"),
            ("not known", "_mta-sts.broken.example", T::TXT, "ServFail"),
            (
                "not known, below the zone",
                "mta-sts.broken.example.sts.example.net",
                T::A,
                "ServFail",
            ),
            (
                "ANY",
                "_mta-sts.example.org.sts.example.net",
                T::ANY,
                "NoError | HINFO RFC8482 ",
            ),
            ("ANY of nothing", "x.sts.example.net", T::ANY, missing),
            ("a transfer", "sts.example.net", T::AXFR, "Refused"),
            ("OPT as a type", "sts.example.net", T::OPT, "FormErr"),
        ] {
            let reply = ask(&names, &query(name, record_type), Way::Udp);
            assert_eq!(short(&reply), expected, "{case}");
            let ours = !expected.contains("Refused")
                && !expected.contains("ServFail")
                && !expected.contains("FormErr");
            assert_eq!(reply.metadata.authoritative, ours, "{case}");
            assert!(!reply.metadata.recursion_available, "{case}");
        }
    }

    #[test]
    fn a_dot_within_a_label_is_none_between_two() {
        let name = Name::from_labels([&b"x.sts"[..], b"example", b"net"]).unwrap();
        let mut message = Message::query();
        message.add_query(Query::query(name, RecordType::A));
        assert_eq!(short(&ask(&names(), &message, Way::Udp)), "Refused");
    }

    #[test]
    fn before_all_is_known_nothing_is_denied() {
        let names = Names::default();
        let reply = ask(
            &names,
            &query("_mta-sts.example.org", RecordType::TXT),
            Way::Udp,
        );
        assert_eq!(short(&reply), "ServFail");
    }

    #[test]
    fn the_question_comes_back_letter_for_letter() {
        let request = query("_mTa-StS.eXaMpLe.OrG.sts.example.net", RecordType::TXT);
        let reply = ask(&names(), &request, Way::Udp);
        assert_eq!(
            reply.queries[0].name.to_ascii(),
            request.queries[0].name.to_ascii()
        );
        assert_eq!(
            reply.answers[0].name.to_ascii(),
            request.queries[0].name.to_ascii()
        );
        assert_eq!(reply.metadata.id, request.metadata.id);
    }

    #[test]
    fn edns_is_answered_in_kind() {
        let names = names();
        let mut request = query("_mta-sts.example.org.sts.example.net", RecordType::TXT);
        assert!(ask(&names, &request, Way::Udp).edns.is_none(), "without");
        let mut edns = Edns::new();
        edns.set_max_payload(4096).set_dnssec_ok(true);
        request.set_edns(edns.clone());
        let reply = ask(&names, &request, Way::Udp).edns.unwrap();
        assert!(reply.flags().dnssec_ok);
        assert_eq!((reply.version(), reply.max_payload()), (0, 1232));
        edns.set_version(1);
        request.set_edns(edns);
        let reply = ask(&names, &request, Way::Udp);
        assert_eq!(u16::from(reply.metadata.response_code), 16, "BADVERS");
        assert_eq!(reply.edns.unwrap().version(), 0);
    }

    #[test]
    fn what_has_no_room_is_cut_off_and_comes_whole_over_tcp() {
        let names = names();
        let addresses: Vec<Address> = (0..60)
            .map(|last| Address::A([192, 0, 2, last].into()))
            .collect();
        let said = Said {
            zone: "sts.example.net".parse().unwrap(),
            txt: None,
            addresses: addresses.into(),
            ttl: 60,
            tls_rpt: Some((
                format!("v=TLSRPTv1; rua=mailto:{};", "r".repeat(300)).into(),
                90,
            )),
            serial: 1,
        };
        names.set("example.org", Some(Word::Said(said)));
        let mut request = query("mta-sts.example.org", RecordType::A);
        for (case, way, payload, whole) in [
            ("plain", Way::Udp, None, false),
            ("a small buffer", Way::Udp, Some(512), false),
            ("a buffer of no sense", Way::Udp, Some(0), false),
            ("a large buffer", Way::Udp, Some(4096), true),
            ("TCP", Way::Tcp, None, true),
        ] {
            request.edns = payload.map(|payload| {
                let mut edns = Edns::new();
                edns.set_max_payload(payload);
                edns
            });
            let reply = answer(&names, None, &request.to_vec().unwrap(), way).unwrap();
            let message = Message::from_vec(&reply.octets).unwrap();
            assert_eq!(message.metadata.truncation, !whole, "{case}");
            assert_eq!(message.answers.len(), if whole { 60 } else { 0 }, "{case}");
            assert!(
                reply.cut().unwrap().len() <= request.to_vec().unwrap().len(),
                "{case}"
            );
        }
    }

    #[test]
    fn what_is_no_question_is_refused_or_left_unanswered() {
        let names = names();
        let good = query("_mta-sts.example.org.sts.example.net", RecordType::TXT);
        let octets = good.to_vec().unwrap();
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut octets = octets.clone();
            change(&mut octets);
            let reply = answer(&names, None, &octets, Way::Udp);
            reply.map(|reply| {
                assert!(reply.octets.len() <= octets.len(), "nothing is made larger");
                format!("{:?}", reply.code)
            })
        };
        type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
        let cases: [(&str, Change<'_>, Option<&str>); 13] = [
            ("an answer", &|o| o[2] |= 0x80, None),
            ("nothing", &|o| o.clear(), None),
            ("half a header", &|o| o.truncate(11), None),
            ("a header", &|o| o.truncate(12), Some("FormErr")),
            ("half a name", &|o| o.truncate(o.len() - 6), Some("FormErr")),
            ("no question", &|o| o[5] = 0, Some("FormErr")),
            ("two questions", &|o| o[5] = 2, Some("FormErr")),
            ("an answer in it", &|o| o[7] = 1, Some("FormErr")),
            ("records without end", &|o| o[10] = 255, Some("FormErr")),
            ("an update", &|o| o[2] = 0x28, Some("NotImp")),
            ("a notify", &|o| o[2] = 0x20, Some("NotImp")),
            (
                "a name that points at itself",
                &|o| {
                    o[12] = 0xC0;
                    o[13] = 12;
                },
                Some("FormErr"),
            ),
            (
                "class CHAOS",
                &|o| *o.last_mut().unwrap() = 3,
                Some("Refused"),
            ),
        ];
        for (case, change, expected) in cases {
            assert_eq!(with(change).as_deref(), expected, "{case}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_nothing_breaks(
            tail in proptest::collection::vec(any::<u8>(), 0..300),
            counts in proptest::array::uniform2(0_u8..3),
        ) {
            let names = names();
            let good = query("_mta-sts.example.org.sts.example.net", RecordType::TXT);
            let mut octets = good.to_vec().unwrap();
            octets[5] = counts[0];
            octets[11] = counts[1];
            octets.extend(&tail);
            for way in [Way::Udp, Way::Tcp] {
                let _ = answer(&names, None, &octets, way);
                let _ = answer(&names, None, &tail, way);
            }
        }
    }
}
