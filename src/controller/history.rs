//! What the history of a policy has to say about what is seen now, as findings. (pure)

use jiff::{SignedDuration, Timestamp};

use super::report::Report;
use crate::diagnosis::{Code, Finding};
use crate::lifecycle::observation::{EndpointAnswer, Public, PublicOutcome, TxtAnswer};
use crate::lifecycle::publish::{Served, Shown};
use crate::lifecycle::{Announced, Publication, Record, TRIED_OUT};
use crate::protocol::{Mode, Sha256Digest};

/// Testing for longer than this is no test any more.
const TESTED_LONG: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The findings of the lifecycle, of a policy that is announced.
pub(super) fn history(report: &Report, record: &Record, now: Timestamp) -> Vec<Finding> {
    let publication = &record.publication;
    let current = &publication.current;
    let announced = publication.announced.as_ref();
    let mut findings = removed(report, publication, now);
    if let Some(announced) = announced.filter(|it| it.id == current.id) {
        findings.extend(out_of_step(report, publication));
        findings.extend(unproved(report, publication, announced, now));
        findings.extend(tested_for_long(publication, announced, now));
    }
    findings
}

/// The id is out while other bytes than its own are served somewhere: older ones, or some that nobody
/// decided.
fn out_of_step(report: &Report, publication: &Publication) -> Vec<Finding> {
    let Some(progress) = &report.progress else {
        return Vec::new();
    };
    if progress.shown != Shown::Yes || progress.served == Served::Yes {
        return Vec::new();
    }
    let current = publication.current.sha256;
    let seen = report.seen.iter();
    let endpoints = seen
        .clone()
        .flat_map(|seen| seen.endpoints.iter().flatten());
    let endpoints = endpoints.filter_map(|endpoint| match &endpoint.answer {
        EndpointAnswer::Body { sha256, .. } if *sha256 != current => Some(early(
            &endpoint.address,
            "the id is announced and this policy server serves an older body",
            "look at the log of this policy server; restart it if its watch is stuck",
        )),
        _ => None,
    });
    let answers = seen.flat_map(|seen| match &seen.public {
        Public::Answers(answers) => answers.as_slice(),
        _ => &[],
    });
    let host = publication.domain.policy_host();
    let public = answers.filter_map(|answer| match &answer.outcome {
        PublicOutcome::Body { sha256, .. } if *sha256 != current => {
            let subject = format!("{host} at {}", answer.address);
            Some(match is_older(publication, *sha256) {
                true => early(
                    &subject,
                    "the id is announced and an older policy is served here",
                    "look at the front: is there a cache, or a host of the time before?",
                ),
                false => stale(&subject),
            })
        }
        _ => None,
    });
    endpoints.chain(public).collect()
}

fn is_older(publication: &Publication, sha256: Sha256Digest) -> bool {
    let mut ledger = publication.ledger.iter();
    ledger.any(|entry| entry.sha256 == Some(sha256))
}

fn early(subject: &str, message: &str, remedy: &str) -> Finding {
    Finding::new(Code::LifecycleIdEarly, subject, message).with_remedy(remedy)
}

fn stale(subject: &str) -> Finding {
    Finding::new(
        Code::LifecycleIdStale,
        subject,
        "a policy is served here that is not the one of the id: senders that hold a copy do not notice the change",
    )
    .with_remedy("serve what status.policy says; a change belongs into the spec, which gives it a new id")
}

/// Mode enforce without a time in mode testing, or without anybody who tells of failures.
fn unproved(
    report: &Report,
    publication: &Publication,
    announced: &Announced,
    now: Timestamp,
) -> Option<Finding> {
    if publication.current.mode != Mode::Enforce {
        return None;
    }
    let untried =
        publication.tried_out == Some(false) && now.duration_since(announced.at) < TRIED_OUT;
    let unheard = report.tls_reports_asked == Some(false);
    let (message, remedy) = match (untried, unheard) {
        (false, false) => return None,
        (true, _) => (
            "the policy enforces without having been tried out in mode testing",
            "where mail matters: write mode: testing, and enforce when TLS reports show no failures for two weeks (spec.rollout does that by itself)",
        ),
        (false, true) => (
            "the policy enforces, and no sender tells of failures: the domain has no TLS-RPT record",
            "write spec.tlsReporting.rua",
        ),
    };
    let subject = publication.domain.as_str();
    Some(Finding::new(Code::LifecycleEnforceUnproved, subject, message).with_remedy(remedy))
}

