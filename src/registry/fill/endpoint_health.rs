//! The health of an endpoint: a circuit breaker.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use crate::upstream;

/// The time for which an upstream is not asked while cached answers serve, after it was unreachable or sent a 429
/// without a time. After that, one request probes it in the background, while the others use the cache.
pub(in crate::registry) const RETRY_AFTER: Duration = Duration::from_secs(30);
/// The most that the end of a `Retry-After` time is spread by, so that waiting requests do not arrive at once.
const RETRY_JITTER: Duration = Duration::from_secs(10);
/// The time for which an account that was refused is asked last.
pub(in crate::registry) const REFUSED_REST: Duration = Duration::from_secs(300);
/// The shortest interval between two warnings that an account is refused: some upstreams refuse only a part of what is
/// asked of them.
const REFUSED_WARNING_INTERVAL: Duration = Duration::from_secs(3600);

/// The state of an endpoint, as the results of earlier requests showed it.
#[derive(Debug, Default)]
pub(in crate::registry) struct Health {
    /// The upstream was unreachable; the time of the next probe.
    pub(in crate::registry) down: Option<Instant>,
    /// The upstream sent a 429.
    pub(in crate::registry) busy: Option<Busy>,
    /// The account was refused, and is asked last until this time.
    pub(in crate::registry) refused: Option<Instant>,
    /// The time of the last warning of that.
    warned: Option<Instant>,
}

/// A 429, with the time for which it holds.
#[derive(Debug)]
pub(in crate::registry) struct Busy {
    pub(in crate::registry) until: Instant,
    /// The time of the next probe after `until`, for requests that the cache can serve.
    probe_at: Instant,
    /// `true` if the upstream sent a `Retry-After`.
    pub(in crate::registry) said: bool,
    /// `true` if the 429 answered a request for a blob; pull limits apply to manifests only.
    pub(in crate::registry) blobs: bool,
    message: String,
}

impl Health {
    /// Returns the availability, and the time of the next probe where there is one.
    pub(in crate::registry) fn availability(&mut self, now: Instant) -> (Availability, Option<&mut Instant>) {
        let probe_at = match self {
            Self { down: Some(probe_at), .. } => probe_at,
            Self { busy: Some(busy), .. } if busy.until > now => return (Availability::Unavailable, None),
            Self { busy: Some(busy), .. } if busy.said => &mut busy.probe_at,
            _ => return (Availability::Ask, None),
        };
        if *probe_at > now { (Availability::Unavailable, None) } else { (Availability::Probe, Some(probe_at)) }
    }

    pub(in crate::registry) fn learn(&mut self, error: Option<&upstream::Error>, now: Instant) {
        let is_down = error.is_some_and(upstream::Error::is_unreachable);
        self.down = is_down.then_some(now + RETRY_AFTER);
        match error {
            Some(upstream::Error::RateLimited { retry_after, message }) => self.busy_for(*retry_after, message, now),
            _ if self.busy.as_ref().is_some_and(|busy| !busy.said) => self.busy = None,
            _ => {}
        }
    }

    /// Notes whether the account was accepted. Returns true if a refusal is to be logged.
    pub(in crate::registry) fn note_account(&mut self, error: Option<&upstream::Error>, now: Instant) -> bool {
        match error {
            Some(upstream::Error::Login(_)) => self.refused = Some(now + REFUSED_REST),
            None => self.refused = None,
            Some(_) => {}
        }
        let is_refused = matches!(error, Some(upstream::Error::Login(_)));
        let is_due = self.warned.is_none_or(|at| now.saturating_duration_since(at) >= REFUSED_WARNING_INTERVAL);
        if is_refused && is_due {
            self.warned = Some(now);
        }
        is_refused && is_due
    }

