//! The log of content served without being cached. It writes one line a minute for each reason, with totals of the
//! omitted ones, because a full quota is the reason for every miss.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{oci::Digest, registry::Error, storage::Bounded};

/// The time for which a reason is not logged again.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The content that was not cached since the last log line, by reason.
#[derive(Debug, Default)]
pub(in crate::registry) struct Uncached(Mutex<HashMap<Bounded, PassthroughCount>>);

#[derive(Clone, Copy, Debug)]
struct PassthroughCount {
    since: Instant,
    blobs: u64,
    bytes: u64,
}

impl Uncached {
    /// Logs that a blob is not cached, unless its reason was logged a short while ago.
    pub(in crate::registry) fn log(&self, digest: &Digest, error: &Error) {
        match error {
            Error::InsufficientSpace(short) => {
                if let Some(more) = self.note(short.bounded, short.needed()) {
                    tracing::warn!(%digest, "blob not cached: {error}{more}");
                }
            }
            error => tracing::warn!(%digest, "blob not cached: {error}"),
        }
    }

    /// Counts a blob. Returns the end of the log line; `None` if no line is due.
    fn note(&self, reason: Bounded, bytes: u64) -> Option<String> {
        let (mut reasons, now) = (self.0.lock(), Instant::now());
        let fresh = PassthroughCount { since: now, blobs: 0, bytes: 0 };
        match reasons.get_mut(&reason) {
            Some(passed) if now.duration_since(passed.since) < LOG_INTERVAL => {
                passed.blobs += 1;
                passed.bytes += bytes;
                None
            }
            known => {
                let more = known.map(|passed| summary(passed)).unwrap_or_default();
                reasons.insert(reason, fresh);
                Some(more)
            }
        }
    }

    /// Logs the totals that are due.
    pub(in crate::registry) fn tidy(&self) {
        self.0.lock().retain(|reason, passed| {
            let over = passed.since.elapsed() >= LOG_INTERVAL;
            if over && passed.blobs > 0 {
                tracing::warn!("blobs not cached, {}{}", why(*reason), summary(passed));
            }
            !over
        });
    }
}

fn summary(passed: &PassthroughCount) -> String {
    let PassthroughCount { since, blobs, bytes } = passed;
    match blobs {
        0 => String::new(),
        _ => format!(" ({blobs} more with {bytes} bytes in the last {} s)", since.elapsed().as_secs()),
    }
}

fn why(reason: Bounded) -> &'static str {
    match reason {
        Bounded::Quota => "since storage.quota is exceeded and nothing more may make room",
        Bounded::Share => "since what is mirrored has 80% of the filesystem (storage.quota is not set)",
        Bounded::Filesystem => "since the filesystem is full up to storage.headroom",
        Bounded::Object => "since they are larger than storage.maxobject",
        Bounded::Unknown => "since what is stored is still being counted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_once_and_then_summed_up() {
        let uncached = Uncached::default();
        assert_eq!(uncached.note(Bounded::Quota, 5), Some(String::new()));
        assert_eq!((uncached.note(Bounded::Quota, 5), uncached.note(Bounded::Quota, 7)), (None, None));
        assert_eq!(uncached.note(Bounded::Object, 5), Some(String::new()), "another reason");
        if let Some(passed) = uncached.0.lock().get_mut(&Bounded::Quota) {
            passed.since = passed.since.checked_sub(LOG_INTERVAL).unwrap();
        }
        let more = uncached.note(Bounded::Quota, 5).unwrap();
        assert_eq!(more, " (2 more with 12 bytes in the last 60 s)");
    }
}
