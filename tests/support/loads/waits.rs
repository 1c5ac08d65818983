//! The waits of small requests during other work.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::support::{http, images::Blob, server::Server};

/// The time between two requests of one kind.
const PAUSE: Duration = Duration::from_millis(5);

/// The URLs of small requests to one server: a blob that was served before, and the health check.
pub(crate) struct SmallRequests([String; 2]);

impl SmallRequests {
    /// The two kinds of small requests.
    pub(crate) const KINDS: [&str; 2] = ["a small blob", "/healthz"];

    pub(crate) fn new(server: &Server, repository: &str, blob: &Blob) -> Self {
        Self([server.v2(&format!("{repository}/blobs/{}", blob.digest)), format!("{}/healthz", server.url())])
    }

    /// Requests both, so that they are warm.
    pub(crate) fn warm(&self) {
        for url in &self.0 {
            wait(url);
        }
    }
}

/// The waits of requests of one kind, in ascending order. A request that waits long delays the next: those that would
/// have come every [`PAUSE`] meanwhile are counted as well, as if each had waited for the rest of that time. So a
/// quantile holds for a client that comes at any time.
pub(crate) struct Waits(Vec<Duration>);

impl Waits {
    fn new(waited: &[Duration]) -> Self {
        let rest = |waited: Duration| {
            std::iter::successors(Some(waited), |left| left.checked_sub(PAUSE).filter(|left| !left.is_zero()))
        };
        let mut all: Vec<_> = waited.iter().copied().flat_map(rest).collect();
        all.sort_unstable();
        Self(all)
    }

    /// The wait that this share of all requests did not exceed: 1 is the longest.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let place = (self.0.len() as f64 * share) as usize;
        self.0[place.min(self.0.len() - 1)]
    }
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let milliseconds = [0.5, 0.9, 1.].map(|share| self.quantile(share).as_secs_f64() * 1e3);
        let [median, high, worst] = milliseconds;
        write!(f, "{median:.1} ms, 90 % within {high:.1} ms, at worst {worst:.1} ms")
    }
}

/// Repeats the requests to each server, each kind by a client of its own, while `act` runs.
pub(crate) fn watch<T, const N: usize>(places: [&SmallRequests; N], act: impl FnOnce() -> T) -> ([[Waits; 2]; N], T) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also if `act` panics.
        let end = End(&over);
        let over = &over;
        let asking = places.map(|place| place.0.each_ref().map(|url| scope.spawn(move || ask(url, over))));
        let done = act();
        drop(end);
        (asking.map(|kinds| kinds.map(|kind| Waits::new(&kind.join().unwrap()))), done)
    })
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn ask(url: &str, over: &AtomicBool) -> Vec<Duration> {
    let mut waited = Vec::new();
    loop {
        waited.push(wait(url));
        if over.load(Relaxed) {
            return waited;
        }
        thread::sleep(PAUSE);
    }
}

fn wait(url: &str) -> Duration {
    let asked = Instant::now();
    let response = http::get(url).send();
    assert_eq!(response.status, 200, "{url}");
    response.body();
    asked.elapsed()
}
