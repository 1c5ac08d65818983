//! The error for bytes that do not fit, with the bound that they exceed.

use std::fmt;

/// The bound that would be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bounded {
    /// `storage.quota`.
    Quota,
    /// The bound on mirrored content without a quota.
    Share,
    /// The free bytes of the filesystem, less `storage.headroom`.
    Filesystem,
    /// `storage.maxobject`.
    Object,
    /// Not known: stored content is still being counted.
    Unknown,
}

/// Mirrored content that is protected from eviction by its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasedBytes {
    /// The number of bytes.
    pub bytes: u64,
    /// The time at which enough of them can be evicted, if no client uses them again: seconds since the epoch. `None`
    /// if all of them are too few.
    pub until: Option<u64>,
}

/// The bytes do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", ShortageText(self))]
pub struct InsufficientSpace {
    /// The number of bytes that are missing.
    pub by: u64,
    /// The bound that is exceeded.
    pub bounded: Bounded,
    /// Leased content that could otherwise be evicted.
    pub(super) leased: Option<LeasedBytes>,
    pub(super) used: u64,
    /// Reserved by others, and held back for the index.
    pub(super) reserved: u64,
    pub(super) allowed: u64,
    pub(super) needed: u64,
}

impl InsufficientSpace {
    /// Returns the same error with the leased bytes.
    #[must_use]
    pub fn with_leased(self, leased: Option<LeasedBytes>) -> Self {
        Self { leased, ..self }
    }

    /// Returns the same error with another number of missing bytes.
    #[must_use]
    pub fn with_missing(self, by: u64) -> Self {
        Self { by, ..self }
    }

    /// Returns whether eviction cannot help.
    #[must_use]
    pub fn is_not_evictable(&self) -> bool {
        matches!(self.bounded, Bounded::Object | Bounded::Unknown)
    }

    /// Returns whether there may be room once all stored content is counted.
    #[must_use]
    pub fn is_counting(&self) -> bool {
        self.bounded == Bounded::Unknown
    }

    /// Returns the number of bytes that were requested.
    #[must_use]
    pub fn needed(&self) -> u64 {
        self.needed
    }
}

struct ShortageText<'a>(&'a InsufficientSpace);

impl fmt::Display for ShortageText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InsufficientSpace { bounded, leased, used, reserved, allowed, needed, .. } = self.0;
        let (what, key) = match bounded {
            Bounded::Quota => ("the quota is exceeded", "storage.quota"),
            Bounded::Share => ("what is mirrored has no more room", "80% of the filesystem: storage.quota is not set"),
            Bounded::Filesystem => ("no space left on device", "storage.headroom stays free"),
            Bounded::Object => {
                return write!(
                    f,
                    "{needed} bytes are more than one blob may have to be kept (storage.maxobject: {allowed} bytes)"
                );
            }
            Bounded::Unknown => {
                return write!(
                    f,
                    "what is stored is still being counted since the start, so that it is not known whether {needed} bytes \
                     fit: try again in a minute"
                );
            }
        };
        write!(
            f,
            "{what}: {used} bytes are used and {reserved} set aside of {allowed} allowed ({key}), and {needed} more are needed"
        )?;
        leased.map_or(Ok(()), |leased| write!(f, "; {leased}"))
    }
}

impl fmt::Display for LeasedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of mirrored content were asked for within storage.lease and stay", self.bytes)?;
        let time = |until| std::time::UNIX_EPOCH + std::time::Duration::from_secs(until);
        self.until.map_or(Ok(()), |until| {
            write!(f, ": enough of them may go at {}", humantime::format_rfc3339_seconds(time(until)))
        })
    }
}
