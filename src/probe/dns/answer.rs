//! What an answer says about the name that was asked for.

use std::net::SocketAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record};

use super::{LookupError, RecordData, RecordType};
use crate::dns_wire;
use crate::limits;

/// One alias of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alias {
    /// Where the CNAME stands.
    pub name: String,
    /// What it points to.
    pub target: String,
    /// Its TTL in seconds.
    pub ttl: u32,
}

/// Whether there is what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existence {
    /// There are records of the type.
    Found,
    /// The name exists, records of the type do not (NODATA, RFC 2308 §2.2).
    NoData,
    /// The name does not exist (NXDOMAIN).
    NoName,
}

/// What a server says about a name and a type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The name at the end of the chain: the one that was asked for, if it is no alias.
    pub name: String,
    /// The records of the type there.
    pub records: Vec<RecordData>,
    /// Their TTL in seconds (the lowest, RFC 2181 §5.2); 0 without records.
    pub ttl: u32,
    /// The aliases from the name that was asked for, in order.
    pub chain: Vec<Alias>,
    /// Whether the server answers from the zone itself.
    pub authoritative: bool,
    /// Whether there is what was asked for.
    pub existence: Existence,
    /// How long resolvers may remember that it is missing, in seconds (RFC 2308 §5).
    pub negative_ttl: Option<u32>,
}

impl Answer {
    /// Whether it ends at an alias whose target the server said nothing about.
    pub(super) fn leads_elsewhere(&self) -> bool {
        !self.chain.is_empty() && self.records.is_empty()
    }

    /// Reads what `message` says about `name`. Aliases are followed as long as they lie in
    /// `within`: what a server says about other zones is not its to say.
    pub(super) fn read(
        server: SocketAddr,
        message: &Message,
        name: &Name,
        record_type: RecordType,
        within: &Name,
    ) -> Result<Self, LookupError> {
        let (chain, end) = follow(message, name, record_type, within)?;
        let believed = within.zone_of(&end);
        let ours = || of(message, &end, record_type).filter(|_| believed);
        let records: Vec<RecordData> = ours()
            .filter_map(|record| RecordData::from_wire(&record.data))
            .take(limits::DNS_SET_RECORDS + 1)
            .collect();
        if records.len() > limits::DNS_SET_RECORDS {
            return Err(LookupError::TooManyRecords {
                server,
                limit: limits::DNS_SET_RECORDS,
            });
        }
        let existence = match message.metadata.response_code {
            _ if !records.is_empty() => Existence::Found,
            ResponseCode::NXDomain if believed => Existence::NoName,
            _ => Existence::NoData,
        };
        Ok(Self {
            name: dns_wire::text(&end),
            ttl: ours().map(ttl).min().unwrap_or_default(),
            records,
            chain,
            authoritative: message.metadata.authoritative,
            existence,
            negative_ttl: negative_ttl(message),
        })
    }
}

/// The aliases from `name`, and where they end.
fn follow(
    message: &Message,
    name: &Name,
    record_type: RecordType,
    within: &Name,
) -> Result<(Vec<Alias>, Name), LookupError> {
    let mut chain: Vec<Alias> = Vec::new();
    let mut end = name.clone();
    if record_type == RecordType::Cname {
        return Ok((chain, end));
    }
    while within.zone_of(&end) && of(message, &end, record_type).next().is_none() {
        let Some((target, ttl)) = alias(message, &end) else {
            break;
        };
        append(
            &mut chain,
            Alias {
                name: dns_wire::text(&end),
                target: dns_wire::text(target),
                ttl,
            },
        )?;
        end = target.clone();
    }
    Ok((chain, end))
}

/// Lengthens a chain, unless it runs in a circle or becomes too long.
pub(super) fn append(chain: &mut Vec<Alias>, alias: Alias) -> Result<(), LookupError> {
    let start = chain
        .first()
        .map_or(&alias.name, |first| &first.name)
        .clone();
    if alias.target == alias.name || chain.iter().any(|link| link.name == alias.target) {
        return Err(LookupError::CnameLoop { name: start });
    }
    if chain.len() >= limits::DNS_CHAIN {
        return Err(LookupError::ChainTooLong {
            name: start,
            limit: limits::DNS_CHAIN,
        });
    }
    chain.push(alias);
    Ok(())
}

fn of<'a>(
    message: &'a Message,
    name: &'a Name,
    record_type: RecordType,
) -> impl Iterator<Item = &'a Record> {
    message.answers.iter().filter(move |record| {
        record.dns_class == DNSClass::IN
            && record.record_type() == record_type.wire()
            && record.name == *name
    })
}

fn alias<'a>(message: &'a Message, name: &'a Name) -> Option<(&'a Name, u32)> {
    of(message, name, RecordType::Cname).find_map(|record| match &record.data {
        RData::CNAME(target) => Some((&target.0, ttl(record))),
        _ => None,
    })
}

