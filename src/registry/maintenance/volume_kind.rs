//! Decides if the repositories on a volume of `registry:2` were cached or pushed. It stores both in the same place. A
//! cached repository taken for pushed would never be revalidated or evicted; a pushed one taken for cached would be
//! evicted.

use crate::{
    config::Adopt,
    oci::{Repository, RepositoryName},
    registry::store::links,
    storage::{self, Claim, Disk, DurableStore, Verdict},
};

/// The reason that the kind of a volume is unknown.
#[derive(Debug, thiserror::Error)]
pub enum VolumeKindError {
    /// Only the operator knows.
    #[error(
        "{} repositories on this volume, {first} for one, were cached by registry:2 or pushed to it: proxy.remoteurl is set, and no \
         scheduler-state.json tells. Say which in proxy.adopt (REGISTRY_PROXY_ADOPT), and start again: cached, and they are \
         mirrored ones from now on, which make way for newer; or pushed, and they are kept for good",
        .count
    )]
    Ask {
        /// The number of undecided repositories.
        count: usize,
        /// One of them.
        first: RepositoryName,
    },
    /// The operator's decision cannot be stored.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

/// Decides about the repositories without a push by Entrepot, before anything is served: they are hosted if `listed`,
/// otherwise as the operator `said`. If a repository cannot be read, nothing changes. To be called if `proxy.remoteurl`
/// is set.
///
/// # Errors
/// [`VolumeKindError::Ask`] if the operator must decide, [`VolumeKindError::Storage`] if the decision cannot be stored.
/// [`VolumeKindError`].
pub fn decide(disk: Disk<'_>, listed: impl Fn(&RepositoryName) -> bool, said: Adopt) -> Result<(), VolumeKindError> {
    let undecided = match undecided(disk, listed) {
        Ok(undecided) => undecided,
        Err(error) => {
            tracing::warn!("volume not checked for content cached by registry:2; all of it is kept: {error}");
            return Ok(());
        }
    };
    let Some(first) = undecided.first() else { return Ok(()) };
    match said {
        Adopt::Ask => Err(VolumeKindError::Ask { count: undecided.len(), first: first.name.clone() }),
        Adopt::Cached => Ok(disk.begin_proxy_volume()?),
        Adopt::Pushed => {
            let claim = |place| disk.write_claim(place, Claim::now(Verdict::Unasked));
            Ok(undecided.iter().try_for_each(claim)?)
        }
    }
}

fn undecided(disk: Disk<'_>, listed: impl Fn(&RepositoryName) -> bool) -> Result<Vec<Repository>, storage::Error> {
    let mut found = Vec::new();
    // After the migration, every new repository was pushed.
    if disk.is_proxy_volume()? || disk.was_proxy_volume()? {
        return Ok(found);
    }
    for repository in disk.repositories() {
        let repository = repository?;
        let is_hosted = repository.domain.is_none() && !listed(&repository.name);
        if is_hosted && disk.claim(&repository)?.is_none() && links::claim(disk, &repository)?.is_some() {
            found.push(repository);
        }
    }
    Ok(found)
}
