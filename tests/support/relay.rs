//! Stands before a server of any program and counts what it is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::ports::{free_port, loopback};

/// What is counted.
#[derive(Clone, Copy)]
pub enum Asked {
    /// Requests of HTTP/1.
    Http,
    /// DNS messages, by UDP and TCP, transfers too.
    Dns,
}

/// Forwards byte for byte, until this process ends.
pub struct Relay {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Relay {
    pub async fn before(server: SocketAddr, kind: Asked) -> Self {
        let address = loopback(free_port());
        let asked = Arc::<AtomicUsize>::default();
        let listener = TcpListener::bind(address).await.unwrap();
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, server, kind, count.clone()));
            }
        });
        if matches!(kind, Asked::Dns) {
            let socket = Arc::new(UdpSocket::bind(address).await.unwrap());
            tokio::spawn(datagrams(socket, server, asked.clone()));
        }
        Self { address, asked }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How much was asked so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn connection(client: TcpStream, server: SocketAddr, kind: Asked, asked: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    tokio::spawn(async move {
        let _ = copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    });
    let _ = match kind {
        Asked::Http => requests(from_client, to_server, &asked).await,
        Asked::Dns => messages(from_client, to_server, &asked).await,
    };
}

/// A request is a line that ends with the version, whatever pieces it comes in.
async fn requests(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    asked: &AtomicUsize,
) -> std::io::Result<()> {
    const END: &[u8] = b" HTTP/1.1\r\n";
    let (mut buffer, mut before) = (vec![0; 16 * 1024], Vec::new());
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        before.extend_from_slice(&buffer[..length]);
        let found = before.windows(END.len()).filter(|w| *w == END).count();
        asked.fetch_add(found, Ordering::Relaxed);
        let keep = before.len().saturating_sub(END.len() - 1);
        before.drain(..keep);
        to.write_all(&buffer[..length]).await?;
    }
}

/// Each message has its length before it.
async fn messages(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    asked: &AtomicUsize,
) -> std::io::Result<()> {
    while let Ok(length) = from.read_u16().await {
        let mut message = vec![0; 2 + usize::from(length)];
        message[..2].copy_from_slice(&length.to_be_bytes());
        from.read_exact(&mut message[2..]).await?;
        asked.fetch_add(1, Ordering::Relaxed);
        to.write_all(&message).await?;
    }
    to.shutdown().await
}

async fn datagrams(socket: Arc<UdpSocket>, server: SocketAddr, asked: Arc<AtomicUsize>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        asked.fetch_add(1, Ordering::Relaxed);
        let (message, socket) = (buffer[..length].to_vec(), socket.clone());
        tokio::spawn(async move {
            let upstream = UdpSocket::bind(loopback(0)).await?;
            upstream.connect(server).await?;
            upstream.send(&message).await?;
            let mut answer = vec![0; usize::from(u16::MAX)];
            let length = upstream.recv(&mut answer).await?;
            socket.send_to(&answer[..length], client).await
        });
    }
}
