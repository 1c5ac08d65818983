//! What the tags of one repository reach, and what of it nothing reaches: a plan that removes nothing by itself.
//!
//! Reachable is what is tagged, a child of a reachable index, a referrer of a reachable subject, or was just asked
//! for. What an index lists that is no manifest is a blob: BuildKit's caches are such indexes.

use std::collections::{HashMap, HashSet};

use crate::{
    oci::{Digest, Manifest, Repository, Tag},
    registry::{Error, store::stored_manifests},
    storage::{RepositoryLinks, Storage},
};

/// What may go, in the order in which it must (law 2).
#[derive(Debug, Default)]
pub(in crate::registry) struct Plan {
    /// What tags named before, and nothing reaches now.
    pub(in crate::registry) previous_tags: Vec<(Tag, Digest)>,
    /// Manifests that nothing reaches, each with its subject.
    pub(in crate::registry) manifests: Vec<(Digest, Option<Digest>)>,
    /// Blobs that no manifest that stays names.
    pub(in crate::registry) layers: Vec<Digest>,
    /// All that the manifests that stay name, and they themselves.
    pub(in crate::registry) named: HashSet<Digest>,
}

/// The manifests of a repository; `None` for what cannot be read.
type Manifests = HashMap<Digest, Option<Manifest>>;

impl Plan {
    /// Reads all manifests of a repository. With `untagged`, those that no tag reaches may go, unless they were asked
    /// for.
    ///
    /// # Errors
    /// When it cannot be known what the repository holds.
    pub(in crate::registry) fn make(
        storage: &Storage,
        repository: &Repository,
        untagged: bool,
        was_asked_for: impl Fn(&Digest) -> bool,
    ) -> Result<Self, Error> {
        let links = storage.links(repository);
        let mut manifests = Manifests::new();
        for digest in links.revisions() {
            let digest = digest?;
            manifests.insert(digest, stored_manifests::read(storage, &digest)?);
        }
        let kept = match untagged {
            true => reachable(&links, &manifests, was_asked_for)?,
            false => Some(manifests.keys().copied().collect()),
        };
        let unread =
            |manifest: &Option<Manifest>| manifest.as_ref().is_none_or(|manifest| manifest.malformed.is_some());
        let is_unread = |kept: &HashSet<Digest>| {
            manifests.iter().any(|(digest, manifest)| unread(manifest) && kept.contains(digest))
        };
        let Some(kept) = kept.filter(|kept| !is_unread(kept)) else {
            // Not all that it names is known: nothing here is given up for it.
            tracing::warn!(
                "{repository} has a manifest that cannot be read, or a tag that names none: nothing is taken from this \
                 repository"
            );
            let named = manifests.keys().copied().map(Ok).chain(links.layers()).collect::<Result<_, _>>()?;
            return Ok(Self { named, ..Self::default() });
        };
        let mut plan = Self::default();
        for (digest, manifest) in &manifests {
            if kept.contains(digest) {
                plan.named.insert(*digest);
                plan.named.extend(manifest.iter().flat_map(Manifest::children).map(|child| child.digest));
            } else {
                plan.manifests.push((*digest, manifest.as_ref().and_then(|manifest| manifest.subject)));
            }
        }
        for layer in links.layers() {
            let layer = layer?;
            if !plan.named.contains(&layer) {
                plan.layers.push(layer);
            }
        }
        for previous_tags in links.previous_tags() {
            let (tag, digest) = previous_tags?;
            if !kept.contains(&digest) {
                plan.previous_tags.push((tag, digest));
            }
        }
        Ok(plan)
    }

    /// Whether nothing is to be done.
    pub(in crate::registry) fn is_empty(&self) -> bool {
        self.previous_tags.is_empty() && self.manifests.is_empty() && self.layers.is_empty()
    }
}

/// What stays; `None` where a tag's link is damaged, so that what it names is not known.
fn reachable(
    links: &RepositoryLinks,
    manifests: &Manifests,
    was_asked_for: impl Fn(&Digest) -> bool,
) -> Result<Option<HashSet<Digest>>, Error> {
    let mut referrers: HashMap<Digest, Vec<Digest>> = HashMap::new();
    for (digest, manifest) in manifests {
        if let Some(subject) = manifest.as_ref().and_then(|manifest| manifest.subject) {
            referrers.entry(subject).or_default().push(*digest);
        }
    }
    let asked_for = manifests.keys().copied().filter(|digest| was_asked_for(digest));
    let mut waiting: Vec<Digest> = asked_for.collect();
    for tagged in links.tags() {
        let (_, Some(digest)) = tagged? else { return Ok(None) };
        waiting.push(digest);
    }
    let mut kept = HashSet::new();
    while let Some(digest) = waiting.pop() {
        if kept.insert(digest) {
            let manifest = manifests.get(&digest).and_then(Option::as_ref);
            waiting.extend(manifest.iter().flat_map(|manifest| &manifest.manifests).map(|child| child.digest));
            waiting.extend(referrers.get(&digest).into_iter().flatten());
        }
    }
    Ok(Some(kept))
}
