//! The only place that asks what time it is. Everything else takes the time as a parameter.

use jiff::Timestamp;

/// The wall clock now, in UTC. It may jump: never use it to measure a duration.
#[allow(clippy::disallowed_methods, reason = "this is that one place")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
