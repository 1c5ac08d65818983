//! Claims of repository names: written to the disk, and to the index and the list of unproven names after it.

use super::{blob_store::BlockingStore, links};
use crate::{
    oci::Repository,
    registry::Error,
    storage::{Claim, DurableStore, Verdict},
};

/// The permission to claim a name, or the fact that it is claimed. It is checked again on claiming.
#[derive(Clone, Copy, Debug)]
pub struct ClaimPermission {
    /// `None` for a name that is claimed already.
    pub(in crate::registry) verdict: Option<Verdict>,
    /// The number of freed names at the time of the check.
    pub(in crate::registry) freed: u64,
}

impl BlockingStore<'_> {
    /// Claims a name durably, unless it is claimed. The caller holds the repository's lock. Returns `false` if
    /// `permission` is outdated.
    pub(in crate::registry) fn claim(
        &self,
        repository: &Repository,
        permission: ClaimPermission,
    ) -> Result<bool, Error> {
        if permission.freed != self.name_claims.freed() {
            return Ok(false);
        }
        self.write_claim(repository, permission.verdict.unwrap_or(Verdict::Unasked))?;
        Ok(true)
    }

    /// Writes the claim of a repository that is about to lose its last manifest. Returns `false` if there is no space
    /// for it; then the first manifest deleted is to be [turned into] the claim. The caller holds the repository's
    /// lock.
    ///
    /// [turned into]: crate::storage::RepositoryLinks::turn_into_claim
    pub(in crate::registry) fn keep_claim(&self, repository: &Repository) -> Result<bool, Error> {
        // Only a claim that cannot be written is replaced: one that cannot be read may exist.
        self.disk.claim(repository)?;
        let sync = || Ok(self.disk.links(repository).sync_claim()?);
        match self.write_claim(repository, Verdict::Unasked).and_then(|()| sync()) {
            Err(Error::Storage(error)) if error.is_full() => Ok(false),
            kept => kept.map(|()| true),
        }
    }

    /// Removes a repository without manifests from the catalog. The caller holds the repository's lock.
    pub(in crate::registry) fn delist_if_empty(&self, repository: &Repository) -> Result<(), Error> {
        if !links::has_manifests(self.disk, repository)? {
            self.index.remove_repository(repository);
        }
        Ok(())
    }

    fn write_claim(&self, repository: &Repository, verdict: Verdict) -> Result<(), Error> {
        if self.disk.claim(repository)?.is_none() {
            // A repository with a manifest was claimed by its push.
            let verdict = if links::has_manifests(self.disk, repository)? { Verdict::Unasked } else { verdict };
            let written = self.disk.write_claim(repository, Claim::now(verdict));
            written.inspect_err(|_| self.reread_claim(repository))?;
            self.name_claims.note(&repository.name, verdict);
        }
        self.index.add_claim(repository);
        Ok(())
    }

    /// Loads a claim from the disk into the index and the list of unproven names.
    pub(in crate::registry) fn recall_claim(&self, repository: &Repository) -> Result<(), Error> {
        if let Some(claim) = links::claim(self.disk, repository)? {
            self.index.add_claim(repository);
            self.name_claims.note(&repository.name, claim.verdict);
        }
        Ok(())
    }

    /// Removes a claim. The caller holds the repository's lock, and the repository is otherwise empty.
    pub(in crate::registry) fn end_claim(&self, repository: &Repository) -> Result<(), Error> {
        self.disk.remove_claim(repository).inspect_err(|_| self.reread_claim(repository))?;
        self.disk.links(repository).remove_empty_folders();
        self.name_claims.forget(&repository.name);
        Ok(())
    }

    /// Stores the upstream's answer about an unproven name, unless the name was freed meanwhile.
    pub(in crate::registry) fn settle_claim(&self, repository: &Repository, verdict: Verdict) -> Result<bool, Error> {
        let _lock = self.protection.locks.repository(repository);
        if self.disk.claim(repository)?.is_none_or(|claim| claim.verdict != Verdict::Unproven) {
            return Ok(false);
        }
        self.disk.write_claim(repository, Claim::now(verdict))?;
        self.name_claims.note(&repository.name, verdict);
        Ok(true)
    }
}
