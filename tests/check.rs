//! `mta-sts check` against broken domains: real BIND, a real nginx with certificates of every kind,
//! and MX hosts that do what they should not. One row a case: what is wrong, and which findings
//! have to come of it, no more and no less.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use support::bind::{Bind, Zone};
use support::front::{Answer, Certificate, Front, Site};
use support::keeper;
use support::ports::{free_port, loopback};
use support::tls::{TestCa, Validity};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What an MX host does on port 25.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mail {
    Good,
    Expired,
    WrongName,
    Untrusted,
    WithoutStartTls,
    /// It refuses the command that it offers.
    RefusesStartTls,
    /// It sends more in plain text behind its "go ahead" (CVE-2011-0411 and its kin).
    Injects,
    /// A banner without an end.
    Endless,
    /// A reply of more lines than anybody has.
    ManyLines,
    /// A byte now and then.
    Drips,
    /// Another protocol.
    Http,
    /// It takes the connection and says nothing.
    Mute,
    /// Nobody listens.
    Closed,
}

/// A domain of the lab: a good one, with what the case changes.
struct Case {
    name: &'static str,
    record: &'static str,
    host: &'static str,
    mx: &'static str,
    reports: &'static str,
    site: Option<Site>,
    mail: Mail,
    expect: &'static [&'static str],
}

fn policy(text: &str) -> Answer {
    Answer::Body {
        content_type: "text/plain",
        body: text.as_bytes().to_vec(),
    }
}

fn site(answer: Answer) -> Option<Site> {
    Some(Site {
        certificate: Certificate::Valid,
        answer,
    })
}

const ENFORCE: &str = "version: STSv1\r\nmode: enforce\r\nmx: *.mx.example\r\nmax_age: 1209600\r\n";
const TESTING: &str = "version: STSv1\r\nmode: testing\r\nmx: *.mx.example\r\nmax_age: 86400\r\n";

