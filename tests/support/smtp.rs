//! A mail exchanger as far as a sender's handshake goes, whose TLS a test can break and mend while it
//! runs. (Real Postfix, which cannot be changed so fast, is in [`postfix`](super::postfix).)

use super::front::Front;
use super::tls::Validity;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What a mail exchanger shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mail {
    /// STARTTLS with a certificate of the front's CA for its name.
    Good,
    /// The same, for another name.
    OtherName,
    /// No STARTTLS.
    Plain,
}

/// A mail exchanger on a loopback port.
pub struct MailServer {
    address: SocketAddr,
    host: String,
    shown: Arc<Mutex<Mail>>,
    task: JoinHandle<()>,
}

impl MailServer {
    /// Starts the MX `host`, which shows `mail`.
    pub async fn start(front: &Front, host: &str, mail: Mail) -> Self {
        let good = acceptor(front, host);
        let other = acceptor(front, "other.example");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shown = Arc::new(Mutex::new(mail));
        let now = shown.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mail = *now.lock().unwrap();
                let acceptor = match mail {
                    Mail::OtherName => other.clone(),
                    Mail::Good | Mail::Plain => good.clone(),
                };
                // Whoever asks goes away when he has seen enough.
                tokio::spawn(async move { talk(stream, mail, acceptor).await.ok() });
            }
        });
        Self {
            address,
            host: host.to_owned(),
            shown,
            task,
        }
    }

    /// From the next connection on it shows this.
    pub fn show(&self, mail: Mail) {
        *self.shown.lock().unwrap() = mail;
    }

    /// The detour by which it is reached as port 25 of its host.
    pub fn connect_to(&self) -> String {
        let Self { address, host, .. } = self;
        format!("{host}:25:{}:{}", address.ip(), address.port())
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(front: &Front, host: &str) -> TlsAcceptor {
    let (certificate, key) = front.issue(&[host], Validity::Now);
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
    TlsAcceptor::from(Arc::new(config))
}

async fn talk(stream: TcpStream, mail: Mail, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mail.example ESMTP\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            ehlo if ehlo.starts_with("EHLO ") && mail == Mail::Plain => {
                stream.write_all(b"250 mail.example\r\n").await?;
            }
            ehlo if ehlo.starts_with("EHLO ") => {
                let offer = b"250-mail.example\r\n250 STARTTLS\r\n";
                stream.write_all(offer).await?;
            }
            "STARTTLS" if mail != Mail::Plain => {
                stream.write_all(b"220 go ahead\r\n").await?;
                let _ = acceptor.accept(stream.into_inner()).await;
                return Ok(());
            }
            _ => stream.write_all(b"500 what\r\n").await?,
        }
    }
}
