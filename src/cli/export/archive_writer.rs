//! Writes the archive: an OCI image layout (image-spec, `image-layout.md`) with docker's `manifest.json`, as a tar.
//! The documents that describe the images come first, so that the rest can be read in order.

use std::{
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use super::exported_images::{ExportedImages, InvalidExport};
use crate::oci::{Digest, Hasher};

const BLOCK_BYTES: usize = 512;
/// The longest name in a header.
const NAME_BYTES: usize = 100;
/// The document that lists the images. Its time is that of the export, since an import may need it: the upstreams' tags
/// were so then. It has none if an upstream did not confirm one of them.
const INDEX: &str = "index.json";

/// An archive under construction.
pub(super) struct ArchiveWriter<'a> {
    to: &'a mut dyn Write,
    written: u64,
    /// The time of the index.
    time: u64,
    has_head: bool,
    entry: Option<Entry>,
}

/// The blob that is being written.
struct Entry {
    digest: Digest,
    bytes: u64,
    taken: u64,
    hasher: Hasher,
}

/// The reason that an archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    /// The output fails.
    #[error("the archive cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The server sent other bytes than it announced.
    #[error("the bytes of {0} do not match it: `entrepot verify` finds what is damaged on the disk")]
    Damaged(Digest),
    /// The server sent something that is no image.
    #[error(transparent)]
    Invalid(#[from] InvalidExport),
}

impl<'a> ArchiveWriter<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Self { to, written: 0, time: 0, has_head: false, entry: None }
    }

    /// Writes what describes the images, and their manifests; once.
    ///
    /// # Errors
    /// [`ArchiveError`] if a manifest is invalid, or the output fails.
    pub(super) fn write_head(&mut self, images: &mut ExportedImages) -> Result<(), ArchiveError> {
        if std::mem::replace(&mut self.has_head, true) {
            return Ok(());
        }
        images.complete()?;
        self.time = if images.stale().next().is_none() { now() } else { 0 };
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.file(INDEX, images.index()?.to_string().as_bytes())?;
        self.file("manifest.json", images.docker_manifest()?.to_string().as_bytes())?;
        for (digest, bytes) in images.manifests() {
            self.file(&digest.layout_path(), bytes)?;
        }
        Ok(())
    }

    /// Begins a blob, after the end of the one before.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] if that one was incomplete, [`ArchiveError::Write`] if the output fails.
    pub(super) fn begin(&mut self, digest: Digest, bytes: u64) -> Result<(), ArchiveError> {
        self.end()?;
        self.header(&digest.layout_path(), bytes)?;
        self.entry = Some(Entry { digest, bytes, taken: 0, hasher: digest.hasher() });
        Ok(())
    }

    /// Writes the next bytes of the blob.
    ///
    /// # Errors
    /// [`ArchiveError::Write`] if the output fails.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        if let Some(entry) = &mut self.entry {
            entry.hasher.update(bytes);
            entry.taken += bytes.len() as u64;
        }
        self.put(bytes)
    }

    /// Writes the archive's end. Returns its length.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] if the last blob was incomplete, [`ArchiveError::Write`] if the output fails.
    pub(super) fn finish(mut self) -> Result<u64, ArchiveError> {
        self.end()?;
        self.put(&[0; 2 * BLOCK_BYTES])?;
        self.to.flush()?;
        Ok(self.written)
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        let Some(Entry { digest, bytes, taken, hasher }) = self.entry.take() else { return Ok(()) };
        if taken != bytes || hasher.finish() != digest {
            return Err(ArchiveError::Damaged(digest));
        }
        self.pad(bytes)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.header(name, bytes.len() as u64)?;
        self.put(bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn header(&mut self, name: &str, bytes: u64) -> Result<(), ArchiveError> {
        let mut header = tar::Header::new_gnu();
        if header.set_path(name).is_err() {
            self.long_name(name)?;
            header.set_path(name.get(..NAME_BYTES).unwrap_or_default())?;
        }
        header.set_size(bytes);
        header.set_mode(0o644);
        if name == INDEX {
            header.set_mtime(self.time);
        }
        header.set_cksum();
        self.put(header.as_bytes())
    }

    /// Writes a name that is too long for a header, as the entry of GNU tar that is about the next one. Names of sha512
    /// are so long.
    fn long_name(&mut self, name: &str) -> Result<(), ArchiveError> {
        let name = [name.as_bytes(), &[0]].concat();
        let mut header = tar::Header::new_gnu();
        header.set_path("././@LongLink")?;
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(name.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        self.put(header.as_bytes())?;
        self.put(&name)?;
        self.pad(name.len() as u64)
    }

    fn pad(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        let over = usize::try_from(bytes % BLOCK_BYTES as u64).unwrap_or_default();
        self.put(&[0; BLOCK_BYTES][..(BLOCK_BYTES - over) % BLOCK_BYTES])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.to.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
