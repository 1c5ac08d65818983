//! Migrates the volume of a `registry:2` that was a pull-through cache. It has its cached repositories in the place of
//! pushed ones.

use crate::{
    oci::{Digest, Domain, Repository},
    storage::{Disk, Durability, DurableStore, Error, LinkKind},
};

/// Turns the cached repositories of such a volume into mirrored ones. Repositories with a push by Entrepot stay. If it
/// is interrupted, it resumes at the next start.
///
/// # Errors
/// [`Error`] if the volume cannot be read.
pub(in crate::registry) fn proxy_volume(disk: Disk<'_>) -> Result<(), Error> {
    if !disk.is_proxy_volume()? {
        return Ok(());
    }
    // Listed before any of them is moved.
    let cached = cached(disk)?;
    tracing::info!(
        repositories = cached.len(),
        "migrating a pull-through cache volume: its repositories become mirrored"
    );
    for repository in cached {
        if let Err(error) = migrate(disk, &repository) {
            tracing::warn!(%repository, %error, "migration of a repository failed; the next start continues");
            return Ok(());
        }
    }
    if let Err(error) = disk.end_proxy_volume() {
        tracing::warn!(%error, "migration not recorded; the next start checks the volume again");
    }
    Ok(())
}

/// Returns the repositories without a push by Entrepot.
fn cached(disk: Disk<'_>) -> Result<Vec<Repository>, Error> {
    let mut cached = Vec::new();
    for repository in disk.repositories() {
        let repository = repository?;
        if repository.domain.is_none() && disk.claim(&repository)?.is_none() {
            cached.push(repository);
        }
    }
    Ok(cached)
}

fn migrate(disk: Disk<'_>, cached: &Repository) -> Result<(), Error> {
    let mirrored = Repository { domain: Some(Domain::docker_hub()), ..cached.clone() };
    copy(disk, cached, &mirrored)?;
    disk.links(cached).remove_all()
}

/// Copies links whose bytes exist; `registry:2` removes bytes of a cache before their links.
fn copy(disk: impl DurableStore, from: &Repository, to: &Repository) -> Result<(), Error> {
    let here = |digest: Result<Digest, Error>| -> Result<Option<Digest>, Error> {
        let digest = digest?;
        Ok(disk.blob_size(&digest)?.map(|_| digest))
    };
    for kind in [LinkKind::Layer, LinkKind::Revision] {
        for digest in disk.linked(from, kind).filter_map(|digest| here(digest).transpose()) {
            disk.add_link(to, kind, &digest?, Durability::Unsynced)?;
        }
    }
    for tagged in disk.tags(from) {
        let (tag, named) = tagged?;
        if let Some(digest) = named.map_or(Ok(None), |digest| here(Ok(digest)))? {
            disk.set_tag(to, &tag, &digest, Durability::Unsynced)?;
        }
    }
    Ok(())
}
