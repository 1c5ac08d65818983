//! The identity of a client: a user, or anonymous.

use std::{fmt, sync::Arc};

/// The identity of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A client without credentials.
    Anonymous,
    /// An authenticated user.
    User(Arc<str>),
}

impl Principal {
    /// Returns the principal of the user `name`.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self::User(name.into())
    }

    /// Returns the user's name; `None` for anonymous.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::User(name) => Some(name),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("anonymous"))
    }
}
