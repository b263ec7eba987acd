//! The record `_smtp._tls.<domain>`: looking at it, and bringing it to what the spec asks for. It has
//! no part in the order of a publication. (io)

use super::accept::Accepted;
use super::context::Context;
use super::dns::View;
use super::error::{Error, ProviderError};
use super::hold::provider_hold;
use super::observe::{self, DnsSeen};
use super::own_dns::{Led, Own};
use super::records::Stored;
use super::report::{Hold, Report};
use crate::api::condition::Reason;
use crate::dns::Swap;
use crate::lifecycle::observation::printable;
use crate::lifecycle::tls_rpt::{TlsRptSet, TlsRptStep, step};
use crate::lifecycle::{Record, TlsRptAnswer};
use crate::limits;
use crate::probe::dns::{LookupError, RecordData, RecordType, ServerAnswer};
use crate::protocol::{Domain, Mode};

/// What was found out about the record.
#[derive(Clone, Debug)]
pub(super) struct TlsRptReport {
    /// Its name.
    pub(super) name: String,
    /// What the spec asks for.
    pub(super) wanted: String,
    /// How far it is.
    pub(super) state: TlsRptState,
    /// What each authoritative server shows, or why it does not.
    pub(super) servers: Vec<(String, String)>,
    /// Where it leads, where that is to be to the operator's own name servers.
    pub(super) own: Option<OwnReport>,
}

/// What the owner of the domain sets for it, and where it leads by now.
#[derive(Clone, Debug)]
pub(super) struct OwnReport {
    /// Name, type and value.
    pub(super) record: (String, &'static str, String),
    /// Where it leads.
    pub(super) led: Led,
    /// Where the TXT record itself is asked for.
    pub(super) asked: String,
}

/// How far the record is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TlsRptState {
    /// Every authoritative server shows it.
    Published,
    /// Not yet at these servers.
    Differs(Vec<String>),
    /// Nobody could be asked.
    Unknown(String),
    /// Somebody else's record stands there.
    Foreign(String),
    /// It has to be set by hand.
    Manual,
    /// Something keeps it from being written.
    Held(Reason, String),
}

/// What the authoritative servers show.
struct Servers {
    answers: Vec<(String, Result<TlsRptSet, String>)>,
    /// What the name is an alias of.
    alias: Option<String>,
}

/// Looks at the record, and does what is due; `true` if something was written.
pub(super) async fn settle(
    context: &Context,
    accepted: &Accepted,
    (stored, record): (&Stored, &Record),
    dns: &DnsSeen,
    report: &mut Report,
) -> Result<bool, Error> {
    let desired = &accepted.desired;
    let notes = &record.publication.dns.tls_rpt;
    let wanted = desired.tls_rpt.as_ref().map(|record| record.render());
    let name = desired.domain.tlsrpt_record_name();
    // Who enforces should hear of failures, whoever has set the record.
    if wanted.is_none() && notes.is_empty() && record.publication.current.mode == Mode::Enforce {
        let asked = context.dns.ask_all(&name, RecordType::Txt).await;
        report.tls_reports_asked = Servers::of(asked, &name).shown_anywhere();
    }
    if let Some(own) = &dns.own {
        return settle_own(context, accepted, (stored, record), own, report).await;
    }
    if wanted.is_none() && notes.is_empty() {
        return Ok(false);
    }
    let servers = Servers::of(context.dns.ask_all(&name, RecordType::Txt).await, &name);
    let held = match held(report, dns, &servers) {
        Some(held) => Some(held),
        None if desired.suspend => None,
        None => match write(context, accepted, (stored, record), dns).await? {
            Written::Yes => return Ok(true),
            Written::Not(why) => why,
        },
    };
    report.tls_rpt = wanted.map(|wanted| TlsRptReport {
        state: held.unwrap_or_else(|| shown(&servers, &wanted, dns.provider.is_none())),
        servers: servers.told(),
        name,
        wanted,
        own: None,
    });
    Ok(false)
}

