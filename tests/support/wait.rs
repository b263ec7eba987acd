//! Waiting for a condition.

use std::fmt::Display;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(50);

/// Asks again and again until `check` says `Ok`, and gives what it found. Panics when `within` has
/// passed, with `what` was waited for and what `check` said last.
///
/// ```ignore
/// let id = eventually("the TXT record is out", Duration::from_secs(20), async || {
///     dns.txt("_mta-sts.example.org").await.ok_or("no TXT yet")
/// })
/// .await;
/// ```
pub async fn eventually<T, E: Display>(
    what: &str,
    within: Duration,
    mut check: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    loop {
        let last = match check().await {
            Ok(found) => return found,
            Err(why) => why,
        };
        if begun.elapsed() >= within {
            panic!("not so within {within:?}: {what}\n  at last: {last}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks again and again for as long as `during`, and panics as soon as `check` says `Err`.
pub async fn always<E: Display>(
    what: &str,
    during: Duration,
    mut check: impl AsyncFnMut() -> Result<(), E>,
) {
    let begun = Instant::now();
    while begun.elapsed() < during {
        if let Err(why) = check().await {
            panic!("not so after {:?}: {what}\n  seen: {why}", begun.elapsed());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// `Ok` if `condition` holds, else an error with `seen`: for checks that are a comparison.
pub fn ensure(condition: bool, seen: impl Display) -> Result<(), String> {
    if condition {
        Ok(())
    } else {
        Err(seen.to_string())
    }
}
