//! Filesystems of a test's own, so that their usage is the server's: mounted, filled, watched.
//!
//! They are below the scratch directory: the process that removes it unmounts them, also when this process was killed,
//! and a loop device goes with its mount.

pub(crate) mod fault;
pub(crate) mod index_records;
pub(crate) mod inject;
pub(crate) mod reachability;
pub(crate) mod scratch;
pub(crate) mod volume_check;
pub(crate) mod weights;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::fs::{FallocateFlags, StatVfs, fallocate, statvfs};
use tempfile::TempDir;

use super::process;

pub(crate) const MIB: u64 = 1 << 20;

/// The kind of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In a file, by a loop device.
    Ext4,
    /// In memory.
    Tmpfs,
}

/// A mounted filesystem. Unmounted on drop, or with the scratch directory.
pub(crate) struct Disk {
    place: PathBuf,
    /// The bytes used with only the empty data directory.
    empty: u64,
    dir: TempDir,
}

impl Disk {
    pub(crate) fn new(kind: Kind, mebibytes: u64) -> Self {
        let dir = scratch::dir("disk");
        let place = dir.path().join("mnt");
        std::fs::create_dir(&place).unwrap();
        match kind {
            Kind::Ext4 => mount_ext4(&dir.path().join("image"), &place, mebibytes),
            Kind::Tmpfs => {
                let size = format!("size={mebibytes}m,mode=755");
                let mut mount = process::command("mount");
                mount.args(["-t", "tmpfs", "-o", &size, "entrepot"]).arg(&place);
                run("mount", mount);
            }
        }
        let mut disk = Self { place, empty: 0, dir };
        std::fs::create_dir(disk.data()).unwrap();
        disk.empty = used(&disk.place);
        disk
    }

    pub(crate) fn ext4(mebibytes: u64) -> Self {
        Self::new(Kind::Ext4, mebibytes)
    }

    /// The filesystem in this image: its files have the inodes and times that they had.
    pub(crate) fn of_image(image: &[u8]) -> Self {
        let dir = scratch::dir("disk");
        let (file, place) = (dir.path().join("image"), dir.path().join("mnt"));
        std::fs::create_dir(&place).unwrap();
        std::fs::write(&file, image).unwrap();
        mount_image(&file, &place);
        Self { place, empty: 0, dir }
    }

    /// Unmounts the filesystem and returns its image.
    pub(crate) fn into_image(self) -> Vec<u8> {
        let mut umount = process::command("umount");
        umount.arg(&self.place);
        run("umount", umount);
        std::fs::read(self.dir.path().join("image")).unwrap()
    }

    /// The server's data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.place.join("data")
    }

    pub(crate) fn free(&self) -> u64 {
        let found = stat(&self.place);
        found.f_bavail * found.f_frsize
    }

    /// Another program's file, so large that about `left` bytes stay free; a later one is added to it. Removed on drop.
    pub(crate) fn fill(&self, left: u64) -> Filler {
        let mut filler = Filler { place: self.place.clone(), paths: Vec::new() };
        filler.leave(left);
        filler
    }

    /// Samples the usage every 10 ms.
    pub(crate) fn watch(&self) -> Watch {
        let (place, empty) = (self.place.clone(), self.empty);
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let watcher = thread::spawn(move || {
            while !shared.ended.load(Ordering::SeqCst) {
                let now = used(&place).saturating_sub(empty);
                shared.most.fetch_max(now, Ordering::SeqCst);
                shared.looks.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Watch { seen, watcher: Some(watcher) }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut umount = process::command("umount");
        umount.arg("--lazy").arg(&self.place);
        process::run("umount", umount, Duration::from_secs(20));
    }
}

/// Without a journal and lazy initialisation: only files use space.
fn mount_ext4(image: &Path, place: &Path, mebibytes: u64) {
    File::create(image).unwrap().set_len(mebibytes * MIB).unwrap();
    let mut make = process::command("mkfs.ext4");
    let options = ["-q", "-F", "-m", "0", "-b", "4096", "-i", "8192", "-O", "^has_journal"];
    make.args(options).args(["-E", "lazy_itable_init=0"]).arg(image);
    run("mkfs.ext4", make);
    mount_image(image, place);
}

fn mount_image(image: &Path, place: &Path) {
    let mut mount = process::command("mount");
    mount.args(["-t", "ext4", "-o", "loop,noatime"]).arg(image).arg(place);
    run("mount", mount);
}

fn run(name: &str, command: std::process::Command) {
    process::run(name, command, Duration::from_secs(20)).expect_success(name);
}

fn stat(place: &Path) -> StatVfs {
    statvfs(place).unwrap()
}

fn used(place: &Path) -> u64 {
    let found = stat(place);
    (found.f_blocks - found.f_bfree) * found.f_frsize
}

/// A file of another program beside the data.
pub(crate) struct Filler {
    place: PathBuf,
    paths: Vec<PathBuf>,
}

impl Filler {
    /// Grows until about `left` bytes are free.
    pub(crate) fn leave(&mut self, left: u64) {
        for _ in 0..100 {
            let found = stat(&self.place);
            let free = found.f_bavail * found.f_frsize;
            // The filesystem's own metadata of the file takes a block or two.
            let Some(take) = free.checked_sub(left).filter(|take| *take >= 4096) else { return };
            let path = self.place.join(format!("filler-{}", self.paths.len()));
            let file = File::create(&path).unwrap();
            self.paths.push(path);
            if fallocate(&file, FallocateFlags::empty(), 0, take).is_err() {
                // Another program was quicker: the remaining space is taken in smaller pieces.
                let _ = fallocate(&file, FallocateFlags::empty(), 0, take / 2);
            }
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.paths.iter().for_each(|path| std::fs::remove_file(path).unwrap_or_default());
    }
}

#[derive(Default)]
struct Seen {
    most: AtomicU64,
    looks: AtomicU64,
    ended: AtomicBool,
}

/// Samples every 10 ms, until dropped.
pub(crate) struct Watch {
    seen: Arc<Seen>,
    watcher: Option<JoinHandle<()>>,
}

impl Watch {
    /// The maximum of all samples so far.
    pub(crate) fn most(&self) -> u64 {
        self.seen.most.load(Ordering::SeqCst)
    }

    /// The number of samples.
    pub(crate) fn looks(&self) -> u64 {
        self.seen.looks.load(Ordering::SeqCst)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.seen.ended.store(true, Ordering::SeqCst);
        let _ = self.watcher.take().map(JoinHandle::join);
    }
}
