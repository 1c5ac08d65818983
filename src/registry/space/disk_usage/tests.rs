//! Tests of the counts of sources and repositories.

use std::time::Duration;

use super::*;
use crate::{
    index::{Amount, Arrival, BlobKind, Index, Link, Origins, Role, VerifiedStamp},
    lanes::{Blocking, Lanes},
    metrics::Metrics,
    registry::{EvictionRules, store::blob_store::BlobStore},
    storage::{SpaceLimits, Storage},
};

const LAYER: Link = Link { layer: true, revision: false, named: None, wanted: false };
const REVISION: Link = Link { layer: false, revision: true, named: None, wanted: false };

struct Fixture {
    _dir: tempfile::TempDir,
    store: BlobStore,
}

fn repository(text: &str) -> Repository {
    match text.split_once(':') {
        Some((domain, name)) => Repository { domain: Some(domain.parse().unwrap()), name: name.parse().unwrap() },
        None => Repository { domain: None, name: text.parse().unwrap() },
    }
}

fn blob(name: &str) -> Digest {
    Digest::sha256(name.as_bytes())
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let storage = Storage::open(Blocking::in_test(), dir.path(), SpaceLimits::default()).unwrap();
        let index = Index::open(&storage.index_dir());
        let metrics = Metrics::new().unwrap().into();
        let store =
            BlobStore::new(storage, index, EvictionRules::default(), Duration::ZERO, metrics, Lanes::new().unwrap());
        store.volume.index.set_complete();
        Self { _dir: dir, store }
    }

    /// Adds a blob of `bytes` bytes, last used at `used`, linked by the repositories `places`.
    fn has(&self, name: &str, bytes: u64, used: u64, link: Link, places: &[&str]) {
        let mirrored = places.iter().all(|place| place.contains(':'));
        let (stamp, kind) = (VerifiedStamp { size: bytes, mtime: 0, inode: 0 }, BlobKind::Blob);
        let arrival =
            Arrival { stamp, allocated: bytes, origins: Origins { mirrored, hosted: !mirrored }, kind, now: used };
        self.store.volume.index.published(&blob(name), &arrival);
        places.iter().for_each(|place| self.store.volume.index.add_link(&repository(place), &blob(name), link));
    }

    fn count(&self) -> (Vec<UsageEvent>, Counted) {
        let mut found = Vec::new();
        let mut on_event = |event| {
            found.push(event);
            ControlFlow::Continue(())
        };
        let counted = UsageCount::default().run(&self.store.with(Blocking::in_test()), &mut on_event).unwrap();
        (found, counted)
    }
}

/// Size, exclusive bytes, objects, last use.
type Figures = (u64, u64, u64, Option<u64>);

fn figures(weight: &BlobUsage) -> Figures {
    (weight.size, weight.exclusive, weight.objects, weight.used)
}

fn of(found: &[UsageEvent], place: &str) -> Figures {
    let wanted = repository(place);
    let of = |event: &UsageEvent| match event {
        UsageEvent::Repository(known, weight) if *known == wanted => Some(figures(weight)),
        _ => None,
    };
    found.iter().find_map(of).unwrap()
}

fn source(found: &[UsageEvent], domain: Option<&str>) -> Figures {
    let domain = domain.map(|domain| domain.parse().unwrap());
    let of = |event: &UsageEvent| match event {
        UsageEvent::Source(known, weight) if *known == domain => Some(figures(weight)),
        _ => None,
    };
    found.iter().find_map(of).unwrap()
}

#[test]
fn a_blob_is_exclusive_to_its_only_holder() {
    let place = Fixture::new();
    place.has("own", 1, 10, LAYER, &["a"]);
    place.has("both", 2, 10, LAYER, &["a", "b"]);
    let (found, counted) = place.count();
    assert_eq!((of(&found, "a"), of(&found, "b")), ((3, 1, 2, Some(10)), (2, 0, 1, Some(10))));
    assert_eq!(source(&found, None), (3, 3, 2, Some(10)), "a source is not shared with itself");
    assert_eq!((counted.unlinked, counted.changed), (Amount::default(), 0));
}

