//! What the operator may do, asked of the API server for each right that it needs. (io)

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use serde_json::Value;

use super::Site;
use super::answer::Answer;
use super::objects::all_of;
use crate::api::{ClusterDnsProvider, DnsProvider};
use crate::controller::rights::{Place, RIGHTS, Right, Role};

const CHECK: &str = "rights";
/// The operator's ServiceAccount, where nothing says another one.
const DEFAULT_ACCOUNT: &str = "mta-sts-operator";
/// Questions at a time.
const AT_ONCE: usize = 8;

pub(super) async fn look(site: &Site<'_>) -> Vec<Answer> {
    let caller = caller(site).await;
    let prefix = format!("system:serviceaccount:{}:", site.namespace);
    let itself = caller
        .as_deref()
        .filter(|user| user.starts_with(&prefix) && site.args.service_account.is_none());
    let account = site.args.service_account.as_deref();
    let user = match itself {
        Some(user) => user.to_owned(),
        None => format!("{prefix}{}", account.unwrap_or(DEFAULT_ACCOUNT)),
    };
    let mut answers = Vec::new();
    if itself.is_none() {
        answers.extend(account_exists(site, user.trim_start_matches(&prefix)).await);
    }
    answers.push(ask_all(site, &user, itself.is_some(), Role::Controller).await);
    // In a pod of the controller's that is all: what the policy server may do is a part of it.
    let server = site.args.policy_service_account.as_deref();
    if let Some(server) = server {
        answers.extend(account_exists(site, server).await);
        let user = format!("{prefix}{server}");
        answers.push(ask_all(site, &user, false, Role::PolicyServer).await);
    }
    answers
}

/// Who asks.
async fn caller(site: &Site<'_>) -> Option<String> {
    let api = Api::<SelfSubjectReview>::all(site.cluster.client.clone());
    let answer = api
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .ok()?;
    answer.status?.user_info?.username
}

async fn account_exists(site: &Site<'_>, name: &str) -> Option<Answer> {
    let api = Api::<ServiceAccount>::namespaced(site.cluster.client.clone(), &site.namespace);
    let subject = format!("ServiceAccount {}/{name}", site.namespace);
    match api.get_opt(name).await {
        Ok(Some(_)) => None,
        Ok(None) => Some(
            Answer::error(CHECK, subject, "it does not exist")
                .remedy("install the operator, or say which one it runs as: --service-account, -n"),
        ),
        // Its rights can be asked for all the same.
        Err(_) => None,
    }
}

/// All rights of a role; those that are missing, by resource.
async fn ask_all(site: &Site<'_>, user: &str, itself: bool, role: Role) -> Answer {
    let subject = user.trim_start_matches("system:").to_owned();
    let mut questions: Vec<Question> = RIGHTS
        .iter()
        .filter(|right| right.role == role && right.resource != "secrets")
        .flat_map(|right| questions(site, right))
        .collect();
    if role == Role::Controller {
        questions.extend(secrets(site).await);
    }
    let answers: Vec<(Question, Result<bool, kube::Error>)> = futures::stream::iter(questions)
        .map(|question| async move {
            let allowed = ask(site, user, itself, &question.attributes).await;
            (question, allowed)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (question, allowed) in answers {
        match allowed {
            Ok(true) => {}
            Ok(false) => {
                let verb = question.attributes.verb.unwrap_or_default();
                missing.entry(question.on).or_default().push(verb);
            }
            Err(error) => {
                return Answer::unseen(CHECK, subject, &error)
                    .remedy("ask as an administrator, or run it in a pod of the operator");
            }
        }
    }
    if missing.is_empty() {
        return Answer::ok(CHECK, subject, "it may do everything that it needs");
    }
    let words = missing
        .iter()
        .map(|(on, verbs)| format!("{} {on}", verbs.join(", ")));
    let words: Vec<String> = words.collect();
    Answer::error(CHECK, subject, format!("it may not {}", words.join("; "))).remedy(
        "helm upgrade with the chart's RBAC on, or kubectl apply -f examples/rbac/ of this version",
    )
}

struct Question {
    attributes: ResourceAttributes,
    /// The resource and the place, in words.
    on: String,
}

fn questions(site: &Site<'_>, right: &Right) -> Vec<Question> {
    let watched = &site.args.watch_namespaces;
    let places: Vec<Option<&String>> = match right.place {
        Place::Own => vec![Some(&site.namespace)],
        Place::Cluster => vec![None],
        Place::Watched if watched.is_empty() => vec![None],
        Place::Watched => watched.iter().map(Some).collect(),
    };
    let full = [right.resource, right.subresource]
        .join("/")
        .trim_end_matches('/')
        .to_owned();
    let ask = |place: Option<&String>, verb: &str| Question {
        on: match (place, right.place) {
            (Some(namespace), _) => format!("{full} in {namespace}"),
            (None, Place::Cluster) => full.clone(),
            (None, _) => format!("{full} in all namespaces"),
        },
        attributes: ResourceAttributes {
            namespace: place.cloned(),
            group: Some(right.group.to_owned()),
            resource: Some(right.resource.to_owned()),
            subresource: Some(right.subresource.to_owned()).filter(|s| !s.is_empty()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        },
    };
    let each = places
        .into_iter()
        .flat_map(|place| right.verbs.iter().map(move |verb| (place, *verb)));
    each.map(|(place, verb)| ask(place, verb)).collect()
}

/// Secrets are asked for by name, one that a provider uses: the right may be narrowed to those.
async fn secrets(site: &Site<'_>) -> Vec<Question> {
    let mut used = BTreeSet::new();
    // Providers that cannot be read are told elsewhere.
    let cluster = all_of::<ClusterDnsProvider>(site, false).await;
    let own = all_of::<DnsProvider>(site, true).await;
    for provider in cluster.into_iter().chain(own).flatten() {
        let namespace = provider.namespace().unwrap_or(site.namespace.clone());
        let mut names = Vec::new();
        secret_names(&provider.data, &mut names);
        used.extend(names.into_iter().map(|name| (namespace.clone(), name)));
    }
    let question = |(namespace, name): (String, String)| Question {
        on: format!("the Secret {namespace}/{name}"),
        attributes: ResourceAttributes {
            namespace: Some(namespace),
            group: Some(String::new()),
            resource: Some("secrets".to_owned()),
            name: Some(name),
            verb: Some("get".to_owned()),
            ..ResourceAttributes::default()
        },
    };
    used.into_iter().map(question).collect()
}

/// The names under `secretRef`, `apiTokenSecretRef` and the like.
fn secret_names(value: &Value, names: &mut Vec<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        match inner.get("name").and_then(Value::as_str) {
            Some(name) if key.to_lowercase().ends_with("secretref") => names.push(name.to_owned()),
            _ => secret_names(inner, names),
        }
    }
}

async fn ask(
    site: &Site<'_>,
    user: &str,
    itself: bool,
    attributes: &ResourceAttributes,
) -> Result<bool, kube::Error> {
    let client = site.cluster.client.clone();
    let params = PostParams::default();
    let status = if itself {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes.clone()),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        Api::all(client).create(&params, &review).await?.status
    } else {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                resource_attributes: Some(attributes.clone()),
                user: Some(user.to_owned()),
                groups: Some(groups(user)),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        Api::all(client).create(&params, &review).await?.status
    };
    Ok(status.is_some_and(|status| status.allowed))
}

/// The groups that every ServiceAccount is in: a review takes them as they are given.
fn groups(user: &str) -> Vec<String> {
    let namespace = user.split(':').nth(2).unwrap_or_default();
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ]
}
