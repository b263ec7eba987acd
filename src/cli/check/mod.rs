//! `mta-sts check`: what is wrong with the MTA-STS of any domain, and the one thing to do.

mod around;
mod gather;
mod names;
mod progress;
mod report;
mod watch;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::StreamExt as _;
use tokio::sync::OnceCell;

use self::gather::Probes;
use self::report::{Checked, Looked, Verdict};
use super::cluster::{self, ClusterArgs};
use super::dns_args::DnsArgs;
use super::exit;
use super::findings_output::FindingsOutputArgs;
use super::lint::FailOn;
use super::output::{Streams, say};
use crate::clock;
use crate::config::DnsVerify;
use crate::diagnosis::live::{judge, port_25};
use crate::probe::connect_to::ConnectTo;
use crate::probe::tls::TrustStore;
use crate::protocol::Domain;

/// Look at domains as senders of mail do, and say what is wrong with their MTA-STS and TLS reporting.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Mail domains: what stands behind the @; a word without a dot is the name of an MtaStsPolicy in
    /// the cluster
    #[arg(value_name = "DOMAIN", required_unless_present = "file")]
    pub domains: Vec<String>,

    /// A file with a domain a line (# begins a comment); `-` is standard input
    #[arg(long, value_name = "LIST")]
    pub file: Option<PathBuf>,

    /// Whether MX hosts are asked on port 25: off; auto (a port 25 that answers nowhere does not change
    /// the exit code); required
    #[arg(long, value_enum, default_value_t)]
    pub smtp: Smtp,

    /// Whom to ask.
    #[command(flatten)]
    pub dns: DnsArgs,

    /// Connect to ADDR:PORT instead of HOST:PORT, as curl does
    #[arg(long = "connect-to", value_name = "HOST:PORT:ADDR:PORT")]
    pub connect_to: Vec<ConnectTo>,

    /// Believe the resolvers when they say that DNSSEC vouches for an answer (AD), and look at DANE: for
    /// resolvers that validate and are reached by a safe way
    #[arg(long)]
    pub trust_ad: bool,

    /// Certificates that are trusted beside the system's, in PEM
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Seconds that one answer of a policy host or MX may take
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub timeout: u64,

    /// Domains that are looked at at once
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub jobs: u16,

    /// Look again and again, and show it whenever something has changed; as JSON one document a line
    #[arg(short, long)]
    pub watch: bool,

    /// Seconds from the end of a look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    #[arg(requires = "watch")]
    pub interval: u64,

    /// The least severity that makes the exit code 1.
    #[arg(long, value_enum, default_value_t)]
    pub fail_on: FailOn,

    /// Namespace of the policies that are named; default: that of the context
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// How the answer is written.
    #[command(flatten)]
    pub shown: FindingsOutputArgs,
}

/// Whether MX hosts are asked on port 25.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Smtp {
    /// They are not.
    Off,
    /// They are; that none answers changes no exit code.
    #[default]
    Auto,
    /// They are, and each has to answer.
    Required,
}

/// Runs on the process's own streams.
pub fn execute(args: &CheckArgs) -> ExitCode {
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

/// Runs, and returns the exit code: 0, 1 for findings, 2 for wrong usage, 3 where something could not
/// be determined and nothing worse was found.
pub async fn run(args: &CheckArgs, streams: &mut Streams<'_>) -> u8 {
    let domains = names::domains(args, streams).await;
    let prepared = domains.and_then(|domains| {
        watch::possible(args)?;
        Ok((domains, probes(args)?))
    });
    let (domains, probes) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            say(streams.stderr, &error);
            return exit::USAGE;
        }
    };
    if args.watch {
        return watch::follow(args, &domains, streams).await;
    }
    let looked = look(args, &probes, &domains).await;
    let code = code(args, &looked);
    match report::show(args, &looked, streams) {
        Ok(()) => code,
        Err(error) => unwritten(&error, code, streams),
    }
}

/// Looks at all domains.
async fn look(args: &CheckArgs, probes: &Probes, domains: &[Domain]) -> Looked {
    let bar = progress::bar(args, domains.len());
    let checks = domains.iter().enumerate().map(async |(at, domain)| {
        let checked = check(probes, domain).await;
        bar.inc(1);
        (at, checked)
    });
    // In whatever order they end: one that hangs must not keep the others from beginning.
    let running = futures::stream::iter(checks).buffer_unordered(usize::from(args.jobs));
    let mut checked: Vec<(usize, Checked)> = running.collect().await;
    checked.sort_by_key(|(at, _)| *at);
    let mut looked = Looked {
        domains: checked.into_iter().map(|(_, checked)| checked).collect(),
        findings: Vec::new(),
    };
    // Where each MX has to answer, each domain says so.
    if args.smtp != Smtp::Required {
        let domains = looked.domains.iter_mut();
        let run = domains.map(|it| (&it.seen, &mut it.judged)).collect();
        looked.findings.extend(port_25(run));
    }
    looked
}

async fn check(probes: &Probes, domain: &Domain) -> Checked {
    let mut seen = probes.look(domain).await;
    let judged = judge(&seen, clock::now());
    // A thousand domains are kept until all are shown: what has been judged goes.
    seen.forget_bodies();
    Checked { seen, judged }
}

/// The exit code: that of the worst domain.
fn code(args: &CheckArgs, looked: &Looked) -> u8 {
    let codes = looked.domains.iter().map(|it| exit_code(args, it));
    let worst = codes.max_by_key(|code| match *code {
        exit::FOUND => 2,
        exit::UNDETERMINED => 1,
        _ => 0,
    });
    worst.unwrap_or(exit::CLEAN)
}

/// The exit code where the answer could not be written.
fn unwritten(error: &io::Error, code: u8, streams: &mut Streams<'_>) -> u8 {
    // Whoever reads has seen enough.
    if error.kind() == io::ErrorKind::BrokenPipe {
        return code;
    }
    say(streams.stderr, &format!("standard output: {error}"));
    exit::USAGE
}

fn exit_code(args: &CheckArgs, checked: &Checked) -> u8 {
    if args.fail_on.is_met_by(&checked.judged.findings) {
        return exit::FOUND;
    }
    match checked.verdict(args.smtp) {
        Verdict::Unknown => exit::UNDETERMINED,
        _ => exit::CLEAN,
    }
}

fn probes(args: &CheckArgs) -> Result<Probes, String> {
    Ok(Probes {
        dns: args.dns.probe()?,
        trust: TrustStore::load(args.ca_file.as_deref()).map_err(|error| error.to_string())?,
        targets: args.dns.targets(),
        connect_to: args.connect_to.clone(),
        smtp: args.smtp,
        time: Duration::from_secs(args.timeout),
        trust_ad: args.trust_ad,
        // With the authoritative servers' word, the system's resolver need not have to do with them.
        compares_resolvers: args.dns.dns_verify == DnsVerify::Resolver
            || !args.dns.resolvers.is_empty(),
        reaches_authorities: OnceCell::new(),
    })
}
