//! The speed of the disk below both servers.

use std::{fs::File, io::Write, time::Instant};

use crate::support::{images::Blob, scratch};

const TMPFS: i64 = 0x0102_1994;
const BLOCK: usize = 1 << 20;

/// Panics if a sync costs nothing.
pub(crate) fn refuse_memory() {
    let dir = scratch::dir("floor");
    let kind = rustix::fs::statfs(dir.path()).unwrap().f_type;
    assert_ne!(kind, TMPFS, "{} is in memory: set TMPDIR to a real disk", dir.path().display());
}

/// Seconds to write and sync this many files, one after the other.
pub(crate) fn write(files: usize, length: usize) -> f64 {
    let dir = scratch::dir("floor");
    let block = Blob::noise(4, BLOCK.min(length)).bytes;
    let start = Instant::now();
    for number in 0..files {
        let mut file = File::create(dir.path().join(number.to_string())).unwrap();
        (0..length / block.len()).for_each(|_| file.write_all(&block).unwrap());
        file.sync_all().unwrap();
    }
    start.elapsed().as_secs_f64()
}
