//! Rebuilds the index from the disk: links, tags, and the references of manifests. It runs in the background while
//! requests are served; until it is done, an entry missing in the index has to be looked up on disk.
//!
//! Verified file stamps are not rebuilt: a blob is hashed on its first request instead. Allocated sizes are
//! (`accounting`).

use std::time::{Duration, Instant, SystemTime};

use parking_lot::MutexGuard;

use crate::{
    index::{Absent, Link, Requeue},
    oci::Repository,
    registry::{
        Error,
        store::{blob_store::BlockingStore, maintenance_state::RebuildState, manifests, stored_manifests::read_stored},
    },
};

/// The time between a rebuild that could not read everything and the next one.
const AGAIN: Duration = Duration::from_secs(30);

/// The least time between two attempts to free space for the index.
const AGAIN_FOR_ROOM: Duration = Duration::from_secs(5);
/// The least space freed for the index, in bytes.
const INDEX_ROOM: u64 = 16 << 20;

impl BlockingStore<'_> {
    /// Clears the index and rebuilds it from the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if a part of the disk cannot be read. Another rebuild follows soon.
    pub(in crate::registry) fn rebuild_index(&self) -> Result<(), Error> {
        let alone = self.rebuilding.lock();
        self.index.resume(|_| ());
        self.storage.ledger().set_known(false);
        self.save_uses();
        self.index.clear();
        self.walk(alone)
    }

    /// Opens the index and updates it from the disk. Blocks until both are done.
    ///
    /// # Errors
    /// As [`BlobStore::rebuild_index`].
    pub(in crate::registry) fn open_index(&self) -> Result<(), Error> {
        let alone = self.rebuilding.lock();
        self.index.resume(|totals| self.resume_ledger(totals));
        let pins: Vec<String> = self.retention.pinned.iter().map(ToString::to_string).collect();
        if self.index.replace_pins(&pins.join("\n")) {
            self.index.requeue(Requeue::All);
            self.index.refresh_pins();
        }
        self.walk(alone)
    }

    /// Reopens the index after a failure, if possible. Blocks.
    ///
    /// # Errors
    /// As [`BlobStore::rebuild_index`].
    pub(in crate::registry) fn reopen_index(&self) -> Result<(), Error> {
        let mut alone = self.rebuilding.lock();
        self.storage.ledger().set_known(false);
        let reopened = match self.index.reopen() {
            Err(Absent::Full) if self.free_space_for_index(&mut alone) => self.index.reopen(),
            reopened => reopened,
        };
        if reopened.is_err() {
            return Ok(());
        }
        tracing::info!("there is an index again, and it is told what is on disk");
        self.walk(alone)
    }

    /// Frees space for an index that cannot be opened on a full disk; normal eviction needs the index. Returns whether
    /// anything was freed.
    fn free_space_for_index(&self, alone: &mut RebuildState) -> bool {
        if alone.no_room_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let begun = Instant::now();
        let bytes = INDEX_ROOM.max(self.disk.usage().index / 4);
        let partial = self.partial_blobs.drop_oldest(bytes);
        let evicted = if partial < bytes { self.evict_unindexed(bytes - partial) } else { Ok(0) };
        match &evicted {
            Err(error) => tracing::warn!("no room can be made for the index: {error}"),
            Ok(0) if partial == 0 => tracing::warn!("the index needs room, and nothing that is mirrored may go now"),
            Ok(evicted) => tracing::info!("evicted {} bytes of mirrored content for the index", partial + evicted),
        }
        let made = partial + evicted.unwrap_or(0) > 0;
        // It walks all repositories: without success, it must not keep the disk busy.
        alone.no_room_until = (!made).then(|| Instant::now() + AGAIN_FOR_ROOM.max(begun.elapsed() * 10));
        made
    }

    /// Rebuilds again after a rebuild that could not read everything, or if the index is in doubt. Blocks.
    ///
    /// # Errors
    /// As [`BlobStore::rebuild_index`].
    pub(in crate::registry) fn rebuild_if_due(&self) -> Result<(), Error> {
        match self.rebuilding.try_lock() {
            Some(alone) if self.index.is_stale() || alone.due.is_some_and(|due| due <= Instant::now()) => {
                self.walk(alone)
            }
            _ => Ok(()),
        }
    }

    fn walk(&self, alone: MutexGuard<'_, RebuildState>) -> Result<(), Error> {
        self.walk_by(alone, walk)
    }

    fn walk_by(
        &self,
        mut alone: MutexGuard<'_, RebuildState>,
        walk: impl FnOnce(&Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Set before the walk, in case it panics.
        alone.due = Some(Instant::now() + AGAIN);
        self.index.begin_walk();
        let walked = walk(self);
        alone.due = walked.is_err().then(|| Instant::now() + AGAIN);
        walked.inspect_err(|error| {
            self.index.set_incomplete();
            tracing::error!(
                "what is on disk is not known, so that nothing is evicted, and requests look on disk: {error}; it is \
                 looked for again in {} s",
                AGAIN.as_secs()
            );
        })
    }
}

