//! Converts the index of an earlier version when it is opened, so that nothing is hashed again and the order of
//! eviction stays. It may be interrupted at any time: the version is written last.

use sled::Tree;

use super::{Origins, blob_record, blob_record::EpochStamp, trees::Trees};

/// The version that [`from_3`] reads.
pub(super) const FORMAT_3: &[u8] = b"3";

/// The trees of version 3 that joined to `blobs`: stamps, classes, and entries.
const STAMPS: &str = "objects";
const CLASSES: &str = "classes";
const ENTRIES: &str = "holdings";

/// Joins the three records that version 3 had of a blob. All else is as it was, and so are the encoded parts.
pub(super) fn from_3(trees: &Trees) -> sled::Result<()> {
    let [stamps, classes, entries] = [STAMPS, CLASSES, ENTRIES].map(|name| trees.db.open_tree(name));
    let (stamps, classes, entries) = (stamps?, classes?, entries?);
    // It may have been begun before.
    trees.blobs.clear()?;
    let mut blobs: u64 = 0;
    for tree in [&entries, &stamps, &classes] {
        for key in tree.iter().keys() {
            let key = key?;
            if !trees.blobs.contains_key(&key)?
                && let Some(value) = joined(&key, &stamps, &classes, &entries)?
            {
                trees.blobs.insert(key, value)?;
                blobs += 1;
            }
        }
    }
    trees.db.flush()?;
    tracing::info!(blobs, "converted the index of an earlier version");
    Ok(())
}

fn joined(key: &[u8], stamps: &Tree, classes: &Tree, entries: &Tree) -> sled::Result<Option<Vec<u8>>> {
    let stamp = stamps.get(key)?.and_then(|value| <[u8; EpochStamp::ENCODED]>::try_from(value.as_ref()).ok());
    let origins = classes.get(key)?.and_then(|value| Some(Origins::decode(*value.first()?))).unwrap_or_default();
    Ok(blob_record::encode(entries.get(key)?.as_deref(), stamp, origins))
}

/// Removes the trees of earlier versions.
pub(super) fn remove_former_trees(trees: &Trees) -> sled::Result<()> {
    [STAMPS, CLASSES, ENTRIES].iter().try_for_each(|name| trees.db.drop_tree(name).map(drop))
}
