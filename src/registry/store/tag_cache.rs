//! Caches the answers of upstreams about tags, in memory and bounded. The answer to the latest request wins, in
//! whatever order answers and manifests arrive. A HEAD names a digest, and the GET that usually follows uses that
//! digest, so a tag waits here until its manifest arrives. The tag's link on disk outlives this cache.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use moka::{ops::compute::Op, policy::EvictionPolicy, sync::Cache};
use parking_lot::Mutex;

use crate::oci::{Digest, MediaType, Repository, Tag};

const MAX_ENTRIES: u64 = 10_000;
/// The time for which a 404 of an upstream is cached.
const NOT_FOUND_TTL: Duration = Duration::from_secs(10);

/// The time for which a purge is remembered: longer than any request to an upstream takes.
const PURGED_TTL: Duration = Duration::from_secs(3600);

/// The result of a HEAD of a tag, sufficient to answer another HEAD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The manifest the tag names.
    pub digest: Digest,
    /// Its type.
    pub media_type: MediaType,
    /// Its length in bytes.
    pub size: u64,
}

/// The answer of an upstream about a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) struct TagAnswer {
    /// `None` if the upstream has no such tag.
    pub(in crate::registry) head: Option<Head>,
    /// The time of the request.
    pub(in crate::registry) asked: SystemTime,
}

type TagKey = (Repository, Tag);
/// Tags, each with the time of the request to the upstream.
type PendingTags = Arc<Mutex<Vec<(Tag, SystemTime)>>>;

#[derive(Debug)]
pub(in crate::registry) struct TagCache {
    answers: Cache<TagKey, TagAnswer>,
    /// Tags that wait for their manifest.
    waiting: Cache<(Repository, Digest), PendingTags>,
    /// Purged tags, with the time. Answers to requests of before are not accepted any more.
    purged: Cache<TagKey, SystemTime>,
}

impl TagCache {
    pub(in crate::registry) fn new() -> Self {
        // LRU, because the default policy may reject new entries in favour of frequently used ones.
        Self {
            answers: Cache::builder().max_capacity(MAX_ENTRIES).eviction_policy(EvictionPolicy::lru()).build(),
            waiting: Cache::builder().max_capacity(MAX_ENTRIES).eviction_policy(EvictionPolicy::lru()).build(),
            purged: Cache::builder().max_capacity(MAX_ENTRIES).time_to_live(PURGED_TTL).build(),
        }
    }

    /// Stores an answer. Returns `false` without storing it if the answer to a later request is known.
    pub(in crate::registry) fn note(&self, place: &TagKey, answer: TagAnswer) -> bool {
        if self.is_purged_since(place, answer.asked) {
            return false;
        }
        let (repository, tag) = place;
        let (asked, named) = (answer.asked, answer.head.as_ref().map(|head| head.digest));
        let put = |known: Option<moka::Entry<TagKey, TagAnswer>>| match known {
            Some(known) if is_later(known.value().asked, asked) => Op::Nop,
            _ => Op::Put(answer),
        };
        let noted = self.answers.entry_by_ref(place).and_compute_with(put);
        if matches!(noted, moka::ops::compute::CompResult::Unchanged(_)) {
            return false;
        }
        if let Some(digest) = named {
            let tags = self.waiting.get_with((repository.clone(), digest), Arc::default);
            let mut tags = tags.lock();
            tags.retain(|(waiting, _)| waiting != tag);
            tags.push((tag.clone(), asked));
        }
        true
    }

    /// Forgets a tag. Answers to requests until now do not bring it back.
    pub(in crate::registry) fn purge(&self, place: &TagKey) {
        self.purged.insert(place.clone(), SystemTime::now());
        self.answers.invalidate(place);
    }

    /// Returns whether a tag was purged after a request of the time `asked`.
    pub(in crate::registry) fn is_purged_since(&self, place: &TagKey, asked: SystemTime) -> bool {
        self.purged.get(place).is_some_and(|purged| asked <= purged && purged <= SystemTime::now())
    }

    /// Returns the answer to the latest request about a tag.
    pub(in crate::registry) fn answer(&self, place: &TagKey) -> Option<TagAnswer> {
        self.answers.get(place)
    }

    /// Returns the answer about a tag if it was requested less than `freshness` ago.
    pub(in crate::registry) fn recent(&self, place: &TagKey, freshness: Duration) -> Option<Head> {
        self.answer(place).filter(|answer| is_younger(answer.asked, freshness))?.head
    }

    /// Returns whether the upstream answered just now that a tag does not exist.
    pub(in crate::registry) fn is_unknown(&self, place: &TagKey) -> bool {
        self.answer(place).is_some_and(|answer| answer.head.is_none() && is_younger(answer.asked, NOT_FOUND_TTL))
    }

    /// Takes the tags that wait for the manifest `digest`, each with the time of its request. Some may name another
    /// manifest by now.
    pub(in crate::registry) fn take(&self, repository: &Repository, digest: &Digest) -> Vec<(Tag, SystemTime)> {
        let tags = self.waiting.remove(&(repository.clone(), *digest));
        tags.map(|tags| std::mem::take(&mut *tags.lock())).unwrap_or_default()
    }

