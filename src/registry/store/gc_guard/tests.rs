//! Guards, and what collections and evictions leave alone by them.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn place(name: &str) -> Repository {
    Repository { domain: None, name: name.parse().unwrap() }
}

#[tokio::test]
async fn what_just_happened_is_recent() {
    let (gc_guard, digest) = (Arc::new(GcGuard::new(HOUR)), Digest::sha256(b"a"));
    drop(gc_guard.guard_manifest(&place("a"), &Digest::sha256(b"m")).await);
    let collecting = gc_guard.collect(Duration::ZERO).unwrap();
    let recent = collecting.recent;
    assert!(!gc_guard.is_protected(&place("a"), &digest, recent));
    assert_eq!(gc_guard.unless_recent(Some(&place("a")), &digest, recent, || 1), RemovalOutcome::Removed(1));
    gc_guard.protect(&digest).await;
    assert!(gc_guard.is_protected(&place("a"), &digest, recent), "the collection was under way already");
    assert_eq!(gc_guard.unless_recent(None, &digest, recent, || 1), RemovalOutcome::InUse);
    drop(gc_guard.guard_manifest(&place("a"), &Digest::sha256(b"m")).await);
    let other = Digest::sha256(b"b");
    assert_eq!(gc_guard.unless_recent(Some(&place("a")), &other, recent, || 1), RemovalOutcome::Outdated);
    assert_eq!(gc_guard.unless_recent(Some(&place("b")), &other, recent, || 1), RemovalOutcome::Removed(1));
}

#[tokio::test]
async fn what_is_in_somebody_s_hands_stays() {
    let (gc_guard, digest) = (Arc::new(GcGuard::new(Duration::ZERO)), Digest::sha256(b"a"));
    let one = gc_guard.guard_manifest(&place("a"), &digest).await;
    let two = gc_guard.guard_upload(&place("a"), None).await;
    let recent = gc_guard.collect(Duration::ZERO).unwrap().recent;
    gc_guard.tidy();
    assert!(gc_guard.is_protected(&place("a"), &digest, recent));
    let unlink = |recent| gc_guard.unless_recent(Some(&place("a")), &digest, recent, || 1);
    assert_eq!(unlink(recent), RemovalOutcome::Outdated);
    drop((one, two));
    assert_eq!(unlink(recent), RemovalOutcome::Outdated, "it ended since the collection began");
    let recent = gc_guard.collect(Duration::ZERO).unwrap().recent;
    assert!(!gc_guard.is_protected(&place("a"), &digest, recent));
    assert_eq!(unlink(recent), RemovalOutcome::Removed(1));
}

#[tokio::test]
async fn whoever_wants_what_is_being_removed_waits_and_nobody_else_does() {
    let gc_guard = Arc::new(GcGuard::new(Duration::ZERO));
    let (gone, other) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
    let recent = gc_guard.collect(Duration::ZERO).unwrap().recent;
    let (go_on, removing) = std::sync::mpsc::channel::<()>();
    let (began, begun) = std::sync::mpsc::channel();
    let remover = Arc::clone(&gc_guard);
    let work = move || {
        remover.unless_recent(Some(&place("a")), &gone, recent, || {
            began.send(()).unwrap();
            removing.recv().unwrap();
        })
    };
    let removal = std::thread::Builder::new().spawn(work).unwrap();
    begun.recv().unwrap();
    gc_guard.protect(&other).await;
    drop(gc_guard.guard_manifest(&place("b"), &other).await);
    let (a, b) = (place("a"), place("b"));
    let mut wanting = Box::pin(gc_guard.guard_manifest(&b, &gone));
    let mut entering = Box::pin(gc_guard.guard_upload(&a, None));
    let moment = Duration::from_millis(20);
    assert!(tokio::time::timeout(moment, &mut wanting).await.is_err(), "its digest is going");
    assert!(tokio::time::timeout(moment, &mut entering).await.is_err(), "a link of its repository is going");
    assert!(gc_guard.is_protected(&b, &gone, recent), "what waits is held already");
    assert_eq!(
        gc_guard.unless_held(None, &other, || 1),
        RemovalOutcome::Removed(1),
        "a removal does not exclude that of another digest"
    );
    assert_eq!(gc_guard.unless_held(None, &gone, || 1), RemovalOutcome::InUse, "it is held");
    go_on.send(()).unwrap();
    drop((wanting.await, entering.await));
    assert_eq!(removal.join().unwrap(), RemovalOutcome::Removed(()));
    assert_eq!(
        gc_guard.unless_recent(None, &gone, recent, || ()),
        RemovalOutcome::InUse,
        "it was wanted in time for the next"
    );
}

