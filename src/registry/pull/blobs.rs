//! Reads of blobs: opens a stored blob, or begins a fill, after checking that the repository is authorized for it.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use crate::{
    index::Link,
    lanes::{Blocking, Lane, Lanes},
    oci::{ByteRange, Digest, Repository},
    registry::{
        CacheStatus, Error, Registry, StoreResult, UnusableAnswer,
        error::{Resource, cached_or_unknown},
        fill::{
            fill_handle::Fill,
            fill_source::{FillSource, Right},
            progress::{FillFailure, FillProgress, Shown},
            reader::{ReadSlice, Reader},
        },
        store::{
            access_tracker::ReadGuard,
            blob_store::{BlobBytes, BlobStore, BlockingStore},
            single_flight::Joined,
        },
    },
    storage::{self, BlobFile, DurableStore, LinkKind},
};

/// Blobs up to this many bytes are answered only after they are complete.
const MAX_BUFFERED_BLOB_BYTES: u64 = 64 << 10;
/// The interval at which the progress of a fill is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// A blob whose size is known, ready to be read.
#[derive(Debug)]
pub struct Blob {
    /// Its size in bytes.
    pub size: u64,
    /// Its source: the cache, an upstream, or a hosted repository.
    pub cache_status: CacheStatus,
    content: BlobContent,
}

#[derive(Debug)]
enum BlobContent {
    Stored(Arc<BlobFile>, Arc<ReadGuard>),
    Filling(Arc<Fill>, tokio::sync::watch::Receiver<FillProgress>),
    /// All bytes, verified, and whether the disk has them, too.
    Memory(Bytes, StoreResult),
}

impl Blob {
    pub(in crate::registry) fn stored(stored: BlobBytes, reading: ReadGuard, cache_status: CacheStatus) -> Self {
        let size = stored.size();
        let content = match stored {
            BlobBytes::Memory(bytes) => BlobContent::Memory(bytes, StoreResult::Stored),
            BlobBytes::File(stored) => BlobContent::Stored(stored.file, Arc::new(reading)),
        };
        Self { size, cache_status, content }
    }

    /// Returns a range of it if it is in memory.
    #[must_use]
    pub fn in_memory(&self, range: ByteRange) -> Option<Bytes> {
        let BlobContent::Memory(bytes, _) = &self.content else { return None };
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
    }

    /// Returns whether the disk does not keep it, so that every range read is fetched from the upstream.
    #[must_use]
    pub fn passes_through(&self) -> bool {
        match &self.content {
            BlobContent::Stored(..) | BlobContent::Memory(..) => false,
            BlobContent::Filling(_, progress) => {
                matches!(*progress.borrow(), FillProgress::Failed(FillFailure::NoSpace(_)))
            }
        }
    }

    /// Reads a range of it.
    #[must_use]
    pub fn read(&self, range: ByteRange) -> Reader {
        match &self.content {
            BlobContent::Stored(file, reading) => Reader::stored(Arc::clone(file), Arc::clone(reading), range),
            BlobContent::Filling(fill, progress) => Reader::following(Arc::clone(fill), progress.clone(), range),
            BlobContent::Memory(bytes, _) => Reader::in_memory(bytes.clone(), range),
        }
    }

    /// Waits until all of it is stored, without reading it, and reports the bytes so far from time to time. Returns
    /// whether the disk keeps it.
    ///
    /// # Errors
    /// The fill's [`Error`].
    pub(in crate::registry) async fn stored_whole(
        &mut self,
        mut on_progress: impl FnMut(u64),
    ) -> Result<StoreResult, Error> {
        let (fill, progress) = match &mut self.content {
            BlobContent::Stored(..) => return Ok(StoreResult::Stored),
            BlobContent::Memory(_, kept) => return Ok(kept.clone()),
            BlobContent::Filling(fill, progress) => (fill, progress),
        };
        let has_ended =
            |progress: &FillProgress| matches!(progress, FillProgress::Verified { .. } | FillProgress::Failed(_));
        loop {
            let ended = timeout(PROGRESS_INTERVAL, progress.wait_for(has_ended)).await;
            let Ok(ended) = ended.map(|ended| ended.map(|state| state.clone())) else {
                on_progress(progress.borrow().visible());
                continue;
            };
            return match ended.map_err(|_| Error::Panicked)? {
                FillProgress::Failed(FillFailure::Error(error)) => Err(error),
                FillProgress::Failed(FillFailure::NoSpace(_)) => Ok(StoreResult::Nothing),
                FillProgress::Verified { .. } => Ok(fill.kept()),
                _ => Err(Error::Panicked),
            };
        }
    }

