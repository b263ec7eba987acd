//! Probing policy hosts: every certificate defect and every hostile HTTP behaviour ends in a
//! typed result, in time. The servers are real TLS servers on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mta_sts_operator::probe::endpoint::fetch_endpoint;
use mta_sts_operator::probe::policy_host::{
    PolicyHostAnswer, PolicyHostRequest, PolicyResponse, fetch_policy,
};
use mta_sts_operator::probe::tls::{
    HandshakeFailure, TlsProblem, TrustStore, TrustStoreError, install_crypto_provider,
};
use mta_sts_operator::probe::{BodyError, FetchError};
use mta_sts_operator::protocol::HostName;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const HOST: &str = "mta-sts.example.org";
const POLICY: &str =
    "version: STSv1\r\nmode: testing\r\nmx: mail.example.org\r\nmax_age: 86400\r\n";

/// All certificates are looked at in the middle of 2026.
fn now() -> Timestamp {
    "2026-06-15T12:00:00Z".parse().unwrap()
}

// --- certificates ---

/// A chain as the server sends it, and the key of its first certificate.
type Identity = (Vec<CertificateDer<'static>>, KeyPair);

type Ca = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

fn ca_params(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = params(name, years);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn root(name: &str) -> Ca {
    CertifiedIssuer::self_signed(ca_params(name, (2020, 2040)), KeyPair::generate().unwrap())
        .unwrap()
}

fn intermediate(root: &Ca, years: (i32, i32)) -> Ca {
    let key = KeyPair::generate().unwrap();
    CertifiedIssuer::signed_by(ca_params("Example Intermediate", years), key, root).unwrap()
}

struct Leaf {
    names: Vec<String>,
    years: (i32, i32),
    usage: ExtendedKeyUsagePurpose,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            names: vec![HOST.to_owned()],
            years: (2026, 2027),
            usage: ExtendedKeyUsagePurpose::ServerAuth,
        }
    }
}

impl Leaf {
    fn params(self) -> CertificateParams {
        let mut params = CertificateParams::new(self.names).unwrap();
        // The CN is the host in every case: it must never count.
        params.distinguished_name.push(DnType::CommonName, HOST);
        params.not_before = date_time_ymd(self.years.0, 1, 1);
        params.not_after = date_time_ymd(self.years.1, 1, 1);
        params.extended_key_usages = vec![self.usage];
        params
    }

    fn signed_by(self, issuer: &Issuer<'_, KeyPair>) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (
            self.params().signed_by(&key, issuer).unwrap().der().clone(),
            key,
        )
    }

    fn self_signed(self) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (self.params().self_signed(&key).unwrap().der().clone(), key)
    }
}

fn trust(root: &Ca) -> TrustStore {
    TrustStore::from_certificates([root.der().clone()]).unwrap()
}

// --- servers ---

/// Listens on loopback and gives each connection to `behave`.
async fn listen<F, Fut>(behave: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    address
}

/// The same with TLS, after the request's head has been read.
async fn listen_tls<F, Fut>(
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
    behave: F,
) -> SocketAddr
where
    F: Fn(TlsStream<TcpStream>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    install_crypto_provider();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    listen(move |stream| {
        let (acceptor, behave) = (acceptor.clone(), behave.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else {
                    return;
                };
                head.push(byte);
            }
            behave(stream).await;
        }
    })
    .await
}

async fn say(mut stream: TlsStream<TcpStream>, text: impl AsRef<[u8]>) {
    let _ = stream.write_all(text.as_ref()).await;
    let _ = stream.shutdown().await;
}

fn ok() -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{POLICY}",
        POLICY.len()
    )
}

async fn probe(address: SocketAddr, trust: &TrustStore, time: Duration) -> PolicyHostAnswer {
    let request = PolicyHostRequest {
        host: HostName::parse(HOST).unwrap(),
        address,
        user_agent: "test".to_owned(),
        now: now(),
        time,
    };
    let answer = fetch_policy(request, trust).await;
    assert!(
        answer.elapsed < time + Duration::from_secs(1),
        "took {:?}",
        answer.elapsed
    );
    answer
}

const LONG: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_millis(800);

// --- certificates, case by case ---

/// What a problem is, without its details.
fn kind(problem: &TlsProblem) -> &'static str {
    match problem {
        TlsProblem::Expired => "expired",
        TlsProblem::NotYetValid => "not yet valid",
        TlsProblem::NameMismatch { .. } => "name",
        TlsProblem::SelfSigned => "self-signed",
        TlsProblem::IncompleteChain { .. } => "incomplete",
        TlsProblem::Untrusted(_) => "untrusted",
        TlsProblem::VersionTooOld => "version",
        TlsProblem::Handshake(_) => "handshake",
    }
}

