//! Verifies a stored blob by hashing its file again, and names the possible results.

use crate::{
    index::VerifiedStamp,
    lanes::{Blocking, Lane},
    oci::{Digest, Hasher},
    registry::Error,
    storage::{BlobFile, FileStamp, Stored},
};

/// The largest file that is hashed on the lane for short computations; it takes some hundredths of a second.
const MAX_SHORT_HASH_BYTES: u64 = 8 << 20;

/// Bytes of one read while a whole file is hashed.
const READ_BYTES: usize = 1 << 20;

/// The result of hashing a published blob.
#[derive(Clone, Debug)]
pub(in crate::registry) enum Hashed {
    Right(Stored),
    /// No such blob exists.
    Absent,
    /// The bytes of this file do not match the digest.
    Wrong(FileStamp),
}

/// The result of promoting a mirrored blob to a hosted one.
#[derive(Clone, Debug)]
pub(in crate::registry) enum Promotion {
    /// Its bytes are right and synced to the disk.
    Durable,
    /// It is absent or damaged.
    Not(Hashed),
    /// The file could not be synced.
    Unsynced(FileStamp, Error),
}

/// Returns the lane on which a file of this size is hashed, so that requests for small ones do not wait behind large
/// ones.
pub(in crate::registry) fn hash_lane(size: u64) -> Lane {
    if size <= MAX_SHORT_HASH_BYTES { Lane::Compute } else { Lane::Hash }
}

/// Returns the state of a file as the index records it once its bytes are verified.
pub(in crate::registry) fn stamp(facts: &FileStamp) -> VerifiedStamp {
    VerifiedStamp { size: facts.size, mtime: facts.mtime, inode: facts.inode }
}

pub(in crate::registry) fn hash(io: &Blocking, stored: &Stored, digest: &Digest) -> std::io::Result<Digest> {
    let mut hasher = digest.hasher();
    hash_into(io, &stored.file, &mut hasher)?;
    Ok(hasher.finish())
}

/// Feeds a whole file to a hasher and returns its length in bytes.
pub(in crate::registry) fn hash_into(io: &Blocking, file: &BlobFile, hasher: &mut Hasher) -> std::io::Result<u64> {
    let (mut buffer, mut at) = (vec![0; READ_BYTES], 0);
    loop {
        let read = file.read_at(io, &mut buffer, at)?;
        if read == 0 {
            return Ok(at);
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
}
