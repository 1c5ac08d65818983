//! Point 11: a million blobs in the index cost neither the start nor the eviction. Far fewer outside the soak: to make
//! such an index takes minutes.

use std::time::{Duration, Instant};

use crate::support::{
    crowd, http,
    images::{Format, Image},
    rounds, scratch,
    server::Setup,
};

/// Very many blobs, and few.
fn crowds() -> (usize, usize) {
    if rounds(10) == 10 { (1_000_000, 10_000) } else { (20_000, 4_000) }
}

/// Evicting a thousand blobs costs the same with few in the index as with very many.
#[test]
fn evicting_costs_the_same_however_many_there_are() {
    let cost = |blobs: usize| {
        let dir = scratch::dir("crowd");
        let index = dir.path().join("v1");
        crowd::fill(&index, blobs);
        crowd::evict(&index, 100);
        // The best of three: the machine does other things, too.
        (0..3).map(|_| crowd::evict(&index, 1000).1).min().unwrap()
    };
    let (many, few) = crowds();
    let (cost_of_many, cost_of_few) = (cost(many), cost(few));
    assert!(
        cost_of_many < cost_of_few * 2 + Duration::from_millis(20),
        "{cost_of_few:?} with {few} blobs, {cost_of_many:?} with {many}"
    );
}

/// The server answers within a second of its start, from a volume whose index knows very many blobs.
#[test]
fn it_answers_at_once_however_many_there_are() {
    let mut server = Setup::hosting().start();
    let image = Image::single(Format::Oci, 850);
    server.target().image("team/app", "1", &image);
    server.stop();
    crowd::fill(&server.data().join("index/v1"), crowds().0);
    let begun = Instant::now();
    let started = server.restart();
    assert_eq!(http::get(&server.v2("")).send().status, 200);
    server.pull("team/app", "1", &image);
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(1),
        "its first answers came {took:?} after its start, and it listened after {started:?}"
    );
}
