//! From JSON to a [`Report`], field by field. One bad field costs that field alone.

use std::collections::{BTreeSet, HashMap};
use std::mem::{Discriminant, discriminant};

use super::json::{self, Json};
use super::values::{self, Read};
use super::{
    Failure, Report, ReportError, ReportIssue, ReportIssueAt, ReportPolicy, ReportPolicyType,
    ReportReading, ResultType,
};
use crate::limits::{REPORT_FAILURES, REPORT_ISSUES, REPORT_LINES, REPORT_POLICIES};

/// An object with one of these is meant as a report.
const KEYS: [&str; 4] = ["organization-name", "date-range", "report-id", "policies"];

/// Keys that some senders write, and what the RFC calls them.
const OTHER_KEYS: [(&str, &str); 2] = [
    ("mx-host-pattern", "mx-host"),
    ("additional-info-uri", "additional-information"),
];

/// Names of unknown keys that are noted, so that they leave room for the other notes.
const UNKNOWN_KEYS: usize = 20;

pub(super) fn read(bytes: &[u8]) -> Result<ReportReading, ReportError> {
    let (json, of_document) = json::parse(bytes)?;
    let found = json.kind();
    let Json::Object(members) = json else {
        return Err(ReportError::NotAnObject { found });
    };
    if !members.iter().any(|(key, _)| KEYS.contains(&key.as_str())) {
        return Err(ReportError::NotAReport);
    }
    let mut reader = Reader {
        notes: Notes::default(),
        failures: 0,
    };
    for issue in of_document {
        reader.notes.add(&Place::root(), issue);
    }
    let report = reader.report(members);
    Ok(ReportReading {
        report,
        issues: reader.notes.issues,
        more_issues: reader.notes.more,
    })
}

struct Reader {
    notes: Notes,
    /// Failures that were kept so far.
    failures: usize,
}

impl Reader {
    fn report(&mut self, members: Vec<(String, Json)>) -> Report {
        let mut fields = Fields::new(Place::root(), members);
        let organization = self.needed(&mut fields, "organization-name", values::text);
        let contact = self.field(&mut fields, "contact-info", values::text);
        let id = self.needed(&mut fields, "report-id", values::text);

        let mut range = self.object(&mut fields, "date-range");
        let begin = self.needed(&mut range, "start-datetime", values::time);
        let end = self.needed(&mut range, "end-datetime", values::time);
        if let (Some(begin), Some(end)) = (begin, end) {
            let seconds = end.as_second().saturating_sub(begin.as_second());
            if seconds < 0 {
                self.notes.add(&range.place, ReportIssue::EndBeforeBegin);
            } else if seconds >= 86_400 {
                self.notes.add(&range.place, ReportIssue::Span { seconds });
            }
        }
        self.finish(range);

        let policies = self.policies(&mut fields);
        self.finish(fields);
        self.overlaps(&policies);
        Report {
            organization,
            contact,
            id,
            begin,
            end,
            policies,
        }
    }

    fn policies(&mut self, fields: &mut Fields) -> Vec<ReportPolicy> {
        let place = fields.place.key("policies");
        let Some(value) = self.take(fields, "policies") else {
            self.notes.add(&place, ReportIssue::Missing);
            return Vec::new();
        };
        let items = self.list(&place, value, REPORT_POLICIES);
        let items = (0..).zip(items);
        items
            .filter_map(|(index, item)| self.policy(&place.item(index), item))
            .collect()
    }

    fn policy(&mut self, place: &Place, value: Json) -> Option<ReportPolicy> {
        let Json::Object(members) = value else {
            self.wrong(place, &value, "an object");
            return None;
        };
        let mut fields = Fields::new(place.clone(), members);
        let mut read = ReportPolicy::default();

        let mut policy = self.object(&mut fields, "policy");
        read.kind = self.needed(&mut policy, "policy-type", policy_type);
        read.domain = self.field(&mut policy, "policy-domain", values::name);
        let needs_domain = read.kind != Some(ReportPolicyType::NoPolicyFound);
        if needs_domain && read.domain.is_none() && !policy.is_absent {
            let place = policy.place.key("policy-domain");
            self.notes.add(&place, ReportIssue::Missing);
        }
        read.mx_hosts = self.texts(&mut policy, "mx-host", values::mx_host);
        read.strings = self.policy_strings(&mut policy, read.kind.as_ref());
        self.finish(policy);

        let mut summary = self.object(&mut fields, "summary");
        read.successful = self.needed(
            &mut summary,
            "total-successful-session-count",
            values::count,
        );
        read.failed = self.needed(&mut summary, "total-failure-session-count", values::count);
        self.finish(summary);

        read.failures = self.failures(&mut fields);
        let details = read.failures.iter().filter_map(|failure| failure.count);
        let details = details.fold(0, u64::saturating_add);
        if let Some(total) = read.failed.filter(|total| *total != details) {
            let place = place.key("summary");
            self.notes
                .add(&place, ReportIssue::CountsDiffer { total, details });
        }
        self.finish(fields);
        Some(read)
    }

