//! Whether requests can be answered, which probes ask: pulls and pushes apart, since
//! a server that cannot take pushes still serves pulls.

use crate::{
    registry::{Error, Registry, space::reserve::LINKS},
    storage::Purpose,
};

/// What a push needs to begin with, in bytes.
const PUSH: u64 = 1 << 20;

impl Registry {
    /// Whether pulls can be answered: storage can be read. An upstream that is down
    /// changes nothing, a full disk stops no pull, and an index that is rebuilt, or is
    /// gone, stops no answer. Blocks for a moment.
    ///
    /// # Errors
    /// [`Error::Storage`], when it cannot.
    pub fn serves_pulls(&self) -> Result<(), Error> {
        Ok(self.store.storage.check_readable()?)
    }

    /// Whether storage takes writes. Blocks for a moment.
    ///
    /// # Errors
    /// [`Error::Storage`], when it takes none.
    pub fn takes_writes(&self) -> Result<(), Error> {
        Ok(self.store.storage.check_writable()?)
    }

    /// Whether pushes are taken: they are allowed, storage takes writes, and there is
    /// room, or what is mirrored may make it. Nothing goes for it. Blocks for a moment.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Denied`], [`Error::Storage`] or [`Error::InsufficientSpace`]: why they are
    /// refused.
    pub fn takes_pushes(&self) -> Result<(), Error> {
        self.rules.allow_pushes()?;
        self.takes_writes()?;
        self.store.may_fit(Purpose::Hosted, PUSH + LINKS)
    }
}
