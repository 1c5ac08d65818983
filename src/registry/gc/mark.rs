//! The mark phase of garbage collection: plans the removals in one repository, and removes nothing.
//!
//! Reachable are tagged manifests, children of reachable indexes, referrers of reachable subjects, and manifests in
//! use. A child of an index that is no manifest is a blob: BuildKit's caches are such indexes.

use std::collections::{HashMap, HashSet};

use crate::{
    oci::{Digest, Manifest, Repository, Tag},
    registry::{Error, store::stored_manifests},
    storage::{Disk, DurableStore, LinkKind},
};

/// The planned removals of one repository, in their order (law 2 of ARCHITECTURE.md).
#[derive(Debug, Default)]
pub(in crate::registry) struct GcPlan {
    /// Manifests that tags named before and that are unreachable now.
    pub(in crate::registry) previous_tags: Vec<(Tag, Digest)>,
    /// Unreachable manifests, each with its subject.
    pub(in crate::registry) manifests: Vec<(Digest, Option<Digest>)>,
    /// Blobs that no remaining manifest names.
    pub(in crate::registry) layers: Vec<Digest>,
    /// The remaining manifests, and everything they name.
    pub(in crate::registry) named: HashSet<Digest>,
    /// Set if some of them remain only because they are in use.
    pub(in crate::registry) keeps_used: bool,
}

/// The manifests of a repository; `None` for an unreadable one.
type RepositoryManifests = HashMap<Digest, Option<Manifest>>;

impl GcPlan {
    /// Plans from all manifests of a repository. With `untagged`, manifests that no tag reaches are removed, unless
    /// they are in use.
    ///
    /// # Errors
    /// [`Error::Storage`] if the repository cannot be read.
    pub(in crate::registry) fn make(
        disk: Disk<'_>,
        repository: &Repository,
        untagged: bool,
        is_used: impl Fn(&Digest) -> bool,
    ) -> Result<Self, Error> {
        let mut manifests = RepositoryManifests::new();
        for digest in disk.linked(repository, LinkKind::Revision) {
            let digest = digest?;
            manifests.insert(digest, stored_manifests::read(disk, &digest)?);
        }
        let kept = match untagged {
            true => reachable(disk, repository, &manifests)?.map(|tagged| with_used(tagged, &manifests, is_used)),
            false => Some((manifests.keys().copied().collect(), false)),
        };
        let unread =
            |manifest: &Option<Manifest>| manifest.as_ref().is_none_or(|manifest| manifest.malformed.is_some());
        let is_unread = |kept: &HashSet<Digest>| {
            manifests.iter().any(|(digest, manifest)| unread(manifest) && kept.contains(digest))
        };
        let Some((kept, keeps_used)) = kept.filter(|(kept, _)| !is_unread(kept)) else {
            // Its children are unknown, so nothing in the repository is removed.
            tracing::warn!(%repository, "unreadable manifest, or a tag without one; nothing of the repository is collected");
            let named = manifests
                .keys()
                .copied()
                .map(Ok)
                .chain(disk.linked(repository, LinkKind::Layer))
                .collect::<Result<_, _>>()?;
            return Ok(Self { named, ..Self::default() });
        };
        let mut plan = Self { keeps_used, ..Self::default() };
        for (digest, manifest) in &manifests {
            if kept.contains(digest) {
                plan.named.insert(*digest);
                plan.named.extend(manifest.iter().flat_map(Manifest::children).map(|child| child.digest));
            } else {
                plan.manifests.push((*digest, manifest.as_ref().and_then(|manifest| manifest.subject)));
            }
        }
        for layer in disk.linked(repository, LinkKind::Layer) {
            let layer = layer?;
            if !plan.named.contains(&layer) {
                plan.layers.push(layer);
            }
        }
        for previous_tags in disk.links(repository).previous_tags() {
            let (tag, digest) = previous_tags?;
            if !kept.contains(&digest) {
                plan.previous_tags.push((tag, digest));
            }
        }
        Ok(plan)
    }
}

/// Manifests that remain, with everything that they lead to.
struct ReachableManifests<'a> {
    manifests: &'a RepositoryManifests,
    referrers: HashMap<Digest, Vec<Digest>>,
    kept: HashSet<Digest>,
}

impl<'a> ReachableManifests<'a> {
    fn new(manifests: &'a RepositoryManifests) -> Self {
        let mut referrers: HashMap<Digest, Vec<Digest>> = HashMap::new();
        for (digest, manifest) in manifests {
            if let Some(subject) = manifest.as_ref().and_then(|manifest| manifest.subject) {
                referrers.entry(subject).or_default().push(*digest);
            }
        }
        Self { manifests, referrers, kept: HashSet::new() }
    }

    /// Adds a manifest, the manifests that it lists, and those that refer to any of them.
    fn add(&mut self, digest: Digest) {
        let mut waiting = vec![digest];
        while let Some(digest) = waiting.pop() {
            if self.kept.insert(digest) {
                let manifest = self.manifests.get(&digest).and_then(Option::as_ref);
                waiting.extend(manifest.iter().flat_map(|manifest| &manifest.manifests).map(|child| child.digest));
                waiting.extend(self.referrers.get(&digest).into_iter().flatten());
            }
        }
    }
}

/// Returns what the tags reach; `None` if a tag's link is damaged, so that its manifest is unknown.
fn reachable<'a>(
    disk: impl DurableStore,
    repository: &Repository,
    manifests: &'a RepositoryManifests,
) -> Result<Option<ReachableManifests<'a>>, Error> {
    let mut reached = ReachableManifests::new(manifests);
    for tagged in disk.tags(repository) {
        let (_, Some(digest)) = tagged? else { return Ok(None) };
        reached.add(digest);
    }
    Ok(Some(reached))
}

/// Adds the manifests in use; returns all that remain, and whether that added any.
fn with_used(
    mut reached: ReachableManifests<'_>,
    manifests: &RepositoryManifests,
    is_used: impl Fn(&Digest) -> bool,
) -> (HashSet<Digest>, bool) {
    let used: Vec<_> =
        manifests.keys().filter(|digest| !reached.kept.contains(*digest) && is_used(digest)).copied().collect();
    let any = !used.is_empty();
    used.into_iter().for_each(|digest| reached.add(digest));
    (reached.kept, any)
}
