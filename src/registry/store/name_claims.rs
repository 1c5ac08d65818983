//! The names that are claimed and not proven, and how many were freed.

use crate::{oci::RepositoryName, storage::Verdict};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
/// The claims of one volume that the operator may have to hear of.
#[derive(Debug, Default)]
pub(in crate::registry) struct NameClaims {
    /// How many names were freed since the start: what was found out of a repository before that may be wrong.
    pub(in crate::registry) freed: AtomicU64,
    /// Those that are not proven, of however many there are.
    pub(in crate::registry) unsettled: Mutex<BTreeMap<RepositoryName, Verdict>>,
    /// The one that the upstream did not answer about last: the others' turn comes before its next.
    pub(in crate::registry) unanswered: Mutex<Option<RepositoryName>>,
}

impl NameClaims {
    /// A repository was removed, perhaps in part: what was found out of it before is out of date.
    pub(in crate::registry) fn freed(&self) {
        self.freed.fetch_add(1, Ordering::AcqRel);
    }

    pub(in crate::registry) fn note(&self, name: &RepositoryName, verdict: Verdict) {
        let mut unsettled = self.unsettled.lock();
        match verdict {
            Verdict::Unproven | Verdict::Conflicting => drop(unsettled.insert(name.clone(), verdict)),
            Verdict::Proven | Verdict::Unasked => drop(unsettled.remove(name)),
        }
    }

    /// Those that are not proven, in the order in which they are asked about.
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
