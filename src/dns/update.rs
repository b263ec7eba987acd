//! Record sets as they stand in DNS messages: queries, and updates (RFC 2136).

use std::collections::BTreeSet;

use hickory_proto::op::{Message, OpCode, Query, UpdateMessage};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType as WireType};

use super::{Change, DnsError, RecordSet, RecordType, RecordValue};
use crate::dns_wire;
use crate::limits;

/// A question to an authoritative server.
pub(super) fn query(name: Name, record_type: WireType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name, record_type));
    message
}

/// An update of `zone` in which nothing stands yet: it changes nothing (RFC 2136 §3.4).
pub(super) fn update(zone: Name) -> Message {
    let mut message = query(zone, WireType::SOA);
    message.metadata.op_code = OpCode::Update;
    message
}

/// An update that makes all `changes` if each set is what is expected, and none otherwise.
pub(super) fn compare_and_swap(zone: Name, changes: &[Change]) -> Result<Message, DnsError> {
    let mut message = update(zone);
    for change in changes {
        demand(&mut message, change)?;
    }
    // Deletions first: a CNAME and addresses must never meet at one name, not even in between.
    let changed = || {
        changes
            .iter()
            .filter(|change| change.expected != change.desired)
    };
    for change in changed().filter(|change| change.expected.is_some()) {
        let name = owner(&change.name)?;
        message.add_update(empty(name, change.record_type, DNSClass::ANY));
    }
    for change in changed() {
        let Some(set) = &change.desired else { continue };
        for value in &set.values {
            let ttl = set.ttl.unwrap_or(limits::RETIRED_TTL);
            let record = Record::from_rdata(owner(&change.name)?, ttl, data(value)?);
            message.add_update(record);
        }
    }
    Ok(message)
}

/// Demands that `name` has no records of `record_type` (NXRRSET, RFC 2136 §2.4.3).
pub(super) fn demand_absent(message: &mut Message, name: Name, record_type: RecordType) {
    message.add_pre_requisite(empty(name, record_type, DNSClass::NONE));
}

/// Demands that `name` has records of any type (RFC 2136 §2.4.4).
pub(super) fn demand_in_use(message: &mut Message, name: Name) {
    let mut record = Record::update0(name, 0, WireType::ANY).into_record_of_rdata();
    record.dns_class = DNSClass::ANY;
    message.add_pre_requisite(record);
}

/// Demands exactly the expected set, every value of it and no other (RFC 2136 §2.4.2), or none.
fn demand(message: &mut Message, change: &Change) -> Result<(), DnsError> {
    let name = owner(&change.name)?;
    match &change.expected {
        None => demand_absent(message, name, change.record_type),
        Some(set) => {
            for value in &set.values {
                // The TTL must be 0; values alone are compared.
                message.add_pre_requisite(Record::from_rdata(name.clone(), 0, data(value)?));
            }
        }
    }
    Ok(())
}

fn empty(name: Name, record_type: RecordType, class: DNSClass) -> Record {
    let mut record = Record::update0(name, 0, wire_type(record_type)).into_record_of_rdata();
    record.dns_class = class;
    record
}

/// The name as it stands in messages.
pub(super) fn owner(name: &str) -> Result<Name, DnsError> {
    dns_wire::name(name).ok_or_else(|| DnsError::BadName {
        name: name.to_owned(),
    })
}

/// The type as it stands in messages.
pub(super) fn wire_type(record_type: RecordType) -> WireType {
    match record_type {
        RecordType::A => WireType::A,
        RecordType::Aaaa => WireType::AAAA,
        RecordType::Cname => WireType::CNAME,
        RecordType::Txt => WireType::TXT,
    }
}

