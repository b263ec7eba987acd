//! Free ports and names that nobody else uses.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Mutex;

/// Below the range from which the kernel picks ports for outgoing connections, so that none of
/// those takes a port between the moment it is found free and the moment a server binds it.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A loopback port on which nothing listens, neither by TCP nor by UDP; never the same one twice in
/// this process, so that a server can be stopped and started again on it.
pub fn free_port() -> u16 {
    let mut taken = TAKEN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let taken = taken.get_or_insert_default();
    for _ in 0..1000 {
        let port = RANGE.start + (random() % u64::from(RANGE.end - RANGE.start)) as u16;
        let address = loopback(port);
        if TcpListener::bind(address).is_ok()
            && UdpSocket::bind(address).is_ok()
            && taken.insert(port)
        {
            return port;
        }
    }
    panic!("no free port between {} and {}", RANGE.start, RANGE.end);
}

/// 127.0.0.1 with `port`.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A name that starts with `prefix` and that no other test has: a valid DNS label.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:08x}", random() as u32)
}

/// The standard library seeds each `RandomState` differently: random enough for names and ports.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
