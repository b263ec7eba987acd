//! What the live MX hosts show on port 25. Many domains share a host, so each is asked once for all of
//! them, beside the reconciles: who does not answer delays nobody. (io)

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, watch};

use super::context::Context;
use super::observe::MxSeen;
use crate::clock;
use crate::config::SmtpLook;
use crate::diagnosis::live::{MxHostSeen, SmtpSeen, tls_trouble};
use crate::lifecycle::guard::{LiveMx, MxHost, MxTls};
use crate::limits;
use crate::probe::dns;
use crate::probe::mx::MxProbe;
use crate::probe::reach::Reach;
use crate::protocol::{Domain, HostName};

/// What is known of MX hosts, by name.
#[derive(Clone, Debug)]
pub(super) struct MailExchangers {
    looks: Arc<Mutex<HashMap<HostName, Look>>>,
    /// How many are asked at once.
    places: Arc<Semaphore>,
}

/// What is known of one host.
#[derive(Clone, Debug, Default)]
struct Look {
    /// What it showed last, and when.
    last: Option<(MxHostSeen, Timestamp)>,
    /// Ends when it has been asked anew.
    running: Option<watch::Receiver<()>>,
}

/// What is known of the live MX hosts of a domain.
#[derive(Clone, Debug, Default)]
pub(super) struct MxLook {
    /// What those that were asked showed.
    pub(super) hosts: Vec<MxHostSeen>,
    /// Whether some are being asked, and nothing is known of them yet.
    pub(super) pending: bool,
}

impl Default for MailExchangers {
    fn default() -> Self {
        Self {
            looks: Arc::default(),
            places: Arc::new(Semaphore::new(limits::MX_LOOKS)),
        }
    }
}

impl MailExchangers {
    /// What is known of the hosts; those of which nothing or only old things are known are asked.
    /// Where it is to `wait`, all of them have been asked at the end.
    async fn look(&self, context: &Context, hosts: &[HostName], wait: bool) -> MxLook {
        let hosts = || hosts.iter().take(limits::CHECK_MX_HOSTS);
        let running: Vec<_> = hosts().filter_map(|host| self.ask(context, host)).collect();
        if wait {
            join_all(running.into_iter().map(|mut ended| async move {
                // An error says that the task is gone, which is an end as well.
                let _ended = ended.changed().await;
            }))
            .await;
        }
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |host| looks.get(host).and_then(|look| look.last.as_ref());
        let seen: Vec<MxHostSeen> = hosts()
            .filter_map(known)
            .map(|(seen, _)| seen.clone())
            .collect();
        MxLook {
            pending: seen.len() < hosts().count(),
            hosts: seen,
        }
    }

    /// Asks a host, unless what is known of it is fresh. Gives what ends when it has been asked.
    fn ask(&self, context: &Context, host: &HostName) -> Option<watch::Receiver<()>> {
        let now = clock::now();
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if !looks.contains_key(host) && looks.len() >= limits::MX_LOOKS_KEPT {
            looks.retain(|_, look| look.running.is_some());
        }
        let look = looks.entry(host.clone()).or_default();
        if let Some(running) = look.running.as_ref().filter(|r| r.has_changed().is_ok()) {
            return Some(running.clone());
        }
        let last = look.last.as_ref();
        if last.is_some_and(|(seen, at)| now.duration_since(*at) < stays_fresh(context, seen)) {
            return None;
        }
        let (ends, running) = watch::channel(());
        look.running = Some(running.clone());
        let (asked, known) = (self.asked(context, host), self.clone());
        let host = host.clone();
        tokio::spawn(async move {
            let seen = asked.await;
            let mut looks = known.looks.lock().unwrap_or_else(PoisonError::into_inner);
            let look = looks.entry(host).or_default();
            look.last = Some((seen, clock::now()));
            look.running = None;
            drop(ends);
        });
        Some(running)
    }

