//! Where an answer came from: what `Cache-Status` (RFC 9211) tells of it.

use crate::metrics::Answer;

/// How the cache handled a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
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
    },
    /// From the cache, because the upstream gave nothing better.
    Stale,
}

impl Provenance {
    /// What it is counted as; this registry's own content is nobody's cache.
    #[must_use]
    pub fn answer(self) -> Option<Answer> {
        match self {
            Self::Hosted => None,
            Self::Hit => Some(Answer::Hit),
            Self::Revalidated => Some(Answer::Revalidated),
            Self::Miss { collapsed: false } => Some(Answer::Miss),
            Self::Miss { collapsed: true } => Some(Answer::Collapsed),
            Self::Stale => Some(Answer::Stale),
        }
    }

    pub(super) fn miss(collapsed: bool) -> Self {
        Self::Miss { collapsed }
    }
}
