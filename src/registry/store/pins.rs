//! Loads and changes the pins that commands made, on disk, in memory and in the index.

use super::blob_store::BlockingStore;
use crate::{index::Requeue, oci::NamePattern, registry::Error};

impl BlockingStore<'_> {
    /// Loads the pins from the disk, before anything is evicted.
    ///
    /// # Errors
    /// [`Error::Storage`] if they cannot be read.
    pub(in crate::registry) fn load_pins(&self) -> Result<(), Error> {
        *self.space.change_pins() = self.disk.pins()?;
        self.index.set_pins(self.space.pins());
        Ok(())
    }

    /// Adds or removes pins, durably. `change` gets those that commands made.
    ///
    /// # Errors
    /// [`Error::Storage`] if they cannot be written; nothing has changed then.
    pub(in crate::registry) fn change_pins(&self, change: impl FnOnce(&mut Vec<NamePattern>)) -> Result<(), Error> {
        {
            let mut pins = self.space.change_pins();
            let mut changed = pins.clone();
            change(&mut changed);
            self.disk.save_pins(&changed)?;
            *pins = changed;
        }
        self.index.set_pins(self.space.pins());
        self.note_pins();
        Ok(())
    }

    /// Lets the index follow the pins if they are others than it knows.
    pub(in crate::registry) fn note_pins(&self) {
        let pins: Vec<String> = self.space.pins().iter().map(ToString::to_string).collect();
        if self.index.replace_pins(&pins.join("\n")) {
            self.index.requeue(Requeue::All);
            self.index.refresh_pins();
        }
    }
}
