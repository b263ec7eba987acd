//! Response rate limiting: a forged source address is to be worth nothing to the one who forges
//! it. Equal answers, denials, and all answers together are counted for each network of clients.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::rr::Name;
use ipnet::IpNet;

use crate::limits;

const SECOND: Duration = Duration::from_secs(1);

/// What to do with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send it.
    Send,
    /// Send only that it is cut off: who really asked comes again by TCP.
    Slip,
    /// Send nothing.
    Drop,
}

/// How many answers of a kind have gone to each network of late. Its size never grows.
#[derive(Debug)]
pub struct Limiter {
    /// By network and what is asked.
    slots: Box<[Mutex<Slot>]>,
    /// By network alone: apart, so that no question empties the bucket of a whole network.
    networks: Box<[Mutex<Slot>]>,
    hasher: RandomState,
    begin: Instant,
    unlimited: Box<[IpNet]>,
}

/// One bucket: it holds the answers of one second.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Thousandths of answers that are left.
    left: u32,
    /// When that was so, in milliseconds.
    at: u64,
    /// Answers held back since then.
    held: u32,
}

impl Default for Limiter {
    fn default() -> Self {
        Self::sparing(&[])
    }
}

impl Limiter {
    /// One that holds nothing back from these networks.
    pub fn sparing(unlimited: &[IpNet]) -> Self {
        let slots = |count| (0..count).map(|_| Mutex::default()).collect();
        Self {
            slots: slots(limits::DNS_RATE_SLOTS),
            networks: slots(limits::DNS_RATE_NETWORKS),
            hasher: RandomState::new(),
            begin: Instant::now(),
            unlimited: unlimited.into(),
        }
    }

    /// Judges an answer to `client` about a name, or one that it does not exist, or an error.
    pub fn judge(&self, client: IpAddr, about: Option<&Name>) -> Verdict {
        // Every bucket is full at the start.
        self.judge_at(client, about, self.begin.elapsed() + SECOND)
    }

    fn judge_at(&self, client: IpAddr, about: Option<&Name>, now: Duration) -> Verdict {
        if self.spares(client) {
            return Verdict::Send;
        }
        let network = network(client);
        let equal = match about {
            // Names are equal whatever their capitals.
            Some(name) => (
                self.hasher.hash_one((network, name)),
                limits::DNS_EQUAL_ANSWERS,
            ),
            None => (
                self.hasher.hash_one((network, "denial")),
                limits::DNS_DENIALS,
            ),
        };
        let all = (
            self.hasher.hash_one((network, "all")),
            limits::DNS_ALL_ANSWERS,
        );
        match take(&self.slots, equal, now) {
            Verdict::Send => take(&self.networks, all, now),
            held => held,
        }
    }

    fn spares(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.unlimited
            .iter()
            .any(|network| network.contains(&client))
    }
}

fn take(slots: &[Mutex<Slot>], (key, rate): (u64, u32), now: Duration) -> Verdict {
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let count = u64::try_from(slots.len()).unwrap_or(1).max(1);
    let index = usize::try_from(key % count).unwrap_or_default();
    let Some(slot) = slots.get(index) else {
        return Verdict::Send;
    };
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    slot.take(rate, now)
}

impl Slot {
    fn take(&mut self, rate: u32, now: u64) -> Verdict {
        let full = rate.saturating_mul(1000);
        let passed = now.saturating_sub(self.at);
        if passed >= 1000 {
            // After a second of silence the bucket is full, whoever comes.
            *self = Self {
                left: full,
                at: now,
                held: 0,
            };
        } else {
            let more = u32::try_from(passed).unwrap_or(0).saturating_mul(rate);
            self.left = self.left.saturating_add(more).min(full);
            self.at = now;
        }
        match self.left.checked_sub(1000) {
            Some(left) => {
                self.left = left;
                Verdict::Send
            }
            None => {
                self.held = self.held.wrapping_add(1);
                match self.held % 2 {
                    1 => Verdict::Slip,
                    _ => Verdict::Drop,
                }
            }
        }
    }
}

