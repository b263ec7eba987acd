use super::tests::{Case, address, good, good_tls, mx_host, now};
use super::*;

fn text(text: &str) -> TxtSeen {
    TxtSeen::Texts(vec![text.as_bytes().to_vec()], 300)
}

fn view(server: &str, authoritative: bool, texts: &[&str]) -> View {
    View {
        server: server.to_owned(),
        authoritative,
        texts: texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
        ttl: 120,
    }
}

const NEW: &str = "v=STSv1; id=2;";
const OLD: &str = "v=STSv1; id=1;";

const RECORD: &[Case] = &[
    (
        "misplaced stands in place of missing",
        |seen| {
            seen.record = TxtSeen::Texts(Vec::new(), 0);
            seen.around.misplaced = vec![("example.org".to_owned(), OLD.to_owned())];
        },
        &["record-misplaced"],
    ),
    (
        "misplaced beside something else",
        |seen| {
            seen.record = text("v=spf1 -all");
            seen.around.misplaced = vec![("example.org".to_owned(), OLD.to_owned())];
        },
        &["record-misplaced", "record-not-sts"],
    ),
    (
        "an alias to nothing",
        |seen| {
            seen.record = TxtSeen::Texts(Vec::new(), 0);
            seen.around.record_alias = Some("gone.example.net".to_owned());
        },
        &["record-delegation-broken"],
    ),
    (
        "half a delegation",
        |seen| {
            seen.host = HostSeen::Addresses(Vec::new());
            seen.around.record_alias = Some("there.example.net".to_owned());
        },
        &["record-delegation-broken"],
    ),
    (
        "both halves",
        |seen| seen.around.record_alias = Some("there.example.net".to_owned()),
        &[],
    ),
    (
        "a wildcard",
        |seen| seen.around.record_is_wildcard = true,
        &["record-wildcard"],
    ),
    (
        "servers of the zone differ",
        |seen| {
            seen.around.views = vec![view("a", true, &[NEW]), view("b", true, &[OLD])];
        },
        &["record-vantage-differs"],
    ),
    (
        "a server of the zone has nothing",
        |seen| {
            seen.around.views = vec![view("a", true, &[NEW]), view("b", true, &[])];
        },
        &["record-vantage-differs"],
    ),
    (
        "all alike",
        |seen| {
            seen.around.views = vec![
                view("a", true, &[NEW]),
                view("b", true, &[NEW]),
                view("r", false, &[NEW]),
            ];
        },
        &[],
    ),
    (
        "resolvers that differ say nothing without the zone",
        |seen| {
            seen.around.views = vec![view("r", false, &[NEW]), view("s", false, &[OLD])];
        },
        &[],
    ),
];

fn agent(agent: &str, statuses: &[u16], body: &str) -> AgentSeen {
    let answer = |status: &u16| AddressSeen {
        outcome: Outcome::Response {
            status: *status,
            location: None,
            content_type: Some("text/plain".to_owned()),
            cached: None,
            body: Ok(body.as_bytes().to_vec()),
        },
        ..address(1)
    };
    AgentSeen {
        agent: agent.to_owned(),
        answers: statuses.iter().map(answer).collect(),
    }
}

const BODY: &str = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.org\r\nmax_age: 1209600\r\n";
const WALL: &str = "<html><title>Just a moment...</title></html>";

