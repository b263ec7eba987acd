//! `--keep`: stop the controller, take its finalizer off, and say what stays. (io)

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Container;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::time::sleep;

use super::plan::{Plan, domain_of, is_held, place, policies, senders};
use super::{REFUSED, Site, confirm, is_running, tell};
use crate::api::{FIELD_MANAGER, FINALIZER, MtaStsPolicy};
use crate::cli::cluster::{ClusterError, said};
use crate::cli::exit;
use crate::cli::output::{Streams, say};
use crate::cli::words::counted;
use crate::clock;

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(500);
/// Rounds over the objects before those that are left are told.
const ROUNDS: usize = 10;
/// How long a pod may take to end, as looks at the Lease.
const ENDINGS: usize = 6;

pub(super) async fn run(
    site: &Site<'_>,
    interactive: bool,
    streams: &mut Streams<'_>,
) -> Result<u8, ClusterError> {
    let plan = Plan::read(site).await?;
    let running = is_running(&site.controller().await?);
    let deployments = if running {
        deployments(site).await
    } else {
        Vec::new()
    };
    announce(site, &plan, &deployments, streams);
    if running && deployments.is_empty() {
        say(
            streams.stderr,
            &format!(
                "the controller runs, and would put its finalizer back: stop it (kubectl scale deployment -n {} NAME --replicas=0), then run this again",
                site.namespace
            ),
        );
        return Ok(exit::FOUND);
    }
    let work = running || plan.policies.iter().any(is_held);
    if work && !confirm(site, interactive, streams)? {
        return Ok(REFUSED);
    }
    if running && !stop(site, &deployments, streams).await? {
        return Ok(exit::FOUND);
    }
    if !strip(site, streams).await? {
        return Ok(exit::FOUND);
    }
    let next = site.helm_uninstall().await;
    tell(
        streams,
        &format!("No object waits for the operator any more. Next: {next}"),
    );
    Ok(exit::CLEAN)
}

fn announce(site: &Site<'_>, plan: &Plan, deployments: &[String], streams: &mut Streams<'_>) {
    let now = clock::now();
    let (url, namespace) = (&site.cluster.url, &site.namespace);
    let count = counted(plan.records.len(), "domain");
    tell(
        streams,
        &format!(
            "In the cluster {url}, for the operator in {namespace}: {count} published, and left as they are."
        ),
    );
    for record in &plan.records {
        let (domain, mode) = (&record.domain, record.current.mode.as_str());
        let announced = match &record.announced {
            Some(announced) => format!(
                "the TXT record _mta-sts.{domain} (id {}) stays until somebody removes it",
                announced.id
            ),
            None => "nothing is announced".to_owned(),
        };
        tell(
            streams,
            &format!("  {domain}  {mode}: {announced}; {}", senders(record, now)),
        );
    }
    for policy in plan
        .policies
        .iter()
        .filter(|p| p.metadata.deletion_timestamp.is_some())
    {
        let line = format!(
            "  {}: is being deleted, and goes at once; {} stays published",
            place(policy),
            domain_of(policy)
        );
        tell(streams, &line);
    }
    tell(
        streams,
        "Once the policy servers are gone, senders cannot renew what they hold. The objects stay as long as their definitions do, and an operator that is installed again takes them up.",
    );
    for name in deployments {
        tell(
            streams,
            &format!("First the Deployment {namespace}/{name} is scaled to 0."),
        );
    }
}

/// The Deployments that run a controller.
async fn deployments(site: &Site<'_>) -> Vec<String> {
    let api = Api::<Deployment>::namespaced(site.cluster.client.clone(), &site.namespace);
    // Whoever may not list them is told to stop the controller himself.
    let Ok(found) = api.list(&ListParams::default()).await else {
        return Vec::new();
    };
    let runs = |deployment: &&Deployment| {
        let spec = deployment.spec.as_ref();
        let pod = spec.and_then(|spec| spec.template.spec.as_ref());
        pod.is_some_and(|pod| pod.containers.iter().any(is_controller))
    };
    found.iter().filter(runs).map(|d| d.name_any()).collect()
}

