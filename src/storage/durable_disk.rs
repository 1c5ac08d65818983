//! The file system as a durable store.

use std::{fs, ops::Range, time::SystemTime};

use super::{
    AppendBytes, BlobContent, Claim, Disk, Durability, DurableStore, Error, LinkKind, NewFile, Opened, Published,
    UploadFile, layout, links, look,
};
use crate::{
    lanes::Blocking,
    oci::{Digest, Reference, Repository, Tag, UploadId},
};

impl AppendBytes for UploadFile {
    fn append(&self, io: &Blocking, bytes: &[u8], at: u64) -> Result<(), Error> {
        self.allocation.cover(io, at + bytes.len() as u64)?;
        self.writer.write_at(io, bytes, at)
    }
}

impl DurableStore for Disk<'_> {
    type Writer = UploadFile;
    type Committed = NewFile;

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        Ok(look::metadata(&self.layout.blob(digest))?.map(|found| found.len()))
    }

    fn open_blob(&self, digest: &Digest) -> Result<Option<BlobContent>, Error> {
        Ok(self.blob(digest)?.map(BlobContent::Local))
    }

    fn read_blob(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Vec<u8>>, Error> {
        let Some(stored) = self.blob(digest)? else { return Ok(None) };
        let end = range.end.min(stored.stamp.size);
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(range.start)).unwrap_or(usize::MAX)];
        let read = stored.file.read_exact_at(self.io(), &mut bytes, range.start);
        read.map_err(|error| self.unread(digest, error))?;
        Ok(Some(bytes))
    }

    fn remove_blob(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.layout.blob(digest);
        look::found(&path, fs::remove_file(&path))?;
        self.forget_syncs(digest);
        self.names.remove_emptied(&path);
        Ok(())
    }

    fn blobs(&self) -> impl Iterator<Item = Result<(Digest, u64), Error>> {
        let sized = |digest: Digest| Ok(self.blob_size(&digest)?.map(|size| (digest, size)));
        self.layout.blobs().filter_map(move |digest| digest.and_then(sized).transpose())
    }

    fn begin_upload(&self, repository: &Repository, id: UploadId, started: &str) -> Result<(), Error> {
        self.uploads(repository).begin(id, started).map(drop)
    }

    fn upload_size(&self, repository: &Repository, id: UploadId) -> Result<Option<u64>, Error> {
        self.uploads(repository).named(id).received()
    }

    fn resume_upload(
        &self,
        repository: &Repository,
        id: UploadId,
        written: u64,
    ) -> Result<Opened<Self::Writer>, Error> {
        self.uploads(repository).named(id).writer(written)
    }

    fn commit_upload(
        &self,
        repository: &Repository,
        id: UploadId,
        digest: &Digest,
    ) -> Result<Published<Self::Committed>, Error> {
        self.publish_upload(&self.uploads(repository).named(id), digest)
    }

    fn remove_upload(&self, repository: &Repository, id: UploadId) -> Result<(), Error> {
        self.uploads(repository).named(id).remove()
    }

    fn uploads_of(&self, repository: &Repository) -> impl Iterator<Item = Result<(UploadId, SystemTime), Error>> {
        self.uploads(repository).all()
    }

    fn has_link(&self, repository: &Repository, kind: LinkKind<'_>, digest: &Digest) -> Result<bool, Error> {
        look::is_there(&layout::link(&self.links(repository).home_of(kind), digest))
    }

    fn add_link(
        &self,
        repository: &Repository,
        kind: LinkKind<'_>,
        digest: &Digest,
        durability: Durability,
    ) -> Result<(), Error> {
        self.names.link(&layout::link(&self.links(repository).home_of(kind), digest), digest, durability)
    }

    fn remove_link(
        &self,
        repository: &Repository,
        kind: LinkKind<'_>,
        digest: &Digest,
        durability: Durability,
    ) -> Result<(), Error> {
        let links = self.links(repository);
        links.remove_link(&links.home_of(kind), digest, durability)
    }

    fn linked(&self, repository: &Repository, kind: LinkKind<'_>) -> impl Iterator<Item = Result<Digest, Error>> {
        links::digests(&self.links(repository).home_of(kind))
    }

    fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, Error> {
        self.links(repository).tag(tag)
    }

    fn tag_time(&self, repository: &Repository, tag: &Tag) -> Result<Option<SystemTime>, Error> {
        self.links(repository).tag_time(tag)
    }

    fn note_pull(&self, repository: &Repository, pulled: &Reference, at: SystemTime) -> Result<(), Error> {
        self.links(repository).note_pull(pulled, at)
    }

    fn noted_pull(&self, repository: &Repository, pulled: &Reference) -> Result<Option<SystemTime>, Error> {
        self.links(repository).noted_pull(pulled)
    }

    fn set_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
        durability: Durability,
    ) -> Result<(), Error> {
        self.links(repository).set_tag(tag, digest, durability)
    }

    fn remove_tag(&self, repository: &Repository, tag: &Tag) -> Result<(), Error> {
        self.links(repository).remove_tag(tag)
    }

    fn tags(&self, repository: &Repository) -> impl Iterator<Item = Result<(Tag, Option<Digest>), Error>> {
        self.links(repository).into_tags()
    }

    fn claim(&self, repository: &Repository) -> Result<Option<Claim>, Error> {
        self.links(repository).written_claim()
    }

    fn write_claim(&self, repository: &Repository, claim: Claim) -> Result<(), Error> {
        self.links(repository).write_claim(claim)
    }

    fn remove_claim(&self, repository: &Repository) -> Result<(), Error> {
        self.links(repository).remove_claim()
    }

    fn repositories(&self) -> impl Iterator<Item = Result<Repository, Error>> {
        self.layout.repositories()
    }
}
