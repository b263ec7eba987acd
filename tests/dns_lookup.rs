//! Looking at the DNS: real BIND for what is right, small doubles for what is hostile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, TXT};
use hickory_proto::rr::{Name, RData, Record};
use mta_sts_operator::limits;
use mta_sts_operator::probe::dns::{
    AuthoritativeOverride, DnsProbe, DnsProbeSettings, DnsVerify, Existence, LookupError, MxHost,
    RecordData, RecordType, Resolver, WildcardGuard,
};
use mta_sts_operator::probe::target::TargetPolicy;
use support::bind::{Bind, Zone, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Another loopback address, so that a root and a zone's server can share a port.
const ROOT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn zones() -> Vec<Zone> {
    let long = "0123456789".repeat(20);
    let long: String = (0..12)
        .map(|n| format!("long TXT \"{n}{long}\"\n"))
        .collect();
    let example = format!(
        r#"
        @ MX 10 mail
        @ MX 20 mail2.other.test.
        mail A 127.0.0.25
        mail AAAA ::25
        _mta-sts TXT "v=STSv1; " "id=1;"
        mta-sts 600 CNAME www
        www 900 CNAME front.other.test.
        dangling CNAME nothing.other.test.
        loop1 CNAME loop2
        loop2 CNAME loop1
        nullmx MX 0 .
        sub NS ns.other.test.
        {long}
        "#
    );
    let other = r"
        mail2 A 127.0.0.26
        front 1800 A 127.0.0.80
        front 1800 A 127.0.0.81
    ";
    let wild = r#"
        @ MX 10 mail.example.test.
        * MX 10 mail.example.test.
        explicit MX 10 mail.example.test.
        _mta-sts.shadowed TXT "x"
        *.deep.below MX 20 mail.example.test.
        nomx A 127.0.0.1
    "#;
    vec![
        Zone::new("example.test", &example),
        Zone::new("other.test", other).with_name_servers("@ NS ns.example.test."),
        Zone::new("wild.test", wild),
        Zone::new("broken.test", "this is no record"),
        Zone::new("sub.example.test", "host A 127.0.0.9"),
    ]
}

fn bind() -> Bind {
    let zones: Vec<Zone> = zones()
        .into_iter()
        .map(|zone| match zone.name.as_str() {
            "example.test" => zone.with_name_servers("@ NS ns\nns A 127.0.0.1"),
            _ => zone,
        })
        .collect();
    Bind::start(&zones, &[])
}

fn loopback() -> TargetPolicy {
    TargetPolicy {
        allowed: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
    }
}

/// A probe that is told who answers for the zones.
fn overridden(servers: &[SocketAddr]) -> DnsProbe {
    let zone = |name| AuthoritativeOverride::new(name, servers.to_vec()).unwrap();
    let authoritative = ["test", "sub.example.test"].map(zone).to_vec();
    DnsProbe::new(DnsProbeSettings {
        authoritative,
        ..DnsProbeSettings::default()
    })
    .unwrap()
}

/// A probe that walks from a root.
fn walking(root: SocketAddr, targets: TargetPolicy) -> DnsProbe {
    DnsProbe::new(DnsProbeSettings {
        roots: vec![root],
        referral_port: root.port(),
        targets,
        ..DnsProbeSettings::default()
    })
    .unwrap()
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}

fn ns(zone: &str, host: &str) -> Record {
    record(zone, RData::NS(NS(name(host))))
}

fn a(host: &str, address: [u8; 4]) -> Record {
    record(host, RData::A(A(address.into())))
}

/// A server that does as it is told. Ends when dropped.
struct Double {
    address: SocketAddr,
    questions: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

/// What a double sends for a question; nothing, if it is empty.
type Script = dyn Fn(&Message) -> Vec<Vec<u8>> + Send + Sync;

impl Double {
    /// Answers over UDP and, where `tcp` is given, over TCP.
    async fn start(address: SocketAddr, udp: Arc<Script>, tcp: Option<Arc<Script>>) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let questions = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&questions);
        let mut tasks = vec![tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let question = Message::from_vec(&buffer[..length]).unwrap();
                for answer in udp(&question) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        })];
        if let Some(tcp) = tcp {
            let listener = TcpListener::bind(address).await.unwrap();
            tasks.push(tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                    stream.read_exact(&mut question).await.unwrap();
                    for part in tcp(&Message::from_vec(&question).unwrap()) {
                        let _ = stream.write_all(&part).await;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }));
        }
        Self {
            address,
            questions,
            tasks,
        }
    }

    async fn udp(script: impl Fn(&Message) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::start((LOCALHOST, 0).into(), Arc::new(script), None).await
    }

    /// A root whose referrals are made by `refer` for the name that is asked for.
    async fn root(
        address: SocketAddr,
        refer: impl Fn(&str) -> Option<(Vec<Record>, Vec<Record>)> + Send + Sync + 'static,
    ) -> Self {
        let script = move |question: &Message| {
            let asked = question.queries[0].name().to_lowercase().to_ascii();
            let mut answer = reply(question);
            match refer(asked.trim_end_matches('.')) {
                Some((name_servers, glue)) => {
                    answer.add_authorities(name_servers);
                    answer.add_additionals(glue);
                }
                None => answer.metadata.response_code = ResponseCode::Refused,
            }
            vec![answer.to_vec().unwrap()]
        };
        Self::start(address, Arc::new(script), None).await
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn reply(question: &Message) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_queries(question.queries.clone());
    answer
}

