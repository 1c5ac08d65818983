//! The contract of a durable store, as a suite that each implementation passes: one check for each promise.

use std::{
    cell::RefCell,
    fmt::Debug,
    fs,
    os::unix::fs::symlink,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use super::{
    AppendBytes, BlobContent, Claim, Disk, Durability, DurableStore, Error, LinkKind, Opened, Published, SpaceLimits,
    Storage, Verdict,
};
use crate::{
    lanes::Blocking,
    oci::{Digest, Domain, Reference, Repository, Tag, UploadId},
};

const BOTH: [Durability; 2] = [Durability::Synced, Durability::Unsynced];
const KINDS: [LinkKind<'_>; 2] = [LinkKind::Layer, LinkKind::Revision];
const STARTED: &str = "2026-01-02T03:04:05Z";
/// More entries than a store is likely to list at a time, were it a page.
const MANY: u32 = 1100;

/// A promise, and the check that a store keeps it.
type Check<B> = (&'static str, fn(B));

fn checks<B: DurableStore>() -> [Check<B>; 17] {
    [
        ("a blob is absent until its upload is committed", a_blob_is_absent_until_committed),
        ("a range is read as far as the blob reaches", a_range_is_read),
        ("a local blob and a range of it are the same bytes", content_is_one),
        ("a commit does not replace", a_commit_does_not_replace),
        ("an upload goes on where it was", an_upload_goes_on),
        ("an upload has one writer", an_upload_has_one_writer),
        ("a removed upload is gone, its neighbours are not", a_removed_upload_is_gone),
        ("a removed blob is gone, its neighbours are not", a_removed_blob_is_gone),
        ("a removed link is gone, its neighbours are not", a_removed_link_is_gone),
        ("durability is a parameter", durability_is_a_parameter),
        ("lists are complete", lists_are_complete),
        ("a tag has one value, and a history", a_tag_has_one_value),
        ("a removed tag is gone, its neighbours are not", a_removed_tag_is_gone),
        ("a note of a pull goes with what was pulled", a_pull_is_noted),
        ("a claim is replaced and removed alone", a_claim_stands_alone),
        ("every repository is listed once", repositories_are_listed),
        ("removing twice is no error", removing_twice_is_no_error),
    ]
}

/// Checks every promise on a store of its own. `make` makes an empty store; `fail` lets everything that is asked of it
/// later fail.
pub(super) fn holds<B: DurableStore>(make: impl Fn() -> B, fail: impl Fn(&B)) {
    let is_kept = |check: &dyn Fn(B)| catch_unwind(AssertUnwindSafe(|| check(make()))).is_ok();
    let mut broken: Vec<_> =
        checks().into_iter().filter(|(_, check)| !is_kept(check)).map(|(promise, _)| promise).collect();
    if !is_kept(&|store| an_error_is_not_an_absence(store, &fail)) {
        broken.push("an error is not an absence");
    }
    assert!(broken.is_empty(), "broken: {broken:#?}");
}

fn hosted(name: &str) -> Repository {
    Repository { domain: None, name: name.parse().unwrap() }
}

fn mirrored(name: &str) -> Repository {
    Repository { domain: Some(Domain::docker_hub()), ..hosted(name) }
}

fn tag(tag: &str) -> Tag {
    tag.parse().unwrap()
}

fn digest(number: u32) -> Digest {
    Digest::sha256(&number.to_be_bytes())
}

/// Returns a list in order, after a check that nothing is in it twice.
fn listed<T: Ord + Debug>(list: impl Iterator<Item = Result<T, Error>>) -> Vec<T> {
    let mut all: Vec<_> = list.collect::<Result<_, _>>().unwrap();
    all.sort();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "twice: {all:?}");
    all
}

fn writer<B: DurableStore>(store: B, repository: &Repository, id: UploadId, written: u64) -> B::Writer {
    match store.resume_upload(repository, id, written).unwrap() {
        Opened::Writable(writer) => writer,
        Opened::Busy => panic!("another request writes to the upload"),
        Opened::Gone => panic!("the upload is gone"),
    }
}

/// Uploads bytes without committing them.
fn upload(store: impl DurableStore, repository: &Repository, bytes: &[u8]) -> UploadId {
    let id = UploadId::random();
    store.begin_upload(repository, id, STARTED).unwrap();
    writer(store, repository, id, 0).append(Blocking::in_test(), bytes, 0).unwrap();
    id
}

/// Publishes bytes under their digest.
fn publish(store: impl DurableStore, bytes: &[u8]) -> Digest {
    let (repository, digest) = (hosted("the/publisher"), Digest::sha256(bytes));
    let id = upload(store, &repository, bytes);
    assert!(matches!(store.commit_upload(&repository, id, &digest).unwrap(), Published::New(_)));
    store.remove_upload(&repository, id).unwrap();
    digest
}

fn all_of(store: impl DurableStore, digest: &Digest) -> Option<Vec<u8>> {
    store.read_blob(digest, 0..u64::MAX).unwrap()
}

fn a_blob_is_absent_until_committed<B: DurableStore>(store: B) {
    let (repository, digest) = (hosted("a/b"), Digest::sha256(b"bytes"));
    let id = upload(store, &repository, b"bytes");
    assert!(store.open_blob(&digest).unwrap().is_none() && store.blob_size(&digest).unwrap().is_none());
    assert!(all_of(store, &digest).is_none() && listed(store.blobs()).is_empty());
    assert!(matches!(store.commit_upload(&repository, id, &digest).unwrap(), Published::New(_)));
    assert_eq!(store.blob_size(&digest).unwrap(), Some(5));
    assert_eq!(listed(store.blobs()), [(digest, 5)]);
    assert!(!store.has_link(&repository, LinkKind::Layer, &digest).unwrap(), "a commit links nothing");
}

fn a_range_is_read<B: DurableStore>(store: B) {
    let digest = publish(store, b"0123456789");
    for (range, bytes) in [(0..10, "0123456789"), (0..1, "0"), (3..6, "345"), (9..10, "9"), (8..99, "89"), (4..4, "")] {
        assert_eq!(store.read_blob(&digest, range.clone()).unwrap().as_deref(), Some(bytes.as_bytes()), "{range:?}");
    }
    assert_eq!(store.read_blob(&digest, 10..20).unwrap().as_deref(), Some(&[][..]), "it begins at the end");
    assert_eq!(store.read_blob(&digest, 11..20).unwrap().as_deref(), Some(&[][..]), "it begins beyond the end");
}

fn content_is_one<B: DurableStore>(store: B) {
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| at.to_be_bytes()[3] ^ at.to_be_bytes()[2]).collect();
    let digest = publish(store, &bytes);
    assert!(all_of(store, &digest).unwrap() == bytes);
    match store.open_blob(&digest).unwrap().unwrap() {
        BlobContent::Remote { size } => assert_eq!(size, bytes.len() as u64),
        BlobContent::Local(stored) => {
            let mut read = vec![0; bytes.len()];
            stored.file.read_exact_at(Blocking::in_test(), &mut read, 0).unwrap();
            assert!(read == bytes && stored.stamp.size == bytes.len() as u64);
            store.remove_blob(&digest).unwrap();
            stored.file.read_exact_at(Blocking::in_test(), &mut read, 0).unwrap();
            assert!(read == bytes, "an open file stays readable");
        }
    }
}

/// The second upload has other bytes, so that it shows which of them stayed.
fn a_commit_does_not_replace<B: DurableStore>(store: B) {
    let (repository, digest) = (hosted("a/b"), publish(store, b"first"));
    let id = upload(store, &repository, b"the second");
    assert!(matches!(store.commit_upload(&repository, id, &digest).unwrap(), Published::Existing));
    assert_eq!(all_of(store, &digest).as_deref(), Some(&b"first"[..]));
    assert_eq!(store.upload_size(&repository, id).unwrap(), Some(10), "the session keeps its bytes");
    store.remove_blob(&digest).unwrap();
    assert!(matches!(store.commit_upload(&repository, id, &digest).unwrap(), Published::New(_)));
    assert_eq!(all_of(store, &digest).as_deref(), Some(&b"the second"[..]));
}

fn an_upload_goes_on<B: DurableStore>(store: B) {
    let (repository, id, io) = (hosted("a/b"), UploadId::random(), Blocking::in_test());
    store.begin_upload(&repository, id, STARTED).unwrap();
    assert_eq!(store.upload_size(&repository, id).unwrap(), Some(0));
    writer(store, &repository, id, 0).append(io, b"0123", 0).unwrap();
    assert_eq!(store.upload_size(&repository, id).unwrap(), Some(4));
    let second = writer(store, &repository, id, 4);
    second.append(io, b"45", 4).unwrap();
    second.append(io, b"lost", 6).unwrap();
    drop(second);
    writer(store, &repository, id, 6).append(io, b"6789", 6).unwrap();
    assert_eq!(store.upload_size(&repository, id).unwrap(), Some(10), "what was not acknowledged is cut off");
    let digest = Digest::sha256(b"0123456789");
    assert!(matches!(store.commit_upload(&repository, id, &digest).unwrap(), Published::New(_)));
    assert_eq!(all_of(store, &digest).as_deref(), Some(&b"0123456789"[..]));
}

fn an_upload_has_one_writer<B: DurableStore>(store: B) {
    let (repository, id) = (hosted("a/b"), UploadId::random());
    assert!(matches!(store.resume_upload(&repository, id, 4).unwrap(), Opened::Gone), "it was never begun");
    store.begin_upload(&repository, id, STARTED).unwrap();
    let first = writer(store, &repository, id, 0);
    assert!(matches!(store.resume_upload(&repository, id, 0).unwrap(), Opened::Busy));
    drop(first);
    assert!(matches!(store.resume_upload(&repository, id, 0).unwrap(), Opened::Writable(_)));
    assert!(matches!(store.resume_upload(&repository, id, 4).unwrap(), Opened::Gone), "it does not have these bytes");
}

fn a_removed_upload_is_gone<B: DurableStore>(store: B) {
    let repository = hosted("a/b");
    let (gone, stays) = (upload(store, &repository, b"1"), upload(store, &repository, b"22"));
    let ids = || listed(store.uploads_of(&repository)).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids().len(), 2);
    store.remove_upload(&repository, gone).unwrap();
    assert_eq!(ids(), [stays]);
    assert_eq!(store.upload_size(&repository, gone).unwrap(), None);
    assert_eq!(store.upload_size(&repository, stays).unwrap(), Some(2));
    assert_eq!(store.upload_size(&hosted("a"), stays).unwrap(), None, "it belongs to its repository");
}

