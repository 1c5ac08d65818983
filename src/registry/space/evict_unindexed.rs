//! Eviction without an index: it frees space for an index that failed on a full disk and needs some to be opened again.
//!
//! Mirrored content is removed by the state of the disk alone, the oldest file first. Content that a hosted repository
//! links stays. If a repository cannot be read, everything stays, since it may link anything. Leases and pins hold as
//! usual.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use crate::{
    index::BlobKind,
    metrics::EvictionReason,
    oci::{Digest, Manifest, Repository},
    registry::{
        Error,
        store::{
            access_tracker,
            blob_store::BlockingStore,
            eviction_log::Evicted,
            gc_guard::{Recent, RemovalOutcome, short},
            links, stored_manifests,
        },
    },
    storage::{DurableStore, LinkKind},
};

/// The number of oldest blobs considered in one run.
const MAX_CANDIDATES: usize = 1000;

/// The references of all repositories, as the first eight bytes of digests: some megabytes for a million blobs.
#[derive(Default)]
struct DiskReferences {
    /// Linked by mirrored repositories.
    mirrored: HashSet<u64>,
    /// Linked or named by hosted or pinned repositories, or named by a manifest that is leased.
    kept: HashSet<u64>,
}

/// An evictable blob.
struct Candidate {
    /// The last access or arrival, in seconds since the epoch.
    used: u64,
    allocated: u64,
    digest: Digest,
}

impl BlockingStore<'_> {
    /// Evicts mirrored content, the oldest first, until `bytes` are free, or nothing more is evictable. Returns the
    /// bytes freed. Walks all repositories.
    ///
    /// # Errors
    /// [`Error::UnderWay`] while a collection runs; [`Error::Storage`] if the disk cannot be read.
    pub(in crate::registry) fn evict_unindexed(&self, bytes: u64) -> Result<u64, Error> {
        // From here on, content that a request begins to use is not removed.
        let under_way = self.protection.gc_guard.collect(Duration::ZERO).ok_or(Error::UnderWay)?;
        let held = self.held_on_disk()?;
        let candidates = self.oldest(&held)?;
        let mut holders = self.holders_on_disk(&candidates)?;
        let mut freed = 0;
        for candidate in candidates {
            if freed >= bytes {
                break;
            }
            let places = holders.remove(&candidate.digest).unwrap_or_default();
            freed += self.try_evict_unindexed(&candidate, &places, under_way.recent)?;
        }
        Ok(freed)
    }

    fn held_on_disk(&self) -> Result<DiskReferences, Error> {
        let mut held = DiskReferences::default();
        for repository in self.disk.repositories() {
            let repository = repository?;
            let stays = repository.domain.is_none() || self.space.is_pinned(&repository);
            let into = if stays { &mut held.kept } else { &mut held.mirrored };
            for digest in links::all(&self.disk, &repository) {
                into.insert(short(&digest?));
            }
            for revision in self.disk.linked(&repository, LinkKind::Revision) {
                let revision = revision?;
                if stays || self.is_leased(&revision)? {
                    let manifest = stored_manifests::read(self.disk, &revision)?;
                    held.kept.extend(manifest.iter().flat_map(Manifest::children).map(|child| short(&child.digest)));
                }
            }
        }
        Ok(held)
    }

    fn is_leased(&self, digest: &Digest) -> Result<bool, Error> {
        let used = self.used_on_disk(digest)?.map_or(0, |(used, _)| used);
        Ok(self.space.eviction_rules.leased_until(used) > access_tracker::now())
    }

    /// Returns the last known access or arrival of a blob in seconds since the epoch, and its allocated bytes.
    fn used_on_disk(&self, digest: &Digest) -> Result<Option<(u64, u64)>, Error> {
        let Some(stored) = self.disk.blob(digest)? else { return Ok(None) };
        let written = u64::try_from(stored.stamp.mtime / 1_000_000_000).unwrap_or(0);
        // A time in the future comes from another clock and counts as now.
        let used = written.max(self.protection.access_tracker.last(digest).unwrap_or(0)).min(access_tracker::now());
        Ok(Some((used, stored.allocated)))
    }

    /// Returns the evictable blobs with the oldest access, in that order.
    fn oldest(&self, held: &DiskReferences) -> Result<Vec<Candidate>, Error> {
        let mut oldest = BTreeSet::new();
        for found in self.disk.blobs() {
            let (digest, _) = found?;
            let key = short(&digest);
            if held.kept.contains(&key)
                || !held.mirrored.contains(&key)
                || self.protection.access_tracker.is_read(&digest)
            {
                continue;
            }
            let Some((used, allocated)) = self.used_on_disk(&digest)? else { continue };
            if self.space.eviction_rules.leased_until(used) <= access_tracker::now() {
                oldest.insert((used, digest, allocated));
            }
            if oldest.len() > MAX_CANDIDATES {
                oldest.pop_last();
            }
        }
        Ok(oldest.into_iter().map(|(used, digest, allocated)| Candidate { used, allocated, digest }).collect())
    }

    /// Returns the mirrored repositories that link the candidates.
    fn holders_on_disk(&self, candidates: &[Candidate]) -> Result<BTreeMap<Digest, Vec<Repository>>, Error> {
        let mut holders: BTreeMap<_, Vec<_>> =
            candidates.iter().map(|candidate| (candidate.digest, Vec::new())).collect();
        for repository in self.disk.repositories() {
            let repository = repository?;
            if repository.domain.is_none() {
                continue;
            }
            for digest in links::all(&self.disk, &repository) {
                if let Some(places) = holders.get_mut(&digest?)
                    && places.last() != Some(&repository)
                {
                    places.push(repository.clone());
                }
            }
        }
        Ok(holders)
    }

    fn try_evict_unindexed(&self, candidate: &Candidate, places: &[Repository], recent: Recent) -> Result<u64, Error> {
        let Some(_open) = self.execution.while_open() else { return Ok(0) };
        let Candidate { digest, allocated, used } = *candidate;
        let digest = &digest;
        let _lock = self.protection.locks.digest(digest);
        if self.protection.access_tracker.is_read(digest) || self.is_leased(digest)? {
            return Ok(0);
        }
        let mut kind = BlobKind::Blob;
        for place in places {
            if self.disk.has_link(place, LinkKind::Revision, digest)? {
                kind = BlobKind::Manifest;
            }
        }
        let remove = || self.remove_mirrored(digest, kind, places);
        if self.protection.gc_guard.unless_recent(None, digest, recent, remove).transpose()?
            != RemovalOutcome::Removed(())
        {
            return Ok(0);
        }
        let idle = Duration::from_secs(access_tracker::now().saturating_sub(used));
        self.volume.metrics.evicted(EvictionReason::Room, allocated, idle);
        self.space.note_eviction(&Evicted { digest, allocated, used, repositories: places }, EvictionReason::Room);
        Ok(allocated)
    }
}
