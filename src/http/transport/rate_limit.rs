//! Limits the requests per second of each client: a token bucket that holds two seconds' worth.
//!
//! A client's bucket is stored as the moment at which it will be full again. Full buckets are removed, so memory
//! follows the recently active clients, and has a fixed bound.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::access::client_network;

const SHARDS: usize = 16;
/// The most buckets in a shard; full ones are removed when it is reached.
const MAX_BUCKETS: usize = 4096;

/// The least time between two such removals.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(in crate::http) struct RateLimit {
    /// The time that a request costs; `None` disables the limit.
    cost: Option<Duration>,
    /// The most time that a client may owe.
    credit: Duration,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    /// For each client, the moment at which its bucket is full again.
    buckets: HashMap<IpAddr, Instant>,
    /// The last time that full buckets were removed.
    swept: Option<Instant>,
}

impl Shard {
    /// Returns true if the shard has room for a client. Full buckets are removed at most once in `SWEEP_INTERVAL`, not
    /// for each client.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.buckets.len() >= MAX_BUCKETS && self.swept.is_none_or(|swept| now - swept >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            self.buckets.retain(|_, full| *full > now);
        }
        self.buckets.len() < MAX_BUCKETS
    }
}

impl RateLimit {
    /// Allows each client `most` requests per second.
    pub(in crate::http) fn new(most: Option<u64>) -> Self {
        let cost = most.map(|most| Duration::from_nanos(1_000_000_000 / most.clamp(1, 1_000_000_000)));
        Self { cost, credit: Duration::from_secs(2), hasher: RandomState::new(), shards: Default::default() }
    }

    /// # Errors
    /// The time to wait, if the client exceeds its rate.
    pub(in crate::http) fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let Some(cost) = self.cost else { return Ok(()) };
        let client = client_network(client);
        let shard = usize::try_from(self.hasher.hash_one(client)).unwrap_or(0) % SHARDS;
        let mut shard = self.shards[shard].lock();
        if !shard.buckets.contains_key(&client) && !shard.has_room(now) {
            // With more clients than a shard holds, the known ones are limited and the others pass.
            return Ok(());
        }
        let full = shard.buckets.entry(client).or_insert(now);
        let next = (*full).max(now) + cost;
        let owed = next - now;
        if owed > self.credit + cost {
            return Err(owed - self.credit);
        }
        *full = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_the_configured_rate() {
        let (rate, client, start) = (RateLimit::new(Some(10)), "10.0.0.1".parse().unwrap(), Instant::now());
        let passed = (0..100).filter(|_| rate.take(client, start).is_ok()).count();
        assert_eq!(passed, 21, "two seconds' worth and the one under way");
        let wait = rate.take(client, start).unwrap_err();
        assert!(wait <= Duration::from_millis(200), "{wait:?}");
        assert!(rate.take("10.0.0.2".parse().unwrap(), start).is_ok(), "another client");
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| rate.take(client, later).is_ok()).count(), 10);
    }

    #[test]
    fn forgets_idle_clients_and_stays_bounded() {
        let (rate, start) = (RateLimit::new(Some(1)), Instant::now());
        for n in 0..200_000_u32 {
            assert!(rate.take(IpAddr::V4(n.into()), start).is_ok());
        }
        assert!(rate.shards.iter().all(|shard| shard.lock().buckets.len() <= MAX_BUCKETS));
        let later = start + Duration::from_secs(10);
        for n in 1_000_000..1_100_000_u32 {
            assert!(rate.take(IpAddr::V4(n.into()), later).is_ok());
        }
        assert!(rate.take(IpAddr::V4(0.into()), later).is_ok());
    }
}