/// The world of these tests: a root that refers to BIND for everything in `zones()`.
async fn root_for(bind: &Bind) -> Double {
    let address = (ROOT, bind.address().port()).into();
    Double::root(address, |asked| {
        let of = |zone: &str| asked == zone || asked.ends_with(&format!(".{zone}"));
        let glue = vec![a("ns.example.test", [127, 0, 0, 1])];
        match asked {
            _ if of("example.test") => Some((vec![ns("example.test", "ns.example.test")], glue)),
            // No glue: its name server lies in another zone.
            _ if of("other.test") => Some((vec![ns("other.test", "ns.example.test")], Vec::new())),
            _ if of("wild.test") => Some((
                vec![ns("wild.test", "ns.wild.test")],
                vec![a("ns.wild.test", [127, 0, 0, 1])],
            )),
            _ => None,
        }
    })
    .await
}

#[tokio::test]
async fn what_is_there_and_what_is_not_are_told_apart() {
    let bind = bind();
    let probe = overridden(&[bind.address()]);
    for (case, asked, record_type, existence) in [
        (
            "found",
            "_mta-sts.example.test",
            RecordType::Txt,
            Existence::Found,
        ),
        (
            "other case",
            "_MTA-STS.Example.Test.",
            RecordType::Txt,
            Existence::Found,
        ),
        (
            "no data",
            "_mta-sts.example.test",
            RecordType::Mx,
            Existence::NoData,
        ),
        (
            "no name",
            "nothing.example.test",
            RecordType::Txt,
            Existence::NoName,
        ),
        (
            "a dangling alias",
            "dangling.example.test",
            RecordType::A,
            Existence::NoName,
        ),
        (
            "an alias itself",
            "mta-sts.example.test",
            RecordType::Cname,
            Existence::Found,
        ),
        (
            "over TCP",
            "long.example.test",
            RecordType::Txt,
            Existence::Found,
        ),
    ] {
        let answer = probe.resolve(asked, record_type).await.unwrap();
        assert_eq!(answer.existence, existence, "{case}");
        assert!(answer.authoritative, "{case}");
        let missing = existence != Existence::Found;
        assert_eq!(answer.negative_ttl, missing.then_some(60), "{case}");
    }
    let answer = probe
        .resolve("_mta-sts.example.test", RecordType::Txt)
        .await
        .unwrap();
    assert_eq!(answer.ttl, 300);
    assert_eq!(answer.records[0].txt_octets().unwrap(), b"v=STSv1; id=1;");

    for (case, asked, label) in [
        ("broken zone", "host.broken.test", "servfail"),
        ("not its zone", "host.unknown.test", "refused"),
        (
            "a circle that BIND itself notices",
            "loop1.example.test",
            "servfail",
        ),
        ("no name", "not a name", "bad_name"),
    ] {
        let error = probe.resolve(asked, RecordType::A).await.unwrap_err();
        assert_eq!(error.label(), label, "{case}: {error}");
    }
}