fn tested_for_long(
    publication: &Publication,
    announced: &Announced,
    now: Timestamp,
) -> Option<Finding> {
    let is_testing = publication.current.mode == Mode::Testing;
    let tested = now.duration_since(announced.at);
    (is_testing && tested > TESTED_LONG).then(|| {
        let days = tested.as_hours() / 24;
        Finding::new(
            Code::LifecycleTestingForever,
            publication.domain.as_str(),
            "the policy has been in mode testing for over 90 days, and protects nothing yet",
        )
        .with_evidence(&format!("announced {days} days ago"))
        .with_remedy("write mode: enforce when TLS reports show no failures (mta-sts report)")
    })
}

/// The record or the body is gone, while senders may hold a policy that they enforce.
fn removed(report: &Report, publication: &Publication, now: Timestamp) -> Vec<Finding> {
    let enforced = publication
        .ledger
        .iter()
        .filter(|it| it.mode == Mode::Enforce);
    let held = enforced.map(|entry| entry.held_until(now)).max();
    let announced = publication.announced.as_ref();
    let is_out = announced.is_some_and(|announced| announced.confirmed_at.is_some());
    let (Some(until), Some(seen), true) = (held.filter(|it| *it > now), &report.seen, is_out)
    else {
        return Vec::new();
    };
    let servers = &seen.txt_servers;
    let shows_none = |answer: &TxtAnswer| match answer {
        TxtAnswer::Set(set, _) => set.has_none_of_ours() && set.foreign().is_empty(),
        TxtAnswer::Unreachable { .. } => false,
    };
    let no_record = !servers.is_empty() && servers.iter().all(|server| shows_none(&server.answer));
    let no_body = match &seen.public {
        Public::NoAddress => true,
        Public::Answers(answers) => {
            let is_gone = |outcome: &PublicOutcome| {
                matches!(
                    outcome,
                    PublicOutcome::Status {
                        status: 404 | 410,
                        ..
                    }
                )
            };
            !answers.is_empty() && answers.iter().all(|answer| is_gone(&answer.outcome))
        }
        _ => false,
    };
    let of = |subject: &str, what: &str| {
        Finding::new(
            Code::LifecycleRemovedAbruptly,
            subject,
            &format!("{what} is gone while senders may still enforce a policy"),
        )
        .with_evidence(&format!("senders may hold it until {until}"))
        .with_remedy(
            "put it back; who wants to stop deletes the object, or writes mode: none, and waits",
        )
    };
    let domain = &publication.domain;
    let record = no_record.then(|| of(&domain.sts_record_name(), "the TXT record"));
    let body = no_body.then(|| of(domain.policy_host().as_str(), "the policy"));
    record.into_iter().chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::publish::progress;
    use crate::lifecycle::publish::tests::{fresh, record, txt};
    use crate::protocol::StsRecord;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap()
    }

    /// What was announced on day 0 and is shown and served since then.
    fn out(mode: Mode, tried_out: Option<bool>) -> (Record, Report) {
        let mut record = record();
        let publication = &mut record.publication;
        publication.current.mode = mode;
        publication.ledger[0].mode = mode;
        publication.tried_out = tried_out;
        publication.announced = Some(Announced {
            id: publication.current.id.clone(),
            ttl: 300,
            at: at(0),
            previous_ttl: 300,
            confirmed_at: Some(at(0)),
        });
        let mut seen = fresh(&record);
        let shown = StsRecord::render(&record.publication.current.id);
        seen.txt_servers[0].answer = txt(&[shown]);
        let report = Report {
            seen: Some(seen),
            ..Report::default()
        };
        (record, report)
    }

    fn found(record: &Record, mut report: Report, day: i64) -> Vec<String> {
        let seen = report.seen.as_ref().unwrap();
        report.progress = Some(progress(record, seen, at(day)));
        let findings = history(&report, record, at(day));
        let told = findings
            .iter()
            .map(|it| format!("{} {}", it.code, it.subject));
        told.collect()
    }

    #[test]
    fn enforce_is_unproved_in_its_first_two_weeks_or_while_nobody_tells_of_failures() {
        let unproved = vec!["lifecycle-enforce-unproved example.org".to_owned()];
        for (case, mode, tried_out, asked, day, expected) in [
            (
                "untried",
                Mode::Enforce,
                Some(false),
                None,
                1,
                unproved.clone(),
            ),
            ("tried out", Mode::Enforce, Some(true), None, 1, vec![]),
            ("not known", Mode::Enforce, None, None, 1, vec![]),
            ("for long", Mode::Enforce, Some(false), None, 15, vec![]),
            (
                "unheard",
                Mode::Enforce,
                Some(true),
                Some(false),
                99,
                unproved.clone(),
            ),
            ("heard", Mode::Enforce, Some(true), Some(true), 99, vec![]),
            (
                "testing",
                Mode::Testing,
                Some(false),
                Some(false),
                1,
                vec![],
            ),
        ] {
            let (record, mut report) = out(mode, tried_out);
            report.tls_reports_asked = asked;
            assert_eq!(found(&record, report, day), expected, "{case}");
        }
    }

    #[test]
    fn testing_is_for_ninety_days() {
        let (record, _) = out(Mode::Testing, None);
        let of = |day| found(&record, out(Mode::Testing, None).1, day);
        assert_eq!(of(90), Vec::<String>::new());
        assert_eq!(of(91), ["lifecycle-testing-forever example.org"]);
        let (enforced, report) = out(Mode::Enforce, Some(true));
        assert_eq!(found(&enforced, report, 91), Vec::<String>::new());
    }

    fn serving(report: &mut Report, outcome: PublicOutcome) {
        let seen = report.seen.as_mut().unwrap();
        let Public::Answers(answers) = &mut seen.public else {
            panic!("{:?}", seen.public)
        };
        answers[0].outcome = outcome;
    }

    fn body(bytes: &str) -> PublicOutcome {
        PublicOutcome::Body {
            sha256: Sha256Digest::of(bytes.as_bytes()),
            policy: None,
            content_type: Some("text/plain".to_owned()),
            cache_seconds: None,
        }
    }

    #[test]
    fn other_bytes_than_those_of_the_id_are_older_ones_or_nobodys() {
        let (mut record, _) = out(Mode::Testing, None);
        let mut older = record.publication.ledger[0].clone();
        older.id = None;
        older.sha256 = Some(Sha256Digest::of(b"older"));
        record.publication.ledger.push(older);
        let of = |bytes: &str| {
            let (_, mut report) = out(Mode::Testing, None);
            serving(&mut report, body(bytes));
            found(&record, report, 1)
        };
        let subject = "mta-sts.example.org at 192.0.2.1:443";
        assert_eq!(of("older"), [format!("lifecycle-id-early {subject}")]);
        assert_eq!(of("nobody's"), [format!("lifecycle-id-stale {subject}")]);
        let (_, report) = out(Mode::Testing, None);
        assert_eq!(found(&record, report, 1), Vec::<String>::new());
    }

    #[test]
    fn what_goes_while_senders_enforce_is_an_error() {
        let no_record = |report: &mut Report| {
            report.seen.as_mut().unwrap().txt_servers[0].answer = txt(&[]);
        };
        let no_body = |report: &mut Report| {
            let location = None;
            serving(
                report,
                PublicOutcome::Status {
                    status: 404,
                    location,
                },
            );
        };
        let (record, mut report) = out(Mode::Enforce, Some(true));
        no_record(&mut report);
        no_body(&mut report);
        assert_eq!(
            found(&record, report, 1),
            [
                "lifecycle-removed-abruptly _mta-sts.example.org",
                "lifecycle-removed-abruptly mta-sts.example.org",
            ]
        );
        // Nobody refuses mail by a policy in mode testing, or by one that was never announced.
        let (testing, mut report) = out(Mode::Testing, None);
        no_record(&mut report);
        assert_eq!(found(&testing, report, 1), Vec::<String>::new());
        let (mut served, mut report) = out(Mode::Enforce, Some(true));
        served.publication.announced = None;
        no_record(&mut report);
        assert_eq!(found(&served, report, 1), Vec::<String>::new());
    }
}
