//! The `mta-sts` binary: picks the role.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
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
    /// Check policies, records and manifests, without the network
    Lint(cli::lint::LintArgs),
    /// Print the CustomResourceDefinitions as YAML
    Crds,
}

fn main() -> ExitCode {
    install_crypto_provider();
    match Arguments::parse().command {
        Command::Controller(args) => daemon(controller::run(*args)),
        Command::Serve(args) => daemon(serve::run(args)),
        Command::Lint(args) => cli::lint::execute(&args),
        Command::Crds => match cli::crds::run(&mut std::io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(2),
        },
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
