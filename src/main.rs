//! The `mta-sts` binary: picks the role.

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use mta_sts_operator::config::ControllerArgs;
use mta_sts_operator::probe::tls::install_crypto_provider;
use mta_sts_operator::serve::{self, ServeArgs};
use mta_sts_operator::{cli, controller};

/// MTA-STS (RFC 8461) and TLS-RPT (RFC 8460): a Kubernetes operator and a command line.
#[derive(Parser)]
#[command(name = "mta-sts", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator
    Controller(Box<ControllerArgs>),
    /// Serve the policies
    Serve(ServeArgs),
    /// Look at domains on the network, and say what is wrong with their MTA-STS
    Check(Box<cli::check::CheckArgs>),
    /// Write a manifest, or a policy and its record, from the live MX of a domain
    Generate(cli::generate::GenerateArgs),
    /// Check policies, records and manifests, without the network
    Lint(cli::lint::LintArgs),
    /// Say what applying a manifest would do
    Plan(Box<cli::plan::PlanArgs>),
    /// Explain the TLS reports that senders of mail have sent
    Report(cli::report::ReportArgs),
    /// Show what is published, what it waits for, and who still holds what
    Status(cli::status::StatusArgs),
    /// Show the domains on their way out, and until when
    Retirements(cli::retirements::RetirementsArgs),
    /// Say whether the installation is sound, and how to mend what is not
    Doctor(cli::doctor::DoctorArgs),
    /// Take the operator away: the first step, before helm uninstall
    Uninstall(cli::uninstall::UninstallArgs),
    /// Print the CustomResourceDefinitions as YAML
    Crds,
    /// Print the completions of a shell
    Completions(cli::pages::CompletionsArgs),
    /// Write the manual pages
    Man(cli::pages::ManArgs),
}

fn main() -> ExitCode {
    install_crypto_provider();
    match arguments().command {
        Command::Controller(args) => daemon(controller::run(*args)),
        Command::Serve(args) => daemon(serve::run(args)),
        Command::Check(args) => cli::check::execute(&args),
        Command::Generate(args) => cli::generate::execute(&args),
        Command::Lint(args) => cli::lint::execute(&args),
        Command::Plan(args) => cli::plan::execute(&args),
        Command::Report(args) => cli::report::execute(&args),
        Command::Status(args) => cli::status::execute(&args),
        Command::Retirements(args) => cli::retirements::execute(&args),
        Command::Doctor(args) => cli::doctor::execute(&args),
        Command::Uninstall(args) => cli::uninstall::execute(&args),
        Command::Crds => written(cli::crds::run(&mut std::io::stdout().lock())),
        Command::Completions(args) => {
            let mut command = named_command();
            let mut out = std::io::stdout().lock();
            written(cli::pages::completions(&args, &mut command, &mut out))
        }
        Command::Man(args) => match cli::pages::man(&args, named_command()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                cli::output::say(
                    &mut std::io::stderr().lock(),
                    &format!("{}: {error}", args.folder.display()),
                );
                ExitCode::from(2)
            }
        },
    }
}

/// What comes of a command that only writes; a reader who has seen enough is no error.
fn written(result: std::io::Result<()>) -> ExitCode {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let message = format!("standard output: {error}");
            cli::output::say(&mut std::io::stderr().lock(), &message);
            ExitCode::from(2)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Reads the command line. As a plugin of kubectl the binary is called as such in its own help.
fn arguments() -> Arguments {
    let matches = named_command().get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn named_command() -> clap::Command {
    let own = std::env::args_os().next().unwrap_or_default();
    let own = Path::new(&own).file_stem().unwrap_or_default();
    let command = Arguments::command();
    match own == "kubectl-mta_sts" {
        true => command.name("kubectl-mta_sts").bin_name("kubectl mta-sts"),
        false => command,
    }
}

/// Runs a role that ends by a signal or an error.
fn daemon<E: std::error::Error>(role: impl Future<Output = Result<(), E>>) -> ExitCode {
    cli::log::init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(role).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
