//! The policy server's HTTP behaviour over raw TCP: what each host answers, and what malformed,
//! slow, greedy and smuggling clients get. No API server is needed: records go straight in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use mta_sts_operator::lifecycle::record::{BODY_KEY, PUBLICATION_KEY};
use mta_sts_operator::protocol::Sha256Digest;
use mta_sts_operator::serve::http;
use mta_sts_operator::serve::listener::{Limits, Phase, Stats, serve};
use mta_sts_operator::serve::store::{Store, Writer};
use serde_json::json;
use support::wait::{ensure, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
const ID: &str = "20261125000000aaaaaaaabbbbbb";
const PATH: &str = "/.well-known/mta-sts.txt";

fn body(domain: &str) -> String {
    format!("version: STSv1\r\nmode: testing\r\nmx: mail.{domain}\r\nmax_age: 86400\r\n")
}

fn record(domain: &str) -> ConfigMap {
    let publication = json!({
        "domain": domain,
        "owner": {"namespace": "mail", "name": "policy", "uid": "1"},
        "current": {
            "id": ID,
            "sha256": Sha256Digest::of(body(domain).as_bytes()),
            "mode": "testing",
            "maxAge": 86400,
            "mx": [format!("mail.{domain}")],
            "decidedAt": "2026-11-25T00:00:00Z",
        },
        "ledger": [],
        "dns": {},
    });
    let mut object = ConfigMap::default();
    object.metadata.name = Some(domain.to_owned());
    let data = [
        (BODY_KEY, body(domain)),
        (PUBLICATION_KEY, publication.to_string()),
    ];
    object.data = Some(data.map(|(key, value)| (key.to_owned(), value)).into());
    object
}

/// A server for the hosts of example.org, example.com, and broken.example (whose body is bad).
struct Server {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    stats: Arc<Stats>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let store = Arc::new(Store::default());
        let mut writer = Writer::new(store.clone(), Arc::default());
        let mut broken = record("broken.example");
        broken
            .data
            .as_mut()
            .unwrap()
            .insert(BODY_KEY.to_owned(), "edited".to_owned());
        for object in [record("example.org"), record("example.com"), broken] {
            writer.apply(&object);
        }
        writer.publish();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let phase = watch::Sender::new(Phase::Serving);
        let stats = Arc::new(Stats::default());
        let handler = Arc::new(move |request: &_| http::answer(&store, request));
        let task = tokio::spawn(serve(
            listener,
            handler,
            limits,
            stats.clone(),
            phase.subscribe(),
        ));
        Self {
            address,
            phase,
            stats,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `request` and gives all that comes until the server closes.
    async fn ask(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // The server may have answered and closed before all is written.
        let _ = stream.write_all(request.as_ref()).await;
        read_all(&mut stream).await
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut all)).await;
    // A reset after the answer is an end too: the server closed on input that it never read.
    let _ = read.expect("the server closes in time");
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads one response with a body of `length` bytes.
async fn read_one(stream: &mut TcpStream, length: usize) -> String {
    let mut all = Vec::new();
    let reading = async {
        while !all.ends_with(b"\r\n\r\n") {
            all.push(stream.read_u8().await.unwrap());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        all.extend(body);
    };
    timeout(SOON, reading).await.expect("a response in time");
    String::from_utf8(all).unwrap()
}

fn get(host: &str) -> String {
    format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// The status of each response in what came, in order.
fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.")
        .skip(1)
        .map(|response| response[2..5].parse().unwrap())
        .collect()
}

#[tokio::test]
async fn a_policy_goes_out_whole_with_its_headers() {
    let server = Server::start(Limits::default()).await;
    let response = server.ask(get("mta-sts.example.org")).await;
    let (head, content) = response.split_once("\r\n\r\n").unwrap();
    assert_eq!(content, body("example.org"));
    let mut lines: Vec<_> = head
        .lines()
        .filter(|line| !line.starts_with("date: "))
        .collect();
    lines[1..].sort_unstable();
    let length = format!("content-length: {}", content.len());
    let etag = format!("etag: \"{ID}\"");
    let expected = [
        "HTTP/1.1 200 OK",
        "cache-control: no-store",
        "connection: close",
        length.as_str(),
        "content-type: text/plain; charset=utf-8",
        etag.as_str(),
        "x-content-type-options: nosniff",
    ];
    assert_eq!(lines, expected);

    let response = server
        .ask(get("mta-sts.example.org").replace("GET", "HEAD"))
        .await;
    let (head, content) = response.split_once("\r\n\r\n").unwrap();
    assert_eq!(content, "");
    assert!(head.contains(&length) && head.contains(&etag), "{head}");
}

#[tokio::test]
async fn each_request_gets_its_own_hosts_policy_or_an_error() {
    let server = Server::start(Limits::default()).await;
    let line =
        |first: &str, fields: &str| format!("{first}\r\n{fields}\r\nConnection: close\r\n\r\n");
    let to = |host: &str| get(host);
    let path = |path: &str| line(&format!("GET {path} HTTP/1.1"), "Host: mta-sts.example.org");
    let method = |method: &str| {
        line(
            &format!("{method} {PATH} HTTP/1.1"),
            "Host: mta-sts.example.org",
        )
    };
    let with = |fields: &str| {
        line(
            &format!("GET {PATH} HTTP/1.1"),
            &format!("Host: mta-sts.example.org\r\n{fields}"),
        )
    };
    let hosts = |fields: &str| line(&format!("GET {PATH} HTTP/1.1"), fields);
    let absolute = |url: &str| line(&format!("GET {url} HTTP/1.1"), "Host: mta-sts.example.com");
    for (case, request, expected) in [
        ("plain", to("mta-sts.example.org"), 200),
        ("capitals", to("MTA-STS.EXAMPLE.ORG"), 200),
        ("port", to("mta-sts.example.org:8080"), 200),
        ("final dot", to("mta-sts.example.org."), 200),
        ("unknown host", to("mta-sts.example.net"), 404),
        ("the domain itself", to("example.org"), 404),
        ("below the host", to("a.mta-sts.example.org"), 404),
        ("IP address", to("192.0.2.1"), 404),
        ("IPv6 address", to("[2001:db8::1]:80"), 404),
        (
            "known host without a good body",
            to("mta-sts.broken.example"),
            503,
        ),
        ("malformed host", to("mta-sts.example.org/x"), 400),
        ("host with a tab", to("mta-sts.example.org\tx"), 400),
        ("empty host", to(""), 400),
        ("no host", hosts("X: y"), 400),
        (
            "two hosts",
            hosts("Host: mta-sts.example.org\r\nHost: mta-sts.example.com"),
            400,
        ),
        (
            "one host twice",
            hosts("Host: mta-sts.example.org\r\nHost: mta-sts.example.org"),
            400,
        ),
        (
            "space before the colon",
            hosts("Host : mta-sts.example.org"),
            400,
        ),
        (
            "folded host",
            hosts("Host: mta-sts.example.com\r\n mta-sts.example.org"),
            400,
        ),
        (
            "X-Forwarded-Host says nothing",
            with("X-Forwarded-Host: mta-sts.example.com"),
            200,
        ),
        (
            "HTTP/1.0",
            line(&format!("GET {PATH} HTTP/1.0"), "Host: mta-sts.example.org"),
            200,
        ),
        (
            "HTTP/1.0 without host",
            line(&format!("GET {PATH} HTTP/1.0"), "X: y"),
            400,
        ),
        (
            "absolute form",
            absolute(&format!("http://mta-sts.example.org{PATH}")),
            200,
        ),
        (
            "absolute form, https",
            absolute(&format!("https://mta-sts.EXAMPLE.org:443{PATH}")),
            200,
        ),
        (
            "absolute form, user",
            absolute(&format!("http://a@mta-sts.example.org{PATH}")),
            400,
        ),
        (
            "absolute form, unknown",
            absolute(&format!("http://mta-sts.example.net{PATH}")),
            404,
        ),
        (
            "absolute form, no path",
            absolute("http://mta-sts.example.org"),
            404,
        ),
        ("root", path("/"), 404),
        ("final slash", path("/.well-known/mta-sts.txt/"), 404),
        ("double slash", path("//.well-known/mta-sts.txt"), 404),
        ("dot dot", path("/x/../.well-known/mta-sts.txt"), 404),
        ("escaped dot", path("/%2ewell-known/mta-sts.txt"), 404),
        ("escaped slash", path("/.well-known%2fmta-sts.txt"), 404),
        ("capital", path("/.well-known/MTA-STS.txt"), 404),
        ("query", path("/.well-known/mta-sts.txt?a=b"), 404),
        ("empty query", path("/.well-known/mta-sts.txt?"), 404),
        ("parameter", path("/.well-known/mta-sts.txt;a"), 404),
        ("range", with("Range: bytes=0-3"), 200),
        ("condition", with(&format!("If-None-Match: \"{ID}\"")), 200),
        ("empty content", with("Content-Length: 0"), 200),
        ("POST", method("POST"), 405),
        ("OPTIONS", method("OPTIONS"), 405),
        ("unknown method", method("BREW"), 405),
        ("method in lower case", method("get"), 405),
        (
            "CONNECT",
            line(
                "CONNECT mta-sts.example.org:443 HTTP/1.1",
                "Host: mta-sts.example.org",
            ),
            405,
        ),
        (
            "asterisk",
            line("OPTIONS * HTTP/1.1", "Host: mta-sts.example.org"),
            405,
        ),
        (
            "large head",
            with(&format!("X: {}", "y".repeat(17_000))),
            431,
        ),
        ("many fields", with(&"X: y\r\n".repeat(101)), 431),
        ("NUL", with("X: \0"), 400),
        ("no version", "GET /\r\n\r\n".to_owned(), 400),
        (
            "TLS",
            "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(),
            400,
        ),
    ] {
        let response = server.ask(&request).await;
        assert_eq!(statuses(&response), [expected], "{case}: {response}");
        let policy = body("example.org");
        assert_eq!(
            response.ends_with(&policy),
            expected == 200,
            "{case}: {response}"
        );
        assert_eq!(
            response.contains("allow: GET, HEAD"),
            expected == 405,
            "{case}: {response}"
        );
    }
}

#[tokio::test]
async fn other_protocols_are_closed_and_the_server_goes_on() {
    let server = Server::start(Limits::default()).await;
    let noise: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (case, bytes) in [
        (
            "HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        ),
        ("HTTP/0.9", b"GET /.well-known/mta-sts.txt\r\n".to_vec()),
        ("noise", noise),
    ] {
        let response = server.ask(bytes).await;
        assert!(!statuses(&response).contains(&200), "{case}: {response}");
    }
    assert_eq!(
        statuses(&server.ask(get("mta-sts.example.org")).await),
        [200]
    );
}

#[tokio::test]
async fn what_comes_after_a_doubtful_request_is_never_a_request() {
    let server = Server::start(Limits::default()).await;
    let hidden = get("mta-sts.example.com");
    let length = hidden.len();
    let fields = |fields: &str| {
        format!("GET {PATH} HTTP/1.1\r\nHost: mta-sts.example.org\r\n{fields}\r\n\r\n")
    };
    for (case, first) in [
        ("length", fields(&format!("Content-Length: {length}"))),
        (
            "length with a sign",
            fields(&format!("Content-Length: +{length}")),
        ),
        (
            "two lengths",
            fields(&format!("Content-Length: 0\r\nContent-Length: {length}")),
        ),
        (
            "list of lengths",
            fields(&format!("Content-Length: 0, {length}")),
        ),
        (
            "length and chunks",
            fields(&format!(
                "Content-Length: {length}\r\nTransfer-Encoding: chunked"
            )),
        ),
        ("chunks", fields("Transfer-Encoding: chunked")),
        ("unknown coding", fields("Transfer-Encoding: xchunked")),
        ("identity", fields("Transfer-Encoding: identity")),
        (
            "space before the colon",
            fields("Transfer-Encoding : chunked"),
        ),
        ("POST", fields("Content-Length: 0").replace("GET", "POST")),
        ("two hosts", fields("Host: mta-sts.example.com")),
    ] {
        let response = server.ask(first + &hidden).await;
        assert!(
            matches!(statuses(&response)[..], [400 | 405]),
            "{case}: {response}"
        );
        assert!(!response.contains("mail.example."), "{case}: {response}");
    }
}

#[tokio::test]
async fn requests_in_one_packet_are_answered_in_order() {
    let server = Server::start(Limits::default()).await;
    let open = |host| get(host).replace("Connection: close\r\n", "");
    let both = open("mta-sts.example.com") + &get("mta-sts.example.org");
    let response = server.ask(both).await;
    assert_eq!(statuses(&response), [200, 200]);
    let com = response.find("mail.example.com").unwrap();
    assert!(com < response.find("mail.example.org").unwrap());
}

#[tokio::test]
async fn a_slow_head_and_a_silent_connection_are_closed_in_time() {
    let limits = Limits {
        first_request: Duration::from_millis(400),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let mut silent = server.connect().await;
    assert_eq!(read_all(&mut silent).await, "");
    let mut slow = server.connect().await;
    let begun = Instant::now();
    // The next byte always comes soon, the end never.
    let dripping = async {
        while slow.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, dripping)
        .await
        .expect("the slow one is closed");
    assert!(begun.elapsed() >= limits.first_request);
    eventually("both are gone", SOON, async || {
        ensure(
            server.stats.open() == 0 && server.stats.broken() == 2,
            server.stats.broken(),
        )
    })
    .await;
}

#[tokio::test]
async fn a_connection_without_further_requests_is_closed_in_time() {
    let limits = Limits {
        first_request: Duration::from_millis(400),
        keep_alive: Duration::from_millis(400),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let mut stream = server.connect().await;
    let request = get("mta-sts.example.org").replace("Connection: close\r\n", "");
    for _ in 0..5 {
        // Each request starts the time anew.
        tokio::time::sleep(limits.keep_alive / 4).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_one(&mut stream, body("example.org").len()).await;
    }
    assert_eq!(read_all(&mut stream).await, "");
    eventually("it is no broken one", SOON, async || {
        ensure(
            server.stats.open() == 0 && server.stats.broken() == 0,
            server.stats.open(),
        )
    })
    .await;
}

#[tokio::test]
async fn silent_connections_without_number_keep_nobody_out() {
    let limits = Limits {
        connections: 100,
        pressed: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    // In use before the flood, and silent since: it gives way as well.
    let mut greedy = Vec::new();
    for _ in 0..500 {
        greedy.push(server.connect().await);
    }
    for _ in 0..20 {
        let response = timeout(SOON, server.ask(get("mta-sts.example.org"))).await;
        assert_eq!(statuses(&response.expect("others are served")), [200]);
        assert!(server.stats.open() <= 100);
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_nobody() {
    let server = Server::start(Limits::default()).await;
    let request = get("mta-sts.example.org").replace("Connection: close\r\n", "");
    let mut deaf = server.connect().await;
    let flood = async {
        loop {
            deaf.write_all(request.as_bytes()).await.unwrap();
        }
    };
    // It ends up waiting: the server reads no more once its answers are not taken.
    assert!(timeout(Duration::from_secs(1), flood).await.is_err());
    assert_eq!(
        statuses(&server.ask(get("mta-sts.example.org")).await),
        [200]
    );
}

#[tokio::test]
async fn a_drain_serves_on_and_then_closes_what_is_idle() {
    let server = Server::start(Limits::default()).await;
    let request = get("mta-sts.example.org").replace("Connection: close\r\n", "");
    let length = body("example.org").len();
    let mut busy = server.connect().await;
    let mut idle = server.connect().await;
    for stream in [&mut busy, &mut idle] {
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(!read_one(stream, length).await.contains("connection: close"));
    }

    server.phase.send_replace(Phase::LastCall);
    busy.write_all(request.as_bytes()).await.unwrap();
    assert!(
        read_one(&mut busy, length)
            .await
            .contains("connection: close")
    );
    let fresh = server.ask(request.clone()).await;
    assert_eq!(statuses(&fresh), [200], "new connections are still taken");

    server.phase.send_replace(Phase::Closing);
    assert_eq!(read_all(&mut idle).await, "");
    timeout(SOON, server.task)
        .await
        .expect("the listener ends")
        .unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_drain_waits_no_longer_than_it_may() {
    let limits = Limits {
        finish: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    eventually("it is taken", SOON, async || {
        ensure(server.stats.open() == 1, "not yet")
    })
    .await;
    server.phase.send_replace(Phase::Closing);
    timeout(SOON, server.task)
        .await
        .expect("the listener ends")
        .unwrap();
}
