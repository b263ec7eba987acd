//! `mta-sts status`: what is published, what it waits for, and who still holds what.

mod gather;
mod report;
mod text;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::Args;
use futures::StreamExt as _;
use kube::core::DynamicObject;
use kube::runtime::{WatchStreamExt as _, watcher};

use self::gather::Wanted;
pub(super) use self::gather::pages;
use self::report::{Report, Verdict};
use super::cluster::{self, Cluster, ClusterArgs, ClusterError};
use super::exit;
use super::output::{self, Format, OutputArgs, Streams, say};
use crate::clock;
use crate::protocol::Domain;

/// What is published, what it waits for, and who still holds what.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// One MtaStsPolicy, shown as a tree; default: all, as a table
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// The policy of this mail domain, in whatever namespace it is
    #[arg(long, value_parser = Domain::parse, conflicts_with = "name")]
    pub domain: Option<Domain>,

    /// Namespace of the policies; default: that of the context
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// The policies of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "name"])]
    pub all_namespaces: bool,

    /// Namespace of the operator, where the records are; default: found by its installation id,
    /// else mta-sts-system
    #[arg(long, value_name = "NAMESPACE")]
    pub operator_namespace: Option<String>,

    /// Show it again whenever it changes; as JSON one document a line
    #[arg(short, long)]
    pub watch: bool,

    /// How it is shown.
    #[command(flatten)]
    pub shown: OutputArgs,

    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Runs on the process's own streams.
pub fn execute(args: &StatusArgs) -> ExitCode {
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
pub async fn run(args: &StatusArgs, streams: &mut Streams<'_>) -> u8 {
    let shown = match args.cluster.connect().await {
        Ok(cluster) if args.watch => follow(args, &cluster, streams).await,
        Ok(cluster) => once(args, &cluster, streams).await,
        Err(error) => Err(error),
    };
    shown.unwrap_or_else(|error| {
        say(streams.stderr, &error.to_string());
        error.code()
    })
}

async fn once(
    args: &StatusArgs,
    cluster: &Cluster,
    streams: &mut Streams<'_>,
) -> Result<u8, ClusterError> {
    let wanted = Wanted::new(args, cluster);
    let report = wanted.gather().await?;
    if report.policies.is_empty() {
        if let Some(missing) = wanted.missing() {
            return Err(ClusterError::Unclear(missing));
        }
        say(streams.stderr, &wanted.nothing());
    }
    if let Err(error) = show(args, &report, streams)
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        say(streams.stderr, &format!("standard output: {error}"));
        return Ok(exit::USAGE);
    }
    Ok(code(&report))
}

/// Shows it again whenever it has changed, until somebody ends the command.
async fn follow(
    args: &StatusArgs,
    cluster: &Cluster,
    streams: &mut Streams<'_>,
) -> Result<u8, ClusterError> {
    let wanted = Wanted::new(args, cluster);
    let mut known = wanted.gather().await?;
    if let Err(error) = show(args, &known, streams) {
        return Ok(ended(&error, &known));
    }
    let watch = watcher::<DynamicObject>(wanted.api(), watcher::Config::default());
    let mut changes = std::pin::pin!(watch.default_backoff().ready_chunks(1024));
    while let Some(events) = changes.next().await {
        if let Some(Err(error)) = events.iter().find(|event| event.is_err()) {
            say(
                streams.stderr,
                &format!("the watch failed and is tried again: {error}"),
            );
            continue;
        }
        let report = match wanted.gather().await {
            Ok(report) => report,
            // The next change, or the next try of the watch, comes back here.
            Err(error) => {
                say(streams.stderr, &error.to_string());
                continue;
            }
        };
        if report != known {
            known = report;
            if let Err(error) = show(args, &known, streams) {
                return Ok(ended(&error, &known));
            }
        }
    }
    Ok(code(&known))
}

fn ended(error: &io::Error, report: &Report) -> u8 {
    match error.kind() {
        io::ErrorKind::BrokenPipe => code(report),
        _ => exit::USAGE,
    }
}

fn show(args: &StatusArgs, report: &Report, streams: &mut Streams<'_>) -> io::Result<()> {
    let out = &mut *streams.stdout;
    match args.shown.output {
        Format::Json if args.watch => output::json_line(out, report)?,
        Format::Json => output::json(out, report)?,
        Format::Text => {
            if args.watch && streams.terminal {
                output::clear(out)?;
            }
            let colour = args.shown.colour.on(streams.terminal);
            let one = args.name.is_some() || args.domain.is_some();
            if one {
                text::trees(out, report, colour, clock::now())?;
            } else {
                text::table(out, report, args.all_namespaces, colour, clock::now())?;
            }
        }
    }
    streams.stdout.flush()
}

fn code(report: &Report) -> u8 {
    let is = |verdict| report.policies.iter().any(|p| p.verdict == verdict);
    if is(Verdict::Error) {
        exit::FOUND
    } else if is(Verdict::Unknown) {
        exit::UNDETERMINED
    } else {
        exit::CLEAN
    }
}
