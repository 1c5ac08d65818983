//! Limits the open connections, in total and of each client.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;

use crate::access::client_network;

/// Counts open connections.
#[derive(Debug)]
pub(in crate::http) struct ConnectionLimit {
    most: Option<u64>,
    most_each: Option<u64>,
    open: AtomicU64,
    /// The connections of each client that has any.
    each: Mutex<HashMap<IpAddr, u64>>,
}

/// One counted connection. Dropping it releases it.
#[derive(Debug)]
pub(in crate::http) struct Permit {
    limit: Arc<ConnectionLimit>,
    client: Option<IpAddr>,
}

/// The limit that a connection would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum LimitReached {
    /// The limit in total.
    All,
    /// The limit of this client.
    Client,
    /// The process's limit of open files.
    Files,
}

impl ConnectionLimit {
    pub(in crate::http) fn new(most: Option<u64>, most_each: Option<u64>) -> Self {
        Self { most, most_each, open: AtomicU64::new(0), each: Mutex::default() }
    }

    /// Counts a connection of `client`; `None` counts only in total.
    ///
    /// # Errors
    /// [`LimitReached`] if a limit would be exceeded.
    pub(in crate::http) fn admit(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Permit, LimitReached> {
        let client = client.map(client_network);
        if self.open.fetch_add(1, Relaxed) >= self.most.unwrap_or(u64::MAX) {
            self.open.fetch_sub(1, Relaxed);
            return Err(LimitReached::All);
        }
        let fits = client.is_none_or(|client| self.count(client));
        // From here on, dropping the permit reverts what was counted.
        let permit = Permit { limit: Arc::clone(self), client: client.filter(|_| fits) };
        if fits { Ok(permit) } else { Err(LimitReached::Client) }
    }

    fn count(&self, client: IpAddr) -> bool {
        let mut each = self.each.lock();
        let open = each.entry(client).or_default();
        if *open >= self.most_each.unwrap_or(u64::MAX) {
            return false;
        }
        *open += 1;
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limit.open.fetch_sub(1, Relaxed);
        let Some(client) = self.client else { return };
        let mut each = self.limit.each.lock();
        if let Some(open) = each.get_mut(&client) {
            *open -= 1;
            if *open == 0 {
                each.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_in_all_and_each() {
        let limit = Arc::new(ConnectionLimit::new(Some(3), Some(2)));
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = limit.admit(Some(a)).unwrap();
        let _second = limit.admit(Some(a)).unwrap();
        assert_eq!(limit.admit(Some(a)).unwrap_err(), LimitReached::Client);
        let third = limit.admit(Some(b)).unwrap();
        assert_eq!(limit.admit(Some(b)).unwrap_err(), LimitReached::All);
        assert_eq!(limit.admit(None).unwrap_err(), LimitReached::All);
        drop((first, third));
        let _uncounted = limit.admit(None).unwrap();
        let _again = limit.admit(Some(a)).unwrap();
        assert_eq!(limit.each.lock().len(), 1, "who has no connection is forgotten");
    }

    #[test]
    fn zero_is_no_limit_and_a_network_is_one_client() {
        let limit = Arc::new(ConnectionLimit::new(None, Some(1)));
        let _held: Vec<_> = (0..9).map(|_| limit.admit(None).unwrap()).collect();
        let _six = limit.admit("2001:db8::1".parse().ok()).unwrap();
        assert_eq!(limit.admit("2001:db8::2".parse().ok()).unwrap_err(), LimitReached::Client);
        let _other = limit.admit("2001:db8:0:1::1".parse().ok()).unwrap();
        let _four = limit.admit("::ffff:10.0.0.1".parse().ok()).unwrap();
        assert_eq!(limit.admit("10.0.0.1".parse().ok()).unwrap_err(), LimitReached::Client);
    }
}
