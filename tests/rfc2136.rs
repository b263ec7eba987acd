//! RFC 2136 updates against a real BIND.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use mta_sts_operator::clock;
use mta_sts_operator::dns::rfc2136::{Rfc2136, Settings};
use mta_sts_operator::dns::{
    Change, DnsError, DnsErrorClass, DnsProvider, Provider, RecordSet, RecordType, RecordValue,
    Swap, TsigAlgorithm, TsigKey, TsigSecret,
};
use support::bind::{Bind, Key, Zone};

const DEADLINE: Duration = Duration::from_secs(5);
const ZONE: &str = "example.test";
const NAME: &str = "_mta-sts.example.test";
const HOST: &str = "mta-sts.example.test";

/// "a canary sings in the coal mine" and one octet more.
const SECRET: &str = "YSBjYW5hcnkgc2luZ3MgaW4gdGhlIGNvYWwgbWluZSE=";
const OTHER_SECRET: &str = "YW5vdGhlciBiaXJkIHRoYXQgaXMgbm90IGEgY2FuYXJ5";
const KEY: Key = Key {
    name: "operator",
    algorithm: "hmac-sha256",
    secret: SECRET,
};
const POWERLESS: Key = Key {
    name: "powerless",
    algorithm: "hmac-sha256",
    secret: SECRET,
};
const KEY_384: Key = Key {
    name: "operator-384",
    algorithm: "hmac-sha384",
    secret: SECRET,
};
const KEY_512: Key = Key {
    name: "operator-512",
    algorithm: "hmac-sha512",
    secret: SECRET,
};

fn bind() -> Bind {
    let records = r#"
        mail A 192.0.2.25
        @ MX 10 mail
        sub NS ns.elsewhere.test.
        *.wild TXT "v=spf1 -all"
    "#;
    let zones = [
        Zone::dynamic(ZONE, records),
        Zone::dynamic("inner.example.test", ""),
    ];
    Bind::start(&zones, &[KEY, POWERLESS, KEY_384, KEY_512])
}

fn settings(bind: &Bind) -> Settings {
    Settings {
        server: bind.address(),
        zone: None,
        tsig: tsig(KEY, SECRET),
        clock: clock::now,
    }
}

fn tsig(key: Key, secret: &str) -> TsigKey {
    TsigKey {
        name: key.name.to_owned(),
        algorithm: key.algorithm.parse().unwrap(),
        secret: TsigSecret::from_base64(secret).unwrap(),
    }
}

fn provider(bind: &Bind) -> Provider {
    Provider::Rfc2136(Rfc2136::new(settings(bind)).unwrap())
}

fn text(ttl: u32, text: &str) -> Option<RecordSet> {
    Some(RecordSet::one(ttl, RecordValue::txt(text)))
}

fn change(expected: Option<RecordSet>, desired: Option<RecordSet>) -> Change {
    Change {
        name: NAME.to_owned(),
        record_type: RecordType::Txt,
        expected,
        desired,
    }
}

async fn swap(provider: &Provider, changes: &[Change]) -> Result<Swap, DnsError> {
    provider.compare_and_swap(ZONE, changes, DEADLINE).await
}

async fn read(provider: &Provider) -> Option<RecordSet> {
    let set = provider.read(ZONE, NAME, RecordType::Txt, DEADLINE).await;
    set.unwrap()
}

#[tokio::test]
async fn a_record_is_made_changed_and_taken_away() {
    let bind = bind();
    let provider = provider(&bind);
    assert_eq!(read(&provider).await, None);

    let first = text(300, "v=STSv1; id=1;");
    assert_eq!(
        swap(&provider, &[change(None, first.clone())])
            .await
            .unwrap(),
        Swap::Done
    );
    assert_eq!(read(&provider).await, first);
    assert_eq!(bind.dig(NAME, "TXT"), "\"v=STSv1; id=1;\"\n");

    let second = text(300, "v=STSv1; id=2;");
    let step = change(first.clone(), second.clone());
    assert_eq!(swap(&provider, &[step]).await.unwrap(), Swap::Done);
    assert_eq!(read(&provider).await, second);

    let step = change(second, None);
    assert_eq!(swap(&provider, &[step]).await.unwrap(), Swap::Done);
    assert_eq!(read(&provider).await, None);
    assert_eq!(bind.dig(NAME, "TXT"), "");
}

