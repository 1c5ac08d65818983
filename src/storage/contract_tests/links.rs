//! The checks of links, tags, claims and lists.

use std::{time::Duration, time::SystemTime};

use super::{BOTH, KINDS, MANY, digest, hosted, listed, mirrored, publish, tag};
use crate::{
    oci::Reference,
    storage::{Claim, Durability, DurableStore, LinkKind, Verdict},
};

pub(super) fn a_removed_link_is_gone<B: DurableStore>(store: B) {
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
pub(super) fn durability_is_a_parameter<B: DurableStore>(store: B) {
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

pub(super) fn lists_are_complete<B: DurableStore>(store: B) {
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

pub(super) fn a_tag_has_one_value<B: DurableStore>(store: B) {
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

pub(super) fn a_pull_is_noted<B: DurableStore>(store: B) {
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

pub(super) fn a_removed_tag_is_gone<B: DurableStore>(store: B) {
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

pub(super) fn a_claim_stands_alone<B: DurableStore>(store: B) {
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

pub(super) fn repositories_are_listed<B: DurableStore>(store: B) {
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
