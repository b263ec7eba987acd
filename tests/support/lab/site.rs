//! Policy hosts that no single nginx can be: slow ones, and several behind one address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::case::{Case, Special};
use super::mail::config;
use super::old_tls::OldTls;
use crate::support::front::Front;
use crate::support::tls::Validity;

/// Longer than postfix-mta-sts-resolver waits.
const SLOW: Duration = Duration::from_millis(4300);

/// One of the servers behind an address.
#[derive(Clone)]
struct Server {
    acceptor: TlsAcceptor,
    body: String,
    delay: Duration,
}

/// The servers of a case that needs its own; connections go to each in turn. What runs beside this
/// program is added to `running`.
pub(super) async fn own(
    case: &Case,
    front: &Front,
    running: &mut Vec<OldTls>,
) -> Option<SocketAddr> {
    let host = case.policy_host();
    if case.answer == Some(Special::OldTls) {
        let server = OldTls::start(&front.issue(&[&host], Validity::Now)).await;
        let address = server.address();
        running.push(server);
        return Some(address);
    }
    let server = |validity| {
        let (certificate, key) = front.issue(&[&host], validity);
        Server {
            acceptor: TlsAcceptor::from(Arc::new(config(&certificate, &key))),
            body: case.policy.clone(),
            delay: Duration::ZERO,
        }
    };
    let good = server(Validity::Now);
    let servers = match case.answer.as_ref()? {
        Special::Slow => vec![Server {
            delay: SLOW,
            ..good
        }],
        Special::Certificates => vec![good, server(Validity::Expired)],
        Special::Bodies => {
            let body = case.policy.replace("mx:", "mx: old.mx.example\r\nmx:");
            vec![good.clone(), Server { body, ..good }]
        }
        _ => return None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for server in servers.iter().cycle() {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let server = server.clone();
            // Whoever asks goes away when he has seen enough.
            tokio::spawn(async move { answer(stream, server).await.ok() });
        }
    });
    Some(address)
}

async fn answer(stream: TcpStream, server: Server) -> std::io::Result<()> {
    let mut stream = server.acceptor.accept(stream).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    tokio::time::sleep(server.delay).await;
    let (body, length) = (&server.body, server.body.len());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).await?;
    stream.shutdown().await
}
