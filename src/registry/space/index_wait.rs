//! Waits for an index that knows everything on disk.

use std::{ops::ControlFlow, thread, time::Duration};

use crate::registry::{Error, store::blob_store::BlockingStore};

/// The interval of checking if the index is complete.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until the index is complete. `on_wait` is called now and then, and returns `Break` to give up.
///
/// # Errors
/// [`Error::NoIndex`] if the index failed, [`Error::Cancelled`] if `on_wait` gives up.
pub(in crate::registry) fn wait_for_index(
    store: &BlockingStore<'_>,
    on_wait: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<(), Error> {
    while !store.index.is_complete() {
        if store.index.has_failed() {
            return Err(Error::NoIndex);
        }
        if on_wait().is_break() {
            return Err(Error::Cancelled);
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
