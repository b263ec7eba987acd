//! The flow of one `MtaStsPolicy`: read → decide → write → status, one step at a time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource, ResourceExt};

use super::accept::{Accepted, Rejected, accept};
use super::caches::GuardedPolicy;
use super::context::Context;
use super::dns::View;
use super::error::{Error, ErrorClass, ProviderError};
use super::observe::{self, DnsSeen, MxSeen};
use super::records::{Content, Stored};
use super::{events, finalize, ingress, status};
use crate::api::MtaStsPolicy;
use crate::api::condition::Reason;
use crate::clock;
use crate::diagnosis::Finding;
use crate::dns::{DnsErrorClass, Swap};
use crate::lifecycle::address::{AddressStep, address_step};
use crate::lifecycle::decide::{Adopted, Cause, Decided, Edited, Input, decide};
use crate::lifecycle::desired::AddressWish;
use crate::lifecycle::publish::{
    self, AddressState, Observation, Progress, Served, Step, printable,
};
use crate::lifecycle::txt::TxtSet;
use crate::lifecycle::{Address, Publication, Record};
use crate::limits;
use crate::protocol::{Domain, StsRecord};

/// What a reconcile found out: everything that the status tells.
#[derive(Default)]
pub(super) struct Report {
    pub(super) domain: Option<Domain>,
    pub(super) rejected: Option<Rejected>,
    pub(super) suspended: bool,
    pub(super) manual: bool,
    pub(super) spec_findings: Vec<Finding>,
    pub(super) record: Option<Record>,
    pub(super) seen: Option<Observation>,
    pub(super) progress: Option<Progress>,
    pub(super) mx: Option<MxSeen>,
    pub(super) txt_name: Option<String>,
    pub(super) wanted_addresses: Vec<Address>,
    pub(super) ttl: u32,
    pub(super) ingress_refused: Option<String>,
    pub(super) rival: Option<String>,
    pub(super) hold: Option<Hold>,
}

/// What keeps the operator from writing to the DNS.
#[derive(Clone, Debug)]
pub(super) enum Hold {
    /// A TXT record that is not ours.
    Foreign(String),
    /// The domain's MX comes from a wildcard that a record would hide.
    WildcardShadowed(Vec<String>),
    /// The provider refused, failed or cannot be used.
    Provider {
        reason: Reason,
        message: String,
        /// Nothing changes until somebody acts.
        stalled: bool,
    },
    /// Somebody keeps changing the record.
    Drift(String),
}

/// How a pass ends.
enum Next {
    /// Something was written: look again at once.
    Again,
    /// Nothing to do for now.
    Wait(Duration),
}

/// Reconciles one object.
pub(super) async fn reconcile(
    object: Arc<GuardedPolicy>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    context.caches.complete().await;
    if object.meta().deletion_timestamp.is_some() {
        finalize::finish(&context, &object).await?;
        return Ok(Action::await_change());
    }
    let result = match &object.0 {
        Ok(policy) => publish(&context, policy).await,
        Err(invalid) => {
            let report = Report {
                rejected: Some(Rejected {
                    reason: Reason::InvalidSpec,
                    message: format!(
                        "the object cannot be read: {}; compare it with kubectl explain mtastspolicy.spec",
                        printable(invalid.error.as_bytes())
                    ),
                    findings: Vec::new(),
                }),
                ..Report::default()
            };
            status::write(&context, &*object, None, &report).await?;
            Ok(Action::requeue(Duration::from_secs(300)))
        }
    };
    context.metrics.reconciled(match &result {
        Ok(_) => "ok",
        Err(error) => error.label(),
    });
    result
}

/// What to do after a reconcile that failed.
pub(super) fn error_policy(object: Arc<GuardedPolicy>, error: &Error, _: Arc<Context>) -> Action {
    let after = match error.class() {
        ErrorClass::Again => Duration::from_millis(200),
        ErrorClass::Retry => Duration::from_secs(5),
    };
    tracing::warn!(
        %error,
        namespace = object.namespace().unwrap_or_default(),
        name = object.name_any(),
        "a reconcile failed and is tried again"
    );
    Action::requeue(after)
}

