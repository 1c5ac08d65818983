//! The operations on a whole volume that commands and the scheduler ask for. They run beside all other work of a
//! server, or on a volume that this process has alone.

use std::{
    ops::ControlFlow,
    time::{Duration, SystemTime},
};

use super::{
    remove::{self, Removed},
    verify::RepairHooks,
};
use crate::{
    config::RetentionRule,
    lanes::Blocking,
    oci::{ImagePatterns, RepositoryName},
    registry::{
        Checked, Collected, Collection, Counted, Error, GcEvent, Mode, ProgressCallback, Registry, Retained,
        RetentionEvent, RetentionRun, UsageCount, UsageEvent, Verification, Verified, Volume,
        rebuild::rebuilds::Rebuilds, space::index_wait::wait_for_index, store::blob_store::BlockingStore,
    },
};

/// The operations on one volume. All of them block until they are done, so that only code
/// that may block gets them.
pub struct Maintenance<'a> {
    pub(super) store: BlockingStore<'a>,
    rebuilds: &'a Rebuilds,
    rules: &'a [RetentionRule],
    immutable: &'a ImagePatterns,
    /// The registry of the running server; `None` if this process has the volume alone.
    pub(super) server: Option<&'a Registry>,
}

impl Registry {
    /// Returns the operations on this registry's volume.
    #[must_use]
    pub fn maintenance<'a>(&'a self, io: &'a Blocking) -> Maintenance<'a> {
        Maintenance {
            store: self.store.with(io),
            rebuilds: &self.rebuilds,
            rules: &self.rules.retention,
            immutable: &self.rules.immutable,
            server: Some(self),
        }
    }
}

impl Registry {
    /// Succeeds if the index knows everything on disk.
    ///
    /// # Errors
    /// [`Error::NoIndex`] if it does not.
    pub fn has_index(&self) -> Result<(), Error> {
        if self.store.volume.index.is_complete() { Ok(()) } else { Err(Error::NoIndex) }
    }
}

impl Volume {
    /// Returns the operations on this volume.
    #[must_use]
    pub fn maintenance<'a>(&'a self, io: &'a Blocking) -> Maintenance<'a> {
        Maintenance {
            store: self.store.with(io),
            rebuilds: &self.rebuilds,
            rules: &self.rules,
            immutable: &self.immutable,
            server: None,
        }
    }
}

impl Maintenance<'_> {
    /// Collects garbage. Without a server no push is in progress, and no grace is needed.
    ///
    /// # Errors
    /// [`Error::UnderWay`] while another collection runs, [`Error::Cancelled`] if `on_event` cancels this one,
    /// [`Error::Storage`] if the disk fails.
    pub fn collect(&self, collection: Collection, on_event: ProgressCallback<'_, GcEvent>) -> Result<Collected, Error> {
        let grace = self.server.map_or(Duration::ZERO, |_| collection.grace);
        Collection { grace, ..collection }.run(&self.store, on_event)
    }

    /// Returns the rules of retention.
    #[must_use]
    pub fn retention_rules(&self) -> &[RetentionRule] {
        self.rules
    }

    /// Removes the tags that no rule of retention keeps, with what goes with them. `grace` is as for garbage
    /// collection.
    ///
    /// # Errors
    /// [`Error::UnderWay`] while garbage is collected or another run is under way, [`Error::Cancelled`] if `on_event`
    /// cancels this one, [`Error::Storage`] if the disk fails.
    pub fn retain(
        &self,
        mode: Mode,
        grace: Duration,
        on_event: ProgressCallback<'_, RetentionEvent>,
    ) -> Result<Retained, Error> {
        let grace = self.server.map_or(Duration::ZERO, |_| grace);
        let (rules, immutable) = (self.rules, self.immutable);
        RetentionRun { rules, immutable, mode, grace, now: SystemTime::now() }.run(&self.store, on_event)
    }

    /// Hashes the stored blobs. Not to be called on an async thread. Only a server has upstreams to restore from.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if `on_event` cancels it, [`Error::Storage`] if the disk fails.
    pub fn verify(
        &self,
        verification: &Verification,
        on_event: ProgressCallback<'_, Checked>,
    ) -> Result<Verified, Error> {
        match self.server {
            Some(registry) => registry.verify(self.store.disk.io(), verification, on_event),
            None => verification.run(&self.store, RepairHooks { forget: &|_| {}, restore: &|_, _| false }, on_event),
        }
    }

    /// Counts the disk usage by source, repository and tag. Without a server the disk is scanned first, since another
    /// program may have used the volume.
    ///
    /// # Errors
    /// [`Error::NoIndex`] if there is no complete index, [`Error::Cancelled`] if `on_event` cancels it,
    /// [`Error::Storage`] if the disk fails.
    pub fn count(&self, count: &UsageCount, on_event: ProgressCallback<'_, UsageEvent>) -> Result<Counted, Error> {
        self.prepare(&mut || on_event(UsageEvent::Step { done: 0, of: None, bytes: 0 }))?;
        count.run(&self.store, on_event)
    }

    /// Waits until the index knows everything on disk, and all uses until now. Without a server the disk is scanned
    /// first, since another program may have used the volume. `on_wait` is called now and then, and returns `Break` to
    /// give up.
    ///
    /// # Errors
    /// [`Error::NoIndex`] if there is no index, [`Error::Cancelled`] if `on_wait` gives up, [`Error::Storage`] if the
    /// disk fails.
    pub(super) fn prepare(&self, on_wait: &mut dyn FnMut() -> ControlFlow<()>) -> Result<(), Error> {
        if self.server.is_none() {
            let _ = on_wait();
            self.rebuilds.open_index(&self.store)?;
        }
        wait_for_index(&self.store, on_wait)?;
        self.store.flush_accesses();
        Ok(())
    }

    /// Rebuilds the index from the disk, while requests read the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if a part of the disk cannot be read.
    pub fn rebuild_index(&self) -> Result<(), Error> {
        self.rebuilds.rebuild(&self.store)
    }

    /// Removes a hosted repository and frees its name, which is then mirrored again as if nothing had been pushed. In a
    /// dry run, only counts.
    ///
    /// # Errors
    /// [`Error::NameUnknown`] if there is no such repository, [`Error::Storage`] if the disk fails.
    pub fn remove(&self, name: &RepositoryName, mode: Mode) -> Result<Removed, Error> {
        let removed = remove::remove(&self.store, name, mode);
        if let Some(registry) = self.server {
            registry.forget_answer(name);
        }
        removed
    }
}
