//! The log of the operator and of the policy server: to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts the log. `MTA_STS_LOG` sets what is logged (default `info`), in the syntax of
/// tracing's `EnvFilter`; `MTA_STS_LOG_FORMAT=json` writes one JSON object a line.
pub fn init() {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .with_env_var("MTA_STS_LOG")
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    #[allow(clippy::disallowed_methods)]
    let format = std::env::var("MTA_STS_LOG_FORMAT").unwrap_or_default();
    // A second call, as in a test, changes nothing.
    let _ = if format == "json" {
        log.json().try_init()
    } else {
        log.try_init()
    };
}