    /// Asks a host.
    fn asked(
        &self,
        context: &Context,
        host: &HostName,
    ) -> impl Future<Output = MxHostSeen> + Send + 'static {
        let (resolver, trust) = (context.dns.clone(), context.trust.clone());
        let (targets, connect_to) = (context.targets.clone(), context.settings.connect_to.clone());
        let (places, ask) = (
            self.places.clone(),
            context.settings.smtp != SmtpLook::Never,
        );
        let mx = dns::MxHost {
            preference: 0,
            exchange: host.to_string(),
        };
        async move {
            let _place = places.acquire().await;
            let probe = MxProbe {
                reach: Reach {
                    dns: &resolver,
                    targets: &targets,
                    connect_to: &connect_to,
                },
                trust: &trust,
                ask,
                time: limits::SMTP_TIME,
            };
            probe.look(&mx).await
        }
    }
}

/// How long what a host showed is taken for what it still shows. What is wrong is looked at again soon,
/// since somebody may be mending it.
fn stays_fresh(context: &Context, seen: &MxHostSeen) -> SignedDuration {
    let interval = context.settings.probe_interval();
    let good = tls_trouble(seen).is_none() && matches!(seen.smtp, SmtpSeen::Tls(_));
    let span = match good {
        true => interval,
        false => interval.min(limits::MX_LOOK_AGAIN),
    };
    SignedDuration::try_from(span).unwrap_or(SignedDuration::ZERO)
}

/// Looks at the live MX hosts of a domain. Where it is to `wait`, all of them have been asked at the
/// end.
pub(super) async fn look(context: &Context, domain: &Domain, mx: &MxSeen, wait: bool) -> MxLook {
    if context.settings.smtp == SmtpLook::Never {
        return MxLook::default();
    }
    let own = || HostName::parse(domain.as_str()).into_iter().collect();
    let hosts: Vec<HostName> = match mx {
        MxSeen::Hosts(hosts) => hosts.clone(),
        // Its own address takes the mail.
        MxSeen::NoMx => own(),
        MxSeen::Null | MxSeen::Failed(_) => Vec::new(),
    };
    let looked = context.mail_exchangers.look(context, &hosts, wait);
    let mut look = looked.await;
    if *mx == MxSeen::NoMx {
        // Without an address it takes no mail.
        let has_address = |seen: &MxHostSeen| !matches!(&seen.addresses, Ok(a) if a.is_empty());
        look.hosts.retain(has_address);
    }
    look
}

/// The same as what a decision needs to know, with the hosts that senders may still remember. (pure)
pub(super) fn live(mx: &MxSeen, before: &[HostName], look: &MxLook) -> LiveMx {
    let hosts = match mx {
        MxSeen::Failed(why) => return LiveMx::Unknown(why.clone()),
        MxSeen::Null => return LiveMx::Hosts(Vec::new()),
        MxSeen::Hosts(hosts) => hosts.clone(),
        MxSeen::NoMx => names(look),
    };
    let tls = |host: &HostName| {
        let seen = look.hosts.iter().find(|seen| seen.host == host.as_str());
        match seen {
            Some(seen) => match tls_trouble(seen) {
                Some(trouble) => MxTls::Fails(trouble),
                None if matches!(seen.smtp, SmtpSeen::Tls(_)) => MxTls::Good,
                None => MxTls::Unknown,
            },
            None => MxTls::Unknown,
        }
    };
    let host = |host: HostName| MxHost {
        tls: tls(&host),
        host,
    };
    let hosts = hosts.into_iter().chain(before.iter().cloned());
    LiveMx::Hosts(hosts.map(host).collect())
}

fn names(look: &MxLook) -> Vec<HostName> {
    let names = look.hosts.iter();
    names
        .filter_map(|seen| HostName::parse(&seen.host).ok())
        .collect()
}

/// How soon to look again while a host is being asked.
pub(super) const WHILE_PENDING: Duration = Duration::from_secs(1);
