//! How many uploads one client has begun and not ended: each is a folder on the disk.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::gate::client_of;
use crate::oci::UploadId;

/// One that nothing has come for in this time counts no longer; the registry removes it in its own time.
const FORGOTTEN: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct OpenUploads {
    most: Option<u64>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    uploads: HashMap<UploadId, (IpAddr, Instant)>,
    each: HashMap<IpAddr, u64>,
    swept: Option<Instant>,
}

impl OpenUploads {
    pub(super) fn new(most: Option<u64>) -> Self {
        Self { most, open: Mutex::default() }
    }

    /// Whether `client` may begin another.
    pub(super) fn has_room(&self, client: IpAddr) -> bool {
        let Some(most) = self.most else { return true };
        let mut open = self.open.lock();
        open.sweep(Instant::now());
        open.each.get(&client_of(client)).is_none_or(|count| *count < most)
    }

    /// Something happened to an upload of `client`'s: it began, or goes on.
    pub(super) fn note(&self, client: IpAddr, id: UploadId) {
        if self.most.is_none() {
            return;
        }
        let (mut open, client) = (self.open.lock(), client_of(client));
        open.end(id);
        open.uploads.insert(id, (client, Instant::now()));
        *open.each.entry(client).or_default() += 1;
    }

    /// An upload has ended.
    pub(super) fn end(&self, id: UploadId) {
        self.open.lock().end(id);
    }
}

impl Open {
    fn end(&mut self, id: UploadId) {
        let Some((client, _)) = self.uploads.remove(&id) else { return };
        if let Some(count) = self.each.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.each.remove(&client);
            }
        }
    }

    /// Ends what is forgotten, once a minute.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now - swept < Duration::from_secs(60)) {
            return;
        }
        self.swept = Some(now);
        let forgotten = |(_, at): &(IpAddr, Instant)| now - *at > FORGOTTEN;
        let ids: Vec<UploadId> = self.uploads.iter().filter(|(_, use_)| forgotten(use_)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.end(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_open() {
        let (open, client) = (OpenUploads::new(Some(2)), "10.0.0.1".parse().unwrap());
        let (a, b) = (UploadId::random(), UploadId::random());
        open.note(client, a);
        open.note(client, a);
        assert!(open.has_room(client));
        open.note(client, b);
        assert!(!open.has_room(client) && open.has_room("10.0.0.2".parse().unwrap()));
        open.end(a);
        open.end(a);
        assert!(open.has_room(client));
    }

    #[test]
    fn forgets_what_nobody_goes_on_with() {
        let (open, client) = (OpenUploads::new(Some(1)), "10.0.0.1".parse().unwrap());
        open.note(client, UploadId::random());
        assert!(!open.has_room(client));
        let mut inner = open.open.lock();
        inner.sweep(Instant::now() + FORGOTTEN + Duration::from_secs(61));
        assert!(inner.uploads.is_empty() && inner.each.is_empty());
    }
}
