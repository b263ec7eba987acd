//! The CustomResourceDefinitions: there, served, and those of this version. (io)

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::Site;
use super::answer::Answer;
use crate::api::{self, GROUP, VERSION};
use crate::cli::cluster::is_forbidden;

const CHECK: &str = "crds";

pub(super) async fn look(site: &Site<'_>) -> Vec<Answer> {
    let installed = Api::<CustomResourceDefinition>::all(site.cluster.client.clone());
    let mut answers = Vec::new();
    for wanted in api::crds() {
        let name = wanted.name_any();
        match installed.get_opt(&name).await {
            Ok(Some(found)) => answers.extend(judge(&name, &found, &wanted)),
            Ok(None) => answers.push(missing(&name)),
            Err(error) if is_forbidden(&error) => return served(site).await,
            Err(error) => answers.push(Answer::unknown(CHECK, name, &error)),
        }
    }
    answers
}

fn missing(name: &str) -> Answer {
    Answer::error(CHECK, name, "it is not installed").remedy(APPLY)
}

/// For whoever may not read them: at least whether the API server serves the kinds.
async fn served(site: &Site<'_>) -> Vec<Answer> {
    let version = format!("{GROUP}/{VERSION}");
    let found = match site.cluster.client.list_api_group_resources(&version).await {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if status.code == 404 => Default::default(),
        Err(error) => return vec![Answer::unknown(CHECK, version, &error)],
    };
    let is_served = |kind: &str| found.resources.iter().any(|r| r.kind == kind);
    let all = api::crds().into_iter().map(|wanted| {
        let name = wanted.name_any();
        if is_served(&wanted.spec.names.kind) {
            let message = format!("{VERSION} is served; its schema may not be read here");
            Answer::ok(CHECK, name, message)
        } else {
            missing(&name)
        }
    });
    all.collect()
}

const APPLY: &str = "helm upgrade with the chart of this version, or: mta-sts crds | kubectl apply --server-side -f -";

fn judge(
    name: &str,
    found: &CustomResourceDefinition,
    wanted: &CustomResourceDefinition,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    if found.metadata.deletion_timestamp.is_some() {
        answers.push(
            Answer::error(
                CHECK,
                name,
                "it is being deleted, and all its objects with it",
            )
            .remedy(
                "let the controller finish, or mta-sts uninstall --keep; then install it again",
            ),
        );
    }
    let conditions = found
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    for condition in conditions {
        let bad = ["Established", "NamesAccepted"].contains(&condition.type_.as_str())
            && condition.status != "True";
        if bad {
            let why = condition.message.clone().unwrap_or_default();
            let message = format!("{} is {}: {why}", condition.type_, condition.status);
            answers
                .push(Answer::error(CHECK, name, message).remedy(
                    "another kind may have the same name: kubectl describe crd says which",
                ));
        }
    }
    match difference(found, wanted) {
        Some(at) => answers.push(
            Answer::error(
                CHECK,
                name,
                format!("it is of another version than this binary: {at}"),
            )
            .remedy(format!(
                "{APPLY}; or use the binary of the version that is installed"
            )),
        ),
        None if answers.is_empty() => {
            let message = format!("{VERSION} is served, with the schema of this binary");
            answers.push(Answer::ok(CHECK, name, message));
        }
        None => {}
    }
    answers
}

/// Where the installed definition differs from ours.
fn difference(
    found: &CustomResourceDefinition,
    wanted: &CustomResourceDefinition,
) -> Option<String> {
    let version = |crd: &CustomResourceDefinition| {
        let mut all = crd.spec.versions.iter();
        all.find(|version| version.name == VERSION).cloned()
    };
    let Some(installed) = version(found).filter(|version| version.served) else {
        return Some(format!("it does not serve {VERSION}"));
    };
    let ours = version(wanted)?;
    if found.spec.scope != wanted.spec.scope {
        return Some(format!("its scope is {}", found.spec.scope));
    }
    let parts = |version: &CustomResourceDefinitionVersion| {
        let schema = version.schema.as_ref()?.open_api_v3_schema.as_ref()?;
        serde_json::to_value((
            schema,
            &version.subresources,
            &version.selectable_fields,
            &version.additional_printer_columns,
        ))
        .ok()
    };
    let (installed, ours) = (parts(&installed)?, parts(&ours)?);
    let names = ["", "subresources", "selectableFields", "printer columns"];
    let pairs = installed.as_array()?.iter().zip(ours.as_array()?);
    pairs.zip(names).find_map(|((has, wants), name)| {
        let path = first_difference(has, wants)?;
        Some(format!("{name}{path} is another"))
    })
}

/// The path to the first value in which two documents differ, by the names of fields.
fn first_difference(a: &Value, b: &Value) -> Option<String> {
    if a == b {
        return None;
    }
    let (Value::Object(a), Value::Object(b)) = (a, b) else {
        return Some(String::new());
    };
    let keys = a.keys().chain(b.keys());
    let mut paths = keys.filter_map(|key| {
        let null = Value::Null;
        let deeper = first_difference(a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null))?;
        // What stands between the names of fields says nothing to a person.
        Some(match key.as_str() {
            "properties" | "items" => deeper,
            _ => format!(".{key}{deeper}"),
        })
    });
    paths.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_differs_from_itself_in_nothing() {
        for crd in api::crds() {
            assert_eq!(difference(&crd, &crd), None);
        }
    }

    #[test]
    fn a_difference_is_named_by_the_path_of_its_field() {
        let wanted = api::crds().remove(0);
        let mut text = serde_json::to_value(&wanted).unwrap();
        text["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            ["maxAgeSeconds"]["type"] = "string".into();
        let found = serde_json::from_value(text).unwrap();
        let at = difference(&found, &wanted).unwrap();
        assert_eq!(at, ".spec.maxAgeSeconds.type is another");
    }
}
