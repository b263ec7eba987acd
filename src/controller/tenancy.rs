//! The tenancy file: read at the start, and again whenever it changes. (io)

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::watch;

use super::metrics::Metrics;
use crate::api::{LabelSelector, LabelSelectorOperator, LabelSelectorRequirement};
use crate::lifecycle::tenancy::GrantedDomain;
use crate::limits;
use crate::protocol::Domain;

/// The grants, and the labels that select namespaces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tenancy(crate::lifecycle::tenancy::Tenancy<Selector>);

/// Why the tenancy file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TenancyError {
    /// It cannot be read.
    #[error("the tenancy file {path} cannot be read: {source}")]
    Unreadable {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no list of grants.
    #[error(
        "the tenancy file {path} is no list of {{namespaceSelector, domains}}: {why}; docs/multi-tenancy.md shows one"
    )]
    Malformed {
        /// Where it is.
        path: PathBuf,
        /// What is wrong, with the field and the line.
        why: String,
    },
}

impl Tenancy {
    /// Reads the text of a tenancy file. (pure)
    fn parse(text: &str) -> Result<Self, String> {
        match serde_yaml::from_str(text) {
            Ok(Some(grants)) => Ok(Self(grants)),
            // Half written, say.
            Ok(None) => Err("it is empty (write [] to grant nothing to anybody)".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether a namespace with these labels may claim `domain`. One whose labels nobody knows may
    /// claim nothing: a condition that a label is absent would hold for it.
    pub(super) fn allows(
        &self,
        domain: &Domain,
        labels: &Option<BTreeMap<String, String>>,
    ) -> bool {
        let labels = labels.as_ref();
        labels.is_some_and(|labels| self.0.allows(domain, |s| s.0.matches(labels)))
    }

    /// What a namespace with these labels may claim.
    pub(super) fn granted(&self, labels: &Option<BTreeMap<String, String>>) -> Vec<GrantedDomain> {
        let Some(labels) = labels else {
            return Vec::new();
        };
        self.0.granted(|s| s.0.matches(labels)).cloned().collect()
    }
}

/// The sentence for a namespace that may not claim `domain`. (pure)
pub(super) fn refusal(namespace: &str, domain: &Domain, granted: &[GrantedDomain]) -> String {
    let shown = granted.iter().take(limits::GRANTS_SHOWN);
    let mut shown: Vec<String> = shown.map(ToString::to_string).collect();
    match granted.len() {
        0 => shown.push("none".to_owned()),
        n if n > shown.len() => shown.push("…".to_owned()),
        _ => {}
    }
    format!(
        "the namespace {namespace} may not claim {domain}; granted to it: {}. The administrator of the operator grants \
         domains in its tenancy file (--tenancy-file), and labels the namespaces that a grant selects; what is \
         published already stays as it is",
        shown.join(", ")
    )
}

/// A label selector in which a misspelt field is an error: left out, it would select everything.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "StrictSelector")]
struct Selector(LabelSelector);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StrictSelector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    #[serde(default)]
    match_expressions: Vec<StrictRequirement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictRequirement {
    key: String,
    operator: LabelSelectorOperator,
    #[serde(default)]
    values: Vec<String>,
}

impl TryFrom<StrictSelector> for Selector {
    type Error = String;

    fn try_from(strict: StrictSelector) -> Result<Self, String> {
        let expressions = strict.match_expressions.into_iter().map(|requirement| {
            let StrictRequirement {
                key,
                operator,
                values,
            } = requirement;
            let wants_values = matches!(
                operator,
                LabelSelectorOperator::In | LabelSelectorOperator::NotIn
            );
            if wants_values == values.is_empty() {
                return Err(format!(
                    "the expression on {key}: write values with the operators In and NotIn, and only there"
                ));
            }
            Ok(LabelSelectorRequirement {
                key,
                operator,
                values,
            })
        });
        Ok(Self(LabelSelector {
            match_labels: strict.match_labels,
            match_expressions: expressions.collect::<Result<_, _>>()?,
        }))
    }
}

/// What holds now.
#[derive(Clone, Debug)]
pub(super) struct Grants {
    now: watch::Receiver<Option<Arc<Tenancy>>>,
}

impl Grants {
    /// `None`: the administrator grants nothing in particular.
    pub(super) fn now(&self) -> Option<Arc<Tenancy>> {
        self.now.borrow().clone()
    }

    /// Waits until something else holds; for ever, if nothing ever will.
    pub(super) async fn changed(&mut self) {
        if self.now.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Reads the file and follows its changes for as long as the process lives. One that cannot be used
/// any more is told, and what held before holds on.
pub(super) async fn follow(path: Option<&Path>, metrics: &Metrics) -> Result<Grants, TenancyError> {
    let Some(path) = path else {
        return Ok(Grants {
            now: watch::channel(None).1,
        });
    };
    let first = Arc::new(load(path).await?);
    let (grants, now) = watch::channel(Some(first.clone()));
    tokio::spawn(keep_up(path.to_owned(), first, grants, metrics.clone()));
    Ok(Grants { now })
}

async fn keep_up(
    path: PathBuf,
    first: Arc<Tenancy>,
    grants: watch::Sender<Option<Arc<Tenancy>>>,
    metrics: Metrics,
) {
    let mut known = Ok(first);
    loop {
        tokio::time::sleep(limits::TENANCY_CHECK_TIME).await;
        // By its content: a mounted ConfigMap changes by a symbolic link, whose time says nothing.
        let found = load(&path).await;
        let found = found.map(Arc::new).map_err(|error| error.to_string());
        if found == known {
            continue;
        }
        metrics.tenancy_file(found.is_ok());
        match &found {
            Ok(tenancy) => {
                tracing::info!(path = %path.display(), "the tenancy file was read");
                grants.send_replace(Some(tenancy.clone()));
            }
            Err(error) => {
                tracing::error!("{error}; the grants that held before hold until it is mended");
            }
        }
        known = found;
    }
}

async fn load(path: &Path) -> Result<Tenancy, TenancyError> {
    let file = path.to_owned();
    let text = tokio::task::spawn_blocking(move || read(&file)).await;
    let text = text.unwrap_or_else(|ended| Err(std::io::Error::other(ended)));
    let text = text.map_err(|source| TenancyError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    Tenancy::parse(&text).map_err(|why| TenancyError::Malformed {
        path: path.to_owned(),
        why,
    })
}

fn read(path: &Path) -> Result<String, std::io::Error> {
    let limit = limits::TENANCY_FILE_BYTES;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        let why = format!("it has more than {limit} bytes");
        return Err(std::io::Error::other(why));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
- namespaceSelector:
    matchLabels: {team: mail}
  domains: [example.org, '*.example.net']
- namespaceSelector:
    matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [shop]}]
  domains: [shop.example.org]
";

    fn labels(pairs: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
        let owned = |&(k, v): &(&str, &str)| (k.to_owned(), v.to_owned());
        Some(pairs.iter().map(owned).collect())
    }

    #[test]
    fn a_grant_goes_by_the_labels_of_the_namespace() {
        let tenancy = Tenancy::parse(GOOD).unwrap();
        let domain = |name| Domain::parse(name).unwrap();
        let mail = labels(&[("team", "mail")]);
        assert!(tenancy.allows(&domain("example.org"), &mail));
        assert!(tenancy.allows(&domain("a.b.example.net"), &mail));
        assert!(!tenancy.allows(&domain("shop.example.org"), &mail));
        let shop = labels(&[("kubernetes.io/metadata.name", "shop")]);
        assert!(tenancy.allows(&domain("shop.example.org"), &shop));
        for nobody in [labels(&[]), None] {
            assert!(!tenancy.allows(&domain("example.org"), &nobody));
        }
    }

    #[test]
    fn nobody_knows_the_labels_of_a_namespace_that_is_not_seen() {
        let absent = "[{namespaceSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}, domains: ['*']}]";
        for text in ["[{namespaceSelector: {}, domains: ['*']}]", absent] {
            let tenancy = Tenancy::parse(text).unwrap();
            let domain = Domain::parse("example.org").unwrap();
            assert!(tenancy.allows(&domain, &labels(&[])), "{text}");
            assert!(!tenancy.allows(&domain, &None), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_field_and_line() {
        let selector =
            |text: &str| format!("- namespaceSelector: {text}\n  domains: [example.org]\n");
        for (text, told) in [
            (String::new(), "it is empty"),
            ("# nothing\n".to_owned(), "it is empty"),
            ("tenancy: []".to_owned(), "sequence"),
            ("- domains: [example.org]\n".to_owned(), "namespaceSelector"),
            ("- namespaceSelector: {}\n".to_owned(), "domains"),
            (
                "- namespaceSelector: {}\n  domain: [example.org]\n".to_owned(),
                "unknown field `domain`",
            ),
            (
                selector("{matchLabel: {a: b}}"),
                "unknown field `matchLabel`",
            ),
            (
                selector("{matchExpressions: [{key: a, operator: in}]}"),
                "unknown variant `in`",
            ),
            (
                selector("{matchExpressions: [{key: a, operator: In}]}"),
                "write values",
            ),
            (
                "- namespaceSelector: {}\n  domains:\n    - example.org\n    - Example.net\n"
                    .to_owned(),
                ".[0].domains: the domain \"Example.net\" has capital letters, write example.net",
            ),
        ] {
            let error = Tenancy::parse(&text).unwrap_err();
            assert!(error.contains(told), "{text}\n{error}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_granted_and_by_whom() {
        let domain = Domain::parse("example.com").unwrap();
        let tenancy = Tenancy::parse(GOOD).unwrap();
        let granted = tenancy.granted(&labels(&[("team", "mail")]));
        let told = refusal("mail", &domain, &granted);
        assert!(told.starts_with("the namespace mail may not claim example.com; granted to it: example.org, *.example.net."), "{told}");
        assert!(refusal("mail", &domain, &[]).contains("granted to it: none"));
        let many: Vec<_> = std::iter::repeat_n(GrantedDomain::Any, 11).collect();
        assert!(refusal("mail", &domain, &many).contains("*, …"));
    }
}
