//! Everything that a manifest leads to in a repository, and the part of it that is not here.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{
    index::Link,
    oci::{Descriptor, Digest, Manifest, Repository},
    registry::{
        Error,
        store::{blob_store::BlockingStore, stored_manifests},
    },
};

/// The state of an image's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Completeness {
    /// All that it leads to is here.
    Complete,
    /// Only content is missing that was never asked for here: other platforms, or layers that no client needed.
    Partial,
    /// Something is missing that a client asked for, or that was pushed.
    Holes,
}

/// A manifest, its descendants and its referrers, which garbage collection keeps with it (`mark.rs`).
#[derive(Debug, Default)]
pub(in crate::registry) struct Reach {
    /// The digests, here or not.
    pub(in crate::registry) digests: HashSet<Digest>,
    /// Those that are not here.
    pub(in crate::registry) missing: Vec<Missing>,
    /// Set if a manifest of the repository could not be read, so that what it leads to is not known.
    pub(in crate::registry) has_unread: bool,
}

/// Content that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Missing {
    pub(in crate::registry) digest: Digest,
    /// Its length by the manifest that names it; 0 if that is not known.
    pub(in crate::registry) bytes: u64,
    /// Set for an entry of an index, which may lead to more.
    pub(in crate::registry) is_manifest: bool,
    /// Set if a client asked for it here, or it was pushed.
    pub(in crate::registry) is_wanted: bool,
}

/// The part that content plays in the manifest that names it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The one that was asked about.
    Top,
    /// An entry of an index, or a referrer.
    Manifest,
    Config,
    Layer,
}

impl Reach {
    /// Returns what `top` leads to in a repository.
    ///
    /// # Errors
    /// [`Error::Storage`] if a manifest cannot be read.
    pub(in crate::registry) fn of(store: &BlockingStore<'_>, place: &Repository, top: Digest) -> Result<Self, Error> {
        Self::without(store, place, top, &HashSet::new())
    }

    /// As [`Reach::of`], as if `blocked` did not exist.
    pub(in crate::registry) fn without(
        store: &BlockingStore<'_>,
        place: &Repository,
        top: Digest,
        blocked: &HashSet<Digest>,
    ) -> Result<Self, Error> {
        let mut reach = Self::default();
        let mut waiting = vec![(top, 0, Part::Top)];
        while let Some((digest, bytes, part)) = waiting.pop() {
            if blocked.contains(&digest) || !reach.digests.insert(digest) {
                continue;
            }
            let link = store.index.link(place, &digest);
            if store.index.blob_entry(&digest).is_none() || !link.is_some_and(|link| is_held(place, link)) {
                let (is_wanted, is_manifest) = (is_wanted(part, link), matches!(part, Part::Top | Part::Manifest));
                reach.missing.push(Missing { digest, bytes, is_manifest, is_wanted });
            }
            if link.is_some_and(|link| link.revision) {
                let manifest = stored_manifests::read(store.disk, &digest)?;
                reach.has_unread |= manifest.is_none();
                waiting.extend(manifest.iter().flat_map(parts));
                let referrers = store.index.referrers(place, &digest, "", usize::MAX).unwrap_or_default();
                waiting.extend(referrers.into_iter().map(|referrer| (referrer, 0, Part::Manifest)));
            }
        }
        Ok(reach)
    }

    /// Returns the state of the content.
    pub(in crate::registry) fn completeness(&self) -> Completeness {
        match self.missing.iter().any(|missing| missing.is_wanted) {
            true => Completeness::Holes,
            false if self.missing.is_empty() => Completeness::Complete,
            false => Completeness::Partial,
        }
    }
}

/// Returns what a manifest names, without foreign layers, which registries do not store.
fn parts(manifest: &Manifest) -> impl Iterator<Item = (Digest, u64, Part)> + '_ {
    let entry =
        |part: fn(usize) -> Part| move |(place, child): (usize, &Descriptor)| (child.digest, child.size, part(place));
    let manifests = manifest.manifests.iter().enumerate().map(entry(|_| Part::Manifest));
    // The config is the first blob.
    let blobs = manifest.blobs.iter().enumerate().filter(|(_, blob)| blob.urls.is_empty());
    manifests.chain(blobs.map(entry(|place| if place == 0 { Part::Config } else { Part::Layer })))
}

/// Returns whether a repository references content with this link: a mirrored one also what its manifests name.
fn is_held(place: &Repository, link: Link) -> bool {
    link.layer || link.revision || (place.domain.is_some() && link.named.is_some())
}

/// As the check of an image while its upstream cannot be reached (`pull/manifest.rs`): a layer that is known only from
/// the manifest was never asked for.
fn is_wanted(part: Part, link: Option<Link>) -> bool {
    let was_asked_for = link.is_some_and(|link| link.revision || link.layer || link.wanted);
    match part {
        Part::Top | Part::Config => true,
        Part::Layer => was_asked_for || link.is_none(),
        Part::Manifest => was_asked_for,
    }
}
