//! A UDP and TCP proxy before a DNS server: it counts dynamic updates, and can interfere.

use super::interfere::{Interference, Link, When};
use super::ports::free_port;
use hickory_proto::op::Message;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// RFC 2136 §1.2: the opcode of a dynamic update.
const OPCODE_UPDATE: u8 = 5;
const UPSTREAM_DEADLINE: Duration = Duration::from_secs(5);

/// Forwards each message byte for byte (TSIG covers them) and each answer to where its question came
/// from. One answer a question: zone transfers do not pass.
pub struct DnsProxy {
    /// The updates, and what is to happen to them.
    pub writes: Arc<Interference>,
    /// Takes the server away from the clients of this proxy, and gives it back.
    pub link: Arc<Link>,
    asked: Arc<AtomicUsize>,
    tasks: [JoinHandle<()>; 2],
}

struct Upstream {
    address: SocketAddr,
    writes: Arc<Interference>,
    link: Arc<Link>,
    asked: Arc<AtomicUsize>,
}

impl DnsProxy {
    /// Starts a proxy for the server at `address`; it stops when it is dropped.
    pub async fn start(address: SocketAddr) -> Self {
        Self::counting(address, Arc::default()).await
    }

    /// The same with numbers that it may share with other proxies.
    pub async fn counting(address: SocketAddr, writes: Arc<Interference>) -> Self {
        let asked = Arc::<AtomicUsize>::default();
        let link = Link::new(free_port());
        let upstream = Arc::new(Upstream {
            address,
            writes: writes.clone(),
            link: link.clone(),
            asked: asked.clone(),
        });
        let tasks = [
            tokio::spawn(accept_tcp(upstream.clone())),
            tokio::spawn(serve_udp(upstream)),
        ];
        link.mend().await;
        Self {
            writes,
            link,
            asked,
            tasks,
        }
    }

    /// How many messages came so far, of any kind.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Where it listens, by UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.link.address()
    }
}

impl Drop for DnsProxy {
    fn drop(&mut self) {
        self.link.set(false);
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve_udp(upstream: Arc<Upstream>) {
    let link = upstream.link.clone();
    loop {
        link.until(true).await;
        let socket = Arc::new(
            UdpSocket::bind(link.address())
                .await
                .expect("the port is free"),
        );
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            tokio::select! {
                () = link.until(false) => break,
                received = socket.recv_from(&mut buffer) => {
                    let Ok((length, client)) = received else { continue };
                    let question = buffer[..length].to_vec();
                    let (socket, upstream) = (socket.clone(), upstream.clone());
                    tokio::spawn(async move {
                        if let Ok(answer) = forward(question, Transport::Udp, &upstream).await {
                            let _ = socket.send_to(&answer, client).await;
                        }
                    });
                }
            }
        }
    }
}

async fn accept_tcp(upstream: Arc<Upstream>) {
    let link = upstream.link.clone();
    loop {
        link.until(true).await;
        let listener = TcpListener::bind(link.address())
            .await
            .expect("the port is free");
        loop {
            tokio::select! {
                () = link.until(false) => break,
                accepted = listener.accept() => {
                    let Ok((client, _)) = accepted else { continue };
                    let upstream = upstream.clone();
                    tokio::spawn(async move {
                        tokio::select! {
                            () = upstream.link.until(false) => {}
                            _ended = serve_tcp(client, &upstream) => {}
                        }
                    });
                }
            }
        }
    }
}

async fn serve_tcp(mut client: TcpStream, upstream: &Upstream) -> io::Result<()> {
    loop {
        let question = read_message(&mut client).await?;
        let answer = forward(question, Transport::Tcp, upstream).await?;
        write_message(&mut client, &answer).await?;
    }
}

#[derive(Clone, Copy)]
enum Transport {
    Udp,
    Tcp,
}

/// An error means that the client gets no answer.
async fn forward(question: Vec<u8>, by: Transport, upstream: &Upstream) -> io::Result<Vec<u8>> {
    upstream.asked.fetch_add(1, Ordering::Relaxed);
    let number = is_update(&question).then(|| upstream.writes.begin(describe(&question)));
    pass(number, When::Before, upstream).await?;
    let answer = tokio::time::timeout(UPSTREAM_DEADLINE, ask(&question, by, upstream)).await??;
    if let Some(number) = number {
        let response_code = answer.get(3).map_or(0, |flags| flags & 0x0f);
        upstream.writes.end(number, u16::from(response_code));
    }
    pass(number, When::After, upstream).await?;
    Ok(answer)
}

async fn pass(number: Option<usize>, when: When, upstream: &Upstream) -> io::Result<()> {
    match number {
        Some(number) if !upstream.writes.pass(number, when, &upstream.link).await => {
            Err(io::Error::other("it goes no further, as the test asked"))
        }
        _ => Ok(()),
    }
}

async fn ask(question: &[u8], by: Transport, upstream: &Upstream) -> io::Result<Vec<u8>> {
    match by {
        Transport::Udp => {
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            socket.connect(upstream.address).await?;
            socket.send(question).await?;
            let mut buffer = vec![0; usize::from(u16::MAX)];
            let length = socket.recv(&mut buffer).await?;
            buffer.truncate(length);
            Ok(buffer)
        }
        Transport::Tcp => {
            let mut server = TcpStream::connect(upstream.address).await?;
            write_message(&mut server, question).await?;
            read_message(&mut server).await
        }
    }
}

/// Whether a message asks for changes. (One with prerequisites alone is a question.)
fn is_update(message: &[u8]) -> bool {
    let is_update = |flags: &u8| flags >> 3 & 0x0f == OPCODE_UPDATE;
    // RFC 2136 §2.2: UPCOUNT.
    let changes = message.get(8..10).is_some_and(|count| count != [0, 0]);
    message.get(2).is_some_and(is_update) && changes
}

/// What an update adds and deletes, for people who read a failed test.
fn describe(update: &[u8]) -> String {
    let Ok(message) = Message::from_vec(update) else {
        return "UPDATE (unreadable)".to_owned();
    };
    // RFC 2136 §2: the authority section of an update holds its changes.
    let changes: Vec<_> = message
        .authorities
        .iter()
        .map(ToString::to_string)
        .collect();
    format!("UPDATE {}", changes.join(", "))
}

/// RFC 1035 §4.2.2: over TCP two bytes of length go before each message.
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), message].concat())
        .await
}
