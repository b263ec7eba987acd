//! What the controller counts. Names stand here once; labels are bounded by what is configured.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::error::ProviderError;
use crate::diagnosis::{Code, Finding};
use crate::protocol::{Domain, Mode, PolicyId};

/// A label value that is known at compile time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Word(&'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Word,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StepLabel {
    step: Word,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CallLabels {
    call: Word,
    result: Word,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct DomainLabel {
    domain: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct IdLabels {
    domain: String,
    id: String,
    mode: String,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, EncodeLabelSet)]
struct FindingLabels {
    domain: String,
    code: Word,
    severity: Word,
}

/// The controller's metrics. Series with a domain exist only for domains that have a record or
/// an object, and go with them.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    reconciles: Family<OutcomeLabel, Counter>,
    steps: Family<StepLabel, Histogram, fn() -> Histogram>,
    provider_calls: Family<CallLabels, Counter>,
    ready: Family<DomainLabel, Gauge>,
    healthy: Family<DomainLabel, Gauge>,
    policy: Family<IdLabels, Gauge>,
    certificate: Family<DomainLabel, Gauge>,
    announced: Arc<Mutex<HashMap<Domain, IdLabels>>>,
    retiring: Family<DomainLabel, Gauge>,
    retirement_end: Family<DomainLabel, Gauge>,
    clock_skew: Family<DomainLabel, Gauge>,
    orphaned: Family<DomainLabel, Gauge>,
    repairs: Counter,
    drifting: Family<DomainLabel, Gauge>,
    enforce_held: Family<DomainLabel, Gauge>,
    findings: Family<FindingLabels, Gauge>,
    found: Arc<Mutex<HashMap<Domain, BTreeSet<FindingLabels>>>>,
    leader: Gauge,
    tenancy_file: Gauge,
}

fn buckets() -> Histogram {
    Histogram::new([
        0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
    ])
}

