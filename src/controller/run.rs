//! Starting and ending the controller: clients, watches, the lease, the admin listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::controller::{Config as ControllerConfig, Controller};
use kube::runtime::events::Reporter;
use kube::runtime::watcher;
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::caches::{self, Caches, Fill, Filled, Streams, Triggers};
use super::context::{Context, DomainLocks, Memory};
use super::lease::{LeaderElector, Leadership, LeaseError, lease_client};
use super::mail_exchangers::MailExchangers;
use super::metrics::Metrics;
use super::records::{Records, object_labels};
use super::scope::Scope;
use super::service::Services;
use super::tenancy::{Grants, TenancyError};
use super::{leaving, providers, reconcile, retire, tenancy};
use crate::api::{ClusterDnsProvider, DnsProvider, FIELD_MANAGER};
use crate::config::ControllerArgs;
use crate::lifecycle::record::{RECORD_ROLE, ROLE_LABEL};
use crate::limits;
use crate::probe::dns::{
    AuthoritativeOverride, DnsProbe, DnsProbeSettings, LookupError, ServerAddressError,
    server_address,
};
use crate::probe::target::TargetPolicy;
use crate::probe::tls::{TrustStore, TrustStoreError};
use crate::protocol::{InstallationId, InstallationIdError};
use crate::serve::admin;
use crate::serve::listener::{self, Limits, Phase};

