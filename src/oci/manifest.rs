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
    /// What an index's manifest runs on: operating system and architecture, in Go's words.
    pub platform: Option<(String, String)>,
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
    /// Of a type that is none of [`MediaType`]'s.
    #[error("{0:?} is no type of manifest that is taken here")]
    Type(MediaType),
    /// Its fields are not those of its type: the second is what that type has.
    #[error("a document of type {0} has schemaVersion 2 and {1}")]
    Fields(MediaType, &'static str),
}

impl Manifest {
    /// Reads the bytes of a manifest.
    ///
    /// # Errors
    /// When the bytes are not JSON, name a malformed digest, or have no known shape.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        Self::read(serde_json::from_slice(bytes)?)
    }

    /// As [`Self::parse`], for what is pushed: of a type that registries take, and with that type's fields and no other's,
    /// so that no client can take it for something else (OCI's advisory GHSA-mc8v-mgrf-8f4m). Schema 1 passes, for the
    /// caller to refuse by name.
    ///
    /// # Errors
    /// Those of [`Self::parse`], and when type and fields do not agree.
    pub fn parse_strictly(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        let wire: Wire = serde_json::from_slice(bytes)?;
        wire.check(wire.media_type()?)?;
        Self::read(wire)
    }

    fn read(wire: Wire) -> Result<Self, InvalidManifest> {
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
    #[serde(default, deserialize_with = "list")]
    layers: Option<Vec<WireDescriptor>>,
    #[serde(default, deserialize_with = "list")]
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

    /// Whether the fields are those of the type.
    fn check(&self, media_type: MediaType) -> Result<(), InvalidManifest> {
        let (version, config, layers) = (self.schema_version, self.config.is_some(), self.layers.is_some());
        let (image, index) = (config && layers, self.manifests.is_some());
        match media_type.as_str() {
            _ if media_type.is_schema1() => Ok(()),
            MediaType::OCI_INDEX | MediaType::DOCKER_LIST => match version == Some(2) && index && !config && !layers {
                true => Ok(()),
                false => Err(InvalidManifest::Fields(media_type, "manifests, and neither config nor layers")),
            },
            MediaType::OCI_MANIFEST | MediaType::DOCKER_MANIFEST => match version == Some(2) && image && !index {
                true => Ok(()),
                false => Err(InvalidManifest::Fields(media_type, "config and layers, and no manifests")),
            },
            _ => Err(InvalidManifest::Type(media_type)),
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
    platform: Option<WirePlatform>,
}

#[derive(Deserialize)]
struct WirePlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

impl From<WireDescriptor> for Descriptor {
    fn from(wire: WireDescriptor) -> Self {
        Self {
            digest: wire.digest,
            size: wire.size,
            media_type: MediaType::new(&wire.media_type),
            urls: wire.urls,
            platform: wire.platform.map(|platform| (platform.os, platform.architecture)),
        }
    }
}

fn digest<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// Go writes an empty list as `null` where nobody took care.
fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<WireDescriptor>>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
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

    #[test]
    fn what_is_pushed_has_the_fields_of_its_type() {
        let (some, index, image) = (descriptor(b"c"), MediaType::OCI_INDEX, MediaType::OCI_MANIFEST);
        let strict = |version: u8, media_type: &str, fields: &str| {
            let json = format!(r#"{{"schemaVersion":{version},"mediaType":"{media_type}"{fields}}}"#);
            Manifest::parse_strictly(json.as_bytes()).is_ok()
        };
        let (config, layers, manifests) = (format!(r#","config":{some}"#), r#","layers":[]"#, r#","manifests":[]"#);
        assert!(strict(2, image, &format!("{config}{layers}")) && strict(2, index, manifests));
        assert!(strict(2, "", &format!("{config}{layers}")) && strict(2, "", manifests), "told by its shape");
        assert!(strict(2, image, &format!(r#"{config},"layers":null"#)) && strict(2, index, r#","manifests":null"#));
        assert!(strict(1, MediaType::DOCKER_SCHEMA1, ""), "to be refused by name");
        for fields in ["", layers, &config, manifests, &format!("{config}{layers}{manifests}")] {
            assert!(!strict(2, image, fields), "{fields}");
        }
        for fields in ["", &config, &format!("{manifests}{layers}")] {
            assert!(!strict(2, index, fields), "{fields}");
        }
        assert!(!strict(1, image, &format!("{config}{layers}")) && !strict(3, index, manifests));
        assert!(!strict(2, "text/html", &format!("{config}{layers}")));
    }
}