/// The same where the operator's own name servers answer: what they say is written into the record, and
/// the owner of the domain leads the name to them.
async fn settle_own(
    context: &Context,
    accepted: &Accepted,
    (stored, record): (&Stored, &Record),
    own: &Own,
    report: &mut Report,
) -> Result<bool, Error> {
    let desired = &accepted.desired;
    let text = desired.tls_rpt.as_ref().map(|record| record.render());
    let answer = text.clone().map(|text| TlsRptAnswer {
        text,
        ttl: desired.ttl,
    });
    let answers = record.publication.dns.answers.as_ref();
    let differs = answers.is_some_and(|a| a.zone == own.zone.zone && a.tls_rpt != answer);
    if differs && !desired.suspend {
        let mut written = record.clone();
        if let Some(answers) = &mut written.publication.dns.answers {
            answers.tls_rpt = answer;
        }
        context.permit()?;
        context.records.write(Some(stored), &written).await?;
        return Ok(true);
    }
    let Some(wanted) = text else {
        return Ok(false);
    };
    let name = desired.domain.tlsrpt_record_name();
    let led = own.tls_rpt_led(context).await;
    let asked = own.tls_rpt_name(&led);
    let end = observe::end_of_aliases(context, &name, RecordType::Txt).await;
    let mut servers = Servers::of(end.map(|(_, servers)| servers), &name);
    if led.is_here() {
        let each = observe::each_of_ours(context, &asked, RecordType::Txt).await;
        servers
            .answers
            .extend(Servers::of(Ok(each), &asked).answers);
    }
    report.tls_rpt = Some(TlsRptReport {
        state: shown(&servers, &wanted, !led.is_here()),
        servers: servers.told(),
        name,
        wanted,
        own: Some(OwnReport {
            record: own.tls_rpt_record(),
            led,
            asked,
        }),
    });
    Ok(false)
}

impl Servers {
    /// Whether any server shows a record; `None` where none could be asked.
    fn shown_anywhere(&self) -> Option<bool> {
        let mut answers = self.answers.iter().filter_map(|(_, set)| set.as_ref().ok());
        let first = answers.next()?;
        Some(answers.chain([first]).any(|set| !set.records.is_empty()))
    }

    fn of(asked: Result<Vec<ServerAnswer>, LookupError>, name: &str) -> Self {
        let asked = match asked {
            Ok(asked) => asked,
            Err(error) => {
                return Self {
                    answers: vec![(name.to_owned(), Err(error.to_string()))],
                    alias: None,
                };
            }
        };
        let mut alias = None;
        let answers = asked
            .into_iter()
            .map(|server| {
                let answer = server.result.map_err(|error| error.to_string());
                let set = answer.map(|answer| {
                    alias = alias
                        .take()
                        .or(answer.chain.last().map(|a| a.target.clone()));
                    let texts = answer.records.iter().filter_map(RecordData::txt_octets);
                    TlsRptSet::classify(texts, Some(answer.ttl))
                });
                (server.server.address.to_string(), set)
            })
            .collect();
        Self { answers, alias }
    }

    fn told(&self) -> Vec<(String, String)> {
        let shown = |set: &TlsRptSet| match set.records.is_empty() {
            true => "no TLS-RPT record".to_owned(),
            false => {
                let records: Vec<&str> = set.records.iter().map(String::as_str).collect();
                records.join(" | ")
            }
        };
        let answers = self.answers.iter().take(limits::DNS_SERVERS);
        answers
            .map(|(address, answer)| {
                let told = answer.as_ref().map_or_else(Clone::clone, shown);
                (address.clone(), told)
            })
            .collect()
    }
}

/// What keeps the record from being written, whatever is due.
fn held(report: &Report, dns: &DnsSeen, servers: &Servers) -> Option<TlsRptState> {
    let of = |hold: Hold| match hold {
        Hold::Provider {
            reason, message, ..
        } => Some(TlsRptState::Held(reason, message)),
        _ => None,
    };
    if let (Some(alias), true) = (&servers.alias, dns.provider.is_some()) {
        return Some(TlsRptState::Foreign(format!("an alias (CNAME) of {alias}")));
    }
    match (&report.hold, &dns.provider) {
        (Some(Hold::WildcardShadowed(_)), _) => Some(TlsRptState::Held(
            Reason::WildcardShadowed,
            "the record would hide the wildcard that the domain's MX comes from: see DnsPublished"
                .to_owned(),
        )),
        (_, Some(Err(error))) => of(provider_hold(error)),
        _ => None,
    }
}

