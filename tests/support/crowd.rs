//! An index with very many blobs in it, none of which is on any disk: what it costs to open, and to evict from.

use std::{path::Path, time::Duration};

use entrepot::{
    index::{Index, Link, Owner, Role, Uses},
    oci::{Digest, Domain, Repository},
};

/// Blobs of an image, its manifest among them.
const IMAGE: usize = 10;

fn digest(number: usize) -> Digest {
    Digest::sha256(&number.to_le_bytes())
}

fn repository(number: usize) -> Repository {
    Repository { domain: Some(Domain::docker_hub()), name: format!("library/image{}", number / 100).parse().unwrap() }
}

/// Makes an index of `blobs` mirrored blobs in `dir`: images of ten, sizes from a block to many. It is whole, and open.
pub(crate) fn fill(dir: &Path, blobs: usize) -> Index {
    let index = Index::open(dir);
    for first in (0..blobs).step_by(IMAGE) {
        let (place, manifest) = (repository(first / IMAGE), digest(first));
        for number in first..(first + IMAGE).min(blobs) {
            let (blob, is_manifest) = (digest(number), number == first);
            let size = 4096 << (number.wrapping_mul(2_654_435_761) >> 7 & 7);
            index.enter(&blob, size, Owner::Mirrored, is_manifest, 1_700_000_000 + number as u64);
            index.add_link(&place, &blob, Link { layer: !is_manifest, revision: is_manifest, ..Link::default() });
            if !is_manifest {
                index.add_parent(&blob, &manifest, Role::Layer);
            }
        }
    }
    index.set_complete();
    index
}

/// Closes it as a server that stops.
pub(crate) fn close(index: Index) {
    index.close(Some([0; 6]));
    drop(index);
}

/// Makes room by `blobs` of them: the next in line, who holds and who names it, and all of that away. Says what that took
/// of the processor's time: others use the machine, too.
pub(crate) fn evict(index: &Index, blobs: usize) -> Duration {
    let (begun, mut gone) = (processor(), 0);
    while gone < blobs {
        index.recall(1_800_000_000, false);
        let next = index.next_in_line(32);
        assert!(!next.is_empty(), "nobody is in the line");
        // As in life, something is asked for between two rounds.
        index.note_uses([(digest(gone), Uses { count: 1, last: 1_800_000_000 })]);
        for blob in next.iter().take(blobs - gone) {
            evict_one(index, blob);
            gone += 1;
        }
    }
    processor() - begun
}

fn evict_one(index: &Index, blob: &Digest) {
    assert!(index.holding(blob).is_some_and(|held| held.owner == Owner::Mirrored));
    for parent in index.parents(blob) {
        let _ = index.holding(&parent);
        index.remove_parent(blob, &parent);
    }
    for place in index.holders(blob) {
        index.remove_link(&place, blob, Link { layer: true, revision: true, named: None });
    }
    index.remove_object(blob);
    index.remove_class(blob);
    index.evicted(blob);
}

/// What this thread has had of the processor so far.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}