/// Why the controller cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// No kubeconfig and no service account.
    #[error(
        "there is no way to a cluster: set KUBECONFIG or run in a pod with a service account: {0}"
    )]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// The API server refused or failed.
    #[error("the API server: {0}")]
    Api(#[source] Box<kube::Error>),
    /// The admin listener.
    #[error("{address} cannot be listened on: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A flag that names a DNS server.
    #[error(transparent)]
    Server(#[from] ServerAddressError),
    /// The DNS settings.
    #[error(transparent)]
    Dns(#[from] LookupError),
    /// The trusted roots.
    #[error(transparent)]
    Trust(#[from] TrustStoreError),
    /// The installation's ConfigMap was edited.
    #[error(
        "the ConfigMap {name} holds no installation id: {source}; mend it, or start with --installation-id"
    )]
    InstallationId {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        source: InstallationIdError,
    },
    /// The tenancy file.
    #[error(transparent)]
    Tenancy(#[from] TenancyError),
    /// Signals cannot be awaited, or there is no randomness.
    #[error("the system: {0}")]
    System(#[source] std::io::Error),
    /// The lease was lost: another replica takes over, this one starts anew.
    #[error("the lease: {0}")]
    Lease(#[from] LeaseError),
    /// A task ended that never should.
    #[error("the {0} ended")]
    TaskEnded(&'static str),
}

impl From<kube::Error> for ControllerError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

/// Runs the controller until SIGTERM or SIGINT, or until the lease is lost.
pub async fn run(args: ControllerArgs) -> Result<(), ControllerError> {
    let config = Config::infer()
        .await
        .map_err(|error| ControllerError::Config(Box::new(error)))?;
    let namespace = args
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config.clone())?;
    let stop = stop_signal()?;
    let metrics = Metrics::new();
    let grants = tenancy::follow(args.tenancy_file.as_deref(), &metrics).await?;
    let scope = Scope::of(&args.watch_namespaces);
    let (caches, triggers, streams) =
        caches::start(&client, &namespace, &args.policy_service, &scope);
    let admin = serve_admin(args.admin_listen, &metrics, caches.clone(), stop.clone()).await?;

    let identity = args.identity.clone().unwrap_or_else(host_name);
    let elector = LeaderElector::new(
        lease_client(config)?,
        &namespace,
        &args.lease_name,
        &identity,
    );
    let leadership = elector.leadership();
    let (release, released) = watch::channel(false);
    let mut election = tokio::spawn(elector.run(stopped(released)));

    // Also a replica that does not lead: once the namespace is going, nobody can be elected.
    tokio::spawn(leaving::watch(
        client.clone(),
        caches.namespaces.clone(),
        scope,
        namespace.clone(),
    ));
    let work = work(
        args, client, namespace, caches, triggers, streams, leadership, metrics, grants, stop,
    );
    // Whatever ends first ends the process: nothing is written without the lease.
    let result = tokio::select! {
        lease = &mut election => match lease {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(ControllerError::TaskEnded("lease task")),
        },
        result = work => result,
        _ = admin => Err(ControllerError::TaskEnded("admin listener")),
    };
    // Nothing is written any more: the lease is released, and another replica starts at once.
    release.send_replace(true);
    match election.await {
        Ok(Ok(())) | Err(_) => result,
        Ok(Err(error)) => result.and(Err(error.into())),
    }
}

/// Waits for the lease, then reconciles until `stop`.
#[allow(clippy::too_many_arguments)]
async fn work(
    args: ControllerArgs,
    client: Client,
    namespace: String,
    caches: Caches,
    triggers: Triggers,
    streams: Streams,
    leadership: Leadership,
    metrics: Metrics,
    grants: Grants,
    stop: watch::Receiver<bool>,
) -> Result<(), ControllerError> {
    tokio::select! {
        () = leadership.acquired() => {}
        () = stopped(stop.clone()) => return Ok(()),
    }
    tracing::info!("this replica is the leader");
    metrics.leader(true);
    let context = context(args, client, namespace, caches, leadership, metrics, grants).await?;
    let context = Arc::new(context);
    tokio::select! {
        () = context.caches.ready() => {}
        () = stopped(stop.clone()) => return Ok(()),
    }
    tokio::spawn(look_again_at_new_grants(context.clone()));
    controllers(context, triggers, streams, stop).await;
    Ok(())
}

/// Has every policy looked at when the tenancy file has changed.
async fn look_again_at_new_grants(context: Arc<Context>) {
    let mut grants = context.tenancy.clone();
    loop {
        grants.changed().await;
        context.caches.tell_all();
    }
}

#[allow(clippy::too_many_arguments)]
async fn context(
    args: ControllerArgs,
    client: Client,
    namespace: String,
    caches: Caches,
    leadership: Leadership,
    metrics: Metrics,
    tenancy: Grants,
) -> Result<Context, ControllerError> {
    let targets = TargetPolicy {
        allowed: args.allow_targets.clone(),
    };
    let installation = match &args.installation_id {
        Some(id) => id.clone(),
        None => installation(&client, &namespace).await?,
    };
    tracing::info!(%installation, namespace, "starting");
    let reporter = Reporter {
        controller: FIELD_MANAGER.to_owned(),
        instance: args.identity.clone(),
    };
    Ok(Context {
        dns: DnsProbe::new(dns_settings(&args, &targets)?)?,
        trust: TrustStore::load(args.ca_file.as_deref())?,
        records: Records::new(Api::namespaced(client.clone(), &namespace)),
        reporter,
        client,
        settings: args,
        namespace,
        installation,
        caches,
        targets,
        leadership,
        metrics,
        memory: Memory::default(),
        locks: DomainLocks::default(),
        tenancy,
        services: Services::default(),
        mail_exchangers: MailExchangers::default(),
    })
}

fn dns_settings(
    args: &ControllerArgs,
    targets: &TargetPolicy,
) -> Result<DnsProbeSettings, ControllerError> {
    let servers = |texts: &[String]| {
        texts
            .iter()
            .map(|text| server_address(text))
            .collect::<Result<Vec<_>, _>>()
    };
    let overrides = args
        .authoritative
        .iter()
        .map(|text| text.parse::<AuthoritativeOverride>())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(DnsProbeSettings {
        verify: args.dns_verify.into(),
        resolvers: servers(&args.resolvers)?,
        roots: servers(&args.dns_roots)?,
        authoritative: overrides,
        targets: targets.clone(),
        ..DnsProbeSettings::default()
    })
}

/// Name of the ConfigMap that keeps the installation id.
const INSTALLATION: &str = "mta-sts-operator-installation";
/// Selects it, in whatever namespace it is.
pub const INSTALLATION_LABELS: &str = "mta-sts.dev/role=installation";
/// Its key.
const INSTALLATION_KEY: &str = "id";

/// The id of this installation: made once. A rival who makes it first is believed.
async fn installation(client: &Client, namespace: &str) -> Result<InstallationId, ControllerError> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    if let Some(kept) = api.get_opt(INSTALLATION).await? {
        return read_installation(&kept);
    }
    let mut random = [0; 3];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| ControllerError::System(std::io::Error::other("no randomness")))?;
    let id = InstallationId::from_random(random);
    let object = ConfigMap {
        metadata: ObjectMeta {
            name: Some(INSTALLATION.to_owned()),
            labels: Some(object_labels("installation")),
            ..ObjectMeta::default()
        },
        data: Some([(INSTALLATION_KEY.to_owned(), id.to_string())].into()),
        ..ConfigMap::default()
    };
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(id),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            read_installation(&api.get(INSTALLATION).await?)
        }
        Err(error) => Err(error.into()),
    }
}

fn read_installation(kept: &ConfigMap) -> Result<InstallationId, ControllerError> {
    let text = kept
        .data
        .as_ref()
        .and_then(|data| data.get(INSTALLATION_KEY))
        .map(String::as_str)
        .unwrap_or_default();
    text.trim()
        .parse()
        .map_err(|source| ControllerError::InstallationId {
            name: INSTALLATION,
            source,
        })
}

