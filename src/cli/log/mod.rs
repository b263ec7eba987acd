//! The log of the operator and of the policy server: to stderr.

mod json;

use std::fmt;
use std::io::IsTerminal;

use tracing::Metadata;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::{JsonFields, Writer, debug_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, registry};

use crate::diagnosis::printable;
use crate::limits::LOG_FIELD_CHARACTERS;

/// Starts the log. `MTA_STS_LOG` sets what is logged (default `info`): a level, which is for what
/// this program says itself, or directives in the syntax of tracing's `EnvFilter`.
/// `MTA_STS_LOG_FORMAT=json` writes one flat JSON object a line.
///
/// Whatever is set, no object of the API server is written out, since it may be a Secret, and
/// nothing within an event ends its line or steers a terminal.
pub fn init() {
    #[allow(clippy::disallowed_methods)]
    let wanted = std::env::var("MTA_STS_LOG").unwrap_or_default();
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .parse_lossy(directives(&wanted));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    #[allow(clippy::disallowed_methods)]
    let format = std::env::var("MTA_STS_LOG_FORMAT").unwrap_or_default();
    // JSON escapes by itself.
    let layer = if format == "json" {
        layer
            .fmt_fields(JsonFields::new())
            .event_format(json::Flat)
            .boxed()
    } else {
        layer.fmt_fields(debug_fn(field).delimited(" ")).boxed()
    };
    // A second call, as in a test, changes nothing.
    let _ = registry()
        .with(
            layer
                .with_filter(filter_fn(may_be_said))
                .with_filter(filter),
        )
        .try_init();
}

/// A level alone is for what we say: at `debug` libraries write out every DNS message.
fn directives(wanted: &str) -> String {
    match wanted.trim().parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::INFO => {
            format!("info,mta_sts={level},mta_sts_operator={level}")
        }
        _ => wanted.to_owned(),
    }
}

/// The client of the API server tells an answer that it cannot read with its whole text. What it
/// says is told by us as well, in the error that it gives back.
fn may_be_said(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() || metadata.target() != "kube_client::client"
}

/// One field of an event, made printable and cut to a length that can be read.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    let text = match text.char_indices().nth(LOG_FIELD_CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    };
    match field.name() {
        "message" => write!(writer, "{}", printable(&text)),
        name => write!(writer, "{name}={}", printable(&text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_is_for_what_this_program_says() {
        for (wanted, directives_then) in [
            ("debug", "info,mta_sts=debug,mta_sts_operator=debug"),
            (" TRACE ", "info,mta_sts=trace,mta_sts_operator=trace"),
            ("warn", "warn"),
            ("", ""),
            ("debug,kube=info", "debug,kube=info"),
        ] {
            assert_eq!(directives(wanted), directives_then, "{wanted}");
        }
    }
}
