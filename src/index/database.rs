//! The wrapper of sled. A damaged database cannot be opened (`trees.rs`), and a full disk makes the open handle fail
//! for good. Callers see both as "no database".

use std::{
    ops::Bound,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::RwLock;
use sled::{IVec, Tree};

use super::trees::{self, Trees};

#[derive(Debug)]
pub(super) struct Database {
    dir: PathBuf,
    /// Bytes of memory for its pages.
    memory: u64,
    trees: RwLock<Option<Trees>>,
    failed: AtomicBool,
    /// Set until [`Database::install`] was called.
    unopened: AtomicBool,
}

/// The reason why a failed database cannot be reopened yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The disk has no room to open it.
    Full,
    /// Any other failure, or the first `Database::install` is still to come.
    Failed,
}

impl Database {
    pub(super) fn open(dir: &Path, memory: u64) -> Self {
        let trees = Trees::open_or_create(dir, memory);
        if let Err(why) = &trees {
            tracing::error!("going on without an index, more slowly: {why}");
        }
        Self { trees: RwLock::new(trees.ok()), unopened: AtomicBool::new(false), ..Self::unopened(dir, memory) }
    }

    /// Creates a database that is empty until [`Database::install`].
    pub(super) fn unopened(dir: &Path, memory: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            memory,
            trees: RwLock::new(None),
            failed: AtomicBool::new(false),
            unopened: AtomicBool::new(true),
        }
    }

    /// Opens the database in the same folder, to be installed later.
    pub(super) fn open_aside(&self) -> Self {
        Self::open(&self.dir, self.memory)
    }

    /// Replaces this database by one that was opened.
    pub(super) fn install(&self, opened: Self) {
        *self.trees.write() = opened.trees.into_inner();
        self.failed.store(opened.failed.into_inner(), Ordering::Relaxed);
        self.unopened.store(false, Ordering::Release);
    }

    /// Returns whether [`Database::install`] is still to come.
    pub(super) fn is_unopened(&self) -> bool {
        self.unopened.load(Ordering::Acquire)
    }

    /// Opens the database again after it failed. It may be empty or behind the disk.
    ///
    /// # Errors
    /// [`Absent`] if it cannot be opened yet.
    pub(super) fn reopen(&self) -> Result<Self, Absent> {
        // Every request reads under this lock, so the slow close and open happen outside it.
        let failed = self.trees.write().take();
        failed.into_iter().for_each(Trees::close);
        match Trees::open_or_create(&self.dir, self.memory) {
            Ok(opened) => Ok(Self {
                trees: RwLock::new(Some(opened)),
                unopened: AtomicBool::new(false),
                ..Self::unopened(&self.dir, self.memory)
            }),
            Err(why) => {
                tracing::debug!("still without an index: {why}");
                Err(if trees::is_full(&why) { Absent::Full } else { Absent::Failed })
            }
        }
    }

    /// Closes the database.
    pub(super) fn close(self) {
        self.trees.into_inner().into_iter().for_each(Trees::close);
    }

    /// Removes all entries of all trees.
    pub(super) fn wipe(&self) {
        self.with(|trees| trees.all().into_iter().try_for_each(Tree::clear));
    }

    /// Runs `act` on the trees.
    pub(super) fn apply(&self, act: impl FnOnce(&Trees) -> sled::Result<()>) {
        self.with(act);
    }

    /// Removes all entries of one tree.
    pub(super) fn clear(&self, tree: impl Fn(&Trees) -> &Tree) {
        self.with(|trees| tree(trees).clear());
    }

    /// Calls `visit` with every key that begins with `prefix`, less the prefix, and its value, until it returns
    /// `false`.
    pub(super) fn scan(
        &self,
        tree: impl Fn(&Trees) -> &Tree,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) {
        self.with(|trees| {
            for entry in tree(trees).scan_prefix(prefix) {
                let (key, value) = entry?;
                if !visit(&key[prefix.len()..], &value) {
                    break;
                }
            }
            Ok(())
        });
    }

    /// Returns the keys from `from` up to `until`, in order, `limit` at most.
    pub(super) fn range(
        &self,
        tree: impl Fn(&Trees) -> &Tree,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Option<Vec<IVec>> {
        self.with(|trees| tree(trees).range(from..until).keys().take(limit).collect())
    }

    pub(super) fn get(&self, tree: impl Fn(&Trees) -> &Tree, key: &[u8]) -> Option<IVec> {
        self.with(|trees| tree(trees).get(key)).flatten()
    }

    pub(super) fn put(&self, tree: impl Fn(&Trees) -> &Tree, key: &[u8], value: &[u8]) {
        self.with(|trees| tree(trees).insert(key, value));
    }

    pub(super) fn remove(&self, tree: impl Fn(&Trees) -> &Tree, key: &[u8]) {
        self.with(|trees| tree(trees).remove(key));
    }

    /// Replaces the value of `key` atomically by the result of `new`; removes the key if that is `None`.
    pub(super) fn change(
        &self,
        tree: impl Fn(&Trees) -> &Tree,
        key: &[u8],
        new: impl Fn(Option<&[u8]>) -> Option<Vec<u8>>,
    ) {
        self.with(|trees| tree(trees).update_and_fetch(key, &new));
    }

    /// Removes every key that begins with `prefix`.
    pub(super) fn remove_all(&self, tree: impl Fn(&Trees) -> &Tree, prefix: &[u8]) {
        self.with(|trees| {
            let tree = tree(trees);
            tree.scan_prefix(prefix).keys().try_for_each(|key| tree.remove(key?).map(drop))
        });
    }

    /// Returns whether there is no database and [`Database::install`] is not still to come.
    pub(super) fn has_failed(&self) -> bool {
        !self.is_unopened() && self.has_none()
    }

    fn has_none(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.trees.read().is_none()
    }

    /// Returns the keys that begin with `prefix` and come after `prefix` + `after`, in order, less the prefix, `limit`
    /// at most.
    pub(super) fn keys(
        &self,
        tree: impl Fn(&Trees) -> &Tree,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Option<Vec<Vec<u8>>> {
        let less_prefix = |(key, _): (IVec, IVec)| key[prefix.len()..].to_vec();
        self.following(tree, prefix, after, limit, less_prefix)
    }

    /// As [`Database::keys`], each with its value.
    pub(super) fn pairs(
        &self,
        tree: impl Fn(&Trees) -> &Tree,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        self.following(tree, prefix, after, limit, |(key, value)| (key[prefix.len()..].to_vec(), value.to_vec()))
    }

    fn following<T>(
        &self,
        tree: impl Fn(&Trees) -> &Tree,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
        each: impl Fn((IVec, IVec)) -> T,
    ) -> Option<Vec<T>> {
        let begin = [prefix, after].concat();
        let from = if after.is_empty() { Bound::Included(begin) } else { Bound::Excluded(begin) };
        self.with(|trees| {
            let found = tree(trees).range((from, Bound::Unbounded));
            let within = found.take_while(|entry| entry.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)));
            within.take(limit).map(|entry| entry.map(&each)).collect()
        })
    }

    pub(super) fn flush(&self) {
        self.with(|trees| trees.db.flush());
    }

    fn with<T>(&self, act: impl FnOnce(&Trees) -> sled::Result<T>) -> Option<T> {
        let open = self.trees.read();
        let trees = open.as_ref().filter(|_| !self.failed.load(Ordering::Relaxed))?;
        match act(trees) {
            Ok(value) => Some(value),
            Err(error) => {
                if !self.failed.swap(true, Ordering::Relaxed) {
                    tracing::error!("the index failed, going on without it: {error}");
                }
                None
            }
        }
    }
}
