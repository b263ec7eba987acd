//! What hostile zones and policy hosts can do to the controller: nothing (SECURITY.md).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mta_sts_operator::api::MtaStsPolicyStatus;
use serde_json::{Value, json};
use support::bind::Zone;
use support::process::Process;
use support::wait::{always, ensure, eventually};
use support::world::{MAIL, SOON, World, find, message, name, policy_host, shown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const MX: &str = "@ MX 10 mail\nmail A 192.0.2.25\n";

/// A policy whose address record is not written: the zone says where the host is.
fn by_the_zone() -> Value {
    json!({"hosting": {"address": {"ipv4": null, "none": {}}}})
}

struct Running {
    world: World,
    server: SocketAddr,
    _processes: [Process; 2],
}

/// A world whose controller dials public addresses alone, and those in `allowed`; policy hosts of
/// `detours` are dialled there.
async fn running(
    zones: &[(&str, &str)],
    allowed: &[&str],
    detours: &[(&str, SocketAddr)],
    flags: &[String],
) -> Running {
    let all = zones
        .iter()
        .map(|(name, records)| Zone::dynamic(name, &format!("{MX}{records}")));
    let world = World::with_zones(all.collect()).await;
    let (process, server) = world.serve("serve").await;
    world
        .route(&["good.example", "other.example"], server)
        .await;
    world.provider(world.dns()).await;
    let mut settings = world.settings("controller", &[server]);
    settings.flags = flags.to_vec();
    settings.allow_targets = allowed.iter().map(|&range| range.to_owned()).collect();
    settings.connect_to = ["good.example", "other.example"]
        .map(|domain| world.front.connect_to(&policy_host(domain)))
        .to_vec();
    for (domain, address) in detours {
        let detour = format!("{}:443:{address}", policy_host(domain));
        settings.connect_to.push(detour);
    }
    let controller = world.controller(&settings);
    Running {
        world,
        server,
        _processes: [process, controller],
    }
}

fn findings<'a>(status: &'a MtaStsPolicyStatus, code: &str) -> Vec<&'a str> {
    let of_code = status.findings.iter().filter(|f| f.code == code);
    of_code.map(|finding| finding.subject.as_str()).collect()
}

