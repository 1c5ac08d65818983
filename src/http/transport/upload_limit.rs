//! How many uploads one client has begun and not ended: each is a folder on the disk. A client is a user, where it is one; an
//! address otherwise.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::connection_limit::client_of;
use crate::{access::Principal, oci::UploadId};

/// One that nothing has come for in this time counts no longer; the registry removes it in its own time.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Whom an upload counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::http) enum Uploader {
    User(Arc<str>),
    Address(IpAddr),
}

impl Uploader {
    /// Whoever this is, from this address.
    pub(in crate::http) fn new(who: Principal, address: IpAddr) -> Self {
        match who {
            Principal::User(name) => Self::User(name),
            Principal::Anonymous => Self::Address(client_of(address)),
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

/// Counts the uploads of each.
#[derive(Debug)]
pub(in crate::http) struct UploadLimit {
    most: Option<u64>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    uploads: HashMap<UploadId, (Uploader, Instant)>,
    /// Of each client: these, and the places for more.
    each: HashMap<Uploader, u64>,
    swept: Option<Instant>,
}

/// Room for an upload that is about to begin, or is over within its request. Dropped, it is free again.
#[derive(Debug)]
pub(in crate::http) struct UploadPermit<'a> {
    of: &'a UploadLimit,
    /// `None` where nothing is counted.
    client: Option<Uploader>,
}

impl UploadPermit<'_> {
    /// The upload has begun, and goes on after this request.
    pub(in crate::http) fn taken_by(mut self, id: UploadId) {
        if let Some(client) = self.client.take() {
            self.of.open.lock().uploads.insert(id, (client, Instant::now()));
        }
    }
}

impl Drop for UploadPermit<'_> {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            self.of.open.lock().leave(client);
        }
    }
}

impl UploadLimit {
    pub(in crate::http) fn new(most: Option<u64>) -> Self {
        Self { most, open: Mutex::default() }
    }

    /// Room for another of `client`'s, if there is.
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

    /// An upload of `client`'s goes on.
    pub(in crate::http) fn note(&self, client: Uploader, id: UploadId) {
        if self.most.is_none() {
            return;
        }
        let mut open = self.open.lock();
        open.end(id);
        open.uploads.insert(id, (client.clone(), Instant::now()));
        *open.each.entry(client).or_default() += 1;
    }

    /// An upload has ended.
    pub(in crate::http) fn end(&self, id: UploadId) {
        self.open.lock().end(id);
    }
}

impl Open {
    fn end(&mut self, id: UploadId) {
        if let Some((client, _)) = self.uploads.remove(&id) {
            self.leave(&client);
        }
    }

    fn leave(&mut self, client: &Uploader) {
        if let Some(count) = self.each.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                self.each.remove(client);
            }
        }
    }

    /// Ends what is forgotten, once a minute.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now - swept < Duration::from_secs(60)) {
            return;
        }
        self.swept = Some(now);
        let forgotten = |(_, at): &(Uploader, Instant)| now - *at > FORGOTTEN;
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
    fn who_begins_many_at_once_gets_no_more() {
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
    fn forgets_what_nobody_goes_on_with() {
        let (open, client) = (UploadLimit::new(Some(1)), at("10.0.0.1"));
        open.note(client.clone(), UploadId::random());
        assert!(!has_room(&open, &client));
        let mut inner = open.open.lock();
        inner.sweep(Instant::now() + FORGOTTEN + Duration::from_secs(61));
        assert!(inner.uploads.is_empty() && inner.each.is_empty());
    }
}
