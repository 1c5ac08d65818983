//! Sums the disk usage of blobs.

use super::blob_usage::BlobUsage;
use crate::index::BlobEntry;

/// The sum of the blobs of a repository or source so far.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::registry) struct Tally {
    usage: BlobUsage,
    /// The last access of one of its manifests.
    pulled: Option<u64>,
}

impl Tally {
    /// Adds a blob. `is_alone` if nobody else references it, `is_manifest` if it is a manifest here.
    pub(in crate::registry) fn add(&mut self, entry: &BlobEntry, is_alone: bool, is_manifest: bool) {
        self.usage.size += entry.allocated;
        self.usage.exclusive += if is_alone { entry.allocated } else { 0 };
        self.usage.objects += 1;
        self.usage.used = self.usage.used.max(Some(entry.used));
        self.pulled = self.pulled.max(is_manifest.then_some(entry.used));
    }

    /// Returns the sum. Its last use is that of its manifests, if there are any.
    pub(in crate::registry) fn usage(&self) -> BlobUsage {
        BlobUsage { used: self.pulled.or(self.usage.used), ..self.usage }
    }
}
