//! Starts the server's background jobs, and defines their intervals: `gc.interval`, `verify.interval`,
//! `proxy.warminterval`, and fixed ones.

use std::{
    mem,
    ops::ControlFlow,
    sync::{Arc, mpsc},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use super::supervise::Supervisor;
use crate::{
    config::Config,
    lanes::Blocking,
    metrics::MaintenanceJob,
    oci::{ImageName, PlatformSelection},
    registry::{Collection, ImageError, Mode, Registry, Retained, VERIFY_SHARDS, Verification, WarmImage},
};

/// The interval of removing expired cache entries.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);
/// The interval of comparing disk usage with its bounds.
const MAINTAIN_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest and longest interval of removing content that is no longer used.
const EXPIRE_INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// The interval of looking whether a reload has changed the lifetimes.
const LIFETIME_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The shortest and longest interval of checking names with unproven claims.
const SETTLE_INTERVAL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// The first pause after images of `proxy.warm` failed; it grows up to the job's interval. The index of a volume may
/// not be complete at the start, and nothing is cached before.
const WARM_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The shortest interval of a job whose interval is configured.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The time that startup waits for the disk scan. Most volumes take less, and then everything is known from the first
/// request on.
const SCAN_TIMEOUT: Duration = Duration::from_millis(300);
/// The same for a new volume, which is empty: the scan takes this long only on a very busy machine.
const NEW_VOLUME_SCAN_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts all jobs.
pub(super) fn start(io: &Blocking, registry: &Arc<Registry>, config: &Config, supervisor: &Supervisor) {
    rebuild(io, registry, supervisor);
    repeat(supervisor, MaintenanceJob::Tidy, registry, TIDY_INTERVAL, Registry::tidy);
    repeat(supervisor, MaintenanceJob::Maintain, registry, MAINTAIN_INTERVAL, Registry::maintain);
    expire(registry, supervisor);
    purge_uploads(registry, config, supervisor);
    settle_claims(registry, supervisor);
    warm(registry, config, supervisor);
    collections(registry, config, supervisor);
    verifications(registry, config, supervisor);
}

fn rebuild(io: &Blocking, registry: &Arc<Registry>, supervisor: &Supervisor) {
    let (done, waited) = mpsc::channel();
    let patience = if registry.is_new(io) { NEW_VOLUME_SCAN_TIMEOUT } else { SCAN_TIMEOUT };
    let (registry, watched) = (Arc::clone(registry), supervisor.clone());
    supervisor.supervise(MaintenanceJob::Rebuild, move || {
        let (registry, watched, done) = (Arc::clone(&registry), watched.clone(), done.clone());
        async move {
            let work = move |io: &Blocking| {
                registry.open_index(io);
                registry.log_conflicts();
                registry.log_hidden_upstreams();
            };
            watched.work(work).await;
            let _ = done.send(());
        }
    });
    let _ = waited.recv_timeout(patience);
}

/// Calls a method of the registry at an interval, for the first time now.
fn repeat<T>(
    supervisor: &Supervisor,
    job: MaintenanceJob,
    registry: &Arc<Registry>,
    every: Duration,
    act: impl Fn(&Registry, &Blocking) -> T + Clone + Send + 'static,
) {
    let registry = Arc::clone(registry);
    supervisor.repeat(job, Duration::ZERO, every, move |io| drop(act(&registry, io)));
}

/// Removes content that is no longer used, at a tenth of the shortest lifetime. A reload may change the lifetimes.
fn expire(registry: &Arc<Registry>, supervisor: &Supervisor) {
    let (registry, watched) = (Arc::clone(registry), supervisor.clone());
    supervisor.supervise(MaintenanceJob::Expire, move || {
        let (registry, supervisor) = (Arc::clone(&registry), watched.clone());
        async move {
            loop {
                let begun = Instant::now();
                let work = Arc::clone(&registry);
                supervisor.work(move |io| work.expire(io)).await;
                while let Some(rest) = expire_interval(registry.shortest_lifetime()).checked_sub(begun.elapsed()) {
                    tokio::time::sleep(rest.min(LIFETIME_CHECK_INTERVAL)).await;
                }
            }
        }
    });
}

fn expire_interval(lifetime: Option<Duration>) -> Duration {
    lifetime.map_or(EXPIRE_INTERVAL.1, |ttl| (ttl / 10).clamp(EXPIRE_INTERVAL.0, EXPIRE_INTERVAL.1))
}

/// Checks the names that were claimed while the upstream was unreachable: soon after it is reachable again, and at
/// growing intervals until then.
fn settle_claims(registry: &Arc<Registry>, supervisor: &Supervisor) {
    let registry = Arc::clone(registry);
    supervisor.supervise(MaintenanceJob::Names, move || {
        let registry = Arc::clone(&registry);
        async move {
            let mut pause = SETTLE_INTERVAL.0;
            loop {
                tokio::time::sleep(pause).await;
                let unanswered = registry.settle_claims().await;
                pause = if unanswered { (pause * 2).min(SETTLE_INTERVAL.1) } else { SETTLE_INTERVAL.0 };
            }
        }
    });
}

/// `proxy.warm`: fetches images ahead of their pulls, one at a time.
fn warm(registry: &Arc<Registry>, config: &Config, supervisor: &Supervisor) {
    let (images, interval) = (Arc::new(config.proxy.warm.value().clone()), *config.proxy.warminterval);
    if images.is_empty() || interval.is_zero() {
        return;
    }
    let (registry, interval) = (Arc::clone(registry), interval.max(MIN_INTERVAL));
    supervisor.supervise(MaintenanceJob::Warm, move || {
        let (registry, images) = (Arc::clone(&registry), Arc::clone(&images));
        async move {
            let mut retry = WARM_RETRY_INTERVAL;
            loop {
                let is_complete = warm_all(&registry, &images).await;
                tokio::time::sleep(if is_complete { interval } else { retry.min(interval) }).await;
                retry = if is_complete { WARM_RETRY_INTERVAL } else { (retry * 2).min(interval) };
            }
        }
    });
}

/// Returns whether all images are in the cache.
async fn warm_all(registry: &Arc<Registry>, images: &[ImageName]) -> bool {
    let mut is_complete = true;
    for image in images {
        match warm_one(registry, image).await {
            Ok(WarmImage { fetched: 0, .. }) => {}
            Ok(warm) => {
                tracing::info!(%image, digest = %warm.digest, fetched = warm.fetched, present = warm.present, "image warmed");
            }
            Err(error) => {
                is_complete = false;
                tracing::warn!(%image, %error, "image of proxy.warm not fetched; a later run repeats it");
            }
        }
    }
    is_complete
}

async fn warm_one(registry: &Arc<Registry>, image: &ImageName) -> Result<WarmImage, ImageError> {
    let (repository, reference) = registry.addressed(image).await?;
    registry.warm(&repository, &reference, &PlatformSelection::default(), &|_| {}).await
}

/// `storage.maintenance.uploadpurging`: removes abandoned uploads.
fn purge_uploads(registry: &Arc<Registry>, config: &Config, supervisor: &Supervisor) {
    let purging = &config.storage.uploadpurging;
    if !*purging.enabled {
        return;
    }
    let (age, interval, mode) = (*purging.age, *purging.interval, Mode::new(*purging.dryrun));
    let purge = move |registry: &Registry, io: &Blocking| registry.purge_uploads(io, age, mode);
    repeat(supervisor, MaintenanceJob::Purge, registry, interval.max(MIN_INTERVAL), purge);
}

/// `gc.interval`: applies retention and collects garbage, first after the grace period, before which nothing would be
/// removed.
fn collections(registry: &Arc<Registry>, config: &Config, supervisor: &Supervisor) {
    let interval = *config.gc.interval;
    if interval.is_zero() {
        return;
    }
    let collection = Collection { untagged: *config.gc.untagged, mode: Mode::Remove, grace: *config.gc.grace };
    let registry = Arc::clone(registry);
    supervisor.repeat(MaintenanceJob::Collect, collection.grace.min(interval), interval, move |io| {
        retain(io, &registry, collection.grace);
        collect(io, &registry, collection);
    });
}

/// `retention`: removes tags, so that the collection that follows removes what only they needed.
fn retain(io: &Blocking, registry: &Registry, grace: Duration) {
    let maintenance = registry.maintenance(io);
    if maintenance.retention_rules().is_empty() {
        return;
    }
    match maintenance.retain(Mode::Remove, grace, &mut |_| ControlFlow::Continue(())) {
        Ok(Retained { tags, manifests, kept, in_use, .. }) => {
            tracing::info!(tags, manifests, kept, in_use, "retention removed tags that no rule keeps");
        }
        Err(error) => tracing::warn!(%error, "retention failed; the next interval repeats it"),
    }
}

fn collect(io: &Blocking, registry: &Registry, collection: Collection) {
    let begun = Instant::now();
    match registry.maintenance(io).collect(collection, &mut |_| ControlFlow::Continue(())) {
        Ok(collected) => tracing::info!(
            "collected {} manifests and {} blobs, {} bytes, in {}",
            collected.manifests,
            collected.blobs,
            collected.bytes,
            humantime::format_duration(Duration::from_millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(0)))
        ),
        Err(error) => tracing::warn!(%error, "garbage collection failed; the next interval repeats it"),
    }
}

