//! Password login with a cache of recent successes and a throttle on failures.

use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use moka::sync::Cache;
use tokio::{
    runtime::Handle,
    sync::{Mutex, Semaphore},
};

use super::{
    Error, Htpasswd, LoginError, Principal,
    keyed_hash::{HashKey, KeyedHash},
    password_cache::PasswordCache,
    throttle::Throttle,
    users::Users,
};
use crate::{config::Secret, lanes::Blocking};

/// The most logins that may wait for a hash; further ones are refused.
const MAX_WAITING_LOGINS: usize = 256;

/// Authenticates the users of a file.
#[derive(Debug)]
pub struct Authenticator {
    users: Users,
    passwords: PasswordCache,
    throttle: Throttle,
    key: HashKey,
    /// Limits the concurrent hashes to half of the cores, so that password guessing leaves CPU time for pulls.
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Held while a password is verified: a client's parallel requests share one verification.
    verifying: Cache<KeyedHash, Arc<Mutex<()>>>,
    tasks: Handle,
}

impl Authenticator {
    /// Reads the file of users, or creates it. Passwords are hashed on the blocking threads of `tasks`.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the file cannot be read, [`Error::NotCreated`] if it is missing and cannot be created,
    /// [`Error::NoUser`] if it has no usable line, [`Error::NoRandom`] if the system provides no random bytes.
    pub fn open(io: &Blocking, path: &Path, tasks: Handle) -> Result<Self, Error> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            users: Users::open(io, path)?,
            passwords: PasswordCache::new(),
            throttle: Throttle::new(),
            key: HashKey::random()?,
            slots: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: AtomicUsize::new(0),
            verifying: Cache::builder().max_capacity(10_000).time_to_idle(Duration::from_secs(60)).build(),
            tasks,
        })
    }

    /// Returns the user if the password is right.
    ///
    /// # Errors
    /// [`LoginError::Wrong`] for a wrong password and for an unknown user, after the same time;
    /// [`LoginError::Throttled`] if the password was not verified.
    pub async fn log_in(&self, from: IpAddr, user: &str, password: &str) -> Result<Principal, LoginError> {
        let users = self.users.current();
        let key = self.cache_key(&users, user, password);
        if let Some(user) = self.passwords.get(&key) {
            return Ok(Principal::User(user));
        }
        let _waiting =
            WaitingLogin::begin(&self.waiting).ok_or(LoginError::Throttled { after: Duration::from_secs(1) })?;
        let verifying = self.verifying.get_with(key, Arc::default);
        let _verifying = verifying.lock().await;
        if let Some(user) = self.passwords.get(&key) {
            return Ok(Principal::User(user));
        }
        let name = self.key.hash(&[b"user", user.as_bytes()]);
        let attempt = self.throttle.attempt(from, name).map_err(|after| LoginError::Throttled { after })?;
        if !self.is_right(&users, user, password).await {
            return Err(LoginError::Wrong);
        }
        attempt.succeeded();
        let user: Arc<str> = user.into();
        self.passwords.remember(key, Arc::clone(&user));
        Ok(Principal::User(user))
    }

    /// Returns whether the caller is to call [`Self::refresh`]: one caller a second.
    pub(super) fn is_check_due(&self) -> bool {
        self.users.is_check_due()
    }

    /// Reads the file of users again if it has changed.
    pub(super) fn refresh(&self, io: &Blocking) {
        self.users.refresh(io);
    }

    /// Returns the current users of the file.
    pub(super) fn users(&self) -> Arc<Htpasswd> {
        self.users.current()
    }

    /// Returns the cache key. It includes the stored hash, so that a changed password invalidates the entry.
    fn cache_key(&self, users: &Htpasswd, user: &str, password: &str) -> KeyedHash {
        let hash = users.hash_of(user).unwrap_or_default();
        self.key.hash(&[b"login", user.as_bytes(), password.as_bytes(), hash.as_bytes()])
    }

    async fn is_right(&self, users: &Htpasswd, user: &str, password: &str) -> bool {
        let (check, password) = (users.password_check(user), Secret::new(password));
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return false };
        let work = move || {
            // Held until the hash is done, even if the request has been cancelled.
            let _slot = slot;
            check.matches(&password)
        };
        #[expect(clippy::disallowed_methods, reason = "the slots bound them, as a lane would")]
        self.tasks.spawn_blocking(work).await.unwrap_or(false)
    }
}

/// A reserved position in the queue.
struct WaitingLogin<'a>(&'a AtomicUsize);

impl<'a> WaitingLogin<'a> {
    fn begin(count: &'a AtomicUsize) -> Option<Self> {
        let place = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < MAX_WAITING_LOGINS).then_some(place)
    }
}

impl Drop for WaitingLogin<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