#[tokio::test]
async fn what_is_not_as_expected_is_left_alone() {
    let bind = bind();
    let provider = provider(&bind);
    let line = format!("update add {NAME} 60 TXT \"v=STSv1; id=foreign;\"");
    bind.nsupdate(KEY, &line);
    let serial = bind.serial(ZONE);
    let ours = text(300, "v=STSv1; id=1;");
    let foreign = text(60, "v=STSv1; id=foreign;");
    let both = Some(RecordSet {
        ttl: Some(60),
        values: [foreign.clone(), ours.clone()]
            .into_iter()
            .flat_map(|set| set.unwrap().values)
            .collect(),
    });
    for (case, expected, desired) in [
        ("thought absent", None, ours.clone()),
        ("another value", ours.clone(), text(300, "v=STSv1; id=2;")),
        ("a value more than there is", both, ours.clone()),
        ("delete another value", ours.clone(), None),
        ("compared only", ours.clone(), ours),
    ] {
        let result = swap(&provider, &[change(expected, desired)]).await;
        assert_eq!(result.unwrap(), Swap::Conflict, "{case}");
        assert_eq!(read(&provider).await, foreign, "{case}");
    }
    // One value less than there is.
    bind.nsupdate(KEY, &format!("update add {NAME} 60 TXT \"another\""));
    let result = swap(&provider, &[change(foreign, None)]).await;
    assert_eq!(result.unwrap(), Swap::Conflict);
    assert_eq!(bind.serial(ZONE), serial + 1, "only nsupdate wrote");
}

#[tokio::test]
async fn a_ttl_alone_is_changed() {
    let bind = bind();
    let provider = provider(&bind);
    let long = text(3600, "v=STSv1; id=1;");
    let short = text(60, "v=STSv1; id=1;");
    swap(&provider, &[change(None, long.clone())])
        .await
        .unwrap();
    let step = change(long, short.clone());
    assert_eq!(swap(&provider, &[step]).await.unwrap(), Swap::Done);
    assert_eq!(read(&provider).await, short);
}

#[tokio::test]
async fn an_unchanged_record_causes_no_write() {
    let bind = bind();
    let provider = provider(&bind);
    let set = text(300, "v=STSv1; id=1;");
    swap(&provider, &[change(None, set.clone())]).await.unwrap();
    let serial = bind.serial(ZONE);
    let same = change(set.clone(), set);
    assert_eq!(swap(&provider, &[same]).await.unwrap(), Swap::Done);
    assert_eq!(bind.serial(ZONE), serial);
}

#[tokio::test]
async fn unrelated_values_stay_and_only_ours_goes() {
    let bind = bind();
    let provider = provider(&bind);
    bind.nsupdate(KEY, &format!("update add {NAME} 120 TXT \"site=verified\""));
    let found = read(&provider).await.unwrap();
    let mut with_ours = found.clone();
    let ours = RecordValue::txt("v=STSv1; id=1;");
    with_ours.values.insert(ours);
    let step = change(Some(found.clone()), Some(with_ours.clone()));
    assert_eq!(swap(&provider, &[step]).await.unwrap(), Swap::Done);
    assert_eq!(read(&provider).await.unwrap(), with_ours);
    let step = change(Some(with_ours), Some(found.clone()));
    assert_eq!(swap(&provider, &[step]).await.unwrap(), Swap::Done);
    assert_eq!(read(&provider).await.unwrap(), found);
    assert_eq!(bind.dig(NAME, "TXT"), "\"site=verified\"\n");
}

#[tokio::test]
async fn any_text_is_written_as_it_is() {
    let bind = bind();
    let provider = provider(&bind);
    let mut before = None;
    for (case, value, shown) in [
        (
            "semicolons",
            RecordValue::txt("a;b; c"),
            Some("\"a;b; c\"\n"),
        ),
        (
            "quotes",
            RecordValue::txt("say \"yes\""),
            Some("\"say \\\"yes\\\"\"\n"),
        ),
        (
            "backslashes",
            RecordValue::txt("\\000\\\\"),
            Some("\"\\\\000\\\\\\\\\"\n"),
        ),
        (
            "several strings",
            RecordValue::Txt(vec![b"v=STSv1; ".to_vec(), b"id=1;".to_vec()]),
            Some("\"v=STSv1; \" \"id=1;\"\n"),
        ),
        ("empty", RecordValue::txt(""), Some("\"\"\n")),
        (
            "longer than one string",
            RecordValue::txt(&"x".repeat(700)),
            None,
        ),
        (
            "octets",
            RecordValue::Txt(vec![vec![0, 10, 13, 127, 128, 255]]),
            None,
        ),
    ] {
        let set = Some(RecordSet::one(300, value));
        let step = change(before, set.clone());
        assert_eq!(
            swap(&provider, &[step]).await.unwrap(),
            Swap::Done,
            "{case}"
        );
        assert_eq!(read(&provider).await, set, "{case}");
        if let Some(shown) = shown {
            assert_eq!(bind.dig(NAME, "TXT"), shown, "{case}");
        }
        before = set;
    }
}