/// A TTL with the highest bit set counts as 0 (RFC 2181 §8).
fn ttl(record: &Record) -> u32 {
    match i32::try_from(record.ttl) {
        Ok(_) => record.ttl,
        Err(_) => 0,
    }
}

fn negative_ttl(message: &Message) -> Option<u32> {
    message
        .authorities
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) => Some(ttl(record).min(soa.minimum)),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::OpCode;
    use hickory_proto::rr::rdata::{A, CNAME, SOA};

    use super::*;

    fn name(text: &str) -> Name {
        dns_wire::name(text).unwrap()
    }

    fn message(records: Vec<Record>) -> Message {
        let mut message = Message::response(1, OpCode::Query);
        message.add_answers(records);
        message
    }

    fn address(owner: &str, ttl: u32) -> Record {
        Record::from_rdata(name(owner), ttl, RData::A(A([192, 0, 2, 1].into())))
    }

    fn alias_record(owner: &str, target: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
    }

    fn read(message: &Message, within: &str) -> Result<Answer, LookupError> {
        let server = (Ipv4Addr::LOCALHOST, 53).into();
        let asked = name("a.example.org");
        Answer::read(server, message, &asked, RecordType::A, &name(within))
    }

    #[test]
    fn a_chain_is_followed_in_whatever_order_it_comes() {
        let records = vec![
            address("c.example.org", 300),
            alias_record("b.example.org", "c.example.org"),
            address("unrelated.example.org", 5),
            alias_record("A.Example.ORG", "b.example.org"),
        ];
        let answer = read(&message(records), ".").unwrap();
        assert_eq!(answer.name, "c.example.org");
        assert_eq!(answer.records, [RecordData::A([192, 0, 2, 1].into())]);
        assert_eq!((answer.ttl, answer.existence), (300, Existence::Found));
        let targets: Vec<_> = answer
            .chain
            .iter()
            .map(|link| link.target.as_str())
            .collect();
        assert_eq!(targets, ["b.example.org", "c.example.org"]);
    }

    #[test]
    fn what_lies_outside_of_the_servers_zone_is_not_taken() {
        let records = vec![
            alias_record("a.example.org", "b.example.net"),
            address("b.example.net", 300),
        ];
        let answer = read(&message(records), "example.org").unwrap();
        assert_eq!(answer.records, []);
        assert!(answer.leads_elsewhere());
    }

    #[test]
    fn circles_and_endless_chains_are_errors() {
        let circle = vec![
            alias_record("a.example.org", "b.example.org"),
            alias_record("b.example.org", "a.example.org"),
        ];
        assert_eq!(
            read(&message(circle), ".").unwrap_err().label(),
            "cname_loop"
        );
        let itself = vec![alias_record("a.example.org", "a.example.org")];
        assert_eq!(
            read(&message(itself), ".").unwrap_err().label(),
            "cname_loop"
        );
        let mut long = vec![alias_record("a.example.org", "0.example.org")];
        for n in 0..50 {
            let (owner, target) = (format!("{n}.example.org"), format!("{}.example.org", n + 1));
            long.push(alias_record(&owner, &target));
        }
        assert_eq!(
            read(&message(long), ".").unwrap_err().label(),
            "chain_too_long"
        );
    }

    #[test]
    fn too_many_records_are_an_error_and_not_a_shorter_list() {
        let records = (0..=limits::DNS_SET_RECORDS).map(|_| address("a.example.org", 60));
        let error = read(&message(records.collect()), ".").unwrap_err();
        assert_eq!(error.label(), "too_many_records");
    }

    #[test]
    fn missing_has_two_kinds_and_a_time() {
        let soa = SOA::new(
            name("ns.example.org"),
            name("h.example.org"),
            1,
            1,
            1,
            1,
            60,
        );
        let mut message = message(Vec::new());
        message.add_authority(Record::from_rdata(
            name("example.org"),
            900,
            RData::SOA(soa),
        ));
        let answer = read(&message, ".").unwrap();
        assert_eq!(answer.existence, Existence::NoData);
        assert_eq!(answer.negative_ttl, Some(60));
        message.metadata.response_code = ResponseCode::NXDomain;
        assert_eq!(read(&message, ".").unwrap().existence, Existence::NoName);
    }

    #[test]
    fn odd_ttls_are_read_as_the_rfc_says() {
        for (case, ttls, ttl) in [
            ("the lowest", &[300, 60][..], 60),
            ("the highest bit", &[u32::MAX], 0),
        ] {
            let records = ttls.iter().map(|&ttl| address("a.example.org", ttl));
            let answer = read(&message(records.collect()), ".").unwrap();
            assert_eq!(answer.ttl, ttl, "{case}");
        }
    }
}
