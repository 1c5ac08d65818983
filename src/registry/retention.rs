//! What is kept though there is no room, and for how long.

use crate::oci::NamePattern;
use std::time::Duration;
/// What stays though there is no room.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    /// Names of mirrored repositories whose content never goes.
    pub pinned: Vec<NamePattern>,
    /// How long what was served is sure to stay: whoever got a manifest comes for its blobs.
    pub lease: Duration,
    /// Mirrored content that nobody asked for in this time goes; never, where it is zero.
    pub ttl: Duration,
}
