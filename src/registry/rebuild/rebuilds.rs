//! Rebuilds the index from the disk: links, tags, and the references of manifests. It runs in the background while
//! requests are served; until it is done, an entry missing in the index has to be looked up on disk.
//!
//! Verified file stamps are not rebuilt: a blob is hashed on its first request instead. Allocated sizes are (`scan`).

use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, MutexGuard};

use super::{
    saved_uses::{self, SavedUses},
    scan::scan,
};
use crate::{
    index::{Absent, Link},
    oci::Repository,
    registry::{
        Error,
        store::{blob_store::BlockingStore, links, manifests, stored_manifests::read_stored},
    },
    storage::{DurableStore, LinkKind},
};

/// The time between a rebuild that could not read everything and the next one.
const RETRY_DELAY: Duration = Duration::from_secs(30);

/// The least time between two attempts to free space for the index.
const FREE_SPACE_RETRY_DELAY: Duration = Duration::from_secs(5);
/// The least space freed for the index, in bytes.
const MIN_INDEX_BYTES: u64 = 16 << 20;

/// The rebuilds of one volume's index. Only one runs at a time, since two would disturb each other's totals. Whoever
/// opens a volume (`Registry`, `Volume`) has one of these, and every rebuild goes through it.
#[derive(Debug, Default)]
pub(in crate::registry) struct Rebuilds {
    schedule: Mutex<Schedule>,
    /// A rebuild saves the uses before it clears the index.
    pub(in crate::registry) saved_uses: SavedUses,
}

#[derive(Debug, Default)]
struct Schedule {
    /// The time of the next rebuild, after one that could not read everything.
    due: Option<Instant>,
    /// The time of the next attempt to free space for the index, after one that failed.
    no_room_until: Option<Instant>,
}

impl Rebuilds {
    /// Clears the index and rebuilds it from the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if a part of the disk cannot be read. Another rebuild follows soon.
    pub(in crate::registry) fn rebuild(&self, store: &BlockingStore<'_>) -> Result<(), Error> {
        let alone = self.schedule.lock();
        store.index.open_files(|_| ());
        store.disk.ledger().set_known(false);
        self.saved_uses.save(store);
        store.index.clear();
        walk_by(store, alone, walk)
    }

    /// Opens the index and updates it from the disk. Blocks until both are done.
    ///
    /// # Errors
    /// As [`Rebuilds::rebuild`].
    pub(in crate::registry) fn open_index(&self, store: &BlockingStore<'_>) -> Result<(), Error> {
        let alone = self.schedule.lock();
        store.index.open_files(|totals| store.volume.restore_ledger(totals));
        store.note_pins();
        walk_by(store, alone, walk)
    }

    /// Reopens the index after a failure, if possible. Blocks.
    ///
    /// # Errors
    /// As [`Rebuilds::rebuild`].
    pub(in crate::registry) fn reopen_index(&self, store: &BlockingStore<'_>) -> Result<(), Error> {
        let mut alone = self.schedule.lock();
        store.disk.ledger().set_known(false);
        let reopened = match store.index.reopen() {
            Err(Absent::Full) if free_space_for_index(store, &mut alone) => store.index.reopen(),
            reopened => reopened,
        };
        if reopened.is_err() {
            return Ok(());
        }
        tracing::info!("index opened again; rebuilding it from the disk");
        walk_by(store, alone, walk)
    }

    /// Rebuilds again after a rebuild that could not read everything, or if the index is in doubt. Blocks.
    ///
    /// # Errors
    /// As [`Rebuilds::rebuild`].
    pub(in crate::registry) fn rebuild_if_due(&self, store: &BlockingStore<'_>) -> Result<(), Error> {
        match self.schedule.try_lock() {
            Some(alone) if store.index.is_stale() || alone.due.is_some_and(|due| due <= Instant::now()) => {
                walk_by(store, alone, walk)
            }
            _ => Ok(()),
        }
    }
}

/// Frees space for an index that cannot be opened on a full disk; normal eviction needs the index. Returns whether
/// anything was freed.
fn free_space_for_index(store: &BlockingStore<'_>, alone: &mut Schedule) -> bool {
    if alone.no_room_until.is_some_and(|until| Instant::now() < until) {
        return false;
    }
    let begun = Instant::now();
    let bytes = MIN_INDEX_BYTES.max(store.disk.usage().index / 4);
    let partial = store.space.partial_blobs.drop_oldest(bytes);
    let evicted = if partial < bytes { store.evict_unindexed(bytes - partial) } else { Ok(0) };
    match &evicted {
        Err(error) => tracing::warn!(%error, "no space could be freed for the index"),
        Ok(0) if partial == 0 => tracing::warn!("the index needs space, and no mirrored content is evictable now"),
        Ok(evicted) => tracing::info!(bytes = partial + evicted, "evicted mirrored content for the index"),
    }
    let made = partial + evicted.unwrap_or(0) > 0;
    // It walks all repositories: without success, it must not keep the disk busy.
    alone.no_room_until = (!made).then(|| Instant::now() + FREE_SPACE_RETRY_DELAY.max(begun.elapsed() * 10));
    made
}

