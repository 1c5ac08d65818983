//! Whose a name is. It is the Hub's, as far as requests without `ns` are concerned, until the first manifest that is pushed
//! under it claims it for this registry; and that needs the Hub's word that it has no such repository.
//!
//! The claim and the Hub's word lie on disk (`storage::Claim`) and are final: what somebody registers on the Hub later changes
//! nothing here. A name that was claimed while the Hub could not be asked is asked about later; a conflict is told, and left to
//! the operator.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use super::{
    Error, Registry,
    blob_store::BlobStore,
    resolve::{TAKEN, not_ours},
    single_flight::SingleFlight,
    upstream_health::UpstreamHealth,
};
use crate::{
    config::Unproven,
    lanes::Lane,
    oci::{Domain, Repository, RepositoryName},
    storage::{Claim, Verdict},
    upstream,
};

/// How long a push waits for the upstream's answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many names the upstream is asked about at once: pulls go to it, too.
const AT_ONCE: usize = 8;
/// How many names' answers are remembered, and for how long.
const REMEMBERED: (u64, Duration) = (10_000, Duration::from_secs(600));
/// How long it is remembered that there was no answer; clients are told to come again after that.
const UNANSWERED: Duration = Duration::from_secs(10);
/// Between two questions about names that were claimed unproven.
const BETWEEN: Duration = Duration::from_millis(50);
/// The query that lists one tag: it asks whether there is such a repository, and upstreams do not count it.
const ONE_TAG: &str = "n=1";

/// What an upstream said of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Present,
    Absent,
    /// It said nothing that helps.
    Unknown,
}

/// What was asked of names that nobody has claimed.
#[derive(Debug)]
pub(super) struct Questions {
    under_way: SingleFlight<RepositoryName, Presence>,
    answers: Cache<RepositoryName, (Presence, Instant)>,
    turns: Arc<Semaphore>,
}

impl Questions {
    pub(super) fn new(tasks: Handle) -> Self {
        let answers = Cache::builder().max_capacity(REMEMBERED.0).time_to_live(REMEMBERED.1).build();
        Self { under_way: SingleFlight::new(tasks), answers, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    fn answer(&self, name: &RepositoryName) -> Option<Presence> {
        let (presence, at) = self.answers.get(name)?;
        (presence != Presence::Unknown || at.elapsed() < UNANSWERED).then_some(presence)
    }

    fn forget(&self, name: &RepositoryName) {
        self.answers.invalidate(name);
    }

    /// Asks, and remembers the answer. Whose turn does not come in time hears none, and may ask again.
    fn question(
        &self,
        mirror: &UpstreamHealth,
        name: &RepositoryName,
    ) -> impl Future<Output = Presence> + Send + 'static {
        let (mirror, name, answers) = (mirror.clone(), name.clone(), self.answers.clone());
        let turns = Arc::clone(&self.turns);
        async move {
            let Ok(Ok(_turn)) = timeout(PATIENCE, turns.acquire_owned()).await else { return Presence::Unknown };
            let presence = presence(&mirror, &name).await;
            answers.insert(name, (presence, Instant::now()));
            presence
        }
    }
}

/// Asks an upstream whether it has a repository. One that exists for others only counts as none: it is not mirrored here.
async fn presence(mirror: &UpstreamHealth, name: &RepositoryName) -> Presence {
    match mirror.ask(mirror.remote.tags(&mirror.pool, name, ONE_TAG)).await {
        Ok(page) if is_list(&page.bytes) => Presence::Present,
        Err(error) if matches!(*error, upstream::Error::NotFound | upstream::Error::Denied(_)) => Presence::Absent,
        Ok(_) => {
            tracing::warn!(repository = %name, "the list of tags is none: something else than the upstream answered");
            Presence::Unknown
        }
        Err(error) => {
            tracing::debug!(repository = %name, %error, "the upstream does not say whether it has the repository");
            Presence::Unknown
        }
    }
}

/// distribution-spec, "Listing Tags". A captive portal answers 200, too.
fn is_list(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|list| list.get("tags").is_some())
}

/// The right to claim a name, or that it is claimed already; checked again where it is claimed.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRight {
    /// `None` for a name that is claimed.
    verdict: Option<Verdict>,
    /// How many names had been freed when it was found out.
    freed: u64,
}

/// The claims of one volume that the operator may have to hear of.
#[derive(Debug, Default)]
pub(super) struct NameClaims {
    /// How many names were freed since the start: what was found out of a repository before that may be wrong.
    freed: AtomicU64,
    /// Those that are not proven, of however many there are.
    unsettled: Mutex<BTreeMap<RepositoryName, Verdict>>,
    /// The one that the upstream did not answer about last: the others' turn comes before its next.
    unanswered: Mutex<Option<RepositoryName>>,
}

impl NameClaims {
    /// A repository was removed, perhaps in part: what was found out of it before is out of date.
    pub(super) fn freed(&self) {
        self.freed.fetch_add(1, Ordering::AcqRel);
    }