/// A domain is published, and its policy changed, within a time that nobody else's faults lengthen.
async fn is_published_meanwhile(world: &World, domain: &str) {
    let begun = Instant::now();
    world.policy(domain, json!({})).await;
    let first = world.ready(domain).await.policy.unwrap().id;
    world.policy(domain, json!({"mode": "enforce"})).await;
    let second = world.ready(domain).await.policy.unwrap().id;
    assert!(second > first);
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{domain} had to wait for others: {:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn addresses_of_the_inside_are_not_dialled() {
    let cases = [
        (
            "metadata.example",
            "mta-sts A 169.254.169.254\n",
            "169.254.169.254:443",
        ),
        ("loop.example", "mta-sts A 127.0.0.1\n", "127.0.0.1:443"),
        ("loop6.example", "mta-sts AAAA ::1\n", "[::1]:443"),
        (
            "mapped.example",
            "mta-sts AAAA ::ffff:10.0.0.1\n",
            "[::ffff:10.0.0.1]:443",
        ),
        (
            "nat64.example",
            "mta-sts AAAA 64:ff9b::a9fe:a9fe\n",
            "[64:ff9b::a9fe:a9fe]:443",
        ),
        (
            "alias.example",
            "mta-sts CNAME mta-sts.loop.example.\n",
            "127.0.0.1:443",
        ),
    ];
    // The second address stands for a public one: it may be dialled, and refuses.
    let mixed = "mta-sts A 127.0.0.1\nmta-sts A 127.0.0.2\n";
    let mut zones: Vec<(&str, &str)> = cases
        .iter()
        .map(|(zone, records, _)| (*zone, *records))
        .collect();
    zones.push(("mixed.example", mixed));
    zones.push(("good.example", ""));
    let running = running(&zones, &["127.0.0.2/32"], &[], &[]).await;
    let world = &running.world;
    for (domain, _, _) in cases {
        world.policy(domain, by_the_zone()).await;
    }
    world.policy("mixed.example", by_the_zone()).await;
    is_published_meanwhile(world, "good.example").await;

    for (domain, _, address) in cases {
        let status = world
            .condition(domain, "PolicyServed", "False", Some("PrivateAddress"))
            .await;
        assert!(
            message(&status, "PolicyServed").contains(address),
            "{}",
            shown(&status)
        );
        let subject = format!("{} at {address}", policy_host(domain));
        assert_eq!(findings(&status, "host-private-address"), [subject]);
        assert!(
            findings(&status, "host-unreachable").is_empty(),
            "it was dialled"
        );
        let certificate = find(&status, "CertificateValid").unwrap();
        assert_eq!(
            certificate.status.to_string(),
            "Unknown",
            "{}",
            shown(&status)
        );
        assert!(world.txt(domain).is_empty(), "nothing is announced");
    }
    // Of two addresses only the one that may be is dialled.
    eventually("both addresses are told", SOON, async || {
        let policy = world.policies(MAIL).get(&name("mixed.example")).await;
        let status = policy
            .map_err(|e| e.to_string())?
            .status
            .ok_or("no status")?;
        let private = findings(&status, "host-private-address");
        let dialled = findings(&status, "host-unreachable");
        let seen = format!("private {private:?}, dialled {dialled:?}");
        ensure(
            private == ["mta-sts.mixed.example at 127.0.0.1:443"]
                && dialled == ["mta-sts.mixed.example at 127.0.0.2:443"],
            seen,
        )
    })
    .await;
}

/// A server that takes connections and says nothing, not even TLS.
async fn silent_front() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}

/// A name server that answers everything with one piece of garbage after the other.
async fn garbage_server() -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        let mut turn = 0;
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            let reply = garbage(&buffer[..length], turn);
            turn += 1;
            let _ = udp.send_to(&reply, from).await;
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            // A length that never comes true.
            let _ = stream.write_all(&[0xff, 0xff, 0, 1, 2, 3]).await;
        }
    });
    address
}

fn garbage(query: &[u8], turn: usize) -> Vec<u8> {
    let mut reply = query.to_vec();
    if let Some(flags) = reply.get_mut(2) {
        *flags |= 0x84; // an authoritative answer
    }
    match turn % 7 {
        0 => Vec::new(),
        1 => vec![0xff; 1232],
        2 => query[..query.len().min(7)].to_vec(),
        3 => {
            reply[0] ^= 0xff; // another id
            reply
        }
        4 => {
            reply[6..12].fill(0xff); // 65535 records in each section, and none comes
            reply
        }
        5 => {
            reply[7] = 1;
            reply.extend([0xc0, 0x0c, 0, 5, 0, 1, 0, 0, 0, 0, 0, 2, 0xc0, 0x0c]); // an alias of itself
            reply
        }
        _ => {
            reply[2] |= 0x02; // truncated: ask again over TCP
            reply
        }
    }
}

