//! The needs of the manifests of one repository: what goes with a tag, and what must stay.
//!
//! With a tag go the manifest that it names, the manifests that this one lists, and what refers to any of them, but
//! nothing that something else needs. What stays needs the manifests that it lists, its subject, and what refers to it.
//! A manifest that none of the tags reaches stays: those without any tag are for `gc.untagged`.

use std::collections::{HashMap, HashSet};

use super::rules::TagTimes;
use crate::oci::{Digest, Manifest};

/// The manifests of a repository; `None` for an unreadable one.
pub(super) type RepositoryManifests = HashMap<Digest, Option<Manifest>>;

/// A tag whose manifest is attached to another one.
#[derive(Clone, Debug)]
pub(super) struct AttachedTag {
    pub(super) times: TagTimes,
    pub(super) subject: Digest,
}

/// A tag that goes.
#[derive(Clone, Debug)]
pub(super) struct ExpiredTag {
    pub(super) times: TagTimes,
    /// The rules that match it, by their place in the list; none if it goes with the manifest that it is attached to.
    pub(super) rules: Vec<usize>,
}

/// Content that is removed together or not at all: the tags of one manifest, then the manifests that go with them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) tags: Vec<ExpiredTag>,
    /// Each with its subject. The one that the tags name comes first.
    pub(super) manifests: Vec<(Digest, Option<Digest>)>,
}

/// The manifests of a repository, and what refers to what.
pub(super) struct Needs<'a> {
    manifests: &'a RepositoryManifests,
    attached: &'a [AttachedTag],
    /// The subjects of each manifest, and the other way around.
    subjects: HashMap<Digest, Vec<Digest>>,
    referrers: HashMap<Digest, Vec<Digest>>,
}

impl<'a> Needs<'a> {
    pub(super) fn new(manifests: &'a RepositoryManifests, attached: &'a [AttachedTag]) -> Self {
        let (mut subjects, mut referrers) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        let own = manifests.iter().filter_map(|(digest, manifest)| Some((*digest, manifest.as_ref()?.subject?)));
        for (digest, subject) in own.chain(attached.iter().map(|tag| (tag.times.digest, tag.subject))) {
            subjects.entry(digest).or_default().push(subject);
            referrers.entry(subject).or_default().push(digest);
        }
        Self { manifests, attached, subjects, referrers }
    }

    /// Returns what goes with these tags. `staying` are the manifests that other tags name, but attached ones. `None`
    /// if a manifest that stays cannot be read, so that its needs are unknown.
    pub(super) fn groups(
        &self,
        expired: Vec<ExpiredTag>,
        staying: &[Digest],
        is_used: impl Fn(&Digest) -> bool,
    ) -> Option<Vec<Group>> {
        let mut candidates = HashSet::new();
        self.reach(&mut candidates, expired.iter().map(|tag| tag.times.digest), false);
        let others = self.manifests.keys().filter(|digest| !candidates.contains(*digest) || is_used(digest));
        let mut kept = HashSet::new();
        self.reach(&mut kept, staying.iter().chain(others).copied(), true);
        let is_unread = |digest: &Digest| self.manifest(digest).is_none_or(|manifest| manifest.malformed.is_some());
        if kept.iter().any(is_unread) { None } else { Some(self.divide(expired, kept)) }
    }

    fn manifest(&self, digest: &Digest) -> Option<&Manifest> {
        self.manifests.get(digest).and_then(Option::as_ref)
    }

    /// Adds manifests, those that they list, and those that refer to any of them; with `subjects`, also those that they
    /// refer to. Returns what is new.
    fn reach(
        &self,
        into: &mut HashSet<Digest>,
        roots: impl IntoIterator<Item = Digest>,
        subjects: bool,
    ) -> Vec<Digest> {
        let (mut waiting, mut found): (Vec<Digest>, Vec<Digest>) = (roots.into_iter().collect(), Vec::new());
        while let Some(digest) = waiting.pop() {
            if !self.manifests.contains_key(&digest) || !into.insert(digest) {
                continue;
            }
            found.push(digest);
            let listed = self.manifest(&digest).into_iter().flat_map(|index| &index.manifests);
            waiting.extend(listed.map(|child| child.digest));
            waiting.extend(self.referrers.get(&digest).into_iter().flatten());
            waiting.extend(self.subjects.get(&digest).into_iter().flatten().filter(|_| subjects));
        }
        found
    }

    /// Divides the tags by the manifest that they name. A manifest that several of these need goes with the last one.
    fn divide(&self, expired: Vec<ExpiredTag>, kept: HashSet<Digest>) -> Vec<Group> {
        let mut by_manifest: Vec<(Digest, Vec<ExpiredTag>)> = Vec::new();
        let mut places: HashMap<Digest, usize> = HashMap::new();
        for tag in expired {
            let digest = tag.times.digest;
            let place = *places.entry(digest).or_insert_with(|| {
                by_manifest.push((digest, Vec::new()));
                by_manifest.len() - 1
            });
            by_manifest[place].1.push(tag);
        }
        // From the last to the first, so that the last one takes what it shares with others.
        let mut taken = kept;
        let with_manifests = by_manifest.into_iter().rev().map(|(root, tags)| {
            let found = self.reach(&mut taken, [root], false);
            self.group(tags, &found)
        });
        let mut groups: Vec<_> = with_manifests.collect();
        groups.reverse();
        groups
    }

    /// Adds the tags that are attached to one of the manifests.
    fn group(&self, mut tags: Vec<ExpiredTag>, found: &[Digest]) -> Group {
        let attached = self.attached.iter().filter(|tag| found.contains(&tag.subject));
        tags.extend(attached.map(|tag| ExpiredTag { times: tag.times.clone(), rules: Vec::new() }));
        let subject = |digest: &Digest| self.manifest(digest).and_then(|manifest| manifest.subject);
        Group { tags, manifests: found.iter().map(|digest| (*digest, subject(digest))).collect() }
    }
}

#[cfg(test)]
mod tests;
