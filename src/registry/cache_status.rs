//! Where an answer came from: what `Cache-Status` (RFC 9211) tells of it.

use super::Error;
use crate::metrics::CacheResult;

/// How the cache handled a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// From here: it is this registry's own.
    Hosted,
    /// From the cache, without asking.
    Hit,
    /// From the cache, after the upstream said that it still holds.
    Revalidated,
    /// From the upstream.
    Miss {
        /// Somebody else's request brought it.
        collapsed: bool,
        /// Whether it is kept.
        kept: Kept,
    },
    /// From the cache, because the upstream gave nothing better.
    Stale {
        /// Whether the upstream has named something newer since, which is not here.
        superseded: bool,
    },
}

/// Whether what came from an upstream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is stored.
    Stored,
    /// It is nothing that is stored: what a HEAD says.
    Nothing,
    /// It should have been stored.
    Refused(Refused),
}

/// Why something that came from an upstream is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The disk or the quota has no room for it.
    NoSpace,
    /// The disk failed.
    DiskFailed,
}

impl Refused {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::InsufficientSpace(_) => Self::NoSpace,
            Error::Storage(failed) if failed.is_full() => Self::NoSpace,
            _ => Self::DiskFailed,
        }
    }
}

impl CacheStatus {
    /// What it is counted as; this registry's own content is nobody's cache.
    #[must_use]
    pub fn answer(self) -> Option<CacheResult> {
        match self {
            Self::Hosted => None,
            Self::Hit => Some(CacheResult::Hit),
            Self::Revalidated => Some(CacheResult::Revalidated),
            Self::Miss { collapsed: false, .. } => Some(CacheResult::Miss),
            Self::Miss { collapsed: true, .. } => Some(CacheResult::Collapsed),
            Self::Stale { .. } => Some(CacheResult::Stale),
        }
    }
}

/// A manifest and where it came from.
pub type Pulled<T> = (T, CacheStatus);
