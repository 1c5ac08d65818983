//! Eviction of mirrored content, in the order of the index's queue. Content that was pushed, is pinned, is being read,
//! or was served a moment ago is never evicted.
//!
//! Links and index entries are removed first and bytes last (law 2 of ARCHITECTURE.md): a crash may leave bytes without
//! a link, never a link without bytes.

use std::time::Duration;

use crate::{
    index::{BlobEntry, BlobKind, Link, Owner, Requeue},
    metrics::Reason,
    oci::{Digest, Manifest, Repository},
    registry::{
        Error,
        store::{access_tracker, blob_store::BlockingStore, gc_guard::RemovalOutcome, stored_manifests},
    },
    storage::Durability,
};

/// Blobs taken from the queue at a time.
const BATCH: usize = 32;
/// Seconds until the next attempt for a blob that could not be removed.
const AGAIN: u64 = 10;
/// Seconds until the next attempt for a blob in use. It is short, because most reads are, and a small busy cache has
/// many.
const READ_AGAIN: u64 = 1;

impl BlockingStore<'_> {
    /// Evicts mirrored content until `bytes` are free, or nothing more is evictable. Returns the bytes freed.
    pub(in crate::registry) fn evict(&self, bytes: u64) -> u64 {
        let (digests, _) = self.evictable(bytes);
        let mut freed = 0;
        for digest in digests {
            if freed >= bytes {
                break;
            }
            freed += self.evict_blob(&digest);
        }
        freed
    }

    /// Returns the blobs to evict next for `bytes`, and their total, which may be less. Nothing is evictable while the
    /// index is incomplete, since it may not know all pushed content yet.
    pub(in crate::registry) fn evictable(&self, bytes: u64) -> (Vec<Digest>, u64) {
        let (mut found, mut sum) = (Vec::new(), 0);
        if bytes == 0 || !self.index.is_complete() {
            return (found, sum);
        }
        self.flush_accesses();
        self.index.requeue(Requeue::Due(access_tracker::now()));
        let mut after = None;
        while let Some(_open) = self.changing() {
            let (next, last) = self.index.next_in_queue(after.as_ref(), BATCH);
            for digest in next {
                if let Some((held, _)) = self.may_go(&digest) {
                    found.push(digest);
                    sum += held.allocated;
                }
                if sum >= bytes {
                    return (found, sum);
                }
            }
            if last.is_none() {
                break;
            }
            after = last;
        }
        (found, sum)
    }

    pub(in crate::registry) fn evict_blob(&self, digest: &Digest) -> u64 {
        self.try_evict(digest, Reason::Room)
    }

    /// Removes content not accessed for `proxy.ttl`. Returns the bytes freed.
    pub(in crate::registry) fn expire(&self) -> u64 {
        let ttl = self.retention.ttl.as_secs();
        if ttl == 0 || !self.index.is_complete() {
            return 0;
        }
        self.flush_accesses();
        let before = access_tracker::now().saturating_sub(ttl);
        let is_old = |digest: &Digest| {
            self.index.blob_entry(digest).is_some_and(|held| held.owner == Owner::Mirrored && held.used < before)
        };
        let old = self.index.blob_batches().flatten().filter(is_old);
        old.map(|digest| self.try_evict(&digest, Reason::Ttl)).sum()
    }

    /// Writes the noted accesses to the index.
    pub(in crate::registry) fn flush_accesses(&self) {
        self.index.used(self.access_tracker.take());
    }

    fn try_evict(&self, digest: &Digest, reason: Reason) -> u64 {
        let Some(_open) = self.changing() else { return 0 };
        let _lock = self.locks.digest(digest);
        let Some((held, holders)) = self.unless_kept(digest) else { return 0 };
        let remove = || self.remove_mirrored(digest, held.kind, &holders);
        match self.gc_guard.unless_held(digest, remove) {
            RemovalOutcome::InUse | RemovalOutcome::Outdated => {
                self.index.defer(digest, Some(access_tracker::now() + READ_AGAIN));
                0
            }
            RemovalOutcome::Removed(Ok(())) => {
                let idle = Duration::from_secs(access_tracker::now().saturating_sub(held.used));
                self.metrics.evicted(reason, held.allocated, idle);
                held.allocated
            }
            RemovalOutcome::Removed(Err(error)) => {
                tracing::warn!("{digest} cannot be evicted: {error}");
                self.index.defer(digest, Some(access_tracker::now() + AGAIN));
                0
            }
        }
    }

    fn may_go(&self, digest: &Digest) -> Option<(BlobEntry, Vec<Repository>)> {
        let _lock = self.locks.digest(digest);
        self.unless_kept(digest)
    }

    /// Returns a blob that is evictable, with the repositories that link it. Any other blob leaves the queue until it
    /// becomes evictable. The caller holds the digest's lock.
    fn unless_kept(&self, digest: &Digest) -> Option<(BlobEntry, Vec<Repository>)> {
        let held = self.index.blob_entry(digest).filter(|held| held.owner == Owner::Mirrored)?;
        let holders = self.index.holders(digest);
        let kept = self.kept(digest, &held, &holders);
        // An index that failed meanwhile has returned no holders at all.
        if !self.index.is_complete() {
            return None;
        }
        match kept {
            KeepReason::No => return Some((held, holders)),
            KeepReason::Until(until) => self.index.defer(digest, Some(until)),
            KeepReason::ForGood => self.index.defer(digest, None),
            KeepReason::Hosted => self.index.kept_for_push(digest),
        }
        None
    }

    fn kept(&self, digest: &Digest, held: &BlobEntry, holders: &[Repository]) -> KeepReason {
        if holders.iter().any(|holder| holder.domain.is_none() && self.index.link(holder, digest).is_some()) {
            return KeepReason::Hosted;
        }
        let names = |place: &Repository| self.retention.pinned.iter().any(|pattern| pattern.matches(&place.name));
        if holders.iter().any(names) {
            return KeepReason::ForGood;
        }
        let now = access_tracker::now();
        if self.access_tracker.is_read(digest) || self.gc_guard.is_held(digest) {
            return KeepReason::Until(now + READ_AGAIN);
        }
        let parents = self.index.parents(digest);
        let used = |held: &BlobEntry, digest: &Digest| held.used.max(self.access_tracker.last(digest).unwrap_or(0));
        let by_manifest = parents.iter().filter_map(|parent| Some(used(&self.index.blob_entry(parent)?, parent)));
        // A time in the future comes from another clock and counts as now.
        let last = by_manifest.fold(used(held, digest), u64::max).min(now);
        let until = last + self.retention.lease.as_secs();
        if until > now { KeepReason::Until(until) } else { KeepReason::No }
    }

    pub(in crate::registry) fn remove_mirrored(
        &self,
        digest: &Digest,
        kind: BlobKind,
        holders: &[Repository],
    ) -> Result<(), Error> {
        let is_manifest = kind == BlobKind::Manifest;
        let manifest = if is_manifest { stored_manifests::read(self.disk, digest)? } else { None };
        for place in holders {
            let links = self.disk.links(place);
            if is_manifest {
                for tag in links.tags_of(digest)? {
                    self.unlink_tag(place, &tag, digest)?;
                }
                for previous_tags in links.previous_tags() {
                    let (tag, named) = previous_tags?;
                    if named != *digest {
                        continue;
                    }
                    links.remove_previous_tag(&tag, digest, Durability::Unsynced)?;
                }
            }
            links.forget(digest)?;
            self.index.remove_link(place, digest, Link { revision: true, layer: true, ..Link::default() });
        }
        self.index.removing(digest);
        self.disk.remove_blob(digest)?;
        self.index.evicted(digest);
        if let Some(manifest) = manifest {
            self.forget_references(digest, &manifest, holders);
        }
        Ok(())
    }

    /// Removes from the index what an evicted manifest refers to. The repositories stay, as on the disk: a name that
    /// was mirrored once cannot be pushed to.
    fn forget_references(&self, parent: &Digest, manifest: &Manifest, holders: &[Repository]) {
        for child in manifest.children() {
            self.index.remove_parent(&child.digest, parent);
            for place in holders.iter().filter(|place| !self.index.is_named(place, &child.digest)) {
                self.index.remove_link(place, &child.digest, Link { named: Some(0), ..Link::default() });
            }
        }
        if let Some(subject) = &manifest.subject {
            holders.iter().for_each(|place| self.index.remove_referrer(place, subject, parent));
        }
    }
}

/// The reason to keep a blob.
enum KeepReason {
    No,
    /// Kept until this time, in seconds since the epoch.
    Until(u64),
    ForGood,
    /// A hosted repository links it.
    Hosted,
}
