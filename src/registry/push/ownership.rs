//! Name ownership. A name belongs to Docker Hub, for requests without `ns`, until the first pushed manifest claims it
//! for this registry. A claim requires an answer of the Hub that it has no such repository.
//!
//! The claim and the answer are stored on disk (`store/claims.rs`) and are final: a repository registered on the Hub
//! later changes nothing here. If the Hub could not be asked, the name is checked later; a conflict is logged and left
//! to the operator.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    config::Unproven,
    lanes::Lane,
    oci::{Domain, Repository, RepositoryName},
    registry::{
        Error, Registry,
        fill::{
            presence::{ANSWER_TIMEOUT, NO_ANSWER_TTL, Presence, presence},
            upstream::Upstream,
        },
        policy::{TAKEN, not_ours},
        store::{blob_store::BlockingStore, claims::ClaimPermission, links},
    },
    storage::Verdict,
};

/// The pause between two requests about unproven names.
const REQUEST_INTERVAL: Duration = Duration::from_millis(50);

impl Registry {
    /// Returns whether a name is claimed for this registry.
    pub(in crate::registry) async fn is_claimed(&self, repository: &Repository) -> Result<bool, Error> {
        if let Some(claimed) = self.store.volume.index.is_claimed(repository) {
            return Ok(claimed);
        }
        let place = repository.clone();
        let claim = self.store.blocking(Lane::Look, move |store| links::claim(store.disk, &place)).await??;
        Ok(claim.is_some())
    }

    /// Returns whether the upstream is known to have a repository of this name.
    pub(in crate::registry) fn is_taken(&self, name: &RepositoryName) -> bool {
        self.presence_checks.answer(name) == Some(Presence::Present)
    }

    /// Begins a push: asks the upstream about an unclaimed name while the blobs arrive. If an unproven push would be
    /// refused, it waits for the answer, so that the client does not send a body for nothing.
    ///
    /// # Errors
    /// As [`Registry::check_claim`].
    pub async fn begin_push(&self, repository: &Repository) -> Result<(), Error> {
        if self.rules.unproven == Unproven::Refuse {
            return self.check_claim(repository).await.map(drop);
        }
        if !self.is_claimed(repository).await?
            && self.presence_checks.answer(&repository.name).is_none()
            && let Some(hub) = self.asked_about(&repository.name)
        {
            self.presence_checks
                .under_way
                .begin(repository.name.clone(), self.presence_checks.check(&hub, &repository.name));
        }
        Ok(())
    }

    /// Checks if the name of a repository permits a push of a manifest.
    ///
    /// # Errors
    /// [`Error::Denied`] if the upstream has such a repository, [`Error::Unproven`] if it cannot be asked and
    /// `proxy.unproven` is `refuse`, [`Error::Storage`] if the disk fails.
    pub async fn check_claim(&self, repository: &Repository) -> Result<ClaimPermission, Error> {
        let freed = self.store.name_claims.freed();
        let verdict = match self.is_claimed(repository).await? {
            true => None,
            false => Some(self.verdict(&repository.name).await?),
        };
        Ok(ClaimPermission { verdict, freed })
    }

    async fn verdict(&self, name: &RepositoryName) -> Result<Verdict, Error> {
        let Some(hub) = self.asked_about(name) else { return Ok(Verdict::Unasked) };
        let presence = match self.presence_checks.answer(name) {
            Some(known) => known,
            None => {
                let asked = self.presence_checks.under_way.join(name.clone(), self.presence_checks.check(&hub, name));
                timeout(ANSWER_TIMEOUT, asked).await.ok().and_then(|joined| joined.value).unwrap_or(Presence::Unknown)
            }
        };
        match (presence, self.rules.unproven) {
            (Presence::Present, _) => Err(not_ours(name, TAKEN)),
            (Presence::Absent, _) => Ok(Verdict::Proven),
            (Presence::Unknown, Unproven::Accept) => Ok(Verdict::Unproven),
            (Presence::Unknown, Unproven::Refuse) => Err(Error::Unproven { retry_after: NO_ANSWER_TTL }),
        }
    }