fn good(name: &'static str, expect: &'static [&'static str]) -> Case {
    Case {
        name,
        record: "_mta-sts TXT \"v=STSv1; id=20261126;\"",
        host: "mta-sts A 127.0.0.1",
        mx: "",
        reports: "_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:tls@reports.example\"",
        site: site(policy(ENFORCE)),
        mail: Mail::Good,
        expect,
    }
}

fn records() -> Vec<Case> {
    let record = |name, record, expect| Case {
        record,
        ..good(name, expect)
    };
    let reports = |name, reports, expect| Case {
        reports,
        ..good(name, expect)
    };
    vec![
        good("good", &[]),
        record("no-record", "", &["record-missing"]),
        record(
            "spf-only",
            "_mta-sts TXT \"v=spf1 -all\"",
            &["record-not-sts"],
        ),
        record(
            "two-records",
            "_mta-sts TXT \"v=STSv1; id=1;\"\n_mta-sts TXT \"v=STSv1; id=2;\"",
            &["record-multiple"],
        ),
        record("no-id", "_mta-sts TXT \"v=STSv1;\"", &["record-id-missing"]),
        record(
            "bad-id",
            "_mta-sts TXT \"v=STSv1; id=2026-11-26;\"",
            &["record-id-invalid"],
        ),
        record(
            "version",
            "_mta-sts TXT \"v=STS1; id=1;\"",
            &["record-version"],
        ),
        record(
            "beside-spf",
            "_mta-sts TXT \"v=STSv1; id=1;\"\n_mta-sts TXT \"v=spf1 -all\"",
            &["record-unrelated-txt"],
        ),
        record(
            "long-ttl",
            "_mta-sts 172800 TXT \"v=STSv1; id=1;\"",
            &["record-ttl-long"],
        ),
        record(
            "alias",
            "_mta-sts CNAME elsewhere\nelsewhere TXT \"v=STSv1; id=1;\"",
            &[],
        ),
        reports("no-reports", "", &["tlsrpt-missing"]),
        reports(
            "reports-http",
            "_smtp._tls TXT \"v=TLSRPTv1; rua=http://reports.example\"",
            &["tlsrpt-rua-invalid"],
        ),
        Case {
            record: "",
            host: "",
            site: None,
            reports: "",
            ..good("nothing", &["record-missing", "tlsrpt-missing"])
        },
    ]
}

fn hosts() -> Vec<Case> {
    let served = |name, answer, expect| Case {
        site: site(answer),
        ..good(name, expect)
    };
    let shown = |name, certificate, expect| Case {
        site: Some(Site {
            certificate,
            answer: policy(ENFORCE),
        }),
        ..good(name, expect)
    };
    vec![
        Case {
            host: "",
            ..good("no-host", &["host-unresolved"])
        },
        Case {
            host: "mta-sts A 10.1.2.3",
            ..good("private", &["host-private-address"])
        },
        served(
            "redirect",
            Answer::Redirect("https://www.example.org/".to_owned()),
            &["host-redirect"],
        ),
        served("not-found", Answer::Status(404), &["host-status"]),
        served("forbidden", Answer::Status(403), &["host-status"]),
        served("closes", Answer::Close, &["host-unreachable"]),
        served(
            "html",
            Answer::Body {
                content_type: "text/html",
                body: b"<html>Welcome</html>".to_vec(),
            },
            &["host-content-type", "policy-not-a-policy"],
        ),
        served(
            "no-media-type",
            Answer::Body {
                content_type: "application/octet-stream",
                body: ENFORCE.as_bytes().to_vec(),
            },
            &["host-content-type"],
        ),
        served(
            "enforced",
            policy(&ENFORCE.replace("mode: enforce", "mode: enforced")),
            &["policy-mode"],
        ),
        served(
            "blank-line",
            policy(&format!("{ENFORCE}\r\n")),
            &["policy-blank-line"],
        ),
        served(
            "short",
            policy(&ENFORCE.replace("1209600", "3600")),
            &["policy-max-age-short", "policy-reader-incompatible"],
        ),
        shown("expired", Certificate::Expired, &["host-tls-expired"]),
        shown("not-yet", Certificate::NotYetValid, &["host-tls-expired"]),
        shown(
            "wrong-name",
            Certificate::WrongName,
            &["host-tls-name-mismatch"],
        ),
        shown("untrusted", Certificate::Untrusted, &["host-tls-untrusted"]),
        shown("alone", Certificate::Alone, &["host-tls-incomplete-chain"]),
        Case {
            site: None,
            ..good("unknown-to-front", &["host-tls-handshake"])
        },
    ]
}

fn exchangers() -> Vec<Case> {
    let mail = |name, mail, expect| Case {
        mail,
        ..good(name, expect)
    };
    let mx = |name, mx, expect| Case {
        mx,
        ..good(name, expect)
    };
    let of = |name, body: &str, mx, expect| Case {
        site: site(policy(body)),
        mx,
        ..good(name, expect)
    };
    vec![
        mail("mail-expired", Mail::Expired, &["mx-tls-expired"]),
        mail(
            "mail-wrong-name",
            Mail::WrongName,
            &["mx-tls-name-mismatch"],
        ),
        mail(
            "mail-untrusted",
            Mail::Untrusted,
            &["mx-tls-incomplete-chain"],
        ),
        mail(
            "mail-plain",
            Mail::WithoutStartTls,
            &["mx-starttls-missing"],
        ),
        mail(
            "mail-refuses",
            Mail::RefusesStartTls,
            &["mx-starttls-missing"],
        ),
        mail("mail-injects", Mail::Injects, &["mx-starttls-missing"]),
        mail("mail-many-lines", Mail::ManyLines, &["mx-starttls-missing"]),
        mail("mail-endless", Mail::Endless, &["mx-unreachable"]),
        mail("mail-drips", Mail::Drips, &["mx-unreachable"]),
        mail("mail-http", Mail::Http, &["mx-unreachable"]),
        mail("mail-mute", Mail::Mute, &["mx-unreachable"]),
        mail("mail-closed", Mail::Closed, &["mx-unreachable"]),
        mx("null-mx", "@ MX 0 .", &["mx-null"]),
        mx("no-mx", "@ TXT \"x\"", &["mx-none"]),
        mx(
            "mx-without-address",
            "@ MX 10 nowhere.mx.example.",
            &["mx-unresolved"],
        ),
        mx(
            "label-short",
            "@ MX 10 deep.label-short.mx.example.",
            &[
                "mx-all-uncovered",
                "mx-pattern-unused",
                "mx-private-address",
                "mx-uncovered",
            ],
        ),
        of(
            "uncovered",
            "version: STSv1\r\nmode: enforce\r\nmx: old.example.net\r\nmax_age: 1209600\r\n",
            "",
            &["mx-all-uncovered", "mx-pattern-unused", "mx-uncovered"],
        ),
        of(
            "unused",
            &ENFORCE.replace("max_age", "mx: old.example.net\r\nmax_age"),
            "",
            &["mx-pattern-unused"],
        ),
    ]
}

/// All servers of the lab.
struct Lab {
    bind: Bind,
    front: Front,
    folder: TempDir,
    ca_file: PathBuf,
    detours: Vec<String>,
    zones: Vec<String>,
}

impl Case {
    fn domain(&self) -> String {
        format!("{}.test", self.name)
    }

    fn mx_host(&self) -> String {
        format!("{}.mx.example", self.name)
    }

    fn zone(&self) -> Zone {
        let mx = match self.mx {
            "" => format!("@ MX 10 {}.", self.mx_host()),
            mx => mx.to_owned(),
        };
        let lines = [self.record, self.host, &mx, self.reports].join("\n");
        Zone::new(&self.domain(), &lines)
    }
}

impl Lab {
    async fn start(cases: &[Case]) -> Self {
        let mut zones: Vec<Zone> = cases.iter().map(Case::zone).collect();
        let addresses = cases
            .iter()
            .map(|case| format!("{0} A 127.0.0.1\ndeep.{0} A 127.0.0.1\n", case.name));
        zones.push(Zone::new("mx.example", &addresses.collect::<String>()));
        let names = zones.iter().map(|zone| zone.name.clone()).collect();
        let bind = Bind::start(&zones, &[]);
        let front = Front::start().await;
        let sites = cases.iter().filter_map(|case| {
            let site = case.site.clone()?;
            Some((format!("mta-sts.{}", case.domain()), site))
        });
        front.set_all(sites).await;
        let (ca, other) = (TestCa::new("MX"), TestCa::new("nobody's"));
        let folder = keeper::folder("check");
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, front.ca_pem() + &ca.pem()).unwrap();
        let mut detours = Vec::new();
        for case in cases {
            if case.name != "private" {
                let (host, port) = (case.domain(), front.address().port());
                detours.push(format!("mta-sts.{host}:443:127.0.0.1:{port}"));
            }
            let address = mail_server(case, &ca, &other).await;
            detours.push(format!(
                "{}:25:127.0.0.1:{}",
                case.mx_host(),
                address.port()
            ));
        }
        Self {
            bind,
            front,
            folder,
            ca_file,
            detours,
            zones: names,
        }
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mta-sts"));
        command.arg("check").arg("--dns-verify=authoritative");
        for zone in &self.zones {
            command.arg(format!("--authoritative={zone}={}", self.bind.address()));
        }
        for detour in &self.detours {
            command.arg(format!("--connect-to={detour}"));
        }
        command.arg(format!("--ca-file={}", self.ca_file.display()));
        command.args(["--timeout=4"]).args(args);
        command.env_remove("NO_COLOR").stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().expect("it ends by itself");
        (code, text(output.stdout), text(output.stderr))
    }

    fn json(&self, args: &[&str]) -> (i32, Vec<Value>) {
        let (code, stdout, stderr) = self.run(&[args, &["--output=json"]].concat());
        let document: Value =
            serde_json::from_str(&stdout).unwrap_or_else(|why| panic!("{why}: {stdout}{stderr}"));
        assert_eq!(document["schema"], "mta-sts.check/1");
        (code, document["domains"].as_array().unwrap().clone())
    }
}

