//! `mta-sts check --watch`: looks again and again, and tells what has become different.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::report::{self, Checked, Looked, Verdict};
use super::{CheckArgs, code, look, probes};
use crate::cli::exit;
use crate::cli::findings_output::Format;
use crate::cli::output::{Streams, say};
use crate::diagnosis::live::{AddressSeen, MxHostSeen, Outcome, SmtpSeen};
use crate::diagnosis::{Code, Finding, Severity};
use crate::protocol::{Domain, Policy, PolicyId, StsRecord};

/// Whether what is asked for can be followed.
///
/// # Errors
/// SARIF and JUnit are one document each, and no stream of them.
pub(super) fn possible(args: &CheckArgs) -> Result<(), String> {
    match args.shown.output {
        Format::Sarif | Format::Junit if args.watch => {
            Err("--watch goes with --output text or json".to_owned())
        }
        _ => Ok(()),
    }
}

/// Looks, shows it, and shows it again whenever a later look finds something else. Ends with a signal,
/// or when nobody reads any more; gives the exit code of the last look.
pub(super) async fn follow(args: &CheckArgs, domains: &[Domain], streams: &mut Streams<'_>) -> u8 {
    let mut end = match End::new() {
        Ok(end) => end,
        Err(error) => {
            say(streams.stderr, &format!("signals: {error}"));
            return exit::USAGE;
        }
    };
    let mut known = None;
    let mut policies = Policies::default();
    // Nothing is known before the first look is over.
    let mut last = exit::UNDETERMINED;
    loop {
        // Anew for each look: what was learned of servers and zones may be what has changed.
        let probes = match probes(args) {
            Ok(probes) => probes,
            Err(error) => {
                say(streams.stderr, &error);
                return exit::USAGE;
            }
        };
        let mut looked = tokio::select! {
            biased;
            () = end.comes() => return last,
            looked = look(args, &probes, domains) => looked,
        };
        policies.compare(&mut looked);
        last = code(args, &looked);
        let gist = Some(gist(args, &looked));
        if gist != known {
            known = gist;
            if let Err(error) = report::show(args, &looked, streams) {
                return super::unwritten(&error, last, streams);
            }
        }
        tokio::select! {
            biased;
            () = end.comes() => return last,
            () = tokio::time::sleep(Duration::from_secs(args.interval)) => {}
        }
    }
}

/// The first policy that was seen with each id. Who looks once cannot know that one was changed under it.
#[derive(Default)]
struct Policies(HashMap<Domain, (PolicyId, Policy)>);

impl Policies {
    /// Adds a finding where a policy is another one than before and its id is the same.
    fn compare(&mut self, looked: &mut Looked) {
        for Checked { seen, judged } in &mut looked.domains {
            let (Some(record), Some(policy)) = (&judged.record, &judged.policy) else {
                continue;
            };
            let shown = || (record.id.clone(), policy.clone());
            let first = self.0.entry(seen.domain.clone()).or_insert_with(shown);
            if first.0 != record.id {
                *first = shown();
            }
            if first.1 != *policy {
                judged.findings.push(stale(&seen.domain, &record.id));
            }
        }
    }
}

fn stale(domain: &Domain, id: &PolicyId) -> Finding {
    Finding::new(
        Code::LifecycleIdStale,
        domain.policy_host().as_str(),
        "the policy was changed while this ran, and its id was not: senders that hold a copy do not notice",
    )
    .with_evidence(&format!("id={id}"))
    .with_remedy("write a new id into the TXT record, now that the new policy is served")
}

/// What ends a watch from outside.
struct End {
    interrupt: Signal,
    terminate: Signal,
    /// Standard output, where it is something whose reader can go away.
    output: Option<Sender>,
}

impl End {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            // Files cannot be waited for, and need not be. Unchecked, since the check would have it
            // answer EWOULDBLOCK to what is written.
            output: Sender::from_owned_fd_unchecked(io::stdout().as_fd().try_clone_to_owned()?)
                .ok(),
        })
    }

    async fn comes(&mut self) {
        let closed = async {
            match &self.output {
                // A pipe has an error when its last reader is gone, even if nothing is written.
                Some(output) => drop(output.ready(Interest::ERROR).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = closed => {}
        }
    }
}

/// What of a look counts as different. Times, rests of a TTL, the order of answers and the words of a
/// finding are other ones each time.
#[derive(PartialEq, Debug)]
struct Gist {
    verdict: Verdict,
    record: Option<StsRecord>,
    policy: Option<Policy>,
    hosts: Vec<(Option<u16>, Option<Timestamp>)>,
    mx: Vec<(u16, String, Option<bool>, Option<Timestamp>)>,
    findings: Vec<(Code, Severity, String)>,
}

fn gist(args: &CheckArgs, looked: &Looked) -> Vec<Gist> {
    let of = |checked: &Checked| Gist {
        verdict: checked.verdict(args.smtp),
        record: checked.judged.record.clone(),
        policy: checked.judged.policy.clone(),
        // Many a host has other addresses each time that somebody asks.
        hosts: set(report::addresses(&checked.seen), |it: &AddressSeen| {
            let status = match it.outcome {
                Outcome::Response { status, .. } => Some(status),
                Outcome::Private(_) | Outcome::Failed(_) => None,
            };
            let tls = it.tls.as_ref();
            (status, tls.and_then(|tls| tls.validity).map(|(_, end)| end))
        }),
        mx: set(report::mx_hosts(&checked.seen), |it: &MxHostSeen| {
            let (starttls, until) = starttls(&it.smtp);
            (it.preference, it.host.clone(), starttls, until)
        }),
        findings: set(&checked.judged.findings, |it| {
            (it.code, it.severity, it.subject.clone())
        }),
    };
    looked.domains.iter().map(of).collect()
}

fn starttls(seen: &SmtpSeen) -> (Option<bool>, Option<Timestamp>) {
    match seen {
        SmtpSeen::Tls(tls) => (Some(true), tls.validity.map(|(_, end)| end)),
        SmtpSeen::NoStartTls(_) => (Some(false), None),
        SmtpSeen::NotAsked | SmtpSeen::Private(_) | SmtpSeen::Unreachable(_) => (None, None),
    }
}

fn set<T, U: Ord>(all: &[T], of: impl Fn(&T) -> U) -> Vec<U> {
    let mut set: Vec<U> = all.iter().map(of).collect();
    set.sort();
    set.dedup();
    set
}
