//! The objects that the operator works with: its namespace, IngressClasses, Gateway API,
//! providers, policies, and what was left behind. (io)

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Resource, ResourceExt as _};
use serde_json::Value;

use super::Site;
use super::answer::Answer;
use crate::api::{ClusterDnsProvider, DnsProvider, FIELD_MANAGER, MtaStsPolicy};
use crate::cli::cluster::is_missing;
use crate::cli::status::pages;
use crate::cli::words::{counted, time};
use crate::lifecycle::Publication;
use crate::lifecycle::record::{PUBLICATION_KEY, RECORD_ROLE, ROLE_LABEL};

/// Objects that a line names; of the others it only gives the number.
const NAMED: usize = 5;

pub(super) async fn look(site: &Site<'_>) -> Vec<Answer> {
    let mut answers = vec![own_namespace(site).await];
    let policies = policies(site).await;
    answers.push(ingress_class(site).await);
    answers.extend(providers::<ClusterDnsProvider>(site).await);
    answers.extend(providers::<DnsProvider>(site).await);
    match policies {
        Ok(policies) => {
            answers.extend(gateway_api(site, &policies).await);
            answers.push(readiness(&policies));
            answers.extend(left_behind(site, &policies).await);
        }
        // That is told with the definitions.
        Err(error) if is_missing(&error) => {}
        Err(error) => answers.push(Answer::unknown("policies", "MtaStsPolicy", &error)),
    }
    answers
}

async fn own_namespace(site: &Site<'_>) -> Answer {
    let (check, subject) = ("namespace", site.namespace.clone());
    // By a list of one: the operator may list namespaces.
    let params = ListParams::default().fields(&format!("metadata.name={subject}"));
    let api = Api::<Namespace>::all(site.cluster.client.clone());
    match api.list(&params).await.map(|found| found.items) {
        Err(error) => Answer::unknown(check, subject, &error),
        Ok(found) => match found
            .first()
            .map(|n| n.metadata.deletion_timestamp.is_some())
        {
            None => Answer::error(check, subject, "it does not exist")
                .remedy("say with -n where the operator is"),
            Some(true) => Answer::error(
                check,
                subject,
                "it is being deleted, and the operator with it",
            )
            .remedy(
                "install the operator again; mta-sts status -A says which domains are published",
            ),
            Some(false) => Answer::ok(check, subject, "it is there"),
        },
    }
}

async fn policies(site: &Site<'_>) -> Result<Vec<DynamicObject>, kube::Error> {
    all_of::<MtaStsPolicy>(site, true).await
}

/// All objects of a kind, in the namespaces that are watched.
pub(super) async fn all_of<K>(
    site: &Site<'_>,
    namespaced: bool,
) -> Result<Vec<DynamicObject>, kube::Error>
where
    K: Resource<DynamicType = ()>,
{
    let resource = ApiResource::erase::<K>(&());
    let client = &site.cluster.client;
    let watched = &site.args.watch_namespaces;
    if watched.is_empty() || !namespaced {
        let all = Api::all_with(client.clone(), &resource);
        return pages(&all, &ListParams::default()).await;
    }
    let mut found = Vec::new();
    for namespace in watched {
        let api = Api::namespaced_with(client.clone(), namespace, &resource);
        found.append(&mut pages(&api, &ListParams::default()).await?);
    }
    Ok(found)
}

