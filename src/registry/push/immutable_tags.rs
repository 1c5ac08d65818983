//! Immutable tags: a tag that `immutable` matches keeps the manifest that was pushed first. Only the operator can
//! remove it, with `entrepot rm`: a client that could delete it could push another manifest under it.

use crate::{
    oci::{Digest, ImagePatterns, Repository, Tag},
    registry::{Error, store::blob_store::BlockingStore},
    storage::{self, DurableStore, LinkKind},
};

/// Checks that a push may point these tags at `digest`. The caller that writes them holds the repository's lock from
/// this check to the last write.
///
/// # Errors
/// [`Error::ImmutableTag`] if an immutable one of them names another manifest, [`Error::Storage`] if the disk fails.
pub(super) fn check_push(
    store: &BlockingStore<'_>,
    immutable: &ImagePatterns,
    repository: &Repository,
    tags: &[Tag],
    digest: &Digest,
) -> Result<(), Error> {
    for tag in tags.iter().filter(|tag| immutable.matches(&repository.name, tag)) {
        match store.disk.tag(repository, tag) {
            Ok(None) => {}
            Ok(Some(named)) if named == *digest => {}
            Ok(Some(named)) => return Err(taken(repository, tag, &named)),
            Err(storage::Error::NoDigest(_)) => check_damaged(store, repository, tag, digest)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Checks a push to a tag whose link is damaged: its history says which manifests it may have named.
fn check_damaged(store: &BlockingStore<'_>, repository: &Repository, tag: &Tag, digest: &Digest) -> Result<(), Error> {
    let named = store.disk.linked(repository, LinkKind::History(tag)).collect::<Result<Vec<_>, _>>()?;
    match named.first() {
        Some(first) if !named.contains(digest) => Err(taken(repository, tag, first)),
        _ => Ok(()),
    }
}

fn taken(repository: &Repository, tag: &Tag, named: &Digest) -> Error {
    Error::ImmutableTag(format!(
        "the tag {repository}:{tag} is immutable here and names {named}: push this image under another tag"
    ))
}

/// Checks that a client may delete these tags.
///
/// # Errors
/// [`Error::ImmutableTag`] if one of them is immutable.
pub(super) fn check_delete(immutable: &ImagePatterns, repository: &Repository, tags: &[Tag]) -> Result<(), Error> {
    match tags.iter().find(|tag| immutable.matches(&repository.name, tag)) {
        None => Ok(()),
        Some(tag) => Err(Error::ImmutableTag(format!(
            "the tag {repository}:{tag} is immutable here and cannot be deleted by clients: have this registry's operator \
             remove it (entrepot rm {repository}:{tag})"
        ))),
    }
}
