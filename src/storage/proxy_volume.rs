//! The mark of a volume that `registry:2` used as a pull-through cache.

use std::fs::File;

use super::{Disk, Error, atomic_fs, look};

impl Disk<'_> {
    /// Returns whether this is the volume of a `registry:2` that was a pull-through cache.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn is_proxy_volume(&self) -> Result<bool, Error> {
        look::is_there(&self.layout.proxy_state())
    }

    /// Returns whether it was such a volume, and is migrated.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn was_proxy_volume(&self) -> Result<bool, Error> {
        look::is_there(&self.layout.adopted_state())
    }

    /// Marks this as such a volume, in the way of `registry:2`.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the state file cannot be made.
    pub fn begin_proxy_volume(&self) -> Result<(), Error> {
        let state = self.layout.proxy_state();
        File::create(&state).map_err(Error::at(&state))?;
        atomic_fs::sync_parent(&state)
    }

    /// Marks the volume as migrated: what `registry:2` pushes to it from now on is hosted.
    ///
    /// # Errors
    /// Any variant of [`Error`] if its state file cannot be moved.
    pub fn end_proxy_volume(&self) -> Result<(), Error> {
        let state = self.layout.proxy_state();
        self.names.set_aside(&state, &self.layout.adopted_state())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{
        lanes::Blocking,
        storage::{SpaceLimits, Storage},
    };

    /// A state file behind a dangling link is not known to be absent.
    #[test]
    fn a_mark_that_cannot_be_read_is_no_absence() {
        let dir = tempfile::TempDir::new().unwrap();
        let storage = Storage::open(Blocking::in_test(), dir.path(), SpaceLimits::default()).unwrap();
        let disk = storage.disk(Blocking::in_test());
        assert!(!disk.is_proxy_volume().unwrap() && !disk.was_proxy_volume().unwrap());
        disk.begin_proxy_volume().unwrap();
        disk.end_proxy_volume().unwrap();
        assert!(!disk.is_proxy_volume().unwrap() && disk.was_proxy_volume().unwrap());
        std::fs::remove_file(disk.layout.adopted_state()).unwrap();
        for state in [disk.layout.adopted_state(), disk.layout.proxy_state()] {
            symlink("nowhere", state).unwrap();
        }
        assert!(matches!(disk.was_proxy_volume(), Err(Error::Dangling(_))));
        assert!(matches!(disk.is_proxy_volume(), Err(Error::Dangling(_))));
    }
}
