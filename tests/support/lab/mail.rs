//! MX hosts that do what they should not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::case::{Case, Mail};
use super::old_tls::OldTls;
use crate::support::ports::{free_port, loopback};
use crate::support::tls::{TestCa, Validity};

/// A running MX.
pub(super) struct MailServer {
    pub(super) address: SocketAddr,
    /// Its certificate.
    pub(super) certificate: Vec<u8>,
}

/// Starts the MX of a case. What runs beside this program is added to `running`.
pub(super) async fn server(
    case: &Case,
    ca: &TestCa,
    other: &TestCa,
    running: &mut Vec<OldTls>,
) -> MailServer {
    let host = case.mx_host();
    let (certificate, key) = match case.mail {
        Mail::Expired => ca.issue(&[&host], Validity::Expired),
        Mail::WrongName => ca.issue(&[&case.domain()], Validity::Now),
        Mail::Ending => ca.issue(&[&host], Validity::Ending),
        Mail::Untrusted => other.issue(&[&host], Validity::Now),
        Mail::Stranger => {
            let (certificate, key) = other.issue(&[&host], Validity::Now);
            (certificate + &other.pem(), key)
        }
        _ => ca.issue(&[&host], Validity::Now),
    };
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    if case.mail == Mail::Closed {
        return MailServer {
            address: loopback(free_port()),
            certificate: der.to_vec(),
        };
    }
    let mut config = config(&certificate, &key);
    let mut old = None;
    if case.mail == Mail::OldTls {
        let server = OldTls::start(&(certificate.clone(), key.clone())).await;
        old = Some(server.address());
        running.push(server);
    }
    if case.mail == Mail::NeedsSni {
        let default = other.issue(&["default.example"], Validity::Now);
        config.cert_resolver = Arc::new(BySni {
            host,
            named: certified(&certificate, &key),
            default: certified(&default.0, &default.1),
        });
    }
    let tls = match old {
        Some(address) => Tls::At(address),
        None => Tls::Here(TlsAcceptor::from(Arc::new(config))),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, case.mail, tls);
    MailServer {
        address,
        certificate: der.to_vec(),
    }
}

/// Starts the one server for all MX hosts that share it.
pub(super) async fn shared(ca: &TestCa) {
    let (certificate, key) = ca.issue(&["*.mx.example"], Validity::Now);
    let tls = TlsAcceptor::from(Arc::new(config(&certificate, &key)));
    let listener = TcpListener::bind(loopback(25)).await.unwrap();
    serve(listener, Mail::Shared, Tls::Here(tls));
}

fn serve(listener: TcpListener, mail: Mail, tls: Tls) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            // Whoever asks goes away when he has seen enough.
            tokio::spawn(async move { talk(stream, mail, tls).await.ok() });
        }
    });
}

/// A server that shows this certificate.
pub(super) fn config(certificate: &str, key: &str) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain(certificate), private(key))
        .unwrap()
}

fn chain(certificate: &str) -> Vec<CertificateDer<'static>> {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
    chain.collect::<Result<_, _>>().unwrap()
}

fn private(key: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()
}

fn certified(certificate: &str, key: &str) -> Arc<CertifiedKey> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Arc::new(CertifiedKey::from_der(chain(certificate), private(key), &provider).unwrap())
}

/// One certificate for those who name the host, another one for the others.
#[derive(Debug)]
struct BySni {
    host: String,
    named: Arc<CertifiedKey>,
    default: Arc<CertifiedKey>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name() == Some(self.host.as_str());
        Some(Arc::clone(if named { &self.named } else { &self.default }))
    }
}

/// Who speaks TLS once it begins.
#[derive(Clone)]
enum Tls {
    Here(TlsAcceptor),
    /// Another server, to which the bytes are passed on.
    At(SocketAddr),
}

async fn talk(stream: TcpStream, mail: Mail, tls: Tls) -> std::io::Result<()> {
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
        match line.trim_end().to_ascii_uppercase().as_str() {
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
                let mut stream = stream.into_inner();
                match tls {
                    Tls::Here(acceptor) => {
                        if let Ok(session) = acceptor.accept(stream).await {
                            secured(BufReader::new(session)).await?;
                        }
                    }
                    Tls::At(address) => {
                        let mut server = TcpStream::connect(address).await?;
                        tokio::io::copy_bidirectional(&mut stream, &mut server).await?;
                    }
                }
                return Ok(());
            }
            _ => stream.write_all(b"500 what\r\n").await?,
        }
    }
}

/// What is said once TLS is there: some say EHLO again before they go.
async fn secured(mut session: BufReader<TlsStream<TcpStream>>) -> std::io::Result<()> {
    let mut line = String::new();
    while session.read_line(&mut line).await? > 0 {
        let answer: &[u8] = match line.trim_end().to_ascii_uppercase().as_str() {
            "QUIT" => return session.write_all(b"221 bye\r\n").await,
            _ => b"250 mail.example\r\n",
        };
        session.write_all(answer).await?;
        line.clear();
    }
    Ok(())
}
