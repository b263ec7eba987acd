//! A long way: what a server says arrives a while later.

use super::ports::{free_port, loopback};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Passes on what clients say at once, and what the server answers after a delay, in order.
pub struct Slow {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Slow {
    /// A way to `server`; it is closed when the value is dropped.
    pub async fn to(server: SocketAddr, delay: Duration) -> Self {
        let address = loopback(free_port());
        let listener = TcpListener::bind(address).await.expect("a free port");
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, delay));
            }
        });
        Self { address, accepting }
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: TcpStream, server: SocketAddr, delay: Duration) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // When one side ends, so does the other.
    tokio::select! {
        () = carry(from_client, to_server, Duration::ZERO) => {}
        () = carry(from_server, to_client, delay) => {}
    }
}

/// Each piece takes the delay, however many are on the way.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (send, mut on_the_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let piece = buffer[..length].to_vec();
            if send.send((Instant::now() + delay, piece)).is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = on_the_way.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
