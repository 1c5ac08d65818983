//! What fills the disk, and for whom: each blob once for the source it is counted with, and once for every repository that
//! holds it. What the tags of a repository reach is in `tag_usage.rs`.
//!
//! Who holds a blob, the index says, a few pages at a time and without a lock; what is kept meanwhile is a sum a repository.
//! So nobody waits for it, and what changes while it counts is told as a difference to the books.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    thread,
    time::Duration,
};

use super::tag_usage;
use crate::{
    index::{Amount, BlobEntry},
    oci::{Digest, Domain, NamePattern, Repository, Tag},
    registry::{
        BlobUsage, Error, ProgressCallback,
        store::{access_tracker, blob_store::BlobStore},
    },
    storage::Usage,
};

/// How many blobs are looked at between two words of how far it has come.
const STEP: usize = 1000;
/// How often it is looked whether the index is complete.
const PAUSE: Duration = Duration::from_millis(100);

/// What to count.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// The repositories whose tags are counted too.
    pub tags: Option<NamePattern>,
}

/// What a count comes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageEvent {
    /// How far it is.
    Step {
        /// Blobs looked at.
        done: u64,
        /// Of so many; `None` while it waits for the index.
        of: Option<u64>,
        /// Their bytes.
        bytes: u64,
    },
    /// What came from an upstream, or was pushed (`None`): a blob that several hold is counted here once, as pushed where it
    /// was pushed too, and otherwise with the upstream it came from first. Sources add up.
    Source(Option<Domain>, BlobUsage),
    /// A repository, and what it holds.
    Repository(Repository, BlobUsage),
    /// A tag of that repository, the manifest it names, and what the repository holds for it.
    Tag(Tag, Digest, BlobUsage),
}

/// What the disk holds.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// When it was counted: seconds since the epoch.
    pub at: u64,
    /// What the books say.
    pub usage: Usage,
    /// Blobs that nobody holds.
    pub unlinked: Amount,
    /// By how many bytes the books say more of blobs than was counted: what came, or went, meanwhile.
    pub changed: i64,
}

/// A blob, and who holds it.
pub(in crate::registry) struct BlobHolders {
    pub(in crate::registry) holding: BlobEntry,
    /// In order: this registry's own first.
    pub(in crate::registry) holders: BTreeSet<Repository>,
}

impl BlobStore {
    /// A blob on disk. A repository holds what it links; a mirrored one also what its manifests name, since it serves that
    /// without having fetched it.
    pub(in crate::registry) fn held(&self, digest: &Digest) -> Option<BlobHolders> {
        let holding = self.index.blob_entry(digest)?;
        let mut holders: BTreeSet<_> = self.index.holders(digest).into_iter().collect();
        for parent in self.index.parents(digest) {
            holders.extend(self.index.holders(&parent).into_iter().filter(|place| place.domain.is_some()));
        }
        Some(BlobHolders { holding, holders })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    weight: BlobUsage,
    /// When a manifest was last asked for.
    pulled: Option<u64>,
}

impl Tally {
    fn add(&mut self, holding: &BlobEntry, alone: bool, manifest: bool) {
        self.weight.size += holding.allocated;
        self.weight.exclusive += if alone { holding.allocated } else { 0 };
        self.weight.objects += 1;
        self.weight.used = self.weight.used.max(Some(holding.used));
        self.pulled = self.pulled.max(manifest.then_some(holding.used));
    }

    fn weight(&self) -> BlobUsage {
        BlobUsage { used: self.pulled.or(self.weight.used), ..self.weight }
    }
}

struct Counter<'a> {
    store: &'a BlobStore,
    sources: BTreeMap<Option<Domain>, Tally>,
    repositories: BTreeMap<Repository, Tally>,
    unlinked: Amount,
    /// Of all blobs: bytes, and how many.
    all: Amount,
    tell: ProgressCallback<'a, UsageEvent>,
}