async fn mail_server(case: &Case, ca: &TestCa, other: &TestCa) -> SocketAddr {
    if case.mail == Mail::Closed {
        return loopback(free_port());
    }
    let host = case.mx_host();
    let (certificate, key) = match case.mail {
        Mail::Expired => ca.issue(&[&host], Validity::Expired),
        Mail::WrongName => ca.issue(&[&case.domain()], Validity::Now),
        Mail::Untrusted => other.issue(&[&host], Validity::Now),
        _ => ca.issue(&[&host], Validity::Now),
    };
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
    let chain: Vec<_> = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mail = case.mail;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            // Whoever asks goes away when he has seen enough.
            tokio::spawn(async move { talk(stream, mail, acceptor).await.ok() });
        }
    });
    address
}

async fn talk(stream: TcpStream, mail: Mail, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    match mail {
        Mail::Endless => loop {
            stream.write_all(&[b'2'; 4096]).await?;
        },
        Mail::Drips => loop {
            stream.write_all(b"2").await?;
            tokio::time::sleep(Duration::from_millis(300)).await;
        },
        Mail::Mute => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            return Ok(());
        }
        Mail::Http => return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
        _ => {
            stream
                .write_all(b"220-mail.example ESMTP\r\n220 ready\r\n")
                .await?
        }
    }
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let offer: &[u8] = match mail {
            Mail::WithoutStartTls => b"250-mail.example\r\n250 SIZE 1000\r\n",
            Mail::ManyLines => &b"250-X\r\n".repeat(1000),
            _ => b"250-mail.example\r\n250-STARTTLS\r\n250 SIZE 1000\r\n",
        };
        match line.trim_end() {
            ehlo if ehlo.starts_with("EHLO ") => stream.write_all(offer).await?,
            "STARTTLS" if mail == Mail::RefusesStartTls => {
                stream.write_all(b"454 TLS not available\r\n").await?;
            }
            "STARTTLS" if mail == Mail::Injects => {
                stream
                    .write_all(b"220 go ahead\r\n250 injected\r\n")
                    .await?;
            }
            "STARTTLS" => {
                stream.write_all(b"220 go ahead\r\n").await?;
                let _ = acceptor.accept(stream.into_inner()).await;
                return Ok(());
            }
            _ => stream.write_all(b"500 what\r\n").await?,
        }
    }
}

