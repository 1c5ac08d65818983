//! Lists of repositories and tags. A page from the index costs the same for any length of the list; while the index is
//! incomplete, the whole list is read from the disk.

use std::collections::BinaryHeap;

use crate::{
    lanes::Lane,
    oci::{Domain, Repository, RepositoryName},
    registry::{
        Error, Registry,
        store::{blob_store::BlockingStore, links},
    },
    storage::{self, DurableStore},
};

/// Names read at a time to find those that may be shown.
const NAMES_A_READ: usize = 1000;
/// Tags returned at most if the request has no limit.
const MAX_PAGE_TAGS: usize = 1000;

/// A page of names, in byte order.
#[derive(Debug, PartialEq, Eq)]
pub struct NamePage {
    /// The names.
    pub names: Vec<String>,
    /// `true` if another page follows.
    pub more: bool,
}

impl NamePage {
    /// Makes a page of `limit` names from a list that may contain more.
    fn new(mut names: Vec<String>, limit: usize) -> Self {
        let more = names.len() > limit;
        names.truncate(limit);
        Self { names, more }
    }

    /// Merges pages of up to `limit` names, all from after the same name, into one page.
    #[must_use]
    pub fn merged(pages: Vec<Self>, limit: usize) -> Self {
        let more = pages.iter().any(|page| page.more);
        let mut names: Vec<String> = pages.into_iter().flat_map(|page| page.names).collect();
        names.sort_unstable();
        names.dedup();
        let merged = Self::new(names, limit);
        Self { more: more || merged.more, ..merged }
    }
}

impl Registry {
    /// Returns the repositories of a home after `after`. If `shown` is given, only those it accepts.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails, [`Error::ShuttingDown`] if the store is closed.
    pub async fn catalog(
        &self,
        home: Option<&Domain>,
        after: &str,
        limit: usize,
        shown: Option<impl Fn(&RepositoryName) -> bool>,
    ) -> Result<NamePage, Error> {
        let Some(shown) = shown else { return self.all_repositories(home, after, limit).await };
        let is_shown = |name: &String| name.parse().is_ok_and(|name| shown(&name));
        let (mut found, mut after) = (Vec::new(), after.to_owned());
        // Searches for one more than the page holds, to know if another page follows.
        while limit > 0 && found.len() <= limit {
            let page = self.all_repositories(home, &after, limit.max(NAMES_A_READ)).await?;
            let Some(last) = page.names.last().cloned() else { break };
            found.extend(page.names.into_iter().filter(is_shown));
            if !page.more {
                break;
            }
            after = last;
        }
        Ok(NamePage::new(found, limit))
    }

    async fn all_repositories(&self, home: Option<&Domain>, after: &str, limit: usize) -> Result<NamePage, Error> {
        if limit == 0 {
            return Ok(NamePage::new(Vec::new(), 0));
        }
        let (home, after) = (home.cloned(), after.to_owned());
        let (of, from) = (home.clone(), after.clone());
        let look = move |store: &BlockingStore<'_>| {
            let found = store.index.repositories(of.as_ref(), &from, limit.saturating_add(1))?;
            Some(found.iter().map(ToString::to_string).collect())
        };
        if let Some(found) = self.store.blocking(Lane::Read, look).await? {
            return Ok(NamePage::new(found, limit));
        }
        let walk = move |store: &BlockingStore<'_>| {
            // A hosted repository without manifests is not listed, although its name stays claimed.
            let listed = |place: Result<Repository, storage::Error>| -> Result<Option<String>, storage::Error> {
                let place = place?;
                let holds = place.domain.is_some() || links::has_manifests(store.disk, &place)?;
                Ok((place.domain == home && holds).then(|| place.name.to_string()))
            };
            let names = store.disk.repositories().filter_map(|place| listed(place).transpose());
            first(names, &after, limit.saturating_add(1))
        };
        Ok(NamePage::new(self.store.blocking(Lane::List, walk).await??, limit))
    }

    /// Returns up to `limit` tags of a hosted repository after `after`; without a limit, as many as one request
    /// returns.
    ///
    /// # Errors
    /// [`Error::NameUnknown`] if the name is not claimed, [`Error::Storage`] if the disk fails.
    pub async fn hosted_tags(
        &self,
        repository: &Repository,
        after: &str,
        limit: Option<usize>,
    ) -> Result<NamePage, Error> {
        if !self.is_claimed(repository).await? {
            return Err(Error::NameUnknown);
        }
        if limit == Some(0) {
            return Ok(NamePage::new(Vec::new(), 0));
        }
        let (place, from, few) = (repository.clone(), after.to_owned(), limit.unwrap_or(MAX_PAGE_TAGS));
        let look = move |store: &BlockingStore<'_>| {
            let found = store.index.tags(&place, &from, few.saturating_add(1))?;
            Some(found.iter().map(ToString::to_string).collect())
        };
        if let Some(found) = self.store.blocking(Lane::Read, look).await? {
            return Ok(NamePage::new(found, few));
        }
        // All tags in one page: each page would cost a full walk.
        let (place, after, most) = (repository.clone(), after.to_owned(), limit.unwrap_or(usize::MAX));
        let walk = move |store: &BlockingStore<'_>| {
            let names = store.disk.tags(&place).map(|tagged| tagged.map(|(tag, _)| tag.to_string()));
            first(names, &after, most.saturating_add(1))
        };
        Ok(NamePage::new(self.store.blocking(Lane::List, walk).await??, most))
    }
}

/// Returns the first `limit` names after `after` in byte order, with no more than that many in memory.
pub(in crate::registry) fn first<E>(
    names: impl Iterator<Item = Result<String, E>>,
    after: &str,
    limit: usize,
) -> Result<Vec<String>, E> {
    let mut kept = BinaryHeap::new();
    for name in names {
        let name = name?;
        if name.as_str() > after {
            kept.push(name);
        }
        if kept.len() > limit {
            kept.pop();
        }
    }
    Ok(kept.into_sorted_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_two_registries_are_one() {
        let page = |names: &[&str], more| NamePage { names: names.iter().map(ToString::to_string).collect(), more };
        assert_eq!(
            NamePage::merged(vec![page(&["b", "d"], false), page(&["a", "b"], false)], 3),
            page(&["a", "b", "d"], false)
        );
        assert_eq!(
            NamePage::merged(vec![page(&["b", "d"], false), page(&["a", "c"], true)], 2),
            page(&["a", "b"], true)
        );
        assert_eq!(NamePage::merged(vec![page(&["b", "d"], false), page(&[], false)], 1), page(&["b"], true));
        assert_eq!(NamePage::merged(vec![page(&["a"], true), page(&["a"], false)], 1), page(&["a"], true));
    }

    #[test]
    fn the_first_names_after_another_in_order() {
        let names = || ["d", "a", "c", "b", "e"].into_iter().map(|name| Ok::<_, ()>(name.to_owned()));
        assert_eq!(first(names(), "", 3).unwrap(), ["a", "b", "c"]);
        assert_eq!(first(names(), "b", 2).unwrap(), ["c", "d"]);
        assert!(first(names(), "e", 2).unwrap().is_empty());
        assert!(first(names().chain([Err(())]), "e", 2).is_err(), "a list that may lack a name is none");
    }
}