async fn publish(context: &Context, policy: &MtaStsPolicy) -> Result<Action, Error> {
    let accepted = match accept(context, policy) {
        Ok(accepted) => accepted,
        Err(rejected) => return reject(context, policy, rejected).await,
    };
    let _lock = context.locks.lock(&accepted.desired.domain).await;
    if !accepted.desired.suspend {
        finalize::add(context, policy).await?;
    }
    let mut known = policy.status.clone();
    for _ in 0..limits::RECONCILE_PASSES {
        match pass(context, policy, &accepted).await? {
            (None, Next::Again) => {}
            (report, next) => {
                let report = report.unwrap_or_default();
                known = status::write(context, policy, known.as_ref(), &report).await?;
                if let Next::Wait(after) = next {
                    return Ok(Action::requeue(after));
                }
            }
        }
    }
    Ok(Action::requeue(Duration::from_millis(200)))
}

async fn reject(
    context: &Context,
    policy: &MtaStsPolicy,
    rejected: Rejected,
) -> Result<Action, Error> {
    let domain = Domain::parse(&policy.spec.domain).ok();
    // Another object's record is not shown as if it were this one's.
    let report = Report {
        spec_findings: rejected.findings.clone(),
        domain,
        rejected: Some(rejected),
        ..Report::default()
    };
    status::write(context, policy, policy.status.as_ref(), &report).await?;
    let since = policy.status.as_ref().and_then(|status| {
        let accepted = status.conditions.iter().find(|c| c.type_ == "Accepted")?;
        Some(accepted.last_transition_time)
    });
    Ok(Action::requeue(back_off(since, Duration::from_secs(60))))
}

/// The longer something lasts, the more seldom it is looked at: a quarter of its age, from one
/// second up to `most`.
fn back_off(since: Option<Timestamp>, most: Duration) -> Duration {
    let age = since.map_or(Duration::ZERO, |since| {
        Duration::try_from(clock::now().duration_since(since)).unwrap_or_default()
    });
    (age / 4).clamp(Duration::from_secs(1), most)
}

/// One pass. A report comes with it once everything was looked at.
async fn pass(
    context: &Context,
    policy: &MtaStsPolicy,
    accepted: &Accepted,
) -> Result<(Option<Report>, Next), Error> {
    let domain = &accepted.desired.domain;
    // read
    let stored = context.records.read(domain).await?;
    if let Some(rejected) = owned_by_another(stored.as_ref(), accepted) {
        reject(context, policy, rejected).await?;
        return Ok((None, Next::Wait(Duration::from_secs(5))));
    }
    let dns = observe::dns_seen(context, accepted).await;
    if accepted.desired.suspend && stored.as_ref().and_then(Stored::record).is_none() {
        return Ok((
            Some(suspended(accepted, &dns)),
            Next::Wait(context.settings.probe_interval()),
        ));
    }
    let adoption = adoption(context, accepted, stored.as_ref(), &dns).await;
    // decide
    let decided = decided(context, policy, accepted, stored, &dns, &adoption).await?;
    let Some((stored, record)) = decided else {
        return Ok((None, Next::Again));
    };
    let mut report = Report {
        domain: Some(domain.clone()),
        suspended: accepted.desired.suspend,
        manual: accepted.provider.is_none(),
        spec_findings: accepted.findings.clone(),
        txt_name: Some(dns.txt_name.clone()),
        ttl: accepted.desired.ttl,
        rival: ingress::rival(context, domain),
        ..Report::default()
    };
    if let (Some(chosen), false) = (&accepted.ingress, accepted.desired.suspend) {
        report.ingress_refused = ingress::ensure(context, domain, chosen).await?.err();
    }
    report.wanted_addresses = wanted_addresses(context, accepted);
    report.hold = hold(context, accepted, &record, &dns, &adoption).await;
    let address = match address(context, accepted, &stored, &record, &dns, &report).await? {
        AddressOutcome::State(state) => state,
        AddressOutcome::Wrote => return Ok((None, Next::Again)),
        AddressOutcome::Failed(error) => {
            report.hold = Some(provider_hold(&error));
            AddressState::Pending(error.to_string())
        }
    };
    let seen = observe::world(context, accepted, &record, &dns, address).await;
    let now = clock::now();
    let progress = publish::progress(&record, &seen, now);
    note_fresh(context, &record, &progress, now);
    report.mx = Some(dns.mx.clone());
    let step = Due {
        context,
        policy,
        accepted,
        stored: &stored,
        record: &record,
        dns: &dns,
        progress: &progress,
        seen: &seen,
    };
    // write
    let next = step.carry_out(&mut report).await?;
    report.record = Some(record);
    report.seen = Some(seen);
    report.progress = Some(progress);
    Ok((Some(report), next))
}