fn walk_by(
    store: &BlockingStore<'_>,
    mut alone: MutexGuard<'_, Schedule>,
    walk: impl FnOnce(&BlockingStore<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    // Set before the walk, in case it panics.
    alone.due = Some(Instant::now() + RETRY_DELAY);
    store.index.begin_walk();
    let walked = walk(store);
    alone.due = walked.is_err().then(|| Instant::now() + RETRY_DELAY);
    walked.inspect_err(|error| {
        store.index.set_incomplete();
        tracing::error!(
            %error,
            retry_seconds = RETRY_DELAY.as_secs(),
            "disk not scanned; nothing is evicted, and requests look on the disk"
        );
    })
}

fn walk(store: &BlockingStore<'_>) -> Result<(), Error> {
    let everything = !store.index.was_complete();
    if everything {
        store.volume.recount();
    }
    scan(store)?;
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
            let _still = hosted.then(|| store.protection.locks.repository(&repository));
            repositories += 1;
            links += index_repository(store, &repository)?;
        }
    }
    saved_uses::restore(store);
    store.index.set_complete();
    // The index may have failed meanwhile, and then the count is incomplete.
    store.disk.ledger().set_known(store.index.is_complete());
    tracing::debug!(repositories, links, "index rebuilt");
    if let Err(error) = remove_empty_folders(store) {
        tracing::warn!(%error, "empty folders of repositories may stay until the next start");
    }
    Ok(())
}

/// Removes what earlier versions left of repositories whose content was evicted or collected.
fn remove_empty_folders(store: &BlockingStore<'_>) -> Result<(), Error> {
    for repository in store.disk.repositories() {
        let repository = repository?;
        if links::all(&store.disk, &repository).next().transpose()?.is_some() {
            continue;
        }
        store.disk.links(&repository).remove_empty_folders();
        if repository.domain.is_some() {
            store.delist_if_gone(&repository);
        }
    }
    Ok(())
}

fn index_repository(store: &BlockingStore<'_>, repository: &Repository) -> Result<u64, Error> {
    let disk = store.disk;
    // Durability is not on disk: blobs are synced once more if it matters. Mirrored repositories come first, and a
    // hosted link takes precedence.
    let mut count = 0;
    if repository.domain.is_some() || links::has_manifests(disk, repository)? {
        store.index.add_repository(repository);
    }
    if repository.domain.is_none() {
        store.recall_claim(repository)?;
    }
    for digest in disk.linked(repository, LinkKind::Layer) {
        let digest = digest?;
        count += 1;
        store.index.linked(repository, &digest, Link { layer: true, ..Link::default() });
    }
    for digest in disk.linked(repository, LinkKind::Revision) {
        let digest = digest?;
        count += 1;
        match read_stored(store.disk, &digest)? {
            Some(manifest) => manifests::note(store.index, repository, &manifest),
            None => store.index.linked(repository, &digest, Link { revision: true, ..Link::default() }),
        }
    }
    for tagged in disk.tags(repository) {
        // A damaged link is read from the disk again on request.
        let (tag, Some(_)) = tagged? else { continue };
        let _lock = store.protection.locks.tag(repository, &tag);
        // The time of the last check is not on disk, so the tag counts as stale, which costs one HEAD. A newer answer
        // stays.
        if store.index.tag(repository, &tag).is_none()
            && let Some(digest) = disk.tag(repository, &tag)?
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
        registry::{EvictionRules, store::blob_store::BlobStore},
        storage::{SpaceLimits, Storage},
    };

    #[test]
    fn a_walk_that_panicked_is_repeated() {
        let dir = tempfile::TempDir::new().unwrap();
        let storage = Storage::open(Blocking::in_test(), dir.path(), SpaceLimits::default()).unwrap();
        let index = Index::open(&storage.index_dir());
        let (metrics, lanes) = (Metrics::new().unwrap().into(), Lanes::new().unwrap());
        let volume = BlobStore::new(storage, index, EvictionRules::default(), Duration::ZERO, metrics, lanes);
        let store = volume.with(Blocking::in_test());
        let rebuilds = Rebuilds::default();
        let panicking = || walk_by(&store, rebuilds.schedule.lock(), |_| panic!("on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        assert!(rebuilds.schedule.lock().due.is_some(), "the panic itself makes it due");
        rebuilds.rebuild_if_due(&store).unwrap();
        assert!(!store.index.is_complete(), "not at once");
        rebuilds.schedule.lock().due = Some(Instant::now());
        rebuilds.rebuild_if_due(&store).unwrap();
        assert!(store.index.is_complete());
        assert_eq!(rebuilds.schedule.lock().due, None);
        store.index.mark_stale();
        assert!(!store.index.is_complete(), "a change of the disk could not be read again");
        rebuilds.rebuild_if_due(&store).unwrap();
        assert!(store.index.is_complete(), "it is told anew at once");
        let becomes_stale = |store: &BlockingStore<'_>| {
            store.index.mark_stale();
            walk(store)
        };
        walk_by(&store, rebuilds.schedule.lock(), becomes_stale).unwrap();
        assert!(!store.index.is_complete(), "it became stale during the walk");
    }
}