#[test]
fn sources_add_up() {
    let place = Fixture::new();
    place.has("pushed", 1, 10, LAYER, &["a"]);
    place.has("pushed and pulled", 2, 10, LAYER, &["a", "docker.io:a"]);
    place.has("pulled", 4, 10, LAYER, &["docker.io:a", "docker.io:b"]);
    place.has("first from the later name", 8, 10, LAYER, &["docker.io:a"]);
    place.store.volume.index.add_link(&repository("aa.example:a"), &blob("first from the later name"), LAYER);
    place.has("nobody's", 16, 10, LAYER, &[]);
    let (found, counted) = place.count();
    assert_eq!(source(&found, None), (3, 1, 2, Some(10)));
    assert_eq!(source(&found, Some("docker.io")), (12, 4, 2, Some(10)));
    assert_eq!(source(&found, Some("aa.example")), (0, 0, 0, None), "what it has is counted elsewhere");
    assert_eq!((of(&found, "docker.io:a"), of(&found, "aa.example:a")), ((14, 0, 3, Some(10)), (8, 0, 1, Some(10))));
    assert_eq!(counted.unlinked, Amount { bytes: 16, blobs: 1 });
}

#[test]
fn a_mirrored_repository_holds_what_its_manifests_name() {
    let place = Fixture::new();
    for name in ["docker.io:a", "b"] {
        place.has("manifest", 1, 10, REVISION, &[name]);
    }
    place.has("layer", 2, 10, LAYER, &["docker.io:c"]);
    place.store.volume.index.add_parent(&blob("layer"), &blob("manifest"), Role::Layer);
    let (found, _) = place.count();
    assert_eq!((of(&found, "docker.io:a"), of(&found, "docker.io:c")), ((3, 0, 2, Some(10)), (2, 0, 1, Some(10))));
    assert_eq!(of(&found, "b"), (1, 0, 1, Some(10)), "of what was pushed, links tell");
}

#[test]
fn a_repository_was_used_when_its_manifests_were() {
    let place = Fixture::new();
    place.has("base", 1, 99, LAYER, &["a", "b", "c"]);
    place.has("a's", 1, 50, REVISION, &["a"]);
    place.has("a's as well", 1, 40, REVISION, &["a"]);
    place.has("b's", 1, 30, REVISION, &["b"]);
    let (found, _) = place.count();
    let used = |name| of(&found, name).3;
    assert_eq!((used("a"), used("b"), used("c")), (Some(50), Some(30), Some(99)));
    assert_eq!(source(&found, None).3, Some(50));
}

#[test]
fn it_reports_progress_and_can_be_cancelled() {
    let place = Fixture::new();
    // The index returns a thousand at a time.
    let many = 3001_u32;
    for number in 0..many {
        place.has(&number.to_string(), 1, 10, LAYER, &["a"]);
    }
    let (found, _) = place.count();
    let steps = found.iter().filter_map(|event| match event {
        UsageEvent::Step { done, of, .. } => Some((*done, *of)),
        _ => None,
    });
    let all = Some(u64::from(many));
    assert_eq!(steps.collect::<Vec<_>>(), [(1000, all), (2000, all), (3000, all), (3001, all)]);
    let given_up = UsageCount::default().run(&place.store.with(Blocking::in_test()), &mut |_| ControlFlow::Break(()));
    assert!(matches!(given_up, Err(Error::Cancelled)));
}

#[test]
fn it_waits_for_the_index() {
    let place = Fixture::new();
    place.has("own", 1, 10, LAYER, &["a"]);
    place.store.volume.index.clear();
    let mut waited = 0;
    let mut on_event = |event| {
        if event == (UsageEvent::Step { done: 0, of: None, bytes: 0 }) {
            waited += 1;
            place.has("own", 1, 10, LAYER, &["a"]);
            place.store.volume.index.set_complete();
        }
        ControlFlow::Continue(())
    };
    UsageCount::default().run(&place.store.with(Blocking::in_test()), &mut on_event).unwrap();
    assert_eq!(waited, 1);
    place.store.volume.index.clear();
    let gone = UsageCount::default().run(&place.store.with(Blocking::in_test()), &mut |_| ControlFlow::Break(()));
    assert!(matches!(gone, Err(Error::Cancelled)), "whoever asked may leave while it waits");
}

#[test]
fn what_changed_meanwhile_is_reported() {
    let place = Fixture::new();
    place.has("own", 1, 10, LAYER, &["a"]);
    assert!(blob("late") < blob("own"), "it comes where nobody looks any more");
    let mut on_event = |event| {
        if matches!(event, UsageEvent::Step { .. }) {
            place.has("late", 64, 10, LAYER, &["a"]);
        }
        ControlFlow::Continue(())
    };
    assert_eq!(UsageCount::default().run(&place.store.with(Blocking::in_test()), &mut on_event).unwrap().changed, 64);
}
