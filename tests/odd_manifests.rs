//! Manifests that violate the specification, but that Go's decoder, and with it nearly every client and registry,
//! accepts.

use serde_json::Value;

use crate::support::{
    admin,
    hash::sha256,
    http,
    images::{Blob, Format, Image, Manifest},
    server::{Server, Setup},
    upstream::{Kind, Upstream},
};

const MIRRORED: &str = "library/odd";
const PUSHED: &str = "team/odd";

/// Two layers of this seed, the second in no manifest, and their placeholders: `CONFIG`, `FIRST` and `SECOND` in a
/// text.
struct Parts {
    image: Image,
    second: Blob,
}

impl Parts {
    fn new(seed: u64) -> Self {
        Self { image: Image::single(Format::Oci, seed), second: Blob::noise(seed + 1_000_000, 3000) }
    }

    /// A manifest of this text, with its blobs.
    fn written(&self, text: &str) -> Image {
        let (document, layer) = (self.document(), Format::Oci.layer());
        let text = text
            .replace("CONFIG", &document["config"].to_string())
            .replace("FIRST", &self.image.layer().descriptor(layer).to_string())
            .replace("SECOND", &self.second.descriptor(layer).to_string());
        let top =
            Manifest { digest: sha256(text.as_bytes()), media_type: Format::Oci.manifest().into(), bytes: text.into() };
        let mut blobs = self.image.blobs.clone();
        blobs.push(self.second.clone());
        Image { top, blobs, ..self.image.clone() }
    }

    fn document(&self) -> Value {
        serde_json::from_slice(&self.image.top.bytes).unwrap()
    }
}

