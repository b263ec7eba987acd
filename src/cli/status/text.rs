//! What `mta-sts status` tells, for people: a table of many policies, a tree of one.

use std::io::{self, Write};

use jiff::Timestamp;

use super::report::{ConditionReport, HeldReport, PolicyReport, RecordReport, Report, Verdict};
use crate::api::{RolloutStatus, StageStatus};
use crate::cli::output::painted;
use crate::cli::words::{duration, time, time_and_distance};
use crate::diagnosis::{Severity, printable};

/// All policies, a line each.
pub(super) fn table(
    out: &mut dyn Write,
    report: &Report,
    with_namespace: bool,
    colour: bool,
    now: Timestamp,
) -> io::Result<()> {
    let mut rows = vec![vec![
        "NAMESPACE",
        "NAME",
        "DOMAIN",
        "MODE",
        "READY",
        "STATUS",
        "ID",
        "PUBLISHED",
        "OLDER CACHED UNTIL",
    ]];
    let minute = |at: Option<Timestamp>| {
        at.map_or("-".to_owned(), |at| {
            at.strftime("%Y-%m-%d %H:%MZ").to_string()
        })
    };
    let cells: Vec<[String; 4]> = report
        .policies
        .iter()
        .map(|policy| {
            let ready = policy.ready.as_deref().unwrap_or("Unknown");
            let ready = match severity(policy.verdict) {
                Some(severity) => painted(ready, severity, colour),
                None => ready.to_owned(),
            };
            [
                printable(policy.domain.as_deref().unwrap_or("?")),
                ready,
                minute(policy.announced_at),
                minute(policy.older_until(now)),
            ]
        })
        .collect();
    for (policy, [domain, ready, published, cached]) in report.policies.iter().zip(&cells) {
        rows.push(vec![
            &policy.namespace,
            &policy.name,
            domain,
            policy.mode.as_deref().unwrap_or("-"),
            ready,
            policy.reason.as_deref().unwrap_or("NotLookedAt"),
            policy.id.as_deref().unwrap_or("-"),
            published,
            cached,
        ]);
    }
    if report.policies.is_empty() {
        return Ok(());
    }
    let skip = usize::from(!with_namespace);
    for line in aligned(&rows, skip) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Columns as wide as their widest cell, from the column `skip` on.
fn aligned(rows: &[Vec<&str>], skip: usize) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| visible(cell)).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<&str>| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths).skip(skip) {
            line.push_str(cell);
            let gap = width + 3 - visible(cell);
            line.extend(std::iter::repeat_n(' ', gap));
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// How wide a cell is on a terminal: without the sequences that colour it.
fn visible(cell: &str) -> usize {
    let mut inside = false;
    let shown = cell.chars().filter(|c| match c {
        '\u{1b}' => {
            inside = true;
            false
        }
        'm' if inside => {
            inside = false;
            false
        }
        _ => !inside,
    });
    shown.count()
}

fn severity(verdict: Verdict) -> Option<Severity> {
    match verdict {
        Verdict::Ok => None,
        Verdict::Pending => Some(Severity::Info),
        Verdict::Warning => Some(Severity::Warning),
        Verdict::Error => Some(Severity::Error),
        Verdict::Unknown => Some(Severity::Unknown),
    }
}

/// One line of a tree, and what hangs on it.
struct Node {
    text: String,
    children: Vec<Node>,
}

impl Node {
    fn leaf(text: impl Into<String>) -> Self {
        Self::branch(text, Vec::new())
    }

    fn branch(text: impl Into<String>, children: Vec<Node>) -> Self {
        Self {
            text: text.into(),
            children,
        }
    }

    fn write(&self, out: &mut dyn Write, own: &str, below: &str) -> io::Result<()> {
        writeln!(out, "{own}{}", self.text)?;
        for (at, child) in self.children.iter().enumerate() {
            let last = at + 1 == self.children.len();
            let (branch, trunk) = if last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            child.write(out, &format!("{below}{branch}"), &format!("{below}{trunk}"))?;
        }
        Ok(())
    }
}

/// Each policy as a tree.
pub(super) fn trees(
    out: &mut dyn Write,
    report: &Report,
    colour: bool,
    now: Timestamp,
) -> io::Result<()> {
    for (at, policy) in report.policies.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        tree(policy, colour, now).write(out, "", "")?;
    }
    Ok(())
}

