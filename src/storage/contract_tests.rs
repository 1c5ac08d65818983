//! The contract of a durable store, as a suite that each implementation passes: one check for each promise.

mod blobs;
mod links;

use std::{
    cell::RefCell,
    fmt::Debug,
    fs,
    os::unix::fs::symlink,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tempfile::TempDir;

use super::{
    AppendBytes, Claim, Disk, Durability, DurableStore, Error, LinkKind, Opened, Published, SpaceLimits, Storage,
    Verdict,
};
use crate::{
    lanes::Blocking,
    oci::{Digest, Domain, Repository, Tag, UploadId},
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
        ("a blob is absent until its upload is committed", blobs::a_blob_is_absent_until_committed),
        ("a range is read as far as the blob reaches", blobs::a_range_is_read),
        ("a local blob and a range of it are the same bytes", blobs::content_is_one),
        ("a commit does not replace", blobs::a_commit_does_not_replace),
        ("an upload goes on where it was", blobs::an_upload_goes_on),
        ("an upload has one writer", blobs::an_upload_has_one_writer),
        ("a removed upload is gone, its neighbours are not", blobs::a_removed_upload_is_gone),
        ("a removed blob is gone, its neighbours are not", blobs::a_removed_blob_is_gone),
        ("a removed link is gone, its neighbours are not", links::a_removed_link_is_gone),
        ("durability is a parameter", links::durability_is_a_parameter),
        ("lists are complete", links::lists_are_complete),
        ("a tag has one value, and a history", links::a_tag_has_one_value),
        ("a removed tag is gone, its neighbours are not", links::a_removed_tag_is_gone),
        ("a note of a pull goes with what was pulled", links::a_pull_is_noted),
        ("a claim is replaced and removed alone", links::a_claim_stands_alone),
        ("every repository is listed once", links::repositories_are_listed),
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