/// The oddity, and the text.
const ODD: [(&str, &str); 8] = [
    (
        "null",
        r#"{"schemaVersion":2,"mediaType":null,"config":CONFIG,"layers":[FIRST,SECOND],"subject":null,"annotations":null,
            "manifests":null}"#,
    ),
    (
        "null in a descriptor",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[{"urls":null,"platform":null,"digest":null,"DIGEST":
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":null},FIRST,SECOND]}"#,
    ),
    ("unknown keys", r#"{"schemaVersion":2,"config":CONFIG,"layers":[FIRST,SECOND],"signed-by":{"layers":3}}"#),
    ("another case", r#"{"SchemaVersion":2,"Config":CONFIG,"LAYERS":[FIRST,SECOND]}"#),
    ("a key twice", r#"{"schemaVersion":2,"config":CONFIG,"layers":[SECOND],"layers":[FIRST]}"#),
    (
        "both kinds",
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":CONFIG,
            "layers":[FIRST,SECOND],"manifests":[]}"#,
    ),
    ("a size that is a text", r#"{"schemaVersion":2,"config":CONFIG,"layers":[{"size":"7"},FIRST,SECOND]}"#),
    ("a digest of tomorrow", r#"{"schemaVersion":2,"config":CONFIG,"layers":[{"digest":"blake3:00"},FIRST,SECOND]}"#),
];

/// A mirror serves its upstream's manifest byte for byte, cold and warm, with the blobs that it references.
#[test]
fn odd_manifests_of_an_upstream_are_served_as_they_are() {
    let (upstream, parts) = (Upstream::plain(), Parts::new(820));
    for (number, (_, text)) in ODD.iter().enumerate() {
        upstream.add(MIRRORED, &format!("t{number}"), &parts.written(text));
    }
    let server = Setup::mirroring(&upstream.url()).freshness("1h").start();
    for (number, (what, text)) in ODD.iter().enumerate() {
        let image = parts.written(text);
        for reference in [&format!("t{number}"), image.digest()] {
            let got = server.manifest(MIRRORED, reference).send();
            assert_eq!((got.status, got.header("content-type")), (200, Some(Format::Oci.manifest())), "{what}");
            assert!(got.body().bytes == image.top.bytes, "{what}");
        }
    }
    assert_eq!(upstream.count("GET", Kind::Manifest), ODD.len(), "each is cached");
    let blobs = [&parts.second, parts.image.layer()];
    for blob in blobs {
        let head = http::head(&server.v2(&format!("{MIRRORED}/blobs/{}?ns=docker.io", blob.digest))).send();
        assert_eq!((head.status, head.length()), (200, Some(blob.len() as u64)));
        assert_eq!(server.blob(MIRRORED, &blob.digest).send().summary().digest, blob.digest);
    }
}

/// Without a digest from the upstream, it may come from a middlebox: it is not accepted.
#[test]
fn an_odd_manifest_without_a_digest_is_not_believed() {
    let (upstream, parts) = (Upstream::plain(), Parts::new(822));
    upstream.options(|options| options.no_digest_header = true);
    upstream.add(MIRRORED, "portal", &parts.written(r#"{"config":{"portal":"log in"},"layers":[]}"#));
    upstream.add(MIRRORED, "fine", &parts.written(ODD[0].1));
    let server = Setup::mirroring(&upstream.url()).start();
    assert_eq!(server.manifest(MIRRORED, "portal").send().status, 502);
    assert_eq!(server.manifest(MIRRORED, "fine").send().status, 200);
}

/// In any spelling and any number of the key that names a layer: the layer is not collected.
#[test]
fn no_spelling_hides_a_layer_from_a_collection() {
    for (number, (what, text)) in [
        ("another case", r#"{"schemaVersion":2,"config":CONFIG,"layers":[FIRST],"Layers":[SECOND]}"#),
        (
            "a letter that is one of ASCII's",
            r#"{"schemaVersion":2,"config":CONFIG,"layers":[FIRST],"layerſ":[SECOND]}"#,
        ),
        ("twice", r#"{"schemaVersion":2,"config":CONFIG,"layers":[SECOND],"layers":[FIRST]}"#),
        ("taken back", r#"{"schemaVersion":2,"config":CONFIG,"layers":[FIRST,SECOND],"layers":null,"LAYERS":[]}"#),
        ("as a second configuration", r#"{"schemaVersion":2,"config":CONFIG,"Config":SECOND,"layers":[FIRST]}"#),
    ]
    .into_iter()
    .enumerate()
    {
        let server = Setup::hosting().variable("REGISTRY_GC_INTERVAL", "0").start();
        let image = Parts::new(824 + number as u64).written(text);
        server.target().image(PUSHED, "1", &image);
        admin::gc(server.data(), true, Some(0));
        pulls_all(&server, &image, what);
    }
}

fn pulls_all(server: &Server, image: &Image, what: &str) {
    assert!(server.manifest(PUSHED, "1").send().body().bytes == image.top.bytes, "{what}");
    for blob in &image.blobs {
        let got = server.blob(PUSHED, &blob.digest).send();
        assert_eq!((got.status, got.summary().digest), (200, blob.digest.clone()), "{what}");
    }
}

/// A manifest that one client reads as an image and another as an index is refused, in any spelling of its keys.
#[test]
fn a_push_that_is_both_kinds_is_refused() {
    let (server, parts) = (Setup::hosting().start(), Parts::new(830));
    let target = server.target();
    parts.image.blobs.iter().chain([&parts.second]).for_each(|blob| target.blob(PUSHED, blob));
    for text in [
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[FIRST],"manifests":[]}"#,
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[FIRST],"Manifests":[]}"#,
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[FIRST],"manifests":[],"manifests":null}"#,
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[{"size":"7"},FIRST]}"#,
        r#"{"schemaVersion":2,"layers":[FIRST]}"#,
        r#"{"schemaVersion":2,"config":null,"layers":[FIRST]}"#,
    ] {
        let put = target.manifest(PUSHED, "1", &parts.written(text).top);
        assert_eq!((put.status, put.error_code().as_str()), (400, "MANIFEST_INVALID"), "{text}");
    }
    let null =
        parts.written(r#"{"schemaVersion":2,"config":CONFIG,"layers":[FIRST,SECOND],"manifests":null,"subject":null}"#);
    assert_eq!(target.manifest(PUSHED, "1", &null.top).status, 201, "null is as if it were not there");
}
