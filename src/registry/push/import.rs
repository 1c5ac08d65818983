//! Imports of images from archives: into hosted repositories by the steps of a push, and into the cache of an upstream
//! as if the upstream had been asked at the archive's time.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;

use super::{push_manifest::ManifestPush, upload_writer::UploadWriter};
use crate::{
    index::BlobKind,
    oci::{Digest, Repository, RepositoryName, Tag, UploadId},
    registry::{
        Error, Registry, StoreResult, StoredManifest,
        store::{
            hashing_writer::{HashState, HashingFile, Writer},
            tag_cache::TagAnswer,
        },
    },
    storage::{Durability, Purpose, Staged},
};

/// A blob that is being imported. Dropped, a mirrored one discards its bytes; the upload session of a hosted one stays,
/// with its bytes, until [`ImportWriter::abandon`] or the purge of old sessions removes it.
pub struct ImportWriter {
    registry: Arc<Registry>,
    repository: Repository,
    digest: Digest,
    bytes: u64,
    target: ImportFile,
}

enum ImportFile {
    /// An upload session.
    Hosted(UploadId, Box<UploadWriter>),
    /// A staged file.
    Mirrored(Staged, Box<Writer<Box<HashState>>>),
}

/// A manifest that is being imported.
#[derive(Debug)]
pub struct ManifestImport {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Bytes,
    /// The tags to point at it.
    pub tags: Vec<Tag>,
    /// The time at which an upstream's tags were so: what it said later, or says from now on, takes precedence.
    pub at: SystemTime,
}

impl ImportWriter {
    /// Adds the next bytes; waits while too many are queued.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if the disk is full, [`Error::Storage`] if it fails.
    pub async fn take(&mut self, bytes: Bytes) -> Result<(), Error> {
        match &mut self.target {
            ImportFile::Hosted(_, writer) => writer.take(bytes).await,
            ImportFile::Mirrored(_, writer) => {
                writer.take(bytes);
                while !writer.accepts_more() {
                    writer.written().await.map_err(|(_, error)| Error::from(error))?;
                }
                Ok(())
            }
        }
    }

    /// Publishes the blob if its bytes match its digest, and links it.
    ///
    /// # Errors
    /// [`Error::DigestInvalid`] or [`Error::Mismatch`] if they do not, [`Error::InsufficientSpace`] if the disk is
    /// full,
    /// [`Error::Storage`] if it fails.
    pub async fn commit(self) -> Result<(), Error> {
        let Self { registry, repository, digest, bytes, target } = self;
        match target {
            ImportFile::Hosted(id, writer) => {
                let committed = registry.commit(*writer, digest).await;
                if committed.is_err() {
                    registry.abandon_upload(&repository, id);
                }
                committed
            }
            ImportFile::Mirrored(staged, writer) => {
                let state = writer.finish().await.map_err(|(_, error)| Error::from(error))?.into_state();
                if state.written != bytes || state.hasher.finish() != digest {
                    return Err(Error::Mismatch { expected: digest });
                }
                registry.store.publish(staged, digest, Durability::Unsynced, BlobKind::Blob).await?;
                registry.store.link_layer(&repository, digest).await;
                Ok(())
            }
        }
    }

    /// Ends the import of the blob without a result.
    pub fn abandon(self) {
        if let ImportFile::Hosted(id, writer) = self.target {
            drop(writer);
            self.registry.abandon_upload(&self.repository, id);
        }
    }
}

impl Registry {
    /// Returns the repository that an image of an archive goes to: the cache of the upstream that its name begins with,
    /// or else a hosted repository.
    ///
    /// # Errors
    /// [`Error::NotMirrored`] if the name begins with a registry that is not configured, [`Error::Denied`] if the
    /// operator does not let the repository be mirrored; those of [`Registry::writable`] and [`Registry::check_claim`]
    /// for a hosted one.
    pub async fn import_target(&self, domain: Option<&str>, name: RepositoryName) -> Result<Repository, Error> {
        if let Some(domain) = self.home(domain)? {
            return self.permitted(self.within(domain, name));
        }
        let hosted = self.writable(name).await?;
        self.check_claim(&hosted).await?;
        Ok(hosted)
    }

