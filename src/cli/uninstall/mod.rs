//! `mta-sts uninstall`: the first step of taking the operator away, before `helm uninstall`.

mod keep;
mod plan;
mod retire;

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use clap::Args;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt as _};

use super::cluster::{self, Cluster, ClusterArgs, ClusterError};
use super::exit;
use super::lease::{self, Seen};
use super::output::{Streams, say};
use crate::diagnosis::printable;

/// Take the operator away: the first step, before helm uninstall.
#[derive(Args, Clone, Debug)]
pub struct UninstallArgs {
    /// Which way.
    #[command(flatten)]
    pub way: Way,

    /// Namespace of the operator; default: found by its installation id
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// A namespace that the operator watches; default: all
    #[arg(long = "watch-namespace", value_name = "NAMESPACE")]
    pub watch_namespaces: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Name of the Lease, as the controller has it
    #[arg(long, value_name = "NAME", default_value = "mta-sts-operator")]
    pub lease_name: String,

    /// Service of the policy servers, as the controller has it
    #[arg(long, value_name = "NAME", default_value = "mta-sts-policy")]
    pub policy_service: String,

    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// What becomes of the domains.
#[derive(Args, Clone, Copy, Debug)]
#[group(required = true, multiple = false)]
pub struct Way {
    /// Delete all MtaStsPolicy objects, and wait until their domains are retired
    #[arg(long)]
    pub retire: bool,

    /// Leave all that is published as it is: stop the controller and take its finalizer off
    #[arg(long)]
    pub keep: bool,
}

/// An installation that is to go.
struct Site<'a> {
    args: &'a UninstallArgs,
    cluster: Cluster,
    namespace: String,
}

/// Runs on the process's own streams.
pub fn execute(args: &UninstallArgs) -> ExitCode {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let (terminal, interactive) = (stdout.is_terminal(), stdin.is_terminal());
    let mut streams = Streams {
        stdin: &mut stdin.lock(),
        stdout: &mut stdout.lock(),
        stderr: &mut stderr.lock(),
        terminal,
    };
    cluster::run(run(args, interactive, &mut streams))
}

/// Runs, and returns the exit code. Only an `interactive` standard input is asked.
pub async fn run(args: &UninstallArgs, interactive: bool, streams: &mut Streams<'_>) -> u8 {
    let done = match choose(args).await {
        Ok(site) if args.way.keep => keep::run(&site, interactive, streams).await,
        Ok(site) => retire::run(&site, interactive, streams).await,
        Err(error) => Err(error),
    };
    done.unwrap_or_else(|error| {
        say(streams.stderr, &error.to_string());
        error.code()
    })
}

/// Finds the installation. What is not clear is refused.
async fn choose(args: &UninstallArgs) -> Result<Site<'_>, ClusterError> {
    let cluster = args.cluster.connect().await?;
    let found = cluster.installations().await;
    let namespace = match (&args.namespace, found.as_deref()) {
        (Some(given), Ok(all)) => {
            let others: Vec<&str> = all
                .iter()
                .filter(|n| *n != given)
                .map(String::as_str)
                .collect();
            if !others.is_empty() && args.watch_namespaces.is_empty() {
                return Err(ClusterError::Unclear(format!(
                    "other installations are in {}: say with --watch-namespace which namespaces belong to the one in {given}",
                    others.join(", ")
                )));
            }
            given.clone()
        }
        (Some(given), Err(_)) => given.clone(),
        (None, Ok([only])) => only.clone(),
        (None, Ok([])) => {
            return Err(ClusterError::Unclear(format!(
                "no installation is found in the cluster {}: look whether it is the right one (--context), and say with -n where the operator is or was",
                cluster.url
            )));
        }
        (None, Ok(several)) => {
            return Err(ClusterError::Unclear(format!(
                "the operator is installed in several namespaces ({}): say with -n which one is to go",
                several.join(", ")
            )));
        }
        (None, Err(error)) => {
            return Err(ClusterError::Unclear(format!(
                "where the operator is cannot be looked up ({}): say it with -n",
                cluster::said(error)
            )));
        }
    };
    Ok(Site {
        args,
        cluster,
        namespace,
    })
}

/// Writes a line of the report; what cannot be written does not stop the work.
fn tell(streams: &mut Streams<'_>, line: &str) {
    let _ = writeln!(streams.stdout, "{}", printable(line));
    let _ = streams.stdout.flush();
}

/// Asks before anything is changed. Tells whether to go on.
fn confirm(
    site: &Site<'_>,
    interactive: bool,
    streams: &mut Streams<'_>,
) -> Result<bool, ClusterError> {
    if site.args.yes {
        return Ok(true);
    }
    if !interactive {
        return Err(ClusterError::Unclear(
            "nothing is changed without an answer, and there is no terminal to ask on: give --yes"
                .to_owned(),
        ));
    }
    let _ = write!(streams.stderr, "Go on? Write yes: ");
    let _ = streams.stderr.flush();
    let mut answer = String::new();
    let mut lines = io::BufReader::new(&mut *streams.stdin);
    let read = lines.read_line(&mut answer);
    let yes = read.is_ok() && ["yes", "y"].contains(&answer.trim());
    if !yes {
        say(streams.stderr, "nothing was changed");
    }
    Ok(yes)
}

impl Site<'_> {
    async fn controller(&self) -> Result<Seen, ClusterError> {
        let api = Api::<Lease>::namespaced(self.cluster.client.clone(), &self.namespace);
        lease::watch(&api, &self.args.lease_name)
            .await
            .map_err(ClusterError::api("the controller's Lease cannot be read"))
    }

    /// What to type next.
    async fn helm_uninstall(&self) -> String {
        let api = Api::<Service>::namespaced(self.cluster.client.clone(), &self.namespace);
        let service = api.get_opt(&self.args.policy_service).await.ok().flatten();
        let release = service.and_then(|service| {
            let annotations = service.annotations();
            annotations.get("meta.helm.sh/release-name").cloned()
        });
        let release = release.unwrap_or_else(|| "RELEASE".to_owned());
        format!("helm uninstall {release} -n {}", self.namespace)
    }
}

/// Whether a controller is at work.
fn is_running(seen: &Seen) -> bool {
    matches!(seen, Seen::Fresh(_))
}

/// The exit code of a command that was not confirmed.
const REFUSED: u8 = exit::USAGE;
