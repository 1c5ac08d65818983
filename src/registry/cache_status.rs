//! The source of a response, as reported in `Cache-Status` (RFC 9211).

use super::Error;
use crate::metrics::CacheResult;

/// The way in which the cache handled a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// From a hosted repository.
    Hosted,
    /// From the cache, without asking the upstream.
    Hit,
    /// From the cache, after the upstream confirmed it.
    Revalidated,
    /// From the upstream.
    Miss {
        /// `true` if another request's fetch served this one as well.
        collapsed: bool,
        /// The outcome of storing it.
        kept: StoreResult,
    },
    /// From the cache, because the upstream is unavailable.
    Stale {
        /// `true` if the upstream has named a newer manifest since, which is not stored.
        superseded: bool,
    },
}

/// The outcome of storing content from an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreResult {
    /// It is stored.
    Stored,
    /// There was nothing to store, as after a HEAD.
    Nothing,
    /// It could not be stored.
    Refused(Refused),
}

/// The reason that content from an upstream is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The disk or the quota is full.
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
    /// Returns the label for the metrics; `None` for hosted content, which is not cached.
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

/// A manifest, or its head, and its source.
pub type Pulled<T> = (T, CacheStatus);