/// What there is to tell of an object that is suspended and has no record to be left as it is.
fn suspended(accepted: &Accepted, dns: &DnsSeen) -> Report {
    Report {
        domain: Some(accepted.desired.domain.clone()),
        suspended: true,
        manual: accepted.provider.is_none(),
        spec_findings: accepted.findings.clone(),
        mx: Some(dns.mx.clone()),
        ttl: accepted.desired.ttl,
        ..Report::default()
    }
}

/// What is known of the policy that stands in the place of ours, where it is to be taken over.
enum Adoption {
    /// There is none, or it is known already.
    Nothing,
    /// This one.
    Found(Adopted),
    /// It could not be looked at, and senders may hold it.
    Unknown(String),
}

async fn adoption(
    context: &Context,
    accepted: &Accepted,
    stored: Option<&Stored>,
    dns: &DnsSeen,
) -> Adoption {
    let txt = dns.txt(context);
    let publication = stored.and_then(Stored::publication);
    let begun = publication.is_some_and(|p| p.announced.is_some());
    if !accepted.desired.adopt || begun || txt.foreign().is_empty() {
        return Adoption::Nothing;
    }
    match observe::adopted(context, &accepted.desired.domain, &txt).await {
        // Our own, once the policy host is ours.
        Ok(Some(live)) if publication.is_some_and(|p| p.current.sha256 == live.sha256) => {
            Adoption::Nothing
        }
        Ok(Some(live)) => Adoption::Found(live),
        Ok(None) => Adoption::Nothing,
        Err(_) if publication.is_some_and(|p| knows_all(p, &txt)) => Adoption::Nothing,
        Err(why) => Adoption::Unknown(why),
    }
}

/// Whether every foreign record's policy is in the ledger.
fn knows_all(publication: &Publication, txt: &TxtSet) -> bool {
    txt.foreign().iter().all(|text| {
        let id = StsRecord::parse(text).ok().map(|record| record.id);
        id.is_some_and(|id| publication.knows(&id))
    })
}

/// A rival may have made the record since the caches were looked at.
fn owned_by_another(stored: Option<&Stored>, accepted: &Accepted) -> Option<Rejected> {
    let publication = stored?.publication()?;
    let owner = &publication.owner;
    let mine = owner.namespace == accepted.owner.namespace && owner.name == accepted.owner.name;
    let free = publication.retiring.is_some();
    (!mine && !free).then(|| {
        let with = format!("{}/{}", owner.namespace, owner.name);
        super::accept::conflict(&accepted.desired.domain, &with, &publication.domain)
    })
}