/// How a look at what is due ended.
enum Written {
    Yes,
    /// Nothing was due, or this keeps it from being done.
    Not(Option<TlsRptState>),
}

async fn write(
    context: &Context,
    accepted: &Accepted,
    (stored, record): (&Stored, &Record),
    dns: &DnsSeen,
) -> Result<Written, Error> {
    let desired = &accepted.desired;
    let Some(Ok(view)) = &dns.provider else {
        return Ok(Written::Not(None));
    };
    let failed = |error: &ProviderError| match provider_hold(error) {
        Hold::Provider {
            reason, message, ..
        } => Written::Not(Some(TlsRptState::Held(reason, message))),
        _ => Written::Not(None),
    };
    let name = desired.domain.tlsrpt_record_name();
    let place = match view.txt_at(context, &name).await {
        Ok(Some(place)) => place,
        Ok(None) => return Ok(Written::Not(None)),
        Err(error) => return Ok(failed(&error)),
    };
    let notes = &record.publication.dns.tls_rpt;
    let wanted = desired.tls_rpt.as_ref().map(|record| record.render());
    let ttl = view.ttl(desired.ttl);
    match step(
        wanted.as_deref(),
        ttl,
        desired.adopt,
        notes,
        &place.tls_rpt(),
    ) {
        TlsRptStep::Done => Ok(Written::Not(None)),
        TlsRptStep::Foreign(found) => {
            let found = printable(found.as_bytes());
            Ok(Written::Not(Some(TlsRptState::Foreign(found))))
        }
        TlsRptStep::Note(notes) => {
            let mut noted = record.clone();
            noted.publication.dns.tls_rpt = notes;
            context.permit()?;
            context.records.write(Some(stored), &noted).await?;
            Ok(Written::Yes)
        }
        TlsRptStep::Write(text) => {
            let replaced = |text: &str| notes.has(text) || (desired.adopt && wanted.is_some());
            let written = place.write_tls_rpt(context, text.as_deref(), replaced, ttl);
            match written.await? {
                Ok(Swap::Done | Swap::Conflict) => Ok(Written::Yes),
                Err(error) => Ok(failed(&error)),
            }
        }
    }
}

fn shown(servers: &Servers, wanted: &str, manual: bool) -> TlsRptState {
    let known = servers.answers.iter().filter_map(|(address, answer)| {
        let set = answer.as_ref().ok()?;
        Some((address, set.shows_exactly(wanted)))
    });
    let known: Vec<_> = known.collect();
    let differ = known.iter().filter(|(_, shows)| !shows);
    let differ: Vec<String> = differ.map(|(address, _)| (*address).clone()).collect();
    match (known.is_empty(), differ.is_empty()) {
        (true, _) => {
            let why = servers.answers.iter().find_map(|(_, a)| a.as_ref().err());
            TlsRptState::Unknown(why.cloned().unwrap_or_default())
        }
        (false, true) => TlsRptState::Published,
        (false, false) if manual => TlsRptState::Manual,
        (false, false) => TlsRptState::Differs(differ),
    }
}

/// Takes the record of a retiring domain away, as far as it is ours. What cannot be taken away is told
/// in the log: it harms no mail.
pub(super) async fn remove(context: &Context, record: &Record, view: &View) -> Result<(), Error> {
    let publication = &record.publication;
    let (domain, notes): (&Domain, _) = (&publication.domain, &publication.dns.tls_rpt);
    if notes.is_empty() {
        return Ok(());
    }
    let left = |why: String| {
        tracing::warn!(%domain, why, "the record _smtp._tls of a retired domain is left behind: remove it by hand");
    };
    match view.txt_at(context, &domain.tlsrpt_record_name()).await {
        Ok(Some(place)) if place.tls_rpt().records.iter().any(|text| notes.has(text)) => {
            let replaced = |text: &str| notes.has(text);
            let ttl = limits::RETIRED_TTL;
            match place.write_tls_rpt(context, None, replaced, ttl).await? {
                Ok(Swap::Done) => {}
                Ok(Swap::Conflict) => left("somebody else is changing it".to_owned()),
                Err(error) => left(error.to_string()),
            }
        }
        Ok(_) => {}
        Err(error) => left(error.to_string()),
    }
    Ok(())
}
