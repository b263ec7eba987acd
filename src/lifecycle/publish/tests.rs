use super::super::decide::{Decided, Input, decide};
use super::super::desired::tests::desired;
use super::super::guard::LiveMx;
use super::super::observation::Endpoint;
use super::super::record::Owner;
use super::super::txt::TxtSet;
use super::*;
use crate::protocol::{InstallationId, MaxAge, Mode};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn installation() -> InstallationId {
    "00c0de".parse().unwrap()
}

pub(crate) fn record() -> Record {
    let owner = Owner {
        namespace: "mail".to_owned(),
        name: "x".to_owned(),
        uid: "1".to_owned(),
    };
    let decided = decide(&Input {
        desired: &desired(),
        owner: &owner,
        provider: None,
        installation: &installation(),
        record: None,
        edited: None,
        txt: None,
        adopted: None,
        assume_max_age: MaxAge::MAX,
        live: &LiveMx::Hosts(Vec::new()),
        now: at(0),
    });
    match decided {
        Decided::New(record, _) => *record,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn txt(texts: &[String]) -> TxtAnswer {
    let texts: Vec<_> = texts.iter().map(|t| t.clone().into_bytes()).collect();
    TxtAnswer::Set(TxtSet::classify(&texts, &installation()), 300)
}

fn server(address: &str, answer: TxtAnswer) -> TxtServer {
    TxtServer {
        address: address.to_owned(),
        answer,
    }
}

fn silent(since: i64) -> TxtAnswer {
    TxtAnswer::Unreachable {
        why: "timeout".to_owned(),
        since: at(since),
    }
}

fn endpoint(etag: &str, sha256: Sha256Digest) -> Endpoint {
    Endpoint {
        address: "192.0.2.10:8080".to_owned(),
        answer: EndpointAnswer::Body {
            etag: Some(etag.to_owned()),
            sha256,
        },
    }
}

fn answer(outcome: PublicOutcome) -> PublicAnswer {
    PublicAnswer {
        address: "192.0.2.1:443".to_owned(),
        outcome,
        certificate: Vec::new(),
        not_after: None,
        not_before: None,
        inconsistent: None,
    }
}

fn body_of(record: &Record) -> PublicOutcome {
    PublicOutcome::Body {
        sha256: record.publication.current.sha256,
        policy: None,
        content_type: Some("text/plain".to_owned()),
        cache_seconds: None,
    }
}

/// Everything is as it should be, but for the TXT record.
pub(crate) fn fresh(record: &Record) -> Observation {
    let current = &record.publication.current;
    Observation {
        endpoints: Some(vec![endpoint(current.id.as_str(), current.sha256)]),
        public: Public::Answers(vec![answer(body_of(record))]),
        address: AddressState::NotOurs,
        txt_servers: vec![server("192.0.2.53:53", txt(&[]))],
        fresh_since: Some(at(0)),
    }
}

#[test]
fn the_id_is_announced_only_when_the_body_is_out_everywhere() {
    let record = record();
    let current = record.publication.current.clone();
    assert_eq!(
        progress(&record, &fresh(&record), at(1)).step,
        Step::Announce
    );

    let other = Sha256Digest::of(b"other");
    let unreachable = |since| Endpoint {
        address: "192.0.2.11:8080".to_owned(),
        answer: EndpointAnswer::Unreachable {
            why: "refused".to_owned(),
            since: at(since),
        },
    };
    type Change = Box<dyn Fn(&mut Observation)>;
    let public = |outcome: PublicOutcome| -> Change {
        Box::new(move |o| o.public = Public::Answers(vec![answer(outcome.clone())]))
    };
    let endpoints =
        |list: Vec<Endpoint>| -> Change { Box::new(move |o| o.endpoints = Some(list.clone())) };
    let good = endpoint(current.id.as_str(), current.sha256);
    let cases: Vec<(&str, Change, Step)> = vec![
        ("no endpoint", endpoints(vec![]), Step::AwaitBody),
        (
            "an endpoint with other bytes",
            endpoints(vec![good.clone(), endpoint(current.id.as_str(), other)]),
            Step::AwaitBody,
        ),
        (
            "the same bytes under an older id",
            endpoints(vec![endpoint(
                "20200101000000aaaaaaaa00c0de",
                current.sha256,
            )]),
            Step::AwaitBody,
        ),
        (
            "an endpoint silent for a minute",
            endpoints(vec![good.clone(), unreachable(0)]),
            Step::AwaitBody,
        ),
        (
            "an endpoint silent for eleven minutes",
            endpoints(vec![good.clone(), unreachable(-601)]),
            Step::Announce,
        ),
        (
            "all endpoints silent for eleven minutes",
            endpoints(vec![unreachable(-601)]),
            Step::AwaitBody,
        ),
        (
            "the public URL serves other bytes",
            public(PublicOutcome::Body {
                sha256: other,
                policy: None,
                content_type: Some("text/plain".to_owned()),
                cache_seconds: None,
            }),
            Step::AwaitBody,
        ),
        (
            "a redirect",
            public(PublicOutcome::Status {
                status: 301,
                location: None,
            }),
            Step::AwaitBody,
        ),
        (
            "a private address",
            public(PublicOutcome::Private),
            Step::AwaitBody,
        ),
        (
            "a cache in front",
            public(PublicOutcome::Body {
                sha256: current.sha256,
                policy: None,
                content_type: Some("text/plain".to_owned()),
                cache_seconds: Some(60),
            }),
            Step::AwaitBody,
        ),
        (
            "a bad certificate",
            Box::new(|o| {
                if let Public::Answers(answers) = &mut o.public {
                    answers[0].certificate.push(CertificateProblem::Expired);
                }
            }),
            Step::AwaitBody,
        ),
        (
            "no address",
            Box::new(|o| o.public = Public::NoAddress),
            Step::AwaitBody,
        ),
        (
            "the old address may be cached",
            Box::new(|o| {
                o.address = AddressState::Shown {
                    since: at(0),
                    previous_ttl: 300,
                }
            }),
            Step::AwaitBody,
        ),
        (
            "the public URL is not looked at",
            Box::new(|o| o.public = Public::NotLooked),
            Step::Announce,
        ),
    ];
    for (case, change, expected) in cases {
        let mut seen = fresh(&record);
        change(&mut seen);
        assert_eq!(progress(&record, &seen, at(1)).step, expected, "{case}");
    }
    let mut cached = fresh(&record);
    if let Public::Answers(answers) = &mut cached.public {
        answers[0].outcome = PublicOutcome::Body {
            sha256: current.sha256,
            policy: None,
            content_type: Some("text/plain".to_owned()),
            cache_seconds: Some(60),
        };
    }
    assert_eq!(progress(&record, &cached, at(61)).step, Step::Announce);
}

#[test]
fn an_external_body_is_compared_by_its_meaning() {
    let record = record();
    let mut seen = fresh(&record);
    seen.endpoints = None;
    for (mode, step) in [
        (Mode::Testing, Step::Announce),
        (Mode::Enforce, Step::AwaitBody),
    ] {
        seen.public = Public::Answers(vec![answer(PublicOutcome::Body {
            sha256: Sha256Digest::of(b"written otherwise"),
            policy: Some(Policy {
                mode,
                max_age: MaxAge::DAY,
                mx: record.publication.current.mx.clone(),
            }),
            content_type: Some("text/plain".to_owned()),
            cache_seconds: None,
        })]);
        assert_eq!(progress(&record, &seen, at(1)).step, step, "{mode}");
    }
}

#[test]
fn once_announced_dns_follows_whatever_the_body_does() {
    let record = announce(&record(), 300, 60, at(5));
    let id = record.publication.current.id.clone();
    let ours = format!("v=STSv1; id={id};");
    let mut seen = fresh(&record);
    seen.public = Public::NoAddress;
    let step = |answers: Vec<TxtAnswer>| {
        let mut seen = seen.clone();
        seen.txt_servers = answers
            .into_iter()
            .map(|a| server("192.0.2.53:53", a))
            .collect();
        progress(&record, &seen, at(10)).step
    };
    let shows = || txt(std::slice::from_ref(&ours));
    assert_eq!(step(vec![txt(&[])]), Step::WriteTxt);
    assert_eq!(step(vec![shows(), txt(&[])]), Step::WriteTxt, "one lags");
    assert_eq!(
        step(vec![shows(), silent(0)]),
        Step::WriteTxt,
        "one is silent"
    );
    assert_eq!(
        step(vec![shows(), silent(-601)]),
        Step::Confirm,
        "silent for long"
    );
    assert_eq!(step(vec![silent(-601)]), Step::WriteTxt, "nobody confirmed");
    assert_eq!(step(vec![shows(), shows()]), Step::Confirm);

    let confirmed = confirm(&record, at(20));
    seen.txt_servers = vec![server("192.0.2.53:53", shows())];
    assert_eq!(progress(&confirmed, &seen, at(21)).step, Step::Done);
    let bounds = confirmed.publication.announced.unwrap();
    assert_eq!(bounds.conforming_senders_by(), Some(at(80)));
}

#[test]
fn a_foreign_record_is_told_and_shown() {
    let servers = [server(
        "192.0.2.53:53",
        txt(&["v=STSv1; id=1\u{1b}[31m;".to_owned()]),
    )];
    let id = "1".parse().unwrap();
    assert_eq!(
        shown(&id, &servers, at(0)),
        Shown::Foreign("v=STSv1; id=1\\027[31m;".to_owned())
    );
}

#[test]
fn what_somebody_else_serves_enters_the_ledger_unless_it_means_the_same() {
    let record = record();
    let mut seen = fresh(&record);
    seen.endpoints = None;
    let serve = |seen: &mut Observation, mode| {
        seen.public = Public::Answers(vec![answer(PublicOutcome::Body {
            sha256: Sha256Digest::of(format!("{mode}").as_bytes()),
            policy: Some(Policy {
                mode,
                max_age: MaxAge::DAY,
                mx: record.publication.current.mx.clone(),
            }),
            content_type: Some("text/plain".to_owned()),
            cache_seconds: None,
        })]);
    };
    serve(&mut seen, Mode::Testing);
    assert_eq!(
        note_external(&record, &seen, at(1)),
        None,
        "it means the same"
    );
    serve(&mut seen, Mode::Enforce);
    let noted = note_external(&record, &seen, at(1)).unwrap();
    assert_eq!(noted.publication.ledger.len(), 2);
    assert_eq!(note_external(&noted, &seen, at(2)), None, "it is known");
    seen.endpoints = Some(Vec::new());
    assert_eq!(
        note_external(&record, &seen, at(1)),
        None,
        "we serve it ourselves"
    );
}

#[test]
fn what_was_never_confirmed_may_still_be_remembered() {
    let first = announce(&record(), 30, 3600, at(1));
    let previous = |record: &Record, ttl| {
        let announced = announce(record, 30, ttl, at(2)).publication.announced;
        announced.unwrap().previous_ttl
    };
    assert_eq!(previous(&first, 30), 3600);
    assert_eq!(previous(&confirm(&first, at(2)), 30), 30);
}

#[test]
fn what_an_external_host_serves_is_noted_once_and_does_not_fill_the_ledger() {
    let served = |max_age: u32| {
        let policy = Policy {
            mode: Mode::Enforce,
            max_age: MaxAge::from_seconds(max_age).unwrap(),
            mx: vec!["mail.example.org".parse().unwrap()],
        };
        let outcome = PublicOutcome::Body {
            sha256: Sha256Digest::of(policy.render().as_bytes()),
            policy: Some(policy),
            content_type: Some("text/plain".to_owned()),
            cache_seconds: None,
        };
        Public::Answers(vec![answer(outcome)])
    };
    let mut record = record();
    let mut seen = fresh(&record);
    seen.public = served(1);
    assert_eq!(
        note_external(&record, &seen, at(0)),
        None,
        "it is ours to serve"
    );
    seen.endpoints = None;
    for second in 1..500 {
        seen.public = served(second);
        let now = at(i64::from(second));
        record = note_external(&record, &seen, now).expect("a policy that is new");
        assert_eq!(note_external(&record, &seen, now), None, "once");
    }
    let ledger = &record.publication.ledger;
    assert!(ledger.len() <= ledger::MAX_ENTRIES, "{}", ledger.len());
    let longest = ledger.iter().map(|entry| entry.max_age.seconds()).max();
    assert_eq!(longest, Some(86_400));
    assert!(reopen_ledger(&record, &seen).is_none());
}
