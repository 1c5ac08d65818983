//! Blobs, as a client asks for them.

use std::{fs::File, sync::Arc};

use crate::{
    index::Link,
    lanes::Lane,
    oci::{ByteRange, Digest, Repository},
    registry::{
        CacheStatus, Error, Kept, Registry,
        error::{Resource, cached_or_unknown},
        fill::{
            fill_handle::Fill,
            origin::{Origin, Right},
            progress::{Failure, Progress, Shown},
            reader::Reader,
        },
        store::{access_tracker::ReadGuard, blob_store::BlobStore},
    },
    storage::{self, Stored},
};

/// Blobs up to this many bytes are answered when they are whole.
const AT_ONCE: u64 = 64 << 10;

/// A blob whose size is known, ready to be read.
#[derive(Debug)]
pub struct Blob {
    /// In bytes.
    pub size: u64,
    /// Where it comes from.
    pub provenance: CacheStatus,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Stored(Arc<File>, Arc<ReadGuard>),
    Filling(Arc<Fill>, tokio::sync::watch::Receiver<Progress>),
}

impl Blob {
    pub(in crate::registry) fn stored(stored: Stored, reading: ReadGuard, provenance: CacheStatus) -> Self {
        Self { size: stored.facts.size, provenance, content: Content::Stored(stored.file, Arc::new(reading)) }
    }

    /// Returns whether the disk does not take it, so that every range that is read of it is fetched from the upstream.
    #[must_use]
    pub fn passes_through(&self) -> bool {
        match &self.content {
            Content::Stored(..) => false,
            Content::Filling(_, progress) => matches!(*progress.borrow(), Progress::Failed(Failure::NoSpace(_))),
        }
    }

    /// Reads a part of it.
    #[must_use]
    pub fn read(&self, range: ByteRange) -> Reader {
        match &self.content {
            Content::Stored(file, reading) => Reader::stored(Arc::clone(file), Arc::clone(reading), range),
            Content::Filling(fill, progress) => Reader::following(Arc::clone(fill), progress.clone(), range),
        }
    }
}

impl Registry {
    /// Opens a blob of a repository, beginning to fetch it if it is not here. Returns as soon as its size is known, and
    /// of a small one when all of it is.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`] when it is not the repository's; otherwise as the upstream failed.
    pub async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Blob, Error> {
        if repository.domain.is_none() {
            return self.hosted_blob(repository, digest).await;
        }
        let link = cached_or_unknown(self.blob_link(repository, digest).await);
        self.manifests.want(repository, digest);
        // Before it is opened: what is open and removed goes on taking room.
        let reading = self.store.access_tracker.read(digest);
        let blob = match cached_or_unknown(self.store.known(*digest).await) {
            // The right is held against what was opened, and not looked at before: somebody may push it in between.
            Some(stored) => {
                self.prove(repository, digest, link, stored.facts.size).await?;
                Blob::stored(stored, reading, CacheStatus::Hit)
            }
            None => self.fill(repository, digest, link).await?,
        };
        // Only now: a right to it is shown.
        self.store.access_tracker.note(digest);
        self.settle_link(repository, digest, link).await;
        Ok(blob)
    }

