//! The parts of a manifest that a registry needs: its type and its references. The bytes are never re-serialised.

mod json;
mod wire;

use std::sync::Arc;

use self::{
    json::Parsed,
    wire::{Wire, WireDescriptor, WirePlatform},
};
use super::{Digest, MANIFEST_TYPES, MediaType, Platform, media_type};

/// The longest manifest of an upstream, in bytes, also in an archive: double the 4 MB that registries SHOULD support.
pub const MAX_MANIFEST_BYTES: u64 = 8 << 20;

/// A reference to content: the fields of image-spec `descriptor.md` that a registry uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The content's digest.
    pub digest: Digest,
    /// Its length in bytes; 0 where the manifest gives none.
    pub size: u64,
    /// Its type, empty where the manifest gives none.
    pub media_type: MediaType,
    /// Other places for the content. Non-empty for layers that registries do not store ("foreign layers").
    pub urls: Arc<[String]>,
    /// The platform of an index's manifest.
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Returns whether an entry of an index is a manifest: by its type, or because it has none. It may also be a blob,
    /// as in BuildKit's caches.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        let media_type = self.media_type.as_str();
        media_type.is_empty() || MANIFEST_TYPES.contains(&media_type) || self.media_type.is_schema1()
    }

    fn heap(&self) -> usize {
        let urls: usize = self.urls.iter().map(|url| size_of::<String>() + url.len()).sum();
        let platform = self.platform.as_ref().map_or(0, |platform| {
            platform.os.len() + platform.architecture.len() + platform.variant.as_ref().map_or(0, String::len)
        });
        self.media_type.heap() + urls + platform + 2 * media_type::ALLOCATION
    }
}

/// The fields of a manifest or index that a registry needs: image-spec `manifest.md` and `image-index.md`, Docker's
/// v2s2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its `mediaType` field; if that is missing (OCI allows it), the type that its fields imply.
    pub media_type: MediaType,
    /// The manifests of an index.
    pub manifests: Vec<Descriptor>,
    /// The config and the layers of an image manifest: it is unusable without them.
    pub blobs: Vec<Descriptor>,
    /// The manifest this one refers to (distribution-spec, "Referrers").
    pub subject: Option<Digest>,
    /// The first field whose value has the wrong type: its references may be incomplete.
    pub malformed: Option<&'static str>,
}

/// The bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// Not JSON.
    #[error("the manifest is not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A field has the wrong type.
    #[error("the manifest's field {0} is missing, or is not what the image specification has there")]
    Field(&'static str),
    /// JSON, but without the fields of any type in [`MediaType`].
    #[error("the document is neither an image manifest nor an index")]
    Shape,
    /// The type is not in [`MediaType`].
    #[error("{0:?} is no type of manifest that is taken here")]
    Type(MediaType),
    /// The fields do not match the type; the second value is the field that the type has.
    #[error("a document of type {0} has schemaVersion 2 and {1}")]
    Fields(MediaType, &'static str),
}

impl Manifest {
    /// Returns about how many bytes it takes on the heap.
    #[must_use]
    pub fn heap(&self) -> usize {
        let descriptors = self.manifests.iter().chain(&self.blobs);
        self.media_type.heap() + descriptors.map(|each| size_of::<Descriptor>() + each.heap()).sum::<usize>()
    }

    /// Parses a manifest as leniently as clients do. For a repeated key, the references of all its values count.
    ///
    /// # Errors
    /// [`InvalidManifest::Json`], and [`InvalidManifest::Shape`] if it has no known shape.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        let (wire, malformed) = read(bytes)?;
        Self::of(wire, malformed)
    }

    /// Parses a pushed manifest. Its type must be accepted by registries, and its fields must be those of that type and
    /// of no other, so that no client can take it for something else (OCI's advisory GHSA-mc8v-mgrf-8f4m). Schema 1
    /// passes; the caller refuses it by name.
    ///
    /// # Errors
    /// Those of [`Self::parse`], [`InvalidManifest::Field`], and [`InvalidManifest::Type`] or
    /// [`InvalidManifest::Fields`] if type and fields do not agree.
    pub fn parse_strictly(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        let (wire, malformed) = read(bytes)?;
        check(&wire, media_type(&wire)?)?;
        match malformed {
            None => Self::of(wire, None),
            Some(field) => Err(InvalidManifest::Field(field)),
        }
    }

    fn of(wire: Wire, malformed: Option<&'static str>) -> Result<Self, InvalidManifest> {
        let media_type = media_type(&wire)?;
        let fs_layers = wire.fs_layers.0.into_iter().flat_map(|layer| layer.digests);
        let fs_layers = fs_layers.map(|digest| WireDescriptor { digests: vec![digest], ..WireDescriptor::default() });
        let blobs = wire.config.value.0.into_iter().chain(wire.layers.value.0).chain(fs_layers);
        Ok(Self {
            media_type,
            blobs: blobs.flat_map(descriptors).collect(),
            manifests: wire.manifests.value.0.into_iter().flat_map(descriptors).collect(),
            subject: wire.subject.0.last().and_then(|subject| subject.digests.last().copied()),
            malformed,
        })
    }

    /// Returns whether it is an image manifest, which is unusable without its blobs.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.manifests.is_empty() && !self.blobs.is_empty()
    }

    /// All its references: manifests, then blobs.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().chain(&self.blobs)
    }
}

