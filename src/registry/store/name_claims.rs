//! Claimed repository names that are not proven to be free upstream, and a count of freed names.

use crate::{oci::RepositoryName, storage::Verdict};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
/// The name claims of one volume that may need the operator's attention.
#[derive(Debug, Default)]
pub(in crate::registry) struct NameClaims {
    freed: AtomicU64,
    /// The claims not proven yet, with their verdicts.
    unsettled: Mutex<BTreeMap<RepositoryName, Verdict>>,
    /// The last name for which the upstream gave no answer; the next round begins after it.
    unanswered: Mutex<Option<RepositoryName>>,
}

impl NameClaims {
    /// Returns the number of names freed since the start. Facts about a repository that were found at another number
    /// may be stale.
    pub(in crate::registry) fn freed(&self) -> u64 {
        self.freed.load(Ordering::Acquire)
    }

    /// Records that a repository was removed, at least in part, so that facts found before are stale.
    pub(in crate::registry) fn free(&self) {
        self.freed.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets a name whose claim is removed.
    pub(in crate::registry) fn forget(&self, name: &RepositoryName) {
        self.unsettled.lock().remove(name);
    }

    /// Records that the upstream gave no answer about a name, so that the next round begins after it.
    pub(in crate::registry) fn not_answered(&self, name: RepositoryName) {
        *self.unanswered.lock() = Some(name);
    }

    pub(in crate::registry) fn note(&self, name: &RepositoryName, verdict: Verdict) {
        let mut unsettled = self.unsettled.lock();
        match verdict {
            Verdict::Unproven | Verdict::Conflicting => drop(unsettled.insert(name.clone(), verdict)),
            Verdict::Proven | Verdict::Unasked => drop(unsettled.remove(name)),
        }
    }

    /// Returns the unproven names in the order in which the upstream is asked about them.
    pub(in crate::registry) fn in_turn(&self) -> Vec<RepositoryName> {
        let mut names = self.all(Verdict::Unproven);
        if let Some(last) = &*self.unanswered.lock() {
            let asked = names.partition_point(|name| name <= last);
            names.rotate_left(asked);
        }
        names
    }

    pub(in crate::registry) fn all(&self, wanted: Verdict) -> Vec<RepositoryName> {
        let unsettled = self.unsettled.lock();
        unsettled.iter().filter(|(_, verdict)| **verdict == wanted).map(|(name, _)| name.clone()).collect()
    }
}
