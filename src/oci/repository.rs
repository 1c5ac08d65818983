//! A repository and the registry it belongs to.

use std::fmt;

use super::{Domain, Reference, RepositoryName};

/// A repository name together with its registry: an image reference before its tag.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    /// The registry that the content belongs to; `None`: this one, which hosts pushed content.
    pub domain: Option<Domain>,
    /// The name within that registry.
    pub name: RepositoryName,
}

impl Repository {
    /// Returns the full name of an image in it: `docker.io/library/nginx:1`, or `team/app@sha256:…`.
    #[must_use]
    pub fn image(&self, reference: &Reference) -> String {
        match reference {
            Reference::Tag(tag) => format!("{self}:{tag}"),
            Reference::Digest(digest) => format!("{self}@{digest}"),
        }
    }
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