    fn busy_for(&mut self, wait: Option<Duration>, message: &str, now: Instant) {
        let until = now + wait.map_or(RETRY_AFTER, |wait| wait + spread(wait));
        let before = self.busy.take();
        // Requests in parallel may have got other times: the longest counts.
        let until = before.as_ref().map_or(until, |busy| busy.until.max(until));
        let said = wait.is_some() || before.as_ref().is_some_and(|busy| busy.said && busy.until > now);
        let blobs = before.is_some_and(|busy| busy.blobs && busy.until > now);
        self.busy = Some(Busy { until, probe_at: until, said, blobs, message: message.to_owned() });
    }

    /// Ends the state after a 429 once its time is over and another answer has arrived.
    pub(in crate::registry) fn end_busy(&mut self, now: Instant) {
        self.busy.take_if(|busy| busy.until <= now);
    }
}

impl Busy {
    /// Returns a 429 with the remaining time, spread.
    pub(in crate::registry) fn refusal(&self, now: Instant) -> upstream::Error {
        let availability = self.until.saturating_duration_since(now);
        // Rounded up to whole seconds.
        let retry_after = Some(availability + Duration::from_secs(1) + spread(availability));
        upstream::Error::RateLimited { retry_after, message: self.message.clone() }
    }
}

/// Returns a random part of a tenth of `wait`.
fn spread(wait: Duration) -> Duration {
    let chance = u32::try_from(RandomState::new().hash_one(()) & 0xff).unwrap_or_default();
    (wait / 10).min(RETRY_JITTER) * chance / 0x100
}

/// The way to use an upstream while a cached answer exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Availability {
    /// Ask it and wait.
    Ask,
    /// Do not ask: answer from the cache.
    Unavailable,
    /// Answer from the cache, and ask in the background.
    Probe,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn too_many(seconds: u64) -> upstream::Error {
        upstream::Error::RateLimited { retry_after: Some(Duration::from_secs(seconds)), message: String::new() }
    }

    /// Returns the time for which a client is asked to wait.
    fn told(busy: &Busy, now: Instant) -> Duration {
        let upstream::Error::RateLimited { retry_after: Some(wait), .. } = busy.refusal(now) else { panic!() };
        wait
    }

    #[test]
    fn the_time_that_was_said_is_kept_to() {
        let (mut health, now) = (Health::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        health.learn(Some(&too_many(100)), now);
        health.learn(Some(&too_many(10)), after(1));
        health.learn(None, after(2));
        health.learn(Some(&upstream::Error::Unreachable(String::new())), after(3));
        health.end_busy(after(99));
        let busy = health.busy.as_ref().unwrap();
        assert!((after(100)..=after(110)).contains(&busy.until));
        assert!((51..=67).contains(&told(busy, after(50)).as_secs()), "{busy:?}");
        health.end_busy(after(111));
        assert!(health.busy.is_none());
    }

    /// One that some requests are refused with and others not is warned of once.
    #[test]
    fn a_refused_account_rests_until_it_is_accepted() {
        let (mut health, now) = (Health::default(), Instant::now());
        let login = upstream::Error::Login(String::new());
        assert!(health.note_account(Some(&login), now));
        assert_eq!(health.refused, Some(now + REFUSED_REST));
        assert!(!health.note_account(Some(&upstream::Error::NotFound), now) && health.refused.is_some());
        assert!(!health.note_account(None, now) && health.refused.is_none());
        assert!(!health.note_account(Some(&login), now) && health.refused.is_some());
        assert!(health.note_account(Some(&login), now + REFUSED_WARNING_INTERVAL));
    }

    /// Clients that are refused at the same moment come back at different ones.
    #[test]
    fn refusals_are_spread() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.learn(Some(&too_many(100)), now);
        let busy = health.busy.as_ref().unwrap();
        let times: HashSet<_> = (0..20).map(|_| told(busy, now)).collect();
        assert!(times.len() > 1, "all are told {times:?}");
    }

    #[test]
    fn without_a_time_an_answer_ends_it() {
        let (mut health, now) = (Health::default(), Instant::now());
        let said = upstream::Error::RateLimited { retry_after: None, message: String::new() };
        health.learn(Some(&said), now);
        assert!(health.busy.as_ref().is_some_and(|busy| !busy.said));
        health.learn(None, now);
        assert!(health.busy.is_none());
    }
}
