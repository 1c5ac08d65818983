//! Whose a name is. It is the Hub's, as far as requests without `ns` are concerned, until the first manifest that is
//! pushed under it claims it for this registry; and that needs the Hub's word that it has no such repository.
//!
//! The claim and the Hub's word lie on disk (`storage::Claim`) and are final: what somebody registers on the Hub later
//! changes nothing here. A name that was claimed while the Hub could not be asked is asked about later; a conflict is
//! told, and left to the operator.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::timeout;

use crate::{
    config::Unproven,
    lanes::Lane,
    oci::{Domain, Repository, RepositoryName},
    registry::{
        Error, Registry,
        fill::{
            presence::{PATIENCE, Presence, UNANSWERED, presence},
            upstream_health::UpstreamHealth,
        },
        policy::{TAKEN, not_ours},
        store::blob_store::BlobStore,
    },
    storage::{Claim, Verdict},
};

/// Between two questions about names that were claimed unproven.
const BETWEEN: Duration = Duration::from_millis(50);

/// The right to claim a name, or that it is claimed already; checked again where it is claimed.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRight {
    /// `None` for a name that is claimed.
    verdict: Option<Verdict>,
    /// How many names had been freed when it was found out.
    freed: u64,
}

impl BlobStore {
    /// Claims a name, durably, unless it is claimed. The caller holds the repository's lock. `false` when `right` is
    /// out of date.
    pub(in crate::registry) fn claim(&self, repository: &Repository, right: ClaimRight) -> Result<bool, Error> {
        if right.freed != self.name_claims.freed.load(Ordering::Acquire) {
            return Ok(false);
        }
        self.write_claim(repository, right.verdict.unwrap_or(Verdict::Unasked))?;
        Ok(true)
    }

    /// Makes sure that the claim of a repository that is about to lose its last manifest is written down; returns
    /// whether there was room for it. Where there was none, the first manifest that goes is to be [turned into] it. The
    /// caller holds the repository's lock.
    ///
    /// [turned into]: crate::storage::RepositoryLinks::turn_into_claim
    pub(in crate::registry) fn keep_claim(&self, repository: &Repository) -> Result<bool, Error> {
        let sync = || Ok(self.storage.links(repository).sync_claim()?);
        match self.write_claim(repository, Verdict::Unasked).and_then(|()| sync()) {
            Err(Error::Storage(error)) if error.is_full() => Ok(false),
            kept => kept.map(|()| true),
        }
    }

    /// Takes a repository that holds no manifest any more out of the catalog. The caller holds the repository's lock.
    pub(in crate::registry) fn delist_if_empty(&self, repository: &Repository) -> Result<(), Error> {
        if !self.storage.links(repository).has_revisions()? {
            self.index.remove_repository(repository);
        }
        Ok(())
    }

    fn write_claim(&self, repository: &Repository, verdict: Verdict) -> Result<(), Error> {
        let links = self.storage.links(repository);
        if links.written_claim()?.is_none() {
            // What holds a manifest was claimed by that.
            let verdict = if links.has_revisions()? { Verdict::Unasked } else { verdict };
            links.write_claim(Claim::now(verdict)).inspect_err(|_| self.reread_claim(repository))?;
            self.name_claims.note(&repository.name, verdict);
        }
        self.index.add_claim(repository);
        Ok(())
    }

    /// Tells the index, and whoever asks later, of a claim that is on disk.
    pub(in crate::registry) fn recall_claim(&self, repository: &Repository) -> Result<(), Error> {
        if let Some(claim) = self.storage.links(repository).claim()? {
            self.index.add_claim(repository);
            self.name_claims.note(&repository.name, claim.verdict);
        }
        Ok(())
    }

    /// Ends a claim. The caller holds the repository's lock, and nothing else of the repository is left.
    pub(in crate::registry) fn end_claim(&self, repository: &Repository) -> Result<(), Error> {
        let links = self.storage.links(repository);
        links.remove_claim().inspect_err(|_| self.reread_claim(repository))?;
        links.remove_empty_folders();
        self.name_claims.unsettled.lock().remove(&repository.name);
        Ok(())
    }

    /// Writes down what the upstream says of a name that was claimed unproven. It may have been freed meanwhile.
    fn settle_claim(&self, repository: &Repository, verdict: Verdict) -> Result<bool, Error> {
        let _claim = self.locks.repository(repository);
        let links = self.storage.links(repository);
        if links.written_claim()?.is_none_or(|claim| claim.verdict != Verdict::Unproven) {
            return Ok(false);
        }
        links.write_claim(Claim::now(verdict))?;
        self.name_claims.note(&repository.name, verdict);
        Ok(true)
    }
}

impl Registry {
    /// Whether a name is claimed for this registry.
    pub(in crate::registry) async fn is_claimed(&self, repository: &Repository) -> Result<bool, Error> {
        if let Some(claimed) = self.store.index.is_claimed(repository) {
            return Ok(claimed);
        }
        let place = repository.clone();
        let claim = self.store.blocking(Lane::Look, move |store| store.storage.links(&place).claim()).await??;
        Ok(claim.is_some())
    }

    /// Whether the upstream is known to have a repository of this name.
    pub(in crate::registry) fn is_taken(&self, name: &RepositoryName) -> bool {
        self.questions.answer(name) == Some(Presence::Present)
    }