const HOST: &[Case] = &[
    (
        "everybody is served alike",
        |seen| seen.around.agents = vec![agent("a", &[200], BODY), agent("b", &[200], BODY)],
        &[],
    ),
    (
        "one is kept out each time",
        |seen| {
            seen.around.agents = vec![agent("a", &[200, 200], BODY), agent("b", &[403, 403], "no")];
        },
        &["host-bot-wall"],
    ),
    (
        "one fails once: no wall, but trouble of another kind",
        |seen| {
            seen.around.agents = vec![agent("a", &[200, 200], BODY), agent("b", &[503, 200], BODY)];
        },
        &[],
    ),
    (
        "a challenge with status 200 for one of them",
        |seen| seen.around.agents = vec![agent("a", &[200], WALL)],
        &["host-bot-wall"],
    ),
    (
        "a challenge for us",
        |seen| {
            let wall = agent("a", &[403], WALL).answers;
            seen.host = HostSeen::Addresses(wall);
        },
        &["host-bot-wall"],
    ),
    (
        "words of a challenge in what is no page",
        |seen| seen.around.agents = vec![agent("a", &[200], &format!("{BODY}# ddos-guard"))],
        &["host-replicas-differ"],
    ),
    (
        "another file at the same address",
        |seen| {
            let old = BODY.replace("enforce", "testing");
            seen.around.agents = vec![agent("a", &[200], BODY), agent("b", &[200], &old)];
        },
        &["host-replicas-differ"],
    ),
    (
        "another certificate at the same address",
        |seen| {
            let mut bad = agent("a", &[200], BODY);
            bad.answers[0].tls = Some(TlsSeen {
                faults: vec![TlsFault::Expired],
                ..good_tls()
            });
            seen.around.agents = vec![bad, agent("b", &[200], BODY)];
        },
        &["host-tls-inconsistent"],
    ),
    (
        "an alias into a domain of nobody",
        |seen| dangle(seen, "x.gone.example", false, Some(false)),
        &["host-dangling"],
    ),
    (
        "an alias to a free name of a service",
        |seen| dangle(seen, "x.azurewebsites.net", false, None),
        &["host-dangling"],
    ),
    (
        "an alias to a name that only its owner can give",
        |seen| dangle(seen, "x.example.net", false, Some(true)),
        &["host-unresolved"],
    ),
    (
        "a name that only looks like that of a service",
        |seen| dangle(seen, "notgithub.io", false, Some(true)),
        &["host-unresolved"],
    ),
    (
        "a page that says that the name is free",
        |seen| {
            dangle(seen, "x.github.io", true, None);
            seen.host = HostSeen::Addresses(
                agent("a", &[404], "There isn't a GitHub Pages site here.").answers,
            );
        },
        &["host-dangling"],
    ),
];

fn dangle(seen: &mut DomainSeen, target: &str, exists: bool, registered: Option<bool>) {
    seen.host = HostSeen::Addresses(Vec::new());
    seen.around.host_alias = Some(HostAlias {
        target: target.to_owned(),
        exists,
        registered,
    });
}

fn tls(faults: &[TlsFault]) -> Option<TlsSeen> {
    Some(TlsSeen {
        faults: faults.to_vec(),
        ..good_tls()
    })
}

fn around_mx(without_sni: Option<TlsSeen>, dane: DaneSeen) -> Vec<MxAround> {
    vec![MxAround {
        host: "mx.example.org".to_owned(),
        without_sni,
        dane,
    }]
}

fn usable(matches: bool) -> DaneSeen {
    DaneSeen::Usable {
        records: vec!["3 1 1 ab".to_owned()],
        matches,
    }
}

