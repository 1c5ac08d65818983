//! Throttles failed authenticator: each pair of address and user has a small allowance, and each address a larger one.
//! Attempts are regained slowly, and nothing is hashed for a throttled client.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{policy::EvictionPolicy, sync::Cache};
use parking_lot::Mutex;

use super::keyed_hash::KeyedHash;

/// The allowance of a pair, and the time to regain one attempt.
const PAIR_ALLOWANCE: Allowance = Allowance { burst: 10, each: Duration::from_secs(6) };
/// The allowance of an address for all users together, because it may be shared by a whole company.
const ADDRESS_ALLOWANCE: Allowance = Allowance { burst: 100, each: Duration::from_secs(1) };
/// The most pairs, and the most addresses, that are tracked.
const MAX_ENTRIES: u64 = 50_000;
/// The time in which all attempts are regained.
const ENTRY_TTL: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug)]
struct Allowance {
    burst: u32,
    each: Duration,
}

#[derive(Debug)]
pub(super) struct Throttle {
    pairs: Cache<(IpAddr, KeyedHash), Arc<Mutex<Spent>>>,
    addresses: Cache<IpAddr, Arc<Mutex<Spent>>>,
}

/// The attempts that count; each expires after a time.
#[derive(Debug)]
struct Spent {
    attempts: u32,
    /// The time at which the last one expired.
    since: Instant,
}

/// An attempt that counts as a failure unless marked otherwise.
#[derive(Debug)]
pub(super) struct LoginAttempt {
    pair: Arc<Mutex<Spent>>,
    address: Arc<Mutex<Spent>>,
}

/// Evicts the least recently used entries, so that clients that fail now stay tracked.
fn cache<K: Hash + Eq + Send + Sync + 'static>() -> Cache<K, Arc<Mutex<Spent>>> {
    Cache::builder().max_capacity(MAX_ENTRIES).time_to_idle(ENTRY_TTL).eviction_policy(EvictionPolicy::lru()).build()
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self { pairs: cache(), addresses: cache() }
    }

    /// Counts an attempt of this pair, or returns the time to wait. `user` is a hash of the user's name.
    pub(super) fn attempt(&self, from: IpAddr, user: KeyedHash) -> Result<LoginAttempt, Duration> {
        let from = client_network(from);
        let fresh = || Arc::new(Mutex::new(Spent { attempts: 0, since: Instant::now() }));
        let (pair, address) = (self.pairs.get_with((from, user), fresh), self.addresses.get_with(from, fresh));
        let now = Instant::now();
        pair.lock().spend(PAIR_ALLOWANCE, now)?;
        if let Err(wait) = address.lock().spend(ADDRESS_ALLOWANCE, now) {
            pair.lock().give_back();
            return Err(wait);
        }
        Ok(LoginAttempt { pair, address })
    }
}

impl LoginAttempt {
    /// Marks the attempt as successful: it does not count, and the pair's failures are reset.
    pub(super) fn succeeded(self) {
        self.pair.lock().attempts = 0;
        self.address.lock().give_back();
    }
}

impl Spent {
    fn spend(&mut self, allowance: Allowance, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.since);
        let back = u32::try_from(passed.as_millis() / allowance.each.as_millis()).unwrap_or(u32::MAX);
        self.since = if back >= self.attempts { now } else { self.since + allowance.each * back };
        self.attempts = self.attempts.saturating_sub(back);
        if self.attempts >= allowance.burst {
            return Err(allowance.each.saturating_sub(now.saturating_duration_since(self.since)));
        }
        self.attempts += 1;
        Ok(())
    }

    fn give_back(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
    }
}

/// Returns the address by which a client is limited: an IPv4 address as it is, and the /64 network of an IPv6 address,
/// because one client usually has all of it.
#[must_use]
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_pair_that_keeps_failing_waits_and_others_do_not() {
        let throttle = Throttle::new();
        for _ in 0..PAIR_ALLOWANCE.burst {
            throttle.attempt(HERE, [1; 32]).unwrap();
        }
        let wait = throttle.attempt(HERE, [1; 32]).unwrap_err();
        assert!(wait <= PAIR_ALLOWANCE.each && !wait.is_zero(), "{wait:?}");
        throttle.attempt(HERE, [2; 32]).unwrap().succeeded();
        throttle.attempt("127.0.0.2".parse().unwrap(), [1; 32]).unwrap();
    }

    #[test]
    fn an_address_that_tries_many_users_waits() {
        let throttle = Throttle::new();
        let tried = (0..200_u8).filter(|user| throttle.attempt(HERE, [*user; 32]).is_ok()).count();
        assert!((100..105).contains(&tried), "{tried}");
        assert!(throttle.attempt("127.0.0.2".parse().unwrap(), [0; 32]).is_ok());
    }

    #[test]
    fn the_right_password_resets_the_failures() {
        let throttle = Throttle::new();
        for _ in 0..1000 {
            drop(throttle.attempt(HERE, [1; 32]).unwrap());
            throttle.attempt(HERE, [1; 32]).unwrap().succeeded();
            throttle.addresses.invalidate_all();
        }
    }

    #[test]
    fn attempts_come_back() {
        let (allowance, start) = (Allowance { burst: 2, each: Duration::from_secs(6) }, Instant::now());
        let mut spent = Spent { attempts: 0, since: start };
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(spent.spend(allowance, at(0)).is_ok() && spent.spend(allowance, at(0)).is_ok());
        assert_eq!(spent.spend(allowance, at(2)), Err(Duration::from_secs(4)));
        assert!(spent.spend(allowance, at(7)).is_ok());
        assert_eq!(spent.spend(allowance, at(7)), Err(Duration::from_secs(5)));
        assert!(spent.spend(allowance, at(12)).is_ok(), "what was left of a wait is not lost");
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| client_network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:127.0.0.1"), HERE);
    }
}
