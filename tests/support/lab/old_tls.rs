//! A server that speaks no TLS above 1.1. rustls knows none below 1.2, so it is OpenSSL's.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::keeper;
use crate::support::ports::{free_port, loopback};
use crate::support::process::{Process, SYSTEM_PATH};
use crate::support::wait::eventually;

const START: Duration = Duration::from_secs(30);

pub(super) struct OldTls {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl OldTls {
    /// Starts it with a certificate and its key.
    pub(super) async fn start((certificate, key): &(String, String)) -> Self {
        let folder = keeper::folder("old-tls");
        let chain = folder.path().join("chain.pem");
        fs::write(&chain, format!("{key}{certificate}")).unwrap();
        let address = loopback(free_port());
        let mut command = Command::new("openssl");
        command
            .env("PATH", SYSTEM_PATH)
            .args(["s_server", "-quiet", "-www", "-tls1_1", "-accept"])
            .arg(address.to_string())
            // OpenSSL takes the hashes of TLS 1.1 for too weak at its usual level.
            .args(["-cipher", "ALL:@SECLEVEL=0", "-cert"])
            .arg(&chain)
            .arg("-key")
            .arg(&chain);
        let process = Process::start("openssl", &mut command, &folder.path().join("log"));
        eventually("OpenSSL listens", START, async || {
            process.assert_alive();
            TcpStream::connect(address).await.map(drop)
        })
        .await;
        Self {
            address,
            _process: process,
            _folder: folder,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}
