//! Eviction of mirrored content, in the order of the index's queue. Content that was pushed, is pinned, is being read,
//! or was served a moment ago is never evicted.
//!
//! Links and index entries are removed first and bytes last (law 2 of ARCHITECTURE.md): a crash may leave bytes without
//! a link, never a link without bytes.

use std::time::Duration;

use crate::{
    index::{BlobEntry, BlobKind, EvictionOrder, Link, Owner, Requeue},
    metrics::EvictionReason,
    oci::{Digest, Manifest, Repository},
    registry::{
        Error,
        eviction_rules::Lifetimes,
        store::{
            access_tracker, blob_store::BlockingStore, eviction_log::Evicted, gc_guard::RemovalOutcome, links,
            stored_manifests,
        },
    },
    storage::{Durability, DurableStore, LinkKind, MirroredBytes},
};

/// Blobs taken from the queue at a time.
const BATCH_BLOBS: usize = 32;
/// The links of mirrored repositories may occupy this part of all mirrored bytes, one in so many.
const LINKS_SHARE: u64 = 4;
/// The attempts to evict one blob in a row. More than one are needed only if it came back into the queue meanwhile.
const MAX_REPEATS: u32 = 8;
/// The least that a link occupies, in bytes.
const MIN_LINK_BYTES: u64 = 4 << 10;
/// Seconds until the next attempt for a blob that could not be removed.
const RETRY_SECS: u64 = 10;
/// Seconds until the next attempt for a blob in use. It is short, because most reads are, and a small busy cache has
/// many.
const READ_RETRY_SECS: u64 = 1;