/// Reads the document and the name of its first malformed field.
fn read(bytes: &[u8]) -> Result<(Wire, Option<&'static str>), InvalidManifest> {
    let mut wire = Wire::default();
    match json::read(bytes, &mut wire)? {
        Parsed::Fits => Ok((wire, None)),
        Parsed::Misfit(field) => Ok((wire, Some(field))),
        Parsed::Null | Parsed::WrongType => Err(InvalidManifest::Shape),
    }
}

fn media_type(wire: &Wire) -> Result<MediaType, InvalidManifest> {
    match &wire.media_type {
        Some(declared) if !declared.is_empty() => return Ok(MediaType::new(declared)),
        _ => {}
    }
    let shape = if wire.manifests.is_present() {
        MediaType::OCI_INDEX
    } else if wire.layers.is_present() || wire.config.is_present() {
        MediaType::OCI_MANIFEST
    } else if wire.manifests.is_written() {
        // Go writes an empty list as `null` unless the program avoids it.
        MediaType::OCI_INDEX
    } else if wire.layers.is_written() {
        MediaType::OCI_MANIFEST
    } else if wire.schema_version == Some(1) {
        MediaType::DOCKER_SCHEMA1
    } else {
        return Err(InvalidManifest::Shape);
    };
    Ok(MediaType::new(shape))
}

/// Checks that the fields are those of the type.
fn check(wire: &Wire, media_type: MediaType) -> Result<(), InvalidManifest> {
    let (config, layers, manifests) = (&wire.config, &wire.layers, &wire.manifests);
    let image = config.is_present() && layers.is_written() && !manifests.is_present();
    let index = manifests.is_written() && !config.is_present() && !layers.is_present();
    let version = wire.schema_version == Some(2);
    match media_type.as_str() {
        _ if media_type.is_schema1() => Ok(()),
        MediaType::OCI_INDEX | MediaType::DOCKER_LIST => match version && index {
            true => Ok(()),
            false => Err(InvalidManifest::Fields(media_type, "manifests, and neither config nor layers")),
        },
        MediaType::OCI_MANIFEST | MediaType::DOCKER_MANIFEST => match version && image {
            true => Ok(()),
            false => Err(InvalidManifest::Fields(media_type, "config and layers, and no manifests")),
        },
        _ => Err(InvalidManifest::Type(media_type)),
    }
}

