//! A server that has run for long is as it was at its start: memory, descriptors, threads, staged files and, in the
//! hour under `--soak`, the cost of a request. Two minutes of everything at once in every run.

mod load;
mod sample;

use std::{path::Path, thread, time::Duration};

use load::Load;
use sample::{GrownQuantity, Sample};

use crate::support::{
    index_records, is_soak,
    ports::Port,
    scratch,
    server::{Server, Setup},
    upstream::{Kind, Upstream},
};

/// The quota of the soak, through which ten times as much goes, and of a run of minutes, which leaves room for all
/// that lies on the disk beside blobs.
const QUOTAS: (&str, &str) = ("120MB", "600MB");
/// The number of samples, the first of which is taken after a tenth of the time.
const TENTHS: u32 = 10;

fn length() -> Duration {
    Duration::from_secs(if is_soak() { 3600 } else { 120 })
}

fn start(upstream: &Upstream, data: &Path, debug: &Port) -> Server {
    Setup::both(&upstream.url())
        .data_at(data)
        .watched(debug)
        .quota(if is_soak() { QUOTAS.0 } else { QUOTAS.1 })
        .lease("1s")
        .freshness("1s")
        .variable("REGISTRY_GC_INTERVAL", "5s")
        .variable("REGISTRY_GC_GRACE", "3s")
        .variable("REGISTRY_GC_UNTAGGED", "true")
        .variable("REGISTRY_VERIFY_INTERVAL", "20s")
        .start()
}

/// Pulls of many times the quota, moving tags, pushes, deletes, transfers that are cut off, faults of the upstream,
/// collections and verifications: the last tenth is as the second.
#[test]
fn it_stays_as_it_began() {
    let (upstream, data, debug) = (Upstream::plain(), scratch::dir("data"), Port::reserve());
    let mut server = start(&upstream, data.path(), &debug);
    let samples = {
        let load = Load::new(&server, &upstream);
        thread::scope(|scope| {
            let running = load.run(scope);
            let mut samples = Vec::new();
            for _ in 0..TENTHS {
                thread::sleep(length() / TENTHS);
                samples.push(load.while_paused(|| Sample::of(&server, &debug.url(), load.fixed())));
            }
            drop(running);
            samples
        })
    };
    sample::report(&samples);
    assert!(!is_soak() || upstream.sent(Kind::Blob) > 10 * 120_000_000, "too little was pulled");
    let (second, last) = (&samples[1], &samples[samples.len() - 1]);
    let grown: Vec<GrownQuantity> = last.grown_since(second);
    assert!(grown.is_empty(), "{grown:?}");
    assert!(server.stop().0.success());
    index_records::equal_those_made_anew(data.path(), Setup::both(&upstream.url()).data_at(data.path()));
}