/// Decides, and writes what was decided; `None` if something was written.
async fn decided(
    context: &Context,
    policy: &MtaStsPolicy,
    accepted: &Accepted,
    stored: Option<Stored>,
    dns: &DnsSeen,
    adoption: &Adoption,
) -> Result<Option<(Stored, Record)>, Error> {
    let desired = &accepted.desired;
    // Where an alias leads to another domain's record, its id is no sign of a loss of ours.
    let txt = match sharers(context, &desired.domain, &dns.txt_name).is_empty() {
        true => dns.txt(context),
        false => TxtSet::default(),
    };
    let adopted = match adoption {
        Adoption::Found(live) => Some(live),
        _ => None,
    };
    let edited = stored.as_ref().and_then(|stored| match &stored.content {
        Content::Edited(publication, body) => Some(Edited { publication, body }),
        _ => None,
    });
    let decision = decide(&Input {
        desired,
        owner: &accepted.owner,
        provider: accepted.provider.as_ref().map(|p| &p.key),
        installation: &context.installation,
        record: stored.as_ref().and_then(Stored::record),
        edited: edited.as_ref(),
        txt: Some(&txt),
        adopted,
        assume_max_age: accepted.assume_max_age,
        now: clock::now(),
    });
    let record = stored.as_ref().and_then(Stored::record).cloned();
    match (decision, stored, record) {
        (Decided::Keep, Some(stored), Some(record)) => Ok(Some((stored, record))),
        (_, Some(stored), Some(record)) if desired.suspend => Ok(Some((stored, record))),
        (Decided::Update(record), stored, _) => {
            context.permit()?;
            context.records.write(stored.as_ref(), &record).await?;
            Ok(None)
        }
        (Decided::New(record, cause), stored, _) => {
            context.permit()?;
            context.records.write(stored.as_ref(), &record).await?;
            tell_decision(context, policy, &record, cause).await;
            Ok(None)
        }
        (Decided::Keep, _, _) => Ok(None),
    }
}

async fn tell_decision(context: &Context, policy: &MtaStsPolicy, record: &Record, cause: Cause) {
    let current = &record.publication.current;
    tracing::info!(domain = %record.publication.domain, id = %current.id, ?cause, "decided a policy");
    let (type_, reason, why) = match cause {
        Cause::First | Cause::PolicyChanged => (EventType::Normal, "PolicyDecided", ""),
        Cause::RecordLost => (
            EventType::Warning,
            "RecordLost",
            ": DNS shows an id of this installation that the record does not know, so the worst is assumed of what senders hold",
        ),
        Cause::Edited => (
            EventType::Warning,
            "RecordEdited",
            ": the record was edited by hand",
        ),
    };
    let note = format!(
        "policy {} with mode {}{why}; its id follows once the body is out everywhere",
        current.id, current.mode
    );
    events::tell(context, policy, type_, reason, &note).await;
}

fn wanted_addresses(context: &Context, accepted: &Accepted) -> Vec<Address> {
    match &accepted.desired.address {
        AddressWish::FromIngress => ingress::reported_address(context, &accepted.desired.domain),
        wish => wish.addresses(),
    }
}

/// What keeps the operator from writing to the DNS, whatever is due.
async fn hold(
    context: &Context,
    accepted: &Accepted,
    record: &Record,
    dns: &DnsSeen,
    adoption: &Adoption,
) -> Option<Hold> {
    if let Some(provider) = &dns.provider {
        let held = provider_held(context, accepted, record, dns, provider);
        if held.is_some() {
            return held;
        }
    }
    if let Adoption::Unknown(why) = adoption {
        return Some(Hold::Provider {
            reason: Reason::WaitingForHost,
            message: format!(
                "before its record is taken over, the policy that is live must be read, since senders may hold it, and it cannot be: {why}; mend the policy host, or remove the TXT record by hand"
            ),
            stalled: false,
        });
    }
    let publication = &record.publication;
    let first_write = publication.announced.is_none() && publication.dns.addresses.is_empty();
    if !first_write {
        return None;
    }
    match observe::shadows_wildcard(context, &accepted.desired.domain).await {
        Ok(Some(mx)) => Some(Hold::WildcardShadowed(mx)),
        Ok(None) => None,
        Err(error) => Some(Hold::Provider {
            reason: Reason::LookupFailed,
            message: format!(
                "before the first write it must be known whether the domain's MX comes from a wildcard, and that could not be looked up: {error}"
            ),
            stalled: false,
        }),
    }
}

