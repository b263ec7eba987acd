//! Which domains are looked at: those that are named, those of a list, those of policies in a cluster.

use std::collections::BTreeSet;

use kube::Api;
use kube::core::{ApiResource, DynamicObject};

use super::CheckArgs;
use crate::api::MtaStsPolicy;
use crate::cli::cluster::{Cluster, ClusterError, is_missing};
use crate::cli::dns_args::domain;
use crate::cli::lint;
use crate::cli::output::Streams;
use crate::limits::{CHECK_DOMAINS, CHECK_LIST_BYTES};
use crate::protocol::Domain;

/// The domains, each once, in the order in which they were given.
pub(super) async fn domains(
    args: &CheckArgs,
    streams: &mut Streams<'_>,
) -> Result<Vec<Domain>, String> {
    let mut written = Vec::new();
    for name in &args.domains {
        written.push(match is_policy(name) {
            true => of_policy(args, name).await?,
            false => name.clone(),
        });
    }
    written.extend(listed(args, streams)?);
    if written.is_empty() {
        return Err("there is no domain to check".to_owned());
    }
    if written.len() > CHECK_DOMAINS {
        return Err(format!(
            "there are more than {CHECK_DOMAINS} domains: check them in parts"
        ));
    }
    let mut seen = BTreeSet::new();
    let mut domains = Vec::new();
    for text in &written {
        let domain = domain(text)?;
        if seen.insert(domain.clone()) {
            domains.push(domain);
        }
    }
    Ok(domains)
}

/// A mail domain has a dot; what has none and could be an object's name is taken for one.
fn is_policy(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.chars().all(plain)
}

fn listed(args: &CheckArgs, streams: &mut Streams<'_>) -> Result<Vec<String>, String> {
    let Some(path) = &args.file else {
        return Ok(Vec::new());
    };
    let name = path.to_string_lossy().into_owned();
    let bytes = lint::read(path, streams.stdin, CHECK_LIST_BYTES);
    let bytes = bytes.map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

/// The domain of an MtaStsPolicy in the cluster.
async fn of_policy(args: &CheckArgs, name: &str) -> Result<String, String> {
    let found = async {
        let cluster = args.cluster.connect().await?;
        read(&cluster, args.namespace.as_deref(), name).await
    };
    found.await.map_err(|error: ClusterError| {
        format!("{name} is no mail domain, so the MtaStsPolicy of this name is looked for: {error}")
    })
}

async fn read(
    cluster: &Cluster,
    namespace: Option<&str>,
    name: &str,
) -> Result<String, ClusterError> {
    let namespace = namespace.unwrap_or(&cluster.namespace);
    let resource = ApiResource::erase::<MtaStsPolicy>(&());
    let client = cluster.client.clone();
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
    let object = match api.get(name).await {
        Ok(object) => object,
        Err(error) if is_missing(&error) => {
            return Err(ClusterError::Unclear(format!(
                "there is none in the namespace {namespace}: give another with -n"
            )));
        }
        Err(error) => {
            return Err(ClusterError::api(format!(
                "MtaStsPolicy {namespace}/{name}"
            ))(error));
        }
    };
    let domain = object
        .data
        .pointer("/spec/domain")
        .and_then(|it| it.as_str());
    domain.map(str::to_owned).ok_or_else(|| {
        ClusterError::Unclear(format!("MtaStsPolicy {namespace}/{name} names no domain"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_dot_is_a_domain() {
        for (name, expected) in [
            ("example-org", true),
            ("example.org", false),
            ("Example", false),
            ("", false),
            ("bücher", false),
        ] {
            assert_eq!(is_policy(name), expected, "{name}");
        }
    }
}
