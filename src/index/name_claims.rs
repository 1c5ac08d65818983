//! The names that this registry has claimed, with or without content.

use super::{Index, keys};
use crate::oci::Repository;

impl Index {
    /// Records the claim to a hosted name.
    pub fn add_claim(&self, repository: &Repository) {
        self.database.put(|trees| &trees.claims, &keys::repository(repository), &[]);
    }

    /// Returns whether a name is claimed. `None` if the index is incomplete.
    #[must_use]
    pub fn is_claimed(&self, repository: &Repository) -> Option<bool> {
        let claimed = self.database.get(|trees| &trees.claims, &keys::repository(repository)).is_some();
        // Read last: a failed read clears it, and makes `claimed` meaningless.
        self.is_complete().then_some(claimed)
    }

    /// Forgets the claim to a name.
    pub fn remove_claim(&self, repository: &Repository) {
        self.database.remove(|trees| &trees.claims, &keys::repository(repository));
    }

    /// Forgets a repository without manifests. Its name stays claimed.
    pub fn remove_repository(&self, repository: &Repository) {
        self.database.remove(|trees| &trees.repositories, &keys::repository(repository));
    }

    /// Forgets a hosted repository, whose links were forgotten one by one, and the claim to its name.
    pub fn forget_repository(&self, repository: &Repository) {
        let all = keys::prefix(repository);
        self.database.remove_all(|trees| &trees.links, &all);
        self.database.remove_all(|trees| &trees.tags, &all);
        self.database.remove_all(|trees| &trees.referrers, &all);
        self.remove_repository(repository);
        self.remove_claim(repository);
    }
}
