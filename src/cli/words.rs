//! Times and counts as people read them.

use jiff::Timestamp;

/// A time in UTC, to the second.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A time in UTC and how far it is from now.
pub(super) fn time_and_distance(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.as_second() - now.as_second();
    let distance = duration(seconds.unsigned_abs());
    let distance = if seconds > 0 {
        format!("in {distance}")
    } else {
        format!("{distance} ago")
    };
    format!("{} ({distance})", time(at))
}

/// A duration in its largest unit of which there are two or more, or in whole days.
pub(super) fn duration(seconds: u64) -> String {
    let (count, unit) = match seconds {
        whole if whole > 0 && whole % 86_400 == 0 => (seconds / 86_400, "day"),
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    counted(usize::try_from(count).unwrap_or(usize::MAX), unit)
}

/// `1 policy`, `2 days`: a count with its noun.
pub(super) fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_counts_read_as_people_say_them() {
        let now: Timestamp = "2026-11-26T10:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(
            time_and_distance(at("2026-11-26T09:57:00Z"), now),
            "2026-11-26 09:57:00 UTC (3 minutes ago)"
        );
        assert_eq!(
            time_and_distance(at("2026-12-03T10:00:00Z"), now),
            "2026-12-03 10:00:00 UTC (in 7 days)"
        );
        assert_eq!(duration(119), "119 seconds");
        assert_eq!(duration(86_400), "1 day");
        assert_eq!(duration(86_500), "24 hours");
        assert_eq!(duration(0), "0 seconds");
        assert_eq!(counted(1, "policy"), "1 policy");
        assert_eq!(counted(2, "policy"), "2 policies");
        assert_eq!(counted(0, "day"), "0 days");
    }
}