#[tokio::test]
async fn an_alias_and_addresses_replace_each_other_in_one_message() {
    let bind = bind();
    let provider = provider(&bind);
    let at_host = |record_type, expected, desired| Change {
        name: HOST.to_owned(),
        record_type,
        expected,
        desired,
    };
    let alias = Some(RecordSet::one(
        60,
        RecordValue::Cname("front.example.net".to_owned()),
    ));
    let v4 = Some(RecordSet {
        ttl: Some(60),
        values: BTreeSet::from([
            RecordValue::A([192, 0, 2, 1].into()),
            RecordValue::A([192, 0, 2, 2].into()),
        ]),
    });
    let v6 = Some(RecordSet::one(
        60,
        RecordValue::Aaaa("2001:db8::1".parse().unwrap()),
    ));
    let to_addresses = |before: Option<RecordSet>| {
        [
            at_host(RecordType::A, None, v4.clone()),
            at_host(RecordType::Aaaa, None, v6.clone()),
            at_host(RecordType::Cname, before, None),
        ]
    };
    let to_alias = [
        at_host(RecordType::Cname, None, alias.clone()),
        at_host(RecordType::A, v4.clone(), None),
        at_host(RecordType::Aaaa, v6.clone(), None),
    ];
    let serial = bind.serial(ZONE);
    assert_eq!(
        swap(&provider, &to_addresses(None)).await.unwrap(),
        Swap::Done
    );
    assert_eq!(swap(&provider, &to_alias).await.unwrap(), Swap::Done);
    assert_eq!(bind.dig(HOST, "A"), "front.example.net.\n");
    assert_eq!(
        swap(&provider, &to_addresses(alias)).await.unwrap(),
        Swap::Done
    );
    assert_eq!(bind.dig(HOST, "CNAME"), "");
    assert_eq!(bind.dig(HOST, "AAAA"), "2001:db8::1\n");
    assert_eq!(bind.serial(ZONE), serial + 3, "one change a message");

    // If one set is not as expected, none is changed.
    let mut stale = to_alias;
    stale[1].expected = Some(RecordSet::one(60, RecordValue::A([192, 0, 2, 9].into())));
    assert_eq!(swap(&provider, &stale).await.unwrap(), Swap::Conflict);
    assert_eq!(bind.dig(HOST, "CNAME"), "");
}

#[tokio::test]
async fn a_change_that_the_server_ignores_is_no_success() {
    let bind = bind();
    let provider = provider(&bind);
    bind.nsupdate(KEY, &format!("update add {HOST} 60 A 192.0.2.1"));
    let step = Change {
        name: HOST.to_owned(),
        record_type: RecordType::Cname,
        expected: None,
        desired: Some(RecordSet::one(
            60,
            RecordValue::Cname("front.example.net".to_owned()),
        )),
    };
    let error = swap(&provider, &[step]).await.unwrap_err();
    assert!(matches!(error, DnsError::ReadBackDiffers { .. }), "{error}");
}

#[tokio::test]
async fn what_a_wildcard_answers_is_not_taken_for_a_record() {
    let bind = bind();
    let provider = provider(&bind);
    let name = "_mta-sts.wild.example.test";
    assert_eq!(bind.dig(name, "TXT"), "\"v=spf1 -all\"\n");
    let read = || provider.read(ZONE, name, RecordType::Txt, DEADLINE);
    assert_eq!(read().await.unwrap(), None);
    let set = text(300, "v=STSv1; id=1;");
    let make = Change {
        name: name.to_owned(),
        ..change(None, set.clone())
    };
    assert_eq!(swap(&provider, &[make]).await.unwrap(), Swap::Done);
    assert_eq!(read().await.unwrap(), set);
    let take_away = Change {
        name: name.to_owned(),
        ..change(set, None)
    };
    assert_eq!(swap(&provider, &[take_away]).await.unwrap(), Swap::Done);
    assert_eq!(read().await.unwrap(), None);
}

#[tokio::test]
async fn of_writers_at_once_exactly_one_wins() {
    let bind = bind();
    let provider = provider(&bind);
    let before = text(300, "v=STSv1; id=0;");
    swap(&provider, &[change(None, before.clone())])
        .await
        .unwrap();
    let writers = (1..=8).map(|id| {
        let provider = provider.clone();
        let desired = text(300, &format!("v=STSv1; id={id};"));
        let step = change(before.clone(), desired.clone());
        async move { (swap(&provider, &[step]).await.unwrap(), desired) }
    });
    let results = futures::future::join_all(writers).await;
    let winners: Vec<_> = results
        .into_iter()
        .filter(|(swap, _)| *swap == Swap::Done)
        .collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(read(&provider).await, winners[0].1);
}