impl Census {
    /// Counts. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`Error::NoIndex`]; [`Error::Abandoned`] when `tell` wants no more; or as the disk fails.
    pub(in crate::registry) fn run(
        &self,
        store: &BlobStore,
        tell: ProgressCallback<'_, UsageEvent>,
    ) -> Result<Counted, Error> {
        wait_for_index(store, tell)?;
        store.tell_uses();
        let (sources, repositories) = (BTreeMap::new(), self.named(store)?);
        let mut counter = Counter { store, sources, repositories, unlinked: (0, 0), all: (0, 0), tell };
        counter.blobs()?;
        let counted = counter.counted();
        counter.sources()?;
        counter.repositories(self.tags.as_ref())?;
        // What it did not know any more meanwhile is missing.
        if store.index.is_complete() { Ok(counted) } else { Err(Error::NoIndex) }
    }

    /// Repositories that were asked for by name are there though they hold nothing.
    fn named(&self, store: &BlobStore) -> Result<BTreeMap<Repository, Tally>, Error> {
        let mut named = BTreeMap::new();
        let Some(pattern) = self.tags.as_ref().filter(|pattern| !pattern.is_everything()) else {
            return Ok(named);
        };
        for place in store.storage.repositories() {
            let place = place?;
            if pattern.matches_repository(&place) {
                named.insert(place, Tally::default());
            }
        }
        Ok(named)
    }
}

fn wait_for_index(store: &BlobStore, tell: ProgressCallback<'_, UsageEvent>) -> Result<(), Error> {
    while !store.index.is_complete() {
        if store.index.has_failed() {
            return Err(Error::NoIndex);
        }
        if tell(UsageEvent::Step { done: 0, of: None, bytes: 0 }).is_break() {
            return Err(Error::Abandoned);
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

impl Counter<'_> {
    fn say(&mut self, weighed: UsageEvent) -> Result<(), Error> {
        if (self.tell)(weighed) == ControlFlow::Continue(()) { Ok(()) } else { Err(Error::Abandoned) }
    }

    fn blobs(&mut self) -> Result<(), Error> {
        let usage = self.store.storage.ledger().usage();
        let of = usage.hosted.objects() + usage.mirrored.objects();
        let mut after = None;
        loop {
            let some = self.store.index.blobs_after(after.as_ref(), STEP);
            some.iter().filter_map(|digest| Some((digest, self.store.held(digest)?))).for_each(|(digest, held)| {
                self.blob(digest, &held);
            });
            let Some(last) = some.last() else { return Ok(()) };
            after = Some(*last);
            let (bytes, done) = self.all;
            self.say(UsageEvent::Step { done, of: Some(of.max(done)), bytes })?;
        }
    }

    fn blob(&mut self, digest: &Digest, BlobHolders { holding, holders }: &BlobHolders) {
        add(&mut self.all, holding);
        let manifest = |place: &Repository| self.store.index.link(place, digest).is_some_and(|link| link.revision);
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
        let from = self.store.index.upstream(holding);
        let home = if first.is_some() && homes.contains(&from) { from } else { first.clone() };
        self.sources.entry(home).or_default().add(holding, homes.len() == 1, is_manifest);
    }

    fn counted(&self) -> Counted {
        let usage = self.store.storage.ledger().usage();
        let told = i64::try_from(usage.hosted.bytes() + usage.mirrored.bytes()).unwrap_or(i64::MAX);
        let changed = told - i64::try_from(self.all.0).unwrap_or(i64::MAX);
        Counted { at: access_tracker::now(), usage, unlinked: self.unlinked, changed }
    }

    fn sources(&mut self) -> Result<(), Error> {
        // A source may have nothing that is counted with it, and repositories all the same.
        for place in self.repositories.keys() {
            self.sources.entry(place.domain.clone()).or_default();
        }
        std::mem::take(&mut self.sources)
            .into_iter()
            .try_for_each(|(domain, tally)| self.say(UsageEvent::Source(domain, tally.weight())))
    }

    fn repositories(&mut self, tags: Option<&NamePattern>) -> Result<(), Error> {
        for (place, tally) in std::mem::take(&mut self.repositories) {
            self.say(UsageEvent::Repository(place.clone(), tally.weight()))?;
            if tags.is_some_and(|pattern| pattern.matches_repository(&place)) {
                for (tag, digest, weight) in tag_usage::weigh(self.store, &place)? {
                    self.say(UsageEvent::Tag(tag, digest, weight))?;
                }
            }
        }
        Ok(())
    }
}

fn add(amount: &mut Amount, holding: &BlobEntry) {
    *amount = (amount.0 + holding.allocated, amount.1 + 1);
}

#[cfg(test)]
mod tests;
