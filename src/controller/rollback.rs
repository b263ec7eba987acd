//! Whether senders refuse mail by an enforced policy, seen well enough to take it back. (io)
//!
//! A forged answer must not switch the protection off: the MX host in question has to be named by every
//! authoritative server of the domain that answers, and by every resolver that does.

use futures::future::join;

use super::context::Context;
use crate::lifecycle::Record;
use crate::lifecycle::guard::{Held, LiveMx, refused};
use crate::probe::dns::{LookupError, RecordData, RecordType, ServerAnswer};
use crate::protocol::{Domain, HostName, Mode, Policy};

/// What senders refuse by the policy that is announced, in words; `None` where they do not, or where
/// that is not proved.
pub(super) async fn proved(context: &Context, record: &Record, live: &LiveMx) -> Option<String> {
    let publication = &record.publication;
    let current = &publication.current;
    let announced = publication.announced.as_ref();
    if current.mode != Mode::Enforce || announced.is_none_or(|it| it.id != current.id) {
        return None;
    }
    let policy = Policy {
        mode: current.mode,
        max_age: current.max_age,
        mx: current.mx.clone(),
    };
    let (host, why) = match refused(&policy, live)? {
        Held::Uncovered(hosts) => (
            hosts.into_iter().next()?,
            "no pattern matches it".to_owned(),
        ),
        Held::TlsFails(host, why) => (host, why),
        Held::MxUnknown(_) => return None,
    };
    let is_live = is_live(context, &publication.domain, &host).await;
    is_live.then(|| format!("the live MX {host}: {why}"))
}

/// Whether all who can be asked, on both sides, say that `host` takes the domain's mail.
async fn is_live(context: &Context, domain: &Domain, host: &HostName) -> bool {
    let name = domain.as_str();
    let (authorities, resolvers) = join(
        context.dns.ask_authorities(name, RecordType::Mx),
        context.dns.ask_resolvers(name, RecordType::Mx),
    )
    .await;
    shown_by_all(domain, host, authorities) && shown_by_all(domain, host, resolvers)
}

/// Whether somebody answers, and everybody who does names the host. A domain without MX records takes
/// its mail itself (RFC 5321 §5.1). (pure)
fn shown_by_all(
    domain: &Domain,
    host: &HostName,
    answers: Result<Vec<ServerAnswer>, LookupError>,
) -> bool {
    let answers = answers.unwrap_or_default();
    let mut answered = answers
        .iter()
        .filter_map(|server| server.result.as_ref().ok())
        .peekable();
    let names = |data: &RecordData| match data {
        RecordData::Mx { exchange, .. } => {
            HostName::parse_any_case(exchange).is_ok_and(|exchange| exchange == *host)
        }
        _ => false,
    };
    answered.peek().is_some()
        && answered.all(|answer| match answer.records.is_empty() {
            true => host.as_str() == domain.as_str(),
            false => answer.records.iter().any(names),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::dns::{Answer, Existence, NameServer};

    fn says(hosts: &[&str]) -> ServerAnswer {
        let records = hosts.iter().map(|host| RecordData::Mx {
            preference: 10,
            exchange: (*host).to_owned(),
        });
        ServerAnswer {
            server: server(),
            result: Ok(Answer {
                name: "example.org".to_owned(),
                records: records.collect(),
                ttl: 300,
                chain: Vec::new(),
                authoritative: true,
                existence: Existence::Found,
                negative_ttl: None,
            }),
        }
    }

    fn server() -> NameServer {
        NameServer {
            name: "ns.example.org".to_owned(),
            address: "192.0.2.53:53".parse().unwrap(),
            configured: false,
        }
    }

    fn silent() -> ServerAnswer {
        ServerAnswer {
            server: server(),
            result: Err(LookupError::ChainTooLong {
                name: "example.org".to_owned(),
                limit: 8,
            }),
        }
    }

    #[test]
    fn one_who_does_not_name_the_host_is_enough_against_it() {
        let domain = Domain::parse("example.org").unwrap();
        let shown = |host: &str, answers: Vec<ServerAnswer>| {
            let host = HostName::parse(host).unwrap();
            shown_by_all(&domain, &host, Ok(answers))
        };
        const MX: &str = "mx.example.org";
        for (case, host, answers, expected) in [
            (
                "all",
                MX,
                vec![says(&[MX]), says(&["b.example.org", "MX.example.org"])],
                true,
            ),
            (
                "one says otherwise",
                MX,
                vec![says(&[MX]), says(&["b.example.org"])],
                false,
            ),
            ("one says nothing", MX, vec![says(&[MX]), silent()], true),
            ("nobody answers", MX, vec![silent()], false),
            ("nobody is asked", MX, vec![], false),
            ("no MX at all", MX, vec![says(&[])], false),
            ("the domain itself", "example.org", vec![says(&[])], true),
        ] {
            assert_eq!(shown(host, answers), expected, "{case}");
        }
        let host = HostName::parse(MX).unwrap();
        assert!(!shown_by_all(
            &domain,
            &host,
            Err(LookupError::ChainTooLong {
                name: String::new(),
                limit: 8,
            })
        ));
    }
}
