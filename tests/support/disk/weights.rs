//! The disk usage of each repository of a volume, read from the disk alone: the reference for `entrepot du`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::scratch;

/// `pushed`, or an upstream's domain; and a repository's name.
pub(crate) type RepositoryId = (String, String);

/// Size, exclusive, shared, objects.
pub(crate) type Figures = (u64, u64, u64, u64);

/// A volume, by its files.
pub(crate) struct Weights {
    data: PathBuf,
    /// The bytes that every blob occupies.
    blobs: BTreeMap<String, u64>,
    /// The blobs that every repository holds.
    pub(crate) holds: BTreeMap<RepositoryId, BTreeSet<String>>,
    tags: BTreeMap<RepositoryId, BTreeMap<String, String>>,
}

impl Weights {
    pub(crate) fn read(data: &Path) -> Self {
        let (blobs, holds, tags) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut weights = Self { data: data.to_owned(), blobs, holds, tags };
        let home = weights.blobs_dir();
        for file in scratch::files(&home) {
            let parts: Vec<_> = file.iter().map(|part| part.to_str().unwrap()).collect();
            let digest = format!("{}:{}", parts[0], parts[2]);
            weights.blobs.insert(digest, home.join(&file).metadata().unwrap().blocks() * 512);
        }
        weights.repositories("pushed", &data.join("docker/registry/v2/repositories"));
        for upstream in fs::read_dir(data.join("mirrors")).into_iter().flatten().flatten() {
            weights.repositories(upstream.file_name().to_str().unwrap(), &upstream.path().join("repositories"));
        }
        weights
    }

    fn blobs_dir(&self) -> PathBuf {
        self.data.join("docker/registry/v2/blobs")
    }

    fn repositories(&mut self, source: &str, repositories: &Path) {
        for file in scratch::files(repositories) {
            let text = file.to_str().unwrap();
            let (name, link) = text.split_once("/_").unwrap();
            let place = (source.to_owned(), name.to_owned());
            let digest = || fs::read_to_string(repositories.join(&file)).unwrap();
            if let Some(tag) = link.strip_prefix("manifests/tags/") {
                if let Some(tag) = tag.strip_suffix("/current/link") {
                    self.tags.entry(place).or_default().insert(tag.to_owned(), digest());
                }
            } else if link.starts_with("layers/") {
                self.hold(&place, digest());
            } else if link.starts_with("manifests/revisions/") {
                let digest = digest();
                // Mirrored content is served only under its own links.
                let named = if source == "pushed" { Vec::new() } else { self.named_by(&digest) };
                named.into_iter().chain([digest]).for_each(|digest| self.hold(&place, digest));
            }
        }
    }

    fn hold(&mut self, place: &RepositoryId, digest: String) {
        if self.blobs.contains_key(&digest) {
            self.holds.entry(place.clone()).or_default().insert(digest);
        }
    }

    /// The references of a manifest; empty for any other content.
    fn named_by(&self, digest: &str) -> Vec<String> {
        let (algorithm, hex) = digest.split_once(':').unwrap();
        let bytes = fs::read(self.blobs_dir().join(algorithm).join(&hex[..2]).join(hex).join("data"));
        let Some(document) = bytes.ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) else {
            return Vec::new();
        };
        let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
        let named = [list("layers"), list("manifests"), vec![document["config"].clone()]].concat();
        named.iter().filter_map(|one| Some(one["digest"].as_str()?.to_owned())).collect()
    }

    fn holders(&self, digest: &str) -> Vec<&RepositoryId> {
        self.holds.iter().filter(|(_, held)| held.contains(digest)).map(|(place, _)| place).collect()
    }

    fn figures<'a>(&self, held: impl IntoIterator<Item = &'a String>, exclusive: impl Fn(&str) -> bool) -> Figures {
        let mut figures = (0, 0, 0, 0);
        for digest in held {
            let bytes = self.blobs[digest];
            let alone = exclusive(digest);
            figures = (
                figures.0 + bytes,
                figures.1 + if alone { bytes } else { 0 },
                figures.2 + if alone { 0 } else { bytes },
                figures.3 + 1,
            );
        }
        figures
    }

    /// The figures of every repository.
    pub(crate) fn repositories_weigh(&self) -> BTreeMap<RepositoryId, Figures> {
        let alone = |digest: &str| self.holders(digest).len() == 1;
        self.holds.iter().map(|(place, held)| (place.clone(), self.figures(held, alone))).collect()
    }

    /// The figures of every source: a blob of several sources counts as pushed, or for one upstream.
    pub(crate) fn sources_weigh(&self) -> BTreeMap<String, Figures> {
        let homes = |digest: &str| self.holders(digest).into_iter().map(|(source, _)| source).collect::<BTreeSet<_>>();
        // `pushed` sorts after every domain used here.
        let counted_with = |wanted: &str| -> Vec<&String> {
            self.blobs.keys().filter(|digest| homes(digest).last().is_some_and(|home| *home == wanted)).collect()
        };
        let sources: BTreeSet<_> = self.holds.keys().map(|(source, _)| source).collect();
        sources
            .into_iter()
            .map(|home| (home.clone(), self.figures(counted_with(home), |digest| homes(digest).len() == 1)))
            .collect()
    }

    /// The bytes of blobs that no repository holds.
    pub(crate) fn unlinked(&self) -> u64 {
        self.blobs.iter().filter(|(digest, _)| self.holders(digest).is_empty()).map(|(_, bytes)| bytes).sum()
    }

    /// For every tag of a repository: its digest, and its figures.
    pub(crate) fn tags_weigh(&self, place: &RepositoryId) -> BTreeMap<String, (String, Figures)> {
        let none = BTreeMap::new();
        let tags = self.tags.get(place).unwrap_or(&none);
        let reached: BTreeMap<_, _> = tags.iter().map(|(tag, digest)| (tag, self.reached(place, digest))).collect();
        let alone = |digest: &str| {
            let by_tags = reached.values().filter(|reached| reached.contains(digest)).count();
            by_tags == 1 && self.holders(digest).len() == 1
        };
        tags.iter().map(|(tag, digest)| (tag.clone(), (digest.clone(), self.figures(&reached[tag], alone)))).collect()
    }

    /// The content that a manifest needs and its repository holds.
    fn reached(&self, place: &RepositoryId, digest: &str) -> BTreeSet<String> {
        let named = self.named_by(digest).into_iter().flat_map(|child| self.reached(place, &child));
        named.chain([digest.to_owned()]).filter(|digest| self.holds[place].contains(digest)).collect()
    }
}
