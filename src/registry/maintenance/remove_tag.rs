//! Removes one tag of a hosted repository, with the manifests that only it leads to. Garbage collection removes their
//! layers later.

use std::collections::HashSet;

use super::operations::Maintenance;
use crate::{
    oci::{Digest, Repository, RepositoryName, Tag},
    registry::{
        Error, Mode, Removed,
        space::reach::Reach,
        store::{blob_store::BlockingStore, gc_guard::RemovalOutcome, stored_manifests},
    },
    storage::{self, DurableStore, LinkKind},
};

impl Maintenance<'_> {
    /// Removes a tag of a hosted repository, immutable or not. A manifest that is being pushed to at the moment stays,
    /// without a tag. In a dry run, only counts.
    ///
    /// # Errors
    /// [`Error::NothingHere`] if there is no such tag, [`Error::NoIndex`] if there is no complete index,
    /// [`Error::Storage`] if the disk fails.
    pub fn remove_tag(&self, name: &RepositoryName, tag: &Tag, mode: Mode) -> Result<Removed, Error> {
        self.prepare(&mut || std::ops::ControlFlow::Continue(()))?;
        let (store, place) = (&self.store, Repository { domain: None, name: name.clone() });
        let _lock = store.protection.locks.repository(&place);
        let named = match store.disk.tag(&place, tag) {
            Ok(None) => return Err(Error::NothingHere(format!("{place}:{tag}"))),
            // A damaged tag can be removed, too; its manifest is not known.
            Err(storage::Error::NoDigest(_)) => None,
            named => named?,
        };
        let manifests = named.map_or_else(|| Ok(Vec::new()), |top| only_reached_by(store, &place, tag, top))?;
        if mode.is_dry() {
            return Ok(Removed { tags: 1, manifests: manifests.len() as u64, links: 0 });
        }
        store.delete_tag(&place, tag)?;
        let mut removed = Removed { tags: 1, ..Removed::default() };
        for digest in manifests {
            removed.manifests += u64::from(remove_manifest(store, &place, &digest)?);
        }
        tracing::info!(repository = %place, %tag, manifests = removed.manifests, "removed a tag");
        Ok(removed)
    }
}

/// Returns the manifests that a tag leads to, and no other tag and no other manifest does: parents before children.
fn only_reached_by(
    store: &BlockingStore<'_>,
    place: &Repository,
    tag: &Tag,
    top: Digest,
) -> Result<Vec<Digest>, Error> {
    let doomed = Reach::of(store, place, top)?.digests;
    let mut roots = HashSet::new();
    for tagged in store.disk.tags(place) {
        let (other, digest) = tagged?;
        match digest {
            Some(digest) if other != *tag => drop(roots.insert(digest)),
            Some(_) => {}
            // The manifest of a damaged tag is unknown, so all of them stay.
            None => return Ok(Vec::new()),
        }
    }
    let mut revisions = Vec::new();
    for revision in store.disk.linked(place, LinkKind::Revision) {
        let revision = revision?;
        if doomed.contains(&revision) {
            revisions.push(revision);
        } else {
            roots.insert(revision);
        }
    }
    let mut kept = HashSet::new();
    for root in roots {
        if !kept.contains(&root) {
            let reach = Reach::of(store, place, root)?;
            // It may need any of them.
            if reach.has_unread {
                return Ok(Vec::new());
            }
            kept.extend(reach.digests);
        }
    }
    if !store.index.is_complete() {
        return Err(Error::NoIndex);
    }
    revisions.retain(|revision| !kept.contains(revision));
    revisions.sort_unstable_by_key(|revision| *revision != top);
    Ok(revisions)
}

/// Removes a manifest's link, unless a push relies on it at the moment. Returns whether it was removed.
fn remove_manifest(store: &BlockingStore<'_>, place: &Repository, digest: &Digest) -> Result<bool, Error> {
    let _lock = store.protection.locks.digest(digest);
    let subject = stored_manifests::read(store.disk, digest)?.and_then(|manifest| manifest.subject);
    let removed = store
        .protection
        .gc_guard
        .unless_held(Some(place), digest, || store.delete_manifest(place, &[], digest, subject.as_ref()));
    Ok(removed.transpose()? == RemovalOutcome::Removed(()))
}
