//! Why nobody can be let in, or somebody is not.

use std::{io, path::PathBuf, time::Duration};

use crate::config::explain;

/// Why a file of users cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{}: the file of users cannot be read: {}", path.display(), explain(path, source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is missing, and cannot be made.
    #[error("{}: there is no file of users, and none can be made: {}", path.display(), explain(path, source))]
    Unmade {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No line of it is a user's.
    #[error("{}: no line of it lets a user in{}; make one with: entrepot htpasswd USER >> {}", path.display(), listed(flaws), path.display())]
    NoUser {
        /// The file.
        path: PathBuf,
        /// What is wrong with its lines.
        flaws: Vec<String>,
    },
    /// No line can be made of it.
    #[error("{0}")]
    Unfit(&'static str),
    /// A file that says whose tokens to believe cannot be used.
    #[error("{}: no token could be believed by this file: {why}", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A token could not be signed.
    #[error("a token could not be signed")]
    Unsigned,
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

fn listed(flaws: &[String]) -> String {
    flaws.iter().map(|flaw| format!("; {flaw}")).collect()
}

/// Why somebody is not let in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// There is no such user with such a password.
    #[error("wrong user or password")]
    Wrong,
    /// It failed too often, or too many try at once: nothing was looked at.
    #[error("too many attempts")]
    Later {
        /// When to try again.
        after: Duration,
    },
}
