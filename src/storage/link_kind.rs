//! The kinds of links.

use crate::oci::Tag;

/// A kind of link from a repository to a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind<'a> {
    /// The blob belongs to the repository.
    Layer,
    /// The manifest belongs to the repository.
    Revision,
    /// The tag names the manifest, or named it before.
    History(&'a Tag),
}