    fn failures(&mut self, fields: &mut Fields) -> Vec<Failure> {
        let place = fields.place.key("failure-details");
        let Some(value) = self.take(fields, "failure-details") else {
            return Vec::new();
        };
        let left = REPORT_FAILURES.saturating_sub(self.failures);
        let items = self.list(&place, value, left);
        self.failures += items.len();
        let items = (0..).zip(items);
        items
            .filter_map(|(index, item)| self.failure(&place.item(index), item))
            .collect()
    }

    fn failure(&mut self, place: &Place, value: Json) -> Option<Failure> {
        let Json::Object(members) = value else {
            self.wrong(place, &value, "an object");
            return None;
        };
        let mut fields = Fields::new(place.clone(), members);
        let failure = Failure {
            result: self.needed(&mut fields, "result-type", result_type),
            count: self.needed(&mut fields, "failed-session-count", values::count),
            sending_mta_ip: self.field(&mut fields, "sending-mta-ip", values::address),
            receiving_mx: self.field(&mut fields, "receiving-mx-hostname", values::name),
            receiving_helo: self.field(&mut fields, "receiving-mx-helo", values::text),
            receiving_ip: self.field(&mut fields, "receiving-ip", values::address),
            information: self.field(&mut fields, "additional-information", values::text),
            reason: self.field(&mut fields, "failure-reason-code", values::text),
        };
        self.finish(fields);
        Some(failure)
    }

    /// The same host, kind or domain more than once is lawful, and worth knowing.
    fn overlaps(&mut self, policies: &[ReportPolicy]) {
        let place = Place::root().key("policies");
        let domains: BTreeSet<&str> = policies
            .iter()
            .filter_map(|it| it.domain.as_deref())
            .collect();
        if domains.len() > 1 {
            let domains = domains.len();
            self.notes
                .add(&place, ReportIssue::SeveralDomains { domains });
        }
        let mut kinds = BTreeSet::new();
        let again =
            |policy: &ReportPolicy| !kinds.insert((policy.kind.clone(), policy.domain.clone()));
        if policies.iter().any(again) {
            self.notes.add(&place, ReportIssue::SeveralOfOneKind);
        }
    }

    /// The lines of a policy, which some senders join in one text.
    fn policy_strings(
        &mut self,
        fields: &mut Fields,
        kind: Option<&ReportPolicyType>,
    ) -> Vec<String> {
        let place = fields.place.key("policy-string");
        let value = self.take(fields, "policy-string");
        let items = value.map(|value| self.list(&place, value, REPORT_LINES));
        let is_tlsa = kind == Some(&ReportPolicyType::Tlsa);
        let mut lines = Vec::new();
        for item in items.unwrap_or_default() {
            let pieces = match &item {
                Json::Text(text) => split_lines(text, is_tlsa),
                _ => Vec::new(),
            };
            if pieces.len() < 2 {
                lines.extend(self.noted(&place, values::text(&item)));
                continue;
            }
            self.notes.add(&place, ReportIssue::Joined);
            let left = REPORT_LINES.saturating_sub(lines.len());
            if pieces.len() > left {
                let (count, kept) = (pieces.len(), left);
                self.notes.add(&place, ReportIssue::TooMany { count, kept });
            }
            for piece in pieces.into_iter().take(left) {
                lines.extend(self.noted(&place, values::text(&Json::Text(piece))));
            }
        }
        lines
    }

