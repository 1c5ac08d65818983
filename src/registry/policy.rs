//! What the operator allows.

use super::Error;
use crate::{
    config::{Unproven, Validation},
    oci::{Domain, NamePattern, RepositoryName},
};
/// What the operator allows.
#[derive(Clone, Debug)]
pub struct RegistryPolicy {
    /// Whether anything is mirrored; otherwise this is a registry only.
    pub mirror: bool,
    /// Whether anything may be pushed.
    pub push: bool,
    /// Names that are this registry's own, pushed or not: never looked for upstream.
    pub hosted: Vec<NamePattern>,
    /// What becomes of a first push while the upstream cannot be asked for the name.
    pub unproven: Unproven,
    /// What this registry itself is called, for `ns`.
    pub names: Vec<Domain>,
    /// Whether tags, manifests and blobs may be deleted.
    pub delete: bool,
    /// Whether nothing may be written at all, for now.
    pub readonly: bool,
    /// What a pushed manifest may name.
    pub validation: Validation,
}

impl RegistryPolicy {
    /// Whether anything may be pushed now.
    ///
    /// # Errors
    /// [`Error::Denied`] or [`Error::Unsupported`], saying which key changes it.
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

/// Why a name cannot be pushed to that the upstream has.
pub(super) const TAKEN: &str =
    "docker.io has a repository of this name, and clients must go on getting what they asked for";

/// Why a name cannot be pushed to, with both ways out.
pub(super) fn not_ours(name: &RepositoryName, why: &str) -> Error {
    Error::Denied(format!(
        "{name}: {why}: push under another name, or list this one in proxy.hosted to make it this registry's own"
    ))
}
