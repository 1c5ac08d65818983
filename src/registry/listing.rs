//! Lists of what is here: repositories, tags, and what refers to a manifest. A page costs the same however long the list
//! is; while the index cannot tell, it is read off the disk, slowly but right.

use std::collections::BinaryHeap;

use serde_json::{Value, json};

use super::{Error, Registry, StoredManifest, objects::Objects};
use crate::{
    lanes::Lane,
    oci::{Digest, Domain, Repository, RepositoryName},
    storage,
};

/// How many names are looked through at a time for those that may be shown.
const SOUGHT: usize = 1000;
/// How many referrers are listed at a time.
const REFERRERS: usize = 500;
/// How many bytes of them: clients read an index as they read any manifest, 4 MiB at most.
const REFERRERS_BYTES: usize = 3 << 20;

/// A page of names, in byte order.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// The names.
    pub names: Vec<String>,
    /// Whether there are more.
    pub more: bool,
}

/// A page of descriptors.
#[derive(Debug)]
pub struct Referrers {
    /// image-spec descriptors, each of a manifest.
    pub descriptors: Vec<Value>,
    /// Where the next page begins: after this digest.
    pub next: Option<Digest>,
}

impl Names {
    /// Makes a page of `limit` names out of one that may hold one more.
    fn new(mut names: Vec<String>, limit: usize) -> Self {
        let more = names.len() > limit;
        names.truncate(limit);
        Self { names, more }
    }

    /// Makes one page of `limit` names out of pages of as many, each from after the same name.
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
    /// The names of repositories of one home that come after `after`; of those that are `shown`, where not all are.
    ///
    /// # Errors
    /// When the work dies.
    pub async fn catalog(
        &self,
        home: Option<&Domain>,
        after: &str,
        limit: usize,
        shown: Option<impl Fn(&RepositoryName) -> bool>,
    ) -> Result<Names, Error> {
        let Some(shown) = shown else { return self.all_repositories(home, after, limit).await };
        let is_shown = |name: &String| name.parse().is_ok_and(|name| shown(&name));
        let (mut found, mut after) = (Vec::new(), after.to_owned());
        // One more than the page holds tells whether there is another page.
        while limit > 0 && found.len() <= limit {
            let page = self.all_repositories(home, &after, limit.max(SOUGHT)).await?;
            let Some(last) = page.names.last().cloned() else { break };
            found.extend(page.names.into_iter().filter(is_shown));
            if !page.more {
                break;
            }
            after = last;
        }
        Ok(Names::new(found, limit))
    }

    async fn all_repositories(&self, home: Option<&Domain>, after: &str, limit: usize) -> Result<Names, Error> {
        if limit == 0 {
            return Ok(Names::new(Vec::new(), 0));
        }
        if let Some(found) = self.objects.index.repositories(home, after, limit.saturating_add(1)) {
            return Ok(Names::new(found.iter().map(ToString::to_string).collect(), limit));
        }
        let (home, after) = (home.cloned(), after.to_owned());
        let walk = move |objects: &Objects| {
            // One of this registry's own that holds nothing any more is not listed, though its name is claimed.
            let listed = |place: Result<Repository, storage::Error>| -> Result<Option<String>, storage::Error> {
                let place = place?;
                let holds = place.domain.is_some() || objects.storage.links(&place).has_revisions()?;
                Ok((place.domain == home && holds).then(|| place.name.to_string()))
            };
            let names = objects.storage.repositories().filter_map(|place| listed(place).transpose());
            first(names, &after, limit.saturating_add(1))
        };
        Ok(Names::new(self.objects.blocking(Lane::List, walk).await??, limit))
    }

    /// The tags of a repository of this registry's own that come after `after`.
    ///
    /// # Errors
    /// [`Error::NameUnknown`].
    pub async fn hosted_tags(&self, repository: &Repository, after: &str, limit: usize) -> Result<Names, Error> {
        if !self.is_claimed(repository).await? {
            return Err(Error::NameUnknown);
        }
        if limit == 0 {
            return Ok(Names::new(Vec::new(), 0));
        }
        if let Some(found) = self.objects.index.tags(repository, after, limit.saturating_add(1)) {
            return Ok(Names::new(found.iter().map(ToString::to_string).collect(), limit));
        }
        let (place, after) = (repository.clone(), after.to_owned());
        let walk = move |objects: &Objects| {
            let links = objects.storage.links(&place);
            let names = links.tags().map(|tagged| tagged.map(|(tag, _)| tag.to_string()));
            first(names, &after, limit.saturating_add(1))
        };
        Ok(Names::new(self.objects.blocking(Lane::List, walk).await??, limit))
    }

