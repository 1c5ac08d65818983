//! Questions about a repository's links, tags and claim that durable storage answers in several steps.

use crate::{
    oci::{Digest, Repository, Tag},
    storage::{Claim, DurableStore, Error, LinkKind},
};

/// Returns whether `digest` belongs to a repository, as a manifest or as a blob.
///
/// # Errors
/// Any variant of [`Error`] if that cannot be determined.
pub(in crate::registry) fn has(
    store: impl DurableStore,
    repository: &Repository,
    digest: &Digest,
) -> Result<bool, Error> {
    Ok(store.has_link(repository, LinkKind::Layer, digest)?
        || store.has_link(repository, LinkKind::Revision, digest)?)
}

/// Returns every digest that belongs to a repository, as a blob or as a manifest, in no order.
pub(in crate::registry) fn all<'a, S: DurableStore>(
    store: &'a S,
    repository: &'a Repository,
) -> impl Iterator<Item = Result<Digest, Error>> + use<'a, S> {
    store.linked(repository, LinkKind::Layer).chain(store.linked(repository, LinkKind::Revision))
}

/// Returns whether a repository has any manifest.
///
/// # Errors
/// Any variant of [`Error`] if that cannot be determined.
pub(in crate::registry) fn has_manifests(store: impl DurableStore, repository: &Repository) -> Result<bool, Error> {
    Ok(store.linked(repository, LinkKind::Revision).next().transpose()?.is_some())
}

/// Returns whether a tag names `digest`; `false` if it is damaged.
///
/// # Errors
/// Any variant of [`Error`] if it cannot be read.
pub(in crate::registry) fn tag_names(
    store: impl DurableStore,
    repository: &Repository,
    tag: &Tag,
    digest: &Digest,
) -> Result<bool, Error> {
    match store.tag(repository, tag) {
        Err(Error::NoDigest(_)) => Ok(false),
        named => Ok(named?.as_ref() == Some(digest)),
    }
}

/// Returns the tags of a repository that name `digest`, in no order.
///
/// # Errors
/// Any variant of [`Error`] if a tag cannot be read.
pub(in crate::registry) fn tags_of(
    store: impl DurableStore,
    repository: &Repository,
    digest: &Digest,
) -> Result<Vec<Tag>, Error> {
    let tags = store.tags(repository);
    let named = tags.filter(|tag| tag.as_ref().map_or(true, |(_, named)| named.as_ref() == Some(digest)));
    named.map(|tag| tag.map(|(tag, _)| tag)).collect()
}

/// Returns the claim to a repository's name; `None` if it is unclaimed. A name with a manifest counts as claimed.
///
/// # Errors
/// Any variant of [`Error`] if that cannot be determined.
pub(in crate::registry) fn claim(store: impl DurableStore, repository: &Repository) -> Result<Option<Claim>, Error> {
    match store.claim(repository)? {
        Some(claim) => Ok(Some(claim)),
        None => Ok(has_manifests(store, repository)?.then(Claim::unrecorded)),
    }
}
