//! A cache of recently verified passwords, so that not every request costs a bcrypt.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;

use super::keyed_hash::KeyedHash;

/// The time that a verified password stays cached.
const PASSWORD_TTL: Duration = Duration::from_secs(600);
const MAX_ENTRIES: u64 = 10_000;

/// The user's name, by the keyed hash of name and password.
#[derive(Debug)]
pub(super) struct PasswordCache(Cache<KeyedHash, Arc<str>>);

impl PasswordCache {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_ENTRIES).time_to_live(PASSWORD_TTL).build())
    }

    pub(super) fn get(&self, key: &KeyedHash) -> Option<Arc<str>> {
        self.0.get(key)
    }

    pub(super) fn remember(&self, key: KeyedHash, user: Arc<str>) {
        self.0.insert(key, user);
    }
}
