//! The policy servers: their Service, its endpoints, the pods behind. (io)

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::Site;
use super::answer::Answer;
use crate::cli::words::counted;

const CHECK: &str = "policy-server";
/// The version of this binary.
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) async fn look(site: &Site<'_>) -> Vec<Answer> {
    let mut answers = vec![service(site).await];
    let name = &site.args.policy_service;
    let subject = format!("endpoints of {}/{name}", site.namespace);
    let api = Api::<EndpointSlice>::namespaced(site.cluster.client.clone(), &site.namespace);
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
    let slices = match api.list(&params).await {
        Ok(slices) => slices,
        Err(error) => {
            answers.push(Answer::unknown(CHECK, subject, &error));
            return answers;
        }
    };
    let endpoints: Vec<&Endpoint> = slices.iter().flat_map(|s| &s.endpoints).collect();
    answers.push(readiness(subject, &endpoints));
    answers.extend(versions(site, &endpoints).await);
    answers
}

async fn service(site: &Site<'_>) -> Answer {
    let name = &site.args.policy_service;
    let subject = format!("Service {}/{name}", site.namespace);
    let api = Api::<Service>::namespaced(site.cluster.client.clone(), &site.namespace);
    match api.get_opt(name).await {
        Ok(Some(service)) => {
            let ports = service
                .spec
                .iter()
                .flat_map(|spec| spec.ports.iter().flatten());
            let names: Vec<String> = ports
                .map(|port| port.name.clone().unwrap_or_else(|| port.port.to_string()))
                .collect();
            Answer::ok(CHECK, subject, format!("its ports: {}", names.join(", ")))
        }
        Ok(None) => Answer::error(CHECK, subject, "it does not exist: no policy can be served")
            .remedy(
                "install the policy server, or say how its Service is called with --policy-service",
            ),
        Err(error) => Answer::unseen(CHECK, subject, &error),
    }
}

fn readiness(subject: String, endpoints: &[&Endpoint]) -> Answer {
    let is_ready = |endpoint: &&&Endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.is_none_or(|conditions| conditions.ready != Some(false))
    };
    let ready = endpoints.iter().filter(is_ready).count();
    let all = counted(endpoints.len(), "endpoint");
    const LOOK: &str =
        "kubectl get pods and kubectl describe pod in the operator's namespace say why";
    if endpoints.is_empty() {
        Answer::error(CHECK, subject, "there is none: no policy is served").remedy(LOOK)
    } else if ready == 0 {
        Answer::error(
            CHECK,
            subject,
            format!("none of {all} is ready: no policy is served"),
        )
        .remedy(LOOK)
    } else if ready < endpoints.len() {
        Answer::warning(CHECK, subject, format!("{ready} of {all} are ready")).remedy(LOOK)
    } else if ready == 1 {
        Answer::ok(
            CHECK,
            subject,
            "one is ready; with two an update leaves no gap",
        )
    } else {
        Answer::ok(CHECK, subject, format!("all of {all} are ready"))
    }
}

/// The images of the pods behind the endpoints: one version, and that of this binary.
async fn versions(site: &Site<'_>, endpoints: &[&Endpoint]) -> Option<Answer> {
    let names: BTreeSet<&str> = endpoints
        .iter()
        .filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.as_deref())
        .collect();
    if names.is_empty() {
        return None;
    }
    let subject = format!("pods in {}", site.namespace);
    let api = Api::<Pod>::namespaced(site.cluster.client.clone(), &site.namespace);
    let pods = match api.list(&ListParams::default()).await {
        Ok(pods) => pods,
        Err(error) => return Some(Answer::unseen(CHECK, subject, &error)),
    };
    let behind = pods
        .iter()
        .filter(|pod| names.contains(pod.name_any().as_str()));
    let containers = behind.flat_map(|pod| pod.spec.iter().flat_map(|spec| &spec.containers));
    let images: BTreeSet<&str> = containers.filter_map(|c| c.image.as_deref()).collect();
    let ours: Vec<&str> = images
        .into_iter()
        .filter(|i| i.contains("mta-sts-operator"))
        .collect();
    Some(judge(subject, &ours))
}

fn judge(subject: String, images: &[&str]) -> Answer {
    let shown = images.join(", ");
    let of_ours = |image: &&&str| {
        image
            .split('@')
            .next()
            .unwrap_or_default()
            .ends_with(&format!(":{VERSION}"))
    };
    if images.len() > 1 {
        Answer::warning(CHECK, subject, format!("they run several images: {shown}"))
            .remedy("let the update end, or finish it: helm upgrade, kubectl rollout status")
    } else if images
        .iter()
        .any(|image| image.contains(':') && !image.contains('@'))
        && images.iter().filter(of_ours).count() == 0
    {
        Answer::warning(
            CHECK,
            subject,
            format!("they run {shown}, and this binary is {VERSION}"),
        )
        .remedy("use the binary of the version that is installed")
    } else {
        Answer::ok(CHECK, subject, format!("they run {shown}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::answer::Outcome;
    use k8s_openapi::api::discovery::v1::EndpointConditions;

    fn endpoint(ready: Option<bool>) -> Endpoint {
        Endpoint {
            conditions: Some(EndpointConditions {
                ready,
                ..EndpointConditions::default()
            }),
            ..Endpoint::default()
        }
    }

    #[test]
    fn endpoints_are_judged_by_how_many_are_ready() {
        let (yes, no, unsaid) = (endpoint(Some(true)), endpoint(Some(false)), endpoint(None));
        let judged = |all: &[&Endpoint]| readiness(String::new(), all).result;
        assert_eq!(judged(&[]), Outcome::Error);
        assert_eq!(judged(&[&no]), Outcome::Error);
        assert_eq!(judged(&[&no, &yes]), Outcome::Warning);
        assert_eq!(judged(&[&yes, &unsaid]), Outcome::Ok);
    }

    #[test]
    fn images_are_judged_by_their_version() {
        let judged = |images: &[&str]| judge(String::new(), images).result;
        let ours = format!("ghcr.io/mta-sts-operator/mta-sts-operator:{VERSION}");
        let other = "ghcr.io/mta-sts-operator/mta-sts-operator:0.0.1";
        assert_eq!(judged(&[&ours]), Outcome::Ok);
        assert_eq!(judged(&[other]), Outcome::Warning);
        assert_eq!(judged(&[&ours, other]), Outcome::Warning);
        assert_eq!(
            judged(&["registry.example:5000/mta-sts-operator@sha256:00"]),
            Outcome::Ok
        );
    }
}
