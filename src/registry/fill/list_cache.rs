//! Caches lists of an upstream: `tags/list` and referrers. They are revalidated at the age at which tags are, and kept
//! in memory for when the upstream cannot answer.

use std::{sync::Arc, time::Instant};

use moka::sync::Cache;

use crate::{
    oci::{Digest, Repository},
    registry::{ask_error::AskError, store::single_flight::SingleFlight},
    upstream::Page,
};

/// Bytes of lists kept.
const CACHE_BYTES: u64 = 16 << 20;

/// The kind of a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// The tags of a repository.
    Tags,
    /// The referrers of a manifest.
    Referrers(Digest),
}

/// A list of a repository, with the query string of the request.
pub(in crate::registry) type ListKey = (Repository, ListKind, String);
pub(in crate::registry) type CachedList = (Arc<Page>, Instant);
pub(in crate::registry) type ListAnswer = Result<Arc<Page>, AskError>;

#[derive(Debug)]
pub(in crate::registry) struct ListCache {
    pub(in crate::registry) kept: Cache<ListKey, CachedList>,
    pub(in crate::registry) calls: SingleFlight<ListKey, ListAnswer>,
}

impl ListCache {
    pub(in crate::registry) fn new(tasks: tokio::runtime::Handle) -> Self {
        Self {
            kept: Cache::builder().max_capacity(CACHE_BYTES).weigher(weigh).build(),
            calls: SingleFlight::new(tasks),
        }
    }
}

/// Returns the size of a page and its key in memory, in bytes.
fn weigh((_, _, query): &ListKey, (page, _): &CachedList) -> u32 {
    let link = page.link.as_ref().map_or(0, String::len);
    u32::try_from(page.bytes.len() + query.len() + link + 512).unwrap_or(u32::MAX)
}
