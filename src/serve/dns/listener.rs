//! Where the name servers are asked: a UDP socket and a TCP listener on one address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::{Way, answer};
use super::limit::{Limiter, Verdict};
use super::names::Names;
use super::sign::Signer;
use crate::limits;
use crate::serve::listener::Phase;

/// Both sockets of one address.
#[derive(Debug)]
pub struct Sockets {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

/// What is counted. No label ever comes from a query.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Answers by transport and code.
    pub(crate) answers: Family<Answered, Counter>,
    /// Answers over UDP that were held back or cut off by the rate limit.
    pub(crate) limited: Family<Limited, Counter>,
}

impl Default for Counts {
    fn default() -> Self {
        let counts = Self {
            answers: Family::default(),
            limited: Family::default(),
        };
        // There from the start: what appears with its first count hides that count from a rate.
        for transport in ["udp", "tcp"] {
            let code = "NOERROR";
            let _ = counts.answers.get_or_create(&Answered { transport, code });
        }
        for action in ["cut", "dropped"] {
            let _ = counts.limited.get_or_create(&Limited { action });
        }
        counts
    }
}

/// Labels of an answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Answered {
    transport: &'static str,
    code: &'static str,
}

/// Labels of an answer that was held back.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Limited {
    action: &'static str,
}

/// The name servers of this process.
#[derive(Clone, Debug)]
pub struct Server {
    /// What they know.
    pub names: Arc<Names>,
    /// What they have counted.
    pub counts: Counts,
    /// What signs their answers, if they are signed.
    pub signer: Option<Arc<Signer>>,
    /// How often they answer whom.
    pub limiter: Arc<Limiter>,
}

impl Sockets {
    /// Listens on `address`; with port 0 on one that is free for both.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        let udp = Arc::new(UdpSocket::bind(tcp.local_addr()?).await?);
        Ok(Self { udp, tcp })
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl Server {
    /// Answers until `phase` says [`Phase::Closing`], or one of the tasks ends, which none should.
    pub async fn serve(self, sockets: Sockets, mut phase: watch::Receiver<Phase>) {
        let server = Arc::new(self);
        let mut tasks = JoinSet::new();
        for _ in 0..limits::DNS_UDP_TASKS {
            let (server, socket) = (Arc::clone(&server), Arc::clone(&sockets.udp));
            tasks.spawn(async move { server.datagrams(&socket).await });
        }
        tasks.spawn(async move { server.connections(sockets.tcp).await });
        tokio::select! {
            _ = phase.wait_for(|phase| *phase == Phase::Closing) => {}
            _ = tasks.join_next() => {}
        }
    }

    async fn datagrams(&self, socket: &UdpSocket) {
        let mut buffer = vec![0; limits::DNS_QUERY_BYTES];
        loop {
            let (length, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // What comes back from a client that is gone, or memory that is short.
                Err(error) => {
                    tracing::debug!(%error, "a datagram could not be read");
                    sleep(Duration::from_millis(1)).await;
                    continue;
                }
            };
            let octets = buffer.get(..length).unwrap_or_default();
            let Some(reply) = self.reply(octets, client, Way::Udp) else {
                continue;
            };
            if let Err(error) = socket.send_to(&reply, client).await {
                tracing::debug!(%error, %client, "an answer could not be sent");
            }
        }
    }

    /// The octets that go back, if any do.
    fn reply(&self, octets: &[u8], client: SocketAddr, way: Way) -> Option<Vec<u8>> {
        // Nobody asks from there; an answer would only hit somebody.
        if client.port() == 0 {
            return None;
        }
        let reply = answer(&self.names, self.signer.as_deref(), octets, way)?;
        let transport = match way {
            Way::Udp => "udp",
            Way::Tcp => "tcp",
        };
        let verdict = match way {
            Way::Udp => self.limiter.judge(client.ip(), reply.about.as_ref()),
            Way::Tcp => Verdict::Send,
        };
        let limited = |action| self.counts.limited.get_or_create(&Limited { action }).inc();
        match verdict {
            Verdict::Send => {
                let code = label(reply.code);
                let labels = Answered { transport, code };
                self.counts.answers.get_or_create(&labels).inc();
                Some(reply.octets)
            }
            Verdict::Slip => {
                limited("cut");
                reply.cut()
            }
            Verdict::Drop => {
                limited("dropped");
                None
            }
        }
    }

    async fn connections(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(limits::DNS_CONNECTIONS));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let (stream, client) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a DNS connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // Silent connections are not to keep others out.
            let pressed = slots.available_permits() < limits::DNS_CONNECTIONS / 4;
            let idle = match pressed {
                true => limits::PRESSED_TIME,
                false => limits::DNS_IDLE_TIME,
            };
            let server = Arc::clone(&self);
            tokio::spawn(async move {
                // However it ends, there is nobody to tell.
                let _ = server.connection(stream, client, idle).await;
                drop(slot);
            });
        }
    }

    async fn connection(
        &self,
        mut stream: TcpStream,
        client: SocketAddr,
        idle: Duration,
    ) -> std::io::Result<()> {
        let _ = stream.set_nodelay(true);
        for _ in 0..limits::DNS_CONNECTION_QUERIES {
            let Some(octets) = timeout(idle, query(&mut stream)).await?? else {
                break;
            };
            let Some(reply) = self.reply(&octets, client, Way::Tcp) else {
                break;
            };
            let length = u16::try_from(reply.len()).map_err(std::io::Error::other)?;
            let mut framed = Vec::with_capacity(reply.len() + 2);
            framed.extend_from_slice(&length.to_be_bytes());
            framed.extend_from_slice(&reply);
            timeout(idle, stream.write_all(&framed)).await??;
        }
        stream.shutdown().await
    }
}

/// The next query; `None` for one that is too long to be one.
async fn query(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let length = usize::from(stream.read_u16().await?);
    if length > limits::DNS_QUERY_BYTES {
        return Ok(None);
    }
    let mut octets = vec![0; length];
    stream.read_exact(&mut octets).await?;
    Ok(Some(octets))
}

fn label(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::NotAuth => "NOTAUTH",
        ResponseCode::BADVERS => "BADVERS",
        _ => "other",
    }
}