async fn ingress_class(site: &Site<'_>) -> Answer {
    let check = "ingress-class";
    let api = Api::<IngressClass>::all(site.cluster.client.clone());
    let classes = match api.list(&ListParams::default()).await {
        Ok(classes) => classes.items,
        Err(error) => return Answer::unknown(check, "IngressClasses", &error),
    };
    if let Some(wanted) = &site.args.default_ingress_class {
        return if classes.iter().any(|class| class.name_any() == *wanted) {
            Answer::ok(check, wanted, "the operator's default is there")
        } else {
            Answer::error(check, wanted, "the operator's default does not exist")
                .remedy("create it, or correct --default-ingress-class of the controller")
        };
    }
    let is_default = |class: &&IngressClass| {
        let mark = "ingressclass.kubernetes.io/is-default-class";
        class
            .annotations()
            .get(mark)
            .is_some_and(|value| value == "true")
    };
    let default: Vec<String> = classes
        .iter()
        .filter(is_default)
        .map(|c| c.name_any())
        .collect();
    match default.as_slice() {
        [one] => Answer::ok(check, one, "it is the cluster's default"),
        [] => Answer::warning(
            check,
            "default",
            "there is none: each policy has to say where it is hosted",
        )
        .remedy(
            "mark an IngressClass as the default, or give the controller --default-ingress-class",
        ),
        several => Answer::warning(
            check,
            several.join(", "),
            "more than one is marked as the default",
        )
        .remedy("leave the mark on one, or give the controller --default-ingress-class"),
    }
}

async fn gateway_api(site: &Site<'_>, policies: &[DynamicObject]) -> Option<Answer> {
    let (check, group) = ("gateway-api", "gateway.networking.k8s.io/v1");
    let uses = |policy: &&DynamicObject| policy.data.pointer("/spec/hosting/gateway").is_some();
    let users = policies.iter().filter(uses).count();
    if users == 0 {
        return None;
    }
    let users = counted(users, "policy");
    let found = match site.cluster.client.list_api_group_resources(group).await {
        Ok(found) => found.resources.iter().any(|r| r.kind == "HTTPRoute"),
        Err(error) if is_missing(&error) => false,
        Err(error) => return Some(Answer::unknown(check, group, &error)),
    };
    Some(if found {
        Answer::ok(check, group, format!("HTTPRoute is served, for {users}"))
    } else {
        Answer::error(
            check,
            group,
            format!("HTTPRoute is not served, and {users} would use it"),
        )
        .remedy("install the Gateway API's definitions and a controller for them")
    })
}

/// The condition `Ready`: its status, reason and message.
fn ready(object: &DynamicObject) -> Option<(&str, &str, &str)> {
    let conditions = object.data.pointer("/status/conditions")?.as_array()?;
    let ready = conditions
        .iter()
        .find(|c| c.get("type").is_some_and(|t| t == "Ready"))?;
    let field = |name: &str| ready.get(name).and_then(Value::as_str).unwrap_or_default();
    Some((field("status"), field("reason"), field("message")))
}

fn place(object: &DynamicObject) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

