//! The volume of a `registry:2` that was a pull-through cache: its repositories lie where pushed ones do, and are none.

use super::objects::Objects;
use crate::{
    oci::{Domain, Repository},
    storage::{Durability, Error, RepositoryLinks, Storage},
};

/// Makes the cached repositories of such a volume mirrored ones. Those that this program took a push to stay. Killed on
/// the way, it goes on at the next start.
pub(super) fn proxy_volume(objects: &Objects) {
    if !objects.storage.is_proxy_volume() {
        return;
    }
    let hosted = objects.storage.repositories().filter(|repository| repository.domain.is_none());
    // Listed before any of them moves.
    let cached: Result<Vec<_>, Error> = hosted.filter_map(|place| is_cached(&objects.storage, place)).collect();
    let cached = match cached {
        Ok(cached) => cached,
        Err(error) => {
            tracing::warn!("adopting the volume of a cache failed, and goes on at the next start: {error}");
            return;
        }
    };
    tracing::info!("adopting the volume of a pull-through cache: {} repositories become mirrored ones", cached.len());
    for repository in cached {
        if let Err(error) = adopt(&objects.storage, &repository) {
            tracing::warn!("adopting {repository} failed, and goes on at the next start: {error}");
            return;
        }
    }
    if let Err(error) = objects.storage.end_proxy_volume() {
        tracing::warn!("this volume is looked at once more at the next start: {error}");
    }
}

/// What nobody pushed to with this program.
fn is_cached(storage: &Storage, repository: Repository) -> Option<Result<Repository, Error>> {
    match storage.links(&repository).written_claim() {
        Ok(Some(_)) => None,
        Ok(None) => Some(Ok(repository)),
        Err(error) => Some(Err(error)),
    }
}

fn adopt(storage: &Storage, cached: &Repository) -> Result<(), Error> {
    let mirrored = Repository { domain: Some(Domain::docker_hub()), ..cached.clone() };
    let (from, to) = (storage.links(cached), storage.links(&mirrored));
    copy(storage, &from, &to)?;
    from.remove_all()
}

/// Copies links whose bytes are here; `registry:2` removes bytes of a cache before their links.
fn copy(storage: &Storage, from: &RepositoryLinks, to: &RepositoryLinks) -> Result<(), Error> {
    for layer in from.layers().filter(|digest| storage.has_blob(digest)) {
        to.add_layer(&layer, Durability::Unsynced)?;
    }
    for revision in from.revisions().filter(|digest| storage.has_blob(digest)) {
        to.add_revision(&revision, Durability::Unsynced)?;
    }
    for (tag, digest) in from.tags().filter(|(_, digest)| storage.has_blob(digest)) {
        to.set_tag(&tag, &digest, Durability::Unsynced)?;
    }
    Ok(())
}