fn a_removed_blob_is_gone<B: DurableStore>(store: B) {
    let (repository, gone, stays) = (hosted("a/b"), publish(store, b"gone"), publish(store, b"stays"));
    store.add_link(&repository, LinkKind::Layer, &gone, Durability::Unsynced).unwrap();
    store.remove_blob(&gone).unwrap();
    assert!(store.blob_size(&gone).unwrap().is_none() && store.open_blob(&gone).unwrap().is_none());
    assert!(all_of(store, &gone).is_none());
    assert_eq!(listed(store.blobs()), [(stays, 5)]);
    assert!(store.has_link(&repository, LinkKind::Layer, &gone).unwrap(), "its links are the caller's");
    assert_eq!(publish(store, b"gone"), gone, "it can be published again");
}

fn a_removed_link_is_gone<B: DurableStore>(store: B) {
    let (gone, other, history) = (digest(1), digest(2), tag("gone"));
    let kinds = [LinkKind::Layer, LinkKind::Revision, LinkKind::History(&history)];
    let places = [hosted("a"), hosted("a/b"), hosted("a-b"), mirrored("a")];
    for kind in kinds {
        for place in &places {
            for linked in [&gone, &other] {
                assert!(!store.has_link(place, kind, linked).unwrap());
                store.add_link(place, kind, linked, Durability::Unsynced).unwrap();
            }
        }
    }
    for kind in kinds {
        store.remove_link(&places[0], kind, &gone, Durability::Unsynced).unwrap();
        assert!(!store.has_link(&places[0], kind, &gone).unwrap(), "{kind:?}");
        assert!(places[1..].iter().all(|place| store.has_link(place, kind, &gone).unwrap()), "{kind:?}");
        assert!(places.iter().all(|place| store.has_link(place, kind, &other).unwrap()), "{kind:?}");
        assert_eq!(listed(store.linked(&places[0], kind)), [other], "{kind:?}");
        let later = kinds.iter().skip_while(|later| **later != kind).skip(1);
        assert!(later.into_iter().all(|later| store.has_link(&places[0], *later, &gone).unwrap()), "{kind:?}");
    }
}

