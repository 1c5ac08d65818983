//! Long work for one client, or in the background, does not delay other clients.

use std::time::Duration;

use crate::support::loads::{self, LOADS, Measured, Sizes, SmallRequests};

/// A small request may take longer than on an idle server by this factor and this addition.
const RATIO: u32 = 5;
const SLACK: Duration = Duration::from_millis(50);
/// The time for which small requests are measured without load, before each load.
const PEACE: Duration = Duration::from_millis(400);

/// For a second each, in a debug build.
fn small() -> Sizes {
    Sizes {
        mounted: 1,
        layer: 256 << 20,
        filling: 64 << 20,
        bandwidth: 4_000_000,
        ahead: 48 << 20,
        clients: 20,
        taken: 512 << 10,
        network: 12_500_000,
        idle: 200,
        disk: 32,
        repositories: 100,
        volume: 64,
        referrers: 20,
        referrer: 1 << 20,
        tags: 5_500,
        uploads: 3,
        upload: 128 << 20,
        lasting: Duration::from_secs(1),
        patience: Duration::from_secs(1),
    }
}

/// Under each kind of long work, a small blob and a probe take about as long as on an idle server. `--nocapture` shows
/// the figures; `cargo bench --bench liveness` has the loads as large as in production.
#[test]
fn long_work_delays_no_request() {
    let (_server, bystander) = loads::bystander();
    for (name, load) in LOADS {
        delays_no_request(name, &load(&small()).measure(PEACE, &bystander));
    }
}

#[allow(clippy::print_stderr, reason = "shown by --nocapture")]
fn delays_no_request(load: &str, measured: &Measured) {
    eprintln!("{load}: {:.1?}; {}", measured.took, measured.outcome);
    let waits = measured.loaded.iter().zip(&measured.peace).zip(&measured.beside);
    for (kind, ((loaded, peace), beside)) in SmallRequests::KINDS.iter().zip(waits) {
        let figures = format!("{kind} during {load}: {loaded}; in peace {peace}; beside it {beside}");
        eprintln!("    {figures}");
        for share in [0.5, 0.9] {
            let usual = peace.quantile(share).max(beside.quantile(share));
            assert!(loaded.quantile(share) < usual * RATIO + SLACK, "{figures}");
        }
    }
}
