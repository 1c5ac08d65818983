//! A volume of `registry:2` that may have been a pull-through cache's, and does not say: what is cached and what was
//! pushed lie in the same place there. Taken for pushed, what is cached would never be revalidated and never go; taken
//! for cached, what was pushed would.

use crate::{
    config::Adopt,
    oci::{Repository, RepositoryName},
    storage::{self, Claim, Storage, Verdict},
};

/// Why it is not known what a volume holds.
#[derive(Debug, thiserror::Error)]
pub enum VolumeKindError {
    /// Only its operator can tell.
    #[error(
        "{} repositories on this volume, {first} for one, were cached by registry:2 or pushed to it: proxy.remoteurl is set, and no \
         scheduler-state.json tells. Say which in proxy.adopt (REGISTRY_PROXY_ADOPT), and start again: cached, and they are \
         mirrored ones from now on, which make way for newer; or pushed, and they are kept for good",
        .count
    )]
    Ask {
        /// How many there are.
        count: usize,
        /// One of them.
        first: RepositoryName,
    },
    /// What its operator said cannot be written down.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

/// Finds out what the repositories of a volume are that nobody pushed to with this program, before anything is served.
/// They are `listed` as this registry's own, or the operator `said` it. Where a repository cannot be looked at, all of
/// them stay what they are. To be called where `proxy.remoteurl` is set.
///
/// # Errors
/// [`VolumeKindError`].
pub fn decide(storage: &Storage, listed: impl Fn(&RepositoryName) -> bool, said: Adopt) -> Result<(), VolumeKindError> {
    let undecided = match undecided(storage, listed) {
        Ok(undecided) => undecided,
        Err(error) => {
            tracing::warn!(
                "whether registry:2 cached what is on this volume is not known, so that all of it stays: {error}"
            );
            return Ok(());
        }
    };
    let Some(first) = undecided.first() else { return Ok(()) };
    match said {
        Adopt::Ask => Err(VolumeKindError::Ask { count: undecided.len(), first: first.name.clone() }),
        Adopt::Cached => Ok(storage.begin_proxy_volume()?),
        Adopt::Pushed => {
            let claim = |place| storage.links(place).write_claim(Claim::now(Verdict::Unasked));
            Ok(undecided.iter().try_for_each(claim)?)
        }
    }
}

fn undecided(storage: &Storage, listed: impl Fn(&RepositoryName) -> bool) -> Result<Vec<Repository>, storage::Error> {
    let mut found = Vec::new();
    // What came after it was adopted was pushed.
    if storage.is_proxy_volume()? || storage.was_proxy_volume()? {
        return Ok(found);
    }
    for repository in storage.repositories() {
        let repository = repository?;
        let links = storage.links(&repository);
        let is_hosted = repository.domain.is_none() && !listed(&repository.name);
        if is_hosted && links.written_claim()?.is_none() && links.claim()?.is_some() {
            found.push(repository);
        }
    }
    Ok(found)
}