    /// Forgets the answer about a tag if it names `digest`.
    pub(in crate::registry) fn forget(&self, place: &TagKey, digest: &Digest) {
        let gone = |known: Option<moka::Entry<TagKey, TagAnswer>>| match known {
            Some(known) if known.value().head.as_ref().is_some_and(|head| head.digest == *digest) => Op::Remove,
            _ => Op::Nop,
        };
        self.answers.entry_by_ref(place).and_compute_with(gone);
    }
}

/// Returns whether `asked` is later than `other`. A time in the future comes from another clock and counts as earlier
/// than any.
pub(in crate::registry) fn is_later(asked: SystemTime, other: SystemTime) -> bool {
    asked > other && asked <= SystemTime::now()
}

/// Returns whether a time is less than `age` ago. A time in the future comes from another clock and does not count.
pub(in crate::registry) fn is_younger(time: SystemTime, age: Duration) -> bool {
    SystemTime::now().duration_since(time).is_ok_and(|passed| passed < age)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(tag: &str) -> TagKey {
        (Repository { domain: None, name: "a".parse().unwrap() }, tag.parse().unwrap())
    }

    fn named(content: &[u8], asked: SystemTime) -> TagAnswer {
        let head = Head { digest: Digest::sha256(content), media_type: MediaType::new(MediaType::OCI_INDEX), size: 1 };
        TagAnswer { head: Some(head), asked }
    }

    fn ago(seconds: u64) -> SystemTime {
        SystemTime::now() - Duration::from_secs(seconds)
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn tags_wait_for_their_manifest() {
        let (tag_cache, first, second) = (TagCache::new(), ago(2), ago(1));
        assert!(tag_cache.note(&place("one"), named(b"a", first)));
        assert!(tag_cache.note(&place("two"), named(b"a", first)));
        assert!(tag_cache.note(&place("two"), named(b"a", second)));
        assert_eq!(tag_cache.recent(&place("one"), HOUR), named(b"a", first).head);
        assert_eq!(tag_cache.recent(&place("one"), Duration::from_secs(1)), None);
        let waiting = tag_cache.take(&place("one").0, &Digest::sha256(b"a"));
        assert_eq!(waiting, [(place("one").1, first), (place("two").1, second)]);
        assert!(tag_cache.take(&place("one").0, &Digest::sha256(b"a")).is_empty());
        assert_eq!(tag_cache.answer(&place("two")), Some(named(b"a", second)), "what is known of the tag stays");
    }

    #[test]
    fn the_later_question_wins() {
        let (tag_cache, nothing) = (TagCache::new(), TagAnswer { head: None, asked: ago(2) });
        assert!(tag_cache.note(&place("one"), named(b"new", ago(1))));
        assert!(!tag_cache.note(&place("one"), named(b"old", ago(3))));
        assert!(!tag_cache.note(&place("one"), nothing.clone()));
        assert_eq!(tag_cache.recent(&place("one"), HOUR).unwrap().digest, Digest::sha256(b"new"));
        assert!(tag_cache.note(&place("two"), named(b"old", ago(3))));
        assert!(tag_cache.note(&place("two"), nothing));
        assert!(tag_cache.is_unknown(&place("two")));
        assert!(tag_cache.note(&place("two"), named(b"new", ago(1))));
        assert!(!tag_cache.is_unknown(&place("two")));
    }

    #[test]
    fn a_refused_word_changes_no_waiting_tag() {
        let (tag_cache, later) = (TagCache::new(), ago(1));
        assert!(tag_cache.note(&place("one"), named(b"a", later)));
        assert!(!tag_cache.note(&place("one"), named(b"a", ago(3))));
        assert_eq!(tag_cache.take(&place("one").0, &Digest::sha256(b"a")), [(place("one").1, later)]);
    }

    #[test]
    fn what_another_clock_noted_is_older_than_anything() {
        let (tag_cache, ahead) = (TagCache::new(), SystemTime::now() + HOUR);
        assert!(tag_cache.note(&place("one"), named(b"old", ahead)));
        assert_eq!(tag_cache.recent(&place("one"), HOUR), None);
        assert!(tag_cache.note(&place("one"), named(b"new", ago(1))));
    }

    #[test]
    fn a_purged_tag_does_not_come_back_by_an_earlier_request() {
        let tag_cache = TagCache::new();
        tag_cache.note(&place("one"), named(b"a", ago(2)));
        tag_cache.purge(&place("one"));
        assert!(tag_cache.answer(&place("one")).is_none());
        assert!(
            !tag_cache.note(&place("one"), named(b"a", ago(1))) && tag_cache.is_purged_since(&place("one"), ago(1))
        );
        assert!(tag_cache.note(&place("one"), named(b"a", SystemTime::now())), "the next request");
        assert!(!tag_cache.is_purged_since(&place("two"), ago(1)));
    }

    #[test]
    fn only_what_was_said_is_forgotten() {
        let tag_cache = TagCache::new();
        tag_cache.note(&place("one"), named(b"new", ago(1)));
        tag_cache.forget(&place("one"), &Digest::sha256(b"old"));
        assert!(tag_cache.answer(&place("one")).is_some());
        tag_cache.forget(&place("one"), &Digest::sha256(b"new"));
        assert!(tag_cache.answer(&place("one")).is_none());
    }
}