/// Both durabilities do the same as long as no power failure follows. The tests of crashes show the difference.
fn durability_is_a_parameter<B: DurableStore>(store: B) {
    let repository = hosted("a/b");
    for (number, durability) in (0..).zip(BOTH) {
        for kind in KINDS {
            store.add_link(&repository, kind, &digest(number), durability).unwrap();
            store.add_link(&repository, kind, &digest(number), durability).unwrap();
            assert_eq!(listed(store.linked(&repository, kind)), [digest(number)], "a second time changes nothing");
            store.remove_link(&repository, kind, &digest(number), durability).unwrap();
            assert_eq!(listed(store.linked(&repository, kind)), []);
        }
        store.set_tag(&repository, &tag("a"), &digest(number), durability).unwrap();
        assert_eq!(store.tag(&repository, &tag("a")).unwrap(), Some(digest(number)));
    }
}

fn lists_are_complete<B: DurableStore>(store: B) {
    let repository = hosted("a/b");
    let mut digests: Vec<_> = (0..MANY).map(digest).collect();
    for (number, digest) in (0..).zip(&digests) {
        KINDS.iter().for_each(|kind| store.add_link(&repository, *kind, digest, Durability::Unsynced).unwrap());
        store.set_tag(&repository, &tag(&format!("v{number}")), digest, Durability::Unsynced).unwrap();
    }
    let mut tags: Vec<_> =
        (0..).zip(&digests).map(|(number, digest): (u32, _)| (tag(&format!("v{number}")), Some(*digest))).collect();
    digests.sort();
    tags.sort();
    KINDS.iter().for_each(|kind| assert_eq!(listed(store.linked(&repository, *kind)), digests));
    assert_eq!(listed(store.tags(&repository)), tags);
    let mut blobs: Vec<_> = (0..40_u8).map(|number| (publish(store, &[number; 10]), 10)).collect();
    blobs.sort();
    assert_eq!(listed(store.blobs()), blobs);
}

