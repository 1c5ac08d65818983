//! The media types that a registry distinguishes: image-spec `media-types.md` and Docker's image manifest v2.

use std::{fmt, sync::Arc};

/// The bytes that the allocator and a reference count add to a small allocation.
pub(super) const ALLOCATION: usize = 24;

/// A media type, without parameters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MediaType(Arc<str>);

impl MediaType {
    /// `application/vnd.oci.image.manifest.v1+json`
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// `application/vnd.oci.image.index.v1+json`
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// Docker's image manifest, version 2, schema 2.
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's version 2, schema 1: obsolete, recognised so that it can be refused by name.
    pub const DOCKER_SCHEMA1: &'static str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

    /// Takes a `Content-Type` or `mediaType` value, without its parameters.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.split(';').next().unwrap_or_default().trim().into())
    }

    /// The type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns about how many bytes it takes on the heap.
    pub(super) fn heap(&self) -> usize {
        self.0.len() + ALLOCATION
    }

    /// Returns whether it is Docker's obsolete schema 1, signed or not.
    #[must_use]
    pub fn is_schema1(&self) -> bool {
        self.as_str() == Self::DOCKER_SCHEMA1 || self.as_str() == "application/vnd.docker.distribution.manifest.v1+json"
    }

    /// Returns whether a document of this type lists manifests.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(self.as_str(), Self::OCI_INDEX | Self::DOCKER_LIST)
    }
}

/// Every manifest type that a client may get, in order of preference: the `Accept` header of requests to upstreams.
pub const MANIFEST_TYPES: [&str; 5] = [
    MediaType::OCI_INDEX,
    MediaType::DOCKER_LIST,
    MediaType::OCI_MANIFEST,
    MediaType::DOCKER_MANIFEST,
    MediaType::DOCKER_SCHEMA1,
];

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
