//! Pins by command, beside those of the configuration: the content of a pinned repository is never evicted.

use super::operations::Maintenance;
use crate::{oci::NamePattern, registry::Error};

impl Maintenance<'_> {
    /// Returns the pins of the configuration, and those that commands made.
    #[must_use]
    pub fn pins(&self) -> (Vec<NamePattern>, Vec<NamePattern>) {
        let mut configured = self.store.space.pins();
        let added = configured.split_off(self.store.space.eviction_rules.pinned.len());
        (configured, added)
    }

    /// Pins repositories, durably. A pattern that is pinned already stays.
    ///
    /// # Errors
    /// [`Error::NoIndex`] if there is no complete index, [`Error::Storage`] if the disk fails; nothing has changed
    /// then.
    pub fn pin(&self, patterns: &[NamePattern]) -> Result<(), Error> {
        self.prepare(&mut || std::ops::ControlFlow::Continue(()))?;
        self.store.change_pins(|pins| {
            for pattern in patterns {
                if !pins.contains(pattern) {
                    pins.push(pattern.clone());
                }
            }
        })
    }

    /// Removes pins that commands made, durably.
    ///
    /// # Errors
    /// [`Error::Denied`] if a pin is of the configuration, [`Error::NothingHere`] if there is no such pin; as
    /// [`Maintenance::pin`] otherwise.
    pub fn unpin(&self, patterns: &[NamePattern]) -> Result<(), Error> {
        let (configured, pins) = self.pins();
        if let Some(pattern) = patterns.iter().find(|pattern| !pins.contains(pattern)) {
            if configured.contains(pattern) {
                let why = format!("{pattern} is pinned by the configuration: remove it from storage.pinned");
                return Err(Error::Denied(why));
            }
            return Err(Error::NothingHere(format!("a pin {pattern}")));
        }
        self.prepare(&mut || std::ops::ControlFlow::Continue(()))?;
        self.store.change_pins(|pins| pins.retain(|pin| !patterns.contains(pin)))
    }
}