fn a_tag_has_one_value<B: DurableStore>(store: B) {
    let (repository, latest) = (hosted("a/b"), tag("latest"));
    assert_eq!(store.tag(&repository, &latest).unwrap(), None);
    assert_eq!(store.tag_time(&repository, &latest).unwrap(), None);
    for number in [1, 2, 1, 3] {
        let before = SystemTime::now() - Duration::from_secs(2);
        store.set_tag(&repository, &latest, &digest(number), Durability::Unsynced).unwrap();
        assert_eq!(store.tag(&repository, &latest).unwrap(), Some(digest(number)));
        assert_eq!(listed(store.tags(&repository)), [(latest.clone(), Some(digest(number)))]);
        let set = store.tag_time(&repository, &latest).unwrap().unwrap();
        assert!(before < set && set < SystemTime::now() + Duration::from_secs(2));
    }
    let mut named = [1, 2, 3].map(digest);
    named.sort();
    assert_eq!(listed(store.linked(&repository, LinkKind::History(&latest))), named);
    store.remove_link(&repository, LinkKind::History(&latest), &digest(1), Durability::Unsynced).unwrap();
    assert_eq!(store.tag(&repository, &latest).unwrap(), Some(digest(3)), "the history is not the value");
}

fn a_pull_is_noted<B: DurableStore>(store: B) {
    let (repository, other, latest) = (hosted("a/b"), hosted("a"), tag("latest"));
    let pulled = [Reference::Tag(latest.clone()), Reference::Digest(digest(1))];
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let noted = |reference: &Reference| store.noted_pull(&repository, reference).unwrap();
    for reference in &pulled {
        store.note_pull(&repository, reference, at(1)).unwrap();
        assert_eq!(noted(reference), None, "there is nothing to pull");
    }
    assert!(listed(store.tags(&repository)).is_empty() && listed(store.repositories()).is_empty());
    for place in [&repository, &other] {
        store.add_link(place, LinkKind::Revision, &digest(1), Durability::Unsynced).unwrap();
        store.set_tag(place, &latest, &digest(1), Durability::Unsynced).unwrap();
    }
    for (reference, seconds) in pulled.iter().flat_map(|reference| [(reference, 5), (reference, 9)]) {
        store.note_pull(&repository, reference, at(seconds)).unwrap();
        assert_eq!(noted(reference), Some(at(seconds)));
        assert_eq!(store.noted_pull(&other, reference).unwrap(), None);
    }
    store.set_tag(&repository, &latest, &digest(2), Durability::Unsynced).unwrap();
    assert_eq!(noted(&pulled[0]), Some(at(9)), "the tag was pulled before it was set anew");
    assert_eq!(listed(store.linked(&repository, LinkKind::Revision)), [digest(1)]);
    store.remove_tag(&repository, &latest).unwrap();
    store.remove_link(&repository, LinkKind::Revision, &digest(1), Durability::Unsynced).unwrap();
    assert!(pulled.iter().all(|reference| noted(reference).is_none()));
}