    fn note(&self, name: &RepositoryName, verdict: Verdict) {
        let mut unsettled = self.unsettled.lock();
        match verdict {
            Verdict::Unproven | Verdict::Conflicting => drop(unsettled.insert(name.clone(), verdict)),
            Verdict::Proven | Verdict::Unasked => drop(unsettled.remove(name)),
        }
    }

    /// Those that are not proven, in the order in which they are asked about.
    fn in_turn(&self) -> Vec<RepositoryName> {
        let mut names = self.all(Verdict::Unproven);
        if let Some(last) = &*self.unanswered.lock() {
            let asked = names.partition_point(|name| name <= last);
            names.rotate_left(asked);
        }
        names
    }

    fn all(&self, wanted: Verdict) -> Vec<RepositoryName> {
        let unsettled = self.unsettled.lock();
        unsettled.iter().filter(|(_, verdict)| **verdict == wanted).map(|(name, _)| name.clone()).collect()
    }
}

impl BlobStore {
    /// Claims a name, durably, unless it is claimed. The caller holds the repository's lock. `false` when `right` is out of
    /// date.
    pub(super) fn claim(&self, repository: &Repository, right: ClaimRight) -> Result<bool, Error> {
        if right.freed != self.name_claims.freed.load(Ordering::Acquire) {
            return Ok(false);
        }
        self.write_claim(repository, right.verdict.unwrap_or(Verdict::Unasked))?;
        Ok(true)
    }

    /// Makes sure that the claim of a repository that is about to lose its last manifest is written down; returns whether there
    /// was room for it. Where there was none, the first manifest that goes is to be [turned into] it. The caller holds the
    /// repository's lock.
    ///
    /// [turned into]: crate::storage::RepositoryLinks::turn_into_claim
    pub(super) fn keep_claim(&self, repository: &Repository) -> Result<bool, Error> {
        let sync = || Ok(self.storage.links(repository).sync_claim()?);
        match self.write_claim(repository, Verdict::Unasked).and_then(|()| sync()) {
            Err(Error::Storage(error)) if error.is_full() => Ok(false),
            kept => kept.map(|()| true),
        }
    }

    /// Takes a repository that holds no manifest any more out of the catalog. The caller holds the repository's lock.
    pub(super) fn delist_if_empty(&self, repository: &Repository) -> Result<(), Error> {
        if !self.storage.links(repository).has_revisions()? {
            self.index.remove_repository(repository);
        }
        Ok(())
    }

    fn write_claim(&self, repository: &Repository, verdict: Verdict) -> Result<(), Error> {
        let links = self.storage.links(repository);
        if links.written_claim()?.is_none() {
            // What holds a manifest was claimed by that.
            let verdict = if links.has_revisions()? { Verdict::Unasked } else { verdict };
            links.write_claim(Claim::now(verdict)).inspect_err(|_| self.reread_claim(repository))?;
            self.name_claims.note(&repository.name, verdict);
        }
        self.index.add_claim(repository);
        Ok(())
    }

    /// Tells the index, and whoever asks later, of a claim that is on disk.
    pub(super) fn recall_claim(&self, repository: &Repository) -> Result<(), Error> {
        if let Some(claim) = self.storage.links(repository).claim()? {
            self.index.add_claim(repository);
            self.name_claims.note(&repository.name, claim.verdict);
        }
        Ok(())
    }

    /// Ends a claim. The caller holds the repository's lock, and nothing else of the repository is left.
    pub(super) fn end_claim(&self, repository: &Repository) -> Result<(), Error> {
        let links = self.storage.links(repository);
        links.remove_claim().inspect_err(|_| self.reread_claim(repository))?;
        links.remove_empty_folders();
        self.name_claims.unsettled.lock().remove(&repository.name);
        Ok(())
    }

    /// Writes down what the upstream says of a name that was claimed unproven. It may have been freed meanwhile.
    fn settle_claim(&self, repository: &Repository, verdict: Verdict) -> Result<bool, Error> {
        let _claim = self.locks.repository(repository);
        let links = self.storage.links(repository);
        if links.written_claim()?.is_none_or(|claim| claim.verdict != Verdict::Unproven) {
            return Ok(false);
        }
        links.write_claim(Claim::now(verdict))?;
        self.name_claims.note(&repository.name, verdict);
        Ok(true)
    }
}

impl Registry {
    /// Whether a name is claimed for this registry.
    pub(super) async fn is_claimed(&self, repository: &Repository) -> Result<bool, Error> {
        if let Some(claimed) = self.store.index.is_claimed(repository) {
            return Ok(claimed);
        }
        let place = repository.clone();
        let claim = self.store.blocking(Lane::Look, move |store| store.storage.links(&place).claim()).await??;
        Ok(claim.is_some())
    }

    /// Whether the upstream is known to have a repository of this name.
    pub(super) fn is_taken(&self, name: &RepositoryName) -> bool {
        self.questions.answer(name) == Some(Presence::Present)
    }