    /// Links whatever is here of an image into its repository, and returns what is missing. The caller has all of the
    /// bytes, so that it gets nothing that it did not have.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if the disk is full, [`Error::Storage`] if it fails.
    pub async fn import_missing(&self, repository: &Repository, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        let mut missing = Vec::new();
        for digest in digests {
            if !self.import_present(repository, *digest).await? {
                missing.push(*digest);
            }
        }
        Ok(missing)
    }

    async fn import_present(&self, repository: &Repository, digest: Digest) -> Result<bool, Error> {
        if repository.domain.is_none() {
            // A link alone does not say that the bytes are here.
            return self.link_here(repository, digest).await;
        }
        // Bytes in doubt are sent again.
        if self.store.known(digest).await?.is_none() {
            return Ok(false);
        }
        self.store.link_layer(repository, digest).await;
        Ok(true)
    }

    /// Begins the import of a blob of so many bytes.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if it does not fit, [`Error::Storage`] if the disk fails.
    pub async fn import_blob(
        self: &Arc<Self>,
        repository: &Repository,
        digest: Digest,
        bytes: u64,
    ) -> Result<ImportWriter, Error> {
        let target = if repository.domain.is_none() {
            let id = UploadId::random();
            self.begin_upload(repository, id, digest.algorithm()).await?;
            let mut writer = self.receive(repository, id, None).await?;
            if let Err(error) = writer.expect(bytes).await {
                drop(writer);
                self.abandon_upload(repository, id);
                return Err(error);
            }
            ImportFile::Hosted(id, Box::new(writer))
        } else {
            let staged = self.store.stage(&digest, Purpose::Mirrored, bytes).await?;
            let state = Box::new(HashState::new(digest.hasher()));
            let writer = Writer::new(HashingFile::new(staged.writer(), state), self.lanes().clone());
            ImportFile::Mirrored(staged, Box::new(writer))
        };
        Ok(ImportWriter { registry: Arc::clone(self), repository: repository.clone(), digest, bytes, target })
    }

    /// Stores a manifest whose children are stored. Returns whether the disk keeps it.
    ///
    /// # Errors
    /// [`Error::DigestInvalid`] or [`Error::Mismatch`] if the bytes do not match; otherwise those of
    /// [`Registry::put_manifest`].
    pub async fn import_manifest(&self, repository: &Repository, import: ManifestImport) -> Result<StoreResult, Error> {
        let ManifestImport { digest, bytes, tags, at } = import;
        if repository.domain.is_none() {
            let permission = self.check_claim(repository).await?;
            let push = ManifestPush { bytes, digest: Some(digest), media_type: None, tags };
            return self.put_manifest(repository, permission, push).await.map(|_| StoreResult::Stored);
        }
        if !digest.matches(&bytes) {
            return Err(Error::Mismatch { expected: digest });
        }
        let parsed = self.manifests.parse(digest, bytes).await.ok_or(Error::Panicked)?;
        let manifest = parsed.map_err(|error| Error::ManifestInvalid(error.to_string()))?;
        Ok(self.cache_manifest(repository, &manifest, tags, at).await)
    }

    async fn cache_manifest(
        &self,
        repository: &Repository,
        manifest: &Arc<StoredManifest>,
        tags: Vec<Tag>,
        at: SystemTime,
    ) -> StoreResult {
        let at = at.min(SystemTime::now());
        for tag in tags {
            let answer = TagAnswer { head: Some(manifest.head()), asked: at };
            self.store.tag_cache.note(&(repository.clone(), tag), answer);
        }
        self.manifests.store_mirrored(repository, manifest).await
    }
}
