//! Tests of name claims that need no upstream.

use tempfile::TempDir;

use super::*;
use crate::{
    index::Index,
    lanes::{Blocking, Lanes},
    metrics::Metrics,
    oci::Digest,
    registry::{
        EvictionRules,
        store::{blob_store::BlobStore, name_claims::NameClaims},
    },
    storage::{Durability, SpaceLimits, Storage},
};

fn volume(dir: &TempDir) -> BlobStore {
    let storage = Storage::open(Blocking::in_test(), dir.path(), SpaceLimits::default()).unwrap();
    let index = Index::open(&storage.index_dir());
    index.set_complete();
    let metrics = Metrics::new().unwrap().into();
    BlobStore::new(storage, index, EvictionRules::default(), Duration::ZERO, metrics, Lanes::new().unwrap())
}

fn name(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

#[test]
fn only_what_is_not_settled_is_remembered() {
    let (claims, name) = (NameClaims::default(), name("team/app"));
    for (verdict, unproven, conflicting) in [
        (Verdict::Unproven, 1, 0),
        (Verdict::Conflicting, 0, 1),
        (Verdict::Unproven, 1, 0),
        (Verdict::Proven, 0, 0),
        (Verdict::Conflicting, 0, 1),
        (Verdict::Unasked, 0, 0),
    ] {
        claims.note(&name, verdict);
        let found = (claims.all(Verdict::Unproven).len(), claims.all(Verdict::Conflicting).len());
        assert_eq!(found, (unproven, conflicting), "{verdict:?}");
    }
}

#[test]
fn a_name_without_an_answer_delays_no_push() {
    let claims = NameClaims::default();
    ["a/a", "b/b", "c/c"].iter().for_each(|each| claims.note(&name(each), Verdict::Unproven));
    let in_turn = || claims.in_turn().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(in_turn(), ["a/a", "b/b", "c/c"]);
    for (unanswered, turn) in
        [("a/a", ["b/b", "c/c", "a/a"]), ("c/c", ["a/a", "b/b", "c/c"]), ("b/x", ["c/c", "a/a", "b/b"])]
    {
        claims.not_answered(name(unanswered));
        assert_eq!(in_turn(), turn);
    }
}

/// A check made before a repository was removed is outdated and must be repeated.
#[test]
fn a_right_from_before_a_removal_claims_nothing() {
    let dir = TempDir::new().unwrap();
    let volume = volume(&dir);
    let store = volume.with(Blocking::in_test());
    let place = Repository { domain: None, name: name("team/app") };
    let permission = ClaimPermission { verdict: Some(Verdict::Proven), freed: 0 };
    let links = store.disk.links(&place);
    store.name_claims.free();
    assert!(!store.claim(&place, permission).unwrap());
    assert!(links.claim().unwrap().is_none() && store.index.is_claimed(&place) == Some(false));
    assert!(store.claim(&place, ClaimPermission { freed: 1, ..permission }).unwrap());
    assert_eq!(links.claim().unwrap().unwrap().verdict, Verdict::Proven);
    assert_eq!(store.index.is_claimed(&place), Some(true));
    assert!(store.claim(&place, ClaimPermission { verdict: Some(Verdict::Unproven), freed: 1 }).unwrap());
    assert_eq!(links.claim().unwrap().unwrap().verdict, Verdict::Proven, "the first word is final");
    store.end_claim(&place).unwrap();
    assert!(links.claim().unwrap().is_none());
}

/// A manifest counts as a claim; before the last one is deleted, the claim is written.
#[test]
fn what_an_older_program_left_is_claimed() {
    let dir = TempDir::new().unwrap();
    let volume = volume(&dir);
    let store = volume.with(Blocking::in_test());
    let place = Repository { domain: None, name: name("team/old") };
    let (links, digest) = (store.disk.links(&place), Digest::sha256(b"manifest"));
    links.add_revision(&digest, Durability::Synced).unwrap();
    assert!(links.written_claim().unwrap().is_none() && links.claim().unwrap().is_some());
    store.keep_claim(&place).unwrap();
    links.remove_revision(&digest, Durability::Synced).unwrap();
    assert_eq!(links.claim().unwrap().unwrap().verdict, Verdict::Unasked);
}