#[tokio::test]
async fn zones_are_found_by_the_longest_suffix() {
    let bind = bind();
    let provider = provider(&bind);
    for (name, zone) in [
        (ZONE, ZONE),
        (NAME, ZONE),
        ("a.b.c.example.test", ZONE),
        ("MTA-STS.Example.Test.", ZONE),
        ("inner.example.test", "inner.example.test"),
        ("_mta-sts.inner.example.test", "inner.example.test"),
    ] {
        assert_eq!(
            provider.zone_of(name, DEADLINE).await.unwrap(),
            zone,
            "{name}"
        );
    }
    for (name, label) in [
        ("_mta-sts.example.org", "no_zone"),
        ("_mta-sts.sub.example.test", "not_delegated_here"),
        ("not a name", "bad_name"),
    ] {
        let error = provider.zone_of(name, DEADLINE).await.unwrap_err();
        assert_eq!(error.label(), label, "{name}: {error}");
        assert_eq!(error.class(), DnsErrorClass::Stalled, "{name}");
    }
    let only = Rfc2136::new(Settings {
        zone: Some(ZONE.to_owned()),
        ..settings(&bind)
    })
    .unwrap();
    assert_eq!(only.zone_of(NAME, DEADLINE).await.unwrap(), ZONE);
    let error = only
        .zone_of("inner.example.test", DEADLINE)
        .await
        .unwrap_err();
    assert_eq!(error.label(), "outside_zone", "{error}");
}

#[tokio::test]
async fn a_check_proves_the_key_and_changes_nothing() {
    let bind = bind();
    let provider = provider(&bind);
    let serial = bind.serial(ZONE);
    let zones = |zones: &[&str]| zones.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (asked, seen) in [
        (zones(&[ZONE]), zones(&[ZONE])),
        (zones(&["*"]), zones(&[])),
        (
            zones(&[ZONE, "inner.example.test", ZONE]),
            zones(&[ZONE, "inner.example.test"]),
        ),
    ] {
        assert_eq!(provider.check(&asked, DEADLINE).await.unwrap(), seen);
    }
    for key in [KEY_384, KEY_512] {
        let tsig = tsig(key, SECRET);
        let other = Rfc2136::new(Settings {
            tsig,
            ..settings(&bind)
        })
        .unwrap();
        assert_eq!(
            other.check(&zones(&[ZONE]), DEADLINE).await.unwrap(),
            zones(&[ZONE])
        );
    }
    assert_eq!(bind.serial(ZONE), serial);
}

fn an_hour_ahead() -> Timestamp {
    clock::now() + 1.hour()
}

fn an_hour_behind() -> Timestamp {
    clock::now() - 1.hour()
}

#[tokio::test]
async fn a_wrong_key_is_told_apart_and_no_secret_is_ever_shown() {
    let bind = bind();
    let good = settings(&bind);
    let unknown = Key {
        name: "unknown",
        ..KEY
    };
    let wrong_algorithm = TsigKey {
        algorithm: TsigAlgorithm::HmacSha512,
        ..tsig(KEY, SECRET)
    };
    type Clock = fn() -> Timestamp;
    for (case, tsig, clock, label, says) in [
        (
            "wrong name",
            tsig(unknown, SECRET),
            clock::now as Clock,
            "bad_key",
            "unknown",
        ),
        (
            "wrong secret",
            tsig(KEY, OTHER_SECRET),
            clock::now,
            "bad_signature",
            "secret",
        ),
        (
            "wrong algorithm",
            wrong_algorithm,
            clock::now,
            "bad_key",
            "hmac-sha512",
        ),
        (
            "clock ahead",
            tsig(KEY, SECRET),
            an_hour_ahead,
            "bad_time",
            "behind ours",
        ),
        (
            "clock behind",
            tsig(KEY, SECRET),
            an_hour_behind,
            "bad_time",
            "ahead of ours",
        ),
    ] {
        let provider = Rfc2136::new(Settings {
            tsig,
            clock,
            ..good.clone()
        })
        .unwrap();
        let step = change(None, text(300, "v=STSv1; id=1;"));
        let zones = [ZONE.to_owned()];
        let errors = [
            provider.zone_of(NAME, DEADLINE).await.unwrap_err(),
            provider
                .read(ZONE, NAME, RecordType::Txt, DEADLINE)
                .await
                .unwrap_err(),
            provider
                .compare_and_swap(ZONE, &[step], DEADLINE)
                .await
                .unwrap_err(),
            provider.check(&zones, DEADLINE).await.unwrap_err(),
            provider
                .check(&["*".to_owned()], DEADLINE)
                .await
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.label(), label, "{case}: {error}");
            assert_eq!(error.class(), DnsErrorClass::Stalled, "{case}");
            assert!(error.to_string().contains(says), "{case}: {error}");
            assert_no_secret(&format!("{error} {error:?} {provider:?} {good:?}"));
        }
        if let Err(DnsError::BadTime { skew_seconds, .. }) = provider.zone_of(NAME, DEADLINE).await
        {
            let skew = skew_seconds.expect("BIND tells its time");
            assert!((3590..3610).contains(&skew.abs()), "{case}: {skew}");
        }
        assert_eq!(bind.dig(NAME, "TXT"), "", "{case}");
    }
}

