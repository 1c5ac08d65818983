//! Plans the removals of retention in one repository, and removes nothing.
//!
//! Rules decide about tags; `needs.rs` finds the manifests that go with them. A tag that attaches something to another
//! manifest, as cosign and the referrers tag schema of the distribution-spec name them (`sha256-<hex>.sig`), is no
//! build: it stays as long as that manifest.

use std::time::SystemTime;

use super::{
    needs::{AttachedTag, ExpiredTag, Group, Needs, RepositoryManifests},
    rules::{Decision, TagTimes, decide},
};
use crate::{
    config::RetentionRule,
    oci::{Digest, ImagePatterns, Reference, Repository, Tag},
    registry::{
        Error,
        store::{blob_store::BlockingStore, pull_notes::NOTE_INTERVAL, stored_manifests},
    },
    storage::{DurableStore, LinkKind},
};

/// The plan for one repository.
#[derive(Debug, Default)]
pub(super) struct RetentionPlan {
    pub(super) groups: Vec<Group>,
    /// The number of tags that some rule matches and that stay.
    pub(super) kept: u64,
    /// Tags that would go, but are in use.
    pub(super) in_use: Vec<ExpiredTag>,
    /// True if nothing is known about the repository's needs, since something in it cannot be read.
    pub(super) unreadable: bool,
}

/// The tags that go, and the manifests that other tags name.
#[derive(Default)]
struct Selection {
    plan: RetentionPlan,
    expired: Vec<ExpiredTag>,
    staying: Vec<Digest>,
}

/// The facts that a plan depends on.
pub(super) struct Planning<'a> {
    pub(super) store: &'a BlockingStore<'a>,
    /// Each with its place in the list.
    pub(super) rules: &'a [(usize, &'a RetentionRule)],
    pub(super) immutable: &'a ImagePatterns,
    pub(super) now: SystemTime,
    /// The time since which every pull was noted.
    pub(super) noted_since: SystemTime,
}

impl Planning<'_> {
    /// Plans for a repository. `is_used` says which manifests a client relies on.
    ///
    /// # Errors
    /// [`Error::Storage`] if the repository cannot be read.
    pub(super) fn plan(
        &self,
        repository: &Repository,
        is_used: impl Fn(&Digest) -> bool,
    ) -> Result<RetentionPlan, Error> {
        let disk = self.store.disk;
        let mut tagged = Vec::new();
        for tag in disk.tags(repository) {
            let (tag, Some(digest)) = tag? else { return Ok(unreadable(repository)) };
            tagged.push((tag, digest));
        }
        let mut manifests = RepositoryManifests::new();
        for digest in disk.linked(repository, LinkKind::Revision) {
            let digest = digest?;
            manifests.insert(digest, stored_manifests::read(disk, &digest)?);
        }
        let times = tagged.into_iter().map(|(tag, digest)| self.times(repository, tag, digest, &manifests));
        let times: Vec<_> = times.collect::<Result<_, _>>()?;
        let (attached, times) = split_attached(times, &manifests);
        let never = attached.iter().map(|tag| &tag.times);
        let never =
            never.filter(|times| self.immutable.matches(&repository.name, &times.tag)).map(|times| times.digest);
        let mut selection = self.select(repository, &times, &is_used);
        selection.staying.extend(never);
        let Selection { plan, expired, staying } = selection;
        if expired.is_empty() {
            return Ok(plan);
        }
        match Needs::new(&manifests, &attached).groups(expired, &staying, is_used) {
            Some(groups) => Ok(RetentionPlan { groups, ..plan }),
            None => Ok(unreadable(repository)),
        }
    }

    /// Selects the tags that go.
    fn select(&self, repository: &Repository, all: &[TagTimes], is_used: impl Fn(&Digest) -> bool) -> Selection {
        let mut selection = Selection::default();
        for (times, decision) in all.iter().zip(decide(self.rules, all, self.now)) {
            match decision {
                Decision::Expired(rules) if !self.immutable.matches(&repository.name, &times.tag) => {
                    let tag = ExpiredTag { times: times.clone(), rules };
                    if !is_used(&times.digest) {
                        selection.expired.push(tag);
                        continue;
                    }
                    selection.plan.in_use.push(tag);
                }
                Decision::Unmatched => {}
                _ => selection.plan.kept += 1,
            }
            selection.staying.push(times.digest);
        }
        selection
    }

    fn times(
        &self,
        repository: &Repository,
        tag: Tag,
        digest: Digest,
        manifests: &RepositoryManifests,
    ) -> Result<TagTimes, Error> {
        // Only a tag that is being set anew has no time here: it was pushed just now.
        let pushed = self.store.disk.tag_time(repository, &tag)?.unwrap_or(self.now);
        let by_tag = self.pulled(repository, &Reference::Tag(tag.clone()));
        let children = manifests.get(&digest).and_then(Option::as_ref).into_iter().flat_map(|index| &index.manifests);
        let named = std::iter::once(digest).chain(children.map(|child| child.digest));
        let by_digest = named.filter(|digest| manifests.contains_key(digest));
        let by_digest = by_digest.filter_map(|digest| self.pulled(repository, &Reference::Digest(digest)));
        // It was not pulled before it was pushed, but nobody knows about the time before pulls were noted. The note of
        // a pull may have gone with a tag that was deleted and pushed again, and the next note comes a day later.
        let since = (pushed.max(self.noted_since) + NOTE_INTERVAL).min(self.now);
        let pulled = by_digest.chain(by_tag).fold(since, SystemTime::max);
        Ok(TagTimes { tag, digest, pushed, pulled })
    }

    /// Returns the last time at which something may have been pulled, as far as a note says; an unreadable note counts
    /// as a pull just now.
    fn pulled(&self, repository: &Repository, pulled: &Reference) -> Option<SystemTime> {
        match self.store.disk.noted_pull(repository, pulled) {
            Ok(noted) => noted.map(|noted| noted.min(self.now) + NOTE_INTERVAL),
            Err(error) => {
                tracing::warn!(%repository, %pulled, %error, "note of the last pull unreadable; it counts as pulled just now");
                Some(self.now)
            }
        }
    }
}

/// Separates the tags that are attached to a manifest of the repository.
fn split_attached(times: Vec<TagTimes>, manifests: &RepositoryManifests) -> (Vec<AttachedTag>, Vec<TagTimes>) {
    let (mut attached, mut others) = (Vec::new(), Vec::new());
    for times in times {
        match subject_of(&times.tag).filter(|subject| manifests.contains_key(subject)) {
            Some(subject) => attached.push(AttachedTag { times, subject }),
            None => others.push(times),
        }
    }
    (attached, others)
}

/// Returns the manifest that a tag attaches something to, by its name.
fn subject_of(tag: &Tag) -> Option<Digest> {
    let (algorithm, rest) = tag.as_str().split_once('-')?;
    let hex = rest.split_once('.').map_or(rest, |(hex, _)| hex);
    format!("{algorithm}:{hex}").parse().ok()
}

fn unreadable(repository: &Repository) -> RetentionPlan {
    tracing::warn!(%repository, "unreadable manifest, or a tag without one; retention removes nothing of the repository");
    RetentionPlan { unreadable: true, ..RetentionPlan::default() }
}
