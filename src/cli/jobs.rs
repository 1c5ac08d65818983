//! What a server does beside answering: when, and on which threads.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use super::supervise::Supervisor;
use crate::{config::Config, metrics::Job, registry::Registry};

/// How often what is kept for a while only is looked through.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// How often the disk is held against its bounds.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// How often what nobody asks for any more is looked for, at most and at least.
const EXPIRE_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// How often names whose claim is not proven are asked about, at most and at least.
const SETTLE_EVERY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// How long the first request waits for a look at the disk: for most volumes that is all it takes, and then everything is
/// known from the beginning.
const LOOK_FIRST: Duration = Duration::from_millis(300);
/// The same for a new volume, where there is nothing to look at: that takes so long only on a machine that does much else.
const LOOK_AT_NOTHING: Duration = Duration::from_secs(30);

/// Begins all of it.
pub(super) fn start(registry: &Arc<Registry>, config: &Config, supervisor: &Supervisor) {
    rebuild(registry, supervisor);
    repeat(supervisor, Job::Tidy, registry, TIDY_EVERY, Registry::tidy);
    repeat(supervisor, Job::Tend, registry, TEND_EVERY, Registry::tend);
    if !config.proxy.ttl.is_zero() {
        let every = (*config.proxy.ttl / 10).clamp(EXPIRE_EVERY.0, EXPIRE_EVERY.1);
        repeat(supervisor, Job::Expire, registry, every, Registry::expire);
    }
    purge_uploads(registry, config, supervisor);
    settle_claims(registry, supervisor);
}

fn rebuild(registry: &Arc<Registry>, supervisor: &Supervisor) {
    let (done, waited) = mpsc::channel();
    let patience = if registry.is_new() { LOOK_AT_NOTHING } else { LOOK_FIRST };
    let (registry, watched) = (Arc::clone(registry), supervisor.clone());
    supervisor.keep(Job::Rebuild, move || {
        let (registry, watched, done) = (Arc::clone(&registry), watched.clone(), done.clone());
        async move {
            let work = move || {
                registry.open_index();
                registry.tell_conflicts();
            };
            watched.work(work).await;
            let _ = done.send(());
        }
    });
    let _ = waited.recv_timeout(patience);
}

/// Does something that blocks, again and again.
fn repeat<T: Send + 'static>(
    supervisor: &Supervisor,
    job: Job,
    registry: &Arc<Registry>,
    every: Duration,
    act: impl Fn(&Registry) -> T + Clone + Send + 'static,
) {
    let (registry, watched) = (Arc::clone(registry), supervisor.clone());
    supervisor.keep(job, move || {
        let (registry, watched, act) = (Arc::clone(&registry), watched.clone(), act.clone());
        async move {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let (registry, act) = (Arc::clone(&registry), act.clone());
                watched.work(move || drop(act(&registry))).await;
            }
        }
    });
}

/// Asks about the names that were claimed while the upstream could not be asked: soon after it can be, and less and less often
/// while it cannot.
fn settle_claims(registry: &Arc<Registry>, supervisor: &Supervisor) {
    let registry = Arc::clone(registry);
    supervisor.keep(Job::Names, move || {
        let registry = Arc::clone(&registry);
        async move {
            let mut pause = SETTLE_EVERY.0;
            loop {
                tokio::time::sleep(pause).await;
                let unanswered = registry.settle_claims().await;
                pause = if unanswered { (pause * 2).min(SETTLE_EVERY.1) } else { SETTLE_EVERY.0 };
            }
        }
    });
}

/// `storage.maintenance.uploadpurging`: uploads that nobody goes on with.
fn purge_uploads(registry: &Arc<Registry>, config: &Config, supervisor: &Supervisor) {
    let purging = &config.storage.uploadpurging;
    if !*purging.enabled {
        return;
    }
    let (age, interval, dry) = (*purging.age, *purging.interval, *purging.dryrun);
    let purge = move |registry: &Registry| registry.purge_uploads(age, dry);
    repeat(supervisor, Job::Purge, registry, interval.max(Duration::from_secs(1)), purge);
}