#[tokio::test]
async fn all_that_is_wrong_with_a_certificate_is_told_and_the_policy_is_fetched_all_the_same() {
    let root_ca = root("Example Root");
    let stranger = root("Unknown Root");
    let middle = intermediate(&root_ca, (2020, 2040));
    let old_middle = intermediate(&root_ca, (2020, 2025));
    let strange_middle = intermediate(&stranger, (2020, 2040));
    let leaf = Leaf::default;
    let named = |names: &[&str]| Leaf {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..leaf()
    };
    let dated = |years| Leaf { years, ..leaf() };
    let client_only = Leaf {
        usage: ExtendedKeyUsagePurpose::ClientAuth,
        ..leaf()
    };
    let all_wrong = Leaf {
        years: (2020, 2021),
        ..named(&["www.example.org"])
    };
    let strange_and_expired = dated((2020, 2021));
    let with = |(der, key): (CertificateDer<'static>, KeyPair), above: &[&Ca]| {
        let above = above.iter().map(|ca| ca.der().clone());
        (std::iter::once(der).chain(above).collect::<Vec<_>>(), key)
    };
    let cases: Vec<(&str, Identity, &[&str])> = vec![
        ("good", with(leaf().signed_by(&root_ca), &[]), &[]),
        (
            "good, with intermediate",
            with(leaf().signed_by(&middle), &[&middle]),
            &[],
        ),
        (
            "good, wildcard",
            with(named(&["*.example.org"]).signed_by(&root_ca), &[]),
            &[],
        ),
        (
            "expired",
            with(dated((2025, 2026)).signed_by(&root_ca), &[]),
            &["expired"],
        ),
        (
            "not yet valid",
            with(dated((2027, 2028)).signed_by(&root_ca), &[]),
            &["not yet valid"],
        ),
        (
            "other name, right CN",
            with(named(&["example.org"]).signed_by(&root_ca), &[]),
            &["name"],
        ),
        (
            "no name, right CN",
            with(named(&[]).signed_by(&root_ca), &[]),
            &["name"],
        ),
        (
            "wildcard a label short",
            with(named(&["*.org"]).signed_by(&root_ca), &[]),
            &["name"],
        ),
        (
            "self-signed",
            with(leaf().self_signed(), &[]),
            &["self-signed"],
        ),
        (
            "unknown root",
            with(leaf().signed_by(&stranger), &[&stranger]),
            &["untrusted"],
        ),
        (
            "unknown root, not sent",
            with(leaf().signed_by(&strange_middle), &[&strange_middle]),
            &["untrusted"],
        ),
        (
            "intermediate missing",
            with(leaf().signed_by(&middle), &[]),
            &["incomplete"],
        ),
        (
            "wrong intermediate sent",
            with(leaf().signed_by(&middle), &[&stranger]),
            &["incomplete"],
        ),
        (
            "intermediate expired",
            with(leaf().signed_by(&old_middle), &[&old_middle]),
            &["expired"],
        ),
        (
            "for clients only",
            with(client_only.signed_by(&root_ca), &[]),
            &["untrusted"],
        ),
        (
            "expired hides untrusted",
            with(strange_and_expired.signed_by(&stranger), &[&stranger]),
            &["expired", "untrusted"],
        ),
        (
            "all at once",
            with(all_wrong.self_signed(), &[]),
            &["expired", "self-signed", "name"],
        ),
    ];
    let trust = trust(&root_ca);
    for (case, (chain, key), expected) in cases {
        let address = listen_tls(chain, &key, |stream| say(stream, ok())).await;
        let answer = probe(address, &trust, LONG).await;
        let verdict = answer.tls.unwrap();
        let problems: Vec<_> = verdict.problems.iter().map(kind).collect();
        assert_eq!(problems, expected, "{case}: {:?}", verdict.problems);
        assert!(verdict.certificate.is_some(), "{case}");
        assert_eq!(
            answer.http.unwrap().body.unwrap(),
            POLICY.as_bytes(),
            "{case}"
        );
    }
}

#[tokio::test]
async fn a_certificate_with_thousands_of_names_is_cut_for_the_report() {
    let root_ca = root("Example Root");
    let names = (0..1500).map(|n| format!("{n}.example.net")).collect();
    let (der, key) = Leaf {
        names,
        ..Leaf::default()
    }
    .signed_by(&root_ca);
    let address = listen_tls(vec![der], &key, |stream| say(stream, ok())).await;
    let verdict = probe(address, &trust(&root_ca), LONG).await.tls.unwrap();
    let certificate = verdict.certificate.unwrap();
    assert_eq!(
        (certificate.names.len(), certificate.names_total),
        (16, 1500)
    );
    assert_eq!(certificate.issuer, "CN=Example Root");
    assert_eq!(
        certificate.not_after,
        "2027-01-01T00:00:00Z".parse().unwrap()
    );
    assert_eq!(
        verdict.problems,
        [TlsProblem::NameMismatch {
            names: certificate.names
        }]
    );
}

