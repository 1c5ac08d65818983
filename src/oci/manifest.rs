//! What a registry must know of a manifest: its type and what it names. The bytes themselves are never re-serialised.

use serde::Deserialize;

use super::{Digest, MediaType};

/// What a manifest names: image-spec `descriptor.md`, less what a registry has no use for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What the content hashes to.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its type, empty where the manifest gives none.
    pub media_type: MediaType,
    /// Where else the content may be had. Non-empty for layers that registries do not hold ("foreign layers").
    pub urls: Vec<String>,
}

/// A manifest or index, read as far as a registry needs: image-spec `manifest.md` and `image-index.md`, Docker's v2s2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its `mediaType` field; where that is missing (OCI allows it), the type its shape tells.
    pub media_type: MediaType,
    /// The manifests it lists, when it is an index.
    pub manifests: Vec<Descriptor>,
    /// Config and layers, when it is a platform's manifest: the blobs without which it is of no use.
    pub blobs: Vec<Descriptor>,
    /// The manifest this one refers to (distribution-spec, "Referrers").
    pub subject: Option<Digest>,
}

/// The bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// Not JSON, or a field of the wrong type.
    #[error("the manifest is not valid JSON of the expected shape: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON, but none of the shapes of [`MediaType`].
    #[error("the document is neither an image manifest nor an index")]
    Shape,
}

impl Manifest {
    /// Reads the bytes of a manifest.
    ///
    /// # Errors
    /// When the bytes are not JSON, name a malformed digest, or have no known shape.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        let wire: Wire = serde_json::from_slice(bytes)?;
        let media_type = wire.media_type()?;
        let blobs =
            wire.config.into_iter().chain(wire.layers.unwrap_or_default()).chain(wire.fs_layers.unwrap_or_default());
        Ok(Self {
            media_type,
            blobs: blobs.map(Descriptor::from).collect(),
            manifests: wire.manifests.unwrap_or_default().into_iter().map(Descriptor::from).collect(),
            subject: wire.subject.map(|subject| subject.digest),
        })
    }

    /// Whether it is of one platform, and of no use without its blobs.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.manifests.is_empty() && !self.blobs.is_empty()
    }

    /// Everything it names: manifests, then blobs.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().chain(&self.blobs)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    media_type: Option<String>,
    schema_version: Option<u64>,
    config: Option<WireDescriptor>,
    layers: Option<Vec<WireDescriptor>>,
    manifests: Option<Vec<WireDescriptor>>,
    subject: Option<WireDescriptor>,
    fs_layers: Option<Vec<WireDescriptor>>,
}

impl Wire {
    fn media_type(&self) -> Result<MediaType, InvalidManifest> {
        match &self.media_type {
            Some(declared) if !declared.is_empty() => Ok(MediaType::new(declared)),
            _ if self.manifests.is_some() => Ok(MediaType::new(MediaType::OCI_INDEX)),
            _ if self.layers.is_some() || self.config.is_some() => Ok(MediaType::new(MediaType::OCI_MANIFEST)),
            _ if self.schema_version == Some(1) => Ok(MediaType::new(MediaType::DOCKER_SCHEMA1)),
            _ => Err(InvalidManifest::Shape),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDescriptor {
    #[serde(alias = "blobSum", deserialize_with = "digest")]
    digest: Digest,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    urls: Vec<String>,
}

impl From<WireDescriptor> for Descriptor {
    fn from(wire: WireDescriptor) -> Self {
        Self { digest: wire.digest, size: wire.size, media_type: MediaType::new(&wire.media_type), urls: wire.urls }
    }
}

fn digest<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(content: &[u8]) -> String {
        let digest = Digest::sha256(content);
        format!(r#"{{"mediaType":"application/x","digest":"{digest}","size":{}}}"#, content.len())
    }

    #[test]
    fn reads_what_an_image_names() {
        let (config, layer) = (descriptor(b"c"), descriptor(b"layer"));
        let json = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}],"subject":{config}}}"#);
        let manifest = Manifest::parse(json.as_bytes()).unwrap();
        assert_eq!(manifest.media_type.as_str(), MediaType::OCI_MANIFEST);
        assert_eq!(manifest.blobs.iter().map(|d| d.size).collect::<Vec<_>>(), [1, 5]);
        assert_eq!(manifest.subject, Some(Digest::sha256(b"c")));
        assert!(manifest.is_image());
    }

    #[test]
    fn an_index_is_told_by_its_shape() {
        let json = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(b"m"));
        let index = Manifest::parse(json.as_bytes()).unwrap();
        assert!(index.media_type.is_index());
        assert!(!index.is_image());
        assert_eq!(index.children().count(), 1);
    }

    #[test]
    fn schema_1_is_known_by_name() {
        let json = format!(r#"{{"schemaVersion":1,"fsLayers":[{{"blobSum":"{}"}}]}}"#, Digest::sha256(b"l"));
        let manifest = Manifest::parse(json.as_bytes()).unwrap();
        assert_eq!(manifest.media_type.as_str(), MediaType::DOCKER_SCHEMA1);
        assert_eq!(manifest.blobs.len(), 1);
    }

    #[test]
    fn refuses_what_is_no_manifest() {
        for bad in
            ["", "[]", "{}", r#"{"layers":[{"digest":"sha256:zz"}]}"#, r#"{"schemaVersion":2}"#, "{\"config\":3}"]
        {
            assert!(Manifest::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
