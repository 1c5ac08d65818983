//! What blobs come to on the disk.

/// What somebody holds: blobs, by what they occupy on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobUsage {
    /// Bytes of all of them.
    pub size: u64,
    /// Of these, bytes that nobody else of the same sort holds: what would be free if it went.
    pub exclusive: u64,
    /// How many blobs they are.
    pub objects: u64,
    /// When one of its manifests was last asked for, or came: seconds since the epoch. One of its blobs, where it has no
    /// manifest; `None` where it has nothing.
    pub used: Option<u64>,
}
