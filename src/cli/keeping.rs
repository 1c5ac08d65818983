//! Schedules garbage collection and verification: `gc.interval`, `verify.interval`.

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::supervise::Supervisor;
use crate::{
    config::Config,
    metrics::Job,
    registry::{Collection, Registry, VERIFY_SHARDS, Verification},
};

/// The least time between two checks of the clock.
const SHORTEST: Duration = Duration::from_secs(1);

/// Starts the scheduled jobs.
pub(super) fn start(registry: &Arc<Registry>, config: &Config, supervisor: &Supervisor) {
    collections(registry, config, supervisor);
    verifications(registry, config, supervisor);
}

/// Verifies every shard once in an interval, one at a time. The clock determines the shard, so that a restart continues
/// at the same place.
fn verifications(registry: &Arc<Registry>, config: &Config, supervisor: &Supervisor) {
    let (interval, rate) = (*config.verify.interval, *config.verify.rate);
    if interval.is_zero() {
        return;
    }
    let pause = (interval / u32::from(VERIFY_SHARDS)).max(SHORTEST);
    let (registry, watched) = (Arc::clone(registry), supervisor.clone());
    supervisor.keep(Job::Verify, move || {
        let (registry, watched) = (Arc::clone(&registry), watched.clone());
        async move {
            let mut last = turn(interval);
            loop {
                tokio::time::sleep(pause).await;
                let now = turn(interval);
                // At most all shards once.
                for turn in (last..now).rev().take(usize::from(VERIFY_SHARDS)) {
                    let step = u16::try_from(turn % u128::from(VERIFY_SHARDS)).unwrap_or_default();
                    let (registry, verification) =
                        (Arc::clone(&registry), Verification { rate, steps: step..step + 1 });
                    watched.work(move || verify(&registry, &verification)).await;
                }
                last = now.max(last);
            }
        }
    });
}

/// Returns the number of steps since the epoch.
fn turn(interval: Duration) -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() * u128::from(VERIFY_SHARDS) / interval.as_nanos().max(1)
}

fn verify(registry: &Registry, verification: &Verification) {
    // The verification logs damaged blobs itself.
    if let Err(error) = registry.verify(verification, &mut |_| ControlFlow::Continue(())) {
        tracing::warn!("what is stored could not be verified: {error}");
    }
}

fn collections(registry: &Arc<Registry>, config: &Config, supervisor: &Supervisor) {
    let interval = *config.gc.interval;
    if interval.is_zero() {
        return;
    }
    let collection = Collection { untagged: *config.gc.untagged, dry: false, grace: *config.gc.grace };
    let (registry, watched) = (Arc::clone(registry), supervisor.clone());
    supervisor.keep(Job::Collect, move || {
        let (registry, watched) = (Arc::clone(&registry), watched.clone());
        async move {
            // Before the grace period has passed since the start, nothing would be removed.
            let mut ticks = interval_at(Instant::now() + collection.grace.min(interval), interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let registry = Arc::clone(&registry);
                watched.work(move || collect(&registry, collection)).await;
            }
        }
    });
}

fn collect(registry: &Registry, collection: Collection) {
    let begun = std::time::Instant::now();
    match registry.collect(collection, &mut |_| ControlFlow::Continue(())) {
        Ok(collected) => tracing::info!(
            "collected {} manifests and {} blobs, {} bytes, in {}",
            collected.manifests,
            collected.blobs,
            collected.bytes,
            humantime::format_duration(Duration::from_millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(0)))
        ),
        Err(error) => tracing::warn!("the collection ended early, and begins anew at the next interval: {error}"),
    }
}
