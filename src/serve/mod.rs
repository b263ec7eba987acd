//! The policy server: answers by Host from memory what the operator has decided.

pub mod admin;
pub mod dns;
mod host;
pub mod http;
pub mod listener;
mod metrics;
pub mod store;
pub mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::dns::limit::Limiter;
use self::dns::listener::{Counts, Sockets};
use self::dns::names::Names;
use self::dns::sign::{KeyError, Signer};
use self::listener::{Limits, Phase, Stats};
use self::metrics::Requests;
use self::store::{Store, Writer};
use self::watch::Feed;

/// Flags of `mta-sts serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Namespace of the operator's records; default: that of the kubeconfig or the pod
    #[arg(long, env = "MTA_STS_NAMESPACE")]
    pub namespace: Option<String>,
    /// Where policies are served, by HTTP, to the Ingress or Gateway
    #[arg(long, env = "MTA_STS_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Where the operator's own name servers answer, over UDP and TCP; default: nowhere. Port 53 of
    /// a Service leads here
    #[arg(long, env = "MTA_STS_DNS_LISTEN")]
    pub dns_listen: Option<SocketAddr>,
    /// Sign the answers to DNS queries with this key: a file with an ECDSA P-256 key in PKCS #8
    #[arg(long, env = "MTA_STS_DNS_KEY_FILE", requires = "dns_listen")]
    pub dns_key_file: Option<PathBuf>,
    /// Networks from which DNS queries are answered however many come, such as 192.0.2.0/24: large
    /// resolvers, monitoring, nodes that hide the addresses of clients
    #[arg(
        long,
        env = "MTA_STS_DNS_UNLIMITED",
        value_delimiter = ',',
        requires = "dns_listen"
    )]
    pub dns_unlimited: Vec<IpNet>,
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, env = "MTA_STS_ADMIN_LISTEN", default_value = "0.0.0.0:8081")]
    pub admin_listen: SocketAddr,
    /// Seconds to go on serving after SIGTERM, until no client is sent here any more
    #[arg(long, env = "MTA_STS_DRAIN_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(..=3600))]
    pub drain_seconds: u16,
}

/// Why the policy server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No kubeconfig and no service account.
    #[error(
        "there is no way to a cluster: set KUBECONFIG or run in a pod with a service account: {0}"
    )]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// The configuration makes no client.
    #[error("the cluster's configuration cannot be used: {0}")]
    Client(#[source] Box<kube::Error>),
    /// An address cannot be listened on.
    #[error("{address} cannot be listened on: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key that is to sign DNS answers cannot be used.
    #[error("{path} is no key to sign DNS answers with: {source}")]
    DnsKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// Signals cannot be awaited.
    #[error("signals cannot be awaited: {0}")]
    Signal(#[source] std::io::Error),
    /// A task ended that never should.
    #[error("the {0} task ended")]
    TaskEnded(&'static str),
}

/// Runs the policy server until SIGTERM or SIGINT.
pub async fn run(args: ServeArgs) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;
    let config = Config::infer()
        .await
        .map_err(|error| ServeError::Config(Box::new(error)))?;
    let namespace = args
        .namespace
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| ServeError::Client(Box::new(error)))?;
    let dns_signer = match &args.dns_key_file {
        Some(path) => Some(Arc::new(signer(path)?)),
        None => None,
    };
    let server = Server {
        dns_signer,
        dns_limiter: Arc::new(Limiter::sparing(&args.dns_unlimited)),
        records: Api::namespaced(client, &namespace),
        listener: bind(args.listen).await?,
        dns: bind_dns(args.dns_listen).await?,
        admin: bind(args.admin_listen).await?,
        limits: Limits::default(),
        drain: Duration::from_secs(args.drain_seconds.into()),
    };
    tracing::info!(namespace, listen = %args.listen, admin = %args.admin_listen, "serving policies");
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server.run(shutdown).await
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| ServeError::Listen { address, source })
}

fn signer(path: &Path) -> Result<Signer, ServeError> {
    let signer = Signer::from_file(path).map_err(|source| ServeError::DnsKey {
        path: path.to_owned(),
        source,
    })?;
    tracing::info!(key_tag = signer.tag(), "signing DNS answers");
    Ok(signer)
}

