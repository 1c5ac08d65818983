//! Carries out retention beside pushes and pulls.
//!
//! Content that a push may be about to name stays: a tag and its manifests are removed together, and only if no
//! manifest was pushed to the repository since the plan was made and none of these manifests is in use (`gc_guard.rs`).
//! The deletions are those of a client's DELETE. The same code runs on a volume that no server has open.

use std::time::{Duration, SystemTime};

use super::{
    needs::{ExpiredTag, Group},
    plan::{Planning, RetentionPlan},
};
use crate::{
    config::RetentionRule,
    metrics::{self, MaintenanceEvent},
    oci::{Digest, ImagePatterns, Reference, Repository, Tag},
    registry::{
        Error, Mode, ProgressCallback,
        store::{
            blob_store::BlockingStore,
            gc_guard::{Recent, RemovalOutcome},
            links,
        },
    },
    storage::{DurableStore, LinkKind},
};

/// Attempts to carry out a plan for a repository that is pushed to meanwhile, and the pause between them.
const MAX_ATTEMPTS: usize = 5;
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// One run of retention.
#[derive(Clone, Copy, Debug)]
pub struct RetentionRun<'a> {
    /// The rules.
    pub rules: &'a [RetentionRule],
    /// The tags that never go.
    pub immutable: &'a ImagePatterns,
    /// The mode.
    pub mode: Mode,
    /// The time for which content stays after it was last uploaded, mounted or found by a HEAD.
    pub grace: Duration,
    /// The time of the run.
    pub now: SystemTime,
}

/// A tag that no rule keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its repository.
    pub repository: Repository,
    /// The tag.
    pub tag: Tag,
    /// The manifest that it named.
    pub digest: Digest,
    /// Its last push.
    pub pushed: SystemTime,
    /// The last time at which it may have been pulled.
    pub pulled: SystemTime,
    /// The rules that match it, by their place in the list; none if it goes with the manifest that it is attached to.
    pub rules: Vec<usize>,
    /// True if it stays this time, because it is in use.
    pub in_use: bool,
}

/// An event of a run, passed to the progress callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetentionEvent {
    /// A repository was processed.
    Repository,
    /// A tag was removed, or would be.
    Tag(Expiry),
    /// A manifest was removed from its repository, or would be.
    Manifest(Repository, Digest),
}

/// The totals of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Tags removed.
    pub tags: u64,
    /// Manifests removed from their repositories.
    pub manifests: u64,
    /// Tags that some rule matches and that stay.
    pub kept: u64,
    /// Tags that no rule keeps and that stay this time, because they are in use.
    pub in_use: u64,
    /// Repositories of which nothing was removed, because something in them cannot be read.
    pub unreadable: u64,
}

struct Runner<'a> {
    store: &'a BlockingStore<'a>,
    run: RetentionRun<'a>,
    recent: Recent,
    noted_since: SystemTime,
    retained: Retained,
    on_event: ProgressCallback<'a, RetentionEvent>,
}

impl RetentionRun<'_> {
    /// Removes what the rules do not keep. Blocks until it is done.
    ///
    /// # Errors
    /// [`Error::UnderWay`] while garbage is collected or another run is under way, [`Error::Cancelled`] if `on_event`
    /// cancels this one, [`Error::Storage`] if the disk fails. Removals made before that remain.
    pub(in crate::registry) fn run(
        self,
        store: &BlockingStore<'_>,
        on_event: ProgressCallback<'_, RetentionEvent>,
    ) -> Result<Retained, Error> {
        let under_way = store.protection.gc_guard.collect(self.grace).ok_or(Error::UnderWay)?;
        let mut runner = Runner {
            store,
            run: self,
            recent: under_way.recent,
            noted_since: store.pulls_noted_since(self.now),
            retained: Retained::default(),
            on_event,
        };
        for repository in store.disk.repositories() {
            runner.repository(&repository?)?;
            runner.report(RetentionEvent::Repository)?;
        }
        if !self.mode.is_dry() {
            store.volume.metrics.found(MaintenanceEvent::RetentionEnded { kept: runner.retained.kept });
        }
        Ok(runner.retained)
    }
}

