//! Logging in by user and password: cheap for who has just done it, dear for who guesses, and never in the way of others.

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
use crate::config::Secret;

/// Who may wait for a password to be hashed; more are told to come again.
const MOST_WAITING: usize = 256;

/// The users of a file, logging in.
#[derive(Debug)]
pub struct Authenticator {
    users: Users,
    verdicts: PasswordCache,
    throttle: Throttle,
    key: HashKey,
    /// Passwords hashed at once: half of the machine at most, so that who guesses leaves the rest to who pulls.
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Held while a password is looked at: clients send several requests at once, and one look is enough for all.
    looking: Cache<KeyedHash, Arc<Mutex<()>>>,
    tasks: Handle,
}

impl Authenticator {
    /// Reads the file of users, or makes it. Passwords are hashed on the blocking threads of `tasks`.
    ///
    /// # Errors
    /// When nobody could log in.
    pub fn open(path: &Path, tasks: Handle) -> Result<Self, Error> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            users: Users::open(path)?,
            verdicts: PasswordCache::new(),
            throttle: Throttle::new(),
            key: HashKey::random()?,
            slots: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: AtomicUsize::new(0),
            looking: Cache::builder().max_capacity(10_000).time_to_idle(Duration::from_secs(60)).build(),
            tasks,
        })
    }

    /// Who this is, if the password is right.
    ///
    /// # Errors
    /// [`LoginError::Wrong`] for a wrong password and an unknown user, after the same time; [`LoginError::Later`] without
    /// having looked.
    pub async fn log_in(&self, from: IpAddr, user: &str, password: &str) -> Result<Principal, LoginError> {
        let users = self.users.current();
        let key = self.verdict_key(&users, user, password);
        if let Some(user) = self.verdicts.get(&key) {
            return Ok(Principal::User(user));
        }
        let _place = Waiting::begin(&self.waiting).ok_or(LoginError::Later { after: Duration::from_secs(1) })?;
        let looking = self.looking.get_with(key, Arc::default);
        let _looking = looking.lock().await;
        if let Some(user) = self.verdicts.get(&key) {
            return Ok(Principal::User(user));
        }
        let name = self.key.hash(&[b"user", user.as_bytes()]);
        let attempt = self.throttle.attempt(from, name).map_err(|after| LoginError::Later { after })?;
        if !self.is_right(&users, user, password).await {
            return Err(LoginError::Wrong);
        }
        attempt.was_right();
        let user: Arc<str> = user.into();
        self.verdicts.remember(key, Arc::clone(&user));
        Ok(Principal::User(user))
    }

    /// The users as their file has them.
    pub(super) fn users(&self) -> Arc<Htpasswd> {
        self.users.current()
    }

    /// A user's own hash is part of it: a password that was changed or taken away is not remembered as right.
    fn verdict_key(&self, users: &Htpasswd, user: &str, password: &str) -> KeyedHash {
        let hash = users.hash_of(user).unwrap_or_default();
        self.key.hash(&[b"verdict", user.as_bytes(), password.as_bytes(), hash.as_bytes()])
    }

    async fn is_right(&self, users: &Htpasswd, user: &str, password: &str) -> bool {
        let (measure, password) = (users.measure(user), Secret::new(password));
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return false };
        let work = move || {
            // Taken until it is hashed: whoever asked may have left long before.
            let _slot = slot;
            measure.fits(&password)
        };
        #[expect(clippy::disallowed_methods, reason = "the slots bound them, as a lane would")]
        self.tasks.spawn_blocking(work).await.unwrap_or(false)
    }
}

/// A place in the queue.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Option<Self> {
        let place = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < MOST_WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
