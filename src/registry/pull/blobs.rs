//! Reads of blobs: opens a stored blob, or begins a fill, after checking that the repository is authorized for it.

use std::sync::Arc;

use super::blob::{Blob, begun};
use crate::{
    index::Link,
    lanes::Lane,
    oci::{Digest, Repository},
    registry::{
        CacheStatus, Error, Registry, StoreResult, UnusableAnswer,
        error::{Resource, cached_or_unknown},
        fill::{
            fill_source::{FillSource, Right},
            progress::{FillFailure, Shown},
        },
        store::{
            blob_store::{BlobStore, BlockingStore},
            single_flight::Joined,
        },
    },
    storage::{self, DurableStore, LinkKind},
};

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

#[cfg(test)]
mod tests;
