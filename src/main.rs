//! The `mta-sts` binary: picks the role.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mta_sts_operator::cli;

/// MTA-STS (RFC 8461) and TLS-RPT (RFC 8460): a Kubernetes operator and a command line.
#[derive(Parser)]
#[command(name = "mta-sts", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Crds => match cli::crds::run(&mut std::io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(2),
        },
    }
}
