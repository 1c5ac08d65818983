//! Preallocation of a file's blocks.

use std::{fs::File, os::unix::fs::MetadataExt as _};

use rustix::fs::{FallocateFlags, fallocate, fstatfs};

/// `TMPFS_MAGIC` of statfs(2).
const TMPFS: i64 = 0x0102_1994;

/// Allocates the blocks for `length` bytes from `offset` on, and keeps the file's length. Returns `false` if the
/// filesystem does not support it: a full disk shows at the write then. In memory nothing is allocated ahead either: it
/// means filling the pages with zeros, which are then written over.
pub(super) fn take_blocks(file: &File, offset: u64, length: u64) -> std::io::Result<bool> {
    if length == 0 || fstatfs(file).is_ok_and(|filesystem| filesystem.f_type == TMPFS) {
        return Ok(false);
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, offset, length) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn blocks(file: &File) -> u64 {
    file.metadata().map_or(0, |meta| meta.blocks() * 512)
}