    /// Reads a small blob that the disk does not keep into memory, so that wrong bytes are found before anything is
    /// sent.
    async fn buffered(self, lanes: &Lanes) -> Result<Self, Error> {
        if !self.passes_through() || self.size > MAX_BUFFERED_BLOB_BYTES {
            return Ok(self);
        }
        let mut reader = self.read(ByteRange { start: 0, end: self.size });
        let mut bytes = BytesMut::new();
        while let Some(slice) = reader.next().await? {
            match slice {
                ReadSlice::Bytes(more) => bytes.extend_from_slice(&more),
                // The disk took the beginning.
                ReadSlice::File { file, until } => {
                    let at = reader.at();
                    let mut piece = vec![0; usize::try_from(until - at).map_err(|_| Error::Panicked)?];
                    let read = move |io: &Blocking| file.read_exact_at(io, &mut piece, at).map(|()| piece);
                    let read = lanes.run(Lane::Read, read).await.map_err(|_| Error::Panicked)?;
                    bytes.extend_from_slice(
                        &read.map_err(|source| storage::Error::Io { path: "staging".into(), source })?,
                    );
                    reader.advance(until - at);
                }
            }
        }
        Ok(Self { content: BlobContent::Memory(bytes.freeze(), StoreResult::Nothing), ..self })
    }
}

impl Registry {
    /// Opens a blob of a repository, and begins to fetch it if it is not stored. Returns as soon as its size is known,
    /// or, for a small one, after it is complete.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`] if the repository does not have it; otherwise the failure of the upstream.
    pub async fn blob(self: &Arc<Self>, repository: &Repository, digest: &Digest) -> Result<Blob, Error> {
        self.open_blob(repository, digest, || self.prefetch(repository, digest)).await
    }

