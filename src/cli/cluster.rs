//! The cluster that a command talks to, chosen as kubectl does.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config, ResourceExt};

use super::exit;
use crate::controller::INSTALLATION_LABELS;

/// Which cluster, and as whom.
#[derive(Args, Clone, Debug, Default)]
pub struct ClusterArgs {
    /// The kubeconfig; default: as for kubectl, and in a pod its ServiceAccount
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig; default: its current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// A cluster that was chosen.
#[derive(Clone)]
pub struct Cluster {
    /// Speaks with its API server.
    pub client: Client,
    /// Where that is.
    pub url: String,
    /// The namespace of the context or the pod.
    pub namespace: String,
}

/// Why there is no answer of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Neither kubeconfig nor ServiceAccount.
    #[error(
        "there is no way to a cluster: give --kubeconfig, set KUBECONFIG, or run in a pod: {0}"
    )]
    Inferred(#[source] Box<kube::config::InferConfigError>),
    /// The kubeconfig, or the context in it.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(#[source] Box<KubeconfigError>),
    /// The API server refused or failed.
    #[error("{what}: {}", said(.source))]
    Api {
        /// What was tried.
        what: String,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// Something that was named is not there, or not clear.
    #[error("{0}")]
    Unclear(String),
}

impl ClusterError {
    /// The API server's answer to `what` was tried.
    pub fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        |source| Self::Api {
            what,
            source: Box::new(source),
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Api { .. } => exit::UNDETERMINED,
            Self::Inferred(_) | Self::Kubeconfig(_) | Self::Unclear(_) => exit::USAGE,
        }
    }
}

/// What the API server said, as a person reads it.
pub fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Whether the caller lacks the right.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Whether there is no such object, or no such kind.
pub fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

impl ClusterArgs {
    /// A client for the cluster; nothing is asked yet.
    ///
    /// # Errors
    /// The kubeconfig cannot be used, or there is none.
    pub async fn connect(&self) -> Result<Cluster, ClusterError> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(Duration::from_secs(10));
        let (url, namespace) = (
            config.cluster_url.to_string(),
            config.default_namespace.clone(),
        );
        let client = Client::try_from(config).map_err(ClusterError::api("a client"))?;
        Ok(Cluster {
            client,
            url,
            namespace,
        })
    }

    async fn config(&self) -> Result<Config, ClusterError> {
        let unusable = |error| ClusterError::Kubeconfig(Box::new(error));
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let kubeconfig = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => Kubeconfig::read_from(path),
            (None, Some(_)) => Kubeconfig::read(),
            (None, None) => {
                let inferred = Config::infer().await;
                return inferred.map_err(|error| ClusterError::Inferred(Box::new(error)));
            }
        };
        let kubeconfig = kubeconfig.map_err(unusable)?;
        Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(unusable)
    }
}

impl Cluster {
    /// The namespaces in which an operator has been started: each has the ConfigMap with its
    /// installation id.
    ///
    /// # Errors
    /// The caller may not list ConfigMaps everywhere.
    pub async fn installations(&self) -> Result<Vec<String>, kube::Error> {
        let params = ListParams::default().labels(INSTALLATION_LABELS);
        let found = Api::<ConfigMap>::all(self.client.clone())
            .list(&params)
            .await?;
        let mut namespaces: Vec<String> = found.iter().filter_map(ResourceExt::namespace).collect();
        namespaces.sort();
        namespaces.dedup();
        Ok(namespaces)
    }
}

/// Runs a command that talks to a cluster.
pub fn run(command: impl Future<Output = u8>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => ExitCode::from(runtime.block_on(command)),
        Err(_) => ExitCode::from(exit::UNDETERMINED),
    }
}