fn is_controller(container: &Container) -> bool {
    let words = || container.command.iter().chain(&container.args).flatten();
    let image = container.image.as_deref().unwrap_or_default();
    let ours = image.contains("mta-sts") || words().any(|word| word.ends_with("mta-sts"));
    ours && words().any(|word| word == "controller")
}

/// Scales to nothing, and waits until nobody leads. False where that does not come.
async fn stop(
    site: &Site<'_>,
    names: &[String],
    streams: &mut Streams<'_>,
) -> Result<bool, ClusterError> {
    let api = Api::<Deployment>::namespaced(site.cluster.client.clone(), &site.namespace);
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    for name in names {
        let scaled = api.patch_scale(name, &PatchParams::default(), &none).await;
        scaled.map_err(ClusterError::api(format!(
            "the Deployment {}/{name} cannot be scaled to 0: do it, then run this again",
            site.namespace
        )))?;
        tell(streams, &format!("{name}: scaled to 0"));
    }
    for _ in 0..ENDINGS {
        if !is_running(&site.controller().await?) {
            return Ok(true);
        }
        sleep(PAUSE * 10).await;
    }
    say(
        streams.stderr,
        "a controller still renews its Lease: something else runs or scales it (an autoscaler, Flux, Argo CD); stop that, then run this again",
    );
    Ok(false)
}

/// Takes the finalizer off all policies. False where some still have it.
async fn strip(site: &Site<'_>, streams: &mut Streams<'_>) -> Result<bool, ClusterError> {
    let mut refused = Vec::new();
    for _ in 0..ROUNDS {
        let all = policies(site).await?;
        let held: Vec<_> = all.iter().filter(|policy| is_held(policy)).collect();
        if held.is_empty() {
            return Ok(true);
        }
        refused.clear();
        for policy in held {
            match release(site, policy).await {
                Ok(()) => tell(streams, &format!("{}: let go", place(policy))),
                Err(error) => refused.push(format!("{}: {}", place(policy), said(&error))),
            }
        }
        sleep(PAUSE).await;
    }
    for line in &refused {
        say(
            streams.stderr,
            &format!("the finalizer cannot be taken off {line}"),
        );
    }
    say(
        streams.stderr,
        "some objects still have the finalizer: run this again",
    );
    Ok(false)
}

async fn release(site: &Site<'_>, policy: &DynamicObject) -> Result<(), kube::Error> {
    let resource = ApiResource::erase::<MtaStsPolicy>(&());
    let namespace = policy.namespace().unwrap_or_default();
    let client = site.cluster.client.clone();
    let api = Api::<DynamicObject>::namespaced_with(client, &namespace, &resource);
    let others = policy.finalizers().iter().filter(|f| *f != FINALIZER);
    // With the resourceVersion the list is replaced only if nobody else has changed it.
    let patch = json!({"metadata": {
        "finalizers": others.collect::<Vec<_>>(),
        "resourceVersion": policy.resource_version(),
        "uid": policy.uid(),
    }});
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patched = api
        .patch_metadata(&policy.name_any(), &params, &Patch::Merge(patch))
        .await;
    match patched {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_told_by_its_image_and_its_role() {
        let container = |image: &str, args: &[&str]| Container {
            image: Some(image.to_owned()),
            args: Some(args.iter().map(|&arg| arg.to_owned()).collect()),
            ..Container::default()
        };
        let ours = "ghcr.io/mta-sts-operator/mta-sts-operator:1";
        assert!(is_controller(&container(ours, &["controller", "--x"])));
        assert!(!is_controller(&container(ours, &["serve"])));
        assert!(!is_controller(&container("ingress-nginx", &["controller"])));
    }
}