fn assert_no_secret(shown: &str) {
    for secret in [SECRET, OTHER_SECRET] {
        let octets = data_encoding::BASE64.decode(secret.as_bytes()).unwrap();
        for form in [
            secret.to_owned(),
            String::from_utf8(octets.clone()).unwrap(),
            format!("{octets:?}"),
            data_encoding::HEXLOWER.encode(&octets),
        ] {
            assert!(!shown.contains(&form), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_key_without_the_right_and_a_zone_of_others_are_refused() {
    let bind = bind();
    let tsig = tsig(POWERLESS, SECRET);
    let powerless = Rfc2136::new(Settings {
        tsig,
        ..settings(&bind)
    })
    .unwrap();
    let step = change(None, text(300, "v=STSv1; id=1;"));
    let error = powerless
        .compare_and_swap(ZONE, std::slice::from_ref(&step), DEADLINE)
        .await
        .unwrap_err();
    assert_eq!(error.label(), "refused", "{error}");

    let provider = provider(&bind);
    for (zone, label) in [
        ("example.org", "not_auth"),
        ("inner.example.test", "not_zone"),
    ] {
        let steps = std::slice::from_ref(&step);
        let result = provider.compare_and_swap(zone, steps, DEADLINE).await;
        assert_eq!(result.unwrap_err().label(), label, "{zone}");
    }
    assert_eq!(bind.dig(NAME, "TXT"), "");
}

#[tokio::test]
async fn an_outage_is_an_error_and_heals_by_itself() {
    let mut bind = bind();
    let provider = provider(&bind);
    let set = text(300, "v=STSv1; id=1;");
    swap(&provider, &[change(None, set.clone())]).await.unwrap();
    bind.stop();
    let error = swap(&provider, &[change(set.clone(), None)])
        .await
        .unwrap_err();
    assert_eq!(error.label(), "unreachable", "{error}");
    assert_eq!(error.class(), DnsErrorClass::Retry);
    bind.restart();
    assert_eq!(read(&provider).await, set);
    assert_eq!(
        swap(&provider, &[change(set, None)]).await.unwrap(),
        Swap::Done
    );
}

#[tokio::test]
async fn a_silent_server_costs_no_more_than_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bind = bind();
    let provider = Rfc2136::new(Settings {
        server: listener.local_addr().unwrap(),
        ..settings(&bind)
    })
    .unwrap();
    let deadline = Duration::from_millis(200);
    let started = tokio::time::Instant::now();
    let error = provider.zone_of(NAME, deadline).await.unwrap_err();
    assert_eq!(error.label(), "timeout", "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

/// A server that says yes to everything, without a signature: it must not be believed.
#[tokio::test]
async fn an_unsigned_yes_is_no_yes() {
    use hickory_proto::op::Message;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut request).await.unwrap();
            let request = Message::from_vec(&request).unwrap();
            let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
            answer.metadata.authoritative = true;
            answer.add_queries(request.queries);
            let answer = answer.to_vec().unwrap();
            stream
                .write_u16(u16::try_from(answer.len()).unwrap())
                .await
                .unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    let bind = bind();
    let provider = Rfc2136::new(Settings {
        server,
        ..settings(&bind)
    })
    .unwrap();
    let step = change(None, text(300, "v=STSv1; id=1;"));
    let error = provider
        .compare_and_swap(ZONE, &[step], DEADLINE)
        .await
        .unwrap_err();
    assert_eq!(error.label(), "unsigned_answer", "{error}");
    let error = provider.check(&[], DEADLINE).await.unwrap_err();
    assert_eq!(error.label(), "unsigned_answer", "{error}");
}
