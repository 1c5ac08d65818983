//! Plans a purge: which tags, manifests and blobs go from which mirrored repositories, and which bytes that frees.
//! Removes nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{image_report::named, operations::Maintenance, selection::Selection};
use crate::{
    oci::{Digest, ImageName, Reference, Repository, Tag},
    registry::{
        Error,
        space::{blob_holders::BlobHolders, reach::Reach},
        store::{blob_store::BlockingStore, links},
    },
    storage::{DurableStore, LinkKind},
};

/// The images to purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeTarget {
    /// One image, by the name that docker takes.
    Image(ImageName),
    /// One image of a repository.
    Exact(Repository, Reference),
    /// The images that a pattern selects.
    Selection(Selection),
}

impl PurgeTarget {
    /// Parses the name of an image, or a pattern, which has a `*`.
    ///
    /// # Errors
    /// The reason that the text is neither, in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('*') {
            let selection = Selection::parse(text).map(Self::Selection);
            return selection.map_err(|error| format!("{text:?}: expected {error}"));
        }
        text.parse().map(Self::Image).map_err(|error| format!("{text:?}: {error}"))
    }
}

/// The plan for one repository.
#[derive(Debug, Default)]
pub(super) struct RepositoryPurge {
    pub(super) tags: BTreeSet<Tag>,
    /// Manifests and blobs named by digest.
    pub(super) digests: BTreeSet<Digest>,
    /// Set if everything goes.
    pub(super) is_whole: bool,
    /// Everything that goes, sorted.
    pub(super) content: BTreeSet<Digest>,
}

/// The plan, by repository.
pub(super) type PurgePlan = BTreeMap<Repository, RepositoryPurge>;

impl Maintenance<'_> {
    /// Plans the purge of all targets.
    ///
    /// # Errors
    /// [`Error::Denied`] if an image was pushed here, [`Error::NothingHere`] if nothing is here of a target;
    /// [`Error::Storage`] if the disk fails.
    pub(super) fn plan_purge(&self, targets: &[PurgeTarget]) -> Result<PurgePlan, Error> {
        let mut plan = PurgePlan::new();
        for target in targets {
            match target {
                PurgeTarget::Image(image) => {
                    let (place, reference) = self.address(image)?;
                    self.plan_image(&mut plan, place, reference)?;
                }
                PurgeTarget::Exact(place, reference) => {
                    self.plan_image(&mut plan, place.clone(), reference.clone())?;
                }
                PurgeTarget::Selection(selection) => self.plan_selection(&mut plan, selection)?,
            }
        }
        for (place, purge) in &mut plan {
            purge.content = content(&self.store, place, purge)?;
        }
        // An index that became incomplete meanwhile did not know all that is needed.
        if self.store.index.is_complete() { Ok(plan) } else { Err(Error::NoIndex) }
    }

    fn plan_image(&self, plan: &mut PurgePlan, place: Repository, reference: Reference) -> Result<(), Error> {
        if place.domain.is_none() {
            let image = place.image(&reference);
            return Err(Error::Denied(format!(
                "{image} was pushed here, not mirrored: `entrepot rm {image}` removes it"
            )));
        }
        if named(&self.store, &place, &reference)?.is_none() && !self.is_in_memory(&place, &reference) {
            return Err(Error::NothingHere(place.image(&reference)));
        }
        let purge = plan.entry(place).or_default();
        match reference {
            Reference::Tag(tag) => drop(purge.tags.insert(tag)),
            Reference::Digest(digest) => drop(purge.digests.insert(digest)),
        }
        Ok(())
    }

    /// Returns whether the memory alone has an answer about a tag, or one is about to come.
    fn is_in_memory(&self, place: &Repository, reference: &Reference) -> bool {
        if self.server.is_some_and(|registry| registry.is_asking(place, reference)) {
            return true;
        }
        let Reference::Tag(tag) = reference else { return false };
        self.store.tag_cache.answer(&(place.clone(), tag.clone())).is_some_and(|answer| answer.head.is_some())
    }

    fn plan_selection(&self, plan: &mut PurgePlan, selection: &Selection) -> Result<(), Error> {
        let mut is_found = false;
        for place in self.store.disk.repositories() {
            let place = place?;
            if place.domain.is_none() || !selection.matches(&place) {
                continue;
            }
            let mut tags = BTreeSet::new();
            for tagged in self.store.disk.tags(&place) {
                let (tag, _) = tagged?;
                if selection.matches_tag(&tag) {
                    tags.insert(tag);
                }
            }
            if !tags.is_empty() || selection.has_all_tags() {
                is_found = true;
                let purge = plan.entry(place).or_default();
                purge.tags.extend(tags);
                purge.is_whole |= selection.has_all_tags();
            }
        }
        if is_found { Ok(()) } else { Err(Error::NothingHere(selection.to_string())) }
    }
}

/// Returns everything that goes from a repository: what its doomed tags and manifests lead to, less what the others do.
fn content(
    store: &BlockingStore<'_>,
    place: &Repository,
    purge: &mut RepositoryPurge,
) -> Result<BTreeSet<Digest>, Error> {
    if purge.is_whole {
        return links::all(&store.disk, place).map(|digest| Ok(digest?)).collect();
    }
    let mut doomed: HashSet<Digest> = HashSet::new();
    let mut roots = HashSet::new();
    // The tags of a manifest that goes by its digest go with it.
    for digest in &purge.digests {
        purge.tags.extend(links::tags_of(store.disk, place, digest)?);
    }
    for tagged in store.disk.tags(place) {
        let (tag, Some(digest)) = tagged? else { continue };
        if purge.tags.contains(&tag) {
            doomed.extend(Reach::of(store, place, digest)?.digests);
        } else {
            roots.insert(digest);
        }
    }
    for digest in &purge.digests {
        doomed.extend(Reach::of(store, place, *digest)?.digests);
    }
    for revision in store.disk.linked(place, LinkKind::Revision) {
        let revision = revision?;
        if !doomed.contains(&revision) {
            roots.insert(revision);
        }
    }
    let blocked: HashSet<Digest> = purge.digests.iter().copied().collect();
    let mut kept = HashSet::new();
    for root in roots {
        if !kept.contains(&root) {
            kept.extend(Reach::without(store, place, root, &blocked)?.digests);
        }
    }
    Ok(doomed.into_iter().filter(|digest| !kept.contains(digest)).collect())
}

/// The bytes that a purge frees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) manifests: u64,
    pub(super) blobs: u64,
    pub(super) bytes: u64,
    /// Bytes that stay, since others hold them.
    pub(super) shared: u64,
}

/// Counts what the purge of one repository frees, after those of `before` were carried out.
pub(super) fn freed(store: &BlockingStore<'_>, place: &Repository, plan: &PurgePlan, before: &[&Repository]) -> Freed {
    let mut freed = Freed::default();
    let Some(purge) = plan.get(place) else { return freed };
    let goes = |holder: &Repository, digest: &Digest| {
        holder == place
            || (before.contains(&holder) && plan.get(holder).is_some_and(|purge| purge.content.contains(digest)))
    };
    for digest in &purge.content {
        freed.manifests += u64::from(store.index.link(place, digest).is_some_and(|link| link.revision));
        let Some(held) = BlobHolders::of(store.index, digest).filter(|held| held.holders.contains(place)) else {
            continue;
        };
        if held.holders.iter().all(|holder| goes(holder, digest)) {
            freed.blobs += 1;
            freed.bytes += held.holding.allocated;
        } else {
            freed.shared += held.holding.allocated;
        }
    }
    freed
}
