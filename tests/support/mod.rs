//! The support for the tests: the server under test, its upstreams, its clients, the images they move, and the disks
//! and networks between them.

pub(crate) mod clients;
pub(crate) mod crowd;
pub(crate) mod disk;
pub(crate) mod images;
pub(crate) mod loads;
pub(crate) mod model;
pub(crate) mod network;
pub(crate) mod pages;
pub(crate) mod receiver;
pub(crate) mod server;
pub(crate) mod source;
pub(crate) mod upstream;

use std::{
    thread,
    time::{Duration, Instant},
};

pub(crate) use clients::{admin, browser, http, http2, prometheus, raw, release, scrape, uploads};
pub(crate) use disk::{fault, index_records, inject, reachability, scratch, volume_check, weights};
pub(crate) use images::{bases, built, hash, image_set, layers, rng};
pub(crate) use network::{egress_trap, far, netns, pace, tap, wire};
pub(crate) use server::{ports, process, tls, users};
pub(crate) use upstream::{registry2, token_service};

/// Polls every few milliseconds until `found` returns a value; panics after `limit` with the text of `what`.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// As [`wait_for`], for something that is true or not.
pub(crate) fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    wait_for(what, limit, || holds().then_some(()));
}

/// The number of repetitions of a test: the whole number under `./test --soak`, a tenth otherwise.
pub(crate) fn rounds(whole: usize) -> usize {
    if is_soak() { whole } else { (whole / 10).max(1) }
}

/// Returns whether `./test --soak` runs.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("ENTREPOT_SOAK").is_some_and(|value| !value.is_empty())
}
