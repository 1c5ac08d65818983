//! The rules of eviction: pins, the lease and the time to live.

use std::{collections::HashMap, time::Duration};

use crate::oci::{Domain, NamePattern, Repository};

/// The limits of eviction.
#[derive(Clone, Debug, Default)]
pub struct EvictionRules {
    /// Names of mirrored repositories whose content is never evicted.
    pub pinned: Vec<NamePattern>,
    /// The time after a request in which content is not evicted, since a client that got a manifest requests its blobs.
    pub lease: Duration,
    /// The time without a request after which content of former upstreams is removed; zero disables this.
    pub ttl: Duration,
}

impl EvictionRules {
    /// Returns whether the content of a repository is never evicted.
    pub(super) fn is_pinned(&self, repository: &Repository) -> bool {
        self.pinned.iter().any(|pattern| pattern.matches_repository(repository))
    }

    /// Returns the end of the lease after a use, in seconds since the epoch.
    pub(super) fn leased_until(&self, used: u64) -> u64 {
        used + self.lease.as_secs()
    }
}

/// The times without a request after which mirrored content is removed, by upstream.
#[derive(Debug)]
pub(super) struct Lifetimes {
    pub(super) by_domain: HashMap<Domain, Duration>,
    /// For upstreams that are not configured any more.
    pub(super) other: Duration,
}

impl Lifetimes {
    /// Returns the shortest one; `None` if nothing expires.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.by_domain.values().chain([&self.other]).filter(|ttl| !ttl.is_zero()).min().copied()
    }

    /// Returns the lifetime of a blob that these repositories hold: the longest of theirs; `None` if it does not
    /// expire.
    pub(super) fn of(&self, holders: &[Repository]) -> Option<Duration> {
        let of = |holder: &Repository| {
            let ttl = holder.domain.as_ref().and_then(|domain| self.by_domain.get(domain)).unwrap_or(&self.other);
            (!ttl.is_zero()).then_some(*ttl)
        };
        let longest = holders.iter().map(of).collect::<Option<Vec<_>>>()?.into_iter().max();
        longest.or_else(|| self.shortest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_lives_as_long_as_its_longest_holder() {
        let seconds = Duration::from_secs;
        let domain = |text: &str| text.parse::<Domain>().unwrap();
        let by_domain = HashMap::from([(domain("ghcr.io"), seconds(10)), (domain("quay.io"), seconds(0))]);
        let lifetimes = Lifetimes { by_domain, other: seconds(20) };
        let held_by = |domains: &[&str]| {
            let holder = |text: &&str| Repository { domain: Some(domain(text)), name: "a".parse().unwrap() };
            lifetimes.of(&domains.iter().map(holder).collect::<Vec<_>>())
        };
        assert_eq!(lifetimes.shortest(), Some(seconds(10)));
        assert_eq!(held_by(&["ghcr.io"]), Some(seconds(10)));
        assert_eq!(held_by(&["ghcr.io", "gone.example"]), Some(seconds(20)));
        assert_eq!(held_by(&["ghcr.io", "quay.io"]), None);
        assert_eq!(held_by(&[]), Some(seconds(10)));
    }
}
