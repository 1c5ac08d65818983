//! Limits the unfinished uploads of each client, because each occupies a directory on disk. A client is a user, or an
//! address if there is no user.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    access::{Principal, client_network},
    oci::UploadId,
};

/// An upload without a request for this time no longer counts; the registry purges it separately.
const IDLE_UPLOAD_TTL: Duration = Duration::from_secs(3600);

/// The client that an upload counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::http) enum Uploader {
    User(Arc<str>),
    Address(IpAddr),
}

impl Uploader {
    /// Returns the user, or the address if the client is anonymous.
    pub(in crate::http) fn new(who: Principal, address: IpAddr) -> Self {
        match who {
            Principal::User(name) => Self::User(name),
            Principal::Anonymous => Self::Address(client_network(address)),
        }
    }
}

impl fmt::Display for Uploader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "{name:?}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Counts the open uploads of each client.
#[derive(Debug)]
pub(in crate::http) struct UploadLimit {
    most: Option<u64>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    uploads: HashMap<UploadId, (Uploader, Instant)>,
    /// For each client, the number of its uploads and permits.
    each: HashMap<Uploader, u64>,
    swept: Option<Instant>,
}

/// A reservation for an upload that is about to begin, or that ends within its request. Dropping it releases it.
#[derive(Debug)]
pub(in crate::http) struct UploadPermit<'a> {
    of: &'a UploadLimit,
    /// `None` if there is no limit.
    client: Option<Uploader>,
}

impl UploadPermit<'_> {
    /// Converts the permit into an upload that continues after this request.
    pub(in crate::http) fn taken_by(mut self, id: UploadId) {
        if let Some(client) = self.client.take() {
            self.of.open.lock().uploads.insert(id, (client, Instant::now()));
        }
    }
}

impl Drop for UploadPermit<'_> {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            self.of.open.lock().release(client);
        }
    }
}

impl UploadLimit {
    pub(in crate::http) fn new(most: Option<u64>) -> Self {
        Self { most, open: Mutex::default() }
    }

    /// Reserves an upload for `client`, or returns `None` if it has too many.
    pub(in crate::http) fn begin(&self, client: Uploader) -> Option<UploadPermit<'_>> {
        let Some(most) = self.most else { return Some(UploadPermit { of: self, client: None }) };
        let mut open = self.open.lock();
        open.sweep(Instant::now());
        if open.each.get(&client).is_some_and(|count| *count >= most) {
            return None;
        }
        *open.each.entry(client.clone()).or_default() += 1;
        Some(UploadPermit { of: self, client: Some(client) })
    }

    /// Records a request of an upload by `client`.
    pub(in crate::http) fn note(&self, client: Uploader, id: UploadId) {
        if self.most.is_none() {
            return;
        }
        let mut open = self.open.lock();
        open.end(id);
        open.uploads.insert(id, (client.clone(), Instant::now()));
        *open.each.entry(client).or_default() += 1;
    }

    /// Removes an upload that has ended.
    pub(in crate::http) fn end(&self, id: UploadId) {
        self.open.lock().end(id);
    }
}

impl Open {
    fn end(&mut self, id: UploadId) {
        if let Some((client, _)) = self.uploads.remove(&id) {
            self.release(&client);
        }
    }

    fn release(&mut self, client: &Uploader) {
        if let Some(count) = self.each.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                self.each.remove(client);
            }
        }
    }

    /// Removes expired uploads, at most once a minute.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now - swept < Duration::from_secs(60)) {
            return;
        }
        self.swept = Some(now);
        let forgotten = |(_, at): &(Uploader, Instant)| now - *at > IDLE_UPLOAD_TTL;
        let ids: Vec<UploadId> = self.uploads.iter().filter(|(_, use_)| forgotten(use_)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.end(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Uploader {
        Uploader::new(Principal::Anonymous, address.parse().unwrap())
    }

    fn has_room(open: &UploadLimit, client: &Uploader) -> bool {
        open.begin(client.clone()).is_some()
    }

    #[test]
    fn counts_what_is_open() {
        let (open, client) = (UploadLimit::new(Some(2)), at("10.0.0.1"));
        let (a, b) = (UploadId::random(), UploadId::random());
        open.note(client.clone(), a);
        open.note(client.clone(), a);
        assert!(has_room(&open, &client));
        open.note(client.clone(), b);
        assert!(!has_room(&open, &client) && has_room(&open, &at("10.0.0.2")));
        open.end(a);
        open.end(a);
        assert!(has_room(&open, &client));
    }

    #[test]
    fn a_client_at_its_limit_gets_no_more() {
        let (open, client) = (UploadLimit::new(Some(2)), at("10.0.0.1"));
        let (first, second) = (open.begin(client.clone()).unwrap(), open.begin(client.clone()).unwrap());
        assert!(!has_room(&open, &client));
        let id = UploadId::random();
        first.taken_by(id);
        drop(second);
        let third = open.begin(client.clone()).unwrap();
        assert!(!has_room(&open, &client));
        open.end(id);
        drop(third);
        assert!(open.open.lock().each.is_empty());
    }

    #[test]
    fn a_user_is_one_wherever_they_are() {
        let open = UploadLimit::new(Some(1));
        let ann = |address: &str| Uploader::new(Principal::user("ann"), address.parse().unwrap());
        open.note(ann("10.0.0.1"), UploadId::random());
        assert!(!has_room(&open, &ann("10.0.0.2")) && has_room(&open, &at("10.0.0.1")));
        let bob = Uploader::new(Principal::user("bob"), "10.0.0.1".parse().unwrap());
        assert!(has_room(&open, &bob));
    }

    #[test]
    fn forgets_abandoned_uploads() {
        let (open, client) = (UploadLimit::new(Some(1)), at("10.0.0.1"));
        open.note(client.clone(), UploadId::random());
        assert!(!has_room(&open, &client));
        let mut inner = open.open.lock();
        inner.sweep(Instant::now() + IDLE_UPLOAD_TTL + Duration::from_secs(61));
        assert!(inner.uploads.is_empty() && inner.each.is_empty());
    }
}
