//! Removes a hosted repository as a whole: its tags, manifests and blob links, then the claim to its name. Garbage
//! collection removes the bytes later.

use crate::{
    index::Link,
    oci::{Repository, RepositoryName},
    registry::{
        Error, Mode,
        store::{blob_store::BlockingStore, links},
    },
    storage::{Durability, DurableStore, LinkKind},
};

/// The totals of a removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Tags removed.
    pub tags: u64,
    /// Manifests removed.
    pub manifests: u64,
    /// Blob links removed.
    pub links: u64,
}

/// Removes a hosted repository and frees its name; in a dry run, only counts.
pub(super) fn remove(store: &BlockingStore<'_>, name: &RepositoryName, mode: Mode) -> Result<Removed, Error> {
    let repository = Repository { domain: None, name: name.clone() };
    let _lock = store.protection.locks.repository(&repository);
    let disk = store.disk;
    let has_layers = || disk.linked(&repository, LinkKind::Layer).next().transpose().map(|first| first.is_some());
    if links::claim(disk, &repository)?.is_none() && !has_layers()? {
        return Err(Error::NameUnknown);
    }
    if mode.is_dry() {
        return Ok(Removed {
            tags: count(disk.tags(&repository))?,
            manifests: count(disk.linked(&repository, LinkKind::Revision))?,
            links: count(disk.linked(&repository, LinkKind::Layer))?,
        });
    }
    let removed = remove_links(store, &repository);
    store.name_claims.free();
    let removed = removed?;
    store.end_claim(&repository)?;
    store.index.forget_repository(&repository);
    tracing::info!(%repository, tags = removed.tags, manifests = removed.manifests, "removed a repository");
    Ok(removed)
}

/// Removes tags, then revisions, then layers (law 2 of ARCHITECTURE.md). After a power failure, all or a part of
/// them may reappear under a name that is still claimed, because the claim is removed last, and synced.
fn remove_links(store: &BlockingStore<'_>, repository: &Repository) -> Result<Removed, Error> {
    let (mut removed, disk) = (Removed::default(), store.disk);
    for tagged in disk.tags(repository) {
        let (tag, _) = tagged?;
        disk.remove_tag(repository, &tag).inspect_err(|_| store.reread_tag(repository, &tag))?;
        store.index.remove_tag(repository, &tag);
        removed.tags += 1;
    }
    for digest in disk.linked(repository, LinkKind::Revision) {
        let digest = digest?;
        store.index.remove_link(repository, &digest, Link { revision: true, named: Some(0), ..Link::default() });
        let unlinked = disk.remove_link(repository, LinkKind::Revision, &digest, Durability::Unsynced);
        unlinked.inspect_err(|_| store.reread_link(repository, &digest))?;
        removed.manifests += 1;
    }
    for digest in disk.linked(repository, LinkKind::Layer) {
        let digest = digest?;
        let _digest = store.protection.locks.digest(&digest);
        store.index.remove_link(repository, &digest, Link { layer: true, named: Some(0), ..Link::default() });
        let unlinked = disk.remove_link(repository, LinkKind::Layer, &digest, Durability::Unsynced);
        unlinked.inspect_err(|_| store.reread_link(repository, &digest))?;
        removed.links += 1;
    }
    store.disk.sync()?;
    Ok(removed)
}

fn count<T, E>(mut all: impl Iterator<Item = Result<T, E>>) -> Result<u64, E> {
    all.try_fold(0, |count, one| one.map(|_| count + 1))
}
