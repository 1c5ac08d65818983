//! Readiness checks for health probes. Pulls and pushes are separate, since a server that cannot accept pushes still
//! serves pulls.

use crate::{
    lanes::Blocking,
    registry::{Error, Registry, space::reserve::LINK_BYTES},
    storage::Purpose,
};

/// The least space for a push, in bytes.
const MIN_PUSH_BYTES: u64 = 1 << 20;

impl Registry {
    /// Checks that pulls can be served: the storage is readable. An unreachable upstream, a full disk, and a missing
    /// index do not matter. Blocks briefly.
    ///
    /// # Errors
    /// [`Error::Storage`] if the storage is not readable.
    pub fn serves_pulls(&self, io: &Blocking) -> Result<(), Error> {
        Ok(self.store.with(io).disk.check_readable()?)
    }

    /// Checks that the storage is writable. Blocks briefly.
    ///
    /// # Errors
    /// [`Error::Storage`] if it is not.
    pub fn takes_writes(&self, io: &Blocking) -> Result<(), Error> {
        Ok(self.store.with(io).disk.check_writable()?)
    }

    /// Checks that pushes are accepted: they are allowed, the storage is writable, and there is space or eviction could
    /// free it. Evicts nothing. Blocks briefly.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Denied`], [`Error::Storage`] or [`Error::InsufficientSpace`], by the reason.
    pub fn takes_pushes(&self, io: &Blocking) -> Result<(), Error> {
        self.rules.allow_pushes()?;
        self.takes_writes(io)?;
        self.store.with(io).may_fit(Purpose::Hosted, MIN_PUSH_BYTES + LINK_BYTES)
    }
}