    fn texts(
        &mut self,
        fields: &mut Fields,
        key: &'static str,
        read: fn(&Json) -> Read<String>,
    ) -> Vec<String> {
        let place = fields.place.key(key);
        let Some(value) = self.take(fields, key) else {
            return Vec::new();
        };
        let items = self.list(&place, value, REPORT_LINES);
        items
            .iter()
            .filter_map(|item| self.noted(&place, read(item)))
            .collect()
    }

    /// A list; one value alone is a list of one.
    fn list(&mut self, place: &Place, value: Json, limit: usize) -> Vec<Json> {
        let mut items = match value {
            Json::List(items) => items,
            Json::Null => Vec::new(),
            Json::Text(text) if text.trim().is_empty() => Vec::new(),
            other => {
                let found = other.kind();
                self.notes.add(place, ReportIssue::NotAList { found });
                vec![other]
            }
        };
        if items.len() > limit {
            let (count, kept) = (items.len(), limit);
            self.notes.add(place, ReportIssue::TooMany { count, kept });
            items.truncate(limit);
        }
        items
    }

    /// The fields of an object within another; none of them if there is no such object.
    fn object(&mut self, fields: &mut Fields, key: &'static str) -> Fields {
        let place = fields.place.key(key);
        match self.take(fields, key) {
            Some(Json::Object(members)) => Fields::new(place, members),
            other => {
                match other {
                    None | Some(Json::Null) => self.notes.add(&place, ReportIssue::Missing),
                    Some(value) => self.wrong(&place, &value, "an object"),
                }
                Fields {
                    place,
                    members: Vec::new(),
                    is_absent: true,
                }
            }
        }
    }

    /// A field that the schema wants.
    fn needed<T>(
        &mut self,
        fields: &mut Fields,
        key: &'static str,
        read: fn(&Json) -> Read<T>,
    ) -> Option<T> {
        let value = self.take(fields, key).unwrap_or(Json::Null);
        let place = fields.place.key(key);
        match read(&value) {
            (None, None) => {
                // An object that is missing was noted once.
                if !fields.is_absent {
                    self.notes.add(&place, ReportIssue::Missing);
                }
                None
            }
            read => self.noted(&place, read),
        }
    }

    fn field<T>(
        &mut self,
        fields: &mut Fields,
        key: &'static str,
        read: fn(&Json) -> Read<T>,
    ) -> Option<T> {
        let value = self.take(fields, key)?;
        let place = fields.place.key(key);
        self.noted(&place, read(&value))
    }

    fn noted<T>(&mut self, place: &Place, (value, issue): Read<T>) -> Option<T> {
        if let Some(issue) = issue {
            self.notes.add(place, issue);
        }
        value
    }

    /// Takes a field out. What stands twice counts as most readers of JSON have it: the last one.
    fn take(&mut self, fields: &mut Fields, key: &'static str) -> Option<Json> {
        let place = fields.place.key(key);
        let other = OTHER_KEYS.iter().find(|(_, standard)| *standard == key);
        let mut found = fields.take(key);
        if let Some((written, _)) = other {
            let others = fields.take(written);
            if found.is_empty() && !others.is_empty() {
                self.notes.add(&place, ReportIssue::OtherKey { written });
            }
            // The RFC's key counts where both are there.
            found.splice(0..0, others);
        }
        if found.len() > 1 {
            self.notes.add(&place, ReportIssue::RepeatedKey);
        }
        found.pop()
    }

    /// Notes the fields that nobody asked for.
    fn finish(&mut self, fields: Fields) {
        for (key, _) in &fields.members {
            let place = fields.place.key(&values::short(key));
            self.notes.add_unknown(&place);
        }
    }

    fn wrong(&mut self, place: &Place, value: &Json, expected: &'static str) {
        let (_, issue): Read<()> = values::wrong_type(value, expected);
        self.noted::<()>(place, (None, issue));
    }
}

/// An object whose fields are taken out one by one.
struct Fields {
    place: Place,
    members: Vec<(String, Json)>,
    /// There was no such object.
    is_absent: bool,
}

impl Fields {
    fn new(place: Place, members: Vec<(String, Json)>) -> Self {
        Self {
            place,
            members,
            is_absent: false,
        }
    }

    fn take(&mut self, key: &str) -> Vec<Json> {
        let is_wanted = |(name, _): &mut (String, Json)| name == key;
        let taken = self.members.extract_if(.., is_wanted);
        taken.map(|(_, value)| value).collect()
    }
}

