//! Hashing a stored blob again, and what came of it.

use crate::{
    index::Object,
    lanes::Lane,
    oci::{Digest, Hasher},
    registry::Error,
    storage::{FileStamp, Stored},
};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// The largest file that is hashed beside what is parsed: some hundredths of a second.
const QUICK: u64 = 8 << 20;

/// How much is read at a time where a whole file is hashed.
const READ: usize = 1 << 20;

/// What hashing a published blob found.
#[derive(Clone, Debug)]
pub(in crate::registry) enum Hashed {
    Right(Stored),
    /// There is none.
    Absent,
    /// The bytes of this file are wrong.
    Wrong(FileStamp),
}

/// What came of making a mirrored blob this registry's own.
#[derive(Clone, Debug)]
pub(in crate::registry) enum Promotion {
    /// It is right, and on the disk.
    Durable,
    /// It is not here, or not right.
    Not(Hashed),
    /// This file could not be synced.
    Unsynced(FileStamp, Error),
}

/// The lane on which a file of this size is hashed: what a client asks for in passing does not wait for large ones.
pub(in crate::registry) fn hash_lane(size: u64) -> Lane {
    if size <= QUICK { Lane::Compute } else { Lane::Hash }
}

pub(in crate::registry) fn object(facts: &FileStamp) -> Object {
    Object { size: facts.size, mtime: facts.mtime, inode: facts.inode }
}

pub(in crate::registry) fn hash(stored: &Stored, digest: &Digest) -> std::io::Result<Digest> {
    let mut hasher = digest.hasher();
    hash_into(&stored.file, &mut hasher)?;
    Ok(hasher.finish())
}

/// Shows a hasher all of a file; tells how many bytes that were.
pub(in crate::registry) fn hash_into(file: &File, hasher: &mut Hasher) -> std::io::Result<u64> {
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