impl Runner<'_> {
    fn report(&mut self, event: RetentionEvent) -> Result<(), Error> {
        if (self.on_event)(event).is_break() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Plans and removes, and plans anew if something came in between.
    fn repository(&mut self, repository: &Repository) -> Result<(), Error> {
        let rules = self.run.rules.iter().enumerate().filter(|(_, rule)| rule.matches_repository(repository));
        let rules: Vec<_> = rules.collect();
        if rules.is_empty() {
            return Ok(());
        }
        for attempt in 1.. {
            let recent = self.recent.planned_now();
            let plan = self.plan(repository, &rules, recent)?;
            let left = self.remove(repository, plan.groups.as_slice(), recent)?;
            if left == 0 || attempt == MAX_ATTEMPTS {
                self.finish(repository, plan, left)?;
                break;
            }
            std::thread::sleep(RETRY_DELAY);
        }
        Ok(())
    }

    fn plan(
        &self,
        repository: &Repository,
        rules: &[(usize, &RetentionRule)],
        recent: Recent,
    ) -> Result<RetentionPlan, Error> {
        let RetentionRun { immutable, now, .. } = self.run;
        let planning = Planning { store: self.store, rules, immutable, now, noted_since: self.noted_since };
        planning.plan(repository, |digest| self.store.protection.gc_guard.is_protected(repository, digest, recent))
    }

    /// Adds what stays by the last plan. `left` is the number of tags that it removes and that are in use by now.
    fn finish(&mut self, repository: &Repository, plan: RetentionPlan, left: u64) -> Result<(), Error> {
        self.retained.kept += plan.kept;
        self.retained.unreadable += u64::from(plan.unreadable);
        self.retained.in_use += plan.in_use.len() as u64 + left;
        plan.in_use.into_iter().try_for_each(|tag| self.report(event(repository, tag, true)))
    }

    /// Removes groups until one is in use or the plan is outdated. Returns the number of tags that are left.
    fn remove(&mut self, repository: &Repository, groups: &[Group], recent: Recent) -> Result<u64, Error> {
        for (done, group) in groups.iter().enumerate() {
            if !self.remove_group(repository, group, recent)? {
                return Ok(groups[done..].iter().map(|group| group.tags.len() as u64).sum());
            }
            for tag in &group.tags {
                self.retained.tags += 1;
                self.report(event(repository, tag.clone(), false))?;
            }
            for (digest, _) in &group.manifests {
                self.retained.manifests += 1;
                self.report(RetentionEvent::Manifest(repository.clone(), *digest))?;
            }
        }
        Ok(0)
    }

    /// Removes a group as a whole. Returns `false` if it stays, because something of it is in use or the plan is
    /// outdated.
    fn remove_group(&self, repository: &Repository, group: &Group, recent: Recent) -> Result<bool, Error> {
        if self.run.mode.is_dry() {
            return Ok(true);
        }
        let store = self.store;
        let _repository = store.protection.locks.repository(repository);
        if self.is_pulled_since(repository, group) {
            return Ok(false);
        }
        let mut removals = Vec::new();
        let tagged = group.tags.iter().map(|tag| &tag.times.digest);
        for digest in tagged.chain(group.manifests.iter().map(|(digest, _)| digest)) {
            match store.protection.gc_guard.begin_removal(Some(repository), digest, recent) {
                RemovalOutcome::Removed(removal) => removals.push(removal),
                RemovalOutcome::InUse | RemovalOutcome::Outdated => return Ok(false),
            }
        }
        group.tags.iter().try_for_each(|tag| self.remove_tag(repository, tag))?;
        group.manifests.iter().try_for_each(|(digest, subject)| self.remove_manifest(repository, digest, *subject))?;
        Ok(true)
    }

    /// Returns whether something of a group was pulled since the run began, and a rule asks for that. A pull takes no
    /// guard. A note that cannot be read counts as a pull.
    fn is_pulled_since(&self, repository: &Repository, group: &Group) -> bool {
        let is_later = |named: Reference| {
            let noted = self.store.disk.noted_pull(repository, &named);
            noted.map_or(true, |noted| noted.is_some_and(|noted| noted > self.run.now))
        };
        let tags = group.tags.iter().map(|tag| Reference::Tag(tag.times.tag.clone()));
        let manifests = group.manifests.iter().map(|(digest, _)| Reference::Digest(*digest));
        self.run.rules.iter().any(|rule| rule.pulled.is_some()) && tags.chain(manifests).any(is_later)
    }

    fn remove_tag(&self, repository: &Repository, expired: &ExpiredTag) -> Result<(), Error> {
        let (tag, digest) = (&expired.times.tag, &expired.times.digest);
        // A client may have deleted it since the plan was made.
        if links::tag_names(self.store.disk, repository, tag, digest)? {
            self.store.delete_tag(repository, tag)?;
            self.count(metrics::RetentionKind::Tag);
            let rules = self.written(&expired.rules);
            tracing::info!(
                target: "audit", who = "retention", action = "delete", repository = %repository, reference = %tag,
                digest = %digest, decision = "allowed", rule = rules,
            );
        }
        Ok(())
    }

    fn remove_manifest(&self, repository: &Repository, digest: &Digest, subject: Option<Digest>) -> Result<(), Error> {
        if self.store.disk.has_link(repository, LinkKind::Revision, digest)? {
            self.store.delete_manifest(repository, &[], digest, subject.as_ref())?;
            self.count(metrics::RetentionKind::Manifest);
            tracing::info!(
                target: "audit", who = "retention", action = "delete", repository = %repository, reference = %digest,
                digest = %digest, decision = "allowed", rule = "no tag needs it any more",
            );
        }
        Ok(())
    }

    fn count(&self, kind: metrics::RetentionKind) {
        self.store.volume.metrics.found(MaintenanceEvent::Expired(kind));
    }

    fn written(&self, rules: &[usize]) -> String {
        let written = rules.iter().filter_map(|place| self.run.rules.get(*place).map(|rule| (place + 1, rule)));
        let written: Vec<_> = written.map(|(number, rule)| format!("retention {number} ({rule})")).collect();
        if written.is_empty() { "it goes with its subject".to_owned() } else { written.join(", ") }
    }
}

fn event(repository: &Repository, tag: ExpiredTag, in_use: bool) -> RetentionEvent {
    let ExpiredTag { times, rules } = tag;
    let repository = repository.clone();
    RetentionEvent::Tag(Expiry {
        repository,
        tag: times.tag,
        digest: times.digest,
        pushed: times.pushed,
        pulled: times.pulled,
        rules,
        in_use,
    })
}

#[cfg(test)]
mod tests;