fn provider_held(
    context: &Context,
    accepted: &Accepted,
    record: &Record,
    dns: &DnsSeen,
    provider: &Result<View, ProviderError>,
) -> Option<Hold> {
    let domain = &accepted.desired.domain;
    let own_name = domain.sts_record_name();
    if let Some(why) = &dns.unknown {
        return Some(Hold::Provider {
            reason: Reason::LookupFailed,
            message: format!(
                "nothing is written before the name servers of {own_name} can be asked what stands there: {why}"
            ),
            stalled: false,
        });
    }
    let view = match provider {
        Ok(view) => view,
        Err(error) => return Some(alias_told(provider_hold(error), &own_name, &dns.txt_name)),
    };
    if let Some(rival) = shared_target(context, &record.publication, &view.txt_name) {
        return Some(Hold::Provider {
            reason: Reason::DomainConflict,
            message: format!(
                "{own_name} is an alias of {}, which is the place of the record of {rival}: give each domain a target of its own",
                view.txt_name
            ),
            stalled: true,
        });
    }
    let txt = view.txt(&context.installation);
    match txt.foreign().first() {
        Some(foreign) if !accepted.desired.adopt => Some(Hold::Foreign(printable(foreign))),
        _ => None,
    }
}

/// Says with the hold that it is about the target of an alias, where it is.
fn alias_told(hold: Hold, own_name: &str, txt_name: &str) -> Hold {
    match hold {
        Hold::Provider {
            reason,
            message,
            stalled,
        } if own_name != txt_name => Hold::Provider {
            reason,
            message: format!("{own_name} is an alias (CNAME) of {txt_name}: {message}"),
            stalled,
        },
        hold => hold,
    }
}

/// Other domains whose TXT record stands, or belongs, at `txt_name`.
pub(super) fn sharers(context: &Context, domain: &Domain, txt_name: &str) -> Vec<Publication> {
    let records = context.caches.records.state();
    let publications = records
        .iter()
        .filter_map(|object| super::records::cached_publication(object));
    publications
        .filter(|p| p.domain != *domain)
        .filter(|p| {
            p.dns.txt_name.as_deref() == Some(txt_name) || p.domain.sts_record_name() == txt_name
        })
        .collect()
}

/// The domain that keeps `txt_name` from this one. A name that is a domain's own is that
/// domain's, however early somebody else's alias came; among aliases the first one has it.
fn shared_target(context: &Context, publication: &Publication, txt_name: &str) -> Option<Domain> {
    let domain = &publication.domain;
    if domain.sts_record_name() == txt_name {
        return None;
    }
    let since = |p: &Publication| {
        let at = p.announced.as_ref().map_or(Timestamp::MAX, |a| a.at);
        (at, p.domain.to_string())
    };
    sharers(context, domain, txt_name)
        .into_iter()
        .find(|p| p.domain.sts_record_name() == txt_name || since(p) < since(publication))
        .map(|p| p.domain)
}

/// What a provider's error means for the condition.
pub(super) fn provider_hold(error: &ProviderError) -> Hold {
    use crate::dns::DnsError;
    let reason = match error {
        ProviderError::SecretMissing { .. }
        | ProviderError::SecretUnlabelled { .. }
        | ProviderError::SecretKeyMissing { .. }
        | ProviderError::SecretMalformed { .. }
        | ProviderError::Dns(DnsError::BadKey { .. } | DnsError::BadSignature { .. }) => {
            Reason::CredentialsInvalid
        }
        ProviderError::ServerPrivate { .. } | ProviderError::ZoneNotAllowed { .. } => {
            Reason::NotAllowed
        }
        ProviderError::Gone(_) => Reason::ProviderNotFound,
        ProviderError::Dns(DnsError::BadTime { .. }) => Reason::ClockSkew,
        ProviderError::Dns(
            DnsError::NoZone { .. }
            | DnsError::NotZone { .. }
            | DnsError::NotDelegatedHere { .. }
            | DnsError::NotAuthoritative { .. },
        ) => Reason::NotDelegated,
        ProviderError::Dns(DnsError::Unreachable { .. } | DnsError::Timeout { .. })
        | ProviderError::ServerUnresolved { .. } => Reason::ProviderUnreachable,
        ProviderError::Dns(_) | ProviderError::Api(_) => Reason::ProviderError,
    };
    Hold::Provider {
        reason,
        message: error.to_string(),
        stalled: error.class() == DnsErrorClass::Stalled,
    }
}

