//! The names that are claimed for this registry, whether or not they hold anything.

use super::{Index, keys};
use crate::oci::Repository;

impl Index {
    /// Notes that a name of this registry's own is claimed.
    pub fn add_claim(&self, repository: &Repository) {
        self.database.put(|trees| &trees.claims, &keys::repository(repository), &[]);
    }

    /// Whether a name is claimed. `None` while the index cannot tell.
    #[must_use]
    pub fn is_claimed(&self, repository: &Repository) -> Option<bool> {
        let claimed = self.database.get(|trees| &trees.claims, &keys::repository(repository)).is_some();
        // Asked last: a look that fails says nothing.
        self.is_complete().then_some(claimed)
    }

    /// Notes that a name is not claimed any more.
    pub fn remove_claim(&self, repository: &Repository) {
        self.database.remove(|trees| &trees.claims, &keys::repository(repository));
    }

    /// Forgets that a repository is here: it holds no manifest any more. Its name stays claimed.
    pub fn remove_repository(&self, repository: &Repository) {
        self.database.remove(|trees| &trees.repositories, &keys::repository(repository));
    }

    /// Forgets a repository of this registry's own, whose links were forgotten one by one, and the claim to its name.
    pub fn forget_repository(&self, repository: &Repository) {
        let all = keys::prefix(repository);
        self.database.remove_all(|trees| &trees.links, &all);
        self.database.remove_all(|trees| &trees.tags, &all);
        self.database.remove_all(|trees| &trees.referrers, &all);
        self.remove_repository(repository);
        self.remove_claim(repository);
    }
}