    /// What refers to `subject` in a repository of this registry's own; of `artifact_type` only, where one is given. A
    /// subject that is not here may have referrers all the same.
    ///
    /// # Errors
    /// When the work dies.
    pub async fn hosted_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: &str,
    ) -> Result<Referrers, Error> {
        let found = match self.objects.index.referrers(repository, subject, after, REFERRERS + 1) {
            Some(found) => found,
            None => self.referrers_on_disk(repository, *subject, after).await?,
        };
        let (mut descriptors, mut bytes) = (Vec::new(), 0);
        let mut next = None;
        for digest in found.iter().take(REFERRERS) {
            let descriptor = self.manifests.get(digest).await?.map(|manifest| describe(&manifest));
            let is_wanted = |found: &Value| artifact_type.is_none_or(|wanted| found["artifactType"] == wanted);
            if let Some(descriptor) = descriptor.filter(is_wanted) {
                bytes += descriptor.to_string().len();
                if bytes > REFERRERS_BYTES && !descriptors.is_empty() {
                    return Ok(Referrers { descriptors, next });
                }
                descriptors.push(descriptor);
            }
            next = Some(*digest);
        }
        let next = next.filter(|_| found.len() > REFERRERS);
        Ok(Referrers { descriptors, next })
    }

    async fn referrers_on_disk(
        &self,
        repository: &Repository,
        subject: Digest,
        after: &str,
    ) -> Result<Vec<Digest>, Error> {
        let (place, after) = (repository.clone(), after.to_owned());
        let walk = move |objects: &Objects| {
            let refers = |digest: Result<Digest, storage::Error>| -> Result<Option<String>, Error> {
                let digest = digest?;
                let manifest = super::rebuild::read(&objects.storage, &digest)?;
                Ok(manifest.is_some_and(|found| found.subject == Some(subject)).then(|| digest.to_string()))
            };
            let revisions = objects.storage.links(&place).revisions();
            first(revisions.filter_map(|digest| refers(digest).transpose()), &after, REFERRERS + 1)
        };
        let found = self.objects.blocking(Lane::List, walk).await??;
        Ok(found.iter().filter_map(|digest| digest.parse().ok()).collect())
    }
}

/// The first `limit` names after `after`, in byte order, holding no more than that many at a time.
fn first<E>(names: impl Iterator<Item = Result<String, E>>, after: &str, limit: usize) -> Result<Vec<String>, E> {
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

/// distribution-spec, "Listing Referrers": the descriptor of a manifest, with its artifact type and annotations.
fn describe(manifest: &StoredManifest) -> Value {
    let document: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
    let mut descriptor = json!({
        "mediaType": manifest.media_type().as_str(),
        "digest": manifest.digest.to_string(),
        "size": manifest.bytes.len(),
    });
    let own = document["artifactType"].as_str().filter(|own| !own.is_empty());
    if let Some(artifact_type) = own.or(document["config"]["mediaType"].as_str()) {
        descriptor["artifactType"] = artifact_type.into();
    }
    if document["annotations"].is_object() {
        descriptor["annotations"] = document["annotations"].clone();
    }
    descriptor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_two_registries_are_one() {
        let page = |names: &[&str], more| Names { names: names.iter().map(ToString::to_string).collect(), more };
        assert_eq!(
            Names::merged(vec![page(&["b", "d"], false), page(&["a", "b"], false)], 3),
            page(&["a", "b", "d"], false)
        );
        assert_eq!(Names::merged(vec![page(&["b", "d"], false), page(&["a", "c"], true)], 2), page(&["a", "b"], true));
        assert_eq!(Names::merged(vec![page(&["b", "d"], false), page(&[], false)], 1), page(&["b"], true));
        assert_eq!(Names::merged(vec![page(&["a"], true), page(&["a"], false)], 1), page(&["a"], true));
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
