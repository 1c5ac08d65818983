//! The rate governor: clients do not feel an upstream's pull limit.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    support::{
        http,
        images::{Format, Image},
        rng::Rng,
        server::{Server, Setup},
        upstream::{Fault, Kind, Rule, Upstream},
    },
    tags::cache_status,
};

const NAME: &str = "org/app";
const TAGS: usize = 50;

fn upstream(limit: u64, window: Duration) -> Upstream {
    let upstream = Upstream::plain();
    upstream.options(|options| options.pull_limit = Some((limit, window)));
    upstream
}

fn move_tag(upstream: &Upstream, tag: usize, version: u64) -> String {
    let image = Image::single(Format::Oci, 20_000 + 1000 * tag as u64 + version);
    upstream.add(NAME, &tag.to_string(), &image);
    image.digest().to_owned()
}

/// Pulls all tags once, and returns the digest of each.
fn cached(server: &Server, upstream: &Upstream) -> Vec<String> {
    let first = |tag: usize| {
        let digest = move_tag(upstream, tag, 0);
        assert_eq!(server.manifest(NAME, &tag.to_string()).send().summary().digest, digest);
        digest
    };
    (0..TAGS).map(first).collect()
}

/// 10,000 pulls of 50 cached tags within the hour of a limit of 100, while tags move: no client sees a 429, and the
/// upstream counts fewer than 100.
#[test]
fn ten_thousand_pulls_stay_within_a_limit_of_a_hundred() {
    let upstream = upstream(100, Duration::from_secs(3600));
    let server = Setup::mirroring(&upstream.url()).freshness("200ms").start();
    let digests: Vec<_> = cached(&server, &upstream).into_iter().map(|digest| Mutex::new(vec![digest])).collect();
    let (left, moves) = (AtomicUsize::new(10_000), AtomicUsize::new(0));
    thread::scope(|scope| {
        for seed in 0..8 {
            let (server, digests, left) = (&server, &digests, &left);
            scope.spawn(move || {
                let mut rng = Rng::new(seed);
                while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    let tag = rng.throw(TAGS);
                    let response = server.manifest(NAME, &tag.to_string()).send();
                    assert_eq!(response.status, 200, "a pull of a cached tag");
                    let digest = response.summary().digest;
                    assert!(digests[tag].lock().unwrap().contains(&digest), "a manifest that the tag had");
                }
            });
        }
        scope.spawn(|| {
            let mut rng = Rng::new(99);
            for version in 1.. {
                if left.load(Ordering::SeqCst) == 0 {
                    break;
                }
                let tag = rng.throw(TAGS);
                let mut known = digests[tag].lock().unwrap();
                known.push(move_tag(&upstream, tag, version));
                drop(known);
                moves.fetch_add(1, Ordering::SeqCst);
                // One move for every fifty pulls, however quick they are.
                let next = left.load(Ordering::SeqCst).saturating_sub(50);
                while left.load(Ordering::SeqCst) > next {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
    });
    assert!(moves.load(Ordering::SeqCst) > 100, "more tags moved than the limit would have allowed");
    assert!((51..100).contains(&upstream.counted()), "{} counted", upstream.counted());
}

/// Once its window is over, each tag that moved is seen: within the window and `proxy.freshnessmax`.
#[test]
fn a_moved_tag_is_seen_when_the_window_is_over() {
    let window = Duration::from_secs(12);
    let upstream = upstream(60, window);
    let setup = Setup::mirroring(&upstream.url()).freshness("200ms").variable("REGISTRY_PROXY_FRESHNESSMAX", "2s");
    let server = setup.start();
    cached(&server, &upstream);
    let moved = Instant::now();
    let expected: Vec<_> = (0..20).map(|tag| move_tag(&upstream, tag, 1)).collect();
    let mut seen = [false; 20];
    let reserve = 6;
    while !seen.iter().all(|seen| *seen) {
        for (tag, expected) in expected.iter().enumerate() {
            let response = server.manifest(NAME, &tag.to_string()).send();
            assert_eq!(response.status, 200);
            seen[tag] |= response.summary().digest == *expected;
        }
        assert!(moved.elapsed() < window + Duration::from_secs(2 + 6), "{seen:?}");
        let is_early = moved.elapsed() < Duration::from_secs(4);
        assert!(
            !is_early || upstream.counted() <= 60 - reserve + 1,
            "{} counted: the reserve is kept",
            upstream.counted()
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// At the reserve, cached tags are served without a question, but for one in a while that looks whether more is left;
/// what is not cached is fetched from the reserve.
#[test]
fn the_reserve_is_for_what_is_not_cached() {
    let upstream = upstream(60, Duration::from_secs(3600));
    let setup = Setup::mirroring(&upstream.url()).freshness("0s").variable("REGISTRY_PROXY_FRESHNESSMAX", "0s");
    let server = setup.start();
    cached(&server, &upstream);
    // The budget is at a sixth; ten more are asked for.
    for tag in TAGS..TAGS + 5 {
        move_tag(&upstream, tag, 0);
        assert_eq!(server.manifest(NAME, &tag.to_string()).send().status, 200, "from the reserve");
    }
    let asked = upstream.requests().len();
    for _ in 0..50 {
        let response = server.manifest(NAME, "1").send();
        assert_eq!((response.status, cache_status(&response)), (200, "; fwd=stale"));
    }
    assert!(upstream.requests().len() <= asked + 2, "{} questions", upstream.requests().len() - asked);
    assert_eq!(upstream.count("GET", Kind::Manifest), TAGS + 5);
}

/// At the reserve, the upstream is still asked in a while whether more is left: by one HEAD in a sixtieth of the
/// window.
#[test]
fn one_head_in_a_while_looks_whether_more_is_left() {
    let upstream = upstream(10, Duration::from_secs(120));
    let setup = Setup::mirroring(&upstream.url()).freshness("0s").variable("REGISTRY_PROXY_FRESHNESSMAX", "0s");
    let server = setup.start();
    for tag in 0..9 {
        move_tag(&upstream, tag, 0);
        assert_eq!(server.manifest(NAME, &tag.to_string()).send().status, 200);
    }
    let (asked, began) = (upstream.requests().len(), Instant::now());
    while began.elapsed() < Duration::from_millis(5500) {
        let response = server.manifest(NAME, "1").send();
        assert_eq!((response.status, cache_status(&response)), (200, "; fwd=stale"));
        thread::sleep(Duration::from_millis(20));
    }
    let looks = upstream.requests().split_off(asked);
    assert!(looks.iter().all(|look| (look.kind, look.request.method.as_str()) == (Kind::Manifest, "HEAD")));
    assert!((2..=3).contains(&looks.len()), "{} looks in 5.5 s, of which one in 2 s is due", looks.len());
}

/// A reserve is a part of a limit: an upstream without one has none, even if all is to be reserved.
#[test]
fn without_a_limit_nothing_is_reserved() {
    let upstream = Upstream::plain();
    let setup = Setup::mirroring(&upstream.url()).freshness("0s").variable("REGISTRY_PROXY_RESERVE", "100%");
    let server = setup.start();
    for version in 0..3 {
        let expected = move_tag(&upstream, 1, version);
        assert_eq!(server.manifest(NAME, "1").send().summary().digest, expected, "{version}");
    }
}

/// Pull limits do not count lists: at the reserve, they are asked for as always.
#[test]
fn lists_are_fresh_at_the_reserve() {
    let upstream = upstream(10, Duration::from_secs(3600));
    let server = Setup::mirroring(&upstream.url()).freshness("300ms").start();
    let list = || http::get(&server.v2(&format!("{NAME}/tags/list"))).send().json()["tags"].as_array().unwrap().len();
    for tag in 0..9 {
        move_tag(&upstream, tag, 0);
        assert_eq!(server.manifest(NAME, &tag.to_string()).send().status, 200);
    }
    assert_eq!(list(), 9);
    move_tag(&upstream, 9, 0);
    thread::sleep(Duration::from_millis(400));
    assert_eq!((list(), upstream.count("GET", Kind::Tags)), (10, 2));
}

/// Pull limits do not count blobs either: what a repository has is asked although its manifests are refused.
#[test]
fn a_blob_is_fetched_while_manifests_are_refused() {
    let (hub, ghcr) = (Upstream::plain(), Upstream::plain());
    let shared = Image::of_size(Format::Oci, 20_001, 50_000);
    let other = Image::of_size(Format::Oci, 20_002, 50_000);
    hub.add(NAME, "1", &shared);
    ghcr.add(NAME, "1", &shared);
    ghcr.add(NAME, "2", &other);
    let sections = format!("{{docker.io: {{url: '{}'}}, ghcr.io: {{url: '{}'}}}}", hub.url(), ghcr.url());
    let server = Setup::bare().variable("REGISTRY_PROXY_UPSTREAMS", &sections).start();
    server.pull(NAME, "1", &shared);
    ghcr.fault(Rule::on(Kind::Manifest, Fault::StatusWith(429, "Retry-After", "3600".into())));
    let name = format!("ghcr.io/{NAME}");
    assert_eq!(server.manifest(&name, "1").send().status, 429);
    // The bytes of the first are here, and the upstream is asked whether the repository has them.
    for image in [&shared, &other] {
        let layer = &image.layer().digest;
        let response = server.blob(&name, layer).send();
        assert_eq!((response.status, response.summary().digest.as_str()), (200, layer.as_str()));
    }
    assert_eq!(server.manifest(&name, "1").send().status, 429, "manifests are refused as before");
    assert_eq!(ghcr.requests().iter().filter(|seen| seen.kind == Kind::Manifest).count(), 1);
}

/// With nothing left, a client is told when to come again, and the upstream is asked once for all of them.
#[test]
fn a_client_is_told_when_to_come_again() {
    let upstream = upstream(1, Duration::from_secs(3600));
    for tag in 0..40 {
        move_tag(&upstream, tag, 0);
    }
    let mut server = Setup::mirroring(&upstream.url()).start();
    assert_eq!(server.manifest(NAME, "0").send().status, 200);
    let refused = server.manifest(NAME, "1").send();
    assert_eq!(refused.status, 429);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    let message = refused.text();
    assert!((3000..4000).contains(&seconds) && message.contains(&format!("again in {seconds} s")), "{message}");
    let asked = upstream.requests().len();
    let server_ref = Arc::new(&server);
    thread::scope(|scope| {
        for tag in 2..40 {
            let server = Arc::clone(&server_ref);
            scope.spawn(move || assert_eq!(server.manifest(NAME, &tag.to_string()).send().status, 429));
        }
    });
    assert_eq!(upstream.requests().len(), asked, "nobody asks before the time is over");
    server.wait_for_log("upstream answered 429", Duration::from_secs(5));
    assert_eq!(server.log().matches("upstream answered 429").count(), 1);
}