#[test]
fn a_close_waits_for_a_removal_and_allows_no_other() {
    let gc_guard = Arc::new(GcGuard::new(Duration::ZERO));
    let recent = gc_guard.collect(Duration::ZERO).unwrap().recent;
    let (began, begun) = std::sync::mpsc::channel();
    let remover = Arc::clone(&gc_guard);
    let slow = move || {
        began.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        Instant::now()
    };
    let work = move || remover.unless_recent(None, &Digest::sha256(b"a"), recent, slow);
    let removal = std::thread::Builder::new().spawn(work).unwrap();
    begun.recv().unwrap();
    gc_guard.close();
    let closed = Instant::now();
    assert!(matches!(removal.join().unwrap(), RemovalOutcome::Removed(over) if over <= closed));
    assert_eq!(gc_guard.unless_recent(None, &Digest::sha256(b"b"), recent, || ()), RemovalOutcome::InUse);
}

#[tokio::test]
async fn a_removal_that_panics_keeps_nobody_waiting() {
    let gc_guard = Arc::new(GcGuard::new(Duration::ZERO));
    let (digest, recent) = (Digest::sha256(b"a"), gc_guard.collect(Duration::ZERO).unwrap().recent);
    let remover = Arc::clone(&gc_guard);
    let work = move || remover.unless_recent(None, &digest, recent, || panic!("on purpose"));
    assert!(std::thread::Builder::new().spawn(work).unwrap().join().is_err());
    gc_guard.protect(&digest).await;
}

#[tokio::test]
async fn a_long_collection_leaves_alone_what_was_recent_when_it_began() {
    let (gc_guard, digest) = (Arc::new(GcGuard::new(Duration::from_millis(10))), Digest::sha256(b"a"));
    gc_guard.protect(&digest).await;
    let collecting = gc_guard.collect(HOUR).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    gc_guard.tidy();
    assert!(gc_guard.is_protected(&place("a"), &digest, collecting.recent));
}

#[test]
fn a_start_counts_as_activity() {
    let gc_guard = GcGuard::new(HOUR);
    let recent = gc_guard.collect(HOUR).unwrap().recent;
    assert!(gc_guard.is_protected(&place("a"), &Digest::sha256(b"a"), recent));
}

#[tokio::test]
async fn a_manifest_outdates_the_plans_made_before_it_alone() {
    let (gc_guard, digest) = (Arc::new(GcGuard::new(HOUR)), Digest::sha256(b"a"));
    let recent = gc_guard.collect(Duration::ZERO).unwrap().recent;
    let (repository, manifest) = (place("a"), Digest::sha256(b"m"));
    let unlink = |recent| gc_guard.unless_recent(Some(&repository), &digest, recent, || 1);
    drop(gc_guard.guard_upload(&repository, None).await);
    assert_eq!(unlink(recent), RemovalOutcome::Removed(1), "an upload names nothing");
    drop(gc_guard.guard_manifest(&repository, &manifest).await);
    assert_eq!(unlink(recent), RemovalOutcome::Outdated);
    let recent = recent.planned_now();
    assert_eq!(unlink(recent), RemovalOutcome::Removed(1));
    let _guard = gc_guard.guard_manifest(&repository, &manifest).await;
    assert_eq!(unlink(recent.planned_now()), RemovalOutcome::Outdated);
}

/// The first blobs of a push stay until its last is there, however long that takes.
#[tokio::test]
async fn a_long_upload_keeps_what_was_used_before_it() {
    let (gc_guard, digest) = (Arc::new(GcGuard::new(HOUR)), Digest::sha256(b"a"));
    let grace = Duration::from_millis(50);
    gc_guard.protect(&digest).await;
    let upload = gc_guard.guard_upload(&place("a"), None).await;
    std::thread::sleep(2 * grace);
    let unlink = |name| {
        let recent = gc_guard.collect(grace).unwrap().recent;
        gc_guard.unless_recent(Some(&place(name)), &digest, recent, || 1)
    };
    gc_guard.tidy();
    assert_eq!(unlink("a"), RemovalOutcome::InUse);
    assert_eq!(unlink("b"), RemovalOutcome::Removed(1));
    drop(upload);
    assert_eq!(unlink("a"), RemovalOutcome::Removed(1));
}

#[test]
fn one_collection_at_a_time() {
    let gc_guard = GcGuard::new(HOUR);
    let first = gc_guard.collect(HOUR);
    assert!(first.is_some() && gc_guard.collect(HOUR).is_none());
    drop(first);
    assert!(gc_guard.collect(HOUR).is_some());
}

#[tokio::test]
async fn nothing_is_remembered_for_longer_than_it_matters() {
    let (gc_guard, digest) = (Arc::new(GcGuard::new(Duration::ZERO)), Digest::sha256(b"a"));
    let collecting = gc_guard.collect(HOUR).unwrap();
    let recent = collecting.recent;
    assert_eq!(recent.grace, Duration::ZERO);
    gc_guard.protect(&digest).await;
    gc_guard.tidy();
    assert!(gc_guard.is_protected(&place("a"), &digest, recent), "while a collection is under way it matters");
    drop(collecting);
    gc_guard.tidy();
    assert!(gc_guard.seen.lock().digests.is_empty());
}
