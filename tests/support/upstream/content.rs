//! The content of the upstream, repository by repository.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::support::images::{Blob, Image, Manifest};

#[derive(Default)]
pub(super) struct Content {
    repositories: HashMap<String, Repository>,
}

#[derive(Default)]
pub(super) struct Repository {
    tags: BTreeMap<String, String>,
    manifests: HashMap<String, Manifest>,
    blobs: HashMap<String, Bytes>,
    referrers: HashMap<String, Bytes>,
}

impl Content {
    fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    pub(super) fn add(&mut self, name: &str, tag: &str, image: &Image) {
        let repository = self.repository(name);
        repository.tags.insert(tag.to_owned(), image.digest().to_owned());
        for manifest in image.manifests() {
            repository.manifests.insert(manifest.digest.clone(), manifest.clone());
        }
        for blob in &image.blobs {
            self.add_blob(name, blob);
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.repositories.contains_key(name)
    }

    pub(super) fn add_blob(&mut self, name: &str, blob: &Blob) {
        self.repository(name).blobs.insert(blob.digest.clone(), blob.bytes.clone());
    }

    pub(super) fn remove_tag(&mut self, name: &str, tag: &str) {
        self.repository(name).tags.remove(tag);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.repositories.remove(name);
    }

    pub(super) fn set_referrers(&mut self, name: &str, subject: &str, index: &serde_json::Value) {
        self.repository(name).referrers.insert(subject.to_owned(), index.to_string().into());
    }

    pub(super) fn manifest(&self, name: &str, reference: &str) -> Option<Manifest> {
        let repository = self.repositories.get(name)?;
        let digest = repository.tags.get(reference).map_or(reference, String::as_str);
        repository.manifests.get(digest).cloned()
    }

    pub(super) fn blob(&self, name: &str, digest: &str) -> Option<Bytes> {
        self.repositories.get(name)?.blobs.get(digest).cloned()
    }

    /// The blob, of any repository: the CDN has none.
    pub(super) fn any_blob(&self, digest: &str) -> Option<Bytes> {
        self.repositories.values().find_map(|repository| repository.blobs.get(digest).cloned())
    }

    pub(super) fn referrers(&self, name: &str, subject: &str) -> Option<Bytes> {
        self.repositories.get(name)?.referrers.get(subject).cloned()
    }

    pub(super) fn tags(&self, name: &str) -> Option<Vec<String>> {
        Some(self.repositories.get(name)?.tags.keys().cloned().collect())
    }
}
