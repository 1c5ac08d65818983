//! Purges mirrored images: their tags, their manifests, and the bytes that nobody else holds. The next request asks the
//! upstream, whichever path it takes. A pull under way ends whole: its open files stay readable.
//!
//! Links go before bytes (law 2 of ARCHITECTURE.md), manifests before what they name.

use serde::{Deserialize, Serialize};

use super::{
    operations::Maintenance,
    purge_plan::{Freed, PurgePlan, PurgeTarget, freed},
};
use crate::{
    index::Link,
    oci::{Digest, Reference, Repository, Tag},
    registry::{
        Error, Mode, ProgressCallback,
        store::{blob_store::BlockingStore, stored_manifests},
    },
    storage::{Durability, DurableStore, LinkKind},
};

/// The purge of one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgedRepository {
    /// Its full name.
    pub repository: String,
    /// The tags that went, by name.
    pub tags: Vec<String>,
    /// Manifests that went.
    pub manifests: u64,
    /// Blobs whose bytes went, manifests included.
    pub blobs: u64,
    /// The bytes that they occupied.
    pub bytes: u64,
    /// Bytes that stay, since other repositories or tags hold them.
    pub shared: u64,
}

/// The totals of a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Repositories.
    pub repositories: u64,
    /// Tags.
    pub tags: u64,
    /// Blobs whose bytes went, or go when their readers have ended.
    pub blobs: u64,
    /// The bytes that they occupied.
    pub bytes: u64,
    /// True if this was a dry run.
    pub dry_run: bool,
}

impl Maintenance<'_> {
    /// Purges mirrored images; in a dry run, only counts, with the same figures. Blocks until it is done.
    ///
    /// # Errors
    /// [`Error::Denied`] and [`Error::NothingHere`] before anything is removed, if an image was pushed here or is not
    /// here; [`Error::NoIndex`] if there is no complete index, [`Error::Cancelled`] if `on_event` cancels it,
    /// [`Error::Storage`] if the disk fails.
    pub fn purge(
        &self,
        targets: &[PurgeTarget],
        mode: Mode,
        on_event: ProgressCallback<'_, PurgedRepository>,
    ) -> Result<Purged, Error> {
        self.prepare(&mut || std::ops::ControlFlow::Continue(()))?;
        let plan = self.plan_purge(targets)?;
        let mut purged = Purged { dry_run: mode.is_dry(), ..Purged::default() };
        let mut before = Vec::new();
        let counted: Vec<_> = plan
            .keys()
            .map(|place| {
                let freed = freed(&self.store, place, &plan, &before);
                before.push(place);
                (place, freed)
            })
            .collect();
        for (place, freed) in counted {
            if !mode.is_dry() {
                self.purge_repository(place, &plan)?;
            }
            let report = report(place, &plan, freed);
            purged.repositories += 1;
            purged.tags += report.tags.len() as u64;
            purged.blobs += report.blobs;
            purged.bytes += report.bytes;
            if on_event(report).is_break() {
                return Err(Error::Cancelled);
            }
        }
        Ok(purged)
    }

    fn purge_repository(&self, place: &Repository, plan: &PurgePlan) -> Result<(), Error> {
        let Some(purge) = plan.get(place) else { return Ok(()) };
        for tag in &purge.tags {
            self.purge_tag(place, tag)?;
        }
        if let Some(registry) = self.server {
            registry.manifests.forget_repository(place);
        }
        let is_manifest = |digest: &&Digest| self.store.index.link(place, digest).is_some_and(|link| link.revision);
        let (manifests, blobs): (Vec<_>, Vec<_>) = purge.content.iter().partition(is_manifest);
        for digest in manifests.into_iter().chain(blobs) {
            self.purge_digest(place, digest, purge.is_whole || purge.digests.contains(digest))?;
        }
        self.store.delist_if_gone(place);
        tracing::info!(repository = %place, tags = purge.tags.len(), content = purge.content.len(), "purged");
        Ok(())
    }

    /// Removes a tag, and what the memory knows of it. Answers of the upstream to earlier requests do not bring it
    /// back, and the next request does not join one that is under way.
    fn purge_tag(&self, place: &Repository, tag: &Tag) -> Result<(), Error> {
        let store = &self.store;
        let _lock = store.protection.locks.tag(place, tag);
        store.tag_cache.purge(&(place.clone(), tag.clone()));
        if let Some(registry) = self.server {
            registry.forget_requests(place, &Reference::Tag(tag.clone()));
        }
        store.index.remove_tag(place, tag);
        Ok(store.disk.remove_tag(place, tag).inspect_err(|_| store.reread_tag(place, tag))?)
    }

    /// Removes content from a repository. What was named by its digest goes even if a manifest that stays names it.
    fn purge_digest(&self, place: &Repository, digest: &Digest, is_meant: bool) -> Result<(), Error> {
        let store = &self.store;
        let _lock = store.protection.locks.digest(digest);
        let is_manifest = store.index.link(place, digest).is_some_and(|link| link.revision);
        // A manifest that came after the plan was made needs it.
        if !is_manifest && !is_meant && store.index.is_named(place, digest) {
            return Ok(());
        }
        let manifest = if is_manifest { stored_manifests::read(store.disk, digest)? } else { None };
        if is_manifest {
            remove_history(store, place, digest)?;
            if let Some(registry) = self.server {
                registry.manifests.forget(digest);
                registry.forget_requests(place, &Reference::Digest(*digest));
            }
        }
        // The index first, since requests read it before the disk.
        store.index.remove_link(place, digest, Link { revision: true, layer: true, ..Link::default() });
        store.disk.links(place).forget(digest).inspect_err(|_| store.reread_link(place, digest))?;
        if is_meant || !store.index.is_named(place, digest) {
            store.index.remove_link(place, digest, Link { named: Some(0), ..Link::default() });
        }
        if let Some(manifest) = &manifest {
            store.forget_names(digest, manifest, place);
            if store.index.holders(digest).is_empty() {
                manifest.children().for_each(|child| store.index.remove_parent(&child.digest, digest));
            }
        }
        store.remove_unheld(place, digest)
    }
}

/// Removes the entries of tags' histories that name a manifest: a mirrored repository keeps none without the manifest.
fn remove_history(store: &BlockingStore<'_>, place: &Repository, digest: &Digest) -> Result<(), Error> {
    for previous in store.disk.links(place).previous_tags() {
        let (tag, named) = previous?;
        if named == *digest {
            store.disk.remove_link(place, LinkKind::History(&tag), digest, Durability::Unsynced)?;
        }
    }
    Ok(())
}

fn report(place: &Repository, plan: &PurgePlan, freed: Freed) -> PurgedRepository {
    let Freed { manifests, blobs, bytes, shared } = freed;
    let tags = plan.get(place).map(|purge| purge.tags.iter().map(ToString::to_string).collect()).unwrap_or_default();
    PurgedRepository { repository: place.to_string(), tags, manifests, blobs, bytes, shared }
}
