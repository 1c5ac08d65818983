//! Errors of access control: configuration that cannot be used, and refused authenticator.

use std::{io, path::PathBuf, time::Duration};

use crate::config::explain;

/// The reason that users or trusted keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: the file of users cannot be read: {}", path.display(), explain(path, source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is missing and cannot be created.
    #[error("{}: there is no file of users, and none can be created: {}", path.display(), explain(path, source))]
    NotCreated {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No line of the file is a valid user.
    #[error("{}: no line of it lets a user in{}; make one with: entrepot htpasswd USER >> {}", path.display(), listed(flaws), path.display())]
    NoUser {
        /// The file.
        path: PathBuf,
        /// The faults of its lines.
        flaws: Vec<String>,
    },
    /// The user or password cannot be stored in a file of users.
    #[error("{0}")]
    Invalid(&'static str),
    /// A file of trusted keys cannot be used.
    #[error("{}: no token could be believed by this file: {why}", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// The reason.
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

/// The reason that a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The user is unknown or the password is wrong.
    #[error("wrong user or password")]
    Wrong,
    /// Too many failures, or too many concurrent authenticator: the password was not verified.
    #[error("too many attempts")]
    Throttled {
        /// The time to wait.
        after: Duration,
    },
}
