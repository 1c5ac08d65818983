//! Blobs as this floor sees them: bytes on disk together with what the index knows of them. Whatever blocks goes to the
//! blocking pool here.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use tokio::sync::Mutex as AsyncMutex;

use super::{Error, Retention, claims::Claims, uses, uses::Uses};
use crate::{
    index::{Class, Index, Link, Object, Owner},
    metrics::{self, Found, Metrics},
    oci::{Digest, Hasher, Repository},
    storage::{Durability, Facts, Published, Purpose, Staged, Storage, Stored},
};

/// The largest blob that is ever held in memory: larger than any manifest that is taken or fetched.
pub(super) const SMALL: u64 = 32 << 20;
/// How much is read at a time where a whole file is hashed.
const READ: usize = 1 << 20;

#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) storage: Arc<Storage>,
    pub(super) index: Arc<Index>,
    pub(super) claims: Arc<Claims>,
    pub(super) uses: Arc<Uses>,
    pub(super) retention: Arc<Retention>,
    /// Held while room is made.
    pub(super) room: Arc<AsyncMutex<()>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Objects {
    pub(super) fn new(storage: Storage, index: Index, retention: Retention, metrics: Arc<Metrics>) -> Self {
        index.set_pins(retention.pinned.clone());
        let objects = Self {
            storage: Arc::new(storage),
            index: Arc::new(index),
            claims: Arc::new(Claims::new()),
            uses: Arc::new(Uses::new()),
            retention: Arc::new(retention),
            room: Arc::default(),
            metrics,
        };
        objects.keep_books();
        objects
    }

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
        match hash(&stored, digest) {
            Ok(found) if found == *digest => {
                self.index.put_object(digest, &object(&stored.facts));
                return Some(stored);
            }
            Ok(_) => self.drop_damaged(digest, &stored.facts),
            Err(error) => tracing::error!("{digest} cannot be read: {error}"),
        }
        None
    }

    /// A published blob, its bytes hashed whatever the index says. Wrong ones are removed.
    pub(super) fn rehash(&self, digest: &Digest) -> Option<Stored> {
        self.index.remove_object(digest);
        self.recheck_now(digest)
    }

    /// Whether a published blob is the file whose bytes were last found right.
    pub(super) fn is_unchanged(&self, digest: &Digest) -> Result<bool, Error> {
        let Some(stored) = self.storage.blob(digest)? else { return Ok(false) };
        Ok(self.index.object(digest) == Some(object(&stored.facts)))
    }

    /// Removes wrong bytes: those that can be fetched again go, those that were pushed here are set aside. Right ones may
    /// have taken their place meanwhile.
    fn drop_damaged(&self, digest: &Digest, found: &Facts) {
        let _claim = self.claims.digest(digest);
        let unchanged = |now: Option<Stored>| now.is_some_and(|now| now.facts == *found);
        if !self.storage.blob(digest).is_ok_and(unchanged) {
            return;
        }
        self.index.remove_object(digest);
        self.index.leave(digest);
        let dropped = if self.index.class(digest).mirrored && !self.index.class(digest).hosted {
            tracing::warn!("{digest} was damaged on disk and is dropped");
            self.metrics.found(Found::Damaged(metrics::Class::Mirrored));
            self.storage.remove_blob(digest)
        } else {
            tracing::error!("{digest} was damaged on disk and is quarantined: push it again");
            self.metrics.found(Found::Damaged(metrics::Class::Hosted));
            self.storage.quarantine(digest)
        };
        if let Err(error) = dropped {
            tracing::error!("a damaged blob stays: {error}");
        }
    }

    /// All bytes of a small blob, hashed on the way; `None` for one that is not small: a layer's digest may be asked for as
    /// a manifest.
    pub(super) async fn read(&self, digest: Digest) -> Option<Bytes> {
        let read = move |objects: &Self| {
            if objects.storage.blob(&digest).ok()??.facts.size > SMALL {
                return None;
            }
            let stored = objects.recheck_now(&digest)?;
            let mut bytes = vec![0; usize::try_from(stored.facts.size).ok()?];
            stored.file.read_exact_at(&mut bytes, 0).ok()?;
            digest.matches(&bytes).then(|| bytes.into())
        };
        self.blocking(read).await.ok()?
    }

    /// Publishes a small blob from memory.
    pub(super) async fn write(&self, digest: Digest, bytes: Bytes, durability: Durability) -> Result<(), Error> {
        let purpose = if durability == Durability::Synced { Purpose::Hosted } else { Purpose::Mirrored };
        let staged = self.stage(purpose, bytes.len() as u64).await?;
        let staged = self.blocking(move |_| staged.sink().write_at(&bytes, 0).map(|()| staged)).await??;
        self.publish(staged, digest, durability, true).await
    }

    /// An empty staged file with room for `size` bytes.
    pub(super) async fn stage(&self, purpose: Purpose, size: u64) -> Result<Staged, Error> {
        let reservation = self.room_for(purpose, size).await?;
        Ok(self.blocking(move |objects| objects.storage.stage(reservation, size)).await??)
    }

    /// Publishes a staged file that was found to hash to `digest`. It may be a `manifest`.
    pub(super) async fn publish(
        &self,
        staged: Staged,
        digest: Digest,
        durability: Durability,
        manifest: bool,
    ) -> Result<(), Error> {
        let publish = move |objects: &Self| {
            let published = objects.storage.publish(staged, &digest, durability)?;
            let mirrored = durability == Durability::Unsynced;
            if published.first {
                objects.index.put_class(&digest, Class { mirrored, hosted: !mirrored });
                let owner = if mirrored { Owner::Mirrored } else { Owner::Hosted };
                objects.enter(&digest, published, owner, manifest);
            }
            Ok(())
        };
        self.blocking(publish).await?
    }

    /// Notes a file that has just been published and whose bytes are right. Its reservation goes when it is counted.
    pub(super) fn enter(&self, digest: &Digest, published: Published, owner: Owner, manifest: bool) {
        let Published { stored, reservation, .. } = published;
        self.index.put_object(digest, &object(&stored.facts));
        self.index.enter(digest, stored.allocated, owner, manifest, uses::now());
        drop(reservation);
    }

    /// Links a blob into a repository that has shown its right to it. A link that cannot be written costs a question
    /// upstream next time.
    pub(super) async fn link_layer(&self, repository: &Repository, digest: Digest) {
        let repository = repository.clone();
        let link = move |objects: &Self| {
            if let Err(error) = objects.storage.links(&repository).add_layer(&digest, Durability::Unsynced) {
                tracing::warn!("{digest} is not linked in {repository}: {error}");
            } else {
                objects.index.add_class(&digest, Class { mirrored: true, ..Class::default() });
                objects.index.add_repository(&repository);
                objects.index.add_link(&repository, &digest, Link { layer: true, ..Link::default() });
            }
        };
        let _ = self.blocking(link).await;
    }

    /// Whether what the index knows of a repository still holds. Only this program writes mirrored ones.
    pub(super) fn trusts_index(&self, repository: &Repository) -> bool {
        repository.domain.is_some() || self.index.is_complete()
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
    let mut hasher = digest.hasher();
    hash_into(&stored.file, &mut hasher)?;
    Ok(hasher.finish())
}

/// Shows a hasher all of a file; tells how many bytes that were.
pub(super) fn hash_into(file: &File, hasher: &mut Hasher) -> std::io::Result<u64> {
    let (mut buffer, mut at) = (vec![0; READ], 0);
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(at);
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
}
