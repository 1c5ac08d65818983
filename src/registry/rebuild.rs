//! Tells a new index what is on disk: links, tags, and what manifests name. Runs in the background while requests are
//! answered; until it is through, "not in the index" means "look on disk".
//!
//! What a blob's file looks like is not told: its bytes are hashed when it is first asked for, and then it is known. What it
//! occupies is (`books`).

use std::{os::unix::fs::FileExt, time::SystemTime};

use super::{
    Error, manifests,
    objects::{Objects, SMALL},
};
use crate::{
    index::{Class, Link, Owner},
    oci::{Digest, Manifest, Repository},
    storage::Storage,
};

impl Objects {
    /// Forgets all that the index knows and tells it anew what is on disk.
    pub(super) fn renew_index(&self) {
        let _alone = self.rebuilding.lock();
        self.index.resume(|_| ());
        self.storage.ledger().set_known(false);
        self.index.forget();
        walk(self);
    }

    /// Opens the index, and tells it what it cannot know. Blocks for as long as both take.
    pub(super) fn resume_index(&self) {
        let _alone = self.rebuilding.lock();
        self.index.resume(|totals| self.storage.ledger().resume(totals));
        let pins: Vec<String> = self.retention.pinned.iter().map(ToString::to_string).collect();
        if !self.index.same_pins(&pins.join("\n")) {
            self.index.recall(u64::MAX, true);
            self.index.repin();
        }
        walk(self);
    }

    /// Has an index again after it failed, where that can be had. Blocks.
    pub(super) fn reopen_index(&self) {
        let _alone = self.rebuilding.lock();
        self.storage.ledger().set_known(false);
        if self.index.reopen() {
            tracing::info!("there is an index again, and it is told what is on disk");
            walk(self);
        }
    }
}

/// Walks the disk. One at a time: two would count in each other's survey.
fn walk(objects: &Objects) {
    let everything = !objects.index.was_complete();
    if everything {
        objects.recount();
    }
    objects.survey();
    if everything {
        objects.index.line_up();
    }
    objects.index.forget_hosted();
    let (mut repositories, mut links) = (0_u64, 0_u64);
    for repository in objects.storage.repositories() {
        let hosted = repository.domain.is_none();
        if hosted || everything {
            // Nothing goes while it is told: it would be told after it went.
            let _still = hosted.then(|| objects.claims.repository(&repository));
            repositories += 1;
            match tell(objects, &repository) {
                Ok(told) => links += told,
                Err(error) => {
                    tracing::error!(%repository, %error, "the index stays incomplete: what is on disk cannot be known");
                    return;
                }
            }
        }
    }
    objects.index.set_complete();
    objects.storage.ledger().set_known(true);
    tracing::debug!("the index was told of {repositories} repositories with {links} links");
}

fn tell(objects: &Objects, repository: &Repository) -> Result<u64, Error> {
    let links = objects.storage.links(repository);
    // That bytes are durable is not told: they are made so once more when it matters.
    let class = Class { mirrored: repository.domain.is_some(), hosted: false };
    let mut told = 0;
    if repository.domain.is_some() || links.has_revisions()? {
        objects.index.add_repository(repository);
    }
    if repository.domain.is_none() {
        objects.recall_claim(repository)?;
    }
    for digest in links.layers() {
        told += 1;
        own(objects, repository, &digest, false);
        objects.index.add_class(&digest, class);
        objects.index.add_link(repository, &digest, Link { layer: true, ..Link::default() });
    }
    for digest in links.revisions() {
        told += 1;
        own(objects, repository, &digest, true);
        objects.index.add_class(&digest, class);
        match read(&objects.storage, &digest) {
            Some(manifest) => manifests::note(&objects.index, repository, &digest, &manifest),
            None => objects.index.add_link(repository, &digest, Link { revision: true, ..Link::default() }),
        }
    }
    for (tag, _) in links.tags() {
        let _claim = objects.claims.tag(repository, &tag);
        // When it was last right is not on disk: it counts as stale, which costs one HEAD. A newer word stays.
        if objects.index.tag(repository, &tag).is_none()
            && let Some(digest) = links.tag(&tag)
        {
            objects.index.put_tag(repository, &tag, digest, SystemTime::UNIX_EPOCH);
        }
    }
    Ok(told)
}

/// Whose a blob is that a repository links. Mirrored ones come first: a link of this registry's own has the last word.
fn own(objects: &Objects, repository: &Repository, digest: &Digest, manifest: bool) {
    match repository.domain {
        Some(_) => objects.index.disown(digest, manifest),
        None => objects.index.own(digest, Owner::Hosted),
    }
}

/// The size with which a manifest on disk names `digest` in `repository`: the slow way, for as long as the index is not
/// complete.
pub(super) fn named_by(objects: &Objects, repository: &Repository, digest: &Digest) -> Option<u64> {
    let manifests = objects.storage.links(repository).revisions().filter_map(|found| read(&objects.storage, &found));
    manifests
        .flat_map(|manifest| manifest.manifests.into_iter().chain(manifest.blobs))
        .find_map(|child| (child.digest == *digest).then_some(child.size))
}

pub(super) fn read(storage: &Storage, digest: &Digest) -> Option<Manifest> {
    let stored = storage.blob(digest).ok()??;
    if stored.facts.size > SMALL {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(stored.facts.size).ok()?];
    stored.file.read_exact_at(&mut bytes, 0).ok()?;
    digest.matches(&bytes).then(|| Manifest::parse(&bytes).ok())?
}
