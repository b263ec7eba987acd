//! `mta-sts generate`: a manifest from the live MX of a domain, or what somebody needs who hosts the
//! policy elsewhere. It writes to standard output and touches nothing.

mod export;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use self::export::Wish;
use super::cluster;
use super::dns_args::{DnsArgs, domain};
use super::exit;
use super::output::{Streams, say};
use crate::clock;
use crate::diagnosis::lint_policy;
use crate::diagnosis::{Severity, printable};
use crate::protocol::{HostName, MaxAge, Mode};

/// Write a manifest, or a policy and its record, from the live MX of a domain. Read it before you use it.
#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    /// The mail domain: what stands behind the @
    #[arg(value_name = "DOMAIN")]
    pub domain: String,

    /// What is written
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// The mode; begin with testing
    #[arg(long, value_parser = mode, default_value = "testing")]
    pub mode: Mode,

    /// How many seconds senders may keep it; default: a day, in mode enforce a week
    #[arg(long, value_name = "SECONDS", value_parser = max_age)]
    pub max_age: Option<MaxAge>,

    /// Whom to ask.
    #[command(flatten)]
    pub dns: DnsArgs,
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// A MtaStsPolicy for the operator.
    #[default]
    Manifest,
    /// The policy body: the file mta-sts.txt.
    Policy,
    /// The records, as lines of a zone file.
    Zone,
    /// A server block of nginx.
    Nginx,
    /// A site of Caddy.
    Caddy,
    /// A Cloudflare Worker.
    Worker,
    /// A shell script that writes the files of a static site (GitHub Pages, Cloudflare Pages).
    Pages,
}

fn mode(text: &str) -> Result<Mode, String> {
    text.parse()
        .map_err(|()| "it is testing, enforce or none".to_owned())
}

fn max_age(text: &str) -> Result<MaxAge, String> {
    let seconds: u32 = text.parse().map_err(|_| "it is a number of seconds")?;
    MaxAge::from_seconds(seconds).map_err(|_| "it is at most 31557600".to_owned())
}

/// Runs on the process's own streams.
pub fn execute(args: &GenerateArgs) -> ExitCode {
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

/// Runs, and returns the exit code: 0; 1 for a domain that has nothing to protect; 2 for wrong usage;
/// 3 where its MX could not be looked up.
pub async fn run(args: &GenerateArgs, streams: &mut Streams<'_>) -> u8 {
    let prepared = domain(&args.domain).and_then(|domain| Ok((domain, args.dns.probe()?)));
    let (domain, dns) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            say(streams.stderr, &error);
            return exit::USAGE;
        }
    };
    let set = match dns.mx(domain.as_str()).await {
        Ok(set) => set,
        Err(error) => {
            let told = format!("the MX records of {domain} cannot be looked up: {error}");
            say(streams.stderr, &told);
            return exit::UNDETERMINED;
        }
    };
    if set.null {
        let told = format!("{domain} takes no mail (null MX): it needs no MTA-STS");
        say(streams.stderr, &told);
        return exit::FOUND;
    }
    let named = set.hosts.iter().map(|mx| mx.exchange.as_str());
    let mut hosts = Vec::new();
    for name in named {
        match HostName::parse_any_case(name) {
            Ok(host) => hosts.push(host),
            Err(error) => say(
                streams.stderr,
                &format!("the MX {} is left out: it {error}", printable(name)),
            ),
        }
    }
    if hosts.is_empty() {
        say(
            streams.stderr,
            &format!("{domain} has no MX: its own address takes the mail, and is what is written"),
        );
        hosts.push(domain.host_name().clone());
    }
    let wish = Wish {
        domain,
        mode: args.mode,
        max_age: args.max_age,
        hosts,
        now: clock::now(),
    };
    for finding in lint_policy(wish.body().as_bytes(), Some(&wish.domain)) {
        if finding.severity <= Severity::Warning {
            say(
                streams.stderr,
                &format!("{}: {}", finding.code, finding.message),
            );
        }
    }
    match streams
        .stdout
        .write_all(wish.export(args.format).as_bytes())
    {
        Ok(()) => exit::CLEAN,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::CLEAN,
        Err(error) => {
            say(streams.stderr, &format!("standard output: {error}"));
            exit::USAGE
        }
    }
}
