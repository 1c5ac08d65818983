//! The images that a command or a request of the API names: by a name as docker takes it, or by a pattern.

use std::fmt;

use super::operations::Maintenance;
use crate::{
    oci::{Domain, ImageName, ImagePattern, InvalidImagePattern, Reference, Repository, Tag},
    registry::{Error, store::links},
};

/// A pattern of images. One without a slash means the Hub's official images, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pattern: ImagePattern,
    official: Option<ImagePattern>,
}

impl Selection {
    /// Parses a pattern such as `team/**`, `docker.io/library/*:1.*` or `nginx`.
    ///
    /// # Errors
    /// [`InvalidImagePattern`] if no image can match it.
    pub fn parse(text: &str) -> Result<Self, InvalidImagePattern> {
        let official = (!text.contains('/')).then(|| format!("library/{text}").parse()).transpose()?;
        Ok(Self { pattern: text.parse()?, official })
    }

    /// Returns whether it selects this repository, or tags of it.
    #[must_use]
    pub fn matches(&self, repository: &Repository) -> bool {
        self.all().any(|pattern| pattern.repositories.matches_repository(repository))
    }

    /// Returns whether it selects this tag of a repository that it matches.
    #[must_use]
    pub fn matches_tag(&self, tag: &Tag) -> bool {
        self.pattern.matches_tag(tag)
    }

    /// Returns whether it selects whole repositories.
    #[must_use]
    pub fn has_all_tags(&self) -> bool {
        self.pattern.tags.is_none()
    }

    fn all(&self) -> impl Iterator<Item = &ImagePattern> {
        std::iter::once(&self.pattern).chain(&self.official)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pattern.fmt(f)
    }
}

impl Maintenance<'_> {
    /// Returns the repository and the reference that the name of an image addresses here: content that is here, by the
    /// order in which a request without `ns` finds it. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails.
    pub fn address(&self, image: &ImageName) -> Result<(Repository, Reference), Error> {
        Ok((self.repository_of(image)?, image.reference()))
    }

    fn repository_of(&self, image: &ImageName) -> Result<Repository, Error> {
        let hosted = Repository { domain: None, name: image.name.clone() };
        if let Some(domain) = &image.domain {
            let mirrored = Repository { domain: Some(domain.clone()), name: image.name.clone() };
            return Ok(if self.is_own(domain, &mirrored)? { hosted } else { mirrored });
        }
        let short = image.without_namespace().map(|name| Repository { domain: None, name });
        for candidate in std::iter::once(&hosted).chain(&short) {
            if links::claim(self.store.disk, candidate)?.is_some() {
                return Ok(candidate.clone());
            }
        }
        Ok(Repository { domain: Some(Domain::docker_hub()), name: image.name.clone() })
    }

    /// Returns whether a domain names this registry.
    fn is_own(&self, domain: &Domain, mirrored: &Repository) -> Result<bool, Error> {
        let rules = self.server.map(|registry| (&registry.rules.names, registry.upstreams.contains(domain)));
        match rules {
            Some((names, _)) if names.contains(domain) => Ok(true),
            Some((_, true)) => Ok(false),
            _ => Ok(Domain::is_local(domain.as_str()) && !self.store.disk.links(mirrored).exists()?),
        }
    }
}
