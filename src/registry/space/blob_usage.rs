//! The disk usage of a set of blobs.

/// The disk usage of the blobs of a tag, repository or source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobUsage {
    /// Allocated bytes of all its blobs.
    pub size: u64,
    /// Bytes of the blobs that no other tag, repository or source references; removing it would free them.
    pub exclusive: u64,
    /// The number of blobs.
    pub objects: u64,
    /// The last access or arrival of its manifests, in seconds since the epoch; of its blobs if it has no manifest;
    /// `None` if it is empty.
    pub used: Option<u64>,
}
