//! What a server does about its volume by itself, and when: `gc.interval`.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use tokio::{
    runtime::Runtime,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::{
    config::Config,
    registry::{Collection, Registry},
};

/// Begins it.
pub(super) fn start(registry: &Arc<Registry>, config: &Config, background: &Runtime) {
    let interval = *config.gc.interval;
    if interval.is_zero() {
        return;
    }
    let collection = Collection { untagged: *config.gc.untagged, dry: false, grace: *config.gc.grace };
    let registry = Arc::clone(registry);
    background.spawn(async move {
        // Before the grace has passed since the start, nothing would go.
        let mut ticks = interval_at(Instant::now() + collection.grace.min(interval), interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let registry = Arc::clone(&registry);
            let _ = tokio::task::spawn_blocking(move || collect(&registry, collection)).await;
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
