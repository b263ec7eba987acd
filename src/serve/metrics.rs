//! What the policy server counts. No label ever comes from a request.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::dns::listener::Server as DnsServer;
use super::dns::names::Names;
use super::listener::Stats;
use super::store::Store;
use super::watch::Feed;

const PREFIX: &str = "mta_sts_server";

/// Counts answers by the class of their status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Family<Class, Counter>);

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

impl Requests {
    /// Counts an answer with `status`.
    pub(crate) fn count(&self, status: StatusCode) {
        let class = match status.as_u16() / 100 {
            2 => "2xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.0.get_or_create(&Class { class }).inc();
    }
}

/// What is counted, and what is read at the moment of a scrape.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) requests: Requests,
    pub(crate) store: Arc<Store>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) feed: Arc<Feed>,
    /// Absent where no DNS query is answered.
    pub(crate) dns: Option<DnsServer>,
}

/// What is read at the moment of a scrape.
#[derive(Debug)]
struct State {
    store: Arc<Store>,
    stats: Arc<Stats>,
    feed: Arc<Feed>,
    names: Option<Arc<Names>>,
}

/// The registry of a policy server.
pub(crate) fn registry(counted: &Counted) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let requests = counted.requests.0.clone();
    registry.register("requests", "Answers by class of status", requests);
    if let Some(dns) = &counted.dns {
        let counts = dns.counts.clone();
        let help = "Answers to DNS queries by transport and code";
        registry.register("dns_answers", help, counts.answers);
        let help = "Answers over UDP that the rate limit cut off or dropped";
        registry.register("dns_limited", help, counts.limited);
    }
    registry.register_collector(Box::new(State {
        store: counted.store.clone(),
        stats: counted.stats.clone(),
        feed: counted.feed.clone(),
        names: counted.dns.as_ref().map(|dns| dns.names.clone()),
    }));
    registry
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (hosts, unavailable) = self.store.counts();
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("hosts", "Policy hosts that are known", as_float(hosts))?;
        gauge(
            "hosts_unavailable",
            "Policy hosts that are answered with 503, having no good body",
            as_float(unavailable),
        )?;
        gauge(
            "connections",
            "Open connections",
            as_float(self.stats.open()),
        )?;
        gauge(
            "ready",
            "1 once a consistent list was read and a watch was opened",
            as_float(usize::from(self.feed.is_ready())),
        )?;
        if let Some(names) = &self.names {
            let (zones, domains) = names.counts();
            let help = "Zones that DNS queries are answered for";
            gauge("dns_zones", help, as_float(zones))?;
            let help = "Domains that DNS queries are answered for";
            gauge("dns_domains", help, as_float(domains))?;
        }
        if let Some(age) = self.feed.age() {
            gauge(
                "watch_age_seconds",
                "Time since the API server was last heard on the watch; above 120 it is away",
                age.as_secs_f64(),
            )?;
        }
        let broken = ConstCounter::new(self.stats.broken());
        broken.encode(encoder.encode_descriptor(
            "connections_broken",
            "Connections that ended by a malformed request, a reset or a time-out",
            None,
            broken.metric_type(),
        )?)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn as_float(count: usize) -> f64 {
    count as f64
}