#[tokio::test]
async fn who_hangs_or_talks_garbage_disturbs_nobody() {
    let hanging = silent_front().await;
    let garbage = garbage_server().await;
    let hangers: Vec<String> = (0..4).map(|n| format!("hang{n}.example")).collect();
    let host = "mta-sts A 127.0.0.1\n";
    let mut zones: Vec<(&str, &str)> = hangers.iter().map(|zone| (zone.as_str(), host)).collect();
    zones.extend([
        ("garbage.example", host),
        ("good.example", ""),
        ("other.example", ""),
    ]);
    let detours: Vec<(&str, SocketAddr)> = hangers
        .iter()
        .map(|zone| (zone.as_str(), hanging))
        .collect();
    let flags = [format!("--authoritative=garbage.example={garbage}")];
    let running = running(&zones, &["127.0.0.0/8"], &detours, &flags).await;
    let world = &running.world;
    for domain in &hangers {
        world.policy(domain, by_the_zone()).await;
    }
    world.policy("garbage.example", json!({})).await;
    is_published_meanwhile(world, "good.example").await;

    let status = world
        .condition(
            "garbage.example",
            "DnsPublished",
            "False",
            Some("LookupFailed"),
        )
        .await;
    assert!(
        find(&status, "Stalled").is_none(),
        "it may heal: {}",
        shown(&status)
    );
    for domain in &hangers {
        let reason = Some("HandshakeFailed");
        let status = world
            .condition(domain, "PolicyServed", "False", reason)
            .await;
        assert!(world.txt(domain).is_empty(), "{}", shown(&status));
    }
    is_published_meanwhile(world, "other.example").await;
    always(
        "the controller is well",
        Duration::from_secs(2),
        async || {
            let log = running._processes[1].log();
            ensure(running._processes[1].ended().is_none(), "it has ended")?;
            ensure(!log.contains("panicked"), "it has panicked")
        },
    )
    .await;
    assert!(
        world.txt("garbage.example").is_empty(),
        "nothing was written blindly"
    );

    a_host_gets_its_own_policy_only(&running).await;
}

/// What a policy server answers to these very bytes.
async fn raw(server: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let within = tokio::time::timeout(Duration::from_secs(10), read).await;
    within.expect("an answer, and the end").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// On policies that are published: each with an mx of its own.
async fn a_host_gets_its_own_policy_only(running: &Running) {
    let good = "mta-sts.good.example";
    let other = "mta-sts.other.example";
    let path = "/.well-known/mta-sts.txt";
    let upper = good.to_uppercase();
    let ported = format!("{good}:443");
    let nobody = "mta-sts.nobody.example";
    let absolute = format!("http://{other}{path}");
    for (case, method, target, host, expected) in [
        ("its own", "GET", path, good, Some("mail.good.example")),
        (
            "the other's",
            "GET",
            path,
            other,
            Some("mail.other.example"),
        ),
        (
            "in capitals",
            "GET",
            path,
            &upper,
            Some("mail.good.example"),
        ),
        (
            "with its port",
            "GET",
            path,
            &ported,
            Some("mail.good.example"),
        ),
        ("nobody's", "GET", path, nobody, None),
        ("the domain itself", "GET", path, "good.example", None),
        (
            "below the host",
            "GET",
            path,
            "x.mta-sts.good.example",
            None,
        ),
        ("another path", "GET", "/", good, None),
        (
            "up and down",
            "GET",
            "/x/../.well-known/mta-sts.txt",
            good,
            None,
        ),
        ("encoded", "GET", "/.well-known/mta-sts%2etxt", good, None),
        (
            "encoded slash",
            "GET",
            "/.well-known%2fmta-sts.txt",
            good,
            None,
        ),
        (
            "doubled slash",
            "GET",
            "//.well-known/mta-sts.txt",
            good,
            None,
        ),
        (
            "another's in the path",
            "GET",
            "/mta-sts.other.example/.well-known/mta-sts.txt",
            good,
            None,
        ),
        (
            "absolute: that host counts",
            "GET",
            &absolute,
            good,
            Some("mail.other.example"),
        ),
        ("POST", "POST", path, good, None),
        ("HEAD", "HEAD", path, good, None),
    ] {
        for version in ["1.1", "1.0"] {
            let request = format!(
                "{method} {target} HTTP/{version}\r\nHost: {host}\r\nRange: bytes=0-5\r\nConnection: close\r\n\r\n"
            );
            let answer = raw(running.server, &request).await;
            let policies: Vec<&str> = answer
                .lines()
                .filter_map(|line| line.strip_prefix("mx: "))
                .collect();
            // The host of an absolute target counts, not the header (RFC 9112 §3.2.2).
            assert_eq!(
                policies,
                expected.as_slice(),
                "{case}, HTTP/{version}: {answer}"
            );
        }
    }
    let twice = format!(
        "GET {path} HTTP/1.1\r\nHost: {good}\r\nHost: {other}\r\nConnection: close\r\n\r\n"
    );
    let answer = raw(running.server, &twice).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