fn tree(policy: &PolicyReport, colour: bool, now: Timestamp) -> Node {
    let reason = policy.reason.as_deref().unwrap_or("NotLookedAt");
    let reason = match severity(policy.verdict) {
        Some(severity) => painted(reason, severity, colour),
        None => reason.to_owned(),
    };
    let domain = printable(policy.domain.as_deref().unwrap_or("no domain"));
    let head = format!("{domain}  {}/{}  {reason}", policy.namespace, policy.name);
    let mut parts = Vec::new();
    if let Some(since) = policy.deleted_at {
        let since = time_and_distance(since, now);
        parts.push(Node::leaf(format!("being deleted since {since}")));
    }
    if !policy.current {
        parts.push(Node::leaf(
            "the controller has not yet looked at the spec as it is now: mta-sts doctor says whether it runs",
        ));
    }
    parts.extend(published(policy, now));
    parts.extend(policy.rollout.as_ref().map(|on| rollout(on, now)));
    parts.push(waiting(&policy.conditions));
    parts.push(held(policy, now));
    parts.extend(records(policy));
    parts.extend(findings(policy, colour));
    Node::branch(head, parts)
}

fn published(policy: &PolicyReport, now: Timestamp) -> Option<Node> {
    let (id, mode) = (policy.id.as_ref()?, policy.mode.as_ref()?);
    let age = u64::try_from(policy.max_age_seconds?).unwrap_or_default();
    let mut parts = vec![Node::leaf(format!("MX: {}", policy.mx.join(", ")))];
    if let Some(at) = policy.decided_at {
        parts.push(Node::leaf(format!(
            "decided {}",
            time_and_distance(at, now)
        )));
    }
    parts.push(Node::leaf(match policy.announced_at {
        Some(at) => format!("announced {}", time_and_distance(at, now)),
        None => "not yet announced".to_owned(),
    }));
    let head = format!("policy {id}: {mode}, max_age {}", duration(age));
    Some(Node::branch(head, parts))
}

/// Where the domain is on its ladder.
fn rollout(on: &RolloutStatus, now: Timestamp) -> Node {
    let since = on.since.map_or_else(String::new, |since| {
        format!(" since {}", time_and_distance(since, now))
    });
    let head = format!("stage {}{since}", printable(&on.stage));
    let rollback = rollback(on, now);
    let Some(next) = &on.next else {
        let last = rollback.chain([Node::leaf("it is the last one")]);
        return Node::branch(head, last.collect());
    };
    let waits = on.blocked_by.iter();
    let waits =
        waits.map(|why| Node::leaf(format!("{} waits: {}", printable(next), printable(why))));
    let ladder = on
        .ladder
        .iter()
        .map(|stage| Node::leaf(rung(on, stage, now)));
    let parts = rollback.chain(ladder).chain(waits).collect();
    Node::branch(head, parts)
}

/// One stage of the ladder.
fn rung(on: &RolloutStatus, stage: &StageStatus, now: Timestamp) -> String {
    let age = u64::try_from(stage.max_age_seconds).unwrap_or_default();
    let when = match stage.not_before {
        _ if stage.name == on.stage => ", now".to_owned(),
        Some(at) => format!(", not before {}", time_and_distance(at, now)),
        None => String::new(),
    };
    format!(
        "{}: {}, max_age {}{when}",
        printable(&stage.name),
        stage.mode,
        duration(age)
    )
}

/// The rollback that led to the stage, and the one that lies ahead.
fn rollback(on: &RolloutStatus, now: Timestamp) -> impl Iterator<Item = Node> {
    let back = on.rolled_back.as_ref().map(|back| {
        let (from, why) = (printable(&back.from), printable(&back.message));
        Node::leaf(format!("taken back from {from}: {why}"))
    });
    let ahead = on.rolls_back_at.map(|at| {
        let when = time_and_distance(at, now);
        Node::leaf(format!("it is taken back at {when}, unless that is mended"))
    });
    back.into_iter().chain(ahead)
}

/// The conditions that do not hold. Those that follow from them are left out.
fn waiting(conditions: &[ConditionReport]) -> Node {
    let derived = ["Ready", "Reconciling", "Stalled"];
    // Nobody waits for a port 25 that does not answer.
    let is_unknown = |c: &ConditionReport| c.type_ == "MxTlsValid" && c.status == "Unknown";
    let open =
        |c: &&ConditionReport| c.status != "True" && c.reason != "NotAccepted" && !is_unknown(c);
    let mut waits: Vec<&ConditionReport> = conditions
        .iter()
        .filter(open)
        .filter(|c| !derived.contains(&c.type_.as_str()) || c.reason == "EnforceHeld")
        .collect();
    if waits.is_empty() {
        waits = conditions
            .iter()
            .filter(open)
            .filter(|c| c.type_ == "Ready")
            .collect();
    }
    if waits.is_empty() {
        let seen = !conditions.is_empty();
        return Node::leaf(if seen {
            "waiting for nothing"
        } else {
            "waiting for the controller: mta-sts doctor says whether it runs"
        });
    }
    let parts = waits.iter().map(|c| {
        let head = format!("{} {}, {}", c.type_, c.status, c.reason);
        let since = format!("since {}", time(c.since));
        Node::branch(
            head,
            vec![Node::leaf(printable(&c.message)), Node::leaf(since)],
        )
    });
    Node::branch("waiting for", parts.collect())
}

