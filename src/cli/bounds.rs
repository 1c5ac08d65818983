//! What the volume may hold: `storage.quota` against the filesystem that it is for.

use super::{Failure, report::size, volume};
use crate::{
    config,
    storage::{Filesystem, LEAST_QUOTA},
};

/// The bound that the configuration adds up to on this machine.
pub(super) struct Bounds<'a> {
    config: &'a config::Storage,
    filesystem: Filesystem,
    /// Of everything, where there is a quota; of what is mirrored, where there is none.
    bytes: u64,
}

impl<'a> Bounds<'a> {
    /// # Errors
    /// A quota that nothing could be stored in.
    pub(super) fn check(config: &'a config::Storage) -> Result<Self, Failure> {
        let filesystem = Filesystem::that_holds(config.rootdirectory.value());
        let bounds = Self { config, filesystem, bytes: volume::limits(config).mirrored(filesystem.size) };
        if config.quota.is_some() && bounds.bytes <= LEAST_QUOTA {
            let expected = format!(
                "more than {LEAST_QUOTA} bytes, since as many are kept back for the index and links; it comes to {}",
                bounds.bytes
            );
            return Err(Failure::usage(config.quota.error(expected)));
        }
        Ok(bounds)
    }

    /// What its operator may not have meant.
    pub(super) fn warning(&self) -> Option<String> {
        let Filesystem { size: whole, .. } = self.filesystem;
        (self.config.quota.is_some() && self.bytes > whole).then(|| {
            format!(
                "storage.quota comes to {} bytes, and the filesystem of {} has {whole}: it bounds nothing, and what stays free is \
                 storage.headroom alone",
                self.bytes,
                self.config.rootdirectory.value().display()
            )
        })
    }

    /// The bound, for the line at the start and `config`.
    pub(super) fn told(&self) -> String {
        let (bytes, short) = (self.bytes, size(self.bytes));
        match self.config.quota.is_some() {
            true => format!("{bytes} bytes ({short}) at most, by storage.quota"),
            false => format!(
                "{bytes} bytes ({short}) at most of what is mirrored, 80% of the filesystem: storage.quota is not set"
            ),
        }
    }
}
