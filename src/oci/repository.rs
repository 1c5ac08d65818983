//! A repository and the registry it belongs to.

use std::fmt;

use super::{Domain, RepositoryName};

/// A repository name together with its registry: an image reference before its tag.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    /// The registry that the content belongs to; `None`: this one, which hosts pushed content.
    pub domain: Option<Domain>,
    /// The name within that registry.
    pub name: RepositoryName,
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.domain {
            Some(domain) => write!(f, "{domain}/{}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