fn held(policy: &PolicyReport, now: Timestamp) -> Node {
    let mut parts = Vec::new();
    if let Some(by) = policy.conforming_senders_by.filter(|by| *by > now) {
        let by = time_and_distance(by, now);
        parts.push(Node::leaf(format!(
            "senders that follow the id use the present policy by {by}"
        )));
    }
    parts.push(Node::leaf(match policy.older_until(now) {
        Some(by) => format!(
            "the last sender gives an older policy up by {}",
            time_and_distance(by, now)
        ),
        None => "nobody holds an older policy".to_owned(),
    }));
    if let Some(record) = &policy.record {
        parts.extend(of_record(record, now));
    }
    Node::branch("held by senders", parts)
}

fn of_record(record: &RecordReport, now: Timestamp) -> Vec<Node> {
    let mut parts = Vec::new();
    if let Some(why) = &record.unreadable {
        let (place, why) = (&record.config_map, printable(why));
        parts.push(Node::leaf(format!(
            "the record {place} cannot be read: {why}"
        )));
    }
    if let Some(owner) = &record.owner {
        parts.push(Node::leaf(format!(
            "the record belongs to {}",
            printable(owner)
        )));
    }
    if let Some(since) = record.retiring_since {
        parts.push(Node::leaf(format!(
            "the domain is being retired since {}",
            time(since)
        )));
    }
    parts.extend(
        record
            .ledger
            .iter()
            .map(|entry| Node::leaf(ledger_line(entry, now))),
    );
    parts
}

fn ledger_line(entry: &HeldReport, now: Timestamp) -> String {
    let id = entry.id.as_deref().unwrap_or("a policy without id");
    let mode = &entry.mode;
    let age = duration(entry.max_age_seconds.into());
    match (entry.held_until, entry.current) {
        (Some(until), _) => {
            format!(
                "{id}: {mode}, max_age {age}, held until {}",
                time_and_distance(until, now)
            )
        }
        (None, true) => format!("{id}: {mode}, max_age {age}, the present one"),
        (None, false) => format!("{id}: {mode}, max_age {age}, may still be served"),
    }
}

fn records(policy: &PolicyReport) -> Option<Node> {
    let parts: Vec<Node> = policy
        .records
        .iter()
        .map(|record| {
            let servers = record.servers.iter().map(|server| {
                let (address, answer) = (&server.address, printable(&server.answer));
                Node::leaf(format!("{address} says {answer}"))
            });
            let head = format!(
                "{}  {} {} {} {}",
                record.state,
                record.name,
                record.ttl_seconds,
                record.type_,
                printable(&record.value)
            );
            Node::branch(head, servers.collect())
        })
        .collect();
    (!parts.is_empty()).then(|| Node::branch("records", parts))
}

fn findings(policy: &PolicyReport, colour: bool) -> Option<Node> {
    let mut parts: Vec<Node> = policy
        .findings
        .iter()
        .map(|finding| {
            let severity = match finding.severity.as_str() {
                "error" => Severity::Error,
                "warning" => Severity::Warning,
                "info" => Severity::Info,
                _ => Severity::Unknown,
            };
            let word = painted(&printable(&finding.severity), severity, colour);
            let (code, subject) = (printable(&finding.code), printable(&finding.subject));
            let message = Node::leaf(printable(&finding.message));
            Node::branch(format!("{word} {code}  {subject}"), vec![message])
        })
        .collect();
    let shown = i64::try_from(parts.len()).unwrap_or(i64::MAX);
    if policy.findings_total > shown {
        let more = policy.findings_total - shown;
        parts.push(Node::leaf(format!("and {more} more")));
    }
    (!parts.is_empty()).then(|| Node::branch("findings", parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_also_where_a_cell_is_coloured() {
        let red = painted("no", Severity::Error, true);
        let rows = vec![vec!["A", "B", "C"], vec!["long", &red, "x"]];
        let lines = aligned(&rows, 0);
        assert_eq!(lines[0], "A      B    C");
        assert_eq!(lines[1], format!("long   {red}   x"));
        assert_eq!(aligned(&rows, 1)[0], "B    C");
    }

    #[test]
    fn a_tree_shows_what_hangs_on_what() {
        let leaf = |text: &str| Node::leaf(text);
        let tree = Node::branch(
            "top",
            vec![Node::branch("one", vec![leaf("two")]), leaf("three")],
        );
        let mut out = Vec::new();
        tree.write(&mut out, "", "").unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "top\n├─ one\n│  └─ two\n└─ three\n");
    }
}