impl Metrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            steps: Family::new_with_constructor(buckets as fn() -> Histogram),
            provider_calls: Family::default(),
            ready: Family::default(),
            healthy: Family::default(),
            policy: Family::default(),
            certificate: Family::default(),
            announced: Arc::default(),
            retiring: Family::default(),
            retirement_end: Family::default(),
            clock_skew: Family::default(),
            orphaned: Family::default(),
            repairs: Counter::default(),
            drifting: Family::default(),
            enforce_held: Family::default(),
            findings: Family::default(),
            found: Arc::default(),
            leader: Gauge::default(),
            tenancy_file: Gauge::default(),
        };
        metrics.tenancy_file(true);
        metrics
    }

    /// A registry with all of them.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("mta_sts");
        let r = &mut registry;
        r.register(
            "reconciles",
            "Reconciles by outcome",
            self.reconciles.clone(),
        );
        r.register_with_unit(
            "publish_step_duration",
            "Until each step of a publication was done: served and confirmed from the decision, txt from its announcement",
            Unit::Seconds,
            self.steps.clone(),
        );
        r.register(
            "dns_provider_calls",
            "Calls to DNS providers by result",
            self.provider_calls.clone(),
        );
        r.register(
            "policy_ready",
            "1 if the policy's condition Ready is True",
            self.ready.clone(),
        );
        r.register(
            "policy_healthy",
            "1 if the policy's condition Healthy is True",
            self.healthy.clone(),
        );
        r.register(
            "policy_info",
            "Always 1; the labels id and mode are those of the announced policy",
            self.policy.clone(),
        );
        r.register_with_unit(
            "policy_host_certificate_expiry_timestamp",
            "When the certificate of the policy host ends, the earliest of all addresses",
            Unit::Seconds,
            self.certificate.clone(),
        );
        r.register(
            "retiring",
            "1 for a domain on its way out",
            self.retiring.clone(),
        );
        r.register_with_unit(
            "retirement_end_timestamp",
            "When a domain on its way out will be gone, if nothing comes in between",
            Unit::Seconds,
            self.retirement_end.clone(),
        );
        r.register(
            "retirement_clock_skew",
            "1 for a domain that is not taken away because the clocks of this node and of the API server are too far apart",
            self.clock_skew.clone(),
        );
        r.register(
            "orphaned",
            "1 for a record whose object is missing",
            self.orphaned.clone(),
        );
        r.register(
            "record_repairs",
            "TXT records that somebody else had changed and that were written again",
            self.repairs.clone(),
        );
        r.register(
            "drifting",
            "1 while somebody keeps changing the TXT record and it is no longer repaired",
            self.drifting.clone(),
        );
        r.register(
            "enforce_held",
            "1 while mode enforce, or a change of what is enforced, waits for the live MX hosts",
            self.enforce_held.clone(),
        );
        r.register(
            "finding",
            "Findings about a domain by code and severity",
            self.findings.clone(),
        );
        r.register(
            "leader",
            "1 if this replica is the leader",
            self.leader.clone(),
        );
        r.register(
            "tenancy_file_valid",
            "0 while the tenancy file cannot be used and the grants that it held before hold on",
            self.tenancy_file.clone(),
        );
        registry
    }

    pub(super) fn reconciled(&self, outcome: &'static str) {
        let label = OutcomeLabel {
            outcome: Word(outcome),
        };
        self.reconciles.get_or_create(&label).inc();
    }

    pub(super) fn step(&self, step: &'static str, since: Timestamp, now: Timestamp) {
        let elapsed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        self.steps
            .get_or_create(&StepLabel { step: Word(step) })
            .observe(elapsed.as_secs_f64());
    }

    pub(super) fn provider_call<T>(&self, call: &'static str, result: &Result<T, ProviderError>) {
        let labels = CallLabels {
            call: Word(call),
            result: Word(result.as_ref().map_or_else(ProviderError::label, |_| "ok")),
        };
        self.provider_calls.get_or_create(&labels).inc();
    }

    pub(super) fn provider_failed(&self, call: &'static str, error: &ProviderError) {
        let labels = CallLabels {
            call: Word(call),
            result: Word(error.label()),
        };
        self.provider_calls.get_or_create(&labels).inc();
    }

    pub(super) fn policy(
        &self,
        domain: &Domain,
        ready: bool,
        announced: Option<(&PolicyId, Mode)>,
    ) {
        let label = domain_label(domain);
        self.ready.get_or_create(&label).set(i64::from(ready));
        self.announced(domain, announced);
    }

    pub(super) fn healthy(&self, domain: &Domain, healthy: bool) {
        let label = domain_label(domain);
        self.healthy.get_or_create(&label).set(i64::from(healthy));
    }

    /// The object that has a domain is not accepted any more. A domain that never was published
    /// gets no series by it.
    pub(super) fn not_accepted(&self, domain: &Domain) {
        let label = domain_label(domain);
        if self.ready.get(&label).is_some() {
            self.ready.get_or_create(&label).set(0);
        }
    }

    /// One series a domain: that of an older id goes.
    fn announced(&self, domain: &Domain, now: Option<(&PolicyId, Mode)>) {
        let now = now.map(|(id, mode)| IdLabels {
            domain: domain.to_string(),
            id: id.to_string(),
            mode: mode.to_string(),
        });
        let mut announced = self
            .announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = match &now {
            Some(now) => announced.insert(domain.clone(), now.clone()),
            None => announced.remove(domain),
        };
        if let Some(before) = before.filter(|before| Some(before) != now.as_ref()) {
            self.policy.remove(&before);
        }
        if let Some(now) = now {
            self.policy.get_or_create(&now).set(1);
        }
    }

    pub(super) fn certificate(&self, domain: &Domain, not_after: Option<Timestamp>) {
        let label = domain_label(domain);
        match not_after {
            Some(time) => {
                self.certificate.get_or_create(&label).set(time.as_second());
            }
            None => {
                self.certificate.remove(&label);
            }
        }
    }

    pub(super) fn retiring(&self, domain: &Domain, retiring: bool) {
        set_or_remove(&self.retiring, domain, retiring);
    }

    /// When a domain on its way out will be gone.
    pub(super) fn retirement_end(&self, domain: &Domain, end: Option<Timestamp>) {
        let label = domain_label(domain);
        match end {
            Some(end) => {
                self.retirement_end
                    .get_or_create(&label)
                    .set(end.as_second());
            }
            None => {
                self.retirement_end.remove(&label);
            }
        }
    }

    pub(super) fn clock_skew(&self, domain: &Domain, skewed: bool) {
        set_or_remove(&self.clock_skew, domain, skewed);
    }

    pub(super) fn orphaned(&self, domain: &Domain, orphaned: bool) {
        set_or_remove(&self.orphaned, domain, orphaned);
    }

    pub(super) fn repaired(&self) {
        self.repairs.inc();
    }

    pub(super) fn drifting(&self, domain: &Domain, drifting: bool) {
        set_or_remove(&self.drifting, domain, drifting);
    }

    pub(super) fn enforce_held(&self, domain: &Domain, held: bool) {
        set_or_remove(&self.enforce_held, domain, held);
    }

    /// All that is known to be wrong with a domain. Codes that are not found any more go.
    pub(super) fn findings(&self, domain: &Domain, found: &[Finding]) {
        let mut counts: BTreeMap<FindingLabels, i64> = BTreeMap::new();
        for finding in found {
            let labels = FindingLabels {
                domain: domain.to_string(),
                code: Word(finding.code.name()),
                severity: Word(finding.severity.as_str()),
            };
            *counts.entry(labels).or_default() += 1;
        }
        let mut known = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let now: BTreeSet<FindingLabels> = counts.keys().cloned().collect();
        let before = known.insert(domain.clone(), now).unwrap_or_default();
        for gone in before.iter().filter(|labels| !counts.contains_key(labels)) {
            self.findings.remove(gone);
        }
        for (labels, count) in counts {
            self.findings.get_or_create(&labels).set(count);
        }
        if known.get(domain).is_some_and(BTreeSet::is_empty) {
            known.remove(domain);
        }
    }

    pub(super) fn leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    pub(super) fn tenancy_file(&self, valid: bool) {
        self.tenancy_file.set(i64::from(valid));
    }

    /// Drops the series of a domain.
    pub(super) fn forget(&self, domain: &Domain) {
        let label = domain_label(domain);
        self.announced(domain, None);
        self.findings(domain, &[]);
        for family in [
            &self.ready,
            &self.healthy,
            &self.certificate,
            &self.retiring,
            &self.retirement_end,
            &self.clock_skew,
            &self.orphaned,
            &self.drifting,
            &self.enforce_held,
        ] {
            family.remove(&label);
        }
    }
}

