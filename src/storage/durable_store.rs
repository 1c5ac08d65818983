//! The durable storage that the rules of the registry need: blobs, upload sessions, links, tags, claims and lists, in
//! one interface. The file system is its first implementation (`durable_disk.rs`); an object store is the next.
//!
//! Each promise is a check of the contract suite (`contract_tests.rs`), which every implementation must pass. What is
//! not here belongs to the local disk alone: the ledger and its reservations, staged files, quarantine, scans, mounts.
//!
//! An implementation has no locks: whoever changes a name, a digest or a tag holds its lock in `registry/`, and orders
//! bytes before links, links before bytes (law 2 of ARCHITECTURE.md). Over a store that several machines share,
//! intents and markers must take the place of those locks (docs/scale-out.md); they come with it.

use std::{ops::Range, time::SystemTime};

use super::{Claim, Durability, Error, LinkKind, Opened, Published, Stored};
use crate::{
    lanes::Blocking,
    oci::{Digest, Reference, Repository, Tag, UploadId},
};

/// The bytes of a blob that is stored.
#[derive(Debug)]
pub enum BlobContent {
    /// A local file, which the kernel can send to a client.
    Local(Stored),
    /// Not on this machine: the bytes are read in ranges.
    Remote {
        /// Its length in bytes.
        size: u64,
    },
}

impl BlobContent {
    /// Returns the local file. To the rules, a blob without one is not cached here: a fill fetches it.
    #[must_use]
    pub fn local(self) -> Option<Stored> {
        match self {
            Self::Local(stored) => Some(stored),
            Self::Remote { .. } => None,
        }
    }
}

/// The writer of an upload session, which one request has at a time.
pub trait AppendBytes {
    /// Writes the next bytes of the session; `at` is their offset.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no room; the bytes before `at` stay.
    fn append(&self, io: &Blocking, bytes: &[u8], at: u64) -> Result<(), Error>;
}

/// A durable store, on a thread that may block.
///
/// A question has three answers: yes, no, and an error, which is never taken for a no. A list has everything that was
/// there from its beginning to its end, in no order; an error in it means that it is not complete. What is removed
/// twice is no error. Where a method takes a [`Durability`], [`Durability::Synced`] means that the change outlives a
/// power failure once the method has returned.
pub trait DurableStore: Copy {
    /// The writer of an upload session.
    type Writer: AppendBytes;
    /// The facts that a commit hands over to be recorded.
    type Committed;

    /// Returns the length of a blob in bytes; `None` if there is none.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Error>;

    /// Opens a blob; `None` if there is none.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it exists and cannot be opened.
    fn open_blob(&self, digest: &Digest) -> Result<Option<BlobContent>, Error>;

    /// Reads a range of a blob, as far as the blob reaches; `None` if there is none.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the bytes cannot be read.
    fn read_blob(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Vec<u8>>, Error>;

    /// Removes a blob's bytes. Its links must be removed first (law 2 of ARCHITECTURE.md), unless the bytes are
    /// damaged.
    ///
    /// # Errors
    /// Any variant of [`Error`] if they exist and cannot be removed.
    fn remove_blob(&self, digest: &Digest) -> Result<(), Error>;

    /// Returns every blob with its size in bytes.
    fn blobs(&self) -> impl Iterator<Item = Result<(Digest, u64), Error>>;

    /// Begins an upload session. `started` is RFC 3339, in seconds, the format of `registry:2`.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be made.
    fn begin_upload(&self, repository: &Repository, id: UploadId, started: &str) -> Result<(), Error>;

    /// Returns how many bytes a session has; `None` if there is no such session.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    fn upload_size(&self, repository: &Repository, id: UploadId) -> Result<Option<u64>, Error>;

    /// Opens a session for writing from `written` on, exclusively. Bytes beyond were never acknowledged, and are cut
    /// off.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be opened.
    fn resume_upload(&self, repository: &Repository, id: UploadId, written: u64)
    -> Result<Opened<Self::Writer>, Error>;

    /// Publishes the bytes of a session, which hash to `digest`, durably. If the blob was published by another before,
    /// that one stays, and the session keeps its bytes.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be published; the session is unchanged then.
    fn commit_upload(
        &self,
        repository: &Repository,
        id: UploadId,
        digest: &Digest,
    ) -> Result<Published<Self::Committed>, Error>;

    /// Removes a session and its bytes.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it exists and cannot be removed.
    fn remove_upload(&self, repository: &Repository, id: UploadId) -> Result<(), Error>;

    /// Returns every session of a repository with the time of its last write.
    fn uploads_of(&self, repository: &Repository) -> impl Iterator<Item = Result<(UploadId, SystemTime), Error>>;

    /// Returns whether a repository has a link to `digest`.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    fn has_link(&self, repository: &Repository, kind: LinkKind<'_>, digest: &Digest) -> Result<bool, Error>;

    /// Links `digest`, whose bytes are published, to a repository.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the link cannot be written.
    fn add_link(
        &self,
        repository: &Repository,
        kind: LinkKind<'_>,
        digest: &Digest,
        durability: Durability,
    ) -> Result<(), Error>;

    /// Removes a link.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it exists and cannot be removed.
    fn remove_link(
        &self,
        repository: &Repository,
        kind: LinkKind<'_>,
        digest: &Digest,
        durability: Durability,
    ) -> Result<(), Error>;

    /// Returns every digest that a repository has a link of this kind to.
    fn linked(&self, repository: &Repository, kind: LinkKind<'_>) -> impl Iterator<Item = Result<Digest, Error>>;

    /// Returns the digest that a tag names; `None` if there is no such tag.
    ///
    /// # Errors
    /// [`Error::NoDigest`] if it is damaged; another variant if it cannot be read.
    fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, Error>;

    /// Returns the time at which a tag was last set; `None` if there is no such tag.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    fn tag_time(&self, repository: &Repository, tag: &Tag) -> Result<Option<SystemTime>, Error>;

    /// Notes durably that a tag or a manifest of a repository was pulled at a time. Does nothing if it is not there.
    /// The note goes with it.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the note cannot be written.
    fn note_pull(&self, repository: &Repository, pulled: &Reference, at: SystemTime) -> Result<(), Error>;

    /// Returns the last pull that was noted for a tag or a manifest; `None` if there is no note.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    fn noted_pull(&self, repository: &Repository, pulled: &Reference) -> Result<Option<SystemTime>, Error>;

    /// Points a tag at a manifest that is linked already, and adds the manifest to the tag's history.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be written.
    fn set_tag(&self, repository: &Repository, tag: &Tag, digest: &Digest, durability: Durability)
    -> Result<(), Error>;

    /// Removes a tag and its history, durably.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it exists and cannot be removed.
    fn remove_tag(&self, repository: &Repository, tag: &Tag) -> Result<(), Error>;

    /// Returns every tag of a repository with its digest, which is `None` if the tag is damaged.
    fn tags(&self, repository: &Repository) -> impl Iterator<Item = Result<(Tag, Option<Digest>), Error>>;

    /// Returns the recorded claim to a repository's name; `None` if there is none.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    fn claim(&self, repository: &Repository) -> Result<Option<Claim>, Error>;

    /// Records a claim, durably, in place of the one before.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be written.
    fn write_claim(&self, repository: &Repository, claim: Claim) -> Result<(), Error>;

    /// Removes the claim to a repository's name, durably.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it exists and cannot be removed.
    fn remove_claim(&self, repository: &Repository) -> Result<(), Error>;

    /// Returns every repository that has anything here; the hosted ones come last. Goes on after a failure.
    fn repositories(&self) -> impl Iterator<Item = Result<Repository, Error>>;
}