    /// Returns the upstream to ask before a name is claimed: the one that serves requests without `ns`. It is not asked
    /// about names in `proxy.hosted`, nor about names of one component, which clients request as `library/…`.
    fn asked_about(&self, name: &RepositoryName) -> Option<Upstream> {
        let is_asked = self.rules.mirror && !self.is_listed(name) && name.as_str().contains('/');
        self.upstreams.get(&Domain::docker_hub()).filter(|hub| is_asked && hub.serves(name))
    }

    /// Asks the upstream about all unproven names, until it fails to answer. Returns whether any are left.
    pub async fn settle_claims(&self) -> bool {
        let mut failed = false;
        for name in self.store.name_claims.in_turn() {
            let Some(hub) = self.asked_about(&name) else { continue };
            tokio::time::sleep(REQUEST_INTERVAL).await;
            let verdict = match presence(&hub, &name).await {
                Presence::Present => Verdict::Conflicting,
                Presence::Absent => Verdict::Proven,
                Presence::Unknown => {
                    self.store.name_claims.not_answered(name);
                    return true;
                }
            };
            let place = Repository { domain: None, name };
            let settle = {
                let place = place.clone();
                move |store: &BlockingStore<'_>| store.settle_claim(&place, verdict)
            };
            match self.store.blocking(Lane::Sync, settle).await.and_then(|settled| settled) {
                Ok(true) if verdict == Verdict::Conflicting => log_conflict(&place.name),
                Ok(_) => {}
                Err(error) => {
                    failed = true;
                    tracing::warn!(repository = %place, %error, "the upstream's answer about a name could not be stored");
                }
            }
        }
        failed
    }

    /// Logs the conflicts known from before the start.
    pub fn log_conflicts(&self) {
        self.conflicts().iter().for_each(log_conflict);
    }

    /// Logs the hosted repositories whose names begin with a mirrored registry: requests for them do not reach it.
    pub fn log_hidden_upstreams(&self) {
        for domain in self.upstreams.all().keys() {
            let prefix = format!("{domain}/");
            let found = self.store.volume.index.repositories(None, &prefix, 1).unwrap_or_default();
            for name in found.iter().filter(|name| name.as_str().starts_with(&prefix)) {
                tracing::warn!(
                    repository = %name, upstream = %domain,
                    "this repository and maybe others of this registry have names that begin with an upstream's: they are \
                     served for these names, and not what the upstream has; `entrepot rm NAME` frees a name"
                );
            }
        }
    }

    /// Returns the names that the upstream has, too, without those in `proxy.hosted`.
    fn conflicts(&self) -> Vec<RepositoryName> {
        let mut conflicts = self.store.name_claims.all(Verdict::Conflicting);
        conflicts.retain(|name| !self.is_listed(name));
        conflicts
    }

    /// Returns the number of claimed names that are not proven, by verdict.
    pub(in crate::registry) fn unsettled_names(&self) -> [(&'static str, usize); 2] {
        let unproven = self.store.name_claims.all(Verdict::Unproven);
        let unproven = unproven.iter().filter(|name| !self.is_listed(name)).count();
        [("unproven", unproven), ("conflicting", self.conflicts().len())]
    }

    /// Forgets the cached answer about a freed name.
    pub(in crate::registry) fn forget_answer(&self, name: &RepositoryName) {
        self.presence_checks.forget(name);
    }
}

fn log_conflict(name: &RepositoryName) {
    tracing::error!(
        repository = %name,
        "docker.io has a repository of a name that was pushed here while it could not be asked: requests without ns get what \
         was pushed here; list the name in proxy.hosted if that is meant, or free it with `entrepot rm {name}`"
    );
}

#[cfg(test)]
mod tests;