    /// Makes sure of a repository's right to bytes that are here, or on their way for another one: where no link shows
    /// it, its own upstream has to say that the blob is its too.
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
                // Something else than the upstream answered, or another blob.
                return Err(Error::BadGateway(format!("{digest} has {said} bytes upstream, and {size} here")));
            }
            self.store.link_layer(repository, *digest).await;
        }
        Ok(())
    }

    /// Whether a link is a right to bytes that are here. Whose they are may not be known: then they may be somebody's.
    fn covers(&self, link: Option<Link>, digest: &Digest) -> bool {
        link.and_then(right).is_some_and(|right| right.covers(self.store.index.class(digest)))
    }

    /// Joins or begins a fill. A repository that nothing shows the right of opens one of its own, unless its upstream
    /// can be asked for less: the blob is on its way for another one.
    async fn fill(&self, repository: &Repository, digest: &Digest, link: Option<Link>) -> Result<Blob, Error> {
        let (mirror, named) =
            (self.mirror(repository)?.clone(), link.and_then(|link| link.named).filter(|size| *size > 0));
        let mut origin = Origin { mirror, repository: repository.clone(), right: link.and_then(right), size: named };
        if origin.right.is_none() && self.fills.is_filling_elsewhere(digest, repository) {
            origin.shown(digest, Shown::Size(self.ask_size(repository, digest).await?))?;
        }
        let mut failed_elsewhere = false;
        loop {
            let (fill, joined) = self.fills.join_or_start(digest, origin.clone());
            let elsewhere = joined && fill.origin().repository != *repository;
            match begun(fill, joined, &origin).await {
                Err(Failure::Superseded(shown)) => origin.shown(digest, shown)?,
                // Another repository's upstream has it no more: that says nothing about this one's.
                Err(Failure::Error(Error::BlobUnknown)) if elsewhere && !failed_elsewhere => failed_elsewhere = true,
                Err(Failure::Error(error)) => return Err(error),
                Err(Failure::NoSpace(_)) => return Err(Error::Abandoned),
                Ok(blob) => return Ok(blob),
            }
        }
    }

    /// The size of a blob, without fetching it. `asked_upstream` is whether an upstream may be asked: clients that push
    /// send a HEAD first, and an upstream's yes would make them skip the upload (law 8).
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
        // A descriptor without a size says nothing of it.
        match (stored, link.and_then(|link| link.named).filter(|size| *size > 0)) {
            (Some(stored), _) if covered => Ok((stored.facts.size, CacheStatus::Hit)),
            _ if !ask_upstream => Err(Error::BlobUnknown),
            (_, Some(size)) if covered || !self.store.has(*digest).await? => Ok((size, CacheStatus::Hit)),
            _ => {
                let size = self.ask_size(repository, digest).await?;
                Ok((size, CacheStatus::Miss { collapsed: false, kept: Kept::Nothing }))
            }
        }
    }

    async fn ask_size(&self, repository: &Repository, digest: &Digest) -> Result<u64, Error> {
        let mirror = self.mirror(repository)?;
        let size = mirror.ask(mirror.remote.blob_size(&mirror.pool, &repository.name, digest)).await;
        size.map_err(|error| Resource::Blob.failed(&error))
    }

    /// Whether a blob was pushed to a repository, or mounted there.
    ///
    /// # Errors
    /// When that cannot be known.
    pub async fn has_layer(&self, repository: &Repository, digest: &Digest) -> Result<bool, Error> {
        Ok(self.blob_link(repository, digest).await?.is_some_and(|link| link.layer))
    }

    /// Whether a blob may be read in a repository, as far as is known here.
    pub(in crate::registry) async fn may_read(&self, repository: &Repository, digest: &Digest) -> Result<bool, Error> {
        match repository.domain {
            None => Ok(self.blob_link(repository, digest).await?.is_some_and(|link| link.layer || link.revision)),
            Some(_) => Ok(self.covers(self.blob_link(repository, digest).await?, digest)),
        }
    }

    /// How a blob belongs to a repository; `None` when, as far as is known here, it does
    /// not. The index may be behind the disk: while it is, the disk is asked.
    ///
    /// # Errors
    /// When that cannot be known.
    pub(in crate::registry) async fn blob_link(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Link>, Error> {
        if self.store.trusts_index(repository)
            && let Some(link) = self.manifests.link_of(repository, digest)
        {
            return Ok(Some(link));
        }
        // Of its own repositories a complete index knows everything. It is asked after the look: that may have failed.
        if repository.domain.is_none() && self.store.index.is_complete() {
            return Ok(None);
        }
        let (place, digest) = (repository.clone(), *digest);
        let look = move |store: &BlobStore| look(store, &place, &digest);
        if let Some(link) = self.store.blocking(Lane::Look, look).await?? {
            return Ok(Some(link));
        }
        if self.store.index.is_complete() || repository.domain.is_none() {
            return Ok(None);
        }
        // All its manifests are read for that.
        let place = repository.clone();
        let named = move |store: &BlobStore| crate::registry::store::stored_manifests::named_by(store, &place, &digest);
        let named = self.store.blocking(Lane::List, named).await??;
        Ok(named.map(|named| Link { named: Some(named), ..Link::default() }))
    }

    /// Gives a blob that only a manifest names a link of its own, now that it was asked for.
    async fn settle_link(&self, repository: &Repository, digest: &Digest, link: Option<Link>) {
        if link.is_some_and(|link| !link.layer) {
            self.store.link_layer(repository, *digest).await;
        }
    }
}