fn walk(store: &BlockingStore<'_>) -> Result<(), Error> {
    let everything = !store.index.was_complete();
    if everything {
        store.recount();
    }
    store.scan()?;
    if everything {
        store.index.enqueue_all();
    }
    store.index.forget_hosted();
    let (mut repositories, mut links) = (0_u64, 0_u64);
    for repository in store.disk.repositories() {
        let repository = repository?;
        let hosted = repository.domain.is_none();
        if hosted || everything {
            // Holds the lock so that nothing is deleted between the scan and the insert.
            let _still = hosted.then(|| store.locks.repository(&repository));
            repositories += 1;
            links += index_repository(store, &repository)?;
        }
    }
    store.restore_uses();
    store.index.set_complete();
    remove_empty_folders(store)?;
    // The index may have failed meanwhile, and then the count is incomplete.
    store.storage.ledger().set_known(store.index.is_complete());
    tracing::debug!("the index was told of {repositories} repositories with {links} links");
    Ok(())
}

/// Removes what earlier versions left of repositories whose content was evicted or collected.
fn remove_empty_folders(store: &BlockingStore<'_>) -> Result<(), Error> {
    for repository in store.disk.repositories() {
        let repository = repository?;
        let links = store.disk.links(&repository);
        if links.all().next().transpose()?.is_some() {
            continue;
        }
        links.remove_empty_folders();
        if repository.domain.is_some() {
            store.delist_if_gone(&repository);
        }
    }
    Ok(())
}

fn index_repository(store: &BlockingStore<'_>, repository: &Repository) -> Result<u64, Error> {
    let links = store.disk.links(repository);
    // Durability is not on disk: blobs are synced once more if it matters. Mirrored repositories come first, and a
    // hosted link takes precedence.
    let mut count = 0;
    if repository.domain.is_some() || links.has_revisions()? {
        store.index.add_repository(repository);
    }
    if repository.domain.is_none() {
        store.recall_claim(repository)?;
    }
    for digest in links.layers() {
        let digest = digest?;
        count += 1;
        store.index.linked(repository, &digest, Link { layer: true, ..Link::default() });
    }
    for digest in links.revisions() {
        let digest = digest?;
        count += 1;
        match read_stored(store.disk, &digest)? {
            Some(manifest) => manifests::note(&store.index, repository, &manifest),
            None => store.index.linked(repository, &digest, Link { revision: true, ..Link::default() }),
        }
    }
    for tagged in links.tags() {
        // A damaged link is read from the disk again on request.
        let (tag, Some(_)) = tagged? else { continue };
        let _lock = store.locks.tag(repository, &tag);
        // The time of the last check is not on disk, so the tag counts as stale, which costs one HEAD. A newer answer
        // stays.
        if store.index.tag(repository, &tag).is_none()
            && let Some(digest) = links.tag(&tag)?
        {
            store.index.put_tag(repository, &tag, digest, SystemTime::UNIX_EPOCH);
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{
        index::Index,
        lanes::{Blocking, Lanes},
        metrics::Metrics,
        registry::{Retention, store::blob_store::BlobStore},
        storage::{SpaceLimits, Storage},
    };

    #[test]
    fn a_walk_that_panicked_is_repeated() {
        let dir = tempfile::TempDir::new().unwrap();
        let storage = Storage::open(Blocking::in_test(), dir.path(), SpaceLimits::default()).unwrap();
        let index = Index::open(&storage.index_dir());
        let (metrics, lanes) = (Metrics::new().unwrap().into(), Lanes::new().unwrap());
        let volume = BlobStore::new(storage, index, Retention::default(), Duration::ZERO, metrics, lanes);
        let store = volume.with(Blocking::in_test());
        let panicking = || store.walk_by(store.rebuilding.lock(), |_| panic!("on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        store.rebuild_if_due().unwrap();
        assert!(!store.index.is_complete(), "not at once");
        store.rebuilding.lock().due = Some(Instant::now());
        store.rebuild_if_due().unwrap();
        assert!(store.index.is_complete());
        assert_eq!(store.rebuilding.lock().due, None);
        store.index.mark_stale();
        assert!(!store.index.is_complete(), "a change of the disk could not be read again");
        store.rebuild_if_due().unwrap();
        assert!(store.index.is_complete(), "it is told anew at once");
        store
            .walk_by(store.rebuilding.lock(), |store| {
                store.index.mark_stale();
                walk(store)
            })
            .unwrap();
        assert!(!store.index.is_complete(), "it became stale during the walk");
    }
}
