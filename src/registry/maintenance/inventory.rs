//! Lists the repositories and tags of a volume, with the size, the use and the state of their content.

use serde::{Deserialize, Serialize};

use super::{content_class::ContentClass, operations::Maintenance, selection::Selection};
use crate::{
    oci::Repository,
    registry::{
        BlobUsage, Completeness, Error, ProgressCallback, Timestamp,
        space::{
            repository_usage,
            tag_usage::{self, WeighedTag},
        },
        store::{access_tracker, blob_store::BlockingStore},
    },
    storage::DurableStore,
};

/// Repositories read from the index at a time.
const BATCH_REPOSITORIES: usize = 1000;

/// A request to list content.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The repositories and tags; `None` for all.
    pub selection: Option<Selection>,
    /// The last repository of the page before.
    pub after: Option<Repository>,
    /// The most repositories; `None` for all.
    pub limit: Option<usize>,
}

/// An event of a listing, passed to the progress callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListEvent {
    /// The index is not complete yet.
    Waiting,
    /// A repository.
    Repository(ListedRepository),
}

/// A repository with its tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRepository {
    /// Its full name: of a mirrored one with its registry.
    pub repository: String,
    /// Its kind.
    pub class: ContentClass,
    /// Allocated bytes of all its blobs.
    pub size: u64,
    /// Bytes of those that no other repository references.
    pub exclusive: u64,
    /// The number of its blobs.
    pub objects: u64,
    /// The last request for one of its manifests, or its arrival.
    pub last_used: Option<Timestamp>,
    /// True if its content is never evicted: it is pinned.
    pub pinned: bool,
    /// Its selected tags, by name.
    pub tags: Vec<ListedTag>,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedTag {
    /// The tag.
    pub tag: String,
    /// The manifest that it names.
    pub digest: String,
    /// Allocated bytes of all that it leads to.
    pub size: u64,
    /// Bytes of those that no other tag leads to and no other repository references.
    pub exclusive: u64,
    /// The number of blobs.
    pub objects: u64,
    /// The last request for its manifest, or its arrival.
    pub last_used: Option<Timestamp>,
    /// The time since which it names this manifest; of a hosted one, the last push.
    pub since: Option<Timestamp>,
    /// The state of its content.
    pub state: Completeness,
    /// Bytes that are not here, as far as the manifests that are say so.
    pub missing: u64,
}

/// The totals of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The time of the listing.
    pub at: Timestamp,
    /// The number of repositories.
    pub repositories: u64,
    /// The number of tags.
    pub tags: u64,
    /// True if more repositories follow the last one.
    pub more: bool,
}

impl Maintenance<'_> {
    /// Lists the repositories that `is_shown` accepts, hosted ones first. Its figures are those of
    /// [`Maintenance::count`]. Without a server the disk is scanned first. Blocks until it is done.
    ///
    /// # Errors
    /// [`Error::NoIndex`] if there is no complete index, [`Error::Cancelled`] if `on_event` cancels it,
    /// [`Error::Storage`] if the disk fails.
    pub fn list(
        &self,
        listing: &Listing,
        is_shown: &dyn Fn(&Repository) -> bool,
        on_event: ProgressCallback<'_, ListEvent>,
    ) -> Result<Listed, Error> {
        self.prepare(&mut || on_event(ListEvent::Waiting))?;
        let (mut after, limit) = (listing.after.clone(), listing.limit.unwrap_or(usize::MAX));
        let mut listed = Listed { at: Timestamp(access_tracker::now()), repositories: 0, tags: 0, more: false };
        loop {
            let batch = self.store.index.all_repositories(after.as_ref(), BATCH_REPOSITORIES).ok_or(Error::NoIndex)?;
            for place in batch.iter().filter(|place| is_shown(place)) {
                let Some(repository) = listing.entry(&self.store, place)? else { continue };
                if listed.repositories >= limit as u64 {
                    return Ok(Listed { more: true, ..listed });
                }
                listed.repositories += 1;
                listed.tags += repository.tags.len() as u64;
                if on_event(ListEvent::Repository(repository)).is_break() {
                    return Err(Error::Cancelled);
                }
            }
            match batch.into_iter().last() {
                Some(last) => after = Some(last),
                None => return Ok(listed),
            }
        }
    }
}

impl Maintenance<'_> {
    /// Returns a repository with its tags; `None` if it is not known. Does not wait for an index that is being made.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails.
    pub fn repository(&self, place: &Repository) -> Result<Option<ListedRepository>, Error> {
        let is_known = self.store.index.has_repository(place);
        if is_known { Listing::default().entry(&self.store, place) } else { Ok(None) }
    }
}

impl Listing {
    /// Returns a repository with its tags; `None` if it is not selected.
    fn entry(&self, store: &BlockingStore<'_>, place: &Repository) -> Result<Option<ListedRepository>, Error> {
        if self.selection.as_ref().is_some_and(|selection| !selection.matches(place)) {
            return Ok(None);
        }
        let mut tags = Vec::new();
        for weighed in tag_usage::weigh(store, place)? {
            if self.selection.as_ref().is_none_or(|selection| selection.matches_tag(&weighed.tag)) {
                tags.push(listed_tag(store, place, weighed)?);
            }
        }
        tags.sort_unstable_by(|one, other| one.tag.cmp(&other.tag));
        if tags.is_empty() && self.selection.as_ref().is_some_and(|selection| !selection.has_all_tags()) {
            return Ok(None);
        }
        let BlobUsage { size, exclusive, objects, used } = repository_usage::weigh(store, place);
        Ok(Some(ListedRepository {
            repository: place.to_string(),
            class: ContentClass::of(place),
            size,
            exclusive,
            objects,
            last_used: used.map(Timestamp),
            pinned: place.domain.is_some() && store.space.is_pinned(place),
            tags,
        }))
    }
}

fn listed_tag(store: &BlockingStore<'_>, place: &Repository, weighed: WeighedTag) -> Result<ListedTag, Error> {
    let WeighedTag { tag, digest, usage: BlobUsage { size, exclusive, objects, used }, completeness, missing } =
        weighed;
    Ok(ListedTag {
        since: store.disk.tag_time(place, &tag)?.map(Timestamp::from),
        tag: tag.to_string(),
        digest: digest.to_string(),
        size,
        exclusive,
        objects,
        last_used: used.map(Timestamp),
        state: completeness,
        missing,
    })
}
