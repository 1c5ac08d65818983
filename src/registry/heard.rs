//! What upstreams said of tags whose manifests were not fetched: a HEAD names a digest, and the GET that most often
//! follows comes by that digest, so the tag must be remembered until then. In memory, bounded, and short-lived.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::sync::Cache;
use parking_lot::Mutex;

use crate::oci::{Digest, MediaType, Repository, Tag};

const CAPACITY: u64 = 10_000;
/// Between a client's HEAD and its GET, at the most.
const FOLLOW_UP: Duration = Duration::from_secs(600);
/// How long an upstream's 404 is believed.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// What a HEAD of a tag said, complete enough to answer another HEAD from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The manifest the tag names.
    pub digest: Digest,
    /// Its type.
    pub media_type: MediaType,
    /// Its length in bytes.
    pub size: u64,
}

type Place = (Repository, Tag);

#[derive(Debug)]
pub(super) struct Heard {
    heads: Cache<Place, (Head, Instant)>,
    /// Tags that wait for their manifest.
    waiting: Cache<(Repository, Digest), Arc<Mutex<Vec<Tag>>>>,
    unknown: Cache<Place, ()>,
}

impl Heard {
    pub(super) fn new() -> Self {
        let bounded = || Cache::builder().max_capacity(CAPACITY);
        Self {
            heads: Cache::builder().max_capacity(CAPACITY).time_to_live(FOLLOW_UP).build(),
            waiting: Cache::builder().max_capacity(CAPACITY).time_to_live(FOLLOW_UP).build(),
            unknown: bounded().time_to_live(UNKNOWN_FOR).build(),
        }
    }

    /// Remembers what a tag names while its manifest is not here.
    pub(super) fn head(&self, place: &Place, head: Head) {
        let (repository, tag) = place;
        let tags = self.waiting.get_with((repository.clone(), head.digest), Arc::default);
        let mut tags = tags.lock();
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
        self.heads.insert(place.clone(), (head, Instant::now()));
    }

    /// What was said of a tag no longer than `freshness` ago.
    pub(super) fn recent(&self, place: &Place, freshness: Duration) -> Option<Head> {
        self.heads.get(place).filter(|(_, at)| at.elapsed() < freshness).map(|(head, _)| head)
    }

    /// The tags that were said to name `digest`, taken out: its manifest is here now. A tag that was heard to have moved
    /// on since is not among them.
    pub(super) fn take(&self, repository: &Repository, digest: &Digest) -> Vec<Tag> {
        let tags = self.waiting.remove(&(repository.clone(), *digest)).map(|tags| std::mem::take(&mut *tags.lock()));
        let still = |tag: &Tag| {
            let place = (repository.clone(), tag.clone());
            self.heads.remove(&place).is_none_or(|(head, at)| {
                let moved = head.digest != *digest;
                if moved {
                    self.heads.insert(place, (head, at));
                }
                !moved
            })
        };
        tags.unwrap_or_default().into_iter().filter(still).collect()
    }

    /// Forgets what was said of a tag.
    pub(super) fn forget(&self, place: &Place) {
        self.heads.remove(place);
    }

    /// Remembers, shortly, that a tag does not exist.
    pub(super) fn unknown(&self, place: &Place) {
        self.unknown.insert(place.clone(), ());
    }

    /// Whether a tag was said not to exist just now.
    pub(super) fn is_unknown(&self, place: &Place) -> bool {
        self.unknown.contains_key(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(tag: &str) -> Place {
        (Repository { domain: None, name: "a".parse().unwrap() }, tag.parse().unwrap())
    }

    fn head(content: &[u8]) -> Head {
        Head { digest: Digest::sha256(content), media_type: MediaType::new(MediaType::OCI_INDEX), size: 1 }
    }

    #[test]
    fn tags_wait_for_their_manifest() {
        let heard = Heard::new();
        heard.head(&place("one"), head(b"a"));
        heard.head(&place("two"), head(b"a"));
        heard.head(&place("two"), head(b"a"));
        assert_eq!(heard.recent(&place("one"), FOLLOW_UP), Some(head(b"a")));
        assert_eq!(heard.recent(&place("one"), Duration::ZERO), None);
        assert_eq!(heard.take(&place("one").0, &Digest::sha256(b"a")), [place("one").1, place("two").1]);
        assert!(heard.take(&place("one").0, &Digest::sha256(b"a")).is_empty());
    }

    #[test]
    fn a_tag_that_moved_on_is_not_pulled_back() {
        let heard = Heard::new();
        heard.head(&place("one"), head(b"old"));
        heard.head(&place("one"), head(b"new"));
        assert!(heard.take(&place("one").0, &Digest::sha256(b"old")).is_empty());
        assert_eq!(heard.take(&place("one").0, &Digest::sha256(b"new")), [place("one").1]);
    }
}
