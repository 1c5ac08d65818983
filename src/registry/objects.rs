//! Blobs as this floor sees them: bytes on disk together with what the index knows of them. Whatever blocks goes to the
//! blocking pool here.

use std::{os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::Error;
use crate::{
    index::{Index, Link, Object},
    oci::{Digest, Repository},
    storage::{Durability, Facts, Staged, Storage, Stored},
};

/// How much is read at a time where a whole file is hashed.
const READ: usize = 1 << 20;

#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) storage: Arc<Storage>,
    pub(super) index: Arc<Index>,
}

impl Objects {
    /// A published blob whose file is the one whose bytes were last found right; `None` when there is none, or when that
    /// has to be found out first.
    pub(super) async fn known(&self, digest: Digest) -> Result<Option<Stored>, Error> {
        let Some(expected) = self.index.object(&digest) else { return Ok(None) };
        let stored = self.blocking(move |objects| objects.storage.blob(&digest)).await?;
        Ok(stored?.filter(|stored| object(&stored.facts) == expected))
    }

    /// A published blob, its bytes hashed if there is any doubt about them. Wrong ones are removed.
    pub(super) async fn recheck(&self, digest: Digest) -> Option<Stored> {
        self.blocking(move |objects| objects.recheck_now(&digest)).await.ok()?
    }

    fn recheck_now(&self, digest: &Digest) -> Option<Stored> {
        let stored = self.storage.blob(digest).ok()??;
        if self.index.object(digest) == Some(object(&stored.facts)) {
            return Some(stored);
        }
        if hash(&stored, digest).is_ok_and(|found| found == *digest) {
            self.index.put_object(digest, &object(&stored.facts));
            return Some(stored);
        }
        tracing::warn!("{digest} was damaged on disk and is dropped");
        self.index.remove_object(digest);
        if let Err(error) = self.storage.remove_blob(digest) {
            tracing::error!("a damaged blob stays: {error}");
        }
        None
    }

    /// All bytes of a small blob, hashed on the way.
    pub(super) async fn read(&self, digest: Digest) -> Option<Bytes> {
        let read = move |objects: &Self| {
            let stored = objects.recheck_now(&digest)?;
            let mut bytes = vec![0; usize::try_from(stored.facts.size).ok()?];
            stored.file.read_exact_at(&mut bytes, 0).ok()?;
            digest.matches(&bytes).then(|| bytes.into())
        };
        self.blocking(read).await.ok()?
    }

    /// Publishes a small blob from memory.
    pub(super) async fn write(&self, digest: Digest, bytes: Bytes, durability: Durability) -> Result<(), Error> {
        let staged = self.stage(bytes.len() as u64).await?;
        let staged = self.blocking(move |_| staged.write_at(&bytes, 0).map(|()| staged)).await??;
        self.publish(staged, digest, durability).await
    }

    /// An empty staged file with room for `size` bytes.
    pub(super) async fn stage(&self, size: u64) -> Result<Staged, Error> {
        let reservation = self.storage.reserve(size).map_err(Error::Short)?;
        Ok(self.blocking(move |objects| objects.storage.stage(reservation)).await??)
    }

    /// Publishes a staged file that was found to hash to `digest`.
    pub(super) async fn publish(&self, staged: Staged, digest: Digest, durability: Durability) -> Result<(), Error> {
        let publish = move |objects: &Self| {
            let stored = objects.storage.publish(staged, &digest, durability)?;
            objects.index.put_object(&digest, &object(&stored.facts));
            Ok(())
        };
        self.blocking(publish).await?
    }

    /// Links a blob into a repository that has shown its right to it. A link that cannot be written costs a question
    /// upstream next time.
    pub(super) async fn link_layer(&self, repository: &Repository, digest: Digest) {
        let repository = repository.clone();
        let link = move |objects: &Self| {
            if let Err(error) = objects.storage.links(&repository).add_layer(&digest, Durability::Unsynced) {
                tracing::warn!("{digest} is not linked in {repository}: {error}");
            } else {
                objects.index.add_link(&repository, &digest, Link { layer: true, ..Link::default() });
            }
        };
        let _ = self.blocking(link).await;
    }

    /// Runs what blocks.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let objects = self.clone();
        spawn_blocking(move || work(&objects)).await.map_err(|_| Error::Abandoned)
    }
}

pub(super) fn object(facts: &Facts) -> Object {
    Object { size: facts.size, mtime: facts.mtime, inode: facts.inode }
}

fn hash(stored: &Stored, digest: &Digest) -> std::io::Result<Digest> {
    let (mut hasher, mut buffer, mut at) = (digest.hasher(), vec![0; READ], 0);
    loop {
        let read = stored.file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
}
