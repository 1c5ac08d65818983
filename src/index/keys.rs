//! Keys. A repository's keys share a prefix, so that what belongs to it is one scan; zero bytes, which no name holds,
//! end each part.

use crate::oci::{Digest, Domain, Repository, Tag};

/// In the meta tree while no process has the index open, if it knew all that is on disk when the last one ended.
pub(super) const COMPLETE: &[u8] = b"complete";

/// In the meta tree: which start of the machine the last process ran under.
pub(super) const BOOT: &[u8] = b"boot";

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

/// A manifest that refers to another.
pub(super) fn referrer(repository: &Repository, subject: &Digest, digest: &Digest) -> Vec<u8> {
    [&referrers(repository, subject)[..], digest.to_string().as_bytes()].concat()
}

/// What the keys of all that refers to `subject` begin with.
pub(super) fn referrers(repository: &Repository, subject: &Digest) -> Vec<u8> {
    [&prefix(repository)[..], subject.to_string().as_bytes(), &[0]].concat()
}

pub(super) fn repository(repository: &Repository) -> Vec<u8> {
    [&home(repository.domain.as_ref())[..], repository.name.as_str().as_bytes()].concat()
}

/// `<domain> 0`, with no domain for this registry's own: what the keys of all its repositories begin with.
pub(super) fn home(domain: Option<&Domain>) -> Vec<u8> {
    [domain.map_or("", Domain::as_str).as_bytes(), &[0]].concat()
}

/// `<domain> 0 <name> 0`: what the keys of all that belongs to a repository begin with.
pub(super) fn prefix(repository: &Repository) -> Vec<u8> {
    [&self::repository(repository)[..], &[0]].concat()
}