enum AddressOutcome {
    State(AddressState),
    Wrote,
    Failed(ProviderError),
}

/// The address records of the policy host: what is due for them, done.
async fn address(
    context: &Context,
    accepted: &Accepted,
    stored: &Stored,
    record: &Record,
    dns: &DnsSeen,
    report: &Report,
) -> Result<AddressOutcome, Error> {
    use AddressOutcome::{Failed, State, Wrote};
    let desired = &accepted.desired;
    let noted = &record.publication.dns;
    let Some(provider) = &dns.provider else {
        return Ok(State(AddressState::NotOurs));
    };
    if desired.address == AddressWish::LeaveAlone {
        return Ok(State(AddressState::NotOurs));
    }
    let shown = noted
        .addresses_confirmed_at
        .map(|since| AddressState::Shown {
            since,
            previous_ttl: noted.addresses_previous_ttl,
        });
    let wanted = &report.wanted_addresses;
    if wanted.is_empty() {
        return Ok(State(AddressState::Unknown));
    }
    let view = match provider {
        Ok(view) => view,
        // What was confirmed stays confirmed while the provider is away.
        Err(error) => {
            return Ok(State(shown.unwrap_or_else(|| {
                AddressState::Pending(format!("the DNS provider: {error}"))
            })));
        }
    };
    let pending = |what: &str| Ok(State(AddressState::Pending(what.to_owned())));
    let present = view.addresses();
    let held = report.hold.is_some() || desired.suspend;
    match address_step(wanted, &noted.addresses, &present, desired.adopt) {
        AddressStep::Foreign(found) => Ok(State(AddressState::Foreign(shown_addresses(&found)))),
        AddressStep::Note(_) | AddressStep::Write if held => {
            pending("it is not written while spec.suspend is set or the TXT record is held")
        }
        AddressStep::Note(ours) => {
            let mut noted = record.clone();
            noted.publication.dns.addresses = ours;
            noted.publication.dns.addresses_confirmed_at = None;
            noted.publication.dns.addresses_previous_ttl = view.addresses_ttl();
            context.permit()?;
            context.records.write(Some(stored), &noted).await?;
            Ok(Wrote)
        }
        AddressStep::Write => match view.write_addresses(context, wanted, desired.ttl).await? {
            Ok(Swap::Done | Swap::Conflict) => Ok(Wrote),
            Err(error) => Ok(Failed(error)),
        },
        AddressStep::InPlace if noted.addresses.is_empty() => Ok(State(AddressState::NotOurs)),
        AddressStep::InPlace => {
            if !held && view.addresses_ttl() != desired.ttl {
                return match view.write_addresses(context, wanted, desired.ttl).await? {
                    Ok(_) => Ok(Wrote),
                    Err(error) => Ok(Failed(error)),
                };
            }
            if let (Some(shown), true) = (shown, same(&noted.addresses, wanted)) {
                return Ok(State(shown));
            }
            match observe::addresses_shown(context, &desired.domain, wanted).await {
                Ok(true) if !desired.suspend => {
                    let mut confirmed = record.clone();
                    confirmed.publication.dns.addresses = wanted.clone();
                    confirmed.publication.dns.addresses_confirmed_at = Some(clock::now());
                    context.permit()?;
                    context.records.write(Some(stored), &confirmed).await?;
                    Ok(Wrote)
                }
                Ok(_) => pending("not every authoritative server shows it yet"),
                Err(error) => pending(&error.to_string()),
            }
        }
    }
}

fn same(a: &[Address], b: &[Address]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}

