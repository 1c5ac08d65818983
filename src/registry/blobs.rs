//! Blobs, as a client asks for them.

use std::{fs::File, sync::Arc};

use super::{
    Error, Provenance, Registry,
    error::Asked,
    fill::{Failure, Fill, Origin, Progress},
    objects::Objects,
    reader::Reader,
};
use crate::{
    index::Link,
    oci::{ByteRange, Digest, Repository},
};

/// A blob whose size is known, ready to be read.
#[derive(Debug)]
pub struct Blob {
    /// In bytes.
    pub size: u64,
    /// Where it comes from.
    pub provenance: Provenance,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Stored(Arc<File>),
    Filling(Arc<Fill>, tokio::sync::watch::Receiver<Progress>),
}

impl Blob {
    /// Reads a part of it.
    #[must_use]
    pub fn read(self, range: ByteRange) -> Reader {
        match self.content {
            Content::Stored(file) => Reader::stored(file, range),
            Content::Filling(fill, progress) => Reader::following(fill, progress, range),
        }
    }
}

impl Registry {
    /// Opens a blob of a repository, beginning to fetch it if it is not here. Returns as soon as its size is known.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`] when it is not the repository's; otherwise as the upstream failed.
    pub async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Blob, Error> {
        let link = self.blob_link(repository, digest).await;
        if link.is_none() {
            self.prove(repository, digest).await?;
        }
        if let Some(stored) = self.objects.known(*digest).await? {
            self.settle_link(repository, digest, link).await;
            let content = Content::Stored(stored.file);
            return Ok(Blob { size: stored.facts.size, provenance: Provenance::Hit, content });
        }
        let blob = self.fill(repository, digest).await?;
        self.settle_link(repository, digest, link).await;
        Ok(blob)
    }

    /// Where a blob is here, or on its way, for another repository: has this one's own upstream say that it is its too. A
    /// fill of its own is such a word.
    async fn prove(&self, repository: &Repository, digest: &Digest) -> Result<(), Error> {
        let stored = self.objects.storage.has_blob(digest);
        if stored || self.fills.fills_for(digest).is_some_and(|other| other != *repository) {
            self.ask_size(repository, digest).await?;
        }
        if stored {
            self.objects.link_layer(repository, *digest).await;
        }
        Ok(())
    }

    /// Joins or begins a fill. One that another repository began and whose upstream does not have the blob there says
    /// nothing about this one.
    async fn fill(&self, repository: &Repository, digest: &Digest) -> Result<Blob, Error> {
        let origin = Origin { mirror: self.mirror(repository)?.clone(), repository: repository.clone() };
        let (fill, joined) = self.fills.join_or_start(digest, origin.clone());
        let elsewhere = joined && fill.origin().repository != *repository;
        match begun(fill, joined).await {
            Err(Error::BlobUnknown) if elsewhere => {
                let (fill, joined) = self.fills.join_or_start(digest, origin);
                begun(fill, joined).await
            }
            begun => begun,
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
    ) -> Result<(u64, Provenance), Error> {
        let link = self.blob_link(repository, digest).await;
        if link.is_some()
            && let Some(stored) = self.objects.known(*digest).await?
        {
            return Ok((stored.facts.size, Provenance::Hit));
        }
        if !ask_upstream {
            return Err(Error::BlobUnknown);
        }
        match link.and_then(|link| link.named) {
            Some(size) => Ok((size, Provenance::Hit)),
            None => Ok((self.ask_size(repository, digest).await?, Provenance::miss(false))),
        }
    }

    async fn ask_size(&self, repository: &Repository, digest: &Digest) -> Result<u64, Error> {
        let mirror = self.mirror(repository)?;
        let size = mirror.ask(mirror.remote.blob_size(&mirror.pool, &repository.name, digest)).await;
        size.map_err(|error| Asked::Blob.failed(&error))
    }

    /// How a blob belongs to a repository; `None` when, as far as is known here, it does not. The index may be behind the
    /// disk: while it is, the disk is asked.
    async fn blob_link(&self, repository: &Repository, digest: &Digest) -> Option<Link> {
        if let Some(link) = self.objects.index.link(repository, digest) {
            return Some(link);
        }
        let (place, digest) = (repository.clone(), *digest);
        self.objects.blocking(move |objects| look(objects, &place, &digest)).await.ok()?
    }

    /// Gives a blob that only a manifest names a link of its own, now that it was asked for.
    async fn settle_link(&self, repository: &Repository, digest: &Digest, link: Option<Link>) {
        if link.is_some_and(|link| !link.layer) && self.objects.storage.has_blob(digest) {
            self.objects.link_layer(repository, *digest).await;
        }
    }
}

/// Looks for a blob's link on disk, then, while the index is not complete, in the repository's manifests.
fn look(objects: &Objects, repository: &Repository, digest: &Digest) -> Option<Link> {
    let links = objects.storage.links(repository);
    if links.has_layer(digest) {
        let link = Link { layer: true, ..Link::default() };
        objects.index.add_link(repository, digest, link);
        return Some(link);
    }
    if objects.index.is_complete() {
        return None;
    }
    let named = super::rebuild::named_by(objects, repository, digest)?;
    Some(Link { named: Some(named), ..Link::default() })
}

/// Waits until a fill knows the size of what it fetches. An empty blob has no last byte to withhold: its fill is waited
/// for to the end.
async fn begun(fill: Arc<Fill>, joined: bool) -> Result<Blob, Error> {
    let mut progress = fill.follow();
    let has_begun = |progress: &Progress| !matches!(progress, Progress::Connecting | Progress::Filling { size: 0, .. });
    let state = progress.wait_for(has_begun).await.map_err(|_| Error::Abandoned)?.clone();
    let size = match state {
        Progress::Filling { size, .. } | Progress::Verified { size } => size,
        Progress::Failed(Failure::NoSpace(handover)) => handover.size,
        Progress::Failed(Failure::Error(error)) => return Err(error),
        Progress::Connecting => return Err(Error::Abandoned),
    };
    let provenance = if fill.was_local() { Provenance::Hit } else { Provenance::miss(joined) };
    Ok(Blob { size, provenance, content: Content::Filling(fill, progress) })
}
