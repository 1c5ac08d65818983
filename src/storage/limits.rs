//! The operator's bounds on disk usage.

/// A number of bytes, or a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// In bytes.
    Bytes(u64),
    /// In per cent of a whole.
    Share(u8),
}

impl Bound {
    /// Returns the bytes of this bound, for a whole of `whole` bytes.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Share(percent) => whole / 100 * u64::from(percent),
        }
    }
}

/// The bounds on disk usage. Shares are of the filesystem's size, except `object`.
#[derive(Clone, Copy, Debug)]
pub struct SpaceLimits {
    /// The bound on everything below the root. Without it mirrored content may use `DEFAULT_SHARE` of the filesystem,
    /// and hosted content all that is free.
    pub quota: Option<Bound>,
    /// The bytes that other programs find free on the filesystem; `DEFAULT_HEADROOM` if it is `None`.
    pub headroom: Option<Bound>,
    /// The largest mirrored blob that is kept, as a share of the bound: one blob must not empty the cache.
    pub object: Bound,
}

/// The bound on mirrored content without a quota.
const DEFAULT_SHARE: Bound = Bound::Share(80);
/// The default headroom.
const DEFAULT_HEADROOM: Bound = Bound::Share(5);
/// The maximum of the default headroom, in bytes.
const MAX_DEFAULT_HEADROOM_BYTES: u64 = 1_000_000_000;

impl Default for SpaceLimits {
    fn default() -> Self {
        Self { quota: None, headroom: None, object: Bound::Share(25) }
    }
}

impl SpaceLimits {
    /// Returns the bytes that stay free on a filesystem of `size` bytes.
    pub(super) fn headroom(&self, size: u64) -> u64 {
        self.headroom.map_or_else(|| DEFAULT_HEADROOM.of(size).min(MAX_DEFAULT_HEADROOM_BYTES), |bound| bound.of(size))
    }

    /// Returns the bound on mirrored content on a filesystem of `size` bytes, regardless of other content.
    #[must_use]
    pub fn mirrored(&self, size: u64) -> u64 {
        self.quota.unwrap_or(DEFAULT_SHARE).of(size)
    }

    /// Returns the size of the largest mirrored blob that is kept.
    pub(super) fn object(&self, size: u64) -> u64 {
        self.object.of(self.mirrored(size))
    }
}
