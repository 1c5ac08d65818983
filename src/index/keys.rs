//! Keys. A repository's keys share a prefix, so that what belongs to it is one scan; zero bytes, which no name holds,
//! end each part.

use crate::oci::{Digest, Repository, Tag};

/// In the meta tree, once the index knows all that is on disk.
pub(super) const COMPLETE: &[u8] = b"complete";

pub(super) fn digest(digest: &Digest) -> Vec<u8> {
    digest.as_bytes().to_vec()
}

pub(super) fn link(repository: &Repository, digest: &Digest) -> Vec<u8> {
    let mut key = prefix(repository);
    key.extend_from_slice(digest.as_bytes());
    key
}

pub(super) fn tag(repository: &Repository, tag: &Tag) -> Vec<u8> {
    let mut key = prefix(repository);
    key.extend_from_slice(tag.as_str().as_bytes());
    key
}

/// `<domain> 0 <name> 0`, with no domain for this registry's own.
fn prefix(repository: &Repository) -> Vec<u8> {
    let domain = repository.domain.as_ref().map_or("", |domain| domain.as_str());
    [domain.as_bytes(), &[0], repository.name.as_str().as_bytes(), &[0]].concat()
}
