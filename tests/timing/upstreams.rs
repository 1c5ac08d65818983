//! Several upstreams, and one that is far away: how long pulls take.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    far::Far,
    http,
    images::{Format, Image},
    server::{Server, Setup},
    upstream::{Fault, Rule, Upstream},
};

const NAME: &str = "org/app";

/// Pulls an image as docker does: three layers at a time.
fn pull(base: &str, image: &Image) -> Duration {
    let began = Instant::now();
    assert_eq!(http::get(&format!("{base}/v2/{NAME}/manifests/1")).send().summary().digest, image.digest());
    let left = Mutex::new(image.blobs.iter().rev().skip(1).collect::<Vec<_>>().into_iter().rev());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(layer) = left.lock().unwrap().next() else { return };
                    let got = http::get(&format!("{base}/v2/{NAME}/blobs/{}", layer.digest)).send();
                    assert_eq!(got.summary().digest, layer.digest);
                }
            });
        }
    });
    began.elapsed()
}

/// A cold pull of twelve layers from far away takes less time through the mirror than straight, since more connections
/// carry it.
#[test]
fn a_cold_pull_from_far_away_is_quicker_through_the_mirror() {
    let (upstream, image) = (Upstream::plain(), Image::of_many_layers(Format::Oci, 2100, 12, 1_000_000));
    upstream.add(NAME, "1", &image);
    let far = Far::before(&upstream.url(), Duration::from_millis(50), 2_000_000);
    let straight = pull(&far.url(), &image);
    let server = Setup::mirroring(&far.url()).start();
    let through = pull(server.url(), &image);
    assert!(through.as_secs_f64() < 0.85 * straight.as_secs_f64(), "{through:.2?} through, {straight:.2?} straight");
}

/// Times of pulls of uncached images from an upstream, in order.
fn uncached(server: &Server, upstream: &Upstream, from: u64) -> Vec<Duration> {
    let one = |seed: u64| {
        let (tag, image) = (seed.to_string(), Image::single(Format::Oci, seed));
        upstream.add(NAME, &tag, &image);
        let began = Instant::now();
        server.pull(&format!("quay.io/{NAME}"), &tag, &image);
        began.elapsed()
    };
    let mut times: Vec<_> = (from..from + 60).map(one).collect();
    times.sort_unstable();
    times
}

/// Ends the load, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// While one upstream hangs, with a hundred clients that wait for it, pulls from another take as long as before.
#[test]
fn an_upstream_that_hangs_slows_no_other() {
    let (hanging, quick) = (Upstream::plain(), Upstream::plain());
    let sections = format!("{{docker.io: {{url: '{}'}}, quay.io: {{url: '{}'}}}}", hanging.url(), quick.url());
    let server = Setup::bare().variable("REGISTRY_PROXY_UPSTREAMS", &sections).start();
    let peace = uncached(&server, &quick, 2200);
    hanging.fault(Rule::on_all(Fault::Hang));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in 0..100 {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let path = format!("org/app{client}/manifests/1");
                    let _ = http::get(&server.v2(&path)).patience(Duration::from_secs(12)).try_send();
                }
            });
        }
        thread::sleep(Duration::from_secs(1));
        let end = End(&over);
        let loaded = uncached(&server, &quick, 2300);
        drop(end);
        let (usual, slowed) = (peace[54], loaded[54]);
        assert!(slowed < usual * 3 + Duration::from_millis(50), "{slowed:.1?} beside it, {usual:.1?} in peace");
    });
}
