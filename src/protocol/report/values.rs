//! Single values as senders write them: counts, times, names, addresses.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::ReportIssue;
use super::json::Json;
use crate::limits::REPORT_TEXT_CHARACTERS;
use crate::protocol::MxPattern;

/// A value, or none where it is lost, and what is to be noted.
pub(super) type Read<T> = (Option<T>, Option<ReportIssue>);

/// Numbers above this are rounded by readers that take all numbers for floating ones.
const LARGEST_EXACT: u64 = 1 << 53;

/// Longest number that is read in bytes: no count needs more.
const NUMBER_BYTES: usize = 40;

/// RFC 8460 is of 2018, and its drafts are of 2016. What claims to be older is a zero.
const FIRST_YEAR: i16 = 2016;

/// The type is wrong, and the value is left out.
pub(super) fn wrong_type<T>(value: &Json, expected: &'static str) -> Read<T> {
    let found = value.kind();
    (None, Some(ReportIssue::WrongType { expected, found }))
}

/// A text without the white space around it, none if nothing is left; cut at the limit.
pub(super) fn text(value: &Json) -> Read<String> {
    match value {
        Json::Null => (None, None),
        Json::Text(text) => {
            let text = text.trim();
            let limit = REPORT_TEXT_CHARACTERS;
            match text.char_indices().nth(limit) {
                None => ((!text.is_empty()).then(|| text.to_owned()), None),
                Some((end, _)) => {
                    let kept = text.get(..end).unwrap_or_default().to_owned();
                    (Some(kept), Some(ReportIssue::Cut { limit }))
                }
            }
        }
        other => wrong_type(other, "a text"),
    }
}

/// A count of sessions: a whole number, not below zero.
pub(super) fn count(value: &Json) -> Read<u64> {
    let expected = "a count of sessions";
    let (written, quoted) = match value {
        Json::Null => return (None, None),
        Json::Number(written) => (written.as_str(), false),
        Json::Text(written) => (written.trim(), true),
        other => return wrong_type(other, "a number"),
    };
    let value = short(written);
    let whole = written
        .split_once('.')
        .map_or(written, |(whole, fraction)| {
            match fraction.bytes().all(|digit| digit == b'0') {
                true => whole,
                false => written,
            }
        });
    let is_digits = !whole.is_empty() && whole.bytes().all(|digit| digit.is_ascii_digit());
    let number = (is_digits && written.len() <= NUMBER_BYTES)
        .then(|| whole.parse().ok())
        .flatten();
    let issue = match number {
        None => Some(ReportIssue::BadValue { expected, value }),
        Some(number) if number > LARGEST_EXACT => Some(ReportIssue::LargeNumber { value: number }),
        Some(_) if quoted || whole != written => Some(ReportIssue::NumberWritten { value }),
        Some(_) => None,
    };
    (number, issue)
}

/// A time. One that cannot be read is none, and never the year 1970.
pub(super) fn time(value: &Json) -> Read<Timestamp> {
    let written = match value {
        Json::Null => return (None, None),
        Json::Text(written) => written.trim(),
        other => return wrong_type(other, "a time"),
    };
    let value = short(written);
    let zoned: Option<Timestamp> = written.parse().ok();
    let local = || {
        let local: DateTime = written.parse().ok()?;
        TimeZone::UTC.to_timestamp(local).ok()
    };
    let plausible = |time: &Timestamp| TimeZone::UTC.to_datetime(*time).year() >= FIRST_YEAR;
    let read = zoned.or_else(local);
    let found = read.filter(plausible);
    let issue = match (found, zoned) {
        (None, _) => Some(ReportIssue::BadValue {
            expected: match read {
                Some(_) => "a time after TLS reports began (2016)",
                None => "a time as in RFC 3339",
            },
            value,
        }),
        (Some(_), None) => Some(ReportIssue::NoZone { value }),
        (Some(_), Some(_)) => None,
    };
    (found, issue)
}

/// A host name, a domain or an MX pattern in its canonical form. What is none is kept.
pub(super) fn name(value: &Json) -> Read<String> {
    let (written, issue) = text(value);
    let Some(written) = written else {
        return (None, issue);
    };
    let folded = written.to_lowercase();
    let folded = folded.strip_suffix('.').unwrap_or(&folded);
    let value = short(&written);
    let issue = issue.or(match MxPattern::parse_any_case(folded) {
        Err(_) => Some(ReportIssue::BadName { value }),
        Ok(_) if folded != written => Some(ReportIssue::NameWritten { value }),
        Ok(_) => None,
    });
    (Some(folded.to_owned()), issue)
}

/// An entry of `mx-host`, before which some senders leave the key of the policy's line.
pub(super) fn mx_host(value: &Json) -> Read<String> {
    let Json::Text(written) = value else {
        return name(value);
    };
    let trimmed = written.trim_start();
    let is_prefixed = trimmed
        .get(..3)
        .is_some_and(|it| it.eq_ignore_ascii_case("mx:"));
    if !is_prefixed {
        return name(value);
    }
    let rest = trimmed.get(3..).unwrap_or_default().to_owned();
    let (host, issue) = name(&Json::Text(rest));
    (host, issue.or(Some(ReportIssue::MxPrefix)))
}

/// An IP address. What is none is kept: some senders write a name there.
pub(super) fn address(value: &Json) -> Read<String> {
    let (written, issue) = text(value);
    let Some(written) = written else {
        return (None, issue);
    };
    let bare = written.trim_matches(['[', ']']);
    let is_address = bare.parse::<IpAddr>().is_ok();
    let value = short(&written);
    let issue = issue.or((!is_address).then_some(ReportIssue::BadAddress { value }));
    (Some(written), issue)
}

/// What a note quotes of a value.
pub(super) fn short(text: &str) -> String {
    const CHARACTERS: usize = 80;
    let mut short: String = text.chars().take(CHARACTERS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