const MAIL: &[Case] = &[
    (
        "good without SNI",
        |seen| seen.around.mx = around_mx(tls(&[]), DaneSeen::None),
        &[],
    ),
    (
        "bad without SNI",
        |seen| {
            seen.around.mx = around_mx(tls(&[TlsFault::NameMismatch(Vec::new())]), DaneSeen::None)
        },
        &["mx-tls-needs-sni"],
    ),
    (
        "bad with SNI as well is told once",
        |seen| {
            let bad = [TlsFault::Expired];
            seen.mx = MxSeen::Hosts(vec![mx_host(SmtpSeen::Tls(tls(&bad).unwrap()))]);
            seen.around.mx = around_mx(tls(&bad), DaneSeen::None);
        },
        &["mx-tls-expired"],
    ),
    (
        "TLSA that matches",
        |seen| seen.around.mx = around_mx(None, usable(true)),
        &["mx-dane-present"],
    ),
    (
        "TLSA that does not",
        |seen| seen.around.mx = around_mx(None, usable(false)),
        &["mx-dane-broken"],
    ),
    (
        "TLSA that mail cannot use",
        |seen| seen.around.mx = around_mx(None, DaneSeen::Unusable(vec!["1 1 1 ab".to_owned()])),
        &["mx-dane-broken"],
    ),
    (
        "TLSA that could not be compared",
        |seen| seen.around.mx = around_mx(None, DaneSeen::NotCompared),
        &[],
    ),
    (
        "a domain of a pattern is free",
        |seen| {
            seen.host = HostSeen::Addresses(
                agent(
                    "a",
                    &[200],
                    &BODY.replace("mx:", "mx: *.gone.example\r\nmx:"),
                )
                .answers,
            );
            seen.around.lapsed = vec!["gone.example".to_owned()];
        },
        &["mx-pattern-lapsed"],
    ),
    (
        "a pattern that ends alike is another",
        |seen| {
            seen.host = HostSeen::Addresses(
                agent(
                    "a",
                    &[200],
                    &BODY.replace("mx:", "mx: a.notgone.example\r\nmx:"),
                )
                .answers,
            );
            seen.around.lapsed = vec!["gone.example".to_owned()];
        },
        &["mx-pattern-unused"],
    ),
    (
        "a wildcard's MX is hidden",
        |seen| {
            seen.mx = MxSeen::None;
            seen.around.wildcard_mx = vec!["mx.example.org".to_owned()];
        },
        &["mx-wildcard-shadowed"],
    ),
    ("no wildcard", |seen| seen.mx = MxSeen::None, &["mx-none"]),
];

fn found(seen: &DomainSeen) -> Vec<Finding> {
    judge(seen, now()).findings
}

#[test]
fn each_sight_around_a_domain_has_its_finding() {
    for (case, change, expected) in RECORD.iter().chain(HOST).chain(MAIL) {
        let mut seen = good();
        change(&mut seen);
        let findings = found(&seen);
        let mut codes: Vec<&str> = findings.iter().map(|it| it.code.name()).collect();
        codes.sort_unstable();
        // What the policy's own rules say of the odd bodies above is told elsewhere.
        codes.retain(|code| !code.starts_with("policy-"));
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(codes, expected, "{case}");
        for finding in findings.iter().filter(|it| it.code != Code::MxNone) {
            assert!(
                finding.evidence.is_some() || finding.remedy.is_some(),
                "{case}"
            );
        }
    }
}

#[test]
fn a_resolver_that_lags_is_not_called_a_fault_before_its_time() {
    let mut seen = good();
    seen.around.views = vec![view("a", true, &[NEW]), view("r", false, &[OLD])];
    let findings = found(&seen);
    assert_eq!(findings[0].code, Code::RecordVantageDiffers);
    assert_eq!(findings[0].severity, Severity::Info);
    assert!(findings[0].message.contains("120 s"), "{findings:?}");
    let evidence = findings[0].evidence.as_deref().unwrap();
    assert_eq!(evidence, "id 1 at r; id 2 at a");
}

type Record = (bool, &'static str, &'static str);

fn caa(at: &str, records: &[Record], issuer: &str, name: &str) -> Option<Finding> {
    let records = records.iter().map(|(critical, tag, value)| CaaRecord {
        critical: *critical,
        tag: (*tag).to_owned(),
        value: (*value).to_owned(),
    });
    let mut seen = good();
    seen.around.caa = CaaSeen::Records {
        at: at.to_owned(),
        records: records.collect(),
        certificate: Some((issuer.to_owned(), vec![name.to_owned()])),
    };
    found(&seen).into_iter().next()
}

/// What it is, where the records stand, they, issuer and name of the certificate, and whether that is bad.
type Row = (
    &'static str,
    &'static str,
    &'static [Record],
    &'static str,
    &'static str,
    bool,
);

