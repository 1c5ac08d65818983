//! What is said of a count: who holds how much of the disk.

use serde::{Deserialize, Serialize};

use crate::{oci::Domain, registry};

/// What somebody holds, in bytes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of all blobs.
    pub size: u64,
    /// Of those that nobody else holds.
    pub exclusive: u64,
    /// How many blobs.
    pub objects: u64,
    /// When it was last asked for: seconds since the epoch.
    pub used: Option<u64>,
}

/// An upstream, or all that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The upstream; none for what was pushed.
    pub domain: Option<String>,
    /// What it has. A blob of several sources is counted with one.
    pub weight: Usage,
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Its upstream; none where it was pushed.
    pub domain: Option<String>,
    /// Its name there.
    pub name: String,
    /// What it holds.
    pub weight: Usage,
}

/// A tag of the repository that was told before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The tag.
    pub tag: String,
    /// What it names.
    pub digest: String,
    /// What it reaches.
    pub weight: Usage,
}

/// All of the disk, in bytes: the sources' sizes and these add up to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// When this was so: seconds since the epoch.
    pub at: u64,
    /// What the quota is held against.
    pub total: u64,
    /// The quota.
    pub quota: Option<u64>,
    /// What is mirrored may come to this, where there is none.
    #[serde(default)]
    pub share: Option<u64>,
    /// Blobs that nobody holds.
    pub unlinked: u64,
    /// Folders and links.
    pub links: u64,
    /// Files on their way in.
    pub staged: u64,
    /// Damaged blobs, set aside.
    pub quarantined: u64,
    /// The index.
    pub index: u64,
    /// The rest.
    pub other: u64,
    /// What blobs came to more at the end than was counted; less, where it is negative.
    pub changed: i64,
}

impl From<registry::BlobUsage> for Usage {
    fn from(weight: registry::BlobUsage) -> Self {
        let registry::BlobUsage { size, exclusive, objects, used } = weight;
        Self { size, exclusive, objects, used }
    }
}

impl From<registry::Counted> for Disk {
    fn from(counted: registry::Counted) -> Self {
        let registry::Counted { at, usage, unlinked, changed } = counted;
        Self {
            at,
            total: usage.total(),
            quota: usage.quota,
            share: usage.quota.is_none().then_some(usage.share),
            unlinked: unlinked.0,
            links: usage.links,
            staged: usage.staged,
            quarantined: usage.quarantined.bytes(),
            index: usage.index,
            other: usage.other,
            changed,
        }
    }
}

/// A domain as it is said.
pub(super) fn domain(domain: Option<Domain>) -> Option<String> {
    domain.map(|domain| domain.to_string())
}
