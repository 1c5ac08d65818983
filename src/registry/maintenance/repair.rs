//! Verifies stored blobs on a running server, and restores damaged ones from an upstream.

use super::verify::{RepairHooks, Verification};
use crate::{
    lanes::{Blocking, Lane},
    metrics::MaintenanceEvent,
    oci::{Digest, Reference, Repository},
    registry::{
        Checked, Error, ProgressCallback, Registry, Verified,
        fill::{
            fill_source::{FillSource, Right},
            progress::{FillFailure, FillProgress},
        },
        store::blob_store::BlockingStore,
    },
    storage::{DurableStore, LinkKind},
};

impl Registry {
    /// Hashes the stored blobs, beside all other work. Blocks until it is done; not to be called on an async thread.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if `on_event` cancels it, [`Error::Storage`] if the disk fails.
    pub(super) fn verify(
        &self,
        io: &Blocking,
        verification: &Verification,
        on_event: ProgressCallback<'_, Checked>,
    ) -> Result<Verified, Error> {
        let restore = |digest: &Digest, place: &Repository| self.tasks.block_on(self.restore(digest, place));
        let hooks = RepairHooks { forget: &|digest| self.manifests.forget(digest), restore: &restore };
        verification.run(&self.store.with(io), hooks, on_event)
    }

    /// Fetches a damaged blob from its upstream again, and makes it durable.
    async fn restore(&self, digest: &Digest, place: &Repository) -> bool {
        if !self.fetch_again(digest, place).await {
            return false;
        }
        let wanted = *digest;
        let release = move |store: &BlockingStore<'_>| {
            store.index.restored(&wanted);
            store.disk.release(&wanted)?;
            store.volume.metrics.found(MaintenanceEvent::Restored);
            Ok::<(), Error>(())
        };
        let restored = matches!(self.store.promote(wanted).await, Ok(true))
            && matches!(self.store.blocking(Lane::Write, release).await, Ok(Ok(())));
        if restored {
            tracing::info!(%digest, repository = %place, "damaged blob fetched again");
        }
        restored
    }

    async fn fetch_again(&self, digest: &Digest, place: &Repository) -> bool {
        let (repository, wanted) = (place.clone(), *digest);
        let look = move |store: &BlockingStore<'_>| store.disk.has_link(&repository, LinkKind::Revision, &wanted);
        match self.store.blocking(Lane::Look, look).await.and_then(|looked| Ok(looked?)) {
            Ok(true) => return self.fetch_now(place, &Reference::Digest(*digest)).await.is_ok(),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%digest, %error, "damaged blob could not be fetched again");
                return false;
            }
        }
        let Ok(upstream) = self.upstream(place) else { return false };
        let source =
            FillSource { upstream: upstream.clone(), repository: place.clone(), right: Some(Right::Own), size: None };
        let ended =
            |progress: &FillProgress| matches!(progress, FillProgress::Verified { .. } | FillProgress::Failed(_));
        loop {
            let mut progress = self.fills.join_or_start(digest, source.clone()).value.follow();
            let end = progress.wait_for(ended).await.map(|end| end.clone());
            match end {
                Ok(FillProgress::Failed(FillFailure::Superseded(_))) => {}
                end => return matches!(end, Ok(FillProgress::Verified { .. })),
            }
        }
    }
}