/// Returns one descriptor for each digest.
fn descriptors(wire: WireDescriptor) -> impl Iterator<Item = Descriptor> {
    let WireDescriptor { digests, size, media_type, urls, platform } = wire;
    let platform = platform.map(|WirePlatform { os, architecture, variant }| {
        let variant = Some(variant).filter(|variant| !variant.is_empty());
        Platform { os, architecture, variant }
    });
    let urls = Arc::from(urls.0);
    digests.into_iter().map(move |digest| Descriptor {
        digest,
        size,
        media_type: MediaType::new(&media_type),
        urls: Arc::clone(&urls),
        platform: platform.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::{wire::MAX_DIGESTS, *};

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
    fn an_entry_of_an_index_is_a_manifest_by_its_type_or_without_one() {
        let is_manifest = |media_type: &str| {
            let digest = Digest::sha256(b"m");
            let entry = format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1}}"#);
            let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
            Manifest::parse(index.as_bytes()).unwrap().manifests[0].is_manifest()
        };
        for media_type in MANIFEST_TYPES.into_iter().chain(["", "application/vnd.docker.distribution.manifest.v1+json"])
        {
            assert!(is_manifest(media_type), "{media_type}");
        }
        assert!(!is_manifest("application/vnd.oci.image.layer.v1.tar+gzip"));
    }

    #[test]
    fn an_index_is_recognised_by_its_fields() {
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
        assert_eq!((manifest.blobs.len(), manifest.malformed), (1, None));
    }

    #[test]
    fn null_is_absence_and_unknown_keys_are_taken() {
        let some = descriptor(b"c");
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":null,"config":{some},"layers":[{{"digest":"{0}","size":1,"urls":null,
                "platform":null,"mediaType":null,"annotations":null,"x":[1]}}],"manifests":null,"subject":null,"fsLayers":null,
                "annotations":null,"artifactType":null,"x":{{"layers":[{{"digest":"{0}"}}]}},"\ud800":"\ud800"}}"#,
            Digest::sha256(b"l"),
        );
        let manifest = Manifest::parse_strictly(json.as_bytes()).unwrap();
        assert_eq!((manifest.media_type.as_str(), manifest.subject), (MediaType::OCI_MANIFEST, None));
        assert_eq!(manifest.children().map(|child| child.size).collect::<Vec<_>>(), [1, 1]);
        let no_text = [json.as_bytes(), b" "].concat();
        let no_text = String::from_utf8(no_text).unwrap().replace("\"x\":[1]", "\"x\":[\"?\"]").into_bytes();
        let no_text: Vec<u8> = no_text.into_iter().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
        assert_eq!(Manifest::parse_strictly(&no_text).unwrap(), manifest, "Go replaces what is no UTF-8");
    }

    #[test]
    fn keys_are_matched_whatever_their_case() {
        let (config, layer) =
            (descriptor(b"c"), descriptor(b"layer").replace("digest", "Digest").replace("size", "\u{17f}IZE"));
        let json = format!(r#"{{"SchemaVersion":2,"CONFIG":{config},"lAYERS":[{layer}],"Subject":{config}}}"#);
        let manifest = Manifest::parse_strictly(json.as_bytes()).unwrap();
        assert_eq!(manifest.children().map(|child| child.size).collect::<Vec<_>>(), [1, 5]);
        assert_eq!(manifest.subject, Some(Digest::sha256(b"c")));
    }

    #[test]
    fn what_is_kept_of_a_descriptor_is_bounded() {
        let digests: String =
            (0..2000_u32).map(|n| format!(r#""digest":"{}","#, Digest::sha256(&n.to_be_bytes()))).collect();
        let urls = [r#""""#; 1000].join(",");
        let json = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{{{digests}"urls":[{urls}],"size":1}},{},{{"size":2}}]}}"#,
            descriptor(b"c"),
            ["{}"; 1000].join(","),
        );
        let manifest = Manifest::parse(json.as_bytes()).unwrap();
        assert!(manifest.malformed.is_some(), "a collection gives up nothing beside what it cannot read");
        assert!(manifest.blobs.len() <= 1 + MAX_DIGESTS, "{} blobs", manifest.blobs.len());
        let layers = &manifest.blobs[1..];
        assert!(layers.iter().all(|layer| Arc::ptr_eq(&layer.urls, &layers[0].urls)), "their URLs are kept once");
        assert!(Manifest::parse_strictly(json.as_bytes()).is_err());
    }

    #[test]
    fn doubled_keys_hide_nothing() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|content| descriptor(content));
        let digests = |json: &str| {
            let manifest = Manifest::parse_strictly(json.as_bytes()).unwrap();
            let mut digests: Vec<_> = manifest.children().map(|child| child.digest).collect();
            digests.sort_unstable();
            digests
        };
        let mut all = [b"a", b"b", b"c"].map(|content| Digest::sha256(content));
        all.sort_unstable();
        for json in [
            format!(r#"{{"schemaVersion":2,"config":{a},"layers":[{b}],"layers":[{c}]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{a},"layers":[{b},{c}],"layers":[],"Layers":null}}"#),
            format!(r#"{{"schemaVersion":2,"config":{a},"config":{b},"LAYERS":[{c}],"layers":[]}}"#),
            format!(r#"{{"schemaVersion":2,"manifests":[{a}],"manifests":[{b},{c}]}}"#),
            format!(
                r#"{{"schemaVersion":2,"config":{a},"layers":[{{"digest":"{}","digest":"{}","size":1}}]}}"#,
                Digest::sha256(b"b"),
                Digest::sha256(b"c"),
            ),
        ] {
            assert_eq!(digests(&json), all, "{json}");
        }
        for mixed in ["layers", "Layers", "config"] {
            let value = if mixed == "config" { a.clone() } else { format!("[{a}]") };
            let json = format!(r#"{{"schemaVersion":2,"{mixed}":{value},"Manifests":[{b}]}}"#);
            assert!(Manifest::parse_strictly(json.as_bytes()).is_err(), "{json}");
            assert_eq!(Manifest::parse(json.as_bytes()).unwrap().children().count(), 2, "{json}");
        }
    }

    #[test]
    fn fields_of_a_wrong_type_are_listed_and_ignored() {
        let (config, layer) = (descriptor(b"c"), descriptor(b"layer"));
        for (field, fields) in [
            ("digest", r#","layers":[{"digest":"blake3:00","size":1}]"#.to_owned()),
            ("digest", r#","layers":[{"size":1}]"#.into()),
            ("size", format!(r#","layers":[{{"digest":"{}","size":"1"}}]"#, Digest::sha256(b"l"))),
            ("size", format!(r#","layers":[{{"digest":"{}","size":-1}}]"#, Digest::sha256(b"l"))),
            ("urls", format!(r#","layers":[{{"digest":"{}","size":1,"urls":"x"}}]"#, Digest::sha256(b"l"))),
            ("os", format!(r#","layers":[{{"digest":"{}","platform":{{"os":7}}}}]"#, Digest::sha256(b"l"))),
            ("subject", r#","layers":[],"subject":"x""#.into()),
            ("digest", r#","layers":[],"subject":{}"#.into()),
            ("layers", r#","layers":[],"layers":{"0":{}}"#.into()),
            ("an element of a list", r#","layers":[null]"#.into()),
            ("fsLayers", r#","layers":[],"fsLayers":3"#.into()),
            ("blobSum", r#","layers":[],"fsLayers":[{"blobSum":"x"}]"#.into()),
            ("mediaType", r#","layers":[],"mediaType":[]"#.into()),
            ("schemaVersion", r#","layers":[],"schemaVersion":2.5"#.into()),
        ] {
            let json = format!(r#"{{"schemaVersion":2,"config":{config}{fields},"layers":[{layer}]}}"#);
            let manifest = Manifest::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
            assert_eq!(manifest.malformed, Some(field), "{json}");
            assert_eq!(manifest.blobs.last().map(|layer| layer.size), Some(5), "{json}");
            let strictly = Manifest::parse_strictly(json.as_bytes());
            assert!(matches!(strictly, Err(InvalidManifest::Field(told)) if told == field), "{json}");
        }
    }

    #[test]
    fn refuses_what_is_no_manifest() {
        for bad in ["", "[]", "{}", "null", r#"{"schemaVersion":2}"#, "{\"config\":3}", r#"{"layers":[]} {}"#] {
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
