//! The bound of the volume: `storage.quota` compared with the filesystem.

use super::{Failure, volume};
use crate::{
    config,
    lanes::Blocking,
    storage::{Filesystem, MIN_QUOTA_BYTES},
    units::size,
};

/// The bound that results from the configuration on this machine.
pub(super) struct Bounds<'a> {
    config: &'a config::StorageConfig,
    filesystem: Filesystem,
    /// The bound of all content with a quota, or of mirrored content without one.
    bytes: u64,
}

impl<'a> Bounds<'a> {
    /// # Errors
    /// [`Failure`] with the exit code of a usage error if the quota leaves no space for content.
    pub(super) fn check(io: &Blocking, config: &'a config::StorageConfig) -> Result<Self, Failure> {
        let filesystem = Filesystem::that_holds(io, config.rootdirectory.value());
        let bounds = Self { config, filesystem, bytes: volume::limits(config).mirrored(filesystem.size) };
        if config.quota.is_some() && bounds.bytes <= MIN_QUOTA_BYTES {
            let expected = format!(
                "more than {MIN_QUOTA_BYTES} bytes, since as many are kept back for the index and links; it comes to {}",
                bounds.bytes
            );
            return Err(Failure::usage(config.quota.error(expected)));
        }
        Ok(bounds)
    }

    /// Returns a warning about a bound that is probably unintended.
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

    /// Describes the bound, for the startup log and for `config`.
    pub(super) fn describe(&self) -> String {
        let (bytes, short) = (self.bytes, size(self.bytes));
        match self.config.quota.is_some() {
            true => format!("{bytes} bytes ({short}) at most, by storage.quota"),
            false => format!(
                "{bytes} bytes ({short}) at most of what is mirrored, 80% of the filesystem: storage.quota is not set"
            ),
        }
    }
}
