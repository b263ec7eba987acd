//! `--retire`: delete all policies, and wait until their domains are gone. (io)

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Preconditions};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, ResourceExt as _};
use tokio::time::{Instant, sleep};

use super::plan::{Plan, Progress, deletion_policy, domain_of, place, senders};
use super::{REFUSED, Site, confirm, is_running, tell};
use crate::api::MtaStsPolicy;
use crate::cli::cluster::ClusterError;
use crate::cli::exit;
use crate::cli::output::{Streams, say};
use crate::cli::retirements::{self, gone_about, waits_for};
use crate::cli::words::{counted, time, time_and_distance};
use crate::clock;
use crate::lifecycle::{DeletionPolicy, Publication, Retiring};

/// Between two looks at how far it is.
const PAUSE: Duration = Duration::from_millis(500);
/// Looks in a row that may fail, some seconds apart.
const FAILURES: usize = 24;
/// Without any change for so long, somebody should look.
const STILL: Duration = Duration::from_secs(90);

pub(super) async fn run(
    site: &Site<'_>,
    interactive: bool,
    streams: &mut Streams<'_>,
) -> Result<u8, ClusterError> {
    let plan = Plan::read(site).await?;
    if plan.policies.is_empty() && plan.retiring().next().is_none() {
        tell(
            streams,
            "There is no MtaStsPolicy, and no domain that is being retired.",
        );
        return Ok(finish(site, &plan, streams).await);
    }
    if !is_running(&site.controller().await?) {
        say(
            streams.stderr,
            "no controller runs, so that nobody would retire the domains: start it (mta-sts doctor), or leave what is published as it is with --keep",
        );
        return Ok(exit::FOUND);
    }
    announce(site, &plan, streams);
    if !plan.policies.is_empty() {
        if !confirm(site, interactive, streams)? {
            return Ok(REFUSED);
        }
        for policy in &plan.policies {
            delete(site, policy).await?;
        }
    }
    if !wait(site, &plan, streams).await? {
        return Ok(exit::FOUND);
    }
    Ok(finish(site, &Plan::read(site).await?, streams).await)
}

fn announce(site: &Site<'_>, plan: &Plan, streams: &mut Streams<'_>) {
    let now = clock::now();
    let (url, namespace) = (&site.cluster.url, &site.namespace);
    let count = counted(plan.policies.len(), "MtaStsPolicy");
    tell(
        streams,
        &format!("In the cluster {url}, for the operator in {namespace}: {count} to delete."),
    );
    for policy in &plan.policies {
        let head = format!("  {}  {}", domain_of(policy), place(policy));
        let line = match plan.record_of(policy) {
            Some(record) => {
                let mode = record.current.mode.as_str();
                format!("{head}  {mode}: {}", what_becomes_of(record, policy, now))
            }
            None => format!("{head}: nothing is published for it"),
        };
        tell(streams, &line);
    }
    for record in plan.retiring() {
        let line = format!(
            "  {}: is being retired; it waits for {}",
            record.domain,
            waits_for(record, now)
        );
        tell(streams, &line);
    }
    tell(
        streams,
        "Each domain gets a policy with mode none (RFC 8461 §8.3); when no sender holds another one, its TXT record goes, then its address, Ingress and policy. That takes as long as max_age, and this command may be ended and run again meanwhile. A provider that is gone or refuses makes it wait.",
    );
}

fn what_becomes_of(record: &Publication, policy: &DynamicObject, now: Timestamp) -> String {
    let mut record = record.clone();
    record.retiring = Some(Retiring {
        since: now,
        withdrawn: false,
        policy: deletion_policy(policy),
        clock_asked_at: None,
        over_at: None,
        txt_gone_at: None,
    });
    match gone_about(&record, now) {
        None => "stays published as it is (deletionPolicy Retain)".to_owned(),
        Some(end) if deletion_policy(policy) == DeletionPolicy::Immediate => format!(
            "gone soon after {} (deletionPolicy Immediate); {}",
            time_and_distance(end, now),
            senders(&record, now)
        ),
        Some(end) => format!("gone about {}", time_and_distance(end, now)),
    }
}

async fn delete(site: &Site<'_>, policy: &DynamicObject) -> Result<(), ClusterError> {
    let resource = ApiResource::erase::<MtaStsPolicy>(&());
    let namespace = policy.namespace().unwrap_or_default();
    let client = site.cluster.client.clone();
    let api = Api::<DynamicObject>::namespaced_with(client, &namespace, &resource);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: policy.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(&policy.name_any(), &params).await {
        Ok(_) => Ok(()),
        // Gone, or made anew: the latter is told while it is waited.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        Err(error) => {
            let what = format!("{} cannot be deleted", place(policy));
            Err(ClusterError::api(what)(error))
        }
    }
}

