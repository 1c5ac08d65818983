//! Explains why an image is here, or is not: its content, its uses, its tag's freshness, its place in the order of
//! eviction, and what a pull would cost.

use std::{collections::HashSet, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{content_class::ContentClass, operations::Maintenance};
use crate::{
    oci::{Digest, ImageName, Reference, Repository, Tag},
    registry::{
        Completeness, Error, LastClient, Timestamp,
        space::{
            blob_holders::BlobHolders,
            queue_rank::{QueueRank, rank},
            reach::Reach,
        },
        store::{access_tracker, blob_store::BlockingStore, links},
    },
    storage::{self, DurableStore},
};

/// The state of an image in the cache or the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReport {
    /// Its full name.
    pub image: String,
    /// The kind of its repository.
    pub class: ContentClass,
    /// The content that is here; `None` if there is none.
    pub content: Option<ImageState>,
    /// The patterns that pin its repository.
    pub pinned_by: Vec<String>,
    /// The tag's freshness; `None` for a digest, a hosted image, and without a server.
    pub freshness: Option<TagFreshness>,
}

/// The content of an image that is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageState {
    /// The manifest.
    pub digest: String,
    /// The tags of its repository that name it.
    pub tags: Vec<String>,
    /// The state of its content.
    pub state: Completeness,
    /// Allocated bytes of all that it leads to.
    pub size: u64,
    /// Bytes of those that no other repository references.
    pub exclusive: u64,
    /// The number of blobs.
    pub objects: u64,
    /// The time since which the tag names it, or since which the manifest is here.
    pub since: Option<Timestamp>,
    /// The last request for its manifest, or its arrival.
    pub last_used: Option<Timestamp>,
    /// The number of requests for its manifest.
    pub uses: u32,
    /// The client that asked for it last, since the server's start.
    pub last_client: Option<LastClient>,
    /// Its place in the order of eviction.
    pub eviction: EvictionState,
    /// The content that a pull of all of it would fetch from its upstream.
    pub missing: MissingContent,
}

/// The place of an image in the order of eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum EvictionState {
    /// It is never evicted: it was pushed.
    Hosted,
    /// It is never evicted: its repository is pinned.
    Pinned,
    /// None of it is evicted before this time.
    Leased {
        /// The end of the lease.
        until: Timestamp,
    },
    /// Its first blob is evicted next, or after others.
    Queued {
        /// The position of that blob, from 1.
        position: u64,
        /// The number of blobs in the queue.
        of: u64,
        /// Bytes of the blobs that are evicted before it.
        bytes_before: u64,
    },
    /// All of it is in use or held for others at the moment.
    Held,
}

/// Content that is not here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingContent {
    /// Manifests, each of which may lead to more.
    pub manifests: u64,
    /// Blobs.
    pub blobs: u64,
    /// Their bytes, by the manifests that name them.
    pub bytes: u64,
}

/// The freshness of a mirrored tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagFreshness {
    /// The last answer of the upstream about it.
    pub checked: Option<Timestamp>,
    /// The time until which it is served without asking.
    pub believed_until: Option<Timestamp>,
    /// True if the next pull asks the upstream.
    pub is_asked_next: bool,
}

