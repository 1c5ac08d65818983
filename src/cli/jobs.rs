//! What a server does beside answering: when, and on which threads.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::runtime::Runtime;

use crate::{config::Config, lanes::Lane, registry::Registry};

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
pub(super) fn start(registry: &Arc<Registry>, config: &Config, background: &Runtime) -> std::io::Result<()> {
    rebuild(registry)?;
    repeat(background, registry, TIDY_EVERY, Registry::tidy);
    repeat(background, registry, TEND_EVERY, Registry::tend);
    if !config.proxy.ttl.is_zero() {
        let every = (*config.proxy.ttl / 10).clamp(EXPIRE_EVERY.0, EXPIRE_EVERY.1);
        repeat(background, registry, every, Registry::expire);
    }
    purge_uploads(registry, config, background);
    settle_claims(registry, background);
    Ok(())
}

fn rebuild(registry: &Arc<Registry>) -> std::io::Result<()> {
    let (done, waited) = mpsc::channel();
    let patience = if registry.is_new() { LOOK_AT_NOTHING } else { LOOK_FIRST };
    let registry = Arc::clone(registry);
    thread::Builder::new().name("rebuild".into()).spawn(move || {
        registry.rebuild_index();
        registry.tell_conflicts();
        let _ = done.send(());
    })?;
    let _ = waited.recv_timeout(patience);
    Ok(())
}

/// Does something that blocks, again and again.
fn repeat(background: &Runtime, registry: &Arc<Registry>, every: Duration, act: fn(&Registry)) {
    let registry = Arc::clone(registry);
    background.spawn(async move {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let registry = Arc::clone(&registry);
            let lanes = registry.lanes().clone();
            let _ = lanes.run(Lane::Job, move || act(&registry)).await;
        }
    });
}

/// Asks about the names that were claimed while the upstream could not be asked: soon after it can be, and less and less often
/// while it cannot.
fn settle_claims(registry: &Arc<Registry>, background: &Runtime) {
    let (registry, tasks) = (Arc::clone(registry), background.handle().clone());
    background.spawn(async move {
        let mut pause = SETTLE_EVERY.0;
        loop {
            tokio::time::sleep(pause).await;
            let registry = Arc::clone(&registry);
            let round = tasks.spawn(async move { registry.settle_claims().await });
            let unanswered = round.await.unwrap_or_else(|error| {
                tracing::error!(%error, "asking about unproven names failed, and begins anew");
                true
            });
            pause = if unanswered { (pause * 2).min(SETTLE_EVERY.1) } else { SETTLE_EVERY.0 };
        }
    });
}

/// `storage.maintenance.uploadpurging`: uploads that nobody goes on with.
fn purge_uploads(registry: &Arc<Registry>, config: &Config, background: &Runtime) {
    let purging = &config.storage.uploadpurging;
    if !*purging.enabled {
        return;
    }
    let (age, interval, dry) = (*purging.age, *purging.interval, *purging.dryrun);
    let registry = Arc::clone(registry);
    background.spawn(async move {
        let mut ticks = tokio::time::interval(interval.max(Duration::from_secs(1)));
        loop {
            ticks.tick().await;
            let registry = Arc::clone(&registry);
            let lanes = registry.lanes().clone();
            let _ = lanes.run(Lane::Job, move || registry.purge_uploads(age, dry)).await;
        }
    });
}
