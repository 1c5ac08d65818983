//! The checks of blobs and of the uploads that become blobs.

use super::{STARTED, all_of, hosted, listed, publish, upload, writer};
use crate::{
    lanes::Blocking,
    oci::{Digest, UploadId},
    storage::{AppendBytes, BlobContent, Durability, DurableStore, LinkKind, Opened, Published},
};

pub(super) fn a_blob_is_absent_until_committed<B: DurableStore>(store: B) {
    let (repository, digest) = (hosted("a/b"), Digest::sha256(b"bytes"));
    let id = upload(store, &repository, b"bytes");
    assert!(store.open_blob(&digest).unwrap().is_none() && store.blob_size(&digest).unwrap().is_none());
    assert!(all_of(store, &digest).is_none() && listed(store.blobs()).is_empty());
    assert!(matches!(store.commit_upload(&repository, id, &digest).unwrap(), Published::New(_)));
    assert_eq!(store.blob_size(&digest).unwrap(), Some(5));
    assert_eq!(listed(store.blobs()), [(digest, 5)]);
    assert!(!store.has_link(&repository, LinkKind::Layer, &digest).unwrap(), "a commit links nothing");
}

pub(super) fn a_range_is_read<B: DurableStore>(store: B) {
    let digest = publish(store, b"0123456789");
    for (range, bytes) in [(0..10, "0123456789"), (0..1, "0"), (3..6, "345"), (9..10, "9"), (8..99, "89"), (4..4, "")] {
        assert_eq!(store.read_blob(&digest, range.clone()).unwrap().as_deref(), Some(bytes.as_bytes()), "{range:?}");
    }
    assert_eq!(store.read_blob(&digest, 10..20).unwrap().as_deref(), Some(&[][..]), "it begins at the end");
    assert_eq!(store.read_blob(&digest, 11..20).unwrap().as_deref(), Some(&[][..]), "it begins beyond the end");
}

pub(super) fn content_is_one<B: DurableStore>(store: B) {
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
pub(super) fn a_commit_does_not_replace<B: DurableStore>(store: B) {
    let (repository, digest) = (hosted("a/b"), publish(store, b"first"));
    let id = upload(store, &repository, b"the second");
    assert!(matches!(store.commit_upload(&repository, id, &digest).unwrap(), Published::Existing));
    assert_eq!(all_of(store, &digest).as_deref(), Some(&b"first"[..]));
    assert_eq!(store.upload_size(&repository, id).unwrap(), Some(10), "the session keeps its bytes");
    store.remove_blob(&digest).unwrap();
    assert!(matches!(store.commit_upload(&repository, id, &digest).unwrap(), Published::New(_)));
    assert_eq!(all_of(store, &digest).as_deref(), Some(&b"the second"[..]));
}

pub(super) fn an_upload_goes_on<B: DurableStore>(store: B) {
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

pub(super) fn an_upload_has_one_writer<B: DurableStore>(store: B) {
    let (repository, id) = (hosted("a/b"), UploadId::random());
    assert!(matches!(store.resume_upload(&repository, id, 4).unwrap(), Opened::Gone), "it was never begun");
    store.begin_upload(&repository, id, STARTED).unwrap();
    let first = writer(store, &repository, id, 0);
    assert!(matches!(store.resume_upload(&repository, id, 0).unwrap(), Opened::Busy));
    drop(first);
    assert!(matches!(store.resume_upload(&repository, id, 0).unwrap(), Opened::Writable(_)));
    assert!(matches!(store.resume_upload(&repository, id, 4).unwrap(), Opened::Gone), "it does not have these bytes");
}

pub(super) fn a_removed_upload_is_gone<B: DurableStore>(store: B) {
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

pub(super) fn a_removed_blob_is_gone<B: DurableStore>(store: B) {
    let (repository, gone, stays) = (hosted("a/b"), publish(store, b"gone"), publish(store, b"stays"));
    store.add_link(&repository, LinkKind::Layer, &gone, Durability::Unsynced).unwrap();
    store.remove_blob(&gone).unwrap();
    assert!(store.blob_size(&gone).unwrap().is_none() && store.open_blob(&gone).unwrap().is_none());
    assert!(all_of(store, &gone).is_none());
    assert_eq!(listed(store.blobs()), [(stays, 5)]);
    assert!(store.has_link(&repository, LinkKind::Layer, &gone).unwrap(), "its links are the caller's");
    assert_eq!(publish(store, b"gone"), gone, "it can be published again");
}
