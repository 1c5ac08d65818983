//! The permissions set by the operator.

use super::Error;
use crate::{
    config::{RetentionRule, Unproven, Validation},
    oci::{Domain, ImagePatterns, NamePattern, RepositoryName},
};
/// The permissions set by the operator.
#[derive(Clone, Debug)]
pub struct RegistryPolicy {
    /// Enables mirroring; without it, this is a plain registry.
    pub mirror: bool,
    /// Enables pushes.
    pub push: bool,
    /// Names that are hosted even before a push, and never requested from an upstream.
    pub hosted: Vec<NamePattern>,
    /// The handling of a first push while the upstream cannot be asked about the name.
    pub unproven: Unproven,
    /// The names of this registry itself, for `ns`.
    pub names: Vec<Domain>,
    /// Enables deletes of tags, manifests and blobs.
    pub delete: bool,
    /// Disables all writes.
    pub readonly: bool,
    /// The hosted tags that never name another manifest.
    pub immutable: ImagePatterns,
    /// The rules by which tags that were pushed are removed; what none of them matches stays.
    pub retention: Vec<RetentionRule>,
    /// The checks of pushed manifests.
    pub validation: Validation,
}

impl RegistryPolicy {
    /// Checks that pushes are permitted now.
    ///
    /// # Errors
    /// [`Error::Denied`] or [`Error::Unsupported`], with the configuration key to change.
    pub(super) fn allow_pushes(&self) -> Result<(), Error> {
        if self.readonly {
            return Err(Error::Unsupported("this registry is read-only for now (storage.maintenance.readonly)".into()));
        }
        if !self.push {
            return Err(Error::Denied(
                "this server mirrors and takes no pushes: set proxy.push to true, or push to another registry".into(),
            ));
        }
        Ok(())
    }
}

/// The reason to refuse a push to a name that the upstream has.
pub(super) const TAKEN: &str =
    "docker.io has a repository of this name, and clients must go on getting what they asked for";

/// Returns the error for a push to a name that is not hosted, with both remedies.
pub(super) fn not_ours(name: &RepositoryName, why: &str) -> Error {
    Error::Denied(format!(
        "{name}: {why}: push under another name, or list this one in proxy.hosted to make it this registry's own"
    ))
}