/// The records of `name` and `record_type` in an answer. Others, as those that an alias leads to,
/// are left out.
pub(super) fn record_set(
    answers: &[Record],
    name: &Name,
    record_type: RecordType,
) -> Option<RecordSet> {
    let records = || {
        answers.iter().filter(|record| {
            record.dns_class == DNSClass::IN
                && record.record_type() == wire_type(record_type)
                && record.name == *name
        })
    };
    let values: BTreeSet<RecordValue> =
        records().filter_map(|record| value(&record.data)).collect();
    // All TTLs of a set are the same; if not, the lowest counts (RFC 2181 §5.2).
    let ttl = records().map(|record| record.ttl).min()?;
    (!values.is_empty()).then_some(RecordSet {
        ttl: Some(ttl),
        values,
    })
}

fn data(value: &RecordValue) -> Result<RData, DnsError> {
    Ok(match value {
        RecordValue::A(address) => RData::A(A(*address)),
        RecordValue::Aaaa(address) => RData::AAAA(AAAA(*address)),
        RecordValue::Cname(target) => RData::CNAME(CNAME(owner(target)?)),
        RecordValue::Txt(strings) => {
            RData::TXT(TXT::from_bytes(strings.iter().map(Vec::as_slice).collect()))
        }
    })
}

fn value(data: &RData) -> Option<RecordValue> {
    match data {
        RData::A(address) => Some(RecordValue::A(address.0)),
        RData::AAAA(address) => Some(RecordValue::Aaaa(address.0)),
        RData::CNAME(target) => Some(RecordValue::Cname(dns_wire::text(&target.0))),
        RData::TXT(text) => Some(RecordValue::Txt(
            text.txt_data.iter().map(|string| string.to_vec()).collect(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_stand_before_additions_whatever_the_order_of_the_changes() {
        let change = |record_type, expected, desired| Change {
            name: "mta-sts.example.org".to_owned(),
            record_type,
            expected,
            desired,
        };
        let cname = RecordSet::one(300, RecordValue::Cname("front.example.net".to_owned()));
        let address = RecordSet::one(300, RecordValue::A([192, 0, 2, 1].into()));
        let changes = [
            change(RecordType::A, None, Some(address)),
            change(RecordType::Cname, Some(cname), None),
        ];
        let message = compare_and_swap(owner("example.org").unwrap(), &changes).unwrap();
        let shape = |records: &[Record]| {
            let mut shape = Vec::new();
            for record in records {
                shape.push((record.record_type(), record.dns_class, record.ttl));
            }
            shape
        };
        assert_eq!(
            shape(message.prerequisites()),
            [
                (WireType::A, DNSClass::NONE, 0),
                (WireType::CNAME, DNSClass::IN, 0)
            ]
        );
        assert_eq!(
            shape(message.updates()),
            [
                (WireType::CNAME, DNSClass::ANY, 0),
                (WireType::A, DNSClass::IN, 300)
            ]
        );
    }

    #[test]
    fn every_value_survives_the_way_to_the_wire_and_back() {
        let name = owner("host.example.org").unwrap();
        for value_given in [
            RecordValue::A([192, 0, 2, 1].into()),
            RecordValue::Aaaa("2001:db8::1".parse().unwrap()),
            RecordValue::Cname("front.example.net".to_owned()),
            RecordValue::txt("v=STSv1; id=1;"),
            RecordValue::txt(""),
            RecordValue::txt(&"x".repeat(600)),
            RecordValue::Txt(vec![b"a\"b\\c;".to_vec(), vec![0, 0xff, b'\n']]),
        ] {
            let record = Record::from_rdata(name.clone(), 60, data(&value_given).unwrap());
            let set = record_set(&[record], &name, value_given.record_type()).unwrap();
            assert_eq!(set, RecordSet::one(60, value_given));
        }
    }

    #[test]
    fn records_of_other_names_and_types_are_left_out() {
        let name = owner("host.example.org").unwrap();
        let other = owner("other.example.org").unwrap();
        let text = || data(&RecordValue::txt("text")).unwrap();
        let records = [
            Record::from_rdata(other, 60, text()),
            Record::from_rdata(name.clone(), 60, RData::A(A([192, 0, 2, 1].into()))),
        ];
        assert_eq!(record_set(&records, &name, RecordType::Txt), None);
    }
}