#[tokio::test]
async fn handshakes_that_cannot_be_are_told_apart() {
    let trust = trust(&root("Example Root"));
    let alert = |description: u8| {
        listen(move |mut stream: TcpStream| async move {
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(&[21, 3, 1, 0, 2, 2, description]).await;
        })
    };
    let tls_1_1 = listen(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 2048]).await;
        let mut hello = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
        hello.extend([7; 32]);
        hello.extend([0, 0xC0, 0x13, 0]);
        let _ = stream.write_all(&hello).await;
        let _ = stream.read(&mut [0; 2048]).await;
    });
    let plain = listen(|mut stream: TcpStream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let closes = listen(|stream: TcpStream| async move { drop(stream) });
    let silent = listen(|stream: TcpStream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    for (case, address, expected) in [
        ("alert protocol_version", alert(70).await, "version"),
        ("TLS 1.1", tls_1_1.await, "version"),
        ("alert handshake_failure", alert(40).await, "handshake"),
        ("plain HTTP", plain.await, "handshake"),
        ("closes at once", closes.await, "handshake"),
        ("silent", silent.await, "handshake"),
    ] {
        let answer = probe(address, &trust, SHORT).await;
        let problems = answer.tls.unwrap().problems;
        assert_eq!(
            problems.iter().map(kind).collect::<Vec<_>>(),
            [expected],
            "{case}: {problems:?}"
        );
        assert_eq!(answer.http.unwrap_err(), FetchError::Tls, "{case}");
        let timed_out = problems == [TlsProblem::Handshake(HandshakeFailure::Timeout)];
        assert_eq!(timed_out, case == "silent", "{case}: {problems:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_no_connection_and_no_verdict() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let answer = probe(address, &trust(&root("Example Root")), SHORT).await;
    assert_eq!(
        answer.http.unwrap_err(),
        FetchError::Connect(std::io::ErrorKind::ConnectionRefused)
    );
    assert_eq!(answer.tls, None);
}

// --- HTTP, case by case ---

/// Probes a server with a good certificate that answers with `behave`.
async fn respond<F, Fut>(time: Duration, behave: F) -> Result<PolicyResponse, FetchError>
where
    F: Fn(TlsStream<TcpStream>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let root_ca = root("Example Root");
    let (der, key) = Leaf::default().signed_by(&root_ca);
    let address = listen_tls(vec![der], &key, behave).await;
    let answer = probe(address, &trust(&root_ca), time).await;
    assert_eq!(answer.tls.unwrap().problems, []);
    answer.http
}

#[tokio::test]
async fn a_response_is_reported_as_it_came() {
    let head = "HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nAge: 17\r\nCF-Cache-Status: HIT\r\n\
        Cache-Control: max-age=300\r\nETag: \"abc\"\r\nContent-Type: text/html; charset=utf-8\r\n\
        Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x01\x02\x03";
    let response = respond(LONG, move |stream| say(stream, head))
        .await
        .unwrap();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        response,
        PolicyResponse {
            status: 302,
            location: some("http://10.0.0.1/"),
            content_type: some("text/html; charset=utf-8"),
            age: Some(17),
            cache_control: some("max-age=300"),
            cache_hit: some("cf-cache-status: HIT"),
            etag: some("\"abc\""),
            content_encoding: some("gzip"),
            body: Ok(vec![0x1f, 1, 2, 3]),
        }
    );
}

#[tokio::test]
async fn hostile_answers_end_in_a_typed_result() {
    let body = |size: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
            "a".repeat(size)
        )
    };
    let announced = |size: usize, sent: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{sent}")
    };
    let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
    let large_field = |size: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(size));
    let chunked =
        |rest: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
    let controls = "HTTP/1.1 200 OK\r\nETag: \"\x1b[31m\"\r\nContent-Length: 0\r\n\r\n";
    for (case, answer, expected) in [
        ("64 KiB", body(64 * 1024), Ok(Ok(64 * 1024))),
        (
            "a byte more",
            body(64 * 1024 + 1),
            Ok(Err(BodyError::TooLarge)),
        ),
        ("empty", announced(0, ""), Ok(Ok(0))),
        ("chunked", chunked("3\r\nabc\r\n0\r\n\r\n"), Ok(Ok(3))),
        (
            "cut short",
            announced(100, "short"),
            Ok(Err(BodyError::Broken)),
        ),
        ("bad chunk", chunked("zz\r\n"), Ok(Err(BodyError::Broken))),
        (
            "cut chunks",
            chunked("3\r\nabc\r\n"),
            Ok(Err(BodyError::Broken)),
        ),
        ("1000 fields", fields(1000), Err(FetchError::HeadTooLarge)),
        (
            "10 MB field",
            large_field(10_000_000),
            Err(FetchError::HeadTooLarge),
        ),
        (
            "terminal escape in a field",
            controls.to_owned(),
            Err(FetchError::NotHttp),
        ),
        (
            "HTML without HTTP",
            "<html>".repeat(10),
            Err(FetchError::NotHttp),
        ),
        (
            "bad status",
            "HTTP/1.1 2x0 OK\r\n\r\n".to_owned(),
            Err(FetchError::NotHttp),
        ),
        ("closes", String::new(), Err(FetchError::Broken)),
        (
            "closes in the head",
            "HTTP/1.1 200 OK\r\n".to_owned(),
            Err(FetchError::Broken),
        ),
    ] {
        let response = respond(LONG, move |stream| say(stream, answer.clone())).await;
        let sizes = response.map(|response| response.body.map(|body| body.len()));
        assert_eq!(sizes, expected, "{case}");
    }
}

