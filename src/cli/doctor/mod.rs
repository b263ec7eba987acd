//! `mta-sts doctor`: is the installation sound?

mod answer;
mod crds;
mod leader;
mod objects;
mod policy_server;
mod rights;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::Args;
use futures::FutureExt as _;

use self::answer::{Answer, Outcome, Report};
use super::cluster::{self, Cluster, ClusterArgs, ClusterError};
use super::exit;
use super::output::{self, Format, OutputArgs, Streams, say};
use crate::config::DEFAULT_NAMESPACE;

/// Say whether the installation is sound, and how to mend what is not.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Namespace of the operator; default: found by its installation id, in a pod the pod's, else
    /// mta-sts-system
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// A namespace that the operator watches; default: all
    #[arg(long = "watch-namespace", value_name = "NAMESPACE")]
    pub watch_namespaces: Vec<String>,

    /// Its ServiceAccount; default: the caller, if that is one of the operator's namespace
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,

    /// The policy server's ServiceAccount, where it has one of its own
    #[arg(long, value_name = "NAME")]
    pub policy_service_account: Option<String>,

    /// Name of the Lease, as the controller has it
    #[arg(long, value_name = "NAME", default_value = "mta-sts-operator")]
    pub lease_name: String,

    /// Service of the policy servers, as the controller has it
    #[arg(long, value_name = "NAME", default_value = "mta-sts-policy")]
    pub policy_service: String,

    /// IngressClass of the policies that name none, as the controller has it
    #[arg(long, value_name = "NAME")]
    pub default_ingress_class: Option<String>,

    /// How it is shown.
    #[command(flatten)]
    pub shown: OutputArgs,

    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// What is examined.
struct Site<'a> {
    args: &'a DoctorArgs,
    cluster: Cluster,
    /// The operator's namespace.
    namespace: String,
}

/// Runs on the process's own streams.
pub fn execute(args: &DoctorArgs) -> ExitCode {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let terminal = stdout.is_terminal();
    let mut streams = Streams {
        stdin: &mut stdin.lock(),
        stdout: &mut stdout.lock(),
        stderr: &mut stderr.lock(),
        terminal,
    };
    cluster::run(run(args, &mut streams))
}

/// Runs, and returns the exit code.
pub async fn run(args: &DoctorArgs, streams: &mut Streams<'_>) -> u8 {
    let report = match examine(args).await {
        Ok(report) => report,
        Err(error) => {
            say(streams.stderr, &error.to_string());
            return error.code();
        }
    };
    let out = &mut *streams.stdout;
    let written = match args.shown.output {
        Format::Json => output::json(out, &report),
        Format::Text => answer::text(out, &report, args.shown.colour.on(streams.terminal)),
    };
    match written.and_then(|()| streams.stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            say(streams.stderr, &format!("standard output: {error}"));
            exit::USAGE
        }
        _ => code(&report),
    }
}

fn code(report: &Report) -> u8 {
    let is = |result| report.checks.iter().any(|check| check.result == result);
    if is(Outcome::Error) {
        exit::FOUND
    } else if is(Outcome::Unknown) {
        exit::UNDETERMINED
    } else {
        exit::CLEAN
    }
}

async fn examine(args: &DoctorArgs) -> Result<Report, ClusterError> {
    let cluster = args.cluster.connect().await?;
    let version = cluster.client.apiserver_version().await;
    let version = version.map_err(ClusterError::api("the API server cannot be asked"))?;
    let namespace = namespace(args, &cluster).await?;
    let site = Site {
        args,
        cluster,
        namespace,
    };
    // Each takes its time; they do not depend on each other.
    let parts: Vec<Vec<Answer>> = futures::future::join_all([
        crds::look(&site).boxed_local(),
        rights::look(&site).boxed_local(),
        leader::look(&site).boxed_local(),
        policy_server::look(&site).boxed_local(),
        objects::look(&site).boxed_local(),
    ])
    .await;
    let mut checks = vec![api_server(&version.major, &version.minor)];
    checks.extend(parts.into_iter().flatten());
    Ok(Report::new(site.namespace, checks))
}

async fn namespace(args: &DoctorArgs, cluster: &Cluster) -> Result<String, ClusterError> {
    if let Some(given) = &args.namespace {
        return Ok(given.clone());
    }
    match cluster.installations().await.as_deref() {
        Ok([only]) => Ok(only.clone()),
        Ok([]) => Ok(DEFAULT_NAMESPACE.to_owned()),
        Ok(several) => Err(ClusterError::Unclear(format!(
            "the operator is installed in several namespaces ({}): say with -n which one is meant",
            several.join(", ")
        ))),
        // A ServiceAccount sees its own namespace only.
        Err(_) => Ok(cluster.namespace.clone()),
    }
}

/// The oldest minor version of Kubernetes 1 that is supported.
const OLDEST: u32 = 33;

fn api_server(major: &str, minor: &str) -> Answer {
    let check = "api-server";
    // Some providers write "33+".
    let digits = minor.trim_end_matches(|c: char| !c.is_ascii_digit());
    let said = format!("it is Kubernetes {major}.{minor}");
    match digits.parse::<u32>() {
        Ok(number) if major == "1" && number < OLDEST => Answer::error(check, "version", said)
            .remedy(format!("upgrade the cluster to 1.{OLDEST} or later")),
        _ => Answer::ok(check, "version", said),
    }
}