/// Waits, telling every change. False where an object was made anew meanwhile.
async fn wait(
    site: &Site<'_>,
    plan: &Plan,
    streams: &mut Streams<'_>,
) -> Result<bool, ClusterError> {
    let deleted: BTreeSet<String> = plan.policies.iter().filter_map(|p| p.uid()).collect();
    let mut known = Progress::new();
    let mut changed = Instant::now();
    let mut failures = 0;
    loop {
        let now = match Plan::read(site).await {
            Ok(now) => now,
            // An API server that is away for a while ends nothing.
            Err(error) if failures < FAILURES => {
                failures += 1;
                say(streams.stderr, &format!("{error}; it is tried again"));
                sleep(PAUSE * 10).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        failures = 0;
        let is_new =
            |policy: &&DynamicObject| policy.uid().is_some_and(|uid| !deleted.contains(&uid));
        if let Some(policy) = now.policies.iter().find(is_new) {
            say(
                streams.stderr,
                &format!(
                    "{} was created while the others went: stop what creates it (Flux, Argo CD, a pipeline), then run this again",
                    place(policy)
                ),
            );
            return Ok(false);
        }
        let progress = progress(&now);
        if progress != known {
            tell_changes(&known, &progress, streams);
            known = progress;
            changed = Instant::now();
        }
        if known.is_empty() {
            return Ok(true);
        }
        if changed.elapsed() > STILL && !is_only_waiting(&now, clock::now()) {
            say(
                streams.stderr,
                "nothing has changed for a while: the controller's log and mta-sts doctor say what it waits for; this can be ended and run again at any time",
            );
            changed = Instant::now();
        }
        sleep(PAUSE).await;
    }
}

/// How far each domain is. What is gone is not there.
fn progress(plan: &Plan) -> Progress {
    let mut progress = Progress::new();
    for policy in &plan.policies {
        progress.insert(domain_of(policy), "its object is being deleted".to_owned());
    }
    for record in plan.retiring() {
        let now = clock::now();
        // While it moves on with the time it is no news.
        let later = now.saturating_add(SignedDuration::from_secs(1));
        let end = gone_about(record, now);
        let stands = later.is_ok_and(|later| gone_about(record, later) == end);
        let end = match end.filter(|_| stands) {
            Some(end) => format!("; gone about {}", time(end)),
            None => String::new(),
        };
        let word = format!("waits for {}{end}", waits_for(record, now));
        progress.insert(record.domain.to_string(), word);
    }
    progress
}

fn tell_changes(before: &Progress, now: &Progress, streams: &mut Streams<'_>) {
    for (domain, word) in now {
        if before.get(domain) != Some(word) {
            tell(streams, &format!("{domain}: {word}"));
        }
    }
    for domain in before.keys().filter(|domain| !now.contains_key(*domain)) {
        tell(streams, &format!("{domain}: gone"));
    }
}

/// Whether time alone is waited for.
fn is_only_waiting(plan: &Plan, now: Timestamp) -> bool {
    plan.policies.is_empty()
        && plan
            .retiring()
            .all(|record| retirements::is_only_waiting(record, now))
}

async fn finish(site: &Site<'_>, plan: &Plan, streams: &mut Streams<'_>) -> u8 {
    for record in plan.retained() {
        let domain = &record.domain;
        let line = format!(
            "{domain} stays published as it is (deletionPolicy Retain): nobody serves it any more once the operator is gone, so remove its TXT record first, or keep the policy server"
        );
        say(streams.stderr, &line);
    }
    let orphans: Vec<_> = plan.orphans().collect();
    for record in &orphans {
        let (domain, owner) = (&record.domain, &record.owner);
        let object = format!("{}/{}", owner.namespace, owner.name);
        say(
            streams.stderr,
            &format!(
                "{domain} is still published, and its object {object} is gone: create it again and run this again, or remove its TXT record by hand"
            ),
        );
    }
    if !orphans.is_empty() {
        return exit::FOUND;
    }
    let next = site.helm_uninstall().await;
    tell(
        streams,
        &format!("No domain is published any more. Next: {next}"),
    );
    exit::CLEAN
}