#[tokio::test]
async fn aliases_in_a_circle_through_two_zones_end() {
    let start = |name, records| {
        let bind = Bind::start(&[Zone::new(name, records)], &[]);
        let entry = AuthoritativeOverride::new(name, vec![bind.address()]).unwrap();
        (bind, entry)
    };
    let (_one, first) = start("one.test", "www CNAME www.two.test.");
    let (_two, second) = start("two.test", "www CNAME www.one.test.");
    let probe = DnsProbe::new(DnsProbeSettings {
        authoritative: vec![first, second],
        ..DnsProbeSettings::default()
    })
    .unwrap();
    let error = probe
        .resolve("www.one.test", RecordType::A)
        .await
        .unwrap_err();
    assert_eq!(error.label(), "cname_loop", "{error}");
}

#[tokio::test]
async fn the_walk_finds_zones_and_their_servers() {
    let bind = bind();
    let root = root_for(&bind).await;
    let probe = walking(root.address, loopback());
    for (case, asked, zone, host) in [
        ("apex", "example.test", "example.test", "ns.example.test"),
        (
            "below",
            "_mta-sts.example.test",
            "example.test",
            "ns.example.test",
        ),
        (
            "does not exist",
            "a.b.example.test",
            "example.test",
            "ns.example.test",
        ),
        (
            "an alias",
            "mta-sts.example.test",
            "example.test",
            "ns.example.test",
        ),
        (
            "without glue",
            "front.other.test",
            "other.test",
            "ns.example.test",
        ),
        (
            "parent and child on one server",
            "host.sub.example.test",
            "sub.example.test",
            "ns.sub.example.test",
        ),
    ] {
        let cut = probe.authorities(asked).await.unwrap();
        assert_eq!(cut.zone, zone, "{case}");
        let servers: Vec<_> = cut
            .servers
            .iter()
            .map(|s| (s.name.as_str(), s.address))
            .collect();
        assert_eq!(servers, [(host, bind.address())], "{case}");
    }
    let asked_so_far = root.questions.load(Ordering::SeqCst);
    probe.authorities("another.example.test").await.unwrap();
    assert_eq!(
        root.questions.load(Ordering::SeqCst),
        asked_so_far,
        "the root was asked again"
    );
}

#[tokio::test]
async fn a_real_root_refers_as_the_double_does() {
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if StdTcpListener::bind((v6, 0)).is_err() {
        eprintln!("this machine has no IPv6 loopback for a second server on the same port");
        return;
    }
    let bind = bind();
    let records = "example.test. NS ns.example.test.\nns.example.test. A 127.0.0.1\n\
                   other.test. NS ns.example.test.";
    let zone = Zone::new(".", records).with_name_servers("@ NS root.\nroot. AAAA ::1");
    let root = Bind::try_start((v6, bind.address().port()).into(), &[zone], &[]).unwrap();
    let probe = walking(root.address(), loopback());
    let found = probe.addresses("mta-sts.example.test").await.unwrap();
    assert_eq!(found.v4.len(), 2);
    assert_eq!(probe.authorities("nothing.here").await.unwrap().zone, ".");
}

