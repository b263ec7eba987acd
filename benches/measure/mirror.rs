//! Answers DNS queries for a zone with what a service lists that has no name servers of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::support::ports::{free_port, loopback};

/// What the service lists at a name of a type: contents and TTLs. TXT are in quotes.
pub type Listed = Box<dyn Fn(&str, &str) -> Vec<(String, u32)> + Send + Sync>;

/// A name server that is one only in name.
pub struct Mirror {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Answers for `zone` until it is dropped.
    pub async fn of(zone: &str, listed: Listed) -> Self {
        let address = loopback(free_port());
        let socket = Arc::new(UdpSocket::bind(address).await.unwrap());
        let (zone, listed) = (
            Name::from_ascii(format!("{zone}.")).unwrap(),
            Arc::new(listed),
        );
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let Ok(query) = Message::from_vec(&buffer[..length]) else {
                    continue;
                };
                let (zone, listed, socket) = (zone.clone(), listed.clone(), socket.clone());
                tokio::spawn(async move {
                    // The service is asked by a blocking call.
                    let answer =
                        tokio::task::spawn_blocking(move || answer(&query, &zone, &listed));
                    let octets = answer.await.unwrap().to_vec().unwrap();
                    let _ = socket.send_to(&octets, client).await;
                });
            }
        });
        Self { address, task }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(query: &Message, zone: &Name, listed: &Listed) -> Message {
    let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    answer.queries.clone_from(&query.queries);
    answer.metadata.authoritative = true;
    let Some(question) = query.queries.first().filter(|q| zone.zone_of(&q.name)) else {
        answer.metadata.response_code = ResponseCode::Refused;
        return answer;
    };
    let (name, kind) = (&question.name, question.query_type);
    let server = Name::from_ascii("ns.invalid.").unwrap();
    let soa = SOA::new(server.clone(), server, 1, 3600, 600, 86_400, 1);
    let soa = Record::from_rdata(zone.clone(), 1, RData::SOA(soa));
    if kind == RecordType::SOA && name == zone {
        answer.answers.push(soa);
        return answer;
    }
    if matches!(kind, RecordType::TXT | RecordType::A) {
        let plain = name.to_lowercase().to_ascii();
        for (content, ttl) in listed(plain.trim_end_matches('.'), &kind.to_string()) {
            let data = match kind {
                RecordType::TXT => RData::TXT(TXT::new(vec![content.trim_matches('"').to_owned()])),
                _ => RData::A(A(content.parse().unwrap())),
            };
            answer
                .answers
                .push(Record::from_rdata(name.clone(), ttl, data));
        }
    }
    if answer.answers.is_empty() {
        answer.add_authority(soa);
    }
    answer
}
