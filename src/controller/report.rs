//! What a reconcile found out: everything that the status tells.

use super::accept::Rejected;
use super::gateway::Missing;
use super::mail_exchangers::MxLook;
use super::observe::MxSeen;
use super::own_dns::Own;
use super::rollout::RolloutReport;
use super::tls_rpt::TlsRptReport;
use crate::api::condition::Reason;
use crate::diagnosis::Finding;
use crate::lifecycle::guard::Held;
use crate::lifecycle::observation::Observation;
use crate::lifecycle::publish::Progress;
use crate::lifecycle::{Address, Record};
use crate::protocol::Domain;

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
    /// What the live MX hosts show on port 25.
    pub(super) mx_look: Option<MxLook>,
    /// Why the policy that the spec asks for is not published.
    pub(super) held: Option<Held>,
    pub(super) txt_name: Option<String>,
    /// Where the domain is on its ladder, where it climbs one.
    pub(super) rollout: Option<RolloutReport>,
    /// How far the record about TLS reports is, where one is asked for.
    pub(super) tls_rpt: Option<TlsRptReport>,
    /// Whether the domain has a record about TLS reports that is not this operator's, where it was looked for.
    pub(super) tls_reports_asked: Option<bool>,
    pub(super) wanted_addresses: Vec<Address>,
    pub(super) ttl: u32,
    /// Why the way in is not there yet, or not open.
    pub(super) way_in: Option<Missing>,
    pub(super) rival: Option<String>,
    pub(super) hold: Option<Hold>,
    /// Where the domain's names lead, where they are to lead to our own name servers.
    pub(super) own: Option<Own>,
    /// What an external-dns has not done yet, and why that may be.
    pub(super) waits_for: Option<String>,
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
    /// The domain's name does not lead to our own name servers: what its owner has to set.
    NotLed(String),
}

impl Hold {
    /// Whether the address of the policy host is held back too. The owner of a domain that does
    /// not lead here yet waits for it: his certificate needs the address first.
    pub(super) fn holds_addresses(&self) -> bool {
        !matches!(self, Self::NotLed(_))
    }
}
