//! Who asks.

use std::{fmt, sync::Arc};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Somebody who did not say.
    Anonymous,
    /// Somebody who proved to be this user.
    User(Arc<str>),
}

impl Principal {
    /// The user of this name.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self::User(name.into())
    }

    /// The user's name, if it is one.
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
