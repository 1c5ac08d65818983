//! The index by its number of blobs: its size, the time to open it, and the time to evict a thousand blobs with their
//! files and links (CPU time, which other processes do not change).
//!
//! `cargo bench --bench index` measures 10 000, 100 000 and a million; `BENCH_MOST` (1000000) stops earlier,
//! `BENCH_ROUNDS` (5) is the number of rounds, and the figures are medians. On disk, below the temporary directory, is
//! the index, and each blob only shortly before its eviction.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic: that is how it fails")]
#![allow(clippy::print_stdout, reason = "its tables are for people")]

#[allow(unused, reason = "the ways to fill and to evict are shared with the tests")]
#[path = "../../tests/support/crowd.rs"]
mod crowd;

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use crowd::Evictor;
use entrepot::index::Index;

const EVICTED: usize = 1000;

fn main() {
    let (rounds, most) = (number("BENCH_ROUNDS", 5), number("BENCH_MOST", 1_000_000));
    println!("{:>9}  {:>10}  {:>9}  {:>10}  {:>18}", "blobs", "filled", "a blob", "opened", "1000 evicted, CPU");
    for blobs in [10_000, 100_000, 1_000_000].into_iter().filter(|blobs| *blobs <= most) {
        let dir = tempfile::tempdir().unwrap();
        let (index, root) = (dir.path().join("index/v1"), dir.path().join("root"));
        let begun = Instant::now();
        let full = crowd::fill(&index, blobs);
        let filled = begun.elapsed();
        let bytes = size(&index);
        let evictor = Evictor::new(&root, full, blobs);
        let evicted = median((0..rounds).map(|_| evictor.evict(EVICTED)).collect());
        evictor.close();
        let opened = median((0..rounds).map(|_| open(&index)).collect());
        let [filled, opened, evicted] = [filled, opened, evicted].map(|time| format!("{time:.1?}"));
        println!("{blobs:>9}  {filled:>10}  {:>7} B  {opened:>10}  {evicted:>18}", bytes / blobs as u64);
    }
}

/// The bytes that the index occupies.
fn size(index: &Path) -> u64 {
    let files = std::fs::read_dir(index).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    files.map(|meta| meta.blocks() * 512).sum()
}

/// The time that opening takes.
fn open(dir: &Path) -> Duration {
    // Its last user may still be releasing it.
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    let index = Index::open(dir);
    let took = begun.elapsed();
    assert!(index.was_complete(), "it is the one that was closed");
    index.set_complete();
    crowd::close(index);
    took
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