/// Where a field stands, as in `policies[0].summary`.
#[derive(Clone)]
struct Place {
    path: String,
    /// The last key of the path.
    key: String,
}

impl Place {
    fn root() -> Self {
        Self {
            path: String::new(),
            key: String::new(),
        }
    }

    fn key(&self, key: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self {
            path: format!("{}{dot}{key}", self.path),
            key: key.to_owned(),
        }
    }

    fn item(&self, index: usize) -> Self {
        Self {
            path: format!("{}[{index}]", self.path),
            key: self.key.clone(),
        }
    }
}

/// What was noted: each kind once for each key, since a sender has its ways in every entry.
#[derive(Default)]
struct Notes {
    issues: Vec<ReportIssueAt>,
    known: HashMap<(Discriminant<ReportIssue>, String), usize>,
    unknown_keys: usize,
    more: usize,
}

impl Notes {
    fn add(&mut self, place: &Place, issue: ReportIssue) {
        let kind = (discriminant(&issue), place.key.clone());
        if let Some(at) = self
            .known
            .get(&kind)
            .and_then(|at| self.issues.get_mut(*at))
        {
            at.times += 1;
        } else if self.issues.len() < REPORT_ISSUES {
            self.known.insert(kind, self.issues.len());
            let path = match place.path.as_str() {
                "" => "the report".to_owned(),
                path => path.to_owned(),
            };
            self.issues.push(ReportIssueAt {
                path,
                issue,
                times: 1,
            });
        } else {
            self.more += 1;
        }
    }

    fn add_unknown(&mut self, place: &Place) {
        let kind = (discriminant(&ReportIssue::UnknownKey), place.key.clone());
        let is_new = !self.known.contains_key(&kind);
        if is_new && self.unknown_keys == UNKNOWN_KEYS {
            self.more += 1;
            return;
        }
        self.unknown_keys += usize::from(is_new);
        self.add(place, ReportIssue::UnknownKey);
    }
}

fn policy_type(value: &Json) -> Read<ReportPolicyType> {
    word(value, |written| {
        let kind = ReportPolicyType::parse(written);
        let unknown = !kind.is_known();
        let value = values::short(written);
        let issue = unknown.then_some(ReportIssue::UnknownPolicyType { value });
        let is_written_so = kind.as_str() == written;
        (kind, issue, is_written_so)
    })
}

/// An unknown result is no oddity of the report: it is counted as one that is unknown.
fn result_type(value: &Json) -> Read<ResultType> {
    word(value, |written| {
        let result = ResultType::parse(written);
        let is_written_so = result.as_str() == written;
        (result, None, is_written_so)
    })
}

fn word<T>(value: &Json, read: fn(&str) -> (T, Option<ReportIssue>, bool)) -> Read<T> {
    let (text, issue) = values::text(value);
    let Some(text) = text else {
        return (None, issue);
    };
    let (word, noted, is_written_so) = read(&text);
    let value = values::short(&text);
    let written = (!is_written_so).then_some(ReportIssue::WordWritten { value });
    (Some(word), issue.or(noted).or(written))
}

/// The lines of a text that holds several; TLSA records are also joined by other signs.
fn split_lines(text: &str, is_tlsa: bool) -> Vec<String> {
    let ends: &[char] = match is_tlsa {
        true => &['\n', '\r', ',', ';', '{', '}'],
        false => &['\n', '\r'],
    };
    let pieces = text
        .split(ends)
        .map(str::trim)
        .filter(|piece| !piece.is_empty());
    if !is_tlsa {
        return pieces.map(str::to_owned).collect();
    }
    let mut records = Vec::new();
    for piece in pieces {
        let words: Vec<&str> = piece.split_whitespace().collect();
        // Usage, selector, matching type and data (RFC 6698 §2.2), several times.
        let is_record = |record: &[&str]| {
            let numbers = record
                .iter()
                .take(3)
                .filter(|word| word.parse::<u8>().is_ok());
            record.len() == 4 && numbers.count() == 3
        };
        let several = words.chunks(4).all(is_record);
        match several {
            true => records.extend(words.chunks(4).map(|record| record.join(" "))),
            false => records.push(piece.to_owned()),
        }
    }
    records
}
