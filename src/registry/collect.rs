//! What nothing reaches, removed: manifests without a tag where that is asked for, then blobs that no repository links.
//!
//! Works on a volume that no server has open. Links go before bytes (law 2), so that killing it loses nothing but time.

use std::collections::HashSet;

use super::{Error, rebuild};
use crate::{
    oci::{Digest, Manifest, Repository},
    storage::{RepositoryLinks, Storage},
};

/// What to collect.
#[derive(Clone, Copy, Debug)]
pub struct Collection {
    /// Remove manifests that no tag reaches, too.
    pub untagged: bool,
    /// Only say what would go.
    pub dry: bool,
}

/// What went, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests that left their repository.
    pub manifests: Vec<(Repository, Digest)>,
    /// Blobs whose bytes were removed.
    pub blobs: Vec<Digest>,
    /// How many bytes these had.
    pub bytes: u64,
}

impl Collection {
    /// Walks the volume and removes what nothing reaches.
    ///
    /// # Errors
    /// As the disk fails; what went until then is gone.
    pub fn run(self, storage: &Storage) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        let mut reached = HashSet::new();
        for repository in storage.repositories() {
            self.mark(storage, &repository, &mut reached, &mut collected)?;
        }
        for (digest, size) in storage.blobs() {
            if !reached.contains(&digest) {
                if !self.dry {
                    storage.remove_blob(&digest)?;
                }
                collected.bytes += size;
                collected.blobs.push(digest);
            }
        }
        Ok(collected)
    }

    /// Notes what a repository reaches, and takes out of it what its tags do not. A mirrored repository keeps all it has:
    /// what it links can be asked for again by digest.
    fn mark(
        self,
        storage: &Storage,
        repository: &Repository,
        reached: &mut HashSet<Digest>,
        collected: &mut Collected,
    ) -> Result<(), Error> {
        let links = storage.links(repository);
        if repository.domain.is_some() {
            reached.extend(links.layers().chain(links.revisions()));
            return Ok(());
        }
        let manifests: Vec<_> = links.revisions().map(|digest| (digest, rebuild::read(storage, &digest))).collect();
        let kept = if self.untagged { reachable(&links, &manifests) } else { manifests.iter().map(|m| m.0).collect() };
        let mut named = HashSet::new();
        if manifests.iter().any(|(digest, manifest)| manifest.is_none() && kept.contains(digest)) {
            // What a manifest that cannot be read names is not known: nothing here is given up for it.
            tracing::warn!("{repository} has a manifest that cannot be read: all its blobs stay");
            named.extend(links.layers());
        }
        for (digest, manifest) in &manifests {
            if kept.contains(digest) {
                named.insert(*digest);
                named.extend(manifest.iter().flat_map(Manifest::children).map(|child| child.digest));
            } else {
                self.unlink_manifest(&links, repository, digest, collected)?;
            }
        }
        for layer in links.layers().filter(|layer| !named.contains(layer)) {
            if !self.dry {
                links.remove_layer(&layer)?;
            }
        }
        reached.extend(named);
        Ok(())
    }

    fn unlink_manifest(
        self,
        links: &RepositoryLinks,
        repository: &Repository,
        digest: &Digest,
        collected: &mut Collected,
    ) -> Result<(), Error> {
        collected.manifests.push((repository.clone(), *digest));
        if self.dry { Ok(()) } else { Ok(links.remove_revision(digest)?) }
    }
}

/// The manifests that a tag reaches: named by one, child of a reachable index, or referrer of a reachable subject.
fn reachable(links: &RepositoryLinks, manifests: &[(Digest, Option<Manifest>)]) -> HashSet<Digest> {
    let mut kept: HashSet<Digest> = links.tags().map(|(_, digest)| digest).collect();
    loop {
        let before = kept.len();
        for (digest, manifest) in manifests {
            let Some(manifest) = manifest else { continue };
            if kept.contains(digest) {
                kept.extend(manifest.manifests.iter().map(|child| child.digest));
            } else if manifest.subject.is_some_and(|subject| kept.contains(&subject)) {
                kept.insert(*digest);
            }
        }
        if kept.len() == before {
            return kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Durability, Limits, Purpose};

    fn put(storage: &Storage, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let size = bytes.len() as u64;
        let staged = storage.stage(storage.reserve(Purpose::Hosted, size).unwrap(), size).unwrap();
        staged.sink().write_at(bytes, 0).unwrap();
        storage.publish(staged, &digest, Durability::Synced).unwrap();
        digest
    }

    fn manifest(layer: &Digest) -> String {
        format!(r#"{{"schemaVersion":2,"layers":[{{"digest":"{layer}","size":1}}]}}"#)
    }

    #[test]
    fn what_nothing_reaches_goes_and_the_rest_stays() {
        let dir = tempfile::TempDir::new().unwrap();
        let storage = Storage::open(dir.path(), Limits::default()).unwrap();
        let place = Repository { domain: None, name: "a".parse().unwrap() };
        let links = storage.links(&place);
        let (used, unused, orphan) = (put(&storage, b"1"), put(&storage, b"2"), put(&storage, b"3"));
        let tagged = put(&storage, manifest(&used).as_bytes());
        let untagged = put(&storage, manifest(&unused).as_bytes());
        for layer in [used, unused] {
            links.add_layer(&layer, Durability::Synced).unwrap();
        }
        for revision in [tagged, untagged] {
            links.add_revision(&revision, Durability::Synced).unwrap();
        }
        links.set_tag(&"latest".parse().unwrap(), &tagged, Durability::Synced).unwrap();

        let dry = Collection { untagged: true, dry: true }.run(&storage).unwrap();
        assert_eq!(dry.manifests, [(place.clone(), untagged)]);
        assert_eq!(dry.blobs.len(), 3, "the orphan, the untagged manifest and its layer");
        assert!(storage.has_blob(&orphan) && links.has_revision(&untagged), "a dry run removes nothing");

        let tagged_only = Collection { untagged: false, dry: false }.run(&storage).unwrap();
        assert_eq!(tagged_only.blobs, [orphan]);
        let all = Collection { untagged: true, dry: false }.run(&storage).unwrap();
        assert_eq!(all.blobs.len(), 2);
        assert!(storage.has_blob(&used) && storage.has_blob(&tagged) && !storage.has_blob(&unused));
        assert!(links.has_layer(&used) && !links.has_layer(&unused) && !links.has_revision(&untagged));
    }
}
