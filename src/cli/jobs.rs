//! Starts the server's background jobs, and defines their intervals.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use super::supervise::Supervisor;
use crate::{config::Config, metrics::Job, registry::Registry};

/// The interval of removing expired cache entries.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// The interval of comparing disk usage with its bounds.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// The shortest and longest interval of removing content that is no longer used.
const EXPIRE_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// The shortest and longest interval of checking names with unproven claims.
const SETTLE_EVERY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// The time that startup waits for the disk scan. Most volumes take less, and then everything is known from the first
/// request on.
const LOOK_FIRST: Duration = Duration::from_millis(300);
/// The same for a new volume, which is empty: the scan takes this long only on a very busy machine.
const LOOK_AT_NOTHING: Duration = Duration::from_secs(30);

/// Starts all jobs.
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

/// Repeats blocking work at an interval.
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

/// Checks the names that were claimed while the upstream was unreachable: soon after it is reachable again, and at
/// growing intervals until then.
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

/// `storage.maintenance.uploadpurging`: removes abandoned uploads.
fn purge_uploads(registry: &Arc<Registry>, config: &Config, supervisor: &Supervisor) {
    let purging = &config.storage.uploadpurging;
    if !*purging.enabled {
        return;
    }
    let (age, interval, dry) = (*purging.age, *purging.interval, *purging.dryrun);
    let purge = move |registry: &Registry| registry.purge_uploads(age, dry);
    repeat(supervisor, Job::Purge, registry, interval.max(Duration::from_secs(1)), purge);
}
