//! An htpasswd file of users with a password each, and the matching configuration.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::{scratch, server::Setup};

/// The minimum of bcrypt: a test's users log in often.
const COST: u32 = 4;

pub(crate) struct Users {
    dir: TempDir,
}

/// A user's password.
pub(crate) fn password(user: &str) -> String {
    format!("pw-of-{user}")
}

impl Users {
    pub(crate) fn named(names: &[&str]) -> Self {
        let users = Self { dir: scratch::dir("users") };
        users.write(&names.iter().map(|name| line(name, &password(name))).collect::<String>());
        users
    }

    /// The file itself.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("htpasswd")
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    /// A server with these users and no rules.
    pub(crate) fn alone(&self, setup: Setup) -> Setup {
        setup.variable("REGISTRY_AUTH", &format!("{{{}}}", self.htpasswd()))
    }

    /// A server with these users and rules: `more` is inserted beside `htpasswd`.
    pub(crate) fn with(&self, setup: Setup, more: &str) -> Setup {
        setup.variable("REGISTRY_AUTH", &format!("{{{}, {more}}}", self.htpasswd()))
    }

    fn htpasswd(&self) -> String {
        format!("htpasswd: {{realm: entrepot, path: {}}}", self.path().display())
    }
}

/// A user's line.
pub(crate) fn line(user: &str, password: &str) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, COST).unwrap())
}
