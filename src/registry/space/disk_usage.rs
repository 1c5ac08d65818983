//! Counts the disk usage by source and by repository. Each referenced blob counts once for one source, and once for
//! every repository that references it; blobs without a reference are summed apart. `tag_usage.rs` computes the usage
//! of each tag.
//!
//! The index is read in batches and no lock is held between them, so requests are not blocked. Changes during the count
//! are reported as a difference to the ledger. Only one sum for each repository is kept in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use super::{
    blob_holders::BlobHolders,
    index_wait::wait_for_index,
    tag_usage::{self, WeighedTag},
    tally::Tally,
};
use crate::{
    index::{Amount, BlobEntry},
    oci::{Digest, Domain, NamePattern, Repository, Tag},
    registry::{
        BlobUsage, Error, ProgressCallback,
        store::{access_tracker, blob_store::BlockingStore},
    },
    storage::{DurableStore, Usage},
};

/// A request to count the disk usage.
#[derive(Clone, Debug, Default)]
pub struct UsageCount {
    /// The repositories whose tags are counted as well.
    pub tags: Option<NamePattern>,
}

/// An event of a count, passed to the progress callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageEvent {
    /// Progress.
    Step {
        /// Blobs counted so far.
        done: u64,
        /// Blobs in total; `None` while the count waits for the index.
        of: Option<u64>,
        /// Bytes of the blobs counted so far.
        bytes: u64,
    },
    /// The usage of an upstream, or of pushes (`None`). A shared blob counts for one source only: for pushes if it was
    /// pushed, otherwise for the upstream it came from first. So the sources add up to the total.
    Source(Option<Domain>, BlobUsage),
    /// The usage of a repository.
    Repository(Repository, BlobUsage),
    /// The usage of a tag of that repository, with the manifest it names.
    Tag(Tag, Digest, BlobUsage),
}

/// The totals of a count.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// The time of the count, in seconds since the epoch.
    pub at: u64,
    /// The usage by the ledger.
    pub usage: Usage,
    /// Blobs that no repository references.
    pub unlinked: Amount,
    /// Bytes in blobs by the ledger minus the bytes counted: the change during the count.
    pub changed: i64,
}

struct Counter<'a> {
    store: &'a BlockingStore<'a>,
    sources: BTreeMap<Option<Domain>, Tally>,
    repositories: BTreeMap<Repository, Tally>,
    unlinked: Amount,
    /// Bytes and number of all blobs.
    all: Amount,
    on_event: ProgressCallback<'a, UsageEvent>,
}

impl UsageCount {
    /// Counts the disk usage. Blocks until it is done.
    ///
    /// # Errors
    /// [`Error::NoIndex`] if there is no complete index, [`Error::Cancelled`] if `on_event` cancels the count,
    /// [`Error::Storage`] if the disk fails.
    pub(in crate::registry) fn run(
        &self,
        store: &BlockingStore<'_>,
        on_event: ProgressCallback<'_, UsageEvent>,
    ) -> Result<Counted, Error> {
        wait_for_index(store, &mut || on_event(UsageEvent::Step { done: 0, of: None, bytes: 0 }))?;
        store.flush_accesses();
        let (sources, repositories) = (BTreeMap::new(), self.named(store)?);
        let mut counter =
            Counter { store, sources, repositories, unlinked: Amount::default(), all: Amount::default(), on_event };
        counter.blobs()?;
        let counted = counter.totals();
        counter.sources()?;
        counter.repositories(self.tags.as_ref())?;
        // An index that became incomplete meanwhile has missed blobs.
        if store.index.is_complete() { Ok(counted) } else { Err(Error::NoIndex) }
    }

    /// Returns an empty tally for each repository that the pattern names, so that empty repositories are reported too.
    fn named(&self, store: &BlockingStore<'_>) -> Result<BTreeMap<Repository, Tally>, Error> {
        let mut named = BTreeMap::new();
        let Some(pattern) = self.tags.as_ref().filter(|pattern| !pattern.is_everything()) else {
            return Ok(named);
        };
        for place in store.disk.repositories() {
            let place = place?;
            if pattern.matches_repository(&place) {
                named.insert(place, Tally::default());
            }
        }
        Ok(named)
    }
}

impl Counter<'_> {
    fn report(&mut self, event: UsageEvent) -> Result<(), Error> {
        if (self.on_event)(event) == ControlFlow::Continue(()) { Ok(()) } else { Err(Error::Cancelled) }
    }

    fn blobs(&mut self) -> Result<(), Error> {
        let usage = self.store.disk.usage();
        let of = usage.hosted.objects() + usage.mirrored.objects();
        let store = self.store;
        for batch in store.index.blob_batches() {
            batch.iter().filter_map(|digest| Some((digest, BlobHolders::of(store.index, digest)?))).for_each(
                |(digest, held)| {
                    self.blob(digest, &held);
                },
            );
            let Amount { bytes, blobs: done } = self.all;
            self.report(UsageEvent::Step { done, of: Some(of.max(done)), bytes })?;
        }
        Ok(())
    }

    fn blob(&mut self, digest: &Digest, BlobHolders { holding, holders }: &BlobHolders) {
        add(&mut self.all, holding);
        let manifest =
            |place: &Repository| self.store.volume.index.link(place, digest).is_some_and(|link| link.revision);
        let mut is_manifest = false;
        for place in holders {
            let here = manifest(place);
            is_manifest |= here;
            let tally = match self.repositories.get_mut(place) {
                Some(tally) => tally,
                None => self.repositories.entry(place.clone()).or_default(),
            };
            tally.add(holding, holders.len() == 1, here);
        }
        let homes: BTreeSet<_> = holders.iter().map(|place| &place.domain).collect();
        let Some(first) = homes.first().copied() else { return add(&mut self.unlinked, holding) };
        let from = self.store.volume.index.upstream(holding);
        let home = if first.is_some() && homes.contains(&from) { from } else { first.clone() };
        self.sources.entry(home).or_default().add(holding, homes.len() == 1, is_manifest);
    }

    fn totals(&self) -> Counted {
        let usage = self.store.disk.usage();
        let by_ledger = i64::try_from(usage.hosted.bytes() + usage.mirrored.bytes()).unwrap_or(i64::MAX);
        let changed = by_ledger - i64::try_from(self.all.bytes).unwrap_or(i64::MAX);
        Counted { at: access_tracker::now(), usage, unlinked: self.unlinked, changed }
    }

    fn sources(&mut self) -> Result<(), Error> {
        // A source may be counted with no blob and still have repositories.
        for place in self.repositories.keys() {
            self.sources.entry(place.domain.clone()).or_default();
        }
        std::mem::take(&mut self.sources)
            .into_iter()
            .try_for_each(|(domain, tally)| self.report(UsageEvent::Source(domain, tally.usage())))
    }

    fn repositories(&mut self, tags: Option<&NamePattern>) -> Result<(), Error> {
        for (place, tally) in std::mem::take(&mut self.repositories) {
            self.report(UsageEvent::Repository(place.clone(), tally.usage()))?;
            if tags.is_some_and(|pattern| pattern.matches_repository(&place)) {
                for WeighedTag { tag, digest, usage, .. } in tag_usage::weigh(self.store, &place)? {
                    self.report(UsageEvent::Tag(tag, digest, usage))?;
                }
            }
        }
        Ok(())
    }
}

fn add(amount: &mut Amount, holding: &BlobEntry) {
    amount.bytes += holding.allocated;
    amount.blobs += 1;
}

#[cfg(test)]
mod tests;