/// Writes `start`, then `again` for ever, with a pause between.
async fn endless(mut stream: TlsStream<TcpStream>, start: &str, again: &str, pause: Duration) {
    if stream.write_all(start.as_bytes()).await.is_err() {
        return;
    }
    while stream.write_all(again.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test]
async fn answers_without_end_are_left_in_time() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\n\r\n";
    let (none, tick) = (Duration::ZERO, Duration::from_millis(50));
    let flood = "a".repeat(4096);
    let fields = "A: b\r\n".repeat(100);
    for (case, start, again, pause, expected) in [
        (
            "endless body",
            HEAD,
            flood.as_str(),
            none,
            Ok(Err(BodyError::TooLarge)),
        ),
        (
            "dripping body",
            HEAD,
            "a",
            tick,
            Ok(Err(BodyError::Timeout)),
        ),
        (
            "endless head",
            "HTTP/1.1 200 OK\r\n",
            &fields,
            none,
            Err(FetchError::HeadTooLarge),
        ),
        (
            "dripping head",
            "HTTP/1.1 200 OK\r\nA: ",
            "b",
            tick,
            Err(FetchError::Timeout),
        ),
        (
            "endless line",
            "HTTP/1.1 200 ",
            &flood,
            none,
            Err(FetchError::HeadTooLarge),
        ),
        (
            "endless 100",
            "",
            "HTTP/1.1 100 Continue\r\n\r\n",
            none,
            Err(FetchError::Timeout),
        ),
        ("nothing", "", "", tick, Err(FetchError::Timeout)),
    ] {
        let (start, again) = (start.to_owned(), again.to_owned());
        let response = respond(SHORT, move |stream| {
            let (start, again) = (start.clone(), again.clone());
            async move { endless(stream, &start, &again, pause).await }
        })
        .await;
        assert_eq!(
            response.map(|response| response.body.map(|_| ())),
            expected,
            "{case}"
        );
    }
}

// --- the trust store, and the endpoint probe ---

#[test]
fn a_trust_store_is_never_silently_without_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let good = write("good.pem", &root("Example Root").pem());
    let broken = write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
    );
    let marks = write("marks.pem", &"-----BEGIN".repeat(100_000));
    let large = write("large.pem", &"\n".repeat(5 * 1024 * 1024));
    assert!(TrustStore::load(Some(&good)).is_ok());
    for (case, path) in [("broken", &broken), ("no end of BEGIN", &marks)] {
        let error = TrustStore::load(Some(path)).unwrap_err();
        assert!(
            matches!(error, TrustStoreError::NoCertificate { .. }),
            "{case}: {error}"
        );
    }
    assert!(matches!(
        TrustStore::load(Some(&large)),
        Err(TrustStoreError::TooLarge { .. })
    ));
    let absent = folder.path().join("absent.pem");
    assert!(matches!(
        TrustStore::load(Some(&absent)),
        Err(TrustStoreError::Read { .. })
    ));
}

#[tokio::test]
async fn an_endpoint_tells_status_etag_and_bytes() {
    let address = listen(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 2048]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 3\r\n\r\nabc")
            .await;
    })
    .await;
    let host = HostName::parse(HOST).unwrap();
    let answer = fetch_endpoint(address, &host).await.unwrap();
    assert_eq!(
        (answer.status, answer.etag.as_deref(), answer.body),
        (200, Some("\"1\""), b"abc".to_vec())
    );
}