/// What one customer of a network may have as a whole: a /24, or a /56.
fn network(client: IpAddr) -> (u8, u64) {
    match client.to_canonical() {
        IpAddr::V4(address) => (4, u64::from(address.to_bits() >> 8)),
        IpAddr::V6(address) => (
            6,
            u64::try_from(address.to_bits() >> 72).unwrap_or_default(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(limiter: &Limiter, client: &str, about: &str, times: u32, at: u64) -> u32 {
        let name = Name::from_ascii(about).unwrap();
        let about = (!about.is_empty()).then_some(&name);
        let now = Duration::from_millis(at);
        let client = client.parse().unwrap();
        let judged = (0..times).map(|_| limiter.judge_at(client, about, now));
        u32::try_from(judged.filter(|v| *v == Verdict::Send).count()).unwrap()
    }

    #[test]
    fn a_network_has_so_many_equal_answers_a_second() {
        let limiter = Limiter::default();
        let (name, rate) = ("_mta-sts.example.org.", limits::DNS_EQUAL_ANSWERS);
        assert_eq!(sent(&limiter, "192.0.2.1", name, 1000, 5000), rate);
        let capitals = "_MTA-STS.example.org.";
        assert_eq!(
            sent(&limiter, "192.0.2.200", capitals, 9, 5001),
            0,
            "its /24"
        );
        assert_eq!(
            sent(&limiter, "::ffff:192.0.2.3", name, 9, 5001),
            0,
            "mapped"
        );
        assert_eq!(sent(&limiter, "198.51.100.1", name, 9, 5001), 9, "another");
        assert_eq!(
            sent(&limiter, "192.0.2.1", "example.com.", 9, 5001),
            9,
            "another name"
        );
        assert_eq!(
            sent(&limiter, "192.0.2.1", name, 1000, 5501),
            rate / 2,
            "half a second on"
        );
        assert_eq!(sent(&limiter, "192.0.2.1", name, 1000, 9000), rate, "later");
        assert_eq!(sent(&limiter, "2001:db8::1", name, 1000, 9000), rate);
        assert_eq!(
            sent(&limiter, "2001:db8:0:ff::1", name, 9, 9000),
            0,
            "its /56"
        );
        assert_eq!(
            sent(&limiter, "2001:db8:0:100::1", name, 9, 9000),
            9,
            "the next /56"
        );
    }

    #[test]
    fn a_network_may_be_spared() {
        let limiter = Limiter::sparing(&["192.0.2.0/25".parse().unwrap()]);
        let name = "_mta-sts.example.org.";
        assert_eq!(sent(&limiter, "192.0.2.1", name, 5000, 5000), 5000);
        assert_eq!(sent(&limiter, "::ffff:192.0.2.1", "", 5000, 5000), 5000);
        // Nor does it use up what its neighbours may have.
        let beside = sent(&limiter, "192.0.2.200", name, 5000, 5000);
        assert_eq!(beside, limits::DNS_EQUAL_ANSWERS);
    }

    #[test]
    fn denials_are_all_alike_and_all_answers_have_a_bound() {
        let limiter = Limiter::default();
        let denials = sent(&limiter, "192.0.2.1", "", 5000, 5000);
        assert_eq!(denials, limits::DNS_DENIALS);
        let names = (0..5000).map(|n| format!("{n}.example.org."));
        let all: u32 = names
            .map(|name| sent(&limiter, "192.0.2.1", &name, 1, 5000))
            .sum();
        assert!(all <= limits::DNS_ALL_ANSWERS, "{all}");
        assert!(all > limits::DNS_ALL_ANSWERS / 2, "{all}");
    }

    #[test]
    fn every_other_answer_that_is_held_back_asks_to_come_by_tcp() {
        let limiter = Limiter::default();
        let client = "192.0.2.1".parse().unwrap();
        let now = Duration::from_secs(5);
        let judge = |_| limiter.judge_at(client, None, now);
        let verdicts: Vec<Verdict> = (0..limits::DNS_DENIALS + 4).map(judge).collect();
        let end = &verdicts[verdicts.len() - 4..];
        use Verdict::{Drop, Slip};
        assert_eq!(end, [Slip, Drop, Slip, Drop]);
    }
}
