//! The rules of eviction: pins, the lease and the time to live.

use crate::oci::NamePattern;
use std::time::Duration;
/// The limits of eviction.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    /// Names of mirrored repositories whose content is never evicted.
    pub pinned: Vec<NamePattern>,
    /// The time after a request in which content is not evicted, since a client that got a manifest requests its blobs.
    pub lease: Duration,
    /// The time without a request after which mirrored content is removed; zero disables this.
    pub ttl: Duration,
}