fn codes(domain: &Value) -> BTreeSet<&str> {
    let findings = domain["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|f| f["code"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_domain_gets_its_findings_and_no_others() {
    let cases: Vec<Case> = [records(), hosts(), exchangers()]
        .into_iter()
        .flatten()
        .collect();
    let lab = Lab::start(&cases).await;
    let list = lab.folder.path().join("domains");
    let text: String = cases.iter().map(|case| case.domain() + "\n").collect();
    std::fs::write(&list, format!("# the lab\n\n{text}")).unwrap();
    let begun = Instant::now();
    let (code, domains) = lab.json(&["--file", list.to_str().unwrap()]);
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "a dead one delays all"
    );
    assert_eq!(code, 1);
    assert_eq!(domains.len(), cases.len());
    let mut wrong = Vec::new();
    for (case, domain) in cases.iter().zip(&domains) {
        assert_eq!(
            domain["domain"],
            case.domain().as_str(),
            "the order is kept"
        );
        let expected: BTreeSet<&str> = case.expect.iter().copied().collect();
        if codes(domain) != expected {
            wrong.push(format!("{}: expected {expected:?}\n{domain:#}", case.name));
        }
        for finding in domain["findings"].as_array().unwrap() {
            let told = finding["message"].as_str().unwrap();
            assert!(told.len() > 10 && finding["subject"] != "", "{finding:#}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let short = cases.iter().position(|case| case.name == "label-short");
    let told = domains[short.unwrap()].to_string();
    assert!(
        told.contains("*.label-short.mx.example would match"),
        "{told}"
    );
    drop(lab.front);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_scripts_get_what_they_need() {
    let cases = vec![
        good("good", &[]),
        Case {
            mail: Mail::Closed,
            ..good("silent", &[])
        },
        Case {
            reports: "",
            site: site(policy(TESTING)),
            mail: Mail::Expired,
            ..good("warns", &[])
        },
        Case {
            record: "",
            ..good("broken", &[])
        },
    ];
    let lab = Lab::start(&cases).await;

    // One domain in detail; written as people write it.
    let (code, stdout, _) = lab.run(&["postmaster@GOOD.test."]);
    assert_eq!(code, 0, "{stdout}");
    for line in [
        "good.test",
        "  record   id 20261126",
        "  policy   enforce, kept for 14 days",
        "           mx: *.mx.example",
        "  mx       10 good.mx.example: named by the policy, TLS with a valid certificate",
        "nothing found",
    ] {
        assert!(
            stdout.lines().any(|found| found == line),
            "{line}\n{stdout}"
        );
    }
    // Several as a table; the worst decides.
    let (code, stdout, _) = lab.run(&["good.test", "broken.test", "warns.test"]);
    assert_eq!(code, 1);
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("DOMAIN"), "{stdout}");
    assert!(
        lines[1].starts_with("good.test") && lines[1].contains("ok"),
        "{stdout}"
    );
    assert!(
        lines[2].contains("error") && lines[2].contains("record-missing"),
        "{stdout}"
    );
    assert!(
        lines[3].contains("warning") && lines[3].contains("testing"),
        "{stdout}"
    );
    // In mode testing a bad MX is a warning, which fails only where that is asked for.
    assert_eq!(lab.run(&["warns.test"]).0, 0);
    assert_eq!(lab.run(&["warns.test", "--fail-on=warning"]).0, 1);
    // A port 25 that answers nowhere.
    for (smtp, code, found) in [("auto", 0, true), ("required", 3, true), ("off", 0, false)] {
        let (exit, domains) = lab.json(&["silent.test", &format!("--smtp={smtp}")]);
        assert_eq!(exit, code, "{smtp}");
        assert_eq!(
            codes(&domains[0]).contains("mx-unreachable"),
            found,
            "{smtp}"
        );
    }
    // The shape that scripts rely on.
    let (_, domains) = lab.json(&["good.test"]);
    assert_eq!(domains[0]["verdict"], "ok");
    assert_eq!(
        domains[0]["policy"],
        json!({"mode": "enforce", "maxAgeSeconds": 1_209_600, "mx": ["*.mx.example"]})
    );
    assert_eq!(
        domains[0]["record"],
        json!({"id": "20261126", "ttlSeconds": 300})
    );
    assert_eq!(domains[0]["host"]["addresses"][0]["status"], 200);
    assert_eq!(domains[0]["mx"][0]["starttls"], true);
    // A zone that nobody answers for: nothing is known, and nothing is called missing.
    let nobody = loopback(free_port());
    let (code, domains) = lab.json(&[
        "unknown.test",
        &format!("--authoritative=unknown.test={nobody}"),
    ]);
    assert_eq!(code, 3, "{domains:#?}");
    assert_eq!(domains[0]["verdict"], "unknown");
    // Bad input.
    for (args, says) in [
        (&["no such domain"][..], "is no mail domain"),
        (&["--file", "no-such-list"][..], "no-such-list"),
        (&["good.test", "--resolver", "x y"][..], "--resolver"),
        (&["good.test", "--allow-target", "x"][..], "--allow-target"),
    ] {
        let (code, stdout, stderr) = lab.run(args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
}