async fn bind_dns(address: Option<SocketAddr>) -> Result<Option<Sockets>, ServeError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let sockets = Sockets::bind(address).await;
    let sockets = sockets.map_err(|source| ServeError::Listen { address, source })?;
    tracing::info!(dns = %address, "answering DNS queries");
    Ok(Some(sockets))
}

/// A policy server with everything it needs.
#[derive(Debug)]
pub struct Server {
    /// The records, in the operator's namespace.
    pub records: Api<ConfigMap>,
    /// Where policies are served.
    pub listener: TcpListener,
    /// Where DNS queries are answered, if they are.
    pub dns: Option<Sockets>,
    /// What signs the answers, if they are signed.
    pub dns_signer: Option<Arc<Signer>>,
    /// How often they are given to whom.
    pub dns_limiter: Arc<Limiter>,
    /// Where [`admin`] is served.
    pub admin: TcpListener,
    /// Bounds of the policy listener.
    pub limits: Limits,
    /// How long to go on serving after the shutdown was asked for.
    pub drain: Duration,
}

impl Server {
    /// Serves until `shutdown` resolves, then drains: not ready at once, accepting for
    /// [`Server::drain`], then finishing what is in flight.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let store = Arc::new(Store::default());
        let feed = Arc::new(Feed::default());
        let stats = Arc::new(Stats::default());
        let requests = Requests::default();
        let (phase, phases) = tokio::sync::watch::channel(Phase::Serving);
        let (admin_phase, admin_phases) = tokio::sync::watch::channel(Phase::Serving);
        let names = Arc::new(Names::default());
        let dns = self.dns.map(|sockets| {
            let server = dns::listener::Server {
                names: names.clone(),
                counts: Counts::default(),
                signer: self.dns_signer,
                limiter: self.dns_limiter,
            };
            (server, sockets)
        });
        let registry = metrics::registry(&metrics::Counted {
            requests: requests.clone(),
            store: store.clone(),
            stats: stats.clone(),
            feed: feed.clone(),
            dns: dns.as_ref().map(|(server, _)| server.clone()),
        });

        let mut follower = tokio::spawn(watch::follow(
            self.records,
            Writer::new(store.clone(), names),
            feed.clone(),
        ));
        let readiness = phases.clone();
        let admin_handler = move |request: &_| {
            let ready = feed.is_ready() && *readiness.borrow() == Phase::Serving;
            admin::answer(&registry, ready, request)
        };
        let admin = tokio::spawn(listener::serve(
            self.admin,
            Arc::new(admin_handler),
            Limits {
                connections: crate::limits::ADMIN_CONNECTIONS,
                ..self.limits
            },
            Arc::default(),
            admin_phases,
        ));
        let dns_phases = phases.clone();
        let mut dns = tokio::spawn(async move {
            match dns {
                Some((server, sockets)) => server.serve(sockets, dns_phases).await,
                None => std::future::pending().await,
            }
        });
        let handler = move |request: &_| {
            let response = http::answer(&store, request);
            requests.count(response.status());
            response
        };
        let mut policies = tokio::spawn(listener::serve(
            self.listener,
            Arc::new(handler),
            self.limits,
            stats,
            phases,
        ));

        tokio::select! {
            () = shutdown => {}
            _ = &mut follower => return Err(ServeError::TaskEnded("watch")),
            _ = &mut policies => return Err(ServeError::TaskEnded("listener")),
            _ = &mut dns => return Err(ServeError::TaskEnded("DNS listener")),
        }
        tracing::info!(seconds = self.drain.as_secs(), "draining");
        phase.send_replace(Phase::LastCall);
        tokio::time::sleep(self.drain).await;
        phase.send_replace(Phase::Closing);
        // The listener bounds its own end; an error here would be its panic, after which there
        // is nothing left to finish.
        let _ = policies.await;
        admin_phase.send_replace(Phase::Closing);
        let _ = admin.await;
        dns.abort();
        follower.abort();
        Ok(())
    }
}
