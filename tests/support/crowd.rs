//! An index with very many blobs, of which only those to be evicted are on the disk: the cost of opening it, and of
//! evicting from it.

use std::{collections::HashMap, path::Path, time::Duration};

use entrepot::{
    index::{
        Arrival, BlobKind, Closing, Index, LedgerTotals, Link, Origins, Owner, Requeue, Role, Uses, VerifiedStamp,
    },
    lanes::Blocking,
    oci::{Digest, Domain, Repository},
    storage::{Durability, DurableStore, Purpose, SpaceLimits, Storage},
};

/// Blobs of an image, its manifest among them.
const IMAGE: usize = 10;

fn digest(number: usize) -> Digest {
    Digest::sha256(&number.to_le_bytes())
}

fn repository(number: usize) -> Repository {
    Repository { domain: Some(Domain::docker_hub()), name: format!("library/image{}", number / 100).parse().unwrap() }
}

/// Makes an index of `blobs` mirrored blobs in `dir`: images of ten, with sizes from one block to many. It is complete,
/// and open.
pub(crate) fn fill(dir: &Path, blobs: usize) -> Index {
    let index = Index::open(dir);
    for first in (0..blobs).step_by(IMAGE) {
        let (place, manifest) = (repository(first / IMAGE), digest(first));
        for number in first..(first + IMAGE).min(blobs) {
            let (blob, is_manifest) = (digest(number), number == first);
            let size = 4096 << (number.wrapping_mul(2_654_435_761) >> 7 & 7);
            index.published(
                &blob,
                &Arrival {
                    stamp: VerifiedStamp { size, mtime: number as i64, inode: number as u64 },
                    allocated: size,
                    origins: Origins { mirrored: true, hosted: false },
                    kind: if is_manifest { BlobKind::Manifest } else { BlobKind::Blob },
                    now: 1_700_000_000 + number as u64,
                },
            );
            index.linked(&place, &blob, Link { layer: !is_manifest, revision: is_manifest, ..Link::default() });
            if !is_manifest {
                index.add_parent(&blob, &manifest, Role::Layer);
            }
        }
    }
    index.set_complete();
    index
}

/// Closes it as a server does at shutdown.
pub(crate) fn close(index: Index) {
    index.close(Closing::Quiet(Some(LedgerTotals::default())));
    drop(index);
}

/// Evicts as a server does: chooses the next blob, finds its owners and parents, and removes all of that, with its file
/// and link.
pub(crate) struct Evictor {
    storage: Storage,
    io: Blocking,
    index: Index,
    /// The repository of each blob: asking the index would warm the measured path.
    places: HashMap<Digest, Repository>,
}

impl Evictor {
    /// Evicts from `index`, which [`fill`] made of `blobs`, and from the disk below `root`; writes each blob to it
    /// beforehand.
    pub(crate) fn new(root: &Path, index: Index, blobs: usize) -> Self {
        let places = (0..blobs).map(|number| (digest(number), repository(number / IMAGE))).collect();
        let io = Blocking::of_main_thread();
        let storage = Storage::open(&io, root, SpaceLimits::default()).unwrap();
        // Most blobs are not the last of their repository, with which its folders go.
        for first in (0..blobs).step_by(IMAGE) {
            let stays =
                storage.disk(&io).links(&repository(first / IMAGE)).add_layer(&digest(blobs), Durability::Unsynced);
            stays.unwrap();
        }
        Self { storage, io, index, places }
    }

    /// Evicts this many blobs. Returns the processor time: others use the machine, too.
    pub(crate) fn evict(&self, blobs: usize) -> Duration {
        let (mut took, mut gone) = (Duration::ZERO, 0);
        while gone < blobs {
            let begun = processor();
            self.index.requeue(Requeue::Due(1_800_000_000));
            let next = self.index.next_in_queue(None, 32).0;
            took += processor() - begun;
            assert!(!next.is_empty(), "nobody is in the line");
            // As in production, a blob is used between two rounds.
            self.index.used([(digest(gone), Uses { count: 1, last: 1_800_000_000 })]);
            for blob in next.iter().take(blobs - gone) {
                self.bring(blob);
                let begun = processor();
                self.evict_one(blob);
                took += processor() - begun;
                gone += 1;
            }
        }
        took
    }

    fn bring(&self, blob: &Digest) {
        let (bytes, disk) = (blob.as_bytes(), self.storage.disk(&self.io));
        let room = disk.reserve(Purpose::Hosted, 64 << 10).unwrap();
        let staged = disk.stage(blob, room, bytes.len() as u64).unwrap();
        staged.writer().write_at(&self.io, bytes, 0).unwrap();
        disk.publish(staged, blob, Durability::Unsynced).unwrap();
        disk.links(&self.places[blob]).add_layer(blob, Durability::Unsynced).unwrap();
    }

    fn evict_one(&self, blob: &Digest) {
        let (index, disk) = (&self.index, self.storage.disk(&self.io));
        assert!(index.blob_entry(blob).is_some_and(|held| held.owner == Owner::Mirrored));
        // Checks if one of the parents was used a moment ago.
        for parent in index.parents(blob) {
            let _ = index.blob_entry(&parent);
        }
        for place in index.holders(blob) {
            disk.links(&place).forget(blob).unwrap();
            index.remove_link(&place, blob, Link { layer: true, revision: true, ..Link::default() });
        }
        index.removing(blob);
        disk.remove_blob(blob).unwrap();
        index.evicted(blob);
    }

    /// Closes the index as a server does at shutdown.
    pub(crate) fn close(self) {
        close(self.index);
    }
}

/// The processor time that this thread has used so far.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}