async fn providers<K>(site: &Site<'_>) -> Vec<Answer>
where
    K: Resource<DynamicType = ()>,
{
    let kind = K::kind(&());
    let all = match all_of::<K>(site, kind == "DnsProvider").await {
        Ok(all) => all,
        Err(error) if is_missing(&error) => return Vec::new(),
        Err(error) => return vec![Answer::unknown("providers", kind, &error)],
    };
    if all.is_empty() {
        return vec![Answer::ok("providers", kind, "there is none")];
    }
    let judge = |object: &DynamicObject| {
        let subject = format!("{kind} {}", place(object));
        match ready(object) {
            Some(("True", ..)) => Answer::ok("providers", subject, "it is ready"),
            Some((_, reason, message)) => {
                Answer::error("providers", subject, format!("{reason}: {message}")).remedy(
                    "mend what the message names; docs/conditions.md tells more of each reason",
                )
            }
            None => Answer::warning(
                "providers",
                subject,
                "the controller has not looked at it yet",
            ),
        }
    };
    all.iter().map(judge).collect()
}

fn readiness(policies: &[DynamicObject]) -> Answer {
    let (check, subject) = ("policies", "MtaStsPolicy");
    let unready: Vec<String> = policies
        .iter()
        .filter_map(|policy| match ready(policy) {
            Some(("True", ..)) => None,
            Some((_, reason, _)) => Some(format!("{} ({reason})", place(policy))),
            None => Some(format!("{} (not looked at)", place(policy))),
        })
        .collect();
    let all = counted(policies.len(), "policy");
    if unready.is_empty() {
        return Answer::ok(check, subject, format!("{all}, all of them Ready"));
    }
    let message = format!("{} of {all} not Ready: {}", unready.len(), named(&unready));
    Answer::warning(check, subject, message)
        .remedy("mta-sts status -A, and of one: mta-sts status -n NAMESPACE NAME")
}

fn named(names: &[String]) -> String {
    let (shown, more) = names.split_at(names.len().min(NAMED));
    let mut text = shown.join(", ");
    if !more.is_empty() {
        text.push_str(&format!(" and {} more", more.len()));
    }
    text
}

/// Records whose object is gone, and Ingresses without a record.
async fn left_behind(site: &Site<'_>, policies: &[DynamicObject]) -> Vec<Answer> {
    let check = "leftovers";
    let client = &site.cluster.client;
    let records = Api::<ConfigMap>::namespaced(client.clone(), &site.namespace);
    let params = ListParams::default().labels(&format!("{ROLE_LABEL}={RECORD_ROLE}"));
    let records = match pages(&records, &params).await {
        Ok(records) => records,
        Err(error) => return vec![Answer::unknown(check, "records", &error)],
    };
    let uids: BTreeSet<String> = policies.iter().filter_map(|p| p.uid()).collect();
    let mut answers: Vec<Answer> = records
        .iter()
        .filter_map(|record| judge_record(site, record, &uids))
        .collect();
    // The operator lists Ingresses everywhere, or where it watches.
    let ingresses = Api::<Ingress>::all(client.clone());
    let params =
        ListParams::default().labels(&format!("app.kubernetes.io/managed-by={FIELD_MANAGER}"));
    let names: BTreeSet<String> = records.iter().map(|r| r.name_any()).collect();
    match pages(&ingresses, &params).await {
        Ok(found) => answers.extend(
            found
                .iter()
                .filter(|i| i.namespace().as_ref() == Some(&site.namespace))
                .filter(|i| !names.contains(&i.name_any()))
                .map(|ingress| {
                    let subject = format!("Ingress {}/{}", site.namespace, ingress.name_any());
                    Answer::warning(check, subject, "it belongs to no domain any more")
                        .remedy("kubectl delete it, once nothing announces its host")
                }),
        ),
        Err(error) => answers.push(Answer::unseen(check, "Ingresses", &error)),
    }
    if answers.is_empty() {
        answers.push(Answer::ok(
            check,
            "records and Ingresses",
            "each belongs to a policy",
        ));
    }
    answers
}

fn judge_record(site: &Site<'_>, record: &ConfigMap, uids: &BTreeSet<String>) -> Option<Answer> {
    let check = "leftovers";
    let subject = format!("record {}/{}", site.namespace, record.name_any());
    let text = record
        .data
        .as_ref()
        .and_then(|data| data.get(PUBLICATION_KEY));
    let publication = text.and_then(|text| serde_json::from_str::<Publication>(text).ok());
    let Some(publication) = publication else {
        return Some(
            Answer::warning(check, subject, "it was edited by hand and cannot be read")
                .remedy("delete it: the controller makes it anew, and assumes the worst of what senders hold"),
        );
    };
    let (domain, owner) = (&publication.domain, &publication.owner);
    if let Some(retiring) = &publication.retiring {
        let since = time(retiring.since);
        return Some(Answer::ok(
            check,
            subject,
            format!("{domain} is being retired since {since}"),
        ));
    }
    if uids.contains(&owner.uid) {
        return None;
    }
    let object = format!("{}/{}", owner.namespace, owner.name);
    let message = format!("{domain} is still published, and its object {object} is gone");
    Some(Answer::warning(check, subject, message).remedy(format!(
        "create {object} again: it takes the domain over; then delete it, if the domain is to go"
    )))
}