impl BlockingStore<'_> {
    /// Evicts mirrored content, a blob at a time, until `is_enough` says so of the bytes of the blobs that went, or
    /// nothing more is evictable. Returns these bytes. Their links and folders went as well.
    pub(in crate::registry) fn evict_until(
        &self,
        reason: EvictionReason,
        mut is_enough: impl FnMut(u64) -> bool,
    ) -> u64 {
        let (mut freed, mut last, mut repeats) = (0, None, 0);
        self.requeue_due();
        while self.index.is_complete() && repeats < MAX_REPEATS && !is_enough(freed) {
            let Some(next) = self.index.next_to_evict(self.order()) else { break };
            freed += self.try_evict(&next, reason);
            // A blob that cannot be evicted leaves the queue, unless another request puts it back.
            repeats = if last == Some(next) { repeats + 1 } else { 0 };
            last = Some(next);
        }
        freed
    }

    /// Manifests outlive their layers, since rate limits of upstreams count them, until the links of repositories
    /// occupy [`LINKS_SHARE`] of all mirrored bytes: without that bound a cache of small images fills up with folders.
    fn order(&self) -> EvictionOrder {
        let MirroredBytes { blobs, links } = self.volume.ledger().mirrored();
        match links > (blobs + links) / LINKS_SHARE {
            true => EvictionOrder::ManifestsFirst,
            false => EvictionOrder::LayersFirst,
        }
    }

    fn requeue_due(&self) {
        self.flush_accesses();
        self.index.requeue(Requeue::Due(access_tracker::now()));
    }

    /// Returns how much can be evicted at least, up to `bytes`. Nothing is evictable while the index is incomplete,
    /// since it may not know all pushed content yet.
    pub(in crate::registry) fn evictable(&self, bytes: u64) -> u64 {
        let mut sum = 0;
        if bytes == 0 || !self.index.is_complete() {
            return sum;
        }
        self.requeue_due();
        let mut after = None;
        while let Some(_open) = self.execution.while_open() {
            let (next, last) = self.index.next_in_queue(after.as_ref(), BATCH_BLOBS);
            for digest in next {
                if let Some((held, holders)) = self.may_go(&digest) {
                    sum += held.allocated + MIN_LINK_BYTES * holders.len() as u64;
                }
                if sum >= bytes {
                    return sum;
                }
            }
            if last.is_none() {
                break;
            }
            after = last;
        }
        sum
    }

    /// Removes content not accessed for its lifetime. Returns the bytes freed.
    pub(in crate::registry) fn expire(&self, lifetimes: &Lifetimes) -> u64 {
        let Some(shortest) = lifetimes.shortest().filter(|_| self.index.is_complete()) else { return 0 };
        self.flush_accesses();
        let now = access_tracker::now();
        let is_old = |digest: &Digest| {
            let held = self.index.blob_entry(digest).filter(|held| held.owner == Owner::Mirrored);
            let Some(unused) = held.map(|held| Duration::from_secs(now.saturating_sub(held.used))) else {
                return false;
            };
            // The repositories are looked up only for what may be too old.
            unused > shortest && lifetimes.of(&self.index.holders(digest)).is_some_and(|lifetime| unused > lifetime)
        };
        let old = self.index.blob_batches().flatten().filter(is_old);
        old.map(|digest| self.try_evict(&digest, EvictionReason::Ttl)).sum()
    }

    /// Writes the noted accesses to the index.
    pub(in crate::registry) fn flush_accesses(&self) {
        self.index.used(self.protection.access_tracker.take());
    }

    fn try_evict(&self, digest: &Digest, reason: EvictionReason) -> u64 {
        let Some(_open) = self.execution.while_open() else { return 0 };
        let _lock = self.protection.locks.digest(digest);
        let Some((held, holders)) = self.unless_kept(digest) else { return 0 };
        let remove = || self.remove_mirrored(digest, held.kind, &holders);
        match self.protection.gc_guard.unless_held(None, digest, remove) {
            RemovalOutcome::InUse | RemovalOutcome::Outdated => {
                self.index.defer(digest, Some(access_tracker::now() + READ_RETRY_SECS));
                0
            }
            RemovalOutcome::Removed(Ok(())) => {
                let idle = Duration::from_secs(access_tracker::now().saturating_sub(held.used));
                self.volume.metrics.evicted(reason, held.allocated, idle);
                let BlobEntry { allocated, used, .. } = held;
                self.space.note_eviction(&Evicted { digest, allocated, used, repositories: &holders }, reason);
                held.allocated
            }
            RemovalOutcome::Removed(Err(error)) => {
                tracing::warn!("{digest} cannot be evicted: {error}");
                self.index.defer(digest, Some(access_tracker::now() + RETRY_SECS));
                0
            }
        }
    }

    fn may_go(&self, digest: &Digest) -> Option<(BlobEntry, Vec<Repository>)> {
        let _lock = self.protection.locks.digest(digest);
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
        if holders.iter().any(|place| self.space.is_pinned(place)) {
            return KeepReason::ForGood;
        }
        let now = access_tracker::now();
        if self.protection.is_in_use(digest) {
            return KeepReason::Until(now + READ_RETRY_SECS);
        }
        let parents = self.index.parents(digest);
        let used =
            |held: &BlobEntry, digest: &Digest| held.used.max(self.protection.access_tracker.last(digest).unwrap_or(0));
        let by_manifest = parents.iter().filter_map(|parent| Some(used(&self.index.blob_entry(parent)?, parent)));
        // A time in the future comes from another clock and counts as now.
        let last = by_manifest.fold(used(held, digest), u64::max).min(now);
        let until = self.space.eviction_rules.leased_until(last);
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
            if is_manifest {
                for tag in links::tags_of(self.disk, place, digest)? {
                    self.unlink_tag(place, &tag, digest)?;
                }
                for previous_tags in self.disk.links(place).previous_tags() {
                    let (tag, named) = previous_tags?;
                    if named != *digest {
                        continue;
                    }
                    self.disk.remove_link(place, LinkKind::History(&tag), digest, Durability::Unsynced)?;
                }
            }
            self.disk.links(place).forget(digest)?;
            self.index.remove_link(place, digest, Link { revision: true, layer: true, ..Link::default() });
            self.delist_if_gone(place);
        }
        self.index.removing(digest);
        self.disk.remove_blob(digest)?;
        self.index.evicted(digest);
        if let Some(manifest) = manifest {
            self.forget_references(digest, &manifest, holders);
        }
        Ok(())
    }

    /// Removes from the index what an evicted manifest refers to.
    fn forget_references(&self, parent: &Digest, manifest: &Manifest, holders: &[Repository]) {
        manifest.children().for_each(|child| self.index.remove_parent(&child.digest, parent));
        holders.iter().for_each(|place| self.forget_names(parent, manifest, place));
    }

    /// Removes from the index what a manifest refers to in a repository that does not have it any more.
    pub(in crate::registry) fn forget_names(&self, parent: &Digest, manifest: &Manifest, place: &Repository) {
        for child in manifest.children().filter(|child| !self.index.is_named(place, &child.digest)) {
            self.index.remove_link(place, &child.digest, Link { named: Some(0), ..Link::default() });
        }
        if let Some(subject) = &manifest.subject {
            self.index.remove_referrer(place, subject, parent);
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