/// Runs the controllers of all kinds until `stop`.
async fn controllers(
    context: Arc<Context>,
    triggers: Triggers,
    streams: Streams,
    stop: watch::Receiver<bool>,
) {
    let config = || ControllerConfig::default().concurrency(limits::RECONCILES);
    let caches = &context.caches;
    let policies = Controller::for_stream(streams.policies, caches.policies.clone())
        .with_config(config())
        .reconcile_on(triggers.policies)
        .graceful_shutdown_on(stopped(stop.clone()))
        .run(
            reconcile::reconcile,
            reconcile::error_policy,
            context.clone(),
        );
    // Its cache is its own: what tells that it waits no more is that it has begun something.
    let begun = Arc::new(AtomicBool::new(false));
    let begins = begun.clone();
    let retiring = move |record, context| {
        begins.store(true, Ordering::Relaxed);
        retire::reconcile(record, context)
    };
    let records = Controller::new(
        context.records.api(),
        watcher::Config::default().labels(&format!("{ROLE_LABEL}={RECORD_ROLE}")),
    )
    .with_config(config())
    .reconcile_on(triggers.records)
    .graceful_shutdown_on(stopped(stop.clone()))
    .run(retiring, retire::error_policy, context.clone());
    let providers = Controller::for_stream(streams.providers, caches.providers.clone())
        .with_config(config())
        .reconcile_on(triggers.providers)
        .graceful_shutdown_on(stopped(stop.clone()))
        .run(
            providers::reconcile::<DnsProvider>,
            providers::error_policy::<DnsProvider>,
            context.clone(),
        );
    let cluster =
        Controller::for_stream(streams.cluster_providers, caches.cluster_providers.clone())
            .with_config(config())
            .reconcile_on(triggers.cluster_providers)
            .graceful_shutdown_on(stopped(stop.clone()))
            .run(
                providers::reconcile::<ClusterDnsProvider>,
                providers::error_policy::<ClusterDnsProvider>,
                context.clone(),
            );
    let unlisted = |filled: &Filled| *filled.borrow() != Fill::Listed;
    let filled = context.caches.of_leader();
    let partial = || unlisted(&filled.policies) || !context.caches.is_complete();
    tokio::join!(
        drive(policies, partial, &stop),
        drive(records, || !begun.load(Ordering::Relaxed), &stop),
        drive(providers, || unlisted(&filled.providers), &stop),
        drive(cluster, || unlisted(&filled.cluster_providers), &stop),
    );
}

/// Runs a controller until it ends. At `stop` one that `waits` for a list is left: it hears nothing
/// else, and there is nothing that it has begun.
async fn drive<T>(
    controller: impl Stream<Item = T>,
    waits: impl Fn() -> bool,
    stop: &watch::Receiver<bool>,
) {
    let left = async {
        stopped(stop.clone()).await;
        if !waits() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = controller.for_each(|_| std::future::ready(())) => {}
        () = left => {}
    }
}

/// `/healthz`, `/readyz`, `/metrics`. Every replica is ready once its caches are: readiness says
/// that it could lead, not that it does.
async fn serve_admin(
    address: SocketAddr,
    metrics: &Metrics,
    caches: Caches,
    stop: watch::Receiver<bool>,
) -> Result<tokio::task::JoinHandle<()>, ControllerError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ControllerError::Listen { address, source })?;
    let registry = metrics.registry();
    let (ready, is_ready) = watch::channel(false);
    tokio::spawn(async move {
        caches.ready().await;
        ready.send_replace(true);
        // The sender lives as long as the process: a dropped one would say nothing more.
        ready.closed().await;
    });
    let (phase, phases) = watch::channel(Phase::Serving);
    tokio::spawn(async move {
        stopped(stop).await;
        phase.send_replace(Phase::LastCall);
        phase.closed().await;
    });
    let handler = move |request: &http::Request<hyper::body::Incoming>| {
        admin::answer(&registry, *is_ready.borrow(), request)
    };
    let limits = Limits {
        connections: limits::ADMIN_CONNECTIONS,
        ..Limits::default()
    };
    Ok(tokio::spawn(listener::serve(
        listener,
        Arc::new(handler),
        limits,
        Arc::default(),
        phases,
    )))
}

/// Becomes true at SIGTERM or SIGINT.
fn stop_signal() -> Result<watch::Receiver<bool>, ControllerError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ControllerError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ControllerError::System)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.send_replace(true);
        stop.closed().await;
    });
    Ok(stopped)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it everything else.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Name of this replica where none is given: that of the host, in a pod the pod's.
fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    host.trim().to_owned()
}