/// Address records as words.
pub(super) fn shown_addresses(addresses: &[Address]) -> String {
    let words: Vec<String> = addresses
        .iter()
        .map(|address| match address {
            Address::A(address) => address.to_string(),
            Address::Aaaa(address) => address.to_string(),
            Address::Cname(name) => format!("CNAME {}", printable(name.as_bytes())),
        })
        .collect();
    words.join(", ")
}

/// Remembers since when the body has been out, for a cache in front that may hold the old one.
fn note_fresh(context: &Context, record: &Record, progress: &Progress, now: Timestamp) {
    use crate::lifecycle::publish::NotServed;
    let fresh = matches!(
        progress.served,
        Served::Yes | Served::No(NotServed::Cached(_))
    );
    let id = &record.publication.current.id;
    context
        .memory
        .of(&record.publication.domain, |memory| match &memory.fresh {
            Some((known, _)) if known == id => {}
            _ if fresh => memory.fresh = Some((id.clone(), now)),
            _ => {}
        });
}

/// Everything that carrying out the due step needs.
struct Due<'a> {
    context: &'a Context,
    policy: &'a MtaStsPolicy,
    accepted: &'a Accepted,
    stored: &'a Stored,
    record: &'a Record,
    dns: &'a DnsSeen,
    progress: &'a Progress,
    seen: &'a Observation,
}