fn a_removed_tag_is_gone<B: DurableStore>(store: B) {
    let (repository, other) = (hosted("a/b"), hosted("a"));
    store.add_link(&repository, LinkKind::Revision, &digest(1), Durability::Unsynced).unwrap();
    for place in [&repository, &other] {
        for each in ["v1", "v1.1", "V1"] {
            store.set_tag(place, &tag(each), &digest(1), Durability::Unsynced).unwrap();
        }
    }
    store.remove_tag(&repository, &tag("v1")).unwrap();
    assert_eq!(store.tag(&repository, &tag("v1")).unwrap(), None);
    assert_eq!(listed(store.linked(&repository, LinkKind::History(&tag("v1")))), []);
    assert_eq!(listed(store.tags(&repository)), [(tag("V1"), Some(digest(1))), (tag("v1.1"), Some(digest(1)))]);
    assert_eq!(listed(store.tags(&other)).len(), 3);
    assert!(store.has_link(&repository, LinkKind::Revision, &digest(1)).unwrap(), "the manifest stays");
}

fn a_claim_stands_alone<B: DurableStore>(store: B) {
    let (repository, below) = (hosted("a"), hosted("a/b"));
    let verdict = |place| store.claim(place).unwrap().map(|claim| claim.verdict);
    store.add_link(&repository, LinkKind::Layer, &digest(1), Durability::Unsynced).unwrap();
    assert_eq!(verdict(&repository), None);
    for said in [Verdict::Unproven, Verdict::Proven] {
        store.write_claim(&repository, Claim::now(said)).unwrap();
        assert_eq!((verdict(&repository), verdict(&below)), (Some(said), None));
    }
    store.write_claim(&below, Claim::now(Verdict::Unasked)).unwrap();
    store.remove_claim(&repository).unwrap();
    assert_eq!((verdict(&repository), verdict(&below)), (None, Some(Verdict::Unasked)));
    assert!(store.has_link(&repository, LinkKind::Layer, &digest(1)).unwrap());
}