/// Looks for a blob's link on disk.
fn look(store: &BlobStore, repository: &Repository, digest: &Digest) -> Result<Option<Link>, storage::Error> {
    let found = link_on_disk(store, repository, digest)?;
    // Of hosted ones the index is told by those who hold the lock: this link may be on its way out.
    if found.is_some() && repository.domain.is_some() {
        tell_of_link(store, repository, *digest);
    }
    Ok(found)
}

fn link_on_disk(store: &BlobStore, repository: &Repository, digest: &Digest) -> Result<Option<Link>, storage::Error> {
    let links = store.storage.links(repository);
    let link = Link { layer: links.has_layer(digest)?, revision: links.has_revision(digest)?, ..Link::default() };
    Ok((link != Link::default()).then_some(link))
}

/// Tells the index of a mirrored link, if it is still there. Nobody waits for that: while holdings are counted, it
/// takes long. Where somebody has the blob in hand, it is left to the next request: others wait for this lane while
/// they hold that lock.
fn tell_of_link(store: &BlobStore, repository: &Repository, digest: Digest) {
    let (store, repository) = (store.clone(), repository.clone());
    let lanes = store.lanes.clone();
    let tell = move || {
        let Some(_open) = store.changing() else { return };
        let Some(_claim) = store.locks.try_digest(&digest) else { return };
        // Where that is not known, it is looked for again when it is asked for.
        if let Ok(Some(link)) = link_on_disk(&store, &repository, &digest) {
            store.index.add_link(&repository, &digest, link);
        }
    };
    drop(lanes.start(Lane::Write, tell));
}

/// What a link shows of a repository's right.
fn right(link: Link) -> Option<Right> {
    if link.layer || link.revision { Some(Right::Own) } else { link.named.map(|_| Right::Named) }
}

/// Waits until a fill knows the size of what it fetches, and holds that against the manifest's. A small blob, or an
/// empty one, is waited for to the end: as long as nothing was sent, wrong bytes can be answered by a status.
async fn begun(fill: Arc<Fill>, joined: bool, origin: &Origin) -> Result<Blob, Failure> {
    let mut progress = fill.follow();
    let has_begun = |progress: &Progress| match progress {
        Progress::Connecting => false,
        Progress::Filling { size, .. } => *size > AT_ONCE,
        Progress::Verified { .. } | Progress::Failed(_) => true,
    };
    let state = progress.wait_for(has_begun).await.map_err(|_| Error::Abandoned)?.clone();
    let size = match state {
        Progress::Filling { size, .. } | Progress::Verified { size } => size,
        Progress::Failed(Failure::NoSpace(handover)) => handover.size,
        Progress::Failed(failure) => return Err(failure),
        Progress::Connecting => return Err(Error::Abandoned.into()),
    };
    origin.agrees(fill.digest(), size)?;
    let provenance = match fill.was_local() {
        true => CacheStatus::Hit,
        false => CacheStatus::Miss { collapsed: joined, kept: fill.kept() },
    };
    Ok(Blob { size, provenance, content: Content::Filling(fill, progress) })
}