/// `verify.interval`: verifies every shard once in an interval, one at a time. The clock determines the shard, so that
/// a restart continues at the same place.
fn verifications(registry: &Arc<Registry>, config: &Config, supervisor: &Supervisor) {
    let (interval, rate) = (*config.verify.interval, *config.verify.rate);
    if interval.is_zero() {
        return;
    }
    let pause = (interval / u32::from(VERIFY_SHARDS)).max(MIN_INTERVAL);
    let (registry, last) = (Arc::clone(registry), Arc::new(Mutex::new(turn(interval))));
    supervisor.repeat(MaintenanceJob::Verify, pause, pause, move |io| {
        let now = turn(interval);
        let last = mem::replace(&mut *last.lock(), now);
        // At most all shards once.
        for turn in (last..now).rev().take(usize::from(VERIFY_SHARDS)) {
            let step = u16::try_from(turn % u128::from(VERIFY_SHARDS)).unwrap_or_default();
            verify(io, &registry, &Verification { rate, steps: step..step + 1 });
        }
    });
}

/// Returns the number of steps since the epoch.
fn turn(interval: Duration) -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() * u128::from(VERIFY_SHARDS) / interval.as_nanos().max(1)
}

fn verify(io: &Blocking, registry: &Registry, verification: &Verification) {
    // The verification logs damaged blobs itself.
    if let Err(error) = registry.maintenance(io).verify(verification, &mut |_| ControlFlow::Continue(())) {
        tracing::warn!(%error, "verification failed; the next interval continues it");
    }
}