/// The text of `/metrics` with one series of each metric, for the page that lists them.
#[doc(hidden)]
pub fn sample(domain: &Domain, id: &PolicyId) -> Registry {
    let metrics = Metrics::new();
    metrics.reconciled("ok");
    metrics.step("served", Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
    metrics.provider_call("read", &Ok(()));
    metrics.policy(domain, true, Some((id, Mode::Testing)));
    metrics.healthy(domain, true);
    metrics.certificate(domain, Some(Timestamp::UNIX_EPOCH));
    metrics.retiring(domain, true);
    metrics.retirement_end(domain, Some(Timestamp::UNIX_EPOCH));
    metrics.clock_skew(domain, true);
    metrics.orphaned(domain, true);
    metrics.drifting(domain, true);
    metrics.enforce_held(domain, true);
    metrics.findings(domain, &[Finding::new(Code::MxUncovered, "", "")]);
    metrics.registry()
}

fn domain_label(domain: &Domain) -> DomainLabel {
    DomainLabel {
        domain: domain.to_string(),
    }
}

fn set_or_remove(family: &Family<DomainLabel, Gauge>, domain: &Domain, on: bool) {
    let label = domain_label(domain);
    if on {
        family.get_or_create(&label).set(1);
    } else {
        family.remove(&label);
    }
}