impl Maintenance<'_> {
    /// Explains the state of an image. Blocks.
    ///
    /// # Errors
    /// [`Error::NoIndex`] if there is no complete index, [`Error::Storage`] if the disk fails.
    pub fn why(&self, image: &ImageName) -> Result<(Repository, ImageReport), Error> {
        self.prepare(&mut || std::ops::ControlFlow::Continue(()))?;
        let (place, reference) = self.address(image)?;
        let report = self.report(&place, &reference)?;
        Ok((place, report))
    }

    /// As [`Maintenance::why`], without waiting for an index that is being made.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails.
    pub fn report(&self, place: &Repository, reference: &Reference) -> Result<ImageReport, Error> {
        Ok(ImageReport {
            image: place.image(reference),
            class: ContentClass::of(place),
            content: self.image_state(place, reference)?,
            pinned_by: self.pins_of(place),
            freshness: match reference {
                Reference::Tag(tag) if place.domain.is_some() => self.tag_freshness(place, tag),
                _ => None,
            },
        })
    }

    fn image_state(&self, place: &Repository, reference: &Reference) -> Result<Option<ImageState>, Error> {
        let store = &self.store;
        let Some(digest) = named(store, place, reference)? else { return Ok(None) };
        let reach = Reach::of(store, place, digest)?;
        let (mut size, mut exclusive, mut objects) = (0, 0, 0);
        for held in reach.digests.iter().filter_map(|digest| BlobHolders::of(store.index, digest)) {
            if held.holders.contains(place) {
                size += held.holding.allocated;
                exclusive += if held.holders.len() == 1 { held.holding.allocated } else { 0 };
                objects += 1;
            }
        }
        let entry = store.index.blob_entry(&digest);
        let since = match reference {
            Reference::Tag(tag) => store.disk.tag_time(place, tag)?.map(Timestamp::from),
            Reference::Digest(_) => store.disk.blob(&digest)?.map(|stored| modified(stored.stamp.mtime)),
        };
        let mut tags: Vec<_> = links::tags_of(store.disk, place, &digest)?.iter().map(ToString::to_string).collect();
        tags.sort_unstable();
        Ok(Some(ImageState {
            digest: digest.to_string(),
            tags,
            state: reach.completeness(),
            size,
            exclusive,
            objects,
            since,
            last_used: entry.map(|entry| Timestamp(entry.used)),
            uses: entry.map_or(0, |entry| entry.uses),
            last_client: store.last_clients.get(place, &digest),
            eviction: self.eviction_state(place, &digest, &reach.digests),
            missing: missing(&reach),
        }))
    }

    fn eviction_state(&self, place: &Repository, top: &Digest, digests: &HashSet<Digest>) -> EvictionState {
        let store = &self.store;
        if place.domain.is_none() {
            return EvictionState::Hosted;
        }
        if store.space.is_pinned(place) {
            return EvictionState::Pinned;
        }
        let used = store.index.blob_entry(top).map_or(0, |entry| entry.used);
        let used = used.max(store.protection.access_tracker.last(top).unwrap_or(0)).min(access_tracker::now());
        let until = store.space.eviction_rules.leased_until(used);
        if until > access_tracker::now() {
            return EvictionState::Leased { until: Timestamp(until) };
        }
        let QueueRank { position, of, bytes_before } = rank(store, digests);
        position.map_or(EvictionState::Held, |position| EvictionState::Queued { position, of, bytes_before })
    }

    /// Returns the patterns that pin a repository.
    fn pins_of(&self, place: &Repository) -> Vec<String> {
        let pins = if place.domain.is_some() { self.store.space.pins() } else { Vec::new() };
        pins.iter().filter(|pattern| pattern.matches_repository(place)).map(ToString::to_string).collect()
    }

    fn tag_freshness(&self, place: &Repository, tag: &Tag) -> Option<TagFreshness> {
        let upstream = self.server?.upstream(place).ok()?;
        let linked = self.store.index.tag(place, tag).map(|record| record.checked());
        let answered = self.store.tag_cache.answer(&(place.clone(), tag.clone())).map(|answer| answer.asked);
        let checked = linked.max(answered).filter(|checked| *checked > SystemTime::UNIX_EPOCH);
        let until = checked.map(|checked| checked + upstream.freshness());
        Some(TagFreshness {
            checked: checked.map(Timestamp::from),
            believed_until: until.map(Timestamp::from),
            is_asked_next: until.is_none_or(|until| until <= SystemTime::now()),
        })
    }
}

/// Returns the manifest that a reference names, if the repository has it.
pub(super) fn named(
    store: &BlockingStore<'_>,
    place: &Repository,
    reference: &Reference,
) -> Result<Option<Digest>, Error> {
    match reference {
        Reference::Digest(digest) => Ok(links::has(store.disk, place, digest)?.then_some(*digest)),
        Reference::Tag(tag) => match store.disk.tag(place, tag) {
            Err(storage::Error::NoDigest(_)) => Ok(None),
            named => Ok(named?),
        },
    }
}

fn missing(reach: &Reach) -> MissingContent {
    let manifests = reach.missing.iter().filter(|missing| missing.is_manifest).count() as u64;
    MissingContent {
        manifests,
        blobs: reach.missing.len() as u64 - manifests,
        bytes: reach.missing.iter().map(|missing| missing.bytes).sum(),
    }
}

fn modified(nanoseconds: i64) -> Timestamp {
    Timestamp(u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0))
}