#[tokio::test]
async fn addresses_come_with_their_chain_and_its_largest_ttl() {
    let bind = bind();
    let root = root_for(&bind).await;
    for probe in [
        walking(root.address, loopback()),
        overridden(&[bind.address()]),
    ] {
        let found = probe.addresses("mta-sts.example.test").await.unwrap();
        let chain: Vec<_> = found
            .chain
            .iter()
            .map(|c| (c.target.as_str(), c.ttl))
            .collect();
        assert_eq!(
            chain,
            [("www.example.test", 600), ("front.other.test", 900)]
        );
        assert_eq!(found.v4.len(), 2);
        assert_eq!(found.v6, Vec::<Ipv6Addr>::new());
        assert_eq!(found.largest_ttl, 1800);
        assert_eq!(found.existence, Existence::Found);

        let found = probe.addresses("mail.example.test").await.unwrap();
        assert_eq!(
            (found.v4.len(), found.v6.len(), found.chain.len()),
            (1, 1, 0)
        );
        let found = probe.addresses("nothing.example.test").await.unwrap();
        assert_eq!(found.existence, Existence::NoName);
        let found = probe.addresses("_mta-sts.example.test").await.unwrap();
        assert_eq!(found.existence, Existence::NoData);
    }
}

#[tokio::test]
async fn mail_exchangers_are_read() {
    let bind = bind();
    let probe = overridden(&[bind.address()]);
    let mx = probe.mx("example.test").await.unwrap();
    let host = |preference, exchange: &str| MxHost {
        preference,
        exchange: exchange.to_owned(),
    };
    assert_eq!(
        mx.hosts,
        [host(10, "mail.example.test"), host(20, "mail2.other.test")]
    );
    assert_eq!((mx.null, mx.ttl), (false, 300));
    let mx = probe.mx("nullmx.example.test").await.unwrap();
    assert_eq!(
        (mx.hosts, mx.null, mx.existence),
        (Vec::new(), true, Existence::Found)
    );
    let mx = probe.mx("mail.example.test").await.unwrap();
    assert_eq!((mx.null, mx.existence), (false, Existence::NoData));
}

#[tokio::test]
async fn mail_from_a_wildcard_is_noticed() {
    let bind = bind();
    let root = root_for(&bind).await;
    let resolving = DnsProbe::new(DnsProbeSettings {
        verify: DnsVerify::Resolver,
        resolvers: vec![bind.address()],
        ..DnsProbeSettings::default()
    });
    for probe in [
        walking(root.address, loopback()),
        overridden(&[bind.address()]),
        resolving.unwrap(),
    ] {
        for (case, domain, synthesised) in [
            ("made up", "shop.wild.test", true),
            ("made up further down", "a.shop.wild.test", true),
            ("the apex", "wild.test", false),
            ("has the same MX itself", "explicit.wild.test", false),
            (
                "exists through a name below it",
                "shadowed.wild.test",
                false,
            ),
            ("below a nearer wildcard", "x.deep.below.wild.test", true),
            ("exists without MX", "nomx.wild.test", false),
            ("no wildcard", "mail.example.test", false),
            ("no such name", "nothing.example.test", false),
        ] {
            let guard = probe.wildcard_guard(domain).await.unwrap();
            let found = matches!(guard, WildcardGuard::Synthesised { .. });
            assert_eq!(found, synthesised, "{case}: {guard:?}");
        }
    }
}