#[test]
fn caa_is_read_as_an_issuer_reads_it() {
    const LE: &str = "C=US, O=Let's Encrypt, CN=R12";
    const UNKNOWN: &str = "CN=Example CA";
    let (host, above) = ("mta-sts.example.org", "example.org");
    let rows: &[Row] = &[
        (
            "the issuer is named",
            above,
            &[(false, "issue", "letsencrypt.org")],
            LE,
            host,
            false,
        ),
        (
            "with parameters",
            above,
            &[(
                false,
                "issue",
                " LetsEncrypt.org ; validationmethods=dns-01",
            )],
            LE,
            host,
            false,
        ),
        (
            "one of several",
            above,
            &[
                (false, "issue", "pki.goog"),
                (false, "issue", "letsencrypt.org"),
            ],
            LE,
            host,
            false,
        ),
        (
            "another one",
            above,
            &[(false, "issue", "pki.goog")],
            LE,
            host,
            true,
        ),
        (
            "another one, and who issued is not known",
            above,
            &[(false, "issue", "pki.goog")],
            UNKNOWN,
            host,
            false,
        ),
        (
            "nobody",
            host,
            &[(false, "issue", ";")],
            UNKNOWN,
            host,
            true,
        ),
        (
            "nobody, empty",
            host,
            &[(false, "issue", "")],
            UNKNOWN,
            host,
            true,
        ),
        (
            "nobody and somebody",
            host,
            &[(false, "issue", ";"), (false, "issue", "letsencrypt.org")],
            LE,
            host,
            false,
        ),
        (
            "only where to complain",
            above,
            &[(false, "iodef", "mailto:x@example.org")],
            LE,
            host,
            false,
        ),
        (
            "a tag of any case",
            above,
            &[(false, "ISSUE", ";")],
            LE,
            host,
            true,
        ),
        (
            "an unknown tag",
            above,
            &[(false, "tbs", "x")],
            LE,
            host,
            false,
        ),
        (
            "an unknown tag that is critical",
            above,
            &[(true, "tbs", "x")],
            LE,
            host,
            true,
        ),
        (
            "a known tag that is critical",
            above,
            &[(true, "issue", "letsencrypt.org")],
            LE,
            host,
            false,
        ),
        (
            "issuewild does not count for a name",
            above,
            &[(false, "issuewild", ";")],
            LE,
            host,
            false,
        ),
        (
            "issuewild counts for a wildcard",
            above,
            &[(false, "issuewild", ";")],
            LE,
            "*.example.org",
            true,
        ),
        (
            "and goes before issue",
            above,
            &[
                (false, "issue", ";"),
                (false, "issuewild", "letsencrypt.org"),
            ],
            LE,
            "*.example.org",
            false,
        ),
        (
            "issue counts for a wildcard otherwise",
            above,
            &[(false, "issue", ";")],
            LE,
            "*.example.org",
            true,
        ),
        (
            "what stands at the host does not count for a wildcard",
            host,
            &[(false, "issue", ";")],
            LE,
            "*.example.org",
            false,
        ),
    ];
    for (case, at, records, issuer, name, bad) in rows {
        let finding = caa(at, records, issuer, name);
        assert_eq!(finding.is_some(), *bad, "{case}: {finding:?}");
        assert!(finding.is_none_or(|it| it.code == Code::HostCaa && it.evidence.is_some()));
    }
}

#[test]
fn caa_that_cannot_be_looked_up_is_unknown() {
    let mut seen = good();
    seen.around.caa = CaaSeen::Failed("SERVFAIL".to_owned());
    let findings = found(&seen);
    assert_eq!(findings[0].code, Code::HostCaa);
    assert_eq!(findings[0].severity, Severity::Unknown);
}

#[test]
fn a_policy_at_a_wrong_path_is_told_with_the_path() {
    let mut seen = good();
    seen.host = HostSeen::Addresses(agent("a", &[404], "").answers);
    seen.around.elsewhere = vec!["/mta-sts.txt".to_owned()];
    let findings = found(&seen);
    let status = findings
        .iter()
        .find(|it| it.code == Code::HostStatus)
        .unwrap();
    let evidence = status.evidence.as_deref().unwrap();
    assert_eq!(evidence, "status 404; the policy stands at /mta-sts.txt");
    assert!(
        status
            .remedy
            .as_deref()
            .unwrap()
            .starts_with("move the policy from /mta-sts.txt")
    );
}
