//! The usage report of the admin protocol: the disk usage by source, repository and tag, and the totals of the volume.
//! Types only; the registry counts.

use serde::{Deserialize, Serialize};

use crate::{oci::Domain, registry};

/// Disk usage, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageFigures {
    /// The size of all blobs.
    pub size: u64,
    /// The size of the blobs that no other holder shares.
    pub exclusive: u64,
    /// The number of blobs.
    pub objects: u64,
    /// The time of the last use: seconds since the epoch.
    pub used: Option<u64>,
}

/// An upstream, or all pushed content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceUsage {
    /// The upstream; none for pushed content.
    pub domain: Option<String>,
    /// Its usage. A blob of several sources is counted for one.
    pub weight: UsageFigures,
}

/// A repository and its usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryUsage {
    /// Its upstream; none if it is hosted.
    pub domain: Option<String>,
    /// Its name there.
    pub name: String,
    /// Its usage.
    pub weight: UsageFigures,
}

/// A tag of the repository that the previous response named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagUsage {
    /// The tag.
    pub tag: String,
    /// The digest of its manifest.
    pub digest: String,
    /// The usage of all content that it refers to.
    pub weight: UsageFigures,
}

/// The usage of the whole disk, in bytes: the sources' sizes and these values add up to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUsage {
    /// The time of the count: seconds since the epoch.
    pub at: u64,
    /// The usage that the quota limits.
    pub total: u64,
    /// The quota.
    pub quota: Option<u64>,
    /// The bound of mirrored content, if there is no quota.
    #[serde(default)]
    pub share: Option<u64>,
    /// Blobs that belong to no repository.
    pub unlinked: u64,
    /// Directories and links.
    pub links: u64,
    /// Incomplete files.
    pub staged: u64,
    /// Damaged blobs in quarantine.
    pub quarantined: u64,
    /// The index.
    pub index: u64,
    /// The rest.
    pub other: u64,
    /// The growth of the blobs during the count; negative if they shrank.
    pub changed: i64,
}

impl From<registry::BlobUsage> for UsageFigures {
    fn from(weight: registry::BlobUsage) -> Self {
        let registry::BlobUsage { size, exclusive, objects, used } = weight;
        Self { size, exclusive, objects, used }
    }
}

impl From<registry::Counted> for DiskUsage {
    fn from(counted: registry::Counted) -> Self {
        let registry::Counted { at, usage, unlinked, changed } = counted;
        Self {
            at,
            total: usage.total(),
            quota: usage.quota,
            share: usage.quota.is_none().then_some(usage.share),
            unlinked: unlinked.bytes,
            links: usage.links,
            staged: usage.staged,
            quarantined: usage.quarantined.bytes(),
            index: usage.index,
            other: usage.other,
            changed,
        }
    }
}

/// Returns a domain as text.
pub(super) fn domain(domain: Option<Domain>) -> Option<String> {
    domain.map(|domain| domain.to_string())
}