impl Due<'_> {
    /// Carries out the step that is due. What holds it goes into the report.
    async fn carry_out(&self, report: &mut Report) -> Result<Next, Error> {
        let now = clock::now();
        if self.accepted.desired.suspend {
            return Ok(Next::Wait(self.context.settings.probe_interval()));
        }
        if let Some(reopened) = publish::reopen_ledger(self.record, self.seen) {
            return self.write(&reopened).await;
        }
        if let Some(noted) = publish::note_external(self.record, self.seen, now) {
            return self.write(&noted).await;
        }
        match self.progress.step {
            Step::AwaitBody => Ok(self.wait("body", now)),
            Step::Announce if report.hold.is_some() => Ok(self.wait("hold", now)),
            Step::Announce => self.announce(now).await,
            Step::WriteTxt => self.write_txt(report, now).await,
            Step::Confirm => self.confirm(now).await,
            Step::CloseLedger => self.write(&publish::close_ledger(self.record, now)).await,
            Step::Done => self.done(report, now).await,
        }
    }

    async fn write(&self, record: &Record) -> Result<Next, Error> {
        self.context.permit()?;
        self.context
            .records
            .write(Some(self.stored), record)
            .await?;
        Ok(Next::Again)
    }

    fn wait(&self, what: &str, now: Timestamp) -> Next {
        let domain = &self.record.publication.domain;
        let id = &self.record.publication.current.id;
        let since = self.context.memory.of(domain, |memory| {
            memory.waiting_since(&format!("{what} {id}"), now)
        });
        Next::Wait(back_off(Some(since), Duration::from_secs(60)))
    }

    async fn announce(&self, now: Timestamp) -> Result<Next, Error> {
        let decided = self.record.publication.current.decided_at;
        self.context.metrics.step("served", decided, now);
        let mut announced = publish::announce(
            self.record,
            self.accepted.desired.ttl,
            self.dns.txt_ttl(),
            now,
        );
        announced.publication.dns.txt_name = Some(self.dns.txt_name.clone());
        self.write(&announced).await
    }

    async fn write_txt(&self, report: &mut Report, now: Timestamp) -> Result<Next, Error> {
        let Some(announced) = &self.record.publication.announced else {
            return Ok(self.wait("txt", now));
        };
        let view = match &self.dns.provider {
            Some(Ok(view)) if report.hold.is_none() => view,
            _ => return Ok(self.wait("txt", now)),
        };
        let present = view.txt(&self.context.installation);
        if present.shows_exactly(&announced.id) {
            // The other servers follow by themselves.
            return Ok(self.wait("servers", now));
        }
        if announced.confirmed_at.is_some() && !self.may_repair(now) {
            report.hold = Some(Hold::Drift(describe(&present)));
            return Ok(self.wait("drift", now));
        }
        let ttl = self.accepted.desired.ttl;
        match view
            .write_txt(self.context, Some(&announced.id), ttl)
            .await?
        {
            Ok(Swap::Done) => {
                if announced.confirmed_at.is_some() {
                    self.note_repair(now);
                }
                self.context.metrics.step("txt", announced.at, now);
                Ok(Next::Again)
            }
            Ok(Swap::Conflict) => Ok(Next::Again),
            Err(error) => {
                report.hold = Some(self.write_held(&error));
                Ok(self.wait("txt", now))
            }
        }
    }

    fn write_held(&self, error: &ProviderError) -> Hold {
        let own_name = self.record.publication.domain.sts_record_name();
        alias_told(provider_hold(error), &own_name, &self.dns.txt_name)
    }

    /// A record that somebody changed is repaired twice an hour, not more: a rival that writes
    /// as well would otherwise be fought for ever.
    fn may_repair(&self, now: Timestamp) -> bool {
        const HOUR: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
        let domain = &self.record.publication.domain;
        self.context.memory.of(domain, |memory| {
            memory.repairs.retain(|at| now.duration_since(*at) < HOUR);
            memory.repairs.len() < 2
        })
    }

    fn note_repair(&self, now: Timestamp) {
        let domain = &self.record.publication.domain;
        self.context
            .memory
            .of(domain, |memory| memory.repairs.push(now));
    }

    async fn confirm(&self, now: Timestamp) -> Result<Next, Error> {
        let publication = &self.record.publication;
        let next = self.write(&publish::confirm(self.record, now)).await?;
        self.context
            .metrics
            .step("confirmed", publication.current.decided_at, now);
        let note = format!(
            "policy {} with mode {} is published: every authoritative server shows its id",
            publication.current.id, publication.current.mode
        );
        tracing::info!(domain = %publication.domain, id = %publication.current.id, "published");
        events::tell(
            self.context,
            self.policy,
            EventType::Normal,
            "Published",
            &note,
        )
        .await;
        Ok(next)
    }

    /// Everything is published: only a changed TTL may be left to write.
    async fn done(&self, report: &mut Report, now: Timestamp) -> Result<Next, Error> {
        let ttl = self.accepted.desired.ttl;
        let Some(announced) = &self.record.publication.announced else {
            return Ok(self.wait("done", now));
        };
        if announced.ttl != ttl {
            let mut changed = self.record.clone();
            if let Some(announced) = &mut changed.publication.announced {
                announced.ttl = ttl;
            }
            return self.write(&changed).await;
        }
        if let (Some(Ok(view)), None) = (&self.dns.provider, &report.hold) {
            if view.txt_ttl().is_some_and(|present| present != ttl) {
                match view
                    .write_txt(self.context, Some(&announced.id), ttl)
                    .await?
                {
                    Ok(_) => return Ok(Next::Again),
                    Err(error) => report.hold = Some(self.write_held(&error)),
                }
            }
        }
        if self.progress.served != Served::Yes || report.hold.is_some() {
            return Ok(self.wait("heal", now));
        }
        let domain = &self.record.publication.domain;
        self.context
            .memory
            .of(domain, |memory| memory.waiting = None);
        Ok(Next::Wait(jittered(
            self.context.settings.probe_interval(),
            domain,
        )))
    }
}

/// Spreads the probes of many domains: up to a tenth more, by the domain's name.
fn jittered(interval: Duration, domain: &Domain) -> Duration {
    let spread = domain.as_str().bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    interval + interval.mul_f64(f64::from(spread % 1000) / 10_000.0)
}

fn describe(txt: &crate::lifecycle::txt::TxtSet) -> String {
    let foreign = txt.foreign().iter().map(|text| printable(text));
    let ours = txt.ours().map(|id| format!("id {id}"));
    let all: Vec<String> = foreign.chain(ours).collect();
    if all.is_empty() {
        "no record".to_owned()
    } else {
        all.join(", ")
    }
}
