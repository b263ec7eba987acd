//! A mail exchanger asked once more: without SNI, and for what DANE says of it.

use super::dane::{self, Tlsa};
use super::dns::{RecordData, RecordType};
use super::mx::{MxProbe, SMTP};
use super::smtp::{SmtpRequest, shown};
use super::tls::{HandshakeFailure, TlsProblem, judge};
use crate::diagnosis::live::{DaneSeen, MxAround, MxHostSeen, SmtpSeen, TlsFault, TlsSeen};
use crate::protocol::HostName;

impl MxProbe<'_> {
    /// Looks once more at a mail exchanger that spoke TLS. `dane` says that the MX records are
    /// vouched for by DNSSEC, and that resolvers are believed when they say so.
    pub async fn around(&self, seen: &MxHostSeen, dane: bool) -> MxAround {
        let (mut without_sni, mut found) = (None, DaneSeen::None);
        if let (SmtpSeen::Tls(tls), Ok(host)) = (&seen.smtp, HostName::parse_any_case(&seen.host))
            && let Some(request) = self.again(&host, seen)
        {
            if tls.faults.is_empty() {
                without_sni = self.without_sni(&request).await;
            }
            if dane {
                found = self.dane(&request).await.unwrap_or_default();
            }
        }
        MxAround {
            host: seen.host.clone(),
            without_sni,
            dane: found,
        }
    }

    /// The request to the first address that may be dialled, which is the one that answered first.
    fn again(&self, host: &HostName, seen: &MxHostSeen) -> Option<SmtpRequest> {
        let addresses = seen.addresses.as_ref().ok()?;
        let mut dialled = addresses
            .iter()
            .map(|it| self.reach.dialled(host, *it, SMTP));
        let to = dialled.find_map(Result::ok)?;
        Some(self.request(host, to))
    }

    async fn without_sni(&self, request: &SmtpRequest) -> Option<TlsSeen> {
        match shown(request, false).await? {
            (_, Some(chain)) => {
                let verdict = judge(&chain, &request.host, self.trust, request.now);
                Some((&verdict).into())
            }
            // It may as well have been tired of being asked.
            (Some(TlsProblem::Handshake(HandshakeFailure::Tls(error))), None) => Some(TlsSeen {
                faults: vec![TlsFault::Handshake(error.to_string())],
                validity: None,
            }),
            (_, None) => None,
        }
    }

    async fn dane(&self, request: &SmtpRequest) -> Option<DaneSeen> {
        let host = &request.host;
        let name = format!("_{SMTP}._tcp.{host}");
        let (answer, secure) = self
            .reach
            .dns
            .validated(&name, RecordType::Tlsa)
            .await
            .ok()?;
        if !secure || answer.records.is_empty() || !self.has_secure_address(host).await {
            return None;
        }
        let records = answer.records.iter().filter_map(tlsa);
        let (usable, others): (Vec<Tlsa>, Vec<Tlsa>) = records.partition(Tlsa::is_usable);
        let texts = |records: &[Tlsa]| records.iter().map(ToString::to_string).collect();
        if usable.is_empty() {
            return Some(DaneSeen::Unusable(texts(&others)));
        }
        let Some((_, Some(chain))) = shown(request, true).await else {
            return Some(DaneSeen::NotCompared);
        };
        Some(DaneSeen::Usable {
            records: texts(&usable),
            matches: dane::matches(&usable, &chain, host, request.now),
        })
    }

    /// RFC 7672 §2.2.2: without it, DANE does not apply.
    async fn has_secure_address(&self, host: &HostName) -> bool {
        for record_type in [RecordType::A, RecordType::Aaaa] {
            let answer = self.reach.dns.validated(host.as_str(), record_type).await;
            if matches!(answer, Ok((answer, true)) if !answer.records.is_empty()) {
                return true;
            }
        }
        false
    }
}

fn tlsa(record: &RecordData) -> Option<Tlsa> {
    match record {
        RecordData::Tlsa {
            usage,
            selector,
            matching,
            data,
        } => Some(Tlsa {
            usage: *usage,
            selector: *selector,
            matching: *matching,
            data: data.clone(),
        }),
        _ => None,
    }
}
