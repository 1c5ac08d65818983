//! How much may be stored.

/// A number of bytes, or a share of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Bytes.
    Bytes(u64),
    /// Per cent of a whole.
    Share(u8),
}

impl Bound {
    /// In bytes, of a whole of `whole` bytes.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Share(percent) => whole / 100 * u64::from(percent),
        }
    }
}

/// What an operator allows. All shares are of the filesystem's size, but `object`'s.
#[derive(Clone, Copy, Debug)]
pub struct SpaceLimits {
    /// For everything below the root, if there is such a bound. Without it mirrored content has `UNSET` of the filesystem,
    /// and hosted content what is free.
    pub quota: Option<Bound>,
    /// What stays free on the filesystem for everybody else; `SpaceLimits::headroom` where it is `None`.
    pub headroom: Option<Bound>,
    /// The largest mirrored blob that is kept, as a share of what may be stored: one must not empty the cache.
    pub object: Bound,
}

/// The bound of mirrored content where nobody set a quota.
const UNSET: Bound = Bound::Share(80);
/// What stays free where nobody said.
const HEADROOM: Bound = Bound::Share(5);
/// More than that does not help anybody.
const HEADROOM_AT_MOST: u64 = 1_000_000_000;

impl Default for SpaceLimits {
    fn default() -> Self {
        Self { quota: None, headroom: None, object: Bound::Share(25) }
    }
}

impl SpaceLimits {
    /// Bytes that stay free on a filesystem of `size` bytes.
    pub(super) fn headroom(&self, size: u64) -> u64 {
        self.headroom.map_or_else(|| HEADROOM.of(size).min(HEADROOM_AT_MOST), |bound| bound.of(size))
    }

    /// What mirrored content may come to on a filesystem of `size` bytes, whatever else there is.
    #[must_use]
    pub fn mirrored(&self, size: u64) -> u64 {
        self.quota.unwrap_or(UNSET).of(size)
    }

    /// The largest mirrored blob that is kept.
    pub(super) fn object(&self, size: u64) -> u64 {
        self.object.of(self.mirrored(size))
    }
}
