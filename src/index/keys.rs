//! The keys of the index. A repository's keys share a prefix, so that one scan finds all of them. Each part ends with a
//! zero byte, which no name contains.

use crate::oci::{Digest, Domain, Repository, Tag};

/// In the meta tree while the index is closed: present if the index knew everything on disk.
pub(super) const COMPLETE: &[u8] = b"complete";

/// In the meta tree: the version of the encoding.
pub(super) const FORMAT: &[u8] = b"format";

/// In the meta tree while the index is closed: the totals of the ledger.
pub(super) const TOTALS: &[u8] = b"totals";

/// In the meta tree while the index is closed: the bytes from each upstream.
pub(super) const UPSTREAM_SUMS: &[u8] = b"shares";

/// In the meta tree: the upstreams, in the order of their numbers.
pub(super) const UPSTREAMS: &[u8] = b"upstreams";

/// In the meta tree: the number of unclean ends of the machine.
pub(super) const EPOCH: &[u8] = b"epoch";

/// In the meta tree: present unless the index was made anew and lacks the uses that were saved before.
pub(super) const HAS_USES: &[u8] = b"uses";

/// In the meta tree: the prefix of the slots of activity, before the number of the period and that of the slot.
pub(super) const ACTIVITY: &[u8] = b"activity";

/// In the meta tree: the pinned patterns.
pub(super) const PINNED: &[u8] = b"pinned";

/// In the meta tree: the kernel's boot ID under which the last process ran.
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

/// The key of a manifest that refers to `subject`.
pub(super) fn referrer(repository: &Repository, subject: &Digest, digest: &Digest) -> Vec<u8> {
    [&referrers(repository, subject)[..], digest.to_string().as_bytes()].concat()
}

/// The prefix of the keys of all manifests that refer to `subject`.
pub(super) fn referrers(repository: &Repository, subject: &Digest) -> Vec<u8> {
    [&prefix(repository)[..], subject.to_string().as_bytes(), &[0]].concat()
}

pub(super) fn repository(repository: &Repository) -> Vec<u8> {
    [&home(repository.domain.as_ref())[..], repository.name.as_str().as_bytes()].concat()
}

/// `<domain> 0`: the prefix of all repositories of an upstream; the domain is empty for hosted ones.
pub(super) fn home(domain: Option<&Domain>) -> Vec<u8> {
    [domain.map_or("", Domain::as_str).as_bytes(), &[0]].concat()
}

/// `<domain> 0 <name> 0`: the prefix of the keys of one repository.
pub(super) fn prefix(repository: &Repository) -> Vec<u8> {
    [&self::repository(repository)[..], &[0]].concat()
}

/// `<length of the digest> <digest>`: the prefix of the keys of all repositories that link a blob.
pub(super) fn holders(digest: &Digest) -> Vec<u8> {
    let raw = digest.as_bytes();
    [&[u8::try_from(raw.len()).unwrap_or_default()][..], raw].concat()
}

/// The key of a repository that links a blob.
pub(super) fn holder(digest: &Digest, repository: &Repository) -> Vec<u8> {
    [holders(digest), self::repository(repository)].concat()
}

/// The prefix of the keys of all manifests that name a blob.
pub(super) fn parents(child: &Digest) -> Vec<u8> {
    holders(child)
}

/// The key of a manifest that names a blob.
pub(super) fn parent(child: &Digest, parent: &Digest) -> Vec<u8> {
    [&parents(child)[..], parent.as_bytes()].concat()
}

pub(super) fn to_digest(raw: &[u8]) -> Option<Digest> {
    match raw.len() {
        32 => Some(Digest::Sha256(raw.try_into().ok()?)),
        64 => Some(Digest::Sha512(raw.try_into().ok()?)),
        _ => None,
    }
}

pub(super) fn to_repository(key: &[u8]) -> Option<Repository> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let domain = match std::str::from_utf8(&key[..end]).ok()? {
        "" => None,
        domain => Some(domain.parse().ok()?),
    };
    Some(Repository { domain, name: std::str::from_utf8(&key[end + 1..]).ok()?.parse().ok()? })
}
