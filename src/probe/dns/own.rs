//! What stands under a name itself, as the servers of its zone show it.

use std::collections::BTreeSet;

use super::{DnsProbe, LookupError, RecordData, RecordType, wildcard::random_label};

/// The records of one type that stand under a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnRecords {
    /// What any server shows; never empty.
    pub records: BTreeSet<RecordData>,
    /// The largest TTL in seconds.
    pub ttl: u32,
}

impl DnsProbe {
    /// The records under this very name, or `None`: neither what an alias leads to, nor what a
    /// wildcard answers in its place. Fails if no server answers.
    pub async fn own_records(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<Option<OwnRecords>, LookupError> {
        let Some(own) = self.at_any_server(name, record_type).await? else {
            return Ok(None);
        };
        let Some((_, parent)) = name.trim_end_matches('.').split_once('.') else {
            return Ok(Some(own));
        };
        // A wildcard gives a name that nobody has the same.
        let neighbour = format!("{}.{parent}", random_label()?);
        let made_up = self.at_any_server(&neighbour, record_type).await?;
        Ok(match made_up {
            Some(made_up) if made_up.records == own.records => None,
            _ => Some(own),
        })
    }

    async fn at_any_server(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<Option<OwnRecords>, LookupError> {
        let (mut records, mut ttl, mut answered, mut failed) = (BTreeSet::new(), 0, false, None);
        for server in self.ask_all(name, record_type).await? {
            match server.result {
                Ok(answer) if answer.chain.is_empty() || record_type == RecordType::Cname => {
                    answered = true;
                    ttl = ttl.max(answer.ttl);
                    records.extend(answer.records);
                }
                Ok(_) => answered = true,
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if !answered => Err(error),
            _ => Ok((!records.is_empty()).then_some(OwnRecords { records, ttl })),
        }
    }
}