fn repositories_are_listed<B: DurableStore>(store: B) {
    assert_eq!(listed(store.repositories()), []);
    let mut places = ["a", "a/b", "a/b/c", "z-y"].map(hosted).to_vec();
    places.extend(["a", "library/a"].map(mirrored));
    for place in &places {
        store.add_link(place, LinkKind::Layer, &digest(1), Durability::Unsynced).unwrap();
    }
    let found: Vec<_> = store.repositories().collect::<Result<_, _>>().unwrap();
    assert!(found.iter().is_sorted_by_key(|place| place.domain.is_none()), "the hosted ones come last: {found:?}");
    places.sort();
    assert_eq!(listed(store.repositories()), places);
}

fn removing_twice_is_no_error<B: DurableStore>(store: B) {
    let (repository, digest) = (hosted("a/b"), digest(1));
    for durability in BOTH {
        store.remove_blob(&digest).unwrap();
        store.remove_upload(&repository, UploadId::random()).unwrap();
        KINDS.iter().for_each(|kind| store.remove_link(&repository, *kind, &digest, durability).unwrap());
        store.remove_tag(&repository, &tag("a")).unwrap();
        store.remove_claim(&repository).unwrap();
    }
    assert_eq!(listed(store.repositories()), [], "and leaves nothing");
}

fn an_error_is_not_an_absence<B: DurableStore>(store: B, fail: impl Fn(&B)) {
    let (repository, digest) = (hosted("a/b"), publish(store, b"bytes"));
    let id = upload(store, &repository, b"bytes");
    KINDS.iter().for_each(|kind| store.add_link(&repository, *kind, &digest, Durability::Unsynced).unwrap());
    store.set_tag(&repository, &tag("a"), &digest, Durability::Unsynced).unwrap();
    store.write_claim(&repository, Claim::now(Verdict::Proven)).unwrap();
    fail(&store);
    assert!(store.blob_size(&digest).is_err() && store.open_blob(&digest).is_err());
    assert!(store.read_blob(&digest, 0..1).is_err() && store.upload_size(&repository, id).is_err());
    assert!(KINDS.iter().all(|kind| store.has_link(&repository, *kind, &digest).is_err()));
    assert!(store.tag(&repository, &tag("a")).is_err() && store.claim(&repository).is_err());
    assert!(store.blobs().any(|blob| blob.is_err()) && store.repositories().any(|place| place.is_err()));
    assert!(KINDS.iter().all(|kind| store.linked(&repository, *kind).any(|linked| linked.is_err())));
    assert!(store.tags(&repository).any(|tag| tag.is_err()));
    assert!(store.uploads_of(&repository).any(|upload| upload.is_err()));
    assert!(store.remove_blob(&digest).is_err() && store.commit_upload(&repository, id, &digest).is_err());
}

#[test]
fn the_file_system_holds_the_contract() {
    let folders = RefCell::new(Vec::new());
    let make = || {
        let folder = TempDir::new().unwrap();
        // It lives as long as the handles to it, which are copied freely.
        let storage = Storage::open(Blocking::in_test(), folder.path(), SpaceLimits::default()).unwrap();
        storage.ledger().set_known(true);
        folders.borrow_mut().push(folder);
        Box::leak(Box::new(storage)).disk(Blocking::in_test())
    };
    // A symbolic link to itself, so that every path through it fails.
    let fail = |disk: &Disk<'static>| {
        let content = disk.layout.root().join("docker");
        fs::remove_dir_all(&content).unwrap();
        symlink(&content, &content).unwrap();
    };
    holds(make, fail);
}