    /// As [`Registry::blob`], without a prefetch. `on_fill` is called if the blob is being fetched and stored.
    pub(in crate::registry) async fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        on_fill: impl FnOnce(),
    ) -> Result<Blob, Error> {
        if repository.domain.is_none() {
            return self.hosted_blob(repository, digest).await;
        }
        let link = cached_or_unknown(self.blob_link(repository, digest).await);
        self.manifests.want(repository, digest);
        // Taken before the file is opened: an open file that is removed still occupies space.
        let reading = self.store.protection.access_tracker.read(digest);
        let blob = match cached_or_unknown(self.store.known_bytes(*digest).await) {
            // The right is checked after the file is opened, since a push may store the blob in between.
            Some(stored) => {
                self.prove(repository, digest, link, stored.size()).await?;
                Blob::stored(stored, reading, CacheStatus::Hit)
            }
            None => {
                let blob = self.fill(repository, digest, link).await?;
                if !blob.passes_through() {
                    on_fill();
                }
                blob
            }
        };
        // Noted only now, after the authorization.
        self.store.protection.access_tracker.note(digest);
        self.settle_link(repository, digest, link).await;
        Ok(blob)
    }

    /// Authorizes a repository for stored bytes: if no link of it covers them, its own upstream must confirm that it
    /// has the blob.
    async fn prove(
        &self,
        repository: &Repository,
        digest: &Digest,
        link: Option<Link>,
        size: u64,
    ) -> Result<(), Error> {
        if !self.covers(link, digest) {
            let said = self.ask_size(repository, digest).await?;
            if said != size {
                // The answer is about another blob, or comes from something other than the upstream.
                let digest = Box::new(*digest);
                return Err(UnusableAnswer::UnlikeStored { digest, upstream: said, stored: size }.into());
            }
            self.store.link_layer(repository, *digest).await;
        }
        Ok(())
    }

    /// Returns whether a link authorizes for stored bytes. Bytes of unknown origin count as pushed.
    fn covers(&self, link: Option<Link>, digest: &Digest) -> bool {
        link.and_then(right).is_some_and(|right| right.covers(self.store.volume.index.origins(digest)))
    }

    /// Joins or begins a fill. A repository without authorization begins its own, except when another repository's fill
    /// of the blob is under way: then its upstream is only asked for the size.
    pub(in crate::registry) async fn fill(
        &self,
        repository: &Repository,
        digest: &Digest,
        link: Option<Link>,
    ) -> Result<Blob, Error> {
        let (upstream, named) = (self.upstream(repository)?, link.and_then(|link| link.named).filter(|size| *size > 0));
        let mut source =
            FillSource { upstream, repository: repository.clone(), right: link.and_then(right), size: named };
        if source.right.is_none() && self.fills.is_filling_elsewhere(digest, repository) {
            source.authorize(digest, Shown::Size(self.ask_size(repository, digest).await?))?;
        }
        let mut failed_elsewhere = false;
        loop {
            let Joined { value: fill, collapsed: joined } = self.fills.join_or_start(digest, source.clone());
            let elsewhere = joined && fill.source().repository != *repository;
            match begun(fill, joined, &source).await {
                Err(FillFailure::Superseded(shown)) => source.authorize(digest, shown)?,
                // A 404 of another repository's upstream says nothing about this repository.
                Err(FillFailure::Error(Error::BlobUnknown)) if elsewhere && !failed_elsewhere => {
                    failed_elsewhere = true;
                }
                Err(FillFailure::Error(error)) => return Err(error),
                Err(FillFailure::NoSpace(_)) => return Err(Error::Panicked),
                Ok(blob) => return blob.buffered(self.lanes()).await,
            }
        }
    }

    /// Returns the size of a blob without fetching it. `ask_upstream` allows a request to the upstream. Clients send a
    /// HEAD before an upload, and a positive answer of the upstream would make them skip it (law 8 of ARCHITECTURE.md).
    ///
    /// # Errors
    /// As [`Registry::blob`].
    pub async fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
        ask_upstream: bool,
    ) -> Result<(u64, CacheStatus), Error> {
        if repository.domain.is_none() {
            return Ok((self.hosted_size(repository, digest).await?, CacheStatus::Hosted));
        }
        let link = cached_or_unknown(self.blob_link(repository, digest).await);
        let stored = cached_or_unknown(self.store.known(*digest).await);
        let covered = self.covers(link, digest);
        // A size of 0 in a descriptor counts as missing.
        match (stored, link.and_then(|link| link.named).filter(|size| *size > 0)) {
            (Some(stored), _) if covered => Ok((stored.stamp.size, CacheStatus::Hit)),
            _ if !ask_upstream => Err(Error::BlobUnknown),
            (_, Some(size)) if covered || !self.store.has(*digest).await? => Ok((size, CacheStatus::Hit)),
            _ => {
                let size = self.ask_size(repository, digest).await?;
                Ok((size, CacheStatus::Miss { collapsed: false, kept: StoreResult::Nothing }))
            }
        }
    }

    async fn ask_size(&self, repository: &Repository, digest: &Digest) -> Result<u64, Error> {
        let upstream = self.upstream(repository)?;
        let size = upstream.blob_size(&repository.name, digest).await;
        size.map_err(|error| Resource::Blob.failed(&error))
    }

    /// Returns whether a blob was pushed to a repository or mounted there.
    ///
    /// # Errors
    /// [`Error::Storage`] if the link cannot be read, [`Error::ShuttingDown`] if the store is closed.
    pub async fn has_layer(&self, repository: &Repository, digest: &Digest) -> Result<bool, Error> {
        Ok(self.blob_link(repository, digest).await?.is_some_and(|link| link.layer))
    }

    /// Returns whether a blob may be read in a repository, without asking the upstream.
    pub(in crate::registry) async fn may_read(&self, repository: &Repository, digest: &Digest) -> Result<bool, Error> {
        match repository.domain {
            None => Ok(self.blob_link(repository, digest).await?.is_some_and(|link| link.layer || link.revision)),
            Some(_) => Ok(self.covers(self.blob_link(repository, digest).await?, digest)),
        }
    }

    /// Returns the link of a blob in a repository; `None` if none is known here. While the index is incomplete, the
    /// disk is read.
    ///
    /// # Errors
    /// [`Error::Storage`] if the links cannot be read, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn blob_link(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Link>, Error> {
        if self.store.volume.trusts_index(repository)
            && let Some(link) = self.manifests.link_of(repository, digest)
        {
            return Ok(Some(link));
        }
        // A complete index knows all hosted repositories. It is checked after the lookup, which may have failed.
        if repository.domain.is_none() && self.store.volume.index.is_complete() {
            return Ok(None);
        }
        let (place, digest) = (repository.clone(), *digest);
        let look = move |store: &BlockingStore<'_>| look(store, &place, &digest);
        if let Some(link) = self.store.blocking(Lane::Look, look).await?? {
            return Ok(Some(link));
        }
        if self.store.volume.index.is_complete() || repository.domain.is_none() {
            return Ok(None);
        }
        // This reads all manifests of the repository.
        let place = repository.clone();
        let named =
            move |store: &BlockingStore<'_>| crate::registry::store::stored_manifests::named_by(store, &place, &digest);
        let named = self.store.blocking(Lane::List, named).await??;
        Ok(named.map(|named| Link { named: Some(named), ..Link::default() }))
    }

    /// Adds a layer link for a blob that only a manifest names, after it was requested.
    async fn settle_link(&self, repository: &Repository, digest: &Digest, link: Option<Link>) {
        if link.is_some_and(|link| !link.layer) {
            self.store.link_layer(repository, *digest).await;
        }
    }
}

