//! The support for the tests: the server under test, its upstreams, its clients, and the images they move.

pub(crate) mod admin;
pub(crate) mod bases;
pub(crate) mod built;
pub(crate) mod clients;
pub(crate) mod crowd;
pub(crate) mod disk;
pub(crate) mod egress_trap;
pub(crate) mod fault;
pub(crate) mod hash;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod image_set;
pub(crate) mod images;
pub(crate) mod inject;
pub(crate) mod layers;
pub(crate) mod loads;
pub(crate) mod model;
pub(crate) mod netns;
pub(crate) mod network;
pub(crate) mod pace;
pub(crate) mod pages;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod raw;
pub(crate) mod reachability;
pub(crate) mod registry2;
pub(crate) mod release;
pub(crate) mod rng;
pub(crate) mod scrape;
pub(crate) mod scratch;
pub(crate) mod server;
pub(crate) mod source;
pub(crate) mod tap;
pub(crate) mod tls;
pub(crate) mod token_service;
pub(crate) mod uploads;
pub(crate) mod upstream;
pub(crate) mod users;
pub(crate) mod volume_check;
pub(crate) mod weights;
pub(crate) mod wire;

use std::{
    thread,
    time::{Duration, Instant},
};

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
    if std::env::var_os("ENTREPOT_SOAK").is_some_and(|value| !value.is_empty()) { whole } else { (whole / 10).max(1) }
}