    /// A push to a repository begins: the upstream is asked about a name that nobody has claimed, while the blobs come.
    /// Where a push that is not proven would be refused, its answer is waited for: nobody sends a body for nothing.
    ///
    /// # Errors
    /// As [`Registry::claim_right`].
    pub async fn begin_push(&self, repository: &Repository) -> Result<(), Error> {
        if self.rules.unproven == Unproven::Refuse {
            return self.claim_right(repository).await.map(drop);
        }
        if !self.is_claimed(repository).await?
            && self.questions.answer(&repository.name).is_none()
            && let Some(hub) = self.asked_about(&repository.name)
        {
            self.questions.under_way.begin(repository.name.clone(), self.questions.question(hub, &repository.name));
        }
        Ok(())
    }

    /// Whether a manifest may be pushed to a repository, as far as its name is concerned.
    ///
    /// # Errors
    /// [`Error::Denied`], when the upstream has such a repository; [`Error::Unproven`], when it cannot be asked and
    /// `proxy.unproven` refuses that; or as the disk fails.
    pub async fn claim_right(&self, repository: &Repository) -> Result<ClaimRight, Error> {
        let freed = self.store.name_claims.freed.load(Ordering::Acquire);
        let verdict = match self.is_claimed(repository).await? {
            true => None,
            false => Some(self.verdict(&repository.name).await?),
        };
        Ok(ClaimRight { verdict, freed })
    }

    async fn verdict(&self, name: &RepositoryName) -> Result<Verdict, Error> {
        let Some(hub) = self.asked_about(name) else { return Ok(Verdict::Unasked) };
        let presence = match self.questions.answer(name) {
            Some(known) => known,
            None => {
                let asked = self.questions.under_way.join(name.clone(), self.questions.question(hub, name));
                timeout(PATIENCE, asked).await.ok().and_then(|(answer, _)| answer).unwrap_or(Presence::Unknown)
            }
        };
        match (presence, self.rules.unproven) {
            (Presence::Present, _) => Err(not_ours(name, TAKEN)),
            (Presence::Absent, _) => Ok(Verdict::Proven),
            (Presence::Unknown, Unproven::Accept) => Ok(Verdict::Unproven),
            (Presence::Unknown, Unproven::Refuse) => Err(Error::Unproven { retry_after: UNANSWERED }),
        }
    }

    /// The upstream that is asked about a name before it is claimed: the one that answers requests without `ns`. It is
    /// not asked about the operator's own names, nor about those of one component: clients ask it for `library/…` then.
    fn asked_about(&self, name: &RepositoryName) -> Option<&UpstreamHealth> {
        let is_asked = self.rules.mirror && !self.is_listed(name) && name.as_str().contains('/');
        self.mirrors.get(&Domain::docker_hub()).filter(|_| is_asked)
    }

    /// Asks the upstream about the names that were claimed without its word, until it does not answer. Tells whether
    /// any are left.
    pub async fn settle_claims(&self) -> bool {
        let mut failed = false;
        for name in self.store.name_claims.in_turn() {
            let Some(hub) = self.asked_about(&name) else { continue };
            tokio::time::sleep(BETWEEN).await;
            let verdict = match presence(hub, &name).await {
                Presence::Present => Verdict::Conflicting,
                Presence::Absent => Verdict::Proven,
                Presence::Unknown => {
                    *self.store.name_claims.unanswered.lock() = Some(name);
                    return true;
                }
            };
            let place = Repository { domain: None, name };
            let settle = {
                let place = place.clone();
                move |store: &BlobStore| store.settle_claim(&place, verdict)
            };
            match self.store.blocking(Lane::Sync, settle).await.and_then(|settled| settled) {
                Ok(true) if verdict == Verdict::Conflicting => tell_conflict(&place.name),
                Ok(_) => {}
                Err(error) => {
                    failed = true;
                    tracing::warn!(repository = %place, %error, "the upstream's word on a name is not kept");
                }
            }
        }
        failed
    }

    /// Tells of the conflicts that are known since an earlier start.
    pub fn tell_conflicts(&self) {
        self.conflicts().iter().for_each(tell_conflict);
    }

    /// The names that the upstream has, too, and that the operator has not decided about.
    fn conflicts(&self) -> Vec<RepositoryName> {
        let mut conflicts = self.store.name_claims.all(Verdict::Conflicting);
        conflicts.retain(|name| !self.is_listed(name));
        conflicts
    }

    /// How many claimed names are not proven: by what is known of them.
    pub(in crate::registry) fn unsettled_names(&self) -> [(&'static str, usize); 2] {
        let unproven = self.store.name_claims.all(Verdict::Unproven);
        let unproven = unproven.iter().filter(|name| !self.is_listed(name)).count();
        [("unproven", unproven), ("conflicting", self.conflicts().len())]
    }

    /// Forgets what was asked about a name that was freed.
    pub(in crate::registry) fn forget_answer(&self, name: &RepositoryName) {
        self.questions.forget(name);
    }
}

fn tell_conflict(name: &RepositoryName) {
    tracing::error!(
        repository = %name,
        "docker.io has a repository of a name that was pushed here while it could not be asked: requests without ns get what \
         was pushed here; list the name in proxy.hosted if that is meant, or free it with `entrepot rm {name}`"
    );
}

#[cfg(test)]
mod tests;