/// Reads a blob's link from the disk.
fn look(store: &BlockingStore<'_>, repository: &Repository, digest: &Digest) -> Result<Option<Link>, storage::Error> {
    let found = link_on_disk(store, repository, digest)?;
    // Hosted links are indexed only under the lock, since this one may be about to be removed.
    if found.is_some() && repository.domain.is_some() {
        index_link(store, repository, *digest);
    }
    Ok(found)
}

fn link_on_disk(
    store: &BlockingStore<'_>,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<Link>, storage::Error> {
    let has = |kind| store.disk.has_link(repository, kind, digest);
    let link = Link { layer: has(LinkKind::Layer)?, revision: has(LinkKind::Revision)?, ..Link::default() };
    Ok((link != Link::default()).then_some(link))
}

/// Indexes a mirrored link in the background, if it still exists: this can take long while an index is built. If the
/// digest's lock is held, it is left to the next request, because the holder may be waiting for this lane.
fn index_link(store: &BlobStore, repository: &Repository, digest: Digest) {
    let repository = repository.clone();
    store.in_background(Lane::Write, move |store| {
        let Some(_lock) = store.protection.locks.try_digest(&digest) else { return };
        // After an error, the next request reads the disk again.
        if let Ok(Some(link)) = link_on_disk(store, &repository, &digest) {
            store.index.add_link(&repository, &digest, link);
        }
    });
}

/// Returns the right that a link gives its repository.
fn right(link: Link) -> Option<Right> {
    if link.layer || link.revision { Some(Right::Own) } else { link.named.map(|_| Right::Named) }
}

/// Waits until a fill knows the blob's size, and compares it with the manifest's. Waits for the end of a small or empty
/// blob: while nothing is sent, damaged bytes can still be answered with an error status.
async fn begun(fill: Arc<Fill>, joined: bool, source: &FillSource) -> Result<Blob, FillFailure> {
    let mut progress = fill.follow();
    let has_begun = |progress: &FillProgress| match progress {
        FillProgress::Connecting => false,
        FillProgress::Filling { size, .. } => *size > MAX_BUFFERED_BLOB_BYTES,
        FillProgress::Verified { .. } | FillProgress::Failed(_) => true,
    };
    let state = progress.wait_for(has_begun).await.map_err(|_| Error::Panicked)?.clone();
    let size = match state {
        FillProgress::Filling { size, .. } | FillProgress::Verified { size } => size,
        FillProgress::Failed(FillFailure::NoSpace(handover)) => handover.size,
        FillProgress::Failed(failure) => return Err(failure),
        FillProgress::Connecting => return Err(Error::Panicked.into()),
    };
    source.agrees(fill.digest(), size)?;
    let cache_status = match fill.was_local() {
        true => CacheStatus::Hit,
        false => CacheStatus::Miss { collapsed: joined, kept: fill.kept() },
    };
    Ok(Blob { size, cache_status, content: BlobContent::Filling(fill, progress) })
}

#[cfg(test)]
mod tests;
