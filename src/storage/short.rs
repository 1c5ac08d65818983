//! Why bytes do not fit, and what would have to change for them to fit.

use std::fmt;

/// Which bound the bytes do not fit below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bounded {
    /// `storage.quota`.
    Quota,
    /// What mirrored content may come to where there is no quota.
    Share,
    /// What the filesystem has, less `storage.headroom`.
    Filesystem,
    /// `storage.maxobject`.
    Object,
    /// What is stored is still being counted, so that nobody knows whether there is room.
    Unknown,
}

/// Mirrored content that would make room, and may not go yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasedBytes {
    /// How much it is.
    pub bytes: u64,
    /// When enough of it may go, if nobody asks for it again: seconds since the epoch. `None` where all of it is too little.
    pub until: Option<u64>,
}

/// The bytes do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Told(self))]
pub struct InsufficientSpace {
    /// How many bytes are missing.
    pub by: u64,
    /// The bound that is in the way.
    pub bounded: Bounded,
    /// What stays for now, where that is why there is no room.
    pub(super) leased: Option<LeasedBytes>,
    pub(super) used: u64,
    /// Promised to others, and kept back for the index.
    pub(super) aside: u64,
    pub(super) allowed: u64,
    pub(super) needed: u64,
}

impl InsufficientSpace {
    /// The same, and what stays for now.
    #[must_use]
    pub fn with_leased(self, leased: Option<LeasedBytes>) -> Self {
        Self { leased, ..self }
    }

    /// Whether no eviction can help.
    #[must_use]
    pub fn is_not_evictable(&self) -> bool {
        matches!(self.bounded, Bounded::Object | Bounded::Unknown)
    }

    /// Whether there may be room once what is stored is counted.
    #[must_use]
    pub fn is_counting(&self) -> bool {
        self.bounded == Bounded::Unknown
    }

    /// How many bytes were asked for.
    #[must_use]
    pub fn needed(&self) -> u64 {
        self.needed
    }
}

struct Told<'a>(&'a InsufficientSpace);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InsufficientSpace { bounded, leased, used, aside, allowed, needed, .. } = self.0;
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
            "{what}: {used} bytes are used and {aside} set aside of {allowed} allowed ({key}), and {needed} more are needed"
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
