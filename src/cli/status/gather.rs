//! Reads the policies that were asked for, and the record of a single one. (io)

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};

use super::StatusArgs;
use super::report::{PolicyReport, RecordReport, Report};
use crate::api::MtaStsPolicy;
use crate::cli::cluster::{Cluster, ClusterError, is_forbidden, is_missing, said};
use crate::config::DEFAULT_NAMESPACE;
use crate::lifecycle::names::object_name;
use crate::limits;
use crate::protocol::Domain;

/// Which policies are wanted.
pub(super) struct Wanted<'a> {
    args: &'a StatusArgs,
    cluster: &'a Cluster,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(args: &'a StatusArgs, cluster: &'a Cluster) -> Self {
        Self { args, cluster }
    }

    fn namespace(&self) -> &str {
        let of_context = &self.cluster.namespace;
        self.args.namespace.as_ref().unwrap_or(of_context)
    }

    /// A domain is looked for everywhere, unless a namespace is given.
    fn is_everywhere(&self) -> bool {
        self.args.all_namespaces || (self.args.domain.is_some() && self.args.namespace.is_none())
    }

    /// The objects that are watched for changes.
    pub(super) fn api(&self) -> Api<DynamicObject> {
        if self.is_everywhere() {
            let resource = ApiResource::erase::<MtaStsPolicy>(&());
            Api::all_with(self.cluster.client.clone(), &resource)
        } else {
            self.api_here()
        }
    }

    fn api_here(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<MtaStsPolicy>(&());
        Api::namespaced_with(self.cluster.client.clone(), self.namespace(), &resource)
    }

    pub(super) async fn gather(&self) -> Result<Report, ClusterError> {
        let mut policies: Vec<PolicyReport> = self
            .list()
            .await?
            .iter()
            .filter(|object| self.is_of_domain(object))
            .map(PolicyReport::of)
            .collect();
        policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        if self.args.name.is_some() || self.args.domain.is_some() {
            let namespace = self.operator_namespace().await;
            for policy in &mut policies {
                policy.record = self.record(&namespace, policy).await;
            }
        }
        Ok(Report::new(policies))
    }

    async fn list(&self) -> Result<Vec<DynamicObject>, ClusterError> {
        let what = "the MtaStsPolicy objects cannot be listed";
        let mut params = ListParams::default();
        if let Some(name) = &self.args.name {
            params = params.fields(&format!("metadata.name={name}"));
        }
        let listed = pages(&self.api(), &params).await;
        let listed = match listed {
            Err(error) if is_forbidden(&error) && self.args.domain.is_some() => {
                pages(&self.api_here(), &params).await
            }
            other => other,
        };
        listed.map_err(|error| {
            if is_missing(&error) {
                ClusterError::Unclear(format!(
                    "{what}: the cluster {} does not know the kind; mta-sts doctor says what is missing",
                    self.cluster.url
                ))
            } else {
                ClusterError::api(what)(error)
            }
        })
    }

    fn is_of_domain(&self, object: &DynamicObject) -> bool {
        let wanted = self.args.domain.as_ref();
        wanted.is_none_or(|domain| {
            let spec = object.data.get("spec");
            let of_object = spec.and_then(|spec| spec.get("domain")?.as_str());
            of_object == Some(domain.as_str())
        })
    }

    async fn operator_namespace(&self) -> String {
        if let Some(given) = &self.args.operator_namespace {
            return given.clone();
        }
        match self.cluster.installations().await.as_deref() {
            Ok([only]) => only.clone(),
            _ => DEFAULT_NAMESPACE.to_owned(),
        }
    }

    async fn record(&self, namespace: &str, policy: &PolicyReport) -> Option<RecordReport> {
        let domain = Domain::parse(policy.domain.as_ref()?).ok()?;
        let name = object_name(&domain);
        let api = Api::<ConfigMap>::namespaced(self.cluster.client.clone(), namespace);
        let place = format!("{namespace}/{name}");
        Some(match api.get_opt(&name).await {
            Ok(Some(object)) => RecordReport::of(place, &object, &policy.uid),
            Ok(None) => RecordReport::unreadable(place, "there is none".to_owned()),
            Err(error) => RecordReport::unreadable(place, said(&error)),
        })
    }

    /// What to say where one policy was asked for and is not there.
    pub(super) fn missing(&self) -> Option<String> {
        let namespace = self.namespace();
        if let Some(name) = &self.args.name {
            return Some(format!(
                "there is no MtaStsPolicy {name} in the namespace {namespace}: give another with -n, or look in all with -A"
            ));
        }
        self.args.domain.as_ref().map(|domain| {
            format!("no MtaStsPolicy that can be read here is for the domain {domain}")
        })
    }

    /// What to say where there are none at all.
    pub(super) fn nothing(&self) -> String {
        if self.is_everywhere() {
            "there is no MtaStsPolicy in the cluster".to_owned()
        } else {
            format!(
                "there is no MtaStsPolicy in the namespace {}: look in all with -A",
                self.namespace()
            )
        }
    }
}

/// A whole list, page by page.
pub(in crate::cli) async fn pages<K>(
    api: &Api<K>,
    params: &ListParams,
) -> Result<Vec<K>, kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut params = params.clone().limit(limits::LIST_PAGE);
    let mut all = Vec::new();
    loop {
        let mut page = api.list(&params).await?;
        all.append(&mut page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}
