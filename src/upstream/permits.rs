//! Limits the concurrent requests to one upstream, over all threads, so that an upstream that does not answer delays
//! its own requests and no others.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::Error;

/// The maximum number of concurrent blob requests. More wait for their permit, without a timeout.
const MAX_BLOB_REQUESTS: usize = 1024;
/// The maximum number of other concurrent requests.
pub(super) const MAX_OTHER_REQUESTS: usize = if cfg!(test) { 24 } else { 768 };
/// The longest wait of these for a permit.
const PERMIT_TIMEOUT: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(5) };

/// A permit to send a request, held for as long as it lives.
pub(super) type RequestPermit = OwnedSemaphorePermit;

/// The permits of one upstream.
pub(super) struct Permits {
    bodies: Arc<Semaphore>,
    heads: Arc<Semaphore>,
}

impl Permits {
    pub(super) fn new() -> Self {
        Self {
            bodies: Arc::new(Semaphore::new(MAX_BLOB_REQUESTS)),
            heads: Arc::new(Semaphore::new(MAX_OTHER_REQUESTS)),
        }
    }

    /// Waits for a permit to fetch a blob.
    pub(super) async fn body(&self) -> Result<RequestPermit, Error> {
        Arc::clone(&self.bodies).acquire_owned().await.map_err(|_| Error::ConcurrencyLimit)
    }

    /// Waits for a permit for any other request.
    pub(super) async fn head(&self) -> Result<RequestPermit, Error> {
        let permit = timeout(PERMIT_TIMEOUT, Arc::clone(&self.heads).acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or(Error::ConcurrencyLimit)
    }
}
