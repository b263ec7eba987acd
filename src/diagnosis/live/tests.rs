use std::net::Ipv4Addr;

use super::*;
use crate::protocol::{MxPattern, MxPreset};

const POLICY: &str =
    "version: STSv1\r\nmode: enforce\r\nmx: mx.example.org\r\nmax_age: 1209600\r\n";

pub(super) fn now() -> Timestamp {
    "2026-06-15T12:00:00Z".parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn good_tls() -> TlsSeen {
    TlsSeen {
        faults: Vec::new(),
        validity: Some((at("2026-05-01T00:00:00Z"), at("2026-07-30T00:00:00Z"))),
    }
}

pub(super) fn address(last: u8) -> AddressSeen {
    AddressSeen {
        address: Ipv4Addr::new(192, 0, 2, last).into(),
        outcome: Outcome::Response {
            status: 200,
            location: None,
            content_type: Some("text/plain; charset=utf-8".to_owned()),
            cached: None,
            body: Ok(POLICY.as_bytes().to_vec()),
        },
        tls: Some(good_tls()),
        elapsed: Duration::from_millis(80),
    }
}

pub(super) fn mx_host(smtp: SmtpSeen) -> MxHostSeen {
    MxHostSeen {
        preference: 10,
        host: "mx.example.org".to_owned(),
        addresses: Ok(vec![Ipv4Addr::new(192, 0, 2, 25).into()]),
        smtp,
    }
}

pub(super) fn good() -> DomainSeen {
    let text = |text: &str| TxtSeen::Texts(vec![text.as_bytes().to_vec()], 300);
    DomainSeen {
        domain: Domain::parse("example.org").unwrap(),
        record: text("v=STSv1; id=20260615;"),
        tls_rpt: text("v=TLSRPTv1; rua=mailto:tls@example.net"),
        host: HostSeen::Addresses(vec![address(1)]),
        mx: MxSeen::Hosts(vec![mx_host(SmtpSeen::Tls(good_tls()))]),
        around: Around::default(),
    }
}

fn codes(seen: &DomainSeen) -> Vec<String> {
    let findings = judge(seen, now()).findings;
    findings
        .iter()
        .map(|finding| finding.code.to_string())
        .collect()
}

/// A case: its name, what it changes of a good domain, and what has to come of it.
pub(super) type Case = (&'static str, fn(&mut DomainSeen), &'static [&'static str]);

fn hosts(change: impl FnOnce(&mut Vec<AddressSeen>)) -> HostSeen {
    let mut addresses = vec![address(1), address(2)];
    change(&mut addresses);
    HostSeen::Addresses(addresses)
}

const HOSTS: &[Case] = &[
    ("nothing wrong", |_| {}, &[]),
    (
        "not looked up",
        |seen| seen.host = HostSeen::Failed("SERVFAIL".to_owned()),
        &["host-unresolved"],
    ),
    (
        "slow",
        |seen| seen.host = hosts(|all| all[0].elapsed = Duration::from_secs(5)),
        &["host-slow"],
    ),
    (
        "a cache",
        |seen| {
            seen.host = hosts(|all| {
                if let Outcome::Response { cached, .. } = &mut all[1].outcome {
                    *cached = Some("Age: 7".to_owned())
                }
            })
        },
        &["host-cached"],
    ),
    (
        "two bodies",
        |seen| {
            seen.host = hosts(|all| {
                if let Outcome::Response { body, .. } = &mut all[1].outcome {
                    *body = Ok(POLICY.replace("enforce", "testing").into_bytes())
                }
            })
        },
        &["host-replicas-differ"],
    ),
    (
        "IPv6 dead",
        |seen| {
            seen.host = hosts(|all| {
                all[1].address = "2001:db8::1".parse().unwrap();
                all[1].outcome = Outcome::Failed("no connection".to_owned());
                all[1].tls = None;
            })
        },
        &["host-unreachable", "host-address-family-broken"],
    ),
    (
        "one of two dead",
        |seen| {
            seen.host = hosts(|all| {
                all[1].outcome = Outcome::Failed("no connection".to_owned());
                all[1].tls = None;
            })
        },
        &["host-unreachable"],
    ),
    (
        "a fortnight left",
        |seen| {
            seen.host = hosts(|all| {
                all[0].tls = Some(TlsSeen {
                    validity: Some((at("2026-05-01T00:00:00Z"), at("2026-06-28T00:00:00Z"))),
                    ..good_tls()
                })
            })
        },
        &["host-tls-expiring"],
    ),
    (
        "under a third of its life left",
        |seen| {
            seen.host = hosts(|all| {
                all[0].tls = Some(TlsSeen {
                    validity: Some((at("2025-06-15T00:00:00Z"), at("2026-07-15T00:00:00Z"))),
                    ..good_tls()
                })
            })
        },
        &["host-tls-expiring"],
    ),
    (
        "old TLS and a handshake that fails, each once",
        |seen| {
            seen.host = hosts(|all| {
                all[0].tls = Some(TlsSeen {
                    faults: vec![TlsFault::Version],
                    validity: None,
                });
                all[0].outcome = Outcome::Failed("no TLS".to_owned());
            })
        },
        &["host-tls-version"],
    ),
    (
        "expired and of nobody's at once, on one of two addresses",
        |seen| {
            seen.host = hosts(|all| {
                all[0].tls = Some(TlsSeen {
                    faults: vec![TlsFault::Expired, TlsFault::Untrusted],
                    ..good_tls()
                })
            })
        },
        &[
            "host-tls-expired",
            "host-tls-untrusted",
            "host-tls-inconsistent",
        ],
    ),
    (
        "not set up at all",
        |seen| {
            seen.record = TxtSeen::Texts(Vec::new(), 0);
            seen.host = HostSeen::Addresses(Vec::new());
        },
        &["record-missing"],
    ),
    (
        "a record that failed to be looked up is not missing",
        |seen| seen.record = TxtSeen::Failed("time-out".to_owned()),
        &["record-missing"],
    ),
];

const MAIL: &[Case] = &[
    (
        "not asked",
        |seen| seen.mx = MxSeen::Hosts(vec![mx_host(SmtpSeen::NotAsked)]),
        &[],
    ),
    (
        "MX not looked up",
        |seen| seen.mx = MxSeen::Failed("time-out".to_owned()),
        &["mx-none"],
    ),
    (
        "silent everywhere is said once",
        |seen| {
            seen.mx = MxSeen::Hosts(vec![
                mx_host(SmtpSeen::Unreachable("no connection".to_owned())),
                mx_host(SmtpSeen::Unreachable("no connection".to_owned())),
            ])
        },
        &["mx-unreachable"],
    ),
    (
        "one of two silent",
        |seen| {
            seen.mx = MxSeen::Hosts(vec![
                mx_host(SmtpSeen::Unreachable("no connection".to_owned())),
                mx_host(SmtpSeen::Tls(good_tls())),
            ])
        },
        &["mx-unreachable"],
    ),
    (
        "renewal stuck",
        |seen| {
            seen.mx = MxSeen::Hosts(vec![mx_host(SmtpSeen::Tls(TlsSeen {
                validity: Some((at("2026-05-01T00:00:00Z"), at("2026-06-20T00:00:00Z"))),
                ..good_tls()
            }))])
        },
        &["mx-tls-expiring"],
    ),
    (
        "old TLS",
        |seen| {
            seen.mx = MxSeen::Hosts(vec![mx_host(SmtpSeen::Tls(TlsSeen {
                faults: vec![TlsFault::Version],
                validity: None,
            }))])
        },
        &["mx-tls-version"],
    ),
    (
        "handshake",
        |seen| {
            seen.mx = MxSeen::Hosts(vec![mx_host(SmtpSeen::Tls(TlsSeen {
                faults: vec![TlsFault::Handshake("alert".to_owned())],
                validity: None,
            }))])
        },
        &["mx-starttls-missing"],
    ),
    (
        "private",
        |seen| {
            seen.mx = MxSeen::Hosts(vec![mx_host(SmtpSeen::Private(
                "10.0.0.1 is private".to_owned(),
            ))])
        },
        &["mx-private-address"],
    ),
    (
        "mode none needs no coverage",
        |seen| {
            seen.mx = MxSeen::Hosts(vec![MxHostSeen {
                host: "other.example.net".to_owned(),
                ..mx_host(SmtpSeen::NotAsked)
            }]);
            seen.host = hosts(|all| {
                for it in all {
                    if let Outcome::Response { body, .. } = &mut it.outcome {
                        *body = Ok(POLICY.replace("enforce", "none").into_bytes())
                    }
                }
            });
        },
        &[],
    ),
];

#[test]
fn each_sight_has_its_finding() {
    for (case, change, expected) in HOSTS.iter().chain(MAIL) {
        let mut seen = good();
        change(&mut seen);
        let mut found = codes(&seen);
        let mut expected: Vec<String> = expected.iter().map(|&code| code.to_owned()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn what_could_not_be_looked_up_is_unknown_and_never_missing() {
    let mut seen = good();
    seen.record = TxtSeen::Failed("time-out".to_owned());
    seen.tls_rpt = TxtSeen::Failed("time-out".to_owned());
    seen.host = HostSeen::Failed("time-out".to_owned());
    seen.mx = MxSeen::Failed("time-out".to_owned());
    let findings = judge(&seen, now()).findings;
    assert_eq!(findings.len(), 4, "{findings:#?}");
    for finding in &findings {
        assert_eq!(finding.severity, Severity::Unknown, "{finding:?}");
        assert!(finding.evidence.is_some(), "{finding:?}");
    }
}

#[test]
fn in_mode_testing_a_bad_mx_is_a_warning() {
    for (mode, severity) in [("enforce", Severity::Error), ("testing", Severity::Warning)] {
        let mut seen = good();
        seen.mx = MxSeen::Hosts(vec![mx_host(SmtpSeen::NoStartTls("250 SIZE".to_owned()))]);
        seen.host = hosts(|all| {
            for it in all {
                if let Outcome::Response { body, .. } = &mut it.outcome {
                    *body = Ok(POLICY.replace("enforce", mode).into_bytes());
                }
            }
        });
        let findings = judge(&seen, now()).findings;
        assert_eq!(findings[0].severity, severity, "{mode}");
    }
}

#[test]
fn a_wildcard_one_label_short_is_told_with_the_one_that_fits() {
    let pattern = |text: &str| MxPattern::parse(text).unwrap();
    let host = HostName::parse("aspmx.l.google.com").unwrap();
    let told = nearest(
        &host,
        &[pattern("*.googlemail.com"), pattern("*.google.com")],
    );
    assert!(
        told.contains("*.google.com, whose * stands for exactly one label"),
        "{told}"
    );
    assert!(told.contains("*.l.google.com would match"), "{told}");
    assert!(nearest(&host, &[]).contains("no pattern"));
}

/// What is found of a policy with these patterns, where these are the MX hosts.
fn coverage(patterns: &str, hosts: &[&str]) -> Vec<Finding> {
    let mut seen = good();
    let body = format!("version: STSv1\nmode: enforce\n{patterns}max_age: 604800\n");
    seen.host = hosts_with(body);
    let of = |host: &&str| MxHostSeen {
        host: (*host).to_owned(),
        ..mx_host(SmtpSeen::Tls(good_tls()))
    };
    seen.mx = MxSeen::Hosts(hosts.iter().map(of).collect());
    judge(&seen, now()).findings
}

fn hosts_with(body: String) -> HostSeen {
    let mut address = address(1);
    if let Outcome::Response { body: served, .. } = &mut address.outcome {
        *served = Ok(body.into_bytes());
    }
    HostSeen::Addresses(vec![address])
}

#[test]
fn a_provider_is_known_by_its_mx_hosts_in_old_and_new_forms() {
    for (preset, host) in [
        (MxPreset::GoogleWorkspace, "smtp.google.com"),
        (MxPreset::GoogleWorkspace, "alt1.aspmx.l.google.com"),
        (
            MxPreset::Microsoft365,
            "example-org.mail.protection.outlook.com",
        ),
        (MxPreset::Microsoft365, "example-org.k-v1.mx.microsoft"),
        (MxPreset::CloudflareEmailRouting, "route1.mx.cloudflare.net"),
    ] {
        let lines = preset.patterns().into_iter();
        let lines: String = lines.map(|it| format!("mx: {it}\n")).collect();
        assert_eq!(coverage(&lines, &[host]), [], "{host}");
        // With another provider its lines are unused.
        let unused = coverage(&format!("mx: mx.example.net\n{lines}"), &["mx.example.net"]);
        let is_unused = |it: &Finding| it.code == Code::MxPatternUnused;
        assert_eq!(unused.len(), preset.patterns().len(), "{host}");
        assert!(unused.iter().all(is_unused), "{unused:?}");
        // And the line that is missing is the one for all customers.
        let found = coverage("mx: *.example.net\n", &[host]);
        let uncovered = found.iter().find(|it| it.code == Code::MxUncovered);
        let remedy = uncovered.unwrap().remedy.clone().unwrap();
        assert!(remedy.contains(preset.name()), "{remedy}");
    }
}
