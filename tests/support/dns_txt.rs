//! Asking a DNS server for the ids of MTA-STS records, by a program that is not ours.

use std::net::SocketAddr;
use tokio::process::Command;

/// The ids in the TXT records at `name`; none if the server does not answer.
pub async fn ids(server: SocketAddr, name: &str) -> Vec<String> {
    let output = Command::new("dig")
        .args(["+short", "+tries=1", "+time=1", "TXT", name])
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()])
        .kill_on_drop(true)
        .output()
        .await
        .expect("dig");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.starts_with("\"v=STSv1"))
        .filter_map(super::world::id_in)
        .collect()
}