    /// A push to a repository begins: the upstream is asked about a name that nobody has claimed, while the blobs come.
    /// Where a push that is not proven would be refused, its answer is waited for: nobody sends a body for nothing.
    ///
    /// # Errors
    /// As [`Registry::claim_right`].
    pub async fn begin_push(&self, repository: &Repository) -> Result<(), Error> {
        if self.rules.unproven == Unproven::Refuse {
            return self.claim_right(repository).await.map(drop);
        }
        if !self.is_claimed(repository).await?
            && self.questions.answer(&repository.name).is_none()
            && let Some(hub) = self.asked_about(&repository.name)
        {
            self.questions.under_way.begin(repository.name.clone(), self.questions.question(hub, &repository.name));
        }
        Ok(())
    }

    /// Whether a manifest may be pushed to a repository, as far as its name is concerned.
    ///
    /// # Errors
    /// [`Error::Denied`], when the upstream has such a repository; [`Error::Unproven`], when it cannot be asked and
    /// `proxy.unproven` refuses that; or as the disk fails.
    pub async fn claim_right(&self, repository: &Repository) -> Result<ClaimRight, Error> {
        let freed = self.store.name_claims.freed.load(Ordering::Acquire);
        let verdict = match self.is_claimed(repository).await? {
            true => None,
            false => Some(self.verdict(&repository.name).await?),
        };
        Ok(ClaimRight { verdict, freed })
    }

    async fn verdict(&self, name: &RepositoryName) -> Result<Verdict, Error> {
        let Some(hub) = self.asked_about(name) else { return Ok(Verdict::Unasked) };
        let presence = match self.questions.answer(name) {
            Some(known) => known,
            None => {
                let asked = self.questions.under_way.join(name.clone(), self.questions.question(hub, name));
                timeout(PATIENCE, asked).await.ok().and_then(|(answer, _)| answer).unwrap_or(Presence::Unknown)
            }
        };
        match (presence, self.rules.unproven) {
            (Presence::Present, _) => Err(not_ours(name, TAKEN)),
            (Presence::Absent, _) => Ok(Verdict::Proven),
            (Presence::Unknown, Unproven::Accept) => Ok(Verdict::Unproven),
            (Presence::Unknown, Unproven::Refuse) => Err(Error::Unproven { retry_after: UNANSWERED }),
        }
    }

    /// The upstream that is asked about a name before it is claimed: the one that answers requests without `ns`. It is not
    /// asked about the operator's own names, nor about those of one component: clients ask it for `library/…` then.
    fn asked_about(&self, name: &RepositoryName) -> Option<&UpstreamHealth> {
        let is_asked = self.rules.mirror && !self.is_listed(name) && name.as_str().contains('/');
        self.mirrors.get(&Domain::docker_hub()).filter(|_| is_asked)
    }

    /// Asks the upstream about the names that were claimed without its word, until it does not answer. Tells whether any
    /// are left.
    pub async fn settle_claims(&self) -> bool {
        let mut failed = false;
        for name in self.store.name_claims.in_turn() {
            let Some(hub) = self.asked_about(&name) else { continue };
            tokio::time::sleep(BETWEEN).await;
            let verdict = match presence(hub, &name).await {
                Presence::Present => Verdict::Conflicting,
                Presence::Absent => Verdict::Proven,
                Presence::Unknown => {
                    *self.store.name_claims.unanswered.lock() = Some(name);
                    return true;
                }
            };
            let place = Repository { domain: None, name };
            let settle = {
                let place = place.clone();
                move |store: &BlobStore| store.settle_claim(&place, verdict)
            };
            match self.store.blocking(Lane::Sync, settle).await.and_then(|settled| settled) {
                Ok(true) if verdict == Verdict::Conflicting => tell_conflict(&place.name),
                Ok(_) => {}
                Err(error) => {
                    failed = true;
                    tracing::warn!(repository = %place, %error, "the upstream's word on a name is not kept");
                }
            }
        }
        failed
    }

    /// Tells of the conflicts that are known since an earlier start.
    pub fn tell_conflicts(&self) {
        self.conflicts().iter().for_each(tell_conflict);
    }

    /// The names that the upstream has, too, and that the operator has not decided about.
    fn conflicts(&self) -> Vec<RepositoryName> {
        let mut conflicts = self.store.name_claims.all(Verdict::Conflicting);
        conflicts.retain(|name| !self.is_listed(name));
        conflicts
    }

    /// How many claimed names are not proven: by what is known of them.
    pub(super) fn unsettled_names(&self) -> [(&'static str, usize); 2] {
        let unproven = self.store.name_claims.all(Verdict::Unproven);
        let unproven = unproven.iter().filter(|name| !self.is_listed(name)).count();
        [("unproven", unproven), ("conflicting", self.conflicts().len())]
    }

    /// Forgets what was asked about a name that was freed.
    pub(super) fn forget_answer(&self, name: &RepositoryName) {
        self.questions.forget(name);
    }
}

fn tell_conflict(name: &RepositoryName) {
    tracing::error!(
        repository = %name,
        "docker.io has a repository of a name that was pushed here while it could not be asked: requests without ns get what \
         was pushed here; list the name in proxy.hosted if that is meant, or free it with `entrepot rm {name}`"
    );
}

#[cfg(test)]
mod tests;