#[tokio::test]
async fn every_server_is_asked_and_each_speaks_for_itself() {
    let primary = bind();
    let stale = Zone::new("example.test", r#"_mta-sts TXT "v=STSv1; id=0;""#);
    let mut secondary = Bind::start(&[stale], &[]);
    let lame = Bind::start(&[Zone::new("unrelated.test", "")], &[]);
    let mut down = Bind::start(&[], &[]);
    down.stop();
    let servers = [
        primary.address(),
        secondary.address(),
        lame.address(),
        down.address(),
    ];
    let probe = overridden(&servers);
    let answers = probe
        .ask_all("_mta-sts.example.test", RecordType::Txt)
        .await
        .unwrap();
    let shown: Vec<_> = answers
        .iter()
        .map(|answer| match &answer.result {
            Ok(answer) => String::from_utf8(answer.records[0].txt_octets().unwrap()).unwrap(),
            Err(error) => error.label().to_owned(),
        })
        .collect();
    assert_eq!(
        shown,
        ["v=STSv1; id=1;", "v=STSv1; id=0;", "refused", "unreachable"]
    );

    let fresh = Zone::new("example.test", r#"_mta-sts TXT "v=STSv1; id=1;""#);
    secondary.serve_instead(&fresh);
    let answers = probe
        .ask_all("_mta-sts.example.test", RecordType::Txt)
        .await
        .unwrap();
    let text = |nth: usize| answers[nth].result.as_ref().unwrap().records[0].txt_octets();
    assert_eq!(text(0), text(1));

    // One that answers is enough to resolve.
    for _ in 0..4 {
        probe
            .resolve("_mta-sts.example.test", RecordType::Txt)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn resolvers_are_asked_in_place_of_the_authorities_where_that_is_set() {
    let resolver = Double::udp(|question| {
        let mut answer = reply(question);
        if question.metadata.recursion_desired {
            let text = RData::TXT(TXT::new(vec!["v=STSv1; id=1;".to_owned()]));
            answer.add_answer(Record::from_rdata(
                question.queries[0].name().clone(),
                9,
                text,
            ));
        }
        vec![answer.to_vec().unwrap()]
    })
    .await;
    let probe = DnsProbe::new(DnsProbeSettings {
        verify: DnsVerify::Resolver,
        resolvers: vec![resolver.address],
        ..DnsProbeSettings::default()
    })
    .unwrap();
    let answers = probe
        .ask_all("_mta-sts.example.test", RecordType::Txt)
        .await
        .unwrap();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].server.address, resolver.address);
    let answer = answers[0].result.as_ref().unwrap();
    assert_eq!((answer.ttl, answer.authoritative), (9, false));
    // The same words without authority are nothing in the other mode.
    let probe = overridden(&[resolver.address]);
    let error = probe
        .resolve("_mta-sts.example.test", RecordType::Txt)
        .await
        .unwrap_err();
    assert_eq!(error.label(), "not_authoritative");
}

#[tokio::test]
async fn addresses_of_the_inside_are_not_asked_on_the_word_of_a_referral() {
    let bind = bind();
    let root = root_for(&bind).await;
    let probe = walking(root.address, TargetPolicy::default());
    let error = probe.authorities("www.example.test").await.unwrap_err();
    assert!(matches!(error, LookupError::PrivateTarget(_)), "{error}");
}

#[tokio::test]
async fn a_walk_that_leads_nowhere_ends() {
    // Each of two zones has its name server in the other: neither can ever be found.
    let circle = |asked: &str| {
        let (zone, host) = match asked.ends_with("one.test") {
            true => ("one.test", "ns.two.test"),
            false => ("two.test", "ns.one.test"),
        };
        Some((vec![ns(zone, host)], Vec::new()))
    };
    // Every server refers one label further down, to itself.
    let depth = Arc::new(AtomicUsize::new(0));
    let deeper = move |asked: &str| {
        let labels: Vec<_> = asked.split('.').collect();
        let taken = depth.fetch_add(1, Ordering::SeqCst) % labels.len();
        let zone = labels[labels.len() - 1 - taken..].join(".");
        let host = format!("ns.{zone}");
        let glue = vec![a(&host, [127, 0, 0, 2])];
        Some((vec![ns(&zone, &host)], glue))
    };
    let many = |asked: &str| {
        let hosts = (0..50).map(|n| ns(asked, &format!("ns.{n}.{asked}")));
        Some((hosts.collect(), Vec::new()))
    };
    let long = format!("{}test", "a.".repeat(40));
    let port = || (ROOT, free_port(ROOT)).into();
    for (case, root, asked) in [
        (
            "a circle",
            Double::root(port(), circle).await,
            "www.one.test",
        ),
        ("ever deeper", Double::root(port(), deeper).await, &long),
        (
            "ever more servers",
            Double::root(port(), many).await,
            "zone.test",
        ),
    ] {
        let probe = walking(root.address, loopback());
        let started = Instant::now();
        let error = probe.authorities(asked).await.unwrap_err();
        assert_eq!(error.label(), "walk_too_long", "{case}: {error}");
        let questions = root.questions.load(Ordering::SeqCst);
        assert!(questions <= limits::DNS_WALK_QUERIES, "{case}: {questions}");
        assert!(started.elapsed() < limits::DNS_LOOKUP_TIME, "{case}");
    }
}

/// Answers over TCP after a truncated one over UDP.
async fn truncated_then(tcp: Option<Arc<Script>>) -> Double {
    let udp = |question: &Message| {
        let mut answer = reply(question);
        answer.metadata.truncation = true;
        vec![answer.to_vec().unwrap()]
    };
    for _ in 0..20 {
        let address = (LOCALHOST, free_port(LOCALHOST)).into();
        if UdpSocket::bind(address).await.is_ok() {
            return Double::start(address, Arc::new(udp), tcp).await;
        }
    }
    panic!("no free port");
}

fn framed(message: &Message) -> Vec<u8> {
    let octets = message.to_vec().unwrap();
    let mut framed = u16::try_from(octets.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(octets);
    framed
}

#[tokio::test]
async fn hostile_answers_are_errors_and_nothing_else() {
    let with = |change: fn(&mut Message)| {
        move |question: &Message| {
            let mut answer = reply(question);
            change(&mut answer);
            vec![answer.to_vec().unwrap()]
        }
    };
    let claims = |at: usize| {
        move |question: &Message| {
            let mut octets = reply(question).to_vec().unwrap();
            octets[at..at + 2].copy_from_slice(&10_000u16.to_be_bytes());
            vec![octets]
        }
    };
    let garbage = |_: &Message| vec![vec![0xff; 5]];
    let cut = |question: &Message| vec![reply(question).to_vec().unwrap()[..14].to_vec()];
    // A name that is a pointer to itself.
    let pointer = |question: &Message| {
        let mut octets = reply(question).to_vec().unwrap();
        octets[7] = 1;
        let at = u16::try_from(octets.len()).unwrap() | 0xc000;
        octets.extend(at.to_be_bytes());
        octets.extend([0, 16, 0, 1, 0, 0, 0, 60, 0, 0]);
        vec![octets]
    };
    let crowd = with(|answer| {
        let owner = answer.queries[0].name().clone();
        for n in 0..70 {
            let data = RData::A(A([127, 0, 0, n].into()));
            answer.add_answer(Record::from_rdata(owner.clone(), 60, data));
        }
    });
    let circle = with(|answer| {
        let owner = answer.queries[0].name().clone();
        answer.add_answer(Record::from_rdata(
            owner.clone(),
            60,
            RData::CNAME(CNAME(owner)),
        ));
    });
    let crowd_tcp: Arc<Script> = Arc::new(|question: &Message| {
        let mut answer = reply(question);
        for n in 0..2000 {
            answer.add_answer(a(&format!("{n}.test"), [127, 0, 0, 1]));
        }
        vec![framed(&answer)]
    });
    let drip: Arc<Script> = Arc::new(|_: &Message| {
        let mut parts = vec![vec![0xff, 0xff]];
        parts.extend(std::iter::repeat_n(vec![0], 200));
        parts
    });
    let broken_off: Arc<Script> =
        Arc::new(|question: &Message| vec![framed(&reply(question))[..9].to_vec()]);
    let silent = |_: &Message| Vec::new();
    let cases = [
        ("garbage", Double::udp(garbage).await, "malformed"),
        ("cut off", Double::udp(cut).await, "malformed"),
        (
            "a pointer to itself",
            Double::udp(pointer).await,
            "malformed",
        ),
        (
            "two questions",
            Double::udp(with(|a| a.queries.push(a.queries[0].clone()))).await,
            "malformed",
        ),
        (
            "claims 10000 answers",
            Double::udp(claims(6)).await,
            "too_many_records",
        ),
        (
            "claims 10000 authorities",
            Double::udp(claims(8)).await,
            "too_many_records",
        ),
        (
            "claims 10000 additionals",
            Double::udp(claims(10)).await,
            "too_many_records",
        ),
        (
            "claims 10000 questions",
            Double::udp(claims(4)).await,
            "malformed",
        ),
        ("70 addresses", Double::udp(crowd).await, "too_many_records"),
        (
            "2000 records over TCP",
            truncated_then(Some(crowd_tcp)).await,
            "too_many_records",
        ),
        (
            "an alias of itself",
            Double::udp(circle).await,
            "cname_loop",
        ),
        (
            "wrong id",
            Double::udp(with(|a| a.metadata.id = !a.metadata.id)).await,
            "mismatched",
        ),
        (
            "wrong question",
            Double::udp(with(|a| {
                a.queries[0].set_name(name("other.test"));
            }))
            .await,
            "mismatched",
        ),
        ("truncated, no TCP", truncated_then(None).await, "truncated"),
        (
            "truncated, TCP drips",
            truncated_then(Some(drip)).await,
            "truncated",
        ),
        (
            "truncated, TCP breaks off",
            truncated_then(Some(broken_off)).await,
            "truncated",
        ),
        ("silence", Double::udp(silent).await, "timeout"),
        (
            "an unknown code",
            Double::udp(with(|a| a.metadata.response_code = ResponseCode::NotImp)).await,
            "unexpected_code",
        ),
    ];
    let lookups = cases.iter().map(async |(case, double, label)| {
        let resolver = Resolver::new(vec![double.address]);
        let started = Instant::now();
        let error = resolver
            .lookup("host.test", RecordType::A)
            .await
            .unwrap_err();
        assert_eq!(error.label(), *label, "{case}: {error}");
        let spare = Duration::from_secs(2);
        assert!(started.elapsed() < limits::DNS_QUERY_TIME + spare, "{case}");
    });
    futures::future::join_all(lookups).await;
}

#[tokio::test]
async fn the_right_answer_is_found_among_forged_ones() {
    let double = Double::udp(|question| {
        let mut forged = reply(question);
        forged.metadata.id = !forged.metadata.id;
        let mut right = reply(question);
        let owner = question.queries[0].name().clone();
        right.add_answer(Record::from_rdata(
            owner,
            60,
            RData::A(A([127, 0, 0, 7].into())),
        ));
        let forged = forged.to_vec().unwrap();
        vec![forged.clone(), forged, right.to_vec().unwrap()]
    })
    .await;
    let resolver = Resolver::new(vec![double.address]);
    let answer = resolver.lookup("host.test", RecordType::A).await.unwrap();
    assert_eq!(answer.records, [RecordData::A([127, 0, 0, 7].into())]);
}

#[tokio::test]
async fn a_dead_resolver_is_passed_over() {
    let bind = bind();
    let mut down = Bind::start(&[], &[]);
    down.stop();
    let resolver = Resolver::new(vec![down.address(), bind.address()]);
    let answer = resolver
        .lookup("example.test", RecordType::Mx)
        .await
        .unwrap();
    assert_eq!(answer.records.len(), 2);
    let error = Resolver::new(Vec::new())
        .lookup("example.test", RecordType::Mx)
        .await;
    assert_eq!(error.unwrap_err().label(), "no_resolver");
}
